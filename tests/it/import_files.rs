//! Files that people bring, from the file to the verdict: the real binary
//! against a real server.

use std::{
    ffi::OsStr,
    fs,
    io::{Read, Write},
    path::Path,
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::{
    cli::{COUNTS, Shell, numbers},
    process::{Process, start},
};

const EMAIL: &str = "--brand main --channel email --purpose newsletter";

fn fixture(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file);
    path.to_str().unwrap().to_owned()
}

impl Shell {
    fn reason(&self, scope: &str, address: &str) -> String {
        let kind = if address.contains('@') { "email" } else { "phone" };
        let ran = self.run(&format!("check {scope} --kind {kind} --json"), &[address], "");
        ran.json()["reason"].as_str().unwrap().to_owned()
    }

    fn revision(&self) -> u64 {
        let stats = self.run("stats --json", &[], "").quietly().json();
        stats["revision"]["revision"].as_u64().unwrap()
    }

    /// Imports a file for brand `main`.
    fn import(&self, words: &str, file: &str, format: &str, code: i32) -> Value {
        let words = format!("import --brand main --json {words}");
        self.run(&words, &["--rejects", "/dev/null", file], "").importing(format, code).json()
    }
}

#[test]
fn mailchimp_ses_and_sendgrid_together_give_the_verdicts() {
    let shell = Shell::new();
    let grants = "--purpose newsletter --type individual";
    let subscribed = fixture("imports/mailchimp-subscribed.csv");
    let report = shell.import(grants, &subscribed, "mailchimp", 4);
    assert_eq!(numbers(&report, COUNTS), [4, 3, 1, 1, 0, 0]);
    assert_eq!(shell.reason(EMAIL, "alice@example.com"), "PERMITTED");
    // No time and none on the command line: nobody is permitted by guessing.
    assert_eq!(shell.reason(EMAIL, "bob@example.com"), "NO_CONSENT");
    let dated = format!("{grants} --consented-at 2024-01-01");
    let report = shell.import(&dated, &subscribed, "mailchimp", 4);
    assert_eq!(numbers(&report, COUNTS), [4, 2, 2, 1, 0, 1]);
    assert_eq!(shell.reason(EMAIL, "bob@example.com"), "PERMITTED");

    let report = shell.import("", &fixture("imports/ses.csv"), "ses (CSV)", 4);
    assert_eq!(numbers(&report, COUNTS), [6, 2, 4, 4, 0, 0]);
    assert_eq!(shell.reason(EMAIL, "recipient1@example.com"), "HARD_BOUNCE");
    assert_eq!(shell.reason(EMAIL, "recipient2@example.com"), "SPAM_COMPLAINT");

    let unsubscribed = fixture("imports/mailchimp-unsubscribed.csv");
    shell.import("", &unsubscribed, "mailchimp", 0);
    assert_eq!(shell.reason(EMAIL, "alice@example.com"), "CHANNEL_OPT_OUT");
    assert_eq!(shell.reason(EMAIL, "bob@example.com"), "CHANNEL_OPT_OUT");
    // The old list again: it re-permits nobody, and says that it did nothing.
    let before = shell.revision();
    let report = shell.import(&dated, &subscribed, "mailchimp", 4);
    assert_eq!(numbers(&report, COUNTS), [4, 2, 2, 0, 0, 2]);
    assert_eq!(shell.reason(EMAIL, "alice@example.com"), "CHANNEL_OPT_OUT");
    assert_eq!(shell.revision(), before);
}

#[test]
fn importing_twice_changes_nothing_and_says_so() {
    let shell = Shell::new();
    let files = [
        ("hubspot-optout", fixture("imports/hubspot-optout.csv"), 4, 2),
        ("ftc-dnc", fixture("imports/ftc-dnc-bare.csv"), 0, 2),
        ("mailgun", fixture("imports/mailgun.csv"), 4, 6),
        ("iys-json", fixture("imports/iys.ndjson"), 4, 2),
    ];
    for (format, file, code, changes) in &files {
        let first = shell.import("", file, format, *code);
        assert_eq!(first["nothing_new"], false, "{format}");
        assert_eq!(first["changes"], *changes, "{format}");
    }
    let before = shell.revision();
    for (format, file, code, changes) in &files {
        let again = shell.import("", file, format, *code);
        assert_eq!((&again["duplicate"], &again["applied"]), (&(*changes).into(), &0.into()));
        assert_eq!(again["nothing_new"], true, "{format}");
    }
    assert_eq!(shell.revision(), before);
    let words = "import --brand main";
    let told = shell.run(words, &[&files[1].1], "").importing("ftc-dnc", 0);
    assert!(told.out.contains("nothing new: all 2 were recorded before"), "{}", told.out);
    let call = "--brand main --channel call --purpose marketing";
    assert_eq!(shell.reason(call, "+12025550123"), "LEGAL_BLOCK");
}

#[test]
fn a_file_that_says_nothing_of_itself_asks_for_its_format() {
    let shell = Shell::new();
    let list = shell.file("list.csv", "name,mail\nAlice,alice@example.com\n");
    let before = shell.revision();
    let ran = shell.run("import --brand main", &[&list], "");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(
        ran.err.contains("--format") && ran.err.contains("nothing was imported"),
        "{}",
        ran.err
    );
    // Named, the format still needs its columns.
    let ran = shell.run("import --brand main --format sendgrid", &[&list], "");
    assert!(ran.code == 1 && ran.err.contains("lacks the columns email, created"), "{}", ran.err);
    assert_eq!(shell.revision(), before);
}

#[test]
fn a_rejects_file_holds_the_rows_themselves() {
    let shell = Shell::new();
    let text = "address,status,channel\n\
                0532,withdrawn,sms\n\
                05321234567,\"maybe, later\",sms\n\
                05321234568,withdrawn,sms\n";
    let file = shell.file("events.csv", text);
    let rejects = shell.path("rejects.csv");
    let ran = shell.run("import --brand main --json", &[&file, "--rejects", &rejects], "");
    let report = ran.importing("sendgate (CSV)", 4).json();
    assert_eq!(numbers(&report, COUNTS), [3, 2, 2, 1, 0, 0]);
    let by_reason = [("INVALID_ADDRESS contact.address", 1), ("INVALID_ARGUMENT status", 1)];
    for (reason, count) in by_reason {
        assert_eq!(report["rejected_by_reason"][reason], count, "{report}");
    }
    let mut rows = csv::Reader::from_path(&rejects).unwrap();
    assert_eq!(rows.headers().unwrap(), vec!["line", "field", "reason", "row"]);
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    assert_eq!((&rows[0][0], &rows[0][3]), ("2", "0532,withdrawn,sms"));
    assert_eq!((&rows[1][0], &rows[1][3]), ("3", "05321234567,\"maybe, later\",sms"));
}

#[test]
fn a_dry_run_counts_and_records_nothing() {
    let shell = Shell::new();
    let file = fixture("imports/ses.ndjson");
    let before = shell.revision();
    let tried = shell.import("--dry-run", &file, "ses (JSON)", 4);
    assert_eq!(numbers(&tried, COUNTS), [4, 1, 3, 3, 0, 0]);
    assert_eq!((&tried["dry_run"], shell.revision()), (&true.into(), before));
    assert_eq!(shell.reason(EMAIL, "recipient1@example.com"), "NO_CONSENT");
    let words = "import --brand main --dry-run --rejects /dev/null";
    let told = shell.run(words, &[&file], "").importing("ses (JSON)", 4).out;
    assert!(told.contains("would apply") && told.contains("nothing was recorded"), "{told}");
    let done = shell.import("", &file, "ses (JSON)", 4);
    assert_eq!(numbers(&done, COUNTS), numbers(&tried, COUNTS));
    assert_eq!(shell.reason(EMAIL, "recipient1@example.com"), "HARD_BOUNCE");
}

#[test]
fn an_excel_sheet_is_filtered_and_comes_back_as_csv() {
    let shell = Shell::new();
    let scope = "--brand main --channel sms --purpose marketing";
    let words = format!("import {scope} --type individual --consented-at 2024-02-01 -");
    let list = "0532 123 45 67\n0532 123 45 69\n";
    shell.run(&words, &["--status", "granted"], list).importing("plain", 0);

    let sheet = fixture("sheets/list.xlsx");
    let (yes, no) = (shell.path("yes.csv"), shell.path("no.csv"));
    let outputs = ["--permitted", &yes, "--suppressed", &no, &sheet];
    let ran = shell.run(&format!("filter {scope} --column telefon --json"), &outputs, "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.ends_with("list.xlsx: sheet Liste, read as CSV\n"), "{}", ran.err);
    let header = "\u{feff}Ad,Telefon,Not,Tarih";
    let permitted = "Ayşe Öz,905321234567,\"a, \"\"b\"\"\",2025-01-07 18:00:00\n,905321234569\n";
    assert_eq!(shell.read("yes.csv"), format!("{header}\n{permitted}"));
    let suppressed = "Bo,0532 123 45 68,iki satır,,NO_CONSENT,\n\
                      Cem,1.2345678901234568e18,0.5,,INVALID_RECIPIENT,\n";
    let added = "suppressed_reason,suppressed_since";
    assert_eq!(shell.read("no.csv"), format!("{header},{added}\n{suppressed}"));
    assert_eq!((&ran.json()["recipients"], &ran.json()["blank_lines"]), (&4.into(), &2.into()));

    // What cannot be done is said, and leaves nothing.
    let no_sheet = shell.run(&format!("filter {scope} --column x --sheet Yok"), &[&sheet], "");
    assert!(no_sheet.code == 1 && no_sheet.err.contains("Liste, Bounces"), "{}", no_sheet.err);
    let lines = shell.run(&format!("filter {scope}"), &[&sheet], "");
    assert!(lines.code == 2 && lines.err.contains("--column"), "{}", lines.err);
    let bytes = fs::read(&sheet).unwrap();
    let mut piped = start(&arguments(&shell, &format!("filter {scope} --column x -")));
    // It closes the pipe as soon as it knows what comes.
    drop(piped.stdin.take().unwrap().write_all(&bytes));
    let output = piped.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && err.contains("standard input"), "{err}");

    let words = "import --brand main --json --sheet Bounces --rejects /dev/null";
    let ran = shell.run(words, &[&sheet], "");
    assert!(ran.err.ends_with("list.xlsx: format sendgrid\n"), "{}", ran.err);
    assert_eq!(numbers(&ran.json(), COUNTS), [2, 1, 2, 1, 0, 0]);
    assert_eq!(shell.reason(EMAIL, "alice@example.com"), "HARD_BOUNCE");
}

fn arguments<'a>(shell: &'a Shell, words: &'a str) -> Vec<&'a OsStr> {
    let endpoint = ["--endpoint", shell.endpoint.as_str()];
    words.split(' ').chain(endpoint).map(OsStr::new).collect()
}

/// Numbers to opt out, a line each.
fn stops(numbers: std::ops::Range<u64>) -> String {
    numbers.map(|number| format!("+90532{:07}\n", 1_000_000 + number)).collect()
}

/// Waits until the ledger has come so far.
fn wait_for(shell: &Shell, revision: u64) {
    for _ in 0..600 {
        if shell.revision() >= revision {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("revision {revision} was not reached");
}

const STOP: &str = "import --brand main --channel sms --status withdrawn --json -";

#[test]
fn an_import_that_is_interrupted_says_how_far_it_came_and_goes_on_there() {
    let shell = Shell::new();
    let mut import = start(&arguments(&shell, STOP));
    let mut input = import.stdin.take().unwrap();
    // A chunk and a half; then the input stalls.
    input.write_all(stops(0..7_500).as_bytes()).unwrap();
    wait_for(&shell, 5_001);
    let pid = import.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut told = String::new();
    import.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(import.wait().unwrap().code(), Some(1));
    drop(input);
    let report: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&report["whole"], &report["rows"]), (&false.into(), &5_000.into()), "{report}");
    assert_eq!((&report["applied"], &report["done_to_line"]), (&5_000.into(), &5_000.into()));

    let whole = shell.file("whole.txt", &stops(0..7_500));
    let on = "import --brand main --channel sms --status withdrawn --json --from-line 5000";
    let report = shell.run(on, &[&whole], "").importing("plain", 0).json();
    assert_eq!(numbers(&report, COUNTS), [2_501, 0, 2_501, 2_500, 0, 1]);
    assert_eq!(shell.revision(), 7_501);
}

#[test]
fn an_import_outlives_a_server_that_is_killed_and_comes_back() {
    let mut shell = Shell::new();
    let mut import = start(&arguments(&shell, STOP));
    let mut input = import.stdin.take().unwrap();
    input.write_all(stops(0..12_000).as_bytes()).unwrap();
    wait_for(&shell, 10_001);
    shell._server.kill();
    input.write_all(stops(12_000..30_000).as_bytes()).unwrap();
    drop(input);
    std::thread::sleep(Duration::from_millis(300));
    let listen = shell.endpoint.trim_start_matches("http://").to_owned();
    let (server, _) = Process::serve_at(&shell.folder.path().join("data"), &listen).unwrap();
    shell._server = server;
    let output = import.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["whole"], &report["rows"]), (&true.into(), &30_000.into()), "{report}");
    assert_eq!(report["rejected_rows"], 0);
    // Each once, whatever was sent twice.
    assert_eq!(shell.revision(), 30_001);
}
