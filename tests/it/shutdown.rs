//! The end of the real binary under load, and what systemd is told of it.

use std::{
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixDatagram,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use sendgate::proto::v1::{
    self, AnswerForm, ContactKind, FilterRequest, consent_service_client::ConsentServiceClient,
    filter_request, filter_response, filter_service_client::FilterServiceClient,
};
use tempfile::TempDir;
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, transport::Channel};

use crate::{
    process::{Process, connect, sendgate},
    support::{grant, options, phones, withdrawal},
};

/// Longer than anything here takes on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who systemd would be.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { folder, socket }
    }

    /// Starts a server on a free port, which it has told of nothing yet.
    fn launch(&self, settings: &[(&str, &str)]) -> Process {
        let mut command = sendgate();
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        command.envs(settings.iter().copied());
        let data = self.folder.path().join("data");
        Process::launch_by(command, &data, "127.0.0.1:0")
    }

    /// Waits until the server is ready; where it says that it serves, and all that
    /// it said until then.
    fn await_ready(&self) -> (SocketAddr, Vec<String>) {
        let seen = self.await_line("READY=1");
        let says = |line: &String| Some(line.strip_prefix("STATUS=serving ")?.to_owned());
        let serving = seen.iter().find_map(says);
        let serving = serving.unwrap_or_else(|| panic!("where? {seen:?}"));
        (serving.split(' ').next().unwrap().parse().unwrap(), seen)
    }

    /// The next message that has this line, and the lines of all until then.
    fn await_line(&self, line: &str) -> Vec<String> {
        let mut seen = Vec::new();
        let mut buffer = [0; 4_096];
        loop {
            let length = self.socket.recv(&mut buffer).unwrap_or_else(|error| {
                panic!("no {line} after {seen:?}: {error}");
            });
            let message = std::str::from_utf8(&buffer[..length]).unwrap();
            seen.extend(message.lines().map(str::to_owned));
            if message.lines().any(|found| found == line) {
                return seen;
            }
        }
    }
}

fn signal(process: &Process, signal: Signal) {
    kill_process(Pid::from_raw(process.id().try_into().unwrap()).unwrap(), signal).unwrap();
}

/// Waits until it has ended by itself; returns its exit code.
fn exit_code(process: &mut Process) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = process.ended() {
            return status.code();
        }
        assert!(begun.elapsed() < PATIENCE, "the server does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn systemd_is_told_when_it_serves_reloads_and_stops() {
    let manager = Manager::new();
    let mut server = manager.launch(&[]);
    let (address, seen) = manager.await_ready();
    TcpStream::connect(address).expect("ready, and nobody listens");
    let first = seen.iter().position(|line| line == "STATUS=opening the store");
    assert_eq!(first, Some(0), "{seen:?}");
    assert!(seen.iter().any(|line| line.starts_with("EXTEND_TIMEOUT_USEC=")), "{seen:?}");
    let serving = format!("STATUS=serving {address} at revision 1");
    assert!(seen.contains(&serving), "{seen:?}");

    signal(&server, Signal::HUP);
    let seen = manager.await_line("RELOADING=1");
    assert!(seen.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{seen:?}");
    manager.await_line("READY=1");

    signal(&server, Signal::TERM);
    let seen = manager.await_line("STOPPING=1");
    assert!(seen.iter().any(|line| line.starts_with("EXTEND_TIMEOUT_USEC=")), "{seen:?}");
    assert_eq!(exit_code(&mut server), Some(0));
}

#[test]
fn a_watchdog_is_told_that_the_writer_answers() {
    let manager = Manager::new();
    let mut server = manager.launch(&[("WATCHDOG_USEC", "2000000")]);
    manager.await_ready();
    manager.await_line("WATCHDOG=1");
    manager.await_line("WATCHDOG=1");
    server.kill();
}

/// A stream that goes on until the server ends it. It has `begun` with its
/// first answer.
async fn filter(
    channel: Channel,
    number: u64,
    begun: Arc<Semaphore>,
) -> (u64, Vec<v1::BatchAnswer>, Status) {
    let (requests, stream) = mpsc::channel::<FilterRequest>(4);
    let sending = tokio::spawn(async move {
        let mut sent = 0;
        let options = options(ContactKind::Phone, "sms", AnswerForm::Reasons);
        let mut message = filter_request::Message::Options(options);
        while requests.send(FilterRequest { message: Some(message) }).await.is_ok() {
            sent += 1;
            let first = 905_300_000_000 + number * 1_000_000 + sent * 1_000;
            let recipients: Vec<u64> = (first..first + SIZE).collect();
            message = filter_request::Message::Batch(phones(sent, &recipients));
        }
        sent
    });
    let mut client = FilterServiceClient::new(channel);
    let mut answers = client.filter(ReceiverStream::new(stream)).await.unwrap().into_inner();
    let mut whole = Vec::new();
    let end = loop {
        match answers.message().await {
            Ok(Some(response)) => match response.message.unwrap() {
                filter_response::Message::Answer(answer) => {
                    if whole.is_empty() {
                        begun.add_permits(1);
                    }
                    whole.push(answer);
                }
                filter_response::Message::Summary(_) => {}
            },
            Ok(None) => break Status::ok("the end"),
            Err(status) => break status,
        }
    };
    drop(answers);
    (sending.await.unwrap(), whole, end)
}

/// Recipients of a batch: their bits do not fill a byte.
const SIZE: u64 = 1_003;

/// Withdrawals before the stop.
const FEW: usize = 5;

/// Withdraws one number after the other; returns those that were acknowledged.
/// It has `begun` with a few.
async fn withdraw(channel: Channel, begun: Arc<Semaphore>) -> Vec<String> {
    let mut client = ConsentServiceClient::new(channel);
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let address = format!("+9054{number:08}");
        let events = [grant(&address, 1), withdrawal(&address, "sms", "marketing", 2)];
        let request = v1::RecordRequest { events: events.into() };
        match client.record(request).await {
            Ok(_) => acknowledged.push(address),
            Err(_) => break,
        }
        if acknowledged.len() == FEW {
            begun.add_permits(1);
        }
    }
    acknowledged
}

/// No batch is half answered, and nothing acknowledged is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_answers_whole_batches_and_keeps_what_it_acknowledged() {
    let manager = Manager::new();
    let mut server = manager.launch(&[("SENDGATE_SHUTDOWN_DEADLINE", "3")]);
    let (address, _) = manager.await_ready();
    let (mut streams, begun) = (Vec::new(), Arc::new(Semaphore::new(0)));
    for number in 0..4 {
        streams.push(tokio::spawn(filter(connect(address).await, number, Arc::clone(&begun))));
    }
    let withdrawing = tokio::spawn(withdraw(connect(address).await, Arc::clone(&begun)));
    drop(timeout(PATIENCE, begun.acquire_many(5)).await.expect("they begin").unwrap());
    signal(&server, Signal::TERM);

    for stream in streams {
        let (sent, answers, end) = stream.await.unwrap();
        assert_eq!(end.code(), Code::Unavailable, "the end is told, and is no success: {end:?}");
        assert!(!answers.is_empty() && answers.len() as u64 <= sent);
        for (at, answer) in answers.iter().enumerate() {
            assert_eq!(answer.batch_id, at as u64 + 1, "answers are those of the first batches");
            assert!(answer.error.is_none(), "{answer:?}");
            let [scope] = &answer.scopes[..] else { panic!("{answer:?}") };
            assert_eq!(u64::from(scope.recipients), SIZE);
            assert_eq!(scope.reasons.len() as u64, SIZE);
            assert!(scope.reasons.iter().all(|reason| *reason != 0));
        }
    }
    let acknowledged = withdrawing.await.unwrap();
    assert!(acknowledged.len() >= FEW);
    assert_eq!(exit_code(&mut server), Some(0));
    all_are_suppressed(&manager.folder.path().join("data"), &acknowledged).await;
}

/// Starts a server again, and asks it about those who withdrew.
async fn all_are_suppressed(data: &Path, withdrawn: &[String]) {
    let (_server, address) = Process::serve(data).unwrap();
    let channel = connect(address).await;
    let numbers: Vec<u64> = withdrawn.iter().map(|number| number[1..].parse().unwrap()).collect();
    let (requests, stream) = mpsc::channel(2);
    let options = options(ContactKind::Phone, "sms", AnswerForm::Reasons);
    let messages = [
        filter_request::Message::Options(options),
        filter_request::Message::Batch(phones(1, &numbers)),
    ];
    for message in messages {
        requests.send(FilterRequest { message: Some(message) }).await.unwrap();
    }
    drop(requests);
    let mut answers = FilterServiceClient::new(channel)
        .filter(ReceiverStream::new(stream))
        .await
        .unwrap()
        .into_inner();
    let Some(filter_response::Message::Answer(answer)) =
        answers.message().await.unwrap().and_then(|response| response.message)
    else {
        panic!("no answer")
    };
    let withdrawn = v1::Reason::OptedOut as u8;
    assert_eq!(answer.scopes[0].reasons, vec![withdrawn; numbers.len()]);
}

/// A first signal waits for a stream that stays open; a second does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once_and_loses_nothing() {
    let manager = Manager::new();
    let mut server = manager.launch(&[("SENDGATE_SHUTDOWN_DEADLINE", "3600")]);
    let (address, _) = manager.await_ready();
    let channel = connect(address).await;
    let address = "+905321234567";
    let events = vec![grant(address, 1), withdrawal(address, "sms", "marketing", 2)];
    let mut consent = ConsentServiceClient::new(channel.clone());
    consent.record(v1::RecordRequest { events }).await.unwrap();
    let (requests, stream) = mpsc::channel(2);
    let first =
        filter_request::Message::Options(options(ContactKind::Phone, "sms", AnswerForm::Reasons));
    requests.send(FilterRequest { message: Some(first) }).await.unwrap();
    let mut client = FilterServiceClient::new(channel);
    let mut answers = client.filter(ReceiverStream::new(stream)).await.unwrap().into_inner();

    signal(&server, Signal::TERM);
    manager.await_line("STOPPING=1");
    // The stream goes on meanwhile.
    let batch = filter_request::Message::Batch(phones(1, &[905_321_234_567]));
    requests.send(FilterRequest { message: Some(batch) }).await.unwrap();
    let answer = answers.message().await.unwrap().and_then(|response| response.message);
    assert!(matches!(answer, Some(filter_response::Message::Answer(_))), "{answer:?}");
    assert!(server.ended().is_none());

    signal(&server, Signal::INT);
    let last = timeout(PATIENCE, answers.message()).await.expect("it waits for the stream");
    assert_eq!(last.unwrap_err().code(), Code::Unavailable);
    assert_eq!(exit_code(&mut server), Some(0));
    all_are_suppressed(&manager.folder.path().join("data"), &[address.to_owned()]).await;
}
