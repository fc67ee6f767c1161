//! Batches in all their forms and sizes, held against a plain truth.

use roaring::RoaringTreemap;
use sendgate::proto::v1::{
    self, AnswerForm, BatchErrorCode, ConsentStatus, ContactKind, Reason, RecipientBatch,
    RecipientType, SuppressRequest,
};

use crate::support::{
    Asking, START, TestServer, at, batch_error, lines, options, phones, reasons, scope,
};

/// Contacts of each kind that something is recorded of; later ones are unknown.
const KNOWN: u64 = 1_000;

/// What is recorded of contact `i`, in words that no engine uses.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    Nothing,
    Granted,
    Withdrawn,
    ChannelWithdrawn,
    Bounced,
}

fn told(i: u64) -> Told {
    match i % 6 {
        _ if i >= KNOWN => Told::Nothing,
        0 | 1 => Told::Granted,
        2 => Told::Withdrawn,
        3 => Told::ChannelWithdrawn,
        4 => Told::Bounced,
        _ => Told::Nothing,
    }
}

/// The verdict on contact `i`. Grants are those of private persons, whom nobody
/// may write to unasked; a merchant may be written to until they refuse.
fn truth(i: u64, recipient_type: RecipientType) -> Reason {
    match (told(i), recipient_type) {
        (Told::Withdrawn, _) => Reason::OptedOut,
        (Told::ChannelWithdrawn, _) => Reason::ChannelOptOut,
        (Told::Bounced, _) => Reason::HardBounce,
        (_, RecipientType::Merchant) | (Told::Granted, _) => Reason::Permitted,
        (Told::Nothing, _) => Reason::NoConsent,
    }
}

const KINDS: [ContactKind; 4] =
    [ContactKind::Phone, ContactKind::Email, ContactKind::ContactId, ContactKind::ExternalId];

fn phone_of(i: u64) -> u64 {
    905_320_000_000 + i
}

/// Spread over all of u64, as the IDs of many systems are.
fn contact_id_of(i: u64) -> u64 {
    i.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn address(kind: ContactKind, i: u64) -> String {
    match kind {
        ContactKind::Phone => format!("+{}", phone_of(i)),
        ContactKind::Email => format!("person{i}@example.com"),
        ContactKind::ContactId => contact_id_of(i).to_string(),
        _ => format!("müşteri/{i}"),
    }
}

fn channel(kind: ContactKind) -> &'static str {
    match kind {
        ContactKind::Phone => "sms",
        ContactKind::Email => "email",
        _ => "push",
    }
}

fn contact(kind: ContactKind, i: u64) -> v1::Contact {
    v1::Contact { kind: kind.into(), address: address(kind, i), default_region: String::new() }
}

/// A server that has been told all of [`told`], of every kind.
async fn server() -> TestServer {
    let server = TestServer::start().await;
    for kind in KINDS {
        let event = |i, status: ConsentStatus| v1::ConsentEvent {
            brand: "main".to_owned(),
            contact: Some(contact(kind, i)),
            channel: channel(kind).to_owned(),
            purpose: "marketing".to_owned(),
            status: status.into(),
            consent_time: at(START),
            ..v1::ConsentEvent::default()
        };
        let events = (0..KNOWN).filter_map(|i| match told(i) {
            Told::Granted => Some(v1::ConsentEvent {
                recipient_type: RecipientType::Individual.into(),
                ..event(i, ConsentStatus::Granted)
            }),
            Told::Withdrawn => Some(event(i, ConsentStatus::Withdrawn)),
            Told::ChannelWithdrawn => {
                let level = String::new();
                Some(v1::ConsentEvent { purpose: level, ..event(i, ConsentStatus::Withdrawn) })
            }
            Told::Nothing | Told::Bounced => None,
        });
        let request = v1::RecordRequest { events: events.collect() };
        let response = server.consent().record(request).await.unwrap().into_inner();
        assert!(response.results.iter().all(|result| result.rejection.is_none()));
        let bounced = (0..KNOWN).filter(|i| told(*i) == Told::Bounced);
        let suppressions = bounced.map(|i| v1::Suppression {
            brand: "main".to_owned(),
            contact: Some(contact(kind, i)),
            reason: Reason::HardBounce.into(),
            ..v1::Suppression::default()
        });
        let request = SuppressRequest { suppressions: suppressions.collect() };
        let response = server.consent().suppress(request).await.unwrap().into_inner();
        assert!(response.results.iter().all(|result| result.rejection.is_none()));
    }
    server
}

/// Holds every field of an answer to a column or lines against the truth.
fn check(answer: &v1::BatchAnswer, expected: &[Reason], form: AnswerForm) {
    let [scope] = answer.scopes.as_slice() else { panic!("refused: {:?}", answer.error) };
    let permitted = expected.iter().filter(|reason| **reason == Reason::Permitted).count();
    assert_eq!(scope.recipients as usize, expected.len());
    assert_eq!(scope.permitted_count as usize, permitted);
    assert_eq!(scope.permitted.len(), expected.len().div_ceil(8));
    for (i, byte) in scope.permitted.iter().enumerate() {
        for bit in 0..8 {
            // Beyond the last recipient nobody is permitted.
            let due = expected.get(i * 8 + bit) == Some(&Reason::Permitted);
            assert_eq!(byte >> bit & 1 == 1, due, "recipient {}", i * 8 + bit);
        }
    }
    check_reasons(answer, expected, form);
}

fn check_reasons(answer: &v1::BatchAnswer, expected: &[Reason], form: AnswerForm) {
    let [scope] = answer.scopes.as_slice() else { panic!("refused: {:?}", answer.error) };
    let revision = answer.revision.as_ref().unwrap();
    assert!(revision.revision > 0 && revision.epoch.len() == 32);
    assert_eq!((answer.as_of_ms, answer.policy_version.as_str()), (START, "starter-1"));
    if form == AnswerForm::Reasons {
        assert_eq!(reasons(answer), expected);
        assert_eq!(counted(&scope.reason_counts), count(expected));
    } else {
        assert!(scope.reasons.is_empty() && scope.reason_counts.is_empty());
    }
}

fn count(reasons: &[Reason]) -> Vec<(Reason, u64)> {
    let mut counts = std::collections::BTreeMap::new();
    reasons.iter().for_each(|reason| *counts.entry(*reason).or_default() += 1);
    counts.into_iter().collect()
}

fn counted(counts: &[v1::ReasonCount]) -> Vec<(Reason, u64)> {
    let mut counts: Vec<_> = counts.iter().map(|each| (each.reason(), each.count)).collect();
    counts.sort_unstable();
    counts
}

const FORMS: [AnswerForm; 2] = [AnswerForm::PermittedBits, AnswerForm::Reasons];

fn asking_as(
    recipient_type: RecipientType,
    kind: ContactKind,
    form: AnswerForm,
) -> v1::FilterOptions {
    let scopes = vec![scope(recipient_type, channel(kind), "marketing")];
    v1::FilterOptions { scopes, ..options(kind, channel(kind), form) }
}

/// All known contacts and a few unknown ones, out of order.
fn shuffled() -> Vec<u64> {
    let count = KNOWN + 237;
    (0..count).map(|i| i * 379 % count).collect()
}

fn contact_ids(batch_id: u64, ids: &[u64]) -> RecipientBatch {
    RecipientBatch { batch_id, contact_ids: ids.into(), ..RecipientBatch::default() }
}

fn audience(batch_id: u64, members: &RoaringTreemap) -> RecipientBatch {
    let mut bytes = Vec::new();
    members.serialize_into(&mut bytes).unwrap();
    RecipientBatch { batch_id, roaring: bytes.into(), ..RecipientBatch::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_question_and_answer_agrees_with_the_truth() {
    let server = server().await;
    let asked = shuffled();
    for recipient_type in [RecipientType::Individual, RecipientType::Merchant] {
        let expected: Vec<Reason> = asked.iter().map(|i| truth(*i, recipient_type)).collect();
        for (kind, form) in KINDS.into_iter().flat_map(|kind| FORMS.map(|form| (kind, form))) {
            let mut stream = Asking::open(&server, asking_as(recipient_type, kind, form)).await;
            let texts: Vec<String> = asked.iter().map(|i| address(kind, *i)).collect();
            check(&stream.ask(lines(1, &texts)).await, &expected, form);
            let (number, column): (fn(u64) -> u64, _) = match kind {
                ContactKind::Phone => (phone_of, phones as fn(u64, &[u64]) -> RecipientBatch),
                ContactKind::ContactId => (contact_id_of, contact_ids as _),
                _ => continue,
            };
            let numbers: Vec<u64> = asked.iter().map(|i| number(*i)).collect();
            check(&stream.ask(column(2, &numbers)).await, &expected, form);

            // An audience has no order of its own: answers ascend.
            let mut ascending: Vec<u64> = asked.clone();
            ascending.sort_unstable_by_key(|i| number(*i));
            let due: Vec<Reason> = ascending.iter().map(|i| truth(*i, recipient_type)).collect();
            let members: RoaringTreemap = numbers.iter().copied().collect();
            let answer = stream.ask(audience(3, &members)).await;
            check_reasons(&answer, &due, form);
            let scope = &answer.scopes[0];
            let permitted = RoaringTreemap::deserialize_from(&scope.permitted[..]).unwrap();
            let due = asked.iter().filter(|i| truth(**i, recipient_type) == Reason::Permitted);
            assert_eq!(permitted, due.map(|i| number(*i)).collect());
            assert_eq!(u64::from(scope.recipients), members.len());
            assert_eq!(u64::from(scope.permitted_count), permitted.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_any_size_up_to_the_cap_is_answered_to_the_bit() {
    let server = server().await;
    for form in FORMS {
        let asked = asking_as(RecipientType::Individual, ContactKind::Phone, form);
        let mut stream = Asking::open(&server, asked).await;
        for size in [0, 1, 7, 8, 9, 63, 64, 65, 65_536, 65_537, 262_144] {
            // Known contacts come again and again, up to the last recipient.
            let expected: Vec<Reason> =
                (0..size).map(|i| truth(i % (KNOWN + 5), RecipientType::Individual)).collect();
            let numbers: Vec<u64> = (0..size).map(|i| phone_of(i % (KNOWN + 5))).collect();
            check(&stream.ask(phones(size, &numbers)).await, &expected, form);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_recipient_over_the_cap_is_refused_and_the_stream_lives() {
    let server = server().await;
    let reasons_of = |kind| asking_as(RecipientType::Individual, kind, AnswerForm::Reasons);
    let over = 262_145;
    let mut stream = Asking::open(&server, reasons_of(ContactKind::Phone)).await;
    for batch in [phones(1, &vec![phone_of(0); over]), lines(1, &vec!["x"; over])] {
        let answer = stream.ask(batch).await;
        assert_eq!(batch_error(&answer), BatchErrorCode::TooManyRecipients);
    }
    let answer = stream.ask(lines(2, &vec!["x"; over - 1])).await;
    check(&answer, &vec![Reason::InvalidRecipient; over - 1], AnswerForm::Reasons);
    let summary = stream.end().await;
    assert_eq!((summary.batches, summary.refused_batches), (1, 2));

    let mut stream = Asking::open(&server, reasons_of(ContactKind::ContactId)).await;
    let answer = stream.ask(contact_ids(1, &vec![5; over])).await;
    assert_eq!(batch_error(&answer), BatchErrorCode::TooManyRecipients);
    let answer = stream.ask(contact_ids(2, &[contact_id_of(0)])).await;
    check(&answer, &[Reason::Permitted], AnswerForm::Reasons);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audience_of_two_million_is_answered_and_one_more_member_is_refused() {
    let server = server().await;
    let asked = asking_as(RecipientType::Individual, ContactKind::Phone, AnswerForm::Reasons);
    let mut stream = Asking::open(&server, asked).await;
    let members = |count: u64| {
        let mut members = RoaringTreemap::new();
        members.insert_range(phone_of(0)..phone_of(count));
        members
    };
    let cap = 2_097_152;
    let answer = stream.ask(audience(1, &members(cap))).await;
    let expected: Vec<Reason> = (0..cap).map(|i| truth(i, RecipientType::Individual)).collect();
    check_reasons(&answer, &expected, AnswerForm::Reasons);
    let answer = stream.ask(audience(2, &members(cap + 1))).await;
    assert_eq!(batch_error(&answer), BatchErrorCode::TooManyRecipients);
    let answer = stream.ask(phones(3, &[phone_of(0)])).await;
    check(&answer, &[Reason::Permitted], AnswerForm::Reasons);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_and_a_whole_list_in_which_everyone_is_suppressed_are_ordinary() {
    let server = server().await;
    let asked = asking_as(RecipientType::Individual, ContactKind::Phone, AnswerForm::Reasons);
    let mut stream = Asking::open(&server, asked).await;
    for batch_id in 0..5 {
        let unknown: Vec<u64> =
            (0..3_000).map(|i| phone_of(KNOWN + batch_id * 3_000 + i)).collect();
        let answer = stream.ask(phones(batch_id, &unknown)).await;
        check(&answer, &vec![Reason::NoConsent; unknown.len()], AnswerForm::Reasons);
    }
    let summary = stream.end().await;
    let [scope] = summary.scopes.as_slice() else { panic!("{summary:?}") };
    assert_eq!((scope.recipients, scope.permitted), (15_000, 0));
    assert_eq!(counted(&scope.reason_counts), [(Reason::NoConsent, 15_000)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_batch_and_an_empty_list_are_ordinary() {
    let server = server().await;
    let asked = || asking_as(RecipientType::Merchant, ContactKind::Phone, AnswerForm::Reasons);
    let mut stream = Asking::open(&server, asked()).await;
    check(&stream.ask(RecipientBatch::default()).await, &[], AnswerForm::Reasons);
    let no_members = stream.ask(audience(1, &RoaringTreemap::new())).await;
    check_reasons(&no_members, &[], AnswerForm::Reasons);
    let summary = stream.end().await;
    assert_eq!((summary.batches, summary.scopes[0].recipients), (2, 0));

    let summary = Asking::open(&server, asked()).await.end().await;
    let [scope] = summary.scopes.as_slice() else { panic!("{summary:?}") };
    assert_eq!((summary.batches, summary.refused_batches), (0, 0));
    assert_eq!((scope.recipients, scope.permitted), (0, 0));
    assert_eq!((summary.first_revision, summary.last_revision), (None, None));
}
