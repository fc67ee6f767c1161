//! Histories of withdrawals, grants and filters by several clients on the same
//! contacts, over connections of their own, held against the sequential model
//! of [`linear_model`](crate::linear_model) (F11; I4, A11).

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use sendgate::proto::v1::{
    self, AnswerForm, ContactKind, Outcome, Reason, RecipientType,
    consent_service_client::ConsentServiceClient, filter_request,
    filter_service_client::FilterServiceClient,
};
use tonic::transport::Channel;

use crate::{
    linear_model::{
        CHANNELS, Contact, Event, FOR_GOOD, Level, Operation, PURPOSES, Scope, What, check,
    },
    support::{Asking, START, TestServer, grant, lines, options, phone, phones, scope, withdrawal},
};

/// Few enough that everybody meets on each, in two pages of a plane.
const CONTACTS: usize = 12;

const SCOPES: [Scope; 4] = [(0, 0), (0, 1), (1, 0), (1, 1)];

fn number(contact: Contact) -> u64 {
    905_320_000_000 + contact as u64 % 2 * 70_000 + contact as u64
}

fn wire_scope((channel, purpose): Scope) -> v1::Scope {
    scope(RecipientType::Individual, CHANNELS[channel], PURPOSES[purpose])
}

/// What all clients of a history share.
struct Recorder {
    begun: Instant,
    history: Mutex<Vec<Operation>>,
    /// The time of the last event: no two have the same.
    time: AtomicI64,
    writers: AtomicUsize,
    over: AtomicBool,
}

impl Recorder {
    fn new(writers: usize) -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            history: Mutex::default(),
            time: AtomicI64::new(START - 1_000_000),
            writers: AtomicUsize::new(writers),
            over: AtomicBool::new(false),
        })
    }

    /// Monotonic, and the same clock for every thread.
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap()
    }

    fn record(&self, called: u64, what: What) {
        let returned = self.now();
        self.history.lock().unwrap().push(Operation { called, returned, what });
    }

    fn writer_ends(&self) {
        if self.writers.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.over.store(true, Ordering::SeqCst);
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

/// A random event. Where the clock moves, half of the grants end a little after
/// it stands now.
fn any_event(recorder: &Recorder, random: &mut StdRng, clock: Option<&AtomicI64>) -> Event {
    let scope = *SCOPES.choose(random).unwrap();
    let grant = random.random_bool(0.5).then(|| match clock {
        Some(clock) if random.random_bool(0.5) => {
            clock.load(Ordering::SeqCst) + random.random_range(1..3_000)
        }
        _ => FOR_GOOD,
    });
    let level = match random.random_range(0..3) {
        _ if grant.is_some() => Level::Purpose(scope),
        0 => Level::Purpose(scope),
        1 => Level::Channel(scope.0),
        _ => Level::Contact,
    };
    let contact = random.random_range(0..CONTACTS);
    Event { contact, level, time: recorder.time.fetch_add(1, Ordering::SeqCst), grant }
}

fn wire_event(event: &Event) -> v1::ConsentEvent {
    let address = format!("+{}", number(event.contact));
    let (channel, purpose) = match event.level {
        Level::Purpose((channel, purpose)) => (CHANNELS[channel], PURPOSES[purpose]),
        Level::Channel(channel) => (CHANNELS[channel], ""),
        Level::Contact => ("", ""),
    };
    match event.grant {
        None => withdrawal(&address, channel, purpose, event.time),
        Some(end) => v1::ConsentEvent {
            channel: channel.to_owned(),
            purpose: purpose.to_owned(),
            valid_until_ms: (end != FOR_GOOD).then_some(end),
            ..grant(&address, event.time)
        },
    }
}

async fn write(
    recorder: Arc<Recorder>,
    channel: Channel,
    seed: u64,
    requests: usize,
    clock: Option<Arc<AtomicI64>>,
) {
    let mut client = ConsentServiceClient::new(channel);
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..requests {
        let count = random.random_range(1..4);
        let events: Vec<Event> =
            (0..count).map(|_| any_event(&recorder, &mut random, clock.as_deref())).collect();
        let request = v1::RecordRequest { events: events.iter().map(wire_event).collect() };
        let called = recorder.now();
        let results = client.record(request).await.unwrap().into_inner().results;
        let revisions = results.iter().map(|result| {
            // One that another has overtaken is recorded all the same.
            let recorded = matches!(result.outcome(), Outcome::Applied | Outcome::Superseded);
            assert!(recorded, "{result:?}");
            result.revision
        });
        let written = revisions.zip(events).collect();
        recorder.record(called, What::Wrote(written));
    }
    recorder.writer_ends();
}

/// Filters all contacts in some scopes at once, as numbers and as lines.
async fn filter(recorder: Arc<Recorder>, channel: Channel, scopes: Vec<Scope>) {
    let asked = v1::FilterOptions {
        scopes: scopes.iter().copied().map(wire_scope).collect(),
        ..options(ContactKind::Phone, "sms", AnswerForm::Reasons)
    };
    let mut stream = Asking::open_bare(FilterServiceClient::new(channel)).await;
    stream.send(filter_request::Message::Options(asked)).await;
    let numbers: Vec<u64> = (0..CONTACTS).map(number).collect();
    let texts: Vec<String> = numbers.iter().map(|number| format!("+{number}")).collect();
    let mut batch_id = 0;
    while !recorder.is_over() {
        batch_id += 1;
        let batch = match batch_id % 2 {
            0 => phones(batch_id, &numbers),
            _ => lines(batch_id, &texts),
        };
        let called = recorder.now();
        let answer = stream.ask(batch).await;
        assert_eq!(answer.scopes.len(), scopes.len(), "{answer:?}");
        let mut slots = Vec::new();
        for (scope, verdicts) in scopes.iter().zip(&answer.scopes) {
            for (contact, tag) in verdicts.reasons.iter().enumerate() {
                let reason = Reason::try_from(i32::from(*tag)).unwrap();
                let bit = verdicts.permitted[contact / 8] >> (contact % 8) & 1 == 1;
                assert_eq!(bit, reason == Reason::Permitted, "bits and reasons are one answer");
                slots.push((contact, *scope, reason));
            }
        }
        let revision = answer.revision.unwrap().revision;
        recorder.record(called, What::Read { revision, as_of: answer.as_of_ms, slots });
    }
}

/// Checks one contact after the other, from the view and, with its record, from
/// the ledger; every other time at least at the revision that it saw last.
async fn check_one(recorder: Arc<Recorder>, channel: Channel, seed: u64) {
    let mut client = FilterServiceClient::new(channel);
    let mut random = StdRng::seed_from_u64(seed);
    let mut seen: Option<v1::Revision> = None;
    while !recorder.is_over() {
        let contact = random.random_range(0..CONTACTS);
        let scope = *SCOPES.choose(&mut random).unwrap();
        let minimum = seen.take().filter(|_| random.random());
        let request = v1::CheckRequest {
            brand: "main".to_owned(),
            scope: Some(wire_scope(scope)),
            contact: Some(phone(&format!("+{}", number(contact)))),
            include_record: random.random(),
            minimum_revision: minimum,
        };
        let called = recorder.now();
        let answer = client.check(request).await.unwrap().into_inner();
        let revision = answer.revision.clone().unwrap().revision;
        let slots = vec![(contact, scope, answer.reason())];
        recorder.record(called, What::Read { revision, as_of: answer.as_of_ms, slots });
        seen = answer.revision;
    }
}

/// Describes all contacts in one scope from the ledger.
async fn describe(recorder: Arc<Recorder>, channel: Channel, seed: u64) {
    let mut client = FilterServiceClient::new(channel);
    let mut random = StdRng::seed_from_u64(seed);
    while !recorder.is_over() {
        let scope = *SCOPES.choose(&mut random).unwrap();
        let request = v1::DescribeRequest {
            brand: "main".to_owned(),
            scope: Some(wire_scope(scope)),
            contact_kind: ContactKind::Phone.into(),
            addresses: (0..CONTACTS).map(|contact| format!("+{}", number(contact))).collect(),
            ..v1::DescribeRequest::default()
        };
        let called = recorder.now();
        let answer = client.describe(request).await.unwrap().into_inner();
        let described = answer.descriptions.iter().map(v1::Description::reason);
        let slots = described.enumerate().map(|(contact, reason)| (contact, scope, reason));
        let slots = slots.collect();
        let revision = answer.revision.unwrap().revision;
        recorder.record(called, What::Read { revision, as_of: answer.as_of_ms, slots });
    }
}

/// Sets the clock forward; a step is over once a view is of then.
async fn tick(recorder: Arc<Recorder>, channel: Channel, clock: Arc<AtomicI64>) {
    let mut client = FilterServiceClient::new(channel);
    while !recorder.is_over() {
        let called = recorder.now();
        let time = clock.fetch_add(700, Ordering::SeqCst) + 700;
        loop {
            let request = v1::CheckRequest {
                brand: "main".to_owned(),
                scope: Some(wire_scope(SCOPES[0])),
                contact: Some(phone(&format!("+{}", number(0)))),
                ..v1::CheckRequest::default()
            };
            let answer = client.check(request).await.unwrap().into_inner();
            if answer.as_of_ms >= time {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        recorder.record(called, What::Ticked(time));
    }
}

/// How much of each kind there was: a history without reads between its writes
/// would show nothing.
fn assert_worth(history: &[Operation], writes: usize) {
    let wrote = |operation: &&Operation| matches!(operation.what, What::Wrote(_));
    assert_eq!(history.iter().filter(wrote).count(), writes);
    let mut revisions: Vec<u64> = history
        .iter()
        .filter_map(|operation| match operation.what {
            What::Read { revision, .. } => Some(revision),
            _ => None,
        })
        .collect();
    let reads = revisions.len();
    revisions.sort_unstable();
    revisions.dedup();
    println!("{writes} writes, {reads} reads of {} revisions", revisions.len());
    assert!(revisions.len() > writes / 20, "reads saw {} revisions", revisions.len());
}

async fn revision_of(server: &TestServer) -> u64 {
    let request = v1::GetStatisticsRequest::default();
    let statistics = server.admin().get_statistics(request).await.unwrap().into_inner();
    statistics.revision.unwrap().revision
}

fn seed() -> u64 {
    let seed = rand::random();
    println!("seed {seed}");
    seed
}

const WRITERS: usize = 4;
const REQUESTS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn filters_checks_and_descriptions_beside_writes_are_linearizable() {
    let server = TestServer::start().await;
    let begin = revision_of(&server).await;
    let recorder = Recorder::new(WRITERS);
    let seed = seed();
    let mut clients = tokio::task::JoinSet::new();
    for writer in 0..WRITERS as u64 {
        let channel = server.connect().await;
        clients.spawn(write(Arc::clone(&recorder), channel, seed ^ writer, REQUESTS, None));
    }
    for scopes in [&SCOPES[..], &SCOPES[..1], &SCOPES[1..3]] {
        clients.spawn(filter(Arc::clone(&recorder), server.connect().await, scopes.to_vec()));
    }
    clients.spawn(check_one(Arc::clone(&recorder), server.connect().await, seed ^ 100));
    clients.spawn(describe(Arc::clone(&recorder), server.connect().await, seed ^ 200));
    clients.join_all().await;
    let history = std::mem::take(&mut *recorder.history.lock().unwrap());
    assert_worth(&history, WRITERS * REQUESTS);
    check(&history, begin).unwrap();
}

/// Descriptions are left out: they join the ledger of one moment with the clock
/// of the next view, which no single view need have been.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ends_of_consents_by_a_moving_clock_are_linearizable() {
    let server = TestServer::start().await;
    let begin = revision_of(&server).await;
    let recorder = Recorder::new(WRITERS);
    let seed = seed();
    let clock = &server.clock;
    let mut clients = tokio::task::JoinSet::new();
    for writer in 0..WRITERS as u64 {
        let (recorder, clock) = (Arc::clone(&recorder), Some(Arc::clone(clock)));
        let channel = server.connect().await;
        clients.spawn(write(recorder, channel, seed ^ writer, REQUESTS, clock));
    }
    for scopes in [&SCOPES[..], &SCOPES[2..]] {
        clients.spawn(filter(Arc::clone(&recorder), server.connect().await, scopes.to_vec()));
    }
    clients.spawn(check_one(Arc::clone(&recorder), server.connect().await, seed ^ 100));
    clients.spawn(tick(Arc::clone(&recorder), server.connect().await, Arc::clone(clock)));
    clients.join_all().await;
    let history = std::mem::take(&mut *recorder.history.lock().unwrap());
    assert_worth(&history, WRITERS * REQUESTS);
    let ticks = history.iter().filter(|each| matches!(each.what, What::Ticked(_))).count();
    assert!(ticks > 1, "the clock moved {ticks} times");
    check(&history, begin).unwrap();
}
