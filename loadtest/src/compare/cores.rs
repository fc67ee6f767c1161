//! Which core does what, and how much of it a process takes.

use std::{fs, thread, time::Duration};

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::failure::Failure;

/// The core of every server, and of what runs in process.
pub const SERVER: usize = 0;
/// The core of every client.
pub const CLIENT: usize = 1;

/// Fails where a server and its client would have to share a core.
pub fn check() -> Result<(), Failure> {
    match thread::available_parallelism().map_or(1, usize::from) {
        0 | 1 => Err("this machine gives one core; a comparison needs two: one for each server, \
                      one for its client"
            .into()),
        _ => Ok(()),
    }
}

/// Keeps the calling thread, and those that it starts later, on one core.
pub fn pin(core: usize) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set)
        .map_err(|error| format!("the system does not pin to core {core}: {error}").into())
}

/// The processor time that the threads of a process have taken so far.
pub fn cpu_time(pid: i32) -> Result<Duration, Failure> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between being listed and being read.
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        nanoseconds += text.split(' ').next().and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The load of the machine over the last minute, which explains odd figures.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
