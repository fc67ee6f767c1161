//! Backups: taken while the server writes, whole or not there at all, and
//! refused once anything in them was changed.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
};

use sendgate::{
    backup::{self, Incoming},
    clock::Clock,
    proto::v1::{
        BackupRequest, BackupResponse, PurgeRequest, Reason, SuppressRequest, Suppression,
        backup_response::Part,
    },
};
use tempfile::TempDir;
use tonic::Code;

use crate::{
    damage::{REVISION, copy, open, planes, record, stopped, told},
    process::run,
    support::{START, TestServer, phone},
};

/// Runs a command against a server on a thread that may wait.
pub async fn command(server: &TestServer, words: &[&str]) -> Output {
    let endpoint = server.endpoint();
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    tokio::task::spawn_blocking(move || {
        let endpoint = ["--endpoint", &endpoint].map(OsStr::new);
        let all: Vec<&OsStr> = words.iter().map(OsStr::new).chain(endpoint).collect();
        run(&all, b"")
    })
    .await
    .unwrap()
}

/// What a command says when it fails.
pub fn error(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Takes a backup into a folder of this name.
pub async fn back_up(server: &TestServer, folder: &Path) {
    let output = command(server, &["backup", "--out", text(folder)]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A restored store in a folder of its own.
pub fn restored(backup: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::remove_dir(folder.path()).unwrap();
    let clock = Clock::Manual(std::sync::Arc::new(START.into()));
    backup::restore(backup, folder.path(), clock).unwrap();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_taken_under_writes_is_whole_and_says_how_far_it_comes() {
    let server = told().await;
    let place = tempfile::tempdir().unwrap();
    let done = AtomicBool::new(false);
    let writing = async {
        let mut number = 0;
        while !done.load(Ordering::SeqCst) {
            record(&server, number).await;
            number += 1;
        }
        number as u64
    };
    let taking = async {
        for at in 0..3 {
            back_up(&server, &place.path().join(format!("{at}"))).await;
        }
        done.store(true, Ordering::SeqCst);
    };
    let (written, ()) = tokio::join!(writing, taking);
    assert_eq!(names(place.path()), ["0", "1", "2"], "no temporary folder is left");
    let mut last = REVISION;
    for at in 0..3 {
        let folder = place.path().join(format!("{at}"));
        let verified = run(&["backup", "verify", text(&folder), "--json"].map(AsRef::as_ref), b"");
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
        let said: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
        let revision = said["revision"].as_u64().unwrap();
        assert!((last..=REVISION + written).contains(&revision), "{last} {revision} {written}");
        last = revision;
        assert_eq!(names(&folder), ["backup.json", "store"], "verifying leaves nothing");
        let books = open(restored(&folder).path()).unwrap();
        assert_eq!(books.tip.revision, revision);
        assert_ne!(books.store.epoch().to_string(), said["epoch"], "a history of its own");
    }
    assert!(last > REVISION, "it went on writing meanwhile");
    let leftovers = names(server.folder.path()).into_iter().filter(|name| name == "backup");
    assert_eq!(leftovers.count(), 0, "the server keeps no copy");
    let log = fs::read_to_string(server.folder.path().join("audit.jsonl")).unwrap();
    let acts = log.lines().filter(|line| line.contains("\"event\":\"backup\"")).count();
    assert_eq!(acts, 6, "each has a row before and one after");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_backup_at_a_time_and_no_purge_beside_it() {
    let server = told().await;
    // More than the connection takes unread.
    let noted = |at: u64| Suppression {
        brand: "main".to_owned(),
        contact: Some(phone(&format!("+90543{at:07}"))),
        reason: Reason::ManualBlock.into(),
        note: (0..62)
            .map(|n| format!("{:016x}", (at * 64 + n).wrapping_mul(u64::MAX / 7)))
            .collect(),
        ..Suppression::default()
    };
    for thousand in 0..8 {
        let suppressions = (0..1_000).map(|at| noted(thousand * 1_000 + at)).collect();
        server.consent().suppress(SuppressRequest { suppressions }).await.unwrap();
    }
    let admin = server.admin();
    let mut first = admin.clone().backup(BackupRequest::default()).await.unwrap().into_inner();
    assert!(matches!(
        first.message().await,
        Ok(Some(BackupResponse { part: Some(Part::File(_)) }))
    ));
    let second = admin.clone().backup(BackupRequest::default()).await;
    assert_eq!(second.map(|_| ()).unwrap_err().code(), Code::FailedPrecondition);
    // Its files would keep what the purge promises to remove.
    let purge = admin.clone().purge(PurgeRequest {}).await;
    assert_eq!(purge.unwrap_err().code(), Code::FailedPrecondition);
    // A client that goes away ends it.
    drop(first);
    for attempt in 0.. {
        match admin.clone().backup(BackupRequest::default()).await {
            Ok(_) => break,
            Err(status) => assert_eq!(status.code(), Code::FailedPrecondition),
        }
        assert!(attempt < 500, "an abandoned backup must end");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_left_of_a_backup_is_gone_after_the_next_start() {
    let store = stopped().await;
    let left = store.path().join("backup").join("store");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("000007.sst"), b"half").unwrap();
    let server = TestServer::open(store).await;
    assert!(!server.folder.path().join("backup").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_cannot_be_whole_is_not_there() {
    let server = told().await;
    let place = tempfile::tempdir().unwrap();
    let taken = place.path().join("taken");
    fs::create_dir(&taken).unwrap();
    let said = error(&command(&server, &["backup", "--out", text(&taken)]).await);
    assert!(said.contains("exists already"), "{said}");
    let nowhere = place.path().join("no").join("where");
    let said = error(&command(&server, &["backup", "--out", text(&nowhere)]).await);
    assert!(said.contains("No such file"), "{said}");

    // A disk that is full after some kilobytes.
    let full = place.path().join("full");
    let (endpoint, out) = (server.endpoint(), full.clone());
    let limited = tokio::task::spawn_blocking(move || {
        let script = "trap \"\" XFSZ; ulimit -f 2; exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_sendgate"), "backup", "--out"]);
        command.arg(out).args(["--endpoint", &endpoint]).output().unwrap()
    });
    let said = error(&limited.await.unwrap());
    assert!(said.contains("File too large"), "{said}");
    assert_eq!(names(place.path()), ["taken"], "nothing that could be taken for a backup");

    // A stream that breaks off, and one that brings something else.
    let cut = place.path().join("cut");
    let mut incoming = Incoming::create(&cut).unwrap();
    incoming.begin("000007.sst").unwrap();
    incoming.write(b"half").unwrap();
    assert!(incoming.begin("../escaped").is_err());
    drop(incoming);
    back_up(&server, &place.path().join("whole")).await;
    let manifest = backup::Manifest::read(&place.path().join("whole")).unwrap();
    let mut other = Incoming::create(&cut).unwrap();
    other.begin("000007.sst").unwrap();
    other.write(b"something else").unwrap();
    assert!(other.finish(&manifest).is_err());
    assert_eq!(names(place.path()), ["taken", "whole"]);
}

/// Changes a backup.
type Damage = Box<dyn Fn(&Path)>;

/// A copy of a backup, which has one folder in it.
fn copied(backup: &Path) -> TempDir {
    let folder = copy(backup);
    fs::create_dir(folder.path().join("store")).unwrap();
    for name in names(&backup.join("store")) {
        let from = backup.join("store").join(&name);
        fs::copy(from, folder.path().join("store").join(name)).unwrap();
    }
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_backup_is_refused_and_restores_nothing() {
    let mut server = told().await;
    let place = tempfile::tempdir().unwrap();
    let whole = place.path().join("whole");
    back_up(&server, &whole).await;
    server.stop().await;
    backup::check(&whole).unwrap();

    let mut damages: Vec<(String, Damage)> = Vec::new();
    for name in names(&whole.join("store")) {
        let file = |folder: &Path| folder.join("store").join(&name);
        let bytes = fs::read(file(&whole)).unwrap();
        for place in 0..8 {
            let (name, mut damaged) = (name.clone(), bytes.clone());
            let at = place * damaged.len() / 8;
            let Some(byte) = damaged.get_mut(at) else { continue };
            *byte ^= 1 << place;
            damages.push((
                format!("bit {place} of {name}"),
                Box::new(move |folder| {
                    fs::write(folder.join("store").join(&name), &damaged).unwrap();
                }),
            ));
        }
        let (missing, short) = (name.clone(), name.clone());
        damages.push((
            format!("{missing} deleted"),
            Box::new(move |folder| fs::remove_file(folder.join("store").join(&missing)).unwrap()),
        ));
        let half = bytes[..bytes.len() / 2].to_vec();
        if !bytes.is_empty() {
            damages.push((
                format!("{short} cut"),
                Box::new(move |folder| {
                    fs::write(folder.join("store").join(&short), &half).unwrap();
                }),
            ));
        }
    }
    damages.push((
        "a file too many".to_owned(),
        Box::new(|folder| fs::write(folder.join("store").join("more.sst"), b"").unwrap()),
    ));
    damages.push((
        "no manifest".to_owned(),
        Box::new(|folder| fs::remove_file(folder.join("backup.json")).unwrap()),
    ));
    for (from, to) in [
        ("\"format\": 1", "\"format\": 2"),
        ("\"revision\": 76", "\"revision\": 75"),
        ("\"revision\": 76", "\"revision\": 77"),
        ("\"epoch\": \"", "\"epoch\": \"0"),
        ("\"chain_head\": \"", "\"chain_head\": \"00"),
    ] {
        damages.push((
            format!("{from} to {to}"),
            Box::new(move |folder| {
                let path = folder.join("backup.json");
                let text = fs::read_to_string(&path).unwrap();
                let changed = text.replacen(from, to, 1);
                assert_ne!(text, changed, "{from}");
                fs::write(path, changed).unwrap();
            }),
        ));
    }
    assert!(damages.len() > 40, "{}", damages.len());
    let target = place.path().join("data");
    for (what, damage) in damages {
        let folder = copied(&whole);
        damage(folder.path());
        assert!(backup::restore(folder.path(), &target, Clock::System).is_err(), "{what}");
        assert!(backup::check(folder.path()).is_err(), "{what}");
        assert_eq!(names(place.path()), ["whole"], "{what}: nothing half there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_into_a_new_folder_only() {
    let server = told().await;
    let place = tempfile::tempdir().unwrap();
    let whole = place.path().join("whole");
    back_up(&server, &whole).await;
    let live: PathBuf = server.folder.path().to_owned();
    let words = |data: &Path| {
        let words = ["restore", "--from", text(&whole), "--data", text(data)];
        run(&words.map(AsRef::as_ref), b"")
    };
    let before = names(&live);
    let said = error(&words(&live));
    assert!(said.contains("exists already"), "{said}");
    assert_eq!(names(&live), before);
    let said = error(&run(
        &["restore", "--from", text(&live), "--data", text(&place.path().join("new"))]
            .map(AsRef::as_ref),
        b"",
    ));
    assert!(said.contains("holds no backup"), "{said}");
    let made = words(&place.path().join("data"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let log = fs::read_to_string(place.path().join("data").join("audit.jsonl")).unwrap();
    assert!(log.contains("\"event\":\"restore\"") && log.contains("\"former_revision\":76"));
    let (original, restored) = (copy(&live), open(&place.path().join("data")).unwrap());
    assert_eq!(planes(&restored), planes(&open(original.path()).unwrap()));
}
