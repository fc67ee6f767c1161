//! Counts what the filter path allocates, and holds the memory that `stats` reports against the
//! allocator's own books.
//!
//! `cargo bench --bench allocations` fails if a batch needs more allocations when it has more
//! recipients (A6), or if a plane or directory takes 5 % more or less than it says.

#![allow(clippy::unwrap_used, reason = "a bench that goes wrong must stop")]

mod hot;

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hot::data::{self, Numbers};
use sendgate::engine::directory::Directory;

/// Allocations so far, those that grow an older one included.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Bytes in use, as malloc rounds them, with its header.
static LIVE: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, with books.
struct Counting;

#[global_allocator]
static GLOBAL: Counting = Counting;

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the one that is asked for here.
        let memory = unsafe { System.alloc(layout) };
        ALLOCATIONS.fetch_add(1, Relaxed);
        LIVE.fetch_add(taken(memory, layout), Relaxed);
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(taken(memory, layout), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) };
    }
}

/// What malloc takes for a piece of memory: its usable size and the header before it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn taken(memory: *mut u8, layout: Layout) -> u64 {
    if layout.align() >= HUGE {
        // What malloc reserves around it for the sake of alignment is never touched.
        return layout.size() as u64;
    }
    unsafe extern "C" {
        fn malloc_usable_size(memory: *mut u8) -> usize;
    }
    // SAFETY: the memory came from malloc, which is what the system's allocator is here, and was
    // not given back yet.
    unsafe { malloc_usable_size(memory) as u64 + 8 }
}

/// Elsewhere, what was asked for; the planes' own figures are glibc's.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn taken(_: *mut u8, layout: Layout) -> u64 {
    layout.size() as u64
}

/// The alignment of the chunks that dense pages lie in.
const HUGE: usize = 2 << 20;

/// How far reported memory may be from what was taken, as a share of it.
const TOLERANCE: f64 = 0.05;

/// Batches of a few recipients and of many.
const SIZES: [usize; 2] = [4_096, 65_536];

fn main() -> ExitCode {
    let mut wrong = 0;
    println!("{:36} {:>12} {:>12}", "allocations of a batch", SIZES[0], SIZES[1]);
    for (name, _) in hot::LOOPS.iter().filter(|(name, _)| !name.starts_with("change")) {
        let [few, many] = SIZES.map(|size| allocations(name, size));
        let is_wrong = few != many;
        wrong += usize::from(is_wrong);
        println!("{name:36} {few:12} {many:12}  {}", if is_wrong { "DIFFERENT" } else { "ok" });
    }
    println!("{:36} {:>12} {:>12}", "bytes of memory", "reported", "taken");
    // Enough for three dozen chunks of their tables.
    let scattered = || {
        let mut ids: Vec<u64> = (0..3_000_000).map(data::hash).collect();
        ids.sort_unstable();
        data::plane(ids.into_iter())
    };
    // Two dozen chunks of bitsets, as the last one is not full. A page is dense from 2,570 members.
    let dense = || data::plane((0..6_000 * 65_536).step_by(25));
    let directory = || {
        let mut directory = Directory::new();
        for ordinal in 0..300_000_u32 {
            let fingerprint = u128::from(data::hash(ordinal.into())) << 64 | u128::from(ordinal);
            directory.insert(fingerprint.wrapping_mul(0x9E37_79B9_7F4A_7C15), ordinal).unwrap();
        }
        directory
    };
    let of_plane = |plane: &sendgate::engine::plane::Plane| plane.memory_bytes();
    for (name, [reported, taken]) in [
        ("plane, dense pages", memory(dense, of_plane)),
        ("plane, thin pages", memory(|| Numbers::THIN.plane(), of_plane)),
        ("plane, 3 million scattered IDs", memory(scattered, of_plane)),
        ("directory of 300,000", memory(directory, Directory::memory_bytes)),
    ] {
        let off = reported as f64 / taken as f64 - 1.0;
        let is_wrong = off.abs() > TOLERANCE;
        wrong += usize::from(is_wrong);
        let verdict = if is_wrong { "WRONG" } else { "ok" };
        println!("{name:36} {reported:12} {taken:12}  {:+.1} % {verdict}", off * 100.0);
    }
    if wrong == 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "allocations: {wrong} lines of the table are wrong. A batch must not allocate for each \
         recipient: keep buffers in the session, or reserve what is needed at once. Memory is \
         reported by memory_bytes of the plane or directory."
    );
    ExitCode::FAILURE
}

/// Allocations of one batch, the buffers being there already.
fn allocations(name: &str, batch: usize) -> u64 {
    let mut hot = hot::hot(name, batch).unwrap();
    (hot.run)();
    let before = ALLOCATIONS.load(Relaxed);
    (hot.run)();
    ALLOCATIONS.load(Relaxed) - before
}

/// The bytes that something says it takes, and those that it took.
fn memory<T>(make: impl Fn() -> T, reported: impl Fn(&T) -> usize) -> [u64; 2] {
    let before = LIVE.load(Relaxed);
    let made = make();
    let taken = LIVE.load(Relaxed) - before;
    [reported(&made) as u64, taken]
}
