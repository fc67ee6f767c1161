//! What the services know of themselves, as metrics.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use tokio::sync::Semaphore;

use super::Services;
use crate::{
    caps,
    domain::{
        contact::ContactKind,
        plane::{Area, PlaneId, PlaneRole},
        scope::{Regime, Scope},
    },
    engine::{plane::Plane, view::View},
    metrics::{Page, names},
};

/// The memory of all planes, as it was measured last: it walks all pages, which
/// whoever asks every few seconds must not make it do each time.
#[derive(Debug, Default)]
pub struct PlanesMemory(Mutex<Option<(Instant, u64)>>);

impl PlanesMemory {
    /// Bytes, measured within the last minute.
    pub(super) fn of(&self, view: &View) -> u64 {
        let mut measured = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *measured {
            Some((at, bytes)) if at.elapsed() < caps::PLANES_MEASURED => bytes,
            _ => {
                let planes = view.planes.all(&view.policy);
                let bytes = planes.map(|(_, plane)| plane.memory_bytes() as u64).sum();
                *measured = Some((Instant::now(), bytes));
                bytes
            }
        }
    }
}

impl Services {
    /// Writes everything that is counted here.
    pub fn measure(&self, page: &mut Page) {
        let view = self.published.load();
        self.measure_filters(page);
        self.measure_writer(page);
        measure_view(&view, page);
        page.value(&names::PLANES_MEMORY, self.planes_memory.of(&view));
        page.value(&names::HIDDEN_SCOPES, self.published.doubts().count());
        page.value(&names::TOKENS, self.tokens.list().len());
        let denials = self.audit.denials().map(|(reason, count)| ([reason.to_lowercase()], count));
        page.values(&names::DENIALS, denials);
        page.value(&names::AUDIT_FAILURES, self.audit.failures());
    }

    fn measure_filters(&self, page: &mut Page) {
        let tally = &self.tally;
        page.value(&names::RECIPIENTS, tally.recipients());
        let verdicts = tally.verdicts().map(|(reason, count)| {
            ([reason.map_or_else(|| "refused".to_owned(), |it| it.name().to_lowercase())], count)
        });
        page.values(&names::VERDICTS, verdicts);
        page.value(&names::BATCHES, tally.batches());
        let refused = tally.refused_batches().map(|(code, count)| {
            let name = code.as_str_name();
            let name = name.strip_prefix("BATCH_ERROR_CODE_").unwrap_or(name);
            ([name.to_lowercase()], count)
        });
        page.values(&names::REFUSED_BATCHES, refused);
        page.histogram(&names::BATCH_DURATION, &tally.durations().read());
        page.value(&names::OPEN_STREAMS, self.streams.count());
        page.value(&names::FILTER_FREE, self.room.available_permits() << 10);
        let running = |name, most: usize, room: &Semaphore| {
            ([name], most.saturating_sub(room.available_permits()))
        };
        let calls = [
            running("export", caps::EXPORTS, &self.exports),
            running("reach", caps::REACHES, &self.reaches),
            running("watch", caps::WATCHES, &self.watches),
        ];
        page.values(&names::CALLS, calls);
    }

    fn measure_writer(&self, page: &mut Page) {
        let (writer, measures) = (&self.writer, self.writer.measures());
        let changes = measures.changes().map(|(outcome, count)| ([outcome], count));
        page.values(&names::CHANGES, changes);
        let refused = measures.refusals().map(|(reason, count)| ([reason], count));
        page.values(&names::REFUSED_WRITES, refused);
        page.value(&names::IMPORTS, self.tally.imports());
        page.histogram(&names::COMMIT_DURATION, &measures.commits().read());
        page.histogram(&names::GROUP_CHANGES, &measures.groups().read());
        page.histogram(&names::SYNC_DURATION, &writer.syncs().read());
        page.value(&names::QUEUED, writer.queued());
        page.value(&names::QUEUE_CAPACITY, writer.queue_capacity());
        page.value(&names::CHECKPOINT_REVISION, measures.checkpoint());
        page.value(&names::CHECKPOINT_TIME, measures.checkpoint_time() as f64 / 1e3);
        page.value(&names::CHECKPOINT_DURATION, measures.checkpoint_took_us() as f64 / 1e6);
        page.value(&names::CHECKPOINTS, measures.checkpoints());
        if let Some(left) = writer.memory_left() {
            page.value(&names::MEMORY_LEFT, left);
        }
        let scrubbed = writer.scrubbed();
        page.value(&names::SCRUB_PASSES, scrubbed.passes());
        page.value(&names::SCRUBBED_PAGES, scrubbed.pages());
        page.value(&names::REBUILT_PAGES, scrubbed.rebuilt());
    }
}

fn measure_view(view: &View, page: &mut Page) {
    page.value(&names::REVISION, view.revision);
    page.value(&names::AS_OF, view.as_of() as f64 / 1e3);
    page.value(&names::ERASED, view.erased.len());
    let directories = &view.directories;
    page.value(&names::DIRECTORY_MEMORY, directories.bytes);
    let entries = [(["email"], directories.emails), (["external_id"], directories.external_ids)];
    page.values(&names::DIRECTORY_ENTRIES, entries);
    let verdicts = view.planes.all(&view.policy).filter_map(|(name, plane)| match name {
        PlaneId { area: Area::Scope(scope), kind, role: PlaneRole::Verdict } => {
            Some(scope_contacts(view, scope, kind, plane))
        }
        _ => None,
    });
    page.values(&names::SCOPE_CONTACTS, verdicts);
}

fn scope_contacts<'v>(
    view: &'v View,
    scope: Scope,
    kind: ContactKind,
    verdicts: &Plane,
) -> ([&'v str; 6], u64) {
    let policy = &view.policy;
    let is_opt_in = policy.rules(&scope).is_some_and(|it| it.regime == Regime::OptIn);
    let labels = [
        policy.brand_name(scope.brand),
        scope.recipient_type.name(),
        policy.channel_name(scope.channel),
        policy.purpose_name(scope.purpose),
        kind.name(),
        if is_opt_in { "permitted" } else { "refused" },
    ];
    (labels, verdicts.len())
}
