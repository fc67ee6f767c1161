//! `sendgrid`: the suppressions of Twilio SendGrid.
//!
//! All its lists have `email,created` with `created` in seconds since 1970.
//! That alone is a list of unsubscribes. The others are told apart by what
//! else they have: spam reports an `ip`, bounces and blocks a `status`, invalid
//! addresses only a `reason`. A row that names its list in words is believed
//! before the columns are.

use super::{
    Changes, Defaults,
    cells::Cells,
    event::{contact, note, suppression},
    time::{parse_epoch, parse_time},
};
use crate::proto::v1::{ContactKind, Reason};
use jiff::tz::Offset;

/// The columns without which a file is not of this format.
pub(super) const REQUIRED: [&str; 2] = ["email", "created"];
const SOURCE: &str = "sendgrid";

/// The change that a row stands for.
pub(super) fn changes(cells: Cells<'_>, defaults: &Defaults) -> Changes {
    let contact = contact("email", ContactKind::Email, cells.get("email"), "")?;
    let created = cells.get("created");
    // A time that cannot be read is no reason to lose an opt-out.
    let time = parse_epoch(created).or_else(|| parse_time(created, Offset::UTC));
    let Some(reason) = reason(cells) else {
        let event = defaults.event(contact, defaults.channel_or("email"), SOURCE);
        return Ok(vec![defaults.withdrawal(event, time)]);
    };
    let mut entry = defaults.suppression(contact, &defaults.channel, reason, time, SOURCE);
    let words = [cells.get("status"), cells.get("reason")];
    entry.note = note(words.join(" ").trim());
    Ok(vec![suppression(entry)])
}

/// Why a row suppresses; `None` in a list of unsubscribes. What fits no list
/// counts as a bounce, which no later opt-in ends.
fn reason(cells: Cells<'_>) -> Option<Reason> {
    let said = [cells.get("status"), cells.get("reason")].into_iter().find_map(by_words);
    let lists = ["ip", "status", "reason"].map(|name| cells.has(name));
    match (said, lists) {
        (Some(said), _) => Some(said),
        (None, [false, false, false]) => None,
        (None, [true, false, false]) => Some(Reason::SpamComplaint),
        (None, [_, false, true]) => Some(Reason::InvalidAddress),
        (None, _) => Some(Reason::HardBounce),
    }
}

/// The list that a cell names. A longer text is a mail server's answer: one
/// that speaks of spam is no complaint of the recipient.
fn by_words(cell: &str) -> Option<Reason> {
    let name = cell.to_ascii_lowercase().replace(['_', '-'], " ");
    match name.trim() {
        "bounce" | "bounced" | "bounces" | "hard bounce" | "block" | "blocked" => {
            Some(Reason::HardBounce)
        }
        "spam" | "spam report" | "spam reports" | "spamreport" | "complaint" | "abuse" => {
            Some(Reason::SpamComplaint)
        }
        "invalid" | "invalid email" | "invalid emails" | "invalid address" => {
            Some(Reason::InvalidAddress)
        }
        _ => None,
    }
}
