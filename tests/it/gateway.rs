//! The SMS gateway of `examples/sms_gateway`, as a program between a spool
//! folder and an outbox: who gets a message, who must not, and what becomes of
//! the rest when the server, the gateway or the answers fail.

mod lies;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use sendgate::proto::v1::{
    ConsentEvent, RecordRequest, consent_service_client::ConsentServiceClient,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    process::{self, Process, connect, sendgate},
    support::{grant, withdrawal},
};

/// When people gave and withdrew their consent.
const GIVEN: i64 = 1_700_000_000_000;
const FIRST: u64 = 905_321_230_000;
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A spool, an outbox, and a folder for a server's data.
struct Yard(TempDir);

impl Yard {
    fn new() -> Self {
        let yard = Self(tempfile::tempdir().unwrap());
        fs::create_dir(yard.spool()).unwrap();
        yard
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn spool(&self) -> PathBuf {
        self.path("spool")
    }

    /// Puts a batch into the spool.
    fn batch(&self, name: &str, numbers: impl IntoIterator<Item = u64>) {
        let line = |to| {
            format!("{}\n", json!({ "id": format!("{name}-{to}"), "to": to, "text": "Hello" }))
        };
        let lines: String = numbers.into_iter().map(line).collect();
        fs::write(self.path("batch"), lines).unwrap();
        fs::rename(self.path("batch"), self.spool().join(format!("{name}.jsonl"))).unwrap();
    }

    /// Batches that are still in the spool.
    fn waiting(&self) -> Vec<String> {
        names(&self.spool())
    }

    /// Who was written to, in order.
    fn sent(&self) -> Vec<u64> {
        let outbox = fs::read_to_string(self.path("outbox")).unwrap_or_default();
        let number = |line: &str| serde_json::from_str::<Value>(line).unwrap()["to"].as_u64();
        outbox.lines().map(|line| number(line).unwrap()).collect()
    }

    /// Starts the gateway.
    fn gateway(&self, endpoint: &str, more: &[&str]) -> Gateway {
        let program = Path::new(env!("CARGO_BIN_EXE_sendgate")).with_file_name("examples");
        let mut command = Command::new(program.join("sms_gateway"));
        // The environment that a command of ours would see.
        for (name, value) in sendgate().get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.arg(self.spool()).arg(self.path("outbox"));
        command.args(["--brand", "main", "--endpoint", endpoint]).args(more);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        Gateway(Some(command.spawn().expect("cargo build --release --workspace --examples")))
    }

    /// Runs the gateway until the spool is empty.
    fn drain(&self, endpoint: &str, more: &[&str]) -> (ExitStatus, String) {
        self.gateway(endpoint, &[&["--until-empty"], more].concat()).end()
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries
        .map(|name| name.into_string().unwrap())
        .filter(|name| name.ends_with(".jsonl"))
        .collect();
    names.sort_unstable();
    names
}

/// A gateway process. Killed when dropped.
struct Gateway(Option<Child>);

impl Gateway {
    /// Waits until it ends; returns how, and what it said.
    fn end(mut self) -> (ExitStatus, String) {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        (output.status, String::from_utf8(output.stderr).unwrap())
    }

    /// How it ended, if it has.
    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.as_mut().unwrap().try_wait().unwrap()
    }

    /// SIGTERM, unless it has ended, and waits until it does.
    fn terminate(mut self) -> (ExitStatus, String) {
        if self.ended().is_none() {
            let id = self.0.as_ref().unwrap().id().to_string();
            assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        }
        self.end()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        sleep(Duration::from_millis(20));
    }
}

fn record(address: SocketAddr, events: Vec<ConsentEvent>) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut client = ConsentServiceClient::new(connect(address).await);
        let results = client.record(RecordRequest { events }).await.unwrap().into_inner().results;
        assert!(results.iter().all(|result| result.rejection.is_none()), "{results:?}");
    });
}

fn grant_all(address: SocketAddr, numbers: impl IntoIterator<Item = u64>) {
    record(address, numbers.into_iter().map(|to| grant(&format!("+{to}"), GIVEN)).collect());
}

fn withdraw(address: SocketAddr, number: u64) {
    record(address, vec![withdrawal(&format!("+{number}"), "sms", "*", GIVEN + 1)]);
}

fn serve(yard: &Yard, listen: &str) -> (Process, SocketAddr, String) {
    let (server, address) = Process::serve_at(&yard.path("data"), listen).unwrap();
    (server, address, format!("http://{address}"))
}

#[test]
fn a_message_goes_to_the_permitted_and_to_nobody_else() {
    let yard = Yard::new();
    let (_server, address, endpoint) = serve(&yard, "127.0.0.1:0");
    grant_all(address, [FIRST, FIRST + 1, FIRST + 2]);
    withdraw(address, FIRST + 1);
    // One is unknown, and two are no numbers.
    yard.batch("a", [FIRST, FIRST + 1, FIRST + 3, 12, u64::MAX]);
    yard.batch("b", [FIRST + 3]);
    yard.batch("c", []);
    yard.batch("d", [FIRST + 2]);
    let spelt = format!("{{\"id\": \"e\", \"to\": \"+{FIRST}\", \"text\": \"\"}}\n");
    fs::write(yard.spool().join("e.jsonl"), spelt).unwrap();
    yard.batch("f", (0..10_001).map(|at| FIRST + at));
    let (status, said) = yard.drain(&endpoint, &[]);
    assert!(status.success(), "{said}");
    assert_eq!(yard.sent(), [FIRST, FIRST + 2], "{said}");
    assert_eq!(yard.waiting(), Vec::<String>::new());
    assert_eq!(names(&yard.spool().join("done")), ["a.jsonl", "b.jsonl", "c.jsonl", "d.jsonl"]);
    assert_eq!(names(&yard.spool().join("bad")), ["e.jsonl", "f.jsonl"]);
    assert!(!said.contains(&FIRST.to_string()[..8]), "no number is logged: {said}");
}

/// The last of forty withdraws while the first are being written to; all have
/// been answered as permitted.
fn withdrawn_in_between(more: &[&str]) {
    let yard = Yard::new();
    let (_server, address, endpoint) = serve(&yard, "127.0.0.1:0");
    let all: Vec<u64> = (FIRST..FIRST + 40).collect();
    grant_all(address, all.iter().copied());
    yard.batch("a", all.iter().copied());
    let gateway = yard.gateway(&endpoint, &[&["--until-empty", "--rate", "5"], more].concat());
    eventually("a first message", || !yard.sent().is_empty());
    withdraw(address, all[39]);
    assert!(yard.sent().len() < 35, "too slow a machine to tell anything");
    let (status, said) = gateway.end();
    assert!(status.success(), "{said}");
    assert_eq!(yard.sent(), all[..39], "{said}");
    assert!(!said.contains(" 0 batches asked again"), "{said}");
}

#[test]
fn who_withdraws_after_the_answer_gets_no_message() {
    withdrawn_in_between(&["--good-for", "600"]);
}

#[test]
fn an_answer_is_not_used_when_it_is_old() {
    withdrawn_in_between(&["--no-watch", "--good-for", "1"]);
}

#[test]
fn no_answer_outlives_the_server_that_gave_it() {
    let yard = Yard::new();
    let (mut server, address, endpoint) = serve(&yard, "127.0.0.1:0");
    let all: Vec<u64> = (FIRST..FIRST + 60).collect();
    // Every other one is permitted.
    let permitted: Vec<u64> = all.iter().copied().step_by(2).collect();
    grant_all(address, permitted.iter().copied());
    for (at, part) in all.chunks(20).enumerate() {
        yard.batch(&at.to_string(), part.iter().copied());
    }
    let arguments = ["--until-empty", "--rate", "2", "--good-for", "600"];
    let gateway = yard.gateway(&endpoint, &arguments);
    eventually("a first message", || !yard.sent().is_empty());
    server.kill();
    // What was being sent at that moment may still go out; then it stops.
    sleep(Duration::from_millis(500));
    let sent = yard.sent();
    assert!(sent.len() < 9, "too slow a machine to tell anything");
    // Behind the gateway's back two withdraw who were answered as permitted: the
    // last of the batch that was being sent, and the last of all.
    let gone = [permitted[9], permitted[29]];
    let (mut aside, elsewhere, _) = serve(&yard, "127.0.0.1:0");
    gone.iter().for_each(|number| withdraw(elsewhere, *number));
    aside.kill();
    sleep(Duration::from_secs(2));
    assert_eq!(yard.sent(), sent, "something was sent without a server");
    let _server = serve(&yard, &address.to_string());
    let (status, said) = gateway.end();
    assert!(status.success(), "{said}");
    let left: Vec<u64> = permitted.into_iter().filter(|to| !gone.contains(to)).collect();
    assert_eq!(yard.sent(), left, "{said}");
}

#[test]
fn answers_of_another_history_are_not_mixed_with_those_of_ours() {
    let yard = Yard::new();
    let (mut server, address, endpoint) = serve(&yard, "127.0.0.1:0");
    let all: Vec<u64> = (FIRST..FIRST + 40).collect();
    grant_all(address, all.iter().copied());
    yard.batch("a", all.iter().copied());
    let arguments = ["--until-empty", "--rate", "5", "--good-for", "600"];
    let gateway = yard.gateway(&endpoint, &arguments);
    eventually("a first message", || !yard.sent().is_empty());
    server.kill();
    // As a restored store would be: it knows less, and says so by its epoch.
    fs::rename(yard.path("data"), yard.path("former")).unwrap();
    let (_aside, elsewhere, _) = serve(&yard, "127.0.0.1:0");
    grant_all(elsewhere, [all[39]]);
    drop(_aside);
    let sent = yard.sent();
    assert!(sent.len() < 39, "too slow a machine to tell anything");
    let _server = serve(&yard, &address.to_string());
    let (status, said) = gateway.end();
    assert!(status.success(), "{said}");
    assert!(said.contains("FAILED_PRECONDITION"), "{said}");
    assert_eq!(yard.sent(), [sent.as_slice(), &all[39..]].concat(), "{said}");
}

#[test]
fn after_a_crash_of_the_gateway_nothing_is_sent_unasked_or_twice() {
    let yard = Yard::new();
    let (_server, address, endpoint) = serve(&yard, "127.0.0.1:0");
    let all: Vec<u64> = (FIRST..FIRST + 40).collect();
    grant_all(address, all.iter().copied());
    yard.batch("a", all.iter().copied());
    let gateway = yard.gateway(&endpoint, &["--rate", "5"]);
    eventually("a third message", || yard.sent().len() >= 3);
    drop(gateway);
    assert_eq!(yard.waiting(), ["a.jsonl"]);
    assert!(yard.sent().len() < 39, "too slow a machine to tell anything");
    withdraw(address, all[39]);
    let (status, said) = yard.drain(&endpoint, &[]);
    assert!(status.success(), "{said}");
    assert_eq!(yard.sent(), all[..39], "{said}");
}

#[test]
fn sigterm_ends_it_between_two_messages() {
    let yard = Yard::new();
    let (_server, address, endpoint) = serve(&yard, "127.0.0.1:0");
    let all: Vec<u64> = (FIRST..FIRST + 100).collect();
    grant_all(address, all.iter().copied());
    yard.batch("a", all.iter().copied());
    let gateway = yard.gateway(&endpoint, &["--rate", "2"]);
    eventually("a first message", || !yard.sent().is_empty());
    // One spool is emptied by one gateway.
    let (status, said) = yard.drain(&endpoint, &[]);
    assert!(!status.success() && said.contains("another gateway"), "{said}");
    let (status, said) = gateway.terminate();
    assert!(status.success(), "{said}");
    assert!(said.contains("0 batches done"), "{said}");
    assert_eq!(yard.waiting(), ["a.jsonl"]);
    let (status, said) = yard.drain(&endpoint, &[]);
    assert!(status.success(), "{said}");
    assert_eq!(yard.sent(), all, "{said}");
}

#[test]
fn a_token_that_may_not_watch_needs_no_watch() {
    let yard = Yard::new();
    let data = yard.path("data");
    let token = |name: &str, brand: &str, role: &str| {
        let words = ["token", "create", name, "--brand", brand, "--role", role, "--data"];
        let arguments: Vec<_> = words.iter().map(AsRef::as_ref).chain([data.as_os_str()]).collect();
        let output = process::run(&arguments, b"");
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    token("boss", "*", "admin");
    let filter = token("gateway", "main", "filter");
    let (_server, _, endpoint) = serve(&yard, "127.0.0.1:0");
    yard.batch("a", [FIRST]);
    let file = yard.path("token");
    fs::write(&file, filter).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let by_token = ["--token-file", file.to_str().unwrap()];
    let (status, said) = yard.drain(&endpoint, &by_token);
    assert!(!status.success() && said.contains("PERMISSION_DENIED"), "{said}");
    assert_eq!(yard.waiting(), ["a.jsonl"]);
    let (status, said) = yard.drain(&endpoint, &[&by_token[..], &["--no-watch"]].concat());
    assert!(status.success(), "{said}");
    let (status, said) = yard.drain(&endpoint, &["--no-watch"]);
    assert!(!status.success() && said.contains("UNAUTHENTICATED"), "{said}");
}
