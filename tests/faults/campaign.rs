//! How long a test goes on, from which seed, and what it has to show.
//!
//! In the ordinary run of the tests a campaign makes a few trials. With
//! `SENDGATE_TORTURE_SECONDS` it goes on for so long; `scripts/torture.sh` sets
//! it and makes a table of the rows that campaigns leave in the file
//! `SENDGATE_TORTURE_REPORT`.

use std::{
    env,
    fs::File,
    io::Write,
    thread,
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::StdRng};

/// The trials of one fault.
pub struct Campaign {
    fault: &'static str,
    what: &'static str,
    seed: u64,
    /// Everything that is left to chance comes from here.
    pub random: StdRng,
    least: u64,
    trials: u64,
    until: Instant,
    caught: Vec<String>,
    notes: String,
}

impl Campaign {
    /// Trials of `fault`, at least so many.
    pub fn new(fault: &'static str, what: &'static str, least: u64) -> Self {
        let seed = number("SENDGATE_TEST_SEED").unwrap_or_else(rand::random);
        println!("{fault} {what}: SENDGATE_TEST_SEED={seed}");
        let seconds = number("SENDGATE_TORTURE_SECONDS").unwrap_or(0);
        Self {
            fault,
            what,
            seed,
            random: StdRng::seed_from_u64(seed),
            least,
            trials: 0,
            until: Instant::now() + Duration::from_secs(seconds),
            caught: Vec::new(),
            notes: String::new(),
        }
    }

    /// Whether this is a long run: where a test can choose, it takes more.
    pub fn is_long() -> bool {
        number("SENDGATE_TORTURE_SECONDS").is_some()
    }

    /// Begins the next trial, if there is to be one.
    pub fn next(&mut self) -> bool {
        let goes_on = self.trials < self.least || Instant::now() < self.until;
        self.trials += u64::from(goes_on);
        goes_on
    }

    /// Counts trials that another loop makes.
    pub fn count(&mut self, trials: u64) {
        self.trials += trials;
    }

    /// A setting that is broken on purpose was caught.
    pub fn caught(&mut self, control: impl Into<String>) {
        self.caught.push(control.into());
    }

    /// What else the row should say.
    pub fn note(&mut self, notes: impl Into<String>) {
        self.notes = notes.into();
    }
}

impl Drop for Campaign {
    fn drop(&mut self) {
        let failures = u64::from(thread::panicking());
        let Self { fault, what, seed, trials, notes, .. } = self;
        let row = format!(
            "{fault}\t{what}\t{trials}\t{failures}\t{}\t{seed}\t{notes}",
            self.caught.join("; ")
        );
        println!("{row}");
        if let Some(path) = env::var_os("SENDGATE_TORTURE_REPORT") {
            let report = File::options().append(true).create(true).open(path);
            report.and_then(|mut report| writeln!(report, "{row}")).unwrap();
        }
    }
}

/// A number from the environment.
pub fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().expect(name))
}
