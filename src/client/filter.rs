//! A filter stream with several batches in flight.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use roaring::RoaringTreemap;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{
    Audience, Client, ClientError,
    answer::{Due, Verdicts},
};
use crate::proto::{
    Fixed64Column,
    v1::{
        AnswerForm, FilterOptions, FilterRequest, FilterResponse, FilterSummary, RecipientBatch,
        filter_request, filter_response,
    },
};

/// The recipients of one batch.
#[derive(Clone, Debug)]
pub enum Recipients {
    /// E.164 numbers as integers.
    Phones(Fixed64Column),
    /// The caller's own integers.
    ContactIds(Fixed64Column),
    /// Addresses in any accepted spelling.
    Lines {
        /// UTF-8, one address a line.
        text: Bytes,
        /// How many.
        count: u32,
    },
    /// Phones or contact IDs as a bitmap.
    Roaring(Audience),
}

impl Recipients {
    fn count(&self) -> usize {
        match self {
            Self::Phones(values) | Self::ContactIds(values) => values.len(),
            Self::Lines { count, .. } => *count as usize,
            Self::Roaring(audience) => audience.count as usize,
        }
    }

    fn into_batch(self, batch_id: u64) -> RecipientBatch {
        let mut batch = RecipientBatch { batch_id, ..RecipientBatch::default() };
        match self {
            Self::Phones(values) => batch.phones = values,
            Self::ContactIds(values) => batch.contact_ids = values,
            Self::Lines { text, count } => {
                batch.lines = text;
                batch.count = count;
            }
            Self::Roaring(audience) => {
                batch.roaring = audience.bytes;
                batch.count = audience.count;
            }
        }
        batch
    }
}

/// A batch that has no answer yet.
struct Pending<T> {
    tag: T,
    batch_id: u64,
    recipients: usize,
    /// The members, if it is an audience.
    audience: Option<Arc<RoaringTreemap>>,
}

/// One filter stream. Each batch carries a tag of the caller's, which comes
/// back with its verdicts, in order.
///
/// [`send`](Self::send) while there is [room](Self::has_room),
/// [`close`](Self::close) after the last batch, and call
/// [`next`](Self::next) until it returns `None`: only then has the server
/// confirmed the totals of the whole list.
pub struct FilterStream<T> {
    requests: Option<mpsc::Sender<FilterRequest>>,
    responses: Streaming<FilterResponse>,
    pending: VecDeque<Pending<T>>,
    scopes: usize,
    form: AnswerForm,
    in_flight: usize,
    next_id: u64,
    /// Recipients in the answers so far.
    recipients: u64,
    /// How many of them were permitted, by scope.
    permitted: Vec<u64>,
}

impl<T> FilterStream<T> {
    /// Opens a stream that keeps up to `in_flight` batches unanswered.
    ///
    /// # Errors
    /// The server refused the stream or cannot be reached.
    pub async fn open(
        client: &Client,
        options: FilterOptions,
        in_flight: usize,
    ) -> Result<Self, ClientError> {
        let (scopes, form) = (options.scopes.len(), options.answer_form());
        // One slot more than batches, for the options: so that sending within
        // `in_flight` never has to wait.
        let (requests, outgoing) = mpsc::channel(in_flight.saturating_add(1));
        let message = filter_request::Message::Options(options);
        let _ = requests.try_send(FilterRequest { message: Some(message) });
        let responses =
            client.filter_service().filter(ReceiverStream::new(outgoing)).await?.into_inner();
        Ok(Self {
            requests: Some(requests),
            responses,
            pending: VecDeque::with_capacity(in_flight),
            scopes,
            form,
            in_flight,
            next_id: 1,
            recipients: 0,
            permitted: vec![0; scopes],
        })
    }

    /// Whether another batch may be sent now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.requests.is_some() && self.pending.len() < self.in_flight
    }

    /// How many batches have no answer yet.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.pending.len()
    }

    /// Sends a batch; there must be [room](Self::has_room).
    ///
    /// # Errors
    /// There is no room, or the stream is closed.
    pub fn send(&mut self, tag: T, recipients: Recipients) -> Result<(), ClientError> {
        let Some(requests) = self.requests.as_ref().filter(|_| self.has_room()) else {
            return Err(ClientError::Contract("a batch was sent without room for it".to_owned()));
        };
        let batch_id = self.next_id;
        self.next_id += 1;
        let audience = match &recipients {
            Recipients::Roaring(audience) => Some(Arc::clone(&audience.members)),
            _ => None,
        };
        let recipients_due = recipients.count();
        self.pending.push_back(Pending { tag, batch_id, recipients: recipients_due, audience });
        let message = filter_request::Message::Batch(recipients.into_batch(batch_id));
        // Fails only if the server ended the stream; `next` then says why.
        let _ = requests.try_send(FilterRequest { message: Some(message) });
        Ok(())
    }

    /// Says that no batch follows.
    pub fn close(&mut self) {
        self.requests = None;
    }

    /// The next verdicts, in the order of the batches; `None` after the
    /// summary. May be dropped and called again without losing an answer.
    ///
    /// # Errors
    /// The stream broke, a batch was refused or an answer is wrong. Nobody in
    /// the batches without an answer may be sent to.
    pub async fn next(&mut self) -> Result<Option<(T, Verdicts)>, ClientError> {
        let response = self.responses.message().await?;
        match response.and_then(|response| response.message) {
            Some(filter_response::Message::Answer(answer)) => {
                let Some(Pending { tag, batch_id, recipients, audience }) =
                    self.pending.pop_front()
                else {
                    return Err(ClientError::Contract("an answer without a batch".to_owned()));
                };
                let due =
                    Due { scopes: self.scopes, form: self.form, audience: audience.as_deref() };
                let verdicts = Verdicts::verify(answer, batch_id, recipients, due)?;
                self.recipients += verdicts.recipients() as u64;
                for (sum, scope) in self.permitted.iter_mut().zip(verdicts.scopes()) {
                    *sum += scope.permitted_count() as u64;
                }
                Ok(Some((tag, verdicts)))
            }
            Some(filter_response::Message::Summary(summary)) => {
                self.verify_summary(&summary)?;
                Ok(None)
            }
            None => Err(ClientError::Contract("the stream ended without a summary".to_owned())),
        }
    }

    fn verify_summary(&self, summary: &FilterSummary) -> Result<(), ClientError> {
        let due = self.permitted.iter().map(|permitted| (self.recipients, *permitted));
        let totals = summary.scopes.iter().map(|scope| (scope.recipients, scope.permitted));
        let all_answered = self.requests.is_none() && self.pending.is_empty();
        if all_answered && due.eq(totals) {
            Ok(())
        } else {
            Err(ClientError::Contract("the summary does not match the answers".to_owned()))
        }
    }
}
