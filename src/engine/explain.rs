//! The reasons of a batch, word by word: all recipients get their reason from the bits at once,
//! and then only the refused are asked about, plane by plane, until each is settled.

#![allow(
    clippy::indexing_slicing,
    reason = "hot path: places are below the number of recipients, for which there is room"
)]

use super::{
    column::ColumnId,
    filter::{FilterError, Verdicts},
    plane::Plane,
    view::Answering,
};
use crate::domain::{reason::Reason, scope::Regime};

/// The refused are put closer together when more than one in so many was settled. Looking up some
/// settled ones again costs less than moving all others.
const CLOSE_FROM: usize = 6;

/// The refused recipients of a batch whose reason is still open.
#[derive(Default)]
pub(super) struct Refused {
    /// Their contact IDs; the first `size` count. The buffers keep their length from batch to
    /// batch, as nothing in them need be cleared.
    ids: Vec<u64>,
    /// Where they stand in the batch.
    places: Vec<u32>,
    size: usize,
    /// One bit for each: no reason was found yet.
    open: Vec<u64>,
    /// One bit for each: in the plane at hand.
    found: Vec<u64>,
}

impl Refused {
    /// Gives each recipient the reason that its bits tell, and gathers those that are refused for
    /// a reason they do not tell. In `permitted` the bits past the last recipient are 0.
    pub(super) fn gather(
        &mut self,
        ids: &[impl ColumnId],
        permitted: &[u64],
        invalid: &[u64],
        regime: Regime,
        verdicts: &mut Verdicts,
    ) {
        // Where nothing is permitted unasked, who is in no plane has given no consent.
        let refused = if regime.permits_unknown() { 0 } else { Reason::NoConsent as u8 };
        let reasons = &mut verdicts.reasons;
        reasons.reserve_exact(permitted.len() * 64);
        self.size = 0;
        if self.ids.len() < ids.len() {
            self.ids.resize(ids.len(), 0);
            self.places.resize(ids.len(), 0);
        }
        for (at, (group, permitted)) in ids.chunks(64).zip(permitted).enumerate() {
            reasons.extend_from_slice(choose(*permitted, refused).as_flattened());
            let whole = u64::MAX >> (64 - group.len());
            let invalid = invalid.get(at).copied().unwrap_or(0) & whole;
            for bit in Ones(invalid) {
                reasons[at * 64 + bit] = Reason::InvalidRecipient as u8;
            }
            verdicts.counts[Reason::InvalidRecipient as usize] += u64::from(invalid.count_ones());
            for bit in Ones(!permitted & !invalid & whole) {
                self.ids[self.size] = group[bit].id();
                self.places[self.size] = (at * 64 + bit) as u32;
                self.size += 1;
            }
        }
        reasons.truncate(ids.len());
    }

    /// Gives those gathered the first reason, by rank, whose plane they are in.
    pub(super) fn explain(
        &mut self,
        planes: Answering<'_>,
        regime: Regime,
        verdicts: &mut Verdicts,
    ) -> Result<(), FilterError> {
        self.open_all();
        let mut left = self.size;
        for (reason, plane) in planes.reasons() {
            if left == 0 {
                break;
            }
            let settled = self.settle(reason, plane, &mut verdicts.reasons);
            verdicts.counts[reason as usize] += settled as u64;
            left -= settled;
            if settled * CLOSE_FROM > self.size {
                self.close_up();
            }
        }
        if !regime.permits_unknown() {
            verdicts.counts[Reason::NoConsent as usize] += left as u64;
        } else if left > 0 {
            return Err(FilterError::Contradiction);
        }
        Ok(())
    }

    pub(super) fn shrink(&mut self, kept: usize) {
        self.ids.truncate(kept);
        self.ids.shrink_to(kept);
        self.places.truncate(kept);
        self.places.shrink_to(kept);
        self.open.shrink_to(kept / 64);
        self.found.shrink_to(kept / 64);
    }

    fn open_all(&mut self) {
        self.open.clear();
        self.open.resize(self.size.div_ceil(64), u64::MAX);
        super::filter::mask_tail(&mut self.open, self.size);
    }

    /// Gives the open members of a reason plane their reason; returns how many there were.
    fn settle(&mut self, reason: Reason, plane: &Plane, reasons: &mut [u8]) -> usize {
        // The answer overwrites whatever it finds.
        self.found.resize(self.open.len(), 0);
        plane.probe(&self.ids[..self.size], &mut self.found);
        let mut settled = 0;
        let groups = self.places[..self.size].chunks(64);
        for ((open, found), places) in self.open.iter_mut().zip(&self.found).zip(groups) {
            let hits = *open & found;
            *open &= !hits;
            settled += hits.count_ones() as usize;
            for bit in Ones(hits) {
                reasons[places[bit] as usize] = reason as u8;
            }
        }
        settled
    }

    /// Drops those that are settled.
    fn close_up(&mut self) {
        let mut kept = 0;
        for (at, open) in self.open.iter().enumerate() {
            for bit in Ones(*open) {
                self.ids[kept] = self.ids[at * 64 + bit];
                self.places[kept] = self.places[at * 64 + bit];
                kept += 1;
            }
        }
        self.size = kept;
        self.open_all();
    }
}

/// The places of a word's ones, from the least significant.
struct Ones(u64);

impl Iterator for Ones {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let place = self.0.trailing_zeros() as usize;
        (self.0 != 0).then(|| {
            self.0 &= self.0 - 1;
            place
        })
    }
}

/// One byte for each bit: PERMITTED for a one, `refused` for a zero.
fn choose(bits: u64, refused: u8) -> [[u8; 8]; 8] {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    const OWN_BIT: u64 = u64::from_le_bytes([1, 2, 4, 8, 16, 32, 64, 128]);
    bits.to_le_bytes().map(|bits| {
        // Eight copies of the byte, in each of them another bit, moved to the lowest place.
        let own = (u64::from(bits) * EACH) & OWN_BIT;
        let ones = ((own + EACH * 0x7F) >> 7) & EACH;
        let [refused, flips] = [refused, refused ^ Reason::Permitted as u8].map(u64::from);
        ((EACH * refused) ^ (ones * flips)).to_le_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_for_each_bit() {
        for bits in [0, u64::MAX, 1, 1 << 63, 0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210] {
            for refused in [0, Reason::NoConsent as u8, u8::MAX] {
                let expected: Vec<u8> =
                    (0..64).map(|at| if bits >> at & 1 == 1 { 1 } else { refused }).collect();
                assert_eq!(choose(bits, refused).as_flattened(), expected);
            }
        }
    }
}
