//! Drives a filter service and checks each answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use sendgate::{
    client::{Client, FilterStream, Recipients},
    proto::v1::{AnswerForm, FilterOptions},
};
use tokio::task::JoinSet;

use super::{
    cores,
    population::{BATCH, List, Population},
    stores::{BRAND, Holding},
};
use crate::failure::Failure;

/// Connections to a server under load.
const CONNECTIONS: usize = 2;
/// Batches without an answer on each.
const IN_FLIGHT: usize = 8;

/// A message and what its answer must be.
pub struct Batch {
    recipients: Recipients,
    count: usize,
    permitted: Vec<u8>,
    /// Empty where reasons are not asked for.
    reasons: Vec<u8>,
}

/// Messages, made before the clock starts.
pub struct Batches {
    options: FilterOptions,
    batches: Vec<Batch>,
}

/// What a load took.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Nanoseconds a recipient.
    pub wall: f64,
    /// Nanoseconds of the server's processor a recipient.
    pub cpu: f64,
}

/// Connections to one server, kept from round to round.
pub struct Driver {
    clients: Vec<Client>,
    pid: i32,
    /// Whether its answers are verdicts. An echo's are not.
    checked: bool,
}

impl Batches {
    /// The messages of a list, in whatever form `column` gives them.
    pub fn new(
        holding: Holding,
        population: &Population,
        list: &List,
        reasons: bool,
        column: impl Fn(&[u64]) -> Recipients,
    ) -> Self {
        let options = Self::options(holding, reasons);
        let batches = list.people.chunks(BATCH).map(|people| Batch {
            recipients: column(people),
            count: people.len(),
            permitted: bits(people.iter().map(|person| population.is_permitted(*person))),
            reasons: if reasons {
                people.iter().map(|person| population.reason(*person) as u8).collect()
            } else {
                Vec::new()
            },
        });
        Self { options, batches: batches.collect() }
    }

    /// What a stream about these contacts asks.
    pub fn options(holding: Holding, reasons: bool) -> FilterOptions {
        let form = if reasons { AnswerForm::Reasons } else { AnswerForm::PermittedBits };
        FilterOptions {
            brand: BRAND.to_owned(),
            scopes: vec![holding.scope()],
            contact_kind: holding.kind().into(),
            default_region: "TR".to_owned(),
            answer_form: form.into(),
            ..Default::default()
        }
    }

    /// The phones of a list as integers.
    pub fn phones(population: &Population, list: &List, reasons: bool) -> Self {
        Self::new(Holding::Phones, population, list, reasons, |people| {
            Recipients::Phones(people.iter().map(|person| population.phone(*person)).collect())
        })
    }

    /// A list as text, a line a person.
    pub fn lines(
        holding: Holding,
        population: &Population,
        list: &List,
        line: impl Fn(u64) -> String,
    ) -> Self {
        Self::new(holding, population, list, false, |people| {
            let text = people.iter().map(|person| line(*person)).collect::<Vec<_>>().join("\n");
            let count = u32::try_from(people.len()).unwrap_or(u32::MAX);
            Recipients::Lines { text: Bytes::from(text), count }
        })
    }

    fn recipients(&self) -> usize {
        self.batches.iter().map(|batch| batch.count).sum()
    }
}

/// Bits as they travel: least significant first.
pub fn bits(values: impl Iterator<Item = bool>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, value) in values.enumerate() {
        if at % 8 == 0 {
            bytes.push(0);
        }
        if let Some(last) = bytes.last_mut() {
            *last |= u8::from(value) << (at % 8);
        }
    }
    bytes
}

impl Driver {
    /// Connects to a server.
    pub async fn connect(endpoint: &str, pid: i32, checked: bool) -> Result<Self, Failure> {
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(Client::connect(endpoint).await?);
        }
        Ok(Self { clients, pid, checked })
    }

    /// Sends all batches `passes` times.
    pub async fn run(&self, batches: &Arc<Batches>, passes: usize) -> Result<Taken, Failure> {
        let (begun, cpu) = (Instant::now(), cores::cpu_time(self.pid)?);
        let mut streams = JoinSet::new();
        for (stream, client) in self.clients.iter().enumerate() {
            let (client, batches) = (client.clone(), Arc::clone(batches));
            let checked = self.checked;
            streams.spawn(async move { drive(&client, &batches, stream, passes, checked).await });
        }
        while let Some(ended) = streams.join_next().await {
            ended??;
        }
        let each = 1e9 / (batches.recipients() * passes) as f64;
        let per = |time: Duration| time.as_secs_f64() * each;
        let cpu = cores::cpu_time(self.pid)?.saturating_sub(cpu);
        Ok(Taken { wall: per(begun.elapsed()), cpu: per(cpu) })
    }
}

/// Sends this stream's share of the batches.
async fn drive(
    client: &Client,
    batches: &Batches,
    stream: usize,
    passes: usize,
    checked: bool,
) -> Result<(), Failure> {
    let share = || batches.batches.iter().skip(stream).step_by(CONNECTIONS);
    let mut left = (0..passes).flat_map(|_| share());
    let mut stream = FilterStream::open(client, batches.options.clone(), IN_FLIGHT).await?;
    loop {
        while stream.has_room() {
            match left.next() {
                Some(batch) => stream.send(batch, batch.recipients.clone())?,
                None => stream.close(),
            }
        }
        let Some((batch, verdicts)) = stream.next().await? else { return Ok(()) };
        let scope = verdicts.scope(0);
        if checked && scope.permitted_bits() != batch.permitted {
            return Err("a batch was answered wrongly: its bits are not the truth".into());
        }
        if checked && scope.reasons() != batch.reasons {
            return Err("a batch was answered wrongly: its reasons are not the truth".into());
        }
    }
}
