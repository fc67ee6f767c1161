//! Disks that fill up (F6): in commits, flushes and checkpoints. Nothing is
//! acknowledged that is not there, reads go on or refuse, and once there is room
//! again a restart is all it takes.

use std::{fs, path::Path, process::Command, sync::Arc, time::Duration};

use rand::{RngExt, rngs::StdRng};
use sendgate::proto::v1::{PurgeRequest, admin_service_client::AdminServiceClient};
use tonic::transport::Channel;

use crate::{
    campaign::Campaign,
    load::{Load, Population, Told, check, populations},
    oracle::glance,
    process::{Process, connect},
    shim::{Shim, Word, operation},
};

/// How a server says that its disk failed, and what to do.
pub const SAYS: &str = "the ledger could not be written";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_disk_loses_nothing_and_serves_again_once_there_is_room() {
    let mut campaign = Campaign::new("F6", "disk full", 10);
    let shim = Shim::new();
    let told = Told::new(None);
    let mut people = populations();
    drop(shim.serve().unwrap());
    let (mut filled, mut refused_to_start) = (0, 0);
    while campaign.next() {
        let (process, address) = shim.serve().unwrap();
        let channel = connect(address).await;
        check(&mut people, &channel, &told).await.unwrap();
        // From a commit's worth up to a flush's.
        let scale = campaign.random.random_range(1..20);
        let room = campaign.random.random_range(0..1_i64 << scale);
        shim.set(Word::Refused, 0);
        shim.set(Word::Room, room);
        shim.set(Word::Limited, 1);
        people = fill(people, &channel, &told, &mut campaign.random).await;
        if shim.get(Word::Refused) > 0 {
            filled += 1;
            stops(process).await;
        } else {
            drop(process);
        }
        // A start on a disk that is still full comes up, or says why not.
        if let Err(log) = shim.serve() {
            refused_to_start += 1;
            assert!(!log.contains("panicked") && log.contains("No space left"), "{log}");
        }
        shim.set(Word::Limited, 0);
    }
    let (_process, address) = shim.serve().unwrap();
    check(&mut people, &connect(address).await, &told).await.unwrap();
    campaign
        .note(format!("{filled} filled under load, {refused_to_start} starts refused while full"));
    assert!(filled > 0, "no disk was ever full");
    dropped_bytes_are_caught(&mut campaign).await;
}

/// Loads a server until it refuses, with a rewrite of its files beside; then
/// holds what it still answers.
async fn fill(
    people: Vec<Population>,
    channel: &Channel,
    told: &Arc<Told>,
    random: &mut StdRng,
) -> Vec<Population> {
    let load = Load::start(people, channel, told, random);
    let merges = random.random();
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if load.has_ended() {
            break;
        }
        if merges {
            drop(AdminServiceClient::new(channel.clone()).purge(PurgeRequest {}).await);
        }
    }
    let people = load.end().await;
    for population in &people {
        glance(&population.contacts, channel).await.unwrap();
    }
    people
}

/// A server whose disk has failed ends, and says why (A10).
pub async fn stops(mut process: Process) {
    for _ in 0..300 {
        if process.ended().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(process.ended().is_some(), "it goes on after a failed write");
    let (status, log) = process.end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains(SAYS), "{log}");
}

/// The control: a disk that drops what does not fit, and says nothing.
async fn dropped_bytes_are_caught(campaign: &mut Campaign) {
    let shim = Shim::new();
    drop(shim.serve().unwrap());
    let (mut process, address) = shim.serve().unwrap();
    let (told, people) = (Told::new(None), populations());
    shim.set(Word::Drops, operation::WRITE.cast_signed());
    let people = fill(people, &connect(address).await, &told, &mut campaign.random).await;
    process.kill();
    shim.set(Word::Drops, 0);
    let mut people = people;
    let held = match shim.serve() {
        Ok((_process, address)) => {
            check(&mut people, &connect(address).await, &told).await.map(drop)
        }
        Err(log) => Err(log),
    };
    assert!(held.is_err(), "a loss was not noticed");
    campaign.caught("a full disk that drops what does not fit");
}

/// The same on a real file system, where this process may mount one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_small_file_system_that_is_full_loses_nothing() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::at(place.path(), "24m") else {
        println!("F6: no file system may be mounted here, so none was filled");
        return;
    };
    let mut campaign = Campaign::new("F6", "tmpfs full", 2);
    let folder = disk.0.join("data");
    let ballast = disk.0.join("ballast");
    let (mut told, mut people) = (Told::new(None), populations());
    while campaign.next() {
        let (mut process, mut channel) = holds(&folder, &mut people, &told).await;
        if free(disk.0) < ROOM {
            // A ledger keeps every event: some hundred trials fill the disk by
            // themselves, and what fails then is not what was asked.
            drop(process);
            fs::remove_dir_all(&folder).unwrap();
            (told, people) = (Told::new(None), populations());
            (process, channel) = holds(&folder, &mut people, &told).await;
        }
        // All but a little of what is left.
        let left = campaign.random.random_range(0..200_000);
        let free = free(disk.0).saturating_sub(left);
        fs::write(&ballast, vec![0; free]).unwrap();
        people = fill(people, &channel, &told, &mut campaign.random).await;
        stops(process).await;
        fs::remove_file(&ballast).unwrap();
    }
    drop(holds(&folder, &mut people, &told).await);
}

/// Bytes that a trial finds free at least.
const ROOM: usize = 8 << 20;

/// Starts a server, which must answer as it was told.
async fn holds(folder: &Path, people: &mut [Population], told: &Arc<Told>) -> (Process, Channel) {
    let (process, address) = Process::serve(folder).unwrap();
    let channel = connect(address).await;
    check(people, &channel, told).await.unwrap();
    (process, channel)
}

/// A mounted file system, unmounted when dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn at(place: &'a Path, size: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(place);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self(place))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0).status());
    }
}

/// Free bytes of a file system.
fn free(place: &Path) -> usize {
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(place).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().nth(1).unwrap().trim().parse().unwrap()
}
