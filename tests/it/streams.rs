//! What a stream promises from batch to batch: each contact once, totals,
//! freshness.

use std::time::Instant;

use sendgate::{
    caps,
    proto::v1::{
        self, AnswerForm, BatchErrorCode, ContactKind, Reason, RecipientBatch, RecipientType,
        RecordRequest, filter_request, filter_response, filter_service_client::FilterServiceClient,
    },
};
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{
    Asking, START, TestServer, batch_error, grant, lines, options, phone, phones, reasons, scope,
    withdrawal,
};

const PHONE: u64 = 905_321_234_567;

async fn record(server: &TestServer, events: Vec<v1::ConsentEvent>) -> v1::Revision {
    let response = server.consent().record(RecordRequest { events }).await.unwrap().into_inner();
    assert!(response.results.iter().all(|result| result.rejection.is_none()), "{response:?}");
    response.revision.unwrap()
}

fn once(kind: ContactKind, channel: &str, recipient_type: RecipientType) -> v1::FilterOptions {
    v1::FilterOptions {
        scopes: vec![scope(recipient_type, channel, "marketing")],
        deduplicate: true,
        ..options(kind, channel, AnswerForm::Reasons)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_is_permitted_once_a_stream_in_whatever_form_it_comes() {
    let server = TestServer::start().await;
    record(
        &server,
        vec![
            grant("+905321234567", START),
            grant("+905321234568", START),
            withdrawal("+905321234569", "sms", "marketing", START),
        ],
    )
    .await;
    let asked = || once(ContactKind::Phone, "sms", RecipientType::Individual);
    let mut stream = Asking::open(&server, asked()).await;
    let answer =
        stream.ask(phones(1, &[PHONE, PHONE + 1, PHONE, PHONE + 2, PHONE + 2, 0, 0])).await;
    // Only a permitted contact can come a second time: the others keep their reason.
    let expected = [
        Reason::Permitted,
        Reason::Permitted,
        Reason::Duplicate,
        Reason::OptedOut,
        Reason::OptedOut,
        Reason::InvalidRecipient,
        Reason::InvalidRecipient,
    ];
    assert_eq!(reasons(&answer), expected);
    assert_eq!(answer.scopes[0].permitted.as_ref(), [0b11]);

    let spellings = ["0532 123 45 67", "+90 (532) 123 45 68", "0532 123 45 69"];
    let answer = stream.ask(lines(2, &spellings)).await;
    let expected = [Reason::Duplicate, Reason::Duplicate, Reason::OptedOut];
    assert_eq!(reasons(&answer), expected);

    let mut members = Vec::new();
    roaring::RoaringTreemap::from_iter([PHONE, PHONE + 2]).serialize_into(&mut members).unwrap();
    let audience = RecipientBatch { roaring: members.into(), ..RecipientBatch::default() };
    let answer = stream.ask(audience).await;
    assert_eq!(reasons(&answer), [Reason::Duplicate, Reason::OptedOut]);
    assert_eq!(answer.scopes[0].permitted_count, 0);

    // Another stream is another campaign.
    let mut other = Asking::open(&server, asked()).await;
    let spellings = ["00905321234567", "+9005321234567", "5321234567"];
    let expected = [Reason::Permitted, Reason::Duplicate, Reason::Duplicate];
    assert_eq!(reasons(&other.ask(lines(1, &spellings)).await), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_addresses_are_permitted_once_where_unknown_is_permitted() {
    let server = TestServer::start().await;
    let merchant = RecipientType::Merchant;
    let mut stream = Asking::open(&server, once(ContactKind::Phone, "sms", merchant)).await;
    let answer = stream.ask(phones(1, &[PHONE, PHONE, PHONE + 1])).await;
    let expected = [Reason::Permitted, Reason::Duplicate, Reason::Permitted];
    assert_eq!(reasons(&answer), expected);

    let mut stream = Asking::open(&server, once(ContactKind::Email, "email", merchant)).await;
    let spellings = ["New.Person@Example.COM", "new.person@example.com", "n+w@example.com"];
    assert_eq!(reasons(&stream.ask(lines(1, &spellings)).await), expected_unknown());
    // Becoming known in mid-stream makes nobody a stranger again.
    let known = v1::ConsentEvent {
        contact: Some(v1::Contact {
            kind: ContactKind::Email.into(),
            address: "new.person@example.com".to_owned(),
            ..v1::Contact::default()
        }),
        recipient_type: merchant.into(),
        channel: "email".to_owned(),
        ..grant("", START)
    };
    record(&server, vec![known]).await;
    let answer = stream.ask(lines(2, &["NEW.person@example.com"])).await;
    assert_eq!(reasons(&answer), [Reason::Duplicate]);

    let mut stream = Asking::open(&server, once(ContactKind::ExternalId, "push", merchant)).await;
    let answer = stream.ask(lines(1, &["a-1", "a-1", "A-1"])).await;
    assert_eq!(reasons(&answer), expected_unknown());
}

/// A stranger, the same again, another one.
fn expected_unknown() -> [Reason; 3] {
    [Reason::Permitted, Reason::Duplicate, Reason::Permitted]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_summary_is_the_sum_of_the_answers() {
    let server = TestServer::start().await;
    let first = record(&server, vec![grant("+905321234567", START)]).await;
    let asked = once(ContactKind::Phone, "sms", RecipientType::Individual);
    let mut stream = Asking::open(&server, asked).await;
    stream.ask(phones(1, &[PHONE, PHONE, PHONE + 1, 5])).await;
    let refused = RecipientBatch { count: 9, ..lines(2, &["+905321234567"]) };
    assert_eq!(batch_error(&stream.ask(refused).await), BatchErrorCode::CountMismatch);
    let last = record(&server, vec![withdrawal("+905321234567", "sms", "", START)]).await;
    stream.ask(phones(3, &[PHONE, PHONE + 1])).await;
    let summary = stream.end().await;

    assert_eq!((summary.batches, summary.refused_batches), (2, 1));
    assert_eq!((summary.first_revision, summary.last_revision), (Some(first), Some(last)));
    let [scope] = summary.scopes.as_slice() else { panic!("one scope was asked about") };
    assert_eq!((scope.recipients, scope.permitted), (6, 1));
    let mut counts: Vec<_> =
        scope.reason_counts.iter().map(|each| (each.reason(), each.count)).collect();
    counts.sort_unstable();
    let expected = [
        (Reason::Permitted, 1),
        (Reason::InvalidRecipient, 1),
        (Reason::ChannelOptOut, 1),
        (Reason::NoConsent, 2),
        (Reason::Duplicate, 1),
    ];
    assert_eq!(counts, expected);
}

/// Waits the full five seconds twice, at the same time: the only test that
/// may, so all of freshness is here.
#[tokio::test(flavor = "multi_thread")]
async fn a_minimum_revision_is_reached_or_answered_not_yet() {
    let server = TestServer::start().await;
    let reached = record(&server, vec![grant("+905321234567", START)]).await;
    let next = v1::Revision { revision: reached.revision + 1, ..reached.clone() };
    let at_least = |revision: &v1::Revision| v1::FilterOptions {
        minimum_revision: Some(revision.clone()),
        ..options(ContactKind::Phone, "sms", AnswerForm::Reasons)
    };
    let mut stream = Asking::open(&server, at_least(&reached)).await;
    assert_eq!(reasons(&stream.ask(phones(1, &[PHONE])).await), [Reason::Permitted]);

    let mut early = Asking::open(&server, at_least(&next)).await;
    let check = v1::CheckRequest {
        brand: "main".to_owned(),
        scope: Some(scope(RecipientType::Individual, "sms", "marketing")),
        contact: Some(phone("+905321234567")),
        minimum_revision: Some(next.clone()),
        ..v1::CheckRequest::default()
    };
    let mut client = server.filter();
    let begun = Instant::now();
    let (answer, status) = tokio::join!(early.ask(phones(1, &[PHONE])), client.check(check));
    assert!(begun.elapsed() >= caps::REVISION_WAIT, "{:?}", begun.elapsed());
    assert_eq!(batch_error(&answer), BatchErrorCode::NotYet);
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "NOT_YET");

    // A batch that waits is answered as soon as the revision is there.
    early.send(filter_request::Message::Batch(phones(2, &[PHONE]))).await;
    record(&server, vec![withdrawal("+905321234567", "sms", "", START)]).await;
    let Some(filter_response::Message::Answer(answer)) = early.next().await.unwrap() else {
        panic!("an answer was due")
    };
    assert_eq!(reasons(&answer), [Reason::ChannelOptOut]);
    assert_eq!(answer.revision, Some(next));

    let foreign = v1::Revision { epoch: "0".repeat(32), revision: 1 };
    let status = Asking::open(&server, at_least(&foreign)).await.next().await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "FOREIGN_EPOCH");
}

/// A3: what was acknowledged on one connection holds for the next batch on a
/// stream of another that has been open all along.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_acknowledged_change_is_honoured_by_the_next_batch_of_another_connection() {
    let server = TestServer::start().await;
    // Four at a time, so that their writes meet in groups.
    let pair = |number| change_and_ask(&server, number);
    tokio::join!(pair(PHONE), pair(PHONE + 1_000), pair(PHONE + 2_000), pair(PHONE + 3_000));
}

async fn change_and_ask(server: &TestServer, first: u64) {
    let mut stream = Asking::open_bare(FilterServiceClient::new(server.connect().await)).await;
    let asked = options(ContactKind::Phone, "sms", AnswerForm::Reasons);
    stream.send(filter_request::Message::Options(asked)).await;
    for round in 0..150 {
        let number = first + round;
        let text = format!("+{number}");
        let granted = record(server, vec![grant(&text, START - 1)]).await;
        let answer = stream.ask(phones(2 * round, &[number])).await;
        assert_eq!(reasons(&answer), [Reason::Permitted], "{number}, round {round}");
        // The level varies: each is a way of its own to a verdict.
        let (channel, purpose, due) = match round % 3 {
            0 => ("sms", "marketing", Reason::OptedOut),
            1 => ("sms", "", Reason::ChannelOptOut),
            _ => ("", "", Reason::ContactOptOut),
        };
        let withdrawn = record(server, vec![withdrawal(&text, channel, purpose, START)]).await;
        let answer = stream.ask(phones(2 * round + 1, &[number])).await;
        assert_eq!(reasons(&answer), [due], "{number}, round {round}");
        assert!(granted.revision < withdrawn.revision);
        assert!(withdrawn.revision <= answer.revision.unwrap().revision);
    }
}
