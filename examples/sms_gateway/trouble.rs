//! Why a session ended, and whether another one may fare better.
//!
//! Filtering changes nothing, so asking again is always safe. It is pointless
//! where the server understood the question and said no, and it is wrong where
//! the answers cannot be trusted: then somebody has to look.

use std::{fmt, io, time::Duration};

use sendgate::{cli, client::ClientError};
use tonic::Code;
use tonic_types::StatusExt;

/// Why nothing more is sent for now.
pub enum Trouble {
    /// The server, or the way there.
    Server(ClientError),
    /// The server's name, certificates or token, or it cannot be reached.
    Connection(cli::Failure),
    /// An answer that must not be used, though another one may be.
    Doubt(String),
    /// The spool or the provider.
    Own(io::Error),
}

impl Trouble {
    /// Whether it may pass by itself.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Server(ClientError::Status(status)) => !matches!(
                status.code(),
                Code::InvalidArgument
                    | Code::NotFound
                    | Code::PermissionDenied
                    | Code::Unauthenticated
                    | Code::OutOfRange
                    | Code::Unimplemented
            ),
            Self::Server(error) => error.is_unavailable(),
            Self::Connection(failure) => matches!(failure, cli::Failure::Unavailable(_)),
            Self::Doubt(_) => true,
            Self::Own(_) => false,
        }
    }

    /// How long the server asks to be left alone.
    pub fn wait(&self) -> Duration {
        let Self::Server(ClientError::Status(status)) = self else { return Duration::ZERO };
        status.get_details_retry_info().and_then(|retry| retry.retry_delay).unwrap_or_default()
    }

    /// Whether the server's history is not the one that we have seen: it was
    /// restored from a backup, or is another server.
    pub fn is_foreign_epoch(&self) -> bool {
        let Self::Server(ClientError::Status(status)) = self else { return false };
        status.get_details_error_info().is_some_and(|error| error.reason == "FOREIGN_EPOCH")
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(error) => error.fmt(formatter),
            Self::Connection(failure) => failure.fmt(formatter),
            Self::Doubt(what) => formatter.write_str(what),
            Self::Own(error) => error.fmt(formatter),
        }
    }
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        Self::Server(error)
    }
}

impl From<cli::Failure> for Trouble {
    fn from(failure: cli::Failure) -> Self {
        Self::Connection(failure)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Own(error)
    }
}
