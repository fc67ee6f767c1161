//! The audit log of a running server.

use std::{fs, os::unix::fs::symlink};

use sendgate::proto::v1::{
    Actor, ActorRole, ContactKind, ExplainRequest, ExportRequest, ExportSelection,
    GetStatisticsRequest, HistoryRequest, RecipientType, RecordRequest, WatchRequest,
};
use serde_json::Value;
use tonic::{Code, Status};

use crate::support::{START, TestServer, grant, phone, scope};

const ADDRESS: &str = "+905321234567";

fn rows(server: &TestServer) -> Vec<Value> {
    let text = fs::read_to_string(server.folder.path().join("audit.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn asker() -> Option<Actor> {
    Some(Actor { role: ActorRole::Staff.into(), id: "ayse".to_owned() })
}

/// Reads in each of the four ways.
async fn read_all(server: &TestServer) -> [Result<(), Status>; 4] {
    let mut consent = server.consent();
    let wire_scope = Some(scope(RecipientType::Individual, "sms", "marketing"));
    let history = HistoryRequest {
        brand: "main".to_owned(),
        contact: Some(phone(ADDRESS)),
        asked_by: asker(),
        ..HistoryRequest::default()
    };
    let explain = ExplainRequest {
        brand: "main".to_owned(),
        scope: wire_scope.clone(),
        contact: Some(phone(ADDRESS)),
        asked_by: asker(),
        ..ExplainRequest::default()
    };
    let export = ExportRequest {
        brand: "main".to_owned(),
        scope: wire_scope,
        contact_kind: ContactKind::Phone.into(),
        selection: ExportSelection::Permitted.into(),
        asked_by: asker(),
    };
    let watch = WatchRequest {
        brand: "*".to_owned(),
        until_now: true,
        asked_by: asker(),
        ..WatchRequest::default()
    };
    let history = consent.history(history).await.map(|_| ());
    let explain = consent.explain(explain).await.map(|_| ());
    let export = match consent.export(export).await {
        Ok(stream) => {
            let mut stream = stream.into_inner();
            while stream.message().await.unwrap().is_some() {}
            Ok(())
        }
        Err(status) => Err(status),
    };
    let watch = match consent.watch(watch).await {
        Ok(stream) => {
            let mut stream = stream.into_inner();
            while stream.message().await.unwrap().is_some() {}
            Ok(())
        }
        Err(status) => Err(status),
    };
    [history, explain, export, watch]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_of_a_person_leaves_a_masked_row_and_every_life_its_heads() {
    let mut server = TestServer::start().await;
    let request = RecordRequest { events: vec![grant(ADDRESS, START)] };
    server.consent().record(request).await.unwrap();
    for outcome in read_all(&server).await {
        outcome.unwrap();
    }
    let statistics = server.admin().get_statistics(GetStatisticsRequest::default()).await;
    let statistics = statistics.unwrap().into_inner();
    server.stop().await;

    let rows = rows(&server);
    let of = |event: &str| rows.iter().filter(|row| row["event"] == event).collect::<Vec<_>>();
    let heads = of("head");
    let when: Vec<&str> = heads.iter().map(|row| row["when"].as_str().unwrap()).collect();
    assert_eq!(when, ["start", "stop"]);
    assert_eq!(heads[1]["revision"], 2);
    assert_eq!(heads[1]["chain"], statistics.chain_head);
    assert_eq!(heads[1]["epoch"], statistics.revision.unwrap().epoch);

    for (event, count, scoped) in [("history", 1, false), ("explain", 1, true)] {
        let [row] = of(event)[..] else { panic!("{rows:?}") };
        assert_eq!(row["time"], "2026-01-01T00:00:00Z");
        assert_eq!((&row["brand"], &row["about"]), (&"main".into(), &"90532***4567".into()));
        assert_eq!((&row["outcome"], &row["count"]), (&"answered".into(), &count.into()));
        assert_eq!(row.get("scope").is_some(), scoped);
        assert_eq!(row["asked_by"]["role"], "staff");
        assert_eq!(row["asked_by"]["id"], "ayse");
        assert!(row["asked_by"]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    }
    for (event, count) in [("export", 1), ("watch", 2)] {
        let [begun, ended] = of(event)[..] else { panic!("{rows:?}") };
        assert_eq!((&begun["outcome"], &ended["outcome"]), (&"begun".into(), &"ended".into()));
        assert_eq!(ended["count"], count);
    }
    let text = fs::read_to_string(server.folder.path().join("audit.jsonl")).unwrap();
    assert!(!text.contains("905321234567"), "an address stands in the log in full");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_given_out_that_the_log_cannot_take() {
    let server = TestServer::start().await;
    let request = RecordRequest { events: vec![grant(ADDRESS, START)] };
    server.consent().record(request.clone()).await.unwrap();
    let path = server.folder.path().join("audit.jsonl");
    fs::remove_file(&path).unwrap();
    symlink("/dev/full", &path).unwrap();
    for outcome in read_all(&server).await {
        let status = outcome.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().contains("audit log"), "{}", status.message());
    }
    // Filters and opt-outs depend on no log.
    server.consent().record(request).await.unwrap();

    fs::remove_file(&path).unwrap();
    for outcome in read_all(&server).await {
        outcome.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_read_is_told_with_its_code() {
    let server = TestServer::start().await;
    let asked = ExplainRequest {
        brand: "nobody".to_owned(),
        scope: Some(scope(RecipientType::Individual, "sms", "marketing")),
        contact: Some(phone(ADDRESS)),
        ..ExplainRequest::default()
    };
    server.consent().explain(asked).await.unwrap_err();
    let rows = rows(&server);
    let row = rows.last().unwrap();
    assert_eq!((&row["event"], &row["outcome"]), (&"explain".into(), &"NotFound".into()));
    assert_eq!((&row["count"], &row["asked_by"]["role"]), (&0.into(), &"unstated".into()));
}
