//! A checkpoint that was interrupted leaves nothing wrong behind.

use super::{
    books_tests::{Bench, START},
    checkpoint::SLICE_BYTES,
};
use crate::domain::{event::Change, state::Status};

/// So far apart that each has a page of its own.
fn phone(person: u64) -> u64 {
    905_320_000_000 + person * 65_536
}

fn grants(bench: &Bench, people: std::ops::Range<u64>) -> Vec<Change> {
    people.map(|person| bench.consent(phone(person), "sms", Status::Granted, None)).collect()
}

#[test]
fn a_crash_between_any_two_slices_changes_no_plane() {
    let mut bench = Bench::new();
    let first = grants(&bench, 0..40);
    bench.commit(&first);
    for person in 40..60 {
        bench.commit(&[bench.consent(phone(person), "sms", Status::Withdrawn, None)]);
    }
    bench.books.checkpoint().unwrap();
    // Moves people between planes, so that a contact stands in old pages and
    // in new ones.
    bench.advance(START + 1_000);
    let again = grants(&bench, 40..60);
    bench.commit(&again);
    for person in 0..20 {
        bench.commit(&[bench.consent(phone(person), "sms", Status::Withdrawn, None)]);
        bench.commit(&[bench.complaint(phone(person + 20), START + 1_000, None)]);
    }
    bench.books.begin_checkpoint();
    let mut slices = 0;
    while bench.books.pages.is_being_written() {
        bench.books.checkpoint_slice(1).unwrap();
        slices += 1;
        // Life goes on meanwhile, also for pages that are written already.
        bench.advance(START + 1_000 + slices);
        let again = bench.consent(phone(slices as u64 % 40), "call", Status::Granted, None);
        bench.commit(&[again]);
        if slices % 13 == 0 {
            let after = bench.after_crash(START + 2_000);
            after.assert_right();
            assert_eq!(after.books.view.revision, bench.books.view.revision);
        }
    }
    assert!(slices > 80, "one page a slice");
    bench.after_crash(START + 2_000).assert_right();
    bench.books.checkpoint().unwrap();
    bench.after_crash(START + 2_000).assert_right();
}

#[test]
fn a_clock_set_back_is_noticed_by_pages_of_an_unfinished_checkpoint() {
    let mut bench = Bench::new();
    let granted = grants(&bench, 0..1);
    bench.commit(&granted);
    bench.books.checkpoint().unwrap();
    // It ends by itself, after the checkpoint's time. As it came after the
    // grant, the grant counts again then.
    bench.advance(START + 1_000);
    let blocked = bench.complaint(phone(0), START + 1_000, Some(START + 10_000));
    bench.commit(&[blocked]);
    bench.books.checkpoint().unwrap();
    bench.advance(START + 20_000);
    let others = grants(&bench, 1..3);
    bench.commit(&others);
    bench.books.begin_checkpoint();
    while bench.books.pages.is_being_written() {
        for time in [START + 5_000, START + 30_000] {
            bench.after_crash(time).assert_right();
        }
        bench.books.checkpoint_slice(1).unwrap();
    }
}

#[test]
fn a_clock_set_back_before_a_checkpoint_is_noticed_after_it() {
    let mut bench = Bench::new();
    let end = START + 10_000;
    let changes = [
        bench.consent(phone(0), "sms", Status::Granted, None),
        // Shown as ended: consents now count against this instant.
        bench.consent(phone(1), "sms", Status::Granted, Some(START + 15_000)),
    ];
    bench.commit(&changes);
    bench.advance(START + 20_000);
    bench.advance(START + 5_000);
    let blocked = bench.complaint(phone(0), START + 5_000, Some(end));
    bench.commit(&[blocked]);
    bench.books.begin_checkpoint();
    // The block ends while the checkpoint is being written.
    bench.advance(end + 1_000);
    while bench.books.pages.is_being_written() {
        bench.books.checkpoint_slice(1).unwrap();
        for time in [end - 2_000, end + 2_000] {
            bench.after_crash(time).assert_right();
        }
    }
}

#[test]
fn a_clock_set_back_during_a_checkpoint_is_noticed_after_it() {
    let mut bench = Bench::new();
    let end = START + 10_000;
    let granted = grants(&bench, 0..2);
    bench.commit(&granted);
    let blocked = bench.complaint(phone(0), START, Some(end));
    bench.commit(&[blocked]);
    bench.advance(end + 5_000);
    bench.books.checkpoint().unwrap();
    // The page is written once more, for a neighbour.
    let neighbour = bench.consent(phone(0) + 1, "sms", Status::Granted, None);
    bench.commit(&[neighbour]);
    bench.books.begin_checkpoint();
    // The block is in force again, and a page says so.
    bench.advance(end - 5_000);
    while bench.books.pages.is_being_written() {
        bench.books.checkpoint_slice(1).unwrap();
        for time in [end - 2_000, end + 2_000] {
            bench.after_crash(time).assert_right();
        }
    }
}

#[test]
fn a_checkpoint_begun_again_forgets_no_page() {
    let mut bench = Bench::new();
    let first = grants(&bench, 0..10);
    bench.commit(&first);
    bench.books.begin_checkpoint();
    bench.books.checkpoint_slice(1).unwrap();
    let more = grants(&bench, 10..20);
    bench.commit(&more);
    bench.books.begin_checkpoint();
    while bench.books.pages.is_being_written() {
        bench.books.checkpoint_slice(SLICE_BYTES).unwrap();
    }
    let after = bench.after_crash(START);
    assert_eq!(after.books.pages.saved.revision, bench.books.tip.revision);
    after.assert_right();
}

#[test]
fn a_directory_written_in_slices_is_whole() {
    use crate::domain::contact::Address;
    let mut bench = Bench::new();
    let add = |bench: &mut Bench, from: u64, to: u64| {
        let changes: Vec<Change> = (from..to)
            .map(|person| Change {
                address: Address::Email(format!("person{person}@example.com")),
                ..bench.consent(0, "email", Status::Granted, None)
            })
            .collect();
        bench.commit(&changes);
    };
    add(&mut bench, 0, 5_000);
    bench.books.checkpoint().unwrap();
    add(&mut bench, 5_000, 14_000);
    bench.books.begin_checkpoint();
    while bench.books.pages.is_being_written() {
        bench.books.checkpoint_slice(70_000).unwrap();
        let after = bench.after_crash(START);
        assert_eq!(after.books.email.len(), 14_000);
        after.assert_right();
    }
    add(&mut bench, 14_000, 14_001);
    bench.books.checkpoint().unwrap();
    let after = bench.after_crash(START);
    assert_eq!(after.books.email.len(), 14_001);
    after.assert_right();
}
