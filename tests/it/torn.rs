//! Damage below the rows (F3, F4): logs cut, emptied and deleted, bytes flipped
//! in every file. The same verdicts, or a refusal, and never a panic.

use std::{fs, path::Path};

use crate::damage::{
    HEAD, REVISION, await_head, copy, edit, files, open, planes, record, stopped, tell, told,
};
use crate::support::TestServer;

/// The log of a store, of which it has one.
fn log(folder: &Path) -> std::path::PathBuf {
    let [log] = files(folder, ".log").try_into().expect("one log");
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_cut_before_the_last_acknowledged_commit_is_refused_and_behind_it_opens() {
    let server = told().await;
    await_head(server.folder.path(), REVISION);
    let known = copy(server.folder.path());
    let whole = fs::read(log(known.path())).unwrap();
    // One more commit, which HEAD does not know of: as good as unacknowledged.
    record(&server, 0).await;
    let longer = fs::read(log(copy(server.folder.path()).path())).unwrap();
    assert!(longer.starts_with(&whole) && longer.len() > whole.len());
    let mut before = whole.len() - 40..whole.len();
    let earlier = (0..whole.len()).step_by(whole.len() / 40);

    for cut in before.by_ref().chain(earlier) {
        let folder = copy(known.path());
        fs::write(log(folder.path()), &whole[..cut]).unwrap();
        for _ in 0..2 {
            assert!(open(folder.path()).is_err(), "cut at {cut} of {}", whole.len());
        }
    }
    let expected = planes(&open(copy(known.path()).path()).unwrap());
    for cut in (whole.len()..longer.len()).step_by(5).chain([longer.len()]) {
        let folder = copy(known.path());
        fs::write(log(folder.path()), &longer[..cut]).unwrap();
        let books = open(folder.path()).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        let recovered = REVISION + u64::from(cut == longer.len());
        assert_eq!(books.tip.revision, recovered, "cut at {cut}");
        assert_eq!(planes(&books) == expected, cut < longer.len(), "cut at {cut}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_emptied_deleted_or_of_an_earlier_day_is_refused() {
    let server = told().await;
    await_head(server.folder.path(), REVISION);
    let earlier = copy(server.folder.path());
    record(&server, 0).await;
    await_head(server.folder.path(), REVISION + 1);
    for change in 0..4 {
        let folder = copy(server.folder.path());
        let path = log(folder.path());
        let length = fs::metadata(&path).unwrap().len() as usize;
        match change {
            0 => fs::write(path, b"").unwrap(),
            1 => fs::write(path, vec![0; length]).unwrap(),
            2 => fs::remove_file(path).unwrap(),
            _ => fs::write(path, fs::read(log(earlier.path())).unwrap()).unwrap(),
        }
        for attempt in 1..=2 {
            assert!(open(folder.path()).is_err(), "change {change}, attempt {attempt}");
        }
    }
}

/// The control of the two tests above: the database itself opens a shortened
/// log without a word, so a head that knows of nothing lets the loss pass.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_head_notices_a_shortened_log() {
    let server = TestServer::start().await;
    await_head(server.folder.path(), 1);
    let ignorant = fs::read(server.folder.path().join(HEAD)).unwrap();
    tell(&server).await;
    await_head(server.folder.path(), REVISION);
    for (head, noticed) in [(None, true), (Some(ignorant), false)] {
        let folder = copy(server.folder.path());
        let path = log(folder.path());
        let length = fs::metadata(&path).unwrap().len();
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length - 1).unwrap();
        if let Some(head) = head {
            fs::write(folder.path().join(HEAD), head).unwrap();
        }
        let opened = open(folder.path());
        assert_eq!(opened.is_err(), noticed);
        assert!(opened.is_err() || opened.is_ok_and(|books| books.tip.revision < REVISION));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_behind_the_last_commit_loses_nothing() {
    let server = told().await;
    await_head(server.folder.path(), REVISION);
    let known = copy(server.folder.path());
    let whole = fs::read(log(known.path())).unwrap();
    let expected = planes(&open(copy(known.path()).path()).unwrap());
    // What a power cut leaves behind the last sync: zeros, a part of a record,
    // or what lay there before.
    let mut opened = 0;
    for tail in [vec![0; 3], vec![0; 700], vec![0xff; 5], vec![0xff; 700], whole[..300].to_vec()] {
        let folder = copy(known.path());
        fs::write(log(folder.path()), [whole.clone(), tail].concat()).unwrap();
        if let Ok(books) = open(folder.path()) {
            assert_eq!((books.tip.revision, planes(&books)), (REVISION, expected.clone()));
            opened += 1;
        }
    }
    assert!(opened >= 2, "zeros behind the log are the ordinary mark of a power cut");
}

/// Flips bits all over the files of this ending; returns how often that was noticed.
fn flip(store: &Path, ending: &str, places: usize) -> usize {
    let expected = open(copy(store).path()).unwrap();
    let expected = (expected.tip.revision, planes(&expected));
    let mut refused = 0;
    for path in files(store, ending) {
        let bytes = fs::read(&path).unwrap();
        for place in 0..places.min(bytes.len()) {
            let folder = copy(store);
            let mut damaged = bytes.clone();
            damaged[place * bytes.len() / places.min(bytes.len())] ^= 1 << (place % 8);
            fs::write(folder.path().join(path.file_name().unwrap()), damaged).unwrap();
            match open(folder.path()) {
                Ok(books) => {
                    let found = (books.tip.revision, planes(&books));
                    assert_eq!(found, expected, "{} at place {place}", path.display());
                }
                Err(_) => refused += 1,
            }
        }
    }
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_table_file_changes_no_verdict_silently() {
    let store = stopped().await;
    edit(store.path(), |db| {
        for family in rocksdb::DB::list_cf(&Default::default(), store.path()).unwrap() {
            db.flush_cf(db.cf_handle(&family).unwrap()).unwrap();
        }
    });
    assert!(files(store.path(), ".sst").len() >= 5, "rows must lie in table files");
    assert!(flip(store.path(), ".sst", 16) > 10, "damage to rows must be noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_log_or_around_it_changes_no_verdict_silently() {
    let server = told().await;
    await_head(server.folder.path(), REVISION);
    let crashed = copy(server.folder.path());
    assert!(flip(crashed.path(), ".log", 60) > 10, "damage to commits must be noticed");
    let manifest = files(crashed.path(), "")
        .into_iter()
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("MANIFEST"));
    let manifest = manifest.unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    flip(crashed.path(), &manifest, 25);
    flip(crashed.path(), "CURRENT", 8);
    flip(crashed.path(), "IDENTITY", 4);
    flip(crashed.path(), HEAD, 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_file_is_refused_or_not_missed() {
    let store = stopped().await;
    let expected = planes(&open(copy(store.path()).path()).unwrap());
    let mut refused = 0;
    for path in files(store.path(), "") {
        let folder = copy(store.path());
        let name = path.file_name().unwrap();
        if fs::remove_file(folder.path().join(name)).is_err() {
            continue;
        }
        match open(folder.path()) {
            Ok(books) => assert_eq!(planes(&books), expected, "{} deleted", path.display()),
            Err(_) => refused += 1,
        }
    }
    assert!(refused >= 4, "HEAD, CURRENT, the manifest and rows are missed");
}
