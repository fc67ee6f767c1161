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
    shim::{Action, Shim, Word, kind, operation},
};

/// Where a kill may land: its name, how it is done there, and while what.
const POINTS: [(&str, While, Action, u64, u64); 9] = [
    ("at random", While::Load, Action::KillBefore, 0, 0),
    ("before the log", While::Load, Action::KillBefore, operation::WRITE, kind::LOG),
    ("before its sync", While::Load, Action::KillBefore, operation::SYNC, kind::LOG),
    ("synced, not shown", While::Load, Action::KillAfter, operation::SYNC, kind::LOG),
    ("not acknowledged", While::Load, Action::KillAtAnswer, operation::SYNC, kind::LOG),
    ("at HEAD", While::Load, Action::KillBefore, operation::WRITE | operation::SYNC, kind::HEAD),
    ("in a checkpoint", While::Checkpoint, Action::KillBefore, operation::WRITE, kind::LOG),
    ("in a flush or merge", While::Merge, Action::KillBefore, CHANGE, kind::LEDGER),
    ("in recovery", While::Recovery, Action::KillBefore, operation::ANY, kind::LEDGER),
];
/// All but reading.
const CHANGE: u64 = operation::ANY & !operation::READ;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum While {
    Load,
    Checkpoint,
    Merge,
    Recovery,
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
    let (mut committing, mut unacknowledged, mut turn) = (0, 0, 0);
    // Operations of a recovery, counted by the one before.
    let mut steps = 100;
    while campaign.next() {
        let (name, during, action, operations, kinds) = POINTS[turn % POINTS.len()];
        turn += 1;
        if during == While::Recovery {
            shim.arm(action, operations, kinds, campaign.random.random_range(1..=steps));
            let started = shim.serve();
            *landed.entry(name).or_default() += u64::from(shim.has_fired());
            drop(started);
        }
        // Nothing fires, but every step is counted.
        shim.arm(Action::KillBefore, operation::ANY, kind::LEDGER, i64::MAX.cast_unsigned());
        let (mut process, address) = shim.serve().unwrap();
        steps = shim.get(Word::Hits).max(1).cast_unsigned();
        shim.disarm();
        let channel = connect(address).await;
        let held = check(&mut people, &channel, &told).await;
        unacknowledged += u64::from(held.unwrap());

        let load = Load::start(people, &channel, &told, &mut campaign.random);
        let before = campaign.random.random_range(1..150);
        tokio::time::sleep(Duration::from_millis(before)).await;
        let fires = match during {
            While::Recovery => false,
            _ if operations == 0 => false,
            While::Load => {
                shim.arm(action, operations, kinds, campaign.random.random_range(1..=20));
                wait(|| shim.has_fired()).await
            }
            While::Checkpoint | While::Merge => {
                // Alone, so that every operation is one of it.
                people = load.end().await;
                provoke(&shim, during, &channel, &mut campaign.random).await;
                let fires = shim.has_fired();
                let is_open = shim.get(Word::Committing) != 0;
                process.kill();
                *landed.entry(name).or_default() += u64::from(fires);
                committing += u64::from(is_open);
                continue;
            }
        };
        if during != While::Recovery {
            *landed.entry(name).or_default() += u64::from(fires || operations == 0);
        }
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
    for (name, ..) in POINTS {
        assert!(landed.get(name).is_some_and(|count| *count > 0), "no kill landed {name}");
    }
    verify(&shim.folder(), told.events());
    forgotten_writes_are_caught(&mut campaign).await;
}

/// Has the server write a checkpoint or rewrite its files, and kills it there.
async fn provoke(shim: &Shim, during: While, channel: &Channel, random: &mut StdRng) {
    let (_, _, action, operations, kinds) =
        POINTS.into_iter().find(|point| point.1 == during).unwrap();
    let mut admin = AdminServiceClient::new(channel.clone());
    let most = if during == While::Merge { 60 } else { 2 };
    let after = if random.random() { Action::KillAfter } else { action };
    shim.arm(after, operations, kinds, random.random_range(1..=most));
    // It dies of it; if there was too little to do, of the next one.
    for _ in 0..3 {
        match during {
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
pub fn verify(folder: &Path, events: u64) {
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
