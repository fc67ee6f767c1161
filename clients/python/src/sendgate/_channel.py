"""Opening a channel: where, encrypted or not, with which token."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path

import grpc

DEFAULT_TARGET = "http://127.0.0.1:50051"

#: Largest message that is accepted; the server's largest has 16 MiB, and a
#: newer server may add fields.
_RECEIVE_BYTES = 20 << 20
#: Largest message that is sent: the server's cap.
SEND_BYTES = 4 << 20

_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", _RECEIVE_BYTES),
    ("grpc.max_send_message_length", SEND_BYTES),
    # A silent connection is probed, so that a machine that went away ends a
    # stream instead of hanging it.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # By default the library waits a second, then more, before it connects
    # again; servers that restart are back sooner.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Retries of the library's own are not those that we promise.
    ("grpc.enable_retries", 0),
    # Each client has a connection of its own.
    ("grpc.use_local_subchannel_pool", 1),
]

#: What RFC 6750 allows in a bearer token. Anything else would be a header that
#: is cut or refused somewhere on the way.
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


@dataclass(frozen=True)
class Target:
    """Where to connect, and whether encrypted."""

    address: str
    tls: bool


def read_target(target: str | None, *, certificates: bool) -> Target:
    """Reads `host:port`, `http://host:port` or `https://host:port`. Certificates
    mean TLS."""
    text = target or os.environ.get("SENDGATE_ENDPOINT") or DEFAULT_TARGET
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Target(text, tls=certificates)
    if scheme not in ("http", "https"):
        raise ValueError(f"the target is http://…, https://… or host:port, not {scheme}://…")
    if scheme == "http" and certificates:
        raise ValueError("certificates were given for a target without TLS; use https://")
    return Target(rest.rstrip("/"), tls=scheme == "https")


def is_loopback(address: str) -> bool:
    """Whether what is sent to this address stays on the machine."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def authorization(token: str | None, target: Target) -> tuple[tuple[str, str], ...]:
    """The metadata of every call. The token is in no message of an error."""
    if token is None:
        return ()
    if not _TOKEN.fullmatch(token):
        raise ValueError(
            "the token has a character that no token has (a newline at its end, perhaps)"
        )
    if not target.tls and not is_loopback(target.address):
        raise ValueError("a token goes over TLS or loopback only; use https:// or give ca")
    return (("authorization", f"Bearer {token}"),)


def open_channel(
    target: Target,
    ca: str | bytes | os.PathLike[str] | None,
    cert: str | bytes | os.PathLike[str] | None,
    key: str | bytes | os.PathLike[str] | None,
) -> grpc.Channel:
    """A channel, which connects when it is first used."""
    if (cert is None) != (key is None):
        raise ValueError("cert and key go together")
    if not target.tls:
        return grpc.insecure_channel(target.address, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(_pem(ca), _pem(key), _pem(cert))
    return grpc.secure_channel(target.address, credentials, options=_OPTIONS)


def _pem(source: str | bytes | os.PathLike[str] | None) -> bytes | None:
    """PEM as bytes as they are, anything else as the path of a file."""
    if source is None or isinstance(source, bytes):
        return source
    return Path(source).read_bytes()
