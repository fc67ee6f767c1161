//! Servers that are not there, go away, or lie: a clear message and no figure.

use std::{
    fs,
    io::Read,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use sendgate::{client::Client, proto::v1::GetStatisticsRequest};

use crate::{
    liar,
    support::{POPULATION, loadtest, report, run, sendgate, server},
};

/// What a run says that must fail.
fn fails(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    assert!(output.stdout.is_empty(), "no figure is printed");
    String::from_utf8(output.stderr).unwrap()
}

/// Looks again and again, for a minute at most.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..6000 {
        if let Some(found) = look() {
            return found;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not come");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    for workload in ["filter", "check", "record", "import", "mixed"] {
        // Nothing listens on the discard port of loopback.
        let said = fails(&[workload, "--endpoint", "http://127.0.0.1:9"]);
        assert!(said.contains("cannot reach http://127.0.0.1:9"), "{said}");
        assert!(said.contains("sendgate serve"), "{said}");
    }
    let said = fails(&["restart", "--server", "/does/not/exist"]);
    assert!(said.contains("cannot start /does/not/exist"), "{said}");
    assert_eq!(run(&["filter", "--hit-rate", "NaN"]).status.code(), Some(2));
}

#[tokio::test]
async fn a_policy_without_enough_scopes_is_said() {
    let (server, _folder) = server().await;
    let said = fails(&["filter", "--scopes", "16", "--endpoint", server.endpoint()]);
    assert!(said.contains("brand main has 15 scopes") && said.contains("16"), "{said}");
    let exempt = ["--purpose", "transactional", "--endpoint", server.endpoint()];
    let said = fails(&[&["filter"], &exempt[..]].concat());
    assert!(said.contains("asks for consent"), "{said}");
}

#[tokio::test]
async fn people_of_another_seed_are_noticed_before_the_run() {
    let (server, _folder) = server().await;
    let run =
        |seed| ["import", "--events", "100000", "--endpoint", server.endpoint(), "--seed", seed];
    report(&run("1"));
    let load = ["filter", "--population", "1000", "--seed", "2", "--endpoint", server.endpoint()];
    let said = fails(&load);
    assert!(said.contains("brand main does not hold the people that it should"), "{said}");
    assert!(
        said.contains("expected NO_CONSENT, got PERMITTED") && said.contains("--seed"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lies_is_caught() {
    let (server, _folder) = server().await;
    let load = ["--population", POPULATION, "--batch-size", "2000", "--distinct-mib", "1"];
    let endpoint = server.endpoint().to_owned();
    report(
        &[&["filter", "--batches", "2", "--warm-up", "0", "--endpoint", &endpoint], &load[..]]
            .concat(),
    );
    let liar = liar::start(&endpoint).await;
    for reasons in [&["--reasons"][..], &[]] {
        let said = fails(&[&["filter", "--endpoint", &liar], &load[..], reasons].concat());
        assert!(said.contains("answered WRONGLY: batch 3 of a stream, recipient 7 (+90"), "{said}");
        assert!(said.contains("expected ") && said.contains("got "), "{said}");
        assert!(said.contains("broke off after"), "{said}");
    }
    let said = fails(&["check", "--population", POPULATION, "--endpoint", &liar]);
    assert!(said.contains("answered WRONGLY: call "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgets_is_caught() {
    let (server, _folder) = server().await;
    let liar = liar::start(server.endpoint()).await;
    // Batches too small for the liar's other lie.
    let load =
        ["--population", POPULATION, "--warm-up", "0", "--seconds", "1", "--endpoint", &liar];
    let mixed = ["mixed", "--rate", "50", "--batch-size", "100", "--distinct-mib", "1"];
    let said = fails(&[&mixed[..], &load[..]].concat());
    assert!(said.contains("WRONGLY: +90") && said.contains("was acknowledged"), "{said}");
    let said = fails(&[&["record", "--people", "1000"], &load[..]].concat());
    assert!(said.contains("LOST a change") && said.contains("is permitted"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_leaves_no_figure() {
    let (server, _folder) = server().await;
    let client = Client::connect(server.endpoint()).await.unwrap();
    let mut run = loadtest()
        .args(["filter", "--population", POPULATION, "--seconds", "600", "--distinct-mib", "1"])
        .args(["--endpoint", server.endpoint()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Mid-run: it has asked about more than its samples.
    let filtered = async || {
        let statistics =
            client.admin_service().get_statistics(GetStatisticsRequest::default()).await;
        statistics.unwrap().into_inner().recipients_filtered
    };
    while filtered().await < 1_000_000 {
        assert!(run.try_wait().unwrap().is_none(), "the run ended by itself");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.kill().unwrap();
    let (mut figures, mut said) = (String::new(), String::new());
    run.stdout.take().unwrap().read_to_string(&mut figures).unwrap();
    run.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(1));
    assert_eq!(figures, "");
    assert!(said.contains("broke off after") && said.contains("no figures"), "{said}");
}

/// The processes that a process started.
fn children(process: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let files = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    files
        .flat_map(|file| file.split(' ').filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Whether a process is there, and more than a name that nobody has asked for.
fn lives(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

#[test]
fn no_server_outlives_its_load_test() {
    for signal in ["KILL", "TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let mut run = loadtest()
            .args(["scale", "--sizes", "100000000", "--server"])
            .arg(sendgate())
            .arg("--data")
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It has come so far that it takes events, and no longer writes its log,
        // whose end would end it too.
        let size = || {
            let files = fs::read_dir(folder.path()).into_iter().flatten().flatten();
            files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum::<u64>()
        };
        wait_for("an import", || (size() > 1 << 20).then_some(()));
        let server = wait_for("the server", || children(run.id()).first().copied());
        let sent = Command::new("kill").args(["-s", signal, &run.id().to_string()]).status();
        assert!(sent.unwrap().success());
        assert!(!run.wait().unwrap().success());
        wait_for("the end of the server", || (!lives(server)).then_some(()));
    }
}
