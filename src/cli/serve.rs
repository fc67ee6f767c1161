//! `sendgate serve`: the server.

use std::{io::IsTerminal, net::SocketAddr, path::PathBuf, process::ExitCode};

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::Failure;
use crate::{
    app::{AppError, Config, Server},
    clock::Clock,
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
    /// Listen on an address that is not loopback, without encryption and without tokens.
    #[arg(long)]
    insecure: bool,
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
    if !args.listen.ip().is_loopback() && !args.insecure {
        return Err(Failure::usage(format!(
            "{} is not a loopback address, and this version has neither encryption nor tokens: \
             anybody who reaches it could read and withdraw consents. Say --insecure if the network \
             is yours alone",
            args.listen
        )));
    }
    if !args.listen.ip().is_loopback() {
        tracing::warn!(address = %args.listen, "listening without encryption and without tokens");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the system gives no threads: {error}")))?;
    let ended = runtime.block_on(serve(args));
    ended.map(|()| ExitCode::SUCCESS).map_err(|error| Failure::failed(error.to_string()))
}

async fn serve(args: Args) -> Result<(), AppError> {
    let folder = args.data.display().to_string();
    tracing::info!(folder, "opening the store");
    let config = Config { folder: args.data, listen: args.listen, clock: Clock::System };
    let signals = |kind| signal(kind).map_err(|error| AppError::Start(error.to_string()));
    let (mut terminate, mut interrupt) =
        (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
    let server = Server::start(config).await?;
    tracing::info!(address = %server.address(), revision = server.revision(), "serving");
    let mut failed = server.failed();
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        // An error means that the writer is gone, which is the same.
        _ = failed.wait_for(|failed| *failed) => tracing::error!("the writer ended: stopping"),
    }
    server.stop().await?;
    tracing::info!("stopped");
    Ok(())
}
