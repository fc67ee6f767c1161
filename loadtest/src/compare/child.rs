//! Peers and baselines as processes: each on the server's core, and never left
//! behind.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader},
    process::{self, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::cores;
use crate::{failure::Failure, server::dies_with_us};

/// Lines of its log that are kept, for when it fails.
const KEPT_LINES: usize = 12;
/// How long a process may take to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running child process. It is killed when dropped, and when the thread that
/// started it ends in whatever way.
pub struct Child {
    name: String,
    process: process::Child,
    lines: Receiver<String>,
    last: Arc<Mutex<VecDeque<String>>>,
}

impl Child {
    /// Starts a process on the server's core.
    pub fn start(name: &str, mut command: Command) -> Result<Self, Failure> {
        let (log, output) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        dies_with_us(&mut command, Some(cores::SERVER));
        let process =
            command.spawn().map_err(|error| format!("{name} cannot be started: {error}"))?;
        // Its ends of the pipe: without them the log ends with the process.
        drop(command);
        let (told, lines) = mpsc::channel();
        let last = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&last);
        thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == KEPT_LINES {
                    kept.pop_front();
                }
                kept.push_back(line.clone());
                // Nobody listens any more once the process has started.
                let _ = told.send(line);
            }
        });
        Ok(Self { name: name.to_owned(), process, lines, last })
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        Pid::from_child(&self.process).as_raw_nonzero().get()
    }

    /// Waits for a line of its log with `mark` in it; returns the word after it.
    pub fn wait_for(&self, mark: &str, patience: Duration) -> Result<String, Failure> {
        let begun = Instant::now();
        loop {
            match self.lines.recv_timeout(patience.saturating_sub(begun.elapsed())) {
                Ok(line) => {
                    if let Some((_, rest)) = line.split_once(mark) {
                        return Ok(rest.split(' ').next().unwrap_or_default().to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(self.failed("did not start in time")),
                Err(RecvTimeoutError::Disconnected) => return Err(self.failed("ended")),
            }
        }
    }

    /// What went wrong, with the last lines of its log.
    pub fn failed(&self, what: &str) -> Failure {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let last = Vec::from(last.clone()).join("\n  ");
        format!("{} {what}; it said last:\n  {last}", self.name).into()
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self, signal: Signal) -> Result<(), Failure> {
        let begun = Instant::now();
        kill_process(Pid::from_child(&self.process), signal)?;
        while self.process.try_wait()?.is_none() {
            if begun.elapsed() > PATIENCE {
                return Err(self.failed("does not end"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already; there is nothing to do then.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
