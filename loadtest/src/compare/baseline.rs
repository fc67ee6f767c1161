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
        self, BatchAnswer, FilterRequest, FilterResponse, FilterSummary, Reason, ReasonCount,
        RecipientBatch, Revision, ScopeAnswer, ScopeSummary, filter_request, filter_response,
        filter_service_server::{FilterService, FilterServiceServer},
    },
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming, async_trait,
    transport::{Server, server::TcpIncoming},
};

use super::{
    child::Child,
    flat::{FlatBitset, FlatReasons},
    population::Population,
};
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
    /// Answers phones with reasons, from a byte for each number
    FlatReasons,
}

/// What a baseline knows of phones.
enum Known {
    /// It decodes every message and permits nobody.
    Nothing,
    /// Who is permitted.
    Permitted(FlatBitset),
    /// The reason of each.
    Reasons(FlatReasons),
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

    /// Answers phones with reasons, from a byte for each number.
    pub fn flat_reasons(population: &Population) -> Result<Self, Failure> {
        Self::start(&["flat-reasons", "--permitted", &population.permitted.to_string()])
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
    let population = Population::new(args.permitted);
    let known = match args.kind {
        Kind::Echo => Known::Nothing,
        Kind::FlatBitset => {
            let phones: Vec<u64> = population.permitted_phones().collect();
            Known::Permitted(FlatBitset::of(phones.iter().copied()))
        }
        Kind::FlatReasons => Known::Reasons(flat_reasons(&population)),
    };
    // The same kind of runtime and transport as sendgate's.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        eprintln!("serving address={}", listener.local_addr()?);
        serve(listener, known).await
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(listener: TcpListener, known: Known) -> Result<(), Failure> {
    let service = Service { known: Arc::new(known) };
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
    known: Arc<Known>,
}

#[async_trait]
impl FilterService for Service {
    type FilterStream = ReceiverStream<Result<FilterResponse, Status>>;

    async fn filter(
        &self,
        request: Request<Streaming<FilterRequest>>,
    ) -> Result<Response<Self::FilterStream>, Status> {
        let (answers, stream) = mpsc::channel(caps::ANSWERS_AHEAD);
        let known = Arc::clone(&self.known);
        tokio::spawn(async move {
            if let Err(status) = answer(request.into_inner(), &known, &answers).await {
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
    known: &Known,
    answers: &mpsc::Sender<Result<FilterResponse, Status>>,
) -> Result<(), Status> {
    let (mut batches, mut recipients, mut permitted) = (0, 0, 0);
    while let Some(request) = requests.message().await? {
        let Some(filter_request::Message::Batch(batch)) = request.message else { continue };
        let scope = probe(&batch, known);
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

fn flat_reasons(population: &Population) -> FlatReasons {
    let people = (0..population.spare()).collect::<Vec<_>>();
    let reason = |person: &u64| (population.phone(*person), population.reason(*person) as u8);
    FlatReasons::of(people.iter().map(reason), Reason::NoConsent as u8)
}

/// The plain loops: one answer after the other.
fn probe(batch: &RecipientBatch, known: &Known) -> ScopeAnswer {
    let count = batch.phones.len().max(batch.count as usize);
    let mut bits = vec![0_u8; count.div_ceil(8)];
    let (mut reasons, mut counts) = (Vec::new(), [0_u64; 1 << 8]);
    let mut permit = |at: usize, is_permitted: bool| {
        if let Some(byte) = bits.get_mut(at / 8) {
            *byte |= u8::from(is_permitted) << (at % 8);
        }
    };
    match known {
        Known::Nothing => {}
        Known::Permitted(set) => {
            for (at, phone) in batch.phones.iter().enumerate() {
                permit(at, set.contains(phone));
            }
        }
        Known::Reasons(table) => {
            reasons.reserve_exact(count);
            for (at, phone) in batch.phones.iter().enumerate() {
                let reason = table.reason(phone);
                permit(at, reason == Reason::Permitted as u8);
                reasons.push(reason);
                if let Some(count) = counts.get_mut(usize::from(reason)) {
                    *count += 1;
                }
            }
        }
    }
    let counted = (0..).zip(counts).filter(|(_, count)| *count > 0);
    ScopeAnswer {
        recipients: u32::try_from(count).unwrap_or(u32::MAX),
        permitted_count: bits.iter().map(|byte| byte.count_ones()).sum(),
        permitted: bits.into(),
        reasons: reasons.into(),
        reason_counts: counted.map(|(reason, count)| ReasonCount { reason, count }).collect(),
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
    async fn filter(known: Known, checked: bool) -> Result<(), Failure> {
        let population = Population::new(1_000);
        let reasons = matches!(known, Known::Reasons(_));
        let refused = if reasons { Refused::Known } else { Refused::Strangers };
        let list = population.list(1, 50_001, refused);
        let batches = Arc::new(Batches::phones(&population, &list, reasons));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        tokio::spawn(serve(listener, known));
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let driver = Driver::connect(&endpoint, pid, checked).await?;
        driver.run(&batches, 2).await.map(drop)
    }

    fn set(permitted: u64) -> Known {
        let phones: Vec<u64> = Population::new(permitted).permitted_phones().collect();
        Known::Permitted(FlatBitset::of(phones.into_iter()))
    }

    fn table(permitted: u64) -> Known {
        Known::Reasons(flat_reasons(&Population::new(permitted)))
    }

    #[tokio::test]
    async fn flat_baselines_answer_rightly() {
        filter(set(1_000), true).await.unwrap();
        filter(table(1_000), true).await.unwrap();
    }

    #[tokio::test]
    async fn a_wrong_answer_ends_the_run() {
        for wrong in [set(999), Known::Nothing, table(990)] {
            let error = filter(wrong, true).await.unwrap_err();
            assert!(error.to_string().contains("answered wrongly"), "{error}");
        }
        filter(Known::Nothing, false).await.unwrap();
    }
}
