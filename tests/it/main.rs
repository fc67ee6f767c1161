//! Tests of the whole: a real server, a real store, real streams.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing, and so do their helpers"
)]

mod alerts;
mod audit;
mod backup;
mod bad_events;
mod bad_input;
mod batches;
mod callers;
mod calls;
mod certificates;
mod cli;
mod cli_suppress;
mod collisions;
mod config;
#[allow(dead_code, reason = "shared with tests/faults, which need more of it")]
mod damage;
mod denials;
mod describe;
mod explain;
mod export;
mod fuzzing;
mod gateway;
mod golden;
mod history;
mod hostile;
mod http;
mod http2_abuse;
mod import_files;
mod imports;
mod iys;
mod iys_registered;
mod layering;
mod limits;
mod limits_named;
mod linear;
mod linear_model;
mod metrics;
mod model;
mod no_address;
mod orders;
#[cfg(feature = "otel")]
mod otel;
mod overload;
mod packaging;
mod policy_change;
mod policy_load;
#[allow(dead_code, reason = "shared with tests/faults, which need more of it")]
mod process;
mod purge;
mod raw;
mod reach;
mod refusal;
mod restore;
mod retention;
mod rights;
mod scopes;
mod shutdown;
mod slow_clients;
mod statistics;
mod streams;
mod support;
mod table;
mod tls;
mod tokens;
mod tokens_cli;
mod tokens_streams;
mod tokens_table;
mod top;
mod unsafe_code;
mod watch;
mod watch_on;
mod wire;
mod worked_examples;
