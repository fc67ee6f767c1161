//! Erasures in an import: a change feed that is replayed into a restored store.

use tonic::Status;

use super::{
    Services, convert,
    refusal::{Refusal, result},
};
use crate::{
    caps,
    domain::policy::Policy,
    engine::view::View,
    proto::v1::{self, EventResult, ImportItem, RejectCode, import_item::Change},
    writer::{Enqueued, Outcome, Remains, ReplayedErasure},
};

/// The erasures of a chunk: their positions, which of them are on their way,
/// and why the others are not.
pub(super) struct Replayed {
    checked: Vec<(usize, Result<(), Refusal>)>,
    /// None if nothing was left to commit, or nothing is to be recorded.
    committed: Option<Enqueued>,
}

impl Services {
    /// Takes the erasures out of a chunk and submits them, before its changes:
    /// what is left of a feed has no content from before an erasure.
    pub(super) fn replay(
        &self,
        view: &View,
        items: Vec<ImportItem>,
        dry_run: bool,
    ) -> Result<(Replayed, Vec<ImportItem>), Status> {
        let undecided = self.published.restoration().is_some_and(|it| it.is_undecided());
        let (mut checked, mut erasures) = (Vec::new(), Vec::new());
        let mut others = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            let Some(Change::Erasure(erasure)) = item.change else {
                others.push(item);
                continue;
            };
            let read = if undecided { read(&view.policy, erasure) } else { Err(serves()) };
            checked.push((at, read.map(|erasure| erasures.push(erasure))));
        }
        let committed = match erasures.is_empty() || dry_run {
            true => None,
            false => Some(self.writer.enqueue_replay(erasures)?),
        };
        Ok((Replayed { checked, committed }, others))
    }
}

impl Replayed {
    /// What became of them, by position.
    pub async fn results(self) -> Result<Vec<(usize, EventResult)>, Status> {
        let outcomes = match self.committed {
            Some(committed) => committed.outcome().await?.outcomes,
            // Nothing was asked for, or it was a trial.
            None => vec![Outcome::Applied(0); self.checked.len()],
        };
        let mut outcomes = outcomes.into_iter();
        let mut results = Vec::with_capacity(self.checked.len());
        for (at, checked) in self.checked {
            let lost = || Refusal::invalid("", "the server lost the outcome: repeat the erasure");
            let outcome = checked.and_then(|()| outcomes.next().ok_or_else(lost));
            results.push((at, result(outcome, "marks")));
        }
        Ok(results)
    }
}

/// Puts the results of changes and of erasures into the order of their items.
pub(super) fn in_order(
    changes: Vec<EventResult>,
    erasures: Vec<(usize, EventResult)>,
) -> impl Iterator<Item = EventResult> {
    let count = changes.len() + erasures.len();
    let (mut changes, mut erasures) = (changes.into_iter(), erasures.into_iter().peekable());
    (0..count).filter_map(move |at| match erasures.next_if(|(position, _)| *position == at) {
        Some((_, result)) => Some(result),
        None => changes.next(),
    })
}

fn serves() -> Refusal {
    Refusal::new(
        RejectCode::NotAllowed,
        "erasure",
        "an erasure is replayed into a restored store only, before its loss is decided on: here, \
         erase the contact by its address",
    )
}

fn read(policy: &Policy, erasure: v1::ReplayedErasure) -> Result<ReplayedErasure, Refusal> {
    let damaged = || Refusal::invalid("marks", "a fingerprint or mark is damaged");
    let remains = erasure.marks.iter().map(|it| Remains::decode(&it.fingerprint, &it.mark));
    Ok(ReplayedErasure {
        brand: convert::brand_or_all(policy, &erasure.brand)?,
        revision: erasure.revision,
        remains: remains.collect::<Option<_>>().ok_or_else(damaged)?,
        source: convert::text(erasure.source, "source", caps::TEXT_BYTES)?,
        note: convert::text(erasure.note, "note", caps::NOTE_BYTES)?,
        actor: convert::actor(erasure.actor)?,
    })
}
