//! `RecipientBatch`, written by hand so that a packed column is not copied.
//!
//! prost decodes `repeated fixed64` element by element into a `Vec<u64>`. One
//! packed chunk is the same bytes as a `bytes` field, so this message keeps it
//! as a slice of what was received. It stays right for every legal encoding:
//! packed chunks concatenate, also with unpacked elements between them.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType, decode_varint},
};

const BATCH_ID: u32 = 1;
const PHONES: u32 = 2;
const CONTACT_IDS: u32 = 3;
const LINES: u32 = 4;
const ROARING: u32 = 5;
const COUNT: u32 = 6;

const WIDTH: usize = 8;

/// A column of `fixed64` as it travels: little-endian, eight bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fixed64Column(Bytes);

impl Fixed64Column {
    /// The number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len() / WIDTH
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values as they travel.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        let (values, _) = self.0.as_chunks::<WIDTH>();
        values.iter().map(|value| u64::from_le_bytes(*value))
    }

    /// Appends encoded values; the bytes of a lone chunk are kept as they came.
    fn append(&mut self, chunk: Bytes) {
        if self.0.is_empty() {
            self.0 = chunk;
        } else if !chunk.is_empty() {
            // A column sent in unpacked elements arrives here once a value:
            // growing a uniquely held buffer keeps that linear.
            let mut joined = match std::mem::take(&mut self.0).try_into_mut() {
                Ok(owned) => owned,
                Err(shared) => BytesMut::from(shared.as_ref()),
            };
            joined.extend_from_slice(&chunk);
            self.0 = joined.freeze();
        }
    }

    fn merge(&mut self, wire_type: WireType, buf: &mut impl Buf) -> Result<(), DecodeError> {
        match wire_type {
            WireType::LengthDelimited => {
                let length = decode_varint(buf)?;
                let length = usize::try_from(length)
                    .ok()
                    .filter(|length| *length <= buf.remaining())
                    .ok_or_else(|| malformed("buffer underflow"))?;
                if length % WIDTH != 0 {
                    return Err(malformed("a packed fixed64 column is not a multiple of 8 bytes"));
                }
                self.append(buf.copy_to_bytes(length));
                Ok(())
            }
            WireType::SixtyFourBit => {
                let mut value = 0_u64;
                encoding::fixed64::merge(wire_type, &mut value, buf, DecodeContext::default())?;
                self.append(Bytes::copy_from_slice(&value.to_le_bytes()));
                Ok(())
            }
            other => Err(malformed(format!("wire type {other:?} for a fixed64 column"))),
        }
    }

    fn encode(&self, tag: u32, buf: &mut impl BufMut) {
        if !self.is_empty() {
            encoding::bytes::encode(tag, &self.0, buf);
        }
    }

    fn encoded_len(&self, tag: u32) -> usize {
        if self.is_empty() { 0 } else { encoding::bytes::encoded_len(tag, &self.0) }
    }
}

impl FromIterator<u64> for Fixed64Column {
    fn from_iter<I: IntoIterator<Item = u64>>(values: I) -> Self {
        let values = values.into_iter();
        let mut bytes = BytesMut::with_capacity(values.size_hint().0.saturating_mul(WIDTH));
        values.for_each(|value| bytes.put_u64_le(value));
        Self(bytes.freeze())
    }
}

impl From<&[u64]> for Fixed64Column {
    fn from(values: &[u64]) -> Self {
        values.iter().copied().collect()
    }
}

/// Recipients of one batch; see `RecipientBatch` in `filter.proto`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipientBatch {
    /// Returned with the answer.
    pub batch_id: u64,
    /// E.164 numbers as integers.
    pub phones: Fixed64Column,
    /// Contact IDs.
    pub contact_ids: Fixed64Column,
    /// One address a line, UTF-8.
    pub lines: Bytes,
    /// A portable 64-bit Roaring bitmap.
    pub roaring: Bytes,
    /// The number of recipients; 0 where it was left out.
    pub count: u32,
}

impl Message for RecipientBatch {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if self.batch_id != 0 {
            encoding::uint64::encode(BATCH_ID, &self.batch_id, buf);
        }
        self.phones.encode(PHONES, buf);
        self.contact_ids.encode(CONTACT_IDS, buf);
        if !self.lines.is_empty() {
            encoding::bytes::encode(LINES, &self.lines, buf);
        }
        if !self.roaring.is_empty() {
            encoding::bytes::encode(ROARING, &self.roaring, buf);
        }
        if self.count != 0 {
            encoding::uint32::encode(COUNT, &self.count, buf);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            BATCH_ID => encoding::uint64::merge(wire_type, &mut self.batch_id, buf, ctx),
            PHONES => self.phones.merge(wire_type, buf),
            CONTACT_IDS => self.contact_ids.merge(wire_type, buf),
            LINES => encoding::bytes::merge(wire_type, &mut self.lines, buf, ctx),
            ROARING => encoding::bytes::merge(wire_type, &mut self.roaring, buf, ctx),
            COUNT => encoding::uint32::merge(wire_type, &mut self.count, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        let scalar = |present: bool, length: usize| if present { length } else { 0 };
        scalar(self.batch_id != 0, encoding::uint64::encoded_len(BATCH_ID, &self.batch_id))
            + self.phones.encoded_len(PHONES)
            + self.contact_ids.encoded_len(CONTACT_IDS)
            + scalar(!self.lines.is_empty(), encoding::bytes::encoded_len(LINES, &self.lines))
            + scalar(!self.roaring.is_empty(), encoding::bytes::encoded_len(ROARING, &self.roaring))
            + scalar(self.count != 0, encoding::uint32::encoded_len(COUNT, &self.count))
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

fn malformed(what: impl Into<std::borrow::Cow<'static, str>>) -> DecodeError {
    // prost keeps its own constructor out of the documentation but public, for
    // generated code and messages like this one.
    #[allow(deprecated, reason = "the only public constructor")]
    DecodeError::new(what)
}
