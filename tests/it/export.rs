//! Export: the known contacts of a scope, from one revision.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sendgate::{
    caps,
    proto::v1::{
        CheckRequest, ConsentEvent, Contact, ContactKind, ExportRequest, ExportResponse,
        ExportSelection, ExportedContact, ImportItem, ImportRequest, Reason, RecipientType,
        RecordRequest, SuppressRequest, Suppression, import_item,
    },
};
use tonic::{Code, Status};

use crate::support::{HOUR, START, TestServer, at, grant, phone, scope, withdrawal};

fn request(recipient_type: RecipientType, selection: ExportSelection) -> ExportRequest {
    ExportRequest {
        brand: "main".to_owned(),
        scope: Some(scope(recipient_type, "sms", "marketing")),
        contact_kind: ContactKind::Phone.into(),
        selection: selection.into(),
        ..ExportRequest::default()
    }
}

async fn parts(server: &TestServer, request: ExportRequest) -> Result<Vec<ExportResponse>, Status> {
    let mut stream = server.consent().export(request).await?.into_inner();
    let mut parts = Vec::new();
    while let Some(part) = stream.message().await? {
        parts.push(part);
    }
    Ok(parts)
}

async fn export(server: &TestServer, request: ExportRequest) -> BTreeMap<String, ExportedContact> {
    let contacts = parts(server, request).await.unwrap().into_iter().flat_map(|part| part.contacts);
    let mut found = BTreeMap::new();
    for contact in contacts {
        let twice = found.insert(contact.address.clone(), contact);
        assert_eq!(twice, None, "a contact is exported once");
    }
    found
}

async fn suppress(server: &TestServer, brand: &str, address: &str, reason: Reason) {
    let entry = Suppression {
        brand: brand.to_owned(),
        contact: Some(phone(address)),
        reason: reason.into(),
        since: at(START),
        ..Suppression::default()
    };
    let request = SuppressRequest { suppressions: vec![entry] };
    server.consent().suppress(request).await.unwrap();
}

async fn record(server: &TestServer, events: Vec<ConsentEvent>) {
    let answer = server.consent().record(RecordRequest { events }).await.unwrap().into_inner();
    assert!(answer.results.iter().all(|result| result.rejection.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_known_is_in_one_of_two_exports_with_the_verdict_of_check() {
    let server = TestServer::start().await;
    server.set_clock(START + HOUR);
    let number = |at: u32| format!("+9053212345{at:02}");
    let merchant = |event| ConsentEvent { recipient_type: RecipientType::Merchant.into(), ..event };
    record(
        &server,
        vec![
            grant(&number(1), START),
            grant(&number(2), START),
            withdrawal(&number(2), "sms", "", START + 1),
            merchant(grant(&number(3), START)),
            grant(&number(5), START),
            ConsentEvent { valid_until_ms: Some(START + 5), ..grant(&number(6), START) },
        ],
    )
    .await;
    suppress(&server, "*", &number(4), Reason::LegalBlock).await;
    suppress(&server, "*", &number(5), Reason::ManualBlock).await;
    suppress(&server, "main", &number(7), Reason::HardBounce).await;

    for recipient_type in [RecipientType::Individual, RecipientType::Merchant] {
        let permitted = export(&server, request(recipient_type, ExportSelection::Permitted)).await;
        let suppressed =
            export(&server, request(recipient_type, ExportSelection::Suppressed)).await;
        let everybody: BTreeSet<String> = (1..=7).map(number).collect();
        let both = permitted.keys().chain(suppressed.keys()).cloned();
        assert_eq!(both.collect::<BTreeSet<_>>(), everybody);
        for (address, found) in permitted.iter().chain(&suppressed) {
            let check = CheckRequest {
                brand: "main".to_owned(),
                scope: Some(scope(recipient_type, "sms", "marketing")),
                contact: Some(phone(address)),
                include_record: true,
                ..CheckRequest::default()
            };
            let checked = server.filter().check(check).await.unwrap().into_inner();
            assert_eq!(found.reason(), checked.reason(), "{address}");
            assert_eq!(permitted.contains_key(address), checked.permitted);
            assert_eq!(found.revision, checked.record.map_or(0, |record| record.revision));
            let unknown = matches!(found.reason(), Reason::NoConsent) || found.revision == 0;
            assert_eq!(found.since_ms.is_none(), unknown);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_are_exported_as_text_and_kinds_apart() {
    let server = TestServer::start().await;
    let mail = |address: &str| ConsentEvent {
        contact: Some(Contact {
            kind: ContactKind::Email.into(),
            address: address.to_owned(),
            default_region: String::new(),
        }),
        channel: "email".to_owned(),
        ..grant("", START)
    };
    record(&server, vec![mail("Ada@Example.com"), mail("bob@example.com")]).await;
    record(&server, vec![grant("+905321234567", START)]).await;
    let mails = ExportRequest {
        scope: Some(scope(RecipientType::Individual, "email", "marketing")),
        contact_kind: ContactKind::Email.into(),
        ..request(RecipientType::Individual, ExportSelection::Permitted)
    };
    let found: Vec<String> = export(&server, mails).await.into_keys().collect();
    assert_eq!(found, ["ada@example.com", "bob@example.com"]);
    let phones = request(RecipientType::Individual, ExportSelection::Permitted);
    let found: Vec<String> = export(&server, phones).await.into_keys().collect();
    assert_eq!(found, ["+905321234567"]);
}

/// 30,000 contacts in several parts, all of the revision at which the export
/// began, although others are recorded while it runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_export_stands_for_one_revision() {
    let server = TestServer::start().await;
    let item = |at: u32| ImportItem {
        change: Some(import_item::Change::Consent(grant(&format!("+90532{at:07}"), START))),
    };
    for chunk in 0..3 {
        let items = (chunk * 10_000..(chunk + 1) * 10_000).map(item).collect();
        let chunk = ImportRequest { items, dry_run: false };
        let mut answers =
            server.consent().import(tokio_stream::iter([chunk])).await.unwrap().into_inner();
        assert_eq!(answers.message().await.unwrap().unwrap().applied, 10_000);
    }
    let asked = request(RecipientType::Individual, ExportSelection::Permitted);
    let mut stream = server.consent().export(asked).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    let events = (0..1_000).map(|at| withdrawal(&format!("+90532{at:07}"), "*", "*", START));
    record(&server, events.collect()).await;
    let revision = first.revision.clone();
    let mut found: Vec<String> = first.contacts.into_iter().map(|each| each.address).collect();
    while let Some(part) = stream.message().await.unwrap() {
        assert!(part.contacts.len() <= caps::EXPORT_CONTACTS);
        assert_eq!(part.revision, revision);
        found.extend(part.contacts.into_iter().map(|each| each.address));
    }
    assert_eq!(found.len(), 30_000);
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>().len(), 30_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_nobody_has_one_empty_part() {
    let server = TestServer::start().await;
    let asked = request(RecipientType::Individual, ExportSelection::Permitted);
    let parts = parts(&server, asked).await.unwrap();
    assert_eq!((parts.len(), parts[0].contacts.len()), (1, 0));
    assert_eq!(parts[0].revision.as_ref().unwrap().revision, 1);
    assert_eq!(parts[0].policy_version, "starter-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_must_make_sense_and_only_so_many_run_at_once() {
    let server = TestServer::start().await;
    let whole = request(RecipientType::Individual, ExportSelection::Permitted);
    for (request, code) in [
        (request(RecipientType::Individual, ExportSelection::Unspecified), Code::InvalidArgument),
        (ExportRequest { scope: None, ..whole.clone() }, Code::InvalidArgument),
        (ExportRequest { brand: "*".to_owned(), ..whole.clone() }, Code::NotFound),
        (
            ExportRequest { contact_kind: ContactKind::Email.into(), ..whole.clone() },
            Code::InvalidArgument,
        ),
    ] {
        assert_eq!(parts(&server, request).await.unwrap_err().code(), code);
    }
    // Readers who do not read keep their places; who goes away gives it up.
    let item = |at: u32| ImportItem {
        change: Some(import_item::Change::Consent(grant(&format!("+90532{at:07}"), START))),
    };
    for chunk in 0..4 {
        let items = (chunk * 10_000..(chunk + 1) * 10_000).map(item).collect();
        let chunk = ImportRequest { items, dry_run: false };
        let mut answers =
            server.consent().import(tokio_stream::iter([chunk])).await.unwrap().into_inner();
        answers.message().await.unwrap();
    }
    let mut streams = Vec::new();
    for _ in 0..caps::EXPORTS {
        streams.push(server.consent().export(whole.clone()).await.unwrap());
    }
    let refused = server.consent().export(whole.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    drop(streams.pop());
    for _ in 0..500 {
        if server.consent().export(whole.clone()).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the place of a reader who left was not free again");
}
