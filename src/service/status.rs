//! Errors as callers see them: a code, a sentence, and an ErrorInfo of ours.
//!
//! RESOURCE_EXHAUSTED and UNAVAILABLE with our ErrorInfo promise that nothing
//! happened; transports make up bare codes, which promise nothing.

use std::convert::Infallible;

use tonic::{
    Code, Status,
    body::Body,
    codegen::{BoxFuture, http::Response},
};
use tonic_types::{ErrorDetails, StatusExt};

use super::refusal::Refusal;
use crate::{
    caps, domain::policy::NotDeclared, proto::v1::RejectCode, reader::ReadError, writer::WriteError,
};

/// The domain of every ErrorInfo that sendgate sends.
pub(super) const DOMAIN: &str = "sendgate";

/// A status with an ErrorInfo.
pub(super) fn status(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, []);
    Status::with_error_details(code, message, details)
}

/// The answer to a call that reaches no handler.
pub(super) fn refused(status: Status) -> BoxFuture<Response<Body>, Infallible> {
    Box::pin(std::future::ready(Ok(status.into_http())))
}

/// RESOURCE_EXHAUSTED because others are being served: nothing happened, and the
/// same call may be made again when the RetryInfo says.
pub(super) fn overloaded(reason: &str, message: impl Into<String>) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, []);
    details.set_retry_info(Some(caps::RETRY_AFTER));
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// The ledger could not be read: what a caller may know of it.
pub(super) fn unreadable(error: impl std::fmt::Display) -> Status {
    tracing::error!(%error, "the ledger could not be read");
    status(Code::Internal, "LEDGER_UNREADABLE", "the ledger could not be read")
}

/// INVALID_ARGUMENT naming the field.
pub(super) fn invalid(field: &str, message: impl Into<String>) -> Status {
    let message = message.into();
    let mut details = ErrorDetails::with_bad_request_violation(field, message.clone());
    details.set_error_info("INVALID_ARGUMENT", DOMAIN, [("field".to_owned(), field.to_owned())]);
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {message}"), details)
}

/// The status of a read of the ledger that failed.
impl From<ReadError> for Status {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooManyEvents => status(
                Code::ResourceExhausted,
                "TOO_MANY_EVENTS",
                format!("{error}: read them page by page with History"),
            ),
            ReadError::Store(_) | ReadError::Policy(_) => {
                tracing::error!(%error, "the ledger could not be read");
                status(Code::Internal, "LEDGER_UNREADABLE", "the ledger could not be read")
            }
        }
    }
}

pub(super) fn not_declared(error: &NotDeclared) -> Status {
    let details = ErrorDetails::with_error_info(
        "NOT_DECLARED",
        DOMAIN,
        [(error.class.to_string(), error.name.clone())],
    );
    Status::with_error_details(Code::NotFound, error.to_string(), details)
}

/// The status of a request that stands or falls as a whole.
impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal.code {
            RejectCode::NotFound => status(Code::NotFound, "NOT_DECLARED", refusal.message),
            _ => invalid(&refusal.field, refusal.message),
        }
    }
}

impl From<WriteError> for Status {
    fn from(error: WriteError) -> Self {
        let message = error.to_string();
        match error {
            WriteError::Busy => overloaded("WRITER_BUSY", message),
            WriteError::Memory => overloaded("MEMORY_SHORT", message),
            WriteError::Stopped => status(Code::Unavailable, "STOPPING", message),
            WriteError::OutcomeUnknown => status(Code::Internal, "OUTCOME_UNKNOWN", message),
            WriteError::NotAPolicy(_) => invalid("toml", message),
            WriteError::NotRestored(_) => status(Code::FailedPrecondition, "NOT_RESTORED", message),
            WriteError::Policy(_) => status(Code::FailedPrecondition, "POLICY_REFUSED", message),
        }
    }
}
