"""The change feed: committed events, in order, resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import grpc

from sendgate._retry import ATTEMPTS, only_promised, pause
from sendgate._status import error_of
from sendgate.consent import Contact
from sendgate.errors import ContractError, LostError, SendgateError, StatusError, UnreachableError
from sendgate.model import Kind, Revision
from sendgate.v1 import consent_pb2, types_pb2

_KINDS = {kind.wire: kind for kind in Kind}


@dataclass(frozen=True)
class Change:
    """One committed event."""

    revision: int
    #: consent, suppression, lift, erasure, policy or redaction; empty where the
    #: content was erased, or is newer than this client.
    event: str
    #: Whom it is about; None where that is everybody, was erased, or is unknown.
    contact: Contact | None
    #: The whole record.
    record: types_pb2.LedgerRecord

    @property
    def may_suppress(self) -> bool:
        """Whether somebody who was permitted may be refused from here on. Only
        what is known not to do so is taken for harmless."""
        if self.event == "consent":
            event = self.record.consent
            # A newer consent that ends takes the place of one that does not.
            return bool(
                event.status != types_pb2.CONSENT_STATUS_GRANTED
                or event.HasField("valid_until_ms")
            )
        return self.event not in ("lift", "redaction")


@dataclass(frozen=True)
class Changes:
    """Some events. Once you have dealt with them, keep `through`: it is where
    to go on."""

    changes: tuple[Change, ...]
    through: Revision


class Watch(Iterator[Changes]):
    """Follows committed events. A broken connection is opened again where it
    broke off, which a reader may do as often as it likes."""

    def __init__(
        self,
        open_call: Callable[[bytes], Any],
        request: consent_pb2.WatchRequest,
        reconnect: bool,
    ) -> None:
        self._open_call = open_call
        self._request = request
        self._reconnect = reconnect
        self._call: Any = None
        self._failures = 0
        self._ended = False
        #: Everything up to here was yielded; None before the first.
        self.through: Revision | None = (
            Revision.from_wire(request.after) if request.HasField("after") else None
        )

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> Changes:
        while not self._ended:
            try:
                changes = self._receive()
            except (StatusError, UnreachableError) as error:
                if self._ended:  # Another thread closed it.
                    break
                if not self._may_reconnect(error):
                    self.close()
                    raise
                continue
            except BaseException:
                self.close()
                raise
            if changes is None:
                self.close()
                break
            return changes
        raise StopIteration

    def close(self) -> None:
        """Ends the stream; another thread may call it."""
        self._ended = True
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _receive(self) -> Changes | None:
        try:
            if self._call is None:
                if self.through is not None:
                    self._request.after.CopyFrom(self.through.to_wire())
                self._call = self._open_call(self._request.SerializeToString())
            response = next(self._call, None)
        except grpc.RpcError as error:
            raise error_of(error) from None
        if response is None:
            if self._request.until_now:
                return None
            raise LostError("UNKNOWN", "the server ended the change feed")
        changes = self._read(response)
        self._failures = 0
        self.through = changes.through
        return changes

    def _read(self, response: consent_pb2.WatchResponse) -> Changes:
        """Checks what came: a gap would be a withdrawal that nobody hears of."""
        through = Revision.from_wire(response.through)
        before = self.through
        if not through.epoch or (before is not None and through.epoch != before.epoch):
            raise ContractError("the change feed is of another epoch")
        last = before.revision if before is not None else 0
        for record in response.records:
            if record.revision <= last:
                raise ContractError(f"revision {record.revision} came after {last}")
            last = record.revision
        if through.revision < last:
            raise ContractError(f"the change feed is through {through.revision}, before {last}")
        return Changes(tuple(map(_change, response.records)), through)

    def _may_reconnect(self, error: SendgateError) -> bool:
        """Whether to go on; waits, if so."""
        away = isinstance(error, UnreachableError) or (
            isinstance(error, LostError) and error.reason is None
        )
        promised = isinstance(error, StatusError) and only_promised(error)
        self._failures += 1
        if not self._reconnect or not (away or promised) or self._failures >= ATTEMPTS:
            return False
        if self._call is not None:
            self._call.cancel()
            self._call = None
        time.sleep(pause(self._failures))
        return True


def _change(record: types_pb2.LedgerRecord) -> Change:
    event = record.WhichOneof("event") or ""
    contact = getattr(getattr(record, event), "contact", None) if event else None
    known = _KINDS.get(contact.kind) if contact is not None and contact.address else None
    return Change(
        revision=record.revision,
        event=event,
        contact=Contact(contact.address, known) if contact is not None and known else None,
        record=record,
    )
