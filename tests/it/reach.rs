//! Counts without a list, held against counts by hand and by filter.

use sendgate::proto::v1::{
    self, AnswerForm, ConsentStatus, ContactKind, ReachCount, ReachQuery, ReachRequest,
    RecipientType, Scope,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{Asking, START, TestServer, grant, lines, options, scope};

const PEOPLE: u64 = 600;

/// Consents of contact IDs for push, by purpose and who they are of: marketing of
/// every second private person, newsletter of every third. Every fifth contact
/// withdrew marketing for both types.
fn says(i: u64) -> Vec<(&'static str, RecipientType, ConsentStatus)> {
    let (individual, granted) = (RecipientType::Individual, ConsentStatus::Granted);
    let mut said = Vec::new();
    if i.is_multiple_of(2) {
        said.push(("marketing", individual, granted));
    }
    if i.is_multiple_of(3) {
        said.push(("newsletter", individual, granted));
    }
    if i.is_multiple_of(5) {
        said.push(("marketing", RecipientType::Unspecified, ConsentStatus::Withdrawn));
    }
    said
}

fn may_market(i: u64) -> bool {
    i.is_multiple_of(2) && !i.is_multiple_of(5)
}

fn contact(i: u64) -> v1::Contact {
    let address = (i * 1_000_003).to_string();
    v1::Contact { kind: ContactKind::ContactId.into(), address, ..v1::Contact::default() }
}

async fn server() -> TestServer {
    let server = TestServer::start().await;
    let events = (0..PEOPLE).flat_map(|i| {
        let event = move |(purpose, recipient_type, status)| v1::ConsentEvent {
            contact: Some(contact(i)),
            recipient_type: RecipientType::into(recipient_type),
            channel: "push".to_owned(),
            purpose: str::to_owned(purpose),
            status: ConsentStatus::into(status),
            ..grant("", START)
        };
        says(i).into_iter().map(event)
    });
    let request = v1::RecordRequest { events: events.collect() };
    let response = server.consent().record(request).await.unwrap().into_inner();
    assert!(response.results.iter().all(|result| result.rejection.is_none()));
    server
}

fn individual(purpose: &str) -> Scope {
    scope(RecipientType::Individual, "push", purpose)
}

fn merchant(purpose: &str) -> Scope {
    scope(RecipientType::Merchant, "push", purpose)
}

fn query(permitted: &[&Scope], suppressed: &[&Scope]) -> ReachQuery {
    let owned = |scopes: &[&Scope]| scopes.iter().copied().cloned().collect();
    ReachQuery { permitted: owned(permitted), suppressed: owned(suppressed) }
}

fn request(queries: Vec<ReachQuery>) -> ReachRequest {
    ReachRequest {
        brand: "main".to_owned(),
        contact_kind: ContactKind::ContactId.into(),
        queries,
        minimum_revision: None,
    }
}

async fn ask(server: &TestServer, request: ReachRequest) -> Result<v1::ReachResponse, Status> {
    server.filter().reach(request).await.map(tonic::Response::into_inner)
}

fn counted(contacts: u64) -> ReachCount {
    ReachCount { contacts, unbounded: false }
}

fn people(is_counted: impl Fn(u64) -> bool) -> ReachCount {
    counted((0..PEOPLE).filter(|i| is_counted(*i)).count() as u64)
}

#[tokio::test(flavor = "multi_thread")]
async fn permitted_contacts_are_counted_in_scopes_and_across_them() {
    let server = server().await;
    let unbounded = ReachCount { contacts: 0, unbounded: true };
    let marketing = individual("marketing");
    let newsletter = individual("newsletter");
    // Merchants are permitted until they refuse: opt_out.
    let open = merchant("marketing");
    let exempt = individual("transactional");
    let cases = [
        (query(&[&marketing], &[]), people(may_market)),
        (query(&[&newsletter], &[]), people(|i| i % 3 == 0)),
        (query(&[&marketing, &newsletter], &[]), people(|i| may_market(i) && i % 3 == 0)),
        // May get the newsletter, may not get marketing.
        (query(&[&newsletter], &[&marketing]), people(|i| i % 3 == 0 && !may_market(i))),
        (query(&[&newsletter, &open], &[]), people(|i| i % 3 == 0 && i % 5 != 0)),
        (query(&[&newsletter], &[&open]), people(|i| i % 15 == 0)),
        (query(&[], &[&open]), people(|i| i % 5 == 0)),
        (query(&[&exempt], &[&open]), people(|i| i % 5 == 0)),
        (query(&[&marketing], &[&marketing]), counted(0)),
        (query(&[&open], &[&open]), counted(0)),
        // Nobody said anything of tracking.
        (query(&[&individual("tracking")], &[]), counted(0)),
        (query(&[&marketing], &[&exempt]), counted(0)),
        (query(&[&open], &[]), unbounded),
        (query(&[&exempt, &open], &[&marketing]), unbounded),
        (query(&[], &[&marketing, &newsletter]), unbounded),
    ];
    let (queries, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    let response = ask(&server, request(queries)).await.unwrap();
    assert_eq!(response.counts, expected);
    assert_eq!((response.as_of_ms, response.policy_version.as_str()), (START, "starter-1"));
    // The same as filtering all of them finds, at the same revision.
    let asked = options(ContactKind::ContactId, "push", AnswerForm::PermittedBits);
    let mut stream = Asking::open(&server, asked).await;
    let everybody: Vec<String> = (0..PEOPLE).map(|i| contact(i).address).collect();
    let answer = stream.ask(lines(1, &everybody)).await;
    assert_eq!(u64::from(answer.scopes[0].permitted_count), response.counts[0].contacts);
    assert_eq!(answer.revision, response.revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_cannot_be_made_is_refused_by_field() {
    let server = TestServer::start().await;
    let one = || query(&[&individual("marketing")], &[]);
    let many = |count| query(&vec![&individual("marketing"); count], &[]);
    let untyped = Scope { recipient_type: 0, ..individual("marketing") };
    let sms = scope(RecipientType::Individual, "sms", "marketing");
    for (field, queries) in [
        ("queries", vec![]),
        ("queries", vec![one(); 65]),
        ("queries[1]", vec![one(), query(&[], &[])]),
        ("queries[1]", vec![one(), many(17)]),
        ("queries[0].suppressed[1].recipient_type", {
            vec![query(&[], &[&individual("marketing"), &untyped])]
        }),
        // Phones have no contact IDs: consent belongs to the address.
        ("contact_kind", vec![query(&[&individual("marketing")], &[&sms])]),
    ] {
        let status = ask(&server, request(queries)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status:?}");
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, field);
    }
    let missing = request(vec![one(), query(&[&individual("marketting")], &[])]);
    assert_eq!(ask(&server, missing).await.unwrap_err().code(), Code::NotFound);
    let full = ask(&server, request(vec![many(16); 64])).await.unwrap();
    assert_eq!(full.counts, vec![counted(0); 64]);
}
