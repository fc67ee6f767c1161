//! What the random events found in the server, each as small as it gets.

use sendgate::proto::v1::{
    Actor, ActorRole, CheckRequest, ConsentEvent, EventResult, Lift, LiftRequest, Outcome, Reason,
    RecipientType, RecordRequest, SuppressRequest, Suppression,
};

use crate::support::{HOUR, START, TestServer, at, grant, phone, scope, withdrawal};

const ADDRESS: &str = "+905321234567";

async fn record(server: &TestServer, event: ConsentEvent) -> EventResult {
    let request = RecordRequest { events: vec![event] };
    server.consent().record(request).await.unwrap().into_inner().results.remove(0)
}

async fn suppress(server: &TestServer, suppression: Suppression) -> Outcome {
    let request = SuppressRequest { suppressions: vec![suppression] };
    server.consent().suppress(request).await.unwrap().into_inner().results[0].outcome()
}

async fn verdict(server: &TestServer, purpose: &str) -> Reason {
    let request = CheckRequest {
        brand: "main".to_owned(),
        scope: Some(scope(RecipientType::Individual, "sms", purpose)),
        contact: Some(phone(ADDRESS)),
        ..CheckRequest::default()
    };
    server.filter().check(request).await.unwrap().into_inner().reason()
}

/// A block without a time, as a deny-list brings it.
fn blocked(reason: Reason) -> Suppression {
    Suppression {
        brand: "main".to_owned(),
        contact: Some(phone(ADDRESS)),
        reason: reason.into(),
        ..Suppression::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lifted_block_said_again_counts_although_a_shorter_one_stands() {
    let server = TestServer::start().await;
    assert_eq!(suppress(&server, blocked(Reason::ManualBlock)).await, Outcome::Applied);
    server.set_clock(START + 2 * HOUR);
    let lift = Lift {
        brand: "main".to_owned(),
        contact: Some(phone(ADDRESS)),
        reason: Reason::ManualBlock.into(),
        time: at(START + HOUR),
        actor: Some(Actor { role: ActorRole::Staff.into(), id: String::new() }),
        ..Lift::default()
    };
    server.consent().lift(LiftRequest { lifts: vec![lift] }).await.unwrap();
    let for_an_hour =
        Suppression { expires_at_ms: Some(START + 3 * HOUR), ..blocked(Reason::ManualBlock) };
    assert_eq!(suppress(&server, for_an_hour).await, Outcome::Applied);
    assert_eq!(suppress(&server, blocked(Reason::ManualBlock)).await, Outcome::Applied);

    server.set_clock(START + 4 * HOUR);
    // A write after the clock: the writer looks at the clock first.
    record(&server, grant("+905321234568", START)).await;
    assert_eq!(verdict(&server, "transactional").await, Reason::ManualBlock);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_grants_cannot_end_is_a_repeat_in_spite_of_one() {
    let server = TestServer::start().await;
    assert_eq!(suppress(&server, blocked(Reason::HardBounce)).await, Outcome::Applied);
    assert_eq!(suppress(&server, blocked(Reason::SpamComplaint)).await, Outcome::Applied);
    server.set_clock(START + HOUR);
    record(&server, grant(ADDRESS, START + HOUR)).await;
    assert_eq!(suppress(&server, blocked(Reason::HardBounce)).await, Outcome::Duplicate);
    // The complaint was answered by the grant; made again it is a new one.
    assert_eq!(suppress(&server, blocked(Reason::SpamComplaint)).await, Outcome::Applied);
}

#[tokio::test(flavor = "multi_thread")]
async fn opt_outs_that_share_a_key_are_both_repeats_when_said_again() {
    let server = TestServer::start().await;
    let under_key = |time| ConsentEvent {
        event_key: "1".to_owned(),
        consent_time: time,
        ..withdrawal(ADDRESS, "sms", "", START)
    };
    let (timeless, stated) = (under_key(None), under_key(at(START - HOUR)));
    let first = record(&server, timeless.clone()).await;
    let second = record(&server, stated.clone()).await;
    assert_eq!((first.outcome(), second.outcome()), (Outcome::Applied, Outcome::KeyReused));

    server.set_clock(START + HOUR);
    record(&server, grant(ADDRESS, START + HOUR)).await;
    server.set_clock(START + 2 * HOUR);
    for (event, before) in [(timeless, first), (stated, second)] {
        let again = record(&server, event).await;
        assert_eq!((again.outcome(), again.revision), (Outcome::Duplicate, before.revision));
    }
    assert_eq!(verdict(&server, "marketing").await, Reason::Permitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_that_ends_twice_within_one_jump_of_the_clock_is_decided_once() {
    let server = TestServer::start().await;
    let until = |reason, end| Suppression { expires_at_ms: Some(end), ..blocked(reason) };
    // The first end is in the coming minute, which the writer prepares while it
    // is idle: SOFT_BOUNCE from then on. The second one is not.
    suppress(&server, until(Reason::SoftBounce, START + HOUR)).await;
    suppress(&server, until(Reason::LegalBlock, START + HOUR / 100)).await;
    for _ in 0..50 {
        assert_eq!(verdict(&server, "marketing").await, Reason::LegalBlock);
    }
    server.set_clock(START + HOUR);
    record(&server, grant("+905321234568", START)).await;
    assert_eq!(verdict(&server, "marketing").await, Reason::NoConsent);
}
