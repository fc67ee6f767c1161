//! İYS, the Turkish registry of commercial consents (R12): what it would
//! refuse, what it has not yet seen, and whether it and the ledger agree.
//!
//! All of this is the caller's side of the wire: it reads files and the events
//! that a server sends, and decides nothing about who may be written to.

pub mod canonical;
pub mod check;
pub mod code;
pub mod limit;
pub mod objects;
pub mod outgoing;
#[cfg(test)]
mod outgoing_tests;
pub mod reconcile;
#[cfg(test)]
mod reconcile_tests;

pub mod recipient;

pub mod registry;
pub mod time;
pub mod upload;
pub mod words;

use std::{error::Error, fmt};

pub use crate::domain::business_days::{business_days_left, deadline, years};

/// Rows that are held in memory at once: of the registry, of one batch, of one
/// export, of a day to compare. A row takes up to about 400 bytes, so this many
/// stay below 2 GB.
pub const MAX_ROWS: usize = 5_000_000;
/// Rows that the registry takes in one batch (H125).
pub const BATCH_ROWS: usize = 1_000;

/// More rows than [`MAX_ROWS`] would have to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRows;

impl fmt::Display for TooManyRows {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "there are more than {MAX_ROWS} rows to hold in memory: split the input")
    }
}

impl Error for TooManyRows {}
