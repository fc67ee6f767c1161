"""The answer to one batch, verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import compress
from typing import TYPE_CHECKING, Any

from sendgate import _bits
from sendgate.errors import BatchRefusedError
from sendgate.model import Reason, Revision

if TYPE_CHECKING:
    from sendgate._bits import Bytes, Mask

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, eq=False)
class ScopeAnswer:
    """The verdicts on one batch in one scope."""

    #: The recipients of the batch, in order, as they were sent.
    recipients: Sequence[Any]
    permitted_count: int
    #: One bit a recipient, least significant first.
    bits: bytes
    #: One byte a recipient, a Reason; empty if none were asked for.
    reason_bytes: bytes
    #: How many recipients got each reason; empty if none were asked for.
    counts: Mapping[Reason, int]

    @property
    def mask(self) -> Mask:
        """Whether the message may go to each recipient: a numpy array of bool
        where numpy is installed, a list otherwise."""
        return _bits.mask(self.bits, len(self.recipients))

    @property
    def permitted(self) -> Sequence[Any]:
        """The recipients that the message may go to, in order."""
        if _bits.np is not None and isinstance(self.recipients, _bits.np.ndarray):
            permitted: Sequence[Any] = self.recipients[self.mask]
            return permitted
        return list(compress(self.recipients, _bits.flags(self.bits, len(self.recipients))))

    def is_permitted(self, at: int) -> bool:
        """Whether the message may go to this recipient of the batch. Nobody
        outside the batch is permitted."""
        return 0 <= at < len(self.recipients) and bool(self.bits[at // 8] >> (at % 8) & 1)

    @property
    def reasons(self) -> Bytes:
        """One number a recipient: an array of uint8 where numpy is installed,
        bytes otherwise. Empty if none were asked for."""
        return _bits.byte_array(self.reason_bytes)

    def reason(self, at: int) -> Reason:
        """Why this recipient may be written to, or why not; UNSPECIFIED where
        no reasons were asked for, or where it is newer than this client."""
        if not 0 <= at < len(self.reason_bytes):
            return Reason.UNSPECIFIED
        return Reason.read(self.reason_bytes[at])


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer to one batch, all of it decided at one revision.

    It holds for the moment of `as_of`. What is said of recipients here is about
    the only scope; a stream with several has one answer each in `scopes`.
    """

    batch_id: int
    #: The place of the batch's first recipient in the whole list, from 0.
    start: int
    #: The recipients of the batch, in order, as they were sent.
    recipients: Sequence[Any]
    scopes: tuple[ScopeAnswer, ...]
    #: Absent if the batch was refused.
    revision: Revision | None
    as_of_ms: int
    policy_version: str
    #: Set if the server refused the batch: nobody in it is permitted.
    error: BatchRefusedError | None = None

    @property
    def stop(self) -> int:
        """The place after the batch's last recipient."""
        return self.start + len(self.recipients)

    @property
    def epoch(self) -> str | None:
        return self.revision.epoch if self.revision else None

    @property
    def as_of(self) -> datetime:
        """The moment that the batch was decided for."""
        return _EPOCH + timedelta(milliseconds=self.as_of_ms)

    @property
    def only(self) -> ScopeAnswer:
        """The answer in the only scope."""
        if len(self.scopes) != 1:
            # The first one would be an answer to another question.
            raise ValueError("this stream has several scopes: look at one of answer.scopes")
        return self.scopes[0]

    @property
    def mask(self) -> Mask:
        return self.only.mask

    @property
    def permitted(self) -> Sequence[Any]:
        return self.only.permitted

    @property
    def permitted_count(self) -> int:
        return self.only.permitted_count

    @property
    def reasons(self) -> Bytes:
        return self.only.reasons

    @property
    def counts(self) -> Mapping[Reason, int]:
        return self.only.counts

    def is_permitted(self, at: int) -> bool:
        return self.only.is_permitted(at)

    def reason(self, at: int) -> Reason:
        return self.only.reason(at)
