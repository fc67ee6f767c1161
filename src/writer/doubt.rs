//! Scopes whose planes are known to be damaged: they are answered by nobody
//! until the writer has rebuilt them (A1).
//!
//! A scope has many planes, some of them with its whole brand, and a plane many
//! parts. Whoever finds one damaged raises a doubt and has the writer repair it,
//! and each repair settles one doubt: so a scope is free again once all that was
//! found is whole.

use std::{collections::HashMap, sync::Arc};

use arc_swap::{ArcSwap, Guard};

use crate::domain::{plane::Area, scope::Scope};

/// The scopes in doubt, shared by all who answer and all who find damage.
#[derive(Debug, Default)]
pub struct Doubts(ArcSwap<Doubted>);

/// The scopes in doubt as of one moment.
#[derive(Clone, Debug, Default)]
struct Doubted {
    /// By area, the damage that was found and is not repaired.
    areas: HashMap<Area, u64>,
    /// How often damage was found: a plane may be rebuilt and damaged again.
    found: u64,
}

/// What was in doubt when somebody began to answer.
pub struct Since(Guard<Arc<Doubted>>);

impl Doubts {
    /// Notes that a part of a plane is damaged. The finder has it repaired.
    pub(super) fn raise(&self, area: Area) {
        self.0.rcu(|before| {
            let mut after = Doubted::clone(before);
            *after.areas.entry(area).or_default() += 1;
            after.found += 1;
            after
        });
    }

    /// Notes repairs, each by the area of its plane, that are visible by now.
    pub(super) fn settle(&self, areas: &[Area]) {
        self.0.rcu(|before| {
            let mut after = Doubted::clone(before);
            for area in areas {
                if let Some(found) = after.areas.get_mut(area) {
                    *found -= 1;
                }
            }
            after.areas.retain(|_, found| *found > 0);
            after
        });
    }

    /// How many scopes are in doubt now; a brand with all of its scopes counts as
    /// one more.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load().areas.len()
    }

    /// Begins an answer: ask before the view is loaded.
    #[must_use]
    pub fn begin(&self) -> Since {
        Since(self.0.load())
    }

    /// Whether an answer about these scopes may be given. Whoever asks before
    /// and after deciding gives none that was decided from a plane that was
    /// known to be damaged by then.
    pub fn allow<'s>(&self, since: &Since, scopes: impl IntoIterator<Item = &'s Scope>) -> bool {
        let now = self.0.load();
        let in_doubt = |scope: &Scope| {
            let mut areas = [Area::Scope(*scope), Area::Brand(scope.brand)].into_iter();
            areas.any(|area| since.0.areas.contains_key(&area) || now.areas.contains_key(&area))
        };
        now.found == since.0.found && !scopes.into_iter().any(in_doubt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scope::{BrandId, ChannelId, PurposeId, RecipientType};

    fn scope(brand: u32) -> Scope {
        Scope {
            brand: BrandId(brand),
            recipient_type: RecipientType::Individual,
            channel: ChannelId(1),
            purpose: PurposeId(1),
        }
    }

    #[test]
    fn an_answer_begun_before_damage_was_found_is_not_given_even_if_it_is_repaired_by_then() {
        let doubts = Doubts::default();
        let before = doubts.begin();
        assert!(doubts.allow(&before, &[scope(1)]));
        doubts.raise(Area::Scope(scope(1)));
        assert!(!doubts.allow(&before, &[scope(1)]));
        let during = doubts.begin();
        assert!(!doubts.allow(&during, &[scope(2), scope(1)]));
        assert!(doubts.allow(&during, &[scope(2)]), "another scope is not concerned");
        doubts.settle(&[Area::Scope(scope(1))]);
        assert!(!doubts.allow(&before, &[scope(1)]), "its view may be the damaged one");
        assert!(!doubts.allow(&during, &[scope(1)]), "and so may this one's");
        assert!(doubts.allow(&doubts.begin(), &[scope(1)]));
    }

    #[test]
    fn a_repair_leaves_what_else_was_found_of_its_scope_in_doubt() {
        let doubts = Doubts::default();
        for _ in 0..3 {
            doubts.raise(Area::Scope(scope(1)));
        }
        doubts.raise(Area::Scope(scope(2)));
        doubts.settle(&[Area::Scope(scope(1))]);
        assert!(!doubts.allow(&doubts.begin(), &[scope(1)]), "two more are damaged");
        doubts.settle(&[Area::Scope(scope(1)), Area::Scope(scope(1))]);
        assert!(doubts.allow(&doubts.begin(), &[scope(1)]));
        assert!(!doubts.allow(&doubts.begin(), &[scope(2)]));
        // A repair that nobody asked for frees nothing that is found later.
        doubts.settle(&[Area::Scope(scope(1))]);
        doubts.raise(Area::Scope(scope(1)));
        assert!(!doubts.allow(&doubts.begin(), &[scope(1)]));
    }

    #[test]
    fn damage_of_a_whole_brand_concerns_each_of_its_scopes() {
        let doubts = Doubts::default();
        doubts.raise(Area::Brand(BrandId(1)));
        let during = doubts.begin();
        assert!(!doubts.allow(&during, &[scope(1)]));
        assert!(doubts.allow(&during, &[scope(2)]));
        doubts.settle(&[Area::Scope(scope(1))]);
        assert!(!doubts.allow(&doubts.begin(), &[scope(1)]), "the brand's is not repaired");
        doubts.settle(&[Area::Brand(BrandId(1))]);
        assert!(doubts.allow(&doubts.begin(), &[scope(1)]));
    }
}
