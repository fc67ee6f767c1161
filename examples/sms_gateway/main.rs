//! An SMS gateway. It takes batches of messages from a spool folder, asks
//! sendgate who may get theirs now, and hands those to the provider.
//!
//! ```console
//! $ echo '{"id": "may-1", "to": 905321234567, "text": "Hello"}' > spool/may.jsonl
//! $ cargo run --release --example sms_gateway -- spool outbox.jsonl --brand main
//! ```
//!
//! It stops on doubt. An error, a lost connection, a missing or a wrong answer
//! means that nobody in the batches concerned is written to; they stay in the
//! spool and are asked about again. Nothing is ever sent on an answer from
//! before a restart of either side, on one that is older than `--good-for`, or
//! on one that something recorded since may have overtaken.

mod changes;
mod provider;
mod session;
mod spool;
mod trouble;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use sendgate::cli::connect;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use self::{provider::Provider, session::Gateway, spool::Spool, trouble::Trouble};

/// How long it waits after a session that failed: this at first, then twice as
/// long each time, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Sends the text messages of a spool folder to those who may get them.
#[derive(Parser)]
#[command(name = "sms_gateway")]
struct Args {
    /// Folder of batches, one file each: NAME.jsonl, with a message a line
    spool: PathBuf,
    /// File that stands for the SMS provider: messages are appended to it
    outbox: PathBuf,
    /// The brand that the messages go out for
    #[arg(long, env = "SENDGATE_BRAND")]
    brand: String,
    /// What they are about
    #[arg(long, default_value = "marketing")]
    purpose: String,
    /// How many seconds an answer is good for; then it is asked for again
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    good_for: u64,
    /// How many messages a second the provider takes
    #[arg(long, value_name = "N", default_value = "1000")]
    rate: u32,
    /// Do not follow what is recorded between an answer and its messages. The
    /// change feed tells what was recorded of people, so its token needs the
    /// role admin; without it, a withdrawal counts after --good-for at the latest
    #[arg(long)]
    no_watch: bool,
    /// End when the spool is empty
    #[arg(long)]
    until_empty: bool,
    #[command(flatten)]
    server: connect::Args,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("sms_gateway: stopped, and what was not sent is in the spool: {trouble}");
            ExitCode::FAILURE
        }
    }
}

/// One session after the other, until it is told to stop or waiting would not
/// help any more.
async fn run(args: Args) -> Result<(), Trouble> {
    let mut stop = stop_signal()?;
    let until_empty = args.until_empty;
    let spool = Spool::open(&args.spool, until_empty)?;
    let provider = Provider::open(&args.outbox, args.rate)?;
    let mut gateway = Gateway::new(args, spool, provider, stop.clone());
    let mut wait = FIRST_WAIT;
    while !*stop.borrow() {
        let delivered = gateway.delivered();
        match gateway.session().await {
            Ok(()) if until_empty && gateway.is_done()? => break,
            Ok(()) => {}
            Err(trouble) if trouble.may_pass() => {
                if gateway.delivered() > delivered {
                    wait = FIRST_WAIT;
                }
                // Not all gateways of a failed server come back in one moment.
                let wait_now = trouble.wait().max(wait.mul_f64(rand::random_range(0.5..1.0)));
                eprintln!("sms_gateway: {trouble}; again in {:.1} s", wait_now.as_secs_f64());
                tokio::select! {
                    () = tokio::time::sleep(wait_now) => {}
                    _ = stop.changed() => {}
                }
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            Err(trouble) => return Err(trouble),
        }
    }
    eprintln!("sms_gateway: {}", gateway.summary());
    Ok(())
}

/// Becomes true at SIGTERM or Ctrl-C.
fn stop_signal() -> Result<watch::Receiver<bool>, Trouble> {
    let (stop, stopped) = watch::channel(false);
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.send_replace(true);
    });
    Ok(stopped)
}
