//! Why a command failed, and the exit code that says so.

use std::{error::Error, fmt, io, process::ExitCode};

use tonic::Status;

use crate::{client::ClientError, formats::MappingError, iys::TooManyRows};

/// A command that did not do what it was asked to.
#[derive(Debug)]
pub enum Failure {
    /// It failed.
    Failed(String),
    /// It was asked for something that makes no sense.
    Usage(String),
    /// The server cannot be reached or is not ready.
    Unavailable(String),
}

impl Failure {
    /// A failure of the work itself.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::Failed(what.into())
    }

    /// A wrong usage.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::Usage(what.into())
    }

    /// The exit code, as `sendgate --help` lists it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failed(_) => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
            Self::Unavailable(_) => ExitCode::from(3),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(what) | Self::Usage(what) | Self::Unavailable(what) => {
                formatter.write_str(what)
            }
        }
    }
}

impl Error for Failure {}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let what = error.to_string();
        if error.is_unavailable() { Self::Unavailable(what) } else { Self::Failed(what) }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        ClientError::from(status).into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<MappingError> for Failure {
    fn from(error: MappingError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<TooManyRows> for Failure {
    fn from(error: TooManyRows) -> Self {
        Self::Failed(error.to_string())
    }
}
