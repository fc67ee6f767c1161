//! All planes from nothing: of every contact's state, under a policy.

use std::collections::{HashMap, HashSet};

use super::books::Entry;
use crate::{
    domain::{
        contact::{ContactKind, ContactRef},
        decide::{Known, decide},
        erased::ErasedMark,
        plane::{PlaneRole, in_verdict_plane},
        policy::Policy,
        scope::BrandId,
        state::ContactState,
        time::Now,
    },
    engine::{plane::Plane, view::Planes},
};

/// Planes in the making: members by scope, kind and role, unsorted.
#[derive(Default)]
struct Derived(HashMap<(usize, ContactKind, PlaneRole), Vec<u64>>);

impl Derived {
    fn add(&mut self, policy: &Policy, entry: Entry, known: Known<'_>, now: Now) {
        let (brand, contact) = entry;
        for position in policy.scopes_of(brand) {
            let Some(rules) = policy.scopes().get(position) else { continue };
            if !policy.kinds(rules.scope.channel).contains(&contact.kind) {
                continue;
            }
            let reason = decide(known, rules, now).reason;
            let mut put = |role| {
                self.0.entry((position, contact.kind, role)).or_default().push(contact.id);
            };
            if in_verdict_plane(rules.regime, reason) {
                put(PlaneRole::Verdict);
            }
            if reason.has_plane() {
                put(PlaneRole::Reason(reason));
            }
        }
    }

    fn finish(self, scopes: usize) -> Planes {
        let mut planes = Planes::empty(scopes);
        for ((position, kind, role), mut ids) in self.0 {
            ids.sort_unstable();
            let plane = Plane::empty().with_changes(ids.into_iter().map(|id| (id, true)));
            planes.replace(position, kind, role, plane);
        }
        planes
    }
}

/// Derives all planes from states, each entry once, those for all brands first.
/// `each` sees what was decided on, in passing.
///
/// # Errors
/// Those of the states and the marks.
pub fn derive<'m, E>(
    states: impl Iterator<Item = Result<(Entry, ContactState), E>>,
    policy: &Policy,
    now: Now,
    marks: impl Fn(Entry) -> Result<[Option<&'m ErasedMark>; 2], E>,
    mut each: impl FnMut(Entry, Known<'_>),
) -> Result<Planes, E> {
    let mut derived = Derived::default();
    let nothing = ContactState::default();
    let mut all_brands: HashMap<ContactRef, ContactState> = HashMap::new();
    // Contacts with a state for all brands, in the brands where they have one too.
    let mut both: HashSet<Entry> = HashSet::new();
    let mut add = |entry: Entry, state: &ContactState, all: &ContactState| {
        let known = Known { brand: state, all_brands: all, erased: marks(entry)? };
        each(entry, known);
        derived.add(policy, entry, known, now);
        Ok(())
    };
    for state in states {
        let (entry, state) = state?;
        let (brand, contact) = entry;
        if brand == BrandId::ALL {
            all_brands.insert(contact, state);
            continue;
        }
        let all = all_brands.get(&contact);
        if all.is_some() {
            both.insert(entry);
        }
        add(entry, &state, all.unwrap_or(&nothing))?;
    }
    for (contact, all) in &all_brands {
        for brand in policy.brands() {
            if !both.contains(&(brand, *contact)) {
                add((brand, *contact), &nothing, all)?;
            }
        }
    }
    Ok(derived.finish(policy.scopes().len()))
}
