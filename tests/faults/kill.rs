//! SIGKILL (F1) at random moments under mixed load, and at named points: around
//! a commit, in a checkpoint, in the database's own flushes and merges, and in
//! the recovery from the kill before. What was acknowledged holds, and nothing
//! else is permitted.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use rand::{RngExt, rngs::StdRng};
use sendgate::proto::v1::{
    CheckpointRequest, PurgeRequest, admin_service_client::AdminServiceClient,
};
use tonic::transport::Channel;

use crate::{
    campaign::Campaign,
    load::{Load, Told, check, populations},
    process::{Process, connect, run},
    shim::{
        Action::{self, KillAfter, KillAtAnswer, KillBefore},
        Shim, Word, kind, operation,
    },
};

/// Where a kill may land.
struct Point {
    name: &'static str,
    during: While,
    operations: u64,
    kinds: u64,
    action: Action,
}

/// What the server is doing then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum While {
    /// Serving; the kill comes at any moment.
    Serving,
    Committing,
    Checkpoint,
    Merge,
    Recovery,
}

const fn point(
    name: &'static str,
    during: While,
    operations: u64,
    kinds: u64,
    action: Action,
) -> Point {
    Point { name, during, operations, kinds, action }
}

const POINTS: [Point; 9] = [
    point("at random", While::Serving, 0, 0, KillBefore),
    point("before the log", While::Committing, operation::WRITE, kind::LOG, KillBefore),
    point("before its sync", While::Committing, operation::SYNC, kind::LOG, KillBefore),
    point("synced, not shown", While::Committing, operation::SYNC, kind::LOG, KillAfter),
    point("not acknowledged", While::Committing, operation::SYNC, kind::LOG, KillAtAnswer),
    point("at HEAD", While::Committing, operation::CHANGE, kind::HEAD, KillBefore),
    point("in a checkpoint", While::Checkpoint, operation::WRITE, kind::LOG, KillAfter),
    point("in a flush or merge", While::Merge, operation::CHANGE, kind::LEDGER, KillBefore),
    point("in recovery", While::Recovery, operation::ANY, kind::LEDGER, KillBefore),
];

impl Point {
    /// The kill comes at one of the next so many operations.
    fn arm(&self, shim: &Shim, most: u64, random: &mut StdRng) {
        shim.arm(self.action, self.operations, self.kinds, random.random_range(1..=most));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_survives_sigkill_and_nothing_else_is_permitted() {
    let mut campaign = Campaign::new("F1", "SIGKILL", 36);
    let shim = Shim::new();
    let told = Told::new(None);
    let mut people = populations();
    // A store that exists; interrupted makings come with the power cuts.
    drop(shim.serve().unwrap());

    let mut landed: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut committing, mut unacknowledged) = (0, 0);
    // Operations of a recovery, counted by the one before.
    let mut steps = 100;
    let mut points = POINTS.iter().cycle();
    while campaign.next()
        && let Some(point) = points.next()
    {
        if point.during == While::Recovery {
            point.arm(&shim, steps, &mut campaign.random);
            drop(shim.serve());
            *landed.entry(point.name).or_default() += u64::from(shim.has_fired());
        }
        // Nothing fires, but every step is counted.
        shim.arm(KillBefore, operation::ANY, kind::LEDGER, u64::MAX);
        let (mut process, address) = shim.serve().unwrap();
        steps = shim.get(Word::Hits).max(1).cast_unsigned();
        shim.disarm();
        let channel = connect(address).await;
        unacknowledged += u64::from(check(&mut people, &channel, &told).await.unwrap());

        let mut load = Load::start(people, &channel, &told, &mut campaign.random);
        let before = campaign.random.random_range(1..150);
        tokio::time::sleep(Duration::from_millis(before)).await;
        match point.during {
            While::Serving | While::Recovery => {}
            While::Committing => {
                point.arm(&shim, 20, &mut campaign.random);
                wait(|| shim.has_fired()).await;
            }
            While::Checkpoint | While::Merge => {
                // Alone, so that every operation is one of it.
                load.stop().await;
                provoke(&shim, point, &channel, &mut campaign.random).await;
            }
        }
        let lands = shim.has_fired() || point.during == While::Serving;
        *landed.entry(point.name).or_default() += u64::from(lands);
        process.kill();
        committing += u64::from(shim.get(Word::Committing) != 0);
        people = load.end().await;
    }
    let (process, address) = shim.serve().unwrap();
    check(&mut people, &connect(address).await, &told).await.unwrap();
    drop(process);

    let places: Vec<String> =
        landed.iter().map(|(name, count)| format!("{count} {name}")).collect();
    campaign.note(format!(
        "{}; {committing} between a write of the log and its sync, {unacknowledged} between a commit and \
         its acknowledgement; {} events",
        places.join(", "),
        told.events(),
    ));
    assert!(told.events() > 1_000, "there was no load");
    for Point { name, .. } in &POINTS {
        assert!(landed.get(name).is_some_and(|count| *count > 0), "no kill landed {name}");
    }
    verify(&shim.folder(), told.events());
    forgotten_writes_are_caught(&mut campaign).await;
}

/// Has the server write a checkpoint or rewrite its files, and kills it there.
async fn provoke(shim: &Shim, point: &Point, channel: &Channel, random: &mut StdRng) {
    let mut admin = AdminServiceClient::new(channel.clone());
    let most = if point.during == While::Merge { 60 } else { 2 };
    point.arm(shim, most, random);
    // It dies of it; if there was too little to do, of the next one.
    for _ in 0..3 {
        match point.during {
            While::Merge => drop(admin.purge(PurgeRequest {}).await),
            _ => drop(admin.checkpoint(CheckpointRequest {}).await),
        }
        if shim.has_fired() {
            return;
        }
    }
}

async fn wait(done: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while !done() && begun.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    done()
}

/// Verification follows the chain from revision 1 on: no gap, and no event more
/// or fewer than were recorded (I3).
fn verify(folder: &Path, events: u64) {
    let folder = folder.as_os_str();
    let output = run(&["verify".as_ref(), "--json".as_ref(), "--data".as_ref(), folder], b"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["ok"], &report["events"]), (&true.into(), &events.into()), "{report}");
}

/// The control: a server whose log and HEAD never reach the kernel.
async fn forgotten_writes_are_caught(campaign: &mut Campaign) {
    let shim = Shim::new();
    drop(shim.serve().unwrap());
    let (mut process, address) = shim.serve().unwrap();
    let (told, people) = (Told::new(None), populations());
    shim.set(Word::Drops, (operation::WRITE | operation::SYNC).cast_signed());
    let load = Load::start(people, &connect(address).await, &told, &mut campaign.random);
    assert!(wait(|| told.events() > 100).await, "there was no load");
    process.kill();
    let mut people = load.end().await;
    shim.set(Word::Drops, 0);
    let (_process, address): (Process, _) = shim.serve().unwrap();
    let held = check(&mut people, &connect(address).await, &told).await;
    assert!(held.is_err(), "a loss was not noticed");
    campaign.caught("writes that never reach the kernel");
}
