//! Starts of a server that has much to load (F22), after a SIGKILL and after a
//! stop in good order, probed a thousand times a second meanwhile: it answers
//! nothing before it is ready, and then at once what is right.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use sendgate::proto::v1::{
    ContactKind, ImportItem, ImportRequest, Reason, Suppression,
    consent_service_client::ConsentServiceClient, import_item::Change,
};
use tonic::transport::Channel;

use crate::{
    campaign::{Campaign, number},
    load::revision,
    oracle::filter,
    process::{Process, connect, sendgate},
    support::{grant, phone, withdrawal},
};

const FIRST: u64 = 905_300_000_000;
/// One contact of so many is suppressed, the others have consented.
const SUPPRESSED: u64 = 10;
const CHUNK: u64 = 5_000;
/// From before every clock.
const LONG_AGO: i64 = 1_600_000_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_loading_answers_nothing() {
    let mut campaign = Campaign::new("F22", "restart, probed", 2);
    // A million takes a minute to make, ten millions take ten.
    let usual = if Campaign::is_long() { 1_000_000 } else { 100_000 };
    let contacts = number("SENDGATE_TEST_CONTACTS").unwrap_or(usual);
    let folder = tempfile::tempdir().unwrap();
    let listen = free_address();
    let (mut process, _) = Process::serve_at(folder.path(), &listen.to_string()).unwrap();
    let channel = connect(listen).await;
    tell(&channel, contacts).await;
    let expected = revision(&channel).await.unwrap();
    let mut ready = Vec::new();
    while campaign.next() {
        process.kill();
        let mut starting = Process::launch_by(sendgate(), folder.path(), &listen.to_string());
        let start = probe(listen, contacts, expected).await;
        let Start { refused, took } = start.unwrap_or_else(|what| {
            starting.kill();
            panic!("{what}")
        });
        assert!(refused > 0, "it was ready before it was asked");
        ready.push(took);
        process = starting;
    }
    ready.sort_unstable();
    campaign.note(format!(
        "{contacts} contacts, revision {expected}; ready after {:?} to {:?}",
        ready[0],
        ready[ready.len() - 1]
    ));
    process.kill();
    wrong_answers_are_caught(&mut campaign, contacts, expected).await;
}

/// The control: a server that comes up without what it should have loaded.
async fn wrong_answers_are_caught(campaign: &mut Campaign, contacts: u64, expected: u64) {
    let listen = free_address();
    let folder = tempfile::tempdir().unwrap();
    let mut empty = Process::launch_by(sendgate(), folder.path(), &listen.to_string());
    let start = probe(listen, contacts, expected).await;
    empty.kill();
    assert!(start.is_err(), "an empty server passed for a loaded one");
    campaign.caught("a server that answers without its store");
}

/// What was seen of a start.
struct Start {
    /// Attempts that nobody answered.
    refused: u64,
    /// Until the first answer.
    took: Duration,
}

/// Knocks a thousand times a second, and holds the first answers to be right.
async fn probe(listen: SocketAddr, contacts: u64, expected: u64) -> Result<Start, String> {
    let begun = Instant::now();
    let mut refused = 0;
    while TcpStream::connect(listen).is_err() {
        refused += 1;
        if begun.elapsed() > Duration::from_secs(300) {
            return Err("it never came up".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let channel = connect(listen).await;
    for from in (0..contacts).step_by((contacts / 10) as usize) {
        let addresses: Vec<String> =
            (from..from + 2 * SUPPRESSED).map(|number| format!("+{}", FIRST + number)).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let found = filter(ContactKind::Phone, &addresses, &channel).await;
        for (number, found) in (from..).zip(found.map_err(|status| status.to_string())?) {
            let right = match number % SUPPRESSED {
                0 => [Reason::HardBounce, Reason::HardBounce],
                1 => [Reason::ContactOptOut, Reason::ContactOptOut],
                _ => [Reason::Permitted, Reason::Permitted],
            };
            if [found.individual, found.merchant] != right {
                return Err(format!("contact {number}: {found:?}, not {right:?}"));
            }
        }
    }
    let took = begun.elapsed();
    let recovered = revision(&channel).await.map_err(|status| status.to_string())?;
    if recovered == expected {
        Ok(Start { refused, took })
    } else {
        Err(format!("revision {recovered}"))
    }
}

/// Imports so many contacts.
async fn tell(channel: &Channel, contacts: u64) {
    let item = |number: u64| {
        let address = format!("+{}", FIRST + number);
        let change = match number % SUPPRESSED {
            0 => Change::Suppression(Suppression {
                brand: "main".to_owned(),
                contact: Some(phone(&address)),
                reason: Reason::HardBounce.into(),
                ..Suppression::default()
            }),
            1 => Change::Consent(withdrawal(&address, "", "", LONG_AGO)),
            _ => Change::Consent(grant(&address, LONG_AGO)),
        };
        ImportItem { change: Some(change) }
    };
    let chunks = (0..contacts).step_by(CHUNK as usize).map(move |from| ImportRequest {
        items: (from..(from + CHUNK).min(contacts)).map(item).collect(),
        dry_run: false,
    });
    let mut client = ConsentServiceClient::new(channel.clone());
    let mut answers = client.import(tokio_stream::iter(chunks)).await.unwrap().into_inner();
    let mut done = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        assert_eq!((answer.applied, answer.rejected), (answer.done, 0));
        done = answer.done;
    }
    assert_eq!(done, contacts);
}

/// A loopback address that nobody listens on now.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
