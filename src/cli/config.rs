//! `sendgate config`: what the server would run with, without running it.

use std::{collections::BTreeSet, env, process::ExitCode};

use clap::{Command as Clap, CommandFactory};
use serde_json::{Value, json};

use super::{Cli, Failure, output, serve};
use crate::config::{self, Configuration, Entry, Flags, Problem};

/// `sendgate config …`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Say whether the server could run with this configuration
    Check(CheckArgs),
    /// Print every key, its value, and where that comes from
    Print(PrintArgs),
}

/// Flags of `config check`.
#[derive(clap::Args)]
pub struct CheckArgs {
    #[command(flatten)]
    flags: Flags,
}

/// Flags of `config print`.
#[derive(clap::Args)]
pub struct PrintArgs {
    #[command(flatten)]
    flags: Flags,
    /// Print as JSON instead of a file that could be used
    #[arg(long)]
    json: bool,
}

/// Variables of ours that no flag stands for.
const OTHER_VARIABLES: [&str; 2] = [
    // Read by `Token`, so that no list of processes shows it.
    "SENDGATE_TOKEN",
    // Names this program to scripts and to the tests of clients.
    "SENDGATE_BIN",
];

/// Reads this process's configuration.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn read(flags: &Flags) -> Result<Configuration, Failure> {
    config::read(flags, env::vars_os(), &variables()).map_err(|problems| wrong(&problems))
}

/// All our variables, whichever command they are for.
fn variables() -> BTreeSet<String> {
    fn collect(command: &Clap, into: &mut BTreeSet<String>) {
        let names = command.get_arguments().filter_map(|argument| argument.get_env());
        into.extend(names.map(|name| name.to_string_lossy().into_owned()));
        command.get_subcommands().for_each(|command| collect(command, into));
    }
    let mut names = OTHER_VARIABLES.map(str::to_owned).into();
    collect(&Cli::command(), &mut names);
    names
}

fn wrong(problems: &[Problem]) -> Failure {
    let lines = problems.iter().map(|problem| format!("\n  {problem}"));
    Failure::usage(format!("the configuration is wrong:{}", lines.collect::<String>()))
}

/// Checks or prints.
///
/// # Errors
/// The configuration is wrong.
pub fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Check(args) => {
            let configuration = read(&args.flags)?;
            let problems = serve::problems(&configuration.settings);
            if !problems.is_empty() {
                return Err(wrong(&problems));
            }
            output::line("ok")?;
        }
        Command::Print(args) => {
            let entries = read(&args.flags)?.entries;
            if args.json {
                output::json(&entries.iter().map(as_json).collect())?;
            } else {
                output::line(entries.iter().map(as_toml).collect::<Vec<_>>().join("\n\n"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(entry: &Entry) -> Value {
    let value = entry.text.as_deref().map(|text| entry.key.value(text));
    json!({ "key": entry.key.name(), "value": value, "origin": entry.origin.to_string() })
}

/// A key as lines of a file: what it is, and its value; a comment if it has none.
fn as_toml(entry: &Entry) -> String {
    let Entry { key, text, origin } = entry;
    let (name, help) = (key.name(), key.help().replace('\n', "\n# "));
    match text {
        Some(text) => format!("# {help}\n{name} = {} # {origin}", key.value(text)),
        None => format!("# {help}\n#{name} = \"{}\" # not set", key.placeholder()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// Flags of clients stand beside those of every command. One of the same
    /// name would be taken for the other's, or read as another type.
    #[test]
    fn servers_and_clients_have_no_flag_of_the_same_name() {
        let command = Cli::command();
        let clients: Vec<_> = command.get_arguments().map(|it| it.get_id().as_str()).collect();
        assert!(clients.contains(&"client_cert"), "{clients:?}");
        for server in config::Key::all() {
            assert!(!clients.contains(&server.name()), "{}", server.name());
        }
    }

    /// Every variable that the sources name is one that `serve` knows of.
    #[test]
    fn no_variable_is_read_that_is_not_known() {
        fn texts(folder: &Path) -> Vec<String> {
            let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            let texts = entries.flat_map(|path| {
                if path.is_dir() { texts(&path) } else { vec![fs::read_to_string(path).unwrap()] }
            });
            texts.collect()
        }
        let known = variables();
        for name in ["SENDGATE_ENDPOINT", "SENDGATE_CONFIG", "SENDGATE_STREAM_IDLE"] {
            assert!(known.contains(name), "{name} of {known:?}");
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let named: BTreeSet<String> = texts(&root.join("src"))
            .iter()
            .chain(&texts(&root.join("loadtest/src")))
            .flat_map(|text| {
                let found = text.match_indices("\"SENDGATE_");
                found
                    .filter_map(|(at, _)| text.get(at + 1..)?.split('"').next())
                    .collect::<Vec<_>>()
            })
            .filter(|name| name.ends_with(|last: char| last.is_ascii_uppercase()))
            .map(str::to_owned)
            .collect();
        assert!(named.len() > 8, "the sources were not found: {named:?}");
        // Kubernetes' own, and one that a test makes up.
        let others = ["SENDGATE_PORT", "SENDGATE_SERVICE", "SENDGATE_LISTNE"];
        let is_other = |name: &str| others.iter().any(|other| name.starts_with(other));
        let unknown: Vec<_> =
            named.iter().filter(|name| !known.contains(*name) && !is_other(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
