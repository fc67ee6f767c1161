//! SIGKILL in the middle of everything (F1): records, an import, checkpoints,
//! the start itself. What was acknowledged holds, and nothing else is permitted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use sendgate::proto::v1::{
    CheckpointRequest, ContactKind, GetStatisticsRequest, ImportItem, ImportRequest, Outcome,
    RecordRequest, Revision, admin_service_client::AdminServiceClient,
    consent_service_client::ConsentServiceClient, import_item::Change,
};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::{
    crash_model::{Contact, hold},
    process::{Process, connect, run},
};

/// Kills while the server is under load.
const KILLS: usize = 36;
/// One of so many kills is followed by one of a server that is only starting.
const START_KILLED: usize = 3;
/// Tasks that record, each with contacts of its own.
const RECORDERS: u64 = 3;
const CONTACTS: u64 = 60;

/// What the acknowledgements said, all tasks together.
#[derive(Default)]
struct Told {
    /// The greatest acknowledged revision.
    revision: AtomicU64,
    /// Events recorded.
    events: AtomicU64,
    checkpoints: AtomicU64,
}

impl Told {
    fn acknowledge(&self, events: u64, revision: Option<Revision>) {
        self.events.fetch_add(events, Ordering::SeqCst);
        self.revision.fetch_max(revision.unwrap().revision, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_survives_sigkill_and_nothing_else_is_permitted() {
    let seed = std::env::var("SENDGATE_TEST_SEED")
        .map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("SENDGATE_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let told = Arc::new(Told::default());
    // The policy is the first event.
    told.events.store(1, Ordering::SeqCst);
    let contact = |number| Contact::new(ContactKind::Phone, number);
    let mut populations: Vec<Vec<Contact>> = (0..RECORDERS)
        .map(|task| (task * CONTACTS..(task + 1) * CONTACTS).map(contact).collect())
        .collect();
    // The last population is the importer's, and grows.
    populations.push(Vec::new());
    // A store that exists: making one is not the matter here.
    drop(Process::serve(folder.path()).unwrap());

    let mut between = 0;
    for kill in 0..KILLS {
        if kill % START_KILLED == 0 {
            let mut starting = Process::launch(folder.path());
            tokio::time::sleep(Duration::from_millis(random.random_range(0..60))).await;
            starting.kill();
        }
        let (mut process, address) = Process::serve(folder.path()).unwrap();
        let channel = connect(address).await;
        between += check(&mut populations, &channel, &told).await;
        let load = start_load(populations, &channel, &told, &mut random);
        tokio::time::sleep(Duration::from_millis(random.random_range(1..150))).await;
        process.kill();
        populations = Vec::new();
        for task in load {
            // A killed server breaks connections; nothing waits for long.
            let ended = tokio::time::timeout(Duration::from_secs(60), task).await;
            populations.push(ended.expect("a request was never answered").unwrap());
        }
    }
    let (process, address) = Process::serve(folder.path()).unwrap();
    between += check(&mut populations, &connect(address).await, &told).await;
    drop(process);
    let events = told.events.load(Ordering::SeqCst);
    println!(
        "{events} events and {} checkpoints; {KILLS} kills under load and {} at the start, {between} \
         of them between a commit and its acknowledgement",
        told.checkpoints.load(Ordering::SeqCst),
        KILLS.div_ceil(START_KILLED),
    );
    assert!(events > 1_000 && told.checkpoints.load(Ordering::SeqCst) > 0, "there was no load");

    let folder = folder.path().as_os_str();
    let output = run(&["verify".as_ref(), "--json".as_ref(), "--data".as_ref(), folder], b"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // Verification follows the chain from revision 1 on: no gap, and no event
    // more or fewer than were recorded.
    assert_eq!((&report["ok"], &report["events"]), (&true.into(), &events.into()), "{report}");
}

/// Holds a recovered server against what is known; returns 1 if it holds
/// events that it had no time to acknowledge.
async fn check(populations: &mut [Vec<Contact>], channel: &Channel, told: &Told) -> usize {
    let statistics = AdminServiceClient::new(channel.clone())
        .get_statistics(GetStatisticsRequest {})
        .await
        .unwrap()
        .into_inner();
    let recovered = statistics.revision.unwrap().revision;
    let acknowledged = told.revision.load(Ordering::SeqCst);
    assert!(recovered >= acknowledged, "{recovered} recovered, {acknowledged} acknowledged");
    let (mut recorded, mut repeated) = (0, 0);
    for contacts in populations {
        let found = hold(contacts, channel).await;
        recorded += found.recorded;
        repeated += found.repeated;
    }
    // One revision for each event, none without one.
    let events = told.events.fetch_add(recorded + repeated, Ordering::SeqCst);
    assert_eq!(recovered, events + recorded);
    usize::from(recorded > 0)
}

/// Starts all tasks. Each runs until the server is gone and gives its contacts
/// back, the importer last.
fn start_load(
    mut populations: Vec<Vec<Contact>>,
    channel: &Channel,
    told: &Arc<Told>,
    random: &mut StdRng,
) -> Vec<JoinHandle<Vec<Contact>>> {
    let imported = populations.pop().unwrap();
    let mut seeds = || StdRng::seed_from_u64(random.random());
    let client = || ConsentServiceClient::new(channel.clone());
    let mut tasks: Vec<_> = populations
        .into_iter()
        .map(|contacts| tokio::spawn(record(contacts, client(), Arc::clone(told), seeds())))
        .collect();
    tasks.push(tokio::spawn(import(imported, client(), Arc::clone(told), seeds())));
    let (admin, told) = (AdminServiceClient::new(channel.clone()), Arc::clone(told));
    tokio::spawn(checkpoint(admin, told));
    tasks
}

type Consent = ConsentServiceClient<Channel>;

async fn record(
    mut contacts: Vec<Contact>,
    mut client: Consent,
    told: Arc<Told>,
    mut random: StdRng,
) -> Vec<Contact> {
    loop {
        let first = random.random_range(0..contacts.len() - 5);
        let few = first..first + random.random_range(1..=5);
        let events: Vec<_> =
            contacts[few.clone()].iter_mut().map(|it| it.say(random.random_range(0..4))).collect();
        let count = events.len() as u64;
        let Ok(response) = client.record(RecordRequest { events }).await else { return contacts };
        let response = response.into_inner();
        assert!(response.results.iter().all(|result| result.outcome() == Outcome::Applied));
        contacts[few].iter_mut().for_each(Contact::acknowledged);
        told.acknowledge(count, response.revision);
    }
}

/// Imports over and over: new e-mails, and changes of those before.
async fn import(
    mut contacts: Vec<Contact>,
    mut client: Consent,
    told: Arc<Told>,
    mut random: StdRng,
) -> Vec<Contact> {
    loop {
        let next = contacts.len() as u64;
        contacts.extend((next..next + 60).map(|number| Contact::new(ContactKind::Email, number)));
        let first = contacts.len().saturating_sub(400);
        let items: Vec<ImportItem> = contacts[first..]
            .iter_mut()
            .map(|contact| Change::Consent(contact.say(random.random_range(0..4))))
            .map(|change| ImportItem { change: Some(change) })
            .collect();
        let count = items.len();
        let mut chunks = Vec::new();
        let mut rest = items.as_slice();
        while !rest.is_empty() {
            let (chunk, others) = rest.split_at(random.random_range(1..=rest.len().min(80)));
            chunks.push(ImportRequest { items: chunk.to_vec(), dry_run: false });
            rest = others;
        }
        let Ok(answers) = client.import(tokio_stream::iter(chunks)).await else { return contacts };
        let mut answers = answers.into_inner();
        let mut done = 0;
        while let Ok(Some(answer)) = answers.message().await {
            assert_eq!((answer.applied, answer.rejected), (answer.done, 0));
            let now = answer.done as usize;
            contacts[first + done..first + now].iter_mut().for_each(Contact::acknowledged);
            told.acknowledge((now - done) as u64, answer.revision);
            done = now;
        }
        if done < count {
            return contacts;
        }
    }
}

async fn checkpoint(mut client: AdminServiceClient<Channel>, told: Arc<Told>) {
    while client.checkpoint(CheckpointRequest {}).await.is_ok() {
        told.checkpoints.fetch_add(1, Ordering::SeqCst);
    }
}
