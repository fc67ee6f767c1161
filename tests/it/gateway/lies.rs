//! The gateway against a server whose answers no correct server gives, or that
//! are in doubt: nobody in the batch concerned, or behind it, gets a message.

use std::{
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use jiff::Timestamp;
use sendgate::proto::v1::{
    self, BatchAnswer, BatchError, BatchErrorCode, FilterRequest, FilterResponse, FilterSummary,
    Revision, ScopeAnswer, ScopeSummary, filter_request, filter_response,
    filter_service_server::{FilterService, FilterServiceServer},
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use super::{FIRST, Yard, eventually};

/// What becomes of the right answer to the second batch; without one, the
/// stream ends as if it had been answered.
type Lie = fn(BatchAnswer) -> Result<Option<BatchAnswer>, Status>;

/// The recipients of the batch that is lied about.
const LIED_ABOUT: usize = 10;

struct Liar {
    lie: Lie,
    /// How often.
    told: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl FilterService for Liar {
    type FilterStream = ReceiverStream<Result<FilterResponse, Status>>;

    async fn filter(
        &self,
        request: Request<Streaming<FilterRequest>>,
    ) -> Result<Response<Self::FilterStream>, Status> {
        let (lie, told, mut requests) = (self.lie, Arc::clone(&self.told), request.into_inner());
        let (answers, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut recipients = 0;
            while let Ok(Some(request)) = requests.message().await {
                let Some(filter_request::Message::Batch(batch)) = request.message else { continue };
                let count = batch.phones.len();
                let answer = everybody(batch.batch_id, count);
                let answer = if count == LIED_ABOUT {
                    told.fetch_add(1, Ordering::SeqCst);
                    lie(answer)
                } else {
                    Ok(Some(answer))
                };
                recipients += count as u64;
                let Some(answer) = answer.transpose() else { break };
                let message = answer.map(filter_response::Message::Answer).map(Some);
                if answers.send(message.map(|message| FilterResponse { message })).await.is_err() {
                    return;
                }
            }
            let scopes =
                vec![ScopeSummary { recipients, permitted: recipients, ..ScopeSummary::default() }];
            let summary = FilterSummary { scopes, ..FilterSummary::default() };
            let message = Some(filter_response::Message::Summary(summary));
            drop(answers.send(Ok(FilterResponse { message })).await);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn check(
        &self,
        _: Request<v1::CheckRequest>,
    ) -> Result<Response<v1::CheckResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn describe(
        &self,
        _: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn reach(
        &self,
        _: Request<v1::ReachRequest>,
    ) -> Result<Response<v1::ReachResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}

/// The right answer where everybody is permitted.
fn everybody(batch_id: u64, count: usize) -> BatchAnswer {
    let mut bits = vec![0; count.div_ceil(8)];
    (0..count).for_each(|at| bits[at / 8] |= 1 << (at % 8));
    let count = u32::try_from(count).unwrap();
    let permitted = Bytes::from(bits);
    let scope = ScopeAnswer {
        recipients: count,
        permitted_count: count,
        permitted,
        ..ScopeAnswer::default()
    };
    BatchAnswer {
        batch_id,
        scopes: vec![scope],
        revision: Some(Revision { epoch: "1".repeat(32), revision: 7 }),
        as_of_ms: Timestamp::now().as_millisecond(),
        ..BatchAnswer::default()
    }
}

fn refused(answer: BatchAnswer, code: BatchErrorCode) -> Result<Option<BatchAnswer>, Status> {
    let error = Some(BatchError { code: code.into(), ..BatchError::default() });
    Ok(Some(BatchAnswer { scopes: Vec::new(), error, ..answer }))
}

/// What a gateway did about a lie.
struct Ended {
    sent: Vec<u64>,
    waiting: Vec<String>,
    /// None: it went on asking, until it was told to end.
    by_itself: Option<ExitStatus>,
    said: String,
}

/// Runs the gateway on three batches, the second of which is lied about.
fn against(lie: Lie) -> Ended {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let told = Arc::new(AtomicUsize::new(0));
    let liar = Liar { lie, told: Arc::clone(&told) };
    let endpoint = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = Server::builder().add_service(FilterServiceServer::new(liar));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        endpoint
    });
    let yard = Yard::new();
    yard.batch("1", FIRST..FIRST + 3);
    yard.batch("2", FIRST + 10..FIRST + 10 + LIED_ABOUT as u64);
    yard.batch("3", FIRST + 30..FIRST + 33);
    let mut gateway = yard.gateway(&endpoint, &["--until-empty", "--no-watch"]);
    let mut by_itself = None;
    eventually("an end, or a third try", || {
        by_itself = gateway.ended();
        by_itself.is_some() || told.load(Ordering::SeqCst) >= 3
    });
    let (status, said) = gateway.terminate();
    assert!(by_itself.is_some() || status.success(), "{said}");
    Ended { sent: yard.sent(), waiting: yard.waiting(), by_itself, said }
}

#[test]
fn whoever_tells_the_truth_is_believed() {
    let Ended { sent, waiting, by_itself, said } = against(|answer| Ok(Some(answer)));
    assert!(by_itself.is_some_and(|status| status.success()), "{said}");
    assert_eq!((sent.len(), waiting.len()), (16, 0), "{said}");
}

#[test]
fn a_wrong_answer_is_used_for_nobody_and_somebody_has_to_look() {
    let lies: [(&str, Lie); 8] = [
        ("bytes of bits", |mut answer| {
            answer.scopes[0].permitted.truncate(1);
            Ok(Some(answer))
        }),
        ("recipients", |answer| {
            Ok(Some(BatchAnswer { batch_id: answer.batch_id, ..everybody(0, LIED_ABOUT - 1) }))
        }),
        ("bits are set", |mut answer| {
            answer.scopes[0].permitted_count -= 1;
            Ok(Some(answer))
        }),
        ("scopes", |mut answer| {
            answer.scopes.clear();
            Ok(Some(answer))
        }),
        ("was due", |mut answer| {
            answer.batch_id += 1;
            Ok(Some(answer))
        }),
        ("without a revision", |mut answer| {
            answer.revision = None;
            Ok(Some(answer))
        }),
        ("two epochs", |mut answer| {
            answer.revision.as_mut().unwrap().epoch = "2".repeat(32);
            Ok(Some(answer))
        }),
        ("summary", |_| Ok(None)),
    ];
    for (fault, lie) in lies {
        let Ended { sent, waiting, by_itself, said } = against(lie);
        assert!(by_itself.is_some_and(|status| status.code() == Some(1)), "{fault}: {said}");
        assert!(said.contains(fault), "{fault}: {said}");
        assert_eq!(sent, [FIRST, FIRST + 1, FIRST + 2], "{fault}: {said}");
        assert_eq!(waiting, ["2.jsonl", "3.jsonl"], "{fault}");
    }
}

#[test]
fn an_answer_in_doubt_is_used_for_nobody_and_asked_for_again() {
    let lies: [(&str, Lie); 5] = [
        ("NOT_YET", |answer| refused(answer, BatchErrorCode::NotYet)),
        ("OVERLOADED", |answer| refused(answer, BatchErrorCode::Overloaded)),
        ("UNAVAILABLE", |_| Err(Status::unavailable("stopping"))),
        ("ABORTED", |_| Err(Status::aborted("idle"))),
        ("clock", |mut answer| {
            answer.as_of_ms -= 60_000;
            Ok(Some(answer))
        }),
    ];
    for (fault, lie) in lies {
        let Ended { sent, waiting, by_itself, said } = against(lie);
        assert_eq!(by_itself, None, "{fault}: {said}");
        assert!(said.contains(fault), "{fault}: {said}");
        assert_eq!(sent, [FIRST, FIRST + 1, FIRST + 2], "{fault}: {said}");
        assert_eq!(waiting, ["2.jsonl", "3.jsonl"], "{fault}");
    }
}
