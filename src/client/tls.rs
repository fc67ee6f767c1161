//! What a client needs to speak TLS.

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::ClientError;

/// Whom a client trusts, and who it is; all in PEM form.
#[derive(Clone, Default)]
pub struct ClientTls {
    /// The authorities that may vouch for the server. None are built in: a
    /// server of one's own has an authority of one's own.
    pub authorities: Option<Vec<u8>>,
    /// The client's certificate and its private key, for servers that ask.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl ClientTls {
    /// Puts TLS on an endpoint whose URL begins with `https`.
    pub(super) fn apply(&self, endpoint: Endpoint) -> Result<Endpoint, ClientError> {
        let url = endpoint.uri().clone();
        let wrong = |what: &str| Err(ClientError::Setup(format!("{url}: {what}")));
        if url.scheme_str() != Some("https") {
            // Whoever names an authority expects encryption.
            return match self {
                Self { authorities: None, identity: None } => Ok(endpoint),
                _ => wrong("certificates were given, so the endpoint must begin with https://"),
            };
        }
        let Some(authorities) = &self.authorities else {
            return wrong("name the authority of the server's certificate (--tls-ca)");
        };
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities));
        if let Some((certificate, key)) = &self.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        endpoint.tls_config(config).map_err(|error| {
            ClientError::Setup(format!("{url}: {}", super::error::innermost(&error)))
        })
    }
}
