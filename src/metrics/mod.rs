//! What the server measures of itself while it runs.
//!
//! Whoever does the work counts it, in a few relaxed atomics of its own; nobody
//! waits for a measurement, and whoever wants to know reads.

mod histogram;

pub use histogram::{Distribution, Histogram};
