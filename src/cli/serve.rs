//! `sendgate serve`: the server.

use std::{net::SocketAddr, process::ExitCode};

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, config, systemd, telemetry::Telemetry};
use crate::{
    app::{AppError, Config, Server},
    caps,
    clock::Clock,
    config::{Flags, Problem, Settings},
    tokens::Tokens,
    transport::{Tls, TlsFiles},
};

/// Flags of `sendgate serve`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
}

/// Serves until a signal asks to stop, or the ledger fails.
///
/// # Errors
/// The configuration is wrong, the store is refused, the address is taken, or a
/// write failed.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let settings = config::read(&args.flags)?.settings;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the system gives no threads: {error}")))?;
    let telemetry = runtime.block_on(async { Telemetry::begin(&settings) });
    may_listen(&settings).map_err(Failure::usage)?;
    let ended = runtime.block_on(serve(settings));
    telemetry.end();
    // What still counts or reads for callers who are gone is not waited for.
    runtime.shutdown_timeout(caps::CUT);
    ended.map(|()| ExitCode::SUCCESS).map_err(|error| Failure::failed(error.to_string()))
}

/// What would keep a server with these settings from starting, as far as their
/// surroundings show: the addresses' reach and the files of TLS.
pub(super) fn problems(settings: &Settings) -> Vec<Problem> {
    let tls = tls_files(settings).map(|files| Tls::open(files, Clock::System).map(drop));
    let tls = tls.transpose().map_err(|error| error.to_string());
    let found = [may_listen(settings).err(), tls.err()];
    found.into_iter().flatten().map(Problem::new).collect()
}

fn tls_files(settings: &Settings) -> Option<TlsFiles> {
    let files = settings.tls_cert.clone().zip(settings.tls_key.clone());
    files.map(|(certificate, key)| TlsFiles {
        certificate,
        key,
        client_ca: settings.tls_client_ca.clone(),
    })
}

fn may_listen(settings: &Settings) -> Result<(), String> {
    let has_tokens = Tokens::are_required(&settings.data);
    may_listen_on(settings.listen, settings.tls_cert.is_some(), has_tokens, settings.insecure)
}

/// Whether this address may be listened on: others than loopback need TLS and
/// tokens, or the word of whoever starts the server.
fn may_listen_on(
    listen: SocketAddr,
    has_tls: bool,
    has_tokens: bool,
    insecure: bool,
) -> Result<(), String> {
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
    Err(format!(
        "{listen} is not a loopback address, and this would listen {missing}. Say --insecure if the \
         network is yours alone"
    ))
}

async fn serve(settings: Settings) -> Result<(), AppError> {
    tracing::info!(folder = %settings.data.display(), "opening the store");
    let config = Config {
        listen: settings.listen,
        http: settings.http_listen,
        tls: tls_files(&settings),
        limits: settings.limits(),
        folder: settings.data,
        clock: Clock::System,
    };
    let deadline = config.limits.drain;
    let signals = |kind| signal(kind).map_err(|error| AppError::Start(error.to_string()));
    // Files are read anyway: a hook for new certificates must not end a start.
    let mut hangup = signals(SignalKind::hangup())?;
    // Until it serves, another signal ends the process as it always would: a store
    // that is being opened takes no harm, and its opening may take minutes.
    let server = tokio::select! {
        started = Server::start(config) => started?,
        never = systemd::opening() => match never {},
    };
    let (mut terminate, mut interrupt) =
        (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
    if let Some(address) = server.http_address() {
        tracing::info!(http = %address, "telling of health and metrics");
    }
    tracing::info!(address = %server.address(), revision = server.revision(), "serving");
    systemd::ready(&server);
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                systemd::reloading();
                server.reload_certificates().await;
                systemd::ready(&server);
                continue;
            }
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
            () = server.failed() => tracing::error!("a part of the server ended: stopping"),
            never = systemd::serving(&server) => match never {},
        }
        break;
    }
    systemd::stopping(deadline);
    let again = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("a second signal: stopping at once");
    };
    server.stop_or_hurry(again).await?;
    tracing::info!("stopped");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_needs_tls_and_tokens_or_a_word() {
        let may = |listen: &str, has_tls, has_tokens, insecure| {
            may_listen_on(listen.parse().unwrap(), has_tls, has_tokens, insecure).is_ok()
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
