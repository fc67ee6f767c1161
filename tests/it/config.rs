//! The configuration of the real binary: `config check`, `config print`, and
//! what `serve` says of a wrong one.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    certificates::{Authority, VALID},
    damage::edit,
    process::{Process, run_with, sendgate},
};

/// Runs it; returns its exit code, standard output and standard error.
fn run(variables: &[(&str, &str)], arguments: &[&str]) -> (i32, String, String) {
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    let output = run_with(variables, &arguments, b"");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn file(folder: &TempDir, text: &str) -> String {
    let path = folder.path().join("sendgate.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_check_says_ok_or_all_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let right = file(&folder, "listen = \"127.0.0.1:7777\"\n");
    let (code, out, err) = run(&[], &["config", "check", "--config", &right]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "ok\n", ""));

    let wrong = file(&folder, "connections = 0\nlistne = 1\n");
    let variables = [("SENDGATE_CONFIG", wrong.as_str()), ("SENDGATE_STREAM_IDLE", "never")];
    for command in [&["config", "check"][..], &["config", "print"], &["serve"]] {
        let (code, out, err) = run(&variables, command);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        for what in [
            format!("{wrong}:1: connections = 0: 0 is not in 1..=65536"),
            format!("{wrong}:2: there is no key listne"),
            "SENDGATE_STREAM_IDLE: stream_idle = never: ".to_owned(),
        ] {
            assert!(err.contains(&what), "no {what} in {err}");
        }
    }
}

#[test]
fn a_check_looks_at_what_the_server_would_meet() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let check = |flags: &[&str]| run(&[], &[&["config", "check", "--data", data], flags].concat());
    let (code, _, err) = check(&["--listen", "0.0.0.0:50051"]);
    assert!(code == 2 && err.contains("neither TLS nor tokens"), "{err}");
    assert_eq!(check(&["--listen", "0.0.0.0:50051", "--insecure"]).0, 0);

    let issued = Authority::new().issue(&["localhost"], VALID, 1);
    let (certificate, key) = issued.write(folder.path(), "server");
    let tls: [String; 2] =
        [format!("--tls-cert={}", certificate.display()), format!("--tls-key={}", key.display())];
    assert_eq!(check(&[&tls[0], &tls[1]]).0, 0);
    fs::remove_file(&key).unwrap();
    let (code, _, err) = check(&[&tls[0], &tls[1]]);
    assert!(code == 2 && err.contains(key.to_str().unwrap()), "{err}");
    let (code, _, err) = check(&[&tls[0]]);
    assert!(code == 2 && err.contains("tls_cert and tls_key go together"), "{err}");
    assert!(!Path::new(data).exists(), "a check makes nothing");
}

#[test]
fn what_is_printed_can_be_used_and_says_where_it_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let named = file(&folder, "\nstream_idle = 7\nlog_level = \"warn\"\n");
    let variables = [("SENDGATE_LOG_LEVEL", "error"), ("SENDGATE_HTTP_LISTEN", "off")];
    let print = ["config", "print", "--config", &named, "--insecure"];
    let (code, printed, err) = run(&variables, &print);
    assert_eq!((code, err.as_str()), (0, ""));
    for line in [
        &format!("stream_idle = 7 # {named}:2"),
        "log_level = \"error\" # SENDGATE_LOG_LEVEL",
        "insecure = true # --insecure",
        "listen = \"127.0.0.1:50051\" # default",
        "#tls_cert = \"FILE\" # not set",
    ] {
        assert!(printed.lines().any(|found| found == line), "no {line} in {printed}");
    }

    let json = |variables: &[_], config: &str| -> Vec<(Value, Value, String)> {
        let (_, out, _) = run(variables, &["config", "print", "--json", "--config", config]);
        let entries: Vec<Value> = serde_json::from_str(&out).unwrap();
        let of = |entry: &Value| entry["origin"].as_str().unwrap().to_owned();
        entries
            .iter()
            .map(|entry| (entry["key"].clone(), entry["value"].clone(), of(entry)))
            .collect()
    };
    let again = file(&folder, &printed);
    let now = json(&[("SENDGATE_HTTP_LISTEN", "off")], &again);
    let set = |key: &str| now.iter().find(|(name, ..)| name == key).unwrap();
    assert_eq!(set("stream_idle").1, 7);
    assert_eq!(set("log_level").1, "error");
    assert_eq!(set("insecure").1, true);
    assert_eq!(set("tls_cert").1, Value::Null);
    assert_eq!(set("tls_cert").2, "default");
    assert!(set("listen").2.starts_with(&format!("{again}:")), "{now:?}");
}

/// A client's own settings are none of the server's, and the other way round.
#[test]
fn variables_of_clients_are_known_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone.pem");
    let mut command = sendgate();
    for name in ["CLIENT_CERT", "CLIENT_KEY", "TLS_CA", "TOKEN_FILE"] {
        command.env(format!("SENDGATE_{name}"), &gone);
    }
    let (mut server, _) = Process::serve_by(command, &folder.path().join("data"), "127.0.0.1:0")
        .expect("a client's certificate is not the server's");
    server.kill();
    let variables = [("SENDGATE_STREAM_IDLE", "never"), ("SENDGATE_UNKNOWN", "x")];
    assert_eq!(run(&variables, &["stats", "--endpoint", "127.0.0.1:1"]).0, 3);
}

#[test]
fn the_log_is_json_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let port_taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = port_taken.local_addr().unwrap().to_string();
    let data: PathBuf = folder.path().join("data");
    let serve = ["serve", "--data", data.to_str().unwrap(), "--listen", &listen];
    let (code, _, err) = run(&[("SENDGATE_LOG_FORMAT", "json")], &serve);
    assert_eq!(code, 1);
    let (log, last) = err.trim_end().rsplit_once('\n').unwrap();
    assert!(last.starts_with("sendgate: cannot listen on"), "{err}");
    let first: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(first["level"], "INFO");
    assert_eq!(first["message"], "opening the store");
    assert_eq!(first["folder"], data.to_str().unwrap());
    let (_, _, quiet) = run(&[], &[&serve[..], &["--log-level", "error"]].concat());
    assert!(quiet.starts_with("sendgate: cannot listen on"), "{quiet}");
}

#[cfg(not(feature = "otel"))]
#[test]
fn a_server_that_cannot_send_traces_says_so_where_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let port_taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = port_taken.local_addr().unwrap().to_string();
    let serve = ["serve", "--data", folder.path().to_str().unwrap(), "--listen", &listen];
    for (endpoint, is_told) in [("http://127.0.0.1:4317", true), ("", false)] {
        let (_, _, err) = run(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)], &serve);
        assert_eq!(err.contains("built without traces"), is_told, "{err}");
    }
}

/// What is wrong with the surroundings and not with the configuration.
#[test]
fn a_store_of_another_format_is_refused_by_the_binary_too() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, _) = Process::serve(folder.path()).unwrap();
    server.kill();
    edit(folder.path(), |db| {
        let meta = db.cf_handle("meta").unwrap();
        db.put_cf(meta, "format", 2_u32.to_le_bytes()).unwrap();
    });
    let data = folder.path().to_str().unwrap();
    let (code, _, err) = run(&[], &["serve", "--data", data, "--listen", "127.0.0.1:0"]);
    assert!(code == 1 && err.contains("its format is 2, and this version reads"), "{err}");
    let file = folder.path().join("file");
    fs::write(&file, "no folder").unwrap();
    let (code, _, err) = run(&[], &["serve", "--data", file.to_str().unwrap()]);
    assert!(code == 1 && err.contains(file.to_str().unwrap()), "{err}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let (code, _, err) = run(&[], &["serve", "--config", "/nowhere/sendgate.toml"]);
    assert!(code == 2 && err.contains("/nowhere/sendgate.toml: the configuration file"), "{err}");
    let (code, _, err) = run(&[("SENDGATE_CONFIG", "/")], &["config", "check"]);
    assert!(code == 2 && err.contains("cannot be read"), "{err}");
}

/// The tables of docs/operations.md are what the binary says.
#[test]
fn the_documentation_has_every_key_and_every_exit_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documented = fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let mut command = sendgate();
    command.env_remove("SENDGATE_HTTP_LISTEN").args(["config", "print"]);
    let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let keys: Vec<String> = printed
        .split("\n\n")
        .map(|key| {
            let (help, line) = key.trim_end().rsplit_once('\n').unwrap();
            let help = help.replace("\n# ", " ").replacen("# ", "", 1);
            let (name, value) = line.trim_start_matches('#').split_once(" = ").unwrap();
            let default = value.strip_suffix(" # default").map(|value| format!("`{value}`"));
            format!("| `{name}` | {} | {help} |", default.unwrap_or_default())
        })
        .collect();
    assert!(keys.len() > 12);
    for row in &keys {
        assert!(documented.contains(row), "docs/operations.md lacks the row\n{row}");
    }
    let (_, section) = documented.split_once("\n## Configuration\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, keys.len(), "a row of no key");
    let (_, help, _) = run(&[], &["--help"]);
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    for code in codes.trim_end().lines() {
        assert!(documented.contains(code.trim()), "docs/operations.md lacks {code}");
    }
}
