//! The writer: the one thread that changes anything (A4).
//!
//! It takes changes from a bounded queue, decides on them group by group, makes
//! each group durable with one sync, publishes the view that shows it, and only
//! then acknowledges (A2).

mod beside;
mod books;
mod checkpoint;
mod decision;
mod derive;
mod doubt;
mod due;
mod edits;
mod ends;
mod erased_rows;
mod erasure;
mod group;
mod handle;
mod item;
mod marks;
mod measures;
mod outcome;
mod policy;
mod publish;
mod rectify;
mod repair;
mod replay;
mod restored;
mod retention;
mod scrub;
mod search;
mod sync;
mod trial;
mod work;

pub use crate::store::{Loss, Purged, Remains, Restored};
pub use beside::Backup;
pub use books::Books;
pub use checkpoint::{Blocks, Pages, Saved};
pub use derive::derive;
pub use doubt::{Doubts, Since};
pub use due::Due;
pub use edits::Reach;
pub use ends::grant_ends;
pub use erasure::{Erased, Erasure};
pub use handle::{Enqueued, Limits, Writer, WriterHandle};
pub use measures::Measures;
pub use outcome::{Committed, Outcome, PolicyChange, Rejection, ScopeChange, WriteError};
pub use policy::PolicyProposal;
pub use publish::Published;
pub use rectify::{Rectification, Rectified};
pub use replay::ReplayedErasure;
pub use retention::Retention;
pub use scrub::Scrubbed;
pub use search::Search;

#[cfg(test)]
mod books_tests;
#[cfg(test)]
mod checkpoint_tests;
#[cfg(test)]
mod due_tests;
#[cfg(test)]
mod publish_tests;
#[cfg(test)]
mod scrub_tests;
#[cfg(test)]
mod shared_tests;
