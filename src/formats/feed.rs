//! `feed`: the change feed of another server, as `sendgate watch` prints it.
//!
//! Replayed, each event must count from the very time from which it counted
//! there. A stated time alone does not say that: what was stated ahead of its
//! recording, or not at all, counted as of its recording, and now would count
//! as of the replay. So the time that the rules compared goes along wherever it
//! is not the stated one.

use std::collections::BTreeSet;

use jiff::{Timestamp, tz::Offset};
use serde::Deserialize;

use super::{
    Changes, Problem,
    event::{
        check_grant, consent, contact, parse_kind, parse_recipient_type, parse_sha256, suppression,
    },
    time::{last_ms, parse_time},
};
use crate::proto::v1::{
    Actor, ActorRole, ConsentEvent, ConsentStatus, Contact, ErasureMark, Evidence, ImportItem,
    Lift, Notice, NumberedName, Precision, Reason, RecipientType, ReplayedErasure, StatedTime,
    Suppression, import_item, numbered_name::Name,
};

/// Declares the row with one optional text per field.
macro_rules! feed_row {
    ($($field:ident),+ $(,)?) => {
        // An unknown field is refused rather than dropped: it may say what
        // this version would have to heed.
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct FeedRow {
            revision: u64,
            rectification: Option<u64>,
            redacted: Option<bool>,
            redacted_events: Option<u64>,
            $($field: Option<String>,)+
        }
    };
}

feed_row!(
    recorded_time,
    effective_time,
    event,
    brand,
    contact_kind,
    contact,
    recipient_type,
    channel,
    purpose,
    reason,
    stated_time,
    stated_precision,
    valid_until,
    expires_at,
    source,
    legal_basis,
    notice_id,
    notice_version,
    actor_role,
    actor_id,
    collected_by,
    evidence_uri,
    evidence_sha256,
    registered_with,
    note,
    event_key,
    policy_version,
    erasure_marks,
    erasure_names,
);

/// Whether an object looks like an event of the feed.
pub(super) fn is_object(has: impl Fn(&str) -> bool) -> bool {
    has("recorded_time") && has("effective_time") && has("event")
}

/// The change that an event stands for, if it is one; `policies` are the
/// versions that were applied to the server that it is replayed into.
pub(super) fn changes(object: &str, policies: &BTreeSet<String>) -> Changes {
    let row = serde_json::from_str::<FeedRow>(object)
        .map_err(|error| Problem::new("row", error.to_string()))?;
    let item = match row.event.as_deref().unwrap_or_default() {
        "GRANTED" => row.consent_event(ConsentStatus::Granted)?,
        "WITHDRAWN" => row.consent_event(ConsentStatus::Withdrawn)?,
        "SUPPRESSION" => row.suppression()?,
        "LIFT" => row.lift()?,
        "ERASURE" => row.erasure()?,
        "POLICY" => {
            let version = row.policy_version.unwrap_or_default();
            if policies.contains(&version) {
                return Ok(Vec::new());
            }
            let what = format!(
                "policy \"{version}\" was never applied here: apply it (`sendgate policy apply`), \
                 then import the rest again"
            );
            return Err(Problem::new("policy_version", what));
        }
        // Nothing is left of the one, and retention does the other anew.
        "ERASED_RECORD" | "REDACTION" => return Ok(Vec::new()),
        _ => return Err(Problem::new("event", "no event that this version knows")),
    };
    Ok(vec![item])
}

impl FeedRow {
    fn consent_event(self, status: ConsentStatus) -> Result<ImportItem, Problem> {
        let is_grant = status == ConsentStatus::Granted;
        let recipient_type = match self.recipient_type.as_deref() {
            None => RecipientType::Unspecified,
            Some(text) => parse_recipient_type(text)
                .ok_or_else(|| Problem::new("recipient_type", "neither individual nor merchant"))?,
        };
        let sha256 = parse_sha256(self.evidence_sha256.as_deref().unwrap_or_default())
            .ok_or_else(|| Problem::new("evidence_sha256", "not 64 hexadecimal digits"))?;
        let valid_until_ms = self.valid_until.as_deref().map(|text| instant("valid_until", text));
        let event = ConsentEvent {
            contact: Some(self.contact()?),
            recipient_type: recipient_type.into(),
            status: status.into(),
            consent_time: Some(self.time(is_grant)?),
            valid_until_ms: valid_until_ms.transpose()?,
            actor: self.actor()?,
            brand: self.brand.unwrap_or_default(),
            channel: self.channel.unwrap_or_default(),
            purpose: self.purpose.unwrap_or_default(),
            source: self.source.unwrap_or_default(),
            legal_basis: self.legal_basis.unwrap_or_default(),
            notice: Some(Notice {
                id: self.notice_id.unwrap_or_default(),
                version: self.notice_version.unwrap_or_default(),
            }),
            collected_by: self.collected_by.unwrap_or_default(),
            evidence: Some(Evidence {
                uri: self.evidence_uri.unwrap_or_default(),
                sha256: sha256.into(),
            }),
            event_key: self.event_key.unwrap_or_default(),
            registered_with: self.registered_with.unwrap_or_default(),
        };
        check_grant(&event)?;
        Ok(consent(event))
    }

    fn suppression(self) -> Result<ImportItem, Problem> {
        let end = self.expires_at.as_deref().map(|text| instant("expires_at", text));
        Ok(suppression(Suppression {
            contact: Some(self.contact()?),
            reason: self.reason()?.into(),
            since: Some(self.time(false)?),
            expires_at_ms: end.transpose()?,
            actor: self.actor()?,
            brand: self.brand.unwrap_or_default(),
            channel: self.channel.unwrap_or_default(),
            source: self.source.unwrap_or_default(),
            note: self.note.unwrap_or_default(),
            event_key: self.event_key.unwrap_or_default(),
        }))
    }

    fn lift(self) -> Result<ImportItem, Problem> {
        let lift = Lift {
            contact: Some(self.contact()?),
            reason: self.reason()?.into(),
            time: Some(self.time(true)?),
            actor: self.actor()?,
            brand: self.brand.unwrap_or_default(),
            channel: self.channel.unwrap_or_default(),
            source: self.source.unwrap_or_default(),
            note: self.note.unwrap_or_default(),
            event_key: self.event_key.unwrap_or_default(),
        };
        Ok(ImportItem { change: Some(import_item::Change::Lift(lift)) })
    }

    fn erasure(self) -> Result<ImportItem, Problem> {
        let Some(marks) = self.erasure_marks.as_deref() else {
            let what = "the event names nobody, and a feed of one brand does not tell its marks: \
                        replay a feed of every brand, or erase the contact again";
            return Err(Problem::new("erasure_marks", what));
        };
        let damaged = || Problem::new("erasure_marks", "not pairs of hexadecimal digits");
        let mark = |pair: &str| {
            let (fingerprint, mark) = pair.split_once(':')?;
            Some(ErasureMark { fingerprint: bytes(fingerprint)?.into(), mark: bytes(mark)?.into() })
        };
        let marks: Option<Vec<ErasureMark>> = marks.split(' ').map(mark).collect();
        let names = self.erasure_names.as_deref().unwrap_or_default();
        let names: Option<Vec<NumberedName>> = names.split_whitespace().map(numbered).collect();
        let not_names = "not brand:NUMBER:NAME or channel:NUMBER:NAME, with spaces between";
        let erasure = ReplayedErasure {
            revision: self.revision,
            marks: marks.ok_or_else(damaged)?,
            names: names.ok_or_else(|| Problem::new("erasure_names", not_names))?,
            actor: self.actor()?,
            brand: self.brand.unwrap_or_default(),
            source: self.source.unwrap_or_default(),
            note: self.note.unwrap_or_default(),
        };
        Ok(ImportItem { change: Some(import_item::Change::Erasure(erasure)) })
    }

    fn contact(&self) -> Result<Contact, Problem> {
        let kind = self.contact_kind.as_deref().and_then(parse_kind);
        let kind = kind.ok_or_else(|| Problem::new("contact_kind", "no kind of contact"))?;
        contact("contact", kind, self.contact.as_deref().unwrap_or_default(), "")
    }

    fn reason(&self) -> Result<Reason, Problem> {
        let name = format!("REASON_{}", self.reason.as_deref().unwrap_or_default());
        Reason::from_str_name(&name).ok_or_else(|| Problem::new("reason", "no reason"))
    }

    fn actor(&self) -> Result<Option<Actor>, Problem> {
        let name = self.actor_role.as_deref().unwrap_or("unspecified").to_ascii_uppercase();
        let role = ActorRole::from_str_name(&format!("ACTOR_ROLE_{name}"))
            .ok_or_else(|| Problem::new("actor_role", "no role"))?;
        Ok(Some(Actor { role: role.into(), id: self.actor_id.clone().unwrap_or_default() }))
    }

    /// The stated time, where it is what the rules compared; else what they
    /// did. What permits counts from the first millisecond of a stated time,
    /// everything else from its last.
    fn time(&self, permits: bool) -> Result<StatedTime, Problem> {
        let effective = instant("effective_time", self.effective_time.as_deref().unwrap_or(""))?;
        let compared = StatedTime { unix_ms: effective, precision: Precision::Millisecond.into() };
        let (Some(text), Some(precision)) = (&self.stated_time, &self.stated_precision) else {
            return Ok(compared);
        };
        let name = format!("PRECISION_{}", precision.to_ascii_uppercase());
        let precision = Precision::from_str_name(&name)
            .ok_or_else(|| Problem::new("stated_precision", "no precision"))?;
        let stated =
            StatedTime { unix_ms: instant("stated_time", text)?, precision: precision.into() };
        let length = match precision {
            Precision::Second => 1_000,
            Precision::Minute => 60_000,
            _ => 1,
        };
        let first = stated.unix_ms - stated.unix_ms.rem_euclid(length);
        let counts_from = if permits { first } else { last_ms(stated) };
        Ok(if counts_from == effective { stated } else { compared })
    }
}

/// Reads an instant as the feed writes it, to the millisecond.
fn instant(field: &str, text: &str) -> Result<i64, Problem> {
    // A timestamp without a fraction is read as one to the second elsewhere;
    // here it is a whole second by chance.
    let instant = text.parse::<Timestamp>().ok().map(|time| time.as_millisecond());
    let instant = instant.or_else(|| parse_time(text, Offset::UTC).map(|time| time.unix_ms));
    instant.ok_or_else(|| Problem::new(field, "no time in RFC 3339"))
}

/// Reads what a number stands for: `brand:2:shop`.
fn numbered(text: &str) -> Option<NumberedName> {
    let mut parts = text.splitn(3, ':');
    let (class, number, name) = (parts.next()?, parts.next()?, parts.next()?.to_owned());
    let name = match class {
        "brand" => Name::OfBrand(name),
        "channel" => Name::OfChannel(name),
        _ => return None,
    };
    Some(NumberedName { number: number.parse().ok()?, name: Some(name) })
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        let pair = str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?;
        u8::from_str_radix(pair, 16).ok()
    };
    pairs.iter().map(byte).collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(json: &str) -> ImportItem {
        let [item] = changes(json, &BTreeSet::new()).unwrap().try_into().unwrap();
        item
    }

    fn time_of(event: &str, stated: &str) -> (i64, Precision) {
        let item = one(&format!(
            r#"{{"revision":9,"event":"{event}","contact_kind":"phone","contact":"+905321234567",
            "effective_time":"1970-01-01T00:00:10.999Z","channel":"sms","purpose":"marketing",
            "recipient_type":"individual","brand":"main"{stated}}}"#
        ));
        let Some(import_item::Change::Consent(event)) = item.change else { panic!() };
        let time = event.consent_time.unwrap();
        (time.unix_ms, time.precision())
    }

    #[test]
    fn an_event_counts_from_when_it_counted() {
        let stated = |time: &str, precision: &str| {
            format!(r#","stated_time":"{time}","stated_precision":"{precision}""#)
        };
        let exactly = (10_999, Precision::Millisecond);
        // Not stated; and stated ahead of the recording.
        assert_eq!(time_of("WITHDRAWN", ""), exactly);
        let ahead = stated("1970-01-01T00:02:00Z", "second");
        assert_eq!(time_of("WITHDRAWN", &ahead), exactly);
        assert_eq!(time_of("GRANTED", &ahead), exactly);
        // As stated: the last millisecond of that second.
        let said = stated("1970-01-01T00:00:10Z", "second");
        assert_eq!(time_of("WITHDRAWN", &said), (10_000, Precision::Second));
        // A grant of that second would count from its first.
        assert_eq!(time_of("GRANTED", &said), exactly);
        let said = stated("1970-01-01T00:00:10.999Z", "millisecond");
        assert_eq!(time_of("GRANTED", &said), exactly);
    }

    #[test]
    fn what_needs_no_replay_makes_no_change_and_what_is_unknown_is_told() {
        let all: BTreeSet<String> = ["first".to_owned()].into();
        let read = |json: &str| changes(json, &all).map(|items| items.len());
        assert_eq!(read(r#"{"revision":3,"event":"ERASED_RECORD"}"#), Ok(0));
        assert_eq!(read(r#"{"revision":3,"event":"REDACTION","redacted_events":4}"#), Ok(0));
        assert_eq!(read(r#"{"revision":3,"event":"POLICY","policy_version":"first"}"#), Ok(0));
        let problem = |json: &str| read(json).unwrap_err().field;
        assert_eq!(problem(r#"{"event":"POLICY","policy_version":"next"}"#), "policy_version");
        assert_eq!(problem(r#"{"event":"ERASURE"}"#), "erasure_marks");
        assert_eq!(problem(r#"{"event":"ERASURE","erasure_marks":"0g:00"}"#), "erasure_marks");
        let named = r#"{"event":"ERASURE","erasure_marks":"0a:00","erasure_names":"brand:main"}"#;
        assert_eq!(problem(named), "erasure_names");
        assert_eq!(problem(r#"{"event":"PROMISED"}"#), "event");
        assert_eq!(problem(r#"{"event":"GRANTED","wish":"x"}"#), "row");
    }
}
