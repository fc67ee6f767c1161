//! `iys-daily`: the daily file of İYS, the Turkish registry.
//!
//! `creationDate,transactionId,recipient,recipientType,type,status,consentDate,source`,
//! times in Turkey time, to the second. An ONAY grants the purposes that the
//! policy names; a RET covers every commercial message, so it withdraws the
//! whole channel.

use csv::StringRecord;
use jiff::tz::Offset;
use serde::Deserialize;

use super::{
    Changes, Defaults, IysMapping, Problem,
    event::{consent, contact, parse_recipient_type, suppression},
    time::parse_time,
};
use crate::proto::v1::{
    Actor, ActorRole, ConsentEvent, ConsentStatus, ContactKind, ImportItem, Reason, RecipientType,
    StatedTime, Suppression,
};

/// The columns without which a file is not of this format.
pub(super) const REQUIRED: [&str; 5] = ["recipient", "type", "status", "consentdate", "source"];

/// Turkey has kept UTC+3 all year since 2016, and İYS states all its times in it.
const TURKEY: Offset = Offset::constant(3);
/// The region of numbers without a country; the registry is Turkish.
const REGION: &str = "TR";
/// The operator closed the line: it may belong to somebody else next.
const LINE_CLOSED: &str = "IYS_AHS_HAT_KAPATMA";
/// The name under which events say that this registry holds them.
pub const REGISTRY: &str = "iys";
/// Sources that the registry itself sets begin so.
pub const REGISTRY_PREFIX: &str = "IYS_";

/// One row, as it stands in the file; columns that are missing are empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DailyRow<'a> {
    /// When the registry made the record.
    #[serde(rename = "creationdate")]
    pub creation_date: &'a str,
    /// The record's number.
    #[serde(rename = "transactionid")]
    pub transaction_id: &'a str,
    /// A phone number or an e-mail address.
    pub recipient: &'a str,
    /// BIREYSEL or TACIR.
    #[serde(rename = "recipienttype")]
    pub recipient_type: &'a str,
    /// ARAMA, MESAJ or EPOSTA.
    #[serde(rename = "type")]
    pub iys_type: &'a str,
    /// ONAY or RET.
    pub status: &'a str,
    /// When the person consented or refused.
    #[serde(rename = "consentdate")]
    pub consent_date: &'a str,
    /// Where.
    pub source: &'a str,
}

/// The changes that one row stands for: one per channel of its type and, for
/// a grant, purpose; and a suppression where the line was closed.
pub(super) fn changes(
    fields: &StringRecord,
    header: &StringRecord,
    mapping: &IysMapping,
    defaults: &Defaults,
) -> Changes {
    let row: DailyRow<'_> =
        fields.deserialize(Some(header)).map_err(|error| Problem::new("row", error.to_string()))?;
    let iys_type = row.iys_type.trim().to_ascii_uppercase();
    let channels = match iys_type.as_str() {
        "ARAMA" | "MESAJ" | "EPOSTA" => mapping.channels(&iys_type),
        _ => return Err(Problem::new("type", "none of ARAMA, MESAJ, EPOSTA")),
    };
    if channels.is_empty() {
        let reason = format!("the policy gives the brand no channel for {iys_type}");
        return Err(Problem::new("type", reason));
    }
    let kind = if iys_type == "EPOSTA" { ContactKind::Email } else { ContactKind::Phone };
    let contact = contact(kind, row.recipient.trim(), REGION)
        .map_err(|problem| Problem { field: "recipient".to_owned(), ..problem })?;
    let source = row.source.trim();
    let event = ConsentEvent {
        brand: defaults.brand.clone(),
        contact: Some(contact),
        source: source.to_owned(),
        actor: actor(source),
        event_key: row.transaction_id.trim().to_owned(),
        registered_with: REGISTRY.to_owned(),
        ..Default::default()
    };
    let mut items = match row.status.trim().to_ascii_uppercase().as_str() {
        "ONAY" => grants(&row, &event, channels, mapping.purposes(), defaults)?,
        "RET" => withdrawals(&row, &event, channels),
        _ => return Err(Problem::new("status", "neither ONAY nor RET")),
    };
    if source == LINE_CLOSED {
        items.push(line_closed(&row, event));
    }
    Ok(items)
}

fn grants(
    row: &DailyRow<'_>,
    event: &ConsentEvent,
    channels: &[String],
    purposes: &[String],
    defaults: &Defaults,
) -> Changes {
    let recipient_type = match row.recipient_type.trim() {
        "" => RecipientType::Individual,
        stated => parse_recipient_type(stated)
            .ok_or_else(|| Problem::new("recipientType", "neither BIREYSEL nor TACIR"))?,
    };
    let consent_time = grant_time(row, defaults)?;
    let grant = |channel: &String, purpose: &String| {
        consent(ConsentEvent {
            recipient_type: recipient_type.into(),
            channel: channel.clone(),
            purpose: purpose.clone(),
            status: ConsentStatus::Granted.into(),
            consent_time: Some(consent_time),
            ..event.clone()
        })
    };
    let of_channel = |channel| purposes.iter().map(move |purpose| grant(channel, purpose));
    Ok(channels.iter().flat_map(of_channel).collect())
}

/// A refusal is taken also where its type or time cannot be read: it then
/// counts for both types, and as of the other date or of its recording.
fn withdrawals(row: &DailyRow<'_>, event: &ConsentEvent, channels: &[String]) -> Vec<ImportItem> {
    let recipient_type = match row.recipient_type.trim() {
        "" => RecipientType::Individual,
        stated => parse_recipient_type(stated).unwrap_or_default(),
    };
    let withdrawal = |channel: &String| {
        consent(ConsentEvent {
            recipient_type: recipient_type.into(),
            channel: channel.clone(),
            status: ConsentStatus::Withdrawn.into(),
            consent_time: stated_time(row),
            ..event.clone()
        })
    };
    channels.iter().map(withdrawal).collect()
}

fn line_closed(row: &DailyRow<'_>, event: ConsentEvent) -> ImportItem {
    suppression(Suppression {
        brand: event.brand,
        contact: event.contact,
        reason: Reason::LineClosed.into(),
        since: stated_time(row),
        source: event.source,
        actor: event.actor,
        event_key: event.event_key,
        ..Default::default()
    })
}

/// The registry's own sources are its own doing; of the others the file does
/// not say who acted.
fn actor(source: &str) -> Option<Actor> {
    source
        .starts_with(REGISTRY_PREFIX)
        .then(|| Actor { role: ActorRole::Registry.into(), id: String::new() })
}

/// The time of a grant: its own, else that of its creation. A date that
/// cannot be read is not replaced by another one.
fn grant_time(row: &DailyRow<'_>, defaults: &Defaults) -> Result<StatedTime, Problem> {
    for (field, text) in [("consentDate", row.consent_date), ("creationDate", row.creation_date)] {
        if !text.trim().is_empty() {
            return parse_time(text, TURKEY)
                .ok_or_else(|| Problem::new(field, "not a time like 2020-07-19 23:58:53"));
        }
    }
    defaults
        .consented_at
        .ok_or_else(|| Problem::new("consentDate", "a grant needs a time (or use --consented-at)"))
}

/// The time of a refusal or closure, if any of the two dates can be read.
fn stated_time(row: &DailyRow<'_>) -> Option<StatedTime> {
    parse_time(row.consent_date, TURKEY).or_else(|| parse_time(row.creation_date, TURKEY))
}
