//! `top`: how fast a server is, what it decides, and what it holds, live.
//!
//! The server counts since its start and keeps no rates; they are differences
//! between two polls, made here.

mod line;
mod rates;
mod report;
mod screen;
mod spread;
mod terminal;

use std::{
    collections::VecDeque,
    process::ExitCode,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc,
    time::{interval, sleep, timeout},
};
use tonic::{Code, Status};

use self::{
    line::{Line, Style},
    rates::Rates,
    screen::Shown,
    terminal::Terminal,
};
use super::{Failure, output};
use crate::{
    client::{Client, ClientError},
    proto::v1::{GetStatisticsRequest, GetStatisticsResponse},
};

/// Rates that are drawn as bars: more than a terminal is wide.
const PAST: usize = 500;
/// How long a server may take to answer. One that takes longer is in trouble,
/// and that is what somebody who looks here wants to know.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a restart stays worth mentioning.
const RECENT_MS: i64 = 60_000;
/// Columns of what is printed where there is no terminal.
const PRINTED_WIDTH: usize = 120;
/// Ctrl-C, as a key.
const CONTROL_C: u8 = 3;

/// Arguments of `top`.
///
/// Rates and latencies are those of the last interval. Where standard output is
/// no terminal, two polls are made, and what lies between them is printed once.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Seconds between two polls
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// Print once, after one interval
    #[arg(long)]
    once: bool,
    /// Print JSON, once
    #[arg(long)]
    json: bool,
}

/// An answer, and when it came.
struct Sample {
    at: Instant,
    statistics: GetStatisticsResponse,
}

/// Shows what a server does until somebody has seen enough.
pub async fn run(client: &Client, endpoint: &str, args: &Args) -> Result<ExitCode, Failure> {
    let mut seen = Seen::first(poll(client).await?);
    if args.once || args.json || !terminal::is_there() {
        sleep(args.interval).await;
        seen.learn(poll(client).await?);
        if args.json {
            output::json(&report::json(&seen.last.statistics, seen.rates.as_ref()))?;
        } else {
            for line in seen.lines(endpoint, None, PRINTED_WIDTH, usize::MAX) {
                output::line(line.paint(PRINTED_WIDTH, terminal::takes_colours()).trim_end())?;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let samples = poll_in_background(client.clone(), args.interval);
    watch(&Terminal::take()?, endpoint, seen, samples).await?;
    Ok(ExitCode::SUCCESS)
}

/// Draws after each sample and each key, until somebody presses `q`.
async fn watch(
    terminal: &Terminal,
    endpoint: &str,
    mut seen: Seen,
    mut samples: mpsc::Receiver<Result<Sample, ClientError>>,
) -> Result<(), Failure> {
    let mut keys = terminal.keys();
    let (mut has_keys, mut is_paused) = (true, false);
    loop {
        if !is_paused {
            let keys = has_keys.then_some("q quit   p pause");
            let (width, height) = terminal.size();
            terminal.draw(&seen.lines(endpoint, keys, width, height))?;
        }
        tokio::select! {
            // Learnt while it pauses too, so that it goes on with right rates.
            sample = samples.recv() => match sample {
                Some(Ok(sample)) => seen.learn(sample),
                Some(Err(error)) if is_passing(&error) => seen.lose(&error),
                Some(Err(error)) => return Err(error.into()),
                None => return Err(Failure::failed("the server is not asked any more")),
            },
            key = keys.recv(), if has_keys => match key {
                Some(b'q' | b'Q' | CONTROL_C) => return Ok(()),
                Some(b'p' | b'P' | b' ') => is_paused = !is_paused,
                Some(_) => {}
                None => has_keys = false,
            },
        }
    }
}

/// Polls on, whatever comes back.
fn poll_in_background(
    client: Client,
    pause: Duration,
) -> mpsc::Receiver<Result<Sample, ClientError>> {
    let (polled, samples) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut ticks = interval(pause);
        // The first one is over at once, and has been asked for already.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            if polled.send(poll(&client).await).await.is_err() {
                return;
            }
        }
    });
    samples
}

async fn poll(client: &Client) -> Result<Sample, ClientError> {
    let mut admin = client.admin_service();
    let statistics =
        timeout(PATIENCE, admin.get_statistics(GetStatisticsRequest { without_planes: true }))
            .await
            .map_err(|_| {
                Status::unavailable(format!("no answer within {} s", PATIENCE.as_secs()))
            })??;
    Ok(Sample { at: Instant::now(), statistics: statistics.into_inner() })
}

/// Whether a server that has answered before may answer again.
fn is_passing(error: &ClientError) -> bool {
    let ClientError::Status(status) = error else { return error.is_unavailable() };
    !matches!(
        status.code(),
        Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented | Code::OutOfRange
    )
}

/// What was learnt so far.
struct Seen {
    last: Sample,
    rates: Option<Rates>,
    past: VecDeque<[f64; 2]>,
    has_restarted: bool,
    trouble: Option<String>,
}

impl Seen {
    fn first(sample: Sample) -> Self {
        Self {
            last: sample,
            rates: None,
            past: VecDeque::with_capacity(PAST),
            has_restarted: false,
            trouble: None,
        }
    }

    fn learn(&mut self, sample: Sample) {
        let interval = sample.at.saturating_duration_since(self.last.at);
        self.rates = Rates::between(&self.last.statistics, &sample.statistics, interval);
        match &self.rates {
            Some(rates) => {
                if self.past.len() == PAST {
                    self.past.pop_front();
                }
                self.past.push_back([rates.recipients, rates.recorded_changes]);
            }
            // Counters of another start: rates begin anew.
            None => {
                self.past.clear();
                self.has_restarted = true;
            }
        }
        self.trouble = None;
        self.last = sample;
    }

    /// The server did not answer. What it said last stays, without its rates.
    fn lose(&mut self, error: &ClientError) {
        self.rates = None;
        self.trouble = Some(format!("no answer, so this is the last: {error}"));
    }

    fn lines(&self, endpoint: &str, keys: Option<&str>, width: usize, height: usize) -> Vec<Line> {
        let statistics = &self.last.statistics;
        let shown = Shown {
            endpoint,
            statistics,
            rates: self.rates.as_ref(),
            past: &self.past,
            notice: self.notice(),
            keys,
        };
        shown.lines(width, height)
    }

    /// The most urgent of what somebody should know.
    fn notice(&self) -> Option<(Style, String)> {
        let said = &self.last.statistics;
        let up_ms = said.as_of_ms.saturating_sub(said.started_time_ms);
        let undecided = said
            .restored
            .as_ref()
            .is_some_and(|it| it.replayed_to.is_none() && it.lost_since.is_none());
        if let Some(trouble) = &self.trouble {
            return Some((Style::Bad, trouble.clone()));
        }
        if undecided {
            let what = "NOTHING IS FILTERED: restored, and nobody has decided on the loss";
            return Some((Style::Bad, what.to_owned()));
        }
        if said.rebuilt_pages > 0 {
            let pages = output::count(said.rebuilt_pages);
            let what = format!("{pages} pages were damaged in memory and rebuilt: test it");
            return Some((Style::Bad, what));
        }
        (self.has_restarted && up_ms < RECENT_MS).then(|| {
            let time = output::time(said.started_time_ms / 1_000 * 1_000);
            (Style::Warn, format!("the server restarted at {time}, and rates begin anew"))
        })
    }
}

/// Reads a pause: a part of a second, or some of them.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    seconds
        .filter(|seconds| (0.1..=3_600.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "between 0.1 and 3600 seconds".to_owned())
}

#[cfg(test)]
mod tests;
