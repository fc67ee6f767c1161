//! `mailgun`: its unsubscribes, `address,tags,created_at`.
//!
//! The tag `*` is the whole channel. Another tag is a purpose if the policy
//! has one of that name; any that it does not know might mean anything, so it
//! withdraws the whole channel too.

use std::collections::BTreeSet;

use super::{Changes, Defaults, cells::Cells, event::contact, time::parse_rfc2822};
use crate::proto::v1::{ConsentEvent, ContactKind};

/// The columns without which a file is not of this format.
pub(super) const REQUIRED: [&str; 2] = ["address", "tags"];
const SOURCE: &str = "mailgun";
/// What may stand around and between tags: a list is written in several ways.
const AROUND_TAGS: &[char] = &[' ', ',', ';', '|', '[', ']', '"', '\'', '{', '}'];

/// The withdrawals that a row stands for.
pub(super) fn changes(
    cells: Cells<'_>,
    purposes: &BTreeSet<String>,
    defaults: &Defaults,
) -> Changes {
    let contact = contact("address", ContactKind::Email, cells.get("address"), "")?;
    let event = defaults.event(contact, defaults.channel_or("email"), SOURCE);
    let time = parse_rfc2822(cells.get("created_at"));
    let tags: BTreeSet<&str> =
        cells.get("tags").split(AROUND_TAGS).filter(|tag| !tag.is_empty()).collect();
    if tags.is_empty() || !tags.iter().all(|tag| purposes.contains(*tag)) {
        return Ok(vec![defaults.withdrawal(event, time)]);
    }
    let of_purpose = |tag: &str| ConsentEvent { purpose: tag.to_owned(), ..event.clone() };
    Ok(tags.into_iter().map(|tag| defaults.withdrawal(of_purpose(tag), time)).collect())
}
