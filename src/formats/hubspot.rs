//! `hubspot-optout`: the one column `Email`, of people who opted out.

use super::{Changes, Defaults, cells::Cells, event::contact};
use crate::proto::v1::ContactKind;

/// The column without which a file is not of this format.
pub(super) const REQUIRED: [&str; 1] = ["email"];
const SOURCE: &str = "hubspot";

/// The withdrawal that a row stands for.
pub(super) fn changes(cells: Cells<'_>, defaults: &Defaults) -> Changes {
    let contact = contact("Email", ContactKind::Email, cells.get("email"), "")?;
    let event = defaults.event(contact, defaults.channel_or("email"), SOURCE);
    Ok(vec![defaults.withdrawal(event, None)])
}
