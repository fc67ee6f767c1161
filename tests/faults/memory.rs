//! Memory (F23). What an import takes is bounded by the caps, so a giant one
//! stays below a bound that can be stated. Where the system allows less, the
//! import is refused before it is too late, and others are served. And where an
//! allocation fails all the same, the process ends as by SIGKILL, and a restart
//! has lost nothing.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use rand::RngExt;
use sendgate::proto::v1::{
    ContactKind, ImportItem, ImportRequest, consent_service_client::ConsentServiceClient,
    import_item::Change,
};
use tonic::{Code, Status, transport::Channel};

use crate::{
    campaign::Campaign,
    load::{Load, Told, check, populations, revision},
    oracle::{Contact, ask},
    process::{Process, connect, sendgate, without_settings},
    support::grant,
};

/// What a server may take, in KiB: a full queue of the writer with texts as long
/// as they may be (600 MB), the database's buffers (256 MB) and cache (256 MB),
/// messages on their way, and half a gigabyte for what the contacts themselves
/// take and the allocator keeps.
const BOUND_KIB: u64 = 1_750_000;
/// Imports at the same time.
const IMPORTS: u64 = 4;
/// Items of a chunk: with these texts a chunk nearly fills a message.
const CHUNK: u64 = 2_000;
/// From before every clock.
const LONG_AGO: i64 = 1_600_000_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_giant_import_stays_below_a_bound_and_others_are_served() {
    let mut campaign = Campaign::new("F23", "giant import", 1);
    let folder = tempfile::tempdir().unwrap();
    let (process, address) = Process::serve(folder.path()).unwrap();
    let before = peak_kib(&process);
    let chunks = if Campaign::is_long() { 25 } else { 4 };
    let mut round = 0;
    let mut slowest = Duration::ZERO;
    while campaign.next() {
        let imports: Vec<_> = (0..IMPORTS)
            .map(|import| (round * IMPORTS + import) * chunks * CHUNK)
            .map(|from| {
                tokio::spawn(
                    async move { import(connect(address).await, from, chunks, false).await },
                )
            })
            .collect();
        round += 1;
        // Somebody else, on a connection of their own.
        let channel = connect(address).await;
        let strangers: Vec<Contact> =
            (0..100).map(|number| Contact::new(ContactKind::Phone, number)).collect();
        while !imports.iter().all(tokio::task::JoinHandle::is_finished) {
            let begun = Instant::now();
            ask(&strangers, &channel).await.expect("filters are served beside an import");
            slowest = slowest.max(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for import in imports {
            import.await.unwrap().unwrap();
        }
        // A second round would measure what the first has left behind.
        if Campaign::is_long() && round >= 4 {
            break;
        }
    }
    let peak = peak_kib(&process);
    campaign.note(format!(
        "{} items of 1.5 KB: peak {} MiB of {} allowed, {} before; slowest filter {slowest:?}",
        round * IMPORTS * chunks * CHUNK,
        peak / 1_024,
        BOUND_KIB / 1_024,
        before / 1_024
    ));
    assert!(peak < BOUND_KIB, "{peak} KiB");
    // The control: the measure measures.
    assert!(peak > before + 20_000, "{before} KiB before, {peak} KiB after");
    campaign.caught("a bound of 20 MiB would have been broken");
}

/// What the system allows: what a server takes at rest, the reserve that it
/// keeps, and room for some rounds of imports.
const ALLOWED_KIB: u64 = 480_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_import_that_memory_may_not_hold_is_refused_and_others_are_served() {
    let mut campaign = Campaign::new("F23", "memory cap", 1);
    let mut taken = Vec::new();
    while campaign.next() {
        let folder = tempfile::tempdir().unwrap();
        let (mut process, address) =
            Process::serve_by(limited(ALLOWED_KIB), folder.path(), "127.0.0.1:0").unwrap();
        let channel = connect(address).await;
        let strangers: Vec<Contact> =
            (0..100).map(|number| Contact::new(ContactKind::Phone, number)).collect();
        let mut rounds = 0;
        let refused = loop {
            assert!(rounds < 60, "memory never ran short");
            let from = rounds * IMPORTS * CHUNK;
            let imports = (0..IMPORTS)
                .map(|which| tokio::spawn(import(channel.clone(), from + which * CHUNK, 1, false)));
            let imports: Vec<_> = imports.collect();
            let mut ended = Vec::new();
            for import in imports {
                ended.push(import.await.unwrap());
            }
            ask(&strangers, &channel).await.expect("filters are served");
            if let Some(status) = ended.into_iter().find_map(Result::err) {
                break status;
            }
            rounds += 1;
        };
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(refused.message().contains("memory"), "{refused}");
        let acknowledged = revision(&channel).await.unwrap();
        for _ in 0..50 {
            ask(&strangers, &channel).await.expect("filters are served beside what was refused");
        }
        assert!(process.ended().is_none(), "it is refused, not aborted");
        process.kill();
        let (_process, address) = Process::serve(folder.path()).unwrap();
        assert_eq!(revision(&connect(address).await).await.unwrap(), acknowledged);
        assert!(acknowledged > CHUNK, "nothing was taken before");
        taken.push(acknowledged);
    }
    campaign.note(format!("{taken:?} events taken before the refusal"));
}

/// Imports so many chunks of events with texts as long as they may be.
async fn import(channel: Channel, from: u64, chunks: u64, dry_run: bool) -> Result<(), Status> {
    let item = |number: u64| {
        let mut event = grant(&format!("+{}", 905_300_000_000 + number), LONG_AGO);
        event.source = "s".repeat(256);
        event.event_key = format!("{number:0>128}");
        event.evidence = Some(sendgate::proto::v1::Evidence {
            uri: "u".repeat(1_024),
            ..sendgate::proto::v1::Evidence::default()
        });
        ImportItem { change: Some(Change::Consent(event)) }
    };
    let chunks = (0..chunks).map(move |chunk| ImportRequest {
        items: (from + chunk * CHUNK..from + (chunk + 1) * CHUNK).map(item).collect(),
        dry_run,
    });
    let mut client = ConsentServiceClient::new(channel);
    let mut answers = client.import(tokio_stream::iter(chunks)).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        assert_eq!(answer.rejected, 0, "{:?}", answer.rejections.first());
    }
    Ok(())
}

/// The most memory that a process has had, in KiB.
fn peak_kib(process: &Process) -> u64 {
    kib(process, "VmHWM:")
}

/// What the system says of a process's memory, in KiB.
fn kib(process: &Process, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_gets_no_memory_loses_nothing() {
    let mut campaign = Campaign::new("F23", "memory withheld", 4);
    let folder = tempfile::tempdir().unwrap();
    let told = Told::new(None);
    let mut people = populations();
    drop(Process::serve(folder.path()).unwrap());
    let mut ended = 0;
    while campaign.next() {
        let (mut process, address) = Process::serve(folder.path()).unwrap();
        let channel = connect(address).await;
        check(&mut people, &channel, &told).await.unwrap();
        let load = Load::start(people, &channel, &told, &mut campaign.random);
        tokio::time::sleep(Duration::from_millis(100)).await;
        // From now on there is next to nothing more to be had.
        let space = kib(&process, "VmData:") * 1_024 + campaign.random.random_range(0..4 << 20);
        let mut withhold = Command::new("prlimit");
        withhold.arg(format!("--pid={}", process.id())).arg(format!("--data={space}"));
        assert!(withhold.status().expect("prlimit of util-linux").success());
        // What is only tried out takes memory too, and leaves nothing behind.
        for from in 0..IMPORTS {
            tokio::spawn(import(channel.clone(), from * 3 * CHUNK, 3, true));
        }
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if process.ended().is_some() {
                ended += 1;
                break;
            }
        }
        process.kill();
        people = load.end().await;
    }
    let (_process, address) = Process::serve(folder.path()).unwrap();
    check(&mut people, &connect(address).await, &told).await.unwrap();
    campaign.note(format!("{ended} ended by themselves, the others went on"));
}

/// The binary with this much memory of its own.
fn limited(kib: u64) -> Command {
    let mut command = without_settings(Command::new("sh"));
    command
        .args(["-c", "ulimit -d \"$0\" && exec \"$@\"", &kib.to_string()])
        .arg(sendgate().get_program());
    command
}
