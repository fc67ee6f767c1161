//! `top`, as people and scripts use it: in a pipe, and on a terminal.

use std::{
    ffi::OsStr,
    io::Write,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use sendgate::{
    client::{Client, FilterStream, Recipients},
    proto::v1::{AnswerForm, ContactKind, RecordRequest},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    process::{Process, run, sendgate},
    support::{grant, options},
};

const GIVEN: i64 = 1_700_000_000_000;
const BATCH: u64 = 1_000;

struct Setting {
    folder: TempDir,
    server: Process,
    address: SocketAddr,
}

impl Setting {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (server, address) = Process::serve(&folder.path().join("data")).unwrap();
        Self { folder, server, address }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn restart(&mut self) {
        self.server.kill();
        let data = self.folder.path().join("data");
        (self.server, self.address) = Process::serve_at(&data, &self.address.to_string()).unwrap();
    }

    /// Filters until it is told to stop; returns how many batches there were.
    async fn filter(&self, enough: impl Fn(u64) -> bool) -> u64 {
        let client = Client::connect(&self.endpoint()).await.unwrap();
        let events = vec![grant("+905321230000", GIVEN), grant("+905321230001", GIVEN)];
        client.consent_service().record(RecordRequest { events }).await.unwrap();
        let options = options(ContactKind::Phone, "sms", AnswerForm::Reasons);
        let mut stream = FilterStream::open(&client, options, 2).await.unwrap();
        let mut batches = 0;
        while !enough(batches) {
            let phones = (905_321_230_000..905_321_230_000 + BATCH).collect();
            stream.send((), Recipients::Phones(phones)).unwrap();
            stream.next().await.unwrap().unwrap();
            batches += 1;
        }
        stream.close();
        assert!(stream.next().await.unwrap().is_none());
        batches
    }
}

fn top(endpoint: &str, more: &[&str]) -> (i32, String, String) {
    let arguments = [&["top", "--endpoint", endpoint], more].concat();
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    let output = run(&arguments, b"");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_pipe_it_tells_what_happens_between_two_polls() {
    let setting = Arc::new(Setting::new());
    let stop = Arc::new(AtomicBool::new(false));
    let traffic = tokio::spawn({
        let (setting, stop) = (Arc::clone(&setting), Arc::clone(&stop));
        async move { setting.filter(|_| stop.load(Ordering::Relaxed)).await }
    });
    let endpoint = setting.endpoint();
    let ask = |arguments: &'static [&'static str]| {
        let endpoint = endpoint.clone();
        tokio::task::spawn_blocking(move || top(&endpoint, arguments))
    };
    let begin = Instant::now();
    let (code, out, err) = ask(&["--json"]).await.unwrap();
    assert_eq!((code, err.as_str()), (0, ""));
    let busy: Value = serde_json::from_str(&out).unwrap();
    let number = |json: &Value, path: &str| {
        json.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path}: {json:#}"))
    };
    let (rate, interval) =
        (number(&busy, "/per_second/recipients"), number(&busy, "/interval_seconds"));
    assert!(rate > 0.0 && interval >= 0.9, "{busy:#}");
    assert!(begin.elapsed().as_secs_f64() > interval, "{busy:#}");
    assert!(rate * interval <= number(&busy, "/since_start/recipients") + 0.5, "{busy:#}");
    assert!(number(&busy, "/per_second/verdicts/NO_CONSENT") > 0.0, "{busy:#}");
    assert!(number(&busy, "/latency_us/batch/p50") > 0.0, "{busy:#}");
    assert!(
        number(&busy, "/latency_us/batch/p50") <= number(&busy, "/latency_us/batch/p99"),
        "{busy:#}"
    );
    assert_eq!(number(&busy, "/open_streams"), 1.0);
    assert!(number(&busy, "/memory_bytes/process") > 1e6, "{busy:#}");

    stop.store(true, Ordering::Relaxed);
    let batches = traffic.await.unwrap();
    let (code, out, _) = ask(&["--json", "--interval", "0.1"]).await.unwrap();
    assert_eq!(code, 0);
    let idle: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(number(&idle, "/per_second/recipients"), 0.0);
    assert_eq!(idle.pointer("/latency_us/batch"), Some(&Value::Null));
    let since = |path: &str| number(&idle, &format!("/since_start/{path}")) as u64;
    assert_eq!((since("batches"), since("recipients")), (batches, batches * BATCH));
    assert_eq!(since("verdicts/PERMITTED"), 2 * batches);
    assert_eq!(since("verdicts/NO_CONSENT"), (BATCH - 2) * batches);

    // For people, and still no terminal: one screen, and nothing that steers one.
    let (code, out, err) = ask(&["--interval", "0.1"]).await.unwrap();
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(!out.contains('\x1b'), "{out:?}");
    for due in ["throughput", "latency", "memory", "queue", "checkpoint", "verdicts", "NO_CONSENT"]
    {
        assert!(out.lines().any(|line| line.starts_with(due)), "{due}: {out}");
    }
}

/// `top` on a terminal of its own.
struct Screen {
    child: Child,
    drawn: Arc<Mutex<String>>,
}

impl Screen {
    fn open(endpoint: &str, colours: bool) -> Self {
        let program = env!("CARGO_BIN_EXE_sendgate");
        let typed = format!("{program} top --interval 0.2 --endpoint {endpoint}");
        // The environment that a command of ours would see.
        let mut command = Command::new("script");
        for (name, value) in sendgate().get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if colours {
            command.env_remove("NO_COLOR");
        }
        command.env("TERM", "xterm").args(["-qec", &typed, "/dev/null"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script");
        let drawn = Arc::new(Mutex::new(String::new()));
        let (mut out, seen) = (child.stdout.take().unwrap(), Arc::clone(&drawn));
        thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(count) = std::io::Read::read(&mut out, &mut bytes) {
                if count == 0 {
                    return;
                }
                seen.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { child, drawn }
    }

    fn drawn(&self) -> String {
        self.drawn.lock().unwrap().clone()
    }

    /// Waits until this is drawn, after what was drawn before.
    fn await_text(&self, text: &str) {
        let begin = Instant::now();
        let before = self.drawn().len();
        while !self.drawn().get(before..).is_some_and(|drawn| drawn.contains(text)) {
            assert!(begin.elapsed() < Duration::from_secs(60), "{text}: {:?}", self.drawn());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn press(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        drop(self.child.kill());
        self.child.wait().unwrap();
    }
}

#[test]
fn on_a_terminal_it_draws_until_q_is_pressed() {
    for (keys, colours) in [("q", true), ("\x03", false)] {
        let setting = Setting::new();
        let mut screen = Screen::open(&setting.endpoint(), colours);
        screen.await_text("q quit   p pause");
        screen.await_text("recipients");
        // Nothing more is drawn while it pauses.
        screen.press("p");
        thread::sleep(Duration::from_millis(500));
        let paused = screen.drawn();
        thread::sleep(Duration::from_millis(700));
        assert_eq!(screen.drawn(), paused);
        screen.press("p");
        screen.await_text("recipients");
        screen.press(keys);
        let status = screen.child.wait().unwrap();
        assert!(status.success(), "{keys:?}: {status}");
        let drawn = screen.drawn();
        assert!(drawn.starts_with("\x1b[?1049h\x1b[?25l"), "{drawn:?}");
        assert!(drawn.trim_end().ends_with("\x1b[?25h\x1b[?1049l"), "{drawn:?}");
        assert_eq!(drawn.contains("\x1b[1msendgate "), colours, "{drawn:?}");
        assert_eq!(drawn.contains("\x1b[1m"), colours, "{drawn:?}");
    }
}

#[test]
fn on_a_terminal_a_restart_of_the_server_is_said() {
    let mut setting = Setting::new();
    let mut screen = Screen::open(&setting.endpoint(), false);
    screen.await_text("recipients");
    setting.server.kill();
    screen.await_text("no answer, so this is the last");
    setting.restart();
    screen.await_text("the server restarted at ");
    screen.press("q");
    assert!(screen.child.wait().unwrap().success());
}

#[test]
fn who_cannot_ask_is_told_why() {
    let (code, out, err) = top("http://127.0.0.1:1", &["--once"]);
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    assert!(err.contains("cannot reach"), "{err}");
    let setting = Setting::new();
    let (code, _, err) = top(&setting.endpoint(), &["--interval", "0"]);
    assert_eq!(code, 2);
    assert!(err.contains("between 0.1 and 3600 seconds"), "{err}");
}
