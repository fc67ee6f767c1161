//! The command line, as people and scripts use it: the real binary against a
//! real server, by exit codes, standard output and standard error.

mod reading;

use std::{ffi::OsStr, fs, net::SocketAddr, path::PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, run};

/// A server process and a folder for files.
pub struct Shell {
    pub folder: TempDir,
    pub _server: Process,
    pub endpoint: String,
}

/// What a command left.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// An import of this format with this exit code; the format that it took
    /// the file for is the one thing it says unasked.
    pub fn importing(self, format: &str, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        let mut said = self.err.lines();
        assert!(said.next().is_some_and(|line| line.ends_with(&format!(": format {format}"))));
        assert_eq!(said.next(), None, "{}", self.err);
        self
    }

    /// Done, and nothing said that was not asked for: it runs in a pipe.
    pub fn quietly(self) -> Self {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self
    }
}

fn bare(arguments: &[&str], input: &str) -> Ran {
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    let output = run(&arguments, input.as_bytes());
    Ran {
        code: output.status.code().expect("no exit code"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Shell {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (server, address): (_, SocketAddr) =
            Process::serve(&folder.path().join("data")).unwrap();
        Self { folder, _server: server, endpoint: format!("http://{address}") }
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs a command; words without spaces, split by them, then further arguments.
    pub fn run(&self, words: &str, more: &[&str], input: &str) -> Ran {
        let words = words.split_whitespace().chain(more.iter().copied());
        let all: Vec<&str> = words.chain(["--endpoint", &self.endpoint]).collect();
        bare(&all, input)
    }
}

pub const SCOPE: &str = "--brand main --channel sms --purpose marketing";
const IYS: &str =
    "creationDate,transactionId,recipient,recipientType,type,status,consentDate,source\n";

fn iys_row(number: &str, iys_type: &str, status: &str, time: &str) -> String {
    format!("2024-03-01 10:00:00,,{number},BIREYSEL,{iys_type},{status},{time},HS_WEB\n")
}

pub fn numbers(report: &Value, names: [&str; 6]) -> [u64; 6] {
    names.map(|name| report[name].as_u64().unwrap_or_else(|| panic!("no {name} in {report}")))
}

pub const COUNTS: [&str; 6] =
    ["rows", "rejected_rows", "changes", "applied", "superseded", "duplicate"];

#[test]
fn generate_makes_the_same_for_the_same_seed_and_other_things_for_another() {
    for what in ["consents --people 300", "recipients --people 300 --rows 2000"] {
        let generate = |seed: &str| {
            let words = format!("generate {what} --seed {seed}");
            bare(&words.split(' ').collect::<Vec<_>>(), "").quietly().out
        };
        let (first, again, other) = (generate("7"), generate("7"), generate("8"));
        assert!(first == again, "{what}: one seed, two outputs");
        assert!(first != other, "{what}: two seeds, one output");
        assert!(first.lines().count() > 600, "{what}: {} lines", first.lines().count());
    }
}

#[test]
fn an_iys_file_is_imported_row_by_row_and_rejects_are_reported() {
    let shell = Shell::new();
    let good = [
        iys_row("+905321234567", "MESAJ", "ONAY", "2024-02-01 10:00:00"),
        iys_row("+905321234568", "MESAJ", "ONAY", "2024-02-01 10:00:00"),
        iys_row("+905321234568", "MESAJ", "RET", "2024-02-02 10:00:00"),
        iys_row("ornek@mail.com", "EPOSTA", "ONAY", "2024-02-01 10:00:00"),
    ];
    let bad = [
        iys_row("0532", "MESAJ", "ONAY", "2024-02-01 10:00:00"),
        iys_row("+905321234569", "MESAJ", "BELKI", "2024-02-01 10:00:00"),
        iys_row("+905321234569", "FAKS", "ONAY", "2024-02-01 10:00:00"),
    ];
    let mixed = [&good[..2], &bad, &good[2..]].concat().concat();
    let mixed = shell.file("mixed.csv", &(IYS.to_owned() + &mixed));
    let rejects = shell.path("rejects.csv");
    let words = "import --brand main --json";
    let ran = shell.run(words, &[&mixed, "--rejects", &rejects], "").importing("iys-daily", 4);
    // ONAY and RET speak for the three channels of MESAJ, EPOSTA has one; the
    // number that is none was sent, and rejected for all three.
    assert_eq!(numbers(&ran.json(), COUNTS), [7, 3, 13, 10, 0, 0]);
    let reported = shell.read("rejects.csv");
    let places: Vec<&str> =
        reported.lines().map(|line| &line[..line.match_indices(',').nth(1).unwrap().0]).collect();
    assert_eq!(places, ["line,field", "4,contact.address", "5,status", "6,type"], "{reported}");

    // The same file, clean and again: nothing changes, and it says so.
    let clean = shell.file("clean.csv", &(IYS.to_owned() + &good.concat()));
    let before = shell.run("stats --json", &[], "").quietly().json();
    let again = shell.run(words, &[&clean], "").importing("iys-daily", 0).json();
    assert_eq!(numbers(&again, COUNTS), [4, 0, 10, 0, 0, 10]);
    let after = shell.run("stats --json", &[], "").quietly().json();
    assert_eq!(before["revision"], after["revision"]);
    assert_eq!(before["chain_head"], after["chain_head"]);

    let check = format!("check {SCOPE}");
    assert_eq!(shell.run(&check, &["0532 123 45 67"], "").code, 0);
    assert_eq!(shell.run(&check, &["0532 123 45 68"], "").code, 5);
}

#[test]
fn files_of_our_own_format_and_plain_lists_are_imported() {
    let shell = Shell::new();
    let csv = "brand,kind,address,recipient_type,channel,purpose,status,consent_time\n\
               main,phone,0532 123 45 67,individual,sms,marketing,granted,2024-02-01T10:00:00Z\n\
               main,phone,0532 123 45 68,individual,sms,marketing,granted,2024-02-01\n\
               main,phone,0532 123 45 69,individual,sms,marketing,granted,\n";
    let csv = shell.file("events.csv", csv);
    let ran = shell.run("import --json", &[&csv], "");
    // Without a time a grant cannot be held against a withdrawal: rejected, and told.
    assert_eq!(numbers(&ran.json(), COUNTS), [3, 1, 2, 2, 0, 0]);
    assert_eq!(ran.code, 4);
    assert!(ran.err.contains("\nline 4: consent_time: "), "{}", ran.err);

    let json = r#"{"address":"0532 123 45 68","status":"withdrawn","channel":"sms"}"#;
    let ran = shell.run("import --brand main --format sendgate --json -", &[], json);
    assert_eq!(numbers(&ran.importing("sendgate (JSON)", 0).json(), COUNTS), [1, 0, 1, 1, 0, 0]);

    let list = "0532 123 45 70\n\n+90 532 123 45 71\n";
    let words = format!("import {SCOPE} --type individual --consented-at 2024-02-01 --json -");
    let granted = ["--format", "plain", "--status", "granted"];
    let ran = shell.run(&words, &granted, list).importing("plain", 0);
    assert_eq!(numbers(&ran.json(), COUNTS), [2, 0, 2, 2, 0, 0]);
    let ran = shell.run("import --brand main --status hard_bounce --json -", &[], "05321234571\n");
    assert_eq!(numbers(&ran.importing("plain", 0).json(), COUNTS), [1, 0, 1, 1, 0, 0]);

    let verdict = |address: &str| {
        let ran = shell.run(&format!("check {SCOPE} --json"), &[address], "");
        ran.json()["reason"].as_str().unwrap().to_owned()
    };
    let expected = [
        ("05321234567", "PERMITTED"),
        ("05321234568", "CHANNEL_OPT_OUT"),
        ("05321234569", "NO_CONSENT"),
        ("05321234570", "PERMITTED"),
        ("05321234571", "HARD_BOUNCE"),
    ];
    for (address, reason) in expected {
        assert_eq!(verdict(address), reason, "{address}");
    }
}

/// Grants by the numbers' last two digits.
fn granted(shell: &Shell, numbers: &str) {
    let list: String = numbers.split(' ').map(|end| format!("+9053212345{end}\n")).collect();
    let words = format!("import {SCOPE} --type individual --consented-at 2024-02-01 -");
    shell.run(&words, &["--status", "granted"], &list).importing("plain", 0);
}

#[test]
fn filter_splits_a_list_and_leaves_its_rows_as_they_are() {
    let shell = Shell::new();
    granted(&shell, "67 69");
    let permitted = "\"Öz, Ayşe\";0532 123 45 67;x\r\nB;+90 (532) 123-45-69;\"a \"\"b\"\"\"\r\n";
    let mut rows = permitted.split_inclusive("\r\n");
    let list = format!(
        "name;Phone;note\r\n{}C;05321234500;\r\n;;\r\nD;yok;y\r\n{}",
        rows.next().unwrap(),
        rows.next().unwrap()
    );
    let list = shell.file("list.csv", &list);
    let (yes, no) = (shell.path("yes.csv"), shell.path("no.csv"));
    let words = format!("filter {SCOPE} --column phone --json");
    let ran = shell.run(&words, &[&list, "--permitted", &yes, "--suppressed", &no], "").quietly();
    assert_eq!(shell.read("yes.csv"), format!("name;Phone;note\r\n{permitted}"));
    let suppressed = "name;Phone;note;suppressed_reason;suppressed_since\r\n\
                      C;05321234500;;NO_CONSENT;\r\n;;;INVALID_RECIPIENT;\r\nD;yok;y;INVALID_RECIPIENT;\r\n";
    assert_eq!(shell.read("no.csv"), suppressed);
    let summary = ran.json();
    assert_eq!((&summary["recipients"], &summary["permitted"]), (&5.into(), &2.into()));
    assert_eq!(summary["suppressed_by_reason"]["INVALID_RECIPIENT"], 2);
    assert_eq!(summary["suppressed_by_reason"]["NO_CONSENT"], 1);
}

#[test]
fn filter_works_in_a_pipe_and_permits_once_when_asked() {
    let shell = Shell::new();
    granted(&shell, "67");
    let list = "0532 123 45 67\n05321234568\n+905321234567\n";
    let words = format!("filter {SCOPE} - --permitted -");
    let ran = shell.run(&words, &[], list);
    assert_eq!((ran.code, ran.out.as_str()), (0, "0532 123 45 67\n+905321234567\n"));
    // The rows have standard output, so the counts go to standard error.
    assert!(ran.err.contains("NO_CONSENT"), "{}", ran.err);
    let ran = shell.run(&words, &["--deduplicate"], list);
    assert_eq!(ran.out, "0532 123 45 67\n");
    let ran = shell.run(&format!("filter {SCOPE} - --suppressed -"), &[], list);
    assert_eq!(ran.out, "05321234568,NO_CONSENT,\n");
}

#[test]
fn a_list_without_a_header_or_in_utf_16_is_filtered() {
    let shell = Shell::new();
    granted(&shell, "67");
    let words = format!("filter {SCOPE} --column 2 --no-header - --suppressed -");
    let ran = shell.run(&words, &[], "a;05321234567;\nb;05321234568\nc;yok;x\n");
    assert_eq!(ran.out, "b;05321234568;;NO_CONSENT;\nc;yok;x;INVALID_RECIPIENT;\n");

    let text = "\u{feff}ad,telefon\r\nAyşe,05321234567\r\n";
    let utf_16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(shell.path("list.csv"), utf_16).unwrap();
    let list = shell.path("list.csv");
    let words = format!("filter {SCOPE} --column telefon --permitted -");
    let ran = shell.run(&words, &[&list], "");
    assert_eq!(ran.out, text);
    let said = "list.csv: encoding UTF-16LE, written back as UTF-8";
    assert!(ran.err.contains(said), "{}", ran.err);
}

#[test]
fn a_filter_that_fails_leaves_no_list_of_permitted_recipients() {
    let shell = Shell::new();
    let yes = shell.path("yes.csv");
    let list = shell.file("list.csv", "name,phone\na,05321234567\n");
    let wrong = [
        (1, "--brand main --channel sms --purpose marketting --column phone"),
        (2, "--brand main --channel sms --purpose marketing --column fone"),
        (2, "--brand main --channel sms --purpose marketing"),
    ];
    for (code, words) in wrong {
        let ran = shell.run(&format!("filter {words}"), &[&list, "--permitted", &yes], "");
        assert_eq!(ran.code, code, "{words}: {}", ran.err);
        assert!(ran.out.is_empty() && ran.err.contains("sendgate: "), "{words}: {}", ran.err);
        assert!(!PathBuf::from(&yes).exists(), "{words}");
    }
    let missing = shell.path("missing.csv");
    let ran = shell.run(&format!("filter {SCOPE}"), &[&missing, "--permitted", &yes], "");
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("missing.csv"), "{}", ran.err);
}

#[test]
fn one_contact_is_recorded_and_asked_about() {
    let shell = Shell::new();
    let check = format!("check {SCOPE} --record --json 05321234567");
    let unknown = shell.run(&check, &[], "");
    assert_eq!((unknown.code, &unknown.json()["reason"]), (5, &"NO_CONSENT".into()));
    assert_eq!(unknown.json()["record"], Value::Null);

    let record = format!("record {SCOPE} --json 05321234567");
    let at = ["--granted", "--type", "individual", "--at", "2024-02-01", "--source", "web form"];
    let granted = shell.run(&record, &at, "").quietly().json();
    assert_eq!((&granted["outcome"], &granted["revision"]), (&"APPLIED".into(), &2.into()));
    assert_eq!(shell.run(&record, &at, "").quietly().json()["outcome"], "DUPLICATE");
    let permitted = shell.run(&check, &[], "").quietly().json();
    assert_eq!(permitted["permitted"], true);
    assert_eq!(permitted["record"]["event"]["source"], "web form");

    shell.run("record --brand main --withdrawn 05321234567", &[], "").quietly();
    let stopped = shell.run(&check, &[], "");
    assert_eq!((stopped.code, &stopped.json()["reason"]), (5, &"CONTACT_OPT_OUT".into()));

    // Without a type no grant is even sent; an unreadable number the server rejects.
    let ran = shell.run(&record, &["--granted", "--at", "2024-02-01"], "");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    let ran = shell.run("record --brand main --withdrawn --json 0532", &[], "");
    assert_eq!((ran.code, &ran.json()["rejection"]["code"]), (4, &"INVALID_ADDRESS".into()));
}

#[test]
fn policy_is_shown_tried_and_applied() {
    let shell = Shell::new();
    let shown = shell.run("policy show", &[], "");
    assert_eq!(shown.code, 0);
    assert!(shown.out.contains("[brands.main]"));
    let json = shell.run("policy show --json", &[], "").quietly().json();
    assert_eq!(json["toml"].as_str().unwrap().trim_end(), shown.out.trim_end());

    // What is shown can be applied again, under another version.
    let text = shown.out.replace("starter-1", "second") + "\n[brands.other]\n";
    let file = shell.file("policy.toml", &text);
    let tried = shell.run("policy check --json", &[&file], "").quietly().json();
    assert_eq!(tried["applied"], false);
    assert_eq!(shell.run("policy show --json", &[], "").json()["policy_version"], "starter-1");
    let more = ["--permits-unknown", &file];
    let applied = shell.run("policy apply --json", &more, "").quietly().json();
    assert_eq!((&applied["applied"], &applied["policy_version"]), (&true.into(), &"second".into()));
    assert_eq!(shell.run("stats --json", &[], "").quietly().json()["policy_version"], "second");

    let broken = shell.run("policy apply -", &[], "version = 1");
    assert_eq!((broken.code, broken.out.as_str()), (1, ""));
}

#[test]
fn verify_reads_a_stopped_store_and_nothing_else() {
    let mut shell = Shell::new();
    granted(&shell, "67 68 69");
    shell._server.kill();
    let data = shell.path("data");
    let report = bare(&["verify", "--json", "--data", &data], "").quietly().json();
    assert_eq!((&report["ok"], &report["events"]), (&true.into(), &4.into()));
    assert!(bare(&["verify", "--data", &data], "").quietly().out.ends_with("verified\n"));
    let nowhere = bare(&["verify", "--data", &shell.path("nowhere")], "");
    assert_eq!((nowhere.code, nowhere.out.as_str()), (2, ""));
    assert!(!PathBuf::from(shell.path("nowhere")).exists(), "verify must make no store");
}

#[test]
fn a_server_that_is_not_there_is_exit_code_3() {
    // A port that was free a moment ago, and that nobody listens on.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for words in ["stats", "policy show", "check --brand b --channel c --purpose p 0"] {
        let words: Vec<&str> = words.split(' ').chain(["--endpoint", &endpoint]).collect();
        let ran = bare(&words, "");
        assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{words:?}");
        assert!(ran.err.contains(&endpoint) && ran.err.lines().count() == 1, "{}", ran.err);
    }
}

#[test]
fn completions_and_help_come_without_a_server() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(bare(&["completions", shell], "").quietly().out.contains("sendgate"), "{shell}");
    }
    let help = bare(&["--help"], "").quietly().out;
    assert!(help.contains("Exit codes:") && help.contains("filter"), "{help}");
    assert_eq!(bare(&["filtre"], "").code, 2);
}
