//! A thin helper over the generated clients, for the command line, the load
//! generator and examples.
//!
//! It adds what every careful caller needs: limits, several requests in
//! flight, and a check of each answer. Whatever is wrong with an answer is an
//! error, and an error means: send to nobody that has no answer.

mod answer;
mod audience;
mod bearer;
mod error;
mod filter;
mod import;
mod tls;

use std::time::Duration;

use tonic::{
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

pub use self::{
    answer::{ScopeVerdicts, Verdicts},
    audience::Audience,
    bearer::Bearer,
    error::ClientError,
    filter::{FilterStream, Recipients},
    import::{Acknowledged, Counts, ImportStream},
    tls::ClientTls,
};
use crate::{
    proto::v1::{
        admin_service_client::AdminServiceClient, consent_service_client::ConsentServiceClient,
        filter_service_client::FilterServiceClient,
    },
    tokens::Token,
};

/// Where a server listens when nobody said otherwise.
pub const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:50051";

/// Largest message that is accepted, in bytes. The largest of the server's are
/// answers about audiences, of 16 MiB; the margin lets a newer server add fields.
const MAX_DECODED_BYTES: usize = 20 << 20;
/// Largest message that is sent, in bytes: the server's cap.
const MAX_ENCODED_BYTES: usize = 4 << 20;
/// HTTP/2 flow-control window in bytes. The protocol's default of 64 KiB would
/// make each answer wait for a round trip.
const WINDOW_BYTES: u32 = 4 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent connection is probed after this time, so that a machine that went
/// away ends a stream instead of hanging it.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// One connection to a server. Clones share it; one HTTP/2 connection is one
/// lock, so callers that want more than a core open several.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    bearer: Bearer,
    /// Whether a token may be shown.
    is_private: bool,
}

/// What calls go through: it shows the client's token with each.
pub type Calls = InterceptedService<Channel, Bearer>;

impl Client {
    /// Connects to `endpoint`, such as [`DEFAULT_ENDPOINT`].
    ///
    /// # Errors
    /// `endpoint` is not a URL, or nobody answers there.
    pub async fn connect(endpoint: &str) -> Result<Self, ClientError> {
        Self::connect_with(endpoint, &ClientTls::default()).await
    }

    /// Connects to `endpoint`, by TLS if it begins with `https`.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); and the certificates do not serve the
    /// endpoint, or the server's is not trusted.
    pub async fn connect_with(endpoint: &str, tls: &ClientTls) -> Result<Self, ClientError> {
        let unreachable = |error| ClientError::unreachable(endpoint, &error);
        let server = Endpoint::from_shared(endpoint.to_owned()).map_err(unreachable)?;
        let is_private = bearer::is_private(server.uri());
        let channel = tls
            .apply(server)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .connect()
            .await
            .map_err(unreachable)?;
        Ok(Self { channel, bearer: Bearer::default(), is_private })
    }

    /// Lets a token be shown though others may read along on the way.
    #[must_use]
    pub fn insecure(self) -> Self {
        Self { is_private: true, ..self }
    }

    /// Shows this token with every call.
    ///
    /// # Errors
    /// It would go in clear to another machine, and nobody has said that this is
    /// [meant](Self::insecure).
    pub fn with_token(self, token: Option<&Token>) -> Result<Self, ClientError> {
        if token.is_some() && !self.is_private {
            let what = "a token goes over TLS or loopback only; use https://";
            return Err(ClientError::Setup(what.to_owned()));
        }
        Ok(Self { bearer: Bearer::new(token), ..self })
    }

    fn calls(&self) -> Calls {
        InterceptedService::new(self.channel.clone(), self.bearer.clone())
    }

    /// The generated client of the filter service.
    #[must_use]
    pub fn filter_service(&self) -> FilterServiceClient<Calls> {
        FilterServiceClient::new(self.calls())
            .max_decoding_message_size(MAX_DECODED_BYTES)
            .max_encoding_message_size(MAX_ENCODED_BYTES)
    }

    /// The generated client of the consent service.
    #[must_use]
    pub fn consent_service(&self) -> ConsentServiceClient<Calls> {
        ConsentServiceClient::new(self.calls())
            .max_decoding_message_size(MAX_DECODED_BYTES)
            .max_encoding_message_size(MAX_ENCODED_BYTES)
    }

    /// The generated client of the admin service.
    #[must_use]
    pub fn admin_service(&self) -> AdminServiceClient<Calls> {
        AdminServiceClient::new(self.calls())
            .max_decoding_message_size(MAX_DECODED_BYTES)
            .max_encoding_message_size(MAX_ENCODED_BYTES)
    }
}

#[cfg(test)]
mod tests;
