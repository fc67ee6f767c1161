//! Mixed load on a server that may go at any moment, with everything noted that
//! was sent and acknowledged.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use sendgate::proto::v1::{
    CheckpointRequest, ContactKind, EventResult, GetStatisticsRequest, ImportItem, ImportRequest,
    Outcome, RecordRequest, Revision, SuppressRequest, admin_service_client::AdminServiceClient,
    consent_service_client::ConsentServiceClient, import_item::Change,
};
use tokio::task::JoinHandle;
use tonic::{Status, transport::Channel};

use crate::oracle::{Contact, glance, hold};

/// Contacts of a task that records.
const CONTACTS: u64 = 60;
/// Contacts that a task adds in one go.
const ADDED: u64 = 60;

/// What the acknowledgements said, all tasks together.
#[derive(Default)]
pub struct Told {
    /// The greatest acknowledged revision.
    revision: AtomicU64,
    /// Events that are in the ledger for certain.
    events: AtomicU64,
    pub checkpoints: AtomicU64,
    /// Acknowledgements: at which moment, of which revision.
    pub acknowledgements: Mutex<Vec<(u64, u64)>>,
    /// Where moments come from: how much of this file there is.
    journal: Option<PathBuf>,
    /// Asks the load to end.
    stop: AtomicBool,
    /// What a running server answered wrongly.
    wrong: Mutex<Option<String>>,
}

impl Told {
    /// Of a new store, whose first event is its policy.
    pub fn new(journal: Option<PathBuf>) -> Arc<Self> {
        let told = Self { journal, ..Self::default() };
        told.events.store(1, SeqCst);
        Arc::new(told)
    }

    pub fn events(&self) -> u64 {
        self.events.load(SeqCst)
    }

    /// The greatest revision that had been acknowledged by a moment.
    pub fn revision_at(&self, moment: u64) -> u64 {
        let all = self.acknowledgements.lock().unwrap();
        let by_then = all.iter().filter(|(at, _)| *at <= moment);
        by_then.map(|(_, revision)| *revision).max().unwrap_or(0)
    }

    /// Whether every batch under load reflected what was acknowledged before (I4).
    pub fn held(&self) -> Result<(), String> {
        self.wrong.lock().unwrap().take().map_or(Ok(()), Err)
    }

    /// Now, as the journal counts.
    fn moment(&self) -> u64 {
        let length = self.journal.as_ref().map(|path| path.metadata().map(|file| file.len()));
        length.transpose().unwrap().unwrap_or(0)
    }

    fn acknowledge(&self, events: u64, revision: Option<Revision>) -> u64 {
        let (moment, revision) = (self.moment(), revision.unwrap().revision);
        self.events.fetch_add(events, SeqCst);
        self.revision.fetch_max(revision, SeqCst);
        self.acknowledgements.lock().unwrap().push((moment, revision));
        moment
    }
}

/// Contacts of one task, and what it does with them.
pub struct Population {
    task: Task,
    pub contacts: Vec<Contact>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    /// Records a few events at a time, and filters now and then what it recorded.
    Record,
    /// Imports new contacts of this kind, and changes of those before.
    Import(ContactKind),
    /// Suppresses new contacts.
    Suppress,
}

/// The populations of a whole test.
pub fn populations() -> Vec<Population> {
    let recorded = |task: u64| {
        let contact = |number| Contact::new(ContactKind::Phone, number);
        let contacts = (task * CONTACTS..(task + 1) * CONTACTS).map(contact).collect();
        Population { task: Task::Record, contacts }
    };
    let grown =
        [Task::Import(ContactKind::Email), Task::Import(ContactKind::ContactId), Task::Suppress];
    let grown = grown.map(|task| Population { task, contacts: Vec::new() });
    (0..3).map(recorded).chain(grown).collect()
}

/// Holds a recovered server against what is known, and repeats what is pending.
/// Returns whether it holds events that it had no time to acknowledge.
pub async fn check(
    populations: &mut [Population],
    channel: &Channel,
    told: &Told,
) -> Result<bool, String> {
    told.held()?;
    let recovered = revision(channel).await.map_err(|status| status.to_string())?;
    let acknowledged = told.revision.load(SeqCst);
    if recovered < acknowledged {
        return Err(format!("{recovered} recovered, {acknowledged} acknowledged"));
    }
    let (mut recorded, mut repeated) = (0, 0);
    for population in populations {
        let found = hold(&mut population.contacts, channel).await?;
        recorded += found.recorded;
        repeated += found.repeated;
    }
    // One revision for each event, none without one (I3).
    let events = told.events.fetch_add(recorded + repeated, SeqCst);
    if recovered != events + recorded {
        return Err(format!("{recovered} recovered, {events} acknowledged, {recorded} found"));
    }
    Ok(recorded > 0)
}

/// The revision of a server.
pub async fn revision(channel: &Channel) -> Result<u64, Status> {
    let statistics = AdminServiceClient::new(channel.clone())
        .get_statistics(GetStatisticsRequest::default())
        .await?;
    Ok(statistics.into_inner().revision.unwrap().revision)
}

/// Load that runs until the server is gone, refuses, or it is ended.
pub struct Load {
    tasks: Vec<JoinHandle<Population>>,
    told: Arc<Told>,
}

impl Load {
    /// Starts a task for each population, and one that writes checkpoints.
    pub fn start(
        populations: Vec<Population>,
        channel: &Channel,
        told: &Arc<Told>,
        random: &mut StdRng,
    ) -> Self {
        told.stop.store(false, SeqCst);
        let tasks = populations.into_iter().map(|population| {
            let worker = Worker {
                consent: ConsentServiceClient::new(channel.clone()),
                channel: channel.clone(),
                told: Arc::clone(told),
                random: StdRng::seed_from_u64(random.random()),
            };
            tokio::spawn(worker.work(population))
        });
        let tasks = tasks.collect();
        tokio::spawn(checkpoint(AdminServiceClient::new(channel.clone()), Arc::clone(told)));
        Self { tasks, told: Arc::clone(told) }
    }

    /// Whether every task has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.tasks.iter().all(JoinHandle::is_finished)
    }

    /// Ends it, when every request has been answered.
    pub async fn stop(&mut self) {
        self.told.stop.store(true, SeqCst);
        for _ in 0..6_000 {
            if self.has_ended() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("a request was never answered");
    }

    /// Ends it and gives the contacts back.
    pub async fn end(mut self) -> Vec<Population> {
        // A killed server breaks connections; nothing waits for long.
        self.stop().await;
        let mut populations = Vec::new();
        for task in self.tasks {
            populations.push(task.await.unwrap());
        }
        populations
    }
}

struct Worker {
    consent: ConsentServiceClient<Channel>,
    channel: Channel,
    told: Arc<Told>,
    random: StdRng,
}

impl Worker {
    async fn work(mut self, mut population: Population) -> Population {
        let contacts = &mut population.contacts;
        while !self.told.stop.load(SeqCst) {
            let done = match population.task {
                Task::Record => self.record(contacts).await,
                Task::Import(kind) => self.import(contacts, kind).await,
                Task::Suppress => self.suppress(contacts).await,
            };
            if done.is_err() {
                break;
            }
        }
        population
    }

    async fn record(&mut self, contacts: &mut [Contact]) -> Result<(), Status> {
        let first = self.random.random_range(0..contacts.len() - 5);
        let few = first..first + self.random.random_range(1..=5);
        let sent = self.told.moment();
        let mut say = |contact: &mut Contact| contact.say(self.random.random_range(0..4), sent);
        let events: Vec<_> = contacts[few.clone()].iter_mut().map(&mut say).collect();
        let count = events.len() as u64;
        let response = self.consent.record(RecordRequest { events }).await?.into_inner();
        self.acknowledge(&mut contacts[few.clone()], &response.results, count, response.revision);
        if self.random.random_ratio(1, 4) {
            // A batch sent after an acknowledgement reflects it (I4).
            self.look(&contacts[few]).await;
        }
        Ok(())
    }

    async fn suppress(&mut self, contacts: &mut Vec<Contact>) -> Result<(), Status> {
        // Behind all phones of those who record.
        let next = 1_000 + contacts.len() as u64;
        let sent = self.told.moment();
        contacts.extend((next..next + 3).map(|number| Contact::new(ContactKind::Phone, number)));
        let last = contacts.len() - 3..contacts.len();
        let suppressions: Vec<_> =
            contacts[last.clone()].iter_mut().map(|contact| contact.bounce(sent)).collect();
        let request = SuppressRequest { suppressions };
        let response = self.consent.suppress(request).await?.into_inner();
        self.acknowledge(&mut contacts[last.clone()], &response.results, 3, response.revision);
        self.look(&contacts[last]).await;
        Ok(())
    }

    fn acknowledge(
        &self,
        contacts: &mut [Contact],
        results: &[EventResult],
        count: u64,
        revision: Option<Revision>,
    ) {
        assert!(results.iter().all(|result| result.outcome() == Outcome::Applied));
        let moment = self.told.acknowledge(count, revision);
        contacts.iter_mut().for_each(|contact| contact.acknowledged(moment));
    }

    /// Filters contacts of which nothing is in doubt.
    async fn look(&self, contacts: &[Contact]) {
        if let Err(wrong) = glance(contacts, &self.channel).await {
            self.told.wrong.lock().unwrap().get_or_insert(wrong);
        }
    }

    /// Imports new contacts, and changes of those before.
    async fn import(
        &mut self,
        contacts: &mut Vec<Contact>,
        kind: ContactKind,
    ) -> Result<(), Status> {
        let next = contacts.len() as u64;
        contacts.extend((next..next + ADDED).map(|number| Contact::new(kind, number)));
        let first = contacts.len().saturating_sub(400);
        let sent = self.told.moment();
        let items: Vec<ImportItem> = contacts[first..]
            .iter_mut()
            .map(|contact| Change::Consent(contact.say(self.random.random_range(0..4), sent)))
            .map(|change| ImportItem { change: Some(change) })
            .collect();
        let count = items.len();
        let mut chunks = Vec::new();
        let mut rest = items.as_slice();
        while !rest.is_empty() {
            let (chunk, others) = rest.split_at(self.random.random_range(1..=rest.len().min(80)));
            chunks.push(ImportRequest { items: chunk.to_vec(), dry_run: false });
            rest = others;
        }
        let mut answers = self.consent.import(tokio_stream::iter(chunks)).await?.into_inner();
        let mut done = 0;
        while let Some(answer) = answers.message().await? {
            assert_eq!((answer.applied, answer.rejected), (answer.done, 0));
            let now = answer.done as usize;
            let moment = self.told.acknowledge((now - done) as u64, answer.revision);
            contacts[first + done..first + now].iter_mut().for_each(|it| it.acknowledged(moment));
            done = now;
        }
        if done < count { Err(Status::unknown("the import broke off")) } else { Ok(()) }
    }
}

async fn checkpoint(mut client: AdminServiceClient<Channel>, told: Arc<Told>) {
    while !told.stop.load(SeqCst) && client.checkpoint(CheckpointRequest {}).await.is_ok() {
        told.checkpoints.fetch_add(1, SeqCst);
        // Beside commits, not instead of them.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
