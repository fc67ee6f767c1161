"""A server whose answers cannot be right: each is an error, and nothing of it
is yielded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conftest import BRAND, SMS
from fake import Batches, Fake, Responses, right_answer, summary
from sendgate import BatchRefusedError, Client, ContractError, Reason, StreamError, Unanswered
from sendgate.v1 import filter_pb2, types_pb2

Answer = filter_pb2.BatchAnswer
Lie = Callable[[Answer], object]


def scope(answer: Answer) -> filter_pb2.ScopeAnswer:
    return answer.scopes[0]


def lie(**fields: Any) -> Lie:
    def change(answer: Answer) -> None:
        for name, value in fields.items():
            setattr(scope(answer), name, value)

    return change


def counts(answer: Answer, *numbers: int) -> None:
    for one, number in zip(scope(answer).reason_counts, numbers, strict=True):
        one.count = number


def missing_reason(answer: Answer) -> None:
    """A reason that is none, with counts that agree."""
    scope(answer).reasons = bytes([1, 0] + [1, 17] * 4)
    counts(answer, 5, 4)
    scope(answer).reason_counts.add(reason=types_pb2.REASON_UNSPECIFIED, count=1)


# The second batch has ten recipients; 0, 2, 4, 6 and 8 are permitted: 0x55, 0x01.
BITS_LIES: dict[str, Lie] = {
    "short bits": lie(permitted=b"\x55", permitted_count=4),
    "no bits": lie(permitted=b"", permitted_count=0),
    "long bits": lie(permitted=b"\x55\x01\x00"),
    "a bit more": lie(permitted=b"\x57\x01"),
    "a bit beyond the last": lie(permitted=b"\x55\x04"),
    "another count": lie(permitted_count=4),
    "fewer recipients": lie(recipients=9),
    "more recipients": lie(recipients=11),
    "reasons that nobody asked for": lie(reasons=bytes([1, 17] * 5)),
    "another batch": lambda answer: setattr(answer, "batch_id", 2),
    "an earlier batch": lambda answer: setattr(answer, "batch_id", 0),
    "no scope": lambda answer: answer.ClearField("scopes"),
    "a scope more": lambda answer: answer.scopes.append(scope(answer)),
    "no revision": lambda answer: answer.ClearField("revision"),
    "another epoch": lambda answer: setattr(answer.revision, "epoch", "f" * 32),
    "no time": lambda answer: setattr(answer, "as_of_ms", 0),
    "refused and answered": lambda answer: setattr(answer.error, "message", "no"),
}
REASON_LIES: dict[str, Lie] = {
    "short reasons": lie(reasons=bytes([1, 17] * 4)),
    "no reasons": lie(reasons=b""),
    "a reason that permits without its bit": lie(reasons=bytes([1, 1] + [1, 17] * 4)),
    "a bit whose reason refuses": lie(permitted=b"\x57\x01", permitted_count=6),
    "two that are exchanged": lie(permitted=b"\x56\x01"),
    "a missing reason": lambda answer: missing_reason(answer),
    "no counts": lambda answer: scope(answer).ClearField("reason_counts"),
    "another count of a reason": lambda answer: counts(answer, 6, 4),
    "a count twice": lambda answer: scope(answer).reason_counts.append(
        scope(answer).reason_counts[0]
    ),
    "a count of a reason that nobody got": lambda answer: setattr(
        scope(answer).reason_counts[1], "reason", types_pb2.REASON_ERASED
    ),
}
ALL_LIES = [(name, False, lie) for name, lie in BITS_LIES.items()]
ALL_LIES += [(name, True, lie) for name, lie in REASON_LIES.items()]


@pytest.mark.parametrize(
    ("reasons", "lie"), [one[1:] for one in ALL_LIES], ids=[one[0] for one in ALL_LIES]
)
def test_a_lie_about_a_batch_ends_the_stream_before_it(fake: Fake, reasons: bool, lie: Lie) -> None:
    def script(number: int, options: Any, batches: Batches, context: Any) -> Responses:
        answers = []
        for at, batch in enumerate(batches):
            answers.append(right_answer(batch, options))
            if at == 1:
                lie(answers[-1])
            yield filter_pb2.FilterResponse(answer=answers[-1])
        yield summary(answers)

    fake.filter = script
    answers = []
    with Client(fake.target) as client, pytest.raises(StreamError) as caught:
        for answer in client.filter(
            range(100, 130),
            brand=BRAND,
            scope=SMS,
            batch=10,
            reasons=reasons,
            in_flight=2,
            resume=5,
        ):
            answers.append(answer)
    assert isinstance(caught.value.__cause__, ContractError)
    assert [answer.batch_id for answer in answers] == [0]
    assert caught.value.first_unanswered == 10
    assert caught.value.unanswered[0] == Unanswered(1, 10, 20)
    assert len(fake.requests) == 1, "a server that lies is not asked again"


def test_the_scripted_server_tells_the_truth_otherwise(fake: Fake) -> None:
    with Client(fake.target) as client:
        for reasons in (False, True):
            stream = client.filter(range(30), brand=BRAND, scope=SMS, batch=7, reasons=reasons)
            assert [int(one) for one in stream.permitted()] == [
                at for at in range(30) if at % 7 % 2 == 0
            ]


Ending = Callable[[list[Answer]], list[filter_pb2.FilterResponse]]


def changed_summary(**fields: int) -> Ending:
    def ending(answers: list[Answer]) -> list[filter_pb2.FilterResponse]:
        message = summary(answers)
        for name, value in fields.items():
            is_total = name in ("batches", "refused_batches")
            setattr(message.summary if is_total else message.summary.scopes[0], name, value)
        return [message]

    return ending


ENDINGS: dict[str, Ending] = {
    "no summary": lambda answers: [],
    "fewer recipients": changed_summary(recipients=29),
    "more permitted": changed_summary(permitted=16),
    "fewer batches": changed_summary(batches=2),
    "refused batches": changed_summary(refused_batches=1),
    "no scopes": lambda answers: [
        filter_pb2.FilterResponse(summary=filter_pb2.FilterSummary(batches=3))
    ],
    "an answer too many": lambda answers: [filter_pb2.FilterResponse(answer=answers[-1])],
    "an unknown message": lambda answers: [filter_pb2.FilterResponse(), summary(answers)],
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_a_lie_at_the_end_is_an_error(fake: Fake, ending: Ending) -> None:
    def script(number: int, options: Any, batches: Batches, context: Any) -> Responses:
        answers = [right_answer(batch, options) for batch in batches]
        for answer in answers:
            yield filter_pb2.FilterResponse(answer=answer)
        yield from ending(answers)

    fake.filter = script
    with Client(fake.target) as client, pytest.raises(StreamError) as caught:
        list(client.filter(range(30), brand=BRAND, scope=SMS, batch=10))
    assert isinstance(caught.value.__cause__, ContractError)
    assert caught.value.first_unanswered == 30


def test_a_summary_before_the_last_answer_is_an_error(fake: Fake) -> None:
    def script(number: int, options: Any, batches: Batches, context: Any) -> Responses:
        answer = right_answer(next(batches), options)
        yield filter_pb2.FilterResponse(answer=answer)
        yield summary([answer])

    fake.filter = script
    found = []
    with Client(fake.target) as client, pytest.raises(StreamError, match="before all") as caught:
        for answer in client.filter(range(30), brand=BRAND, scope=SMS, batch=10):
            found.append(answer.batch_id)
    assert (found, caught.value.first_unanswered) == ([0], 10)


def test_the_only_those_permitted_stop_at_a_refused_batch(fake: Fake) -> None:
    def script(number: int, options: Any, batches: Batches, context: Any) -> Responses:
        for at, batch in enumerate(batches):
            answer = right_answer(batch, options)
            if at == 1:
                answer.ClearField("scopes")
                answer.error.code = filter_pb2.BATCH_ERROR_CODE_OVERLOADED
            yield filter_pb2.FilterResponse(answer=answer)

    fake.filter = script
    found = []
    with Client(fake.target) as client, pytest.raises(StreamError) as caught:
        for one in client.filter(range(30), brand=BRAND, scope=SMS, batch=10).permitted():
            found.append(int(one))
    assert found == [0, 2, 4, 6, 8]
    cause = caught.value.__cause__
    assert isinstance(cause, BatchRefusedError) and cause.code == "OVERLOADED"
    assert caught.value.first_unanswered == 10


def test_reasons_that_are_newer_than_the_client_suppress(fake: Fake) -> None:
    def script(number: int, options: Any, batches: Batches, context: Any) -> Responses:
        answers = []
        for batch in batches:
            answer = right_answer(batch, options)
            scope(answer).reasons = scope(answer).reasons.replace(b"\x11", b"\x7b")
            scope(answer).reason_counts[1].reason = 123  # type: ignore[assignment]
            answers.append(answer)
            yield filter_pb2.FilterResponse(answer=answer)
        yield summary(answers)

    fake.filter = script
    with Client(fake.target) as client:
        (answer,) = client.filter(range(4), brand=BRAND, scope=SMS, reasons=True)
    assert [answer.is_permitted(at) for at in range(4)] == [True, False, True, False]
    assert answer.reason(1) is Reason.UNSPECIFIED


def test_verdict_and_reason_of_a_check_agree(fake: Fake) -> None:
    lies = [
        filter_pb2.CheckResponse(permitted=True, reason=17, revision=right_revision()),  # type: ignore[arg-type]
        filter_pb2.CheckResponse(permitted=False, reason=1, revision=right_revision()),  # type: ignore[arg-type]
        filter_pb2.CheckResponse(permitted=True, reason=1),  # type: ignore[arg-type]
    ]
    for answer in lies:
        fake.unary = [lambda request, context, answer=answer: answer]  # type: ignore[misc]
        with Client(fake.target) as client, pytest.raises(ContractError):
            client.check("+905321234567", brand=BRAND, scope=SMS)


def right_revision() -> types_pb2.Revision:
    return types_pb2.Revision(epoch="0" * 32, revision=1)
