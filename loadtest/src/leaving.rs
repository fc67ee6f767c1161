//! Withdrawals under way, and the probe that asks about them again and again.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sendgate::client::{Client, FilterStream, Recipients, Verdicts};

use crate::{
    calls::Call,
    data::{Events, Person},
    failure::Failure,
    measure::{Recorder, Window},
};

/// Withdrawals asked about in one batch of the probe.
const ASKED: usize = 4_096;
/// Withdrawals that were honoured and are still asked about: they must stay so.
const KEPT: usize = 256;
/// How long the probe waits where nobody withdraws.
const IDLE: Duration = Duration::from_millis(1);

/// One withdrawal.
#[derive(Clone, Copy, Debug)]
struct Withdrawal {
    number: u64,
    phone: u64,
    due: Instant,
    acknowledged: bool,
    honoured: bool,
}

#[derive(Default)]
struct State {
    /// Those not yet acknowledged and honoured, the oldest first.
    live: VecDeque<Withdrawal>,
    /// The last ones that are both.
    done: VecDeque<Withdrawal>,
    withdrawals: u64,
    finished: bool,
}

/// Withdrawals under way.
pub struct Leaving {
    events: Events,
    /// Scopes that a withdrawal concerns, from the first.
    scopes: usize,
    state: Mutex<State>,
    window: Window,
}

impl Leaving {
    /// Nobody withdraws yet.
    ///
    /// # Errors
    /// There is no scope to withdraw from.
    pub fn new(events: Events, scopes: usize, window: Window) -> Result<Self, Failure> {
        if scopes == 0 {
            return Err("there is no scope to withdraw from".into());
        }
        Ok(Self { events, scopes, state: Mutex::default(), window })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A withdrawal is about to be sent.
    pub fn called(&self, call: Call) {
        let person: Person = self.events.population.leaver(call.number);
        let phone = self.events.population.integer(person);
        let mut state = self.state();
        state.withdrawals = state.withdrawals.max(call.number + 1);
        state.live.push_back(Withdrawal {
            number: call.number,
            phone,
            due: call.due,
            acknowledged: false,
            honoured: false,
        });
    }

    /// It was acknowledged: from now on every batch must honour it (A3).
    pub fn acknowledged(&self, number: u64) {
        let mut state = self.state();
        if let Some(withdrawal) = state.live.iter_mut().find(|it| it.number == number) {
            withdrawal.acknowledged = true;
        }
    }

    /// No further withdrawal comes.
    pub fn finish(&self) {
        self.state().finished = true;
    }

    /// How many were sent.
    pub fn withdrawals(&self) -> u64 {
        self.state().withdrawals
    }

    /// Asks about withdrawals under way, batch after batch, until all are
    /// honoured; records from when each was due to the first batch that
    /// honours it.
    ///
    /// # Errors
    /// The server went away, or permitted somebody after the acknowledgement.
    pub async fn probe(&self, client: &Client) -> Result<Recorder, Failure> {
        let mut recorder = Recorder::new(self.window)?;
        let mut stream = FilterStream::open(client, self.events.options(false), 1).await?;
        while let Some(asked) = self.asked() {
            if asked.is_empty() {
                tokio::time::sleep(IDLE).await;
                continue;
            }
            let phones = asked.iter().map(|withdrawal| withdrawal.phone).collect();
            stream.send((), Recipients::Phones(phones))?;
            let Some(((), verdicts)) = stream.next().await? else {
                return Err("the probe's stream ended early".into());
            };
            self.answered(&asked, &verdicts, &mut recorder)?;
        }
        stream.close();
        stream.next().await?;
        Ok(recorder)
    }

    /// Whom the next batch asks about, as they are before it is sent; `None`
    /// when all is over.
    fn asked(&self) -> Option<Vec<Withdrawal>> {
        let state = self.state();
        if state.live.is_empty() && state.finished {
            return None;
        }
        Some(state.live.iter().take(ASKED).chain(&state.done).copied().collect())
    }

    fn answered(
        &self,
        asked: &[Withdrawal],
        verdicts: &Verdicts,
        recorder: &mut Recorder,
    ) -> Result<(), Failure> {
        let now = Instant::now();
        let mut honoured = Vec::new();
        for (at, withdrawal) in asked.iter().enumerate() {
            let scopes = verdicts.scopes().iter().take(self.scopes);
            let permitted = scopes.filter(|scope| scope.is_permitted(at)).count();
            let refused = permitted == 0;
            if !refused && (withdrawal.acknowledged || withdrawal.honoured) {
                let person = self.events.population.leaver(withdrawal.number);
                return Err(format!(
                    "the server answered WRONGLY: {} was permitted in {permitted} scopes by a batch \
                     that was sent after the withdrawal was {}",
                    self.events.population.address(person),
                    if withdrawal.acknowledged { "acknowledged" } else { "honoured" }
                )
                .into());
            }
            if refused && !withdrawal.honoured {
                recorder.record(withdrawal.due, now - withdrawal.due, 1);
                honoured.push(withdrawal.number);
            }
        }
        self.settle(&honoured);
        Ok(())
    }

    /// Marks withdrawals as honoured, and puts those aside that are settled.
    fn settle(&self, honoured: &[u64]) {
        let mut state = self.state();
        let state = &mut *state;
        let mut left = VecDeque::with_capacity(state.live.len());
        for mut withdrawal in state.live.drain(..) {
            // Both are in the order of the calls, or nearly.
            withdrawal.honoured |= honoured.contains(&withdrawal.number);
            if withdrawal.honoured && withdrawal.acknowledged {
                state.done.push_back(withdrawal);
            } else {
                left.push_back(withdrawal);
            }
        }
        state.live = left;
        let excess = state.done.len().saturating_sub(KEPT);
        state.done.drain(..excess);
    }
}
