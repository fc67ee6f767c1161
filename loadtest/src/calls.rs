//! Single calls: so many at a time, or at a given rate.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use sendgate::client::Client;
use tokio::{runtime::Handle, sync::Semaphore, task::JoinSet};

use crate::{
    failure::Failure,
    measure::{Recorder, Window},
};

/// Calls at a given rate that may be without an answer. Beyond it calls wait,
/// and their wait counts.
const ROOM: u32 = 16_384;
/// Sleeping is this much too long at times; the rest is waited for actively.
const SLEEP_ERROR: Duration = Duration::from_micros(80);
/// How long to sleep at most before looking whether the run has ended.
const NAP: Duration = Duration::from_millis(100);

/// How calls follow each other.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many on each connection, each followed by the next: the server's
    /// speed sets the rate.
    Closed(u64),
    /// At given instants, whether or not earlier ones were answered: a server
    /// that stops for a while is not spared the calls due meanwhile.
    Open(Schedule),
}

/// When calls are due.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// When the first is; now, if that is over: nobody was there to call.
    pub start: Instant,
    /// Calls a second.
    pub rate: f64,
    /// Calls for this long, then none for as long, and so on.
    pub slice: Option<Duration>,
}

impl Schedule {
    fn due(&self, number: u64) -> Instant {
        let seconds = number as f64 / self.rate;
        let pauses = match self.slice {
            Some(slice) => (seconds / slice.as_secs_f64()).floor() * slice.as_secs_f64(),
            None => 0.0,
        };
        self.start + Duration::from_secs_f64(seconds + pauses)
    }
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Its number, from 0.
    pub number: u64,
    /// When it was due; latency counts from here, so that a stall of the server
    /// shows in every call that it delayed.
    pub due: Instant,
}

/// What the calls of a run share.
struct Shared {
    recorder: Mutex<Recorder>,
    next: AtomicU64,
    answered: AtomicU64,
}

impl Shared {
    fn record(&self, at: Instant, latency: Duration) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        recorder.record(at, latency, 1);
    }

    fn broke_off(&self, error: &Failure) -> Failure {
        let answered = self.answered.load(Ordering::Relaxed);
        format!("the run broke off after {answered} right answers, so it has no figures: {error}")
            .into()
    }
}

/// Makes calls until the window closes, and waits for every answer. `call`
/// fails if the answer is wrong.
///
/// # Errors
/// That of the first call that failed.
pub async fn run<F, Fut>(
    clients: &[Client],
    pace: Pace,
    window: Window,
    call: F,
) -> Result<Recorder, Failure>
where
    F: Fn(Client, Call) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let shared = Arc::new(Shared {
        recorder: Mutex::new(Recorder::new(window)?),
        next: AtomicU64::new(0),
        answered: AtomicU64::new(0),
    });
    let ended = match pace {
        Pace::Closed(in_flight) => closed(clients, in_flight, window, &call, &shared).await,
        Pace::Open(schedule) => open(clients, schedule, window, call, &shared).await,
    };
    ended.map_err(|error| shared.broke_off(&error))?;
    let recorder = shared.recorder.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(recorder.clone())
}

async fn closed<F, Fut>(
    clients: &[Client],
    in_flight: u64,
    window: Window,
    call: &F,
    shared: &Arc<Shared>,
) -> Result<(), Failure>
where
    F: Fn(Client, Call) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let mut tasks: JoinSet<Result<(), Failure>> = JoinSet::new();
    for client in clients {
        for _ in 0..in_flight {
            let (client, call, shared) = (client.clone(), call.clone(), Arc::clone(shared));
            tasks.spawn(async move {
                loop {
                    let due = Instant::now();
                    if due >= window.end {
                        return Ok(());
                    }
                    let number = shared.next.fetch_add(1, Ordering::Relaxed);
                    call(client.clone(), Call { number, due }).await?;
                    let now = Instant::now();
                    shared.record(now, now - due);
                }
            });
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// Ends the pacing thread when the run is dropped.
struct Ending(Arc<Semaphore>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.close();
    }
}

async fn open<F, Fut>(
    clients: &[Client],
    schedule: Schedule,
    window: Window,
    call: F,
    shared: &Arc<Shared>,
) -> Result<(), Failure>
where
    F: Fn(Client, Call) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let schedule = Schedule { start: schedule.start.max(Instant::now()), ..schedule };
    let room = Arc::new(Semaphore::new(ROOM as usize));
    let ending = Ending(Arc::clone(&room));
    let failed: Arc<Mutex<Option<Failure>>> = Arc::default();
    let (handle, clients) = (Handle::current(), clients.to_vec());
    let pacer = {
        let (room, failed, shared) = (Arc::clone(&room), Arc::clone(&failed), Arc::clone(shared));
        // The timer of the runtime is as coarse as a ms; this thread is not.
        move || {
            for (number, client) in (0..).zip(clients.iter().cycle()) {
                let due = schedule.due(number);
                if due >= window.end || !wait_until(due, &room) {
                    return;
                }
                let Ok(permit) = handle.block_on(Arc::clone(&room).acquire_owned()) else { return };
                let answer = call(client.clone(), Call { number, due });
                let (room, failed) = (Arc::clone(&room), Arc::clone(&failed));
                let shared = Arc::clone(&shared);
                handle.spawn(async move {
                    match answer.await {
                        Ok(()) => shared.record(due, due.elapsed()),
                        Err(error) => {
                            let mut first = failed.lock().unwrap_or_else(PoisonError::into_inner);
                            first.get_or_insert(error);
                            room.close();
                        }
                    }
                    drop(permit);
                });
            }
        }
    };
    tokio::task::spawn_blocking(pacer).await?;
    // All room is free again once every call was answered.
    let all_answered = room.acquire_many(ROOM).await.is_ok();
    drop(ending);
    let first = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
    match first {
        Some(error) => Err(error),
        None if all_answered => Ok(()),
        None => Err("the calls were broken off".into()),
    }
}

/// Waits; false if the run has ended meanwhile.
fn wait_until(due: Instant, room: &Semaphore) -> bool {
    loop {
        if room.is_closed() {
            return false;
        }
        match due.checked_duration_since(Instant::now()) {
            None => return true,
            Some(left) if left > SLEEP_ERROR => thread::sleep((left - SLEEP_ERROR).min(NAP)),
            Some(_) => std::hint::spin_loop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_due_at_their_rate_with_pauses_between_slices() {
        let start = Instant::now();
        let due = |schedule: Schedule, number| (schedule.due(number) - start).as_secs_f64();
        let steady = Schedule { start, rate: 100.0, slice: None };
        assert!((due(steady, 150) - 1.5).abs() < 1e-9);
        let sliced = Schedule { slice: Some(Duration::from_secs(1)), ..steady };
        assert!((due(sliced, 99) - 0.99).abs() < 1e-9);
        assert!((due(sliced, 150) - 2.5).abs() < 1e-9, "the second slice comes after a pause");
    }
}
