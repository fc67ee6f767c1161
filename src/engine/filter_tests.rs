//! What the scopes of one pass share, and what they must not.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

use std::sync::Arc;

use bytes::Bytes;

use super::{
    directory::Directory,
    erased::Erased,
    filter::{Question, Session, Verdicts},
    plane::Plane,
    view::{Directories, Place, Planes, View},
};
use crate::domain::{
    contact::ContactKind,
    plane::PlaneRole,
    policy::{Names, Policy, STARTER},
    reason::Reason,
    scope::{BrandId, Regime},
    secret::Secret,
    time::Now,
};

const ERASED: u64 = 905_321_234_567;
const STRANGER: u64 = 905_321_234_568;
/// Digits enough for a number, of a country that does not exist.
const IMPLAUSIBLE: u64 = 999_999_999_999;

/// A view in which nobody is known, and one contact of each kind was erased: by
/// the brand, and by all brands.
pub(crate) fn view() -> View {
    let policy = Policy::read(STARTER, Names::default()).unwrap();
    let brand = policy.brand("main").unwrap();
    let secret = Secret::from_bytes(&[7; Secret::BYTES]).unwrap();
    let erased = [
        secret.erased_fingerprint(brand, ContactKind::Phone, ERASED.to_string().as_bytes()),
        secret.erased_fingerprint(BrandId::ALL, ContactKind::Email, b"gone@example.com"),
    ];
    View {
        epoch: "0123456789abcdef0123456789abcdef".into(),
        revision: 1,
        now: Now { consents: 0, suppressions: 0 },
        planes: Arc::new(Planes::empty(policy.scopes().len())),
        policy: Arc::new(policy),
        policy_revision: 1,
        directories: Directories {
            email: Directory::new().handle(),
            external_id: Directory::new().handle(),
            emails: 0,
            external_ids: 0,
            bytes: 0,
        },
        erased: Arc::new(Erased::new(erased, [])),
        secret,
    }
}

/// A question about one scope of each regime, in this order.
pub(super) fn question(
    view: &View,
    kind: ContactKind,
    regimes: &[Regime],
    reasons: bool,
) -> Question {
    let channel = if kind == ContactKind::Email { "email" } else { "sms" };
    let channel = view.policy.names().channel(channel).unwrap();
    let position = |regime: &Regime| {
        let of_regime = |rules: &crate::domain::scope::ScopeRules| {
            rules.regime == *regime && rules.scope.channel == channel
        };
        view.policy.scopes().iter().position(of_regime).unwrap()
    };
    Question {
        brand: view.policy.brand("main").unwrap(),
        scopes: regimes.iter().map(position).collect(),
        kind,
        region: None,
        reasons,
        deduplicate: false,
    }
}

const ALL: [Regime; 3] = [Regime::OptIn, Regime::OptOut, Regime::Exempt];

fn reasons(verdicts: &[Verdicts]) -> Vec<Vec<Reason>> {
    let reason = |tag: &u8| Reason::from_tag(*tag).unwrap();
    verdicts.iter().map(|it| it.reasons.iter().map(reason).collect()).collect()
}

#[test]
fn marks_of_erasures_and_impossible_numbers_count_only_where_unknown_is_permitted() {
    let view = view();
    let refused = vec![Reason::NoConsent; 3];
    let picky = vec![Reason::Erased, Reason::Permitted, Reason::InvalidRecipient];
    let numbers = [ERASED, STRANGER, IMPLAUSIBLE];
    // Each regime first, last and alone.
    for regimes in [&ALL[..], &[Regime::Exempt, Regime::OptIn], &[Regime::OptIn], &[Regime::OptOut]]
    {
        let question = question(&view, ContactKind::Phone, regimes, true);
        let expected: Vec<_> = regimes
            .iter()
            .map(|regime| if *regime == Regime::OptIn { refused.clone() } else { picky.clone() })
            .collect();
        let mut session = Session::default();
        session.read_ids(numbers.into_iter(), &question, &view);
        assert_eq!(reasons(&session.filter(&view, &question).unwrap()), expected);
        session.read_column(&travelling(&numbers), &question, &view);
        assert_eq!(reasons(&session.filter(&view, &question).unwrap()), expected);
        let audience = numbers.into_iter().collect();
        let verdicts = session.filter_audience(&view, &question, &audience).unwrap();
        assert_eq!(reasons(&verdicts), expected);
        for (verdicts, regime) in verdicts.iter().zip(regimes) {
            let permitted = roaring::RoaringTreemap::deserialize_from(&verdicts.bits[..]).unwrap();
            let due = (*regime != Regime::OptIn).then_some(STRANGER);
            assert!(permitted.iter().eq(due), "{regime}: {permitted:?}");
        }
    }
}

/// Nothing of a column is left when the next one is of another form.
#[test]
fn a_session_takes_columns_of_any_form_one_after_the_other() {
    use Reason::{InvalidRecipient, NoConsent, Permitted};
    let view = view();
    let question = question(&view, ContactKind::Phone, &[Regime::OptOut, Regime::OptIn], true);
    let mut session = Session::default();
    let mut decided = |read: &dyn Fn(&mut Session)| {
        read(&mut session);
        reasons(&session.filter(&view, &question).unwrap())
    };
    let (received, made, lines) = (
        |session: &mut Session| {
            session.read_column(&travelling(&[STRANGER, 7]), &question, &view);
        },
        |session: &mut Session| session.read_ids([STRANGER].into_iter(), &question, &view),
        |session: &mut Session| {
            session.read_lines(&Bytes::from_static(b"x\n+905321234568\n\n"), &question, &view);
        },
    );
    for _ in 0..2 {
        let invalid = InvalidRecipient;
        assert_eq!(decided(&received), [[Permitted, invalid], [NoConsent, invalid]]);
        assert_eq!(decided(&made), [[Permitted], [NoConsent]]);
        assert_eq!(decided(&received), [[Permitted, invalid], [NoConsent, invalid]]);
        let by_line = |mid| [invalid, mid, invalid];
        assert_eq!(decided(&lines), [by_line(Permitted), by_line(NoConsent)]);
    }
    assert!(
        decided(&|session| session.read_column(&Bytes::new(), &question, &view))
            .iter()
            .all(Vec::is_empty)
    );
}

#[test]
fn erased_lines_are_found_in_each_scope_that_permits_unknown() {
    let view = view();
    let question = question(&view, ContactKind::Email, &ALL, true);
    let mut session = Session::default();
    let lines = Bytes::from_static(b"Gone@Example.com\nother@example.com\nno address\n");
    session.read_lines(&lines, &question, &view);
    let last = Reason::InvalidRecipient;
    let picky = vec![Reason::Erased, Reason::Permitted, last];
    let expected = [vec![Reason::NoConsent, Reason::NoConsent, last], picky.clone(), picky];
    assert_eq!(reasons(&session.filter(&view, &question).unwrap()), expected);
}

#[test]
fn an_audience_without_reasons_is_refused_its_erased_members_too() {
    let view = view();
    let question = question(&view, ContactKind::Phone, &ALL, false);
    let audience = [ERASED, STRANGER].into_iter().collect();
    let verdicts = Session::default().filter_audience(&view, &question, &audience).unwrap();
    assert_eq!(verdicts.iter().map(|it| it.permitted).collect::<Vec<_>>(), [0, 1, 1]);
}

/// A column as it travels, at an odd address.
fn travelling(ids: &[u64]) -> Bytes {
    let ids = ids.iter().flat_map(|id| id.to_le_bytes());
    Bytes::from_iter(std::iter::once(0).chain(ids)).slice(1..)
}

/// The reasons of a batch in the first scope of a question.
fn asked(session: &mut Session, view: &View, question: &Question, ids: &[u64]) -> Vec<Reason> {
    session.read_ids(ids.iter().copied(), question, view);
    reasons(&session.filter(view, question).unwrap()).swap_remove(0)
}

#[test]
fn whoever_got_no_answer_is_no_duplicate() {
    use Reason::{Duplicate, Permitted};
    let view = view();
    let regimes = [Regime::OptOut, Regime::Exempt];
    let question =
        Question { deduplicate: true, ..question(&view, ContactKind::Phone, &regimes, true) };
    let mut session = Session::default();
    let (first, second) = (STRANGER, STRANGER + 1);
    assert_eq!(asked(&mut session, &view, &question, &[first]), [Permitted]);

    // Decided on, and not answered after all: as if it had not been asked.
    let batch = [first, second, second];
    for _ in 0..2 {
        let decided = asked(&mut session, &view, &question, &batch);
        assert_eq!(decided, [Duplicate, Permitted, Duplicate]);
        session.forget(ContactKind::Phone);
    }
    session.shrink();
    session.forget(ContactKind::Phone);
    assert_eq!(asked(&mut session, &view, &question, &[first, second]), [Duplicate, Permitted]);
    assert_eq!(asked(&mut session, &view, &question, &[second]), [Duplicate]);

    // An error in one scope takes back what the one before it had added.
    let third = STRANGER + 2;
    let gone = Question { scopes: vec![question.scopes[0], usize::MAX], ..question.clone() };
    session.read_ids([third].into_iter(), &gone, &view);
    assert!(session.filter(&view, &gone).is_err());
    assert_eq!(asked(&mut session, &view, &question, &[third]), [Permitted]);
}

#[test]
fn an_unanswered_audience_and_unanswered_lines_are_forgotten_too() {
    let view = view();
    let question = Question {
        deduplicate: true,
        ..question(&view, ContactKind::Phone, &[Regime::OptOut], false)
    };
    let audience = (STRANGER..STRANGER + 1_000).collect();
    let mut session = Session::default();
    for is_answered in [false, true] {
        let verdicts = session.filter_audience(&view, &question, &audience).unwrap();
        assert_eq!(verdicts[0].permitted, 1_000);
        if !is_answered {
            session.forget(ContactKind::Phone);
        }
    }
    assert_eq!(session.filter_audience(&view, &question, &audience).unwrap()[0].permitted, 0);

    let question = Question {
        deduplicate: true,
        ..self::question(&view, ContactKind::Email, &[Regime::OptOut], false)
    };
    let mut session = Session::default();
    for (permitted, is_answered) in [(1, false), (1, true), (0, true)] {
        session.read_lines(
            &Bytes::from_static(b"a@example.com\nA@Example.com\n"),
            &question,
            &view,
        );
        assert_eq!(session.filter(&view, &question).unwrap()[0].permitted, permitted);
        if !is_answered {
            session.forget(ContactKind::Email);
        }
    }
}

#[test]
fn a_reason_of_the_whole_brand_is_given_where_consent_is_asked_for() {
    let mut view = view();
    let question = question(&view, ContactKind::Phone, &ALL, true);
    let plane = Plane::empty().with_changes([(STRANGER, true)].into_iter());
    let mut planes = (*view.planes).clone();
    let refused = PlaneRole::Verdict;
    let mut put = |place, role| planes.replace(place, ContactKind::Phone, role, plane.clone());
    let [_, opt_out, exempt] = question.scopes[..] else { panic!("three were asked for") };
    put(Place::Scope(opt_out), refused);
    put(Place::Scope(exempt), refused);
    put(Place::Scope(exempt), PlaneRole::Reason(Reason::SoftBounce));
    put(Place::Brand(question.brand), PlaneRole::Reason(Reason::HardBounce));
    view.planes = Arc::new(planes);
    let mut session = Session::default();
    session.read_ids([STRANGER].into_iter(), &question, &view);
    let found = reasons(&session.filter(&view, &question).unwrap());
    assert_eq!(found, [[Reason::HardBounce], [Reason::HardBounce], [Reason::SoftBounce]]);
}
