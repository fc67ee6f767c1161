//! What the driver knows, outside the server: of each contact what was
//! acknowledged, and at most one change of which it is not known whether it was
//! recorded.
//!
//! A recovered server is held against it: nothing acknowledged is lost (I1),
//! nothing is permitted that was not told so (I2), and what is in doubt has one
//! of its two possible pasts.

use sendgate::proto::v1::{
    AnswerForm, ConsentEvent, ConsentStatus, Contact as Wire, ContactKind, EventResult, Outcome,
    Reason, RecipientType, RecordRequest, SuppressRequest, Suppression,
    consent_service_client::ConsentServiceClient, filter_request, filter_response,
    filter_service_client::FilterServiceClient, import_item::Change,
};
use sendgate::proto::v1::{BatchAnswer, FilterRequest};
use tonic::{Status, transport::Channel};

use crate::support::{at, grant, lines, options, scope, withdrawal};

/// The verdicts on one contact as a private person, whom nobody may write to
/// unasked, and as a merchant, who may be written to until they refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdicts {
    pub individual: Reason,
    pub merchant: Reason,
}

impl Verdicts {
    /// Of whom nobody has said anything.
    const UNKNOWN: Self = Self { individual: Reason::NoConsent, merchant: Reason::Permitted };

    fn both(reason: Reason) -> Self {
        Self { individual: reason, merchant: reason }
    }

    /// The verdicts once this change, newer than all before, is recorded. Grants
    /// are those of private persons; withdrawals name no type; who bounced stays
    /// so.
    fn after(self, change: &Change) -> Self {
        let event = match change {
            Change::Consent(event) => event,
            _ => return Self::both(Reason::HardBounce),
        };
        if self == Self::both(Reason::HardBounce) {
            return self;
        }
        match (event.channel.as_str(), event.purpose.as_str()) {
            _ if event.status() == ConsentStatus::Granted => {
                Self { individual: Reason::Permitted, ..self }
            }
            ("", _) => Self::both(Reason::ContactOptOut),
            (_, "") => Self::both(Reason::ChannelOptOut),
            _ => Self::both(Reason::OptedOut),
        }
    }
}

/// A change that was acknowledged: when it was sent and answered, in whatever
/// the driver counts moments by, and the verdicts since.
struct Past {
    sent: u64,
    acknowledged: u64,
    verdicts: Verdicts,
}

/// One contact as the driver knows it.
pub struct Contact {
    kind: ContactKind,
    address: String,
    known: Verdicts,
    /// Sent at that moment, and not acknowledged.
    pending: Option<(Change, u64)>,
    past: Vec<Past>,
    /// The time of its last event, in ms.
    last: i64,
}

impl Contact {
    pub fn new(kind: ContactKind, number: u64) -> Self {
        let address = match kind {
            ContactKind::Phone => format!("+{}", 905_320_000_000 + number),
            // Each in a page of its own, so that a checkpoint has many.
            ContactKind::ContactId => (number << 16).to_string(),
            _ => format!("person{number}@example.com"),
        };
        let (known, past) = (Verdicts::UNKNOWN, Vec::new());
        // Long enough ago that no event of the test lies ahead of the clock.
        Self { kind, address, known, pending: None, past, last: 1_700_000_000_000 }
    }

    fn wire(&self) -> Wire {
        Wire { kind: self.kind.into(), address: self.address.clone(), ..Wire::default() }
    }

    /// The next event, one of four; it is pending from this moment on.
    pub fn say(&mut self, which: u8, moment: u64) -> ConsentEvent {
        assert!(self.pending.is_none(), "one unknown at a time");
        self.last += 1;
        let channel = channel(self.kind);
        let event = match which {
            0 => ConsentEvent { channel: channel.to_owned(), ..grant("", self.last) },
            1 => withdrawal("", channel, "marketing", self.last),
            2 => withdrawal("", channel, "", self.last),
            _ => withdrawal("", "", "", self.last),
        };
        let contact = Some(self.wire());
        let event = ConsentEvent { contact, consent_time: at(self.last), ..event };
        self.pending = Some((Change::Consent(event.clone()), moment));
        event
    }

    /// A message to it bounced; pending from this moment on.
    pub fn bounce(&mut self, moment: u64) -> Suppression {
        assert!(self.pending.is_none(), "one unknown at a time");
        self.last += 1;
        let suppression = Suppression {
            brand: "main".to_owned(),
            contact: Some(self.wire()),
            reason: Reason::HardBounce.into(),
            since: at(self.last),
            ..Suppression::default()
        };
        self.pending = Some((Change::Suppression(suppression.clone()), moment));
        suppression
    }

    /// The pending change is recorded for certain.
    pub fn acknowledged(&mut self, moment: u64) {
        let (change, sent) = self.pending.take().expect("nothing was sent");
        self.known = self.known.after(&change);
        self.past.push(Past { sent, acknowledged: moment, verdicts: self.known });
    }

    /// The verdicts that may be found: those that were acknowledged, and those
    /// once the pending change is recorded.
    fn possible(&self) -> [Verdicts; 2] {
        let pending = self.pending.as_ref();
        [self.known, pending.map_or(self.known, |(change, _)| self.known.after(change))]
    }

    /// The same at a moment of the past, and how many changes had been
    /// acknowledged by then and how many had been sent.
    fn possible_at(&self, moment: u64) -> ([Verdicts; 2], u64, u64) {
        let done = self.past.partition_point(|past| past.acknowledged <= moment);
        let known = done.checked_sub(1).map_or(Verdicts::UNKNOWN, |last| self.past[last].verdicts);
        let next = match (self.past.get(done), &self.pending) {
            (Some(past), _) if past.sent <= moment => Some(past.verdicts),
            (None, Some((change, sent))) if *sent <= moment => Some(known.after(change)),
            _ => None,
        };
        let sent = done + usize::from(next.is_some());
        ([known, next.unwrap_or(known)], done as u64, sent as u64)
    }
}

fn channel(kind: ContactKind) -> &'static str {
    match kind {
        ContactKind::Email => "email",
        ContactKind::ContactId => "push",
        _ => "sms",
    }
}

/// Filters these contacts, all of one kind.
pub async fn ask(contacts: &[Contact], server: &Channel) -> Result<Vec<Verdicts>, Status> {
    let Some(kind) = contacts.first().map(|contact| contact.kind) else { return Ok(Vec::new()) };
    let addresses: Vec<&str> = contacts.iter().map(|contact| contact.address.as_str()).collect();
    filter(kind, &addresses, server).await
}

/// Filters these addresses of one kind, for marketing on the kind's channel.
pub async fn filter(
    kind: ContactKind,
    addresses: &[&str],
    server: &Channel,
) -> Result<Vec<Verdicts>, Status> {
    let mut asked = options(kind, channel(kind), AnswerForm::Reasons);
    asked.scopes = [RecipientType::Individual, RecipientType::Merchant]
        .map(|recipient_type| scope(recipient_type, channel(kind), "marketing"))
        .to_vec();
    let requests = [
        filter_request::Message::Options(asked),
        filter_request::Message::Batch(lines(1, addresses)),
    ]
    .map(|message| FilterRequest { message: Some(message) });
    let mut client = FilterServiceClient::new(server.clone());
    let mut answers = client.filter(tokio_stream::iter(requests)).await?.into_inner();
    let answer = answers.message().await?.and_then(|response| response.message);
    // To the end: a client that breaks off a thousand streams is hung up on by
    // its own library.
    while answers.message().await?.is_some() {}
    match answer {
        Some(filter_response::Message::Answer(BatchAnswer { scopes, error: None, .. })) => {
            let reason = |tag: &u8| Reason::try_from(i32::from(*tag)).unwrap();
            let [individual, merchant] = &scopes[..] else { panic!("two scopes were asked about") };
            let both = individual.reasons.iter().zip(&merchant.reasons);
            Ok(both
                .map(|(individual, merchant)| Verdicts {
                    individual: reason(individual),
                    merchant: reason(merchant),
                })
                .collect())
        }
        other => Err(Status::unavailable(format!("no answer: {other:?}"))),
    }
}

/// Holds a server that goes on against what is known: what is in doubt may
/// show or not. An error is an answer too, and permits nobody (I5).
pub async fn glance(contacts: &[Contact], server: &Channel) -> Result<(), String> {
    let Ok(found) = ask(contacts, server).await else { return Ok(()) };
    for (contact, found) in contacts.iter().zip(found) {
        let possible = contact.possible();
        if !possible.contains(&found) {
            return Err(format!("{}: {found:?}, not one of {possible:?}", contact.address));
        }
    }
    Ok(())
}

/// Holds a server that came up from a moment of the past against what was known
/// then. Returns how many changes had been acknowledged, and how many sent.
pub async fn hold_at(
    contacts: &[Contact],
    server: &Channel,
    moment: u64,
) -> Result<(u64, u64), String> {
    let found = ask(contacts, server).await.map_err(|status| status.to_string())?;
    let (mut acknowledged, mut sent) = (0, 0);
    for (contact, found) in contacts.iter().zip(found) {
        let (possible, done, begun) = contact.possible_at(moment);
        if !possible.contains(&found) {
            return Err(format!("{}: {found:?}, not one of {possible:?}", contact.address));
        }
        acknowledged += done;
        sent += begun;
    }
    Ok((acknowledged, sent))
}

/// What a recovered server was found to hold of the pending changes.
#[derive(Default)]
pub struct Found {
    /// Recorded before the fault, without an acknowledgement.
    pub recorded: u64,
    /// Lost with it, as they might be, and recorded by the repeat.
    pub repeated: u64,
}

/// Holds a recovered server against what is known of these contacts, then
/// repeats what is pending and learns from the outcome which of the two
/// possible pasts was the true one. What does not hold is an error.
pub async fn hold(contacts: &mut [Contact], server: &Channel) -> Result<Found, String> {
    let found = ask(contacts, server).await.map_err(|status| status.to_string())?;
    for (contact, found) in contacts.iter().zip(&found) {
        let possible = contact.possible();
        if !possible.contains(found) {
            return Err(format!("{}: {found:?}, not one of {possible:?}", contact.address));
        }
    }
    let mut told = Found::default();
    let unknown: Vec<usize> =
        (0..contacts.len()).filter(|at| contacts[*at].pending.is_some()).collect();
    for some in unknown.chunks(1_000) {
        let pending: Vec<Change> = some
            .iter()
            .filter_map(|at| contacts[*at].pending.as_ref().map(|(change, _)| change.clone()))
            .collect();
        let results = repeat(pending, server).await.map_err(|status| status.to_string())?;
        for (at, result) in some.iter().zip(results) {
            let (contact, found) = (&mut contacts[*at], found[*at]);
            let before = contact.known;
            contact.acknowledged(0);
            let (was_recorded, expected) = match result.outcome() {
                Outcome::Duplicate => (true, contact.known),
                Outcome::Applied => (false, before),
                other => return Err(format!("{other:?}: a repeat of {}", contact.address)),
            };
            if found != expected {
                return Err(format!("{}: {found:?}, recorded: {was_recorded}", contact.address));
            }
            told.recorded += u64::from(was_recorded);
            told.repeated += u64::from(!was_recorded);
        }
    }
    let after = ask(contacts, server).await.map_err(|status| status.to_string())?;
    for (contact, after) in contacts.iter().zip(after) {
        if after != contact.known {
            return Err(format!("{} after the repeats: {after:?}", contact.address));
        }
    }
    Ok(told)
}

/// Sends changes again, all of them events or all of them suppressions.
async fn repeat(changes: Vec<Change>, server: &Channel) -> Result<Vec<EventResult>, Status> {
    let mut client = ConsentServiceClient::new(server.clone());
    let (mut events, mut suppressions) = (Vec::new(), Vec::new());
    for change in changes {
        match change {
            Change::Consent(event) => events.push(event),
            Change::Suppression(suppression) => suppressions.push(suppression),
            Change::Lift(_) | Change::Erasure(_) => panic!("nothing of the kind is said here"),
        }
    }
    assert!(events.is_empty() || suppressions.is_empty(), "a population says one or the other");
    if suppressions.is_empty() {
        Ok(client.record(RecordRequest { events }).await?.into_inner().results)
    } else {
        Ok(client.suppress(SuppressRequest { suppressions }).await?.into_inner().results)
    }
}
