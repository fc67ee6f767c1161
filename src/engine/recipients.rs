//! From what a caller sent to contact IDs: one column of integers a batch.

use bytes::Bytes;
use memchr::memchr_iter;

use super::{directory, view::View};
use crate::domain::{
    address::{
        Accept, Region, in_e164_range, plausible, read_contact_id, read_email, read_external_id,
        read_phone,
    },
    contact::ContactKind,
    scope::{BrandId, Regime},
    secret::Fingerprint,
};

/// Stands in for the contact ID of a recipient that has none: no such address
/// is registered, or it is no address. It is no member of a plane of ordinals;
/// for the other kinds [`Recipients::invalid`] tells.
const NO_ID: u64 = directory::NONE;

/// The recipients of one batch, resolved. Kept by a stream from batch to batch,
/// so that only growth allocates (A6).
#[derive(Default)]
pub struct Recipients {
    /// Contact IDs, in the order of the recipients.
    pub(super) ids: Vec<u64>,
    /// One bit a recipient: not an address of the kind.
    invalid: Vec<u64>,
    /// The same for scopes where unknown is permitted, if it differs there.
    implausible: Vec<u64>,
    /// For kinds with a directory: the addresses' fingerprints.
    pub(super) fingerprints: Vec<Fingerprint>,
    /// With erasures known: the fingerprints of their marks, brand's and all brands'.
    pub(super) erased: Vec<[Fingerprint; 2]>,
    text: String,
}

/// How recipients are to be read, for one scope or several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// The brand whose marks of erasures count, beside those of all brands.
    pub brand: BrandId,
    /// The kind of all of them.
    pub kind: ContactKind,
    /// The region of national phone spellings.
    pub region: Option<Region>,
    /// Whether a scope permits the unknown: there, an integer that cannot be a
    /// phone number must not pass for an unknown one (R1), and marks of
    /// erasures count (R11).
    pub permits_unknown: bool,
    /// Whether a scope refuses the unknown.
    pub refuses_unknown: bool,
}

impl Reading {
    /// Whether marks of erasures must be looked for. Free while there are none.
    pub fn needs_erased(&self, view: &View) -> bool {
        self.permits_unknown && !view.erased.is_empty()
    }
}

impl Recipients {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// One bit a recipient: not an address of the kind, as a scope of this
    /// regime reads it.
    pub(super) fn invalid(&self, regime: Regime) -> &[u64] {
        if regime.permits_unknown() && !self.implausible.is_empty() {
            &self.implausible
        } else {
            &self.invalid
        }
    }

    pub(super) fn shrink(&mut self, kept: usize) {
        self.clear();
        self.ids.shrink_to(kept);
        self.fingerprints.shrink_to(kept);
        self.erased.shrink_to(kept);
    }

    fn clear(&mut self) {
        self.ids.clear();
        self.invalid.clear();
        self.implausible.clear();
        self.fingerprints.clear();
        self.erased.clear();
    }

    /// Takes a column of phones or contact IDs.
    pub(super) fn read_ids(
        &mut self,
        ids: impl Iterator<Item = u64>,
        reading: Reading,
        view: &View,
    ) {
        self.clear();
        self.ids.extend(ids);
        if reading.kind == ContactKind::Phone {
            // Two loops rather than a test in one: the first compiles to a
            // compare and a shift per number.
            if reading.refuses_unknown {
                mark(&self.ids, &mut self.invalid, |id| !in_e164_range(id));
            }
            if reading.permits_unknown {
                mark(&self.ids, &mut self.implausible, |id| !plausible(id));
            }
        }
        if reading.needs_erased(view) {
            self.read_erased(None, reading, view);
        }
    }

    /// Takes a column of lines. A line that is no address becomes an invalid
    /// recipient in its place.
    pub(super) fn read_lines(&mut self, lines: &Bytes, reading: Reading, view: &View) {
        self.clear();
        let has_directory = view.directory(reading.kind).is_some();
        for_each_line(lines, |line| {
            let id = match reading.kind {
                ContactKind::Phone => read_phone(line, reading.region, Accept::Valid).ok(),
                ContactKind::ContactId => read_contact_id(line).ok(),
                ContactKind::Email => match read_email(line, &mut self.text) {
                    Ok(text) => {
                        self.fingerprints.push(view.secret.fingerprint(text.as_bytes()));
                        Some(NO_ID)
                    }
                    Err(_) => None,
                },
                ContactKind::ExternalId => match read_external_id(line) {
                    Ok(text) => {
                        self.fingerprints.push(view.secret.fingerprint(text.as_bytes()));
                        Some(NO_ID)
                    }
                    Err(_) => None,
                },
            };
            let at = self.ids.len();
            if at.is_multiple_of(64) {
                self.invalid.push(0);
            }
            if id.is_none() {
                if has_directory {
                    // The columns stay aligned; the bit says that it means nothing.
                    self.fingerprints.push(0);
                }
                if let Some(word) = self.invalid.last_mut() {
                    *word |= 1 << (at % 64);
                }
            }
            self.ids.push(id.unwrap_or(NO_ID));
        });
        if let Some(directory) = view.directory(reading.kind) {
            directory.resolve(&self.fingerprints, &mut self.ids);
        }
        if reading.needs_erased(view) {
            self.read_erased(Some(lines), reading, view);
        }
    }

    /// Finds the fingerprints under which erasures would be marked (R11).
    fn read_erased(&mut self, lines: Option<&Bytes>, reading: Reading, view: &View) {
        let marks = |address: &[u8]| {
            [reading.brand, BrandId::ALL]
                .map(|brand| view.secret.erased_fingerprint(brand, reading.kind, address))
        };
        let Some(lines) = lines.filter(|_| !reading.kind.is_direct()) else {
            self.erased.extend(self.ids.iter().map(|id| marks(id.to_string().as_bytes())));
            return;
        };
        for_each_line(lines, |line| {
            let found = match reading.kind {
                ContactKind::Email => {
                    read_email(line, &mut self.text).map(|text| marks(text.as_bytes()))
                }
                _ => read_external_id(line).map(|text| marks(text.as_bytes())),
            };
            self.erased.push(found.unwrap_or_default());
        });
    }
}

/// Packs one bit an ID.
fn mark(ids: &[u64], words: &mut Vec<u64>, is_marked: impl Fn(u64) -> bool) {
    words.extend(ids.chunks(64).map(|ids| {
        ids.iter().enumerate().fold(0, |word, (bit, id)| word | u64::from(is_marked(*id)) << bit)
    }));
}

/// The number of lines: the newlines, plus one if the last byte is not one.
#[must_use]
pub fn count_lines(lines: &[u8]) -> usize {
    let newlines = memchr_iter(b'\n', lines).count();
    newlines + usize::from(lines.last().is_some_and(|last| *last != b'\n'))
}

fn for_each_line(lines: &[u8], mut each: impl FnMut(&[u8])) {
    let mut rest = lines;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let (line, tail) = rest.split_at(end);
        each(line.strip_suffix(b"\r").filter(|_| !tail.is_empty()).unwrap_or(line));
        rest = tail.get(1..).unwrap_or(&[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(lines: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        for_each_line(lines, |line| found.push(line.to_vec()));
        found
    }

    #[test]
    fn lines_are_split_and_counted_alike() {
        let cases: [(&[u8], &[&[u8]]); 7] = [
            (b"", &[]),
            (b"\n", &[b""]),
            (b"a", &[b"a"]),
            (b"a\n", &[b"a"]),
            (b"a\n\nb", &[b"a", b"", b"b"]),
            (b"a\r\nb\r\r\n", &[b"a", b"b\r"]),
            // Without a newline after it a carriage return is part of the line.
            (b"a\r", &[b"a\r"]),
        ];
        for (bytes, expected) in cases {
            assert_eq!(split(bytes), expected);
            assert_eq!(count_lines(bytes), expected.len());
        }
    }
}
