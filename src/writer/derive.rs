//! All planes from nothing: of every contact's state, under a policy.

use std::collections::{HashMap, HashSet};

use super::books::Entry;
use crate::{
    domain::{
        contact::{ContactKind, ContactRef},
        decide::{Known, decide},
        erased::ErasedMark,
        plane::{PlaneRole, roles_in, shared_reason},
        policy::Policy,
        scope::BrandId,
        state::ContactState,
        time::Now,
    },
    engine::{
        plane::Plane,
        view::{Place, Planes},
    },
};

/// Planes in the making: members by place, kind and role, unsorted.
#[derive(Default)]
struct Derived(HashMap<(Place, ContactKind, PlaneRole), Vec<u64>>);

impl Derived {
    fn add(&mut self, policy: &Policy, entry: Entry, known: Known<'_>, now: Now) {
        let (brand, ContactRef { kind, id }) = entry;
        let scopes = policy.scopes_for(brand, kind);
        let verdicts: Vec<_> = scopes
            .map(|(position, rules)| (position, rules, decide(known, rules, now).reason))
            .collect();
        let asking = verdicts.iter().filter(|(_, rules, _)| rules.regime.asks_for_consent());
        let shared = shared_reason(asking.map(|(.., reason)| *reason));
        let mut put = |place, role| self.0.entry((place, kind, role)).or_default().push(id);
        for (position, rules, reason) in verdicts {
            roles_in(rules, reason, shared).for_each(|role| put(Place::Scope(position), role));
        }
        if let Some(reason) = shared {
            put(Place::Brand(brand), PlaneRole::Reason(reason));
        }
    }

    fn finish(self, scopes: usize) -> Planes {
        let mut planes = Planes::empty(scopes);
        for ((place, kind, role), mut ids) in self.0 {
            ids.sort_unstable();
            let plane = Plane::empty().with_changes(ids.into_iter().map(|id| (id, true)));
            planes.replace(place, kind, role, plane);
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
