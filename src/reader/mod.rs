//! Reading the ledger for people: records behind verdicts.

mod record;

pub use record::{Record, deciding_record};
