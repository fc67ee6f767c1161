//! Verdicts on an audience, container by container: from the bytes that it came in to the bytes of
//! the answer, without a bitmap in between.
//!
//! The bytes are a stranger's (A1): whatever in them is out of order or miscounted is refused, as
//! Roaring's own checked reader would.

#![allow(
    clippy::indexing_slicing,
    reason = "hot path: a u16 indexes a bit of a page, and no more are kept than there is room for"
)]

use super::{
    audience::{ARRAY_MAX, AudienceError, COOKIE_PLAIN, Container, for_each_container},
    page::{Form, PAGE_IDS, Page, Words},
    plane::Plane,
};

/// Who is permitted.
pub(super) struct Screen<'a, Whole, Each> {
    /// The verdict plane, if it has members.
    pub(super) plane: Option<&'a Plane>,
    /// Whether its members are the permitted; they are the refused otherwise.
    pub(super) permits_members: bool,
    /// Whether all IDs from one to another may be permitted, or none; nothing if each must be
    /// asked about.
    pub(super) may_all: Whole,
    /// Whether an ID may be permitted at all.
    pub(super) may: Each,
}

/// The permitted of an audience.
#[derive(Default)]
pub(super) struct Screened {
    /// How many members the audience has.
    pub(super) members: u64,
    /// How many of them are permitted.
    pub(super) permitted: u64,
    /// Those, as a portable 64-bit Roaring bitmap.
    pub(super) bytes: Vec<u8>,
}

impl<Whole: Fn(u64, u64) -> Option<bool>, Each: Fn(u64) -> bool> Screen<'_, Whole, Each> {
    /// Screens an audience, of which the members were counted already.
    pub(super) fn screen(&self, audience: &[u8]) -> Result<Screened, AudienceError> {
        let mut containers = 0;
        for_each_container(audience, |_, _| {
            containers += 1;
            Ok(())
        })?;
        let mut answer = Answer::with_room(containers, audience.len());
        let mut members = 0;
        let mut made = Vec::new();
        for_each_container(audience, |index, container| {
            members += container.len();
            answer.begin(index);
            match container {
                Container::Array(values) => self.array(index, values, &mut answer),
                Container::Bits(bits, declared) => {
                    let mut words = [0; PAGE_IDS / 64];
                    let mut found = 0;
                    for (word, bits) in words.iter_mut().zip(bits) {
                        *word = u64::from_le_bytes(*bits);
                        found += u64::from(word.count_ones());
                    }
                    if found != declared {
                        return Err(AudienceError::Malformed);
                    }
                    self.words(index, words, &mut answer);
                    Ok(())
                }
                Container::Runs(runs) if container.len() <= ARRAY_MAX => {
                    made.clear();
                    for_each_run(runs, |from, to| {
                        made.extend((from..=to).map(u16::to_le_bytes));
                    })?;
                    self.array(index, &made, &mut answer)
                }
                Container::Runs(runs) => {
                    let mut words = [0; PAGE_IDS / 64];
                    for_each_run(runs, |from, to| fill(&mut words, from, to))?;
                    self.words(index, words, &mut answer);
                    Ok(())
                }
            }
        })?;
        let permitted = answer.permitted;
        Ok(Screened { members, permitted, bytes: answer.finish() })
    }

    /// Screens values, which must ascend.
    fn array(
        &self,
        index: u64,
        values: &[[u8; 2]],
        answer: &mut Answer,
    ) -> Result<(), AudienceError> {
        let refuses_members = !self.permits_members;
        let page = self.page(index);
        match (self.may_all(index), page.map(Page::form)) {
            (Some(true), Some(Form::Dense(words))) => answer.keep(index, values, |low| {
                (words[usize::from(low >> 6)] >> (low & 63) & 1 != 0) ^ refuses_members
            }),
            (Some(true), Some(_)) => answer.keep(index, values, |low| {
                page.is_some_and(|page| page.contains(low)) ^ refuses_members
            }),
            (Some(true), None) => answer.keep(index, values, |_| refuses_members),
            (Some(false), _) => answer.keep(index, values, |_| false),
            (None, _) => answer.keep(index, values, |low| {
                let is_member = page.is_some_and(|page| page.contains(low));
                (is_member ^ refuses_members) && (self.may)(index << 16 | u64::from(low))
            }),
        }
    }

    /// Screens a whole page of bits.
    fn words(&self, index: u64, mut words: Words, answer: &mut Answer) {
        let refused = if self.permits_members { u64::MAX } else { 0 };
        let mut take = |members: &Words| {
            words
                .iter_mut()
                .zip(members)
                .for_each(|(word, member)| *word &= member ^ refused ^ u64::MAX);
        };
        match self.page(index) {
            Some(page) => super::reach::with_words(page, &mut take),
            None => take(&[0; PAGE_IDS / 64]),
        }
        let may_all = self.may_all(index);
        if may_all == Some(false) {
            return;
        }
        if may_all.is_none() {
            for (at, word) in words.iter_mut().enumerate() {
                // Only members are asked about: few words have many left.
                let mut left = *word;
                while left != 0 {
                    let bit = left.trailing_zeros();
                    left &= left - 1;
                    let may = (self.may)(index << 16 | (at as u64 * 64 + u64::from(bit)));
                    *word &= !(u64::from(!may) << bit);
                }
            }
        }
        answer.keep_words(index, &words);
    }

    fn page(&self, index: u64) -> Option<&Page> {
        self.plane?.page(index)
    }

    fn may_all(&self, index: u64) -> Option<bool> {
        (self.may_all)(index << 16, index << 16 | (PAGE_IDS as u64 - 1))
    }
}

/// Hands over the first and the last of each run. They must ascend with gaps between them.
fn for_each_run(runs: &[[u8; 4]], mut each: impl FnMut(u16, u16)) -> Result<(), AudienceError> {
    let mut least = 0;
    for [a, b, c, d] in runs {
        let from = u16::from_le_bytes([*a, *b]);
        let to = from.checked_add(u16::from_le_bytes([*c, *d])).ok_or(AudienceError::Malformed)?;
        if u32::from(from) < least {
            return Err(AudienceError::Malformed);
        }
        each(from, to);
        least = u32::from(to) + 2;
    }
    if runs.is_empty() { Err(AudienceError::Malformed) } else { Ok(()) }
}

/// Sets the bits of a run.
fn fill(words: &mut Words, from: u16, to: u16) {
    let (first, last) = (usize::from(from >> 6), usize::from(to >> 6));
    for (at, word) in words.iter_mut().enumerate().take(last + 1).skip(first) {
        let low = if at == first { u64::MAX << (from & 63) } else { u64::MAX };
        let high = if at == last { u64::MAX >> (63 - (to & 63)) } else { u64::MAX };
        *word |= low & high;
    }
}

/// A Roaring bitmap in the making, out of array and bitset containers.
struct Answer {
    bytes: Vec<u8>,
    permitted: u64,
    /// How many 32-bit bitmaps are in `bytes`.
    maps: u64,
    /// The upper half of the IDs at hand.
    high: u64,
    /// Key and count of each container at hand.
    heads: Vec<u8>,
    /// Where each of them begins in `data`.
    starts: Vec<u32>,
    data: Vec<u8>,
}

impl Answer {
    /// Room for as much as an audience of arrays and bitsets can leave.
    fn with_room(containers: usize, audience: usize) -> Answer {
        let mut bytes = Vec::with_capacity(audience + 8 * containers);
        bytes.extend_from_slice(&[0; 8]);
        Answer {
            bytes,
            permitted: 0,
            maps: 0,
            high: 0,
            heads: Vec::with_capacity(4 * containers),
            starts: Vec::with_capacity(containers),
            data: Vec::with_capacity(audience),
        }
    }

    /// Comes to a container, which may be the first of another 32-bit bitmap.
    fn begin(&mut self, index: u64) {
        if index >> 16 != self.high {
            self.end_map();
            self.high = index >> 16;
        }
    }

    /// Adds those of the values that are to be kept. Which are is as good as random, so each is
    /// written and then kept or not, without a branch.
    #[inline(always)]
    fn keep(
        &mut self,
        index: u64,
        values: &[[u8; 2]],
        is_kept: impl Fn(u16) -> bool,
    ) -> Result<(), AudienceError> {
        let start = self.data.len();
        self.data.resize(start + 2 * values.len(), 0);
        let (places, _) = self.data[start..].as_chunks_mut::<2>();
        let (mut kept, mut least, mut ascends) = (0, 0, true);
        for value in values {
            let low = u16::from_le_bytes(*value);
            ascends &= u32::from(low) >= least;
            least = u32::from(low) + 1;
            places[kept] = *value;
            kept += usize::from(is_kept(low));
        }
        self.data.truncate(start + 2 * kept);
        self.end_container(index, start, kept);
        if ascends { Ok(()) } else { Err(AudienceError::Malformed) }
    }

    /// Adds a page of bits.
    fn keep_words(&mut self, index: u64, words: &Words) {
        let start = self.data.len();
        let count = words.iter().map(|word| word.count_ones() as usize).sum::<usize>();
        if count as u64 > ARRAY_MAX {
            self.data.extend_from_slice(words.map(u64::to_le_bytes).as_flattened());
        } else {
            for (at, word) in words.iter().enumerate() {
                let mut left = *word;
                while left != 0 {
                    let low = (at * 64) as u16 + left.trailing_zeros() as u16;
                    self.data.extend_from_slice(&low.to_le_bytes());
                    left &= left - 1;
                }
            }
        }
        self.end_container(index, start, count);
    }

    fn end_container(&mut self, index: u64, start: usize, count: usize) {
        if count > 0 {
            self.permitted += count as u64;
            self.heads.extend_from_slice(&(index as u16).to_le_bytes());
            self.heads.extend_from_slice(&((count - 1) as u16).to_le_bytes());
            self.starts.push(start as u32);
        }
    }

    fn end_map(&mut self) {
        if self.starts.is_empty() {
            return;
        }
        self.maps += 1;
        let containers = self.starts.len() as u32;
        for word in [self.high as u32, COOKIE_PLAIN, containers] {
            self.bytes.extend_from_slice(&word.to_le_bytes());
        }
        self.bytes.append(&mut self.heads);
        // The data follow cookie, count, heads and offsets.
        let header = 8 + 8 * containers;
        for start in self.starts.drain(..) {
            self.bytes.extend_from_slice(&(header + start).to_le_bytes());
        }
        self.bytes.append(&mut self.data);
    }

    fn finish(mut self) -> Vec<u8> {
        self.end_map();
        if let Some(maps) = self.bytes.first_chunk_mut() {
            *maps = self.maps.to_le_bytes();
        }
        self.bytes
    }
}
