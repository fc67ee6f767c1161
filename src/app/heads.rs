//! How far the ledger has come, in the audit log: who keeps that log elsewhere
//! can show later whether the ledger was changed.

use std::sync::Arc;

use super::AppError;
use crate::{
    audit::{Audit, Head, Row},
    caps,
    reader::Reader,
    writer::Published,
};

/// Keeps telling the audit log how far the ledger has come.
pub(super) struct Heads {
    pub published: Arc<Published>,
    pub reader: Reader,
    pub audit: Arc<Audit>,
}

impl Heads {
    /// Tells it now.
    ///
    /// # Errors
    /// [`AppError`]: the ledger cannot be read, or the row not be written.
    pub fn record(&self, when: &'static str) -> Result<(), AppError> {
        let view = self.published.load();
        let chain = self.reader.chain(view.revision)?;
        let head = Head {
            when,
            epoch: view.epoch.to_string(),
            revision: view.revision,
            chain: chain.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        self.audit.record_durably(&Row::Head(head)).map_err(AppError::Audit)
    }

    /// Tells it now, and how many rows were left out before; an error is only logged.
    pub fn record_or_log(&self, when: &'static str) {
        let told = self.audit.left_out().map_err(AppError::Audit).and_then(|()| self.record(when));
        if let Err(error) = told {
            tracing::error!(%error, "the audit log did not get the head of the chain");
        }
    }

    /// Tells it every minute.
    pub async fn keep(self: Arc<Self>) {
        let mut minutes = tokio::time::interval(caps::AUDIT_HEAD);
        // The first tick is now, and the start has been told.
        minutes.tick().await;
        loop {
            minutes.tick().await;
            let heads = Arc::clone(&self);
            let told = tokio::task::spawn_blocking(move || heads.record_or_log("running"));
            // A panic there has been printed.
            drop(told.await);
        }
    }
}
