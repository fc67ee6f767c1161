//! Defaults, file, environment and flags put together; what is wrong in any of
//! them is told at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgMatches, Command, FromArgMatches, parser::ValueSource};

use super::{
    Settings,
    file::{self, Line},
    key::{self, Key, Kind, PREFIX},
};

/// What Kubernetes tells every container beside a service of our name; it is
/// not meant for us.
const FOREIGN: [&str; 2] = ["SENDGATE_PORT", "SENDGATE_SERVICE_"];

/// The flags of all keys, as they were written, and of the file.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    file: Option<PathBuf>,
    given: Vec<(Key, OsString)>,
}

/// The argument that names the file.
const FILE: &str = "config";

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(FILE)
            .long(FILE)
            .value_name("FILE")
            .env(format!("{PREFIX}CONFIG"))
            .value_parser(clap::value_parser!(PathBuf))
            .help("Configuration file in TOML; variables and flags count more than what it says");
        command.arg(file).args(Key::all().iter().map(Key::as_flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        // Variables are read with the file, to tell at once what is wrong.
        let written = |name: &str| {
            let is_written = matches.value_source(name) == Some(ValueSource::CommandLine);
            let value = matches.get_raw(name).and_then(|mut values| values.next_back());
            value.filter(|_| is_written).map(OsStr::to_owned)
        };
        let given = Key::all().into_iter().filter_map(|key| {
            let text = written(key.name())?;
            Some((key, text))
        });
        Ok(Self { file: written(FILE).map(PathBuf::from), given: given.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// This line of the file.
    File(PathBuf, usize),
    /// This variable.
    Variable(String),
    /// This flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(path, line) => write!(formatter, "{}:{line}", path.display()),
            Self::Variable(name) => formatter.write_str(name),
            Self::Flag(name) => formatter.write_str(name),
        }
    }
}

/// A key's value in force.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// Its value as text, if it has one.
    pub text: Option<OsString>,
    /// Where that comes from.
    pub origin: Origin,
}

/// What is in force, and why.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The values.
    pub settings: Settings,
    /// Each key with its value and origin.
    pub entries: Vec<Entry>,
}

/// Something that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(String);

impl Problem {
    fn at(place: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self(format!("{place}: {what}"))
    }

    /// A problem that only the running server's surroundings show.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Reads the configuration of a process with these flags and variables.
/// `foreign` are the variables of other commands.
///
/// # Errors
/// Everything that is wrong.
pub fn read(
    flags: &Flags,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    foreign: &BTreeSet<String>,
) -> Result<Configuration, Vec<Problem>> {
    let mut layers = Layers { keys: Key::all(), given: Vec::new(), problems: Vec::new() };
    let mut variables: BTreeMap<String, OsString> = variables
        .into_iter()
        .filter_map(|(name, text)| Some((name.into_string().ok()?, text)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    let named = variables.remove(&format!("{PREFIX}CONFIG")).map(PathBuf::from);
    if let Some(path) = flags.file.as_ref().or(named.as_ref()) {
        layers.file(path);
    }
    layers.variables(variables, foreign);
    for (key, text) in &flags.given {
        layers.give(key.clone(), text.clone(), Origin::Flag(key.flag()));
    }
    layers.settle()
}

/// What was given so far, the later over the earlier.
struct Layers {
    keys: Vec<Key>,
    given: Vec<Entry>,
    problems: Vec<Problem>,
}

impl Layers {
    fn file(&mut self, path: &Path) {
        let text = match file::contents(path) {
            Ok(text) => text,
            Err(error) => return self.problems.push(Problem::at(path.display(), error)),
        };
        let (lines, errors) = file::lines(&text);
        let place = |line| Origin::File(path.to_owned(), line);
        self.problems
            .extend(errors.into_iter().map(|(line, error)| Problem::at(place(line), error)));
        for Line { number, key: name, value } in lines {
            let origin = place(number);
            let Some(key) = self.keys.iter().find(|key| key.name() == name).cloned() else {
                let what = format!("there is no key {name}; `sendgate config print` shows all");
                self.problems.push(Problem::at(origin, what));
                continue;
            };
            let (expected, found) = match (key.kind(), value) {
                (kind, Ok((found, text))) if kind == found => {
                    self.give(key, text.into(), origin);
                    continue;
                }
                (kind, Ok((found, _))) => (kind, described(found)),
                (kind, Err(found)) => (kind, found),
            };
            let what = format!("{name} is {found}, not {}: {}", described(expected), key.help());
            self.problems.push(Problem::at(origin, what));
        }
    }

    fn variables(&mut self, variables: BTreeMap<String, OsString>, foreign: &BTreeSet<String>) {
        for (name, text) in variables {
            if let Some(key) = self.keys.iter().find(|key| key.variable() == name).cloned() {
                self.give(key, text, Origin::Variable(name));
            } else if !foreign.contains(&name) && !FOREIGN.iter().any(|of| name.starts_with(of)) {
                let what = "there is no such variable; `sendgate serve --help` shows all";
                self.problems.push(Problem::at(name, what));
            }
        }
    }

    /// Takes a value, if its key does.
    fn give(&mut self, key: Key, text: OsString, origin: Origin) {
        match key.try_text(&text) {
            Ok(()) => self.given.push(Entry { key, text: Some(text), origin }),
            Err(why) => {
                let (name, help) = (key.name(), key.help());
                let what = format!("{name} = {}: {why}. {help}", text.to_string_lossy());
                self.problems.push(Problem::at(origin, what));
            }
        }
    }

    fn settle(mut self) -> Result<Configuration, Vec<Problem>> {
        let in_force = |key: &Key| {
            let last = self.given.iter().rfind(|entry| entry.key.name() == key.name());
            last.cloned().unwrap_or_else(|| Entry {
                key: key.clone(),
                text: key.default().map(OsStr::to_owned),
                origin: Origin::Default,
            })
        };
        let entries: Vec<Entry> = self.keys.iter().map(in_force).collect();
        let texts = entries.iter().filter_map(|entry| Some((&entry.key, entry.text.as_deref()?)));
        let settings = match key::settings(texts) {
            Ok(settings) => settings,
            Err(error) => {
                self.problems.push(Problem(error));
                return Err(self.problems);
            }
        };
        self.problems.extend(settings.contradictions().into_iter().map(Problem));
        if self.problems.is_empty() {
            Ok(Configuration { settings, entries })
        } else {
            Err(self.problems)
        }
    }
}

fn described(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "a text",
        Kind::Number => "a number",
        Kind::Bool => "true or false",
    }
}
