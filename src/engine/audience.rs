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

const COOKIE_PLAIN: u32 = 12_346;
const COOKIE_RUNS: u16 = 12_347;
/// Below this many containers the format with runs leaves the offsets out.
const OFFSETS_FROM: usize = 4;
const ARRAY_MAX: u64 = 4_096;
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
    let mut reader = Reader(bytes);
    let maps = reader.u64()?;
    let mut members = 0_u64;
    let mut previous = None;
    for _ in 0..maps {
        let key = reader.u32()?;
        if previous.is_some_and(|previous| key <= previous) {
            return Err(AudienceError::Malformed);
        }
        previous = Some(key);
        members = members.saturating_add(reader.bitmap()?);
        if members > cap {
            return Err(AudienceError::TooMany);
        }
    }
    if reader.0.is_empty() { Ok(members) } else { Err(AudienceError::Malformed) }
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

    /// Steps over one 32-bit bitmap and returns its member count.
    fn bitmap(&mut self) -> Result<u64, AudienceError> {
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
        let mut members = 0;
        for (at, [_, _, low, high]) in descriptions.iter().enumerate() {
            let declared = u64::from(u16::from_le_bytes([*low, *high])) + 1;
            let is_run = runs.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
            members += if is_run { self.runs()? } else { self.values(declared)? };
        }
        Ok(members)
    }

    fn values(&mut self, declared: u64) -> Result<u64, AudienceError> {
        let length = if declared <= ARRAY_MAX { declared as usize * 2 } else { BITSET_BYTES };
        self.take(length)?;
        Ok(declared)
    }

    fn runs(&mut self) -> Result<u64, AudienceError> {
        let count = usize::from(self.u16()?);
        let (runs, _) = self.take(count * 4)?.as_chunks::<4>();
        Ok(runs
            .iter()
            .map(|[_, _, low, high]| u64::from(u16::from_le_bytes([*low, *high])) + 1)
            .sum())
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
