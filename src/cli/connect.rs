//! Which server to ask, and how to be sure that it is the one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Failure, token};
use crate::client::{Client, ClientTls, DEFAULT_ENDPOINT};

/// Flags of every command that asks a server.
#[derive(clap::Args)]
pub struct Args {
    /// The server to ask
    #[arg(value_parser = endpoint, long, global = true, env = "SENDGATE_ENDPOINT", default_value = DEFAULT_ENDPOINT)]
    endpoint: String,
    /// The authority of the server's certificate, in PEM form; for https://
    #[arg(long, global = true, value_name = "FILE", env = "SENDGATE_TLS_CA")]
    tls_ca: Option<PathBuf>,
    /// This client's certificate in PEM form, for servers that ask for one
    #[arg(long, global = true, value_name = "FILE", env = "SENDGATE_CLIENT_CERT")]
    client_cert: Option<PathBuf>,
    /// The certificate's private key in PEM form
    #[arg(long, global = true, value_name = "FILE", env = "SENDGATE_CLIENT_KEY")]
    client_key: Option<PathBuf>,
    /// File with the token to show; nobody else may read it. Without it,
    /// SENDGATE_TOKEN holds the token, if one is needed
    #[arg(long, global = true, value_name = "FILE", env = "SENDGATE_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Show the token over plain http:// to another machine
    #[arg(long, global = true)]
    plaintext_token: bool,
}

impl Args {
    /// The URL of the server.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Connects.
    ///
    /// # Errors
    /// A file cannot be read or may be read by others, nobody answers, they are
    /// not trusted, or others could read the token on the way.
    pub async fn connect(&self) -> Result<Client, Failure> {
        let identity = match (&self.client_cert, &self.client_key) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            (None, None) => None,
            _ => return Err(Failure::usage("--client-cert and --client-key go together")),
        };
        let authorities = self.tls_ca.as_deref().map(read).transpose()?;
        let tls = ClientTls { authorities, identity };
        let token = token::shown(self.token_file.as_deref())?;
        let client = Client::connect_with(&self.endpoint, &tls).await?;
        let client = if self.plaintext_token { client.insecure() } else { client };
        client.with_token(token.as_ref()).map_err(|error| {
            Failure::usage(format!(
                "{error}, or say --plaintext-token if the network is yours alone"
            ))
        })
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(file).map_err(|error| Failure::failed(format!("{}: {error}", file.display())))
}

/// A server's URL; a bare address means http.
fn endpoint(text: &str) -> Result<String, String> {
    match text.split_once("://") {
        None => Ok(format!("http://{text}")),
        Some(("http" | "https", _)) => Ok(text.to_owned()),
        Some((scheme, _)) => {
            Err(format!("{scheme}:// is not spoken here: write http:// or https://"))
        }
    }
}
