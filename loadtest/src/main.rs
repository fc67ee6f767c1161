//! Loads a sendgate and checks every answer against known truth.
//!
//! Data is made before the clock starts. A wrong verdict fails the run: a fast
//! wrong answer is no result.

mod arguments;
mod calls;
mod data;
mod document;
mod failure;
mod leaving;
mod machine;
mod measure;
mod own;
mod report;
mod server;
mod session;
mod streams;
mod workload;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use self::{
    failure::Failure,
    workload::{check, filter, import, mixed, record, restart, scale},
};

/// Loads a sendgate and checks every answer.
#[derive(Parser)]
#[command(name = "loadtest", version)]
enum Command {
    /// Filters batches over several streams
    Filter(filter::Args),
    /// Checks one recipient a call
    Check(check::Args),
    /// Records one change a call
    Record(record::Args),
    /// Imports many events
    Import(import::Args),
    /// Filters at full speed while withdrawals arrive
    Mixed(mixed::Args),
    /// Stops and kills a server of its own and waits until it answers again
    Restart(restart::Args),
    /// Grows a store of its own step by step and measures what each step costs
    Scale(scale::Args),
}

fn main() -> ExitCode {
    let command = Command::parse();
    let outcome = match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let outcome = runtime.block_on(until_interrupted(command));
            // Nothing is waited for that a run left behind.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("loadtest: {error}");
        ExitCode::FAILURE
    })
}

/// Runs a command; a signal drops it, and with it the servers that it started.
async fn until_interrupted(command: Command) -> Result<ExitCode, Failure> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        outcome = run(command) => outcome,
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("asked to stop".into()),
    }
}

async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Filter(args) => filter::run(args).await,
        Command::Check(args) => check::run(args).await,
        Command::Record(args) => record::run(args).await,
        Command::Import(args) => import::run(args).await,
        Command::Mixed(args) => mixed::run(args).await,
        Command::Restart(args) => restart::run(args).await,
        Command::Scale(args) => scale::run(args).await,
    }
}
