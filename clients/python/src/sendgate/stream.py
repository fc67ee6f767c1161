"""A filter stream: answers in the order of the recipients."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import grpc

from sendgate._retry import pause
from sendgate._sender import Sender
from sendgate._status import error_of
from sendgate._verify import verified
from sendgate.answer import Answer
from sendgate.errors import (
    BusyError,
    ContractError,
    LostError,
    SendgateError,
    StreamError,
    UnreachableError,
)
from sendgate.model import Revision
from sendgate.v1 import filter_pb2

#: Opens a call with these requests.
Open = Callable[[Iterator[bytes]], Any]


@dataclass
class _Totals:
    """What the server has to confirm at the end of a call."""

    batches: int
    refused: int
    recipients: int
    permitted: list[int]


class FilterStream(Iterator[Answer]):
    """Yields one verified answer a batch, in the order of the recipients.

    Iterate to the end: only then has the server confirmed the totals of the
    whole list. Whoever stops earlier calls `close`, or uses `with`.

    Any error means that nobody without an answer may be written to;
    `StreamError` says who they are.
    """

    def __init__(
        self,
        open_call: Open,
        options: filter_pb2.FilterOptions,
        sender: Sender,
        resume: int,
    ) -> None:
        self._open_call = open_call
        self._options = options
        self._scopes = len(options.scopes)
        self._reasons = options.answer_form == filter_pb2.ANSWER_FORM_REASONS
        self._sender = sender
        self._resumes_left = resume
        self._failures = 0
        self._call: Any = None
        self._totals = self._no_totals()
        self._ended = False
        #: The revision of the first answer. Who watches what happens to a list
        #: begins here: what came after it may be in later answers only.
        self.first_revision: Revision | None = None
        #: The revision of the last answer.
        self.last_revision: Revision | None = None

    def __iter__(self) -> FilterStream:
        return self

    def __next__(self) -> Answer:
        while not self._ended:
            try:
                answer = self._receive()
            except StreamError:
                raise
            except SendgateError as error:
                if not self._may_resume(error):
                    raise self._broken(error) from error
                continue
            except BaseException:  # An interrupt: what is due next is unknown now.
                self.close()
                raise
            if answer is not None:
                return answer
        raise StopIteration

    def permitted(self) -> Iterator[Any]:
        """Only the recipients that the message may go to, in order, of a stream
        with one scope. A refused batch ends it with a `StreamError`."""
        for answer in self:
            if answer.error is not None:
                self.close()
                what = f"{answer.error}; nobody from recipient {answer.start} on was yielded"
                raise StreamError(what, answer.start, ()) from answer.error
            yield from answer.permitted

    def close(self) -> None:
        """Ends the stream. Nobody without an answer may be written to."""
        self._ended = True
        self._sender.close()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def __enter__(self) -> FilterStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Without this the sending thread would wait for room for ever.
        self.close()

    def _receive(self) -> Answer | None:
        """The next answer; None after the summary."""
        try:
            if self._call is None:
                self._start()
            response: filter_pb2.FilterResponse | None = next(self._call, None)
        except grpc.RpcError as error:
            raise error_of(error) from None
        if response is None:
            raise ContractError("the stream ended without a summary")
        which = response.WhichOneof("message")
        if which == "answer":
            return self._take(response.answer)
        if which == "summary":
            self._finish(response.summary)
            return None
        raise ContractError("a message that this client does not know")

    def _start(self) -> None:
        request = filter_pb2.FilterRequest(options=self._options)
        call = self._sender.new_call()
        self._totals = self._no_totals()
        self._call = self._open_call(self._sender.requests(call, request.SerializeToString()))

    def _take(self, message: filter_pb2.BatchAnswer) -> Answer:
        batch = self._sender.due()
        if batch is None:
            raise ContractError("an answer without a batch")
        answer = verified(message, batch, self._scopes, self._reasons)
        if answer.revision is not None:
            self._same_epoch(answer.revision)
        self._sender.answered()
        self._failures = 0
        if answer.error is not None:
            self._totals.refused += 1
        else:
            self._totals.batches += 1
            self._totals.recipients += batch.count
            for at, scope in enumerate(answer.scopes):
                self._totals.permitted[at] += scope.permitted_count
        return answer

    def _same_epoch(self, revision: Revision) -> None:
        if self.first_revision is None:
            self.first_revision = revision
        if self.first_revision.epoch != revision.epoch:
            raise ContractError("the epoch changed within a stream")
        self.last_revision = revision

    def _finish(self, summary: filter_pb2.FilterSummary) -> None:
        totals = self._totals
        if not self._sender.is_complete:
            raise ContractError("a summary came before all answers")
        stated = [(one.recipients, one.permitted) for one in summary.scopes]
        due = [(totals.recipients, permitted) for permitted in totals.permitted]
        counted = (summary.batches, summary.refused_batches) == (totals.batches, totals.refused)
        if stated != due or not counted:
            raise ContractError("the summary does not match the answers")
        failure = self._sender.failure
        if failure is not None:
            first, _ = self._sender.without_answer()
            self.close()
            what = f"reading the recipients failed ({type(failure).__name__}: {failure})"
            raise StreamError(what, first, ()) from failure
        self.close()

    def _may_resume(self, error: SendgateError) -> bool:
        """Whether the caller asked for it, and it may help; waits, if so."""
        if self._resumes_left == 0 or not _is_transient(error):
            return False
        self._resumes_left -= 1
        self._failures += 1
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self.last_revision is not None:
            # Not from an older state than the answers that were given already;
            # after a restore the server refuses this, and so the stream ends.
            self._options.minimum_revision.CopyFrom(self.last_revision.to_wire())
        time.sleep(pause(self._failures))
        return True

    def _broken(self, error: SendgateError) -> StreamError:
        """What the caller is told about a stream that broke."""
        first, unanswered = self._sender.without_answer()
        self.close()
        return StreamError(str(error), first, unanswered)

    def _no_totals(self) -> _Totals:
        return _Totals(0, 0, 0, [0] * self._scopes)


def _is_transient(error: SendgateError) -> bool:
    """Whether the server is away or busy, so that another call may succeed. A
    failure that sendgate itself describes would come again."""
    if isinstance(error, LostError):
        return error.reason is None and error.code not in ("DEADLINE_EXCEEDED", "CANCELLED")
    return isinstance(error, (BusyError, UnreachableError))
