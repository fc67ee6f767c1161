"""Repeating what is safe to repeat, with growing pauses."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from sendgate.errors import BusyError, LostError, StatusError

T = TypeVar("T")

#: Calls, the first one included.
ATTEMPTS = 5
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


def pause(failures: int) -> float:
    """Seconds to wait after so many failures. Half of it is chance, so that
    many callers do not come back all at once."""
    longest: float = min(_FIRST_PAUSE * 2 ** (failures - 1), _LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1.0)


def only_promised(error: StatusError) -> bool:
    """The server says that nothing happened."""
    return isinstance(error, BusyError)


def also_unknown(error: StatusError) -> bool:
    """Nothing happened, or nobody knows: for calls that may happen twice."""
    return isinstance(error, (BusyError, LostError))


def repeat(
    call: Callable[[float], T], may_repeat: Callable[[StatusError], bool], timeout: float
) -> T:
    """Calls with the seconds that are left, until it succeeds, fails for good,
    or the time is over."""
    deadline = time.monotonic() + timeout
    for failures in range(1, ATTEMPTS + 1):
        try:
            return call(max(deadline - time.monotonic(), 0.001))
        except StatusError as error:
            wait = pause(failures)
            late = time.monotonic() + wait >= deadline
            if failures == ATTEMPTS or late or not may_repeat(error):
                raise
            time.sleep(wait)
    raise AssertionError("unreachable: the last attempt returns or raises")
