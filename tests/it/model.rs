//! The server against a plain model of the rules, under random events.
//!
//! Each test is one seed: the same events, clocks and questions every time. A
//! failure names the seed and prints what the model knows of the contact.

mod acts;
mod found;
mod past;
mod people;
mod questions;
mod random;
mod rights;
mod rules;
mod wire;
mod words;

use std::{collections::BTreeSet, sync::Arc};

use rand::{SeedableRng, rngs::StdRng};
use sendgate::{
    clock::Clock,
    proto::v1::{
        ApplyPolicyRequest, ConsentEvent, ContactKind, EventResult, ImportItem, ImportRequest,
        Lift, LiftRequest, Outcome, Reason, RecordRequest, RejectCode, SuppressRequest,
        Suppression, import_item,
    },
};

use self::{
    people::{POLICY, Person, VALIDITY, population, scopes},
    random::Generator,
    rules::{Answer, Model},
    words::{DAY, Precision, Role, Said, Scope, Stated, What},
};
use crate::support::{START, TestServer};

macro_rules! seeds {
    ($($name:ident: $seed:literal,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            run($seed).await.check_coverage();
        }
    )*};
}

seeds! {
    server_and_model_agree_with_seed_1: 1,
    server_and_model_agree_with_seed_2: 2,
    server_and_model_agree_with_seed_3: 3,
    server_and_model_agree_with_seed_4: 4,
    server_and_model_agree_with_seed_5: 5,
    server_and_model_agree_with_seed_6: 6,
}

/// For a search that takes its time: seeds A to B, from SENDGATE_TEST_SEEDS=A-B.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes as long as it is told to"]
async fn server_and_model_agree_with_many_seeds() {
    let seeds = std::env::var("SENDGATE_TEST_SEEDS").unwrap_or_else(|_| "7-66".to_owned());
    let (first, last) = seeds.split_once('-').expect("SENDGATE_TEST_SEEDS is A-B");
    let mut failed = Vec::new();
    for seed in first.parse::<u64>().unwrap()..=last.parse().unwrap() {
        if tokio::spawn(run(seed)).await.is_err() {
            failed.push(seed);
        }
    }
    assert_eq!(failed, Vec::<u64>::new());
}

const ROUNDS: usize = 11;
const WRITES_PER_ROUND: usize = 14;

/// Says which seed a panic belongs to.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the model test failed with seed {}", self.0);
        }
    }
}

/// A server and the model that it is held to.
struct Pair {
    server: TestServer,
    model: Model,
    people: Vec<Person>,
    scopes: Vec<(ContactKind, Scope)>,
    generator: Generator,
    coverage: Coverage,
}

/// What has come up so far: a test in which something never does proves nothing
/// about it.
#[derive(Default)]
struct Coverage {
    reasons: BTreeSet<Reason>,
    outcomes: BTreeSet<Outcome>,
    rejections: BTreeSet<RejectCode>,
    /// How often a rectification moved something, and an erasure left a block.
    moved: u32,
    survivors: u32,
}

/// Runs a seed to its end; returns what came up.
async fn run(seed: u64) -> Coverage {
    let _seed = Seed(seed);
    let mut pair = Pair::start(seed).await;
    for round in 0..ROUNDS {
        for _ in 0..WRITES_PER_ROUND {
            if pair.generator.chance(40) {
                pair.move_clock().await;
            }
            if pair.generator.chance(30) {
                pair.act().await;
            }
            pair.write().await;
        }
        pair.compare().await;
        match round % 3 {
            0 => continue,
            1 => pair.crash().await,
            _ => pair.restart().await,
        }
        pair.compare().await;
    }
    pair.verify_stopped().await
}

impl Pair {
    async fn start(seed: u64) -> Self {
        let server = TestServer::start().await;
        let request = ApplyPolicyRequest { toml: POLICY.to_owned(), ..Default::default() };
        let applied = server.admin().apply_policy(request).await.unwrap().into_inner();
        let people = population();
        Self {
            model: Model::new(applied.revision.unwrap().revision, START),
            generator: Generator::new(StdRng::seed_from_u64(seed), &people),
            scopes: scopes(),
            server,
            people,
            coverage: Coverage::default(),
        }
    }

    /// Moves the clock, and makes sure that the server has seen it.
    async fn move_clock(&mut self) {
        let clock = self.generator.next_clock(self.model.clock, &self.model.ends(&[VALIDITY]));
        self.model.set_clock(clock);
        self.server.set_clock(clock);
        self.touch().await;
    }

    /// A write that says nothing new makes the writer look at the clock, and
    /// returns when filters see what it saw.
    async fn touch(&mut self) {
        let long_ago = START - 60 * DAY;
        let said = Said {
            brand: Some("main"),
            who: 0,
            what: What::Suppression {
                channel: None,
                reason: Reason::SoftBounce,
                end: Some(long_ago),
            },
            time: Some(Stated { at: long_ago, precision: Precision::Millisecond }),
            key: "touch",
            source: "",
            role: Role::System,
            origin: 0,
        };
        self.suppress(vec![said]).await;
    }

    async fn write(&mut self) {
        let count = 1 + self.generator.pick(&[0, 0, 1, 4, 9]);
        match self.generator.pick(&[0, 1, 1, 2, 3]) {
            0 => {
                let said = self.events(count * 3, |_| true);
                self.import(said).await;
            }
            1 => {
                let said = self.events(count, |what| matches!(what, What::Consent { .. }));
                self.record(said).await;
            }
            2 => {
                let said = self.events(count, |what| matches!(what, What::Suppression { .. }));
                self.suppress(said).await;
            }
            _ => {
                let said = self.events(count, |what| matches!(what, What::Lift { .. }));
                self.lift(said).await;
            }
        }
    }

    fn events(&mut self, count: usize, wanted: impl Fn(&What) -> bool) -> Vec<Said> {
        (0..count).map(|_| self.generator.next(self.model.clock, &wanted)).collect()
    }

    /// The items of a request, each in a random spelling of its contact.
    fn items(&mut self, said: &[Said]) -> Vec<ImportItem> {
        let spelled = said.iter().map(|said| {
            let person = &self.people[said.who];
            let spellings: Vec<&str> = person.spellings.iter().map(String::as_str).collect();
            wire::item(said, person.kind, self.generator.pick(&spellings))
        });
        spelled.collect()
    }

    async fn record(&mut self, said: Vec<Said>) {
        let events: Vec<ConsentEvent> = self
            .items(&said)
            .into_iter()
            .map(|item| match item.change {
                Some(import_item::Change::Consent(event)) => event,
                other => panic!("{other:?} is no consent"),
            })
            .collect();
        let answer = self.server.consent().record(RecordRequest { events }).await.unwrap();
        let answer = answer.into_inner();
        self.expect(&said, &answer.results, answer.revision.unwrap().revision);
    }

    async fn suppress(&mut self, said: Vec<Said>) {
        let suppressions: Vec<Suppression> = self
            .items(&said)
            .into_iter()
            .map(|item| match item.change {
                Some(import_item::Change::Suppression(entry)) => entry,
                other => panic!("{other:?} is no suppression"),
            })
            .collect();
        let answer = self.server.consent().suppress(SuppressRequest { suppressions }).await;
        let answer = answer.unwrap().into_inner();
        self.expect(&said, &answer.results, answer.revision.unwrap().revision);
    }

    async fn lift(&mut self, said: Vec<Said>) {
        let lifts: Vec<Lift> = self
            .items(&said)
            .into_iter()
            .map(|item| match item.change {
                Some(import_item::Change::Lift(lift)) => lift,
                other => panic!("{other:?} is no lift"),
            })
            .collect();
        let answer = self.server.consent().lift(LiftRequest { lifts }).await.unwrap().into_inner();
        self.expect(&said, &answer.results, answer.revision.unwrap().revision);
    }

    fn expect(&mut self, said: &[Said], results: &[EventResult], revision: u64) {
        assert_eq!(results.len(), said.len());
        for (said, result) in said.iter().zip(results) {
            let before = self.history(said.who);
            let answer = self.model.record(said);
            assert!(agree(answer, result), "{said:?}\nis {answer:?}, not {result:?}\n{before}");
            self.coverage.outcomes.insert(result.outcome());
            self.coverage.rejections.extend(result.rejection.as_ref().map(|each| each.code()));
        }
        assert_eq!(revision, self.model.revision);
    }

    /// Imports in chunks of a few items; the counts run on over the chunks.
    async fn import(&mut self, said: Vec<Said>) {
        let items = self.items(&said);
        let chunks: Vec<ImportRequest> = items
            .chunks(7)
            .map(|items| ImportRequest { items: items.to_vec(), dry_run: false })
            .collect();
        let sent = chunks.len();
        let mut answers =
            self.server.consent().import(tokio_stream::iter(chunks)).await.unwrap().into_inner();
        let (mut received, mut last, mut rejections) = (0, None, Vec::new());
        while let Some(answer) = answers.message().await.unwrap() {
            received += 1;
            rejections.extend(answer.rejections.clone());
            last = Some(answer);
        }
        let last = last.unwrap();
        assert_eq!(received, sent);

        let expected: Vec<Answer> = said.iter().map(|said| self.model.record(said)).collect();
        let count =
            |wanted: fn(&Answer) -> bool| expected.iter().filter(|each| wanted(each)).count();
        let recorded = count(|each| matches!(each, Answer::Recorded(..)));
        assert_eq!(last.done, said.len() as u64);
        assert_eq!(last.applied + last.superseded, recorded as u64, "{said:?}");
        let applied = count(|each| matches!(each, Answer::Recorded(_, Some(true))));
        let superseded = count(|each| matches!(each, Answer::Recorded(_, Some(false))));
        assert!(last.applied >= applied as u64 && last.superseded >= superseded as u64);
        assert_eq!(last.duplicate, count(|each| matches!(each, Answer::Repeat(_))) as u64);
        assert_eq!(last.key_reused, count(|each| matches!(each, Answer::KeyReused(_))) as u64);
        let rejected: Vec<(u64, i32)> = (0_u64..)
            .zip(&expected)
            .filter_map(|(index, each)| match each {
                Answer::Rejected(code) => Some((index, i32::from(*code))),
                _ => None,
            })
            .collect();
        let found: Vec<(u64, i32)> =
            rejections.into_iter().map(|item| (item.index, item.rejection.unwrap().code)).collect();
        assert_eq!(found, rejected, "{said:?}");
        assert_eq!(last.revision.unwrap().revision, self.model.revision);
    }

    /// Stops and starts the server; the clock may move meanwhile.
    async fn restart(&mut self) {
        self.server.stop().await;
        if self.generator.chance(60) {
            let clock = self.generator.next_clock(self.model.clock, &self.model.ends(&[VALIDITY]));
            self.model.set_clock(clock);
            self.server.set_clock(clock);
        }
        self.server.restart().await;
    }

    /// Everything derived, recomputed from the events, is what the store holds.
    async fn verify_stopped(mut self) -> Coverage {
        self.server.stop().await;
        let clock = Clock::Manual(Arc::clone(&self.server.clock));
        let books = sendgate::recovery::open(self.server.folder.path(), clock).unwrap();
        let report = sendgate::verify::verify(&books, &[]).unwrap();
        assert_eq!(report.differences, Vec::<String>::new());
        assert_eq!(report.revision, self.model.revision);
        assert_eq!(report.events, self.model.revision);
        self.coverage
    }

    /// What the model knows of a person, for a failure's message.
    fn history(&self, who: usize) -> String {
        let of = self.model.accepted.iter().filter(|each| each.said.who == who);
        let lines: Vec<String> = of.map(|each| format!("{each:?}")).collect();
        format!(
            "at {}, high water {}, {}:\n{}",
            self.model.clock,
            self.model.high_water,
            self.model.marks.history(who),
            lines.join("\n")
        )
    }
}

impl Coverage {
    fn check_coverage(&self) {
        let reasons = (Reason::Permitted as i32..=Reason::Duplicate as i32)
            .map(|number| Reason::try_from(number).unwrap());
        assert_eq!(self.reasons, reasons.collect());
        let outcomes = [
            Outcome::Applied,
            Outcome::Superseded,
            Outcome::Duplicate,
            Outcome::KeyReused,
            Outcome::Rejected,
        ];
        assert_eq!(self.outcomes, BTreeSet::from(outcomes));
        let rejections = [
            RejectCode::InvalidArgument,
            RejectCode::TimeAhead,
            RejectCode::AlreadyExists,
            RejectCode::Erased,
            RejectCode::NotAllowed,
        ];
        assert_eq!(self.rejections, BTreeSet::from(rejections));
        assert!(self.moved > 0 && self.survivors > 0);
    }
}

fn agree(answer: Answer, result: &EventResult) -> bool {
    let outcome = result.outcome();
    match answer {
        Answer::Recorded(revision, is_current) => {
            let outcome_fits = match is_current {
                Some(true) => outcome == Outcome::Applied,
                Some(false) => outcome == Outcome::Superseded,
                None => matches!(outcome, Outcome::Applied | Outcome::Superseded),
            };
            outcome_fits && result.revision == revision
        }
        Answer::Repeat(revision) => outcome == Outcome::Duplicate && result.revision == revision,
        Answer::KeyReused(revision) => outcome == Outcome::KeyReused && result.revision == revision,
        Answer::Rejected(code) => {
            let rejection = result.rejection.as_ref();
            outcome == Outcome::Rejected
                && result.revision == 0
                && rejection.is_some_and(|rejection| rejection.code() == code)
        }
    }
}
