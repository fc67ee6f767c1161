//! What the three files of İYS, the Turkish registry, have in common: an ONAY
//! grants the purposes that the policy names; a RET covers every commercial
//! message, so it withdraws the whole channel. Times are Turkey's, to the second.

use jiff::tz::Offset;

use super::{
    Changes, Defaults, IysMapping, Problem,
    cells::column_name,
    event::{consent, contact, parse_recipient_type, suppression},
    time::parse_time,
};
use crate::proto::v1::{
    Actor, ActorRole, ConsentEvent, ConsentStatus, ContactKind, ImportItem, Reason, RecipientType,
    StatedTime, Suppression,
};

/// Turkey has kept UTC+3 all year since 2016, and İYS states all its times in it.
const TURKEY: Offset = Offset::constant(3);
/// The region of numbers without a country; the registry is Turkish.
const REGION: &str = "TR";
/// The operator closed the line: it may belong to somebody else next.
const LINE_CLOSED: &str = "IYS_AHS_HAT_KAPATMA";
/// Sources that the registry itself sets begin so.
pub const REGISTRY_PREFIX: &str = "IYS_";
/// The registry's name in events that it holds.
pub const REGISTRY: &str = "iys";

/// Permission given or refused.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    Onay,
    Ret,
}

/// What the columns or members of one file are called, for those who mend it.
pub(super) struct Names {
    pub recipient: &'static str,
    pub recipient_type: &'static str,
    pub iys_type: &'static str,
    pub date: &'static str,
}

/// One row, as it stands in the file; what the file does not have is empty.
pub(super) struct IysRow<'a> {
    pub names: &'static Names,
    /// Whether the registry holds it already.
    pub registered: bool,
    /// Judged last: without a type a row says nothing at all.
    pub answer: Result<Answer, Problem>,
    pub recipient: &'a str,
    pub recipient_type: &'a str,
    pub iys_type: &'a str,
    pub consent_date: &'a str,
    pub creation_date: &'a str,
    pub source: &'a str,
    pub transaction_id: &'a str,
}

/// The changes that one row stands for: one per channel of its type and, for
/// a grant, purpose; and a suppression where the line was closed.
pub(super) fn changes(row: &IysRow<'_>, mapping: &IysMapping, defaults: &Defaults) -> Changes {
    let names = row.names;
    let iys_type = column_name(row.iys_type).to_ascii_uppercase();
    let channels = match iys_type.as_str() {
        "ARAMA" | "MESAJ" | "EPOSTA" => mapping.channels(&iys_type),
        _ => return Err(Problem::new(names.iys_type, "none of ARAMA, MESAJ, EPOSTA")),
    };
    if channels.is_empty() {
        let reason = format!("the policy gives the brand no channel for {iys_type}");
        return Err(Problem::new(names.iys_type, reason));
    }
    let kind = if iys_type == "EPOSTA" { ContactKind::Email } else { ContactKind::Phone };
    let contact = contact(names.recipient, kind, row.recipient.trim(), REGION)?;
    let source = row.source.trim();
    let event = ConsentEvent {
        brand: defaults.brand.clone(),
        contact: Some(contact),
        source: source.to_owned(),
        actor: actor(source),
        event_key: row.transaction_id.trim().to_owned(),
        registered_with: if row.registered { REGISTRY.to_owned() } else { String::new() },
        ..Default::default()
    };
    let mut items = match row.answer.clone()? {
        Answer::Onay => grants(row, &event, channels, mapping.purposes(), defaults)?,
        Answer::Ret => withdrawals(row, &event, channels),
    };
    if source == LINE_CLOSED {
        items.push(line_closed(row, event));
    }
    Ok(items)
}

/// Reads the words of the registry's own files.
pub(super) fn answer(status: &str) -> Result<Answer, Problem> {
    match status.trim().to_ascii_uppercase().as_str() {
        "ONAY" => Ok(Answer::Onay),
        "RET" => Ok(Answer::Ret),
        _ => Err(Problem::new("status", "neither ONAY nor RET")),
    }
}

fn grants(
    row: &IysRow<'_>,
    event: &ConsentEvent,
    channels: &[String],
    purposes: &[String],
    defaults: &Defaults,
) -> Changes {
    let recipient_type = match row.recipient_type.trim() {
        "" if row.registered => RecipientType::Individual,
        "" => match defaults.recipient_type {
            RecipientType::Unspecified => RecipientType::Individual,
            stated => stated,
        },
        stated => parse_recipient_type(stated)
            .ok_or_else(|| Problem::new(row.names.recipient_type, "neither BIREYSEL nor TACIR"))?,
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
/// counts for both types, and as of the other date or of its recording. The
/// registry's own files mean a private person where they say nothing (R12);
/// a file for upload has no column to say it in, so both are meant.
fn withdrawals(row: &IysRow<'_>, event: &ConsentEvent, channels: &[String]) -> Vec<ImportItem> {
    let recipient_type = match row.recipient_type.trim() {
        "" if row.registered => RecipientType::Individual,
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

fn line_closed(row: &IysRow<'_>, event: ConsentEvent) -> ImportItem {
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
fn grant_time(row: &IysRow<'_>, defaults: &Defaults) -> Result<StatedTime, Problem> {
    for (field, text) in [(row.names.date, row.consent_date), ("creationDate", row.creation_date)] {
        if !text.trim().is_empty() {
            return parse_time(text, TURKEY)
                .ok_or_else(|| Problem::new(field, "not a time like 2020-07-19 23:58:53"));
        }
    }
    defaults
        .consented_at
        .ok_or_else(|| Problem::new(row.names.date, "a grant needs a time (or use --consented-at)"))
}

/// The time of a refusal or closure, if any of the two dates can be read.
fn stated_time(row: &IysRow<'_>) -> Option<StatedTime> {
    parse_time(row.consent_date, TURKEY).or_else(|| parse_time(row.creation_date, TURKEY))
}
