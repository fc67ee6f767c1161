//! What the driver of a crash test knows, outside the server: of each contact
//! what was acknowledged, and at most one event of which it is not known
//! whether it was recorded.

use sendgate::proto::v1::{
    AnswerForm, ConsentEvent, ConsentStatus, Contact as Wire, ContactKind, Outcome, Reason,
    RecipientType, RecordRequest, consent_service_client::ConsentServiceClient, filter_request,
    filter_service_client::FilterServiceClient,
};
use tonic::transport::Channel;

use crate::support::{Asking, at, grant, lines, options, reasons, scope, withdrawal};

/// The verdicts on one contact as a private person, whom nobody may write to
/// unasked, and as a merchant, who may be written to until they refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdicts {
    pub individual: Reason,
    pub merchant: Reason,
}

impl Verdicts {
    /// The verdicts once this event, newer than all before, is recorded. Grants
    /// are those of private persons; withdrawals name no type.
    fn after(self, event: &ConsentEvent) -> Self {
        let refused = match (event.channel.as_str(), event.purpose.as_str()) {
            _ if event.status() == ConsentStatus::Granted => {
                return Self { individual: Reason::Permitted, ..self };
            }
            ("", _) => Reason::ContactOptOut,
            (_, "") => Reason::ChannelOptOut,
            _ => Reason::OptedOut,
        };
        Self { individual: refused, merchant: refused }
    }
}

/// One contact as the driver knows it.
pub struct Contact {
    kind: ContactKind,
    address: String,
    known: Verdicts,
    /// Sent, and not acknowledged.
    pending: Option<ConsentEvent>,
    /// The time of its last event, in ms.
    last: i64,
}

impl Contact {
    pub fn new(kind: ContactKind, number: u64) -> Self {
        let address = match kind {
            ContactKind::Phone => format!("+{}", 905_320_000_000 + number),
            _ => format!("person{number}@example.com"),
        };
        let known = Verdicts { individual: Reason::NoConsent, merchant: Reason::Permitted };
        // Long enough ago that no event of the test lies ahead of the clock.
        Self { kind, address, known, pending: None, last: 1_700_000_000_000 }
    }

    /// The next event, one of four; it is pending from now on.
    pub fn say(&mut self, which: u8) -> ConsentEvent {
        assert!(self.pending.is_none(), "one unknown at a time");
        self.last += 1;
        let channel = channel(self.kind);
        let event = match which {
            0 => ConsentEvent { channel: channel.to_owned(), ..grant("", self.last) },
            1 => withdrawal("", channel, "marketing", self.last),
            2 => withdrawal("", channel, "", self.last),
            _ => withdrawal("", "", "", self.last),
        };
        let contact =
            Wire { kind: self.kind.into(), address: self.address.clone(), ..Wire::default() };
        let event = ConsentEvent { contact: Some(contact), consent_time: at(self.last), ..event };
        self.pending = Some(event.clone());
        event
    }

    /// The pending event is recorded for certain.
    pub fn acknowledged(&mut self) {
        let event = self.pending.take().expect("nothing was sent");
        self.known = self.known.after(&event);
    }
}

fn channel(kind: ContactKind) -> &'static str {
    if kind == ContactKind::Phone { "sms" } else { "email" }
}

/// Filters all these contacts, of one kind.
async fn ask(contacts: &[Contact], server: &Channel) -> Vec<Verdicts> {
    let Some(kind) = contacts.first().map(|contact| contact.kind) else { return Vec::new() };
    let addresses: Vec<&str> = contacts.iter().map(|contact| contact.address.as_str()).collect();
    let of = async |recipient_type| {
        let client = FilterServiceClient::new(server.clone());
        let mut stream = Asking::open_bare(client).await;
        let mut asked = options(kind, channel(kind), AnswerForm::Reasons);
        asked.scopes = vec![scope(recipient_type, channel(kind), "marketing")];
        stream.send(filter_request::Message::Options(asked)).await;
        reasons(&stream.ask(lines(1, &addresses)).await)
    };
    let individual = of(RecipientType::Individual).await;
    let merchant = of(RecipientType::Merchant).await;
    let both = individual.into_iter().zip(merchant);
    both.map(|(individual, merchant)| Verdicts { individual, merchant }).collect()
}

/// What a recovered server was found to hold of the pending events.
#[derive(Default)]
pub struct Found {
    /// Recorded before the crash, without an acknowledgement.
    pub recorded: u64,
    /// Lost with the crash, as they might be, and recorded by the repeat.
    pub repeated: u64,
}

/// Holds a recovered server against what is known of these contacts, then
/// repeats what is pending and learns from the outcome which of the two
/// possible pasts was the true one.
pub async fn hold(contacts: &mut [Contact], server: &Channel) -> Found {
    let found = ask(contacts, server).await;
    let mut unknown = Vec::new();
    for (at, (contact, found)) in contacts.iter().zip(&found).enumerate() {
        match &contact.pending {
            None => assert_eq!(*found, contact.known, "{}", contact.address),
            Some(event) => {
                let possible = [contact.known, contact.known.after(event)];
                assert!(possible.contains(found), "{}: {found:?} of {possible:?}", contact.address);
                unknown.push(at);
            }
        }
    }
    let mut told = Found::default();
    for some in unknown.chunks(1_000) {
        let events = some.iter().filter_map(|at| contacts[*at].pending.clone()).collect();
        let mut client = ConsentServiceClient::new(server.clone());
        let response = client.record(RecordRequest { events }).await.unwrap().into_inner();
        for (at, result) in some.iter().zip(response.results) {
            let (contact, found) = (&mut contacts[*at], found[*at]);
            let before = contact.known;
            contact.acknowledged();
            match result.outcome() {
                Outcome::Duplicate => {
                    assert_eq!(found, contact.known, "{} was recorded", contact.address);
                    told.recorded += 1;
                }
                Outcome::Applied => {
                    assert_eq!(found, before, "{} was not recorded", contact.address);
                    told.repeated += 1;
                }
                other => panic!("{other:?} for a repeated event of {}", contact.address),
            }
        }
    }
    let after = ask(contacts, server).await;
    for (contact, after) in contacts.iter().zip(after) {
        assert_eq!(after, contact.known, "{} after the repeats", contact.address);
    }
    told
}
