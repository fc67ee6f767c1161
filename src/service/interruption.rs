//! What ends a stream whatever its client does.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
};

use tokio::sync::watch::Receiver;
use tonic::{Code, Status};

use super::{Services, gate::Caller, status::status};

/// The end of a stream's right to go on: its caller's token is over, or the
/// server waits for nobody any more. All who serve the stream share one, so
/// that it is told of once.
pub(super) struct Interruption {
    services: Services,
    caller: Caller,
    stopping: Receiver<bool>,
    status: OnceLock<Status>,
}

impl Services {
    /// Of a stream whose client says when it is over: a stop waits a while.
    pub(super) fn when_cut_off(&self, caller: &Caller) -> Arc<Interruption> {
        self.interruption(caller, &self.cutting)
    }

    /// Of a stream that the server goes on with: a stop ends it.
    pub(super) fn when_stopped(&self, caller: &Caller) -> Arc<Interruption> {
        self.interruption(caller, &self.stopping)
    }

    fn interruption(&self, caller: &Caller, stopping: &Receiver<bool>) -> Arc<Interruption> {
        Arc::new(Interruption {
            services: self.clone(),
            caller: caller.clone(),
            stopping: stopping.clone(),
            status: OnceLock::new(),
        })
    }
}

impl Interruption {
    /// Returns once it has come, as often as it is asked.
    pub async fn comes(&self) -> Status {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            over = self.caller.over() => {
                self.status.get_or_init(|| self.services.over(&self.caller, over)).clone()
            }
            // An error means that the server is gone, which is the same.
            _ = stopping.wait_for(|is_true| *is_true) => {
                status(Code::Unavailable, "STOPPING", "the server is stopping; ask again later")
            }
        }
    }

    /// What this work comes to, unless the interruption comes first.
    ///
    /// # Errors
    /// Those of the work, or the status of the interruption.
    pub async fn or<T>(&self, work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        tokio::select! {
            biased;
            interrupted = self.comes() => Err(interrupted),
            done = work => done,
        }
    }
}
