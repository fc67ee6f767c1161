"""Where a client connects, how, and what goes along."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from conftest import BRAND, SMS
from fake import Fake, serving
from sendgate import Client, UnreachableError
from sendgate._channel import is_loopback, read_target


@pytest.mark.parametrize(
    "token", ["", "two words", "line\n", "line\r\nx: y", "tök", "a\0b", "=", "Bearer x", "\t"]
)
def test_a_token_that_is_none_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(ValueError, match="no token has") as caught:
        Client("127.0.0.1:50051", token=token)
    assert token not in str(caught.value) or token in ("", "=")


def test_a_token_goes_over_tls_or_loopback_only() -> None:
    for plain in (
        "example.com:50051",
        "http://10.0.0.1:50051",
        "127.0.0.1.example.com:1",
        "0.0.0.0:1",
    ):
        with pytest.raises(ValueError, match="TLS or loopback"):
            Client(plain, token="abc")
    for good in ("127.8.0.1:1", "[::1]:1", "localhost:1", "https://example.com:1", "unix:/run/x"):
        Client(good, token="abc").close()


def test_targets() -> None:
    assert read_target("https://a:1/", certificates=False).tls
    assert read_target("a:1", certificates=True).tls
    assert not read_target("a:1", certificates=False).tls
    assert not read_target("http://a:1", certificates=False).tls
    assert not is_loopback("127.0.0.1")
    with pytest.raises(ValueError, match="without TLS"):
        read_target("http://a:1", certificates=True)
    with pytest.raises(ValueError, match="ftp"):
        read_target("ftp://a:1", certificates=False)
    with pytest.raises(ValueError, match="together"):
        Client("https://a:1", cert=b"x")


def test_the_target_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENDGATE_ENDPOINT", "http://127.0.0.1:4711")
    assert read_target(None, certificates=False).address == "127.0.0.1:4711"
    monkeypatch.delenv("SENDGATE_ENDPOINT")
    assert read_target(None, certificates=False).address == "127.0.0.1:50051"


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *subject, *files], check=True, capture_output=True)
    return key, certificate


def test_tls_with_certificates_of_both_sides(tmp_path: Path) -> None:
    server_key, server_pem = make_certificate(tmp_path, "server")
    key, pem = make_certificate(tmp_path, "client")
    credentials = grpc.ssl_server_credentials(
        [(server_key.read_bytes(), server_pem.read_bytes())], pem.read_bytes(), True
    )
    with serving(Fake(), tls=credentials) as fake:
        target = f"https://{fake.target}"
        with Client(
            target, token="abc", ca=server_pem, cert=str(pem), key=key.read_bytes()
        ) as client:
            assert len(list(client.filter(range(3), brand=BRAND, scope=SMS))) == 1
        assert fake.metadata[0]["authorization"] == "Bearer abc"
        bad: tuple[dict[str, Any], ...] = (
            {"ca": pem, "cert": pem, "key": key},
            {"ca": server_pem},
            {},
        )
        for wrong in bad:
            with Client(target, connect_timeout=0.5, **wrong) as client:
                with pytest.raises(UnreachableError):
                    client.check(1, brand=BRAND, scope=SMS)
    assert len(fake.requests) == 1
