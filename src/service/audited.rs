//! Reads of what was recorded of people, as the audit log tells them.

use std::net::SocketAddr;

use tonic::{Code, Status};

use super::{Services, status::status};
use crate::{
    audit::{Asker, Read, Row},
    domain::{
        address::{mask_email, mask_id, mask_phone},
        contact::Address,
        event::Actor,
    },
    proto::v1,
};

/// A read that begins: who asks, of which brand.
pub(super) fn read(actor: Actor, peer: Option<SocketAddr>, brand: &str) -> Read {
    Read {
        asked_by: Asker { role: actor.role.name(), id: actor.id, peer },
        brand: brand.to_owned(),
        about: None,
        scope: None,
        outcome: "begun".to_owned(),
        count: 0,
    }
}

/// An address as the log names it: never the whole.
pub(super) fn masked(address: &Address) -> String {
    match address {
        Address::Phone(number) => mask_phone(*number),
        Address::Email(text) => mask_email(text),
        Address::ContactId(_) | Address::ExternalId(_) => mask_id(&address.canonical()),
    }
}

/// A scope as the log names it.
pub(super) fn scope_text(scope: &v1::Scope) -> String {
    let recipient_type = scope.recipient_type().as_str_name();
    let recipient_type =
        recipient_type.strip_prefix("RECIPIENT_TYPE_").unwrap_or(recipient_type).to_lowercase();
    format!("{recipient_type}/{}/{}", scope.channel, scope.purpose)
}

impl Read {
    /// The read with what came of it.
    pub(super) fn with<T>(self, outcome: &Result<T, Status>, count: usize) -> Self {
        let outcome = match outcome {
            Ok(_) => "answered".to_owned(),
            Err(status) => format!("{:?}", status.code()),
        };
        Self { outcome, count: count as u64, ..self }
    }

    /// The read of a stream that is over.
    pub(super) fn ended(self, ended: &Result<(), Status>, count: u64) -> Self {
        let outcome = match ended {
            Ok(()) => "ended".to_owned(),
            Err(status) => format!("{:?}", status.code()),
        };
        Self { outcome, count, ..self }
    }
}

impl Services {
    /// Writes a row of the audit log before what it speaks of is given out.
    ///
    /// # Errors
    /// INTERNAL with AUDIT_FAILED: a read that leaves no row must not happen.
    pub(super) fn audited(&self, row: &Row) -> Result<(), Status> {
        tokio::task::block_in_place(|| self.audit.record(row)).map_err(|error| {
            tracing::error!(%error, "the audit log could not be written");
            status(
                Code::Internal,
                "AUDIT_FAILED",
                "the server cannot write its audit log, so it gives out nothing that was recorded \
                 of people: see its log",
            )
        })
    }

    /// Writes a row about what has happened already.
    pub(super) fn audited_afterwards(&self, row: &Row) {
        // The row that came before says who read; the error is in the log.
        drop(self.audited(row));
    }
}
