//! The commands for the Turkish registry: the real binary on real files.

use std::{collections::BTreeMap, ffi::OsStr};

use serde_json::Value;

use crate::process::run;

/// A Wednesday without a holiday near.
const NOW: &str = "2025-06-18 12:00:00";

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/iys/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs `sendgate iys …`; returns the exit code and what it printed.
fn iys(arguments: &[&str], input: &str) -> (i32, String, String) {
    let arguments: Vec<&OsStr> =
        ["iys"].iter().chain(arguments).map(|argument| OsStr::new(*argument)).collect();
    let output = run(&arguments, input.as_bytes());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The codes by line, and the summary.
fn checked(arguments: &[&str], input: &str) -> (BTreeMap<u64, Vec<String>>, Value) {
    let arguments = [&["check", "--json", "--at", NOW], arguments].concat();
    let (code, out, err) = iys(&arguments, input);
    let mut lines: Vec<Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap_or_else(|| panic!("{code} {err}"));
    let mut codes: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for finding in &lines {
        let name = finding["code"].as_str().unwrap().to_owned();
        codes.entry(finding["line"].as_u64().unwrap()).or_default().push(name);
    }
    assert_eq!(code, if codes.is_empty() { 0 } else { 4 }, "{err}");
    assert_eq!(summary["refused_rows"], codes.len());
    (codes, summary)
}

#[test]
fn every_refusal_of_the_registry_is_found_in_its_line() {
    let (codes, summary) =
        checked(&[&fixture("upload.ndjson"), "--registry", &fixture("registry.csv")], "");
    let expected = [
        (3, "H175"),
        (4, "H174"),
        (5, "H178"),
        (6, "H162"),
        (7, "H156"),
        (8, "H155"),
        (10, "H467"),
        (12, "H408"),
        (13, "H462"),
        (14, "H463"),
        (15, "H194"),
        (16, "H120"),
        (17, "H121"),
        (18, "H160"),
        (19, "H166"),
        (20, "H115"),
        (21, "H116"),
        (22, "H117"),
        (23, "H119"),
        (24, "DATE"),
        (25, "ROW"),
        (26, "H115 H119"),
        (28, "H119 DATE"),
        (30, "H166"),
    ];
    let found: Vec<(u64, String)> =
        codes.into_iter().map(|(line, codes)| (line, codes.join(" "))).collect();
    let expected = expected.map(|(line, codes)| (line, codes.to_owned()));
    assert_eq!(found, expected);
    assert_eq!(summary["rows"], 30);
    assert_eq!(summary["by_code"]["H119"], 3);
    assert_eq!(summary["not_checked"].as_array().unwrap().len(), 0);
}

#[test]
fn without_the_registry_what_depends_on_it_is_said_to_be_unchecked() {
    let (codes, summary) = checked(&[&fixture("upload.ndjson")], "");
    for line in [3, 4, 5, 13, 14] {
        assert!(!codes.contains_key(&line), "{line}");
    }
    let unchecked = ["H174", "H175", "H178", "H462", "H463"];
    assert_eq!(summary["not_checked"], serde_json::json!(unchecked));
}

#[test]
fn the_upload_table_is_checked_as_it_stands() {
    let (codes, _) = checked(&[&fixture("upload.csv")], "");
    let expected = [(3, "H121"), (5, "H115"), (6, "H194")];
    assert_eq!(codes.len(), expected.len(), "{codes:?}");
    expected.iter().for_each(|(line, code)| assert_eq!(codes[line], [*code]));
}

#[test]
fn a_batch_ends_with_its_array() {
    let row = |number: usize| {
        format!(
            r#"{{"consentDate":"2025-06-17 10:00:00","source":"HS_WEB","status":"ONAY","type":"MESAJ","recipient":"+9053212{number:05}"}}"#
        )
    };
    let batch = |rows: usize| {
        let rows: Vec<String> = (0..rows).map(row).collect();
        format!("[{}]\n", rows.join(","))
    };
    let (codes, summary) = checked(&["-"], &(batch(1_000) + &batch(1_001) + &batch(1)));
    assert_eq!(summary["rows"], 2_002);
    assert_eq!(summary["by_code"], serde_json::json!({ "H125": 1 }));
    assert_eq!(codes.into_keys().collect::<Vec<_>>(), [2]);
    let lines: Vec<String> = (0..1_001).map(row).collect();
    let (codes, _) = checked(&["-"], &lines.join("\n"));
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), [(1_001, vec!["H125".to_owned()])]);
}

#[test]
fn findings_for_people_name_line_code_and_field_and_mask_the_recipient() {
    let (code, out, _) = iys(&["check", &fixture("upload.ndjson"), "--at", NOW], "");
    assert_eq!(code, 4);
    assert!(out.contains("H121"), "{out}");
    for whole in ["ornek@mail.com", "0532 123 45 67", "905321234502"] {
        assert!(!out.contains(whole), "{whole} is shown: {out}");
    }
    let sixth = out.lines().find(|line| line.starts_with("line 6 ")).unwrap();
    let words: Vec<&str> = sixth.split_whitespace().collect();
    assert_eq!(words[..5], ["line", "6", "H162", "consentDate", "90532***4502"]);
}

#[test]
fn a_good_file_is_fine_and_a_strange_one_is_named() {
    let row = r#"{"consentDate":"2025-06-17 10:00:00","source":"HS_WEB","status":"ONAY","type":"MESAJ","recipient":"+905321234567"}"#;
    let (codes, summary) = checked(&["-"], row);
    assert!(codes.is_empty(), "{codes:?}");
    assert_eq!(summary["rows"], 1);
    let (code, _, err) = iys(&["check", "-"], "phone\n5321234567\n");
    assert_eq!(code, 1);
    assert!(err.contains("IZIN TARIHI"), "{err}");
}
