//! Damage to the files of a store (F4): bits flipped, blocks zeroed and
//! duplicated, files cut and deleted, rows of pages deleted. The same answers
//! or a refusal to open, and never a change that nobody notices.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use rocksdb::{DB, IteratorMode};
use sendgate::{domain::plane::PlaneId, writer::Books};
use tempfile::TempDir;

use crate::{
    campaign::Campaign,
    damage::{
        PAGES, REVISION, await_head, copy, edit, files, open, planes, stopped, told, with_more,
    },
    torn::log,
};

/// Does something to the bytes of a file that are not empty.
type Damage = fn(&mut Vec<u8>, &mut StdRng);

/// What a disk or a person may do to a file.
const DAMAGES: [(&str, Damage); 4] = [
    ("a flipped bit", |bytes, random| {
        let place = random.random_range(0..bytes.len());
        bytes[place] ^= 1 << random.random_range(0..8);
    }),
    ("a zeroed block", |bytes, random| {
        let block = block(bytes, random);
        bytes[block].fill(0);
    }),
    ("a duplicated block", |bytes, random| {
        let from = block(bytes, random);
        let to = block(bytes, random).start.min(bytes.len() - from.len());
        bytes.copy_within(from, to);
    }),
    ("a cut", |bytes, random| bytes.truncate(random.random_range(0..bytes.len()))),
];

fn block(bytes: &[u8], random: &mut StdRng) -> std::ops::Range<usize> {
    let length = 512.min(bytes.len());
    let start = random.random_range(0..=bytes.len() - length) / 64 * 64;
    start..start + length
}

/// All that answers are read from.
type Answers = (u64, BTreeMap<PlaneId, Vec<u64>>);

fn answers(books: &Books) -> Answers {
    (books.tip.revision, planes(books))
}

/// What a store answers, `None` if it is refused. That takes milliseconds; a
/// minute is no measure of it, only the mark of what would never end.
fn answers_of(folder: &Path) -> Option<Answers> {
    let (send, receive) = mpsc::channel();
    let path = folder.to_owned();
    thread::spawn(move || send.send(open(&path).ok().map(|books| answers(&books))));
    receive.recv_timeout(Duration::from_secs(60)).expect("opening a damaged store hangs or panics")
}

/// Stores whose rows lie in the log, in tables behind a checkpoint, and in both.
async fn stores() -> Vec<TempDir> {
    let running = told().await;
    await_head(running.folder.path(), REVISION);
    let in_the_log = copy(running.folder.path());
    let in_tables = stopped().await;
    let further = with_more(&in_tables, 5).await;
    vec![in_the_log, in_tables, further]
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_a_file_changes_no_verdict_silently() {
    let mut campaign = Campaign::new("F4", "damaged file", 400);
    let stores = stores().await;
    let expected: Vec<Answers> =
        stores.iter().map(|store| answers_of(copy(store.path()).path()).unwrap()).collect();
    let mut noticed: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    while campaign.next() {
        let random = &mut campaign.random;
        let (store, expected) =
            stores.iter().zip(&expected).collect::<Vec<_>>()[random.random_range(0..3)];
        let folder = copy(store.path());
        // The database's own diary holds nothing of the ledger's.
        let is_ours = |path: &std::path::PathBuf| {
            !path.file_name().unwrap().to_str().unwrap().starts_with("LOG")
        };
        let all: Vec<_> = files(folder.path(), "").into_iter().filter(is_ours).collect();
        let path = all.choose(random).unwrap();
        let mut bytes = fs::read(path).unwrap();
        let whole = bytes.clone();
        let name = if bytes.is_empty() || random.random_ratio(1, 20) {
            fs::remove_file(path).unwrap();
            "a deleted file"
        } else {
            let (name, damage) = DAMAGES.choose(random).unwrap();
            damage(&mut bytes, random);
            fs::write(path, &bytes).unwrap();
            name
        };
        if bytes == whole && name != "a deleted file" {
            continue;
        }
        let found = answers_of(folder.path());
        let counts = noticed.entry(name).or_default();
        match found {
            Some(found) if found != *expected => {
                panic!("{name} in {} changed the answers", path.display())
            }
            Some(_) => counts[0] += 1,
            None => counts[1] += 1,
        }
    }
    let counts = noticed
        .iter()
        .map(|(name, [same, refused])| format!("{name}: {same} the same, {refused} refused"));
    campaign.note(counts.collect::<Vec<_>>().join("; "));
    for (name, [_, refused]) in noticed {
        assert!(refused > 0, "{name} was never noticed: nothing was tested");
    }
    // The control: a whole store of an earlier day adds up, and only the
    // comparison can tell.
    assert_ne!(answers_of(copy(stores[1].path()).path()).unwrap(), expected[2]);
    campaign.caught("an earlier copy of the whole store opens, and answers otherwise");
}

/// RocksDB itself hangs over some of them (facebook/rocksdb#13333).
#[tokio::test(flavor = "multi_thread")]
async fn no_kind_of_a_record_of_a_log_hangs_or_passes() {
    let mut campaign = Campaign::new("F4", "kind of a log's record", 0);
    let running = told().await;
    await_head(running.folder.path(), REVISION);
    let store = copy(running.folder.path());
    let expected = answers_of(copy(store.path()).path()).unwrap();
    let manifest = fs::read_to_string(store.path().join("CURRENT")).unwrap();
    for path in [log(store.path()), store.path().join(manifest.trim_end())] {
        let whole = fs::read(&path).unwrap();
        // Behind a header of 7 bytes, of which two are the record's length.
        let second = 7 + usize::from(u16::from_le_bytes([whole[4], whole[5]]));
        for kind in 0..=u8::MAX {
            campaign.count(1);
            let mut bytes = whole.clone();
            bytes[second + 6] = kind;
            let folder = copy(store.path());
            fs::write(folder.path().join(path.file_name().unwrap()), &bytes).unwrap();
            let same = (bytes == whole).then_some(&expected);
            assert_eq!(answers_of(folder.path()).as_ref(), same, "{kind} in {}", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_deleted_from_the_database_is_refused() {
    let mut campaign = Campaign::new("F4", "deleted pages row", 10);
    let store = stopped().await;
    let keys = |db: &DB| -> BTreeSet<Box<[u8]>> {
        let pages = db.cf_handle(PAGES).unwrap();
        db.iterator_cf(pages, IteratorMode::Start).map(|row| row.unwrap().0).collect()
    };
    let mut all = BTreeSet::new();
    edit(copy(store.path()).path(), |db| all = keys(db));
    assert!(all.len() > 10, "there are pages");
    while campaign.next() {
        let folder = copy(store.path());
        let all: Vec<_> = all.iter().collect();
        let key = all.choose(&mut campaign.random).unwrap();
        edit(folder.path(), |db| db.delete_cf(db.cf_handle(PAGES).unwrap(), key).unwrap());
        assert!(open(folder.path()).is_err(), "page {key:?} is missed by nobody");
    }
}
