//! How much memory this process may still take.
//!
//! When an allocation fails Rust and RocksDB abort, and a cgroup kills without
//! a word. What grows is what is written, so the writer asks here before it
//! takes more, and refuses while it can still say so. The allocator keeps what
//! is freed, so it is told to give that back first: a shortage ends when what
//! caused it has gone.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

/// The memory of this process, as far as the system bounds it.
#[derive(Debug, Default)]
pub struct Memory {
    bounds: Vec<Bound>,
    /// When freed memory was last given back.
    given_back: Mutex<Option<Instant>>,
}

/// A bound in bytes, and the line of `/proc/self/status` that counts towards it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    bytes: u64,
    counts: &'static str,
}

/// Bounds from here on are none: cgroups write a number that is never reached.
const UNBOUNDED: u64 = 1 << 60;

impl Memory {
    /// The bounds of now: they are set before a process starts.
    #[must_use]
    pub fn of_this_process() -> Self {
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let limits = read(Path::new("/proc/self/limits"));
        let group = limit_files(&read(Path::new("/proc/self/cgroup")))
            .iter()
            .filter_map(|path| read(path).trim().parse().ok())
            .min();
        let bounds = [
            (limit(&limits, "Max address space"), "VmSize:"),
            (limit(&limits, "Max data size"), "VmData:"),
            (group, "VmRSS:"),
        ];
        let bounds =
            bounds.into_iter().filter_map(|(bytes, counts)| Some(Bound { bytes: bytes?, counts }));
        let bounds = bounds.filter(|bound| bound.bytes < UNBOUNDED).collect();
        Self { bounds, given_back: Mutex::default() }
    }

    /// Bytes that may still be taken; `None` where nothing is bounded or known.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        if self.bounds.is_empty() {
            return None;
        }
        self.left_by(&fs::read_to_string("/proc/self/status").ok()?)
    }

    /// Gives freed memory back to the system, unless somebody is at it or has
    /// done so within `least`. Takes a while.
    pub fn give_back(&self, least: Duration) {
        let Ok(mut given_back) = self.given_back.try_lock() else { return };
        if given_back.is_none_or(|at| at.elapsed() >= least) {
            give_back();
            *given_back = Some(Instant::now());
        }
    }

    fn left_by(&self, status: &str) -> Option<u64> {
        let left =
            |bound: &Bound| Some(bound.bytes.saturating_sub(bytes_of(status, bound.counts)?));
        self.bounds.iter().filter_map(left).min()
    }
}

/// Bytes of memory that this process has now; `None` where the system does not
/// say.
#[must_use]
pub fn resident() -> Option<u64> {
    bytes_of(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// What a line of `/proc/self/status` says, in bytes.
fn bytes_of(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib.saturating_mul(1_024))
}

/// Has the allocator give freed pages back to the system. It goes through all
/// that was ever allocated and holds up whoever allocates meanwhile, so it is
/// for the moments when memory is short. Address space stays taken: against a
/// bound of that (`ulimit -d`, `ulimit -v`) little is won.
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: the declaration is that of glibc's malloc.h, and a call has no
        // requirements.
        unsafe extern "C" {
            safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        malloc_trim(0);
    }
}

/// A bound of `/proc/self/limits`, which `ulimit` sets.
fn limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Where the bounds of the cgroups of `/proc/self/cgroup` stand, those above
/// them included; of either version.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = Path::new(group.trim_start_matches('/'));
        files.extend(group.ancestors().map(|above| Path::new(root).join(above).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_by_its_name_or_unlimited() {
        let limits = "Max data size  7  8  bytes\nMax address space  1048576  2097152  bytes\n";
        assert_eq!(limit(limits, "Max address space"), Some(1_048_576));
        assert_eq!(limit(limits, "Max data size"), Some(7));
        assert_eq!(limit("Max data size unlimited unlimited bytes", "Max data size"), None);
        assert_eq!(limit("", "Max data size"), None);
    }

    #[test]
    fn cgroups_of_both_versions_bound_with_all_above_them() {
        let files = |groups| -> Vec<String> {
            limit_files(groups).iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(
            files("0::/a/b\n"),
            [
                "/sys/fs/cgroup/a/b/memory.max",
                "/sys/fs/cgroup/a/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert_eq!(
            files("9:cpu:/a\n8:hugetlb,memory:/\n"),
            ["/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        );
        assert_eq!(files("nonsense\n"), [] as [&str; 0]);
    }

    #[test]
    fn freed_memory_is_given_back() {
        let memory = Memory {
            bounds: vec![Bound { bytes: UNBOUNDED, counts: "VmRSS:" }],
            ..Memory::default()
        };
        // Other tests take and free memory at the same time.
        let given_back = (0..20).any(|_| {
            // In pieces that come from the heap, some of which stay there.
            let mut pieces: Vec<Vec<u8>> = (0..3_000).map(|_| vec![1; 32 << 10]).collect();
            let mut at = 0;
            pieces.retain(|_| {
                at += 1;
                at % 100 == 0
            });
            let before = memory.left().unwrap();
            give_back();
            memory.left().unwrap() > before + (60 << 20)
        });
        assert!(given_back);
    }

    #[test]
    fn what_is_left_is_the_least_of_all_bounds() {
        let bound = |bytes, counts| Bound { bytes, counts };
        let memory = Memory {
            bounds: vec![bound(10 << 20, "VmSize:"), bound(4 << 20, "VmRSS:")],
            ..Memory::default()
        };
        assert_eq!(memory.left_by("VmSize:\t 2048 kB\nVmRSS:\t 1024 kB\n"), Some(3 << 20));
        assert_eq!(memory.left_by("VmSize:\t 9216 kB\nVmRSS:\t 1024 kB\n"), Some(1 << 20));
        assert_eq!(memory.left_by("VmSize:\t 99999 kB\n"), Some(0));
        assert_eq!(memory.left_by(""), None);
        assert_eq!(Memory::default().left(), None);
    }
}
