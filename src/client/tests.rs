//! The client against a server that follows a script, and breaks the contract
//! where the script says so.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_stream::{
    Stream, StreamExt,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::{Code, Request, Response, Status, Streaming, transport::Server};

use super::*;
use crate::proto::v1::{
    self, BatchAnswer, BatchError, BatchErrorCode, CheckRequest, CheckResponse, FilterOptions,
    FilterRequest, FilterResponse, FilterSummary, ImportItem, ImportRequest, ImportResponse,
    LiftRequest, LiftResponse, RecipientBatch, RecordRequest, RecordResponse, ScopeAnswer,
    ScopeSummary, SuppressRequest, SuppressResponse,
    consent_service_server::{ConsentService, ConsentServiceServer},
    filter_request, filter_response,
    filter_service_server::{FilterService, FilterServiceServer},
};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type FilterScript = fn(u64, RecipientBatch) -> Result<BatchAnswer, Status>;
type ImportScript = fn(&AtomicU64, u64, &ImportRequest) -> Result<u64, Status>;

/// What the server does with the n-th batch or chunk of a stream.
#[derive(Clone)]
struct Script {
    filter: FilterScript,
    import: ImportScript,
    /// Counts over all streams.
    seen: Arc<AtomicU64>,
}

#[tonic::async_trait]
impl FilterService for Script {
    type FilterStream = Answers<FilterResponse>;

    async fn filter(
        &self,
        request: Request<Streaming<FilterRequest>>,
    ) -> Result<Response<Self::FilterStream>, Status> {
        let script = self.filter;
        let mut requests = request.into_inner();
        let (answers, receiver) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            let (mut number, mut recipients) = (0, 0);
            while let Some(Ok(request)) = requests.next().await {
                let Some(filter_request::Message::Batch(batch)) = request.message else { continue };
                recipients += batch.phones.len() as u64;
                let answer = script(number, batch).map(|answer| FilterResponse {
                    message: Some(filter_response::Message::Answer(answer)),
                });
                number += 1;
                if answers.send(answer).await.is_err() {
                    return;
                }
            }
            let scopes = vec![ScopeSummary { recipients, ..Default::default() }];
            let summary = FilterSummary { scopes, ..Default::default() };
            let message = Some(filter_response::Message::Summary(summary));
            let _ = answers.send(Ok(FilterResponse { message })).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn describe(
        &self,
        _: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn reach(
        &self,
        _: Request<v1::ReachRequest>,
    ) -> Result<Response<v1::ReachResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }
}

#[tonic::async_trait]
impl ConsentService for Script {
    type ImportStream = Answers<ImportResponse>;

    async fn import(
        &self,
        request: Request<Streaming<ImportRequest>>,
    ) -> Result<Response<Self::ImportStream>, Status> {
        let (script, seen) = (self.import, Arc::clone(&self.seen));
        let mut done = 0;
        let responses = request.into_inner().map(move |request| {
            done = script(&seen, done, &request?)?;
            Ok(ImportResponse { done, applied: done, ..Default::default() })
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn record(&self, _: Request<RecordRequest>) -> Result<Response<RecordResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn suppress(
        &self,
        _: Request<SuppressRequest>,
    ) -> Result<Response<SuppressResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn lift(&self, _: Request<LiftRequest>) -> Result<Response<LiftResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn erase(
        &self,
        _: Request<v1::EraseRequest>,
    ) -> Result<Response<v1::EraseResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn rectify(
        &self,
        _: Request<v1::RectifyRequest>,
    ) -> Result<Response<v1::RectifyResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn history(
        &self,
        _: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn explain(
        &self,
        _: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    type ExportStream = Answers<v1::ExportResponse>;

    async fn export(
        &self,
        _: Request<v1::ExportRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    type WatchStream = Answers<v1::WatchResponse>;

    async fn watch(
        &self,
        _: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not in the script"))
    }
}

/// Nobody is permitted.
fn refuse_all(_: u64, batch: RecipientBatch) -> Result<BatchAnswer, Status> {
    let recipients = batch.phones.len();
    let scope = ScopeAnswer {
        recipients: u32::try_from(recipients).unwrap(),
        permitted: Bytes::from(vec![0; recipients.div_ceil(8)]),
        ..Default::default()
    };
    Ok(BatchAnswer { batch_id: batch.batch_id, scopes: vec![scope], ..Default::default() })
}

fn take_all(_: &AtomicU64, done: u64, request: &ImportRequest) -> Result<u64, Status> {
    Ok(done + request.items.len() as u64)
}

async fn connect(filter: FilterScript, import: ImportScript) -> (Client, Arc<AtomicU64>) {
    let seen = Arc::new(AtomicU64::new(0));
    let script = Script { filter, import, seen: Arc::clone(&seen) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder()
        .add_service(FilterServiceServer::new(script.clone()))
        .add_service(ConsentServiceServer::new(script));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (Client::connect(&format!("http://{address}")).await.unwrap(), seen)
}

fn one_scope() -> FilterOptions {
    FilterOptions { scopes: vec![v1::Scope::default()], ..FilterOptions::default() }
}

/// Filters ten batches, three in flight; returns the tags of those answered.
async fn filter_ten(filter: FilterScript) -> Result<Vec<u64>, ClientError> {
    let (client, _) = connect(filter, take_all).await;
    let mut stream = FilterStream::open(&client, one_scope(), 3).await?;
    let (mut next, mut answered) = (0, Vec::new());
    loop {
        while stream.has_room() && next < 10 {
            stream.send(next, Recipients::Phones((0..next).collect()))?;
            next += 1;
        }
        if next == 10 {
            stream.close();
        }
        match stream.next().await? {
            Some((tag, verdicts)) => {
                assert_eq!(verdicts.recipients() as u64, tag);
                answered.push(tag);
            }
            None => return Ok(answered),
        }
    }
}

#[tokio::test]
async fn answers_come_back_with_their_batches_in_order() {
    assert_eq!(filter_ten(refuse_all).await.unwrap(), (0..10).collect::<Vec<u64>>());
}

#[tokio::test]
async fn an_answer_to_another_batch_ends_the_stream() {
    let swapped = filter_ten(|number, mut batch| {
        batch.batch_id += u64::from(number == 4);
        refuse_all(number, batch)
    });
    assert!(matches!(swapped.await, Err(ClientError::Contract(_))));
}

#[tokio::test]
async fn a_refused_batch_is_an_error_that_names_its_code() {
    let refused = filter_ten(|number, batch| {
        let code = BatchErrorCode::Overloaded.into();
        let error = (number == 2).then(|| BatchError { code, ..Default::default() });
        Ok(BatchAnswer { error, ..refuse_all(number, batch)? })
    });
    let error = refused.await.unwrap_err();
    assert!(error.is_unavailable());
    assert!(error.to_string().contains("OVERLOADED"), "{error}");
}

#[tokio::test]
async fn a_stream_that_breaks_is_an_error() {
    let broken = filter_ten(|number, batch| match number {
        7 => Err(Status::internal("broken")),
        _ => refuse_all(number, batch),
    });
    assert!(
        matches!(broken.await, Err(ClientError::Status(status)) if status.code() == Code::Internal)
    );
}

#[tokio::test]
async fn more_than_the_room_is_refused() {
    let (client, _) = connect(refuse_all, take_all).await;
    let mut stream = FilterStream::open(&client, one_scope(), 1).await.unwrap();
    stream.send((), Recipients::Phones([1].into_iter().collect())).unwrap();
    assert!(stream.send((), Recipients::Phones([1].into_iter().collect())).is_err());
}

/// Imports twenty chunks of growing size, three in flight; returns the tags of
/// those acknowledged.
async fn import_twenty(import: ImportScript) -> (Result<Vec<u64>, ClientError>, u64) {
    let (client, seen) = connect(refuse_all, import).await;
    let mut stream = ImportStream::new(client, 3);
    let (mut next, mut acknowledged) = (0, Vec::new());
    let outcome = loop {
        while stream.has_room() && next < 20 {
            stream.send(next, vec![ImportItem::default(); usize::try_from(next).unwrap()]);
            next += 1;
        }
        if next == 20 {
            stream.close();
        }
        match stream.next().await {
            Ok(Some(chunk)) => {
                assert_eq!(chunk.counts.applied, chunk.tag, "its own items only");
                acknowledged.push(chunk.tag);
            }
            Ok(None) => break Ok(acknowledged),
            Err(error) => break Err(error),
        }
    };
    (outcome, seen.load(Ordering::Relaxed))
}

#[tokio::test]
async fn an_import_goes_on_where_the_connection_broke() {
    let (outcome, seen) =
        import_twenty(|seen, done, request| match seen.fetch_add(1, Ordering::Relaxed) % 5 {
            3 => Err(Status::unavailable("try again")),
            _ => take_all(seen, done, request),
        })
        .await;
    assert_eq!(outcome.unwrap(), (0..20).collect::<Vec<u64>>());
    assert!(seen > 20, "chunks without an acknowledgement were sent again");
}

#[tokio::test]
async fn an_import_that_is_refused_is_not_repeated() {
    let (outcome, seen) = import_twenty(|seen, _, _| {
        seen.fetch_add(1, Ordering::Relaxed);
        Err(Status::invalid_argument("too many items"))
    })
    .await;
    assert!(matches!(outcome, Err(ClientError::Status(_))));
    assert_eq!(seen, 1);
}

#[tokio::test(start_paused = true)]
async fn an_import_gives_up_on_a_server_that_stays_away() {
    let (outcome, seen) = import_twenty(|seen, _, _| {
        seen.fetch_add(1, Ordering::Relaxed);
        Err(Status::unavailable("starting"))
    })
    .await;
    assert!(outcome.unwrap_err().is_unavailable());
    assert_eq!(seen, 8);
}

#[tokio::test]
async fn an_acknowledgement_of_more_than_was_sent_is_refused() {
    let (outcome, _) = import_twenty(|seen, done, request| {
        take_all(seen, done, request).map(|done| done + u64::from(done > 9))
    })
    .await;
    assert!(matches!(outcome, Err(ClientError::Contract(_))));
}
