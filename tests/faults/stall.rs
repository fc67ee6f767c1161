//! A disk that stalls (F8): filters go on as before, and writes are answered by
//! their deadline, never with an acknowledgement that the disk has not given.

use std::{
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use rand::RngExt;
use sendgate::proto::v1::{
    CheckpointRequest, ContactKind, RecordRequest, admin_service_client::AdminServiceClient,
    consent_service_client::ConsentServiceClient,
};
use tonic::{Request, Status, transport::Channel};

use crate::{
    campaign::Campaign,
    oracle::{Contact, ask, glance, hold},
    process::{Process, connect},
    shim::{Shim, Word, operation},
};

/// Filters slower than this are not blamed on the disk: the tests run side by
/// side, on few cores.
const NOISE: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stalled_disk_delays_no_filter_and_acknowledges_nothing() {
    let mut campaign = Campaign::new("F8", "stalled disk", 2);
    let shim = Shim::new();
    let (process, address) = shim.serve().unwrap();
    let channel = connect(address).await;
    let mut contacts: Vec<Contact> =
        (0..60).map(|number| Contact::new(ContactKind::Phone, number)).collect();
    let mut worst = (Duration::ZERO, Duration::ZERO);
    let mut admin = AdminServiceClient::new(channel.clone());
    while campaign.next() {
        // Behind this nothing is under way any more.
        admin.checkpoint(CheckpointRequest {}).await.unwrap();
        hold(&mut contacts, &channel).await.unwrap();
        let most = if Campaign::is_long() { 30 } else { 2 };
        let stall = Duration::from_secs(campaign.random.random_range(1..=most));
        let usual = filters(&contacts, &channel, Duration::from_millis(400)).await;
        shim.set(Word::StallMs, stall.as_millis() as i64);

        // One writer waits as long as it takes, the other has a deadline.
        let (first, second) = contacts.split_at_mut(30);
        let patient = record(first, &channel, None);
        let hurried = async {
            // Behind the first in the writer's queue, or in its group.
            tokio::time::sleep(Duration::from_millis(50)).await;
            record(second, &channel, Some(stall / 2)).await
        };
        let asked = ask_meanwhile(&channel, stall);
        let ((patient, patient_took), (hurried, hurried_took), stalled) =
            tokio::join!(patient, hurried, asked);
        shim.set(Word::StallMs, 0);
        patient.expect("a write without a deadline is recorded in the end");
        assert!(
            patient_took >= stall,
            "acknowledged after {patient_took:?}, before the disk had it"
        );
        assert!(hurried.is_err(), "acknowledged before the disk had it");
        assert!(hurried_took < stall, "{hurried_took:?} instead of {:?}", stall / 2);
        assert!(stalled <= (usual * 2).max(NOISE), "{stalled:?} instead of {usual:?}");
        worst = worst.max((stalled, usual));
        glance(&contacts, &channel).await.unwrap();
    }
    admin.checkpoint(CheckpointRequest {}).await.unwrap();
    hold(&mut contacts, &channel).await.unwrap();
    campaign.note(format!("filters' p99 {:?} while stalled, {:?} before", worst.0, worst.1));

    // The control: a server that does not wait for its disk.
    shim.set(Word::StallMs, 1_000);
    shim.set(Word::Drops, operation::SYNC.cast_signed());
    let (recorded, took) = record(&mut contacts[..5], &channel, None).await;
    assert!(recorded.is_ok() && took < Duration::from_secs(1), "{recorded:?} after {took:?}");
    campaign.caught("acknowledgements before a stalled sync is over");
    drop(process);
}

/// systemd's watchdog is told that the server lives only while the writer answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_watchdog_hears_nothing_while_the_writer_hangs() {
    let (shim, place) = (Shim::new(), tempfile::tempdir().unwrap());
    let socket = UnixDatagram::bind(place.path().join("notify")).unwrap();
    let mut command = shim.command();
    command.env("NOTIFY_SOCKET", place.path().join("notify")).env("WATCHDOG_USEC", "2000000");
    let (process, address) = Process::serve_by(command, &shim.folder(), "127.0.0.1:0").unwrap();
    assert!(heard(&socket, Duration::from_secs(60), "WATCHDOG=1").0, "it lives");

    shim.set(Word::StallMs, 8_000);
    let channel = connect(address).await;
    let recording = tokio::spawn(async move {
        record(&mut [Contact::new(ContactKind::Phone, 1)], &channel, None).await.0
    });
    // What was answered before the stall may still be on its way.
    tokio::time::sleep(Duration::from_secs(2)).await;
    while heard(&socket, Duration::from_millis(10), "WATCHDOG=1").0 {}
    let (is_alive, lines) = heard(&socket, Duration::from_secs(3), "WATCHDOG=1");
    assert!(!is_alive, "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("STATUS=serving")), "{lines:?}");
    shim.set(Word::StallMs, 0);
    assert!(heard(&socket, Duration::from_secs(60), "WATCHDOG=1").0, "it lives again");
    recording.await.unwrap().expect("recorded in the end");
    drop(process);
}

/// Whether a line is told within this time, and what was told until then.
fn heard(socket: &UnixDatagram, within: Duration, line: &str) -> (bool, Vec<String>) {
    let until = Instant::now() + within;
    let (mut lines, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // None would be for ever.
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
        if let Ok(length) = socket.recv(&mut buffer) {
            let message = std::str::from_utf8(&buffer[..length]).unwrap();
            lines.extend(message.lines().map(str::to_owned));
        } else if left.is_zero() {
            return (false, lines);
        }
        if lines.iter().any(|told| told == line) {
            return (true, lines);
        }
    }
}

/// Records one event of each contact, with a deadline; returns what came of it,
/// and how long that took.
async fn record(
    contacts: &mut [Contact],
    channel: &Channel,
    deadline: Option<Duration>,
) -> (Result<(), Status>, Duration) {
    let which = rand::random_range(0..4);
    let events = contacts.iter_mut().map(|contact| contact.say(which, 0)).collect();
    let mut request = Request::new(RecordRequest { events });
    if let Some(deadline) = deadline {
        request.set_timeout(deadline);
    }
    let begun = Instant::now();
    let recorded = ConsentServiceClient::new(channel.clone()).record(request).await;
    if recorded.is_ok() {
        contacts.iter_mut().for_each(|contact| contact.acknowledged(0));
    }
    (recorded.map(drop), begun.elapsed())
}

/// Filters people of whom nobody says anything, for so long; the 99th percentile.
async fn ask_meanwhile(channel: &Channel, time: Duration) -> Duration {
    let strangers: Vec<Contact> =
        (500..560).map(|number| Contact::new(ContactKind::Phone, number)).collect();
    filters(&strangers, channel, time).await
}

async fn filters(contacts: &[Contact], channel: &Channel, time: Duration) -> Duration {
    let until = Instant::now() + time;
    let mut took = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        ask(contacts, channel).await.unwrap();
        took.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    took.sort_unstable();
    took[(took.len() - 1) * 99 / 100]
}
