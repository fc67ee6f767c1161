//! No address stands in full in an error or a log: every refusal that can be
//! provoked with known addresses, and all that the server logged meanwhile.

use std::{fs, time::Duration};

use sendgate::proto::v1::{
    self, AnswerForm, Contact, ContactKind, Reason, RecipientType,
    admin_service_client::AdminServiceClient, consent_service_client::ConsentServiceClient,
    filter_request, filter_service_client::FilterServiceClient,
};
use tonic::{Status, transport::Channel};

use crate::{
    process::{Process, connect},
    support::{Asking, START, at, grant, lines, options, phone, phones, scope, withdrawal},
    wire::{LINES, RawStream, field, message},
};

const PHONE: &str = "+905321234567";
const EMAIL: &str = "ada.lovelace@example.org";
const EXTERNAL: &str = "müşteri 4711/Lovelace";
const NUMBER: u64 = 77_889_900_112_233;

/// What would betray one of them.
const SECRETS: [&str; 6] = [
    "905321234567",
    "5321234567",
    "532 123 45 67",
    "ada.lovelace",
    "4711/Lovelace",
    "77889900112233",
];

/// What was seen, to be searched: where, and the text.
#[derive(Default)]
struct Seen(Vec<(String, String)>);

impl Seen {
    fn status<T: std::fmt::Debug>(&mut self, place: &str, answer: Result<T, Status>) {
        let status = answer.expect_err(place);
        let details = String::from_utf8_lossy(status.details()).into_owned();
        self.0.push((place.to_owned(), format!("{status} {status:?} {details}")));
    }

    fn rejections(&mut self, place: &str, results: &[v1::EventResult]) {
        for result in results {
            let rejection =
                result.rejection.as_ref().unwrap_or_else(|| panic!("{place}: {result:?}"));
            self.0.push((place.to_owned(), format!("{rejection:?}")));
        }
    }

    /// The places where a secret stands.
    fn betrayals(&self) -> Vec<String> {
        let betrayed = |text: &str| SECRETS.iter().find(|secret| text.contains(**secret));
        let found = self.0.iter().filter_map(|(place, text)| {
            betrayed(text).map(|secret| format!("{place}: {secret} in {text}"))
        });
        found.collect()
    }
}

fn contact(kind: ContactKind, address: &str) -> Contact {
    Contact { kind: kind.into(), address: address.to_owned(), default_region: "TR".to_owned() }
}

fn contacts() -> [Contact; 4] {
    [
        contact(ContactKind::Phone, PHONE),
        contact(ContactKind::Email, EMAIL),
        contact(ContactKind::ExternalId, EXTERNAL),
        contact(ContactKind::ContactId, &NUMBER.to_string()),
    ]
}

fn marketing(channel: &str) -> v1::Scope {
    scope(RecipientType::Individual, channel, "marketing")
}

/// Events with known addresses, each wrong in another way.
fn wrong_events() -> Vec<v1::ConsentEvent> {
    let event = || grant(PHONE, START);
    let long = format!("{PHONE} {EMAIL} {}", "x".repeat(2_000));
    let mut events = vec![
        v1::ConsentEvent { brand: "none".to_owned(), ..event() },
        v1::ConsentEvent { channel: "email".to_owned(), ..event() },
        v1::ConsentEvent { channel: String::new(), ..event() },
        v1::ConsentEvent { purpose: "none".to_owned(), ..event() },
        v1::ConsentEvent { status: 0, ..event() },
        v1::ConsentEvent { recipient_type: 0, ..event() },
        v1::ConsentEvent { consent_time: None, ..event() },
        v1::ConsentEvent { consent_time: at(i64::MAX), ..event() },
        v1::ConsentEvent { valid_until_ms: Some(i64::MAX), ..event() },
        v1::ConsentEvent { source: long.clone(), ..event() },
        v1::ConsentEvent { event_key: long.clone(), ..event() },
        v1::ConsentEvent {
            evidence: Some(v1::Evidence { uri: long, sha256: PHONE.into() }),
            ..event()
        },
    ];
    // Spellings that are no address, of what is one.
    let spellings = [
        (ContactKind::Phone, format!("{PHONE} dahili 5")),
        (ContactKind::Phone, format!("{PHONE}{PHONE}")),
        (ContactKind::Phone, format!("{PHONE}.0")),
        (ContactKind::Email, format!("{EMAIL}@example.org")),
        (ContactKind::Email, format!("{EMAIL}\u{7}")),
        (ContactKind::ContactId, format!("0{NUMBER}")),
        (ContactKind::ExternalId, format!("{EXTERNAL}\n")),
        (ContactKind::ExternalId, EXTERNAL.repeat(20)),
        (ContactKind::Unspecified, PHONE.to_owned()),
    ];
    let channel = |kind| match kind {
        ContactKind::Email => "email",
        ContactKind::Phone | ContactKind::Unspecified => "sms",
        _ => "push",
    };
    events.extend(spellings.iter().map(|(kind, spelling)| v1::ConsentEvent {
        contact: Some(contact(*kind, spelling)),
        channel: channel(*kind).to_owned(),
        ..event()
    }));
    events
}

async fn refused_writes(channel: &Channel, seen: &mut Seen) {
    let mut consent = ConsentServiceClient::new(channel.clone());
    let events = wrong_events();
    let answer = consent.record(v1::RecordRequest { events }).await.unwrap().into_inner();
    seen.rejections("Record", &answer.results);
    // A key used twice, and what an erasure refuses.
    let keyed = |time| v1::ConsentEvent { event_key: "k".to_owned(), ..grant(PHONE, time) };
    let events = vec![keyed(START), keyed(START + 1)];
    let answer = consent.record(v1::RecordRequest { events }).await.unwrap().into_inner();
    seen.rejections("Record, key taken", &answer.results[1..]);
    let erasures = vec![
        v1::Erasure {
            brand: "main".to_owned(),
            contact: Some(phone(PHONE)),
            ..v1::Erasure::default()
        },
        v1::Erasure {
            brand: "none".to_owned(),
            contact: Some(phone(PHONE)),
            ..v1::Erasure::default()
        },
    ];
    let answer = consent.erase(v1::EraseRequest { erasures }).await.unwrap().into_inner();
    seen.0.push(("Erase".to_owned(), format!("{:?}", answer.results[1])));
    let events = vec![grant(PHONE, START)];
    let answer = consent.record(v1::RecordRequest { events }).await.unwrap().into_inner();
    seen.rejections("Record, erased", &answer.results);

    let suppression = |contact| v1::Suppression {
        brand: "main".to_owned(),
        contact: Some(contact),
        ..v1::Suppression::default()
    };
    let suppressions = contacts().map(suppression).to_vec();
    let answer = consent.suppress(v1::SuppressRequest { suppressions }).await.unwrap();
    seen.rejections("Suppress", &answer.into_inner().results);
    let lift = |contact| v1::Lift {
        brand: "main".to_owned(),
        contact: Some(contact),
        reason: Reason::LegalBlock.into(),
        ..v1::Lift::default()
    };
    let lifts = contacts().map(lift).to_vec();
    let answer = consent.lift(v1::LiftRequest { lifts }).await.unwrap().into_inner();
    seen.rejections("Lift", &answer.results);

    let items = wrong_events().into_iter();
    let items =
        items.map(|event| v1::ImportItem { change: Some(v1::import_item::Change::Consent(event)) });
    let chunk = v1::ImportRequest { items: items.collect(), dry_run: true };
    let answers = consent.import(tokio_stream::iter([chunk])).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    assert!(answer.rejected > 0);
    seen.0.push(("Import".to_owned(), format!("{:?}", answer.rejections)));
    for (from, to) in [(PHONE, EMAIL), (PHONE, "no number"), ("no number", PHONE)] {
        let request = v1::RectifyRequest {
            brand: "main".to_owned(),
            from: Some(phone(from)),
            to: Some(phone(to)),
            ..v1::RectifyRequest::default()
        };
        seen.status("Rectify", consent.rectify(request).await);
    }
}

async fn refused_reads(channel: &Channel, seen: &mut Seen) {
    let mut consent = ConsentServiceClient::new(channel.clone());
    let mut filter = FilterServiceClient::new(channel.clone());
    let foreign = Some(v1::Revision { epoch: "0".repeat(32), revision: 1 });
    for each in contacts() {
        let check = |brand: &str| v1::CheckRequest {
            brand: brand.to_owned(),
            scope: Some(marketing("sms")),
            contact: Some(each.clone()),
            ..v1::CheckRequest::default()
        };
        // Two fields mixed up.
        seen.status("Check, address as brand", filter.check(check(&each.address)).await);
        seen.status("Check, no brand", filter.check(check("none")).await);
        let no_scope = v1::CheckRequest { scope: None, ..check("main") };
        seen.status("Check, no scope", filter.check(no_scope).await);
        let mixed_up = v1::CheckRequest { scope: Some(marketing(&each.address)), ..check("main") };
        seen.status("Check, address as channel", filter.check(mixed_up).await);
        let region = Contact { default_region: each.address.clone(), ..each.clone() };
        let region = v1::CheckRequest { contact: Some(region), ..check("main") };
        seen.status("Check, address as region", filter.check(region).await);
        let epoch = v1::CheckRequest { minimum_revision: foreign.clone(), ..check("main") };
        let epoch = v1::CheckRequest { contact: Some(phone(PHONE)), ..epoch };
        seen.status("Check, foreign epoch", filter.check(epoch).await);
        let explain = v1::ExplainRequest {
            brand: "main".to_owned(),
            contact: Some(each.clone()),
            as_of_ms: Some(i64::MAX),
            scope: Some(marketing("none")),
            ..v1::ExplainRequest::default()
        };
        seen.status("Explain", consent.explain(explain).await);
        let history = v1::HistoryRequest {
            brand: "none".to_owned(),
            contact: Some(each.clone()),
            ..v1::HistoryRequest::default()
        };
        seen.status("History", consent.history(history).await);
        let asked_by = v1::Actor { role: 0, id: format!("{}{}", each.address, "x".repeat(300)) };
        let history = v1::HistoryRequest {
            brand: "main".to_owned(),
            contact: Some(each.clone()),
            asked_by: Some(asked_by),
            ..v1::HistoryRequest::default()
        };
        seen.status("History, asked by", consent.history(history).await);
        let describe = v1::DescribeRequest {
            brand: "none".to_owned(),
            contact_kind: each.kind,
            addresses: vec![each.address.clone(); 3],
            scope: Some(marketing("sms")),
            ..v1::DescribeRequest::default()
        };
        seen.status("Describe", filter.describe(describe).await);
        let policy = v1::ApplyPolicyRequest {
            toml: format!("version = \"1\"\n[brands]\n\"{}\" = 7\n", each.address),
            ..v1::ApplyPolicyRequest::default()
        };
        let mut admin = AdminServiceClient::new(channel.clone());
        // A policy is nobody's address; what is quoted of it goes to its author alone.
        drop(admin.apply_policy(policy).await);
    }
}

async fn refused_batches(channel: &Channel, seen: &mut Seen) {
    let mut stream = Asking::open_bare(FilterServiceClient::new(channel.clone())).await;
    let asked = || options(ContactKind::Phone, "sms", AnswerForm::Reasons);
    stream.send(filter_request::Message::Options(asked())).await;
    let batches = [
        v1::RecipientBatch { count: 7, ..lines(1, &[PHONE, EMAIL, EXTERNAL]) },
        v1::RecipientBatch { lines: PHONE.into(), ..phones(2, &[905_321_234_567]) },
        v1::RecipientBatch { contact_ids: (&[NUMBER][..]).into(), ..Default::default() },
        v1::RecipientBatch { roaring: PHONE.into(), ..Default::default() },
        v1::RecipientBatch { count: 3, ..phones(2, &[905_321_234_567]) },
    ];
    for batch in batches {
        let answer = stream.ask(batch).await;
        seen.0.push(("Filter".to_owned(), format!("{:?}", answer.error.unwrap())));
    }
    // Undecodable, with addresses around the fault.
    let mut raw = RawStream::open(channel.clone(), &asked()).await;
    let broken = message(&[field(LINES, PHONE.as_bytes()), vec![0x12, 0xff]]);
    seen.status("Filter, undecodable", raw.ask(broken).await);
    let mut raw = RawStream::open(channel.clone(), &asked()).await;
    let not_text = [field(1, &[PHONE.as_bytes(), b"\xff"].concat())].concat();
    seen.status("Filter, not UTF-8", raw.ask(field(1, &not_text)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_and_no_log_names_an_address_in_full() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, address) = Process::serve_talking(folder.path()).unwrap();
    let channel = connect(address).await;
    let mut seen = Seen::default();
    // What is accepted is logged no more than what is refused.
    let mut consent = ConsentServiceClient::new(channel.clone());
    let events = vec![grant(PHONE, START - 1), withdrawal(PHONE, "", "", START)];
    consent.record(v1::RecordRequest { events }).await.unwrap();
    let history = v1::HistoryRequest {
        brand: "*".to_owned(),
        contact: Some(phone(PHONE)),
        ..v1::HistoryRequest::default()
    };
    let found = consent.history(history).await.unwrap().into_inner();
    // The positive control: the search finds what is there.
    let mut control = Seen::default();
    control.0.push(("History".to_owned(), format!("{found:?}")));
    assert_eq!(control.betrayals().len(), 1);

    refused_reads(&channel, &mut seen).await;
    refused_batches(&channel, &mut seen).await;
    refused_writes(&channel, &mut seen).await;
    println!("{} refusals", seen.0.len());
    assert!(seen.0.len() > 75);

    tokio::time::sleep(Duration::from_millis(100)).await;
    let log = process.kill_for_log();
    assert!(log.contains("DEBUG"), "the log tells everything: {log}");
    assert!(!log.contains("panicked"), "{log}");
    seen.0.extend(log.lines().map(|line| ("the log".to_owned(), line.to_owned())));
    let audit = fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    assert!(audit.contains("\"history\"") && audit.contains("90532***4567"), "{audit}");
    seen.0.extend(audit.lines().map(|line| ("the audit log".to_owned(), line.to_owned())));
    let betrayals = seen.betrayals();
    assert!(betrayals.is_empty(), "{betrayals:#?}");
}
