//! The import directions of the design (section 9), read from the source
//! itself, and what else every source file must keep to.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Which modules of ours each one may name. Everything below `domain` is free
/// of the rest; `engine` and `store` never see each other.
const ALLOWED: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("lib", &[]),
    (
        "app",
        &[
            "audit",
            "caps",
            "clock",
            "ending",
            "health",
            "http",
            "reader",
            "recovery",
            "service",
            "store",
            "tokens",
            "transport",
            "writer",
        ],
    ),
    ("audit", &["caps", "clock"]),
    // Folders of backups; a restored one is opened as a server would.
    ("backup", &["audit", "clock", "recovery", "store", "verify"]),
    ("caps", &[]),
    ("clock", &[]),
    ("config", &["caps"]),
    ("domain", &[]),
    ("ending", &[]),
    ("engine", &["domain"]),
    ("store", &["domain", "metrics"]),
    ("memory", &[]),
    // Only gRPC's own health service, and what it is told.
    ("health", &[]),
    ("http", &["caps", "health", "memory", "metrics", "service", "transport"]),
    // What counts and how it is told; those who count import it.
    ("metrics", &[]),
    // Spans, and where they are sent; those who are spanned import it.
    ("traces", &["caps"]),
    (
        "writer",
        &["caps", "clock", "domain", "ending", "engine", "memory", "metrics", "store", "traces"],
    ),
    ("reader", &["domain", "store"]),
    ("recovery", &["clock", "domain", "engine", "store", "writer"]),
    ("verify", &["domain", "engine", "store", "writer"]),
    (
        "service",
        &[
            "audit", "caps", "domain", "engine", "memory", "metrics", "proto", "reader", "tokens",
            "traces", "writer",
        ],
    ),
    ("tokens", &["caps", "clock"]),
    // What carries the services knows nothing of them.
    ("transport", &["caps", "clock"]),
    ("proto", &[]),
    ("client", &["proto", "tokens"]),
    ("formats", &["proto"]),
    // What the registry asks is pure; the commands bring files and servers.
    ("iys", &["domain", "formats", "proto"]),
    // Some subcommands run a server or open what is its; see `allowed_in`.
    ("cli", &["client", "formats", "iys", "proto", "tokens"]),
];

/// The modules that a file may name: those of its module, and for the
/// subcommands that are not clients what they are made of.
fn allowed_in(file: &str) -> Option<BTreeSet<&'static str>> {
    let module = file.split(['/', '.']).next()?;
    let (_, allowed) = ALLOWED.iter().find(|(name, _)| *name == module)?;
    let extra: &[&str] = match file {
        "cli/config.rs" => &["config"],
        "cli/serve.rs" => &["app", "caps", "clock", "config", "transport"],
        "cli/backup.rs" => &["backup"],
        "cli/restore.rs" => &["backup", "clock"],
        "cli/systemd.rs" => &["app"],
        "cli/telemetry.rs" => &["config", "traces"],
        "cli/verify.rs" => &["clock", "recovery", "verify"],
        // Without a server, its tokens and its log are written here.
        "cli/token/offline.rs" => &["audit", "clock"],
        // The registry's limits are counted from now.
        "cli/iys/check.rs" | "cli/iys/export.rs" => &["clock"],
        // Tests open a store as a server does, from whatever module they test.
        _ if file.ends_with("_tests.rs") => &["recovery"],
        _ => &[],
    };
    Some(allowed.iter().chain(extra).copied().collect())
}

/// What is wrong with a source file, in words; `file` is its path below `src`.
fn faults(file: &str, source: &str) -> Vec<String> {
    let code = without_comments(source);
    let module = file.split(['/', '.']).next().unwrap_or_default();
    let mut faults = Vec::new();
    match allowed_in(file) {
        None => faults.push(format!("{module} is no module of the design: say what it may import")),
        Some(allowed) => {
            let named = imported(file, &code).into_iter();
            let wrong = named.filter(|name| name != module && !allowed.contains(name.as_str()));
            faults.extend(wrong.map(|name| format!("{module} may not import {name}")));
        }
    }
    if module != "store" && words(&code).any(|word| word == "rocksdb") {
        faults.push("only the store names rocksdb".to_owned());
    }
    for unfinished in ["todo", "unimplemented"] {
        if code.contains(&format!("{unfinished}!")) {
            faults.push(format!("{unfinished}! is not finished work"));
        }
    }
    if source.lines().count() > 450 {
        faults.push(format!("{} lines; split it by noun", source.lines().count()));
    }
    faults
}

fn without_comments(source: &str) -> String {
    source.lines().filter(|line| !line.trim_start().starts_with("//")).fold(
        String::new(),
        |mut code, line| {
            code.push_str(line);
            code.push('\n');
            code
        },
    )
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
}

/// The modules of ours that a file names: behind `crate::`, or behind as many
/// `super::` as lead there, alone or as the outermost names of a braced list;
/// in `use` lines and in paths alike.
fn imported(file: &str, code: &str) -> BTreeSet<String> {
    let depth = file.trim_end_matches("/mod.rs").split('/').count();
    let to_the_root = "super::".repeat(depth);
    // The binary sees the library under its name.
    let name = if file == "main.rs" { "sendgate::" } else { "crate::" };
    let named = |marker: &str| -> Vec<String> {
        let paths = code.match_indices(marker).map(|(at, _)| &code[at + marker.len()..]);
        paths.flat_map(|path| path.strip_prefix('{').map_or(first_word(path), outermost)).collect()
    };
    // Inner modules, such as tests, go up one more for what is beside them:
    // only the name of one of our modules is one.
    let is_ours = |name: &String| ALLOWED.iter().any(|(module, _)| module == name);
    let by_super = named(&to_the_root).into_iter().filter(is_ours);
    named(name).into_iter().chain(by_super).collect()
}

fn first_word(path: &str) -> Vec<String> {
    let word = words(path.trim_start()).next().filter(|word| !word.is_empty());
    word.into_iter().map(str::to_owned).collect()
}

/// The first word of each item of a list, up to its closing brace.
fn outermost(list: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut depth = 0;
    for letter in list.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(String::new()),
            letter if depth == 0 => items.last_mut().unwrap().push(letter),
            _ => {}
        }
    }
    items.iter().flat_map(|item| first_word(item)).collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

#[test]
fn every_source_file_keeps_to_the_design() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let files = sources(&root);
    assert!(files.len() > 50, "the sources were not found");
    for path in files {
        let source = fs::read_to_string(&path).unwrap();
        let file = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        wrong.extend(faults(&file, &source).into_iter().map(|fault| format!("{file}: {fault}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_checker_finds_what_it_looks_for() {
    let cases = [
        ("domain/decide.rs", "use crate::engine::view::View;", "domain may not import engine"),
        ("engine/plane.rs", "use crate::store::Store;", "engine may not import store"),
        ("store/open.rs", "use crate::{domain, engine};", "store may not import engine"),
        (
            "store/scan.rs",
            "use crate::{\n    domain::{a, b},\n    engine::view,\n};",
            "store may not import engine",
        ),
        (
            "service/admin.rs",
            "fn f() { crate::store::Store::open(); }",
            "service may not import store",
        ),
        ("service/check.rs", "use crate::recovery;", "service may not import recovery"),
        ("writer/group.rs", "use crate::service::Services;", "writer may not import service"),
        ("reader/mod.rs", "use crate::engine::view::View;", "reader may not import engine"),
        ("cli/stats.rs", "use crate::store::Store;", "cli may not import store"),
        ("writer/due_tests.rs", "use crate::service;", "writer may not import service"),
        ("writer/due.rs", "use crate::recovery;", "writer may not import recovery"),
        ("cli/serve.rs", "use crate::verify;", "cli may not import verify"),
        ("formats/plain.rs", "use crate::client::Client;", "formats may not import client"),
        ("engine/mod.rs", "use super::store::Store;", "engine may not import store"),
        ("engine/plane.rs", "use super::super::{client, page};", "engine may not import client"),
        ("extra/mod.rs", "", "extra is no module of the design: say what it may import"),
        ("recovery.rs", "use rocksdb::DB;", "only the store names rocksdb"),
        ("app.rs", "fn f() { todo!() }", "todo! is not finished work"),
        ("app.rs", "fn f() { unimplemented!() }", "unimplemented! is not finished work"),
    ];
    for (file, source, fault) in cases {
        assert_eq!(faults(file, source), [fault], "{file}: {source}");
    }
    assert_eq!(faults("clock.rs", &"\n".repeat(451)), ["451 lines; split it by noun"]);
}

#[test]
fn the_checker_lets_the_design_through() {
    let cases = [
        ("service/filter.rs", "use crate::{engine::{filter::{a, b}, view}, domain, proto::v1};"),
        ("store/open.rs", "use rocksdb::DB;\nuse crate::domain::secret::Secret;"),
        ("recovery.rs", "// rocksdb and crate::service stand here in words only\n"),
        ("cli/verify.rs", "use crate::{clock::Clock, recovery, verify};"),
        ("domain/state.rs", "use crate::domain::time::Now;"),
        ("engine/store.rs", "mod tests { use super::store; use super::*; }"),
        ("cli/filter/read.rs", "use super::super::{Failure, files};"),
        ("main.rs", "fn main() { sendgate::cli::run() }"),
        ("clock.rs", &"\n".repeat(450)),
    ];
    for (file, source) in cases {
        assert!(faults(file, source).is_empty(), "{file}: {:?}", faults(file, source));
    }
}
