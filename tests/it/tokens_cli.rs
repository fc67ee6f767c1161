//! Tokens on the command line: the real binary against a real server.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::process::{Process, run_with};

/// What a command left: its exit code, standard output and standard error.
type Ran = (i32, String, String);

struct Shell {
    folder: TempDir,
    endpoint: String,
    server: Option<Process>,
}

impl Shell {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), endpoint: String::new(), server: None }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn serve(&mut self) {
        self.server = None;
        let (server, address): (_, SocketAddr) = Process::serve(&self.data()).unwrap();
        (self.server, self.endpoint) = (Some(server), format!("http://{address}"));
    }

    /// Keeps a token in a file, as its holder would.
    fn keep(&self, name: &str, token: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, token).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Runs a command with the token of this file.
    fn run(&self, token: Option<&Path>, arguments: &[&str]) -> Ran {
        let mut all: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        if let Some(path) = token {
            all.extend([OsStr::new("--token-file"), path.as_os_str()]);
        }
        self.run_with(&[("SENDGATE_ENDPOINT", &self.endpoint)], &all)
    }

    fn run_with(&self, variables: &[(&str, &str)], arguments: &[&OsStr]) -> Ran {
        let output = run_with(variables, arguments, b"");
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn offline(&self, arguments: &[&str]) -> Ran {
        let (data, words) = (self.data(), arguments.iter().map(OsStr::new));
        let all: Vec<&OsStr> = words.chain([OsStr::new("--data"), data.as_os_str()]).collect();
        self.run_with(&[], &all)
    }
}

const CHECK: [&str; 8] =
    ["check", "+905321234567", "--brand", "main", "--channel", "sms", "--purpose", "marketing"];

/// The token that a command printed, and nothing else on standard output.
fn token((code, out, err): Ran) -> String {
    assert_eq!(code, 0, "{err}");
    let token = out.strip_suffix('\n').unwrap().to_owned();
    assert!(token.starts_with("sendgate_") && !token.contains('\n'), "{out}");
    assert!(!err.contains(&token), "talk holds the token");
    token
}

#[test]
fn a_token_is_made_before_the_first_start_used_and_revoked() {
    let mut shell = Shell::new();
    let first = ["token", "create", "boss", "--brand", "*", "--role", "admin"];
    let boss = token(shell.offline(&first));
    let (code, _, err) = shell.offline(&first);
    assert_eq!(code, 1);
    assert!(err.contains("there is a token \"boss\""), "{err}");
    let file = shell.data().join("tokens.json");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!fs::read_to_string(&file).unwrap().contains(&boss));
    shell.serve();

    // While a server runs, nobody else writes its tokens.
    let (code, out, err) =
        shell.offline(&["token", "create", "x", "--brand", "*", "--role", "admin"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("in use by a server"), "{err}");

    let boss = shell.keep("boss.token", &format!("{boss}\n"));
    let gateway = shell
        .run(Some(&boss), &["token", "create", "gateway", "--brand", "main", "--role", "filter"]);
    let text = token(gateway);
    let gateway = shell.keep("gateway.token", &text);

    let (code, out, _) = shell.run(Some(&gateway), &CHECK);
    assert_eq!(code, 5);
    assert!(out.contains("NO_CONSENT"), "{out}");
    // So does the environment.
    let check: Vec<&OsStr> = CHECK.iter().map(OsStr::new).collect();
    let environment = [("SENDGATE_ENDPOINT", shell.endpoint.as_str()), ("SENDGATE_TOKEN", &text)];
    assert_eq!(shell.run_with(&environment, &check).0, 5);

    let (code, _, err) = shell.run(None, &CHECK);
    assert_eq!(code, 1);
    assert!(err.contains("UNAUTHENTICATED") && err.contains("--token-file"), "{err}");
    let mut other = CHECK;
    other[3] = "other";
    let (code, _, err) = shell.run(Some(&gateway), &other);
    assert_eq!(code, 1);
    assert!(err.contains("PERMISSION_DENIED"), "{err}");
    let (code, _, err) = shell.run(Some(&gateway), &["token", "list"]);
    assert_eq!(code, 1);
    assert!(err.contains("the role admin"), "{err}");

    let (code, out, _) = shell.run(Some(&boss), &["token", "list"]);
    assert_eq!(code, 0);
    assert!(out.contains("gateway  filter for main  created "), "{out}");
    let (_, json, _) = shell.run(Some(&boss), &["token", "list", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json[1]["name"], &json[1]["roles"][0]), (&"gateway".into(), &"filter".into()));
    assert_eq!((json[0]["brands"][0].as_str(), &json[1]["expires"]), (Some("*"), &().into()));

    let (code, out, err) = shell.run(Some(&boss), &["token", "revoke", "gateway"]);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    let (code, _, err) = shell.run(Some(&gateway), &CHECK);
    assert_eq!(code, 1);
    assert!(err.contains("UNAUTHENTICATED"), "{err}");

    // Killed and started again, the server knows the same.
    shell.server.as_mut().unwrap().kill();
    shell.serve();
    assert_eq!(shell.run(Some(&gateway), &CHECK).0, 1);
    assert_eq!(shell.run(Some(&boss), &["stats"]).0, 0);
    shell.server.as_mut().unwrap().kill();

    // Without a server the folder is nobody's, and the log is told.
    assert_eq!(shell.offline(&["token", "revoke", "boss"]).0, 0);
    let (code, out, _) = shell.offline(&["token", "list"]);
    assert_eq!((code, out.as_str()), (0, ""));
    let log = fs::read_to_string(shell.data().join("audit.jsonl")).unwrap();
    assert!(log.lines().last().unwrap().contains("revoke_token"), "{log}");
    assert!(!log.contains(&text));
}

#[test]
fn a_file_that_others_can_read_holds_no_token() {
    let shell = Shell::new();
    let file = shell.keep("open.token", &format!("sendgate_{}", "1".repeat(64)));
    for mode in [0o644, 0o640, 0o620] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let (code, _, err) = shell.run(Some(&file), &["stats"]);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(&format!("mode {mode:o}")) && err.contains("chmod 600"), "{err}");
        assert!(!err.contains("sendgate_1"), "{err}");
    }
    let secret = shell.keep("other.secret", "hunter2");
    let (code, _, err) = shell.run(Some(&secret), &["stats"]);
    assert_eq!(code, 2);
    assert!(err.contains("no token") && !err.contains("hunter2"), "{err}");
    let stats = [OsStr::new("stats")];
    let (code, _, err) = shell.run_with(&[("SENDGATE_TOKEN", "hunter2")], &stats);
    assert_eq!(code, 2);
    assert!(err.contains("SENDGATE_TOKEN") && !err.contains("hunter2"), "{err}");
    let (code, _, err) = shell.run(Some(Path::new("/nowhere/token")), &["stats"]);
    assert_eq!(code, 2);
    assert!(err.contains("/nowhere/token"), "{err}");
}

#[test]
fn an_address_that_others_reach_needs_tokens() {
    let shell = Shell::new();
    let refused = Process::serve_at(&shell.data(), "0.0.0.0:0").err().unwrap();
    assert!(
        refused.contains("neither TLS nor tokens") && refused.contains("--insecure"),
        "{refused}"
    );
    token(shell.offline(&["token", "create", "boss", "--brand", "*", "--role", "admin"]));
    let refused = Process::serve_at(&shell.data(), "0.0.0.0:0").err().unwrap();
    assert!(refused.contains("without TLS") && !refused.contains("tokens:"), "{refused}");
}

/// `0.0.0.0` leads to this machine, and is not known to.
#[test]
fn a_token_is_not_sent_in_clear_to_another_machine_unless_that_is_said() {
    let mut shell = Shell::new();
    let first = ["token", "create", "boss", "--brand", "*", "--role", "admin"];
    let boss = token(shell.offline(&first));
    shell.serve();
    let boss = shell.keep("boss.token", &boss);
    shell.endpoint = shell.endpoint.replace("127.0.0.1", "0.0.0.0");
    let (code, _, err) = shell.run(Some(&boss), &["stats"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("a token goes over TLS or loopback only; use https://"), "{err}");
    let log = fs::read_to_string(shell.data().join("audit.jsonl")).unwrap();
    assert!(!log.contains("denied"), "no call was made: {log}");
    assert_eq!(shell.run(Some(&boss), &["stats", "--plaintext-token"]).0, 0);
    // Without a token there is nothing to hide, and nothing to be had.
    let (code, _, err) = shell.run(None, &["stats"]);
    assert_eq!(code, 1);
    assert!(err.contains("UNAUTHENTICATED"), "{err}");
}

#[test]
fn what_is_no_grant_is_refused_without_a_server_too() {
    let shell = Shell::new();
    let create = |more: &[&str]| {
        let all: Vec<&str> = ["token", "create", "a"].iter().chain(more).copied().collect();
        let (code, out, err) = shell.offline(&all);
        assert_eq!(out, "");
        (code, err)
    };
    let (code, err) = create(&["--brand", "*", "--role", "admin", "--expires", "2020-01-01"]);
    assert_eq!(code, 1);
    assert!(err.contains("expires"), "{err}");
    assert_eq!(create(&["--brand", "a b", "--role", "admin"]).0, 1);
    assert_eq!(create(&["--brand", "*"]).0, 2);
    assert_eq!(create(&["--role", "admin"]).0, 2);
    assert_eq!(create(&["--brand", "*", "--role", "king"]).0, 2);
    assert!(!shell.data().exists(), "a refused command left something");
    assert_eq!(shell.offline(&["token", "list"]).0, 1);
    token(shell.offline(&[
        "token",
        "create",
        "a",
        "--brand",
        "main",
        "--brand",
        "other",
        "--role",
        "filter",
        "--role",
        "record",
        "--expires",
        "2099-01-01",
    ]));
    let (_, out, _) = shell.offline(&["token", "list"]);
    assert!(out.contains("a  filter,record for main,other"), "{out}");
    assert!(out.contains("expires 2099-01-01T00:00:00Z"), "{out}");
}
