//! Layers, origins, and everything that is wrong at once.

use std::{collections::BTreeSet, ffi::OsString, fs};

use clap::{Args, Command, FromArgMatches};
use tempfile::TempDir;

use super::*;

/// A configuration to try: a file, variables and flags.
struct Trial {
    folder: TempDir,
    variables: Vec<(OsString, OsString)>,
    flags: Vec<String>,
}

impl Trial {
    fn new(file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sendgate.toml");
        fs::write(&path, file).unwrap();
        let flags = vec!["--config".to_owned(), path.to_str().unwrap().to_owned()];
        Self { folder, variables: Vec::new(), flags }
    }

    fn without_file() -> Self {
        Self { flags: Vec::new(), ..Self::new("") }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    fn read(&self) -> Result<Configuration, Vec<Problem>> {
        let command = Flags::augment_args(Command::new("sendgate"));
        let flags = std::iter::once("sendgate").chain(self.flags.iter().map(String::as_str));
        let matches = command.try_get_matches_from(flags).unwrap();
        let flags = Flags::from_arg_matches(&matches).unwrap();
        read(&flags, self.variables.clone(), &BTreeSet::from(["SENDGATE_BRAND".to_owned()]))
    }

    /// What is wrong, with the folder's name left out.
    fn problems(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        let problems = self.read().unwrap_err();
        problems.iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    }

    fn problem(&self) -> String {
        let problems = self.problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems.concat()
    }
}

fn origin(configuration: &Configuration, key: &str) -> Origin {
    let entry = configuration.entries.iter().find(|entry| entry.key.name() == key);
    entry.unwrap().origin.clone()
}

#[test]
fn defaults_are_those_of_the_caps() {
    let read = Trial::without_file().read().unwrap();
    assert!(read.entries.iter().all(|entry| entry.origin == Origin::Default));
    assert_eq!(format!("{:?}", read.settings.limits()), format!("{:?}", Limits::default()));
    assert_eq!(read.settings.log_format, LogFormat::Text);
    assert_eq!(read.settings.http_listen, Some("127.0.0.1:9464".parse().unwrap()));
    assert!(read.settings.tls_cert.is_none() && !read.settings.insecure);
}

/// Each layer over the one before, and each value with its origin.
#[test]
fn a_file_is_over_defaults_a_variable_over_the_file_and_a_flag_over_all() {
    let file = "# first\nconnections = 11\npeer_connections = 11\n\nstream_idle = 1_1\n";
    let read = Trial::new(file)
        .variable("SENDGATE_PEER_CONNECTIONS", "22")
        .variable("SENDGATE_STREAM_IDLE", "22")
        .flag("--stream-idle=33")
        .read()
        .unwrap();
    let Settings { connections, peer_connections, stream_idle, .. } = read.settings;
    assert_eq!((connections, peer_connections, stream_idle), (11, 22, 33));
    assert!(matches!(origin(&read, "connections"), Origin::File(_, 2)));
    assert_eq!(
        origin(&read, "peer_connections"),
        Origin::Variable("SENDGATE_PEER_CONNECTIONS".to_owned())
    );
    assert_eq!(origin(&read, "stream_idle"), Origin::Flag("--stream-idle".to_owned()));
    assert_eq!(origin(&read, "stream_age"), Origin::Default);
}

#[test]
fn a_variable_may_name_the_file_and_a_flag_another() {
    let mut named = Trial::new("stream_idle = 5");
    let path = named.flags.pop().unwrap();
    named.flags.clear();
    let named = named.variable("SENDGATE_CONFIG", &path);
    assert_eq!(named.read().unwrap().settings.stream_idle, 5);
    let both = Trial::new("stream_idle = 6").variable("SENDGATE_CONFIG", &path);
    assert_eq!(both.read().unwrap().settings.stream_idle, 6);
}

#[test]
fn every_key_can_be_set_in_every_layer() {
    let values = [
        ("data", "d"),
        ("listen", "127.0.0.1:1"),
        ("insecure", "true"),
        ("tls_cert", "c"),
        ("tls_key", "k"),
        ("tls_client_ca", "a"),
        ("http_listen", "off"),
        ("log_format", "json"),
        ("log_level", "warn,sendgate::writer=debug"),
        ("shutdown_deadline", "60"),
        ("connections", "60"),
        ("peer_connections", "60"),
        ("stream_idle", "60"),
        ("stream_age", "60"),
        ("filter_memory", "300"),
        ("transport_memory", "300"),
    ];
    let keys = Key::all();
    assert_eq!(keys.iter().map(Key::name).collect::<Vec<_>>(), values.map(|(name, _)| name));
    let lines: Vec<String> = keys
        .iter()
        .zip(values)
        .map(|(key, (name, text))| format!("{name} = {}", key.value(text.as_ref())))
        .collect();
    let file = Trial::new(&lines.join("\n")).read().unwrap();
    let variables =
        keys.iter().zip(values).fold(Trial::without_file(), |trial, (key, (_, text))| {
            trial.variable(&key.variable(), text)
        });
    let variables = variables.read().unwrap();
    let flags = keys.iter().zip(values).fold(Trial::without_file(), |trial, (key, (_, text))| {
        trial.flag(&format!("{}={text}", key.flag()))
    });
    let flags = flags.read().unwrap();
    let defaults = format!("{:?}", Trial::without_file().read().unwrap().settings);
    assert_eq!(format!("{:?}", file.settings), format!("{:?}", flags.settings));
    assert_eq!(format!("{:?}", variables.settings), format!("{:?}", flags.settings));
    assert!(flags.entries.iter().all(|entry| matches!(entry.origin, Origin::Flag(_))));
    assert_ne!(format!("{:?}", flags.settings), defaults);
}

#[test]
fn what_is_not_known_is_refused_by_name_and_line() {
    let unknown = Trial::new("\nlisten = \"127.0.0.1:1\"\nlistne = \"127.0.0.1:2\"").problem();
    assert!(unknown.starts_with("sendgate.toml:3: there is no key listne;"), "{unknown}");
    let table = Trial::new("[server]\nlisten = \"127.0.0.1:1\"").problem();
    assert!(table.starts_with("sendgate.toml:1: there is no key server;"), "{table}");
    let variable = Trial::without_file().variable("SENDGATE_LISTNE", "x").problem();
    assert!(variable.starts_with("SENDGATE_LISTNE: there is no such variable"), "{variable}");
    let foreign = Trial::without_file()
        .variable("SENDGATE_BRAND", "main")
        .variable("SENDGATE_PORT_50051_TCP_ADDR", "10.0.0.1")
        .variable("SENDGATE_SERVICE_HOST", "10.0.0.1")
        .variable("LISTNE", "of somebody else");
    assert!(foreign.read().is_ok());
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let problems = Trial::new("connections = 0\nlistne = 1\ntls_cert = \"c\"\n")
        .variable("SENDGATE_STREAM_AGE", "59")
        .flag("--log-format=xml")
        .problems();
    let begins = [
        "sendgate.toml:1: connections = 0: 0 is not in 1..=65536. Connections at once, 1 to 65536",
        "sendgate.toml:2: there is no key listne",
        "SENDGATE_STREAM_AGE: stream_age = 59: 59 is not in 60..=604800. Seconds",
        "--log-format: log_format = xml: it is none of text, json. Form of the log",
        "tls_cert and tls_key go together",
    ];
    assert_eq!(problems.len(), begins.len(), "{problems:#?}");
    for (problem, begin) in problems.iter().zip(begins) {
        assert!(problem.starts_with(begin), "{problem} does not begin with {begin}");
    }
}

#[test]
fn values_have_the_type_of_their_key() {
    for (line, what) in [
        ("listen = 50051", "listen is a number, not a text: Address"),
        ("connections = \"9\"", "connections is a text, not a number: Connections"),
        ("connections = 1.5", "connections is a fraction, not a number"),
        ("connections = [1]", "connections is a list, not a number"),
        ("connections = 99999999999999999999", "connections is a number beyond all bounds"),
        ("insecure = \"true\"", "insecure is a text, not true or false"),
        ("data = { path = \"x\" }", "data is a table, not a text"),
        ("stream_idle = -1", "stream_idle = -1: "),
        ("data = \"\"", "data = : it is empty"),
        ("http_listen = \"of\"", "http_listen = of: invalid socket address syntax. Address"),
        ("log_level = \"inof\"", "log_level = inof: \"inof\" is no level. What"),
        ("log_level = \"info,a=b=c\"", "log_level = info,a=b=c: "),
        ("insecure = yes", ""),
        ("listen", ""),
    ] {
        let problem = Trial::new(line).problem();
        assert!(problem.starts_with(&format!("sendgate.toml:1: {what}")), "{line}: {problem}");
    }
    let hexadecimal = Trial::new("connections = 0xff").read().unwrap();
    assert_eq!(hexadecimal.settings.connections, 255);
    assert!(Trial::without_file().flag("--insecure").read().unwrap().settings.insecure);
    assert!(
        !Trial::new("insecure = true").flag("--insecure=false").read().unwrap().settings.insecure
    );
}

#[test]
fn keys_that_belong_together_are_held_together() {
    for (file, what) in [
        ("tls_key = \"k\"", "tls_cert and tls_key go together"),
        ("tls_client_ca = \"a\"", "tls_client_ca needs tls_cert"),
        ("http_listen = \"127.0.0.1:50051\"", "listen and http_listen are the same address"),
    ] {
        let problem = Trial::new(file).problem();
        assert!(problem.starts_with(what), "{problem}");
    }
}

/// The help says "A to B"; the parser must agree, and so must the caps.
#[test]
fn numbers_are_allowed_from_what_the_help_says_to_what_it_says() {
    let numbers: Vec<Key> =
        Key::all().into_iter().filter(|key| key.kind() == key::Kind::Number).collect();
    let choices = [
        caps::DRAIN_CHOICE,
        caps::CONNECTIONS_CHOICE,
        caps::CONNECTIONS_CHOICE,
        caps::STREAM_IDLE_CHOICE,
        caps::STREAM_AGE_CHOICE,
        caps::FILTER_MIB_CHOICE,
        caps::TRANSPORT_MIB_CHOICE,
    ];
    assert_eq!(numbers.len(), choices.len());
    for (key, choice) in numbers.iter().zip(choices) {
        let (least, most) = (choice.start(), choice.end());
        let help = key.help().replace('\n', " ");
        assert!(help.ends_with(&format!(", {least} to {most}")), "{help}");
        let takes = |number: u64| key.try_text(number.to_string().as_ref()).is_ok();
        assert!(takes(*least) && takes(*most) && !takes(least - 1) && !takes(most + 1), "{help}");
    }
}

#[test]
fn a_file_that_is_none_is_an_error() {
    let gone = Trial::without_file().flag("--config=/nowhere/sendgate.toml").problem();
    assert!(
        gone.starts_with("/nowhere/sendgate.toml: the configuration file cannot be read"),
        "{gone}"
    );
    let folder = Trial::without_file().flag("--config=/").problem();
    assert!(folder.contains("cannot be read"), "{folder}");
    let of = |bytes: u64| "#".repeat(usize::try_from(bytes).unwrap());
    assert!(Trial::new(&of(caps::CONFIG_FILE_BYTES)).read().is_ok());
    let long = Trial::new(&of(caps::CONFIG_FILE_BYTES + 1)).problem();
    assert!(long.contains("more than 1048576 bytes"), "{long}");
}
