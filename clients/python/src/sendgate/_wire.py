"""Requests of a filter stream as protobuf bytes, made by hand.

The generated classes would make a Python object of every number. A packed
column of fixed64 is the numbers as they lie in memory, so a message is a few
bytes of header before them, and one copy.
"""

from __future__ import annotations

from dataclasses import dataclass

# Tags: field number << 3 | wire type (0 varint, 2 length-delimited).
_REQUEST_BATCH = b"\x12"
_BATCH_ID = b"\x08"
_COUNT = b"\x30"

#: The columns of RecipientBatch.
PHONES = b"\x12"
CONTACT_IDS = b"\x1a"
LINES = b"\x22"


@dataclass(frozen=True)
class Message:
    """A FilterRequest with one batch, and where its column begins and ends."""

    data: bytes
    begin: int
    end: int

    @property
    def column(self) -> memoryview:
        """The column as it was sent, which nobody can change any more."""
        return memoryview(self.data)[self.begin : self.end]


def batch_message(batch_id: int, column: bytes, values: bytes | memoryview, count: int) -> Message:
    """The request with one column. `count` lets the server hold the column
    against what we think is in it."""
    size = values.nbytes if isinstance(values, memoryview) else len(values)
    before = _BATCH_ID + _varint(batch_id) + column + _varint(size)
    after = _COUNT + _varint(count)
    header = _REQUEST_BATCH + _varint(len(before) + size + len(after)) + before
    return Message(b"".join((header, values, after)), len(header), len(header) + size)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
