//! What `/metrics` shows: the process from its first moment on, and what the
//! services know once there are any.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use crate::{
    health::{Check, Health},
    memory,
    metrics::{Page, names},
    service::Services,
    transport::{Connections, Tls},
};

/// A server as it is seen from outside.
pub struct Seen {
    /// When it started, in ms.
    started: i64,
    /// The folder of the store.
    folder: PathBuf,
    health: Arc<Health>,
    serving: OnceLock<Serving>,
}

/// What there is once the store is open.
pub struct Serving {
    /// The services.
    pub services: Services,
    /// Who is connected.
    pub connections: Arc<Connections>,
    /// Its TLS, if it has one.
    pub tls: Option<Arc<Tls>>,
}

impl Seen {
    /// A server that begins.
    #[must_use]
    pub fn new(started: i64, folder: PathBuf, health: Arc<Health>) -> Self {
        Self { started, folder, health, serving: OnceLock::new() }
    }

    /// Notes that the store is open.
    pub fn serving(&self, serving: Serving) {
        // There is one start, and so nothing to be replaced.
        drop(self.serving.set(serving));
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// The page of metrics as of now.
    pub(super) fn page(&self) -> String {
        let mut page = Page::default();
        self.process(&mut page);
        let failing = self.health.failing();
        page.value(&names::READY, u8::from(failing.is_empty()));
        let checks = Check::ALL.map(|it| ([it.name()], u8::from(failing.contains(&it))));
        page.values(&names::FAILING, checks);
        if let Some(serving) = self.serving.get() {
            serving.services.measure(&mut page);
            serving.network(&mut page);
        }
        page.into_text()
    }

    fn process(&self, page: &mut Page) {
        let build = [env!("CARGO_PKG_VERSION"), env!("RUSTC_VERSION")];
        page.values(&names::BUILD, [(build, 1)]);
        page.value(&names::START, seconds(self.started));
        if let Some(bytes) = memory::resident() {
            page.value(&names::RESIDENT, bytes);
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            page.value(&names::OPEN_FILES, files.count());
        }
        if let Ok(disk) = rustix::fs::statvfs(&self.folder) {
            page.value(&names::DISK_FREE, disk.f_bavail.saturating_mul(disk.f_frsize));
            page.value(&names::DISK_SIZE, disk.f_blocks.saturating_mul(disk.f_frsize));
        }
    }
}

impl Serving {
    fn network(&self, page: &mut Page) {
        let Self { connections, tls, .. } = self;
        let states = connections.by_state().map(|(state, count)| ([state], count));
        page.values(&names::CONNECTIONS, states);
        let refused = connections.refused().map(|(reason, count)| ([reason], count));
        page.values(&names::REFUSED_CONNECTIONS, refused);
        let bytes = connections.bytes().map(|(direction, bytes)| ([direction], bytes));
        page.values(&names::TRANSPORT_MEMORY, bytes);
        if let Some(tls) = tls {
            page.value(&names::CERTIFICATE_EXPIRY, seconds(tls.expires()));
        }
    }
}

/// A time in ms, as Prometheus has it.
fn seconds(unix_ms: i64) -> f64 {
    unix_ms as f64 / 1_000.0
}
