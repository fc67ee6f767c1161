"""Servers that are not there, go away, or refuse: who has no answer is said."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import grpc
import numpy as np
import pytest
from conftest import BRAND, LONG_AGO, SMS, Server, grant
from fake import EPOCH, Batches, Fake, Responses, fail, honest, right_answer, serving
from sendgate import (
    BusyError,
    Client,
    Consent,
    Contact,
    LostError,
    NotAllowedError,
    Outcome,
    RefusedError,
    RejectedError,
    StreamError,
    Unanswered,
    UnreachableError,
)
from sendgate.v1 import consent_pb2, filter_pb2, types_pb2

NOWHERE = "127.0.0.1:1"


def test_a_server_that_is_not_there_is_said_so() -> None:
    with Client(NOWHERE, connect_timeout=0.3) as client:
        calls = (
            lambda: client.filter([1], brand=BRAND, scope=SMS),
            lambda: client.check(1, brand=BRAND, scope=SMS),
            lambda: client.withdraw(1, brand=BRAND),
            lambda: next(client.watch(BRAND, reconnect=False)),
        )
        for call in calls:
            with pytest.raises(UnreachableError, match="127.0.0.1:1 within"):
                call()


def test_a_server_that_comes_later_is_waited_for() -> None:
    fake = Fake()
    with serving(fake):
        pass
    target = fake.target
    with Client(target, connect_timeout=20) as client:
        late = threading.Thread(target=_serve_for_a_while, args=(fake, target))
        late.start()
        answers = list(client.filter(range(9), brand=BRAND, scope=SMS))
    late.join()
    assert len(answers) == 1


def _serve_for_a_while(fake: Fake, target: str) -> None:
    time.sleep(0.5)
    with serving(fake, target):
        deadline = time.monotonic() + 10
        while not fake.requests and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)


def test_a_server_killed_in_mid_stream_leaves_the_rest_without_an_answer(
    own_server: Server,
) -> None:
    base, batch = 905_340_000_000, 1_000
    numbers = np.arange(base, base + 100 * batch, dtype=np.uint64)
    answered = 0
    with Client(own_server.target) as client:
        grant(client, base, base + 3 * batch)
        stream = client.filter(numbers, brand=BRAND, scope=SMS, batch=batch, in_flight=4)
        with pytest.raises(StreamError) as caught:
            for answer in stream:
                assert answer.start == answered
                answered = answer.stop
                if answer.batch_id == 2:
                    own_server.stop(signal.SIGKILL)
    error = caught.value
    assert isinstance(error.__cause__, LostError)
    assert 3 * batch <= answered <= 7 * batch
    assert error.first_unanswered == answered
    assert error.unanswered and error.unanswered[0].start == answered
    ends = [one.stop for one in error.unanswered]
    assert [one.start for one in error.unanswered[1:]] == ends[:-1], "without gaps"
    assert all(one.stop - one.start == batch for one in error.unanswered)
    assert [one.batch_id for one in error.unanswered] == [
        one.start // batch for one in error.unanswered
    ]
    assert len(error.unanswered) <= 4
    assert str(answered) in str(error)
    with pytest.raises(StopIteration):
        next(stream)


def test_a_stream_is_resumed_only_if_that_was_asked_for(own_server: Server) -> None:
    base, batch = 905_350_000_000, 1_000
    numbers = np.arange(base, base + 20 * batch, dtype=np.uint64)
    due = [base + 500, base + 9_000, base + 19_999]
    running = own_server
    with Client(own_server.target, connect_timeout=20) as client:
        grant(client, *due)
        found: list[int] = []
        starts: list[int] = []
        for answer in client.filter(numbers, brand=BRAND, scope=SMS, batch=batch, resume=3):
            found += [int(one) for one in answer.permitted]
            starts.append(answer.start)
            if answer.batch_id == 2:
                own_server.stop(signal.SIGKILL)
                running = own_server.again()
    running.stop(signal.SIGKILL)
    assert starts == list(range(0, len(numbers), batch)), "each batch once, in order"
    assert found == due


def test_resuming_ends_after_as_many_times_as_were_allowed(fake: Fake) -> None:
    def script(number: int, options: Any, batches: Batches, context: Any) -> Responses:
        fake.options.append(options)
        answer = right_answer(next(batches), options)
        yield filter_pb2.FilterResponse(answer=answer)
        fail(context, grpc.StatusCode.UNAVAILABLE, "STOPPING")

    fake.filter = script
    found = []
    with Client(fake.target) as client, pytest.raises(StreamError) as caught:
        for answer in client.filter(range(90), brand=BRAND, scope=SMS, batch=10, resume=2):
            found.append(answer.start)
    assert found == [0, 10, 20]
    assert isinstance(caught.value.__cause__, BusyError)
    assert caught.value.__cause__.reason == "STOPPING"
    assert caught.value.first_unanswered == 30
    # Not answered from an older state than before.
    asked = [(one.minimum_revision.epoch, one.minimum_revision.revision) for one in fake.options]
    assert asked == [("", 0), (EPOCH, 9), (EPOCH, 9)]


@pytest.mark.parametrize("reason", ["STREAM_FAILED", "FOREIGN_EPOCH"])
def test_what_would_fail_again_is_not_resumed(fake: Fake, reason: str) -> None:
    def script(number: int, options: Any, batches: Batches, context: Any) -> Responses:
        code = (
            grpc.StatusCode.INTERNAL
            if reason == "STREAM_FAILED"
            else grpc.StatusCode.FAILED_PRECONDITION
        )
        fail(context, code, reason)
        yield filter_pb2.FilterResponse()

    fake.filter = script
    with Client(fake.target) as client, pytest.raises(StreamError):
        list(client.filter(range(9), brand=BRAND, scope=SMS, resume=5))
    assert len(fake.requests) == 1


def test_a_slow_iterator_is_read_by_one_thread_also_after_a_resume(fake: Fake) -> None:
    """The thread of the broken call waits for the iterator; what it then reads
    is for the call after."""
    go = threading.Event()

    def numbers() -> Iterator[int]:
        yield 0
        go.wait(10)
        yield from range(1, 10)

    def script(number: int, options: Any, batches: Batches, context: Any) -> Responses:
        if number == 1:
            # Time enough for the thread of this call to want to read as well.
            threading.Timer(0.3, go.set).start()
        if number == 0:
            yield filter_pb2.FilterResponse(answer=right_answer(next(batches), options))
            fail(context, grpc.StatusCode.UNAVAILABLE)
        yield from honest(number, options, batches, context)

    fake.filter = script
    with Client(fake.target) as client:
        answers = list(client.filter(numbers(), brand=BRAND, scope=SMS, batch=1, resume=1))
    assert [[int(one) for one in answer.recipients] for answer in answers] == [
        [at] for at in range(10)
    ]


def test_a_deadline_ends_a_stream_that_hangs(fake: Fake) -> None:
    def script(number: int, options: Any, batches: Batches, context: Any) -> Responses:
        next(batches)
        time.sleep(1)
        yield filter_pb2.FilterResponse()

    fake.filter = script
    with Client(fake.target) as client, pytest.raises(StreamError, match="DEADLINE") as caught:
        list(client.filter(range(9), brand=BRAND, scope=SMS, timeout=0.3, resume=3))
    assert caught.value.unanswered == (Unanswered(0, 0, 9),)


def sending_threads() -> int:
    """How many threads are in our sender now."""
    count = 0
    for frame in sys._current_frames().values():
        at: FrameType | None = frame
        while at is not None and not at.f_code.co_filename.endswith("_sender.py"):
            at = at.f_back
        count += at is not None
    return count


def test_a_stream_that_is_dropped_ends(fake: Fake) -> None:
    before = sending_threads()
    with Client(fake.target) as client:
        stream = client.filter(iter(range(1_000)), brand=BRAND, scope=SMS, batch=1)
        next(stream)
        del stream
        gc.collect()
        with client.filter(range(1_000), brand=BRAND, scope=SMS, batch=1) as other:
            next(other)
        deadline = time.monotonic() + 10
        while (left := sending_threads()) > before:
            assert time.monotonic() < deadline, f"{left} sending threads wait for ever"
            time.sleep(0.02)


def test_only_a_promise_that_nothing_happened_repeats_a_read(fake: Fake) -> None:
    right = filter_pb2.CheckResponse(
        permitted=True,
        reason=types_pb2.REASON_PERMITTED,
        revision=types_pb2.Revision(epoch=EPOCH, revision=1),
    )
    busy = [
        lambda request, context: fail(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "BUSY"),
        lambda request, context: fail(context, grpc.StatusCode.UNAVAILABLE, "STOPPING"),
    ]
    with Client(fake.target) as client:
        fake.unary = [*busy, lambda request, context: right]
        assert client.check(1, brand=BRAND, scope=SMS)
        assert len(fake.requests) == 3
        for code in ("UNAVAILABLE", "INTERNAL", "RESOURCE_EXHAUSTED"):
            # Bare, and with what somebody in between might say.
            for details in ((), ("QUOTA", "proxy.example.com")):

                def script(
                    request: Any,
                    context: grpc.ServicerContext,
                    code: str = code,
                    details: tuple[str, ...] = details,
                ) -> None:
                    fail(context, grpc.StatusCode[code], *details)

                fake.requests.clear()
                fake.unary = [script]
                with pytest.raises(LostError) as caught:
                    client.check(1, brand=BRAND, scope=SMS)
                assert len(fake.requests) == 1 and caught.value.reason is None


def acknowledged(*outcomes: int) -> consent_pb2.RecordResponse:
    return consent_pb2.RecordResponse(
        results=[
            consent_pb2.EventResult(outcome=one, revision=5)  # type: ignore[arg-type]
            for one in outcomes
        ],
        revision=types_pb2.Revision(epoch=EPOCH, revision=5),
    )


def test_a_write_whose_outcome_is_unknown_is_repeated_as_it_was(fake: Fake) -> None:
    fake.unary = [
        lambda request, context: fail(context, grpc.StatusCode.UNAVAILABLE),
        lambda request, context: fail(context, grpc.StatusCode.INTERNAL, "OUTCOME_UNKNOWN"),
        lambda request, context: acknowledged(3),
    ]
    with Client(fake.target) as client:
        written = client.withdraw("+905321234567", brand=BRAND, channel="sms", event_key="m-1")
    assert written.results[0].outcome is Outcome.DUPLICATE
    assert len(fake.requests) == 3
    assert all(one == fake.requests[0] for one in fake.requests)
    assert fake.requests[0].events[0].event_key == "m-1"
    assert fake.requests[0].events[0].recipient_type == 0


def test_a_write_that_was_refused_is_not_repeated(fake: Fake) -> None:
    fake.unary = [
        lambda request, context: fail(context, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    ]
    with Client(fake.target) as client, pytest.raises(RefusedError) as caught:
        client.withdraw("+905321234567", brand=BRAND)
    assert caught.value.nothing_happened and len(fake.requests) == 1


@pytest.mark.parametrize("outcome", [0, 5, 99])
def test_an_event_that_is_not_known_to_be_recorded_is_an_error(fake: Fake, outcome: int) -> None:
    fake.unary = [lambda request, context: acknowledged(1, outcome)]
    event = Consent(BRAND, Contact("+905321234567"), "withdrawn")
    with Client(fake.target) as client, pytest.raises(RejectedError) as caught:
        client.record([event, event])
    assert [one.is_recorded for one in caught.value.results] == [True, False]


def test_an_acknowledgement_is_about_every_event(fake: Fake) -> None:
    fake.unary = [lambda request, context: acknowledged(1)]
    event = Consent(BRAND, Contact("+905321234567"), "withdrawn", time=LONG_AGO)
    with Client(fake.target) as client, pytest.raises(Exception, match="2 events sent, 1 answered"):
        client.record([event, event])


def test_a_token_that_the_server_refuses(fake: Fake) -> None:
    def script(request: Any, context: grpc.ServicerContext) -> Any:
        fail(context, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_UNKNOWN")

    fake.unary = [script]
    with Client(fake.target, token="s3cret-token") as client:
        with pytest.raises(NotAllowedError) as caught:
            client.check(1, brand=BRAND, scope=SMS)
        assert "s3cret" not in repr(client) + str(caught.value)
        list(client.filter(range(3), brand=BRAND, scope=SMS))
    assert caught.value.reason == "TOKEN_UNKNOWN"
    assert [one["authorization"] for one in fake.metadata] == ["Bearer s3cret-token"] * 2
