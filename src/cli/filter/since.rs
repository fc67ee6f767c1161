//! Since when suppressed rows are suppressed: asked of the ledger beside the
//! stream, a few batches at a time, and handed back in their order.

use std::{
    collections::{HashMap, VecDeque},
    future::pending,
};

use tokio::task::JoinHandle;

use super::{super::Failure, Args, read::Batch};
use crate::{
    client::{Client, ClientError, Verdicts},
    proto::v1::{ContactKind, DescribeRequest, Reason},
};

/// Addresses in one request: the server's cap.
const ADDRESSES: usize = 10_000;
/// Batches that are asked about at once. The ledger is slower than the filter;
/// more would only wait in the server.
const AHEAD: usize = 4;

/// Asks since when, batch by batch.
pub struct Since {
    client: Client,
    /// A request without addresses; none if nobody wants to know.
    question: Option<DescribeRequest>,
    asked: VecDeque<Asked>,
}

struct Asked {
    batch: Batch,
    verdicts: Verdicts,
    /// By the row's place in the batch.
    since: JoinHandle<Result<HashMap<usize, i64>, ClientError>>,
}

impl Since {
    /// For the rows of this command.
    pub fn new(client: &Client, args: &Args) -> Self {
        let is_wanted = args.suppressed.is_some() && !args.no_since;
        let question = is_wanted.then(|| DescribeRequest {
            brand: args.scope.brand.clone(),
            scope: Some(args.scope.scope()),
            contact_kind: ContactKind::from(args.reading.kind).into(),
            default_region: args.reading.region(),
            addresses: Vec::new(),
            minimum_revision: None,
        });
        Self { client: client.clone(), question, asked: VecDeque::with_capacity(AHEAD) }
    }

    /// Whether another batch may be asked about now.
    pub fn has_room(&self) -> bool {
        self.asked.len() < AHEAD
    }

    /// Whether no batch is left.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Asks about the suppressed rows of a batch.
    pub fn ask(&mut self, batch: Batch, verdicts: Verdicts) {
        let client = self.client.clone();
        let rows = if self.question.is_some() { rows(&batch, &verdicts) } else { Vec::new() };
        let question = self.question.clone().unwrap_or_default();
        let question = DescribeRequest { minimum_revision: verdicts.revision.clone(), ..question };
        let since = tokio::spawn(describe(client, question, rows));
        self.asked.push_back(Asked { batch, verdicts, since });
    }

    /// The first batch that was asked about, once it is answered. May be
    /// dropped and called again without losing an answer.
    pub async fn next(&mut self) -> Result<(Batch, Verdicts, HashMap<usize, i64>), Failure> {
        let Some(first) = self.asked.front_mut() else { return pending().await };
        let since = (&mut first.since).await;
        let Some(Asked { batch, verdicts, .. }) = self.asked.pop_front() else {
            return pending().await;
        };
        let since = since.map_err(|error| Failure::failed(error.to_string()))??;
        Ok((batch, verdicts, since))
    }
}

/// A suppressed row of which something is recorded.
struct Row {
    place: usize,
    reason: Reason,
    address: String,
}

fn rows(batch: &Batch, verdicts: &Verdicts) -> Vec<Row> {
    let is_recorded = |reason| {
        !matches!(
            reason,
            Reason::Permitted
                | Reason::NoConsent
                | Reason::InvalidRecipient
                | Reason::Duplicate
                | Reason::Unspecified
        )
    };
    let row = |(place, address): (usize, &str)| {
        let reason = Some(verdicts.scope(0).reason(place)).filter(|reason| is_recorded(*reason))?;
        Some(Row { place, reason, address: address.to_owned() })
    };
    batch.addresses().enumerate().filter_map(row).collect()
}

async fn describe(
    client: Client,
    question: DescribeRequest,
    rows: Vec<Row>,
) -> Result<HashMap<usize, i64>, ClientError> {
    let mut since = HashMap::with_capacity(rows.len());
    for rows in rows.chunks(ADDRESSES) {
        let addresses: Vec<String> = rows.iter().map(|row| row.address.clone()).collect();
        let request = DescribeRequest { addresses, ..question.clone() };
        let answer = client.filter_service().describe(request).await?.into_inner();
        if answer.descriptions.len() != rows.len() {
            return Err(ClientError::Contract(format!(
                "{} addresses asked, {} described",
                rows.len(),
                answer.descriptions.len()
            )));
        }
        // A verdict that changed between filter and ledger has another since.
        let same = rows
            .iter()
            .zip(answer.descriptions)
            .filter(|(row, found)| row.reason == found.reason());
        since.extend(same.filter_map(|(row, found)| Some((row.place, found.since_ms?))));
    }
    Ok(since)
}
