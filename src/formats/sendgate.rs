//! `sendgate`: the fields of a consent event, as CSV or one JSON object a line.
//!
//! `status` is `granted`, `withdrawn` or the name of a suppression reason; in
//! a suppression, `consent_time` is since when it holds and `valid_until` when
//! it ends. Times without an offset are UTC.

use std::{borrow::Cow, io};

use csv::StringRecord;
use jiff::tz::Offset;
use serde::Deserialize;

use super::{
    Changes, Defaults, Problem, Status,
    event::{
        check_grant, consent, contact, or_default, parse_kind, parse_recipient_type, parse_sha256,
        suppression,
    },
    time::{last_ms, parse_time},
};
use crate::proto::v1::{
    Actor, ActorRole, ConsentEvent, ConsentStatus, Contact, Evidence, Notice, Reason,
    RecipientType, StatedTime, Suppression,
};

/// The columns without which a file is not of this format.
pub(super) const REQUIRED: [&str; 2] = ["address", "status"];

/// Declares the row with one text per field, and the list of their names.
macro_rules! event_row {
    ($($field:ident),+ $(,)?) => {
        const COLUMNS: &[&str] = &[$(stringify!($field)),+];

        // An unknown field is refused rather than dropped: a misspelt
        // valid_until would permit for longer than the file says.
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct EventRow<'a> {
            $(#[serde(borrow)] $field: Cow<'a, str>,)+
        }

        impl EventRow<'_> {
            fn trim(&mut self) {
                $(if self.$field.trim().len() != self.$field.len() {
                    self.$field = Cow::Owned(self.$field.trim().to_owned());
                })+
            }
        }
    };
}

event_row!(
    brand,
    kind,
    address,
    recipient_type,
    channel,
    purpose,
    status,
    consent_time,
    valid_until,
    source,
    legal_basis,
    notice_id,
    notice_version,
    actor_role,
    actor_id,
    collected_by,
    evidence_uri,
    evidence_sha256,
    event_key,
    registered_with,
);

/// Refuses a CSV header with a column that is none of ours.
pub(super) fn refuse_unknown_columns(header: &StringRecord) -> io::Result<()> {
    match header.iter().find(|name| !COLUMNS.contains(name)) {
        None => Ok(()),
        Some(unknown) => {
            let message = format!("unknown column {unknown:?}; known: {}", COLUMNS.join(", "));
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
    }
}

/// The change that a CSV row stands for.
pub(super) fn csv_changes(
    fields: &StringRecord,
    header: &StringRecord,
    defaults: &Defaults,
) -> Changes {
    let row = fields
        .deserialize::<EventRow<'_>>(Some(header))
        .map_err(|error| Problem::new("row", error.to_string()))?;
    changes(row, defaults)
}

/// The change that a JSON object stands for.
pub(super) fn json_changes(line: &str, defaults: &Defaults) -> Changes {
    let row = serde_json::from_str::<EventRow<'_>>(line)
        .map_err(|error| Problem::new("row", error.to_string()))?;
    changes(row, defaults)
}

fn changes(mut row: EventRow<'_>, defaults: &Defaults) -> Changes {
    row.trim();
    if !defaults.brand.is_empty() && !row.brand.is_empty() && row.brand != defaults.brand {
        return Err(Problem::new("brand", "another brand than that of --brand"));
    }
    let kind = match row.kind.as_ref() {
        "" => defaults.kind,
        kind => parse_kind(kind)
            .ok_or_else(|| Problem::new("kind", "none of phone, email, contact_id, external_id"))?,
    };
    let contact = contact("address", kind, &row.address, &defaults.region)?;
    let status = Status::parse(&row.status).ok_or_else(|| {
        Problem::new("status", "neither granted, withdrawn nor a suppression reason")
    })?;
    match status {
        Status::Granted => consent_event(&row, ConsentStatus::Granted, contact, defaults),
        Status::Withdrawn => consent_event(&row, ConsentStatus::Withdrawn, contact, defaults),
        Status::Suppressed(reason) => suppression_entry(&row, reason, contact, defaults),
    }
}

fn consent_event(
    row: &EventRow<'_>,
    status: ConsentStatus,
    contact: Contact,
    defaults: &Defaults,
) -> Changes {
    let is_grant = status == ConsentStatus::Granted;
    // What the command line says fills in grants only: it would narrow a
    // withdrawal that names no channel, purpose or type and so means them all.
    let (channel, purpose, default_type) = if is_grant {
        (defaults.channel.as_str(), defaults.purpose.as_str(), defaults.recipient_type)
    } else {
        ("", "", RecipientType::Unspecified)
    };
    let recipient_type = match row.recipient_type.as_ref() {
        "" => default_type,
        "*" => RecipientType::Unspecified,
        stated => match parse_recipient_type(stated) {
            Some(recipient_type) => recipient_type,
            // Whoever handles a STOP need not know the type.
            None if !is_grant => RecipientType::Unspecified,
            None => {
                return Err(Problem::new("recipient_type", "neither individual nor merchant"));
            }
        },
    };
    let consent_time = match time("consent_time", &row.consent_time) {
        Ok(None) if is_grant => defaults.consented_at,
        // A withdrawal whose time cannot be read counts as of its recording.
        Err(_) if !is_grant => None,
        time => time?,
    };
    let notice = Notice { id: row.notice_id.to_string(), version: row.notice_version.to_string() };
    let sha256 = parse_sha256(&row.evidence_sha256)
        .ok_or_else(|| Problem::new("evidence_sha256", "not 64 hexadecimal digits"))?;
    let evidence = Evidence { uri: row.evidence_uri.to_string(), sha256: sha256.into() };
    let event = ConsentEvent {
        brand: or_default(&row.brand, &defaults.brand).to_owned(),
        contact: Some(contact),
        recipient_type: recipient_type.into(),
        channel: or_default(&row.channel, channel).to_owned(),
        purpose: or_default(&row.purpose, purpose).to_owned(),
        status: status.into(),
        consent_time,
        valid_until_ms: time("valid_until", &row.valid_until)?.map(|end| end.unix_ms),
        source: row.source.to_string(),
        legal_basis: row.legal_basis.to_string(),
        notice: Some(notice).filter(|notice| *notice != Notice::default()),
        actor: actor(row)?,
        collected_by: row.collected_by.to_string(),
        evidence: Some(evidence).filter(|evidence| *evidence != Evidence::default()),
        event_key: row.event_key.to_string(),
        registered_with: row.registered_with.to_string(),
    };
    check_grant(&event)?;
    Ok(vec![consent(event)])
}

fn suppression_entry(
    row: &EventRow<'_>,
    reason: Reason,
    contact: Contact,
    defaults: &Defaults,
) -> Changes {
    if !matches!(row.purpose.as_ref(), "" | "*") {
        return Err(Problem::new("purpose", "a suppression knows no purpose"));
    }
    let end = time("valid_until", &row.valid_until)?.map(last_ms);
    Ok(vec![suppression(Suppression {
        brand: or_default(&row.brand, &defaults.brand).to_owned(),
        contact: Some(contact),
        channel: row.channel.to_string(),
        reason: reason.into(),
        // One whose beginning cannot be read counts as of its recording.
        since: time("consent_time", &row.consent_time).unwrap_or_default(),
        expires_at_ms: end.or(defaults.expires_at_ms),
        source: row.source.to_string(),
        note: String::new(),
        actor: actor(row)?,
        event_key: row.event_key.to_string(),
    })])
}

fn actor(row: &EventRow<'_>) -> Result<Option<Actor>, Problem> {
    if row.actor_role.is_empty() && row.actor_id.is_empty() {
        return Ok(None);
    }
    let name = format!("ACTOR_ROLE_{}", row.actor_role.to_ascii_uppercase());
    let role = match row.actor_role.as_ref() {
        "" => ActorRole::Unspecified,
        _ => ActorRole::from_str_name(&name).ok_or_else(|| {
            Problem::new("actor_role", "none of customer, staff, system, registry")
        })?,
    };
    Ok(Some(Actor { role: role.into(), id: row.actor_id.to_string() }))
}

fn time(field: &str, text: &str) -> Result<Option<StatedTime>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let expected = "neither RFC 3339, YYYY-MM-DD HH:MM:SS nor YYYY-MM-DD";
    parse_time(text, Offset::UTC).map(Some).ok_or_else(|| Problem::new(field, expected))
}
