//! What can go wrong with a call.

use std::{
    error::Error,
    fmt::{self, Write as _},
};

use tonic::{Code, Status};

use crate::proto::v1::{BatchError, BatchErrorCode};

/// Why a call failed. On any of these, send to nobody that has no answer.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody answers at the endpoint, or it is not one.
    Unreachable {
        /// The endpoint as it was given.
        endpoint: String,
        /// What the transport said.
        reason: String,
    },
    /// The call was not made: what it needs is missing or wrong.
    Setup(String),
    /// The server answered with an error, or the connection broke.
    Status(Box<Status>),
    /// The server refused one batch of a filter stream.
    BatchRefused {
        /// The batch.
        batch_id: u64,
        /// The kind of refusal, such as `OVERLOADED`.
        code: String,
        /// What the server said about it.
        message: String,
    },
    /// An answer that no correct server gives. Nothing in it may be used.
    Contract(String),
}

impl ClientError {
    pub(super) fn unreachable(endpoint: &str, error: &tonic::transport::Error) -> Self {
        Self::Unreachable { endpoint: endpoint.to_owned(), reason: innermost(error) }
    }

    pub(super) fn refused(batch_id: u64, error: BatchError) -> Self {
        let code = error.code().as_str_name();
        let code = code.strip_prefix("BATCH_ERROR_CODE_").unwrap_or(code).to_owned();
        Self::BatchRefused { batch_id, code, message: error.message }
    }

    /// Whether the server is away, starting or overloaded, so that the same
    /// call may succeed later.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status(status) => {
                matches!(status.code(), Code::Unavailable | Code::ResourceExhausted)
            }
            Self::BatchRefused { code, .. } => [BatchErrorCode::NotYet, BatchErrorCode::Overloaded]
                .iter()
                .any(|transient| transient.as_str_name().ends_with(code.as_str())),
            Self::Setup(_) | Self::Contract(_) => false,
        }
    }

    /// Whether repeating a write, or going on with a feed, may help. It is always
    /// safe; it is pointless where the server understood the request and refused
    /// it.
    #[must_use]
    pub fn may_succeed_later(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status(status) => !matches!(
                status.code(),
                Code::InvalidArgument
                    | Code::NotFound
                    | Code::AlreadyExists
                    | Code::PermissionDenied
                    | Code::Unauthenticated
                    | Code::FailedPrecondition
                    | Code::OutOfRange
                    | Code::Unimplemented
            ),
            Self::Setup(_) | Self::BatchRefused { .. } | Self::Contract(_) => false,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { endpoint, reason } => {
                write!(formatter, "cannot reach {endpoint}: {reason}")
            }
            Self::Setup(what) => formatter.write_str(what),
            Self::Status(status) => {
                write!(formatter, "{}: {}", code_name(status.code()), status.message())?;
                // Transports say only that they failed, and why below.
                match status.source() {
                    Some(cause) => write!(formatter, " ({})", innermost(cause)),
                    None => Ok(()),
                }
            }
            Self::BatchRefused { batch_id, code, message } => {
                write!(formatter, "batch {batch_id} was refused, {code}: {message}")
            }
            Self::Contract(what) => {
                write!(formatter, "the server's answer cannot be trusted: {what}")
            }
        }
    }
}

impl Error for ClientError {}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// The last cause of an error: transports wrap "connection refused" in several
/// layers that say only "transport error".
pub(super) fn innermost(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// The code as the gRPC specification writes it: `FailedPrecondition` is
/// `FAILED_PRECONDITION`.
fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        let _ = write!(name, "{}", letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_names_are_those_of_the_specification() {
        assert_eq!(code_name(Code::FailedPrecondition), "FAILED_PRECONDITION");
        assert_eq!(code_name(Code::Ok), "OK");
    }

    #[test]
    fn only_transient_refusals_count_as_unavailable() {
        let refused = |code: BatchErrorCode| {
            ClientError::refused(1, BatchError { code: code.into(), ..Default::default() })
        };
        assert!(refused(BatchErrorCode::Overloaded).is_unavailable());
        assert!(refused(BatchErrorCode::NotYet).is_unavailable());
        assert!(!refused(BatchErrorCode::ScopeGone).is_unavailable());
        assert!(!refused(BatchErrorCode::Internal).is_unavailable());
    }
}
