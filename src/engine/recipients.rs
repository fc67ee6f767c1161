//! From what a caller sent to contact IDs: one column of integers a batch.

use std::ops::Range;

use bytes::Bytes;

use super::{
    column::{Column, ColumnId},
    directory,
    lines::for_each_line,
    view::View,
};
use crate::domain::{
    address::{
        AddressError, PhoneColumn, Region, all_in_e164_range, in_e164_range, plausible,
        read_contact_id, read_email_in, read_external_id,
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
    column: Column,
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
        self.ids().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids().is_empty()
    }

    /// Their contact IDs, in order.
    #[inline]
    pub(super) fn ids(&self) -> &[[u8; 8]] {
        self.column.ids()
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
        self.column.made_mut().shrink_to(kept);
        self.fingerprints.shrink_to(kept);
        self.erased.shrink_to(kept);
    }

    fn clear(&mut self) {
        self.column.clear();
        self.invalid.clear();
        self.implausible.clear();
        self.fingerprints.clear();
        self.erased.clear();
        self.text.clear();
    }

    /// Takes a column of phones or contact IDs as it travels.
    pub(super) fn read_column(&mut self, column: &Bytes, reading: Reading, view: &View) {
        self.clear();
        self.column.receive(column.clone());
        self.judge_ids(reading, view);
    }

    /// Takes phones or contact IDs.
    pub(super) fn read_ids(
        &mut self,
        ids: impl Iterator<Item = u64>,
        reading: Reading,
        view: &View,
    ) {
        self.clear();
        self.column.made_mut().extend(ids.map(u64::to_le_bytes));
        self.judge_ids(reading, view);
    }

    fn judge_ids(&mut self, reading: Reading, view: &View) {
        if reading.kind == ContactKind::Phone {
            // Nearly always all are in range, which is quicker to tell than
            // which ones are not.
            let ids = self.column.ids();
            if reading.refuses_unknown && !all_in_e164_range(ids.iter().map(|id| id.id())) {
                mark(ids, &mut self.invalid, |id| !in_e164_range(id));
            }
            if reading.permits_unknown {
                mark(ids, &mut self.implausible, |id| !plausible(id));
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
        match reading.kind {
            ContactKind::Phone => {
                let phones = PhoneColumn::of(reading.region);
                self.read_each(lines, |line| phones.read(lines, line).ok());
            }
            ContactKind::ContactId => {
                self.read_each(lines, |line| read_contact_id(lines.get(line)?).ok())
            }
            ContactKind::Email | ContactKind::ExternalId => {
                let mut fingerprints = std::mem::take(&mut self.fingerprints);
                let mut text = std::mem::take(&mut self.text);
                self.read_each(lines, |line| {
                    let address = canonical(reading.kind, lines, line, &mut text).ok();
                    let found = address.map(|address| view.secret.fingerprint(address));
                    // The columns stay aligned; the bit says what means nothing.
                    fingerprints.push(found.unwrap_or_default());
                    found.map(|_| NO_ID)
                });
                (self.fingerprints, self.text) = (fingerprints, text);
            }
        }
        if let Some(directory) = view.directory(reading.kind) {
            directory.resolve(&self.fingerprints, self.column.made_mut());
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
            let ids = self.column.ids().iter().map(|id| id.id());
            self.erased.extend(ids.map(|id| marks(id.to_string().as_bytes())));
            return;
        };
        for_each_line(lines, |line| {
            let address = canonical(reading.kind, lines, line, &mut self.text);
            self.erased.push(address.map(marks).unwrap_or_default());
        });
    }

    /// Takes what `read` makes of each line; a line of which it makes nothing is invalid.
    #[inline(always)]
    fn read_each(&mut self, lines: &[u8], mut read: impl FnMut(Range<usize>) -> Option<u64>) {
        let ids = self.column.made_mut();
        let mut word = 0;
        for_each_line(lines, |line| {
            let id = read(line);
            let bit = ids.len() % 64;
            word |= u64::from(id.is_none()) << bit;
            ids.push(id.unwrap_or(NO_ID).to_le_bytes());
            if bit == 63 {
                self.invalid.push(std::mem::take(&mut word));
            }
        });
        if !ids.len().is_multiple_of(64) {
            self.invalid.push(word);
        }
    }
}

/// The canonical address of a line, of a kind that has a directory.
#[inline(always)]
fn canonical<'a>(
    kind: ContactKind,
    lines: &'a [u8],
    line: Range<usize>,
    text: &'a mut String,
) -> Result<&'a [u8], AddressError> {
    match kind {
        ContactKind::Email => read_email_in(lines, line, text),
        _ => read_external_id(lines.get(line).unwrap_or_default()).map(str::as_bytes),
    }
}

/// Packs one bit an ID.
fn mark(ids: &[[u8; 8]], words: &mut Vec<u64>, is_marked: impl Fn(u64) -> bool) {
    words.extend(ids.chunks(64).map(|ids| {
        ids.iter()
            .enumerate()
            .fold(0, |word, (bit, id)| word | u64::from(is_marked(id.id())) << bit)
    }));
}
