//! Loads a sendgate and checks every answer against known truth.
//!
//! Data is made before the clock starts. A wrong verdict fails the run: a fast
//! wrong answer is no result.

mod arguments;
mod calls;
mod compare;
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

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use self::{
    failure::Failure,
    workload::{check, filter, import, mixed, record, restart, scale},
};

/// Loads a sendgate and checks every answer.
#[derive(Parser)]
#[command(name = "loadtest", version)]
#[allow(clippy::large_enum_variant, reason = "there is one of it in a process")]
enum Command {
    #[command(flatten)]
    Load(Load),
    /// A server that comparisons start
    #[command(hide = true)]
    Baseline(compare::baseline::Args),
    /// The sendgate of this build, which comparisons start
    #[command(hide = true)]
    Serve(sendgate::cli::serve::Args),
}

/// What can be measured.
#[derive(Subcommand)]
enum Load {
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
    /// Holds sendgate against what people use today, side by side on this machine
    Compare(compare::Args),
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Load(load) => start(load),
        // Servers have runtimes of their own.
        Command::Baseline(args) => compare::baseline::run(&args),
        Command::Serve(args) => {
            sendgate::cli::serve::run(&args).map_err(|it| it.to_string().into())
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("loadtest: {error}");
        ExitCode::FAILURE
    })
}

fn start(load: Load) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(until_interrupted(load));
    // Nothing is waited for that a run left behind.
    runtime.shutdown_background();
    outcome
}

/// Runs a command; a signal drops it, and with it the servers that it started.
async fn until_interrupted(load: Load) -> Result<ExitCode, Failure> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        outcome = run(load) => outcome,
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("asked to stop".into()),
    }
}

async fn run(load: Load) -> Result<ExitCode, Failure> {
    match load {
        Load::Filter(args) => filter::run(args).await,
        Load::Check(args) => check::run(args).await,
        Load::Record(args) => record::run(args).await,
        Load::Import(args) => import::run(args).await,
        Load::Mixed(args) => mixed::run(args).await,
        Load::Restart(args) => restart::run(args).await,
        Load::Scale(args) => scale::run(args).await,
        // Its servers live as long as the thread that starts them.
        Load::Compare(args) => tokio::task::spawn_blocking(move || compare::run(args)).await?,
    }
}
