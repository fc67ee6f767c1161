//! `/metrics`: every name is served, with the labels it promises, and the
//! numbers move when something happens.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::{Command, Stdio},
};

use sendgate::{
    metrics::{Kind, Metric, names},
    proto::v1::{
        AnswerForm, CheckpointRequest, ContactKind, CreateTokenRequest, RecordRequest, TokenRole,
    },
};

use crate::{
    http::get,
    support::{Asking, HOUR, START, TestServer, grant, options, phones, withdrawal},
};

/// Served only where there is something to say.
const CONDITIONAL: [&Metric; 2] = [&names::MEMORY_LEFT, &names::CERTIFICATE_EXPIRY];

/// The samples of a page, by name with labels as they stand there.
pub struct Samples(BTreeMap<String, f64>);

impl Samples {
    /// What a server says now.
    pub async fn of(server: &TestServer) -> Self {
        Self::read(&page(server).await)
    }

    fn read(page: &str) -> Self {
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        };
        let count = samples.clone().count();
        let samples: BTreeMap<String, f64> = samples.map(sample).collect();
        assert_eq!(samples.len(), count, "a sample is there twice");
        Self(samples)
    }

    fn get(&self, name: &str) -> f64 {
        *self.0.get(name).unwrap_or_else(|| panic!("{name} is not served"))
    }
}

pub async fn page(server: &TestServer) -> String {
    let (is_served, page) = get(server.http(), "/metrics").await;
    assert!(is_served, "{page}");
    page
}

/// A server that has granted, withdrawn and refused.
pub async fn busy() -> TestServer {
    let server = TestServer::start().await;
    let events = vec![
        grant("+905321234567", START - HOUR),
        grant("+905321234568", START - HOUR),
        withdrawal("+905321234568", "sms", "marketing", START),
        grant("+905321234567", START - HOUR),
    ];
    server.consent().record(RecordRequest { events }).await.unwrap();
    let options = options(ContactKind::Phone, "sms", AnswerForm::Reasons);
    let mut asking = Asking::open(&server, options).await;
    asking.ask(phones(1, &[905_321_234_567, 905_321_234_568, 905_321_234_569])).await;
    let mut wrong = phones(2, &[905_321_234_567]);
    wrong.count = 9;
    asking.ask(wrong).await;
    asking.end().await;
    server.admin().checkpoint(CheckpointRequest {}).await.unwrap();
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted() {
    let server = busy().await;
    let now = Samples::of(&server).await;
    let expected = [
        ("sendgate_ready", 1.0),
        ("sendgate_recipients_total", 3.0),
        ("sendgate_batches_total", 1.0),
        ("sendgate_verdicts_total{reason=\"permitted\"}", 1.0),
        ("sendgate_verdicts_total{reason=\"opted_out\"}", 1.0),
        ("sendgate_verdicts_total{reason=\"no_consent\"}", 1.0),
        ("sendgate_verdicts_total{reason=\"hard_bounce\"}", 0.0),
        ("sendgate_refused_batches_total{error=\"count_mismatch\"}", 1.0),
        ("sendgate_refused_batches_total{error=\"internal\"}", 0.0),
        ("sendgate_batch_duration_seconds_count", 1.0),
        ("sendgate_batch_duration_seconds_bucket{le=\"+Inf\"}", 1.0),
        ("sendgate_changes_total{outcome=\"applied\"}", 3.0),
        ("sendgate_changes_total{outcome=\"duplicate\"}", 1.0),
        ("sendgate_commit_duration_seconds_count", 1.0),
        ("sendgate_group_changes_sum", 4.0),
        ("sendgate_queued_changes", 0.0),
        ("sendgate_queue_capacity_changes", 100_000.0),
        ("sendgate_revision", 4.0),
        ("sendgate_checkpoint_revision", 4.0),
        ("sendgate_checkpoint_timestamp_seconds", START as f64 / 1e3),
        ("sendgate_as_of_timestamp_seconds", START as f64 / 1e3),
        ("sendgate_hidden_scopes", 0.0),
        ("sendgate_connections{state=\"serving\"}", 1.0),
        ("sendgate_tokens", 0.0),
        ("sendgate_denials_total{reason=\"token_missing\"}", 0.0),
    ];
    for (name, value) in expected {
        assert_eq!(now.get(name), value, "{name}");
    }
    for name in [
        "sendgate_resident_memory_bytes",
        "sendgate_disk_free_bytes",
        "sendgate_open_files",
        "sendgate_planes_memory_bytes",
        "sendgate_sync_duration_seconds_count",
        "sendgate_filter_memory_free_bytes",
    ] {
        assert!(now.get(name) > 0.0, "{name}");
    }
    let scope = "sendgate_scope_contacts{brand=\"main\",recipient_type=\"individual\",\
                 channel=\"sms\",purpose=\"marketing\",kind=\"phone\",verdict=\"permitted\"}";
    assert_eq!(now.get(scope), 1.0);

    let token = CreateTokenRequest {
        name: "boss".to_owned(),
        brands: vec!["*".to_owned()],
        roles: vec![TokenRole::Admin.into()],
        ..CreateTokenRequest::default()
    };
    server.admin().create_token(token).await.unwrap();
    server.admin().checkpoint(CheckpointRequest {}).await.unwrap_err();
    let denied = Samples::of(&server).await;
    assert_eq!(denied.get("sendgate_denials_total{reason=\"token_missing\"}"), 1.0);
    assert_eq!(denied.get("sendgate_tokens"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_is_served_once_as_it_was_promised_and_nobody_is_named() {
    let server = busy().await;
    let page = page(&server).await;
    assert!(!page.contains("90532"), "an address is on the page");
    let types: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let promised = names::ALL.iter().filter(|metric| !CONDITIONAL.contains(metric));
    for Metric { name, kind, .. } in promised {
        let line = format!("{name} {}", kind.name());
        assert_eq!(types.iter().filter(|it| **it == line).count(), 1, "{line}");
    }
    for sample in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = sample.split_once(['{', ' ']).unwrap();
        let of = |metric: &&Metric| {
            name == metric.name || metric.kind == Kind::Histogram && name.starts_with(metric.name)
        };
        let metric = names::ALL.iter().find(of).unwrap_or_else(|| panic!("{name} has no name"));
        let named: Vec<&str> =
            labels.split(',').filter_map(|label| Some(label.split_once("=\"")?.0)).collect();
        let bucket: &[&str] = if name.ends_with("_bucket") { &["le"] } else { metric.labels };
        assert_eq!(named, bucket, "{sample}");
    }
    let mentioned: BTreeSet<&str> = types.iter().filter_map(|it| it.split(' ').next()).collect();
    let known: BTreeSet<&str> = names::ALL.iter().map(|metric| metric.name).collect();
    assert!(mentioned.is_subset(&known));
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing_wrong_with_the_page() {
    let server = busy().await;
    let page = page(&server).await;
    let output = promtool(&["check", "metrics"], &page);
    assert_eq!(output, "", "promtool check metrics");
    // And it would.
    for (right, wrong) in [("sendgate_batches_total", "sendgate_batches"), ("# HELP", "HELP")] {
        assert_ne!(promtool(&["check", "metrics"], &page.replace(right, wrong)), "", "{wrong}");
    }
}

/// What promtool says against this; of what it takes to be right, nothing.
pub fn promtool(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool is missing: scripts/setup.sh fetches it");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    if output.status.success() && arguments.starts_with(&["check", "metrics"]) {
        return said;
    }
    if output.status.success() { String::new() } else { format!("{}\n{said}", output.status) }
}
