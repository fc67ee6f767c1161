//! Whether the server does its work: one source for gRPC's health service and
//! for `/readyz`, so that they never say different things.

use std::collections::BTreeSet;

use tokio::sync::{Mutex, watch};
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health as HealthApi, HealthServer},
    server::{HealthReporter, health_reporter},
};

/// What must hold for the server to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The store is open and brought up to date.
    Store,
    /// If it was restored, somebody has decided on what it lost.
    Restore,
    /// The writer works.
    Writer,
    /// Nobody has asked the server to stop.
    Running,
}

impl Check {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Store, Self::Restore, Self::Writer, Self::Running];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Restore => "restore",
            Self::Writer => "writer",
            Self::Running => "running",
        }
    }

    /// What is the matter when it fails, and what to do.
    #[must_use]
    pub fn trouble(self) -> &'static str {
        match self {
            Self::Store => "recovering: the store is being opened and brought up to date",
            Self::Restore => {
                "the store was restored from a backup and filters nothing: replay what came after \
                 it, then `sendgate restore accept`"
            }
            Self::Writer => {
                "the ledger could not be written: look at the disk, then start the server again"
            }
            Self::Running => "the server is stopping",
        }
    }

    /// Whether a service cannot work while this fails. A restored store takes
    /// withdrawals and decisions; whoever asks about the whole server may be
    /// about to filter (A1).
    fn concerns(self, service: &str) -> bool {
        self != Self::Restore || FILTERS.contains(&service)
    }
}

/// What a client may ask the health of. The empty name is the whole server.
const SERVICES: [&str; 4] =
    ["", "sendgate.v1.FilterService", "sendgate.v1.ConsentService", "sendgate.v1.AdminService"];
/// What filters nothing while a restored store waits for a decision.
const FILTERS: [&str; 2] = ["", "sendgate.v1.FilterService"];

/// The health of one server.
pub struct Health {
    failing: watch::Sender<BTreeSet<Check>>,
    /// Whoever changes something tells it before the next may.
    reporter: Mutex<HealthReporter>,
}

impl Health {
    /// The health of a server whose store is not open yet, and the service that
    /// tells clients.
    pub async fn new() -> (Self, HealthServer<impl HealthApi>) {
        let (reporter, service) = health_reporter();
        let failing = watch::Sender::default();
        let health = Self { failing, reporter: Mutex::new(reporter) };
        health.fail(Check::Store).await;
        (health, service)
    }

    /// Notes that a check fails from now on.
    pub async fn fail(&self, check: Check) {
        self.change(check, true).await;
    }

    /// Notes that a check holds from now on.
    pub async fn pass(&self, check: Check) {
        self.change(check, false).await;
    }

    /// The checks that fail now; the server is ready if there are none.
    #[must_use]
    pub fn failing(&self) -> BTreeSet<Check> {
        self.failing.borrow().clone()
    }

    async fn change(&self, check: Check, fails: bool) {
        let reporter = self.reporter.lock().await;
        self.failing.send_if_modified(|failing| {
            if fails { failing.insert(check) } else { failing.remove(&check) }
        });
        let failing = self.failing();
        for service in SERVICES {
            let works = !failing.iter().any(|check| check.concerns(service));
            let status = if works { ServingStatus::Serving } else { ServingStatus::NotServing };
            reporter.set_service_status(service, status).await;
        }
    }
}
