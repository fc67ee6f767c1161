//! What remains to be told of a filter stream when it has ended.

use tonic::Status;

use super::{gate::Caller, streams::Ticket, totals::Totals};
use crate::audit::FilterStream;

/// What is told of a stream whose options were accepted; empty if it failed.
/// One that answered nobody leaves no row of its own, but that of its denial.
#[derive(Default)]
pub(super) struct Begun {
    /// Its place among the open streams, until it has been told of.
    _ticket: Option<Ticket>,
    brand: String,
    totals: Option<Totals>,
}

impl Begun {
    /// A stream that has a place among the open ones.
    pub(super) fn new(ticket: Ticket, brand: String, totals: Totals) -> Self {
        Self { _ticket: Some(ticket), brand, totals: Some(totals) }
    }

    /// Its row in the audit log.
    pub(super) fn row(self, caller: &Caller, ended: &Result<(), Status>) -> FilterStream {
        FilterStream {
            token: caller.token(),
            peer: caller.peer(),
            brand: self.brand,
            outcome: match ended {
                Ok(()) => "ended".to_owned(),
                Err(status) => format!("{:?}", status.code()),
            },
            answered: self.totals.map(Totals::answered),
        }
    }
}
