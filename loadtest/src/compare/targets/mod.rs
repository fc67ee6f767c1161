//! The targets, in groups that share their servers.

pub mod audience;
pub mod checks;
pub mod emails;
pub mod engine;
pub mod imports;
pub mod phones;
#[path = "../../../../benches/populations/mod.rs"]
mod populations;
pub mod withdrawals;

use super::{
    findings::{Findings, Samples},
    load::Taken,
    peers::redis::Question,
};

/// Why a figure of Redis is missing.
const NO_REDIS: &str = "Redis is not installed: run scripts/setup.sh --peers";
/// Why a figure of PostgreSQL is missing.
const NO_POSTGRES: &str = "PostgreSQL is not installed: run scripts/setup.sh --peers";

/// The figures of one side.
#[derive(Default)]
struct Side {
    wall: Samples,
    cpu: Samples,
}

impl Side {
    /// Adds a round; the first only warms the caches.
    fn add(&mut self, round: usize, taken: Taken) {
        if round > 0 {
            self.wall.add(taken.wall);
            self.cpu.add(taken.cpu);
        }
    }

    fn tell(&self, who: &str, findings: &mut Findings) {
        findings.took(who, &self.wall, "ns", Some(&self.cpu));
    }
}

/// The fastest of the questions of a kind.
fn best<'a>(
    questions: &[(&'static str, Question)],
    asked: &'a [Side],
    is_kind: impl Fn(Question) -> bool,
) -> Option<(&'static str, &'a Side)> {
    let of_kind = questions.iter().zip(asked).filter(|((_, question), _)| is_kind(*question));
    of_kind
        .map(|((name, _), side)| (*name, side))
        .min_by(|(_, a), (_, b)| a.wall.median().total_cmp(&b.wall.median()))
}
