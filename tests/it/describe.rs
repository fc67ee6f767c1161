//! Describe: why, since when, and by which event.

use sendgate::{
    caps,
    proto::v1::{
        Actor, ActorRole, ApplyPolicyRequest, ContactKind, DescribeRequest, DescribeResponse,
        Description, Lift, LiftRequest, Reason, RecipientType, RecordRequest, Revision,
        SuppressRequest, Suppression,
    },
};
use tonic::{Code, Status};

use crate::support::{HOUR, START, TestServer, at, grant, phone, scope, withdrawal};

const ADDRESS: &str = "+905321234567";

fn request(
    recipient_type: RecipientType,
    purpose: &str,
    addresses: Vec<String>,
) -> DescribeRequest {
    DescribeRequest {
        brand: "main".to_owned(),
        scope: Some(scope(recipient_type, "sms", purpose)),
        contact_kind: ContactKind::Phone.into(),
        default_region: "TR".to_owned(),
        addresses,
        minimum_revision: None,
    }
}

async fn describe(
    server: &TestServer,
    request: DescribeRequest,
) -> Result<DescribeResponse, Status> {
    server.filter().describe(request).await.map(tonic::Response::into_inner)
}

async fn one(server: &TestServer, recipient_type: RecipientType, purpose: &str) -> Description {
    let request = request(recipient_type, purpose, vec![ADDRESS.to_owned()]);
    describe(server, request).await.unwrap().descriptions[0]
}

fn described(reason: Reason, since_ms: Option<i64>, revision: u64) -> Description {
    Description { reason: reason.into(), since_ms, revision }
}

async fn suppress(server: &TestServer, brand: &str, reason: Reason, since: i64) -> u64 {
    let entry = Suppression {
        brand: brand.to_owned(),
        contact: Some(phone(ADDRESS)),
        reason: reason.into(),
        since: at(since),
        expires_at_ms: (reason == Reason::SoftBounce).then_some(START + 90 * HOUR),
        ..Suppression::default()
    };
    let request = SuppressRequest { suppressions: vec![entry] };
    server.consent().suppress(request).await.unwrap().into_inner().results[0].revision
}

async fn lift(server: &TestServer, brand: &str, reason: Reason, role: ActorRole, time: i64) {
    let lift = Lift {
        brand: brand.to_owned(),
        contact: Some(phone(ADDRESS)),
        reason: reason.into(),
        time: at(time),
        actor: Some(Actor { role: role.into(), id: String::new() }),
        ..Lift::default()
    };
    let answer = server.consent().lift(LiftRequest { lifts: vec![lift] }).await.unwrap();
    assert_eq!(answer.into_inner().results[0].rejection, None);
}

/// Every suppression, in each regime, before and after its lift; what is said
/// for all brands counts as well.
#[tokio::test(flavor = "multi_thread")]
async fn every_suppression_is_described_in_every_regime_until_it_is_lifted() {
    let reasons = [
        (Reason::LegalBlock, ActorRole::Staff),
        (Reason::Restricted, ActorRole::Staff),
        (Reason::InvalidAddress, ActorRole::System),
        (Reason::LineClosed, ActorRole::System),
        (Reason::HardBounce, ActorRole::System),
        (Reason::SpamComplaint, ActorRole::System),
        (Reason::ManualBlock, ActorRole::Staff),
        (Reason::Objected, ActorRole::Staff),
        (Reason::SoftBounce, ActorRole::System),
    ];
    let server = TestServer::start().await;
    server.set_clock(START + 10 * HOUR);
    for (hours, (reason, role)) in (1..).zip(reasons) {
        for brand in ["main", "*"] {
            let since = START + hours * HOUR;
            let revision = suppress(&server, brand, reason, since).await;
            let suppressed = described(reason, Some(since), revision);
            let exempt = match reason {
                Reason::Objected => described(Reason::Permitted, None, 0),
                _ => suppressed,
            };
            assert_eq!(one(&server, RecipientType::Individual, "marketing").await, suppressed);
            assert_eq!(one(&server, RecipientType::Merchant, "marketing").await, suppressed);
            assert_eq!(one(&server, RecipientType::Individual, "transactional").await, exempt);

            lift(&server, brand, reason, role, since + 1).await;
            let unknown = described(Reason::NoConsent, None, 0);
            let permitted = described(Reason::Permitted, None, 0);
            assert_eq!(one(&server, RecipientType::Individual, "marketing").await, unknown);
            assert_eq!(one(&server, RecipientType::Merchant, "marketing").await, permitted);
            assert_eq!(one(&server, RecipientType::Individual, "transactional").await, permitted);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consents_hold_since_they_were_given_withdrawn_or_ended() {
    let server = TestServer::start().await;
    server.set_clock(START + 10 * HOUR);
    let record = async |event| {
        let request = RecordRequest { events: vec![event] };
        server.consent().record(request).await.unwrap().into_inner().results[0].revision
    };
    let until = START + 5 * HOUR;
    let mut granted = grant(ADDRESS, START + HOUR);
    granted.valid_until_ms = Some(until);
    let revision = record(granted).await;
    let found = one(&server, RecipientType::Individual, "marketing").await;
    assert_eq!(found, described(Reason::Expired, Some(until), revision));

    let revision = record(grant(ADDRESS, START + 6 * HOUR)).await;
    let found = one(&server, RecipientType::Individual, "marketing").await;
    assert_eq!(found, described(Reason::Permitted, Some(START + 6 * HOUR), revision));

    for (hours, channel, purpose, reason) in [
        (7, "sms", "marketing", Reason::OptedOut),
        (8, "sms", "*", Reason::ChannelOptOut),
        (9, "*", "*", Reason::ContactOptOut),
    ] {
        let since = START + hours * HOUR;
        let revision = record(withdrawal(ADDRESS, channel, purpose, since)).await;
        let found = one(&server, RecipientType::Individual, "marketing").await;
        assert_eq!(found, described(reason, Some(since), revision));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_addresses_are_described_in_order_and_one_more_is_refused() {
    let server = TestServer::start().await;
    let number = |at: usize| format!("+90532{at:07}");
    let events = (0..1_000).map(|at| grant(&number(at * 7), START)).collect();
    server.consent().record(RecordRequest { events }).await.unwrap();
    let mut addresses: Vec<String> = (0..caps::DESCRIBE_ADDRESSES).map(number).collect();
    addresses[5_000] = "no number".to_owned();
    let asked = request(RecipientType::Individual, "marketing", addresses.clone());
    let answer = describe(&server, asked).await.unwrap();
    assert_eq!(answer.descriptions.len(), caps::DESCRIBE_ADDRESSES);
    for (at, found) in answer.descriptions.iter().enumerate() {
        let expected = match at {
            5_000 => Reason::InvalidRecipient,
            at if at % 7 == 0 && at < 7_000 => Reason::Permitted,
            _ => Reason::NoConsent,
        };
        assert_eq!(found.reason(), expected, "at {at}");
        assert_eq!(found.since_ms.is_some(), expected == Reason::Permitted);
    }
    addresses.push(number(1));
    let asked = request(RecipientType::Individual, "marketing", addresses);
    let refused = describe(&server, asked).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("10000"), "{}", refused.message());
    let asked = request(RecipientType::Individual, "marketing", Vec::new());
    assert_eq!(describe(&server, asked).await.unwrap().descriptions, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_must_make_sense() {
    let server = TestServer::start().await;
    let whole = request(RecipientType::Individual, "marketing", vec![ADDRESS.to_owned()]);
    let cases = [
        (DescribeRequest { scope: None, ..whole.clone() }, Code::InvalidArgument),
        (DescribeRequest { brand: "none".to_owned(), ..whole.clone() }, Code::NotFound),
        (
            DescribeRequest { contact_kind: ContactKind::Email.into(), ..whole.clone() },
            Code::InvalidArgument,
        ),
        (
            DescribeRequest {
                minimum_revision: Some(Revision { epoch: "0".repeat(32), revision: 1 }),
                ..whole.clone()
            },
            Code::FailedPrecondition,
        ),
    ];
    for (request, code) in cases {
        assert_eq!(describe(&server, request).await.unwrap_err().code(), code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_the_policy_dropped_is_not_found() {
    let server = TestServer::start().await;
    let toml = "version = \"two\"\n[channels.sms]\nkinds = [\"phone\"]\n[purposes.news]\n\
                individual = \"opt_in\"\n[brands.main]\n";
    let applied = ApplyPolicyRequest { toml: toml.to_owned(), ..Default::default() };
    server.admin().apply_policy(applied).await.unwrap();
    let asked = request(RecipientType::Individual, "marketing", Vec::new());
    assert_eq!(describe(&server, asked).await.unwrap_err().code(), Code::NotFound);
    let asked = request(RecipientType::Individual, "news", vec![ADDRESS.to_owned()]);
    let answer = describe(&server, asked).await.unwrap();
    assert_eq!((answer.policy_version.as_str(), answer.descriptions.len()), ("two", 1));
}
