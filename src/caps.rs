//! Every limit of the service, with its unit and reason (A7).
//!
//! Limits of a data structure stand with it: names and scopes in
//! `domain/policy`, spellings in `domain/address`, deduplication in
//! `engine/seen`, the database's memory in `store/options`.

use std::{ops::RangeInclusive, time::Duration};

/// Bytes of one message, either way: a batch's columns fit, and a hostile
/// client can make the server hold only this much per stream.
pub const MESSAGE_BYTES: usize = 4 << 20;
/// Bytes of the largest answer: reasons and permitted bitmaps of an audience.
pub const ANSWER_BYTES: usize = 16 << 20;
/// Recipients in a column of a batch.
pub const BATCH_RECIPIENTS: usize = 262_144;
/// Members of a Roaring audience; larger ones are split by our clients.
pub const AUDIENCE_MEMBERS: u64 = 2_097_152;
/// Recipients times scopes of a batch that is answered with more than a bit
/// each: with reasons, or about an audience.
pub const BATCH_VERDICTS: usize = 2_097_152;
/// Bytes of a Roaring audience times scopes: each scope's permitted bitmap may
/// have as many containers as the audience, which may be nearly empty.
pub const AUDIENCE_BYTES: usize = 6 << 20;
/// Events in one `Record`, suppressions in one `Suppress`, lifts in one `Lift`.
pub const RECORD_EVENTS: usize = 1_000;
/// Contacts in one `Erase`: each is a commit of its own, of some milliseconds.
pub const ERASURES: usize = 1_000;
/// Erasures that the writer replays in a row: withdrawals come in between.
pub const REPLAYED_ERASURES: usize = 100;
/// Policies that `ListPolicies` returns.
pub const LISTED_POLICIES: usize = 1_000;
/// Items in one chunk of an import.
pub const IMPORT_ITEMS: usize = 10_000;
/// Chunks of one import that wait for the writer, so that it never idles.
pub const IMPORT_AHEAD: usize = 8;
/// Scopes in one filter stream: every channel, or every purpose, of a campaign.
pub const FILTER_SCOPES: usize = 16;
/// Counts in one `Reach`.
pub const REACH_QUERIES: usize = 64;
/// Scopes in one count: each costs a pass over pages.
pub const REACH_SCOPES: usize = 16;
/// Time after which no further count of a `Reach` is begun: some hundred
/// million contacts with IDs scattered over all of u64 take seconds each.
pub const REACH_TIME: Duration = Duration::from_secs(10);
/// `Reach` calls at once: each keeps a core busy, and filters need theirs.
pub const REACHES: usize = 4;
/// When a caller who met a full server may come back: what was in the way is
/// over in some tens of ms, or lasts for minutes.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Answers that wait for a slow reader, per stream.
pub const ANSWERS_AHEAD: usize = 4;
/// Memory of the batches being filtered and of answers that the transport has
/// not taken, in KiB, all streams together.
pub const FILTER_KIB: usize = 1 << 20;
/// Recipients above which a batch leaves the async threads, so that it does not
/// delay what else they serve: some milliseconds of work.
pub const LONG_BATCH: usize = 65_536;
/// How long a batch waits for its minimum revision.
pub const REVISION_WAIT: Duration = Duration::from_secs(5);

/// Addresses in one `Describe`: their rows are read in a few tens of ms.
pub const DESCRIBE_ADDRESSES: usize = 10_000;
/// Events in one answer of `History`.
pub const HISTORY_EVENTS: usize = 1_000;
/// Events listed in one answer of `Explain`.
pub const EXPLAIN_EVENTS: usize = 10_000;
/// Bytes of the events in one answer, so that it stays below [`MESSAGE_BYTES`].
pub const RECORDS_BYTES: usize = 3 << 20;
/// Exports at once: each keeps a snapshot of the ledger and reads all of it.
pub const EXPORTS: usize = 4;
/// Contacts in one message of an export; also those read at once.
pub const EXPORT_CONTACTS: usize = 4_096;
/// Messages that wait for a slow reader, per export or watch.
pub const MESSAGES_AHEAD: usize = 2;
/// How long an export waits for its reader: a snapshot must not be kept for
/// somebody who has stopped reading.
pub const EXPORT_PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a backup in one message.
pub const BACKUP_BYTES: usize = 1 << 20;
/// How long a backup waits for its reader: meanwhile the disk keeps files that
/// are otherwise obsolete.
pub const BACKUP_PATIENCE: Duration = Duration::from_secs(60);
/// Watch streams at once.
pub const WATCHES: usize = 64;
/// Events that a watch looks at before it says how far it has come: a few ms.
pub const WATCH_EVENTS: usize = 4_096;
/// How often the audit log gets the head of the chain.
pub const AUDIT_HEAD: Duration = Duration::from_secs(60);

/// Bytes of a descriptive text of an event, such as its source.
pub const TEXT_BYTES: usize = 256;
/// Bytes of a remark or a link to evidence.
pub const NOTE_BYTES: usize = 1_024;
/// Bytes of an event key.
pub const KEY_BYTES: usize = 128;

/// Tokens of one server: one for each program, and room for years of them.
pub const TOKENS: usize = 1_000;
/// Brands that one token names; one for more is one for all.
pub const TOKEN_BRANDS: usize = 64;
/// Bytes of a token's name.
pub const TOKEN_NAME_BYTES: usize = 64;
/// Bytes of the file of tokens, which is read at start: room for all of them
/// with a dozen brands each, or for some with as many as they may name.
pub const TOKENS_FILE_BYTES: u64 = 8 << 20;
/// How often open streams are held against the ends of their tokens.
pub const TOKEN_EXPIRY: Duration = Duration::from_secs(1);
/// Rows that denials may leave in the audit log in [`AUDIT_HEAD`], counted
/// apart for strangers and for callers with a token, so that those who guess
/// neither fill the disk nor hide the others. What is left out is counted.
pub const AUDITED_DENIALS: u64 = 60;
/// Bytes of a name that was asked for in vain, in the audit log.
pub const AUDITED_NAME_BYTES: usize = 64;
/// Policies that the audit row of one filter stream names.
pub const AUDITED_POLICIES: usize = 32;

/// Tasks in the writer's queue.
pub const QUEUED_TASKS: usize = 1_024;
/// Changes in the writer's queue: some 600 MB if every text is as long as it may
/// be, and a tenth of that in practice.
pub const QUEUED_CHANGES: usize = 100_000;
/// Bytes of memory, of what the system allows this process, that new writes
/// leave to filters and to the ledger's own work; opt-outs may take half of it.
/// Without such a bound nothing is refused.
pub const MEMORY_RESERVE: u64 = 256 << 20;
/// How often freed memory is given back to the system while it is short: that
/// goes through the whole heap.
pub const MEMORY_GIVEN_BACK: Duration = Duration::from_secs(10);
/// Changes committed together. Larger groups copy fewer pages per change; this
/// many take about a tenth of a second, for which other writes wait.
pub const GROUP_CHANGES: usize = 20_000;

/// Connections at once.
pub const CONNECTIONS: usize = 4_096;
/// Connections at once from one peer: an IPv4 address, or an IPv6 network of 64
/// bits. Many clients may stand behind one gateway.
pub const PEER_CONNECTIONS: usize = 512;
/// TLS handshakes at once: each costs a signature and some tens of KiB.
pub const HANDSHAKES: usize = 1_024;
/// Time for a connection's TLS handshake and the first bytes of HTTP/2.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// Open files left to the ledger and the rest when connections are counted.
pub const OTHER_FILES: u64 = 1_024;
/// Pause after the system had no file for a connection.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often refused connections are logged, at most.
pub const REFUSALS_LOGGED: Duration = Duration::from_secs(10);
/// Streams on one HTTP/2 connection.
pub const STREAMS: u32 = 256;
/// Streams that were reset before a task took them up, after which the
/// connection is closed (rapid reset).
pub const PENDING_RESETS: usize = 20;
/// Streams reset by our own protocol errors before the connection is closed.
pub const ERROR_RESETS: usize = 1_024;
/// Bytes of a request's headers.
pub const HEADER_BYTES: u32 = 16 << 10;
/// Bytes of an HTTP/2 frame: the protocol's least.
pub const FRAME_BYTES: u32 = 16 << 10;
/// HTTP/2 flow-control window of a stream: a message fits, so that a sender
/// does not wait in the middle of one.
pub const STREAM_WINDOW: u32 = 8 << 20;
/// HTTP/2 flow-control window of a connection.
pub const CONNECTION_WINDOW: u32 = 32 << 20;
/// Time without traffic after which a peer is asked whether it is there.
pub const KEEPALIVE: Duration = Duration::from_secs(30);
/// Time for its answer.
pub const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);
/// Time for a peer to hang up once the server has said its last on a connection.
/// A stop waits for it as for open streams, within its own time.
pub const LINGER: Duration = Duration::from_secs(1);
/// Time that a client may take for its next whole message, and for reading an
/// answer.
pub const STREAM_IDLE: Duration = Duration::from_secs(600);
/// Age at which a stream ends: nobody may hold a view of rights for ever.
pub const STREAM_AGE: Duration = Duration::from_secs(86_400);
/// Bytes of unfinished requests, and again of unread answers, that one
/// connection may keep in memory.
pub const CONNECTION_BYTES: usize = 64 << 20;
/// The same of all connections together; each may always have one message.
pub const TRANSPORT_BYTES: usize = 1 << 30;
/// Bytes of a file with certificates or a key.
pub const TLS_FILE_BYTES: u64 = 1 << 20;
/// How often the files of TLS are looked at.
pub const TLS_RELOAD: Duration = Duration::from_secs(10);
/// Time before the end of a certificate from which on the log warns, daily.
pub const TLS_WARNING: Duration = Duration::from_secs(14 * 86_400);
/// Connections at once to the HTTP listener: a few probes and scrapers.
pub const HTTP_CONNECTIONS: usize = 16;
/// Bytes of a request's head there.
pub const HTTP_HEADER_BYTES: usize = 16 << 10;
/// Time for a whole connection there: its request, and reading the answer.
pub const HTTP_TIME: Duration = Duration::from_secs(10);
/// How long the memory of all planes is not measured again for a scrape.
pub const PLANES_MEASURED: Duration = Duration::from_secs(60);
/// Time after a stop for sending the traces that still wait.
pub const TRACES_END: Duration = Duration::from_secs(1);
/// How often it is logged that traces could not be sent, at most.
pub const TRACES_LOGGED: Duration = Duration::from_secs(60);
/// Time for a stop: half of it for open streams to end, the rest for a checkpoint.
pub const DRAIN: Duration = Duration::from_secs(10);
/// Time for those that were cut off then to be told of in the audit log.
pub const CUT: Duration = Duration::from_secs(1);

/// What may be configured instead of [`CONNECTIONS`] and [`PEER_CONNECTIONS`]:
/// one client, or as many as an address has ports.
pub const CONNECTIONS_CHOICE: RangeInclusive<u64> = 1..=65_536;
/// Seconds instead of [`STREAM_IDLE`]: a slow answer to a slow reader, or a day.
pub const STREAM_IDLE_CHOICE: RangeInclusive<u64> = 1..=86_400;
/// Seconds instead of [`STREAM_AGE`]: shorter, and campaigns only reconnect; a
/// week is nobody's campaign.
pub const STREAM_AGE_CHOICE: RangeInclusive<u64> = 60..=604_800;
/// MiB instead of [`FILTER_KIB`]: the largest batch fits, or a terabyte.
pub const FILTER_MIB_CHOICE: RangeInclusive<u64> = 256..=1_048_576;
/// MiB instead of [`TRANSPORT_BYTES`]: more than one connection's part, or a
/// terabyte.
pub const TRANSPORT_MIB_CHOICE: RangeInclusive<u64> = 128..=1_048_576;
/// Seconds instead of [`DRAIN`]: what a restart in an emergency bears, or an
/// hour of the last campaign.
pub const DRAIN_CHOICE: RangeInclusive<u64> = 1..=3_600;
/// Bytes of the configuration file.
pub const CONFIG_FILE_BYTES: u64 = 1 << 20;

/// The limits of connections and streams, which operators and tests set.
#[derive(Clone, Debug)]
pub struct Limits {
    /// [`CONNECTIONS`].
    pub connections: usize,
    /// [`PEER_CONNECTIONS`].
    pub peer_connections: usize,
    /// [`HANDSHAKES`].
    pub handshakes: usize,
    /// [`HANDSHAKE`].
    pub handshake: Duration,
    /// [`STREAM_IDLE`].
    pub stream_idle: Duration,
    /// [`STREAM_AGE`].
    pub stream_age: Duration,
    /// [`CONNECTION_BYTES`].
    pub connection_bytes: usize,
    /// [`TRANSPORT_BYTES`].
    pub transport_bytes: usize,
    /// [`TLS_RELOAD`].
    pub tls_reload: Duration,
    /// [`FILTER_KIB`].
    pub filter_kib: usize,
    /// [`DRAIN`].
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            peer_connections: PEER_CONNECTIONS,
            handshakes: HANDSHAKES,
            handshake: HANDSHAKE,
            stream_idle: STREAM_IDLE,
            stream_age: STREAM_AGE,
            connection_bytes: CONNECTION_BYTES,
            transport_bytes: TRANSPORT_BYTES,
            tls_reload: TLS_RELOAD,
            filter_kib: FILTER_KIB,
            drain: DRAIN,
        }
    }
}

const _: () = {
    // A full column fits in a message with room for its frame.
    assert!(BATCH_RECIPIENTS * 8 + 1_024 < MESSAGE_BYTES);
    // One scope is never stopped by what the scopes share.
    assert!(BATCH_VERDICTS as u64 >= AUDIENCE_MEMBERS && AUDIENCE_BYTES >= MESSAGE_BYTES);
    // The largest answer fits: a reason a verdict, two bytes of bitmap a
    // permitted member, and the headers of its containers. Those are at most a
    // third larger than in the audience, whose form with runs leaves offsets out
    // where there are few containers.
    assert!(BATCH_VERDICTS * 3 + AUDIENCE_BYTES / 3 * 4 + 65_536 < ANSWER_BYTES);
    // So does that to full columns without reasons.
    assert!(BATCH_RECIPIENTS / 8 * FILTER_SCOPES < ANSWER_BYTES);
    assert!(GROUP_CHANGES <= QUEUED_CHANGES && IMPORT_ITEMS <= QUEUED_CHANGES);
    assert!(STREAM_WINDOW as usize >= MESSAGE_BYTES);
    // No single peer can hold every handshake or every connection.
    assert!(PEER_CONNECTIONS < HANDSHAKES && PEER_CONNECTIONS < CONNECTIONS);
    assert!(CONNECTION_BYTES < TRANSPORT_BYTES);
    assert!((CONNECTION_BYTES as u64) < *TRANSPORT_MIB_CHOICE.start() << 20);
    // The most that `service/filter.rs` reserves for a batch.
    assert!(
        AUDIENCE_MEMBERS * (48 + 4 * FILTER_SCOPES as u64)
            + (AUDIENCE_BYTES + MESSAGE_BYTES) as u64
            <= *FILTER_MIB_CHOICE.start() << 20
    );
    // The longest addresses of a whole part fit as well.
    assert!(EXPORT_CONTACTS * 300 < MESSAGE_BYTES);
    // As many tokens as there may be, with a brand each, fit in their file; and
    // so does what a list of them says, in a message.
    assert!(TOKENS as u64 * 1_024 < TOKENS_FILE_BYTES);
    assert!(BACKUP_BYTES + 1_024 < MESSAGE_BYTES);
    // Events and the rest of an answer fit in a message.
    assert!(RECORDS_BYTES + (64 << 10) < MESSAGE_BYTES);
};
