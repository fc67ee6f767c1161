//! Bad writes: each event is judged alone, with its named code, and the good
//! ones beside it are recorded.

use sendgate::proto::v1::{
    self, Actor, ActorRole, ConsentEvent, Contact, Evidence, Lift, LiftRequest, Notice, Outcome,
    Precision, Reason, RecordRequest, RejectCode, StatedTime, SuppressRequest, Suppression,
};
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{START, TestServer, at, grant, phone, scope, withdrawal};

const NUMBER: &str = "+905321234567";
const MINUTE: i64 = 60_000;

async fn record(server: &TestServer, events: Vec<ConsentEvent>) -> Vec<v1::EventResult> {
    server.consent().record(RecordRequest { events }).await.unwrap().into_inner().results
}

async fn verdict(server: &TestServer, address: &str) -> Reason {
    let request = v1::CheckRequest {
        brand: "main".to_owned(),
        scope: Some(scope(v1::RecipientType::Individual, "sms", "marketing")),
        contact: Some(phone(address)),
        ..v1::CheckRequest::default()
    };
    server.filter().check(request).await.unwrap().into_inner().reason()
}

/// Records each bad event between two good ones and holds its rejection.
async fn assert_rejected(server: &TestServer, cases: Vec<(RejectCode, &str, ConsentEvent)>) {
    for (number, (code, field, bad)) in cases.into_iter().enumerate() {
        let (before, after) = (format!("+90533{number:07}"), format!("+90534{number:07}"));
        let address = bad.contact.clone().unwrap_or_default().address;
        let events = vec![grant(&before, START), bad, grant(&after, START)];
        let results = record(server, events).await;
        let outcomes: Vec<Outcome> = results.iter().map(v1::EventResult::outcome).collect();
        let due = [Outcome::Applied, Outcome::Rejected, Outcome::Applied];
        assert_eq!(outcomes, due, "case {number}: {results:?}");
        let rejection = results[1].rejection.clone().unwrap();
        assert_eq!((rejection.code(), results[1].revision), (code, 0), "case {number}");
        assert_eq!(rejection.field, field, "case {number}: {rejection:?}");
        // Messages end in logs, and logs hold no address.
        let shown = address.len() > 6 && rejection.message.contains(&address);
        assert!(!shown, "case {number}: {rejection:?}");
        assert_eq!(verdict(server, &before).await, Reason::Permitted);
        assert_eq!(verdict(server, &after).await, Reason::Permitted);
    }
    assert_eq!(verdict(server, NUMBER).await, Reason::NoConsent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_says_too_little_or_too_much_is_rejected_by_field() {
    use RejectCode::{InvalidAddress, InvalidArgument, NotFound, TimeAhead};
    let server = TestServer::start().await;
    let good = || grant(NUMBER, START);
    let contact = |address: &str| Some(phone(address));
    let ahead = grant(NUMBER, START + 5 * MINUTE + 1);
    let no_such_precision = Some(StatedTime { unix_ms: START, precision: 77 });
    assert_rejected(
        &server,
        vec![
            (InvalidArgument, "status", ConsentEvent { status: 0, ..good() }),
            (InvalidArgument, "contact", ConsentEvent { contact: None, ..good() }),
            (
                InvalidArgument,
                "contact.kind",
                ConsentEvent { contact: Some(Contact { kind: 0, ..phone(NUMBER) }), ..good() },
            ),
            (InvalidAddress, "contact.address", ConsentEvent { contact: contact(""), ..good() }),
            (InvalidAddress, "contact.address", ConsentEvent { contact: contact("yok"), ..good() }),
            (
                InvalidAddress,
                "contact.address",
                ConsentEvent { contact: contact("0532 123 45 67 dahili 5"), ..good() },
            ),
            (NotFound, "brand", ConsentEvent { brand: "mian".to_owned(), ..good() }),
            (NotFound, "brand", ConsentEvent { brand: "*".to_owned(), ..good() }),
            (NotFound, "channel", ConsentEvent { channel: "smss".to_owned(), ..good() }),
            (NotFound, "purpose", ConsentEvent { purpose: "marketting".to_owned(), ..good() }),
            (
                InvalidArgument,
                "contact.kind",
                ConsentEvent { channel: "email".to_owned(), ..good() },
            ),
            // A grant at a wider level would permit what nobody was asked.
            (InvalidArgument, "purpose", ConsentEvent { purpose: String::new(), ..good() }),
            (InvalidArgument, "purpose", ConsentEvent { purpose: "*".to_owned(), ..good() }),
            (InvalidArgument, "recipient_type", ConsentEvent { recipient_type: 0, ..good() }),
            (InvalidArgument, "recipient_type", ConsentEvent { recipient_type: 77, ..good() }),
            (InvalidArgument, "consent_time", ConsentEvent { consent_time: None, ..good() }),
            (InvalidArgument, "consent_time", grant(NUMBER, i64::MAX)),
            (InvalidArgument, "consent_time", grant(NUMBER, i64::MIN)),
            (
                InvalidArgument,
                "consent_time",
                ConsentEvent { consent_time: no_such_precision, ..good() },
            ),
            (TimeAhead, "consent_time", ahead),
            (
                InvalidArgument,
                "valid_until_ms",
                ConsentEvent { valid_until_ms: Some(i64::MAX), ..good() },
            ),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_accepted_at_its_cap_and_rejected_by_field_above_it() {
    let server = TestServer::start().await;
    let longest = ConsentEvent {
        source: "s".repeat(256),
        legal_basis: "l".repeat(256),
        collected_by: "c".repeat(256),
        event_key: "k".repeat(128),
        notice: Some(Notice { id: "n".repeat(256), version: "v".repeat(256) }),
        actor: Some(Actor { id: "a".repeat(256), ..Actor::default() }),
        evidence: Some(Evidence { uri: "u".repeat(1_024), sha256: vec![7; 32].into() }),
        ..grant("+905351234567", START)
    };
    assert_eq!(record(&server, vec![longest]).await[0].outcome(), Outcome::Applied);

    let good = || grant(NUMBER, START);
    let long = || "x".repeat(257);
    let notice = |id, version| Some(Notice { id, version });
    let evidence = |uri, sha256: usize| Some(Evidence { uri, sha256: vec![7; sha256].into() });
    let actor = Some(Actor { id: long(), ..Actor::default() });
    let cases = vec![
        ("source", ConsentEvent { source: long(), ..good() }),
        ("legal_basis", ConsentEvent { legal_basis: long(), ..good() }),
        ("collected_by", ConsentEvent { collected_by: long(), ..good() }),
        ("event_key", ConsentEvent { event_key: "k".repeat(129), ..good() }),
        ("notice.id", ConsentEvent { notice: notice(long(), String::new()), ..good() }),
        ("notice.version", ConsentEvent { notice: notice(String::new(), long()), ..good() }),
        ("actor.id", ConsentEvent { actor, ..good() }),
        ("evidence.uri", ConsentEvent { evidence: evidence("u".repeat(1_025), 0), ..good() }),
        ("evidence.sha256", ConsentEvent { evidence: evidence(String::new(), 31), ..good() }),
        (
            "actor.role",
            ConsentEvent { actor: Some(Actor { role: 77, id: String::new() }), ..good() },
        ),
    ];
    let invalid = |(field, event)| (RejectCode::InvalidArgument, field, event);
    assert_rejected(&server, cases.into_iter().map(invalid).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_is_never_refused_for_its_time() {
    let server = TestServer::start().await;
    let no_such_precision = Some(StatedTime { unix_ms: START, precision: 77 });
    let times = [
        None,
        at(START + 365 * 24 * 60 * MINUTE),
        at(i64::MAX),
        at(i64::MIN),
        no_such_precision,
        Some(StatedTime { unix_ms: START, precision: Precision::Day.into() }),
    ];
    for (number, consent_time) in times.into_iter().enumerate() {
        let address = format!("+90536{number:07}");
        let stop = withdrawal(&address, "sms", "marketing", START);
        let events = vec![grant(&address, START), ConsentEvent { consent_time, ..stop }];
        let results = record(&server, events).await;
        assert_eq!(results[1].outcome(), Outcome::Applied, "{consent_time:?}");
        assert_eq!(verdict(&server, &address).await, Reason::OptedOut, "{consent_time:?}");
    }
    // Only its end is refused: a withdrawal that ends would permit by itself.
    let ending =
        ConsentEvent { valid_until_ms: Some(START), ..withdrawal(NUMBER, "sms", "", START) };
    let purpose_only = withdrawal(NUMBER, "", "marketing", START);
    let results = record(&server, vec![ending, purpose_only]).await;
    let field = |at: usize| results[at].rejection.clone().unwrap().field;
    assert_eq!((field(0).as_str(), field(1).as_str()), ("valid_until_ms", "channel"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_a_little_ahead_counts_as_of_now() {
    let server = TestServer::start().await;
    let results = record(&server, vec![grant(NUMBER, START + 5 * MINUTE)]).await;
    assert_eq!(results[0].outcome(), Outcome::Applied);
    // Had it kept its own time, it would outlive this withdrawal.
    record(&server, vec![withdrawal(NUMBER, "sms", "marketing", START + MINUTE)]).await;
    assert_eq!(verdict(&server, NUMBER).await, Reason::OptedOut);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opt_out_counts_for_a_number_newer_than_the_metadata() {
    let server = TestServer::start().await;
    // Ten digits as every Turkish number has, in a range that is not given out.
    let newer = "+905991234567";
    let results =
        record(&server, vec![grant(newer, START), withdrawal(newer, "", "", START)]).await;
    assert_eq!(results[0].rejection.clone().unwrap().code(), RejectCode::InvalidAddress);
    assert_eq!(results[1].outcome(), Outcome::Applied);
    let impossible = withdrawal("+90532", "", "", START);
    let results = record(&server, vec![impossible]).await;
    assert_eq!(results[0].rejection.clone().unwrap().code(), RejectCode::InvalidAddress);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_events_are_taken_and_one_more_refuses_them_all() {
    let server = TestServer::start().await;
    let events = |count: usize| -> Vec<ConsentEvent> {
        (0..count).map(|i| grant(&format!("+90537{i:07}"), START)).collect()
    };
    let status = server.consent().record(RecordRequest { events: events(1_001) }).await;
    let suppressions = vec![Suppression::default(); 1_001];
    let suppressed = server.consent().suppress(SuppressRequest { suppressions }).await;
    let lifted = server.consent().lift(LiftRequest { lifts: vec![Lift::default(); 1_001] }).await;
    let refusals = [
        ("events", status.unwrap_err()),
        ("suppressions", suppressed.unwrap_err()),
        ("lifts", lifted.unwrap_err()),
    ];
    for (field, status) in refusals {
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.domain.as_str(), info.metadata["field"].as_str()), ("sendgate", field));
    }
    assert_eq!(verdict(&server, "+905370000000").await, Reason::NoConsent);
    let results = record(&server, events(1_000)).await;
    assert_eq!(results.len(), 1_000);
    assert!(results.iter().all(|result| result.outcome() == Outcome::Applied));
}

fn suppression(reason: Reason) -> Suppression {
    Suppression {
        brand: "main".to_owned(),
        contact: Some(phone(NUMBER)),
        reason: reason.into(),
        since: at(START - 2),
        expires_at_ms: (reason == Reason::SoftBounce).then_some(START + 60 * MINUTE),
        ..Suppression::default()
    }
}

fn lift(reason: Reason, role: ActorRole) -> Lift {
    Lift {
        brand: "main".to_owned(),
        contact: Some(phone(NUMBER)),
        reason: reason.into(),
        time: at(START - 1),
        actor: Some(Actor { role: role.into(), id: String::new() }),
        ..Lift::default()
    }
}

/// The table of R7, by its last column. Who does not say who they are lifts nothing.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_roles_of_the_table_may_lift() {
    let server = TestServer::start().await;
    let both: &[ActorRole] = &[ActorRole::Staff, ActorRole::System];
    let staff: &[ActorRole] = &[ActorRole::Staff];
    let system: &[ActorRole] = &[ActorRole::System];
    let table = [
        (Reason::LegalBlock, staff),
        (Reason::Restricted, staff),
        (Reason::InvalidAddress, both),
        (Reason::LineClosed, both),
        (Reason::HardBounce, both),
        (Reason::SpamComplaint, both),
        (Reason::ManualBlock, staff),
        (Reason::Objected, staff),
        (Reason::SoftBounce, system),
    ];
    for (reason, allowed) in table {
        let suppressions = vec![suppression(reason)];
        let response = server.consent().suppress(SuppressRequest { suppressions }).await.unwrap();
        assert_eq!(response.into_inner().results[0].outcome(), Outcome::Applied);
        let roles = (0..=4).map(|role| ActorRole::try_from(role).unwrap());
        let (may, may_not): (Vec<_>, Vec<_>) = roles.partition(|role| allowed.contains(role));
        let lifts = |roles: Vec<ActorRole>| LiftRequest {
            lifts: roles.into_iter().map(|role| lift(reason, role)).collect(),
        };
        let refused = server.consent().lift(lifts(may_not)).await.unwrap().into_inner();
        for result in refused.results {
            let rejection = result.rejection.unwrap();
            assert_eq!(rejection.code(), RejectCode::NotAllowed, "{reason:?}");
            assert_eq!(rejection.field, "actor.role");
        }
        assert_eq!(verdict(&server, NUMBER).await, reason, "it must still stand");
        let lifted = server.consent().lift(lifts(may)).await.unwrap().into_inner();
        assert!(lifted.results.iter().all(|result| result.rejection.is_none()), "{reason:?}");
        assert_eq!(verdict(&server, NUMBER).await, Reason::NoConsent, "{reason:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_suppression_or_lift_is_rejected_by_field() {
    let server = TestServer::start().await;
    let good = || suppression(Reason::HardBounce);
    let suppressions = [
        ("reason", suppression(Reason::Unspecified)),
        ("reason", suppression(Reason::Permitted)),
        // Only an erasure erases.
        ("reason", suppression(Reason::Erased)),
        ("reason", suppression(Reason::OptedOut)),
        ("expires_at_ms", Suppression { expires_at_ms: None, ..suppression(Reason::SoftBounce) }),
        ("note", Suppression { note: "n".repeat(1_025), ..good() }),
        ("brand", Suppression { brand: "mian".to_owned(), ..good() }),
        ("channel", Suppression { channel: "smss".to_owned(), ..good() }),
        ("contact", Suppression { contact: None, ..good() }),
    ];
    let due = suppressions.each_ref().map(|(field, _)| *field);
    let suppressions = suppressions.map(|(_, suppression)| suppression).to_vec();
    let response = server.consent().suppress(SuppressRequest { suppressions }).await.unwrap();
    let results = response.into_inner().results;
    assert_eq!(results.iter().map(rejected_field).collect::<Vec<_>>(), due);

    let by_staff = |reason| lift(reason, ActorRole::Staff);
    let ahead = Lift { time: at(START + 5 * MINUTE + 1), ..by_staff(Reason::HardBounce) };
    let lifts = [
        ("time", Lift { time: None, ..by_staff(Reason::HardBounce) }),
        ("time", ahead),
        ("channel", Lift { channel: "sms".to_owned(), ..by_staff(Reason::Erased) }),
        ("reason", by_staff(Reason::NoConsent)),
    ];
    let due = lifts.each_ref().map(|(field, _)| *field);
    let lifts = lifts.map(|(_, lift)| lift).to_vec();
    let response = server.consent().lift(LiftRequest { lifts }).await.unwrap().into_inner();
    assert_eq!(response.results.iter().map(rejected_field).collect::<Vec<_>>(), due);
    assert_eq!(verdict(&server, NUMBER).await, Reason::NoConsent);
}

fn rejected_field(result: &v1::EventResult) -> &str {
    assert_eq!(result.outcome(), Outcome::Rejected);
    &result.rejection.as_ref().unwrap().field
}
