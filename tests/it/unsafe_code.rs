//! `docs/unsafe.md` lists every file with unsafe code and how often the word
//! stands there, so that none comes or goes without its argument.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// Lines of code, not of comments, that name the word.
fn count(source: &str) -> usize {
    let code = source.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    let names = |line: &&str| {
        line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
    };
    code.filter(names).count()
}

#[test]
fn the_document_lists_all_unsafe_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    for folder in ["src", "benches", "loadtest/src"] {
        for path in sources(&root.join(folder)) {
            let places = count(&fs::read_to_string(&path).unwrap());
            if places > 0 {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, places);
            }
        }
    }
    let document = fs::read_to_string(root.join("docs/unsafe.md")).unwrap();
    let listed: BTreeMap<String, usize> = document
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.trim_end_matches('`').to_owned();
            Some((name, cells.next()?.trim().parse().ok()?))
        })
        .collect();
    assert!(found.len() > 8, "the sources were not found");
    assert_eq!(found, listed, "docs/unsafe.md lists other places than the source has");
}
