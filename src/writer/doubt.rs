//! Scopes whose planes are known to be damaged: they are answered by nobody
//! until the writer has rebuilt them (A1).

use std::{collections::HashSet, sync::Arc};

use arc_swap::{ArcSwap, Guard};

use crate::domain::scope::Scope;

/// The scopes in doubt, shared by all who answer and all who find damage.
#[derive(Debug, Default)]
pub struct Doubts(ArcSwap<Doubted>);

/// The scopes in doubt as of one moment.
#[derive(Clone, Debug, Default)]
struct Doubted {
    scopes: HashSet<Scope>,
    /// How often damage was found: a plane may be rebuilt and damaged again.
    found: u64,
}

/// What was in doubt when somebody began to answer.
pub struct Since(Guard<Arc<Doubted>>);

impl Doubts {
    /// Notes that a plane of a scope is damaged.
    pub(super) fn raise(&self, scope: Scope) {
        self.0.rcu(|before| {
            let mut after = Doubted::clone(before);
            after.scopes.insert(scope);
            after.found += 1;
            after
        });
    }

    /// Notes that the planes of these scopes are whole again, and visible so.
    pub(super) fn settle(&self, scopes: &[Scope]) {
        self.0.rcu(|before| {
            let mut after = Doubted::clone(before);
            after.scopes.retain(|scope| !scopes.contains(scope));
            after
        });
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
        let in_doubt = |scope| since.0.scopes.contains(scope) || now.scopes.contains(scope);
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
        doubts.raise(scope(1));
        assert!(!doubts.allow(&before, &[scope(1)]));
        let during = doubts.begin();
        assert!(!doubts.allow(&during, &[scope(2), scope(1)]));
        assert!(doubts.allow(&during, &[scope(2)]), "another scope is not concerned");
        doubts.settle(&[scope(1)]);
        assert!(!doubts.allow(&before, &[scope(1)]), "its view may be the damaged one");
        assert!(!doubts.allow(&during, &[scope(1)]), "and so may this one's");
        assert!(doubts.allow(&doubts.begin(), &[scope(1)]));
    }
}
