//! The commands for the Turkish registry: the real binary on real files.

use std::{collections::BTreeMap, ffi::OsStr, fs, net::SocketAddr};

use jiff::{Timestamp, tz::Offset};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, run};

/// A Wednesday without a holiday near.
const NOW: &str = "2025-06-18 12:00:00";

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/iys/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs `sendgate iys …`; returns the exit code and what it printed.
fn iys(arguments: &[&str], input: &str) -> (i32, String, String) {
    sendgate(&[&["iys"], arguments].concat(), input)
}

fn sendgate(arguments: &[&str], input: &str) -> (i32, String, String) {
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
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

/// A server process and a folder for files.
struct Shell {
    folder: TempDir,
    _server: Process,
    endpoint: String,
}

impl Shell {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (server, address): (_, SocketAddr) =
            Process::serve(&folder.path().join("data")).unwrap();
        Self { folder, _server: server, endpoint: format!("http://{address}") }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Runs a command for brand `main`, of words without spaces.
    fn run(&self, words: &str) -> (i32, String, String) {
        let words = words.split_whitespace();
        let all: Vec<&str> =
            words.chain(["--brand", "main", "--endpoint", &self.endpoint]).collect();
        sendgate(&all, "")
    }

    fn done(&self, words: &str) -> (String, String) {
        let (code, out, err) = self.run(words);
        assert_eq!(code, 0, "{words}: {out}{err}");
        (out, err)
    }

    /// Exports into files of this name; returns the rows, and the messages.
    fn export(&self, prefix: &str, more: &str) -> (Vec<Value>, String) {
        let prefix = self.path(prefix);
        let state = self.path("iys.state");
        let (_, err) = self.done(&format!("iys export {prefix} --state {state} {more}"));
        let file = format!("{prefix}-0001.json");
        let rows =
            fs::read_to_string(file).map_or(vec![], |text| serde_json::from_str(&text).unwrap());
        (rows, err)
    }
}

/// So many minutes ago, as people say it and as the registry does.
fn ago(minutes: i64) -> (String, String) {
    let second = Timestamp::now().as_second() - minutes * 60;
    let at = Timestamp::from_second(second).unwrap();
    let turkey = Offset::constant(3).to_datetime(at).strftime("%Y-%m-%d %H:%M:%S");
    (at.to_string(), turkey.to_string())
}

fn summary(rows: &[Value]) -> Vec<String> {
    let row = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        ["recipient", "recipientType", "type", "status", "consentDate", "source"]
            .map(text)
            .join(" ")
    };
    rows.iter().map(row).collect()
}

const DAILY: &str =
    "creationDate,transactionId,recipient,recipientType,type,status,consentDate,source\n";

#[test]
fn what_the_registry_has_not_seen_is_exported_once_and_would_be_taken() {
    let shell = Shell::new();
    let (granted, granted_there) = ago(60);
    let (stopped, stopped_there) = ago(30);
    for channel in ["sms", "mms"] {
        shell.done(&format!(
            "record +905321234567 --granted --channel {channel} --purpose marketing \
             --type individual --at {granted} --source HS_MOBIL"
        ));
    }
    shell.done(&format!(
        "record +905321234567 --granted --channel sms --purpose newsletter --type individual \
         --at {granted}"
    ));
    let (rows, err) = shell.export("first", "");
    let grant = format!("+905321234567 BIREYSEL MESAJ ONAY {granted_there} HS_MOBIL");
    assert_eq!(summary(&rows), [grant.as_str()], "{err}");
    assert!(!err.contains("warning"), "{err}");
    let (codes, _) = {
        let (code, out, err) = iys(&["check", "--json", &shell.path("first-0001.json")], "");
        (code, out + &err)
    };
    assert_eq!(codes, 0);
    // Nothing new, nothing written.
    assert_eq!(shell.export("second", "").0, [Value::Null; 0]);
    // What the registry sends is not sent back.
    let daily = format!(
        "{DAILY}{stopped_there},k1,+905321234500,BIREYSEL,MESAJ,RET,{stopped_there},IYS_WEB\n"
    );
    shell.done(&format!("import {}", shell.write("daily.csv", &daily)));
    shell.done(&format!("record +905321234567 --withdrawn --channel rcs --at {stopped}"));
    let state = fs::read_to_string(shell.path("iys.state")).unwrap();
    // The withdrawal has no source that the registry knows.
    let (code, _, err) = shell.run(&format!(
        "iys export {} --state {}",
        shell.path("third"),
        shell.path("iys.state")
    ));
    assert!(code == 2 && err.contains("--source") && err.contains("90532***4567"), "{code} {err}");
    assert_eq!(fs::read_to_string(shell.path("iys.state")).unwrap(), state, "nothing was sent");
    let (rows, err) = shell.export("third", "--source HS_MESAJ");
    let refusal = format!("+905321234567 BIREYSEL MESAJ RET {stopped_there} HS_MESAJ");
    assert_eq!(summary(&rows), [refusal.as_str()], "{err}");
    assert!(err.contains("--both-types"), "{err}");
    // All of it again: the last state only.
    let (rows, _) = shell.export("all", "--from-start --source HS_MESAJ");
    assert_eq!(summary(&rows), [refusal.as_str()]);
    let (out, _) = shell.done("iys export - --source HS_MESAJ");
    assert_eq!(summary(&serde_json::from_str::<Vec<Value>>(&out).unwrap()), [refusal.as_str()]);
}

#[test]
fn a_state_of_another_history_is_refused_and_late_rows_are_warned_of() {
    let shell = Shell::new();
    shell.done(
        "record ornek@mail.com --kind email --granted --channel email --purpose marketing \
         --type merchant --at 2025-06-16T10:00:00Z --source HS_WEB",
    );
    let state =
        shell.write("iys.state", "{\"epoch\":\"0123456789abcdef0123456789abcdef\",\"revision\":1}");
    let (code, _, err) = shell.run(&format!("iys export {} --state {state}", shell.path("june")));
    assert!(code == 1 && err.contains("--from-start"), "{code} {err}");
    let (rows, err) = shell.export("june", "--from-start");
    assert_eq!(summary(&rows), ["ornek@mail.com TACIR EPOSTA ONAY 2025-06-16 13:00:00 HS_WEB"]);
    assert!(err.contains("H467") && err.contains("o***@m***.com"), "{err}");
    assert!(!err.contains("ornek"), "{err}");
    let (code, _, err) = shell.run(&format!("iys export {} --from-start", shell.path("june")));
    assert!(code == 2 && err.contains("june-0001.json"), "{code} {err}");
    shell.write("iys.state", "{}");
    let (code, _, err) = shell.run(&format!("iys export {} --state {state}", shell.path("july")));
    assert!(code == 1 && err.contains("iys.state"), "{code} {err}");
}

#[test]
fn an_imported_day_is_equal_and_every_change_to_it_is_found() {
    let shell = Shell::new();
    let rows = [
        "2025-06-17 10:00:00,k1,+905321234567,BIREYSEL,MESAJ,ONAY,2025-06-17 10:00:00,IYS_WEB\n",
        "2025-06-17 10:00:00,k1,+905321234567,BIREYSEL,MESAJ,RET,2025-06-17 10:00:00,IYS_WEB\n",
        "2025-06-17 23:59:58,k2,Ornek@Mail.com,TACIR,EPOSTA,ONAY,2017-06-28 19:39:28,HS_WEB\n",
        "2025-06-17 08:00:00,k3,+905321234568,BIREYSEL,ARAMA,RET,,IYS_AHS_HAT_KAPATMA\n",
        "2025-06-17 09:00:00,k4,+905321234569,,MESAJ,RET,2025-06-17 09:00:00,HS_MESAJ\n",
    ];
    let file = shell.write("daily.csv", &(DAILY.to_owned() + &rows.concat()));
    shell.done(&format!("import {file}"));
    let reconcile = |text: &str, more: &str| {
        let file = shell.write("other.csv", &(DAILY.to_owned() + text));
        let (code, out, err) = shell.run(&format!("iys reconcile {file} --json {more}"));
        let found: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code} {err}"));
        assert_eq!(code, if found["equal"] == true { 0 } else { 4 });
        assert_eq!(found["equal"], found["file"]["sha384"] == found["ledger"]["sha384"]);
        found
    };
    let mut backwards = rows;
    backwards.reverse();
    for text in [rows.concat(), backwards.concat()] {
        let found = reconcile(&text, "--whole");
        assert_eq!(found["equal"], true, "{found:#}");
        assert_eq!([&found["file"]["rows"], &found["ledger"]["rows"]], [5, 5]);
    }
    let added =
        "2025-06-17 11:00:00,k5,+905321234570,BIREYSEL,MESAJ,ONAY,2025-06-17 11:00:00,IYS_CM\n";
    let found = reconcile(&(rows.concat() + added), "");
    assert_eq!(found["differences"][0]["difference"], "not_in_ledger", "{found:#}");
    let found = reconcile(&rows[1..].concat(), "");
    assert_eq!(found["differences"][0]["status"], "ONAY", "{found:#}");
    assert_eq!(found["differences"][0]["difference"], "not_in_file");
    let found = reconcile(&rows.concat().replace("HS_MESAJ", "HS_WEB"), "");
    let field = serde_json::json!([{ "field": "source", "file": "HS_WEB", "ledger": "HS_MESAJ" }]);
    assert_eq!(found["differences"][0]["fields"], field, "{found:#}");
    assert_eq!(found["differences"].as_array().unwrap().len(), 1);
    let (code, out, _) = shell.run(&format!("iys reconcile {file}"));
    assert!(code == 0 && out.contains("equal, at revision"), "{out}");
    assert_eq!(out.matches("sha384").count(), 2);
}
