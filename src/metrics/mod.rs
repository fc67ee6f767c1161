//! What the server measures of itself while it runs.
//!
//! Whoever does the work counts it, in a few relaxed atomics of its own; nobody
//! waits for a measurement, and whoever wants to know reads. There is no
//! registry: most values are kept already by whoever needs them, and a registry
//! would keep them a second time.

mod histogram;
pub mod names;
mod page;

pub use histogram::{Distribution, Histogram};
pub use page::{Kind, Metric, Page};
