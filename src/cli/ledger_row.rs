//! Events of the ledger, flat, with every field: for programs, for tables and
//! for the person concerned (R11).

use serde::Serialize;

use super::output::{enum_name, time};
use crate::{
    formats::reason_name,
    proto::v1::{
        Actor, Contact, ErasureMark, LedgerRecord, NumberedName, StatedTime, ledger_record::Event,
        numbered_name::Name,
    },
};

/// An event in columns. A column that the event does not have is none.
#[derive(Debug, Default, Serialize)]
pub struct LedgerRow {
    revision: u64,
    recorded_time: String,
    effective_time: String,
    event: &'static str,
    brand: Option<String>,
    contact_kind: Option<String>,
    contact: Option<String>,
    recipient_type: Option<String>,
    channel: Option<String>,
    purpose: Option<String>,
    reason: Option<&'static str>,
    stated_time: Option<String>,
    stated_precision: Option<String>,
    valid_until: Option<String>,
    expires_at: Option<String>,
    source: Option<String>,
    legal_basis: Option<String>,
    notice_id: Option<String>,
    notice_version: Option<String>,
    actor_role: Option<String>,
    actor_id: Option<String>,
    collected_by: Option<String>,
    evidence_uri: Option<String>,
    evidence_sha256: Option<String>,
    registered_with: Option<String>,
    note: Option<String>,
    event_key: Option<String>,
    policy_version: Option<String>,
    /// Of an erasure: fingerprint and mark, in hexadecimal.
    erasure_marks: Option<String>,
    /// What the numbers in them stand for.
    erasure_names: Option<String>,
    redacted_events: Option<u64>,
    rectification: Option<u64>,
    /// Whether retention took the proof.
    redacted: Option<bool>,
}

impl LedgerRow {
    /// The columns of a record.
    pub fn new(record: LedgerRecord) -> Self {
        let mut row = Self {
            revision: record.revision,
            recorded_time: time(record.recorded_time_ms),
            effective_time: time(record.effective_time_ms),
            // Nothing is left of it but that there was an event.
            event: "ERASED_RECORD",
            rectification: Some(record.rectification).filter(|revision| *revision != 0),
            redacted: Some(true).filter(|_| record.redacted),
            erasure_marks: said(marks(&record.erasure_marks)),
            erasure_names: said(names(&record.erasure_names)),
            ..Self::default()
        };
        if let Some(event) = record.event {
            row.fill(event);
        }
        row
    }

    fn fill(&mut self, event: Event) {
        match event {
            Event::Consent(consent) => {
                self.event = enum_name(consent.status().as_str_name(), "CONSENT_STATUS_");
                let recipient_type = consent.recipient_type().as_str_name();
                let recipient_type = enum_name(recipient_type, "RECIPIENT_TYPE_").to_lowercase();
                self.recipient_type = Some(recipient_type).filter(|name| name != "unspecified");
                self.about(consent.brand, consent.contact, consent.channel, consent.event_key);
                self.caused(consent.source, consent.actor, consent.consent_time);
                self.purpose = said(consent.purpose);
                self.valid_until = consent.valid_until_ms.map(time);
                self.legal_basis = said(consent.legal_basis);
                if let Some(notice) = consent.notice {
                    (self.notice_id, self.notice_version) = (said(notice.id), said(notice.version));
                }
                self.collected_by = said(consent.collected_by);
                if let Some(evidence) = consent.evidence {
                    self.evidence_uri = said(evidence.uri);
                    let digits = evidence.sha256.iter().map(|byte| format!("{byte:02x}"));
                    self.evidence_sha256 = said(digits.collect());
                }
                self.registered_with = said(consent.registered_with);
            }
            Event::Suppression(entry) => {
                self.event = "SUPPRESSION";
                self.reason = Some(reason_name(entry.reason()));
                self.about(entry.brand, entry.contact, entry.channel, entry.event_key);
                self.caused(entry.source, entry.actor, entry.since);
                self.expires_at = entry.expires_at_ms.map(time);
                self.note = said(entry.note);
            }
            Event::Lift(lift) => {
                self.event = "LIFT";
                self.reason = Some(reason_name(lift.reason()));
                self.about(lift.brand, lift.contact, lift.channel, lift.event_key);
                self.caused(lift.source, lift.actor, lift.time);
                self.note = said(lift.note);
            }
            Event::Erasure(erasure) => {
                self.event = "ERASURE";
                self.brand = said(erasure.brand);
                self.caused(erasure.source, erasure.actor, None);
                self.note = said(erasure.note);
            }
            Event::Policy(policy) => {
                self.event = "POLICY";
                self.policy_version = said(policy.policy_version);
                self.caused(String::new(), policy.actor, None);
                self.note = said(policy.note);
            }
            Event::Redaction(redaction) => {
                self.event = "REDACTION";
                self.redacted_events = Some(redaction.events);
            }
        }
    }

    fn about(&mut self, brand: String, contact: Option<Contact>, channel: String, key: String) {
        self.brand = said(brand);
        if let Some(contact) = contact {
            let kind = enum_name(contact.kind().as_str_name(), "CONTACT_KIND_").to_lowercase();
            (self.contact_kind, self.contact) = (Some(kind), Some(contact.address));
        }
        self.channel = said(channel);
        self.event_key = said(key);
    }

    fn caused(&mut self, source: String, actor: Option<Actor>, stated: Option<StatedTime>) {
        self.source = said(source);
        if let Some(actor) = actor {
            let role = enum_name(actor.role().as_str_name(), "ACTOR_ROLE_").to_lowercase();
            self.actor_role = Some(role).filter(|role| role != "unspecified");
            self.actor_id = said(actor.id);
        }
        if let Some(stated) = stated {
            let precision = enum_name(stated.precision().as_str_name(), "PRECISION_");
            self.stated_precision = Some(precision.to_lowercase());
            self.stated_time = Some(time(stated.unix_ms));
        }
    }

    /// What happened, in a few words.
    pub fn headline(&self) -> String {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        let brand = match self.brand.as_deref() {
            Some("*") => ", in all brands".to_owned(),
            Some(brand) => format!(", {brand}"),
            None => String::new(),
        };
        let on = |channel: &Option<String>| match channel.as_deref() {
            None | Some("*") => " on every channel".to_owned(),
            Some(channel) => format!(" on {channel}"),
        };
        let reason = self.reason.unwrap_or_default();
        match self.event {
            "GRANTED" | "WITHDRAWN" => {
                let whole = |name: &Option<String>| name.as_deref().is_none_or(|name| name == "*");
                let what = match (whole(&self.channel), whole(&self.purpose)) {
                    (true, _) => "everything".to_owned(),
                    (_, true) => format!("everything on {}", name(&self.channel)),
                    _ => format!("{}/{}", name(&self.channel), name(&self.purpose)),
                };
                let types = self.recipient_type.as_deref().unwrap_or("individual and merchant");
                format!("{} {what} as {types}{brand}", self.event)
            }
            "SUPPRESSION" => format!("{reason}{}{brand}", on(&self.channel)),
            "LIFT" => format!("LIFT of {reason}{}{brand}", on(&self.channel)),
            "POLICY" => format!("POLICY {}", name(&self.policy_version)),
            "REDACTION" => format!("REDACTION of {} events", self.redacted_events.unwrap_or(0)),
            "ERASURE" => format!("ERASURE{brand}"),
            event => format!("{event}: what it said was erased or redacted"),
        }
    }

    /// Who, when, how, which text, and the proof: what is known of it.
    pub fn details(&self) -> String {
        let mut details = Vec::new();
        let mut tell = |what: &str, value: Option<&str>| {
            details.extend(value.map(|value| format!("{what} {value}")));
        };
        let is_late = self.effective_time != self.recorded_time;
        tell("as of", Some(self.effective_time.as_str()).filter(|_| is_late));
        tell("until", self.valid_until.as_deref().or(self.expires_at.as_deref()));
        let actor = [self.actor_role.as_deref(), self.actor_id.as_deref()];
        let actor = actor.into_iter().flatten().collect::<Vec<_>>().join(" ");
        tell("by", Some(actor.as_str()).filter(|actor| !actor.is_empty()));
        tell("source", self.source.as_deref());
        tell("legal basis", self.legal_basis.as_deref());
        let text = [self.notice_id.as_deref(), self.notice_version.as_deref()];
        let text = text.into_iter().flatten().collect::<Vec<_>>().join(" version ");
        tell("text", Some(text.as_str()).filter(|text| !text.is_empty()));
        tell("collected by", self.collected_by.as_deref());
        tell("registered with", self.registered_with.as_deref());
        tell("evidence", self.evidence_uri.as_deref());
        tell("sha256", self.evidence_sha256.as_deref());
        tell("note", self.note.as_deref());
        tell("key", self.event_key.as_deref());
        let rectification = self.rectification.map(|revision| format!("#{revision}"));
        tell("rectified by", rectification.as_deref());
        details.join(", ")
    }

    /// One or two lines for people; `decides` marks the event that decided.
    pub fn lines(&self, decides: bool) -> String {
        let mark = if decides { '*' } else { ' ' };
        let Self { recorded_time, revision, .. } = self;
        let first = format!("{mark} {recorded_time}  #{revision}  {}", self.headline());
        match self.details() {
            details if details.is_empty() => first,
            details => format!("{first}\n      {details}"),
        }
    }
}

fn marks(marks: &[ErasureMark]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let pairs: Vec<String> =
        marks.iter().map(|it| format!("{}:{}", hex(&it.fingerprint), hex(&it.mark))).collect();
    pairs.join(" ")
}

fn names(names: &[NumberedName]) -> String {
    let said = |named: &NumberedName| match &named.name {
        Some(Name::OfBrand(name)) => Some(format!("brand:{}:{name}", named.number)),
        Some(Name::OfChannel(name)) => Some(format!("channel:{}:{name}", named.number)),
        None => None,
    };
    names.iter().filter_map(said).collect::<Vec<String>>().join(" ")
}

/// Text that was given; none where it is empty.
fn said(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{ActorRole, ConsentEvent, ConsentStatus, Notice, Reason, Suppression};

    fn record(event: Option<Event>) -> LedgerRow {
        LedgerRow::new(LedgerRecord {
            revision: 7,
            recorded_time_ms: 1_767_225_600_000,
            effective_time_ms: 1_767_225_600_000,
            event,
            rectification: 0,
            redacted: false,
            erasure_marks: Vec::new(),
            erasure_names: Vec::new(),
        })
    }

    #[test]
    fn people_read_who_did_what_to_which_text() {
        let consent = ConsentEvent {
            brand: "main".to_owned(),
            channel: "sms".to_owned(),
            purpose: "*".to_owned(),
            status: ConsentStatus::Withdrawn.into(),
            source: "HS_WEB".to_owned(),
            notice: Some(Notice { id: "form".to_owned(), version: "7".to_owned() }),
            actor: Some(Actor { role: ActorRole::Customer.into(), id: "c-1".to_owned() }),
            ..ConsentEvent::default()
        };
        assert_eq!(
            record(Some(Event::Consent(consent))).lines(true),
            "* 2026-01-01T00:00:00Z  #7  WITHDRAWN everything on sms as individual and merchant, \
             main\n      by customer c-1, source HS_WEB, text form version 7"
        );
        let block = Suppression {
            brand: "*".to_owned(),
            reason: Reason::LegalBlock.into(),
            ..Suppression::default()
        };
        assert_eq!(
            record(Some(Event::Suppression(block))).lines(false),
            "  2026-01-01T00:00:00Z  #7  LEGAL_BLOCK on every channel, in all brands"
        );
        assert_eq!(
            record(None).lines(false),
            "  2026-01-01T00:00:00Z  #7  ERASED_RECORD: what it said was erased or redacted"
        );
    }
}
