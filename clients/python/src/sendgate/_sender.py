"""The sending half of a filter stream.

gRPC reads requests in a thread of its own, so recipients are read and batches
are made in the background. How many may be without an answer is bounded: a
caller who is slow to take answers slows the reading of recipients down.

Nothing here refers to the receiving half, so that a stream that its caller
drops is collected, and ends, although the thread still holds this.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from sendgate._recipients import Part
from sendgate._verify import Batch
from sendgate._wire import batch_message
from sendgate.errors import Unanswered


class Sender:
    """Batches, from the recipients to the wire, and those without an answer.

    A stream that is resumed has several *calls*, one after the other; the
    thread of an earlier one may still wait for a slow iterator. It then keeps
    what it read for the present call.
    """

    def __init__(self, parts: Iterator[Part], in_flight: int) -> None:
        self._parts = parts
        self._in_flight = in_flight
        self._pending: deque[Batch] = deque()
        self._next_id = 0
        self._next_start = 0
        self._call = 0
        self._exhausted = False
        #: What reading the recipients raised, if it did.
        self.failure: BaseException | None = None
        # Guards all of the above.
        self._changed = threading.Condition()
        # Held by the one thread that reads recipients.
        self._reading = threading.Lock()

    def new_call(self) -> int:
        """Ends the requests of the call before, and numbers the next one."""
        with self._changed:
            self._call += 1
            self._changed.notify_all()
            return self._call

    #: After the last call nothing is read or sent.
    close = new_call

    def requests(self, call: int, options: bytes) -> Iterator[bytes]:
        """The messages of one call: options, all batches without an answer,
        then what the recipients still hold."""
        yield options
        with self._changed:
            cursor = self._pending[0].batch_id if self._pending else self._next_id
        while (batch := self._batch(call, cursor)) is not None:
            yield batch.message.data
            cursor += 1

    def _batch(self, call: int, batch_id: int) -> Batch | None:
        """This batch, once there is room for it; None if there is no such."""
        with self._reading:
            with self._changed:
                while True:
                    if call != self._call:
                        return None
                    # Answers may have come meanwhile, but never for this batch.
                    if self._pending and batch_id <= self._pending[-1].batch_id:
                        return self._pending[batch_id - self._pending[0].batch_id]
                    if self._exhausted:
                        return None
                    if len(self._pending) < self._in_flight:
                        break
                    self._changed.wait()
            # Without the lock: the recipients may be slow in coming.
            return self._read(call)

    def _read(self, call: int) -> Batch | None:
        try:
            part = next(self._parts, None)
        except BaseException as failure:  # Raised again in the caller's thread.
            with self._changed:
                self.failure = failure
                self._exhausted = True
            return None
        with self._changed:
            if part is None:
                self._exhausted = True
                return None
            message = batch_message(self._next_id, part.column, part.values, part.count)
            batch = Batch(self._next_id, self._next_start, part.count, message, part.given)
            self._pending.append(batch)
            self._next_id += 1
            self._next_start += part.count
            return batch if call == self._call else None

    def due(self) -> Batch | None:
        """The batch whose answer is next; it stays without one until `answered`."""
        with self._changed:
            return self._pending[0] if self._pending else None

    def answered(self) -> None:
        """The next batch has its answer, which makes room for another."""
        with self._changed:
            self._pending.popleft()
            self._changed.notify_all()

    @property
    def is_complete(self) -> bool:
        """Whether all recipients were read and have an answer."""
        with self._changed:
            return self._exhausted and not self._pending

    def without_answer(self) -> tuple[int, tuple[Unanswered, ...]]:
        """From which recipient on nobody has an answer, and the batches among
        them that were read."""
        with self._changed:
            batches = tuple(
                Unanswered(one.batch_id, one.start, one.start + one.count) for one in self._pending
            )
            return batches[0].start if batches else self._next_start, batches
