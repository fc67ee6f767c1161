//! The token that a client shows with every call.

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
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
