//! Policies that change under streams at full speed: every batch is decided
//! under one of them, the one that its answer names (A11).

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use sendgate::{
    domain::policy::STARTER,
    proto::v1::{
        self, AnswerForm, ApplyPolicyRequest, ContactKind, Reason, RecipientType, filter_request,
        filter_service_client::FilterServiceClient,
    },
};

use crate::support::{Asking, START, TestServer, grant, options, phones, scope, withdrawal};

const FIRST: u64 = 905_320_000_000;
const RECIPIENTS: u64 = 6_000;
const STREAMS: usize = 4;
const POLICIES: u64 = 24;
const MARKETING: &str = "[purposes.marketing]\nindividual = \"opt_in\"";

fn version(number: u64) -> String {
    format!("flip-{number}")
}

/// Odd policies permit the unknown; the policy of a new store does not.
fn permits_unknown(version: &str) -> bool {
    let number = version.strip_prefix("flip-").map(|number| number.parse::<u64>().unwrap());
    number.is_some_and(|number| number % 2 == 1)
}

fn toml(number: u64) -> String {
    let version = version(number);
    let regime = if permits_unknown(&version) { "opt_out" } else { "opt_in" };
    let marketing = MARKETING.replace("opt_in", regime);
    STARTER.replace("starter-1", &version).replace(MARKETING, &marketing)
}

/// Of three contacts one granted, one withdrew, and one is known for something
/// else; beyond the first thousand nobody is known.
fn reason(i: u64, version: &str) -> Reason {
    match i % 3 {
        0 if i < 1_000 => Reason::Permitted,
        1 if i < 1_000 => Reason::OptedOut,
        _ if permits_unknown(version) => Reason::Permitted,
        _ => Reason::NoConsent,
    }
}

async fn server() -> TestServer {
    let server = TestServer::start().await;
    let event = |i: u64| {
        let address = format!("+{}", FIRST + i);
        match i % 3 {
            0 => grant(&address, START),
            1 => withdrawal(&address, "sms", "marketing", START),
            _ => v1::ConsentEvent { purpose: "newsletter".to_owned(), ..grant(&address, START) },
        }
    };
    record(&server, (0..1_000).map(event).collect()).await;
    server
}

async fn record(server: &TestServer, events: Vec<v1::ConsentEvent>) {
    let response = server.consent().record(v1::RecordRequest { events }).await.unwrap();
    assert!(response.into_inner().results.iter().all(|result| result.rejection.is_none()));
}

/// Applies a policy, permitting as many as a trial says it would.
async fn apply(server: &TestServer, number: u64) -> u64 {
    let trial =
        ApplyPolicyRequest { toml: toml(number), dry_run: true, ..ApplyPolicyRequest::default() };
    let tried = server.admin().apply_policy(trial.clone()).await.unwrap().into_inner();
    let request = ApplyPolicyRequest {
        dry_run: false,
        permits_more: tried.changes.iter().map(|change| change.newly_permitted).sum(),
        permits_unknown: true,
        ..trial
    };
    server.admin().apply_policy(request).await.unwrap().into_inner().revision.unwrap().revision
}

/// Asks without a pause until told to stop; returns the revision and the policy
/// of every answer.
async fn ask(
    client: FilterServiceClient<tonic::transport::Channel>,
    stop: Arc<AtomicBool>,
) -> Vec<(u64, String)> {
    let mut stream = Asking::open_bare(client).await;
    // Both turn with each policy: one that came between them would show.
    let marketing = |channel| scope(RecipientType::Individual, channel, "marketing");
    let asked = v1::FilterOptions {
        scopes: vec![marketing("sms"), marketing("call")],
        ..options(ContactKind::Phone, "sms", AnswerForm::Reasons)
    };
    stream.send(filter_request::Message::Options(asked)).await;
    let numbers: Vec<u64> = (0..RECIPIENTS).map(|i| FIRST + i).collect();
    let mut answers = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let answer = stream.ask(phones(answers.len() as u64, &numbers)).await;
        let version = answer.policy_version;
        let [sms, call] = answer.scopes.as_slice() else { panic!("refused: {:?}", answer.error) };
        for (i, tag) in (0..).zip(&sms.reasons) {
            assert_eq!(i32::from(*tag), reason(i, &version) as i32, "contact {i}, {version}");
        }
        // Nothing was said of calls.
        let due = if permits_unknown(&version) { RECIPIENTS } else { 0 };
        assert_eq!(u64::from(call.permitted_count), due, "{version}");
        answers.push((answer.revision.unwrap().revision, version));
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_batch_is_decided_under_the_policy_that_its_answer_names() {
    let server = server().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let client = FilterServiceClient::new(server.connect().await);
        streams.push(tokio::spawn(ask(client, Arc::clone(&stop))));
    }
    let mut applied = BTreeMap::from([(0, "starter-1".to_owned())]);
    for number in 1..=POLICIES {
        applied.insert(apply(&server, number).await, version(number));
        // Other changes fall between two policies.
        let address = format!("+{}", FIRST + RECIPIENTS + number);
        record(&server, vec![grant(&address, START)]).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut seen = std::collections::BTreeSet::new();
    for stream in streams {
        let answers = stream.await.unwrap();
        assert!(answers.is_sorted_by_key(|(revision, _)| *revision), "a revision went back");
        for (revision, version) in answers {
            // The last policy applied up to the revision, and no other.
            let (_, due) = applied.range(..=revision).next_back().unwrap();
            assert_eq!(*due, version, "revision {revision}");
            seen.insert(version);
        }
    }
    assert!(seen.len() > 3, "too few policies were seen to tell: {seen:?}");
}
