//! What every test here needs: a server on a folder of its own, and clients.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use sendgate::{
    app::{Config, Server},
    caps::Limits,
    clock::Clock,
    proto::v1::{
        self, admin_service_client::AdminServiceClient,
        consent_service_client::ConsentServiceClient, filter_request, filter_response,
        filter_service_client::FilterServiceClient,
    },
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    client::GrpcService,
    codegen::{Body, Bytes, StdError},
    transport::Channel,
};

use crate::damage::{await_head, copy};

/// The clock of a new test server: 2026-01-01T00:00:00Z.
pub const START: i64 = 1_767_225_600_000;
pub const HOUR: i64 = 3_600_000;

/// A server with a clock that the test sets.
pub struct TestServer {
    pub folder: TempDir,
    pub clock: Arc<AtomicI64>,
    limits: Limits,
    server: Option<Server>,
    channel: Channel,
}

impl TestServer {
    /// A server on a new store.
    pub async fn start() -> Self {
        Self::open(tempfile::tempdir().unwrap()).await
    }

    /// A server on the store in this folder.
    pub async fn open(folder: TempDir) -> Self {
        Self::open_with(folder, Limits::default()).await
    }

    /// A server on a new store, with limits of its own.
    pub async fn limited(limits: Limits) -> Self {
        Self::open_with(tempfile::tempdir().unwrap(), limits).await
    }

    async fn open_with(folder: TempDir, limits: Limits) -> Self {
        let clock = Arc::new(AtomicI64::new(START));
        let (server, channel) = serve(folder.path(), &clock, &limits).await;
        Self { folder, clock, limits, server: Some(server), channel }
    }

    /// Stops the server in good order and starts it again on the same store.
    pub async fn restart(&mut self) {
        self.stop().await;
        let (server, channel) = serve(self.folder.path(), &self.clock, &self.limits).await;
        self.server = Some(server);
        self.channel = channel;
    }

    /// Goes on from a copy of the folder, as after a crash: what a stop in good
    /// order still writes is missing. Nothing may be going on but HEAD, which
    /// follows the ledger to this revision.
    pub async fn crash(&mut self, revision: u64) {
        await_head(self.folder.path(), revision);
        let copied = copy(self.folder.path());
        self.stop().await;
        self.folder = copied;
        self.restart().await;
    }

    /// Stops the server in good order; the store stays.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await.unwrap();
        }
    }

    pub fn set_clock(&self, time: i64) {
        self.clock.store(time, Ordering::SeqCst);
    }

    pub fn filter(&self) -> FilterServiceClient<Channel> {
        FilterServiceClient::new(self.channel.clone()).max_decoding_message_size(32 << 20)
    }

    pub fn consent(&self) -> ConsentServiceClient<Channel> {
        ConsentServiceClient::new(self.channel.clone())
    }

    pub fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().address()
    }

    /// The revision that it serves.
    pub fn revision(&self) -> u64 {
        self.server.as_ref().unwrap().current_revision()
    }

    /// Where it tells of health and metrics.
    pub fn http(&self) -> SocketAddr {
        self.server.as_ref().unwrap().http_address().unwrap()
    }

    /// Where it listens, as a client wants it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// A connection of its own, where [`channel`](Self::channel) shares one.
    pub async fn connect(&self) -> Channel {
        Channel::from_shared(self.endpoint()).unwrap().connect().await.unwrap()
    }
}

async fn serve(folder: &Path, clock: &Arc<AtomicI64>, limits: &Limits) -> (Server, Channel) {
    let config = Config {
        folder: folder.to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        http: Some("127.0.0.1:0".parse().unwrap()),
        tls: None,
        limits: limits.clone(),
        clock: Clock::Manual(Arc::clone(clock)),
    };
    let server = Server::start(config).await.unwrap();
    let channel = Channel::from_shared(format!("http://{}", server.address()))
        .unwrap()
        .connect()
        .await
        .unwrap();
    (server, channel)
}

pub fn phone(address: &str) -> v1::Contact {
    v1::Contact {
        kind: v1::ContactKind::Phone.into(),
        address: address.to_owned(),
        default_region: "TR".to_owned(),
    }
}

pub fn scope(recipient_type: v1::RecipientType, channel: &str, purpose: &str) -> v1::Scope {
    v1::Scope {
        recipient_type: recipient_type.into(),
        channel: channel.to_owned(),
        purpose: purpose.to_owned(),
    }
}

pub fn at(unix_ms: i64) -> Option<v1::StatedTime> {
    Some(v1::StatedTime { unix_ms, precision: v1::Precision::Millisecond.into() })
}

/// A grant for individual/sms/marketing of brand `main`, given at `time`.
pub fn grant(address: &str, time: i64) -> v1::ConsentEvent {
    v1::ConsentEvent {
        brand: "main".to_owned(),
        contact: Some(phone(address)),
        recipient_type: v1::RecipientType::Individual.into(),
        channel: "sms".to_owned(),
        purpose: "marketing".to_owned(),
        status: v1::ConsentStatus::Granted.into(),
        consent_time: at(time),
        ..v1::ConsentEvent::default()
    }
}

/// A withdrawal for both types at a level, stated at `time`.
pub fn withdrawal(address: &str, channel: &str, purpose: &str, time: i64) -> v1::ConsentEvent {
    v1::ConsentEvent {
        brand: "main".to_owned(),
        contact: Some(phone(address)),
        channel: channel.to_owned(),
        purpose: purpose.to_owned(),
        status: v1::ConsentStatus::Withdrawn.into(),
        consent_time: at(time),
        ..v1::ConsentEvent::default()
    }
}

/// Options of a stream about private persons, in brand `main`.
pub fn options(kind: v1::ContactKind, channel: &str, form: v1::AnswerForm) -> v1::FilterOptions {
    v1::FilterOptions {
        brand: "main".to_owned(),
        scopes: vec![scope(v1::RecipientType::Individual, channel, "marketing")],
        contact_kind: kind.into(),
        default_region: "TR".to_owned(),
        answer_form: form.into(),
        ..v1::FilterOptions::default()
    }
}

/// A batch of phones.
pub fn phones(batch_id: u64, numbers: &[u64]) -> v1::RecipientBatch {
    v1::RecipientBatch { batch_id, phones: numbers.into(), ..v1::RecipientBatch::default() }
}

/// A batch of lines, with their right count.
pub fn lines(batch_id: u64, lines: &[impl AsRef<[u8]>]) -> v1::RecipientBatch {
    let mut text = Vec::new();
    lines.iter().for_each(|line| {
        text.extend_from_slice(line.as_ref());
        text.push(b'\n');
    });
    let count = lines.len().try_into().unwrap();
    v1::RecipientBatch { batch_id, lines: text.into(), count, ..v1::RecipientBatch::default() }
}

/// A filter stream that is asked one batch at a time.
pub struct Asking {
    requests: mpsc::Sender<v1::FilterRequest>,
    answers: Streaming<v1::FilterResponse>,
}

impl Asking {
    /// Opens a stream and sends its options.
    pub async fn open(server: &TestServer, options: v1::FilterOptions) -> Self {
        let mut asking = Self::open_bare(server.filter()).await;
        asking.send(filter_request::Message::Options(options)).await;
        asking
    }

    /// Opens a stream and sends nothing.
    pub async fn open_bare<S>(mut client: FilterServiceClient<S>) -> Self
    where
        S: GrpcService<tonic::body::Body, Error: Into<StdError>>,
        S::ResponseBody: Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
    {
        let (requests, stream) = mpsc::channel(4);
        let answers = client.filter(ReceiverStream::new(stream)).await.unwrap().into_inner();
        Self { requests, answers }
    }

    /// Sends a message. A stream that the server has ended takes none; what it
    /// said is read by [`next`](Self::next).
    pub async fn send(&mut self, message: filter_request::Message) {
        drop(self.requests.send(v1::FilterRequest { message: Some(message) }).await);
    }

    /// What comes next from the server; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<filter_response::Message>, Status> {
        Ok(self.answers.message().await?.and_then(|response| response.message))
    }

    /// Sends a batch and returns its answer, or the status that ended the stream.
    pub async fn try_ask(&mut self, batch: v1::RecipientBatch) -> Result<v1::BatchAnswer, Status> {
        let batch_id = batch.batch_id;
        self.send(filter_request::Message::Batch(batch)).await;
        let Some(filter_response::Message::Answer(answer)) = self.next().await? else {
            panic!("no answer came to batch {batch_id}");
        };
        assert_eq!(answer.batch_id, batch_id);
        Ok(answer)
    }

    /// As [`try_ask`](Self::try_ask), of a stream that lives.
    pub async fn ask(&mut self, batch: v1::RecipientBatch) -> v1::BatchAnswer {
        self.try_ask(batch).await.unwrap()
    }

    /// Half-closes, and returns the summary, after which nothing follows.
    pub async fn end(mut self) -> v1::FilterSummary {
        drop(self.requests);
        let response = self.answers.message().await.unwrap().unwrap();
        let Some(filter_response::Message::Summary(summary)) = response.message else {
            panic!("an answer came that nobody asked for");
        };
        assert!(self.answers.message().await.unwrap().is_none());
        summary
    }
}

/// The reasons of an answer with verdicts.
pub fn reasons(answer: &v1::BatchAnswer) -> Vec<v1::Reason> {
    let [scope] = answer.scopes.as_slice() else { panic!("refused: {:?}", answer.error) };
    scope.reasons.iter().map(|tag| v1::Reason::try_from(i32::from(*tag)).unwrap()).collect()
}

/// The code of an answer without verdicts.
pub fn batch_error(answer: &v1::BatchAnswer) -> v1::BatchErrorCode {
    assert!(answer.scopes.is_empty(), "a refused batch must have no verdicts");
    answer.error.as_ref().unwrap().code()
}

/// Stops the server and holds its store against its events.
pub async fn verified(mut server: TestServer) {
    server.stop().await;
    let clock = Clock::Manual(Arc::clone(&server.clock));
    let books = sendgate::recovery::open(server.folder.path(), clock).unwrap();
    let report = sendgate::verify::verify(&books, &[]).unwrap();
    assert_eq!(report.differences, Vec::<String>::new());
}
