"""The check of one answer of a filter stream.

A shifted bit would send to the wrong person, so nothing is taken on trust: the
order, the lengths, the counts, the padding, and the agreement of bits and
reasons are all verified before a caller sees a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sendgate import _bits
from sendgate._wire import Message
from sendgate.answer import Answer, ScopeAnswer
from sendgate.errors import BatchRefusedError, ContractError
from sendgate.model import Reason, Revision
from sendgate.v1 import filter_pb2


@dataclass(frozen=True)
class Batch:
    """A batch that has no answer yet."""

    batch_id: int
    start: int
    count: int
    message: Message
    given: list[Any] | None

    @property
    def recipients(self) -> Sequence[Any]:
        """The recipients as they were sent. An array's owner may have changed it
        since, and bits stand for what was sent."""
        if self.given is not None:
            return self.given
        if _bits.np is not None:
            numbers: Sequence[Any] = _bits.np.frombuffer(self.message.column, "<u8")
            return numbers
        return self.message.column.cast("Q")


def verified(answer: filter_pb2.BatchAnswer, batch: Batch, scopes: int, reasons: bool) -> Answer:
    """The answer, if a correct server could have given it."""
    if answer.batch_id != batch.batch_id:
        raise ContractError(f"batch {batch.batch_id} was due and batch {answer.batch_id} came")
    recipients = batch.recipients
    if answer.HasField("error"):
        return _refused(answer, batch, recipients, scopes, reasons)
    if len(answer.scopes) != scopes:
        raise ContractError(
            f"batch {batch.batch_id}: {scopes} scopes asked, {len(answer.scopes)} answered"
        )
    if not answer.revision.epoch or answer.as_of_ms <= 0:
        raise ContractError(f"batch {batch.batch_id}: no revision or no time was answered")
    verdicts = []
    for at, scope in enumerate(answer.scopes):
        fault = _fault(scope, batch.count, reasons)
        if fault is not None:
            raise ContractError(f"batch {batch.batch_id}, scope {at}: {fault}")
        counts = {Reason.read(one.reason): one.count for one in scope.reason_counts}
        verdicts.append(
            ScopeAnswer(recipients, scope.permitted_count, scope.permitted, scope.reasons, counts)
        )
    return Answer(
        batch_id=batch.batch_id,
        start=batch.start,
        recipients=recipients,
        scopes=tuple(verdicts),
        revision=Revision.from_wire(answer.revision),
        as_of_ms=answer.as_of_ms,
        policy_version=answer.policy_version,
    )


def _refused(
    answer: filter_pb2.BatchAnswer,
    batch: Batch,
    recipients: Sequence[Any],
    scopes: int,
    reasons: bool,
) -> Answer:
    """A refused batch: nobody is permitted, in any scope."""
    if answer.scopes:
        raise ContractError(f"batch {batch.batch_id} was refused and answered at once")
    nobody = ScopeAnswer(
        recipients,
        0,
        bytes((batch.count + 7) // 8),
        bytes(batch.count if reasons else 0),
        {},
    )
    error = answer.error
    try:
        code = filter_pb2.BatchErrorCode.Name(error.code).removeprefix("BATCH_ERROR_CODE_")
    except ValueError:  # Newer than this client; refused all the same.
        code = f"CODE_{error.code}"
    return Answer(
        batch_id=batch.batch_id,
        start=batch.start,
        recipients=recipients,
        scopes=(nobody,) * scopes,
        revision=Revision.from_wire(answer.revision) if answer.revision.epoch else None,
        as_of_ms=answer.as_of_ms,
        policy_version=answer.policy_version,
        error=BatchRefusedError(batch.batch_id, code, error.message, error.field),
    )


def _fault(scope: filter_pb2.ScopeAnswer, due: int, reasons: bool) -> str | None:
    """What is wrong with the verdicts, if anything."""
    bits = scope.permitted
    if scope.recipients != due:
        return f"{due} recipients asked, {scope.recipients} answered"
    if len(bits) != (due + 7) // 8:
        return f"{len(bits)} bytes of bits for {due} recipients"
    if due % 8 and bits[-1] >> due % 8:
        return "bits are set beyond the last recipient"
    if (ones := _bits.ones(bits)) != scope.permitted_count:
        return f"{ones} bits are set, permitted_count {scope.permitted_count}"
    if len(scope.reasons) != (due if reasons else 0):
        return f"{len(scope.reasons)} reasons for {due if reasons else 0}"
    return _reasons_fault(scope, due) if reasons else None


def _reasons_fault(scope: filter_pb2.ScopeAnswer, due: int) -> str | None:
    if Reason.UNSPECIFIED in scope.reasons:
        return "a recipient has no reason"
    by_reason = _bits.permitted_by_reasons(scope.reasons)
    by_bit = _bits.flags(scope.permitted, due)
    if by_reason != by_bit:
        at = next(at for at in range(due) if by_reason[at] != by_bit[at])
        return f"bit and reason of recipient {at} disagree"
    stated = {one.reason: one.count for one in scope.reason_counts}
    if len(stated) != len(scope.reason_counts) or sum(stated.values()) != due:
        return "the counts by reason do not add up"
    for reason, count in stated.items():
        if not 0 <= reason < 256 or scope.reasons.count(reason) != count:
            return f"the count of reason {reason} is wrong"
    return None
