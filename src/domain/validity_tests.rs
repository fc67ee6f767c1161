//! Ends of grants, told in days around a feast: Kurban 2026 is Wednesday 27 to
//! Saturday 30 May.

use jiff::{civil::DateTime, tz::Offset};

use super::*;
use crate::domain::{
    decide::{Decision, Known, decide},
    reason::Reason,
    scope::{BrandId, ChannelId, Level, PurposeId, RecipientType, Regime, Scope},
    state::Registered,
    time::Now,
};

const SMS: ChannelId = ChannelId(1);
const MARKETING: PurposeId = PurposeId(1);
const DAY: i64 = 86_400_000;

/// An instant in Turkey in 2026, such as `05-22T12:00`.
fn at(text: &str) -> i64 {
    instant(&format!("2026-{text}"))
}

fn instant(text: &str) -> i64 {
    let civil: DateTime = format!("{text}:00").parse().unwrap();
    Offset::constant(3).to_timestamp(civil).unwrap().as_millisecond()
}

fn rules(registration_required: bool) -> ScopeRules {
    ScopeRules {
        scope: Scope {
            brand: BrandId(1),
            recipient_type: RecipientType::Individual,
            channel: SMS,
            purpose: MARKETING,
        },
        regime: Regime::OptIn,
        default_validity: None,
        registration_required,
    }
}

fn level() -> Level {
    Level::new(SMS, MARKETING).unwrap()
}

fn record(status: Status, level: Level, selector: TypeSelector, time: i64) -> ConsentRecord {
    ConsentRecord {
        level,
        selector,
        status,
        consent_time: time,
        valid_until: None,
        content: [0; 16],
        revision: 1,
    }
}

fn given(time: i64) -> ConsentRecord {
    record(Status::Granted, level(), TypeSelector::Individual, time)
}

fn told(time: i64) -> Registered {
    Registered { level: level(), selector: TypeSelector::Individual, consent_time: time }
}

fn state(grant: &str, registered: Option<&str>, withdrawals: &[ConsentRecord]) -> ContactState {
    let mut state = ContactState::default();
    state.record(given(at(grant)));
    if let Some(time) = registered {
        state.register(told(at(time)));
    }
    withdrawals.iter().for_each(|withdrawal| assert!(state.record(withdrawal.clone())));
    state
}

fn decided(state: &ContactState, rules: &ScopeRules, now: i64) -> Decision {
    let nothing = ContactState::default();
    let known = Known { brand: state, all_brands: &nothing, erased: [None; 2] };
    decide(known, rules, Now::at(now))
}

/// The end of the grant; none if nothing ends it.
fn end(state: &ContactState) -> Option<i64> {
    let grant = state.current(level(), TypeSelector::Individual).unwrap();
    grant_end(state, grant, &rules(true))
}

#[test]
fn an_unregistered_grant_ends_behind_the_last_millisecond_of_the_third_business_day() {
    // Monday, Tuesday (a half day), and the Monday after the feast.
    let state = state("05-22T12:00", None, &[]);
    let over = at("06-02T00:00");
    assert_eq!(end(&state), Some(over));
    let before = decided(&state, &rules(true), over - 1);
    assert_eq!((before.reason, before.since), (Reason::Permitted, Some(at("05-22T12:00"))));
    let after = decided(&state, &rules(true), over);
    assert_eq!((after.reason, after.since), (Reason::Expired, Some(over)));
    assert_eq!(decided(&state, &rules(false), over).reason, Reason::Permitted);
}

#[test]
fn a_registered_grant_has_no_such_end_and_a_refusal_the_registry_was_told_ends_that() {
    let refusal = |level, selector, time| record(Status::Withdrawn, level, selector, at(time));
    let channel = Level::new(SMS, PurposeId::ANY).unwrap();
    let other = Level::new(ChannelId(2), PurposeId::ANY).unwrap();
    let (any, merchant) = (TypeSelector::Any, TypeSelector::Merchant);
    let due = Some(at("06-02T00:00"));
    let (grant, before, between) = ("05-22T12:00", "05-20T12:00", "05-21T12:00");
    let cases = [
        ("registered as it is", Some(grant), vec![], None),
        ("registered to the second", Some("05-22T11:59"), vec![], None),
        ("a renewal", Some(before), vec![], None),
        ("registered again since", Some("05-22T13:00"), vec![], None),
        ("never registered", None, vec![], due),
        ("refused in between", Some(before), vec![refusal(channel, any, between)], due),
        ("all refused", Some(before), vec![refusal(Level::CONTACT, any, between)], due),
        ("in the same instant", Some(before), vec![refusal(channel, any, before)], due),
        ("refused before", Some(between), vec![refusal(channel, any, before)], None),
        ("for merchants", Some(before), vec![refusal(channel, merchant, between)], None),
        ("on another channel", Some(before), vec![refusal(other, any, between)], None),
        ("of one purpose", Some(before), vec![refusal(level(), any, between)], None),
    ];
    for (name, registered, withdrawals, expected) in cases {
        assert_eq!(end(&state(grant, registered, &withdrawals)), expected, "{name}");
    }
    let mut of_merchants = state(grant, None, &[]);
    of_merchants.register(Registered { selector: merchant, ..told(at(grant)) });
    assert_eq!(end(&of_merchants), due, "each type has its own registration");
}

#[test]
fn the_earliest_end_counts() {
    let mut grant = given(at("05-22T12:00"));
    let mut state = ContactState::default();
    state.record(grant.clone());
    let limited = |days: i64| ScopeRules { default_validity: Some(days * DAY), ..rules(true) };
    assert_eq!(grant_end(&state, &grant, &limited(2)), Some(at("05-24T12:00")));
    assert_eq!(grant_end(&state, &grant, &limited(90)), Some(at("06-02T00:00")));
    grant.valid_until = Some(at("05-23T12:00"));
    assert_eq!(grant_end(&state, &grant, &limited(2)), Some(at("05-23T12:00")));
    state.register(told(at("05-22T12:00")));
    grant.valid_until = None;
    assert_eq!(grant_end(&state, &grant, &limited(90)), Some(at("05-22T12:00") + 90 * DAY));
}

#[test]
fn a_year_without_holidays_ends_no_later_and_a_time_without_a_calendar_at_once() {
    // Friday; then Monday to Wednesday are counted, whatever feasts they are.
    let (friday, thursday) = (instant("2039-12-30T12:00"), instant("2040-01-05T00:00"));
    assert_eq!(registration_end(friday), thursday);
    for time in [i64::MIN, i64::MAX] {
        assert_eq!(registration_end(time), time);
    }
}

#[test]
fn what_the_registry_holds_is_the_greatest_time_in_any_order() {
    let times = [3, 1, 2];
    for turn in 0..3 {
        let mut state = ContactState::default();
        for at in 0..3 {
            let time = times[(turn + at) % 3];
            let greater = state.registered().iter().all(|known| known.consent_time < time);
            assert_eq!(state.register(told(time)), greater);
            assert!(!state.register(told(time)), "a repeat says nothing new");
        }
        assert_eq!(state.registered(), [told(3)]);
    }
}
