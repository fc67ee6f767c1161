//! Loads a running sendgate and checks every answer against known truth.
//!
//! Data is made before the clock starts. A wrong verdict fails the run: a fast
//! wrong answer is no result.

mod data;
mod failure;
mod filter;
mod machine;
mod populate;
mod report;
#[allow(dead_code, reason = "the workloads that start servers come next")]
mod server;

use std::{error::Error, process::ExitCode};

use clap::Parser;

/// Loads a running sendgate and checks every answer.
#[derive(Parser)]
#[command(name = "loadtest", version)]
enum Command {
    /// Filters batches of phone numbers
    Filter(filter::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Command::Filter(args) = Command::parse();
    let outcome: Result<ExitCode, Box<dyn Error + Send + Sync>> = filter::run(args).await;
    outcome.unwrap_or_else(|error| {
        eprintln!("loadtest: {error}");
        ExitCode::FAILURE
    })
}
