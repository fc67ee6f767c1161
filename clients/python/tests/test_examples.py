"""The examples of the repository, run as programs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import BRAND, SMS, Server, grant
from fake import Batches, Fake, Responses, right_answer, summary

from sendgate import Client, Reason
from sendgate.v1 import filter_pb2

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
sys.path.insert(0, str(EXAMPLES))

from stop_words import STOP_WORDS, says_stop  # noqa: E402


def prefilter(
    server: str, source: Path, target: Path, *more: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(EXAMPLES / "prefilter.py")]
    command += [str(source), str(target), "--column", "phone", "--target", server, *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_prefilter_keeps_the_permitted_rows(server: Server, client: Client, tmp_path: Path) -> None:
    grant(client, "+905380000001", "+905380000003")
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    rows = [
        "name,phone,note",
        'Ayşe,0538 000 00 01,"a note, with a comma"',
        "Ali,0538 000 00 02,",
        "short",
        'Broken,"0538 000 00 01\n0538 000 00 03",',
        "Can,+905380000003,x",
    ]
    source.write_text("\ufeff" + "\n".join(rows) + "\n", encoding="utf-8")
    done = prefilter(server.target, source, target, "--region", "TR")
    assert (done.returncode, done.stderr) == (0, "2 of 5 permitted\n")
    assert target.read_text(encoding="utf-8").splitlines() == [rows[0], rows[1], rows[5]]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_prefilter_streams_many_batches(server: Server, client: Client, tmp_path: Path) -> None:
    base = 905_390_000_000
    due = [base, base + 16_383, base + 16_384, base + 99_999]
    grant(client, *due)
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    rows = "".join(f"{at},+{base + at}\n" for at in range(100_000))
    source.write_text(f"id,phone\n{rows}", encoding="utf-8")
    assert prefilter(server.target, source, target).returncode == 0
    lines = target.read_text(encoding="utf-8").splitlines()[1:]
    assert lines == [f"{number - base},+{number}" for number in due]


def test_prefilter_writes_nothing_on_doubt(server: Server, tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("phone\n+905380000001\n", encoding="utf-8")
    target.write_text("yesterday's\n", encoding="utf-8")
    broken = tmp_path / "broken.csv"
    broken.write_text('phone\n"+905380000001"x\n', encoding="utf-8")
    runs = [
        ("127.0.0.1:1", source, target),
        (server.target, source, target, "--purpose", "gossip"),
        (server.target, broken, target),
        (server.target, source, target, "--column", "email"),
        (server.target, source, source),
        (server.target, tmp_path / "none.csv", target),
    ]
    # At once, because the first one waits for its server.
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda run: prefilter(*run), runs))
    assert [one.returncode for one in done] == [1, 1, 1, 1, 2, 1]
    assert all(one.stderr for one in done)
    assert target.read_text(encoding="utf-8") == "yesterday's\n"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["broken.csv", "in.csv", "out.csv"]


def test_prefilter_writes_nothing_where_one_batch_was_refused(fake: Fake, tmp_path: Path) -> None:
    def script(
        number: int, options: filter_pb2.FilterOptions, batches: Batches, context: Any
    ) -> Responses:
        answers = []
        for at, batch in enumerate(batches):
            answers.append(right_answer(batch, options))
            if at == 1:
                answers[-1].ClearField("scopes")
                answers[-1].error.code = filter_pb2.BATCH_ERROR_CODE_INTERNAL
            yield filter_pb2.FilterResponse(answer=answers[-1])
        yield summary(answers)

    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("phone\n" + "+905380000001\n" * 20_000, encoding="utf-8")
    assert prefilter(fake.target, source, target).returncode == 0
    target.unlink()
    fake.filter = script
    done = prefilter(fake.target, source, target)
    assert (done.returncode, target.exists()) == (1, False)
    assert "batch 1 was refused, INTERNAL" in done.stderr


@pytest.mark.parametrize("language", STOP_WORDS)
def test_every_stop_word_stops_in_any_dress(language: str) -> None:
    for word in STOP_WORDS[language].split(","):
        word = " ".join(word.split())
        dresses = [word, word.lower(), word.title(), f"  {word}!!\n", f"«{word}»", f"*{word}*"]
        dresses += [f"{word} please", f"hello, {word.lower()}", f"\u200f{word}\u200e", f"{word}."]
        for text in dresses:
            assert says_stop(text), text


def test_other_spellings_and_what_is_no_stop() -> None:
    for text in (
        "iptal", "IPTAL", "İptal", "ıptal", "İPTAL", "çıkış", "CIKIS", "cikis", "uyelikten cik",
        "arret", "Arrêt", "desabonner", "kuendigen", "Kündigen", "loeschen", "LÖSCHEN",
        "ＳＴＯＰ", "S\u0307TOP", "no mas", "إِيقَاف", "الغــاء", "STOP SMS", "opt-out", "st\u00adop",
    ):  # fmt: skip
        assert says_stop(text), text
    for text in (
        "",
        "!",
        "hello",
        "nonstop",
        "stopping by",
        "Bana dursun dedi",
        "weekend",
        "12345",
    ):
        assert not says_stop(text), text


class Handler:
    """The STOP handler as a program of its own."""

    def __init__(self, server: str) -> None:
        command = [sys.executable, "-W", "error", str(EXAMPLES / "stop_handler.py")]
        command += ["--port", "0", "--region", "TR", "--target", server]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.search(r"http://\S+", self.process.stdout.readline())
        assert found
        self.url = found[0]

    def post(
        self, body: bytes | Mapping[str, object], url: str | None = None
    ) -> tuple[int, dict[str, str]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(url or self.url, data, timeout=30) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def stop(self) -> None:
        # Not by SIGINT, which programs started in the background may ignore.
        self.process.terminate()
        self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def handler(server: Server) -> Iterator[Handler]:
    running = Handler(server.target)
    yield running
    running.stop()


def test_stop_is_in_force_when_it_is_acknowledged(handler: Handler, client: Client) -> None:
    person = "+905380000011"
    grant(client, person)
    assert client.check(person, brand=BRAND, scope=SMS)
    hello = {"id": "m-0", "from": person, "text": "Merhaba"}
    assert handler.post(hello) == (200, {"outcome": "ignored"})
    assert client.check(person, brand=BRAND, scope=SMS)
    message: dict[str, object] = {"id": "m-1", "from": "0538 000 00 11", "text": " İptal! "}
    assert handler.post(message) == (200, {"outcome": "withdrawn"})
    refused = client.check(person, brand=BRAND, scope=SMS)
    assert refused.reason is Reason.CHANNEL_OPT_OUT
    # The gateway may post it again.
    assert handler.post(message) == (200, {"outcome": "withdrawn"})
    assert client.check(person, brand=BRAND, scope=SMS).revision == refused.revision
    (event,) = [
        change.record.consent
        for changes in client.watch(BRAND, until_now=True)
        for change in changes.changes
        if change.record.consent.source == "stop message"
    ]
    assert (event.channel, event.purpose, event.recipient_type) == ("sms", "*", 0)


def test_what_is_no_message_is_said(handler: Handler, client: Client) -> None:
    good: dict[str, object] = {"id": "m-9" * 100, "from": "+905380000012", "text": "STOP"}
    for bad in (b"{", b"[]", b"", {**good, "id": 7}, {**good, "id": ""}, {**good, "from": "x"},
                {**good, "from": "\ud800"}, {"id": "1"}):  # fmt: skip
        assert handler.post(bad)[0] == 422, bad
    assert handler.post(b" " * 70_000)[0] == 400
    assert handler.post(good, handler.url + "s")[0] == 404
    assert client.check("+905380000012", brand=BRAND, scope=SMS).reason is Reason.NO_CONSENT
    assert handler.post(good)[0] == 200
    assert client.check("+905380000012", brand=BRAND, scope=SMS).reason is Reason.CHANNEL_OPT_OUT


def test_a_stop_that_cannot_be_recorded_is_not_acknowledged(own_server: Server) -> None:
    handler = Handler(own_server.target)
    try:
        own_server.stop(signal.SIGKILL)
        message: dict[str, object] = {"id": "m-1", "from": "+905380000013", "text": "STOP"}
        assert handler.post(message)[0] == 503
        running = own_server.again()
        try:
            assert handler.post(message)[0] == 200
            with Client(running.target) as client:
                verdict = client.check("+905380000013", brand=BRAND, scope=SMS)
                assert verdict.reason is Reason.CHANNEL_OPT_OUT
        finally:
            running.stop(signal.SIGKILL)
    finally:
        handler.stop()


def test_examples_are_executable() -> None:
    for name in ("prefilter.py", "stop_handler.py"):
        assert os.access(EXAMPLES / name, os.X_OK)
