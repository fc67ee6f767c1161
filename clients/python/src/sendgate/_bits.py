"""Bits, one a recipient, as masks: a numpy array where numpy is installed, a
list of bool otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Union

np: Any
try:
    import numpy as np
except ImportError:  # It is optional.
    np = None

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    Mask = Union[numpy.typing.NDArray[numpy.bool_], list[bool]]
    Bytes = Union[numpy.typing.NDArray[numpy.uint8], bytes]

PERMITTED = 1

#: The eight flags of each byte, least significant first, a byte each.
_FLAGS = [bytes(byte >> bit & 1 for bit in range(8)) for byte in range(256)]
#: PERMITTED to 1 and everything else to 0.
_IS_PERMITTED = bytes(int(reason == PERMITTED) for reason in range(256))


def flags(bits: bytes, count: int) -> bytes:
    """A byte a recipient, 1 if permitted."""
    if np is not None:
        unpacked: bytes = _unpacked(bits, count).tobytes()
        return unpacked
    return b"".join(map(_FLAGS.__getitem__, bits))[:count]


def mask(bits: bytes, count: int) -> Mask:
    """A bool a recipient."""
    if np is not None:
        array: Mask = _unpacked(bits, count).view(np.bool_)
        return array
    return list(map(bool, flags(bits, count)))


def _unpacked(bits: bytes, count: int) -> Any:
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=count, bitorder="little")


def byte_array(values: bytes) -> Bytes:
    """Bytes as an array where there are arrays."""
    if np is not None:
        array: Bytes = np.frombuffer(values, np.uint8)
        return array
    return values


def ones(bits: bytes) -> int:
    """How many bits are set."""
    return int.from_bytes(bits, "little").bit_count()


def permitted_by_reasons(reasons: bytes) -> bytes:
    """A byte a recipient, 1 if its reason is PERMITTED."""
    return reasons.translate(_IS_PERMITTED)
