//! Whether a recorded history of writes and reads is linearizable.
//!
//! In general that is a search over orders. Here it is not, because the server
//! claims an order itself: every write answers its revisions, every read the
//! revision and the instant that it was answered from. So the check is of that
//! claim. Put the operations into the order of their revisions, a write before
//! the reads of its revision, reads of the same revision by their instants and
//! then by their calls. The history is linearizable by this order if
//!
//! 1. the revisions of the writes are those of one sequence: no two the same,
//!    none left out;
//! 2. every slot of a read shows what the sequence up to the read's revision
//!    says at the read's instant (A11);
//! 3. revisions and instants of reads rise together: one sequence of views;
//! 4. whatever was over before an operation began comes before it: writes that
//!    were acknowledged are shown (I4), nothing is shown before it was sent,
//!    and no revision or instant goes back, on one stream or between two.
//!
//! 1 to 3 say that the order is a run of the sequential model, 4 that it extends
//! the order in which operations followed each other in real time. Together
//! that is the definition, so no history that passes needs a search. The other
//! way round, a server whose answers fit some other order but not the one that
//! it claims has claimed wrong revisions, and is refused, which is meant.

use std::collections::{BTreeMap, BTreeSet};

use sendgate::proto::v1::Reason;

/// A contact, by its place among those of the history.
pub type Contact = usize;
/// A channel and a purpose, by their places in [`CHANNELS`] and [`PURPOSES`].
pub type Scope = (usize, usize);

pub const CHANNELS: [&str; 2] = ["sms", "call"];
pub const PURPOSES: [&str; 2] = ["marketing", "newsletter"];

/// How wide a consent event reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Purpose(Scope),
    Channel(usize),
    Contact,
}

impl Level {
    fn covers(self, (channel, purpose): Scope) -> bool {
        match self {
            Self::Purpose(scope) => scope == (channel, purpose),
            Self::Channel(only) => only == channel,
            Self::Contact => true,
        }
    }
}

/// One consent event. No two of a history have the same time, so that the
/// latest is always one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub contact: Contact,
    pub level: Level,
    pub time: i64,
    /// When a grant ends; none for a withdrawal.
    pub grant: Option<i64>,
}

/// A grant without an end.
pub const FOR_GOOD: i64 = i64::MAX;

/// What an operation did, and what its answer said.
#[derive(Clone, Debug)]
pub enum What {
    /// Recorded these, under these revisions.
    Wrote(Vec<(u64, Event)>),
    /// Set the clock forward, and saw that views are of then.
    Ticked(i64),
    /// Read the verdicts of one moment.
    Read { revision: u64, as_of: i64, slots: Vec<(Contact, Scope, Reason)> },
}

/// An operation of one client, from before it was sent until after its answer.
#[derive(Clone, Debug)]
pub struct Operation {
    pub called: u64,
    pub returned: u64,
    pub what: What,
}

/// Checks a history that begins after this revision, of a ledger in which
/// nothing had been said of the contacts.
///
/// # Errors
/// The first contradiction found, in words.
pub fn check(history: &[Operation], begin: u64) -> Result<(), String> {
    let events = one_sequence(history, begin)?;
    let mut of_contact: BTreeMap<Contact, Vec<(u64, Event)>> = BTreeMap::new();
    for (revision, event) in events {
        of_contact.entry(event.contact).or_default().push((revision, event));
    }
    let mut views = BTreeMap::new();
    for operation in history {
        if let What::Read { revision, as_of, slots } = &operation.what {
            for (contact, scope, seen) in slots {
                let events = of_contact.get(contact).map_or(&[][..], Vec::as_slice);
                let due = verdict(events, *scope, *revision, *as_of);
                if *seen != due {
                    return Err(format!(
                        "a read at revision {revision} shows {seen:?} for contact {contact} in \
                         scope {scope:?}; at that revision it is {due:?}"
                    ));
                }
            }
            let (first, last) = views.entry(*revision).or_insert((*as_of, *as_of));
            (*first, *last) = ((*first).min(*as_of), (*last).max(*as_of));
        }
    }
    let views: Vec<_> = views.into_iter().collect();
    for pair in views.windows(2) {
        let ((earlier, (_, until)), (later, (from, _))) = (pair[0], pair[1]);
        if until > from {
            return Err(format!(
                "revision {earlier} was shown as of {until}, and revision {later} as of {from}"
            ));
        }
    }
    for after in history {
        for before in history.iter().filter(|before| before.returned < after.called) {
            follows(before, after)?;
        }
    }
    Ok(())
}

/// The events by revision: one sequence, from the first one after `begin` on.
fn one_sequence(history: &[Operation], begin: u64) -> Result<BTreeMap<u64, Event>, String> {
    let mut events = BTreeMap::new();
    let mut times = BTreeSet::new();
    for operation in history {
        let What::Wrote(written) = &operation.what else { continue };
        for (revision, event) in written {
            if events.insert(*revision, *event).is_some() {
                return Err(format!("two events have revision {revision}"));
            }
            assert!(times.insert(event.time), "the history's own times must differ");
        }
    }
    let expected = begin + 1..=begin + events.len() as u64;
    match events.keys().copied().eq(expected) {
        true => Ok(events),
        false => Err(format!("the revisions after {begin} have a gap: {:?}", events.keys())),
    }
}

/// The sequential model: of a contact's events up to the revision, the latest
/// that speaks of the scope decides.
fn verdict(events: &[(u64, Event)], scope: Scope, revision: u64, as_of: i64) -> Reason {
    let known = events.iter().take_while(|(at, _)| *at <= revision).map(|(_, event)| event);
    let latest = known.filter(|event| event.level.covers(scope)).max_by_key(|event| event.time);
    match latest {
        None => Reason::NoConsent,
        Some(Event { grant: Some(end), .. }) if *end <= as_of => Reason::Expired,
        Some(Event { grant: Some(_), .. }) => Reason::Permitted,
        Some(Event { level: Level::Purpose(_), .. }) => Reason::OptedOut,
        Some(Event { level: Level::Channel(_), .. }) => Reason::ChannelOptOut,
        Some(Event { level: Level::Contact, .. }) => Reason::ContactOptOut,
    }
}

/// Whether an operation that began after the other was over comes behind it.
fn follows(before: &Operation, after: &Operation) -> Result<(), String> {
    use What::{Read, Ticked, Wrote};
    let stands = match (&before.what, &after.what) {
        (Wrote(earlier), Wrote(later)) => last(earlier) < first(later),
        (Wrote(earlier), Read { revision, .. }) => last(earlier) <= *revision,
        (Read { revision, .. }, Wrote(later)) => *revision < first(later),
        (Ticked(time), Read { as_of, .. }) => time <= as_of,
        (Read { as_of, .. }, Ticked(time)) => as_of < time,
        (Ticked(earlier), Ticked(later)) => earlier < later,
        (Wrote(_), Ticked(_)) | (Ticked(_), Wrote(_)) => true,
        (
            Read { revision, as_of, .. },
            Read { revision: later_revision, as_of: later_as_of, .. },
        ) => revision <= later_revision && as_of <= later_as_of,
    };
    if stands { Ok(()) } else { Err(format!("{after:?} began after {before:?} was over")) }
}

fn first(written: &[(u64, Event)]) -> u64 {
    written.iter().map(|(revision, _)| *revision).min().unwrap_or(u64::MAX)
}

fn last(written: &[(u64, Event)]) -> u64 {
    written.iter().map(|(revision, _)| *revision).max().unwrap_or(0)
}

const SMS: Scope = (0, 0);

fn event(contact: Contact, time: i64, grant: Option<i64>) -> Event {
    Event { contact, level: Level::Purpose(SMS), time, grant }
}

fn wrote(called: u64, returned: u64, written: &[(u64, Event)]) -> Operation {
    Operation { called, returned, what: What::Wrote(written.to_vec()) }
}

fn read(
    (called, returned): (u64, u64),
    (revision, as_of): (u64, i64),
    slots: &[(Contact, Reason)],
) -> Operation {
    let slots = slots.iter().map(|(contact, reason)| (*contact, SMS, *reason)).collect();
    Operation { called, returned, what: What::Read { revision, as_of, slots } }
}

/// Two contacts: granted together, withdrawn one after the other, and the clock
/// moved. Every verdict and every order in it is right.
fn right() -> Vec<Operation> {
    use Reason::{Expired, NoConsent, OptedOut, Permitted};
    vec![
        read((0, 1), (10, 100), &[(0, NoConsent), (1, NoConsent)]),
        wrote(2, 6, &[(11, event(0, 1, Some(FOR_GOOD))), (12, event(1, 2, Some(150)))]),
        // Beside the write, from before it and from after it.
        read((3, 5), (10, 100), &[(0, NoConsent), (1, NoConsent)]),
        read((4, 9), (12, 100), &[(0, Permitted), (1, Permitted)]),
        wrote(10, 14, &[(13, event(0, 3, None))]),
        read((15, 17), (13, 100), &[(0, OptedOut), (1, Permitted)]),
        Operation { called: 18, returned: 22, what: What::Ticked(200) },
        read((19, 20), (13, 100), &[(1, Permitted)]),
        read((23, 24), (13, 200), &[(0, OptedOut), (1, Expired)]),
        wrote(25, 27, &[(14, event(1, 4, None))]),
        read((28, 29), (14, 200), &[(0, OptedOut), (1, OptedOut)]),
    ]
}

#[test]
fn a_right_history_passes() {
    check(&right(), 10).unwrap();
}

/// Histories made wrong on purpose, each in one place.
#[test]
fn what_must_not_happen_is_found() {
    use Reason::{Expired, NoConsent, OptedOut, Permitted};
    let with = |at: usize, operation: Operation| {
        let mut history = right();
        history[at] = operation;
        history
    };
    let cases = [
        // The withdrawal of contact 0 was acknowledged before the batch was
        // sent, and the answer is an older view's, honestly or not.
        (
            "a stale read",
            with(5, read((15, 17), (12, 100), &[(0, Permitted), (1, Permitted)])),
            "was over",
        ),
        (
            "a stale verdict under a new revision",
            with(5, read((15, 17), (13, 100), &[(0, Permitted), (1, Permitted)])),
            "at that revision it is OptedOut",
        ),
        (
            "a mixed batch",
            with(3, read((4, 9), (12, 100), &[(0, Permitted), (1, NoConsent)])),
            "at that revision it is Permitted",
        ),
        (
            "a write shown before it was sent",
            with(0, read((0, 1), (11, 100), &[(0, Permitted), (1, NoConsent)])),
            "was over",
        ),
        (
            "a revision that goes back between two reads beside a write",
            {
                let mut history = with(2, read((3, 4), (12, 100), &[(0, Permitted)]));
                history[3] = read((5, 9), (11, 100), &[(0, Permitted), (1, NoConsent)]);
                history
            },
            "was over",
        ),
        (
            "an end that is not applied",
            with(8, read((23, 24), (13, 200), &[(0, OptedOut), (1, Permitted)])),
            "at that revision it is Expired",
        ),
        (
            "a clock that goes back",
            with(10, read((28, 29), (14, 150), &[(0, OptedOut), (1, OptedOut)])),
            "as of",
        ),
        (
            "an instant before the clock was set",
            with(7, read((16, 17), (13, 200), &[(1, Expired)])),
            "was over",
        ),
        (
            "two writes with one revision",
            with(9, wrote(25, 27, &[(13, event(1, 4, None))])),
            "two events have revision 13",
        ),
        ("a revision left out", with(9, wrote(25, 27, &[(15, event(1, 4, None))])), "have a gap"),
        (
            "writes against the order in which they were acknowledged",
            {
                let mut history = with(4, wrote(10, 14, &[(14, event(0, 3, None))]));
                history[9] = wrote(25, 27, &[(13, event(1, 4, None))]);
                history.retain(|operation| matches!(operation.what, What::Wrote(_)));
                history
            },
            "was over",
        ),
    ];
    for (name, history, found) in cases {
        let error = check(&history, 10).expect_err(name);
        assert!(error.contains(found), "{name}: {error}");
    }
}
