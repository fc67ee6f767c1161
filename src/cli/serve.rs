//! `sendgate serve`: the server.

use std::{io::IsTerminal, net::SocketAddr, path::PathBuf, process::ExitCode};

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::Failure;
use crate::{
    app::{AppError, Config, Server},
    caps::Limits,
    clock::Clock,
    tokens::Tokens,
    transport::TlsFiles,
};

/// Flags of `sendgate serve`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the store; made if it is missing.
    #[arg(long, value_name = "DIR", default_value = "sendgate-data", env = "SENDGATE_DATA")]
    data: PathBuf,
    /// Address to listen on; port 0 takes a free one.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:50051",
        env = "SENDGATE_LISTEN"
    )]
    listen: SocketAddr,
    /// Listen on an address that is not loopback without TLS or without tokens
    #[arg(long)]
    insecure: bool,
    /// The server's certificate in PEM form, with those between it and its authority
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "SENDGATE_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM form, which only the server's user may read
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "SENDGATE_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// The authorities whose certificates clients must show, in PEM form
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "SENDGATE_TLS_CLIENT_CA")]
    tls_client_ca: Option<PathBuf>,
}

/// Serves until a signal asks to stop, or the ledger fails.
///
/// # Errors
/// The store is refused, the address is taken, or a write failed.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    let filter = EnvFilter::try_from_env("SENDGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let has_tokens = Tokens::are_required(&args.data);
    may_listen(args.listen, args.tls_cert.is_some(), has_tokens, args.insecure)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the system gives no threads: {error}")))?;
    let ended = runtime.block_on(serve(args));
    ended.map(|()| ExitCode::SUCCESS).map_err(|error| Failure::failed(error.to_string()))
}

/// Whether this address may be listened on: others than loopback need TLS and
/// tokens, or the word of whoever starts the server.
fn may_listen(
    listen: SocketAddr,
    has_tls: bool,
    has_tokens: bool,
    insecure: bool,
) -> Result<(), Failure> {
    let missing = match (has_tls, has_tokens) {
        _ if listen.ip().is_loopback() => return Ok(()),
        (true, true) => return Ok(()),
        (true, false) => "without tokens: anybody who reaches it could read and withdraw consents",
        (false, true) => "without TLS: anybody on the way could read and change what is sent",
        (false, false) => {
            "with neither TLS nor tokens: anybody who reaches it could read and withdraw consents"
        }
    };
    if insecure {
        tracing::warn!(address = %listen, "listening {missing}");
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{listen} is not a loopback address, and this would listen {missing}. Say --insecure if the \
         network is yours alone"
    )))
}

async fn serve(args: Args) -> Result<(), AppError> {
    let folder = args.data.display().to_string();
    tracing::info!(folder, "opening the store");
    let files = args.tls_cert.zip(args.tls_key);
    let config = Config {
        folder: args.data,
        listen: args.listen,
        tls: files.map(|(certificate, key)| TlsFiles {
            certificate,
            key,
            client_ca: args.tls_client_ca,
        }),
        limits: Limits::default(),
        clock: Clock::System,
    };
    let signals = |kind| signal(kind).map_err(|error| AppError::Start(error.to_string()));
    let (mut terminate, mut interrupt) =
        (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
    let mut hangup = signals(SignalKind::hangup())?;
    let server = Server::start(config).await?;
    tracing::info!(address = %server.address(), revision = server.revision(), "serving");
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                server.reload_certificates().await;
                continue;
            }
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
            () = server.failed() => tracing::error!("a part of the server ended: stopping"),
        }
        break;
    }
    server.stop().await?;
    tracing::info!("stopped");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_needs_tls_and_tokens_or_a_word() {
        let may = |listen: &str, has_tls, has_tokens, insecure| {
            may_listen(listen.parse().unwrap(), has_tls, has_tokens, insecure).is_ok()
        };
        for loopback in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"] {
            assert!(may(loopback, false, false, false), "{loopback}");
        }
        for open in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "[::ffff:10.0.0.1]:1"] {
            assert!(may(open, true, true, false), "{open}");
            assert!(!may(open, true, false, false), "{open}");
            assert!(!may(open, false, true, false), "{open}");
            assert!(!may(open, false, false, false), "{open}");
            assert!(may(open, false, false, true), "{open}");
        }
    }
}
