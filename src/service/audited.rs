//! Reads of what was recorded of people, and acts, as the audit log tells them.

use tonic::{Code, Status};

use super::{Services, gate::Caller, status::status};
use crate::{
    audit::{Act, Asker, Read, Row},
    domain::{
        address::{mask_email, mask_id, mask_phone},
        contact::Address,
        event::Actor,
    },
    proto::v1,
};

/// A read that begins: who asks, of which brand.
pub(super) fn read(actor: Actor, caller: &Caller, brand: &str) -> Read {
    Read {
        asked_by: asker(&actor, caller),
        brand: brand.to_owned(),
        about: None,
        scope: None,
        outcome: "begun".to_owned(),
        count: 0,
    }
}

/// An act that begins.
pub(super) fn act(actor: &Actor, caller: &Caller, brand: &str, about: Option<String>) -> Act {
    Act {
        by: asker(actor, caller),
        brand: brand.to_owned(),
        about,
        outcome: "begun".to_owned(),
        revision: 0,
    }
}

/// Who they say they are, and who they have shown to be.
fn asker(actor: &Actor, caller: &Caller) -> Asker {
    let (role, id) = (actor.role.name(), actor.id.clone());
    Asker { role, id, token: caller.token(), peer: caller.peer() }
}

impl Act {
    /// The act with what came of it: a revision, if all went well.
    pub(super) fn with(self, outcome: Result<u64, &Status>) -> Self {
        match outcome {
            Ok(revision) => Self { outcome: "done".to_owned(), revision, ..self },
            Err(status) => Self { outcome: format!("{:?}", status.code()), ..self },
        }
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
