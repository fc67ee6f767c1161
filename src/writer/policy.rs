//! Applying a policy: counted first, then durable, then visible at once.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use rand::{RngExt, rngs::StdRng};

use super::{
    books::Books,
    derive::derive,
    edits::Reach,
    ends::grant_ends,
    outcome::{PolicyChange, ScopeChange, WriteError},
    retention::Retention,
};
use crate::{
    domain::{
        contact::ContactKind,
        decide::{Known, decide},
        event::Actor,
        plane::{PlaneRole, in_verdict_plane},
        policy::Policy,
        reason::Reason,
        scope::{BrandId, Level, PurposeId, Regime, Scope, TypeSelector},
        time::Now,
    },
    engine::view::Planes,
    store::{Batch, ContactKey, EventKind, EventRow, StoreError, StoredPolicy, Tip},
};

/// A policy to apply, and what it may do.
#[derive(Clone, Debug, Default)]
pub struct PolicyProposal {
    /// The policy as TOML.
    pub text: String,
    /// How many suppressed verdicts of known contacts become permitted, exactly.
    pub permits_more: u64,
    /// Whether unknown contacts may become permitted where they were refused.
    pub permits_unknown: bool,
    /// Whether scopes may be dropped in which people have said something.
    pub drops_scopes: bool,
    /// Only count.
    pub dry_run: bool,
    /// Who applies it.
    pub actor: Actor,
    /// A remark.
    pub note: String,
}

/// Dropped scopes named at most; the first ones say where to look.
const MAX_DROPPED: usize = 100;
/// Rows of the queue of ends written at once.
const ENDS_PER_BATCH: usize = 100_000;

impl Books {
    /// Applies a policy, or says what it would change.
    ///
    /// # Errors
    /// The text is no policy; it does what the conditions do not allow; or the
    /// disk failed (A10).
    pub fn apply_policy(
        &mut self,
        proposal: &PolicyProposal,
        salts: &mut StdRng,
    ) -> Result<PolicyChange, WriteError> {
        let now = self.advance()?;
        let policy = Policy::read(&proposal.text, self.view.policy.names().clone())
            .map_err(|error| WriteError::NotAPolicy(error.to_string()))?;
        let present = &self.view.policy;
        let is_first = self.view.policy_revision == 0;
        if !is_first && !proposal.dry_run && policy.text() == present.text() {
            return Ok(PolicyChange {
                version: policy.version().to_owned(),
                scopes: Vec::new(),
                dropped: Vec::new(),
                revision: self.tip.revision,
                refused: None,
            });
        }
        let takes_version = self.version_is_taken(&policy)?;
        let Rederived { planes, changes, ends, dropped } = self.rederive(&policy, now)?;
        let refused = refusal(&policy, &changes, &dropped, takes_version, proposal);
        let change = |revision, refused| PolicyChange {
            version: policy.version().to_owned(),
            scopes: changes.clone(),
            dropped: dropped.iter().cloned().collect(),
            revision,
            refused,
        };
        if proposal.dry_run {
            return Ok(change(self.tip.revision, refused));
        }
        if let Some(refused) = refused {
            return Err(WriteError::Policy(refused));
        }

        for ends in ends.chunks(ENDS_PER_BATCH) {
            // Ends that no verdict waits for do nothing, so they may be durable
            // before the policy that makes them matter.
            let mut batch = Batch::new(&self.store);
            for (due, key) in ends {
                batch.end(*due, key)?;
            }
            batch.commit()?;
        }
        let stored = StoredPolicy {
            text: proposal.text.clone(),
            names: policy.names().clone(),
            previous: self.view.policy_revision,
            actor: proposal.actor.clone(),
            note: proposal.note.clone(),
        };
        let recorded = now.suppressions.max(self.tip.recorded_time);
        let row = EventRow::new(
            self.tip.chain,
            EventKind::Policy,
            recorded,
            salts.random(),
            stored.encode(),
        );
        let revision = self.tip.revision + 1;
        let tip = Tip {
            revision,
            chain: row.hash(revision),
            recorded_time: recorded,
            high_water: self.tip.high_water.max(now.consents),
            ..self.tip
        };
        let mut batch = Batch::new(&self.store);
        batch.event(revision, &row)?;
        batch.policy(revision)?;
        batch.tip(&tip)?;
        batch.commit()?;

        let change = change(revision, None);
        self.tip = tip;
        self.view.policy_revision = revision;
        self.next_end =
            [self.next_end, ends.iter().map(|(due, _)| *due).min()].into_iter().flatten().min();
        self.due.reset(now.consents);
        self.retention = Retention::default();
        // Old planes leave the disk with the next checkpoint, new ones come.
        let old = Arc::clone(&self.view.planes);
        self.dirty.all(&self.view.policy, &old);
        self.dirty.all(&policy, &planes);
        self.view.policy = Arc::new(policy);
        self.view.planes = Arc::new(planes);
        self.view.revision = revision;
        Ok(change)
    }

    /// Whether a policy with another text had this version.
    fn version_is_taken(&self, policy: &Policy) -> Result<bool, WriteError> {
        for row in self.store.policies(self.view.policy_revision) {
            let stored = row?.stored;
            let earlier = Policy::read(&stored.text, stored.names)
                .map_err(|error| StoreError::Refused(error.to_string()))?;
            if earlier.version() == policy.version() && earlier.text() != policy.text() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Everything under another policy, and how it differs from the present.
    fn rederive(&self, policy: &Policy, now: Now) -> Result<Rederived, WriteError> {
        let present = &self.view.policy;
        let mut changes: HashMap<Scope, ScopeChange> = HashMap::new();
        for rules in policy.scopes() {
            let before = present.rules(&rules.scope);
            let opens = before.is_some_and(|before| before.regime == Regime::OptIn)
                && rules.regime.permits_unknown();
            changes.insert(
                rules.scope,
                ScopeChange {
                    scope: rules.scope,
                    newly_permitted: 0,
                    newly_suppressed: 0,
                    unknown_newly_permitted: opens,
                    planes_changed: 0,
                },
            );
        }
        let mut ends = Vec::new();
        let mut dropped = BTreeSet::new();
        let mut touched: HashSet<(Scope, ContactKind, PlaneRole)> = HashSet::new();
        let states = self.all_states()?;
        let planes = derive(
            states,
            policy,
            now,
            |(brand, contact)| self.marks(brand, contact),
            |(brand, contact), known| {
                if dropped.len() < MAX_DROPPED {
                    dropped.extend(dropped_by(present, policy, brand, contact.kind, known));
                }
                let verdict = |policy: &Policy, scope: &Scope| {
                    let kinds = policy.kinds(scope.channel);
                    let rules = policy.rules(scope).filter(|_| kinds.contains(&contact.kind));
                    rules.map(|rules| (rules.regime, decide(known, rules, now).reason))
                };
                for position in policy.scopes_of(brand) {
                    let Some(rules) = policy.scopes().get(position) else { continue };
                    let scope = rules.scope;
                    if present.rules(&scope) == Some(rules) {
                        continue;
                    }
                    let (before, after) = (verdict(present, &scope), verdict(policy, &scope));
                    let member =
                        |slot| planes_of(slot).map(move |role| (scope, contact.kind, role));
                    let (old, new): (HashSet<_>, HashSet<_>) =
                        (member(before).collect(), member(after).collect());
                    touched.extend(old.symmetric_difference(&new));
                    let permits = |slot: Option<(Regime, Reason)>| {
                        slot.map(|(_, reason)| reason == Reason::Permitted)
                    };
                    let moved = (permits(before), permits(after));
                    if let Some(change) = changes.get_mut(&scope) {
                        change.newly_permitted += u64::from(moved == (Some(false), Some(true)));
                        change.newly_suppressed += u64::from(moved == (Some(true), Some(false)));
                    }
                    let Some(level) = Level::new(scope.channel, scope.purpose) else { continue };
                    let reach = Reach { level, selector: scope.recipient_type.into() };
                    ends.extend(
                        grant_ends(known.brand, policy, brand, reach)
                            .map(|due| (due, ContactKey::new(self.store.secret(), brand, contact))),
                    );
                }
            },
        )?;
        for (scope, ..) in touched {
            if let Some(change) = changes.get_mut(&scope) {
                change.planes_changed += 1;
            }
        }
        let mut changes: Vec<ScopeChange> = changes
            .into_values()
            .filter(|change| change.planes_changed > 0 || change.unknown_newly_permitted)
            .collect();
        changes.sort_by_key(|change| change.scope);
        Ok(Rederived { planes, changes, ends, dropped })
    }
}

/// The planes that a contact with this verdict stands in.
fn planes_of(verdict: Option<(Regime, Reason)>) -> impl Iterator<Item = PlaneRole> {
    let in_verdict = verdict.filter(|(regime, reason)| in_verdict_plane(*regime, *reason));
    let of_reason = verdict.map(|(_, reason)| reason).filter(|reason| reason.has_plane());
    in_verdict.map(|_| PlaneRole::Verdict).into_iter().chain(of_reason.map(PlaneRole::Reason))
}

/// What a policy makes of the ledger.
struct Rederived {
    planes: Planes,
    changes: Vec<ScopeChange>,
    /// The ends that the policy brings.
    ends: Vec<(i64, ContactKey)>,
    /// Where people said something and the policy no longer has a place for it.
    dropped: BTreeSet<String>,
}

/// Names what a policy drops although this contact said something about it.
/// What people said must not vanish unseen with a line of TOML.
fn dropped_by(
    present: &Policy,
    policy: &Policy,
    brand: BrandId,
    kind: ContactKind,
    known: Known<'_>,
) -> Vec<String> {
    let consents = known.brand.consents().iter().map(|record| (record.level, record.selector));
    let entries = known.brand.suppressions().iter().filter_map(|entry| {
        Level::new(entry.channel, PurposeId::ANY).map(|level| (level, TypeSelector::Any))
    });
    let keeps = |policy: &Policy, level: Level, selector: TypeSelector| {
        policy.scopes_of(brand).filter_map(|position| policy.scopes().get(position)).any(|rules| {
            level.covers(rules.scope.channel, rules.scope.purpose)
                && selector.covers(rules.scope.recipient_type)
                && policy.kinds(rules.scope.channel).contains(&kind)
        })
    };
    let is_dropped = |(level, selector): &(Level, TypeSelector)| {
        keeps(present, *level, *selector) && !keeps(policy, *level, *selector)
    };
    let name = |(level, _): (Level, TypeSelector)| {
        format!(
            "{}/{}/{} for contacts of kind {}",
            present.brand_name(brand),
            present.channel_name(level.channel()),
            present.purpose_name(level.purpose()),
            kind.name()
        )
    };
    consents.chain(entries).filter(is_dropped).map(name).collect()
}

/// Why a policy is not applied as asked, all reasons at once.
fn refusal(
    policy: &Policy,
    changes: &[ScopeChange],
    dropped: &BTreeSet<String>,
    takes_version: bool,
    proposal: &PolicyProposal,
) -> Option<String> {
    let mut why = Vec::new();
    let mut flags = String::new();
    if takes_version {
        why.push(
            "another policy had this version: answers name the version, so give this one a new one"
                .to_owned(),
        );
    }
    if let Some(first) = dropped.first().filter(|_| !proposal.drops_scopes) {
        let others = match dropped.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        why.push(format!("it drops {first}{others}, about which people have said something"));
    }
    let permits_more: u64 = changes.iter().map(|change| change.newly_permitted).sum();
    if permits_more != proposal.permits_more {
        why.push(format!(
            "it would turn {permits_more} suppressed verdicts into permitted ones, and {} were allowed",
            proposal.permits_more
        ));
    }
    let opened = changes.iter().find(|change| change.unknown_newly_permitted);
    if let Some(change) = opened.filter(|_| !proposal.permits_unknown) {
        why.push(format!(
            "it would permit everybody unknown in {}/{}/{}",
            policy.brand_name(change.scope.brand),
            policy.channel_name(change.scope.channel),
            policy.purpose_name(change.scope.purpose)
        ));
    }
    if permits_more != 0 {
        flags += &format!(" --permits-more {permits_more}");
    }
    if opened.is_some() {
        flags += " --permits-unknown";
    }
    if !dropped.is_empty() {
        flags += " --drops-scopes";
    }
    if why.is_empty() {
        return None;
    }
    let meant = if flags.is_empty() {
        String::new()
    } else {
        format!(" (if the change of verdicts is meant, apply it with{flags})")
    };
    Some(format!("policy \"{}\": {}{meant}", policy.version(), why.join("; ")))
}
