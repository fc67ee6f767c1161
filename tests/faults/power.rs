//! Power cuts (F2): whatever was not synced is gone, at any moment from the
//! making of the store on. The copy that is left opens with all that had been
//! acknowledged by then.

use std::{fs, time::Duration};

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use sendgate::proto::v1::{PurgeRequest, admin_service_client::AdminServiceClient};

use crate::{
    campaign::Campaign,
    journal::{Disk, Journal, Unsynced},
    load::{Load, Population, Told, populations, revision},
    oracle::hold_at,
    process::{Process, connect},
    shim::{Shim, Word, operation},
};

/// Cuts taken from one run of a server.
const CUTS_A_RUN: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_survives_a_power_cut() {
    let mut campaign = Campaign::new("F2", "power cut", CUTS_A_RUN as u64);
    let mut empty = 0;
    while campaign.next() {
        let run = Run::of(&mut campaign.random, 0).await;
        let mut cuts = run.moments(&mut campaign.random);
        // Once at the very end, when everything has been acknowledged.
        cuts.push(u64::MAX);
        for cut in &cuts {
            let unsynced =
                if campaign.random.random() { Unsynced::Dropped } else { Unsynced::Torn };
            let held = run.cut(*cut, unsynced, &mut campaign.random).await;
            empty += u64::from(
                held.unwrap_or_else(|what| panic!("cut at {cut}, {unsynced:?}: {what}")) == 0,
            );
        }
        campaign.count(cuts.len() as u64 - 1);
    }
    campaign.note(format!("{empty} before the first acknowledgement"));
    a_disk_that_lies_is_caught(&mut campaign).await;
}

/// The control: from some moment on the disk says that it synced, and did not.
async fn a_disk_that_lies_is_caught(campaign: &mut Campaign) {
    let run = Run::of(&mut campaign.random, operation::SYNC).await;
    for cut in 1..=20 {
        let mut moments = run.moments(&mut campaign.random);
        let moment = moments.pop().unwrap();
        if run.cut(moment, Unsynced::Dropped, &mut campaign.random).await.is_err() {
            campaign.caught(format!("syncs that are not done, at cut {cut}"));
            return;
        }
    }
    panic!("twenty cuts of a disk that syncs nothing went unnoticed");
}

/// A server's life under load, from the making of its store on, with the journal
/// of its disk and what its driver knows.
struct Run {
    shim: Shim,
    told: std::sync::Arc<Told>,
    people: Vec<Population>,
}

impl Run {
    /// `drops` are operations that are not done and reported as done, once the
    /// store exists.
    async fn of(random: &mut StdRng, drops: u64) -> Self {
        let shim = Shim::with_journal();
        let told = Told::new(Some(shim.journal()));
        let mut people = populations();
        for life in 0..2 {
            let (mut process, address) = shim.serve().unwrap();
            shim.set(Word::Drops, drops.cast_signed());
            let channel = connect(address).await;
            let load = Load::start(people, &channel, &told, random);
            tokio::time::sleep(Duration::from_millis(random.random_range(300..600))).await;
            if life == 0 {
                // Tables, manifests and their names come and go as well.
                drop(AdminServiceClient::new(channel.clone()).purge(PurgeRequest {}).await);
            }
            people = load.end().await;
            told.held().unwrap();
            // Ended, not killed: nothing is in doubt between two lives.
            tokio::time::sleep(Duration::from_millis(50)).await;
            process.kill();
            if drops != 0 {
                break;
            }
        }
        Self { shim, told, people }
    }

    /// Moments to cut at: right before and behind any operation.
    fn moments(&self, random: &mut StdRng) -> Vec<u64> {
        let all = Journal::read(&self.shim.journal()).moments();
        let mut some: Vec<u64> = all.sample(random, CUTS_A_RUN - 1).copied().collect();
        some.sort_unstable();
        some
    }

    /// Starts a server on what a cut at this moment leaves and holds it against
    /// what was known then; returns its revision.
    async fn cut(
        &self,
        moment: u64,
        unsynced: Unsynced,
        random: &mut StdRng,
    ) -> Result<u64, String> {
        let place = tempfile::tempdir().unwrap();
        let mut disk = Disk::default();
        Journal::read(&self.shim.journal()).replay(&mut disk, moment);
        disk.write(place.path(), unsynced, random);
        let (_process, address) = Process::serve(&place.path().join("data"))?;
        let channel = connect(address).await;
        let recovered = revision(&channel).await.map_err(|status| status.to_string())?;
        // The policy is an event too, and not one of the driver's.
        let (mut acknowledged, mut sent) = (1, 1);
        for population in &self.people {
            let (done, begun) = hold_at(&population.contacts, &channel, moment).await?;
            acknowledged += done;
            sent += begun;
        }
        let least = self.told.revision_at(moment);
        // One revision for each event, none without one (I3).
        if recovered < least || recovered < acknowledged || recovered > sent {
            return Err(format!(
                "revision {recovered} recovered; {least} acknowledged, and {acknowledged} to {sent} events"
            ));
        }
        Ok(least)
    }
}

/// The replay against a journal written by hand.
#[test]
fn a_replay_keeps_what_was_synced_and_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let entry = |what: u64, opening: u64, place: u64, bytes: &[u8]| {
        let header = [what, opening, place, bytes.len() as u64].map(u64::to_le_bytes).concat();
        [&header, bytes].concat()
    };
    let entries = [
        entry(7, 0, 0, b"data"),
        entry(1, 1, 0, b""),
        entry(4, 1, 0, b""),
        entry(1, 2, 0, b"data/new"),
        entry(2, 2, 0, b"abc"),
        entry(4, 2, 0, b""),
        entry(1, 3, 0, b"data"),
        entry(4, 3, 0, b""),
        entry(2, 2, 3, b"def"),
        entry(5, 0, 0, b"data/new\0data/old"),
    ];
    let journal = place.path().join("journal");
    fs::write(&journal, entries.concat()).unwrap();
    let moments = Journal::read(&journal).moments();
    assert_eq!(moments.len(), entries.len());
    let mut random = rand::make_rng();
    let mut left = |operations: usize| {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Disk::default();
        Journal::read(&journal).replay(&mut disk, moments[operations - 1]);
        disk.write(folder.path(), Unsynced::Dropped, &mut random);
        let read = |name| fs::read(folder.path().join(name)).ok();
        (read("data/new"), read("data/old"))
    };
    // Synced, but nobody knows its name; then known; then renamed and not synced.
    assert_eq!(left(6), (None, None));
    assert_eq!(left(8), (Some(b"abc".to_vec()), None));
    assert_eq!(left(10), (Some(b"abc".to_vec()), None));
}
