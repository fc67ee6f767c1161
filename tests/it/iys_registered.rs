//! Where the policy asks for the registry (R12): a consent that nobody
//! registered counts until the third business day is over, and no longer.

use std::{sync::Arc, time::Duration};

use jiff::{civil::DateTime, tz::Offset};
use sendgate::{
    clock::Clock,
    domain::policy::STARTER,
    formats::REGISTRY,
    proto::v1::{
        self, ApplyPolicyRequest, ApplyPolicyResponse, CheckRequest, CheckResponse, ConsentEvent,
        EraseRequest, Erasure, ExplainRequest, Outcome, Reason, RecipientType, RecordRequest,
    },
    recovery,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{HOUR, TestServer, grant, phone, scope, verified, withdrawal};

use RecipientType::{Individual, Merchant};

const ADDRESS: &str = "+905321234567";
const OTHER: &str = "+905321234568";
const DAY: i64 = 24 * HOUR;

/// What the starter policy says of marketing, after its regimes.
const IN_IYS: &str = "merchant = \"opt_out\"\niys = true\n";

/// The starter policy, asking for the registry.
fn required(version: &str) -> String {
    assert_eq!(STARTER.matches(IN_IYS).count(), 1);
    let asked = format!("{IN_IYS}iys_registered = \"required\"\n");
    STARTER.replace("starter-1", version).replace(IN_IYS, &asked)
}

/// An instant in Turkey in 2026, such as `05-22T12:00`.
fn turkey(text: &str) -> i64 {
    let civil: DateTime = format!("2026-{text}:00").parse().unwrap();
    Offset::constant(3).to_timestamp(civil).unwrap().as_millisecond()
}

/// A grant that the registry's own file brings.
fn registered(address: &str, time: i64) -> ConsentEvent {
    let source = "HS_WEB".to_owned();
    ConsentEvent { registered_with: REGISTRY.to_owned(), source, ..grant(address, time) }
}

async fn apply(server: &TestServer, toml: &str, permits_more: u64) -> ApplyPolicyResponse {
    try_apply(server, toml, permits_more).await.unwrap()
}

async fn try_apply(
    server: &TestServer,
    toml: &str,
    permits_more: u64,
) -> Result<ApplyPolicyResponse, Status> {
    let request =
        ApplyPolicyRequest { toml: toml.to_owned(), permits_more, ..ApplyPolicyRequest::default() };
    server.admin().apply_policy(request).await.map(tonic::Response::into_inner)
}

async fn record(server: &TestServer, event: ConsentEvent) -> Outcome {
    let request = RecordRequest { events: vec![event] };
    let results = server.consent().record(request).await.unwrap().into_inner().results;
    assert!(results[0].rejection.is_none(), "{results:?}");
    results[0].outcome()
}

async fn check(server: &TestServer, address: &str, scope: v1::Scope) -> CheckResponse {
    let request = CheckRequest {
        brand: "main".to_owned(),
        scope: Some(scope),
        contact: Some(phone(address)),
        ..CheckRequest::default()
    };
    server.filter().check(request).await.unwrap().into_inner()
}

async fn verdict(server: &TestServer, address: &str) -> Reason {
    check(server, address, scope(Individual, "sms", "marketing")).await.reason()
}

/// Waits until the verdict has become EXPIRED by itself.
async fn expires(server: &TestServer, address: &str) {
    let expired = async {
        while verdict(server, address).await != Reason::Expired {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), expired).await.unwrap();
}

async fn explained(server: &TestServer, as_of: i64) -> (Reason, Option<i64>) {
    let request = ExplainRequest {
        brand: "main".to_owned(),
        scope: Some(scope(Individual, "sms", "marketing")),
        contact: Some(phone(ADDRESS)),
        as_of_ms: Some(as_of),
        ..ExplainRequest::default()
    };
    let answer = server.consent().explain(request).await.unwrap().into_inner();
    (answer.reason(), answer.since_ms)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unregistered_consent_ends_with_the_third_business_day_until_the_registry_has_it() {
    let mut server = TestServer::start().await;
    apply(&server, &required("2"), 0).await;
    // A Friday. Monday and Tuesday count, then Kurban and a weekend come, and
    // Monday 1 June is the third day.
    let (given, end) = (turkey("05-22T12:00"), turkey("06-02T00:00"));
    server.set_clock(given);
    assert_eq!(record(&server, grant(ADDRESS, given)).await, Outcome::Applied);
    let merchant = ConsentEvent { recipient_type: Merchant.into(), ..grant(ADDRESS, given) };
    record(&server, merchant).await;
    for channel in ["whatsapp", "mms"] {
        record(&server, ConsentEvent { channel: channel.to_owned(), ..grant(ADDRESS, given) })
            .await;
    }

    server.set_clock(end - 1);
    for _ in 0..2 {
        assert_eq!(verdict(&server, ADDRESS).await, Reason::Permitted);
        server.restart().await;
    }
    server.set_clock(end);
    expires(&server, ADDRESS).await;
    for _ in 0..2 {
        let asked = |kind, channel| check(&server, ADDRESS, scope(kind, channel, "marketing"));
        assert_eq!(asked(Individual, "mms").await.reason(), Reason::Expired);
        assert_eq!(asked(Individual, "whatsapp").await.reason(), Reason::Permitted);
        assert_eq!(asked(Merchant, "sms").await.reason(), Reason::Permitted);
        server.restart().await;
    }
    assert_eq!(explained(&server, end - 1).await, (Reason::Permitted, Some(given)));
    assert_eq!(explained(&server, end).await, (Reason::Expired, Some(end)));

    // Another registry does not stand for this one.
    let elsewhere = ConsentEvent { registered_with: "other".to_owned(), ..grant(ADDRESS, given) };
    record(&server, elsewhere).await;
    assert_eq!(verdict(&server, ADDRESS).await, Reason::Expired);

    // The registry holds it to the second, and so earlier than we do.
    assert_eq!(record(&server, registered(ADDRESS, given - 400)).await, Outcome::Superseded);
    for _ in 0..2 {
        assert_eq!(verdict(&server, ADDRESS).await, Reason::Permitted);
        server.restart().await;
    }
    assert_eq!(explained(&server, end - 1).await.0, Reason::Permitted);
    server.set_clock(end + 400 * DAY);
    server.restart().await;
    assert_eq!(verdict(&server, ADDRESS).await, Reason::Permitted);
    // What the registry holds of sms says nothing of mms.
    let mms = check(&server, ADDRESS, scope(Individual, "mms", "marketing")).await;
    assert_eq!(mms.reason(), Reason::Expired);
    verified(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_the_registry_was_told_ends_the_registration() {
    let mut server = TestServer::start().await;
    apply(&server, &required("2"), 0).await;
    let now = turkey("06-08T12:00");
    server.set_clock(now);
    // Both were registered and renewed last; one said stop in between, of
    // which we hear last.
    for address in [ADDRESS, OTHER] {
        record(&server, registered(address, now - 40 * DAY)).await;
        record(&server, grant(address, now - HOUR)).await;
    }
    record(&server, withdrawal(OTHER, "sms", "marketing", now - 2 * DAY)).await;
    record(&server, withdrawal(ADDRESS, "sms", "", now - 2 * DAY)).await;
    for address in [ADDRESS, OTHER] {
        assert_eq!(verdict(&server, address).await, Reason::Permitted);
    }
    server.restart().await;
    // Tuesday, Wednesday, Thursday.
    server.set_clock(turkey("06-12T00:00"));
    expires(&server, ADDRESS).await;
    assert_eq!(verdict(&server, OTHER).await, Reason::Permitted, "of one purpose it is not told");
    // Where the time is over already, the refusal ends the consent at once.
    record(&server, withdrawal(OTHER, "", "", now - DAY)).await;
    assert_eq!(verdict(&server, OTHER).await, Reason::Expired);
    record(&server, registered(ADDRESS, now - HOUR)).await;
    assert_eq!(verdict(&server, ADDRESS).await, Reason::Permitted);
    verified(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_comes_to_ask_for_the_registry_ends_old_consents_and_others_in_their_time() {
    let mut server = TestServer::start().await;
    let now = turkey("06-08T12:00");
    server.set_clock(now);
    let held = "+905321234569";
    record(&server, grant(ADDRESS, now)).await;
    record(&server, grant(OTHER, now - 30 * DAY)).await;
    record(&server, registered(held, now - 30 * DAY)).await;

    let applied = apply(&server, &required("2"), 0).await;
    let sms = scope(Individual, "sms", "marketing");
    let [change] = applied.changes.as_slice() else { panic!("{applied:?}") };
    assert_eq!((change.scope.as_ref(), change.newly_suppressed), (Some(&sms), 1));
    for _ in 0..2 {
        assert_eq!(verdict(&server, ADDRESS).await, Reason::Permitted);
        assert_eq!(verdict(&server, OTHER).await, Reason::Expired);
        assert_eq!(verdict(&server, held).await, Reason::Permitted);
        server.restart().await;
    }
    server.set_clock(turkey("06-12T00:00"));
    expires(&server, ADDRESS).await;
    server.restart().await;
    assert_eq!(verdict(&server, ADDRESS).await, Reason::Expired);

    // Not to ask any more brings both back: not without the number.
    let before = STARTER.replace("starter-1", "3");
    let refused = try_apply(&server, &before, 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("--permits-more 2"), "{refused:?}");
    apply(&server, &before, 2).await;
    for address in [ADDRESS, OTHER, held] {
        assert_eq!(verdict(&server, address).await, Reason::Permitted);
    }
    verified(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_leaves_no_end_in_the_queue() {
    let mut server = TestServer::start().await;
    apply(&server, &required("2"), 0).await;
    let now = turkey("06-08T12:00");
    server.set_clock(now);
    record(&server, grant(ADDRESS, now)).await;
    record(&server, grant(OTHER, now)).await;
    let erasure =
        Erasure { brand: "main".to_owned(), contact: Some(phone(ADDRESS)), ..Erasure::default() };
    let request = EraseRequest { erasures: vec![erasure] };
    let results = server.consent().erase(request).await.unwrap().into_inner().results;
    assert!(results[0].rejection.is_none(), "{results:?}");
    server.stop().await;
    let books =
        recovery::open(server.folder.path(), Clock::Manual(Arc::clone(&server.clock))).unwrap();
    let ends: Vec<_> = books.store.ends(0, i64::MAX).unwrap().map(Result::unwrap).collect();
    let [(due, _, contact)] = ends.as_slice() else { panic!("{} ends", ends.len()) };
    assert_eq!((*due, contact.id), (turkey("06-12T00:00"), 905_321_234_568));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_asks_for_the_registry_where_that_means_nothing_is_refused() {
    let server = TestServer::start().await;
    let toml = required("2");
    let no_channel = toml.lines().filter(|line| !line.starts_with("iys = \""));
    let no_channel = no_channel.collect::<Vec<_>>().join("\n");
    let cases = [
        (toml.replace("\"required\"", "\"yes\""), "the only value is \"required\""),
        (toml.replace("iys = true\n", ""), "iys = true"),
        (no_channel, "iys type"),
        (
            toml.replace(
                "[purposes.marketing]\nindividual = \"opt_in\"",
                "[purposes.marketing]\nindividual = \"exempt\"",
            ),
            "opt_in",
        ),
    ];
    for (text, why) in cases {
        assert_ne!(text, toml);
        let status = try_apply(&server, &text, 0).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{why}: {status:?}");
        let violation = &status.get_details_bad_request().unwrap().field_violations[0];
        let place = "purposes.marketing.iys_registered";
        let text = format!("{} {}", status.message(), violation.description);
        assert!(text.contains(place) && text.contains(why), "{text}");
    }
}
