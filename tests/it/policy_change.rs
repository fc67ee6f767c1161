//! A policy is data, and changing it is an event: counted first, refused where
//! it would permit somebody unasked, and still there after a restart.

use std::time::Duration;

use sendgate::{
    domain::policy::STARTER,
    proto::v1::{
        ApplyPolicyRequest, ApplyPolicyResponse, CheckRequest, ConsentEvent, GetPolicyRequest,
        Outcome, Reason, RecipientType, RecordRequest, Scope, ScopeChange,
    },
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{START, TestServer, grant, phone, scope, withdrawal};

use RecipientType::{Individual, Merchant};

const DAY: i64 = 86_400_000;
/// Somebody who said something, and somebody who never did.
const KNOWN: &str = "+905321234567";
const UNKNOWN: &str = "+905321234568";
/// Channels of the starter policy that reach phones.
const PHONE_CHANNELS: u64 = 5;

/// The starter policy under another version, with one part replaced.
fn changed(version: &str, from: &str, to: &str) -> String {
    assert_eq!(STARTER.matches(from).count(), 1, "{from:?} stands once in the starter policy");
    STARTER.replace("starter-1", version).replace(from, to)
}

const MARKETING: &str = "[purposes.marketing]\nindividual = \"opt_in\"\nmerchant = \"opt_out\"";

fn marketing(individual: &str, merchant: &str) -> String {
    format!("[purposes.marketing]\nindividual = {individual}\nmerchant = {merchant}")
}

async fn apply(
    server: &TestServer,
    request: ApplyPolicyRequest,
) -> Result<ApplyPolicyResponse, Status> {
    server.admin().apply_policy(request).await.map(|response| response.into_inner())
}

fn plain(toml: &str) -> ApplyPolicyRequest {
    ApplyPolicyRequest { toml: toml.to_owned(), ..ApplyPolicyRequest::default() }
}

async fn record(server: &TestServer, event: ConsentEvent) {
    let request = RecordRequest { events: vec![event] };
    let answer = server.consent().record(request).await.unwrap().into_inner();
    assert_eq!(answer.results[0].outcome(), Outcome::Applied);
}

async fn ask(server: &TestServer, address: &str, scope: Scope) -> Result<Reason, Status> {
    let request = CheckRequest {
        brand: "main".to_owned(),
        scope: Some(scope),
        contact: Some(phone(address)),
        ..CheckRequest::default()
    };
    let answer = server.filter().check(request).await?.into_inner();
    assert_eq!(answer.permitted, answer.reason() == Reason::Permitted);
    Ok(answer.reason())
}

async fn verdict(server: &TestServer, address: &str, scope: Scope) -> Reason {
    ask(server, address, scope).await.unwrap()
}

async fn version(server: &TestServer) -> String {
    server.admin().get_policy(GetPolicyRequest {}).await.unwrap().into_inner().policy_version
}

async fn revision(server: &TestServer) -> u64 {
    let policy = server.admin().get_policy(GetPolicyRequest {}).await.unwrap().into_inner();
    policy.revision.unwrap().revision
}

fn refused(outcome: Result<ApplyPolicyResponse, Status>) -> Status {
    let status = outcome.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("POLICY_REFUSED", "sendgate"));
    status
}

fn sms(changes: &[ScopeChange], recipient_type: RecipientType) -> &ScopeChange {
    let wanted = scope(recipient_type, "sms", "marketing");
    changes.iter().find(|change| change.scope.as_ref() == Some(&wanted)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purpose_exists_from_its_policy_on() {
    let mut server = TestServer::start().await;
    let surveys = || scope(Individual, "sms", "surveys");
    let missing = ask(&server, KNOWN, surveys()).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert!(missing.message().contains("surveys"), "{missing:?}");

    let toml = changed(
        "2",
        MARKETING,
        &format!("[purposes.surveys]\nindividual = \"opt_in\"\n{MARKETING}"),
    );
    let before = revision(&server).await;
    let applied = apply(&server, plain(&toml)).await.unwrap();
    assert_eq!((applied.policy_version.as_str(), applied.changes.len()), ("2", 0));
    assert_eq!(applied.revision.unwrap().revision, before + 1, "a policy is an event");
    record(&server, ConsentEvent { purpose: "surveys".to_owned(), ..grant(KNOWN, START) }).await;
    for _ in 0..2 {
        assert_eq!(verdict(&server, KNOWN, surveys()).await, Reason::Permitted);
        assert_eq!(verdict(&server, UNKNOWN, surveys()).await, Reason::NoConsent);
        assert_eq!(version(&server).await, "2");
        server.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opt_out_turned_opt_in_suppresses_all_who_did_not_grant() {
    let mut server = TestServer::start().await;
    let merchant = || scope(Merchant, "sms", "marketing");
    let granter = "+905321234569";
    let event = ConsentEvent { recipient_type: Merchant.into(), ..grant(granter, START) };
    record(&server, event).await;
    // Known, but nothing was said of marketing.
    record(&server, ConsentEvent { purpose: "newsletter".to_owned(), ..grant(KNOWN, START) }).await;
    for address in [granter, KNOWN, UNKNOWN] {
        assert_eq!(verdict(&server, address, merchant()).await, Reason::Permitted);
    }

    let toml = changed("2", MARKETING, &marketing("\"opt_in\"", "\"opt_in\""));
    let applied = apply(&server, plain(&toml)).await.unwrap();
    let change = sms(&applied.changes, Merchant);
    assert_eq!((change.newly_permitted, change.newly_suppressed), (0, 1));
    assert!(!change.unknown_newly_permitted);
    for _ in 0..2 {
        assert_eq!(verdict(&server, granter, merchant()).await, Reason::Permitted);
        assert_eq!(verdict(&server, KNOWN, merchant()).await, Reason::NoConsent);
        assert_eq!(verdict(&server, UNKNOWN, merchant()).await, Reason::NoConsent);
        server.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opt_in_turned_opt_out_needs_the_exact_number_and_a_word_on_the_unknown() {
    let mut server = TestServer::start().await;
    let individual = || scope(Individual, "sms", "marketing");
    record(&server, ConsentEvent { purpose: "newsletter".to_owned(), ..grant(KNOWN, START) }).await;
    let stopped = "+905321234569";
    record(&server, withdrawal(stopped, "", "", START)).await;

    let toml = changed("2", MARKETING, &marketing("\"opt_out\"", "\"opt_out\""));
    let request = |permits_more, permits_unknown, dry_run| ApplyPolicyRequest {
        toml: toml.clone(),
        permits_more,
        permits_unknown,
        dry_run,
        ..ApplyPolicyRequest::default()
    };
    let before = revision(&server).await;
    let dry = apply(&server, request(0, false, true)).await.unwrap();
    let permitted: u64 = dry.changes.iter().map(|change| change.newly_permitted).sum();
    assert_eq!(permitted, PHONE_CHANNELS, "one contact, refused so far on each of its channels");
    assert!(sms(&dry.changes, Individual).unknown_newly_permitted);

    let status = refused(apply(&server, request(0, true, false)).await);
    assert!(status.message().contains("--permits-more 5"), "{status:?}");
    refused(apply(&server, request(PHONE_CHANNELS - 1, true, false)).await);
    refused(apply(&server, request(PHONE_CHANNELS + 1, true, false)).await);
    let status = refused(apply(&server, request(PHONE_CHANNELS, false, false)).await);
    assert!(status.message().contains("--permits-unknown"), "{status:?}");
    assert_eq!(revision(&server).await, before, "refusals and a dry run are no events");
    assert_eq!(verdict(&server, UNKNOWN, individual()).await, Reason::NoConsent);
    assert_eq!(verdict(&server, KNOWN, individual()).await, Reason::NoConsent);

    apply(&server, request(PHONE_CHANNELS, true, false)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(verdict(&server, KNOWN, individual()).await, Reason::Permitted);
        assert_eq!(verdict(&server, UNKNOWN, individual()).await, Reason::Permitted);
        assert_eq!(verdict(&server, stopped, individual()).await, Reason::ContactOptOut);
        server.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_names_one_text_for_good() {
    let mut server = TestServer::start().await;
    let tightened = marketing("\"opt_in\"", "\"opt_in\"");
    for _ in 0..2 {
        let before = revision(&server).await;
        let other = changed("starter-1", MARKETING, &tightened);
        assert!(refused(apply(&server, plain(&other)).await).message().contains("starter-1"));
        // The same text again is no change, and no event.
        let same = apply(&server, plain(STARTER)).await.unwrap();
        assert_eq!(same.revision.unwrap().revision, before);
        assert_eq!(revision(&server).await, before);
        server.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_people_spoke_of_cannot_be_dropped_and_another_can() {
    let mut server = TestServer::start().await;
    let newsletter = || scope(Individual, "sms", "newsletter");
    record(&server, ConsentEvent { purpose: "newsletter".to_owned(), ..grant(KNOWN, START) }).await;
    let used = "[purposes.newsletter]\nindividual = \"opt_in\"\nmerchant = \"opt_in\"\n";
    let unused = "[purposes.tracking]\nindividual = \"opt_in\"\nmerchant = \"opt_in\"\n";
    let status = refused(apply(&server, plain(&changed("2", used, ""))).await);
    assert!(status.message().contains("main/sms/newsletter"), "{status:?}");

    apply(&server, plain(&changed("2", unused, ""))).await.unwrap();
    for _ in 0..2 {
        assert_eq!(verdict(&server, KNOWN, newsletter()).await, Reason::Permitted);
        let gone = ask(&server, KNOWN, scope(Individual, "sms", "tracking")).await;
        assert_eq!(gone.unwrap_err().code(), Code::NotFound);
        server.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_with_grants_alone_cannot_be_dropped_either_nor_can_a_kind() {
    let server = TestServer::start().await;
    let surveys = "[purposes.surveys]\nmerchant = \"opt_out\"\n";
    let starter = |version: &str| STARTER.replace("starter-1", version);
    let with_surveys = format!("{}\n{surveys}", starter("2"));
    apply(&server, plain(&with_surveys)).await.unwrap();
    // A grant under opt_out is in no plane: nobody is refused by it.
    let event = ConsentEvent {
        purpose: "surveys".to_owned(),
        recipient_type: Merchant.into(),
        ..grant(KNOWN, START)
    };
    record(&server, event).await;
    let status = refused(apply(&server, plain(&starter("3"))).await);
    assert!(status.message().contains("main/sms/surveys"), "{status:?}");

    let kinds = "[channels.sms]\nkinds = [\"phone\"]";
    let other = "[channels.sms]\nkinds = [\"contact_id\"]";
    let status = refused(
        apply(
            &server,
            plain(
                &with_surveys.replace("version = \"2\"", "version = \"3\"").replace(kinds, other),
            ),
        )
        .await,
    );
    assert!(status.message().contains("kind phone"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_no_policy_is_an_invalid_argument() {
    let mut server = TestServer::start().await;
    let before = revision(&server).await;
    let typo = changed("2", MARKETING, &marketing("\"opt_inn\"", "\"opt_out\""));
    let misplaced = marketing("\"opt_in\"", "{ regime = \"opt_out\", default_validity_days = 9 }");
    let misplaced = changed("2", MARKETING, &misplaced);
    for text in ["", "not toml at all", "version = \"2\"", &typo, &misplaced] {
        let status = apply(&server, plain(text)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{text:?}: {status:?}");
        let violation = &status.get_details_bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, "toml");
    }
    for _ in 0..2 {
        assert_eq!(revision(&server).await, before);
        assert_eq!(version(&server).await, "starter-1");
        server.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_validity_ends_old_consents_at_once_and_others_in_their_time() {
    let mut server = TestServer::start().await;
    let individual = || scope(Individual, "sms", "marketing");
    let old = "+905321234569";
    record(&server, grant(KNOWN, START)).await;
    record(&server, grant(old, START - 2 * DAY)).await;

    let limited = "{ regime = \"opt_in\", default_validity_days = 2 }";
    let toml = changed("2", MARKETING, &marketing(limited, "\"opt_out\""));
    let applied = apply(&server, plain(&toml)).await.unwrap();
    assert_eq!(sms(&applied.changes, Individual).newly_suppressed, 1);
    assert_eq!(verdict(&server, old, individual()).await, Reason::Expired);

    // An instant before its end the other one stands, over a restart too.
    server.set_clock(START + 2 * DAY - 1);
    server.restart().await;
    assert_eq!(verdict(&server, KNOWN, individual()).await, Reason::Permitted);
    server.set_clock(START + 2 * DAY);
    let expired = async {
        while verdict(&server, KNOWN, individual()).await != Reason::Expired {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), expired).await.unwrap();
    server.restart().await;
    assert_eq!(verdict(&server, KNOWN, individual()).await, Reason::Expired);
    assert_eq!(verdict(&server, old, individual()).await, Reason::Expired);

    // Dropping the limit would bring both back: not without the number.
    let unlimited = changed("3", MARKETING, MARKETING);
    refused(apply(&server, plain(&unlimited)).await);
    let request = ApplyPolicyRequest { permits_more: 2, ..plain(&unlimited) };
    apply(&server, request).await.unwrap();
    assert_eq!(verdict(&server, KNOWN, individual()).await, Reason::Permitted);
}
