//! `sendgate watch` goes on by itself over whatever interrupts it, without a gap
//! and without a repeat.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::Child,
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use sendgate::{
    caps::Limits,
    proto::v1::{RecordRequest, consent_service_client::ConsentServiceClient},
};
use tonic::transport::Channel;

use crate::{
    damage::copy,
    process::{Process, connect, sendgate},
    raw::LONG,
    support::{START, TestServer, grant},
};

/// A `sendgate watch` of the real binary.
struct Watching {
    child: Child,
    revisions: Receiver<u64>,
    talk: Option<thread::JoinHandle<String>>,
}

impl Watching {
    fn of(address: SocketAddr) -> Self {
        let mut command = sendgate();
        command.args(["watch", "--endpoint", &format!("http://{address}")]);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (printed, revisions) = channel();
        thread::spawn(move || {
            for line in lines {
                let row: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
                let _ = printed.send(row["revision"].as_u64().unwrap());
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let talk = thread::spawn(move || {
            let mut talk = String::new();
            stderr.read_to_string(&mut talk).unwrap();
            talk
        });
        Self { child, revisions, talk: Some(talk) }
    }

    /// Holds that these are printed next, once each.
    fn prints(&self, revisions: impl IntoIterator<Item = u64>) {
        for expected in revisions {
            assert_eq!(self.revisions.recv_timeout(LONG), Ok(expected));
        }
    }

    /// Its exit code and what it said, once it has ended by itself.
    fn ended(mut self) -> (Option<i32>, String) {
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < LONG, "it goes on");
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(self.revisions.recv().ok(), None, "more was printed");
        (self.child.wait().unwrap().code(), self.talk.take().unwrap().join().unwrap())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Records one more consent, which gets this revision.
async fn record(channel: &Channel, revision: u64) {
    let events = vec![grant(&format!("+90532{revision:07}"), START)];
    let answer = ConsentServiceClient::new(channel.clone()).record(RecordRequest { events }).await;
    assert_eq!(answer.unwrap().into_inner().revision.unwrap().revision, revision);
}

/// Serves where a server was a moment ago.
fn serve_again(folder: &std::path::Path, address: SocketAddr) -> Process {
    let begun = Instant::now();
    loop {
        match Process::serve_at(folder, &address.to_string()) {
            Ok((process, _)) => return process,
            Err(log) => assert!(begun.elapsed() < LONG, "{log}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_after_restarts_and_not_with_another_past() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, address) = Process::serve(folder.path()).unwrap();
    let watching = Watching::of(address);
    record(&connect(address).await, 2).await;
    record(&connect(address).await, 3).await;
    watching.prints(1..=3);

    // Killed, and away for longer than a pause.
    process.kill();
    let earlier = copy(folder.path());
    thread::sleep(Duration::from_secs(2));
    let mut process = serve_again(folder.path(), address);
    record(&connect(address).await, 4).await;
    watching.prints([4]);
    process.kill();
    let mut process = serve_again(folder.path(), address);
    record(&connect(address).await, 5).await;
    watching.prints([5]);
    process.kill();

    // The same store as it was before: what was printed is no longer there.
    let mut process = serve_again(earlier.path(), address);
    let (code, talk) = watching.ended();
    assert_eq!(code, Some(1), "{talk}");
    assert!(talk.contains("the feed was interrupted and goes on in"), "{talk}");
    assert!(talk.contains("OUT_OF_RANGE: after: the ledger ends at revision 3, not 5"), "{talk}");
    assert!(talk.lines().last().unwrap().starts_with("sendgate: "), "{talk}");

    let watching = Watching::of(address);
    watching.prints(1..=3);
    process.kill();
    // Another store: its revisions mean nothing here.
    let other = tempfile::tempdir().unwrap();
    let _process = serve_again(other.path(), address);
    let (code, talk) = watching.ended();
    assert_eq!(code, Some(1), "{talk}");
    assert!(talk.contains("FAILED_PRECONDITION") && talk.contains("epoch"), "{talk}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_when_a_stream_is_too_old() {
    let limits = Limits { stream_age: Duration::from_millis(700), ..Limits::default() };
    let server = TestServer::limited(limits).await;
    let mut watching = Watching::of(server.address());
    watching.prints([1]);
    for revision in 2..=8 {
        record(&server.channel(), revision).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    watching.prints(2..=8);
    watching.child.kill().unwrap();
    let (_, talk) = watching.ended();
    assert!(talk.matches("has been open for too long").count() >= 2, "{talk}");
}
