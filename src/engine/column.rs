//! Columns of contact IDs: one integer a recipient.

use bytes::Bytes;

/// A contact ID in a column: a number, or its bytes as they travel, little-endian.
///
/// A column of bytes may begin at any address, so that what was received needs no copy.
pub trait ColumnId: Copy {
    /// From a contact ID.
    fn of(id: u64) -> Self;

    /// The contact ID.
    fn id(self) -> u64;
}

impl ColumnId for u64 {
    #[inline(always)]
    fn of(id: u64) -> Self {
        id
    }

    #[inline(always)]
    fn id(self) -> u64 {
        self
    }
}

impl ColumnId for [u8; 8] {
    #[inline(always)]
    fn of(id: u64) -> Self {
        id.to_le_bytes()
    }

    #[inline(always)]
    fn id(self) -> u64 {
        u64::from_le_bytes(self)
    }
}

/// The contact IDs of a batch: as they were received, or made of addresses one by one.
#[derive(Default)]
pub(super) struct Column {
    /// Empty if the IDs were made.
    received: Bytes,
    /// Empty if the IDs were received.
    made: Vec<[u8; 8]>,
}

impl Column {
    /// The IDs in order.
    #[inline]
    pub(super) fn ids(&self) -> &[[u8; 8]] {
        if self.received.is_empty() { &self.made } else { self.received.as_chunks().0 }
    }

    /// The IDs that were made, to be changed.
    pub(super) fn made_mut(&mut self) -> &mut Vec<[u8; 8]> {
        debug_assert!(self.received.is_empty(), "a column is received or made");
        &mut self.made
    }

    /// Takes IDs as they travel, in place of those before.
    ///
    /// # Panics
    /// If the last one is not whole: an answer would be one recipient short (A1).
    pub(super) fn receive(&mut self, column: Bytes) {
        assert!(column.len().is_multiple_of(8), "eight bytes for each ID");
        self.made.clear();
        self.received = column;
    }

    /// Forgets the IDs.
    pub(super) fn clear(&mut self) {
        self.receive(Bytes::new());
    }
}
