//! What was recorded since an answer was given.
//!
//! Whoever said STOP between an answer and its message is found here. Every
//! event about a recipient counts, whatever it says: asking once more costs
//! little, and says it for certain. The ends of consents are no events; they
//! are why an answer is good for some seconds only.

use std::{
    collections::HashMap,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
};

use sendgate::{
    client::{Client, ClientError},
    proto::v1::{
        Contact, ContactKind, LedgerRecord, Revision, WatchRequest, WatchResponse,
        ledger_record::Event,
    },
};
use tokio::task::JoinHandle;
use tonic::Streaming;

/// Recipients that are remembered one by one. Past that, a change is taken to
/// concern everybody.
const MOST_RECIPIENTS: usize = 100_000;

/// Follows the change feed of a brand in the background.
pub struct Changes {
    known: Arc<Mutex<Known>>,
    /// Ends only if the feed does. None: nobody follows it.
    follower: Option<JoinHandle<ClientError>>,
}

/// Who was concerned last by which revision.
#[derive(Default)]
struct Known {
    recipients: HashMap<u64, u64>,
    everybody: u64,
}

impl Changes {
    /// For those who do without.
    pub fn unknown() -> Self {
        Self { known: Arc::default(), follower: None }
    }

    /// Follows what is recorded for the brand after a revision.
    pub async fn follow(
        client: &Client,
        brand: &str,
        after: Revision,
    ) -> Result<Self, ClientError> {
        let request =
            WatchRequest { brand: brand.to_owned(), after: Some(after), ..WatchRequest::default() };
        let feed = client.consent_service().watch(request).await?.into_inner();
        let known = Arc::default();
        let follower = Some(tokio::spawn(follow(feed, Arc::clone(&known))));
        Ok(Self { known, follower })
    }

    /// Whether something about this recipient was recorded after the revision
    /// that an answer was decided at; in doubt it was.
    pub fn concern(&self, phone: u64, decided_at: u64) -> bool {
        let lost = self.follower.as_ref().is_some_and(JoinHandle::is_finished);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let last = known.recipients.get(&phone).copied().unwrap_or_default();
        lost || last.max(known.everybody) > decided_at
    }

    /// Waits until the feed is lost, and says why.
    pub async fn lost(&mut self) -> ClientError {
        match &mut self.follower {
            Some(follower) => follower.await.unwrap_or_else(|error| {
                ClientError::Contract(format!("the change feed cannot be followed: {error}"))
            }),
            None => pending().await,
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        if let Some(follower) = &self.follower {
            follower.abort();
        }
    }
}

async fn follow(mut feed: Streaming<WatchResponse>, known: Arc<Mutex<Known>>) -> ClientError {
    loop {
        match feed.message().await {
            Ok(Some(changes)) => {
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                changes.records.iter().for_each(|record| known.learn(record));
            }
            Ok(None) => {
                let what = "a change feed that ends without a reason";
                return ClientError::Contract(what.to_owned());
            }
            Err(status) => return status.into(),
        }
    }
}

impl Known {
    fn learn(&mut self, record: &LedgerRecord) {
        let contact = match &record.event {
            Some(Event::Consent(event)) => event.contact.as_ref(),
            Some(Event::Suppression(entry)) => entry.contact.as_ref(),
            Some(Event::Lift(lift)) => lift.contact.as_ref(),
            Some(Event::Redaction(_)) => return,
            // A policy, an erasure, or something newer than this program.
            Some(Event::Policy(_) | Event::Erasure(_)) | None => None,
        };
        match contact.map(phone) {
            Some(Some(phone)) => {
                self.recipients.insert(phone, record.revision);
            }
            // An address of another kind is none of our recipients.
            Some(None) => {}
            None => self.everybody = record.revision,
        }
        if self.recipients.len() > MOST_RECIPIENTS {
            self.recipients.clear();
            self.everybody = record.revision;
        }
    }
}

/// The number of a phone as an integer. The feed spells it `+905321234567`.
fn phone(contact: &Contact) -> Option<u64> {
    let digits = contact.address.strip_prefix('+')?;
    digits.parse().ok().filter(|_| contact.kind() == ContactKind::Phone)
}
