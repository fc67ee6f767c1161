//! `twilio-consent`: the items of Twilio's consent management.
//!
//! An opt-out is for the whole channel. An opt-in names no purpose, so the
//! command line must.

use jiff::tz::Offset;
use serde::Deserialize;

use super::{
    Changes, Defaults, Problem,
    event::{contact, or_default},
    text::text,
    time::parse_time,
};
use crate::proto::v1::{ConsentEvent, ContactKind};

/// One item.
#[derive(Default, Deserialize)]
#[serde(default)]
struct TwilioItem {
    #[serde(deserialize_with = "text")]
    contact_id: String,
    #[serde(deserialize_with = "text")]
    correlation_id: String,
    #[serde(deserialize_with = "text")]
    status: String,
    #[serde(deserialize_with = "text")]
    source: String,
    #[serde(deserialize_with = "text")]
    date_of_consent: String,
}

/// Whether an object looks like an item.
pub(super) fn is_object(has: impl Fn(&str) -> bool) -> bool {
    has("contact_id") && has("status") && (has("date_of_consent") || has("correlation_id"))
}

/// The change that an item stands for.
pub(super) fn changes(object: &str, defaults: &Defaults) -> Changes {
    let item = serde_json::from_str::<TwilioItem>(object)
        .map_err(|error| Problem::new("row", error.to_string()))?;
    // Numbers of other channels than SMS carry their channel before a colon.
    let (channel, number) = match item.contact_id.split_once(':') {
        // What the row names, the command line does not change.
        Some((channel, number)) => (channel, number),
        None => (defaults.channel_or("sms"), item.contact_id.as_str()),
    };
    let contact = contact("contact_id", ContactKind::Phone, number.trim(), &defaults.region)?;
    let event = ConsentEvent {
        event_key: item.correlation_id.trim().to_owned(),
        ..defaults.event(contact, channel, or_default(item.source.trim(), "twilio"))
    };
    let time = parse_time(&item.date_of_consent, Offset::UTC);
    match item.status.trim().to_ascii_lowercase().as_str() {
        "opt-out" => Ok(vec![defaults.withdrawal(event, time)]),
        "opt-in" | "re-opt-in" if time.is_none() && !item.date_of_consent.trim().is_empty() => {
            Err(Problem::new("date_of_consent", "not a time like 2025-02-28T10:05:27Z"))
        }
        "opt-in" | "re-opt-in" => defaults.grant(event, time),
        _ => Err(Problem::new("status", "none of opt-in, re-opt-in, opt-out")),
    }
}
