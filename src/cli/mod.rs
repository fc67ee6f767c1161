//! The command line: one binary, one file per subcommand.
//!
//! Results go to standard output, talk and progress to standard error, so that
//! output can be piped; `--json` is there where a program would read it.

mod args;
pub mod backup;
mod check;
mod completions;
pub mod config;
pub mod connect;
mod entry;
mod explain;
mod export;
mod failure;
mod files;
mod filter;
pub mod generate;
mod history;
mod import;
mod iys;
mod ledger_row;
mod output;
mod planes;
mod policy;
mod reach;
mod record;
pub mod restore;
mod right;
mod rights;
pub mod serve;
mod stats;
mod suppress;
mod systemd;
mod telemetry;
mod token;
mod top;
pub mod verify;
mod watch;

use std::{path::Path, process::ExitCode};

use clap::{Parser, Subcommand};

pub use self::failure::Failure;

/// Exit codes, as `--help` tells them.
const EXIT_CODES: &str = "\
Exit codes:
  0  done; check, explain: permitted
  1  failed
  2  wrong usage or configuration
  3  the server cannot be reached or is not ready
  4  done, but some rows or events were rejected, or differ
  5  check, explain: suppressed";

/// Something was rejected, the rest is done.
const REJECTED: u8 = 4;
/// The recipient is suppressed.
const SUPPRESSED: u8 = 5;

/// May this message go to this recipient, now?
#[derive(Parser)]
#[command(name = "sendgate", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    server: connect::Args,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it in a process")]
enum Command {
    /// Run a server
    Serve(serve::Args),
    /// Check or print the server's configuration
    #[command(subcommand)]
    Config(config::Command),
    #[command(flatten)]
    Ask(Question),
    /// Work with İYS, the Turkish registry
    #[command(subcommand)]
    Iys(iys::Command),
    /// Make up data for trials
    #[command(subcommand)]
    Generate(generate::Command),
    /// Make a store of a backup, or let it serve
    Restore(restore::Args),
    /// Recompute everything from the events of a stopped server's store and compare
    Verify(verify::Args),
    /// Print completions for a shell
    Completions(completions::Args),
}

/// The commands that talk to a server.
#[derive(Subcommand)]
enum Question {
    /// Show or replace the policy
    #[command(subcommand)]
    Policy(policy::Command),
    /// Import consents, withdrawals and suppressions from a file
    Import(import::Args),
    /// Split a recipient list into permitted and suppressed rows
    Filter(filter::Args),
    /// Export the known contacts of a scope, permitted or suppressed
    Export(export::Args),
    /// Ask about one recipient
    Check(check::Args),
    /// Say why a contact is permitted or suppressed, now or in the past
    Explain(explain::Args),
    /// Show all events of one contact
    History(history::Args),
    /// Print events as they are committed
    Watch(watch::Args),
    /// Record one consent event
    Record(record::Args),
    /// Erase a person's data
    Erase(rights::EraseArgs),
    /// Rewrite the store's files without what was erased
    Purge(rights::PurgeArgs),
    /// Move a contact to its right address
    Rectify(rights::RectifyArgs),
    /// Set a reason not to send, such as a bounce
    Suppress(suppress::Args),
    /// End a suppression
    Lift(suppress::LiftArgs),
    /// Restrict the processing of a contact (GDPR article 18)
    Restrict(right::Args),
    /// Record that a contact objects to processing (GDPR article 21)
    Object(right::Args),
    /// Count the contacts who may be written to, without a list
    Reach(reach::Args),
    /// Show what the server holds and does
    Stats(stats::Args),
    /// Show throughput, verdicts, latencies and memory, live
    Top(top::Args),
    /// Create, list and revoke the tokens that callers show
    #[command(subcommand)]
    Token(token::Command),
    /// Copy a running server's ledger into a folder, or verify such a copy
    Backup(backup::Args),
    /// Stands in `Command`, beside what needs no server
    #[command(skip)]
    AcceptRestore(restore::AcceptArgs),
    /// Stands in `Command`, beside what needs no server
    #[command(skip)]
    Iys(iys::Question),
}

/// Runs the command line of this process and says how it ended.
#[must_use]
pub fn run() -> ExitCode {
    let Cli { server, command } = Cli::parse();
    let ask = |question| ask(&server, question);
    let outcome = match command {
        Command::Serve(args) => serve::run(&args),
        Command::Config(command) => config::run(&command),
        Command::Verify(args) => verify::run(args),
        Command::Restore(restore::Args {
            command: Some(restore::Command::Accept(args)), ..
        }) => ask(Question::AcceptRestore(args)),
        Command::Restore(args) => restore::run(args),
        Command::Ask(Question::Backup(backup::Args {
            command: Some(backup::Command::Verify(args)),
            ..
        })) => backup::verify(&args),
        Command::Iys(iys::Command::Check(args)) => iys::check::run(&args),
        Command::Iys(iys::Command::Ask(question)) => ask(Question::Iys(question)),
        Command::Generate(command) => generate::run(&command),
        Command::Completions(args) => completions::run(&args),
        Command::Ask(Question::Token(command)) => match command.offline().map(Path::to_owned) {
            Some(folder) => token::run_offline(&folder, command),
            None => ask(Question::Token(command)),
        },
        Command::Ask(question) => ask(question),
    };
    outcome.unwrap_or_else(|failure| {
        eprintln!("sendgate: {failure}");
        failure.exit_code()
    })
}

fn ask(server: &connect::Args, question: Question) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let answer = async {
        let client = server.connect().await?;
        match question {
            Question::Policy(command) => policy::run(&client, command).await,
            Question::Import(args) => import::run(&client, args).await,
            Question::Filter(args) => filter::run(&client, args).await,
            Question::Export(args) => export::run(&client, args).await,
            Question::Check(args) => check::run(&client, args).await,
            Question::Explain(args) => explain::run(&client, args).await,
            Question::History(args) => history::run(&client, args).await,
            Question::Watch(args) => watch::run(&client, args).await,
            Question::Record(args) => record::run(&client, args).await,
            Question::Erase(args) => rights::erase(&client, args).await,
            Question::Purge(args) => rights::purge(&client, args).await,
            Question::Rectify(args) => rights::rectify(&client, args).await,
            Question::Suppress(args) => suppress::run(&client, args).await,
            Question::Lift(args) => suppress::run_lift(&client, args).await,
            Question::Restrict(args) => right::restrict(&client, args).await,
            Question::Object(args) => right::object(&client, args).await,
            Question::Reach(args) => reach::run(&client, args).await,
            Question::Stats(args) => stats::run(&client, &args).await,
            Question::Top(args) => top::run(&client, server.endpoint(), &args).await,
            Question::Token(command) => token::run(&client, command).await,
            Question::Backup(args) => backup::run(&client, args).await,
            Question::AcceptRestore(args) => restore::accept(&client, args).await,
            Question::Iys(question) => iys::run(&client, question).await,
        }
    };
    runtime.block_on(async {
        tokio::select! {
            outcome = answer => outcome,
            // Ends the work rather than the process, so that files under
            // temporary names are removed.
            _ = tokio::signal::ctrl_c() => Err(Failure::failed("interrupted")),
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn servers_and_clients_have_their_own_certificates() {
        let serve = ["sendgate", "serve", "--tls-cert", "a", "--tls-key", "b", "--insecure"];
        assert!(Cli::try_parse_from(serve).is_ok());
        let stats = ["sendgate", "stats", "--client-cert", "a", "--client-key", "b"];
        assert!(Cli::try_parse_from(stats).is_ok());
        assert!(Cli::try_parse_from(["sendgate", "stats", "--insecure"]).is_err());
    }
}
