//! Why one event is refused: a code, the field, and a sentence.

use crate::{
    domain::policy::NotDeclared,
    proto::v1::{EventResult, Outcome as WireOutcome, RejectCode, Rejection as WireRejection},
    writer::{Outcome, Rejection},
};

/// A refusal of one event, or of a request that consists of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub code: RejectCode,
    pub field: String,
    pub message: String,
}

impl Refusal {
    pub fn new(code: RejectCode, field: &str, message: impl Into<String>) -> Self {
        Self { code, field: field.to_owned(), message: message.into() }
    }

    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::new(RejectCode::InvalidArgument, field, message)
    }
}

impl From<NotDeclared> for Refusal {
    fn from(error: NotDeclared) -> Self {
        Self::new(RejectCode::NotFound, &error.class.to_string(), error.to_string())
    }
}

impl Refusal {
    /// What the writer refused. `time` is the field that holds the event's time.
    fn by_writer(rejection: Rejection, time: &str) -> Self {
        match rejection {
            Rejection::TimeMissing => Self::invalid(
                time,
                "a grant or a lift needs the time at which it was given; only opt-outs may come \
                 without one",
            ),
            Rejection::TimeAhead => Self::new(
                RejectCode::TimeAhead,
                time,
                "the time lies more than five minutes ahead of this server's clock: check the clocks \
                 and the time zone",
            ),
            Rejection::KeyTaken => Self::new(
                RejectCode::AlreadyExists,
                "event_key",
                "the key was used for this contact with other content: give each event a key of its \
                 own",
            ),
            Rejection::Erased => Self::new(
                RejectCode::Erased,
                time,
                "the contact was erased after this; only a newer consent can bring it back",
            ),
            Rejection::NoMark => Self::invalid(
                "marks",
                "none of the marks is that of the erasure itself: the feed is damaged",
            ),
            Rejection::AddressClash => Self::new(
                RejectCode::AddressClash,
                "contact.address",
                "the directory holds another address under this fingerprint; report this",
            ),
        }
    }
}

/// The result of an event as callers see it. `time` is the field that holds
/// the event's time.
pub(super) fn result(outcome: Result<Outcome, Refusal>, time: &str) -> EventResult {
    let (outcome, revision, refusal) = match outcome {
        Ok(Outcome::Applied(revision)) => (WireOutcome::Applied, revision, None),
        Ok(Outcome::Superseded(revision)) => (WireOutcome::Superseded, revision, None),
        Ok(Outcome::Duplicate(revision)) => (WireOutcome::Duplicate, revision, None),
        Ok(Outcome::KeyReused(revision)) => (WireOutcome::KeyReused, revision, None),
        Ok(Outcome::Rejected(rejection)) => {
            (WireOutcome::Rejected, 0, Some(Refusal::by_writer(rejection, time)))
        }
        Err(refusal) => (WireOutcome::Rejected, 0, Some(refusal)),
    };
    EventResult { outcome: outcome.into(), revision, rejection: refusal.map(rejection) }
}

/// A refusal as callers see it.
pub(super) fn rejection(refusal: Refusal) -> WireRejection {
    WireRejection { code: refusal.code.into(), field: refusal.field, message: refusal.message }
}
