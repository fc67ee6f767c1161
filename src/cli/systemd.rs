//! What systemd is told of the server, where it runs it: that it opens its store,
//! serves, reloads or stops, and that it is alive.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is told to anybody.

use std::{convert::Infallible, time::Duration};

use sd_notify::NotifyState;
use tokio::time::{sleep, timeout};

use crate::app::Server;

/// How often it is told how far the server is.
const STATUS: Duration = Duration::from_secs(10);
/// For how long it is asked to wait further, in microseconds, each third of it.
const PATIENCE: Duration = Duration::from_secs(30);

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told of the server's state");
    }
}

fn wait_for(time: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
}

/// Asks for patience for as long as it is polled: a store with many events since
/// its checkpoint takes what it takes.
pub(super) async fn opening() -> Infallible {
    loop {
        tell(&[NotifyState::Status("opening the store"), wait_for(PATIENCE)]);
        sleep(PATIENCE / 3).await;
    }
}

/// Says that the server serves.
pub(super) fn ready(server: &Server) {
    tell(&[NotifyState::Ready, NotifyState::Status(&status(server))]);
}

/// Says that files are read anew; [`ready`] says that they have been.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "systemd could not be told of a reload"),
    }
}

/// Says that the server stops, and may take so long.
pub(super) fn stopping(deadline: Duration) {
    let status = NotifyState::Status("stopping: open streams end, then a checkpoint");
    tell(&[NotifyState::Stopping, status, wait_for(deadline + PATIENCE)]);
}

/// Says how far the server is, again and again, and if systemd watches it, that
/// it is alive: not unless the writer has answered. A thread that hangs in a
/// call to the disk answers nobody.
pub(super) async fn serving(server: &Server) -> Infallible {
    let watched = sd_notify::watchdog_enabled();
    let every = watched.map_or(STATUS, |period| STATUS.min(period / 4));
    loop {
        sleep(every).await;
        tell(&[NotifyState::Status(&status(server))]);
        if watched.is_some() {
            // A queue that stays full is stuck.
            if let Ok(Ok(())) = timeout(every, server.ping_writer()).await {
                tell(&[NotifyState::Watchdog]);
            }
        }
    }
}

fn status(server: &Server) -> String {
    format!("serving {} at revision {}", server.address(), server.current_revision())
}
