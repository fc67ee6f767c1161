//! A sync or a write that fails once and then works again (F7). The kernel may
//! have dropped what it could not write, so the first failure is final (A10):
//! nothing more is acknowledged, the server ends and says why, and a restart is
//! clean.

use std::{collections::BTreeSet, time::Duration};

use rand::RngExt;
use sendgate::proto::v1::{PurgeRequest, admin_service_client::AdminServiceClient};

use crate::{
    campaign::Campaign,
    full::stops,
    load::{Load, Told, check, populations},
    process::connect,
    shim::{Action, Shim, Word, kind, operation},
};

/// Failures in the long run are of every sync from the first to this one.
const SYNCS: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sync_or_write_that_fails_once_ends_the_server() {
    let mut campaign = Campaign::new("F7", "EIO once", 12);
    let shim = Shim::new();
    let told = Told::new(None);
    let mut people = populations();
    drop(shim.serve().unwrap());
    let (mut reached, mut at_start) = (BTreeSet::new(), 0);
    let mut nth = campaign.random.random_range(0..SYNCS);
    while campaign.next() {
        // The syncs one after the other; writes and starts in between by chance.
        let is_sync = campaign.random.random_ratio(2, 3);
        let what = if is_sync { operation::SYNC } else { operation::WRITE };
        nth =
            if Campaign::is_long() { nth % SYNCS + 1 } else { campaign.random.random_range(1..40) };
        if campaign.random.random_ratio(1, 6) {
            shim.arm(Action::Fail, what, kind::LEDGER, nth % 8 + 1);
            if let Err(log) = shim.serve() {
                at_start += 1;
                assert!(shim.has_fired() && !log.contains("panicked"), "{log}");
                assert!(log.contains("Input/output error"), "it does not say why: {log}");
            }
            shim.disarm();
        }
        let (process, address) = shim.serve().unwrap();
        let channel = connect(address).await;
        check(&mut people, &channel, &told).await.unwrap();
        shim.arm(Action::Fail, what, kind::LEDGER, nth);
        let load = Load::start(people, &channel, &told, &mut campaign.random);
        // Tables and manifests are written and synced as well.
        let merges = campaign.random.random_ratio(1, 3);
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if merges {
                drop(AdminServiceClient::new(channel.clone()).purge(PurgeRequest {}).await);
            }
            if shim.has_fired() {
                break;
            }
        }
        if shim.has_fired() {
            reached.insert((what, nth));
            stops(process).await;
        } else {
            drop(process);
        }
        people = load.end().await;
        shim.disarm();
    }
    let (_process, address) = shim.serve().unwrap();
    check(&mut people, &connect(address).await, &told).await.unwrap();
    let syncs = reached.iter().filter(|(what, _)| *what == operation::SYNC).count();
    let writes = reached.len() - syncs;
    campaign
        .note(format!("{syncs} different syncs, {writes} different writes, {at_start} at a start"));
    assert!(!reached.is_empty(), "nothing failed");
    a_server_that_goes_on_is_caught(&mut campaign).await;
}

/// The control: a failure that is swallowed, as by a server that tries again.
async fn a_server_that_goes_on_is_caught(campaign: &mut Campaign) {
    let shim = Shim::new();
    drop(shim.serve().unwrap());
    let (mut process, address) = shim.serve().unwrap();
    let told = Told::new(None);
    shim.set(Word::Drops, (operation::SYNC | operation::WRITE).cast_signed());
    let channel = connect(address).await;
    let load = Load::start(populations(), &channel, &told, &mut campaign.random);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let goes_on = process.ended().is_none() && told.events() > 1;
    process.kill();
    load.end().await;
    assert!(goes_on, "what is swallowed cannot be seen by the server");
    campaign.caught("a swallowed failure: the server goes on, and acknowledges");
}
