//! A page as bytes: the portable 32-bit Roaring format of its lowest 16 bits, that is a bitmap
//! of one container with key 0.
//!
//! Only the array and bitset containers are written, and only those are read, each with the
//! count that Roaring prescribes for it (A9: a page of ours has exactly one spelling, anything
//! else is damage). Layout, little-endian: `u32` cookie 12346, `u32` container count 1, `u16`
//! key 0, `u16` count − 1, `u32` offset 16, then up to 4,096 ascending `u16`, or 1,024 words.

use super::bits::Bits;
use super::page::{DENSE_MIN, Form, MAX_PAGE_INDEX, PAGE_IDS, Page};

/// Cookie of a portable Roaring bitmap without run containers.
const COOKIE: u32 = 12_346;
/// Cookie, container count, key, count − 1, and offset.
const HEADER: usize = 16;
/// Most values that Roaring keeps in an array container.
const ARRAY_MAX: usize = 4_096;
/// Bytes of a bitset.
const BITSET: usize = PAGE_IDS / 8;

/// Why bytes are not a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageError {
    /// The page index does not fit in 48 bits.
    Index(u64),
    /// The first 16 bytes are not the header of a bitmap of one container with key 0.
    Header,
    /// The length does not fit the count: bytes expected, bytes given.
    Length(usize, usize),
    /// The values do not ascend.
    Order,
    /// The bitset does not hold as many bits as the header says: said, found.
    Count(usize, usize),
}

impl std::fmt::Display for PageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PageError::Index(index) => write!(f, "page index {index} exceeds 48 bits"),
            PageError::Header => f.write_str("page bytes do not begin as a one-container bitmap"),
            PageError::Length(expected, given) => {
                write!(f, "page needs {expected} bytes, got {given}")
            }
            PageError::Order => f.write_str("page values are not ascending and unique"),
            PageError::Count(said, found) => {
                write!(f, "page says {said} members, its bitset holds {found}")
            }
        }
    }
}

impl std::error::Error for PageError {}

impl Page {
    /// The page as a portable 32-bit Roaring bitmap of its members' lowest 16 bits.
    pub fn to_bytes(&self) -> Vec<u8> {
        let count = self.len();
        let mut bytes = Vec::with_capacity(HEADER + BITSET.min(2 * count));
        bytes.extend_from_slice(&COOKIE.to_le_bytes());
        bytes.extend_from_slice(&1_u32.to_le_bytes());
        bytes.extend_from_slice(&0_u16.to_le_bytes());
        bytes.extend_from_slice(&((count - 1) as u16).to_le_bytes());
        bytes.extend_from_slice(&(HEADER as u32).to_le_bytes());
        match self.form() {
            Form::Dense(words) if count > ARRAY_MAX => {
                bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            }
            _ => bytes.extend(self.values().flat_map(u16::to_le_bytes)),
        }
        bytes
    }

    /// Reads what [`Page::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`PageError`] for anything else; it allocates no more than one page in any case.
    pub fn from_bytes(index: u64, bytes: &[u8]) -> Result<Page, PageError> {
        if index > MAX_PAGE_INDEX {
            return Err(PageError::Index(index));
        }
        let (header, data) = bytes.split_first_chunk::<HEADER>().ok_or(PageError::Header)?;
        let [c0, c1, c2, c3, n0, n1, n2, n3, k0, k1, l0, l1, o0, o1, o2, o3] = *header;
        let fixed = (
            u32::from_le_bytes([c0, c1, c2, c3]),
            u32::from_le_bytes([n0, n1, n2, n3]),
            u16::from_le_bytes([k0, k1]),
            u32::from_le_bytes([o0, o1, o2, o3]),
        );
        if fixed != (COOKIE, 1, 0, HEADER as u32) {
            return Err(PageError::Header);
        }
        let count = usize::from(u16::from_le_bytes([l0, l1])) + 1;
        let expected = if count > ARRAY_MAX { BITSET } else { 2 * count };
        if data.len() != expected {
            return Err(PageError::Length(HEADER + expected, bytes.len()));
        }
        if count > ARRAY_MAX { from_bitset(index, count, data) } else { from_array(index, data) }
    }
}

fn from_bitset(index: u64, count: usize, data: &[u8]) -> Result<Page, PageError> {
    const { assert!(ARRAY_MAX >= DENSE_MIN, "every bitset container is a dense page") };
    let mut words = [0; PAGE_IDS / 64];
    let mut found = 0;
    for (word, bytes) in words.iter_mut().zip(data.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
        found += word.count_ones() as usize;
    }
    if found != count {
        return Err(PageError::Count(count, found));
    }
    Ok(Page::from_words(index, count, Bits::copy_of(&words)))
}

fn from_array(index: u64, data: &[u8]) -> Result<Page, PageError> {
    let values: Vec<u16> =
        data.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect();
    if !values.is_sorted_by(|a, b| a < b) {
        return Err(PageError::Order);
    }
    Ok(Page::from_values(index, &values, &mut Vec::new()))
}
