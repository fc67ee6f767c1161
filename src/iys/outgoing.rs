//! What the registry has not yet seen: from the ledger's events to the rows to
//! be uploaded (R12).
//!
//! To the registry go the consents to the purposes that the policy marks with
//! `iys = true`, and refusals of a whole channel or of everything; a refusal of
//! one purpose does not. Several of our channels are one type there, so a
//! person's consents for sms and rcs are one row. Of each (recipient, type,
//! recipient type) only the last state goes: the greatest time, and the refusal
//! where two are equal (R4). What the registry itself said takes part in that,
//! and is not sent back.
//!
//! A refusal of everything goes to every type that the address serves. The
//! registry keeps private persons and merchants apart, and refuses a refusal
//! where it has no record (H175): one that names no recipient type goes for
//! private persons, and for merchants where the same events show the contact to
//! be one, or where the caller asks for both.

use std::{cmp::Reverse, collections::HashMap};

use serde::Serialize;

use super::{
    MAX_ROWS, TooManyRows, time,
    words::{IysType, RecipientType, SOURCES, Status},
};
use crate::{
    formats::{IysMapping, REGISTRY, REGISTRY_PREFIX},
    proto::v1::{ConsentEvent, ConsentStatus, ContactKind, LedgerRecord, ledger_record::Event},
};

/// A row to be uploaded, in the registry's JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutgoingRow {
    /// When, in Turkey time.
    pub consent_date: String,
    /// Where.
    pub source: String,
    /// `+90…` or an e-mail address.
    pub recipient: String,
    /// BIREYSEL or TACIR.
    pub recipient_type: &'static str,
    /// ONAY or RET.
    pub status: &'static str,
    /// ARAMA, MESAJ or EPOSTA.
    #[serde(rename = "type")]
    pub iys_type: &'static str,
    /// The event that the row comes from.
    #[serde(skip)]
    pub revision: u64,
    /// When, in ms.
    #[serde(skip)]
    pub consent_time_ms: i64,
}

/// What was left out, and what to think about, in numbers of events or rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Consent events that were looked at.
    pub events: u64,
    /// Of these, what the registry itself said.
    pub from_registry: u64,
    /// Of these, what is not for the registry: a purpose or channel that the
    /// policy does not map, a refusal of one purpose, an address that is no
    /// Turkish number and no e-mail.
    pub not_for_registry: u64,
    /// Rows of refusals that name no recipient type and go for private persons only.
    pub individual_only: u64,
}

/// Whether an event is the registry's own word.
#[must_use]
pub fn is_from_registry(event: &ConsentEvent) -> bool {
    event.registered_with.eq_ignore_ascii_case(REGISTRY)
        || event.source.starts_with(REGISTRY_PREFIX)
}

/// The registry's type for an event's channel; none if the policy maps none.
#[must_use]
pub fn type_of_channel(mapping: &IysMapping, channel: &str) -> Option<IysType> {
    IysType::ALL
        .into_iter()
        .find(|each| mapping.channels(each.name()).iter().any(|mapped| mapped == channel))
}

/// The last thing said about a recipient, at one type.
#[derive(Clone, Debug)]
struct State {
    time_ms: i64,
    status: Status,
    from_registry: bool,
    revision: u64,
    source: Box<str>,
}

impl State {
    /// The order in which the later of two states wins.
    fn rank(&self) -> (i64, bool, bool, Reverse<u64>) {
        let refused = self.status == Status::Refused;
        (self.time_ms, refused, self.from_registry, Reverse(self.revision))
    }

    fn later<'a>(one: Option<&'a Self>, other: Option<&'a Self>) -> Option<&'a Self> {
        one.into_iter().chain(other).max_by_key(|state| state.rank())
    }
}

/// The last states by what the events said of the recipient's type.
#[derive(Debug, Default)]
struct States {
    individual: Option<State>,
    merchant: Option<State>,
    /// Of events that named no type, and so mean both.
    both: Option<State>,
}

/// The events of one export.
#[derive(Debug)]
pub struct Window<'a> {
    brand: &'a str,
    mapping: &'a IysMapping,
    states: HashMap<(IysType, Box<str>), States>,
    counts: Counts,
}

impl<'a> Window<'a> {
    /// An empty window on the events of a brand.
    #[must_use]
    pub fn new(brand: &'a str, mapping: &'a IysMapping) -> Self {
        Self { brand, mapping, states: HashMap::new(), counts: Counts::default() }
    }

    /// Takes in an event; their order does not matter.
    ///
    /// # Errors
    /// There would be more than [`MAX_ROWS`] recipients and types.
    pub fn take(&mut self, record: &LedgerRecord) -> Result<(), TooManyRows> {
        let Some(Event::Consent(event)) = &record.event else { return Ok(()) };
        if event.brand != self.brand {
            return Ok(());
        }
        self.counts.events += 1;
        let from_registry = is_from_registry(event);
        let addressed = self.addressed(event);
        self.counts.from_registry += u64::from(from_registry);
        self.counts.not_for_registry += u64::from(!from_registry && addressed.is_none());
        let Some((status, recipient, types)) = addressed else { return Ok(()) };
        let state = State {
            time_ms: record.effective_time_ms.min(record.recorded_time_ms),
            status,
            from_registry,
            revision: record.revision,
            source: event.source.as_str().into(),
        };
        for iys_type in types {
            let is_full = self.states.len() == MAX_ROWS;
            let key = (iys_type, recipient.into());
            if is_full && !self.states.contains_key(&key) {
                return Err(TooManyRows);
            }
            let states = self.states.entry(key).or_default();
            let known = match RecipientType::of_event(event) {
                Some(RecipientType::Individual) => &mut states.individual,
                Some(RecipientType::Merchant) => &mut states.merchant,
                None => &mut states.both,
            };
            if known.as_ref().is_none_or(|known| known.rank() < state.rank()) {
                *known = Some(state.clone());
            }
        }
        Ok(())
    }

    /// What an event says to the registry, of whom, and for which types; none
    /// if it is not for the registry.
    fn addressed<'e>(&self, event: &'e ConsentEvent) -> Option<(Status, &'e str, Vec<IysType>)> {
        let contact = event.contact.as_ref()?;
        let address = contact.address.as_str();
        let served: &[IysType] = match contact.kind() {
            ContactKind::Phone if address.starts_with("+90") => &[IysType::Call, IysType::Message],
            ContactKind::Email => &[IysType::Email],
            _ => &[],
        };
        let all = |name: &str| matches!(name, "" | "*");
        let (status, types) = match event.status() {
            ConsentStatus::Granted if self.mapping.purposes().contains(&event.purpose) => {
                (Status::Approved, vec![type_of_channel(self.mapping, &event.channel)?])
            }
            ConsentStatus::Withdrawn if all(&event.channel) && all(&event.purpose) => {
                let mapped = |each: &IysType| !self.mapping.channels(each.name()).is_empty();
                (Status::Refused, IysType::ALL.into_iter().filter(mapped).collect())
            }
            ConsentStatus::Withdrawn if all(&event.purpose) => {
                (Status::Refused, vec![type_of_channel(self.mapping, &event.channel)?])
            }
            _ => return None,
        };
        let types: Vec<IysType> = types.into_iter().filter(|each| served.contains(each)).collect();
        (!types.is_empty()).then_some((status, address, types))
    }

    /// The rows to send, in the order of their events. Sources that are none of
    /// the registry's are replaced by `source`.
    ///
    /// # Errors
    /// There is no `source`, and rows need it: these rows, with their own
    /// source as they have it.
    pub fn rows(
        &self,
        source: Option<&str>,
        both_types: bool,
    ) -> Result<(Vec<OutgoingRow>, Counts), Vec<OutgoingRow>> {
        let mut counts = self.counts;
        let (mut rows, mut without_source) = (Vec::new(), Vec::new());
        for ((iys_type, recipient), states) in &self.states {
            let individual = State::later(states.individual.as_ref(), states.both.as_ref());
            let is_merchant = both_types || states.merchant.is_some();
            let both = states.both.as_ref().filter(|_| is_merchant);
            let merchant = State::later(states.merchant.as_ref(), both);
            let last =
                [(RecipientType::Individual, individual), (RecipientType::Merchant, merchant)];
            for (recipient_type, state) in last {
                let Some(state) = state.filter(|state| !state.from_registry) else { continue };
                let own = SOURCES.into_iter().find(|source| *source == &*state.source);
                let row = OutgoingRow {
                    consent_date: time::format(state.time_ms),
                    source: own.or(source).unwrap_or(&state.source).to_owned(),
                    recipient: recipient.to_string(),
                    recipient_type: recipient_type.name(),
                    status: state.status.name(),
                    iys_type: iys_type.name(),
                    revision: state.revision,
                    consent_time_ms: state.time_ms,
                };
                let named = if own.or(source).is_some() { &mut rows } else { &mut without_source };
                named.push(row);
                let said_of_both = states.both.as_ref().map(|both| both.revision);
                counts.individual_only +=
                    u64::from(said_of_both == Some(state.revision) && !is_merchant);
            }
        }
        let in_order = |row: &OutgoingRow| (row.revision, row.iys_type, row.recipient_type);
        rows.sort_by_key(in_order);
        without_source.sort_by_key(in_order);
        if without_source.is_empty() { Ok((rows, counts)) } else { Err(without_source) }
    }
}
