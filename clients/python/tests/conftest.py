"""A real server for the tests, and a scripted one that breaks the contract."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake import Fake, serving
from sendgate import Client, Consent, Contact, Scope

BRAND = "main"
SMS = Scope("sms", "marketing")
EMAIL = Scope("email", "marketing")
PUSH = Scope("push", "marketing")
#: A time that all grants of the tests state.
LONG_AGO = 1_700_000_000_000


class Server:
    """A server of its own on a folder of its own."""

    def __init__(self, folder: Path, listen: str = "127.0.0.1:0") -> None:
        binary = os.environ.get("SENDGATE_BIN")
        if not binary:
            raise RuntimeError("SENDGATE_BIN names no server; run scripts/python.sh")
        self.folder = folder
        self._log = folder / "server.log"
        with self._log.open("ab") as log:
            begin = log.tell()
            command = [binary, "serve", "--data", str(folder / "data"), "--listen", listen]
            # A server takes no variable of ours that it does not know.
            others = (it for it in os.environ.items() if not it[0].startswith("SENDGATE_"))
            # Several servers run at once, and the usual port is one.
            environment = dict(others) | {"SENDGATE_HTTP_LISTEN": "off"}
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment
            )
        self.target = self._address(begin)

    def _address(self, begin: int) -> str:
        """Port 0 takes a free one; the log says which, once it is served."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            text = self._log.read_bytes()[begin:].decode(errors="replace")
            if found := re.search(r"serving.*?(127\.0\.0\.1:\d+)", text):
                return found[1]
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        self.stop(signal.SIGKILL)
        raise RuntimeError(f"the server does not start:\n{self._log.read_text()}")

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        if self._process.poll() is None:
            self._process.send_signal(by)
        self._process.wait(timeout=60)

    def again(self) -> Server:
        """Another server on the same folder and address, after this one."""
        return Server(self.folder, self.target)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server that all tests share; each uses contacts of its own."""
    with tempfile.TemporaryDirectory() as folder:
        running = Server(Path(folder))
        yield running
        running.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that the test may stop or kill."""
    running = Server(tmp_path)
    yield running
    running.stop(signal.SIGKILL)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.target) as client:
        yield client


def grant(client: Client, *addresses: str | int, kind: str = "phone", scope: Scope = SMS) -> None:
    """Records that these consent."""
    client.record(
        Consent(
            brand=BRAND,
            contact=Contact(address, kind),
            status="granted",
            channel=scope.channel,
            purpose=scope.purpose,
            recipient_type=scope.recipient_type,
            time=LONG_AGO,
        )
        for address in addresses
    )


@pytest.fixture
def fake() -> Iterator[Fake]:
    with serving(Fake()) as running:
        yield running
