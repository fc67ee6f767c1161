//! Why a server does not start, or ends.

use std::{fmt, io, net::SocketAddr};

use crate::{store::StoreError, tokens::TokensError, transport::TlsError};

/// Why a server did not start, or ended.
#[derive(Debug)]
pub enum AppError {
    /// The store is refused or failed.
    Store(StoreError),
    /// The address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// The address for health and metrics cannot be listened on.
    ListenHttp(SocketAddr, io::Error),
    /// A file of TLS is wrong.
    Tls(TlsError),
    /// The audit log cannot be written.
    Audit(io::Error),
    /// The tokens are refused.
    Tokens(TokensError),
    /// The system gave no thread, or the services could not be built.
    Start(String),
    /// The writer ended: what the disk holds is unknown until a restart (A10).
    Writer,
    /// Another part ended that the server cannot do without.
    Part,
}

impl fmt::Display for AppError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(formatter),
            Self::Listen(address, error) => write!(
                formatter,
                "cannot listen on {address}: {error}. Another server may have the port; choose one \
                 with --listen"
            ),
            Self::ListenHttp(address, error) => write!(
                formatter,
                "cannot listen on {address} for health and metrics: {error}. Another server may \
                 have the port; choose one with --http-listen"
            ),
            Self::Tls(error) => error.fmt(formatter),
            Self::Audit(error) => write!(
                formatter,
                "the audit log cannot be written: {error}. Without it nobody may read what was \
                 recorded of people"
            ),
            Self::Tokens(error) => error.fmt(formatter),
            Self::Start(what) => write!(formatter, "the server could not start: {what}"),
            Self::Writer => formatter.write_str(
                "the ledger could not be written, so the server stopped. Look at the disk, then start \
                 it again: it recovers what was acknowledged",
            ),
            Self::Part => formatter.write_str(
                "a part of the server ended that it cannot do without, so it stopped. Report what its \
                 log says, and start it again",
            ),
        }
    }
}

impl std::error::Error for AppError {}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
