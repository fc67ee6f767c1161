//! Explain: the verdict with everything that led to it. That the past is told
//! as it was is held by `model/past.rs`.

use sendgate::{
    caps,
    proto::v1::{
        ConsentEvent, EraseRequest, Erasure, ExplainRequest, ExplainResponse, ImportItem,
        ImportRequest, Notice, Reason, RecipientType, RecordRequest, RectifyRequest, Revision,
        import_item, ledger_record::Event,
    },
};
use tonic::{Code, Status};

use crate::support::{HOUR, START, TestServer, grant, phone, scope, withdrawal};

const ADDRESS: &str = "+905321234567";

fn request(recipient_type: RecipientType) -> ExplainRequest {
    ExplainRequest {
        brand: "main".to_owned(),
        scope: Some(scope(recipient_type, "sms", "marketing")),
        contact: Some(phone(ADDRESS)),
        ..ExplainRequest::default()
    }
}

fn individual() -> ExplainRequest {
    request(RecipientType::Individual)
}

async fn explain(server: &TestServer, request: ExplainRequest) -> Result<ExplainResponse, Status> {
    server.consent().explain(request).await.map(tonic::Response::into_inner)
}

async fn record(server: &TestServer, event: ConsentEvent) -> Revision {
    let request = RecordRequest { events: vec![event] };
    server.consent().record(request).await.unwrap().into_inner().revision.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_comes_with_its_record_and_its_history() {
    let server = TestServer::start().await;
    server.set_clock(START + HOUR);
    let notice = Notice { id: "form".to_owned(), version: "7".to_owned() };
    let given = ConsentEvent { notice: Some(notice.clone()), ..grant(ADDRESS, START + HOUR) };
    let granted = record(&server, given).await;
    server.set_clock(START + 3 * HOUR);
    let stopped = record(&server, withdrawal(ADDRESS, "sms", "", START + 2 * HOUR)).await;

    let now = explain(&server, individual()).await.unwrap();
    assert_eq!((now.permitted, now.reason()), (false, Reason::ChannelOptOut));
    assert_eq!(now.since_ms, Some(START + 2 * HOUR));
    assert_eq!((now.regime.as_str(), now.truncated, now.erased_record), ("opt_in", false, false));
    assert_eq!(now.records.len(), 2);
    assert_eq!(now.deciding.as_ref(), now.records.last());
    assert_eq!(now.revision, Some(stopped));

    // Between the withdrawal and its recording nobody knew.
    let then = ExplainRequest { as_of_ms: Some(START + 5 * HOUR / 2), ..individual() };
    let known = explain(&server, then.clone()).await.unwrap();
    assert_eq!((known.permitted, known.reason()), (true, Reason::Permitted));
    assert_eq!(known.revision, Some(granted));
    let Some(Event::Consent(decided)) = known.deciding.unwrap().event else { panic!("no consent") };
    assert_eq!(decided.notice, Some(notice));
    let hindsight = ExplainRequest { with_hindsight: true, ..then };
    let found = explain(&server, hindsight).await.unwrap();
    assert_eq!((found.permitted, found.reason()), (false, Reason::ChannelOptOut));
    assert_eq!((found.as_of_ms, found.records.len()), (START + 5 * HOUR / 2, 2));

    // Hindsight adds what had happened by then, not what happened later.
    let earlier = ExplainRequest {
        as_of_ms: Some(START + 3 * HOUR / 2),
        with_hindsight: true,
        ..individual()
    };
    assert_eq!(explain(&server, earlier).await.unwrap().reason(), Reason::Permitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_that_was_not_recorded_is_out_of_range() {
    let server = TestServer::start().await;
    let granted = record(&server, grant(ADDRESS, START)).await;
    let as_of = |revision, time| ExplainRequest {
        as_of_revision: revision,
        as_of_ms: time,
        ..individual()
    };
    let revision = |revision| Some(Revision { revision, ..granted.clone() });
    let foreign = Some(Revision { epoch: "0".repeat(32), ..granted.clone() });
    for (request, code) in [
        (as_of(None, Some(START + HOUR)), Code::OutOfRange),
        (as_of(None, Some(START - 1)), Code::OutOfRange),
        (as_of(None, Some(i64::MIN)), Code::OutOfRange),
        (as_of(revision(0), None), Code::OutOfRange),
        (as_of(revision(3), None), Code::OutOfRange),
        (as_of(revision(2), Some(START + HOUR)), Code::OutOfRange),
        (as_of(foreign, None), Code::FailedPrecondition),
        (ExplainRequest { scope: None, ..individual() }, Code::InvalidArgument),
        (ExplainRequest { contact: None, ..individual() }, Code::InvalidArgument),
        (ExplainRequest { brand: "none".to_owned(), ..individual() }, Code::NotFound),
    ] {
        assert_eq!(
            explain(&server, request.clone()).await.unwrap_err().code(),
            code,
            "{request:?}"
        );
    }
    let first = explain(&server, as_of(revision(1), None)).await.unwrap();
    assert_eq!((first.reason(), first.records.len()), (Reason::NoConsent, 0));
    let second = explain(&server, as_of(revision(2), Some(START))).await.unwrap();
    assert_eq!((second.reason(), second.records.len()), (Reason::Permitted, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_events_are_listed_and_all_of_them_count() {
    let server = TestServer::start().await;
    let import = async |times: std::ops::Range<i64>| {
        let item = |at| ImportItem {
            change: Some(import_item::Change::Consent(grant(ADDRESS, START - at))),
        };
        let chunk = ImportRequest { items: times.map(item).collect(), dry_run: false };
        let answers = server.consent().import(tokio_stream::iter([chunk])).await;
        answers.unwrap().into_inner().message().await.unwrap();
    };
    import(0..10_000).await;
    let whole = explain(&server, individual()).await.unwrap();
    assert_eq!((whole.records.len(), whole.truncated), (caps::EXPLAIN_EVENTS, false));
    record(&server, withdrawal(ADDRESS, "sms", "", START)).await;
    for as_of_ms in [None, Some(START)] {
        let cut = explain(&server, ExplainRequest { as_of_ms, ..individual() }).await.unwrap();
        assert_eq!((cut.records.len(), cut.truncated), (caps::EXPLAIN_EVENTS, true));
        assert_eq!(cut.reason(), Reason::ChannelOptOut);
        assert_eq!(cut.deciding.unwrap().revision, cut.records.last().unwrap().revision + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_is_no_recipient_is_explained_as_filters_answer() {
    let server = TestServer::start().await;
    // Possible, though no such number was ever given out: an opt-out counts.
    let unknown_range = "+905101234567";
    record(&server, withdrawal(unknown_range, "*", "*", START)).await;
    let asked = ExplainRequest { contact: Some(phone(unknown_range)), ..individual() };
    let check = sendgate::proto::v1::CheckRequest {
        brand: asked.brand.clone(),
        scope: asked.scope.clone(),
        contact: asked.contact.clone(),
        ..Default::default()
    };
    let checked = server.filter().check(check).await.unwrap().into_inner();
    let found = explain(&server, asked).await.unwrap();
    assert_eq!((found.reason(), found.permitted), (checked.reason(), false));
    assert_eq!(found.records.len(), 1);
    let nobody = ExplainRequest { contact: Some(phone("nobody")), ..individual() };
    let found = explain(&server, nobody).await.unwrap();
    assert_eq!((found.reason(), found.records.len()), (Reason::InvalidRecipient, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_before_an_erasure_is_not_reconstructed() {
    let server = TestServer::start().await;
    record(&server, grant(ADDRESS, START)).await;
    server.set_clock(START + 2 * HOUR);
    let erasure =
        Erasure { brand: "main".to_owned(), contact: Some(phone(ADDRESS)), ..Erasure::default() };
    server.consent().erase(EraseRequest { erasures: vec![erasure] }).await.unwrap();
    server.set_clock(START + 3 * HOUR);
    record(&server, grant("+905321234568", START)).await;
    let merchant = |time| ExplainRequest { as_of_ms: time, ..request(RecipientType::Merchant) };

    let before = explain(&server, merchant(Some(START + HOUR))).await.unwrap();
    assert!(before.erased_record && !before.permitted);
    assert_eq!((before.reason(), before.since_ms), (Reason::Unspecified, None));
    for time in [None, Some(START + 2 * HOUR), Some(START + 3 * HOUR)] {
        let after = explain(&server, merchant(time)).await.unwrap();
        assert_eq!((after.reason(), after.erased_record), (Reason::Erased, false));
        assert_eq!(after.since_ms, Some(START + 2 * HOUR));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_withdrawal_of_a_wrong_address_does_not_speak_of_the_right_one() {
    let server = TestServer::start().await;
    let wrong = "+905321234568";
    record(&server, grant(wrong, START)).await;
    server.set_clock(START + HOUR);
    let request = RectifyRequest {
        brand: "main".to_owned(),
        from: Some(phone(wrong)),
        to: Some(phone(ADDRESS)),
        ..RectifyRequest::default()
    };
    assert_eq!(server.consent().rectify(request).await.unwrap().into_inner().moved, 1);
    let then = ExplainRequest { as_of_ms: Some(START + HOUR), ..individual() };
    let told = explain(&server, then).await.unwrap();
    assert_eq!((told.reason(), told.erased_record), (Reason::Permitted, false));
    assert_eq!(told.records.len(), 2, "both histories show the rectification");
}
