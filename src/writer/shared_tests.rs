//! Reasons that a brand's scopes share: one plane of the brand in place of dozens
//! of scopes', and the same planes whatever happened before.

use proptest::{collection::vec, prelude::*};

use super::books_tests::{Bench, START};
use crate::{
    domain::{
        contact::ContactKind,
        event::{Change, ChangeKind},
        plane::{Area, PlaneRole},
        policy::NameClass,
        reason::Reason,
        scope::{BrandId, ChannelId, Level, PurposeId, TypeSelector},
        state::Status,
    },
    writer::PolicyProposal,
};

const PHONE: u64 = 905_320_000_000;

/// A consent of every type, or of individuals, at this level.
fn at_level(bench: &Bench, names: [&str; 2], selector: TypeSelector, status: Status) -> Change {
    let mut change = bench.consent(PHONE, "sms", status, None);
    let number = |class, name| match name {
        "*" => 0,
        name => bench.books.view.policy.names().number(class, name).unwrap() as u16,
    };
    if let ChangeKind::Consent(consent) = &mut change.kind {
        let [channel, purpose] = names;
        let channel = ChannelId(number(NameClass::Channel, channel));
        let purpose = PurposeId(number(NameClass::Purpose, purpose));
        consent.level = Level::new(channel, purpose).unwrap();
        consent.selector = selector;
    }
    change
}

/// The reasons with planes in which the contact stands: the brand's, and how many
/// scopes have which.
fn reasons(bench: &Bench) -> (Vec<Reason>, Vec<(Reason, usize)>) {
    let (mut shared, mut own) = (Vec::new(), Vec::<(Reason, usize)>::new());
    for (name, plane) in bench.books.view.planes.all(&bench.books.view.policy) {
        let PlaneRole::Reason(reason) = name.role else { continue };
        if name.kind != ContactKind::Phone || !plane.contains(PHONE) {
            continue;
        }
        match name.area {
            Area::Brand(_) => shared.push(reason),
            Area::Scope(_) => match own.iter_mut().find(|(each, _)| *each == reason) {
                Some((_, count)) => *count += 1,
                None => own.push((reason, 1)),
            },
        }
    }
    (shared, own)
}

#[test]
fn who_never_wants_to_hear_again_stands_in_one_plane_until_they_want_something() {
    use Status::{Granted, Withdrawn};
    use TypeSelector::{Any, Individual};
    let mut bench = Bench::new();
    let mut at = START;
    let mut say = |bench: &mut Bench, names, selector, status| {
        at += 1_000;
        bench.advance(at);
        bench.commit(&[at_level(bench, names, selector, status)]);
        bench.assert_right();
        reasons(bench)
    };
    // Five channels that take phones, three purposes that ask, two types.
    const ASKING: usize = 30;
    let never = Reason::ContactOptOut;
    assert_eq!(say(&mut bench, ["*", "*"], Any, Withdrawn), (vec![never], vec![]));
    let but_one = (vec![], vec![(never, ASKING - 1)]);
    assert_eq!(say(&mut bench, ["sms", "marketing"], Individual, Granted), but_one);
    let all_but_one = (vec![], vec![(Reason::OptedOut, 1), (never, ASKING - 1)]);
    let mut found = say(&mut bench, ["sms", "marketing"], Individual, Withdrawn);
    found.1.sort_by_key(|(_, count)| *count);
    assert_eq!(found, all_but_one);
    assert_eq!(say(&mut bench, ["*", "*"], Any, Withdrawn), (vec![never], vec![]));

    // An exempt scope gives the reason of a suppression by itself.
    bench.commit(&[bench.complaint(PHONE, at, Some(at + 5_000))]);
    bench.assert_right();
    let complained = Reason::SpamComplaint;
    let (shared, own) = reasons(&bench);
    assert_eq!(shared, [complained]);
    assert!(own.iter().all(|(reason, count)| *reason == complained && *count <= 10), "{own:?}");
    bench.prepare();
    bench.advance(at + 5_000);
    bench.assert_right();
    assert_eq!(reasons(&bench), (vec![never], vec![]), "it has ended");
    bench.books.checkpoint().unwrap();
    assert_eq!(reasons(&bench.after_crash(at + 6_000)), (vec![never], vec![]));
}

#[test]
fn a_policy_changes_which_reasons_are_shared() {
    let mut bench = Bench::new();
    let withdrawn = at_level(&bench, ["*", "*"], TypeSelector::Individual, Status::Withdrawn);
    bench.commit(&[withdrawn]);
    assert_eq!(reasons(&bench), (vec![], vec![(Reason::ContactOptOut, 15)]));
    let text = bench.books.view.policy.text();
    let text = text
        .replace("starter-1", "starter-2")
        .replace("merchant = \"opt_in\"\n", "")
        .replace("merchant = \"opt_out\"\n", "")
        .replace("merchant = \"exempt\"\n", "");
    let proposal = PolicyProposal { text, drops_scopes: true, ..PolicyProposal::default() };
    bench.apply(&proposal);
    bench.assert_right();
    assert_eq!(reasons(&bench), (vec![Reason::ContactOptOut], vec![]));
    bench.after_crash(START + 1).assert_right();
    bench.books.checkpoint().unwrap();
    let again = bench.after_crash(START + 1);
    again.assert_right();
    assert_eq!(reasons(&again), (vec![Reason::ContactOptOut], vec![]));
}

/// What may happen to the contact, or around it.
#[derive(Clone, Copy, Debug)]
enum Step {
    Said([&'static str; 2], TypeSelector, Status, bool),
    /// For one brand or all, with an end or without.
    Complained(bool, bool),
    Lifted,
    Waited(i64),
    Prepared,
    Saved,
    /// So many slices of a checkpoint, and no more.
    Crashed(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let levels = [["sms", "marketing"], ["call", "newsletter"], ["*", "*"], ["sms", "*"]];
    let level = proptest::sample::select(levels.to_vec());
    // Nobody can permit more than one purpose at once (R3).
    let purpose = proptest::sample::select(levels[..2].to_vec());
    let selector = prop_oneof![
        4 => Just(TypeSelector::Any),
        1 => Just(TypeSelector::Individual),
        1 => Just(TypeSelector::Merchant)
    ];
    let withdrawn = (level, selector)
        .prop_map(|(level, selector)| Step::Said(level, selector, Status::Withdrawn, false));
    let granted = (purpose, any::<bool>(), any::<bool>()).prop_map(|(level, is_merchant, ends)| {
        let selector = if is_merchant { TypeSelector::Merchant } else { TypeSelector::Individual };
        Step::Said(level, selector, Status::Granted, ends)
    });
    prop_oneof![
        4 => withdrawn,
        4 => granted,
        3 => any::<(bool, bool)>().prop_map(|(all, ends)| Step::Complained(all, ends)),
        2 => Just(Step::Lifted),
        4 => (1..9_000_i64).prop_map(Step::Waited),
        2 => Just(Step::Prepared),
        1 => Just(Step::Saved),
        2 => (0..3_u8).prop_map(Step::Crashed),
    ]
}

fn take(bench: &mut Bench, step: Step) {
    let time = bench.time();
    match step {
        Step::Said(names, selector, status, ends) => {
            let mut change = at_level(bench, names, selector, status);
            if let ChangeKind::Consent(consent) = &mut change.kind {
                consent.valid_until = ends.then_some(time + 7_000);
            }
            bench.record(&[change]);
        }
        Step::Complained(all_brands, ends) => {
            let mut change = bench.complaint(PHONE, time, ends.then_some(time + 7_000));
            if all_brands {
                change.brand = BrandId::ALL;
            }
            bench.record(&[change]);
        }
        Step::Lifted => {
            let change = bench.complaint(PHONE, time, None);
            let kind = ChangeKind::Lift(crate::domain::event::Lift {
                channel: ChannelId::ANY,
                reason: Reason::SpamComplaint,
                note: String::new(),
            });
            bench.record(&[Change { kind, ..change }]);
        }
        Step::Waited(ms) => bench.advance(time + ms),
        Step::Prepared => bench.prepare(),
        Step::Saved => drop(bench.books.checkpoint().unwrap()),
        Step::Crashed(slices) => {
            if slices > 0 {
                bench.books.begin_checkpoint();
            }
            for _ in 0..slices {
                bench.books.checkpoint_slice(1).unwrap();
            }
            *bench = bench.after_crash(time);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn planes_are_those_of_the_ledger_after_every_step(steps in vec(step(), 1..24)) {
        let mut bench = Bench::new();
        for step in steps {
            take(&mut bench, step);
            bench.assert_right();
        }
    }
}
