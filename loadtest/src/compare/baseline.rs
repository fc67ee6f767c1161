//! The servers that a comparison holds sendgate against: the same messages over
//! the same transport, with nothing or next to nothing done about them.

use std::{
    process::{Command, ExitCode},
    sync::Arc,
    time::Duration,
};

use sendgate::{
    caps,
    proto::v1::{
        self, BatchAnswer, FilterRequest, FilterResponse, FilterSummary, Reason, RecipientBatch,
        Revision, ScopeAnswer, ScopeSummary, filter_request, filter_response,
        filter_service_server::{FilterService, FilterServiceServer},
    },
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming, async_trait,
    transport::{Server, server::TcpIncoming},
};

use super::{child::Child, flat::FlatBitset, population::Population};
use crate::failure::Failure;

/// Arguments of `loadtest baseline`.
#[derive(clap::Args)]
pub struct Args {
    /// Which baseline
    kind: Kind,
    /// How many people are permitted
    #[arg(long, default_value_t = 0)]
    permitted: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// Decodes every message and permits nobody
    Echo,
    /// Answers phones from a flat bitset
    FlatBitset,
}

/// A baseline in a process of its own: this program under its hidden subcommand.
pub struct Baseline {
    child: Child,
    endpoint: String,
}

impl Baseline {
    /// Answers phones from a flat bitset.
    pub fn flat_bitset(population: &Population) -> Result<Self, Failure> {
        Self::start(&["flat-bitset", "--permitted", &population.permitted.to_string()])
    }

    /// Decodes and answers, and no more.
    pub fn echo() -> Result<Self, Failure> {
        Self::start(&["echo"])
    }

    fn start(arguments: &[&str]) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("baseline").args(arguments);
        let child = Child::start("a baseline", command)?;
        let address = child.wait_for("serving address=", Duration::from_secs(60))?;
        Ok(Self { child, endpoint: format!("http://{address}") })
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.child.pid()
    }
}

/// Serves until it is killed.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let set = match args.kind {
        Kind::Echo => None,
        Kind::FlatBitset => {
            let population = Population::new(args.permitted);
            let phones: Vec<u64> = population.permitted_phones().collect();
            Some(FlatBitset::of(phones.iter().copied()))
        }
    };
    // The same kind of runtime and transport as sendgate's.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        eprintln!("serving address={}", listener.local_addr()?);
        serve(listener, set).await
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(listener: TcpListener, set: Option<FlatBitset>) -> Result<(), Failure> {
    let service = Service { set: Arc::new(set) };
    let service = FilterServiceServer::new(service)
        .max_decoding_message_size(caps::MESSAGE_BYTES)
        .max_encoding_message_size(caps::ANSWER_BYTES);
    Server::builder()
        .max_concurrent_streams(caps::STREAMS)
        .initial_stream_window_size(caps::STREAM_WINDOW)
        .initial_connection_window_size(caps::CONNECTION_WINDOW)
        .add_service(service)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await?;
    Ok(())
}

struct Service {
    /// The permitted phones; without it nobody is permitted.
    set: Arc<Option<FlatBitset>>,
}

#[async_trait]
impl FilterService for Service {
    type FilterStream = ReceiverStream<Result<FilterResponse, Status>>;

    async fn filter(
        &self,
        request: Request<Streaming<FilterRequest>>,
    ) -> Result<Response<Self::FilterStream>, Status> {
        let (answers, stream) = mpsc::channel(caps::ANSWERS_AHEAD);
        let set = Arc::clone(&self.set);
        tokio::spawn(async move {
            if let Err(status) = answer(request.into_inner(), set.as_ref().as_ref(), &answers).await
            {
                // A client that has gone away needs no status.
                let _ = answers.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn check(
        &self,
        request: Request<v1::CheckRequest>,
    ) -> Result<Response<v1::CheckResponse>, Status> {
        // The contact is read, so that the message is decoded in full.
        let permitted = request.into_inner().contact.is_some_and(|it| !it.address.is_empty());
        Ok(Response::new(v1::CheckResponse {
            permitted,
            reason: Reason::Permitted.into(),
            revision: Some(revision()),
            as_of_ms: 1_700_000_000_000,
            policy_version: POLICY.to_owned(),
            record: None,
        }))
    }

    async fn describe(
        &self,
        _: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeResponse>, Status> {
        Err(Status::unimplemented("a baseline does not describe"))
    }

    async fn reach(
        &self,
        _: Request<v1::ReachRequest>,
    ) -> Result<Response<v1::ReachResponse>, Status> {
        Err(Status::unimplemented("a baseline does not count"))
    }
}

const POLICY: &str = "compare-1";

/// As long as a real one.
fn revision() -> Revision {
    Revision { epoch: "0123456789abcdef0123456789abcdef".to_owned(), revision: 22_000_001 }
}

async fn answer(
    mut requests: Streaming<FilterRequest>,
    set: Option<&FlatBitset>,
    answers: &mpsc::Sender<Result<FilterResponse, Status>>,
) -> Result<(), Status> {
    let (mut batches, mut recipients, mut permitted) = (0, 0, 0);
    while let Some(request) = requests.message().await? {
        let Some(filter_request::Message::Batch(batch)) = request.message else { continue };
        let scope = probe(&batch, set);
        batches += 1;
        recipients += u64::from(scope.recipients);
        permitted += u64::from(scope.permitted_count);
        let answer = BatchAnswer {
            batch_id: batch.batch_id,
            scopes: vec![scope],
            revision: Some(revision()),
            as_of_ms: 1_700_000_000_000,
            policy_version: POLICY.to_owned(),
            error: None,
        };
        let message = Some(filter_response::Message::Answer(answer));
        if answers.send(Ok(FilterResponse { message })).await.is_err() {
            return Ok(());
        }
    }
    let summary = FilterSummary {
        batches,
        refused_batches: 0,
        scopes: vec![ScopeSummary { recipients, permitted, reason_counts: Vec::new() }],
        first_revision: None,
        last_revision: None,
    };
    let message = Some(filter_response::Message::Summary(summary));
    let _ = answers.send(Ok(FilterResponse { message })).await;
    Ok(())
}

/// The plain loop: one answer after the other, eight to a byte.
fn probe(batch: &RecipientBatch, set: Option<&FlatBitset>) -> ScopeAnswer {
    let count = batch.phones.len().max(batch.count as usize);
    let mut bits = vec![0_u8; count.div_ceil(8)];
    let mut permitted = 0;
    if let Some(set) = set {
        for (at, phone) in batch.phones.iter().enumerate() {
            if let Some(byte) = bits.get_mut(at / 8) {
                *byte |= u8::from(set.contains(phone)) << (at % 8);
            }
        }
        permitted = bits.iter().map(|byte| byte.count_ones()).sum();
    }
    ScopeAnswer {
        recipients: u32::try_from(count).unwrap_or(u32::MAX),
        permitted_count: permitted,
        permitted: bits.into(),
        reasons: Vec::new().into(),
        reason_counts: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{
        load::{Batches, Driver},
        population::Refused,
    };

    /// Sends a list to a baseline in this process.
    async fn filter(set: Option<FlatBitset>, checked: bool) -> Result<(), Failure> {
        let population = Population::new(1_000);
        let list = population.list(1, 50_001, Refused::Strangers);
        let batches = Arc::new(Batches::phones(&population, &list, false));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        tokio::spawn(serve(listener, set));
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let driver = Driver::connect(&endpoint, pid, checked).await?;
        driver.run(&batches, 2).await.map(drop)
    }

    fn set(permitted: u64) -> Option<FlatBitset> {
        let phones: Vec<u64> = Population::new(permitted).permitted_phones().collect();
        Some(FlatBitset::of(phones.into_iter()))
    }

    #[tokio::test]
    async fn a_flat_bitset_answers_rightly() {
        filter(set(1_000), true).await.unwrap();
    }

    #[tokio::test]
    async fn a_wrong_answer_ends_the_run() {
        for wrong in [set(999), None] {
            let error = filter(wrong, true).await.unwrap_err();
            assert!(error.to_string().contains("answered wrongly"), "{error}");
        }
        filter(None, false).await.unwrap();
    }
}
