//! Faults, injected from outside into the real server, and held against what an
//! oracle outside of it knows (see `docs/reliability.md`).
//!
//! The ordinary run makes a few trials of each; `scripts/torture.sh` goes on
//! for as long as it is told to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing, and so do their helpers"
)]

mod campaign;
mod clock;
#[path = "../it/damage.rs"]
#[allow(dead_code, reason = "shared with the other tests, which need more of it")]
mod damage;
mod eio;
mod flip;
mod full;
mod journal;
mod kill;
mod load;
mod memory;
mod oracle;
mod power;
#[path = "../it/process.rs"]
#[allow(dead_code, reason = "shared with the other tests, which need more of it")]
mod process;
mod shim;
mod stall;
mod start;
#[path = "../it/support.rs"]
#[allow(dead_code, reason = "shared with the other tests, which need more of it")]
mod support;
mod torn;
