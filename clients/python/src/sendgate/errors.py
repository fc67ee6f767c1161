"""What can go wrong. Every one of these means: send to nobody that has no answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sendgate.consent import Recorded


class SendgateError(Exception):
    """Something failed, so nobody concerned may be written to."""


class UnreachableError(SendgateError):
    """Nobody answers at the target. Nothing was sent, so nothing happened."""


class ContractError(SendgateError):
    """An answer that no correct server gives. Nothing in it may be used."""


class StatusError(SendgateError):
    """The server answered with an error, or the transport made one up."""

    def __init__(
        self, code: str, message: str, reason: str | None = None, field: str | None = None
    ) -> None:
        super().__init__(f"{code}: {message}" + (f" [{reason}]" if reason else ""))
        #: The status code as the gRPC specification writes it.
        self.code = code
        #: What the server said.
        self.message = message
        #: The reason of sendgate's own ErrorInfo; None if the status has none,
        #: which means that a transport may have made it up.
        self.reason = reason
        #: The field of the request that was wrong, if one was.
        self.field = field

    @property
    def nothing_happened(self) -> bool:
        """Whether the server promises that the call changed nothing."""
        return False


class RefusedError(StatusError):
    """The server understood the request and refused it. Repeating does not help."""

    @property
    def nothing_happened(self) -> bool:
        return self.reason is not None


class NotAllowedError(RefusedError):
    """The token is missing, wrong, or not good for this."""


class BusyError(StatusError):
    """The server is overloaded, starting or stopping; it promises that nothing
    happened, so the same call may be repeated."""

    @property
    def nothing_happened(self) -> bool:
        return True


class LostError(StatusError):
    """The connection broke, a deadline passed or the server failed: whether the
    call changed anything is unknown. Repeat a write; it is safe."""


@dataclass(frozen=True)
class Unanswered:
    """A batch that was read from the recipients and has no answer: the
    recipients from `start` up to, and without, `stop`, counted from 0."""

    batch_id: int
    start: int
    stop: int


class BatchRefusedError(SendgateError):
    """The server refused one batch. Nobody in it is permitted."""

    def __init__(self, batch_id: int, code: str, message: str, field: str = "") -> None:
        super().__init__(f"batch {batch_id} was refused, {code}: {message}")
        self.batch_id = batch_id
        #: The kind of refusal, such as `OVERLOADED`.
        self.code = code
        self.message = message
        #: The field of the batch concerned, if one is.
        self.field = field

    @property
    def may_succeed_later(self) -> bool:
        """Whether the same batch may be answered later, in another stream."""
        return self.code in ("NOT_YET", "OVERLOADED")


class StreamError(SendgateError):
    """A filter stream ended before every recipient had an answer. Why is its
    `__cause__`. Answers that were yielded before it stand."""

    def __init__(self, why: str, first_unanswered: int, unanswered: tuple[Unanswered, ...]) -> None:
        what = f"{why}; nobody from recipient {first_unanswered} on has an answer"
        if unanswered:
            first, last = unanswered[0], unanswered[-1]
            what += (
                f" (batches {first.batch_id} to {last.batch_id}, "
                f"recipients {first.start} to {last.stop - 1}, were under way)"
            )
        super().__init__(what)
        #: Nobody from this recipient on, counted from 0, has an answer.
        self.first_unanswered = first_unanswered
        #: The batches that were already taken from the recipients, in order.
        #: Everybody after them was never asked about.
        self.unanswered = unanswered


class RejectedError(SendgateError):
    """The server did not record some of the events. The others are recorded."""

    def __init__(self, results: tuple[Recorded, ...]) -> None:
        #: What became of each event, in order.
        self.results = results
        at, first = next((at, one) for at, one in enumerate(results) if not one.is_recorded)
        count = sum(not one.is_recorded for one in results)
        super().__init__(
            f"{count} of {len(results)} events were not recorded; event {at}: "
            f"{first.code or 'UNKNOWN'} {first.field} {first.message}".rstrip()
        )
