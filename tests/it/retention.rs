//! Retention: proofs of consents that ended long ago go, verdicts and chain stay.

use std::time::Duration;

use sendgate::proto::v1::{
    self, ApplyPolicyRequest, CheckRequest, ConsentEvent, EraseRequest, Erasure, Evidence,
    GetPolicyRequest, Outcome, PurgeRequest, Reason, RecipientType, RecordRequest,
};

use crate::support::{HOUR, START, TestServer, grant, phone, scope, verified, withdrawal};

const YEAR: i64 = 366 * 24 * HOUR;
const SOURCE: &str = "the form of the summer fair";

/// A grant with a proof.
fn proven(address: &str) -> ConsentEvent {
    ConsentEvent {
        source: SOURCE.to_owned(),
        evidence: Some(Evidence { uri: "s3://proofs/1".to_owned(), sha256: vec![7; 32].into() }),
        event_key: format!("key of {address}"),
        ..grant(address, START)
    }
}

async fn record(server: &TestServer, events: Vec<ConsentEvent>) -> Vec<Outcome> {
    let request = RecordRequest { events };
    let results = server.consent().record(request).await.unwrap().into_inner().results;
    results.iter().map(|result| result.outcome()).collect()
}

async fn redacted(server: &TestServer) -> u64 {
    let request = v1::GetStatisticsRequest::default();
    server.admin().get_statistics(request).await.unwrap().into_inner().redacted_payloads
}

/// Waits until so many payloads are redacted: the writer does it between tasks.
async fn wait_for(server: &TestServer, count: u64) {
    for _ in 0..100 {
        if redacted(server).await >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(redacted(server).await, count);
}

async fn check(server: &TestServer, address: &str) -> v1::CheckResponse {
    let request = CheckRequest {
        brand: "main".to_owned(),
        scope: Some(scope(RecipientType::Individual, "sms", "marketing")),
        contact: Some(phone(address)),
        include_record: true,
        ..CheckRequest::default()
    };
    server.filter().check(request).await.unwrap().into_inner()
}

async fn retain(server: &TestServer, years: u32) {
    let policy = server.admin().get_policy(GetPolicyRequest {}).await.unwrap().into_inner();
    let toml = policy.toml.replace("starter-1", "retaining")
        + &format!("\n[retention]\nredact_after_years = {years}\n");
    let request = ApplyPolicyRequest { toml, ..ApplyPolicyRequest::default() };
    server.admin().apply_policy(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_go_in_their_time_and_verdicts_stay() {
    let mut server = TestServer::start().await;
    let (standing, ended, withdrawn) = ("+905321234561", "+905321234562", "+905321234563");
    let ending = ConsentEvent { valid_until_ms: Some(START + HOUR), ..proven(ended) };
    record(&server, vec![proven(standing), ending.clone(), proven(withdrawn)]).await;
    server.set_clock(START + 2 * HOUR);
    record(&server, vec![withdrawal(withdrawn, "sms", "", START + 2 * HOUR)]).await;
    retain(&server, 1).await;

    server.set_clock(START + HOUR + YEAR - 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(redacted(&server).await, 0, "a millisecond early");
    // The next pass begins a day after the last one.
    server.set_clock(START + HOUR + YEAR + 25 * HOUR);
    wait_for(&server, 2).await;

    let told = check(&server, ended).await;
    assert_eq!(told.reason(), Reason::Expired);
    let stored = told.record.unwrap();
    assert!(stored.redacted);
    let Some(v1::ledger_record::Event::Consent(consent)) = stored.event else { panic!("consent") };
    assert_eq!((consent.source.as_str(), consent.event_key.as_str()), ("", ""));
    assert_eq!(consent.evidence.unwrap_or_default(), Evidence::default());
    assert_eq!(consent.valid_until_ms, Some(START + HOUR), "what the rules compare stays");
    assert_eq!(check(&server, withdrawn).await.reason(), Reason::ChannelOptOut);
    let told = check(&server, standing).await;
    assert_eq!(told.reason(), Reason::Permitted);
    assert!(!told.record.unwrap().redacted, "a consent in force keeps its proof");

    // Said again under its key it is still the same event.
    assert_eq!(record(&server, vec![ending]).await, [Outcome::Duplicate]);
    server.restart().await;
    assert_eq!(check(&server, ended).await.reason(), Reason::Expired);
    assert_eq!(redacted(&server).await, 2);

    // An erasure finds what a redaction left.
    let erasure =
        Erasure { brand: "main".to_owned(), contact: Some(phone(ended)), ..Erasure::default() };
    let request = EraseRequest { erasures: vec![erasure] };
    let erased = server.consent().erase(request).await.unwrap().into_inner();
    assert_eq!(erased.results[0].events, 1);
    server.admin().purge(PurgeRequest {}).await.unwrap();
    verified(server).await;
}
