//! `docs/callers.md` names calls with their roles, codes, fields and files: all
//! of them exist.

use std::{fs, path::Path};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The text of every file of this folder with this ending, and of those below.
fn all(folder: &Path, ending: &str) -> String {
    let mut texts = String::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            texts += &all(&entry, ending);
        } else if entry.extension().is_some_and(|found| found == ending) {
            texts += &fs::read_to_string(&entry).unwrap();
        }
    }
    texts
}

/// Words of capitals, such as codes and the values of enums.
fn is_code(word: &str) -> bool {
    word.contains('_') && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

#[test]
fn each_call_needs_the_role_that_the_page_says() {
    let (page, access) = (read("docs/callers.md"), read("src/service/access.rs"));
    let table = page.split("## Which call").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut calls = 0;
    for row in table.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let role = quoted(cells[2]).next().unwrap().to_uppercase();
        for call in quoted(cells[1]).filter(|name| !name.contains(' ')) {
            let method = call.split('.').next_back().unwrap();
            assert!(access.contains(&format!("/{method}\", {role})")), "{call}: {role}");
            calls += 1;
        }
    }
    assert_eq!(calls, 12, "{table}");
}

#[test]
fn what_the_page_names_exists() {
    let page = read("docs/callers.md");
    let root = Path::new(ROOT);
    let sources = all(&root.join("src"), "rs") + &all(&root.join("proto"), "proto");
    let codes: Vec<&str> = quoted(&page).filter(|word| is_code(word)).collect();
    assert!(codes.len() > 15, "{codes:?}");
    for code in codes {
        assert!(sources.contains(code), "{code} is nowhere in the sources");
    }
    let fields = quoted(&page).filter(|word| {
        word.contains('_') && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    });
    for field in fields {
        assert!(sources.contains(&format!(" {field} = ")), "{field} is no field of the protos");
    }
    let files = quoted(&page).filter(|word| word.starts_with("examples/") || word.ends_with(".md"));
    for file in files {
        let is_there = [root.join(file), root.join("docs").join(file)].iter().any(|it| it.exists());
        assert!(is_there, "{file} is not there");
    }
}
