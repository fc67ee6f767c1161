"""Addresses as the lines of a batch.

The server counts recipients by newlines, so an address that holds one would
shift everybody after it. Whatever cannot be a line travels as an empty one,
which the server answers with INVALID_RECIPIENT in the right place.
"""

from __future__ import annotations

#: No address is longer (in characters) than this, however it is spelled.
_LONGEST = 1_024


def join_lines(addresses: list[str]) -> bytes:
    """One line an address. A line ending at its end, as files have them, is
    not part of it."""
    text = "\n".join(addresses)
    plain = text.count("\n") == len(addresses) - 1 and "\r" not in text
    if plain and max(map(len, addresses)) <= _LONGEST:
        try:
            return text.encode() + b"\n"
        except UnicodeEncodeError:
            pass
    return b"".join(_line(address) + b"\n" for address in addresses)


def _line(address: str) -> bytes:
    if address.endswith("\n"):
        address = address[:-2] if address.endswith("\r\n") else address[:-1]
    # A carriage return would be dropped or read as part of the address,
    # depending on where it stands, so an address that has one is none.
    if len(address) > _LONGEST or "\n" in address or "\r" in address:
        return b""
    try:
        return address.encode()
    except UnicodeEncodeError:  # Half of a surrogate pair.
        return b""
