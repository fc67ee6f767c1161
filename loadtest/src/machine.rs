//! What the numbers were measured on: without it they mean nothing.

use std::{fs, thread};

use serde_json::{Value, json};

/// The machine that this process runs on.
pub struct Machine {
    processor: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
}

impl Machine {
    /// Looks at this machine; what cannot be known is left empty.
    pub fn look() -> Self {
        let memory = value_of("/proc/meminfo", "MemTotal");
        let memory_kib = memory.split(' ').next().and_then(|number| number.parse::<u64>().ok());
        Self {
            processor: value_of("/proc/cpuinfo", "model name"),
            cores: thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory_kib.unwrap_or_default() / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let Self { processor, cores, memory_mib, kernel } = self;
        format!("{processor}, {cores} cores, {memory_mib} MiB, Linux {kernel}")
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        json!({
            "processor": self.processor,
            "cores": self.cores,
            "memory_mib": self.memory_mib,
            "kernel": self.kernel,
        })
    }
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
