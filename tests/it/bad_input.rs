//! Bad questions: each gets its named code, and nobody is permitted by accident.

use roaring::RoaringTreemap;
use sendgate::proto::v1::{
    self, AnswerForm, BatchErrorCode, ContactKind, FilterOptions, Reason, RecipientBatch,
    RecipientType, RecordRequest, filter_request,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{
    Asking, START, TestServer, batch_error, grant, lines, options, phone, phones, reasons, scope,
};

const GRANTED: u64 = 905_321_234_567;

async fn server() -> TestServer {
    let server = TestServer::start().await;
    let events = vec![grant("+905321234567", START)];
    server.consent().record(RecordRequest { events }).await.unwrap();
    server
}

fn asked() -> FilterOptions {
    options(ContactKind::Phone, "sms", AnswerForm::Reasons)
}

/// Every error of ours says that it is ours: a bare code may come from anything
/// between client and server, and promises nothing.
fn assert_ours(status: &Status, code: Code, reason: &str) {
    assert_eq!(status.code(), code, "{status}");
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("sendgate", reason), "{status}");
}

/// INVALID_ARGUMENT that names the field, for people and for programs.
fn assert_invalid(status: &Status, field: &str) {
    assert_ours(status, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert!(status.message().starts_with(&format!("{field}:")), "{status}");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations.iter().map(|each| each.field.as_str()).collect::<Vec<_>>(), [field]);
}

/// The status that ends a stream with these options, before any batch.
async fn refused(server: &TestServer, options: FilterOptions) -> Status {
    Asking::open(server, options).await.next().await.expect_err("the options must be refused")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undeclared_brand_channel_or_purpose_is_not_found_by_name() {
    let server = server().await;
    let individual = RecipientType::Individual;
    let cases = [
        ("mian", scope(individual, "sms", "marketing"), "mian"),
        ("", scope(individual, "sms", "marketing"), ""),
        ("*", scope(individual, "sms", "marketing"), "*"),
        ("main", scope(individual, "smss", "marketing"), "smss"),
        ("main", scope(individual, "*", "marketing"), "*"),
        ("main", scope(individual, "sms", "marketting"), "marketting"),
        ("main", scope(individual, "sms", ""), ""),
        ("main", scope(individual, "SMS", "marketing"), "SMS"),
    ];
    for (brand, scope, name) in cases {
        let options =
            FilterOptions { brand: brand.to_owned(), scopes: vec![scope.clone()], ..asked() };
        let check = v1::CheckRequest {
            brand: brand.to_owned(),
            scope: Some(scope),
            contact: Some(phone("+905321234567")),
            ..v1::CheckRequest::default()
        };
        let checked = server.filter().check(check).await.unwrap_err();
        for status in [refused(&server, options).await, checked] {
            assert_ours(&status, Code::NotFound, "NOT_DECLARED");
            assert!(status.message().contains(&format!("\"{name}\"")), "{name}: {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_options_are_refused_by_field() {
    let server = server().await;
    let one = scope(RecipientType::Individual, "sms", "marketing");
    let no_type = scope(RecipientType::Unspecified, "sms", "marketing");
    let cases = [
        ("scopes", FilterOptions { scopes: vec![], ..asked() }),
        ("scopes", FilterOptions { scopes: vec![one.clone(); 17], ..asked() }),
        ("scopes[1]", FilterOptions { scopes: vec![one.clone(), one.clone()], ..asked() }),
        ("scopes[1].recipient_type", FilterOptions { scopes: vec![one, no_type], ..asked() }),
        ("contact_kind", FilterOptions { contact_kind: 0, ..asked() }),
        ("contact_kind", FilterOptions { contact_kind: 77, ..asked() }),
        // The channel reaches phones; a list of anything else is a mistake.
        ("contact_kind", FilterOptions { contact_kind: ContactKind::Email.into(), ..asked() }),
        ("default_region", FilterOptions { default_region: "Turkey".to_owned(), ..asked() }),
        ("default_region", FilterOptions { default_region: "ZZ".to_owned(), ..asked() }),
        ("answer_form", FilterOptions { answer_form: 77, ..asked() }),
    ];
    for (field, options) in cases {
        assert_invalid(&refused(&server, options).await, field);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_come_first_and_once() {
    let server = server().await;
    let mut without = Asking::open_bare(server.filter()).await;
    let status = without.try_ask(phones(1, &[GRANTED])).await.unwrap_err();
    assert_invalid(&status, "options");

    let mut twice = Asking::open(&server, asked()).await;
    assert_eq!(reasons(&twice.ask(phones(1, &[GRANTED])).await), [Reason::Permitted]);
    twice.send(filter_request::Message::Options(asked())).await;
    assert_invalid(&twice.next().await.unwrap_err(), "options");
    assert!(twice.next().await.unwrap().is_none(), "the stream has ended");

    // A list that ends before it began is no list in which all is well.
    let nothing = server.filter().filter(tokio_stream::empty()).await.unwrap();
    assert_invalid(&nothing.into_inner().message().await.unwrap_err(), "options");

    let options = v1::FilterRequest { message: Some(filter_request::Message::Options(asked())) };
    let newer = [options, v1::FilterRequest { message: None }];
    let mut answers = server.filter().filter(tokio_stream::iter(newer)).await.unwrap().into_inner();
    assert_invalid(&answers.message().await.unwrap_err(), "message");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_without_contact_or_scope_is_refused_by_field() {
    let server = server().await;
    let whole = v1::CheckRequest {
        brand: "main".to_owned(),
        scope: Some(scope(RecipientType::Individual, "sms", "marketing")),
        contact: Some(phone("+905321234567")),
        ..v1::CheckRequest::default()
    };
    let no_kind = v1::Contact { kind: 0, ..phone("+905321234567") };
    let cases = [
        ("contact", v1::CheckRequest { contact: None, ..whole.clone() }),
        ("scope", v1::CheckRequest { scope: None, ..whole.clone() }),
        ("contact.kind", v1::CheckRequest { contact: Some(no_kind), ..whole.clone() }),
    ];
    for (field, request) in cases {
        assert_invalid(&server.filter().check(request).await.unwrap_err(), field);
    }
    // A number that is no number is a verdict, as in a batch.
    let request = v1::CheckRequest { contact: Some(phone("yok")), ..whole };
    let response = server.filter().check(request).await.unwrap().into_inner();
    assert_eq!((response.permitted, response.reason()), (false, Reason::InvalidRecipient));
}

/// A portable bitmap of `maps` × 2^32 members in runs: under a megabyte each.
fn everybody(maps: u32) -> Vec<u8> {
    let mut bytes = u64::from(maps).to_le_bytes().to_vec();
    for map in 0..maps {
        bytes.extend(map.to_le_bytes());
        bytes.extend((0xffff_u32 << 16 | 12_347).to_le_bytes());
        bytes.extend([0xff; 8_192]);
        let cardinality = 0xffff_u16.to_le_bytes();
        (0..=0xffff_u16).for_each(|key| bytes.extend([key.to_le_bytes(), cardinality].concat()));
        let first = 4 + 8_192 + 2 * 4 * 65_536;
        (0..65_536_u32).for_each(|at| bytes.extend((first + 6 * at).to_le_bytes()));
        (0..65_536).for_each(|_| bytes.extend([1, 0, 0, 0, 0xff, 0xff]));
    }
    bytes
}

fn with_roaring(bytes: impl Into<bytes::Bytes>) -> RecipientBatch {
    RecipientBatch { roaring: bytes.into(), ..RecipientBatch::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_batch_is_refused_with_its_code_and_the_stream_lives() {
    use BatchErrorCode::{BadRoaring, CountMismatch, SeveralColumns, TooManyRecipients, WrongKind};
    let server = server().await;
    let column = || phones(1, &[GRANTED]);
    let line = || lines(1, &["+905321234567"]);
    let mut audience = Vec::new();
    RoaringTreemap::from_iter([GRANTED]).serialize_into(&mut audience).unwrap();
    let with = |batch: RecipientBatch, count| RecipientBatch { count, ..batch };
    let cut = |by| audience[..audience.len() - by].to_vec();
    let cases = [
        (SeveralColumns, "", RecipientBatch { contact_ids: (&[1_u64][..]).into(), ..column() }),
        (SeveralColumns, "", RecipientBatch { lines: "x".into(), count: 1, ..column() }),
        (SeveralColumns, "", RecipientBatch { roaring: audience.clone().into(), ..line() }),
        (WrongKind, "contact_ids", RecipientBatch { phones: Default::default(), ..ids() }),
        (CountMismatch, "count", with(line(), 0)),
        (CountMismatch, "count", with(line(), 2)),
        (CountMismatch, "count", with(lines(1, &["a", "b"]), 1)),
        (CountMismatch, "count", with(column(), 2)),
        (CountMismatch, "count", with(RecipientBatch::default(), 1)),
        (BadRoaring, "roaring", with_roaring("garbage")),
        (BadRoaring, "roaring", with_roaring(vec![0xff; 4_096])),
        (BadRoaring, "roaring", with_roaring(vec![0; 7])),
        (BadRoaring, "roaring", with_roaring([audience.clone(), vec![0]].concat())),
        (BadRoaring, "roaring", with_roaring(cut(1))),
        (BadRoaring, "roaring", with_roaring(cut(audience.len() - 8))),
        (TooManyRecipients, "roaring", with_roaring(everybody(1))),
        (TooManyRecipients, "roaring", with_roaring(everybody(3))),
    ];
    let mut stream = Asking::open(&server, asked()).await;
    for (number, (code, field, batch)) in cases.into_iter().enumerate() {
        let answer = stream.ask(batch).await;
        assert_eq!(batch_error(&answer), code, "case {number}: {answer:?}");
        assert_eq!(answer.error.unwrap().field, field, "case {number}");
        let next = stream.ask(with(column(), 1)).await;
        assert_eq!(reasons(&next), [Reason::Permitted], "after case {number}");
    }

    let emails = options(ContactKind::Email, "email", AnswerForm::Reasons);
    let mut stream = Asking::open(&server, emails).await;
    for (field, batch) in
        [("phones", column()), ("contact_ids", ids()), ("roaring", with_roaring(audience))]
    {
        let answer = stream.ask(batch).await;
        assert_eq!(batch_error(&answer), WrongKind, "{field}");
        assert_eq!(answer.error.unwrap().field, field);
    }
}

fn ids() -> RecipientBatch {
    RecipientBatch { contact_ids: (&[GRANTED][..]).into(), ..RecipientBatch::default() }
}

/// Damage to a valid audience at every byte: an answer or a refusal, and in an
/// answer nobody who was not asked about.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_audience_permits_nobody_else() {
    let server = server().await;
    let mut audience = Vec::new();
    let members: RoaringTreemap = (GRANTED - 3..GRANTED + 3).chain([7, 1 << 40]).collect();
    members.serialize_into(&mut audience).unwrap();
    let mut stream = Asking::open(&server, asked()).await;
    let mut refused = 0;
    for at in 0..audience.len() {
        for bit in [0x01, 0x80] {
            let mut damaged = audience.clone();
            damaged[at] ^= bit;
            let answer = stream.ask(with_roaring(damaged)).await;
            let Some(scope) = answer.scopes.first() else {
                refused += 1;
                continue;
            };
            let permitted = RoaringTreemap::deserialize_from(&scope.permitted[..]).unwrap();
            assert!(permitted.is_subset(&RoaringTreemap::from_iter([GRANTED])), "byte {at}");
            assert_eq!(scope.reasons.len(), scope.recipients as usize);
        }
    }
    assert!(refused > 0, "some damage must be noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_no_address_is_one_suppressed_slot() {
    let server = server().await;
    let mut stream = Asking::open(&server, asked()).await;
    let bad: [&[u8]; 14] = [
        b"",
        b"   ",
        b"\xff\xfe\x00\x80",
        b"0532 123 45 \xc3",
        b"yok",
        b"0532",
        b"+90",
        b"5321234567.0",
        b"9.05321E+11",
        b"0532 123 45 67 dahili 5",
        b"0532 123 45 67\x00",
        b"+999123456789",
        b"person@example.com",
        "٠٥٣٢١٢٣٤٥٦٧".as_bytes(),
    ];
    let good: &[u8] = b"0532 123 45 67";
    // Between good ones, so that a slot too many or too few would show.
    let text: Vec<&[u8]> = bad.iter().flat_map(|line| [good, *line]).collect();
    let expected = bad.iter().flat_map(|_| [Reason::Permitted, Reason::InvalidRecipient]);
    let answer = stream.ask(lines(1, &text)).await;
    assert_eq!(reasons(&answer), expected.collect::<Vec<_>>());

    // Line ends of other systems, and a last line without one.
    let batch = RecipientBatch {
        lines: "0532 123 45 67\r\n\r\n0532 123 45 67".into(),
        count: 3,
        ..RecipientBatch::default()
    };
    let expected = [Reason::Permitted, Reason::InvalidRecipient, Reason::Permitted];
    assert_eq!(reasons(&stream.ask(batch).await), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_integer_that_is_no_phone_number_is_never_permitted() {
    let server = server().await;
    let out_of_range = [0, 1, 999_999, 1_000_000_000_000_000, u64::MAX - 1, u64::MAX];
    // Within 7 to 15 digits, but of no country, or of a length that none has.
    let implausible = [9_991_234_567, 2_101_234_567_890, 9_053_212, 90_532_123_456];
    let strangers = [905_321_234_568, 4_740_612_345];
    let numbers = [&out_of_range[..], &implausible, &strangers].concat();
    for (recipient_type, purpose) in [
        (RecipientType::Individual, "marketing"),
        (RecipientType::Merchant, "marketing"),
        (RecipientType::Individual, "transactional"),
    ] {
        let options =
            FilterOptions { scopes: vec![scope(recipient_type, "sms", purpose)], ..asked() };
        let opt_in = (recipient_type, purpose) == (RecipientType::Individual, "marketing");
        // Where unknown is refused anyway, the cheap test of the range is enough.
        let (implausible_due, stranger_due) = match opt_in {
            true => (Reason::NoConsent, Reason::NoConsent),
            false => (Reason::InvalidRecipient, Reason::Permitted),
        };
        let due = [
            vec![Reason::InvalidRecipient; out_of_range.len()],
            vec![implausible_due; implausible.len()],
            vec![stranger_due; strangers.len()],
        ];
        let mut stream = Asking::open(&server, options).await;
        let answer = stream.ask(phones(1, &numbers)).await;
        assert_eq!(reasons(&answer), due.concat(), "{recipient_type:?} {purpose}");

        let mut bytes = Vec::new();
        let members: RoaringTreemap = numbers.iter().copied().collect();
        members.serialize_into(&mut bytes).unwrap();
        let answer = stream.ask(with_roaring(bytes)).await;
        let mut paired: Vec<_> = numbers.iter().copied().zip(due.concat()).collect();
        paired.sort_unstable();
        let due: Vec<Reason> = paired.into_iter().map(|(_, reason)| reason).collect();
        assert_eq!(reasons(&answer), due, "{recipient_type:?} {purpose} as an audience");
    }
}
