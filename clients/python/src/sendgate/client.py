"""One connection to a server."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Union

import grpc

from sendgate._channel import authorization, open_channel, read_target
from sendgate._recipients import BATCH_RECIPIENTS, Recipients, default_batch, parts
from sendgate._retry import also_unknown, only_promised, repeat
from sendgate._sender import Sender
from sendgate._status import error_of
from sendgate.consent import (
    Actor,
    Consent,
    Contact,
    Status,
    Suppression,
    Written,
    written,
)
from sendgate.errors import (
    ContractError,
    RejectedError,
    StatusError,
    UnreachableError,
)
from sendgate.model import Kind, Reason, RecipientType, Revision, Scope
from sendgate.stream import FilterStream
from sendgate.v1 import consent_pb2, filter_pb2
from sendgate.watch import Watch

#: Batches without an answer, unless said otherwise.
IN_FLIGHT = 4
#: Recipients times scopes of a batch with reasons that the server takes.
_BATCH_VERDICTS = 2_097_152

_FILTER = "/sendgate.v1.FilterService/"
_CONSENT = "/sendgate.v1.ConsentService/"
_HEALTH = "/grpc.health.v1.Health/Check"

#: PEM as bytes, or the path of a file that holds it.
Pem = Union[str, bytes, "os.PathLike[str]"]


@dataclass(frozen=True)
class Verdict:
    """The verdict on one recipient. True in an `if` only if permitted."""

    permitted: bool
    reason: Reason
    revision: Revision
    as_of_ms: int
    policy_version: str

    def __bool__(self) -> bool:
        return self.permitted


class Client:
    """One connection to a server; threads may share it.

    `target` is `host:port`, `http://host:port` or `https://host:port`; without
    one, what SENDGATE_ENDPOINT says, or port 50051 of this machine. TLS is used
    with https, or if certificates are given. A token goes along with every
    call, over TLS or loopback only.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        token: str | None = None,
        ca: Pem | None = None,
        cert: Pem | None = None,
        key: Pem | None = None,
        connect_timeout: float = 5.0,
    ) -> None:
        certificates = any(one is not None for one in (ca, cert, key))
        self._target = read_target(target, certificates=certificates)
        self._metadata = authorization(token, self._target)
        self._channel = open_channel(self._target, ca, cert, key)
        self._connect_timeout = connect_timeout
        self._connecting = threading.Lock()
        self._connected = False

    def __repr__(self) -> str:
        return f"Client({self._target.address!r}, tls={self._target.tls})"

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection, and with it all streams."""
        self._channel.close()

    @property
    def channel(self) -> grpc.Channel:
        """The channel, for calls that this class does not have; their messages
        are in `sendgate.v1`. Send `metadata` along."""
        return self._channel

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries; holds the token."""
        return self._metadata

    def filter(
        self,
        recipients: Recipients,
        *,
        brand: str,
        scope: Scope | Sequence[Scope],
        kind: Kind | str = Kind.PHONE,
        region: str = "",
        reasons: bool = False,
        deduplicate: bool = False,
        minimum_revision: Revision | None = None,
        batch: int | None = None,
        in_flight: int = IN_FLIGHT,
        resume: int = 0,
        timeout: float | None = None,
    ) -> FilterStream:
        """Asks about many recipients: any iterable of integers or texts, a text
        file, a numpy array of integers. They are read and sent in a thread in
        the background, `in_flight` batches of `batch` recipients ahead; without
        a number, of 65,536 numbers of an array, 16,384 others.

        With `resume`, a stream that breaks because the server went away is
        opened again, so many times, from the first batch without an answer on.
        `timeout` is for each of these calls, in seconds.
        """
        scopes = [scope] if isinstance(scope, Scope) else list(scope)
        kind = Kind(kind)
        if batch is None:
            batch = default_batch(recipients)
        if not 1 <= batch <= BATCH_RECIPIENTS or in_flight < 1 or resume < 0:
            raise ValueError(
                f"batch is 1 to {BATCH_RECIPIENTS}, in_flight at least 1, resume 0 or more"
            )
        if resume and deduplicate:
            # A new stream knows nothing of whom the broken one permitted.
            raise ValueError("a stream that deduplicates cannot be resumed")
        if reasons and scopes:
            batch = min(batch, _BATCH_VERDICTS // len(scopes))
        options = filter_pb2.FilterOptions(
            brand=brand,
            scopes=[one.to_wire() for one in scopes],
            contact_kind=kind.wire,
            default_region=region,
            answer_form=f"ANSWER_FORM_{'REASONS' if reasons else 'PERMITTED_BITS'}",
            deduplicate=deduplicate,
            minimum_revision=minimum_revision.to_wire() if minimum_revision else None,
        )
        sender = Sender(parts(recipients, kind, batch), in_flight)
        # The requests are bytes already.
        method: Any = self._channel.stream_stream(
            _FILTER + "Filter",
            request_serializer=None,
            response_deserializer=filter_pb2.FilterResponse.FromString,
        )

        def open_call(requests: Any) -> Any:
            self._connect()
            call = method(requests, metadata=self._metadata, timeout=timeout)
            if not call.add_callback(lambda: self._ended(call)):
                self._ended(call)
            return call

        self._connect()
        return FilterStream(open_call, options, sender, resume)

    def check(
        self,
        address: str | int,
        *,
        brand: str,
        scope: Scope,
        kind: Kind | str = Kind.PHONE,
        region: str = "",
        minimum_revision: Revision | None = None,
        timeout: float = 10.0,
    ) -> Verdict:
        """Asks about one recipient."""
        request = filter_pb2.CheckRequest(
            brand=brand,
            scope=scope.to_wire(),
            contact=Contact(address, kind, region).to_wire(),
            minimum_revision=minimum_revision.to_wire() if minimum_revision else None,
        )
        method = _FILTER + "Check"
        answer = self._unary(method, request, filter_pb2.CheckResponse, only_promised, timeout)
        if answer.permitted != (answer.reason == Reason.PERMITTED) or not answer.revision.epoch:
            raise ContractError("verdict and reason disagree, or the revision is missing")
        return Verdict(
            permitted=answer.permitted,
            reason=Reason.read(answer.reason),
            revision=Revision.from_wire(answer.revision),
            as_of_ms=answer.as_of_ms,
            policy_version=answer.policy_version,
        )

    def record(self, events: Iterable[Consent], *, timeout: float = 30.0) -> Written:
        """Records up to 1,000 consent events. When it returns, they are durable,
        and every batch that the server receives from then on honours them.

        A write whose outcome is unknown is repeated: its event key, or without
        one its content, keeps it from counting twice. Raises `RejectedError` if
        any event was not recorded.
        """
        request = consent_pb2.RecordRequest(events=[event.to_wire() for event in events])
        response = consent_pb2.RecordResponse
        answer = self._unary(_CONSENT + "Record", request, response, also_unknown, timeout)
        return _all_recorded(written(answer.results, answer.revision, len(request.events)))

    def withdraw(
        self,
        address: str | int,
        *,
        brand: str,
        channel: str = "",
        purpose: str = "",
        kind: Kind | str = Kind.PHONE,
        region: str = "",
        recipient_type: RecipientType | str | None = None,
        time: datetime | int | None = None,
        source: str = "",
        actor: Actor = Actor(),
        event_key: str = "",
        timeout: float = 30.0,
    ) -> Written:
        """Records that a person takes consent back: for channel and purpose, for
        a channel, or, with neither, for everything. Not stating the recipient
        type means both."""
        event = Consent(
            brand=brand,
            contact=Contact(address, kind, region),
            status=Status.WITHDRAWN,
            channel=channel,
            purpose=purpose,
            recipient_type=recipient_type,
            time=time,
            source=source,
            actor=actor,
            event_key=event_key,
        )
        return self.record([event], timeout=timeout)

    def suppress(self, suppressions: Iterable[Suppression], *, timeout: float = 30.0) -> Written:
        """Sets up to 1,000 suppressions, as `record` does."""
        request = consent_pb2.SuppressRequest(suppressions=[one.to_wire() for one in suppressions])
        response = consent_pb2.SuppressResponse
        answer = self._unary(_CONSENT + "Suppress", request, response, also_unknown, timeout)
        return _all_recorded(written(answer.results, answer.revision, len(request.suppressions)))

    def watch(
        self,
        brand: str,
        *,
        after: Revision | None = None,
        until_now: bool = False,
        reconnect: bool = True,
        asked_by: Actor = Actor(),
    ) -> Watch:
        """Follows committed events after a revision, from the first one on if
        none is given. Keep `through` of what you have dealt with."""
        request = consent_pb2.WatchRequest(
            brand=brand,
            after=after.to_wire() if after else None,
            until_now=until_now,
            asked_by=asked_by.to_wire(),
        )
        method: Any = self._channel.unary_stream(
            _CONSENT + "Watch",
            request_serializer=None,
            response_deserializer=consent_pb2.WatchResponse.FromString,
        )

        def open_call(message: bytes) -> Any:
            self._connect()
            call = method(message, metadata=self._metadata)
            if not call.add_callback(lambda: self._ended(call)):
                self._ended(call)
            return call

        return Watch(open_call, request, reconnect)

    def _unary(
        self,
        name: str,
        request: Any,
        response: Any,
        may_repeat: Callable[[StatusError], bool],
        timeout: float,
    ) -> Any:
        method = self._channel.unary_unary(
            name,
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )

        def call(seconds: float) -> Any:
            self._connect(seconds)
            try:
                return method(request, metadata=self._metadata, timeout=seconds)
            except grpc.RpcError as error:
                failure = error_of(error)
                self._connected &= failure.code != "UNAVAILABLE"
                raise failure from None

        return repeat(call, may_repeat, timeout)

    def _connect(self, timeout: float | None = None) -> None:
        """Waits until somebody answers. Nothing of the caller's is sent before
        that, so it is tried again and again until the time is over."""
        with self._connecting:
            if self._connected:
                return
            seconds = min(self._connect_timeout, timeout or self._connect_timeout)
            # Any answer will do. (The library's own channel_ready_future polls in
            # a thread that fails noisily when the channel is closed.)
            health: Any = self._channel.unary_unary(_HEALTH)
            try:
                health(b"", metadata=self._metadata, timeout=seconds, wait_for_ready=True)
            except grpc.RpcError as error:
                failure = error_of(error)
                if failure.code in ("DEADLINE_EXCEEDED", "UNAVAILABLE"):
                    what = f"cannot reach {self._target.address} within {seconds:g} s"
                    raise UnreachableError(f"{what}: {failure.message}") from None
            self._connected = True

    def _ended(self, call: Any) -> None:
        """A stream ended: without a connection, perhaps."""
        self._connected &= call.code() is not grpc.StatusCode.UNAVAILABLE


def _all_recorded(result: Written) -> Written:
    if not all(one.is_recorded for one in result.results):
        raise RejectedError(result.results)
    return result
