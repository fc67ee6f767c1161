//! What the random events found in the server, each as small as it gets.

use sendgate::proto::v1::{
    Actor, ActorRole, CheckRequest, ConsentEvent, Contact, ContactKind, EraseRequest, Erasure,
    EventResult, Lift, LiftRequest, Outcome, Reason, RecipientType, RecordRequest, RectifyRequest,
    RectifyResponse, SuppressRequest, Suppression,
};

use crate::support::{HOUR, START, TestServer, at, grant, phone, scope, verified, withdrawal};

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
    lift(&server, "main", ADDRESS, Reason::ManualBlock, START + HOUR).await;
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

/// What follows is about the rights of the person (R11).
fn somebody(address: &str) -> Contact {
    let kind = if address.contains('@') { ContactKind::Email } else { ContactKind::Phone };
    super::wire::contact(kind, address)
}

async fn erase(server: &TestServer, brand: &str, address: &str) {
    let contact = Some(somebody(address));
    let erasure = Erasure { brand: brand.to_owned(), contact, ..Erasure::default() };
    let request = EraseRequest { erasures: vec![erasure] };
    let result = server.consent().erase(request).await.unwrap().into_inner().results.remove(0);
    assert_eq!(result.rejection, None);
}

async fn lift(server: &TestServer, brand: &str, address: &str, reason: Reason, time: i64) {
    let lift = Lift {
        brand: brand.to_owned(),
        contact: Some(somebody(address)),
        reason: reason.into(),
        time: at(time),
        actor: Some(Actor { role: ActorRole::Staff.into(), id: String::new() }),
        ..Lift::default()
    };
    let request = LiftRequest { lifts: vec![lift] };
    let result = server.consent().lift(request).await.unwrap().into_inner().results.remove(0);
    assert_eq!(result.outcome(), Outcome::Applied, "{:?}", result.rejection);
}

async fn rectify(server: &TestServer, to: &str) -> RectifyResponse {
    let request = RectifyRequest {
        brand: "main".to_owned(),
        from: Some(somebody(ADDRESS)),
        to: Some(somebody(to)),
        ..RectifyRequest::default()
    };
    server.consent().rectify(request).await.unwrap().into_inner()
}

/// The verdict on marketing for a merchant, who may be written to unasked.
async fn merchant(server: &TestServer, address: &str) -> Reason {
    let channel = if address.contains('@') { "email" } else { "sms" };
    let request = CheckRequest {
        brand: "main".to_owned(),
        scope: Some(scope(RecipientType::Merchant, channel, "marketing")),
        contact: Some(somebody(address)),
        ..CheckRequest::default()
    };
    server.filter().check(request).await.unwrap().into_inner().reason()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rectification_does_not_give_back_what_was_withdrawn() {
    let server = TestServer::start().await;
    record(&server, grant(ADDRESS, START - 2 * HOUR)).await;
    record(&server, withdrawal(ADDRESS, "sms", "", START - HOUR)).await;
    assert_eq!(rectify(&server, "+905321234999").await.moved, 0);
    // Nor does a second one, after the first has withdrawn everything.
    record(&server, grant(ADDRESS, START - HOUR / 2)).await;
    server.set_clock(START + HOUR);
    assert_eq!(rectify(&server, "+905321234998").await.moved, 0);
    verified(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rectification_that_an_erasure_refuses_names_no_event() {
    let server = TestServer::start().await;
    erase(&server, "main", ADDRESS).await;
    let done = rectify(&server, "+905321234999").await;
    assert_eq!((done.rectification, done.moved), (0, 0));
    server.set_clock(START + HOUR);
    let done = rectify(&server, "+905321234999").await;
    assert_eq!(done.rectification, done.revision.unwrap().revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_came_back_with_a_grant_still_ends_at_its_time() {
    let server = TestServer::start().await;
    let bounce =
        Suppression { expires_at_ms: Some(START + 2 * HOUR), ..blocked(Reason::SoftBounce) };
    assert_eq!(suppress(&server, bounce).await, Outcome::Applied);
    erase(&server, "main", ADDRESS).await;
    server.set_clock(START + HOUR);
    record(&server, grant(ADDRESS, START + HOUR)).await;
    assert_eq!(verdict(&server, "marketing").await, Reason::SoftBounce);
    server.set_clock(START + 2 * HOUR);
    record(&server, grant("+905321234568", START)).await;
    assert_eq!(verdict(&server, "marketing").await, Reason::Permitted);
    verified(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_lift_an_erasure_does_not_lift_the_blocks_that_outlived_it() {
    let server = TestServer::start().await;
    suppress(&server, blocked(Reason::LegalBlock)).await;
    erase(&server, "main", ADDRESS).await;
    assert_eq!(merchant(&server, ADDRESS).await, Reason::Erased);
    server.set_clock(START + HOUR);
    lift(&server, "main", ADDRESS, Reason::Erased, START + HOUR).await;
    assert_eq!(merchant(&server, ADDRESS).await, Reason::LegalBlock);
    verified(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lift_in_all_brands_leaves_the_erasure_of_one_brand_alone() {
    let server = TestServer::start().await;
    erase(&server, "main", ADDRESS).await;
    server.set_clock(START + HOUR);
    lift(&server, "*", ADDRESS, Reason::Erased, START + HOUR).await;
    assert_eq!(merchant(&server, ADDRESS).await, Reason::Erased);
    lift(&server, "main", ADDRESS, Reason::Erased, START + HOUR).await;
    assert_eq!(merchant(&server, ADDRESS).await, Reason::Permitted);
    // And the other way round; a block of the brand is none of its mark's.
    suppress(&server, blocked(Reason::ManualBlock)).await;
    erase(&server, "*", ADDRESS).await;
    server.set_clock(START + 2 * HOUR);
    lift(&server, "main", ADDRESS, Reason::Erased, START + 2 * HOUR).await;
    assert_eq!(merchant(&server, ADDRESS).await, Reason::Erased);
    lift(&server, "*", ADDRESS, Reason::Erased, START + 2 * HOUR).await;
    assert_eq!(merchant(&server, ADDRESS).await, Reason::ManualBlock);
    verified(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_of_all_brands_outlives_a_return_and_another_erasure() {
    let mut server = TestServer::start().await;
    let address = "person@example.com";
    let everywhere = Suppression {
        brand: "*".to_owned(),
        contact: Some(somebody(address)),
        ..blocked(Reason::LegalBlock)
    };
    suppress(&server, everywhere).await;
    erase(&server, "*", address).await;
    let back = |time| ConsentEvent {
        contact: Some(somebody(address)),
        recipient_type: RecipientType::Merchant.into(),
        channel: "email".to_owned(),
        ..grant("", time)
    };
    for hour in [1, 2] {
        // The address leaves the directory with an erasure and comes in anew.
        server.set_clock(START + hour * HOUR);
        record(&server, back(START + hour * HOUR)).await;
        assert_eq!(merchant(&server, address).await, Reason::LegalBlock, "return {hour}");
        erase(&server, "main", address).await;
        server.restart().await;
        assert_eq!(merchant(&server, address).await, Reason::Erased, "erasure {hour}");
    }
    verified(server).await;
}
