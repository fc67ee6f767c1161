//! Sums that tell when memory has changed a plane by itself (F5).
//!
//! Each leaf of a plane keeps the wrapping sum of its members, every one of them mixed first.
//! Inserting adds and removing subtracts, whatever form the page has, so a change costs the same
//! few instructions everywhere, and a leaf eight bytes. A scrub adds the members up again as they
//! stand and compares: a bit that flipped made a member come, go or become another one, and since
//! mixing never makes two IDs the same, no single flip leaves the sum as it was.
//!
//! What is not a member is checked for being what it must be: the index of a thin page, the spare
//! lanes of a small one, the count, and whether a search finds the page where it stands.

#![allow(clippy::indexing_slicing, reason = "a count up to 4 into 4 lanes")]

use std::ptr;

use super::page::{Form, Page};
use super::page_thin;
use super::plane::Plane;
use super::plane_leaf::{Leaf, hash, step};

/// What a member adds to a sum: one to one, and spread over all bits, so that several flips do not
/// cancel out either.
#[inline(always)]
pub(super) fn mix(id: u64) -> u64 {
    let product = (id ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    product ^ product >> 32
}

impl Page {
    /// The sum of the members as they stand.
    pub(super) fn sum(&self) -> u64 {
        let base = self.index() << 16;
        self.values().fold(0, |sum: u64, low| sum.wrapping_add(mix(base | u64::from(low))))
    }

    /// Whether the page is in the one form that its members have.
    fn is_sound(&self, scratch: &mut Vec<u16>) -> bool {
        let ascends = |values: &[u16]| values.is_sorted_by(|a, b| a < b);
        let count = self.code();
        match self.form() {
            Form::Inline(lanes) => {
                let (members, spare) = lanes.split_at(count.min(lanes.len()));
                ascends(members) && spare.iter().all(|lane| Some(lane) == members.last())
            }
            Form::Thin(slice) => {
                let members = page_thin::values(slice, count);
                ascends(members) && {
                    page_thin::build(members, scratch);
                    scratch == slice
                }
            }
            Form::Dense(words) => {
                let members: u32 = words.iter().map(|word| word.count_ones()).sum();
                (members as usize).min(usize::from(u16::MAX)) == count
            }
        }
    }
}

/// What a check of a part of a plane found. The parts are those of the plane's table: which pages
/// are in one is up to the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Pages looked at.
    pub pages: u64,
    /// Whether all of them are what was put into them.
    pub is_sound: bool,
    /// Where the next part begins; none behind the last.
    pub next: Option<u64>,
}

impl Plane {
    /// Checks the part that holds the place `at`; 0 is in the first.
    pub fn check(&self, at: u64) -> Checked {
        let next = self.part(at).1;
        let Some((leaf, leaves)) = self.leaf_at(at) else {
            return Checked { pages: 0, is_sound: false, next };
        };
        let mut scratch = Vec::new();
        let (mut pages, mut sum, mut is_sound) = (0, 0_u64, true);
        for page in leaf.pages() {
            pages += 1;
            let place = self.place(page.index());
            let (_, rest) = step(place, self.root.len());
            let (_, fraction) = step(rest, leaves);
            let found = leaf.find(fraction, page.index()).is_some_and(|it| ptr::eq(it, page));
            is_sound &= found && self.part(at) == self.part(place) && page.is_sound(&mut scratch);
            sum = sum.wrapping_add(page.sum());
        }
        is_sound &= sum == leaf.sum() && pages == leaf.len();
        Checked { pages: pages as u64, is_sound, next }
    }

    /// The place of a page in the plane's table.
    pub fn place(&self, page: u64) -> u64 {
        hash(page, self.seed)
    }

    /// Whether two places are in one part.
    pub fn is_one_part(&self, one: u64, other: u64) -> bool {
        self.part(one) == self.part(other)
    }

    /// Where damage in the part that holds the place `at` may be found later: from one place to
    /// another, or to the end. A plane that grows hands the pages of a branch to more leaves, and
    /// with them what is wrong in one, to any leaf of that branch and never to another's.
    pub fn spread(&self, at: u64) -> (u64, Option<u64>) {
        self.stretch(at, 1)
    }

    /// Into how many parts the plane can be checked.
    pub fn parts(&self) -> u64 {
        self.root.iter().map(|branch| branch.len() as u64).sum()
    }

    /// The beginning of a part, and of the one behind it.
    fn part(&self, at: u64) -> (u64, Option<u64>) {
        let (branch, _) = step(at, self.root.len());
        self.stretch(at, self.root.get(branch).map_or(1, |branch| branch.len()))
    }

    /// The beginning of the place's share of a branch cut into so many, and of the share behind
    /// it. All lengths are powers of two, so a share is what the upper bits of a hash say.
    fn stretch(&self, at: u64, leaves: usize) -> (u64, Option<u64>) {
        let width = u128::from(u64::MAX).wrapping_add(1) / (self.root.len() * leaves) as u128;
        let first = u128::from(at) / width * width;
        (first as u64, u64::try_from(first + width).ok())
    }

    /// The leaf at a place, and how many leaves its branch has.
    fn leaf_at(&self, at: u64) -> Option<(&Leaf, usize)> {
        let (branch, rest) = step(at, self.root.len());
        let branch = self.root.get(branch)?;
        let (leaf, _) = step(rest, branch.len());
        Some((branch.get(leaf)?, branch.len()))
    }
}
