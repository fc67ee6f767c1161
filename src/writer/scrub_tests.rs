//! What memory damages is rebuilt from the ledger, and never written to disk.

use std::{
    sync::{Arc, mpsc::sync_channel},
    time::Duration,
};

use super::{
    Published,
    books_tests::{Bench, START},
    repair::Damage,
    scrub::Scrub,
};
use crate::{
    domain::{
        contact::ContactKind,
        event::Change,
        plane::{Area, PlaneId, PlaneRole},
        scope::Scope,
        state::Status,
    },
    ending::Ending,
    engine::faults::{bits, flip},
};

fn phone(person: u64) -> u64 {
    905_320_000_000 + person
}

/// Thin pages, dense ones and small ones.
fn people() -> Vec<u64> {
    let dense = (0..4_000).map(|at| 60_000 + at * 7);
    let thin = (0..500).map(|at| 400_000 + at * 31);
    let small = (0..40).map(|at| 2_000_000 + at * 65_536);
    dense.chain(thin).chain(small).collect()
}

fn consents(bench: &Bench, people: &[u64], status: Status) -> Vec<Change> {
    people.iter().map(|it| bench.consent(phone(*it), "sms", status, None)).collect()
}

/// The plane of those who permit sms.
fn permitted(bench: &Bench) -> PlaneId {
    let planes = bench.books.view.planes.all(&bench.books.view.policy);
    let mut verdicts = planes
        .filter(|(name, _)| name.kind == ContactKind::Phone && name.role == PlaneRole::Verdict);
    verdicts.next().expect("somebody permits").0
}

/// A plane of a scope.
fn permitted_or_refused(bench: &Bench) -> PlaneId {
    let mut planes = bench.books.view.planes.all(&bench.books.view.policy);
    planes.next().expect("somebody is known").0
}

fn parts_damaged(bench: &Bench, name: PlaneId) -> Vec<Damage> {
    let plane = bench.books.plane(&name).unwrap();
    let mut at = Some(0);
    let mut found = Vec::new();
    while let Some(place) = at {
        let checked = plane.check(place);
        found.extend((!checked.is_sound).then(|| Damage::at(name, plane, place)));
        at = checked.next;
    }
    found
}

/// The scope of a plane of one.
fn scope_of(name: PlaneId) -> Scope {
    match name.area {
        Area::Scope(scope) => scope,
        Area::Brand(_) => panic!("{name:?} is of a whole brand"),
    }
}

/// Whether an answer about the scope of a plane may be given now.
fn is_answered(bench: &Bench, name: PlaneId) -> bool {
    let doubts = &bench.books.doubts;
    doubts.allow(&doubts.begin(), &[scope_of(name)])
}

/// Damages each of the pages in turn, after `prepare`, and has it repaired.
fn repaired_as_before(mut bench: Bench) {
    let name = permitted(&bench);
    let plane = bench.books.plane(&name).unwrap().clone();
    let expected: Vec<u64> = plane.ids().collect();
    let pages: Vec<(u64, usize)> = plane.pages().map(|(at, page)| (at, bits(page))).collect();
    assert!(pages.len() > 30);
    drop(plane);
    for (round, (page, bits)) in pages.iter().enumerate() {
        // A bit of what the page holds; the index of every third.
        let bit = if round % 3 == 0 { round % 48 } else { 48 + round * 97 % (bits - 48) };
        flip(bench.books.plane(&name).unwrap(), *page, bit);
        let [part] = parts_damaged(&bench, name).try_into().unwrap();
        assert!(bench.books.repair(part).unwrap() > 0);
        assert_eq!(bench.books.mended, [name.area]);
        bench.books.mended.clear();
        assert!(parts_damaged(&bench, name).is_empty());
        assert!(bench.books.plane(&name).unwrap().ids().eq(expected.iter().copied()), "{round}");
        assert_eq!(bench.books.repair(part).unwrap(), 0, "what is whole stays as it is");
        assert_eq!(bench.books.mended, [name.area], "and settles what was found all the same");
        bench.books.mended.clear();
    }
    bench.assert_right();
    bench.after_crash(START + 5_000).assert_right();
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    let granted = consents(&bench, &people(), Status::Granted);
    bench.commit(&granted);
    bench
}

/// Some withdraw, some come, and a consent ends by itself.
fn go_on(bench: &mut Bench) {
    bench.advance(START + 1_000);
    let withdrawn: Vec<u64> = people().into_iter().step_by(5).collect();
    let withdrawn = consents(bench, &withdrawn, Status::Withdrawn);
    bench.commit(&withdrawn);
    let ends = bench.consent(phone(60_001), "sms", Status::Granted, Some(START + 2_000));
    let comes = bench.consent(phone(60_003), "sms", Status::Granted, None);
    bench.commit(&[ends, comes]);
    bench.advance(START + 3_000);
}

#[test]
fn a_damaged_page_is_rebuilt_from_a_checkpoint() {
    let mut bench = bench();
    go_on(&mut bench);
    bench.books.checkpoint().unwrap();
    repaired_as_before(bench);
}

#[test]
fn a_damaged_page_is_rebuilt_from_a_checkpoint_and_what_came_after_it() {
    let mut bench = bench();
    bench.books.checkpoint().unwrap();
    go_on(&mut bench);
    repaired_as_before(bench);
}

#[test]
fn a_damaged_page_is_rebuilt_in_the_middle_of_a_checkpoint() {
    let mut bench = bench();
    bench.books.checkpoint().unwrap();
    go_on(&mut bench);
    bench.books.begin_checkpoint();
    for _ in 0..5 {
        bench.books.checkpoint_slice(1).unwrap();
    }
    assert!(bench.books.pages.is_being_written());
    repaired_as_before(bench);
}

#[test]
fn a_damaged_page_without_a_checkpoint_is_rebuilt_from_the_states() {
    let mut bench = bench();
    go_on(&mut bench);
    repaired_as_before(bench);
}

#[test]
fn a_checkpoint_never_writes_a_damaged_page() {
    let mut bench = Bench::new();
    // A page each, so that one slice has pages of many parts.
    let people: Vec<u64> = (0..2_000).map(|at| at * 65_536).collect();
    let granted = consents(&bench, &people, Status::Granted);
    bench.commit(&granted);
    bench.books.checkpoint().unwrap();
    let neighbours: Vec<u64> = people.iter().map(|it| it + 1).collect();
    let granted = consents(&bench, &neighbours, Status::Granted);
    bench.commit(&granted);
    let name = permitted(&bench);
    let pages: Vec<u64> =
        bench.books.plane(&name).unwrap().pages().map(|(page, _)| page).step_by(40).collect();
    for page in &pages {
        flip(bench.books.plane(&name).unwrap(), *page, 50);
    }
    assert!(parts_damaged(&bench, name).len() > 5);
    bench.books.checkpoint().unwrap();
    assert!(parts_damaged(&bench, name).is_empty());
    assert!(bench.books.scrubbed.rebuilt() > 50);
    assert!(bench.books.mended.contains(&name.area));
    bench.assert_right();
    bench.after_crash(START + 5_000).assert_right();
}

#[test]
fn a_withdrawal_of_somebody_whom_damage_hid_outlives_the_checkpoint() {
    let mut bench = bench();
    bench.books.checkpoint().unwrap();
    let name = permitted(&bench);
    let person = people()[0];
    let page = phone(person) >> 16;
    // On disk they are permitted, and in memory not any more.
    flip(bench.books.plane(&name).unwrap(), page, 3);
    assert!(!bench.books.plane(&name).unwrap().contains(phone(person)));
    let withdrawn = consents(&bench, &[person], Status::Withdrawn);
    bench.commit(&withdrawn);
    bench.books.checkpoint().unwrap();
    bench.assert_right();
    bench.after_crash(START + 5_000).assert_right();
}

#[test]
fn a_damaged_page_on_disk_too_is_an_error() {
    let mut bench = bench();
    bench.books.checkpoint().unwrap();
    let name = permitted(&bench);
    let page = bench.books.plane(&name).unwrap().pages().map(|(page, _)| page).min().unwrap();
    // The row is good, and not the one that the sums were made of.
    bench.books.pages.planes.get_mut(&name).unwrap().put(page, Some(7));
    flip(bench.books.plane(&name).unwrap(), page, 50);
    let [part] = parts_damaged(&bench, name).try_into().unwrap();
    assert!(bench.books.repair(part).is_err());
    assert_eq!(bench.books.mended, [], "it stays in doubt");
}

#[test]
fn pages_on_disk_of_another_layout_rebuild_nothing() {
    let mut bench = bench();
    bench.books.checkpoint().unwrap();
    bench.books.pages.saved.layout = 0;
    let name = permitted(&bench);
    let page = bench.books.plane(&name).unwrap().pages().map(|(page, _)| page).min().unwrap();
    bench.books.pages.planes.get_mut(&name).unwrap().put(page, Some(7));
    flip(bench.books.plane(&name).unwrap(), page, 50);
    let [part] = parts_damaged(&bench, name).try_into().unwrap();
    assert!(bench.books.repair(part).unwrap() > 0, "the ledger has it still");
    bench.assert_right();
}

#[test]
fn a_damaged_plane_of_a_whole_brand_is_rebuilt_and_until_then_none_of_its_scopes_is_answered() {
    let mut bench = bench();
    let legal = |bench: &Bench, person: &u64| bench.complaint(phone(*person), START, None);
    let (early, late): (Vec<u64>, Vec<u64>) = people().iter().partition(|it| **it % 2 == 0);
    let changes: Vec<Change> = early.iter().map(|it| legal(&bench, it)).collect();
    bench.commit(&changes);
    bench.books.checkpoint().unwrap();
    let changes: Vec<Change> = late.iter().map(|it| legal(&bench, it)).collect();
    bench.commit(&changes);
    let of_scope = permitted_or_refused(&bench);
    let planes = bench.books.view.planes.all(&bench.books.view.policy);
    let (name, plane) = planes.last().unwrap();
    assert!(matches!(name.area, Area::Brand(_)));
    assert_eq!(plane.len(), people().len() as u64);
    for page in plane.pages().map(|(page, _)| page).step_by(9) {
        flip(plane, page, 50);
    }
    let published = Published::of(&bench.books);
    for damage in parts_damaged(&bench, name) {
        bench.books.doubts.raise(damage.plane.area);
        assert!(!is_answered(&bench, of_scope));
        assert!(bench.books.repair(damage).unwrap() > 0);
        bench.books.publish(&published);
    }
    assert!(is_answered(&bench, of_scope));
    bench.assert_right();
    bench.after_crash(START + 5_000).assert_right();
}

#[test]
fn a_scope_is_answered_again_once_all_that_was_found_of_it_is_repaired() {
    let mut bench = far_apart(12_000);
    bench.books.checkpoint().unwrap();
    let published = Published::of(&bench.books);
    let name = permitted(&bench);
    let plane = bench.books.plane(&name).unwrap();
    let of_branch = |page: &u64| plane.spread(plane.place(*page));
    let mut pages: Vec<u64> = plane.pages().map(|(page, _)| page).collect();
    pages.sort_unstable_by_key(of_branch);
    pages.dedup_by_key(|page| of_branch(page));
    let [one, other, ..] = pages[..] else { panic!("one branch is not enough") };
    flip(plane, one, 50);
    flip(plane, other, 50);
    let [one, other] = parts_damaged(&bench, name).try_into().unwrap();
    let doubts = &bench.books.doubts;
    [name, name].iter().for_each(|name| doubts.raise(name.area));
    assert!(bench.books.repair(one).unwrap() > 0);
    bench.books.publish(&published);
    assert!(!is_answered(&bench, name), "the other part is damaged still");
    assert!(bench.books.repair(other).unwrap() > 0);
    assert!(!is_answered(&bench, name), "nobody can see it yet");
    bench.books.publish(&published);
    assert!(is_answered(&bench, name));
}

/// Somebody in each of so many pages permits sms.
fn far_apart(pages: u64) -> Bench {
    let mut bench = Bench::new();
    let people: Vec<u64> = (0..pages).map(|at| at * 65_536).collect();
    let granted = consents(&bench, &people, Status::Granted);
    bench.commit(&granted);
    bench
}

#[test]
fn damage_is_repaired_wherever_a_plane_that_grew_has_put_it() {
    for on_disk in [true, false] {
        let mut bench = far_apart(300);
        if on_disk {
            bench.books.checkpoint().unwrap();
        }
        let published = Published::of(&bench.books);
        let name = permitted(&bench);
        let plane = bench.books.plane(&name).unwrap();
        // Of two pages in one part: what one holds, and the index of the other.
        let pages: Vec<u64> = plane.pages().map(|(page, _)| page).collect();
        let first = plane.place(pages[0]);
        let mut together =
            pages.into_iter().filter(|page| plane.is_one_part(first, plane.place(*page)));
        flip(plane, together.next().unwrap(), 50);
        flip(plane, together.next().unwrap(), 7);
        let [found] = parts_damaged(&bench, name).try_into().unwrap();
        bench.books.doubts.raise(name.area);
        let parts = bench.books.plane(&name).unwrap().parts();
        let people: Vec<u64> = (300..6_000).map(|at| at * 65_536).collect();
        let granted = consents(&bench, &people, Status::Granted);
        bench.commit(&granted);
        assert!(bench.books.plane(&name).unwrap().parts() > 4 * parts, "it did not grow");
        assert!(parts_damaged(&bench, name).len() > 1, "a split spreads what is wrong");
        assert!(bench.books.repair(found).unwrap() > 0);
        assert_eq!(parts_damaged(&bench, name), []);
        bench.books.publish(&published);
        assert!(is_answered(&bench, name));
        bench.assert_right();
        bench.after_crash(START + 5_000).assert_right();
    }
}

#[test]
fn what_checkpoints_find_is_in_doubt_until_it_is_repaired_and_visible() {
    let mut bench = far_apart(3_000);
    let published = Published::of(&bench.books);
    let name = permitted(&bench);
    let plane = bench.books.plane(&name).unwrap();
    let pages: Vec<u64> = plane.pages().map(|(page, _)| page).step_by(50).collect();
    pages.iter().for_each(|page| flip(plane, *page, 50));
    bench.books.begin_checkpoint();
    while bench.books.pages.is_being_written() {
        bench.books.mend_next().unwrap();
        bench.books.checkpoint_slice(1 << 16).unwrap();
        // The scrub finds the same damage, or another.
        if let Some(found) = parts_damaged(&bench, name).pop() {
            bench.books.doubts.raise(name.area);
            assert!(!is_answered(&bench, name));
            bench.books.repair(found).unwrap();
        }
    }
    assert!(!is_answered(&bench, name), "nobody can see it yet");
    bench.books.publish(&published);
    assert!(is_answered(&bench, name));
    assert_eq!(parts_damaged(&bench, name), []);
    bench.assert_right();
}

/// It ends by itself here because nobody takes what it found; a panic ends it in
/// the same way.
#[tokio::test(flavor = "multi_thread")]
async fn a_scrub_that_ends_by_itself_is_noticed() {
    let mut bench = Bench::new();
    let granted = consents(&bench, &people()[..1], Status::Granted);
    bench.commit(&granted);
    let name = permitted(&bench);
    flip(bench.books.plane(&name).unwrap(), phone(people()[0]) >> 16, 3);
    let published = Arc::new(Published::of(&bench.books));
    let (ending, mut ended) = tokio::sync::watch::channel(false);
    let (queue, tasks) = sync_channel(1);
    let scrubbed = Arc::clone(&bench.books.scrubbed);
    let scrub = Scrub::start(published, queue, scrubbed, Ending(ending)).unwrap();
    assert!(!*ended.borrow());
    drop(tasks);
    let noticed = tokio::time::timeout(Duration::from_secs(90), ended.wait_for(|it| *it)).await;
    assert!(noticed.is_ok_and(|ended| ended.is_ok()), "nobody was told");
    drop(scrub);
}
