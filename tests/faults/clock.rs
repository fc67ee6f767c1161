//! Clocks that are set on and back by an hour or a year, or stand still (F9),
//! under the real server and across its restarts. What was seen to have ended
//! does not come back, a withdrawal holds whenever it was said, and the end of a
//! suppression comes no sooner than the clock says.

use std::{collections::BTreeSet, time::Duration};

use rand::{RngExt, seq::IndexedRandom};
use sendgate::clock::Clock;
use sendgate::proto::v1::{
    ConsentEvent, ContactKind, Outcome, Reason, RecordRequest, SuppressRequest, Suppression,
    consent_service_client::ConsentServiceClient,
};
use tonic::transport::Channel;

use crate::{
    campaign::Campaign,
    damage::copy,
    oracle::filter,
    process::{Process, connect, sendgate},
    shim::{Shim, Word},
    support::{HOUR, at, grant, phone, withdrawal},
};

const YEAR: i64 = 365 * 24 * HOUR;
/// How far the clock is set, in ms from the right time.
const STEPS: [i64; 5] = [0, HOUR, -HOUR, YEAR, -YEAR];
/// From before every clock here.
const LONG_AGO: i64 = 1_600_000_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_that_ended_comes_back_with_the_clock() {
    let mut campaign = Campaign::new("F9", "clock steps", 8);
    let shim = Shim::new();
    let (mut process, address) = shim.serve().unwrap();
    let mut channel = connect(address).await;
    let mut people = People::default();
    let mut restarts = 0;
    while campaign.next() {
        let step = *STEPS.choose(&mut campaign.random).unwrap();
        set(&shim, step, campaign.random.random_ratio(1, 3));
        if campaign.random.random_ratio(1, 4) {
            process.kill();
            let (started, address) = shim.serve().unwrap();
            process = started;
            channel = connect(address).await;
            restarts += 1;
        }
        people.speak(&channel, clock(&shim)).await;
        // Ends take effect within a second of a clock that goes.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        people.hold(&channel, clock(&shim)).await.unwrap();
    }
    campaign.note(format!(
        "{} consents seen to end, {restarts} restarts by SIGKILL",
        people.ended.len()
    ));
    a_clock_that_is_believed_is_caught(&mut campaign).await;
}

/// The control: a server that does not know how far its clock had gone, since
/// its store is a copy of before.
async fn a_clock_that_is_believed_is_caught(campaign: &mut Campaign) {
    let shim = Shim::new();
    let (mut process, address) = shim.serve().unwrap();
    let channel = connect(address).await;
    let mut people = People::default();
    people.speak(&channel, clock(&shim)).await;
    people.hold(&channel, clock(&shim)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = copy(&shim.folder());
    set(&shim, 2 * HOUR, false);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    people.hold(&channel, clock(&shim)).await.unwrap();
    assert!(!people.ended.is_empty(), "consents end when the clock is set on");
    process.kill();
    let (_process, address) = Process::serve_by(sendgate(), before.path(), "127.0.0.1:0").unwrap();
    set(&shim, 0, false);
    let held = people.hold(&connect(address).await, clock(&shim)).await;
    assert!(held.is_err(), "a consent that came back was not noticed");
    campaign.caught("a store that forgot how far the clock had gone");
}

fn set(shim: &Shim, step: i64, frozen: bool) {
    shim.set(Word::StepMs, step);
    shim.set(Word::FrozenMs, 0);
    shim.set(Word::FrozenMs, if frozen { clock(shim) } else { 0 });
}

/// The server's clock.
fn clock(shim: &Shim) -> i64 {
    let frozen = shim.get(Word::FrozenMs);
    if frozen != 0 { frozen } else { Clock::System.now() + shim.get(Word::StepMs) }
}

/// Four sorts of people, and what was seen of them.
#[derive(Default)]
struct People {
    /// Granted for good.
    granted: Vec<String>,
    /// Granted for an hour and a half of the clock of then.
    for_a_while: Vec<String>,
    /// Of those, who was seen not to be permitted any more.
    ended: BTreeSet<String>,
    /// Granted and withdrawn.
    withdrawn: Vec<String>,
    /// Suppressed, until this time.
    bounced: Vec<(String, i64)>,
}

impl People {
    fn next(&self) -> String {
        let count = self.granted.len() + self.for_a_while.len() + self.withdrawn.len();
        format!("+{}", 905_320_000_000 + (count + self.bounced.len()) as u64)
    }

    /// Some more people say something, at this time by the server's clock.
    async fn speak(&mut self, channel: &Channel, now: i64) {
        let mut client = ConsentServiceClient::new(channel.clone());
        for _ in 0..3 {
            let granted = self.next();
            self.granted.push(granted.clone());
            let ending = self.next();
            self.for_a_while.push(ending.clone());
            let withdrawn = self.next();
            self.withdrawn.push(withdrawn.clone());
            let until = now + 3 * HOUR / 2;
            let events = vec![
                grant(&granted, LONG_AGO),
                ConsentEvent { valid_until_ms: Some(until), ..grant(&ending, LONG_AGO) },
                grant(&withdrawn, LONG_AGO),
                // Without a time: it counts as of its recording.
                ConsentEvent {
                    consent_time: None,
                    ..withdrawal(&withdrawn, "sms", "marketing", 0)
                },
            ];
            let response = client.record(RecordRequest { events }).await.unwrap().into_inner();
            assert!(response.results.iter().all(|result| result.outcome() == Outcome::Applied));
            let bounced = self.next();
            let suppressions = vec![Suppression {
                brand: "main".to_owned(),
                contact: Some(phone(&bounced)),
                reason: Reason::SoftBounce.into(),
                since: at(LONG_AGO),
                expires_at_ms: Some(until),
                ..Suppression::default()
            }];
            client.suppress(SuppressRequest { suppressions }).await.unwrap();
            self.bounced.push((bounced, until));
        }
    }

    /// Holds the server against what was said and seen before.
    async fn hold(&mut self, channel: &Channel, now: i64) -> Result<(), String> {
        for (address, found) in verdicts(&self.granted, channel).await {
            expect(address, found, Reason::Permitted)?;
        }
        for (address, found) in verdicts(&self.withdrawn, channel).await {
            expect(address, found, Reason::OptedOut)?;
        }
        for (address, found) in verdicts(&self.for_a_while, channel).await {
            if found == Reason::Permitted && self.ended.contains(address) {
                return Err(format!("{address} had ended and is permitted"));
            }
            if found != Reason::Permitted {
                expect(address, found, Reason::Expired)?;
                self.ended.insert(address.clone());
            }
        }
        let bounced: Vec<String> =
            self.bounced.iter().map(|(address, _)| address.clone()).collect();
        for ((address, found), (_, until)) in verdicts(&bounced, channel).await.zip(&self.bounced) {
            if now < *until - 5_000 {
                expect(address, found, Reason::SoftBounce)?;
            }
        }
        Ok(())
    }
}

fn expect(address: &str, found: Reason, expected: Reason) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{address}: {found:?}, not {expected:?}")) }
}

async fn verdicts<'a>(
    addresses: &'a [String],
    channel: &Channel,
) -> impl Iterator<Item = (&'a String, Reason)> + use<'a> {
    let asked: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let found = filter(ContactKind::Phone, &asked, channel).await.unwrap();
    addresses.iter().zip(found.into_iter().map(|verdicts| verdicts.individual))
}
