//! Several scopes in one pass: each answered as a stream of its own would be.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use roaring::RoaringTreemap;
use sendgate::{
    domain::policy::STARTER,
    proto::v1::{
        self, AnswerForm, ApplyPolicyRequest, BatchErrorCode, ConsentStatus, ContactKind, Reason,
        RecipientBatch, RecipientType, Scope, ScopeAnswer, SuppressRequest,
    },
};

use crate::support::{
    Asking, START, TestServer, at, batch_error, grant, lines, options, phones, scope,
};

const KINDS: [ContactKind; 4] =
    [ContactKind::Phone, ContactKind::Email, ContactKind::ContactId, ContactKind::ExternalId];
const TYPES: [RecipientType; 2] = [RecipientType::Individual, RecipientType::Merchant];
const PURPOSES: [&str; 4] = ["marketing", "newsletter", "tracking", "transactional"];
/// Contacts of each kind that something may be recorded of.
const KNOWN: u64 = 150;

fn channels(kind: ContactKind) -> &'static [&'static str] {
    match kind {
        ContactKind::Phone => &["sms", "call"],
        ContactKind::Email => &["email"],
        _ => &["push"],
    }
}

/// Scopes of every regime: sixteen for phones, eight for the others.
fn scopes(kind: ContactKind) -> Vec<Scope> {
    let channels = channels(kind).iter();
    let of_channel = |channel| {
        PURPOSES.into_iter().flat_map(move |purpose| TYPES.map(|it| scope(it, channel, purpose)))
    };
    channels.flat_map(|channel| of_channel(*channel)).collect()
}

fn number(kind: ContactKind, i: u64) -> u64 {
    if kind == ContactKind::Phone { 905_320_000_000 + i } else { i.wrapping_mul(0x9e37_79b9_7f4a) }
}

fn address(kind: ContactKind, i: u64) -> String {
    match kind {
        ContactKind::Phone => format!("+{}", number(kind, i)),
        ContactKind::Email => format!("person{i}@example.com"),
        ContactKind::ContactId => number(kind, i).to_string(),
        _ => format!("customer/{i}"),
    }
}

fn pick<T: Copy>(random: &mut StdRng, from: &[T]) -> T {
    from[random.random_range(0..from.len())]
}

/// A server that was told at random of every kind, level and suppression.
async fn server(random: &mut StdRng) -> TestServer {
    let server = TestServer::start().await;
    for kind in KINDS {
        let contact = |i| v1::Contact {
            kind: kind.into(),
            address: address(kind, i),
            default_region: String::new(),
        };
        let event = |random: &mut StdRng| {
            let granted = random.random_bool(0.7);
            let purpose =
                if granted || random.random_bool(0.7) { pick(random, &PURPOSES) } else { "" };
            v1::ConsentEvent {
                contact: Some(contact(random.random_range(0..KNOWN))),
                recipient_type: pick(random, &TYPES).into(),
                channel: pick(random, channels(kind)).to_owned(),
                purpose: purpose.to_owned(),
                status: if granted { ConsentStatus::Granted } else { ConsentStatus::Withdrawn }
                    .into(),
                ..grant("", START - random.random_range(0..1_000_000))
            }
        };
        let events = (0..900).map(|_| event(random)).collect();
        let recorded = server.consent().record(v1::RecordRequest { events }).await.unwrap();
        assert!(recorded.into_inner().results.iter().all(|result| result.rejection.is_none()));
        let suppression = |random: &mut StdRng| v1::Suppression {
            brand: "main".to_owned(),
            contact: Some(contact(random.random_range(0..KNOWN))),
            channel: pick(random, &["", channels(kind)[0]]).to_owned(),
            reason: pick(random, &[Reason::HardBounce, Reason::Objected, Reason::Restricted])
                .into(),
            since: at(START - random.random_range(0..1_000_000)),
            ..v1::Suppression::default()
        };
        let suppressions = (0..30).map(|_| suppression(random)).collect();
        let set = server.consent().suppress(SuppressRequest { suppressions }).await.unwrap();
        assert!(set.into_inner().results.iter().all(|result| result.rejection.is_none()));
    }
    server
}

/// Known, unknown and impossible recipients, some of them several times.
fn list(random: &mut StdRng, kind: ContactKind, size: usize) -> Vec<u64> {
    let one = |random: &mut StdRng| match random.random_range(0..20) {
        // No number; a country that does not exist.
        0 => pick(random, &[0, 5, 999_999_999_999, u64::MAX]),
        1 => number(kind, random.random_range(KNOWN..10 * KNOWN)),
        _ => number(kind, random.random_range(0..KNOWN)),
    };
    (0..size).map(|_| one(random)).collect()
}

/// The same recipients in every form that the kind can have.
fn batches(random: &mut StdRng, kind: ContactKind, size: usize) -> Vec<RecipientBatch> {
    let texts = (0..size).map(|_| match random.random_range(0..10) {
        0 => pick(random, &["", "x", "a@b", "+999999999999", "\u{7}"]).to_owned(),
        _ => address(kind, random.random_range(0..2 * KNOWN)),
    });
    let mut batches = vec![lines(1, &texts.collect::<Vec<_>>())];
    if matches!(kind, ContactKind::Phone | ContactKind::ContactId) {
        let numbers = list(random, kind, size);
        batches.push(match kind {
            ContactKind::Phone => phones(2, &numbers),
            _ => contact_ids(2, &numbers),
        });
        batches.push(audience(3, list(random, kind, size)));
    }
    batches
}

fn contact_ids(batch_id: u64, ids: &[u64]) -> RecipientBatch {
    RecipientBatch { batch_id, contact_ids: ids.into(), ..RecipientBatch::default() }
}

fn audience(batch_id: u64, members: impl IntoIterator<Item = u64>) -> RecipientBatch {
    let mut bytes = Vec::new();
    members.into_iter().collect::<RoaringTreemap>().serialize_into(&mut bytes).unwrap();
    RecipientBatch { batch_id, roaring: bytes.into(), ..RecipientBatch::default() }
}

fn asking(kind: ContactKind, scopes: &[Scope], form: AnswerForm, once: bool) -> v1::FilterOptions {
    v1::FilterOptions { scopes: scopes.to_vec(), deduplicate: once, ..options(kind, "", form) }
}

const FORMS: [AnswerForm; 2] = [AnswerForm::PermittedBits, AnswerForm::Reasons];

#[tokio::test(flavor = "multi_thread")]
async fn many_scopes_are_answered_as_each_would_be_alone() {
    let mut random = StdRng::seed_from_u64(16);
    let server = server(&mut random).await;
    for kind in KINDS {
        let scopes = scopes(kind);
        for (form, once) in FORMS.into_iter().flat_map(|form| [(form, false), (form, true)]) {
            let asked: Vec<RecipientBatch> =
                [0, 1, 63, 700].iter().flat_map(|size| batches(&mut random, kind, *size)).collect();
            let mut together = Asking::open(&server, asking(kind, &scopes, form, once)).await;
            let mut alone = Vec::new();
            for scope in &scopes {
                let one = std::slice::from_ref(scope);
                alone.push(Asking::open(&server, asking(kind, one, form, once)).await);
            }
            for batch in asked {
                let answer = together.ask(batch.clone()).await;
                let mut expected = Vec::new();
                for stream in &mut alone {
                    let single = stream.ask(batch.clone()).await;
                    assert_eq!(single.revision, answer.revision);
                    let [scope] = <[ScopeAnswer; 1]>::try_from(single.scopes).unwrap();
                    expected.push(scope);
                }
                assert_eq!(answer.scopes, expected, "{kind:?}, {form:?}, once {once}");
            }
            let summary = together.end().await;
            let mut expected = Vec::new();
            for stream in alone {
                expected.extend(stream.end().await.scopes);
            }
            assert_eq!(summary.scopes, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_is_permitted_once_in_each_scope() {
    let server = TestServer::start().await;
    let record = async |purpose: &str| {
        let event =
            v1::ConsentEvent { purpose: purpose.to_owned(), ..grant("+905321234567", START) };
        let request = v1::RecordRequest { events: vec![event] };
        let response = server.consent().record(request).await.unwrap().into_inner();
        assert!(response.results[0].rejection.is_none(), "{response:?}");
    };
    let both =
        ["marketing", "newsletter"].map(|purpose| scope(RecipientType::Individual, "sms", purpose));
    let asked = asking(ContactKind::Phone, &both, AnswerForm::Reasons, true);
    let mut stream = Asking::open(&server, asked).await;
    let mut ask = async |batch_id| {
        let answer = stream.ask(phones(batch_id, &[905_321_234_567])).await;
        [0, 1].map(|scope| Reason::try_from(i32::from(answer.scopes[scope].reasons[0])).unwrap())
    };
    record("marketing").await;
    assert_eq!(ask(1).await, [Reason::Permitted, Reason::NoConsent]);
    record("newsletter").await;
    assert_eq!(ask(2).await, [Reason::Duplicate, Reason::Permitted]);
    assert_eq!(ask(3).await, [Reason::Duplicate, Reason::Duplicate]);
}

/// Holds a batch just inside a limit to be answered, and one just outside to be
/// refused by the limit's name, on a stream that lives.
async fn check_limit(
    stream: &mut Asking,
    inside: RecipientBatch,
    outside: RecipientBatch,
    limit: &str,
) {
    for (batch, is_inside) in [(inside, true), (outside, false)] {
        let answer = stream.ask(batch).await;
        if is_inside {
            assert_eq!(answer.error, None);
        } else {
            assert_eq!(batch_error(&answer), BatchErrorCode::TooManyRecipients);
            let error = answer.error.unwrap();
            assert!(error.message.contains(limit), "{error:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recipients_times_scopes_are_bounded_where_answers_are_long() {
    let server = TestServer::start().await;
    let limit = "2097152";
    let sixteen = scopes(ContactKind::Phone);
    let most = 2_097_152 / sixteen.len() as u64;
    let numbers =
        |count: u64| (0..count).map(|i| number(ContactKind::Phone, i)).collect::<Vec<_>>();
    let asked = |form| asking(ContactKind::Phone, &sixteen, form, false);

    let mut stream = Asking::open(&server, asked(AnswerForm::Reasons)).await;
    let column = |count| phones(1, &numbers(count));
    check_limit(&mut stream, column(most - 1), column(most + 1), limit).await;
    check_limit(&mut stream, column(most), column(262_144), limit).await;
    let texts = |count| lines(1, &vec!["x"; count as usize]);
    check_limit(&mut stream, texts(most), texts(most + 1), limit).await;
    let members = |count| audience(1, numbers(count));
    check_limit(&mut stream, members(most), members(most + 1), limit).await;
    assert_eq!(stream.end().await.refused_batches, 4);

    // A bit each is short: a full column is answered, and an audience is bounded.
    let mut stream = Asking::open(&server, asked(AnswerForm::PermittedBits)).await;
    let answer = stream.ask(column(262_144)).await;
    assert!(answer.scopes.iter().all(|scope| scope.permitted.len() == 262_144 / 8));
    check_limit(&mut stream, members(most), members(most + 1), limit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_an_audience_times_scopes_are_bounded_and_the_largest_answer_arrives() {
    let server = TestServer::start().await;
    // All of them permit the unknown, so that all members come back.
    let permitting = [
        scope(RecipientType::Merchant, "push", "marketing"),
        scope(RecipientType::Individual, "push", "transactional"),
        scope(RecipientType::Merchant, "push", "transactional"),
    ];
    let cap: usize = 6 << 20;
    // Each member has a bitmap of its own, of 22 bytes; then a second member of
    // one of them takes two.
    let size = cap / permitting.len();
    let maps = (size - 8) / 22;
    let of_size = |size: usize| {
        let fill = (size - 8 - maps * 22) / 2;
        let spread = (0..maps as u64).map(|i| i << 32);
        let batch = audience(1, spread.chain(1..=fill as u64));
        assert_eq!(batch.roaring.len(), size);
        batch
    };
    for form in FORMS {
        let asked = asking(ContactKind::ContactId, &permitting, form, false);
        let mut stream = Asking::open(&server, asked).await;
        check_limit(&mut stream, of_size(size), of_size(size + 2), "6291456").await;
        let answer = stream.ask(of_size(size)).await;
        for scope in &answer.scopes {
            assert_eq!(scope.permitted.len(), size);
            assert_eq!(scope.recipients, scope.permitted_count);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_refused_whole_while_one_of_its_scopes_is_gone() {
    let server = TestServer::start().await;
    let three = ["marketing", "tracking", "transactional"]
        .map(|purpose| scope(RecipientType::Individual, "sms", purpose));
    let asked = asking(ContactKind::Phone, &three, AnswerForm::Reasons, true);
    let mut stream = Asking::open(&server, asked).await;
    let batch = |batch_id| phones(batch_id, &[905_321_234_567]);
    let expected = [Reason::NoConsent, Reason::NoConsent, Reason::Permitted];
    let apply = async |version: &str, drops: &str| {
        let toml = STARTER.replace("starter-1", version).replace(drops, "");
        let request =
            ApplyPolicyRequest { toml, drops_scopes: true, ..ApplyPolicyRequest::default() };
        server.admin().apply_policy(request).await.unwrap();
    };
    apply("2", "[purposes.tracking]\nindividual = \"opt_in\"\nmerchant = \"opt_in\"\n").await;
    let answer = stream.ask(batch(1)).await;
    assert_eq!(batch_error(&answer), BatchErrorCode::ScopeGone);
    let message = answer.error.unwrap().message;
    assert!(message.contains("individual/sms/tracking"), "{message}");
    apply("3", "nothing of it").await;
    // Nobody was permitted by the refused batch, so nobody is a duplicate.
    let answer = stream.ask(batch(2)).await;
    let reasons: Vec<i32> = answer.scopes.iter().map(|scope| i32::from(scope.reasons[0])).collect();
    assert_eq!(reasons, expected.map(|reason| reason as i32));
    let summary = stream.end().await;
    assert_eq!((summary.batches, summary.refused_batches), (1, 1));
}
