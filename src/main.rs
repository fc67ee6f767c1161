//! The command line of sendgate.

use std::process::ExitCode;

fn main() -> ExitCode {
    sendgate::cli::run()
}
