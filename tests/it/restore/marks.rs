//! Erasures replayed into a restored store: wherever a contact is known, however
//! the rows are ordered, and whatever came after, it is permitted no more often
//! than in the original.

use std::{collections::BTreeMap, fs, path::Path};

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use sendgate::{
    caps,
    proto::v1::{
        ActorRole, AnswerForm, ConsentEvent, Contact, ContactKind, EraseRequest, Erasure,
        FilterOptions, HistoryRequest, Lift, LiftRequest, Reason, RecipientType, Revision,
        SuppressRequest, Suppression,
    },
};

use super::{
    feed,
    story::{self, actor, apply_policy, policy, record, revision},
};
use crate::{
    backup::{back_up, command, restored, text},
    support::{
        Asking, HOUR, START, TestServer, at, grant, lines, options, phone, reasons, scope,
        verified, withdrawal,
    },
};

pub const ERASED: i64 = START + HOUR;
pub const LATER: i64 = START + 2 * HOUR;
const ASKED: i64 = START + 3 * HOUR;
const BRANDS: [&str; 2] = ["main", "second"];
/// Where a contact may be known before the backup.
const PLACES: [&str; 3] = ["main", "second", "*"];

/// What was recorded of a contact after its erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Later {
    Nothing,
    GrantInMain,
    GrantInSecond,
    /// And an older grant, which the withdrawal beats.
    Withdrawal,
    /// And an older grant, which the suppression beats.
    Complaint,
    /// Of all brands, and a grant.
    BlockInAll,
    /// Which is stated to be older than the erasure, and a grant.
    OlderBounce,
    LiftOfTheMark,
    /// In the other brand or in all, and a grant.
    AnotherErasure,
}

const LATER_ACTS: [Later; 9] = [
    Later::Nothing,
    Later::GrantInMain,
    Later::GrantInSecond,
    Later::Withdrawal,
    Later::Complaint,
    Later::BlockInAll,
    Later::OlderBounce,
    Later::LiftOfTheMark,
    Later::AnotherErasure,
];

/// A contact, and what happens to it.
#[derive(Clone, Debug)]
struct Case {
    contact: Contact,
    /// The brand erased in, or all.
    erased_in: &'static str,
    known_in: Vec<&'static str>,
    /// Whether what is known before the backup blocks, and outlives an erasure.
    is_blocked: bool,
    later: Later,
}

/// Every brand of an erasure × wherever the contact is known × what comes later.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for erased_in in ["main", "*"] {
        for known in 0..8 {
            let known_in = || PLACES.iter().enumerate().filter(|(at, _)| known >> at & 1 == 1);
            for later in LATER_ACTS {
                for is_blocked in [false, true] {
                    let number = cases.len();
                    let address = format!("+905331{number:06}");
                    // Kinds differ in how a contact is found, not in its marks.
                    let by_email = is_blocked && (number / 2) % 2 == 0;
                    let contact =
                        if by_email { story::email(number as u64) } else { phone(&address) };
                    let known_in = known_in().map(|(_, place)| *place).collect();
                    cases.push(Case { contact, erased_in, known_in, is_blocked, later });
                }
            }
        }
    }
    cases
}

impl Case {
    fn channel(&self) -> &'static str {
        if self.contact.kind() == ContactKind::Email { "email" } else { "sms" }
    }

    fn grant(&self, brand: &str, time: i64) -> ConsentEvent {
        ConsentEvent {
            brand: brand.to_owned(),
            contact: Some(self.contact.clone()),
            channel: self.channel().to_owned(),
            ..grant("", time)
        }
    }

    fn suppression(&self, brand: &str, reason: Reason, since: i64) -> Suppression {
        Suppression {
            brand: brand.to_owned(),
            contact: Some(self.contact.clone()),
            reason: reason.into(),
            since: at(since),
            ..Suppression::default()
        }
    }

    fn erasure(&self, brand: &str) -> Erasure {
        Erasure {
            brand: brand.to_owned(),
            contact: Some(self.contact.clone()),
            actor: actor(ActorRole::Staff),
            ..Erasure::default()
        }
    }
}

pub async fn suppress(server: &TestServer, suppressions: Vec<Suppression>) {
    let request = SuppressRequest { suppressions };
    let results = server.consent().suppress(request).await.unwrap().into_inner().results;
    assert!(results.iter().all(|result| result.rejection.is_none()));
}

async fn erase(server: &TestServer, erasures: Vec<Erasure>) {
    let request = EraseRequest { erasures };
    let results = server.consent().erase(request).await.unwrap().into_inner().results;
    assert!(results.iter().all(|result| result.rejection.is_none()));
}

/// A server with two brands.
async fn two_brands() -> TestServer {
    let server = TestServer::start().await;
    let toml = policy(&server).await.replace("starter-1", "two-brands") + "\n[brands.second]\n";
    apply_policy(&server, &toml).await;
    server
}

/// What is known before the backup.
async fn before(server: &TestServer, cases: &[Case]) {
    let (mut grants, mut blocks) = (Vec::new(), Vec::new());
    for case in cases {
        for place in &case.known_in {
            if *place != "*" {
                grants.push(case.grant(place, START - HOUR));
            }
            // What blocks nobody any more when it is asked.
            let over = Suppression {
                expires_at_ms: Some(START + HOUR / 2),
                ..case.suppression(place, Reason::SoftBounce, START)
            };
            let block = || case.suppression(place, Reason::LegalBlock, START - HOUR);
            blocks.push(if case.is_blocked { block() } else { over });
        }
    }
    record(server, grants).await;
    suppress(server, blocks).await;
}

/// What comes after it.
async fn after(server: &TestServer, cases: &[Case]) {
    server.set_clock(ERASED);
    erase(server, cases.iter().map(|case| case.erasure(case.erased_in)).collect()).await;
    server.set_clock(LATER);
    let (mut events, mut blocks, mut lifts) = (Vec::new(), Vec::new(), Vec::new());
    let mut erasures = Vec::new();
    let minute = HOUR / 60;
    for case in cases {
        let mut block = |brand, reason, since| blocks.push(case.suppression(brand, reason, since));
        match case.later {
            Later::Nothing => {}
            Later::GrantInMain => events.push(case.grant("main", LATER)),
            Later::GrantInSecond => events.push(case.grant("second", LATER)),
            Later::Withdrawal => {
                events.push(case.grant("main", LATER - minute));
                let contact = Some(case.contact.clone());
                events.push(ConsentEvent { contact, ..withdrawal("", "", "", LATER) });
            }
            Later::Complaint => {
                events.push(case.grant("main", LATER - minute));
                block("main", Reason::SpamComplaint, LATER);
            }
            Later::BlockInAll => {
                events.push(case.grant("main", LATER));
                block("*", Reason::ManualBlock, LATER);
            }
            Later::OlderBounce => {
                events.push(case.grant("main", LATER));
                block("main", Reason::HardBounce, ERASED - minute);
            }
            Later::LiftOfTheMark => lifts.push(Lift {
                brand: case.erased_in.to_owned(),
                contact: Some(case.contact.clone()),
                reason: Reason::Erased.into(),
                time: at(LATER),
                actor: actor(ActorRole::Staff),
                ..Lift::default()
            }),
            Later::AnotherErasure => {
                let other = if case.erased_in == "*" { "main" } else { "*" };
                erasures.push(case.erasure(other));
                events.push(case.grant("main", LATER + minute));
            }
        }
    }
    suppress(server, blocks).await;
    let results = server.consent().lift(LiftRequest { lifts }).await.unwrap().into_inner().results;
    assert!(results.iter().all(|result| result.rejection.is_none()));
    erase(server, erasures).await;
    server.set_clock(LATER + minute);
    record(server, events).await;
    server.set_clock(ASKED);
}

/// By brand, type and purpose, in the order of the cases.
type Verdicts = BTreeMap<String, Vec<Reason>>;

async fn verdicts(server: &TestServer, cases: &[Case]) -> Verdicts {
    let mut all = Verdicts::new();
    for brand in BRANDS {
        for (recipient_type, purpose) in [
            (RecipientType::Individual, "marketing"),
            (RecipientType::Merchant, "marketing"),
            (RecipientType::Individual, "transactional"),
        ] {
            let mut found = vec![Reason::Unspecified; cases.len()];
            for (kind, channel) in [(ContactKind::Phone, "sms"), (ContactKind::Email, "email")] {
                let of_kind = cases.iter().enumerate().filter(|(_, it)| it.contact.kind() == kind);
                let (places, addresses): (Vec<usize>, Vec<&String>) =
                    of_kind.map(|(at, case)| (at, &case.contact.address)).unzip();
                let asked = FilterOptions {
                    brand: brand.to_owned(),
                    scopes: vec![scope(recipient_type, channel, purpose)],
                    ..options(kind, channel, AnswerForm::Reasons)
                };
                let mut asking = Asking::open(server, asked).await;
                let answer = asking.ask(lines(1, &addresses)).await;
                places.iter().zip(reasons(&answer)).for_each(|(at, reason)| found[*at] = reason);
            }
            all.insert(format!("{brand} {recipient_type:?} {purpose}"), found);
        }
    }
    all
}

/// A store made of a backup, and what importing rows of a feed did.
struct Replayed {
    copy: TestServer,
    /// Rows that were rejected.
    rejected: u64,
    /// Whether importing them once more changed nothing.
    is_stable: bool,
}

/// Replays these rows in this order, twice, and accepts.
async fn replayed(backup: &Path, rows: &[&str], last: &Revision) -> Replayed {
    let copy = TestServer::open(restored(backup)).await;
    copy.set_clock(ASKED);
    let file = backup.with_file_name("rows");
    fs::write(&file, rows.join("\n")).unwrap();
    let output = command(&copy, &["import", text(&file), "--json"]).await;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let reached = revision(&copy).await;
    command(&copy, &["import", text(&file), "--json"]).await;
    let is_stable = revision(&copy).await == reached;
    let last = last.revision.to_string();
    let output = command(&copy, &["restore", "accept", "--replayed-to", &last]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Replayed { copy, rejected: report["rejected_rows"].as_u64().unwrap(), is_stable }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_counts_as_in_the_original_wherever_and_whenever_it_is_replayed() {
    let cases = cases();
    assert!(cases.len() > 2 * caps::REPLAYED_ERASURES, "too few to be replayed bit by bit");
    let original = two_brands().await;
    before(&original, &cases).await;
    let place = tempfile::tempdir().unwrap();
    let backup = place.path().join("backup");
    let from = revision(&original).await;
    back_up(&original, &backup).await;
    after(&original, &cases).await;
    let file = place.path().join("feed");
    feed(&original, &from, &file).await;
    let expected = verdicts(&original, &cases).await;
    for reason in [
        Reason::Permitted,
        Reason::NoConsent,
        Reason::Erased,
        Reason::LegalBlock,
        Reason::ContactOptOut,
        Reason::SpamComplaint,
        Reason::ManualBlock,
        Reason::HardBounce,
    ] {
        let said = expected.values().flatten().any(|it| *it == reason);
        assert!(said, "{reason:?} was not put to the test");
    }
    let last = revision(&original).await;

    let feed = fs::read_to_string(&file).unwrap();
    let mut rows: Vec<&str> = feed.lines().collect();
    let Replayed { copy, rejected, is_stable } = replayed(&backup, &rows, &last).await;
    assert_eq!(rejected, 0);
    assert!(is_stable, "repeating it changes nothing");
    for (scope, found) in verdicts(&copy, &cases).await {
        for ((case, found), expected) in cases.iter().zip(found).zip(&expected[&scope]) {
            assert_eq!(found, *expected, "{scope}: {case:?}");
        }
    }
    verified(copy).await;

    let mut random = StdRng::seed_from_u64(7);
    rows.reverse();
    for round in 0..4 {
        let Replayed { copy, .. } = replayed(&backup, &rows, &last).await;
        for (scope, found) in verdicts(&copy, &cases).await {
            for ((case, found), expected) in cases.iter().zip(found).zip(&expected[&scope]) {
                let is_as_strict = found != Reason::Permitted || *expected == Reason::Permitted;
                assert!(is_as_strict, "{scope}, round {round}, {expected:?} there: {case:?}");
                let is_equal = (found == Reason::Permitted) == (*expected == Reason::Permitted);
                assert!(is_equal, "{scope}, round {round}, {found:?} here: {case:?}");
            }
        }
        verified(copy).await;
        rows.shuffle(&mut random);
    }
}

/// A feed that is taken as it comes tells of events that were erased later.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_feed_tells_of_somebody_erased_later_does_not_come_back() {
    let original = TestServer::start().await;
    let place = tempfile::tempdir().unwrap();
    let backup = place.path().join("backup");
    let from = revision(&original).await;
    back_up(&original, &backup).await;
    let address = "+905331000001";
    record(&original, vec![grant(address, START)]).await;
    story::suppress(&original, "main", phone(address), Reason::SpamComplaint).await;
    let first = place.path().join("first");
    feed(&original, &from, &first).await;
    let told = revision(&original).await;
    original.set_clock(ERASED);
    story::erase(&original, "main", phone(address)).await;
    let second = place.path().join("second");
    feed(&original, &told, &second).await;

    let rows = [first, second].map(|file| fs::read_to_string(file).unwrap()).concat();
    let rows: Vec<&str> = rows.lines().collect();
    assert_eq!(rows.len(), 3);
    let last = revision(&original).await;
    let Replayed { copy, rejected, .. } = replayed(&backup, &rows, &last).await;
    assert_eq!(rejected, 0);
    let request = HistoryRequest {
        brand: "main".to_owned(),
        contact: Some(phone(address)),
        ..HistoryRequest::default()
    };
    let history = copy.consent().history(request).await.unwrap().into_inner();
    assert_eq!(history.records, []);
    verified(copy).await;
}
