//! The writer: the one thread that changes anything (A4).
//!
//! It takes changes from a bounded queue, decides on them group by group, makes
//! each group durable with one sync, publishes the view that shows it, and only
//! then acknowledges (A2).

mod books;
mod checkpoint;
mod decision;
mod derive;
mod due;
mod edits;
mod ends;
mod erasure;
mod group;
mod handle;
mod item;
mod marks;
mod outcome;
mod policy;
mod publish;
mod rectify;
mod retention;
mod sync;
mod trial;
mod work;

pub use crate::store::Purged;
pub use books::Books;
pub use checkpoint::{Blocks, Pages, Saved};
pub use derive::derive;
pub use due::Due;
pub use edits::Reach;
pub use ends::grant_ends;
pub use erasure::{Erased, Erasure};
pub use handle::{Enqueued, Limits, Writer, WriterHandle};
pub use outcome::{Committed, Outcome, PolicyChange, Rejection, ScopeChange, WriteError};
pub use policy::PolicyProposal;
pub use publish::Published;
pub use rectify::{Rectification, Rectified};
pub use retention::Retention;

#[cfg(test)]
mod books_tests;
#[cfg(test)]
mod checkpoint_tests;
#[cfg(test)]
mod due_tests;
#[cfg(test)]
mod publish_tests;
