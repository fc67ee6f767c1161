"""What is made by hand against what is generated, and life without numpy."""

from __future__ import annotations

import random
import struct
import subprocess
import sys

import numpy as np
import pytest
from sendgate import Reason, _bits, _wire
from sendgate._lines import join_lines
from sendgate.model import Kind
from sendgate.v1 import filter_pb2, types_pb2


@pytest.mark.parametrize("count", [1, 2, 15, 16, 2_047, 262_144])
@pytest.mark.parametrize("batch_id", [0, 127, 128, 1 << 32])
def test_a_batch_is_what_the_generated_classes_would_send(count: int, batch_id: int) -> None:
    numbers = [random.getrandbits(64) for _ in range(count)]
    packed = struct.pack(f"<{count}Q", *numbers)
    for column, name in ((_wire.PHONES, "phones"), (_wire.CONTACT_IDS, "contact_ids")):
        message = _wire.batch_message(batch_id, column, memoryview(packed), count)
        request = filter_pb2.FilterRequest.FromString(message.data)
        due = filter_pb2.RecipientBatch(batch_id=batch_id, count=count, **{name: numbers})  # type: ignore[arg-type]
        assert request.batch == due
        assert message.column == packed
    message = _wire.batch_message(batch_id, _wire.LINES, b"a\n" * count, count)
    request = filter_pb2.FilterRequest.FromString(message.data)
    assert request.batch == filter_pb2.RecipientBatch(
        batch_id=batch_id, count=count, lines=b"a\n" * count
    )


def test_every_line_has_one_newline() -> None:
    texts = [
        "a",
        "b\n",
        "c\r\n",
        "",
        "\n",
        "d\ne",
        "f\r",
        "g\n\n",
        "\udfff",
        "x" * 1_024,
        "x" * 1_025,
    ]
    due = [b"a", b"b", b"c", b"", b"", b"", b"", b"", b"", b"x" * 1_024, b""]
    assert join_lines(texts) == b"".join(line + b"\n" for line in due)
    for text, line in zip(texts, due, strict=True):
        assert join_lines([text]) == line + b"\n"


def test_the_enums_are_those_of_the_contract() -> None:
    assert {f"REASON_{one.name}": one.value for one in Reason} == dict(types_pb2.Reason.items())
    assert len(Kind) == len(types_pb2.ContactKind.items()) - 1


@pytest.mark.parametrize("numpy", [True, False])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 1_000])
def test_masks_are_the_bits(numpy: bool, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not numpy:
        monkeypatch.setattr(_bits, "np", None)
    due = [random.random() < 0.5 for _ in range(count)]
    bits = bytearray((count + 7) // 8)
    for at, one in enumerate(due):
        bits[at // 8] |= one << at % 8
    mask = _bits.mask(bytes(bits), count)
    assert list(mask) == due
    assert isinstance(mask, np.ndarray if numpy else list)
    assert _bits.ones(bytes(bits)) == sum(due)
    assert bytes(_bits.flags(bytes(bits), count)) == bytes(due)


def test_without_numpy_lists_and_arrays_do(server: object) -> None:
    program = """
import array, sys
sys.modules["numpy"] = None
from sendgate import Client, Consent, Contact, Scope
sms = Scope("sms", "marketing")
with Client(sys.argv[1]) as client:
    client.withdraw(905360000002, brand="main")
    contact = Contact(905360000001)
    client.record([Consent("main", contact, "granted", "sms", "marketing", "individual", time=1)])
    numbers = [905360000000, 905360000001, 905360000002]
    for form in (numbers, array.array("Q", numbers), [str(number) for number in numbers]):
        answer, = client.filter(form, brand="main", scope=sms, reasons=True)
        assert answer.mask == [False, True, False], answer.mask
        assert [int(one) for one in answer.permitted] == [905360000001]
        assert answer.reasons == bytes([17, 1, 13]), answer.reasons
"""
    target = server.target  # type: ignore[attr-defined]
    subprocess.run([sys.executable, "-W", "error", "-c", program, target], check=True, timeout=60)
