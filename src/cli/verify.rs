//! `sendgate verify`: recompute everything from the events and compare.

use std::{path::PathBuf, process::ExitCode};

use super::Failure;
use crate::{
    clock::Clock,
    recovery,
    verify::{self, ExpectedHead},
};

/// Flags of `sendgate verify`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the store. No server may have it open.
    #[arg(long, value_name = "DIR", default_value = "sendgate-data", env = "SENDGATE_DATA")]
    data: PathBuf,
    /// A head that was kept elsewhere, as REVISION:HASH; several may be given.
    /// The audit log has one a minute.
    #[arg(long, value_name = "REV:HASH", value_parser = expected_head)]
    expect_head: Vec<ExpectedHead>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

fn expected_head(text: &str) -> Result<ExpectedHead, String> {
    let read = || {
        let (revision, hash) = text.split_once(':')?;
        let hash: Vec<u8> = (0..hash.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(hash.get(at..at + 2)?, 16).ok())
            .collect::<Option<_>>()?;
        Some((revision.parse().ok()?, hash.try_into().ok()?))
    };
    read().ok_or_else(|| "write a revision, a colon and 64 hexadecimal digits".to_owned())
}

/// Verifies a store and prints what it holds, or what is wrong with it.
///
/// # Errors
/// The store is refused at open, or differs from its events.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    if !args.data.join("CURRENT").exists() {
        return Err(Failure::usage(format!("{} holds no store", args.data.display())));
    }
    let books = recovery::open(&args.data, Clock::System)
        .map_err(|error| Failure::failed(error.to_string()))?;
    let report = verify::verify(&books, &args.expect_head)
        .map_err(|error| Failure::failed(error.to_string()))?;
    if args.json {
        println!(
            "{}",
            serde_json::json!({
                "ok": report.differences.is_empty(),
                "revision": report.revision,
                "chain_head": report.chain_head,
                "events": report.events,
                "contacts": report.contacts,
                "planes": report.planes,
                "differences": report.differences,
            })
        );
    } else {
        println!("events    {} (revision {}), chain whole", report.events, report.revision);
        println!("head      {}", report.chain_head);
        println!("contacts  {}", report.contacts);
        println!("planes    {}", report.planes);
        for difference in &report.differences {
            println!("DIFFERS   {difference}");
        }
        println!("{}", if report.differences.is_empty() { "verified" } else { "NOT verified" });
    }
    if report.differences.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(Failure::failed(
            "the store differs from its own events: do not serve it; restore a backup".to_owned(),
        ))
    }
}
