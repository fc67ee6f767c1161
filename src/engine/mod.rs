//! The in-memory engine: synchronous, without I/O.
//!
//! [`plane::Plane`] is an immutable set of contact IDs and answers "is it in the set" for whole
//! batches; [`directory::Directory`] turns keyed fingerprints of text addresses into the ordinals
//! that index planes. Neither knows what a scope, a consent event or a store is.

pub mod audience;
mod audience_screen;
#[cfg(test)]
mod audience_tests;
mod bits;
pub mod column;
mod counted;
pub mod directory;
mod directory_bucket;
pub mod erased;
mod explain;
#[cfg(test)]
pub mod faults;
pub mod filter;
pub mod lines;
pub mod page;
mod page_bytes;
mod page_edit;
mod page_thin;
pub mod plane;
mod plane_buckets;
mod plane_compare;
mod plane_edit;
mod plane_leaf;
mod plane_probe;
mod plane_sum;
mod pool;
mod prefetch;
pub mod reach;
pub mod recipients;
pub mod seen;
pub mod view;

pub(crate) use plane_probe::ask_for;
pub use plane_sum::Checked;

#[cfg(test)]
mod directory_tests;
#[cfg(test)]
pub(crate) mod filter_tests;
#[cfg(test)]
mod page_tests;
#[cfg(test)]
mod plane_sum_tests;
#[cfg(test)]
mod plane_tests;
