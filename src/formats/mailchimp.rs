//! `mailchimp`: the three files of an audience export.
//!
//! The column tells which one it is: `CLEAN_TIME` stands in that of cleaned
//! contacts, whose mail bounced, `UNSUB_TIME` in that of unsubscribed ones, and
//! the subscribed have `OPTIN_TIME` without either. Its times are UTC.

use jiff::tz::Offset;

use super::{
    Changes, Defaults, Problem,
    cells::Cells,
    event::{contact, suppression},
    time::parse_time,
};
use crate::proto::v1::{ContactKind, Reason};

/// The column without which a file is not of this format.
pub(super) const REQUIRED: [&str; 1] = [ADDRESS];
const ADDRESS: &str = "email address";
const SOURCE: &str = "mailchimp";
const OPT_IN: &str = "optin_time";
const UNSUBSCRIBED: &str = "unsub_time";
const CLEANED: &str = "clean_time";

/// Whether a header is of one of the three files.
pub(super) fn is_header(has: impl Fn(&str) -> bool) -> bool {
    has(ADDRESS) && [OPT_IN, UNSUBSCRIBED, CLEANED].into_iter().any(has)
}

/// The change that a row stands for.
pub(super) fn changes(cells: Cells<'_>, defaults: &Defaults) -> Changes {
    let contact = contact("Email Address", ContactKind::Email, cells.get(ADDRESS), "")?;
    let time = |name| parse_time(cells.get(name), Offset::UTC);
    // Where files were put together, the row's own times say what it is, and
    // without any it is one of those who left.
    let cleaned =
        cells.has(CLEANED) && (!cells.has(UNSUBSCRIBED) || !cells.get(CLEANED).is_empty());
    if cleaned {
        let (reason, since) = (Reason::HardBounce, time(CLEANED));
        let left = !cells.get(UNSUBSCRIBED).is_empty();
        let event = defaults.event(contact.clone(), defaults.channel_or("email"), SOURCE);
        let entry = defaults.suppression(contact, &defaults.channel, reason, since, SOURCE);
        // Somebody who left and then bounced stays gone when the bounce is lifted.
        let withdrawal = left.then(|| defaults.withdrawal(event, time(UNSUBSCRIBED)));
        return Ok([suppression(entry)].into_iter().chain(withdrawal).collect());
    }
    let event = defaults.event(contact, defaults.channel_or("email"), SOURCE);
    if cells.has(UNSUBSCRIBED) {
        return Ok(vec![defaults.withdrawal(event, time(UNSUBSCRIBED))]);
    }
    let opted_in = time(OPT_IN);
    if opted_in.is_none() && !cells.get(OPT_IN).is_empty() {
        return Err(Problem::new("OPTIN_TIME", "not a time like 2025-01-07 19:25:45"));
    }
    defaults.grant(event, opted_in)
}
