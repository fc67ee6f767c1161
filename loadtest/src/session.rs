//! A server made ready for a run: connected, its scopes known, its people in.

use clap::ValueEnum;
use sendgate::{
    client::{Client, ClientError},
    proto::v1::{GetStatisticsRequest, GetStatisticsResponse},
    tokens::Token,
};

use crate::{
    arguments::{Lists, Who},
    data::{self, Batch, Batches, Column, Events, Population},
    document::Document,
    failure::Failure,
    machine,
    report::number,
};

/// Recipients of a batch, unless said otherwise.
const BATCH: u64 = 16_384;
/// Members of an audience, unless said otherwise.
const AUDIENCE: u64 = 4_000_000;
/// The least distinct data, in MiB.
const LEAST_MIB: usize = 64;

/// Connects to a server of the caller's, with the token of the environment.
///
/// # Errors
/// Nobody answers, `SENDGATE_TOKEN` holds no token, or others could read it on
/// the way.
pub async fn connect(endpoint: &str) -> Result<Client, Failure> {
    let token = Token::of_environment().map_err(|error| format!("SENDGATE_TOKEN: {error}"))?;
    let client = Client::connect(endpoint).await.map_err(|error| {
        format!("{error}. Start a server with `sendgate serve`, or name it with --endpoint")
    })?;
    // Here is no TLS.
    let tunnel = |error| format!("{error}, or a tunnel to the server's machine");
    Ok(client.with_token(token.as_ref()).map_err(tunnel)?)
}

/// A server made ready.
pub struct Session {
    /// The connections.
    pub clients: Vec<Client>,
    /// Who is who, in which brand and scopes.
    pub events: Events,
}

impl Session {
    /// Connects, chooses scopes, and imports the population if it is not there.
    ///
    /// # Errors
    /// Nobody answers, the policy has too few scopes, or the import failed.
    pub async fn open(
        target: (&str, u64),
        who: &Who,
        column: Column,
        scopes: usize,
    ) -> Result<Self, Failure> {
        let session = Self::connect(target, who, column, scopes).await?;
        let imported = data::ensure(session.client()?, &session.events, who.populate).await?;
        if let Some(imported) = imported {
            eprintln!(
                "imported {} events in {:.1} s",
                imported.recorder.work(),
                imported.took.as_secs_f64()
            );
        }
        Ok(session)
    }

    /// Connects and chooses scopes.
    ///
    /// # Errors
    /// Nobody answers, or the policy has too few scopes.
    pub async fn connect(
        (endpoint, connections): (&str, u64),
        who: &Who,
        column: Column,
        scopes: usize,
    ) -> Result<Self, Failure> {
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(connect(endpoint).await?);
        }
        let client = clients.first().ok_or("no connection was asked for")?;
        let channel = who.channel.as_deref().unwrap_or(column.channel());
        let scope = (channel, who.purpose.as_str());
        let scopes = data::choose(client, &who.brand, column.kind(), scope, scopes).await?;
        let population = Population::new(column, who.population, who.refused, who.seed);
        let events = Events { population, brand: who.brand.clone(), scopes };
        Ok(Self { clients, events })
    }

    /// The first connection.
    ///
    /// # Errors
    /// None: there is one.
    pub fn client(&self) -> Result<&Client, Failure> {
        self.clients.first().ok_or_else(|| "no connection".into())
    }

    /// Begins a report with what every run depends on.
    ///
    /// # Errors
    /// The server went away.
    pub async fn document(&self, title: &str, who: &Who) -> Result<Document, Failure> {
        let statistics = statistics(self.client()?).await?;
        let mut document = Document::new(title);
        document.fact("machine", machine::line());
        document.fact("load test", format!("commit {}", machine::COMMIT));
        document.fact("server", format!("version {}", statistics.server_version));
        document.fact("policy", &statistics.policy_version);
        let scopes: Vec<String> = self
            .events
            .scopes
            .iter()
            .map(|scope| format!("{} {}", scope.channel, scope.purpose))
            .collect();
        document.fact("scopes", format!("brand {}: {}", who.brand, scopes.join(", ")));
        document.fact("population", self.population(who));
        document.fact("seed", who.seed);
        document.fact("connections", self.clients.len());
        Ok(document)
    }

    fn population(&self, who: &Who) -> String {
        let population = &self.events.population;
        let counted = |people: u64| number::show(people as f64);
        let recorded = match population.recorded() {
            0 => String::new(),
            recorded => format!(", {} are refused by a record", counted(recorded)),
        };
        let refused = named(&who.refused);
        format!("{} consent{recorded}; the refused are {refused}", counted(population.size()))
    }

    /// Makes distinct batches and says so in the report.
    ///
    /// # Errors
    /// A batch would not fit the server's caps.
    pub fn pool(&self, lists: &Lists, document: &mut Document) -> Result<Vec<Batch>, Failure> {
        let batches = self.batches(lists)?;
        let bytes = match lists.distinct_mib {
            Some(mib) => usize::try_from(mib)? << 20,
            None => (machine::cache_bytes() / 4 * 5).max(LEAST_MIB << 20),
        };
        let pool = batches.pool(bytes)?;
        document.fact("recipients as", named(&self.events.population.column()));
        document.fact("batch size", batches.size);
        document.fact("order", named(&lists.order));
        document.fact("hit rate", lists.hit_rate);
        document.fact("answers", if lists.reasons { "reasons" } else { "bits" });
        document.fact("distinct batches", format!("{}, {} MiB", pool.len(), bytes >> 20));
        Ok(pool)
    }

    fn batches(&self, lists: &Lists) -> Result<Batches, Failure> {
        let is_audience = self.events.population.column() == Column::Roaring;
        let size = lists.batch_size.unwrap_or(if is_audience { AUDIENCE } else { BATCH });
        let most = sendgate::caps::BATCH_RECIPIENTS as u64;
        if !is_audience && size > most {
            return Err(
                format!("--batch-size {size}: a batch has at most {most} recipients").into()
            );
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the rate lies between 0 and 1"
        )]
        let hits_per_million = (lists.hit_rate * 1e6).round() as u64;
        Ok(Batches {
            population: self.events.population.clone(),
            size: usize::try_from(size)?,
            hits_per_million,
            order: lists.order,
            scopes: self.events.scopes.len(),
            reasons: lists.reasons,
            seed: self.events.population.seed(),
        })
    }
}

/// A value as the command line names it.
pub fn named(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// What the server says of itself.
///
/// # Errors
/// It went away.
pub async fn statistics(client: &Client) -> Result<GetStatisticsResponse, Failure> {
    let answer = client.admin_service().get_statistics(GetStatisticsRequest::default()).await;
    Ok(answer.map_err(ClientError::from)?.into_inner())
}
