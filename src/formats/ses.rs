//! `ses`: the suppression list of Amazon SES.
//!
//! `recipient1@example.com,BOUNCE` without a header, or one JSON object a line.
//! The address bounces or complains whatever the message was, so every channel
//! is meant unless one is named.

use serde::Deserialize;

use super::{
    Changes, Defaults, Problem,
    cells::Cells,
    event::{contact, note, suppression},
    text::text,
    time::parse_time,
};
use crate::proto::v1::{ContactKind, Reason};
use jiff::tz::Offset;

/// The columns, which the file does not name.
pub(super) const COLUMNS: [&str; 2] = ["emailaddress", "reason"];
const SOURCE: &str = "ses";

/// One object, in the spellings of the console and of the interface.
#[derive(Default, Deserialize)]
#[serde(default)]
struct SesObject {
    #[serde(rename = "emailAddress", alias = "EmailAddress", deserialize_with = "text")]
    address: String,
    #[serde(alias = "Reason", deserialize_with = "text")]
    reason: String,
    #[serde(rename = "lastUpdateTime", alias = "LastUpdateTime", deserialize_with = "text")]
    updated: String,
}

/// Whether a line looks like a row of the headerless form.
pub(super) fn is_row(fields: &[&str]) -> bool {
    matches!(fields, [address, reason] if address.contains('@') && known(reason).is_some())
}

/// Whether an object looks like one of the list.
pub(super) fn is_object(has: impl Fn(&str) -> bool) -> bool {
    (has("emailAddress") && has("reason")) || (has("EmailAddress") && has("Reason"))
}

/// The suppression that a row stands for.
pub(super) fn csv_changes(cells: Cells<'_>, defaults: &Defaults) -> Changes {
    let [address, reason] = COLUMNS.map(|name| cells.get(name));
    changes(address, reason, "", defaults)
}

/// The suppression that an object stands for.
pub(super) fn json_changes(line: &str, defaults: &Defaults) -> Changes {
    let object = serde_json::from_str::<SesObject>(line)
        .map_err(|error| Problem::new("row", error.to_string()))?;
    changes(object.address.trim(), &object.reason, &object.updated, defaults)
}

fn known(reason: &str) -> Option<Reason> {
    match reason.trim().to_ascii_uppercase().as_str() {
        "BOUNCE" => Some(Reason::HardBounce),
        "COMPLAINT" => Some(Reason::SpamComplaint),
        _ => None,
    }
}

/// Whoever is on the list is not written to. A reason that is neither of the
/// two counts as the stronger one.
fn changes(address: &str, reason: &str, updated: &str, defaults: &Defaults) -> Changes {
    let contact = contact("emailAddress", ContactKind::Email, address, "")?;
    let since = parse_time(updated, Offset::UTC);
    let known = known(reason);
    let stronger = known.unwrap_or(Reason::HardBounce);
    let mut entry = defaults.suppression(contact, &defaults.channel, stronger, since, SOURCE);
    if known.is_none() {
        entry.note = note(reason);
    }
    Ok(vec![suppression(entry)])
}
