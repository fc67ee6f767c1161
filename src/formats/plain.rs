//! `plain`: one address a line. What it means is said on the command line.

use super::{
    Changes, Defaults, Problem, Status,
    event::{check_grant, consent, contact, suppression},
};
use crate::proto::v1::{ConsentEvent, ConsentStatus, Suppression};

impl Status {
    /// Checks before the first row what would go wrong with every row.
    ///
    /// # Errors
    /// A grant lacks its purpose, channel, recipient type or time.
    pub fn check(self, defaults: &Defaults) -> Result<(), Problem> {
        changes("0", self, defaults).map(|_| ())
    }
}

/// The change that one line stands for. A withdrawal without a purpose is for
/// the whole channel, and without a channel for everything.
pub(super) fn changes(line: &str, status: Status, defaults: &Defaults) -> Changes {
    let contact = contact("address", defaults.kind, line.trim(), &defaults.region)?;
    let status = match status {
        Status::Granted => ConsentStatus::Granted,
        Status::Withdrawn => ConsentStatus::Withdrawn,
        Status::Suppressed(reason) => {
            if !defaults.purpose.is_empty() {
                return Err(Problem::new("purpose", "a suppression knows no purpose"));
            }
            return Ok(vec![suppression(Suppression {
                brand: defaults.brand.clone(),
                contact: Some(contact),
                channel: defaults.channel.clone(),
                reason: reason.into(),
                expires_at_ms: defaults.expires_at_ms,
                ..Default::default()
            })]);
        }
    };
    let event = ConsentEvent {
        brand: defaults.brand.clone(),
        contact: Some(contact),
        recipient_type: defaults.recipient_type.into(),
        channel: defaults.channel.clone(),
        purpose: defaults.purpose.clone(),
        status: status.into(),
        consent_time: defaults.consented_at.filter(|_| status == ConsentStatus::Granted),
        ..Default::default()
    };
    check_grant(&event)?;
    Ok(vec![consent(event)])
}
