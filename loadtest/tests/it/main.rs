//! The load test against real servers, and against bad ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

mod bad_servers;
#[path = "../../src/failure.rs"]
mod failure;
mod forgetful;
mod liar;
#[path = "../../src/server.rs"]
#[allow(dead_code, reason = "the tests use a part of it")]
mod server;
mod support;
mod workloads;
