//! Tests of the whole: a real server, a real store, real streams.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing, and so do their helpers"
)]

mod bad_events;
mod bad_input;
mod batches;
mod cli;
mod cli_suppress;
mod crash;
mod crash_model;
mod damage;
mod imports;
mod layering;
mod model;
mod orders;
mod policy_change;
mod policy_load;
mod process;
mod reach;
mod refusal;
mod scopes;
mod streams;
mod support;
mod torn;
mod wire;
mod worked_examples;
