//! The two programs, and folders for them.

use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::server::{Options, Server};

/// Fewer than the cap, so that a run is short.
pub const POPULATION: &str = "3000";

/// The load test, with nothing of the caller's settings.
pub fn loadtest() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.env_remove("SENDGATE_ENDPOINT").stdin(Stdio::null());
    command
}

/// Runs the load test to its end.
pub fn run(arguments: &[&str]) -> Output {
    loadtest().args(arguments).output().unwrap()
}

/// Runs the load test, which must succeed; returns its JSON.
pub fn report(arguments: &[&str]) -> Value {
    let output = loadtest().args(arguments).arg("--json").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["holds"], true);
    report
}

/// The value beside a name in the first table of a report.
pub fn value(report: &Value, name: &str) -> f64 {
    let rows = report["tables"][0]["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["what"] == name);
    row.unwrap_or_else(|| panic!("no {name} in {rows:?}"))["value"].as_f64().unwrap()
}

/// The server beside the load test; `cargo test --workspace` builds both.
pub fn sendgate() -> PathBuf {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_loadtest")).with_file_name("sendgate");
    assert!(binary.is_file(), "build it first: cargo build --release");
    binary
}

/// A server on a store of its own.
pub async fn server() -> (Server, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::new(folder.path());
    options.binary = Some(sendgate());
    let server = Server::start(options).await.unwrap();
    (server, folder)
}
