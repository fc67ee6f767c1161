//! The gRPC services: they check, translate, and call one thing each.

mod access;
mod admin;
mod answered;
mod audited;
mod backup;
mod begun;
mod check;
mod consent;
mod convert;
mod convert_record;
mod describe;
mod explain;
mod export;
mod filter;
mod gate;
mod history;
mod interruption;
mod measures;
mod moment;
mod question;
mod reach;
mod ready;
mod refusal;
mod replay;
mod rights;
mod routes;
mod statistics;
mod status;
mod streams;
mod supervised;
mod tally;
mod tokens;
mod totals;
mod traced;
mod watch;

pub use self::{measures::PlanesMemory, routes::Routes, streams::Streams, tally::Tally};

use std::sync::Arc;

use tokio::sync::{Semaphore, watch::Receiver};
use tonic_health::pb::health_server::{Health, HealthServer};

use self::{gate::Gated, routes::Route};
use crate::{
    audit::Audit,
    caps,
    proto::{
        DESCRIPTORS,
        v1::{
            admin_service_server::AdminServiceServer, consent_service_server::ConsentServiceServer,
            filter_service_server::FilterServiceServer,
        },
    },
    reader::Reader,
    tokens::Tokens,
    writer::{Published, WriterHandle},
};

/// What the services share.
#[derive(Clone)]
pub struct Services {
    /// The current view.
    pub published: Arc<Published>,
    /// Takes writes.
    pub writer: WriterHandle,
    /// Reads single records.
    pub reader: Reader,
    /// The filter streams that are open.
    pub streams: Arc<Streams>,
    /// What they have answered.
    pub tally: Arc<Tally>,
    /// The memory of all planes, as it was measured last.
    pub planes_memory: Arc<PlanesMemory>,
    /// Room for batches being filtered and for answers that wait, in KiB.
    pub room: Arc<Semaphore>,
    /// Room for counts.
    pub reaches: Arc<Semaphore>,
    /// Room for exports.
    pub exports: Arc<Semaphore>,
    /// Room for watch streams.
    pub watches: Arc<Semaphore>,
    /// Who read what of whom.
    pub audit: Arc<Audit>,
    /// Who may call.
    pub tokens: Arc<Tokens>,
    /// When the server started, in ms.
    pub started: i64,
    /// Turns true when the server stops: streams without an end of their own
    /// must end then.
    pub stopping: Receiver<bool>,
    /// Turns true when it has waited long enough: all streams must end then.
    pub cutting: Receiver<bool>,
}

impl Services {
    /// The ways to all services behind the gate, with reflection, and to that of
    /// health, which is open to everybody.
    ///
    /// # Errors
    /// The descriptors compiled into the program cannot be read.
    pub fn routes(
        self,
        health: HealthServer<impl Health>,
    ) -> Result<Routes, tonic_reflection::server::Error> {
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let filter = FilterServiceServer::new(self.clone())
            .max_decoding_message_size(caps::MESSAGE_BYTES)
            .max_encoding_message_size(caps::ANSWER_BYTES);
        let consent =
            ConsentServiceServer::new(self.clone()).max_decoding_message_size(caps::MESSAGE_BYTES);
        let admin =
            AdminServiceServer::new(self.clone()).max_decoding_message_size(caps::MESSAGE_BYTES);
        Ok(Routes::of([
            Route::to(Gated::new(filter, &self)),
            Route::to(Gated::new(consent, &self)),
            Route::to(Gated::new(admin, &self)),
            Route::to(Gated::new(reflection().build_v1()?, &self)),
            Route::to(Gated::new(reflection().build_v1alpha()?, &self)),
            Route::to(health),
        ]))
    }
}
