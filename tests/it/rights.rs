//! The rights of the person (R11): erasure and rectification, over the wire,
//! after a restart, and down to the bytes on disk.

use sendgate::proto::v1::{
    self, Actor, ActorRole, AnswerForm, ApplyPolicyRequest, CheckRequest, ConsentEvent, Contact,
    ContactKind, EraseRequest, Erasure, ErasureResult, GetPolicyRequest, Lift, LiftRequest,
    Outcome, Reason, RecipientType, RecordRequest, RectifyRequest, RectifyResponse, RejectCode,
    SuppressRequest, Suppression,
};

use crate::support::{
    Asking, HOUR, START, TestServer, at, grant, lines, options, phone, phones, reasons, scope,
    verified, withdrawal,
};

const ADDRESS: &str = "+905321234567";
const NUMBER: u64 = 905_321_234_567;
const RIGHT: &str = "+905321234999";

fn staff() -> Option<Actor> {
    Some(Actor { role: ActorRole::Staff.into(), id: "dpo".to_owned() })
}

fn email(address: &str) -> Contact {
    Contact {
        kind: ContactKind::Email.into(),
        address: address.to_owned(),
        default_region: String::new(),
    }
}

/// A grant of a marketing e-mail.
fn email_grant(address: &str, time: i64) -> ConsentEvent {
    let contact = Some(email(address));
    ConsentEvent { contact, channel: "email".to_owned(), ..grant("", time) }
}

async fn record(server: &TestServer, event: ConsentEvent) -> v1::EventResult {
    let request = RecordRequest { events: vec![event] };
    server.consent().record(request).await.unwrap().into_inner().results.remove(0)
}

async fn applied(server: &TestServer, event: ConsentEvent) {
    let result = record(server, event).await;
    assert_eq!(result.outcome(), Outcome::Applied, "{:?}", result.rejection);
}

async fn suppress(server: &TestServer, brand: &str, contact: Contact, reason: Reason, time: i64) {
    let suppression = Suppression {
        brand: brand.to_owned(),
        contact: Some(contact),
        reason: reason.into(),
        since: at(time),
        ..Suppression::default()
    };
    let request = SuppressRequest { suppressions: vec![suppression] };
    let results = server.consent().suppress(request).await.unwrap().into_inner().results;
    assert_eq!(results[0].outcome(), Outcome::Applied);
}

async fn erase(server: &TestServer, brand: &str, contact: Contact) -> ErasureResult {
    let erasure = Erasure {
        brand: brand.to_owned(),
        contact: Some(contact),
        source: "letter of the person".to_owned(),
        note: "ticket 17".to_owned(),
        actor: staff(),
    };
    let request = EraseRequest { erasures: vec![erasure] };
    server.consent().erase(request).await.unwrap().into_inner().results.remove(0)
}

async fn rectify(server: &TestServer, from: &str, to: &str) -> RectifyResponse {
    let request = RectifyRequest {
        brand: "main".to_owned(),
        from: Some(phone(from)),
        to: Some(phone(to)),
        source: "call centre".to_owned(),
        actor: staff(),
    };
    server.consent().rectify(request).await.unwrap().into_inner()
}

/// The verdict in brand `brand` on sms/marketing, or on email/marketing.
async fn verdict_in(
    server: &TestServer,
    brand: &str,
    recipient_type: RecipientType,
    contact: Contact,
) -> Reason {
    let channel = if contact.kind() == ContactKind::Email { "email" } else { "sms" };
    let request = CheckRequest {
        brand: brand.to_owned(),
        scope: Some(scope(recipient_type, channel, "marketing")),
        contact: Some(contact),
        ..CheckRequest::default()
    };
    server.filter().check(request).await.unwrap().into_inner().reason()
}

async fn verdict(server: &TestServer, address: &str) -> Reason {
    verdict_in(server, "main", RecipientType::Individual, phone(address)).await
}

async fn merchant(server: &TestServer, address: &str) -> Reason {
    verdict_in(server, "main", RecipientType::Merchant, phone(address)).await
}

/// What a filter stream says of one number as a merchant.
async fn filtered_merchant(server: &TestServer, batch: v1::RecipientBatch) -> Vec<Reason> {
    let mut options = options(ContactKind::Phone, "sms", AnswerForm::Reasons);
    options.scopes = vec![scope(RecipientType::Merchant, "sms", "marketing")];
    let mut asking = Asking::open(server, options).await;
    reasons(&asking.ask(batch).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_contact_is_unknown_and_only_a_later_grant_brings_it_back() {
    let mut server = TestServer::start().await;
    applied(&server, grant(ADDRESS, START - HOUR)).await;
    suppress(&server, "main", phone(ADDRESS), Reason::SpamComplaint, START - HOUR).await;
    suppress(&server, "main", phone(ADDRESS), Reason::LegalBlock, START - HOUR).await;
    assert_eq!(verdict(&server, ADDRESS).await, Reason::LegalBlock);

    let erased = erase(&server, "main", phone(ADDRESS)).await;
    assert_eq!((erased.events, erased.survivors), (3, 1), "the legal block survives");
    for restarted in [false, true] {
        if restarted {
            server.restart().await;
        }
        assert_eq!(verdict(&server, ADDRESS).await, Reason::NoConsent);
        assert_eq!(merchant(&server, ADDRESS).await, Reason::Erased, "unknown is permitted there");
        assert_eq!(filtered_merchant(&server, phones(1, &[NUMBER])).await, [Reason::Erased]);
        let line = lines(1, &["0 (532) 123 45 67"]);
        assert_eq!(filtered_merchant(&server, line).await, [Reason::Erased]);
    }

    let old = record(&server, grant(ADDRESS, START - HOUR)).await;
    assert_eq!(old.rejection.unwrap().code(), RejectCode::Erased, "an old list brings nobody back");
    let still = record(&server, grant(ADDRESS, START)).await;
    assert_eq!(still.rejection.unwrap().code(), RejectCode::Erased, "nor one of the same instant");
    assert_eq!(merchant(&server, ADDRESS).await, Reason::Erased);

    server.set_clock(START + HOUR);
    applied(&server, grant(ADDRESS, START + HOUR)).await;
    for restarted in [false, true] {
        if restarted {
            server.restart().await;
        }
        assert_eq!(verdict(&server, ADDRESS).await, Reason::LegalBlock, "the block came back");
        assert_eq!(merchant(&server, ADDRESS).await, Reason::Erased, "no grant in that scope");
    }
    let lift = Lift {
        brand: "main".to_owned(),
        contact: Some(phone(ADDRESS)),
        reason: Reason::LegalBlock.into(),
        time: at(START + HOUR),
        actor: staff(),
        ..Lift::default()
    };
    server.consent().lift(LiftRequest { lifts: vec![lift] }).await.unwrap();
    assert_eq!(verdict(&server, ADDRESS).await, Reason::Permitted);
    verified(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_known_can_be_erased_too_and_a_lift_ends_the_mark() {
    let server = TestServer::start().await;
    assert_eq!(merchant(&server, ADDRESS).await, Reason::Permitted);
    assert_eq!(erase(&server, "main", phone(ADDRESS)).await.events, 0);
    assert_eq!(merchant(&server, ADDRESS).await, Reason::Erased);
    server.set_clock(START + HOUR);
    let lift = |channel: &str, role: ActorRole| Lift {
        brand: "main".to_owned(),
        contact: Some(phone(ADDRESS)),
        channel: channel.to_owned(),
        reason: Reason::Erased.into(),
        time: at(START + HOUR),
        actor: Some(Actor { role: role.into(), id: String::new() }),
        ..Lift::default()
    };
    let lifts = vec![lift("", ActorRole::Customer), lift("sms", ActorRole::Staff)];
    let results = server.consent().lift(LiftRequest { lifts }).await.unwrap().into_inner().results;
    assert!(results.iter().all(|result| result.outcome() == Outcome::Rejected), "{results:?}");
    let lifts = vec![lift("", ActorRole::Staff)];
    server.consent().lift(LiftRequest { lifts }).await.unwrap();
    assert_eq!(merchant(&server, ADDRESS).await, Reason::Permitted);
    verified(server).await;
}

/// The starter policy with a second brand.
async fn two_brands(server: &TestServer) {
    let policy = server.admin().get_policy(GetPolicyRequest {}).await.unwrap().into_inner();
    let toml = policy.toml.replace("starter-1", "two-brands") + "\n[brands.other]\n";
    let request = ApplyPolicyRequest { toml, ..ApplyPolicyRequest::default() };
    server.admin().apply_policy(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_in_all_brands_holds_in_each_until_that_one_hears_again() {
    let mut server = TestServer::start().await;
    two_brands(&server).await;
    let in_brand = |brand: &str, time| ConsentEvent {
        brand: brand.to_owned(),
        recipient_type: RecipientType::Merchant.into(),
        ..grant(ADDRESS, time)
    };
    applied(&server, in_brand("main", START - HOUR)).await;
    applied(&server, in_brand("other", START - HOUR)).await;
    suppress(&server, "other", phone(ADDRESS), Reason::ManualBlock, START - HOUR).await;
    suppress(&server, "*", phone(ADDRESS), Reason::HardBounce, START - HOUR).await;
    let erased = erase(&server, "*", phone(ADDRESS)).await;
    assert_eq!((erased.events, erased.survivors), (4, 2));

    server.set_clock(START + HOUR);
    applied(&server, in_brand("main", START + HOUR)).await;
    for restarted in [false, true] {
        if restarted {
            server.restart().await;
        }
        let asked = |brand| verdict_in(&server, brand, RecipientType::Merchant, phone(ADDRESS));
        assert_eq!(asked("main").await, Reason::HardBounce, "the block of all brands came back");
        assert_eq!(asked("other").await, Reason::Erased, "nobody asked there again");
    }
    let lift = Lift {
        brand: "*".to_owned(),
        contact: Some(phone(ADDRESS)),
        reason: Reason::HardBounce.into(),
        time: at(START + HOUR),
        actor: staff(),
        ..Lift::default()
    };
    server.consent().lift(LiftRequest { lifts: vec![lift] }).await.unwrap();
    applied(&server, in_brand("other", START + HOUR)).await;
    for restarted in [false, true] {
        if restarted {
            server.restart().await;
        }
        let asked = |brand| verdict_in(&server, brand, RecipientType::Merchant, phone(ADDRESS));
        assert_eq!(asked("main").await, Reason::Permitted);
        assert_eq!(asked("other").await, Reason::ManualBlock, "its own block came back");
    }
    verified(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_in_one_brand_leaves_the_others_alone() {
    let server = TestServer::start().await;
    two_brands(&server).await;
    let address = "person@example.com";
    applied(&server, email_grant(address, START - HOUR)).await;
    let other = ConsentEvent { brand: "other".to_owned(), ..email_grant(address, START - HOUR) };
    applied(&server, other).await;
    erase(&server, "main", email(address)).await;
    let asked = |brand| verdict_in(&server, brand, RecipientType::Individual, email(address));
    assert_eq!(asked("main").await, Reason::NoConsent);
    assert_eq!(asked("other").await, Reason::Permitted);
    let merchant = verdict_in(&server, "main", RecipientType::Merchant, email(address)).await;
    assert_eq!(merchant, Reason::Erased);
    verified(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_place_of_an_erased_address_is_never_given_to_another() {
    let mut server = TestServer::start().await;
    // More than one block of the directory, so that one on disk must change.
    let people: Vec<String> = (0..5_000).map(|n| format!("person{n}@example.com")).collect();
    for chunk in people.chunks(1_000) {
        let events = chunk.iter().map(|each| email_grant(each, START - HOUR)).collect();
        server.consent().record(RecordRequest { events }).await.unwrap();
    }
    server.admin().checkpoint(v1::CheckpointRequest {}).await.unwrap();
    for gone in [17, 4_095, 4_096, 4_999] {
        assert_eq!(erase(&server, "main", email(&people[gone])).await.events, 1);
    }
    applied(&server, email_grant("new@example.com", START)).await;
    for restarted in [false, true] {
        if restarted {
            server.restart().await;
        }
        for (at, expected) in [
            (16, Reason::Permitted),
            (17, Reason::NoConsent),
            (4_095, Reason::NoConsent),
            (4_096, Reason::NoConsent),
            (4_097, Reason::Permitted),
            (4_999, Reason::NoConsent),
        ] {
            let asked =
                verdict_in(&server, "main", RecipientType::Individual, email(&people[at])).await;
            assert_eq!(asked, expected, "person {at}");
        }
        let new = email("new@example.com");
        let asked = verdict_in(&server, "main", RecipientType::Individual, new).await;
        assert_eq!(asked, Reason::Permitted);
    }
    server.set_clock(START + HOUR);
    applied(&server, email_grant(&people[17], START + HOUR)).await;
    verified(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_was_prepared_does_not_bring_an_erased_contact_into_a_plane() {
    let mut server = TestServer::start().await;
    let ending = ConsentEvent {
        valid_until_ms: Some(START + 30_000),
        recipient_type: RecipientType::Merchant.into(),
        ..grant(ADDRESS, START - HOUR)
    };
    applied(&server, ending).await;
    // The writer prepares the coming minute's ends between two tasks.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    erase(&server, "main", phone(ADDRESS)).await;
    server.set_clock(START + 60_000);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(merchant(&server, ADDRESS).await, Reason::Erased);
    let statistics =
        server.admin().get_statistics(v1::GetStatisticsRequest::default()).await.unwrap();
    assert!(statistics.into_inner().planes.is_empty(), "the contact is in no plane");
    server.stop().await;
    verified(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rectification_moves_what_the_right_address_says_nothing_of() {
    let server = TestServer::start().await;
    let newsletter =
        |address, time| ConsentEvent { purpose: "newsletter".to_owned(), ..grant(address, time) };
    let proof = ConsentEvent {
        source: "web form".to_owned(),
        legal_basis: "art. 6".to_owned(),
        ..grant(ADDRESS, START - 3 * HOUR)
    };
    applied(&server, proof).await;
    applied(&server, newsletter(ADDRESS, START - 3 * HOUR)).await;
    applied(&server, withdrawal(RIGHT, "sms", "newsletter", START - 2 * HOUR)).await;
    let done = rectify(&server, ADDRESS, RIGHT).await;
    assert_eq!((done.moved, done.kept), (1, 1));
    assert_eq!(verdict(&server, ADDRESS).await, Reason::ContactOptOut);
    assert_eq!(verdict(&server, RIGHT).await, Reason::Permitted);
    let request = CheckRequest {
        brand: "main".to_owned(),
        scope: Some(scope(RecipientType::Individual, "sms", "marketing")),
        contact: Some(phone(RIGHT)),
        include_record: true,
        ..CheckRequest::default()
    };
    let record = server.filter().check(request).await.unwrap().into_inner().record.unwrap();
    assert_eq!(record.rectification, done.rectification, "linked");
    assert_eq!(record.effective_time_ms, START - 3 * HOUR, "the consent keeps its time");
    let Some(v1::ledger_record::Event::Consent(consent)) = record.event else { panic!("consent") };
    assert_eq!((consent.source.as_str(), consent.legal_basis.as_str()), ("web form", "art. 6"));

    let same = RectifyRequest {
        brand: "main".to_owned(),
        from: Some(phone(ADDRESS)),
        to: Some(phone("0532 123 45 67")),
        ..RectifyRequest::default()
    };
    assert!(server.consent().rectify(same).await.is_err(), "one contact in two spellings");
    let kinds = RectifyRequest {
        brand: "main".to_owned(),
        from: Some(phone(ADDRESS)),
        to: Some(email("person@example.com")),
        ..RectifyRequest::default()
    };
    assert!(server.consent().rectify(kinds).await.is_err(), "another kind is another contact");
    // Said again, it moves nothing more.
    assert_eq!(rectify(&server, ADDRESS, RIGHT).await.moved, 0);
    erase(&server, "main", phone(ADDRESS)).await;
    assert_eq!(verdict(&server, RIGHT).await, Reason::Permitted, "the right address stays");
    verified(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_on_the_person_is_not_escaped_by_another_address() {
    let server = TestServer::start().await;
    for (n, (reason, moves)) in [
        (Reason::Objected, false),
        (Reason::SpamComplaint, false),
        (Reason::LegalBlock, false),
        (Reason::HardBounce, true),
    ]
    .into_iter()
    .enumerate()
    {
        let (wrong, right) = (format!("+9053212341{n:02}"), format!("+9053212342{n:02}"));
        applied(&server, grant(&wrong, START - 3 * HOUR)).await;
        suppress(&server, "main", phone(&wrong), reason, START - 2 * HOUR).await;
        assert_eq!(rectify(&server, &wrong, &right).await.moved, u32::from(moves), "{reason:?}");
        let expected = if moves { Reason::Permitted } else { Reason::NoConsent };
        assert_eq!(verdict(&server, &right).await, expected, "{reason:?}");
    }
    verified(server).await;
}
