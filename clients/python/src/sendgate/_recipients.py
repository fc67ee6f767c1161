"""Recipients, in whatever form they were given, as parts that fit in a batch."""

from __future__ import annotations

import operator
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Union

from sendgate import _wire
from sendgate._bits import np
from sendgate._lines import join_lines
from sendgate.model import Kind

#: Recipients in a batch that the server takes.
BATCH_RECIPIENTS = 262_144
#: Bytes of lines in a batch, so that with its header it stays below 4 MiB.
_LINE_BYTES = (4 << 20) - 1_024

#: What `filter` takes: any iterable of integers or strings, among them lists,
#: text files, numpy arrays and `array.array("Q")`.
Recipients = Union[Iterable[int], Iterable[str], Any]


def default_batch(recipients: Recipients) -> int:
    """Recipients of a batch, unless the caller says how many. A batch costs the
    library the same whatever its size, which is most of what an array costs;
    texts cost more by themselves, and come from slower sources."""
    is_array = np is not None and isinstance(recipients, np.ndarray)
    return 65_536 if is_array or _as_numbers(recipients) is not None else 16_384


@dataclass(frozen=True)
class Part:
    """The recipients of one batch."""

    column: bytes
    values: bytes | memoryview
    count: int
    #: The recipients as they were given; None for arrays, whose owner may
    #: change them: there, those that were sent are read from the message.
    given: list[Any] | None


def parts(recipients: Recipients, kind: Kind, batch: int) -> Iterator[Part]:
    """Cuts recipients into batches. Takes no more of an iterator than the part
    that is asked for."""
    if isinstance(recipients, (str, bytes, bytearray)):
        raise TypeError("recipients is a single text; give a list of addresses, or a text file")
    if np is not None and isinstance(recipients, np.ndarray):
        if recipients.ndim != 1:
            raise TypeError(f"recipients is an array of {recipients.ndim} dimensions, not of one")
        if recipients.dtype.kind in "iu":
            return _array_parts(recipients, kind, batch)
        if recipients.dtype.kind not in "UO":
            raise TypeError(f"recipients is an array of {recipients.dtype}, not of integers")
        recipients = (value for value in recipients.tolist())
    elif (view := _as_numbers(recipients)) is not None:
        return _view_parts(view, kind, batch)
    return _iterable_parts(iter(recipients), kind, batch)


def _array_parts(array: Any, kind: Kind, batch: int) -> Iterator[Part]:
    column = _integer_column(kind)
    for begin in range(0, len(array), batch):
        part = array[begin : begin + batch]
        if part.dtype.kind == "i" and part.min() < 0:
            raise ValueError(f"a recipient from {begin} on is negative")
        # No copy if the array has this form already.
        numbers = np.ascontiguousarray(part, dtype="<u8")
        yield Part(column, memoryview(numbers), len(part), None)


def _as_numbers(recipients: Any) -> memoryview | None:
    """A view of integers in the form of the wire, if that is what this is."""
    try:
        view = memoryview(recipients)
    except TypeError:
        return None
    fits = view.format in ("Q", "L") and view.itemsize == 8 and view.ndim == 1
    return view if fits and view.c_contiguous and sys.byteorder == "little" else None


def _view_parts(view: memoryview, kind: Kind, batch: int) -> Iterator[Part]:
    column = _integer_column(kind)
    for begin in range(0, len(view), batch):
        part = view[begin : begin + batch]
        yield Part(column, part, len(part), None)


def _iterable_parts(recipients: Iterator[Any], kind: Kind, batch: int) -> Iterator[Part]:
    begin = 0
    while given := list(islice(recipients, batch)):
        types = set(map(type, given))
        if types == {int}:
            yield _integers(given, given, kind, begin)
        elif all(issubclass(one, str) for one in types):
            yield from _lines(given)
        else:
            yield _integers(
                [_index(one, begin, at) for at, one in enumerate(given)], given, kind, begin
            )
        begin += len(given)


def _index(value: Any, begin: int, at: int) -> int:
    """The integer that this is; numpy has integers of its own."""
    # Who mixes numbers and texts, or has a bool in between, has a mistake in
    # the data, and which of them is wrong is not ours to guess.
    if isinstance(value, (bool, str)) or not hasattr(value, "__index__"):
        what = type(value).__name__
        raise TypeError(f"recipient {begin + at} is a {what}; all are integers, or all are texts")
    return operator.index(value)


def _integers(numbers: list[int], given: list[Any], kind: Kind, begin: int) -> Part:
    column = _integer_column(kind)
    try:
        values = struct.pack(f"<{len(numbers)}Q", *numbers)
    except struct.error:
        at = next(at for at, number in enumerate(numbers) if not 0 <= number < 1 << 64)
        raise ValueError(f"recipient {begin + at} is not an unsigned 64-bit integer") from None
    return Part(column, values, len(numbers), given)


def _lines(given: list[str]) -> Iterator[Part]:
    """One part, or several where the lines are too long for one message."""
    values = join_lines(given)
    if len(values) <= _LINE_BYTES:
        yield Part(_wire.LINES, values, len(given), given)
    else:
        half = len(given) // 2
        yield from _lines(given[:half])
        yield from _lines(given[half:])


def _integer_column(kind: Kind) -> bytes:
    if kind is Kind.PHONE:
        return _wire.PHONES
    if kind is Kind.CONTACT_ID:
        return _wire.CONTACT_IDS
    raise TypeError(f"recipients of kind {kind.value} are texts, not integers")
