//! Every option of the database, and its reason.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, Options,
};

use super::keys::family;

/// Memory for blocks read from disk. The filter path reads none (A6); this
/// serves recording, which looks up states and keys.
const BLOCK_CACHE: usize = 256 << 20;
/// Memory for rows not yet in files, all families together.
const WRITE_BUFFERS: usize = 256 << 20;
/// A memtable's size. Larger ones mean fewer, larger files and less merging.
const MEMTABLE: usize = 64 << 20;
/// Log kept before old memtables are forced out: bounds the replay at open to
/// some two seconds.
const MAX_LOG: u64 = 256 << 20;
/// Open files: half of the usual limit of 1,024.
const OPEN_FILES: i32 = 512;

/// How the database is opened.
pub(super) fn database_options(create: bool) -> Result<Options, rocksdb::Error> {
    // The MANIFEST keeps key ranges of files long gone. Begun anew whenever it
    // has grown, it keeps those of the present only, which a purge relies on; a
    // flush or merge then writes some kilobytes more.
    let mut options = Options::default()
        .get_options_from_string("max_manifest_file_size=1;max_manifest_space_amp_pct=0")?;
    options.create_if_missing(create);
    options.create_missing_column_families(create);
    // A cut last record of the log is a commit that was never acknowledged.
    // The default mode also stops at the first damaged record, but drops
    // everything after it without a word; HEAD catches what this mode drops.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // A reused log file holds old records behind the new ones, which recovery
    // would have to tell apart.
    options.set_recycle_log_file_num(0);
    // Damage found anywhere stops the database instead of being skipped (A9).
    options.set_paranoid_checks(true);
    options.set_db_write_buffer_size(WRITE_BUFFERS);
    options.set_max_total_wal_size(MAX_LOG);
    options.set_max_open_files(OPEN_FILES);
    // The writer is one thread (A4); merging and flushing get the rest.
    options.increase_parallelism(2);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(4);
    // Files reach the disk as they are written rather than in one burst, which
    // would stall the syncs of commits behind it.
    options.set_bytes_per_sync(1 << 20);
    options.set_wal_bytes_per_sync(1 << 20);
    Ok(options)
}

/// The families, each with its options.
pub(super) fn families() -> Result<Vec<ColumnFamilyDescriptor>, rocksdb::Error> {
    let cache = Cache::new_lru_cache(BLOCK_CACHE);
    family::ALL
        .into_iter()
        .map(|name| Ok(ColumnFamilyDescriptor::new(name, family_options(name, &cache)?)))
        .collect()
}

fn family_options(name: &str, cache: &Cache) -> Result<Options, rocksdb::Error> {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    // Version 5 and later checksum more and have better filters.
    blocks.set_format_version(5);
    if matches!(name, family::STATE | family::KEYS | family::ERASED | family::CONTACTS) {
        // Most look-ups while recording are for rows that are not there.
        blocks.set_bloom_filter(10.0, false);
    }
    let mut options = Options::default();
    if name == family::EVENTS {
        // Events come in the order of their keys. With a prefix that all of
        // them share, each is put in next to the one before without a search.
        options = options.get_options_from_string(
            "memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.1",
        )?;
    }
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_size(MEMTABLE);
    options.set_max_write_buffer_number(3);
    if matches!(name, family::STATE | family::KEYS) {
        // The same for rows still in memory: a bit test instead of a search.
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(0.05);
    }
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_compression_type(DBCompressionType::Lz4);
    if name == family::EVENTS {
        // Old events are read seldom and kept for years.
        options.set_bottommost_compression_type(DBCompressionType::Zstd);
    }
    Ok(options)
}
