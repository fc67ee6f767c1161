//! Imports: a running count that is exact, whatever the items are like.

use sendgate::proto::v1::{
    self, ConsentEvent, ImportItem, ImportRequest, ImportResponse, Reason, RejectCode,
    import_item::Change,
};
use tokio_stream::iter;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{
    Asking, START, TestServer, at, grant, options, phone, phones, reasons, withdrawal,
};

fn consent(event: ConsentEvent) -> ImportItem {
    ImportItem { change: Some(Change::Consent(event)) }
}

fn number(i: usize) -> String {
    format!("+90532{i:07}")
}

/// Streams chunks; returns the acknowledgements, and the status if one ended them.
async fn import(
    server: &TestServer,
    chunks: Vec<Vec<ImportItem>>,
) -> (Vec<ImportResponse>, Result<(), Status>) {
    let chunks = chunks.into_iter().map(|items| ImportRequest { items, dry_run: false });
    let chunks = iter(chunks.collect::<Vec<_>>());
    let mut answers = server.consent().import(chunks).await.unwrap().into_inner();
    let mut acknowledged = Vec::new();
    loop {
        match answers.message().await {
            Ok(Some(answer)) => acknowledged.push(answer),
            Ok(None) => return (acknowledged, Ok(())),
            Err(status) => return (acknowledged, Err(status)),
        }
    }
}

/// done, applied, superseded, duplicate, key_reused, rejected.
fn counts(answer: &ImportResponse) -> [u64; 6] {
    let ImportResponse { done, applied, superseded, duplicate, key_reused, rejected, .. } = answer;
    [*done, *applied, *superseded, *duplicate, *key_reused, *rejected]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_goes_on_after_bad_items_and_counts_exactly() {
    let server = TestServer::start().await;
    // Every fifth item is bad, each in its own way; chunks of uneven sizes.
    let bad = |i: usize| -> (RejectCode, ImportItem) {
        let good = grant(&number(i), START);
        match i / 5 % 5 {
            0 => (RejectCode::InvalidArgument, ImportItem { change: None }),
            1 => (RejectCode::InvalidAddress, consent(grant("yok", START))),
            2 => (RejectCode::TimeAhead, consent(grant(&number(i), START + 3_600_000))),
            3 => (RejectCode::NotFound, consent(ConsentEvent { brand: "mian".to_owned(), ..good })),
            _ => (RejectCode::InvalidArgument, consent(ConsentEvent { status: 0, ..good })),
        }
    };
    let items: Vec<ImportItem> = (0..503)
        .map(|i| if i % 5 == 0 { bad(i).1 } else { consent(grant(&number(i), START)) })
        .collect();
    let chunks = items.chunks(83).map(<[ImportItem]>::to_vec).collect();
    let (answers, ended) = import(&server, chunks).await;
    ended.unwrap();

    let mut done = 0;
    let mut rejections = Vec::new();
    for answer in &answers {
        assert_eq!(answer.done, (done + 83).min(503));
        let chunk: Vec<u64> = answer.rejections.iter().map(|each| each.index).collect();
        assert_eq!(chunk, (done..answer.done).filter(|i| i % 5 == 0).collect::<Vec<_>>());
        rejections.extend(answer.rejections.clone());
        done = answer.done;
    }
    let last = answers.last().unwrap();
    assert_eq!(counts(last), [503, 402, 0, 0, 0, 101]);
    // One revision is that of the policy.
    assert_eq!(last.revision.as_ref().unwrap().revision, 403);
    for each in rejections {
        assert_eq!(each.rejection.unwrap().code(), bad(each.index as usize).0, "{}", each.index);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_outcome_is_counted_as_what_it_is() {
    let server = TestServer::start().await;
    let keyed =
        |event: ConsentEvent, key: &str| ConsentEvent { event_key: key.to_owned(), ..event };
    let stop = |time| withdrawal(&number(3), "sms", "marketing", time);
    let bounce = v1::Suppression {
        brand: "main".to_owned(),
        contact: Some(phone(&number(4))),
        reason: Reason::HardBounce.into(),
        since: at(START),
        ..v1::Suppression::default()
    };
    let lift = v1::Lift {
        brand: "main".to_owned(),
        contact: Some(phone(&number(4))),
        reason: Reason::HardBounce.into(),
        time: at(START),
        actor: Some(v1::Actor { role: v1::ActorRole::System.into(), id: String::new() }),
        ..v1::Lift::default()
    };
    let items = [
        consent(grant(&number(1), START)),
        // The same again; and an older one behind it.
        consent(grant(&number(1), START)),
        consent(grant(&number(1), START - 1)),
        // A key with other content: a grant is refused, a withdrawal is not lost.
        consent(keyed(grant(&number(2), START - 2), "k")),
        consent(keyed(grant(&number(2), START - 1), "k")),
        consent(keyed(stop(START - 2), "k")),
        consent(keyed(stop(START - 1), "k")),
        ImportItem { change: Some(Change::Suppression(bounce)) },
        ImportItem { change: Some(Change::Lift(lift)) },
    ];
    let (answers, ended) = import(&server, vec![items.to_vec()]).await;
    ended.unwrap();
    let [answer] = answers.as_slice() else { panic!("one chunk, one answer") };
    assert_eq!(counts(answer), [9, 5, 1, 1, 1, 1]);
    let [rejected] = answer.rejections.as_slice() else { panic!("{answer:?}") };
    assert_eq!(rejected.index, 4);
    assert_eq!(rejected.rejection.as_ref().unwrap().code(), RejectCode::AlreadyExists);
    // Five applied, one superseded, one with a reused key, and the policy.
    assert_eq!(answer.revision.as_ref().unwrap().revision, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn importing_the_same_again_changes_nothing() {
    let server = TestServer::start().await;
    let items = || -> Vec<ImportItem> {
        let granted = (0..100).map(|i| consent(grant(&number(i), START)));
        let stopped = (50..150).map(|i| consent(withdrawal(&number(i), "sms", "", START)));
        granted.chain(stopped).collect()
    };
    let (first, _) = import(&server, vec![items()]).await;
    let (second, _) = import(&server, vec![items()]).await;
    assert_eq!(counts(&first[0]), [200, 200, 0, 0, 0, 0]);
    assert_eq!(counts(&second[0]), [200, 0, 0, 200, 0, 0]);
    assert_eq!(first[0].revision, second[0].revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_over_the_cap_ends_the_import_and_what_was_acknowledged_stands() {
    let server = TestServer::start().await;
    let items = |from: usize, count: usize| -> Vec<ImportItem> {
        (from..from + count).map(|i| consent(grant(&number(i), START))).collect()
    };
    let chunks = vec![items(0, 10), items(10, 10_000), items(20_000, 10_001), items(40_000, 1)];
    let (answers, ended) = import(&server, chunks).await;
    let done: Vec<u64> = answers.iter().map(|answer| answer.done).collect();
    assert_eq!(done, [10, 10_010]);
    let status = ended.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.domain.as_str(), info.metadata["field"].as_str()), ("sendgate", "items"));
    let statistics =
        server.admin().get_statistics(v1::GetStatisticsRequest::default()).await.unwrap();
    assert_eq!(statistics.into_inner().revision.unwrap().revision, 10_011);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_import_and_an_empty_chunk_are_ordinary() {
    let server = TestServer::start().await;
    let (answers, ended) = import(&server, vec![]).await;
    assert!(answers.is_empty() && ended.is_ok());
    let (answers, ended) = import(&server, vec![vec![], vec![], vec![]]).await;
    assert!(ended.is_ok());
    assert_eq!(answers.iter().map(counts).collect::<Vec<_>>(), [[0; 6]; 3]);
    assert_eq!(answers[0].revision.as_ref().unwrap().revision, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let server = TestServer::start().await;
    let before = vec![consent(grant(&number(1), START)), consent(grant(&number(3), START))];
    import(&server, vec![before]).await.1.unwrap();
    let revision = |answer: &ImportResponse| answer.revision.as_ref().unwrap().revision;
    let bounce = v1::Suppression {
        brand: "main".to_owned(),
        contact: Some(phone(&number(3))),
        reason: Reason::HardBounce.into(),
        ..v1::Suppression::default()
    };
    let email = v1::Contact {
        kind: v1::ContactKind::Email.into(),
        address: "a@b.co".to_owned(),
        ..Default::default()
    };
    let new_address = ConsentEvent {
        contact: Some(email),
        channel: "email".to_owned(),
        ..withdrawal("", "email", "", START)
    };
    let items = [
        consent(grant(&number(1), START)),
        consent(grant(&number(1), START - 1)),
        consent(grant(&number(2), START)),
        consent(grant("yok", START)),
        consent(grant(&number(4), START + 3_600_000)),
        consent(new_address),
        ImportItem { change: Some(Change::Suppression(bounce)) },
    ];
    let dry = |items: &[ImportItem]| ImportRequest { items: items.to_vec(), dry_run: true };
    let chunks = iter(vec![dry(&items), dry(&items)]);
    let mut answers = server.consent().import(chunks).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap();
    let second = answers.message().await.unwrap().unwrap();
    assert_eq!(counts(&first), [7, 3, 1, 1, 0, 2]);
    // Each chunk is tried against the ledger as it is: nothing came of the first.
    assert_eq!(counts(&second), [14, 6, 2, 2, 0, 4]);
    assert_eq!((revision(&first), revision(&second)), (3, 3));
    let codes: Vec<RejectCode> =
        first.rejections.iter().map(|each| each.rejection.as_ref().unwrap().code()).collect();
    assert_eq!(codes, [RejectCode::InvalidAddress, RejectCode::TimeAhead]);

    let statistics =
        server.admin().get_statistics(v1::GetStatisticsRequest::default()).await.unwrap();
    assert_eq!(statistics.into_inner().revision.unwrap().revision, 3);
    let numbers: Vec<u64> = (1..=4).map(|i| 905_320_000_000 + i).collect();
    let form = v1::AnswerForm::Reasons;
    let mut asking = Asking::open(&server, options(v1::ContactKind::Phone, "sms", form)).await;
    let verdicts = reasons(&asking.ask(phones(1, &numbers)).await);
    let (yes, no) = (Reason::Permitted, Reason::NoConsent);
    assert_eq!(verdicts, [yes, no, yes, no]);

    // For real it is what was foretold, the new address included.
    let (answers, ended) = import(&server, vec![items.to_vec()]).await;
    ended.unwrap();
    assert_eq!(counts(&answers[0]), counts(&first));
    assert_eq!(revision(&answers[0]), 7);

    // Half a dry run is none.
    let wet = ImportRequest { items: Vec::new(), dry_run: false };
    let mut answers =
        server.consent().import(iter(vec![dry(&[]), wet])).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    assert_eq!(answers.message().await.unwrap_err().code(), Code::InvalidArgument);
}
