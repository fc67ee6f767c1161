//! Counts the instructions of the hot loops and holds them against budgets, so that a slower loop
//! fails without a timer.
//!
//! `cargo bench --bench instructions` runs each loop in a process of its own under callgrind and
//! fails if one needs more than [`SLACK`] above its budget. `-- --time` prints the nanoseconds of
//! the same loops instead, without valgrind; they hold for this machine and moment only, and for
//! data that fit in its caches.
//!
//! Instructions are not time: they know neither cache misses nor mispredicted branches. Valgrind
//! hides AVX-512 from programs that ask the CPU for it, so where code chooses by such an answer
//! (`memchr`), what counts here is its AVX2 form.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a bench that goes wrong must stop"
)]

mod hot;

use std::process::{Command, ExitCode};
use std::time::Instant;

use hot::{BATCH, LOOPS, hot};

/// Instructions per recipient that each loop may need, a little more or less. To change one on
/// purpose, write down here what the table prints, and in the commit why.
const BUDGETS: [(&str, f64); LOOPS.len()] = [
    ("probe, dense pages, random", 82.45),
    ("probe, dense pages, sorted", 16.29),
    ("probe, thin pages, random", 120.93),
    ("probe, thin pages, sorted", 36.35),
    ("probe, scattered IDs", 125.71),
    ("filter phones, bits", 88.67),
    ("filter phones, reasons", 236.53),
    ("filter lines of e-mails, bits", 565.30),
    ("filter lines of phones, bits", 375.53),
    ("filter audience, thin containers", 23.39),
    ("filter audience, bitset containers", 23.99),
    ("decode packed column", 1.78),
    ("change dense pages", 212.58),
    ("change thin pages", 1235.49),
];

/// How far a loop may exceed its budget, as a share of it. Counts are steady to some tenths of a
/// percent; what is left is for small changes of the compiler.
const SLACK: f64 = 0.05;

/// Batches counted; one more goes before them, to fill the buffers.
const BATCHES: usize = 4;

/// What callgrind watches: it counts only while this function runs.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn sendgate_counted(run: &mut Box<dyn FnMut()>) {
    for _ in 0..BATCHES {
        run();
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name] = arguments.as_slice()
        && flag == "--one"
    {
        let mut hot = hot(name, BATCH).unwrap();
        (hot.run)();
        sendgate_counted(&mut hot.run);
        println!("{}", BATCHES * hot.recipients);
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--time") {
        LOOPS.iter().for_each(|(name, _)| time(name));
        return ExitCode::SUCCESS;
    }
    match count_all() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(over) => {
            eprintln!(
                "instructions: {over} of {} loops need more instructions than budgeted. Make them \
                 as fast as they were; or, if the cost is meant, or a new compiler's, put the \
                 printed figures into BUDGETS in benches/instructions.rs and say why in the commit.",
                LOOPS.len()
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Counts and prints every loop; how many are over their budget.
fn count_all() -> Result<usize, String> {
    println!("{:36} {:>24} {:>9}", "loop", "instructions/recipient", "budget");
    let mut over = 0;
    for (name, budget) in BUDGETS {
        let counted = count(name)?;
        let excess = counted / budget - 1.0;
        let verdict = if excess > SLACK {
            over += 1;
            format!("OVER BUDGET by {:.1} %", excess * 100.0)
        } else if excess < -SLACK {
            format!("{:.1} % under: lower the budget", -excess * 100.0)
        } else {
            "ok".to_owned()
        };
        println!("{name:36} {counted:24.2} {budget:9.2}  {verdict}");
    }
    Ok(over)
}

/// Instructions per recipient of one loop, by callgrind.
fn count(name: &str) -> Result<f64, String> {
    let this =
        std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=sendgate_counted"])
        .args(["--callgrind-out-file=/dev/null"])
        .arg(this)
        .args(["--one", name])
        .output()
        .map_err(|error| {
            format!("valgrind did not start ({error}); scripts/setup.sh installs it")
        })?;
    let said = String::from_utf8_lossy(&output.stderr);
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| *number > 0.0);
    let collected = said.lines().find_map(|line| number(line.split_once("Collected : ")?.1));
    let recipients = std::str::from_utf8(&output.stdout).ok().and_then(number);
    match collected.zip(recipients) {
        Some((collected, recipients)) if output.status.success() => Ok(collected / recipients),
        _ => Err(format!("{name:?} was not counted; valgrind said:\n{said}")),
    }
}

/// Prints the nanoseconds per recipient of one loop: the fastest of many rounds, since whatever
/// disturbs a round makes it slower.
fn time(name: &str) {
    let mut hot = hot(name, BATCH).unwrap();
    (hot.run)();
    let round = |_| {
        let start = Instant::now();
        sendgate_counted(&mut hot.run);
        start.elapsed().as_nanos() as f64 / (BATCHES * hot.recipients) as f64
    };
    let fastest = (0..100).map(round).fold(f64::INFINITY, f64::min);
    println!("{name:36} {fastest:10.2} ns");
}
