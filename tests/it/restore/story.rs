//! What a store went through before its backup and after it.

use std::collections::BTreeMap;

use sendgate::proto::v1::{
    self, ActorRole, AnswerForm, ApplyPolicyRequest, ConsentEvent, Contact, ContactKind,
    EraseRequest, Erasure, GetPolicyRequest, GetStatisticsRequest, Lift, LiftRequest, Outcome,
    Reason, RecipientType, RecordRequest, RectifyRequest, Revision, SuppressRequest, Suppression,
};

use crate::support::{
    Asking, HOUR, START, TestServer, at, grant, lines, options, phone, reasons, scope, withdrawal,
};

pub fn number(person: u64) -> String {
    format!("+9053200000{person:02}")
}

pub fn email(person: u64) -> Contact {
    Contact {
        kind: ContactKind::Email.into(),
        address: format!("person{person}@example.com"),
        default_region: String::new(),
    }
}

pub fn email_grant(person: u64, time: i64) -> ConsentEvent {
    let contact = Some(email(person));
    ConsentEvent { contact, channel: "email".to_owned(), ..grant("", time) }
}

pub fn actor(role: ActorRole) -> Option<v1::Actor> {
    Some(v1::Actor { role: role.into(), id: "test".to_owned() })
}

pub async fn record(server: &TestServer, events: Vec<ConsentEvent>) {
    let results = server.consent().record(RecordRequest { events }).await.unwrap().into_inner();
    for result in results.results {
        assert!(result.rejection.is_none(), "{:?}", result.rejection);
    }
}

pub async fn suppress(server: &TestServer, brand: &str, contact: Contact, reason: Reason) {
    let suppression = Suppression {
        brand: brand.to_owned(),
        contact: Some(contact),
        reason: reason.into(),
        ..Suppression::default()
    };
    let request = SuppressRequest { suppressions: vec![suppression] };
    let results = server.consent().suppress(request).await.unwrap().into_inner().results;
    assert_eq!(results[0].outcome(), Outcome::Applied);
}

pub async fn erase(server: &TestServer, brand: &str, contact: Contact) {
    let erasure = Erasure {
        brand: brand.to_owned(),
        contact: Some(contact),
        actor: actor(ActorRole::Staff),
        ..Erasure::default()
    };
    let request = EraseRequest { erasures: vec![erasure] };
    let results = server.consent().erase(request).await.unwrap().into_inner().results;
    assert_ne!(results[0].revision, 0);
}

pub const SCOPES: [(RecipientType, &str, &str); 6] = [
    (RecipientType::Individual, "sms", "marketing"),
    (RecipientType::Merchant, "sms", "marketing"),
    (RecipientType::Individual, "sms", "transactional"),
    (RecipientType::Individual, "call", "marketing"),
    (RecipientType::Individual, "email", "marketing"),
    (RecipientType::Merchant, "email", "marketing"),
];

/// By scope and person.
pub type Verdicts = BTreeMap<(String, String), Reason>;

/// The verdict on everybody in every scope of these brands.
pub async fn verdicts(server: &TestServer, brands: &[&str]) -> Verdicts {
    let mut all = Verdicts::new();
    for brand in brands {
        for (recipient_type, channel, purpose) in SCOPES {
            let (kind, people): (_, Vec<String>) = if channel == "email" {
                (ContactKind::Email, (0..60).map(|at| email(at).address).collect())
            } else {
                (ContactKind::Phone, (0..60).map(number).collect())
            };
            let mut asking = Asking::open(
                server,
                v1::FilterOptions {
                    brand: (*brand).to_owned(),
                    scopes: vec![scope(recipient_type, channel, purpose)],
                    ..options(kind, channel, AnswerForm::Reasons)
                },
            )
            .await;
            let answer = asking.ask(lines(1, &people)).await;
            let name = format!("{brand} {recipient_type:?} {channel}/{purpose}");
            for (person, reason) in people.into_iter().zip(reasons(&answer)) {
                all.insert((name.clone(), person), reason);
            }
        }
    }
    all
}

/// What was known before the backup.
pub async fn before(server: &TestServer) {
    let grants = (0..30).map(|at| grant(&number(at), START - HOUR));
    let emails = (0..15).map(|at| email_grant(at, START - HOUR));
    record(server, grants.chain(emails).collect()).await;
    record(server, vec![withdrawal(&number(1), "sms", "", START)]).await;
    suppress(server, "main", phone(&number(2)), Reason::HardBounce).await;
    suppress(server, "*", phone(&number(3)), Reason::LegalBlock).await;
    suppress(server, "main", phone(&number(6)), Reason::LegalBlock).await;
    erase(server, "main", phone(&number(5))).await;
    erase(server, "main", phone(&number(6))).await;
    erase(server, "*", email(5)).await;
}

/// What came after it: all that a replay could get wrong.
pub async fn after(server: &TestServer) {
    let minute = HOUR / 60;
    let now = START + HOUR;
    server.set_clock(now);
    // Withdrawn without a time; one of them consents again later.
    let timeless = |person| ConsentEvent {
        consent_time: None,
        ..withdrawal(&number(person), "sms", "marketing", 0)
    };
    let keyed = ConsentEvent { event_key: "stop-8".to_owned(), ..timeless(8) };
    record(server, vec![timeless(7), keyed]).await;
    // A grant ahead of its recording counts as of the recording, so that the
    // withdrawal a minute later beats it.
    record(server, vec![grant(&number(9), now + 2 * minute)]).await;
    server.set_clock(now + minute);
    record(server, vec![withdrawal(&number(9), "sms", "marketing", now + minute)]).await;
    suppress(server, "main", phone(&number(10)), Reason::SpamComplaint).await;
    suppress(server, "*", phone(&number(16)), Reason::LegalBlock).await;
    let lift = Lift {
        brand: "main".to_owned(),
        contact: Some(phone(&number(2))),
        reason: Reason::HardBounce.into(),
        time: at(now + minute),
        actor: actor(ActorRole::System),
        ..Lift::default()
    };
    server.consent().lift(LiftRequest { lifts: vec![lift] }).await.unwrap();
    let ends = ConsentEvent { valid_until_ms: Some(now + 3 * HOUR), ..grant(&number(17), now) };
    record(server, vec![ends, email_grant(31, now), grant(&number(32), now)]).await;

    // Erasures: of who was in the backup, and of who came after it.
    suppress(server, "main", phone(&number(13)), Reason::LegalBlock).await;
    for person in [11, 12, 13, 32] {
        erase(server, "main", phone(&number(person))).await;
    }
    erase(server, "*", phone(&number(14))).await;
    erase(server, "*", email(3)).await;
    erase(server, "main", email(31)).await;
    server.set_clock(now + HOUR);
    // Who consents again after an erasure, old blocks notwithstanding.
    let again = [6, 8, 12, 13].map(|person| grant(&number(person), now + HOUR));
    record(server, again.to_vec()).await;
    record(server, vec![email_grant(5, now + HOUR), email_grant(40, now + HOUR)]).await;
    suppress(server, "main", phone(&number(11)), Reason::ManualBlock).await;

    let rectify = RectifyRequest {
        brand: "main".to_owned(),
        from: Some(phone(&number(15))),
        to: Some(phone(&number(35))),
        actor: actor(ActorRole::Staff),
        ..RectifyRequest::default()
    };
    server.consent().rectify(rectify).await.unwrap();
    // A policy with another brand, and somebody in it.
    let toml = policy(server).await.replace("starter-1", "two-brands") + "\n[brands.second]\n";
    apply_policy(server, &toml).await;
    let elsewhere =
        |person| ConsentEvent { brand: "second".to_owned(), ..grant(&number(person), now + HOUR) };
    record(server, [1, 7, 50].map(elsewhere).to_vec()).await;
    suppress(server, "second", phone(&number(7)), Reason::ManualBlock).await;
}

pub async fn policy(server: &TestServer) -> String {
    server.admin().get_policy(GetPolicyRequest {}).await.unwrap().into_inner().toml
}

pub async fn apply_policy(server: &TestServer, toml: &str) {
    let request = ApplyPolicyRequest {
        toml: toml.to_owned(),
        permits_unknown: true,
        ..ApplyPolicyRequest::default()
    };
    let answer = server.admin().apply_policy(request).await.unwrap().into_inner();
    assert_eq!(answer.policy_version, "two-brands");
}

pub async fn revision(server: &TestServer) -> Revision {
    let statistics = server.admin().get_statistics(GetStatisticsRequest::default()).await.unwrap();
    statistics.into_inner().revision.unwrap()
}
