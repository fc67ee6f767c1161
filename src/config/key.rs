//! A key, as clap knows it from its field.

use std::{
    any::TypeId,
    error::Error,
    ffi::{OsStr, OsString},
};

use clap::{
    Arg, Args, Command, FromArgMatches,
    builder::{OsStr as ClapStr, Resettable, ValueParser},
    error::{ContextKind, ContextValue},
};
use toml::Value;

use super::Settings;

/// What the names of our variables begin with.
pub(super) const PREFIX: &str = "SENDGATE_";

/// One key of [`Settings`].
#[derive(Clone, Debug)]
pub struct Key(Arg);

/// What a value is in TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Bool,
}

impl Key {
    /// All keys, in the order of their fields.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let command = Settings::augment_args(Command::new("sendgate"));
        command.get_arguments().cloned().map(Self).collect()
    }

    /// Its name in a file.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.get_id().as_str()
    }

    /// Its variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name().to_uppercase())
    }

    /// Its flag.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.0.get_long().unwrap_or_default())
    }

    /// What it is, and what is allowed.
    #[must_use]
    pub fn help(&self) -> String {
        self.0.get_help().map(ToString::to_string).unwrap_or_default()
    }

    /// What stands for a value where there is none.
    #[must_use]
    pub fn placeholder(&self) -> String {
        let names = self.0.get_value_names().unwrap_or_default();
        names.iter().map(ToString::to_string).collect()
    }

    /// Its value where nobody sets it, if it has one then.
    #[must_use]
    pub fn default(&self) -> Option<&OsStr> {
        self.0.get_default_values().first().map(|value| &**value)
    }

    /// A text that was read as this key's, as a value of TOML.
    #[must_use]
    pub fn value(&self, text: &OsStr) -> Value {
        let text = text.to_string_lossy();
        let value = match self.kind() {
            Kind::Text => None,
            Kind::Number => text.parse().ok().map(Value::Integer),
            Kind::Bool => text.parse().ok().map(Value::Boolean),
        };
        value.unwrap_or_else(|| Value::String(text.into_owned()))
    }

    pub(super) fn kind(&self) -> Kind {
        let parsed = self.0.get_value_parser().type_id();
        if parsed == TypeId::of::<bool>() {
            Kind::Bool
        } else if parsed == TypeId::of::<u64>() || parsed == TypeId::of::<usize>() {
            Kind::Number
        } else {
            Kind::Text
        }
    }

    /// Whether its parser takes this text; if not, why not.
    pub(super) fn try_text(&self, text: &OsStr) -> Result<(), String> {
        if text.is_empty() {
            return Err("it is empty".to_owned());
        }
        let command = Command::new("sendgate").arg(self.0.clone());
        match command.try_get_matches_from([OsStr::new("sendgate"), &self.as_argument(text)]) {
            Ok(_) => Ok(()),
            Err(error) => Err(reason(&error)),
        }
    }

    fn as_argument(&self, text: &OsStr) -> OsString {
        let mut argument = OsString::from(self.flag());
        argument.push("=");
        argument.push(text);
        argument
    }

    /// The flag, for a command that reads it later: as it was written, whatever
    /// it is, beside a variable that its help names.
    pub(super) fn as_flag(&self) -> Arg {
        self.0.clone().value_parser(ValueParser::os_string()).env(self.variable())
    }
}

/// The settings that these texts mean, each of which its key takes.
pub(super) fn settings<'a>(
    texts: impl Iterator<Item = (&'a Key, &'a OsStr)>,
) -> Result<Settings, String> {
    let command = Command::new("sendgate").args(Key::all().into_iter().map(|key| {
        // Variables have been read.
        key.0.env(Resettable::<ClapStr>::Reset)
    }));
    let arguments = texts.map(|(key, text)| key.as_argument(text));
    let matches = command
        .try_get_matches_from([OsString::from("sendgate")].into_iter().chain(arguments))
        .and_then(|matches| Settings::from_arg_matches(&matches));
    matches.map_err(|error| reason(&error))
}

/// Why clap refuses a value, without the talk about the command line.
fn reason(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(allowed)) => format!("it is none of {}", allowed.join(", ")),
        _ => error.kind().to_string(),
    }
}
