//! Arguments that several workloads share.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use sendgate::{caps, cli::generate::people::MAX_PEOPLE, client::DEFAULT_ENDPOINT};

use crate::{
    calls::{Pace, Schedule},
    data::{Order, Refused},
};

/// Which server is loaded.
#[derive(Clone, Debug, clap::Args)]
pub struct Target {
    /// The server to load
    #[arg(long, env = "SENDGATE_ENDPOINT", default_value = DEFAULT_ENDPOINT)]
    pub endpoint: String,
    /// Connections
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub connections: u64,
}

/// Whom it is about. A population is imported once and found again.
#[derive(Clone, Debug, clap::Args)]
pub struct Who {
    /// The brand; nobody else may have recorded consents for it
    #[arg(long, default_value = "main")]
    pub brand: String,
    /// The channel; by default sms, email or push, as the recipients are named
    #[arg(long)]
    pub channel: Option<String>,
    /// The purpose
    #[arg(long, default_value = "marketing")]
    pub purpose: String,
    /// How many people consent
    #[arg(long, default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..=MAX_PEOPLE))]
    pub population: u64,
    /// Who the refused are
    #[arg(long, value_enum, default_value_t = Refused::Strangers)]
    pub refused: Refused,
    /// Import the population even if it is there
    #[arg(long)]
    pub populate: bool,
    /// The same seed makes the same data
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// How calls of one request each follow each other.
#[derive(Clone, Debug, clap::Args)]
pub struct Calls {
    /// Calls without an answer on each connection
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024),
          conflicts_with = "rate")]
    pub in_flight: u64,
    /// Calls a second at given instants, instead of each after the last
    #[arg(long, value_parser = rate)]
    pub rate: Option<f64>,
}

impl Calls {
    /// The pace, from now on, and how the report says it.
    pub fn pace(&self) -> (Pace, String) {
        match (self.rate, self.in_flight) {
            (None, calls) => (Pace::Closed(calls), format!("{calls} in flight on each connection")),
            (Some(rate), _) => {
                let schedule = Schedule { start: Instant::now(), rate, slice: None };
                (Pace::Open(schedule), format!("{rate} a second, counted from when each was due"))
            }
        }
    }
}

/// What batches look like.
#[derive(Clone, Debug, clap::Args)]
pub struct Lists {
    /// The order of a batch's recipients
    #[arg(long, value_enum, default_value_t = Order::Random)]
    pub order: Order,
    /// The share of recipients who are permitted, from 0 to 1
    #[arg(long, default_value_t = 0.5, value_parser = share)]
    pub hit_rate: f64,
    /// Ask for reasons as well as bits
    #[arg(long)]
    pub reasons: bool,
    /// Scopes asked about at once
    #[arg(long, default_value_t = 1, value_parser = scopes)]
    pub scopes: usize,
    /// Recipients of a batch, up to 262,144; members of an audience, which
    /// travels in parts [default: 16384, of an audience 4000000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub batch_size: Option<u64>,
    /// Distinct data sent, in MiB [default: more than the largest cache, at least 64]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=16_384))]
    pub distinct_mib: Option<u64>,
}

/// How many batches are under way.
#[derive(Clone, Debug, clap::Args)]
pub struct Streams {
    /// Streams on each connection
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub streams: u64,
    /// Batches without an answer on each stream
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..))]
    pub in_flight: u8,
}

/// How long a run lasts.
#[derive(Clone, Debug, clap::Args)]
pub struct Time {
    /// Seconds that are not counted
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub warm_up: f64,
    /// Seconds that are counted
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub seconds: f64,
}

/// A server that the workload starts itself.
#[derive(Clone, Debug, clap::Args)]
pub struct Own {
    /// The sendgate binary [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    pub server: Option<PathBuf>,
    /// The core that the server has for itself, if there are several
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// The folder of its store, which is kept [default: a new one, removed afterwards]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

impl Time {
    /// The warm-up.
    pub fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up)
    }

    /// What is counted.
    pub fn length(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn share(text: &str) -> Result<f64, String> {
    within(text, 0.0, 1.0)
}

/// At most a day.
fn seconds(text: &str) -> Result<f64, String> {
    within(text, 0.0, 86_400.0)
}

/// Calls a second.
pub fn rate(text: &str) -> Result<f64, String> {
    within(text, 0.1, 1_000_000.0)
}

/// A number between two others; no NaN, which is between none.
pub fn within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|error| error.to_string())?;
    let fits = (least..=most).contains(&number);
    if fits { Ok(number) } else { Err(format!("not between {least} and {most}")) }
}

fn scopes(text: &str) -> Result<usize, String> {
    let scopes = text.parse::<usize>().map_err(|error| error.to_string())?;
    let fits = (1..=caps::FILTER_SCOPES).contains(&scopes);
    if fits { Ok(scopes) } else { Err(format!("not between 1 and {}", caps::FILTER_SCOPES)) }
}
