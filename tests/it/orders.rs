//! The order in which events arrive does not matter (A5): every permutation of
//! small sets, and shuffles with repeats of random ones.

use proptest::{collection::vec, prelude::*, sample::Index};
use sendgate::domain::{
    decide::{Known, decide},
    reason::Reason,
    scope::{
        BrandId, ChannelId, Level, PurposeId, RecipientType, Regime, Scope, ScopeRules,
        TypeSelector,
    },
    state::{ConsentRecord, ContactState, Registered, Span, Status},
    time::Now,
};
use sendgate::proto::v1;

use crate::support::{
    Asking, HOUR, START, TestServer, at, grant, options, phone, phones, scope, verified, withdrawal,
};

/// An accepted event with its stored time; a repeat of it is equal to it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fact {
    Consent(ConsentRecord),
    /// A grant that the registry holds.
    Registered(ConsentRecord),
    Suppressed(ChannelId, Reason, Span),
    Lifted(ChannelId, Reason, i64),
}

const SMS: ChannelId = ChannelId(1);
const CALL: ChannelId = ChannelId(2);
const MARKETING: PurposeId = PurposeId(1);
const NEWSLETTER: PurposeId = PurposeId(2);
/// When none of these consents can be registered in time any more.
const LATE: i64 = 30 * 86_400_000;

fn state_of<'a>(facts: impl Iterator<Item = &'a Fact>) -> ContactState {
    let mut state = ContactState::default();
    for fact in facts {
        match fact {
            Fact::Consent(record) => {
                state.record(record.clone());
            }
            Fact::Registered(record) => {
                let ConsentRecord { level, selector, consent_time, .. } = *record;
                state.register(Registered { level, selector, consent_time });
                state.record(record.clone());
            }
            Fact::Suppressed(channel, reason, span) => {
                state.suppress(*channel, *reason, *span);
            }
            Fact::Lifted(channel, reason, time) => {
                state.lift(*channel, *reason, *time, 0);
            }
        }
    }
    state
}

/// The verdicts in every scope, under every regime, at several instants: among
/// them one for a clock that stands behind what it has shown before.
fn verdicts(state: &ContactState) -> Vec<Reason> {
    let mut verdicts = Vec::new();
    let nothing = ContactState::default();
    let known = Known { brand: state, all_brands: &nothing, erased: [None; 2] };
    let nows = [0, 2, 3, 5, 8, 20, LATE]
        .map(Now::at)
        .into_iter()
        .chain([Now { consents: 5, suppressions: 2 }]);
    let regimes = [
        (Regime::OptIn, None, false),
        (Regime::OptIn, None, true),
        (Regime::OptIn, Some(3), false),
        (Regime::OptOut, None, false),
        (Regime::Exempt, None, false),
    ];
    for now in nows {
        for recipient_type in RecipientType::ALL {
            for (channel, purpose) in
                [(SMS, MARKETING), (SMS, NEWSLETTER), (CALL, MARKETING), (CALL, NEWSLETTER)]
            {
                let scope = Scope { brand: BrandId(1), recipient_type, channel, purpose };
                for (regime, default_validity, registration_required) in regimes {
                    let rules =
                        ScopeRules { scope, regime, default_validity, registration_required };
                    verdicts.push(decide(known, &rules, now).reason);
                }
            }
        }
    }
    verdicts
}

fn consent(
    status: Status,
    selector: TypeSelector,
    (channel, purpose): (ChannelId, PurposeId),
    time: i64,
) -> ConsentRecord {
    ConsentRecord {
        level: Level::new(channel, purpose).unwrap(),
        selector,
        status,
        consent_time: time,
        valid_until: None,
        content: [time as u8; 16],
        revision: 0,
    }
}

fn granted(purpose: PurposeId, time: i64) -> Fact {
    Fact::Consent(consent(Status::Granted, TypeSelector::Individual, (SMS, purpose), time))
}

fn registered(time: i64) -> Fact {
    Fact::Registered(consent(Status::Granted, TypeSelector::Individual, (SMS, MARKETING), time))
}

fn granted_until(purpose: PurposeId, time: i64, until: i64) -> Fact {
    let granted = consent(Status::Granted, TypeSelector::Individual, (SMS, purpose), time);
    Fact::Consent(ConsentRecord { valid_until: Some(until), ..granted })
}

fn withdrawn(selector: TypeSelector, level: (ChannelId, PurposeId), time: i64) -> Fact {
    Fact::Consent(consent(Status::Withdrawn, selector, level, time))
}

fn suppressed(channel: ChannelId, reason: Reason, since: i64, expires_at: Option<i64>) -> Fact {
    Fact::Suppressed(channel, reason, Span { since, expires_at, revision: 0 })
}

/// Holds every permutation to the verdicts of the first.
fn assert_order_is_nothing(facts: &[Fact]) {
    let expected = verdicts(&state_of(facts.iter()));
    let mut order: Vec<usize> = (0..facts.len()).collect();
    let mut permutations = 1;
    while next_permutation(&mut order) {
        permutations += 1;
        let found = verdicts(&state_of(order.iter().map(|at| &facts[*at])));
        assert_eq!(found, expected, "in the order {order:?} of {facts:#?}");
    }
    assert_eq!(permutations, (1..=facts.len()).product::<usize>());
}

/// The next permutation in lexicographic order; false after the last.
fn next_permutation(order: &mut [usize]) -> bool {
    let Some(falls) = order.windows(2).rposition(|pair| pair[0] < pair[1]) else { return false };
    let greater = order.iter().rposition(|each| *each > order[falls]).unwrap();
    order.swap(falls, greater);
    order[falls + 1..].reverse();
    true
}

const ANY: TypeSelector = TypeSelector::Any;
const PURPOSE_LEVEL: (ChannelId, PurposeId) = (SMS, MARKETING);
const CHANNEL_LEVEL: (ChannelId, PurposeId) = (SMS, PurposeId::ANY);
const CONTACT_LEVEL: (ChannelId, PurposeId) = (ChannelId::ANY, PurposeId::ANY);

#[test]
fn consents_at_three_levels_commute() {
    assert_order_is_nothing(&[
        granted(MARKETING, 1),
        granted(MARKETING, 4),
        granted(NEWSLETTER, 2),
        withdrawn(TypeSelector::Individual, PURPOSE_LEVEL, 2),
        withdrawn(ANY, CHANNEL_LEVEL, 3),
        withdrawn(ANY, CONTACT_LEVEL, 2),
    ]);
}

#[test]
fn consents_at_equal_times_commute() {
    assert_order_is_nothing(&[
        granted(MARKETING, 2),
        granted_until(MARKETING, 2, 5),
        granted_until(MARKETING, 2, 3),
        withdrawn(ANY, PURPOSE_LEVEL, 2),
        withdrawn(TypeSelector::Merchant, CHANNEL_LEVEL, 2),
        withdrawn(ANY, CONTACT_LEVEL, 2),
    ]);
    assert_order_is_nothing(&[
        granted(MARKETING, 2),
        granted_until(MARKETING, 2, 5),
        granted_until(MARKETING, 2, 3),
    ]);
}

#[test]
fn registrations_commute_with_what_ends_them() {
    assert_order_is_nothing(&[
        registered(1),
        registered(3),
        granted(MARKETING, 5),
        withdrawn(TypeSelector::Individual, PURPOSE_LEVEL, 4),
        withdrawn(ANY, CHANNEL_LEVEL, 2),
    ]);
    let late = |facts: &[Fact]| verdicts(&state_of(facts.iter()));
    let stands = [registered(3), granted(MARKETING, 5), withdrawn(ANY, CHANNEL_LEVEL, 2)];
    let told = [registered(3), granted(MARKETING, 5), withdrawn(ANY, CHANNEL_LEVEL, 4)];
    assert_ne!(late(&stands), late(&told));
}

#[test]
fn suppressions_and_lifts_of_one_entry_commute() {
    assert_order_is_nothing(&[
        suppressed(SMS, Reason::HardBounce, 1, None),
        suppressed(SMS, Reason::HardBounce, 3, Some(5)),
        suppressed(SMS, Reason::HardBounce, 3, Some(8)),
        suppressed(SMS, Reason::HardBounce, 2, Some(20)),
        Fact::Lifted(SMS, Reason::HardBounce, 2),
        Fact::Lifted(SMS, Reason::HardBounce, 3),
    ]);
}

#[test]
fn entries_of_a_channel_and_of_all_channels_commute_and_stay_apart() {
    assert_order_is_nothing(&[
        granted(MARKETING, 1),
        suppressed(SMS, Reason::ManualBlock, 2, None),
        suppressed(ChannelId::ANY, Reason::ManualBlock, 2, None),
        Fact::Lifted(ChannelId::ANY, Reason::ManualBlock, 2),
        Fact::Lifted(SMS, Reason::ManualBlock, 3),
        Fact::Lifted(CALL, Reason::ManualBlock, 3),
    ]);
}

#[test]
fn grants_that_end_suppressions_commute_with_them() {
    assert_order_is_nothing(&[
        granted_until(MARKETING, 3, 8),
        granted(NEWSLETTER, 2),
        suppressed(ChannelId::ANY, Reason::SpamComplaint, 2, None),
        suppressed(SMS, Reason::Objected, 3, Some(5)),
        withdrawn(ANY, CONTACT_LEVEL, 1),
        Fact::Lifted(ChannelId::ANY, Reason::SpamComplaint, 1),
    ]);
    assert_order_is_nothing(&[
        granted(MARKETING, 3),
        suppressed(ChannelId::ANY, Reason::LineClosed, 1, None),
        suppressed(ChannelId::ANY, Reason::LineClosed, 4, Some(5)),
        suppressed(SMS, Reason::SoftBounce, 2, Some(8)),
        Fact::Lifted(ChannelId::ANY, Reason::LineClosed, 4),
        withdrawn(TypeSelector::Individual, PURPOSE_LEVEL, 3),
    ]);
}

/// Six things that a server is told of a contact, all at different times or at
/// the same: they meet at every level.
fn told(contact: &v1::Contact) -> [v1::import_item::Change; 6] {
    use v1::import_item::Change;
    let about = Some(contact.clone());
    let event = |event: v1::ConsentEvent| {
        Change::Consent(v1::ConsentEvent { contact: about.clone(), ..event })
    };
    [
        event(grant("", START - 500)),
        event(withdrawal("", "sms", "", START - 400)),
        event(v1::ConsentEvent { valid_until_ms: Some(START + HOUR), ..grant("", START - 300) }),
        event(withdrawal("", "call", "marketing", START - 300)),
        Change::Suppression(v1::Suppression {
            brand: "main".to_owned(),
            contact: about.clone(),
            channel: "sms".to_owned(),
            reason: v1::Reason::HardBounce.into(),
            since: at(START - 350),
            ..v1::Suppression::default()
        }),
        Change::Lift(v1::Lift {
            brand: "main".to_owned(),
            contact: about.clone(),
            channel: "sms".to_owned(),
            reason: v1::Reason::HardBounce.into(),
            time: at(START - 340),
            actor: Some(v1::Actor { role: v1::ActorRole::System.into(), id: String::new() }),
            ..v1::Lift::default()
        }),
    ]
}

/// All 720 orders of six events, each told of a contact of its own, and every
/// fifth contact told all twice: the whole server gives all of them the same
/// verdicts, before and after the ends, and after a restart (F10).
#[tokio::test(flavor = "multi_thread")]
async fn every_order_of_six_events_gives_a_server_the_same_verdicts() {
    let mut server = TestServer::start().await;
    let mut order: Vec<usize> = (0..6).collect();
    let mut numbers = Vec::new();
    let mut items = Vec::new();
    loop {
        let number = 905_320_000_000 + numbers.len() as u64 * 17;
        let told = told(&phone(&format!("+{number}")));
        let repeats = if numbers.len() % 5 == 0 { 2 } else { 1 };
        items.extend(
            order
                .repeat(repeats)
                .into_iter()
                .map(|at| v1::ImportItem { change: Some(told[at].clone()) }),
        );
        numbers.push(number);
        if !next_permutation(&mut order) {
            break;
        }
    }
    assert_eq!(numbers.len(), 720);
    for items in items.chunks(1_001) {
        let chunk = v1::ImportRequest { items: items.to_vec(), dry_run: false };
        let stream = server.consent().import(tokio_stream::iter([chunk])).await.unwrap();
        let answer = stream.into_inner().message().await.unwrap().unwrap();
        assert_eq!((answer.done, answer.rejected), (items.len() as u64, 0), "{answer:?}");
    }
    let mut seen = Vec::new();
    for (hours, restart) in [(0, false), (2, false), (2, true)] {
        server.set_clock(START + hours * HOUR);
        if restart {
            server.restart().await;
        }
        let mut verdicts = Vec::new();
        for recipient_type in [v1::RecipientType::Individual, v1::RecipientType::Merchant] {
            let purposes = ["marketing", "newsletter", "transactional"];
            let of = |channel| purposes.map(|purpose| scope(recipient_type, channel, purpose));
            let form = v1::AnswerForm::Reasons;
            let asked = v1::FilterOptions {
                scopes: ["sms", "call"].into_iter().flat_map(of).collect(),
                ..options(v1::ContactKind::Phone, "sms", form)
            };
            let mut stream = Asking::open(&server, asked).await;
            // Until the view is of the time that was set.
            let answer = loop {
                let answer = stream.ask(phones(1, &numbers)).await;
                if answer.as_of_ms >= START + hours * HOUR {
                    break answer;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            };
            for scope in &answer.scopes {
                let first = scope.reasons[0];
                assert!(scope.reasons.iter().all(|reason| *reason == first), "{scope:?}");
                verdicts.push(first);
            }
        }
        seen.push(verdicts);
    }
    assert_ne!(seen[0], seen[1], "the grant ended");
    assert_eq!(seen[1], seen[2], "a restart changes nothing");
    let reasons: std::collections::BTreeSet<&u8> = seen.iter().flatten().collect();
    assert!(reasons.len() > 3, "verdicts of many sorts: {reasons:?}");
    verified(server).await;
}

/// Few times, channels and reasons, so that random facts meet.
fn any_fact() -> impl Strategy<Value = Fact> {
    let channel = || prop_oneof![Just(SMS), Just(CALL), Just(ChannelId::ANY)];
    let reason = || {
        prop_oneof![
            Just(Reason::LegalBlock),
            Just(Reason::SpamComplaint),
            Just(Reason::Objected),
            Just(Reason::SoftBounce)
        ]
    };
    let end = || proptest::option::of(0..9_i64);
    let grant = (
        prop_oneof![Just(TypeSelector::Individual), Just(TypeSelector::Merchant)],
        prop_oneof![Just(SMS), Just(CALL)],
        prop_oneof![Just(MARKETING), Just(NEWSLETTER)],
        0..6_i64,
        end(),
        0..2_u8,
        any::<bool>(),
    )
        .prop_map(|(selector, channel, purpose, time, valid_until, digest, registered)| {
            let fact = if registered { Fact::Registered } else { Fact::Consent };
            fact(ConsentRecord {
                valid_until,
                content: [digest; 16],
                ..consent(Status::Granted, selector, (channel, purpose), time)
            })
        });
    let withdrawal = (
        prop_oneof![Just(ANY), Just(TypeSelector::Individual), Just(TypeSelector::Merchant)],
        prop_oneof![
            Just(PURPOSE_LEVEL),
            Just((CALL, NEWSLETTER)),
            Just(CHANNEL_LEVEL),
            Just(CONTACT_LEVEL)
        ],
        0..6_i64,
    )
        .prop_map(|(selector, level, time)| withdrawn(selector, level, time));
    let suppression = (channel(), reason(), 0..6_i64, end())
        .prop_map(|(channel, reason, since, end)| suppressed(channel, reason, since, end));
    let lift = (channel(), reason(), 0..6_i64)
        .prop_map(|(channel, reason, time)| Fact::Lifted(channel, reason, time));
    prop_oneof![3 => grant, 2 => withdrawal, 3 => suppression, 2 => lift]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shuffles_with_repeats_end_in_the_same_verdicts(
        (facts, shuffled) in vec(any_fact(), 0..16)
            .prop_flat_map(|facts| (Just(facts.clone()), Just(facts).prop_shuffle())),
        repeats in vec((any::<Index>(), any::<Index>()), 0..8),
    ) {
        let mut again = shuffled;
        for (which, place) in repeats {
            if !facts.is_empty() {
                again.insert(place.index(again.len() + 1), which.get(&facts).clone());
            }
        }
        prop_assert_eq!(
            verdicts(&state_of(facts.iter())),
            verdicts(&state_of(again.iter()))
        );
    }
}
