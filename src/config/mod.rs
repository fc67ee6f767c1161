//! What an operator may tell the server: by default, in a file, in the
//! environment, by flags, the later over the earlier.
//!
//! A key is a field of [`Settings`], and that is all there is to write for one.
//! clap makes its flag, default, help and parser of it; its variable has its
//! name in capitals; its value in the file and in the environment goes through
//! the parser of the flag.

mod file;
mod key;
mod read;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::{ArgAction, ValueEnum, builder::RangedU64ValueParser};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

pub use self::{
    key::Key,
    read::{Configuration, Entry, Flags, Origin, Problem, read},
};
use crate::caps::{self, Limits};

/// Everything that can be configured, as it is in force.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// Folder of the store; made if it is missing
    #[arg(long, value_name = "DIR", default_value = "sendgate-data")]
    pub data: PathBuf,
    /// Address to listen on for gRPC, with its port; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    pub listen: SocketAddr,
    /// Listen on an address that is not loopback without TLS or without tokens
    #[arg(
        long,
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value = "false"
    )]
    pub insecure: bool,
    /// The server's certificate in PEM form, with those between it and its authority
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM form, which only the server's user may read
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// The authorities whose certificates clients must show, in PEM form
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
    /// Address of health and metrics over HTTP, with its port; "off" for none
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9464",
        value_parser = address_or_off
    )]
    pub http_listen: AddressOrOff,
    /// Form of the log, on standard error: "text" or "json"
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub log_format: LogFormat,
    /// What the log tells: error, warn, info, debug or trace, also by module, as in
    /// "info,sendgate::writer=debug"
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = log_level)]
    pub log_level: String,
    /// Seconds that a stop may take: half for open streams, the rest for a checkpoint,
    /// 1 to 3600
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = caps::DRAIN.as_secs(),
        value_parser = within::<u64>(caps::DRAIN_CHOICE)
    )]
    pub shutdown_deadline: u64,
    /// Connections at once, 1 to 65536
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = caps::CONNECTIONS,
        value_parser = within::<usize>(caps::CONNECTIONS_CHOICE)
    )]
    pub connections: usize,
    /// Connections at once from one peer (an IPv4 address, or a /64 of IPv6), 1 to 65536
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = caps::PEER_CONNECTIONS,
        value_parser = within::<usize>(caps::CONNECTIONS_CHOICE)
    )]
    pub peer_connections: usize,
    /// Seconds that a client may take for its next message or for reading an answer,
    /// 1 to 86400
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = caps::STREAM_IDLE.as_secs(),
        value_parser = within::<u64>(caps::STREAM_IDLE_CHOICE)
    )]
    pub stream_idle: u64,
    /// Seconds after which a stream ends and its client opens another, 60 to 604800
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = caps::STREAM_AGE.as_secs(),
        value_parser = within::<u64>(caps::STREAM_AGE_CHOICE)
    )]
    pub stream_age: u64,
    /// MiB of memory for batches that are being filtered, all streams together,
    /// 256 to 1048576
    #[arg(
        long,
        value_name = "MIB",
        default_value_t = caps::FILTER_KIB >> 10,
        value_parser = within::<usize>(caps::FILTER_MIB_CHOICE)
    )]
    pub filter_memory: usize,
    /// MiB of memory for unfinished requests, and again for unread answers, all
    /// connections together, 128 to 1048576
    #[arg(
        long,
        value_name = "MIB",
        default_value_t = caps::TRANSPORT_BYTES >> 20,
        value_parser = within::<usize>(caps::TRANSPORT_MIB_CHOICE)
    )]
    pub transport_memory: usize,
}

/// An address, or none. By this name clap takes it for a value that is always
/// there, and not for one that may be left out.
pub type AddressOrOff = Option<SocketAddr>;

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

impl Settings {
    /// The limits that these settings mean.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            connections: self.connections,
            peer_connections: self.peer_connections,
            stream_idle: Duration::from_secs(self.stream_idle),
            stream_age: Duration::from_secs(self.stream_age),
            filter_kib: self.filter_memory << 10,
            transport_bytes: self.transport_memory << 20,
            drain: Duration::from_secs(self.shutdown_deadline),
            ..Limits::default()
        }
    }

    /// What is wrong between keys whose values are each right.
    fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            found.push("tls_cert and tls_key go together: set both or neither".to_owned());
        }
        if self.tls_client_ca.is_some() && self.tls_cert.is_none() {
            found.push("tls_client_ca needs tls_cert and tls_key".to_owned());
        }
        if self.http_listen == Some(self.listen) && self.listen.port() != 0 {
            found
                .push("listen and http_listen are the same address: give each its port".to_owned());
        }
        found
    }
}

fn within<T: TryFrom<u64>>(range: RangeInclusive<u64>) -> RangedU64ValueParser<T> {
    RangedU64ValueParser::new().range(range)
}

fn address_or_off(text: &str) -> Result<AddressOrOff, std::net::AddrParseError> {
    if text == "off" { Ok(None) } else { text.parse().map(Some) }
}

/// Reads what the log tells. A misspelt level would pass for the name of a
/// module and silence the rest.
fn log_level(text: &str) -> Result<String, String> {
    let is_level = |part: &str| part.contains(['=', '[']) || part.parse::<LevelFilter>().is_ok();
    if let Some(wrong) = text.split(',').find(|part| !is_level(part.trim())) {
        return Err(format!("\"{wrong}\" is no level"));
    }
    let read = EnvFilter::builder().parse(text);
    read.map(|_| text.to_owned()).map_err(|error| error.to_string())
}
