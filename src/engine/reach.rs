//! Reach: how many contacts are permitted in some scopes and suppressed in
//! others, counted from the verdict planes without a list.

use super::{
    filter::mask_tail,
    page::{Form, PAGE_IDS, Page, Words},
    plane::Plane,
    view::View,
};
use crate::domain::{
    contact::ContactKind, plane::PlaneRole, plane::in_verdict_plane, reason::Reason,
};

/// Contact IDs that are looked up together; the count takes some 300 KB.
const COLUMN: usize = 16_384;

/// Members of a page from which it is held against others as a bitset, which
/// takes some microseconds; with fewer, they are looked up.
const WHOLE: usize = 256;

/// The contacts of one kind to count.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Positions of the scopes that permit the contact.
    pub permitted: Vec<usize>,
    /// Positions of the scopes that suppress it.
    pub suppressed: Vec<usize>,
}

/// How many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// So many.
    Contacts(u64),
    /// Everybody unknown too: no scope of the query says otherwise.
    Unbounded,
}

/// Counts the contacts that a query names; `None` if the view lacks one of its
/// scopes.
///
/// It counts members of planes. An erased contact that nothing is known of
/// since is in none (R11), so it is not counted where only scopes that permit
/// the unknown are asked for being suppressed in, although each answers ERASED.
#[must_use]
pub fn reach(view: &View, kind: ContactKind, query: &Query) -> Option<Reach> {
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    let permitted = query.permitted.iter().map(|at| (at, true));
    let suppressed = query.suppressed.iter().map(|at| (at, false));
    for (at, is_permitted) in permitted.chain(suppressed) {
        let regime = view.rules(*at)?.regime;
        let plane = view.planes.of(*at, kind)?.plane(PlaneRole::Verdict);
        // Either the permitted are members or the suppressed are.
        let are_members = in_verdict_plane(regime, Reason::Permitted) == is_permitted;
        if are_members { inside.push(plane) } else { outside.extend(plane) }
    }
    if inside.is_empty() {
        return Some(Reach::Unbounded);
    }
    // A plane that is not there has no members.
    let inside: Option<Vec<&Plane>> = inside.into_iter().collect();
    Some(Reach::Contacts(inside.map_or(0, |inside| count(inside, &outside))))
}

/// Counts the IDs in all of `inside` and none of `outside`; 0 for no plane.
#[must_use]
pub fn count(mut inside: Vec<&Plane>, outside: &[&Plane]) -> u64 {
    // Whoever is counted is in the smallest plane, so only its pages are read.
    inside.sort_by_key(|plane| std::cmp::Reverse(plane.len()));
    let Some(base) = inside.pop() else { return 0 };
    if inside.is_empty() && outside.is_empty() {
        return base.len();
    }
    let planes = Others { inside: &inside, outside };
    let mut column = Column::default();
    let mut total = 0;
    for (index, page) in base.pages() {
        if page.len() >= WHOLE {
            with_words(page, |words| total += planes.count_in_page(index, words));
            continue;
        }
        column.ids.extend(page.values().map(|low| index << 16 | u64::from(low)));
        if column.ids.len() >= COLUMN {
            total += planes.count_in_column(&mut column);
        }
    }
    total + planes.count_in_column(&mut column)
}

/// The planes that decide about members of another one.
struct Others<'a> {
    inside: &'a [&'a Plane],
    outside: &'a [&'a Plane],
}

/// Members of pages with few of them, to be looked up together.
#[derive(Default)]
struct Column {
    ids: Vec<u64>,
    kept: Vec<u64>,
    found: Vec<u64>,
}

impl Others<'_> {
    /// How many of a page's members count: whole pages against each other.
    fn count_in_page(&self, index: u64, words: &Words) -> u64 {
        let mut kept = *words;
        for plane in self.inside {
            let Some(page) = plane.page(index) else { return 0 };
            with_words(page, |words| {
                kept.iter_mut().zip(words).for_each(|(kept, word)| *kept &= word);
            });
        }
        for page in self.outside.iter().filter_map(|plane| plane.page(index)) {
            with_words(page, |words| {
                kept.iter_mut().zip(words).for_each(|(kept, word)| *kept &= !word);
            });
        }
        ones(&kept)
    }

    /// How many IDs of the column count; empties it.
    fn count_in_column(&self, column: &mut Column) -> u64 {
        let Column { ids, kept, found } = column;
        kept.clear();
        kept.resize(ids.len().div_ceil(64), u64::MAX);
        mask_tail(kept, ids.len());
        found.resize(kept.len(), 0);
        for plane in self.inside {
            plane.probe(ids, found);
            kept.iter_mut().zip(&*found).for_each(|(kept, found)| *kept &= found);
        }
        for plane in self.outside {
            plane.probe(ids, found);
            kept.iter_mut().zip(&*found).for_each(|(kept, found)| *kept &= !found);
        }
        ids.clear();
        ones(kept)
    }
}

fn ones(words: &[u64]) -> u64 {
    words.iter().map(|word| u64::from(word.count_ones())).sum()
}

/// Hands over the members of a page as a bitset: its own, or one made for it.
pub(super) fn with_words(page: &Page, mut take: impl FnMut(&Words)) {
    if let Form::Dense(words) = page.form() {
        return take(words);
    }
    let mut made: Words = [0; PAGE_IDS / 64];
    for low in page.values() {
        if let Some(word) = made.get_mut(usize::from(low >> 6)) {
            *word |= 1 << (low & 63);
        }
    }
    take(&made);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn plane(ids: &BTreeSet<u64>) -> Plane {
        Plane::empty().with_changes(ids.iter().map(|id| (*id, true)))
    }

    /// Sets over the same few pages, in each form: full, dense, thin with many
    /// members and with few, inline; and IDs far away that are no neighbours.
    fn ids() -> impl Strategy<Value = BTreeSet<u64>> {
        let steps = [1_u64, 7, 60, 1_000, 40_000];
        let page = (0_u64..4, proptest::sample::select(steps.to_vec()), 0_u64..3);
        let pages = proptest::collection::vec(page, 0..4);
        let stray = proptest::collection::btree_set(any::<u64>().prop_map(|id| id | 1 << 63), 0..9);
        (pages, stray, any::<bool>()).prop_map(|(pages, stray, shares_stray)| {
            let in_page = |(index, step, from): (u64, u64, u64)| {
                (from..65_536).step_by(step as usize).map(move |low| index << 16 | low)
            };
            let mut ids: BTreeSet<u64> = pages.into_iter().flat_map(in_page).collect();
            ids.extend(stray);
            ids.extend((0..300 * u64::from(shares_stray)).map(|i| i * 0x1234_5678_9abc));
            ids
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn counts_agree_with_plain_sets(
            inside in proptest::collection::vec(ids(), 1..4),
            outside in proptest::collection::vec(ids(), 0..3),
        ) {
            let is_counted = |id: &&u64| {
                inside.iter().all(|set| set.contains(id))
                    && !outside.iter().any(|set| set.contains(id))
            };
            let expected = inside[0].iter().filter(is_counted).count() as u64;
            let planes = |sets: &[BTreeSet<u64>]| sets.iter().map(plane).collect::<Vec<_>>();
            let (inside, outside) = (planes(&inside), planes(&outside));
            let found = count(inside.iter().collect(), &outside.iter().collect::<Vec<_>>());
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn more_scattered_ids_than_a_column_holds_are_all_counted() {
        let scattered = |step: usize| {
            let ids = (0..5 * COLUMN as u64).step_by(step);
            ids.map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect::<BTreeSet<u64>>()
        };
        let [all, half, third] = [1, 2, 3].map(|step| plane(&scattered(step)));
        assert_eq!(count(vec![&all, &half], &[]), half.len());
        let both = scattered(2).intersection(&scattered(3)).count() as u64;
        assert_eq!(count(vec![&half, &all], &[&third]), half.len() - both);
    }
}
