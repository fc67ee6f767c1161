//! The populations and lists of `performance.md`, made from a seed.

#![allow(dead_code, reason = "each bench uses a part")]
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a bench that goes wrong must stop"
)]
#![allow(clippy::inconsistent_digit_grouping, reason = "numbers are grouped as they are dialled")]

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// Seed of every population and list.
pub const SEED: u64 = 20_240_613;

/// Share of a list that is permitted.
pub const HIT_RATE: f64 = 0.5;

/// The members of a plane and a list to ask it for.
pub struct Population {
    /// Members, ascending.
    pub members: Vec<u64>,
    /// Recipients in random order, half of them members.
    pub list: Vec<u64>,
}

impl Population {
    /// Population A: Turkish mobiles, uniformly random over 300 million possible numbers.
    pub fn turkish(members: usize, list: usize) -> Population {
        let prefixes =
            [501..=501, 505..=507, 530..=539, 541..=549, 551..=555, 559..=559, 561..=561];
        let blocks: Vec<u64> = prefixes
            .into_iter()
            .flatten()
            .flat_map(|prefix| (0..10).map(move |block| 900_000 + prefix * 10 + block))
            .collect();
        Population::in_blocks(&blocks, members, list)
    }

    /// Population B: 12 countries, 167 operator blocks of a million numbers in each, strewn over
    /// the thousand blocks of the country's mobile range: 2 billion possible numbers.
    pub fn countries(members: usize, list: usize) -> Population {
        let mut rng = SmallRng::seed_from_u64(SEED ^ 1);
        let ranges: [u64; 12] = [
            49_015_000, 44_7_000, 33_6_000, 39_3_000, 34_6_000, 31_6_000, 48_5_000, 40_7_000,
            30_69_000, 46_7_000, 351_9_000, 971_5_000,
        ];
        let mut blocks = Vec::new();
        for range in ranges {
            let mut of_country: Vec<u64> = (range..range + 1_000).collect();
            of_country.shuffle(&mut rng);
            blocks.extend_from_slice(&of_country[..167]);
        }
        blocks.sort_unstable();
        Population::in_blocks(&blocks, members, list)
    }

    /// Integers uniformly random over all of u64.
    pub fn scattered(members: usize, list: usize) -> Population {
        let mut rng = SmallRng::seed_from_u64(SEED ^ 2);
        Population::draw(members, list, || rng.random())
    }

    /// `blocks` are numbers divided by a million.
    fn in_blocks(blocks: &[u64], members: usize, list: usize) -> Population {
        let mut rng = SmallRng::seed_from_u64(SEED);
        Population::draw(members, list, || {
            blocks[rng.random_range(0..blocks.len())] * 1_000_000 + rng.random_range(0..1_000_000)
        })
    }

    fn draw(members: usize, list: usize, mut draw: impl FnMut() -> u64) -> Population {
        let mut set = Vec::new();
        while set.len() < members {
            set.extend((set.len()..members).map(|_| draw()));
            set.sort_unstable();
            set.dedup();
        }
        let mut rng = SmallRng::seed_from_u64(SEED ^ 3);
        let mut recipients: Vec<u64> = Vec::with_capacity(list);
        while recipients.len() < list {
            if rng.random_bool(HIT_RATE) {
                recipients.push(set[rng.random_range(0..set.len())]);
            } else {
                let stranger = draw();
                if set.binary_search(&stranger).is_err() {
                    recipients.push(stranger);
                }
            }
        }
        Population { members: set, list: recipients }
    }
}
