//! Prepared ends give the same planes as deciding on everybody when they are due.

use super::books_tests::{Bench, START};
use crate::domain::{
    event::Change,
    state::Status,
    time::{Precision, StatedTime},
};

const END: i64 = START + 30_000;
const FIRST: u64 = 905_320_000_000;
/// More than one slice of preparation.
const PEOPLE: u64 = 20_000;

#[test]
fn prepared_ends_take_effect_when_due_and_not_before() {
    let mut bench = Bench::new();
    let grants: Vec<Change> = (FIRST..FIRST + PEOPLE)
        .map(|phone| bench.consent(phone, "sms", Status::Granted, Some(END + (phone % 3) as i64)))
        .collect();
    bench.commit(&grants);
    bench.prepare();
    for time in [END - 1, END, END + 1, END + 2] {
        bench.advance(time);
        bench.assert_right();
    }
    assert_eq!(bench.expired(), PEOPLE);
}

#[test]
fn what_is_recorded_after_the_preparation_counts() {
    let mut bench = Bench::new();
    let mut grants: Vec<Change> = (FIRST..FIRST + 100)
        .map(|phone| bench.consent(phone, "sms", Status::Granted, Some(END)))
        .collect();
    for phone in FIRST + 100..FIRST + 150 {
        // Two ends of one contact: the masks of the first must not undo the second.
        for (channel, end) in [("sms", END), ("call", END + 5)] {
            grants.push(bench.consent(phone, channel, Status::Granted, Some(end)));
        }
    }
    bench.commit(&grants);
    bench.prepare();
    bench.advance(START + 1_000);
    let later = [
        bench.consent(FIRST, "sms", Status::Granted, None),
        bench.consent(FIRST + 1, "sms", Status::Withdrawn, None),
        bench.consent(FIRST + 2, "sms", Status::Granted, Some(END + 2)),
        bench.consent(FIRST + 1_000, "sms", Status::Granted, Some(END)),
    ];
    bench.commit(&later);
    for time in [END, END + 2, END + 5] {
        bench.advance(time);
        bench.assert_right();
    }
    // Of the first hundred all but two, the late one, and two each of fifty.
    assert_eq!(bench.expired(), 98 + 1 + 100);
}

#[test]
fn a_clock_that_steps_back_revives_nothing() {
    let mut bench = Bench::new();
    let grant = bench.consent(FIRST, "sms", Status::Granted, Some(END));
    bench.commit(&[grant]);
    bench.prepare();
    bench.advance(END);
    assert_eq!(bench.expired(), 1);
    for time in [START, END - 1, END + 1] {
        bench.advance(time);
        assert_eq!(bench.expired(), 1);
        bench.assert_right();
    }
}

#[test]
fn an_end_recorded_late_is_known_to_what_is_prepared_after_it() {
    let mut bench = Bench::new();
    // Somebody else's end, so that the coming minute is prepared at once.
    let other = bench.consent(FIRST, "sms", Status::Granted, Some(START + 50_000));
    let first = bench.complaint(FIRST + 1, START - 20_000, None);
    let mut grant = bench.consent(FIRST + 1, "sms", Status::Granted, Some(START + 70_000));
    grant.stated = Some(StatedTime { unix_ms: START - 10_000, precision: Precision::Millisecond });
    bench.commit(&[other, first, grant]);
    bench.prepare();
    // It blocks the grant until START + 30 s, and comes after the preparation.
    let second = bench.complaint(FIRST + 1, START, Some(START + 30_000));
    bench.commit(&[second]);
    for time in [11_000, 30_000, 50_000, 69_999, 70_000] {
        bench.advance(START + time);
        bench.prepare();
        bench.assert_right();
    }
    // The grant that ended no longer ends the complaint.
    assert_eq!(bench.expired(), 1);
}
