//! What `GetStatistics` counts while a server works.

use sendgate::{
    caps,
    proto::v1::{
        AnswerForm, CheckpointRequest, ContactKind, GetStatisticsRequest, GetStatisticsResponse,
        Outcome, Reason, RecipientType, RecordRequest,
    },
};

use crate::support::{Asking, HOUR, START, TestServer, grant, options, phones, scope, withdrawal};

/// Statistics of a server as they are now.
async fn statistics(server: &TestServer) -> GetStatisticsResponse {
    server.admin().get_statistics(GetStatisticsRequest::default()).await.unwrap().into_inner()
}

fn verdicts(statistics: &GetStatisticsResponse) -> Vec<(Reason, u64)> {
    statistics.verdicts.iter().map(|it| (it.reason(), it.count)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_writes_and_durations_are_counted_where_they_happen() {
    let server = TestServer::start().await;
    let new = statistics(&server).await;
    assert_eq!((new.started_time_ms, new.checkpoint_time_ms), (START, 0));
    assert_eq!(verdicts(&new), []);
    assert_eq!(new.queue_capacity, caps::QUEUED_CHANGES as u64);

    let events = vec![
        grant("+905321234567", START - HOUR),
        grant("+905321234568", START - HOUR),
        withdrawal("+905321234568", "sms", "marketing", START),
        grant("+905321234567", START - HOUR),
        grant("+905321234569", START + 24 * HOUR),
    ];
    let request = RecordRequest { events };
    let results = server.consent().record(request).await.unwrap().into_inner().results;
    let outcomes: Vec<Outcome> = results.iter().map(|result| result.outcome()).collect();
    use Outcome::{Applied, Duplicate, Rejected};
    assert_eq!(outcomes, [Applied, Applied, Applied, Duplicate, Rejected]);

    let numbers = [905_321_234_567, 905_321_234_568, 905_321_234_569];
    for form in [AnswerForm::Reasons, AnswerForm::PermittedBits] {
        let mut asking = Asking::open(&server, options(ContactKind::Phone, "sms", form)).await;
        asking.ask(phones(1, &numbers)).await;
        let mut wrong = phones(2, &numbers);
        wrong.count = 7;
        asking.ask(wrong).await;
        asking.end().await;
    }
    let now = statistics(&server).await;
    let expected = [
        (Reason::Unspecified, 2),
        (Reason::Permitted, 2),
        (Reason::OptedOut, 1),
        (Reason::NoConsent, 1),
    ];
    assert_eq!(verdicts(&now), expected);
    assert_eq!((now.recipients_filtered, now.batches, now.refused_batches), (6, 2, 2));
    assert_eq!((now.recorded_changes, now.refused_writes), (3, 0));
    let batches = now.batch_durations.unwrap();
    assert_eq!((batches.count, batches.counts.iter().sum()), (2, 2));
    assert_eq!(batches.counts.len(), batches.bounds_us.len() + 1);
    assert_eq!(now.commit_durations.unwrap().count, 1, "one group");
    assert!(now.sync_durations.unwrap().count >= 1);
    assert!(now.resident_bytes > 1 << 20 && now.planes_bytes > 0);
    assert_eq!(now.planes_bytes, now.planes.iter().map(|plane| plane.memory_bytes).sum::<u64>());
    let request = GetStatisticsRequest { without_planes: true };
    let brief = server.admin().get_statistics(request).await.unwrap().into_inner();
    assert_eq!((brief.planes, brief.planes_bytes), (Vec::new(), now.planes_bytes));

    server.set_clock(START + HOUR);
    server.admin().checkpoint(CheckpointRequest {}).await.unwrap();
    let saved = statistics(&server).await;
    assert_eq!((saved.checkpoint_time_ms, saved.checkpoint_revision), (START + HOUR, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_counts_anew_and_knows_when_its_checkpoint_was_made() {
    let mut server = TestServer::start().await;
    // Pages are decided as of the last commit, or of a moment before now.
    server.set_clock(START + HOUR);
    let request = RecordRequest { events: vec![grant("+905321234567", START - HOUR)] };
    server.consent().record(request).await.unwrap();
    server.restart().await;
    server.set_clock(START + 2 * HOUR);
    let statistics = statistics(&server).await;
    assert_eq!(statistics.recorded_changes, 0);
    assert_eq!(statistics.started_time_ms, START + HOUR);
    assert_eq!(statistics.checkpoint_time_ms, START + HOUR);
}

/// Who refuses everything stands in one plane of the brand, and each scope counts
/// them all the same.
#[tokio::test(flavor = "multi_thread")]
async fn each_scope_counts_those_whom_the_whole_brand_refuses() {
    let server = TestServer::start().await;
    let events = vec![
        grant("+905321234567", START - HOUR),
        withdrawal("+905321234567", "sms", "newsletter", START - HOUR),
        withdrawal("+905321234568", "sms", "marketing", START - HOUR),
        withdrawal("+905321234569", "", "", START - HOUR),
    ];
    let request = RecordRequest { events };
    let results = server.consent().record(request).await.unwrap().into_inner().results;
    assert!(results.iter().all(|result| result.outcome() == Outcome::Applied), "{results:?}");

    let found = statistics(&server).await;
    let counts = |recipient_type, channel: &str, purpose: &str| {
        let scope = Some(scope(recipient_type, channel, purpose));
        let of_scope = found.scopes.iter().find(|it| it.scope == scope)?;
        assert_eq!(
            (of_scope.brand.as_str(), of_scope.contact_kind()),
            ("main", ContactKind::Phone)
        );
        let reasons: Vec<_> = of_scope.reasons.iter().map(|it| (it.reason(), it.count)).collect();
        Some((of_scope.permitted, of_scope.suppressed, reasons))
    };
    use RecipientType::{Individual, Merchant};
    let (never, once) = ((Reason::ContactOptOut, 1), (Reason::OptedOut, 1));
    let expected = [
        (Individual, "sms", "marketing", Some((Some(1), 2, vec![never, once]))),
        (Individual, "sms", "newsletter", Some((Some(0), 2, vec![never, once]))),
        (Individual, "call", "marketing", Some((Some(0), 1, vec![never]))),
        (Merchant, "call", "marketing", Some((None, 1, vec![never]))),
        // Where consent is not asked for, nobody is known; nor by e-mail.
        (Individual, "sms", "transactional", None),
        (Individual, "email", "marketing", None),
    ];
    for (recipient_type, channel, purpose, expected) in expected {
        assert_eq!(counts(recipient_type, channel, purpose), expected, "{channel} {purpose}");
    }
    let of_brand: Vec<_> = found.planes.iter().filter(|plane| plane.scope.is_none()).collect();
    let [plane] = of_brand[..] else { panic!("one plane is of the brand: {of_brand:?}") };
    assert_eq!((plane.brand.as_str(), plane.reason()), ("main", Reason::ContactOptOut));
    assert_eq!((plane.contacts, plane.pages), (1, 1));
    let own: u64 = found.scopes.iter().map(|it| it.memory_bytes).sum();
    assert_eq!(own + plane.memory_bytes, found.planes_bytes);
    let request = GetStatisticsRequest { without_planes: true };
    let brief = server.admin().get_statistics(request).await.unwrap().into_inner();
    assert_eq!(brief.scopes, []);
}
