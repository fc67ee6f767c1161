//! Two addresses under one fingerprint are never one person (F19). No two such
//! addresses are known; a row of the directory that was changed by hand stands
//! for them.

use sendgate::proto::v1::{self, AnswerForm, ContactKind, Outcome, Reason, RejectCode};

use crate::{
    damage::edit,
    support::{Asking, START, TestServer, grant, lines, options, reasons},
};

fn email(address: &str) -> v1::ConsentEvent {
    let contact = v1::Contact {
        kind: ContactKind::Email.into(),
        address: address.to_owned(),
        ..v1::Contact::default()
    };
    v1::ConsentEvent { contact: Some(contact), channel: "email".to_owned(), ..grant("", START) }
}

async fn record(server: &TestServer, event: v1::ConsentEvent) -> v1::EventResult {
    let request = v1::RecordRequest { events: vec![event] };
    server.consent().record(request).await.unwrap().into_inner().results.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_under_the_fingerprint_of_another_is_refused() {
    let mut server = TestServer::start().await;
    for address in ["ada@example.com", "bob@example.com"] {
        assert_eq!(record(&server, email(address)).await.outcome(), Outcome::Applied);
    }
    // As if the fingerprint of Ada's address were that of Eve's, whose contact it is.
    server.stop().await;
    edit(server.folder.path(), |db| {
        let family = db.cf_handle("contacts").unwrap();
        let rows: Vec<_> =
            db.iterator_cf(family, rocksdb::IteratorMode::Start).map(Result::unwrap).collect();
        let (key, _) = rows.iter().find(|(_, text)| **text == *b"ada@example.com").unwrap();
        db.put_cf(family, key, "eve@example.com").unwrap();
    });
    server.restart().await;

    let later = v1::ConsentEvent {
        status: v1::ConsentStatus::Withdrawn.into(),
        ..email("ada@example.com")
    };
    let refused = record(&server, later).await;
    assert_eq!(refused.outcome(), Outcome::Rejected);
    let rejection = refused.rejection.unwrap();
    assert_eq!(rejection.code(), RejectCode::AddressClash, "{rejection:?}");
    assert!(!rejection.message.contains('@'), "{rejection:?}");
    // Nobody's verdict moved.
    let asked = options(ContactKind::Email, "email", AnswerForm::Reasons);
    let mut stream = Asking::open(&server, asked).await;
    let answer = stream.ask(lines(1, &["bob@example.com", "eve@example.com"])).await;
    assert_eq!(reasons(&answer), [Reason::Permitted, Reason::NoConsent]);
}
