//! Audiences: portable 64-bit Roaring bitmaps from a caller, who may be hostile.
//!
//! A run of 65,536 members takes four bytes, so a message within the byte cap
//! could stand for billions. The members are therefore counted from the
//! containers, and the count held against the cap, before anything is expanded.

use roaring::RoaringTreemap;

/// Why bytes are not an audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudienceError {
    /// Not a portable 64-bit Roaring bitmap.
    Malformed,
    /// More members than the cap.
    TooMany,
}

pub(super) const COOKIE_PLAIN: u32 = 12_346;
const COOKIE_RUNS: u16 = 12_347;
/// Below this many containers the format with runs leaves the offsets out.
const OFFSETS_FROM: usize = 4;
pub(super) const ARRAY_MAX: u64 = 4_096;
const BITSET_BYTES: usize = 8_192;

/// Reads an audience of at most `cap` members.
///
/// # Errors
/// The bytes are malformed, have bytes left over, or stand for more members.
pub fn read_audience(bytes: &[u8], cap: u64) -> Result<RoaringTreemap, AudienceError> {
    let members = count(bytes, cap)?;
    let audience = RoaringTreemap::deserialize_from(bytes).map_err(|_| AudienceError::Malformed)?;
    // The library checks what the containers hold against what they declare;
    // a difference would shift the reasons of a batch.
    if audience.len() == members { Ok(audience) } else { Err(AudienceError::Malformed) }
}

/// Counts the members without expanding them.
///
/// # Errors
/// As [`read_audience`].
pub fn count(bytes: &[u8], cap: u64) -> Result<u64, AudienceError> {
    let mut members = 0_u64;
    for_each_container(bytes, |_, container| {
        members = members.saturating_add(container.len());
        if members > cap { Err(AudienceError::TooMany) } else { Ok(()) }
    })?;
    Ok(members)
}

/// The members that share all but their lowest 16 bits, as they travel: little-endian, and of
/// unknown order.
#[derive(Clone, Copy)]
pub(super) enum Container<'a> {
    /// The lowest 16 bits of each.
    Array(&'a [[u8; 2]]),
    /// A bit for each possible member, and how many there are said to be.
    Bits(&'a [[u8; 8]], u64),
    /// The first member of each run, and how many follow it.
    Runs(&'a [[u8; 4]]),
}

impl Container<'_> {
    /// How many members it says it has.
    pub(super) fn len(&self) -> u64 {
        match self {
            Container::Array(values) => values.len() as u64,
            Container::Bits(_, declared) => *declared,
            Container::Runs(runs) => {
                let length = |[_, _, low, high]: &[u8; 4]| u16::from_le_bytes([*low, *high]);
                runs.iter().map(|run| u64::from(length(run)) + 1).sum()
            }
        }
    }
}

/// Hands over each container and its page index, ascending.
pub(super) fn for_each_container<'a>(
    bytes: &'a [u8],
    mut each: impl FnMut(u64, Container<'a>) -> Result<(), AudienceError>,
) -> Result<(), AudienceError> {
    let mut reader = Reader(bytes);
    let maps = reader.u64()?;
    let mut previous = None;
    for _ in 0..maps {
        let high = reader.u32()?;
        if previous.is_some_and(|previous| high <= previous) {
            return Err(AudienceError::Malformed);
        }
        previous = Some(high);
        reader.bitmap(|key, container| each(u64::from(high) << 16 | u64::from(key), container))?;
    }
    if reader.0.is_empty() { Ok(()) } else { Err(AudienceError::Malformed) }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], AudienceError> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(AudienceError::Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], AudienceError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(AudienceError::Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u16(&mut self) -> Result<u16, AudienceError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, AudienceError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, AudienceError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Hands over the containers of one 32-bit bitmap and their keys, ascending.
    fn bitmap(
        &mut self,
        mut each: impl FnMut(u16, Container<'a>) -> Result<(), AudienceError>,
    ) -> Result<(), AudienceError> {
        let cookie = self.u32()?;
        let (containers, runs): (usize, &[u8]) = if cookie == COOKIE_PLAIN {
            (self.u32()? as usize, &[])
        } else if cookie as u16 == COOKIE_RUNS {
            let containers = (cookie >> 16) as usize + 1;
            (containers, self.take(containers.div_ceil(8))?)
        } else {
            return Err(AudienceError::Malformed);
        };
        if containers > 1 << 16 {
            return Err(AudienceError::Malformed);
        }
        let descriptions = self.take(containers * 4)?;
        if runs.is_empty() || containers >= OFFSETS_FROM {
            self.take(containers * 4)?;
        }
        let (descriptions, _) = descriptions.as_chunks::<4>();
        let mut previous = None;
        for (at, [key_low, key_high, low, high]) in descriptions.iter().enumerate() {
            let key = u16::from_le_bytes([*key_low, *key_high]);
            if previous.is_some_and(|previous| key <= previous) {
                return Err(AudienceError::Malformed);
            }
            previous = Some(key);
            let declared = u64::from(u16::from_le_bytes([*low, *high])) + 1;
            let is_run = runs.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
            let container = if is_run {
                let runs = usize::from(self.u16()?);
                Container::Runs(self.take(runs * 4)?.as_chunks().0)
            } else if declared <= ARRAY_MAX {
                Container::Array(self.take(declared as usize * 2)?.as_chunks().0)
            } else {
                Container::Bits(self.take(BITSET_BYTES)?.as_chunks().0, declared)
            };
            each(key, container)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(members: impl IntoIterator<Item = u64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        members.into_iter().collect::<RoaringTreemap>().serialize_into(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn sparse_dense_and_empty_audiences_are_read() {
        let sets: [Vec<u64>; 4] = [
            vec![],
            vec![0, u64::MAX, 905_321_234_567],
            (0..200_000).collect(),
            (0..200_000).map(|n| n * 7_919).collect(),
        ];
        for set in sets {
            let read = read_audience(&bytes(set.clone()), 200_000).unwrap();
            assert!(read.iter().eq(set.iter().copied().collect::<RoaringTreemap>().iter()));
        }
    }

    #[test]
    fn the_cap_is_exact() {
        let audience = bytes(0..1_000);
        assert!(read_audience(&audience, 1_000).is_ok());
        assert_eq!(read_audience(&audience, 999), Err(AudienceError::TooMany));
    }

    #[test]
    fn a_run_of_everything_is_counted_without_being_expanded() {
        // One 32-bit bitmap, all 65,536 containers one run each: 2^32 members.
        let mut all = [1_u64.to_le_bytes().as_slice(), &0_u32.to_le_bytes()].concat();
        all.extend((u32::from(COOKIE_RUNS) | 0xffff << 16).to_le_bytes());
        all.extend([0xff; 8_192]);
        for key in 0..=u16::MAX {
            all.extend([key.to_le_bytes(), [0xff; 2]].concat());
        }
        all.extend([0; 4 << 16]);
        for _ in 0..=u16::MAX {
            all.extend([1, 0, 0, 0, 0xff, 0xff]);
        }
        assert!(all.len() < 1 << 20);
        assert_eq!(count(&all, u64::MAX), Ok(1 << 32));
        assert_eq!(read_audience(&all, 2_097_152), Err(AudienceError::TooMany));
    }

    #[test]
    fn cut_and_overlong_bytes_are_malformed() {
        let whole = bytes((0..100_000).map(|n| n * 31));
        for length in (0..whole.len()).step_by(997) {
            assert_eq!(read_audience(&whole[..length], 1 << 21), Err(AudienceError::Malformed));
        }
        let longer = [whole, vec![0]].concat();
        assert_eq!(read_audience(&longer, 1 << 21), Err(AudienceError::Malformed));
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(0_u8.., 0..2_000)) {
            drop(read_audience(&bytes, 1 << 21));
        }

        #[test]
        fn flipped_audiences_never_panic(at in 0_usize..4_000, bit in 0..8) {
            let mut bytes = bytes((0..2_000).map(|n| n * 77));
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1_u8 << bit;
            }
            drop(read_audience(&bytes, 1 << 21));
        }
    }
}
