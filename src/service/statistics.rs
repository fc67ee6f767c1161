//! What the server holds and does, as `GetStatistics` tells it.

use std::collections::{BTreeMap, HashMap};

use tonic::Status;

use super::{
    Services, admin::wire_scope, backup::restored_from, question::revision, status::unreadable,
};
use crate::{
    domain::{
        contact::ContactKind,
        plane::{Area, PlaneId, PlaneRole},
        reason::Reason,
        scope::Regime,
    },
    engine::{plane::Plane, view::View},
    memory,
    metrics::Histogram,
    proto::v1::{
        DurationHistogram, GetStatisticsResponse, PlaneStatistics, ReasonCount, ScopeStatistics,
    },
};

impl Services {
    pub(super) fn statistics(&self, without_planes: bool) -> Result<GetStatisticsResponse, Status> {
        let view = self.published.load();
        let (chain_head, redacted_payloads) = tokio::task::block_in_place(|| {
            (self.reader.chain(view.revision), self.reader.redacted_payloads())
        });
        let chain_head = chain_head.map_err(unreadable)?;
        let redacted_payloads = redacted_payloads.map_err(unreadable)?;
        // Measuring planes walks their pages.
        let (planes, scopes, planes_bytes) = tokio::task::block_in_place(|| {
            if without_planes {
                return (Vec::new(), Vec::new(), self.planes_memory.of(&view));
            }
            let mut memory: HashMap<(Area, ContactKind), u64> = HashMap::new();
            let planes = view.planes.all(&view.policy).map(|(name, plane)| {
                let statistics = plane_statistics(&view, name, plane);
                *memory.entry((name.area, name.kind)).or_default() += statistics.memory_bytes;
                statistics
            });
            let planes: Vec<PlaneStatistics> = planes.collect();
            let scopes = scope_statistics(&view, &memory);
            (planes, scopes, memory.values().sum())
        });
        let (writer, tally) = (&self.writer, &self.tally);
        let (measures, scrubbed) = (writer.measures(), writer.scrubbed());
        let directories = &view.directories;
        let count = |(reason, count): (Option<Reason>, u64)| ReasonCount {
            reason: reason.map_or(0, |reason| reason as i32),
            count,
        };
        Ok(GetStatisticsResponse {
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: Some(revision(&view, view.revision)),
            as_of_ms: view.as_of(),
            policy_version: view.policy.version().to_owned(),
            checkpoint_revision: measures.checkpoint(),
            emails: directories.emails,
            external_ids: directories.external_ids,
            directory_bytes: directories.bytes,
            planes_bytes,
            planes,
            scopes,
            recipients_filtered: tally.recipients(),
            open_streams: self.streams.count(),
            queued_writes: writer.queued(),
            chain_head: chain_head.iter().map(|byte| format!("{byte:02x}")).collect(),
            erased_contacts: view.erased.len() as u64,
            redacted_payloads,
            restored: self.published.restoration().map(restored_from),
            scrub_passes: scrubbed.passes(),
            scrubbed_pages: scrubbed.pages(),
            rebuilt_pages: scrubbed.rebuilt(),
            verdicts: tally.verdicts().filter(|(_, count)| *count > 0).map(count).collect(),
            batches: tally.batches(),
            refused_batches: tally.refused_batches().map(|(_, count)| count).sum(),
            batch_durations: Some(durations(tally.durations())),
            commit_durations: Some(durations(measures.commits())),
            sync_durations: Some(durations(writer.syncs())),
            recorded_changes: measures.recorded(),
            refused_writes: measures.refusals().map(|(_, count)| count).sum(),
            queue_capacity: writer.queue_capacity(),
            resident_bytes: memory::resident().unwrap_or(0),
            started_time_ms: self.started,
            checkpoint_time_ms: measures.checkpoint_time(),
        })
    }
}

fn durations(histogram: &Histogram) -> DurationHistogram {
    let read = histogram.read();
    DurationHistogram {
        count: read.count(),
        bounds_us: read.bounds.to_vec(),
        counts: read.counts,
        sum_us: read.sum,
    }
}

fn plane_statistics(view: &View, name: PlaneId, plane: &Plane) -> PlaneStatistics {
    let (policy, brand) = (&view.policy, name.area.brand());
    let scope = match name.area {
        Area::Scope(scope) => Some(scope),
        Area::Brand(_) => None,
    };
    let regime = scope.and_then(|scope| policy.rules(&scope)).map(|rules| rules.regime);
    let reason = match name.role {
        PlaneRole::Verdict if regime == Some(Regime::OptIn) => Reason::Permitted as i32,
        PlaneRole::Verdict => 0,
        PlaneRole::Reason(reason) => reason as i32,
    };
    PlaneStatistics {
        brand: policy.brand_name(brand).to_owned(),
        scope: scope.map(|scope| wire_scope(policy, &scope)),
        contact_kind: name.kind as i32,
        reason,
        contacts: plane.len(),
        pages: plane.pages().count() as u64,
        memory_bytes: plane.memory_bytes() as u64,
    }
}

/// What each scope knows of the contacts of each kind, with the memory of its
/// planes. A scope in which nobody is known is left out.
fn scope_statistics(
    view: &View,
    memory: &HashMap<(Area, ContactKind), u64>,
) -> Vec<ScopeStatistics> {
    let policy = &view.policy;
    let all = policy.scopes().iter().enumerate().flat_map(|(position, rules)| {
        let kinds = policy.kinds(rules.scope.channel).iter();
        kinds.map(move |kind| (position, rules, *kind))
    });
    let known = all.filter_map(|(position, rules, kind)| {
        let planes = view.answering(position, kind)?;
        // A contact stands in one plane of reasons: the scope's or its brand's.
        let mut by_reason: BTreeMap<Reason, u64> = BTreeMap::new();
        for (reason, plane) in planes.reasons() {
            *by_reason.entry(reason).or_default() += plane.len();
        }
        let permitted = planes.verdict().map_or(0, Plane::len);
        let permitted = (!rules.regime.permits_unknown()).then_some(permitted);
        let suppressed = by_reason.values().sum();
        let somebody_is_known = suppressed > 0 || permitted.is_some_and(|it| it > 0);
        let count = |(reason, count): (Reason, u64)| ReasonCount { reason: reason as i32, count };
        let memory = memory.get(&(Area::Scope(rules.scope), kind));
        somebody_is_known.then(|| ScopeStatistics {
            brand: policy.brand_name(rules.scope.brand).to_owned(),
            scope: Some(wire_scope(policy, &rules.scope)),
            contact_kind: kind as i32,
            permitted,
            suppressed,
            reasons: by_reason.into_iter().map(count).collect(),
            memory_bytes: memory.copied().unwrap_or(0),
        })
    });
    known.collect()
}
