//! A restored store serves nothing until it knows what it lost; then it answers
//! as the original does (F12).

mod marks;
mod numbers;
pub mod story;

use std::{fs, path::Path};

use sendgate::proto::v1::{
    AnswerForm, CheckRequest, ContactKind, DescribeRequest, ExplainRequest, ExportRequest,
    ExportSelection, FilterRequest, GetStatisticsRequest, ReachQuery, ReachRequest, Reason,
    RecipientType, Revision, filter_request,
};
use tonic::{Code, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt;

use self::story::{after, apply_policy, before, number, policy, revision, verdicts};
use crate::{
    backup::{back_up, command, error, restored, text},
    http,
    support::{HOUR, START, TestServer, options, phone, scope, verified},
};

/// The change feed after a revision, as the command prints it.
async fn feed(server: &TestServer, after: &Revision, into: &Path) {
    let after = format!("{}:{}", after.epoch, after.revision);
    let output = command(server, &["watch", "--until-now", "--after", &after]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::write(into, output.stdout).unwrap();
}

/// Everything that says who is permitted, asked once each.
async fn refusals(server: &TestServer) -> Vec<(&'static str, Result<(), Status>)> {
    let sms = || Some(scope(RecipientType::Individual, "sms", "marketing"));
    let brand = || "main".to_owned();
    let asked = options(ContactKind::Phone, "sms", AnswerForm::Reasons);
    let asked = FilterRequest { message: Some(filter_request::Message::Options(asked)) };
    let filter = server.filter().filter(tokio_stream::once(asked)).await.map(drop);
    let check = CheckRequest {
        brand: brand(),
        scope: sms(),
        contact: Some(phone(&number(0))),
        ..CheckRequest::default()
    };
    let query = ReachQuery { permitted: Vec::from_iter(sms()), ..ReachQuery::default() };
    let reach = ReachRequest {
        brand: brand(),
        contact_kind: ContactKind::Phone.into(),
        queries: vec![query],
        ..ReachRequest::default()
    };
    let describe = DescribeRequest {
        brand: brand(),
        scope: sms(),
        contact_kind: ContactKind::Phone.into(),
        addresses: vec![number(0)],
        ..DescribeRequest::default()
    };
    let export = ExportRequest {
        brand: brand(),
        scope: sms(),
        contact_kind: ContactKind::Phone.into(),
        selection: ExportSelection::Permitted.into(),
        ..ExportRequest::default()
    };
    let explain = ExplainRequest {
        brand: brand(),
        scope: sms(),
        contact: Some(phone(&number(0))),
        ..ExplainRequest::default()
    };
    vec![
        ("Filter", filter),
        ("Check", server.filter().check(check).await.map(drop)),
        ("Reach", server.filter().reach(reach).await.map(drop)),
        ("Describe", server.filter().describe(describe).await.map(drop)),
        ("Export", server.consent().export(export).await.map(drop)),
        ("Explain", server.consent().explain(explain).await.map(drop)),
    ]
}

async fn assert_serves_nothing(server: &TestServer) {
    for (call, answer) in refusals(server).await {
        let status = answer.expect_err(call);
        assert_eq!(status.code(), Code::Unavailable, "{call}: {status:?}");
        assert_eq!(status.get_details_error_info().unwrap().reason, "RESTORED", "{call}");
    }
    assert_eq!(health(server, "sendgate.v1.FilterService").await, ServingStatus::NotServing);
    assert_eq!(health(server, "").await, ServingStatus::NotServing);
    assert_eq!(health(server, "sendgate.v1.ConsentService").await, ServingStatus::Serving);
    let (is_ready, body) = http::get(server.http(), "/readyz").await;
    assert!(!is_ready && body.contains("sendgate restore accept"), "{body}");
}

async fn health(server: &TestServer, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(server.channel()).check(request).await.unwrap().into_inner().status()
}

/// An original that went on after its backup, and the restored store, which
/// nothing was replayed into yet.
struct Restored {
    original: TestServer,
    copy: TestServer,
    backup: Revision,
    place: tempfile::TempDir,
}

impl Restored {
    async fn new() -> Self {
        let original = TestServer::start().await;
        before(&original).await;
        let place = tempfile::tempdir().unwrap();
        let backup = revision(&original).await;
        back_up(&original, &place.path().join("backup")).await;
        after(&original).await;
        feed(&original, &backup, &place.path().join("feed")).await;
        let copy = TestServer::open(restored(&place.path().join("backup"))).await;
        copy.set_clock(START + 3 * HOUR);
        original.set_clock(START + 3 * HOUR);
        Self { original, copy, backup, place }
    }

    fn feed(&self) -> std::path::PathBuf {
        self.place.path().join("feed")
    }

    async fn import(&self, file: &Path, code: i32) -> serde_json::Value {
        let output = command(&self.copy, &["import", text(file), "--json"]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    async fn accept(&self) {
        let last = revision(&self.original).await.revision.to_string();
        let output = command(&self.copy, &["restore", "accept", "--replayed-to", &last]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_store_answers_as_the_original_once_all_is_replayed() {
    let mut it = Restored::new().await;
    assert_serves_nothing(&it.copy).await;
    it.copy.restart().await;
    it.copy.set_clock(START + 3 * HOUR);
    assert_serves_nothing(&it.copy).await;
    let again = command(&it.copy, &["backup", "--out", text(&it.place.path().join("no"))]).await;
    assert!(error(&again).contains("nobody has decided"));

    // The feed tells that a policy is missing, and replays whatever it can.
    let report = it.import(&it.feed(), 4).await;
    assert!(report["rejected_rows"].as_u64().unwrap() >= 1, "{report}");
    assert_serves_nothing(&it.copy).await;
    apply_policy(&it.copy, &policy(&it.original).await).await;
    let report = it.import(&it.feed(), 0).await;
    assert!(report["applied"].as_u64().unwrap() >= 4, "what the first time had no brand: {report}");
    // Repeating it changes nothing.
    let reached = revision(&it.copy).await;
    let report = it.import(&it.feed(), 0).await;
    assert_eq!((revision(&it.copy).await, &report["applied"]), (reached, &0.into()), "{report}");

    // An old list brings nobody back who was erased after the backup.
    let old = it.place.path().join("old.csv");
    let row =
        |person| format!("main,{},individual,sms,marketing,granted,2025-12-31\n", number(person));
    let rows: String = [11, 14, 32].into_iter().map(row).collect();
    let header = "brand,address,recipient_type,channel,purpose,status,consent_time\n";
    fs::write(&old, format!("{header}{rows}")).unwrap();
    assert_eq!(it.import(&old, 4).await["rejected_rows"], 3);

    let early = (it.backup.revision - 1).to_string();
    let refused = command(&it.copy, &["restore", "accept", "--replayed-to", &early]).await;
    assert!(error(&refused).contains("lies before the backup"));
    let own = revision(&it.copy).await;
    let foreign = format!("{}:{}", own.epoch, own.revision);
    let refused = command(&it.copy, &["restore", "accept", "--replayed-to", &foreign]).await;
    assert!(error(&refused).contains("of epoch"));
    assert_serves_nothing(&it.copy).await;

    it.accept().await;
    let brands = ["main", "second"];
    let expected = verdicts(&it.original, &brands).await;
    assert_eq!(verdicts(&it.copy, &brands).await, expected);
    for reason in [
        Reason::Permitted,
        Reason::NoConsent,
        Reason::Erased,
        Reason::LegalBlock,
        Reason::OptedOut,
        Reason::SpamComplaint,
        Reason::ContactOptOut,
        Reason::ManualBlock,
    ] {
        assert!(expected.values().any(|it| *it == reason), "{reason:?} was not put to the test");
    }
    for (call, answer) in refusals(&it.copy).await {
        answer.expect(call);
    }
    assert_eq!(health(&it.copy, "sendgate.v1.FilterService").await, ServingStatus::Serving);
    assert!(http::get(it.copy.http(), "/readyz").await.0);
    let twice = command(&it.copy, &["restore", "accept", "--accept-lost-since", "900"]).await;
    assert!(error(&twice).contains("no decision is due"));

    // A caller's revision of the former epoch means nothing here.
    let check = CheckRequest {
        brand: "main".to_owned(),
        scope: Some(scope(RecipientType::Individual, "sms", "marketing")),
        contact: Some(phone(&number(0))),
        minimum_revision: Some(it.backup.clone()),
        ..CheckRequest::default()
    };
    let status = it.copy.filter().check(check).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);

    // Decided once, it stays so; and the store is what its events make.
    it.copy.crash(revision(&it.copy).await.revision).await;
    it.copy.set_clock(START + 3 * HOUR);
    assert_eq!(verdicts(&it.copy, &brands).await, expected);
    verified(it.copy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_replayed_in_disorder_permits_nobody_more() {
    let it = Restored::new().await;
    apply_policy(&it.copy, &policy(&it.original).await).await;
    let text = fs::read_to_string(it.feed()).unwrap();
    let mut rows: Vec<&str> = text.lines().collect();
    rows.reverse();
    for row in &mut rows {
        // One by one, so that erasures are not taken first.
        let file = it.place.path().join("row");
        fs::write(&file, format!("{row}\n")).unwrap();
        it.import(&file, 0).await;
    }
    it.accept().await;
    let brands = ["main", "second"];
    let expected = verdicts(&it.original, &brands).await;
    for (who, reason) in verdicts(&it.copy, &brands).await {
        let should = expected[&who];
        assert!(
            reason != Reason::Permitted || should == Reason::Permitted,
            "{who:?} is permitted, and the original says {should:?}"
        );
    }
    verified(it.copy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_is_accepted_is_told_and_erasures_are_replayed_no_more() {
    let it = Restored::new().await;
    let lost = format!("{}:{}", it.backup.epoch, it.backup.revision);
    let output = command(&it.copy, &["restore", "accept", "--accept-lost-since", &lost]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let statistics = it.copy.admin().get_statistics(GetStatisticsRequest::default()).await.unwrap();
    let restored = statistics.into_inner().restored.unwrap();
    assert_eq!(restored.backup, Some(it.backup.clone()));
    assert_eq!((restored.replayed_to, restored.lost_since), (None, Some(it.backup.revision)));
    let stats = command(&it.copy, &["stats"]).await;
    assert!(String::from_utf8_lossy(&stats.stdout).contains("lost since revision"));
    let log = fs::read_to_string(it.copy.folder.path().join("audit.jsonl")).unwrap();
    let about = format!("lost since {}", it.backup.revision);
    assert_eq!(log.lines().filter(|line| line.contains(&about)).count(), 2, "{log}");

    // Once it serves, nobody erases by fingerprint.
    let text = fs::read_to_string(it.feed()).unwrap();
    let erasures: Vec<&str> =
        text.lines().filter(|row| row.contains("\"event\":\"ERASURE\"")).collect();
    assert_eq!(erasures.len(), 7);
    let file = it.place.path().join("erasures");
    fs::write(&file, erasures.join("\n")).unwrap();
    let rejects = it.place.path().join("rejects.csv");
    let words = ["import", self::text(&file), "--json", "--rejects", self::text(&rejects)];
    let output = command(&it.copy, &words).await;
    assert_eq!(output.status.code(), Some(4));
    let rejects = fs::read_to_string(rejects).unwrap();
    assert!(rejects.contains("erase the contact by its address"), "{rejects}");
    verified(it.copy).await;
}

/// A feed of one brand does not show what other brands kept of an erasure.
#[tokio::test(flavor = "multi_thread")]
async fn the_marks_of_erasures_are_told_to_those_who_may_see_every_brand() {
    let it = Restored::new().await;
    let after = format!("{}:{}", it.backup.epoch, it.backup.revision);
    let words = ["watch", "--until-now", "--after", &after, "--brand", "main"];
    let output = command(&it.original, &words).await;
    let file = it.place.path().join("main");
    fs::write(&file, &output.stdout).unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("\"erasure_marks\":\""));
    assert!(fs::read_to_string(it.feed()).unwrap().contains("\"erasure_marks\":\""), "control");
    let rejects = it.place.path().join("rejects.csv");
    let words = ["import", text(&file), "--json", "--rejects", text(&rejects)];
    command(&it.copy, &words).await;
    let rejects = fs::read_to_string(rejects).unwrap();
    assert_eq!(rejects.matches("names nobody").count(), 7, "{rejects}");
}
