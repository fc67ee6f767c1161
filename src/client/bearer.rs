//! The token that a client shows with every call.

use std::net::IpAddr;

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
    transport::Uri,
};

use crate::tokens::Token;

/// Adds a token to requests, if there is one. It prints without it.
#[derive(Clone, Debug, Default)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    pub(super) fn new(token: Option<&Token>) -> Self {
        // A token is plain text, which a header always takes.
        let value = token.and_then(|token| format!("Bearer {}", token.expose()).parse().ok());
        Self(value.map(|mut value: MetadataValue<Ascii>| {
            // Neither printed, nor kept in the connection's table of headers.
            value.set_sensitive(true);
            value
        }))
    }
}

/// Whether nobody on the way to this server can read along: a token is worth as
/// much as the wire is private.
pub(super) fn is_private(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    server.scheme_str() == Some("https")
        || host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(is_loopback)
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wire_is_private_by_tls_or_where_there_is_none() {
        let private = |url: &str| is_private(&url.parse().unwrap());
        for url in [
            "https://sendgate.example.com:50051",
            "https://10.0.0.1",
            "http://127.0.0.1:50051",
            "http://127.9.9.9",
            "http://localhost:1",
            "http://LocalHost",
            "http://[::1]:50051",
            "http://[::ffff:127.0.0.1]:1",
        ] {
            assert!(private(url), "{url}");
        }
        for url in [
            "http://sendgate.example.com:50051",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://10.0.0.1:50051",
            "http://0.0.0.0:50051",
            "http://[::]:50051",
            "http://[::ffff:10.0.0.1]:1",
            "http://[2001:db8::1]:50051",
        ] {
            assert!(!private(url), "{url}");
        }
    }

    #[test]
    fn a_request_shows_the_token_and_nothing_prints_it() {
        let token = Token::random();
        let mut bearer = Bearer::new(Some(&token));
        let request = bearer.call(Request::new(())).unwrap();
        let shown = request.metadata().get("authorization").unwrap();
        assert_eq!(shown.to_str().unwrap(), format!("Bearer {}", token.expose()));
        let digits = token.expose().trim_start_matches("sendgate_");
        for printed in [format!("{bearer:?}"), format!("{request:?}"), format!("{token:?}")] {
            assert!(!printed.contains(digits), "{printed}");
        }
        let request = Bearer::default().call(Request::new(())).unwrap();
        assert!(request.metadata().get("authorization").is_none());
    }
}
