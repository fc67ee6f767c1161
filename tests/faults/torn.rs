//! Logs cut, emptied and deleted (F3): refused where a commit is missing that
//! HEAD knows of, and the same verdicts where none is.

use std::{fs, path::Path};

use crate::{
    campaign::Campaign,
    damage::{HEAD, REVISION, await_head, copy, files, open, planes, record, tell, told},
    support::TestServer,
};

/// The log of a store, of which it has one.
pub fn log(folder: &Path) -> std::path::PathBuf {
    let [log] = files(folder, ".log").try_into().expect("one log");
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_cut_before_the_last_acknowledged_commit_is_refused_and_behind_it_opens() {
    let mut campaign = Campaign::new("F3", "log cut at a byte", 0);
    let server = told().await;
    await_head(server.folder.path(), REVISION);
    let known = copy(server.folder.path());
    let whole = fs::read(log(known.path())).unwrap();
    // One more commit, which HEAD does not know of: as good as unacknowledged.
    record(&server, 0).await;
    let longer = fs::read(log(copy(server.folder.path()).path())).unwrap();
    assert!(longer.starts_with(&whole) && longer.len() > whole.len());
    // At every byte in the long run; in the short one at those where it is close.
    let (last, step) = if Campaign::is_long() { (600, 1) } else { (40, 5) };
    let before = whole.len().saturating_sub(last)..whole.len();
    let earlier = (0..whole.len()).step_by(whole.len() / 40);

    for cut in before.chain(earlier) {
        campaign.count(1);
        let folder = copy(known.path());
        fs::write(log(folder.path()), &whole[..cut]).unwrap();
        for _ in 0..2 {
            assert!(open(folder.path()).is_err(), "cut at {cut} of {}", whole.len());
        }
    }
    let expected = planes(&open(copy(known.path()).path()).unwrap());
    for cut in (whole.len()..longer.len()).step_by(step).chain([longer.len()]) {
        campaign.count(1);
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
    let mut campaign = Campaign::new("F3", "shortened log", 0);
    let server = TestServer::start().await;
    await_head(server.folder.path(), 1);
    let ignorant = fs::read(server.folder.path().join(HEAD)).unwrap();
    tell(&server).await;
    await_head(server.folder.path(), REVISION);
    for (head, noticed) in [(None, true), (Some(ignorant), false)] {
        campaign.count(1);
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
    campaign.caught("a shortened log under an ignorant HEAD opens");
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
    let zeros = [vec![0; 3], vec![0; 700]];
    let others = [vec![0xff; 5], vec![0xff; 700], vec![5; 700], whole[..300].to_vec()];
    for tail in zeros.into_iter().chain(others) {
        let folder = copy(known.path());
        fs::write(log(folder.path()), [whole.clone(), tail].concat()).unwrap();
        if let Ok(books) = open(folder.path()) {
            assert_eq!((books.tip.revision, planes(&books)), (REVISION, expected.clone()));
            opened += 1;
        }
    }
    assert!(opened >= 2, "zeros behind the log are the ordinary mark of a power cut");
}
