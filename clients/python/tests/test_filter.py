"""Filter streams against a real server: every form of recipients."""

from __future__ import annotations

import array
import io
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import BRAND, EMAIL, PUSH, SMS, grant
from sendgate import Client, Reason, RefusedError, Revision, Scope, StreamError

ALL = 905_330_000_000


def phones(base: int, count: int) -> range:
    return range(ALL + base, ALL + base + count)


def permitted(client: Client, recipients: Any, **options: Any) -> list[Any]:
    options = {"brand": BRAND, "scope": SMS, **options}
    return list(client.filter(recipients, **options).permitted())


@pytest.mark.parametrize("batch", [1, 3, 7, 8, 100])
def test_every_form_of_phones_gives_the_same_verdicts_in_order(client: Client, batch: int) -> None:
    numbers = list(phones(1_000, 20))
    due = [numbers[at] for at in (0, 7, 8, 15, 19)]
    grant(client, *due)
    unsigned = np.array(numbers, dtype=np.uint64)
    forms: list[Any] = [
        numbers,
        iter(numbers),
        (number for number in numbers),
        unsigned,
        np.array(numbers, dtype=np.int64),
        np.array(numbers, dtype=">u8"),
        np.repeat(unsigned, 2)[::2],
        list(unsigned),
        array.array("Q", numbers),
    ]
    for form in forms:
        assert [int(one) for one in permitted(client, form, batch=batch)] == due
    texts = [f"+{number}" for number in numbers]
    for lines in (texts, iter(texts), np.array(texts), np.array(texts, dtype=object)):
        assert permitted(client, lines, batch=batch) == [f"+{number}" for number in due]
    for newline in ("\n", "\r\n"):
        file = io.StringIO(newline.join(texts), newline="")
        found = [line.strip() for line in permitted(client, file, batch=batch)]
        assert found == [f"+{number}" for number in due]


def test_answers_come_in_order_and_say_where_they_belong(client: Client) -> None:
    numbers = np.array(phones(2_000, 10), dtype=np.uint64)
    grant(client, int(numbers[3]), int(numbers[9]))
    stream = client.filter(numbers, brand=BRAND, scope=SMS, batch=4, reasons=True)
    answers = list(stream)
    assert [(one.batch_id, one.start, one.stop) for one in answers] == [
        (0, 0, 4),
        (1, 4, 8),
        (2, 8, 10),
    ]
    masks = [np.asarray(one.mask) for one in answers]
    assert all(mask.dtype == np.bool_ for mask in masks)
    assert np.flatnonzero(np.concatenate(masks)).tolist() == [3, 9]
    assert (
        np.concatenate([np.asarray(one.recipients) for one in answers]).tolist() == numbers.tolist()
    )
    first = answers[0]
    assert list(first.reasons) == [17, 17, 17, 1]
    assert [first.reason(at) for at in (0, 3, 4, -1)] == [
        Reason.NO_CONSENT, Reason.PERMITTED, Reason.UNSPECIFIED, Reason.UNSPECIFIED,
    ]  # fmt: skip
    assert first.counts == {Reason.PERMITTED: 1, Reason.NO_CONSENT: 3}
    assert (first.permitted_count, first.error) == (1, None)
    assert [first.is_permitted(at) for at in (2, 3, 4, -1)] == [False, True, False, False]
    assert (
        first.revision == stream.first_revision
        and first.epoch is not None
        and len(first.epoch) == 32
    )
    assert first.as_of.timestamp() * 1000 == first.as_of_ms
    assert first.policy_version


def test_contact_ids_emails_and_own_strings(client: Client) -> None:
    highest = (1 << 64) - 1
    grant(client, 7, highest, kind="contact_id", scope=PUSH)
    grant(client, "yes@example.com", "no.more@example.com", kind="email", scope=EMAIL)
    client.withdraw("no.more@example.com", brand=BRAND, kind="email", channel="email")
    grant(client, "user-1", kind="external_id", scope=PUSH)
    ids = [7, 8, highest]
    for form in (ids, np.array(ids, dtype=np.uint64), ["7", "8", str(highest)]):
        found = permitted(client, form, kind="contact_id", scope=PUSH)
        assert [int(one) for one in found] == [7, highest]
    emails = ["YES@Example.com ", "no.more@example.com", "nobody@example.com", "no address"]
    assert permitted(client, emails, kind="email", scope=EMAIL) == ["YES@Example.com "]
    own = ["user-1", "user-1\r", "USER-1", "user-2"]
    assert permitted(client, own, kind="external_id", scope=PUSH) == ["user-1"]


def test_whatever_cannot_be_a_line_shifts_nobody(client: Client) -> None:
    numbers = [f"+{number}" for number in phones(3_000, 3)]
    grant(client, *numbers)
    bad = [
        "",
        "no number",
        f"{numbers[0]}\n{numbers[1]}",
        "+90\r5330003000",
        "\ud800",
        "x" * 5_000,
        "ı😀",
    ]
    mixed = [numbers[0], *bad, numbers[1], numbers[2]]
    (answer,) = client.filter(mixed, brand=BRAND, scope=SMS, reasons=True)
    assert list(np.asarray(answer.mask)) == [True, *([False] * len(bad)), True, True]
    assert answer.counts == {Reason.PERMITTED: 3, Reason.INVALID_RECIPIENT: len(bad)}
    assert [answer.reason(at) for at in range(1, 8)] == [Reason.INVALID_RECIPIENT] * 7
    numbers_too = np.array([1, ALL + 3_000, (1 << 64) - 1], dtype=np.uint64)
    assert [int(one) for one in permitted(client, numbers_too)] == [ALL + 3_000]


def test_national_spellings_need_a_region(client: Client) -> None:
    grant(client, "+905330004000")
    assert permitted(client, ["0533 000 40 00"]) == []
    assert permitted(client, ["0533 000 40 00"], region="TR") == ["0533 000 40 00"]


def test_an_empty_list_has_no_answers(client: Client) -> None:
    forms: list[Any] = [[], iter(()), np.array([], dtype=np.uint64), io.StringIO("")]
    for empty in forms:
        assert list(client.filter(empty, brand=BRAND, scope=SMS)) == []


def test_deduplicate_permits_each_once_also_across_batches(client: Client) -> None:
    number = ALL + 5_000
    grant(client, number)
    stream = client.filter(
        [number] * 5, brand=BRAND, scope=SMS, deduplicate=True, reasons=True, batch=2
    )
    reasons = [answer.reason(at) for answer in stream for at in range(len(answer.recipients))]
    assert reasons == [Reason.PERMITTED] + [Reason.DUPLICATE] * 4
    with pytest.raises(ValueError, match="resumed"):
        client.filter([number], brand=BRAND, scope=SMS, deduplicate=True, resume=1)


def test_several_scopes_have_an_answer_each_and_no_common_one(client: Client) -> None:
    number = ALL + 6_000
    grant(client, number)
    scopes = [Scope("call", "marketing"), SMS]
    (answer,) = client.filter([number], brand=BRAND, scope=scopes)
    assert [scope.is_permitted(0) for scope in answer.scopes] == [False, True]
    with pytest.raises(ValueError, match="several scopes"):
        answer.mask


def test_a_large_list_is_answered_whole(client: Client) -> None:
    numbers = np.arange(ALL + 100_000, ALL + 700_000, dtype=np.uint64)
    due = [int(numbers[at]) for at in (0, 262_143, 262_144, 599_999)]
    grant(client, *due)
    for batch in (16_384, 262_144):
        stream = client.filter(numbers, brand=BRAND, scope=SMS, reasons=True, batch=batch)
        answers = list(stream)
        assert sum(len(one.recipients) for one in answers) == len(numbers)
        assert np.concatenate([np.asarray(one.permitted) for one in answers]).tolist() == due
    lines = [f"+{number}" + " " * 40 for number in due] * 25_000
    assert len(permitted(client, lines, batch=100_000)) == len(lines), "over 4 MiB in one batch"


def test_an_array_that_its_owner_changes_is_answered_as_it_was_sent(client: Client) -> None:
    asked, other = ALL + 8_000, ALL + 8_001
    grant(client, asked)
    numbers = np.array([asked], dtype=np.uint64)
    stream = client.filter(numbers, brand=BRAND, scope=SMS)
    answer = next(stream)
    numbers[0] = other
    assert [int(one) for one in answer.permitted] == [asked]


def test_an_iterator_is_read_only_as_far_as_batches_may_be_in_flight(client: Client) -> None:
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for number in phones(9_000, 100):
            read.append(number)
            yield number

    with client.filter(numbers(), brand=BRAND, scope=SMS, batch=10, in_flight=2) as stream:
        next(stream)
        # Time enough to read on, if nothing held it back.
        time.sleep(0.2)
        assert 20 <= len(read) <= 30, "two in flight and the one that was taken"


def test_what_is_no_list_of_one_sort_is_refused(client: Client) -> None:
    number = ALL + 10_000
    lists: list[Any] = [[number, "+1"], ["+1", number], [True], [1.5], [None], [-1], [1 << 64]]
    for bad in [*lists, [b"+1"]]:
        with pytest.raises(StreamError) as caught:
            permitted(client, bad)
        assert isinstance(caught.value.__cause__, (TypeError, ValueError))
        assert (caught.value.first_unanswered, caught.value.unanswered) == (0, ())
    with pytest.raises(StreamError, match="negative"):
        permitted(client, np.array([1, -1]))
    two = np.zeros((2, 2), np.uint64)
    for bad in ("+905321234567", b"+905321234567", np.array([1.5]), two):
        with pytest.raises(TypeError):
            permitted(client, bad)
    with pytest.raises(StreamError, match="texts, not integers"):
        permitted(client, [1], kind="email", scope=EMAIL)


def test_an_iterator_that_fails_leaves_what_was_answered(client: Client) -> None:
    number = ALL + 11_000
    grant(client, number)

    def numbers() -> Iterator[int]:
        yield number
        yield number
        raise OSError("the disk is gone")

    found: list[int] = []
    with pytest.raises(StreamError) as caught:
        for one in client.filter(numbers(), brand=BRAND, scope=SMS, batch=1).permitted():
            found.append(one)
    assert found == [number, number]
    assert isinstance(caught.value.__cause__, OSError)
    assert (caught.value.first_unanswered, caught.value.unanswered) == (2, ())


def test_options_that_the_server_refuses(client: Client) -> None:
    unknown: list[dict[str, Any]] = [{"brand": "nobody"}, {"scope": Scope("pigeon", "marketing")}]
    for options in unknown:
        with pytest.raises(StreamError) as caught:
            permitted(client, [1], **options)
        cause = caught.value.__cause__
        assert isinstance(cause, RefusedError)
        assert (cause.code, cause.reason) == ("NOT_FOUND", "NOT_DECLARED")
    outside: list[dict[str, Any]] = [{"batch": 0}, {"batch": 262_145}, {"in_flight": 0}]
    for options in [*outside, {"kind": "fax"}]:
        with pytest.raises(ValueError):
            permitted(client, [1], **options)


def test_a_refused_batch_permits_nobody_and_the_stream_lives(client: Client) -> None:
    number = ALL + 12_000
    grant(client, number)
    now = next(client.filter([number], brand=BRAND, scope=SMS)).revision
    assert now is not None
    ahead = Revision(now.epoch, now.revision + 1_000_000)
    options: dict[str, Any] = {"brand": BRAND, "scope": SMS, "minimum_revision": ahead}
    (answer,) = client.filter([number], reasons=True, **options)
    assert answer.error is not None and answer.error.code == "NOT_YET"
    assert answer.error.may_succeed_later
    assert not np.asarray(answer.mask).any() and len(answer.permitted) == 0
    assert answer.reason(0) is Reason.UNSPECIFIED
    with pytest.raises(StreamError, match="epoch"):
        permitted(client, [number], minimum_revision=Revision("0" * 32, 1))
