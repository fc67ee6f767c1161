//! Erasures in an import: a change feed that is replayed into a restored store.

use std::{collections::HashSet, iter};

use tonic::Status;

use super::{
    Services,
    consent::{check, import_item, results},
    convert,
    refusal::{Refusal, result},
    status::unreadable,
};
use crate::{
    caps,
    domain::{
        policy::{NameClass, Names, Policy},
        scope::{BrandId, ChannelId},
    },
    engine::view::View,
    proto::v1::{
        self, EventResult, ImportItem, NumberedName, RejectCode, import_item::Change,
        numbered_name::Name,
    },
    writer::{Outcome, Remains, ReplayedErasure, Search},
};

/// The erasure that an item is, if it is one.
fn erasure(item: &ImportItem) -> Option<&v1::ReplayedErasure> {
    match &item.change {
        Some(Change::Erasure(erasure)) => Some(erasure),
        _ => None,
    }
}

/// Whether a chunk has to be replayed rather than recorded at once.
pub(super) fn has_erasures(items: &[ImportItem]) -> bool {
    items.iter().any(|item| erasure(item).is_some())
}

impl Services {
    /// Replays a chunk in its order, a run of changes or of erasures after the
    /// other: a change from before an erasure that is still told of must not
    /// come behind it. Each run is awaited, so that others get their turn.
    pub(super) async fn replay(
        &self,
        view: &View,
        items: Vec<ImportItem>,
        dry_run: bool,
    ) -> Result<Vec<EventResult>, Status> {
        let undecided = self.published.restoration().is_some_and(|it| it.is_undecided());
        let read = |erasure: &v1::ReplayedErasure| {
            if undecided { read(&view.policy, erasure.clone()) } else { Err(serves()) }
        };
        let erasures: Vec<_> = items.iter().filter_map(erasure).map(read).collect();
        let mut search = Search::new(erasures.iter().flatten(), view.revision);
        if !search.is_empty() && !dry_run {
            search = self.writer.search(search).await.map_err(unreadable)?;
        }
        let mut results = Vec::with_capacity(items.len());
        let (mut items, mut erasures) = (items.into_iter().peekable(), erasures.into_iter());
        while items.peek().is_some() {
            let changes = iter::from_fn(|| items.next_if(|item| erasure(item).is_none()));
            let changes: Vec<ImportItem> = changes.collect();
            results.extend(self.replay_changes(view, changes, dry_run).await?);
            let run = iter::from_fn(|| items.next_if(|item| erasure(item).is_some()));
            let run = run.take(caps::REPLAYED_ERASURES).count();
            let run: Vec<_> = erasures.by_ref().take(run).collect();
            let (replayed, onward) = self.replay_erasures(run, search, dry_run).await?;
            results.extend(replayed);
            search = onward;
        }
        Ok(results)
    }

    async fn replay_changes(
        &self,
        view: &View,
        items: Vec<ImportItem>,
        dry_run: bool,
    ) -> Result<Vec<EventResult>, Status> {
        let (changes, checked) = check(&view.policy, items, import_item);
        let committed = match dry_run {
            _ if changes.is_empty() => Vec::new(),
            true => self.writer.enqueue_trial(changes).await?.outcome().await?.outcomes,
            false => self.writer.submit(changes).await?.outcomes,
        };
        Ok(results(checked, committed))
    }

    /// The results of erasures, and the search for their contacts, which goes on.
    async fn replay_erasures(
        &self,
        erasures: Vec<Result<ReplayedErasure, Refusal>>,
        search: Search,
        dry_run: bool,
    ) -> Result<(Vec<EventResult>, Search), Status> {
        let mut accepted = Vec::with_capacity(erasures.len());
        let checked: Vec<Result<(), Refusal>> = erasures
            .into_iter()
            .map(|erasure| erasure.map(|erasure| accepted.push(erasure)))
            .collect();
        let (outcomes, search) = if accepted.is_empty() || dry_run {
            (vec![Outcome::Applied(0); accepted.len()], search)
        } else {
            let (committed, search) = self.writer.replay(accepted, search).await?;
            (committed.outcomes, search)
        };
        let mut outcomes = outcomes.into_iter();
        let results = checked.into_iter().map(|checked| {
            let lost = || Refusal::invalid("", "the server lost the outcome: repeat the erasure");
            result(checked.and_then(|()| outcomes.next().ok_or_else(lost)), "marks")
        });
        Ok((results.collect(), search))
    }
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
    let mut replayed = ReplayedErasure {
        brand: convert::brand_or_all(policy, &erasure.brand)?,
        revision: erasure.revision,
        remains: remains.collect::<Option<_>>().ok_or_else(damaged)?,
        source: convert::text(erasure.source, "source", caps::TEXT_BYTES)?,
        note: convert::text(erasure.note, "note", caps::NOTE_BYTES)?,
        actor: convert::actor(erasure.actor)?,
    };
    translate(policy.names(), &erasure.names, &mut replayed)?;
    Ok(replayed)
}

/// Makes the numbers in an erasure's marks those of this store. Fingerprints are
/// made with a brand's number, which cannot be told from them or changed in them:
/// so brands must have the numbers that they had.
fn translate(
    here: &Names,
    there: &[NumberedName],
    replayed: &mut ReplayedErasure,
) -> Result<(), Refusal> {
    let mut brands = HashSet::new();
    for named in there {
        let Some(Name::OfBrand(name)) = &named.name else { continue };
        let number = here.number(NameClass::Brand, name).ok_or_else(|| missing("brand", name))?;
        if number != named.number {
            let what = format!(
                "brand \"{name}\" has number {number} here and had {} where the marks were made, \
                 so they cannot be told: policies that name brands were applied in another order. \
                 Restore the backup into a new folder, and apply them in the order of the feed",
                named.number
            );
            return Err(Refusal::invalid("names", what));
        }
        brands.insert(number);
    }
    let unnamed = || {
        let what = "the marks have numbers that are not named: the feed is of an older server, or \
                    damaged. Take it again (`sendgate watch`), or erase the contact by its address";
        Refusal::invalid("names", what)
    };
    let all_are_named = match replayed.brand {
        // One mark is of all brands, and each other one of a brand of its own.
        BrandId::ALL => brands.len() + 1 >= replayed.remains.len(),
        brand => brands.contains(&brand.0),
    };
    if !all_are_named {
        return Err(unnamed());
    }
    for entry in replayed.remains.iter_mut().flat_map(|each| &mut each.mark.survivors) {
        if entry.channel == ChannelId::ANY {
            continue;
        }
        let number = u32::from(entry.channel.0);
        let name = there.iter().find_map(|named| match &named.name {
            Some(Name::OfChannel(name)) if named.number == number => Some(name),
            _ => None,
        });
        let name = name.ok_or_else(unnamed)?;
        entry.channel = here.channel(name).ok_or_else(|| missing("channel", name))?;
    }
    Ok(())
}

fn missing(class: &str, name: &str) -> Refusal {
    let what = format!(
        "{class} \"{name}\" was never declared here: apply the policy that names it (`sendgate \
         policy apply`), then import the rest again"
    );
    Refusal::new(RejectCode::NotFound, "names", what)
}
