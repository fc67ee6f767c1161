//! What the numbers were measured on: without it they mean nothing.

use std::fs;

use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::failure::Failure;

/// The commit that this program was built from.
pub const COMMIT: &str = env!("LOADTEST_COMMIT");

/// The machine that this process runs on, in one line; what cannot be known is
/// left out.
pub fn line() -> String {
    let memory = value_of("/proc/meminfo", "MemTotal");
    let memory = memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok());
    // All of them, also those that this process keeps off.
    let processors = read("/proc/cpuinfo");
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    let mut parts = vec![value_of("/proc/cpuinfo", "model name"), format!("{cores} cores")];
    parts.extend(memory.map(|kib| format!("{} GiB", kib >> 20)));
    parts.push(format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()));
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

/// The bytes of the largest cache; a common size where the system does not say.
pub fn cache_bytes() -> usize {
    const COMMON: usize = 32 << 20;
    let sizes = (0..5).filter_map(|index| {
        let text = read(&format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size"));
        text.trim().strip_suffix('K')?.parse::<usize>().ok()
    });
    sizes.max().map_or(COMMON, |kib| kib << 10)
}

/// Keeps all threads of this process off a core, which a server has for itself.
/// On a machine with a single core it changes nothing.
///
/// # Errors
/// The system refused.
pub fn keep_off(core: usize) -> Result<(), Failure> {
    let mut cores = sched_getaffinity(None)?;
    if core >= CpuSet::MAX_CPU || !cores.is_set(core) || cores.count() < 2 {
        return Ok(());
    }
    cores.unset(core);
    for entry in fs::read_dir("/proc/self/task")? {
        let name = entry?.file_name();
        let thread = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        sched_setaffinity(thread, &cores)?;
    }
    Ok(())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first `name : value` line of a file.
fn value_of(path: &str, name: &str) -> String {
    let text = read(path);
    let values = text.lines().filter_map(|line| line.split_once(':'));
    let mut named = values.filter(|(key, _)| key.trim() == name);
    named.next().map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}
