//! The scrub: all planes in memory are looked through, again and again, for
//! bits that flipped (F5).
//!
//! It has a thread of its own, takes no lock and holds a view for the moments
//! of one part only, so that replaced pages are freed. What it finds damaged is
//! in doubt at once; the writer rebuilds it (A4).

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{handle::Task, publish::Published, repair::Damage};
use crate::{domain::plane::PlaneId, ending::Ending};

/// How long a pass takes: all memory is seen within a minute, with time to
/// spare on a machine that is busy. Its work, 2 ns a member or so, is spread
/// evenly over it.
const PASS: Duration = Duration::from_secs(45);
/// Shorter naps are not worth a change of thread.
const NAP: Duration = Duration::from_millis(1);

/// What scrubs have done since the start.
#[derive(Debug, Default)]
pub struct Scrubbed {
    passes: AtomicU64,
    pages: AtomicU64,
    rebuilt: AtomicU64,
}

impl Scrubbed {
    /// Passes over all planes that were completed.
    pub fn passes(&self) -> u64 {
        self.passes.load(Relaxed)
    }

    /// Pages that were checked.
    pub fn pages(&self) -> u64 {
        self.pages.load(Relaxed)
    }

    /// Pages that were rebuilt from the ledger.
    pub fn rebuilt(&self) -> u64 {
        self.rebuilt.load(Relaxed)
    }

    pub(super) fn add_rebuilt(&self, pages: u64) {
        self.rebuilt.fetch_add(pages, Relaxed);
    }
}

/// The running scrub. It ends when dropped.
pub(super) struct Scrub {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Scrub {
    /// Starts looking through what is published. Whoever watches `ending` is
    /// told if that ends.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        published: Arc<Published>,
        queue: SyncSender<Task>,
        scrubbed: Arc<Scrubbed>,
        ending: Ending,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let work = Work { published, queue, scrubbed, stopped };
        let thread = thread::Builder::new().name("scrub".to_owned()).spawn(move || {
            let _ending = ending;
            work.run();
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Scrub {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the scrub panicked");
        }
    }
}

struct Work {
    published: Arc<Published>,
    queue: SyncSender<Task>,
    scrubbed: Arc<Scrubbed>,
    stopped: Receiver<()>,
}

/// The server stops.
struct Stopped;

impl Work {
    fn run(self) {
        while self.pass().is_ok() {}
    }

    /// Looks through all planes once.
    fn pass(&self) -> Result<(), Stopped> {
        let begun = Instant::now();
        let view = self.published.load();
        let mut parts: u64 = 0;
        let mut names: Vec<PlaneId> = Vec::new();
        for (name, plane) in view.planes.all(&view.policy) {
            names.push(name);
            parts += plane.parts();
        }
        drop(view);
        let mut done: u64 = 0;
        for name in names {
            let mut next = Some(0);
            while let Some(at) = next {
                let view = self.published.load();
                // A plane that has gone meanwhile needs no check.
                let Some(plane) = view.planes.named(&name, &view.policy) else { break };
                let checked = plane.check(at);
                let damage = (!checked.is_sound).then(|| Damage::at(name, plane, at));
                drop(view);
                self.scrubbed.pages.fetch_add(checked.pages, Relaxed);
                if let Some(damage) = damage {
                    self.have_repaired(damage)?;
                }
                done += 1;
                let due = PASS.mul_f64((done as f64 / parts.max(1) as f64).min(1.0));
                self.sleep(due.saturating_sub(begun.elapsed()))?;
                next = checked.next;
            }
        }
        self.sleep(PASS.saturating_sub(begun.elapsed()))?;
        self.scrubbed.passes.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Puts an area in doubt, and waits until the writer has rebuilt the damage.
    fn have_repaired(&self, damage: Damage) -> Result<(), Stopped> {
        self.published.doubts().raise(damage.plane.area);
        let (reply, done) = oneshot::channel();
        self.queue.send(Task::Repair(damage, reply)).map_err(|_| Stopped)?;
        // Without an answer the writer has ended, and with it the server.
        done.blocking_recv().map(drop).map_err(|_| Stopped)
    }

    fn sleep(&self, time: Duration) -> Result<(), Stopped> {
        if time < NAP {
            return Ok(());
        }
        match self.stopped.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            _ => Err(Stopped),
        }
    }
}
