//! The ledger on disk. The only module that names RocksDB.
//!
//! `docs/disk-format.md` describes every byte. Bytes are forever (A8); what
//! does not add up is refused at open rather than guessed (A9); a failed write
//! is final (A10).

mod backup;
mod batch;
mod checkpoint;
#[cfg(any(test, feature = "fuzzing"))]
pub mod decoders;
mod error;
mod event_row;
mod head;
mod keys;
mod log_records;
mod open;
mod options;
mod payload;
mod payload_acts;
mod policies;
mod purge;
mod restore;
mod restored;
mod rows;
mod scan;
mod snapshot;
mod state_rows;

pub use backup::BackupCopy;
pub use batch::Batch;
pub use checkpoint::{
    Checkpoint, DIRECTORY_BLOCK, DirectorySum, ERASED_FINGERPRINT, PLANE_LAYOUT, PlaneSum,
    page_hash,
};
pub use error::StoreError;
pub use event_row::{EventKind, EventRow};
pub use head::{Head, HeadKeeper};
pub use keys::{ContactKey, KeyHash};
pub use open::{Opened, Store};
pub(crate) use payload::Content;
pub use payload::{Redacted, StoredChange};
pub use payload_acts::{Remains, StoredErasure, StoredPolicy, StoredRedaction};
pub use policies::PolicyRow;
pub use purge::Purged;
pub use restored::{Loss, Restored};
pub use rows::{KeyRow, Tip};
pub use scan::PageRow;
pub use snapshot::Snapshot;
pub use state_rows::StoredState;

/// The random name of a store's history.
pub type Epoch = u128;
/// SHA-256 of an event row: the chain up to and including it.
pub type ChainHash = [u8; 32];
