"""Writes and the change feed, against a real server and a scripted one."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import grpc
import numpy as np
import pytest
from conftest import BRAND, EMAIL, LONG_AGO, SMS, Server, grant
from fake import EPOCH, Fake, fail
from sendgate import (
    Actor,
    Client,
    Consent,
    Contact,
    ContractError,
    Outcome,
    Reason,
    RefusedError,
    RejectedError,
    Revision,
    Suppression,
)
from sendgate.v1 import consent_pb2, types_pb2

ONE = "+905370000001"


def test_a_grant_permits_and_a_withdrawal_forbids(client: Client) -> None:
    before = client.check(ONE, brand=BRAND, scope=SMS)
    assert not before and before.reason is Reason.NO_CONSENT
    event = Consent(
        brand=BRAND,
        contact=Contact(ONE),
        status="granted",
        channel="sms",
        purpose="marketing",
        recipient_type="individual",
        time=datetime(2024, 1, 1, tzinfo=timezone.utc),
        precision="day",
        valid_until=datetime(2099, 1, 1, tzinfo=timezone(timedelta(hours=3))),
        source="web",
        legal_basis="consent",
        notice_id="terms",
        notice_version="3",
        actor=Actor("customer", "c-1"),
        collected_by="a shop",
        evidence_uri="https://example.com/proof",
        evidence_sha256=bytes(32),
        event_key="double-opt-in-1",
        registered_with="iys",
    )
    first = client.record([event])
    again = client.record([event])
    assert [one.results[0].outcome for one in (first, again)] == [
        Outcome.APPLIED,
        Outcome.DUPLICATE,
    ]
    assert again.results[0].revision == first.results[0].revision
    granted = client.check(ONE, brand=BRAND, scope=SMS, minimum_revision=first.revision)
    assert granted and granted.reason is Reason.PERMITTED and granted.policy_version
    client.withdraw("0537 000 00 01", region="TR", brand=BRAND, channel="sms")
    assert client.check(ONE, brand=BRAND, scope=SMS).reason is Reason.CHANNEL_OPT_OUT
    records = [
        change.record.consent
        for changes in client.watch(BRAND, until_now=True)
        for change in changes.changes
        if change.revision == first.results[0].revision
    ]
    kept = event.to_wire()
    assert [(one.source, one.notice, one.actor, one.evidence) for one in records] == [
        (kept.source, kept.notice, kept.actor, kept.evidence)
    ]


def test_the_events_that_were_not_recorded_are_named(client: Client) -> None:
    good = Consent(BRAND, Contact("+905370000002"), "withdrawn")
    bad = Consent(BRAND, Contact("no number"), "withdrawn")
    with pytest.raises(RejectedError, match="1 of 2 events .* event 1: INVALID_ADDRESS") as caught:
        client.record([good, bad])
    assert [one.is_recorded for one in caught.value.results] == [True, False]
    verdict = client.check("+905370000002", brand=BRAND, scope=SMS)
    assert verdict.reason is Reason.CONTACT_OPT_OUT, "the others are recorded"


def test_an_integer_is_never_a_national_number(client: Client) -> None:
    """The digits of a Cuban number are also a Turkish mobile without its zero."""
    for integer in (5_352_123_456, np.uint64(5_352_123_456)):
        assert Contact(integer, region="TR").to_wire().address == "+5352123456"  # type: ignore[arg-type]
    assert Contact(7, "contact_id").to_wire().address == "7"
    client.withdraw("0535 212 34 56", region="TR", brand=BRAND)
    verdict = client.check(5_352_123_456, region="TR", brand=BRAND, scope=SMS)
    assert verdict.reason is not Reason.CONTACT_OPT_OUT


def test_a_time_without_an_offset_is_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="offset"):
        client.withdraw(ONE, brand=BRAND, time=datetime(2024, 1, 1))


def test_a_bounce_suppresses(client: Client) -> None:
    address = Contact("bounced@example.com", "email")
    grant(client, address.address, kind="email", scope=EMAIL)
    client.suppress([Suppression(BRAND, address, Reason.HARD_BOUNCE, source="ses")])
    check: dict[str, Any] = {"brand": BRAND, "scope": EMAIL, "kind": "email"}
    assert client.check(address.address, **check).reason is Reason.HARD_BOUNCE
    soon = datetime.now(timezone.utc) + timedelta(days=1)
    soft = Suppression(BRAND, address, Reason.SOFT_BOUNCE, since=LONG_AGO, expires_at=soon)
    assert client.suppress([soft]).results[0].is_recorded


def test_a_watch_goes_on_where_it_was_left(client: Client) -> None:
    start = client.withdraw("+905370000010", brand=BRAND).revision
    for last in (1, 2, 3):
        client.withdraw(f"+90537000001{last}", brand=BRAND, channel="sms")
    first = next(client.watch(BRAND, after=start))
    later = [
        change
        for changes in client.watch(BRAND, after=start, until_now=True)
        for change in changes.changes
    ]
    assert [one.contact for one in later] == [Contact(f"+90537000001{last}") for last in (1, 2, 3)]
    assert all(one.may_suppress and one.event == "consent" for one in later)
    assert [one.revision for one in later] == [start.revision + at for at in (1, 2, 3)]
    assert first.changes and first.changes[0].revision == start.revision + 1
    rest = client.watch(BRAND, after=Revision(start.epoch, start.revision + 2), until_now=True)
    assert [change.revision for changes in rest for change in changes.changes] == [
        start.revision + 3
    ]
    with pytest.raises(RefusedError) as caught:
        next(client.watch(BRAND, after=Revision("0" * 32, 1)))
    assert caught.value.reason == "FOREIGN_EPOCH"


def test_a_watch_outlives_its_server(own_server: Server) -> None:
    with Client(own_server.target, connect_timeout=20) as client:
        after = client.withdraw(905_370_000_020, brand=BRAND).revision
        with client.watch(BRAND, after=after) as watch:
            client.withdraw(905_370_000_021, brand=BRAND)
            seen = [change.contact for change in next(watch).changes]
            own_server.stop(signal.SIGKILL)
            running = own_server.again()
            try:
                client.withdraw(905_370_000_022, brand=BRAND)
                while len(seen) < 2:
                    seen += [change.contact for change in next(watch).changes]
            finally:
                running.stop(signal.SIGKILL)
    assert seen == [Contact("+905370000021"), Contact("+905370000022")]


def feed(through: int, *revisions: int, epoch: str = EPOCH) -> consent_pb2.WatchResponse:
    response = consent_pb2.WatchResponse(through=types_pb2.Revision(epoch=epoch, revision=through))
    for revision in revisions:
        response.records.add(revision=revision)
    return response


@pytest.mark.parametrize(
    "second",
    [
        feed(9, 5),
        feed(9, 7, 7),
        feed(9, 8, 7),
        feed(6, 7),
        feed(4),
        feed(9, 7, epoch="f" * 32),
        consent_pb2.WatchResponse(),
    ],
)
def test_a_feed_that_does_not_add_up_is_an_error(
    fake: Fake, second: consent_pb2.WatchResponse
) -> None:
    fake.watch = [lambda request, context: iter([feed(6, 5), second])]
    with Client(fake.target) as client:
        watch = client.watch(BRAND, after=Revision(EPOCH, 4))
        changes = next(watch)
        assert [one.revision for one in changes.changes] == [5]
        with pytest.raises(ContractError):
            next(watch)
    assert watch.through == Revision(EPOCH, 6)


def test_a_feed_that_breaks_is_taken_up_after_what_was_yielded(fake: Fake) -> None:
    def breaks(*messages: Any, code: str, reason: str | None) -> Callable[[Any, Any], Any]:
        def script(request: Any, context: grpc.ServicerContext) -> Any:
            yield from messages
            fail(context, grpc.StatusCode[code], reason)

        return script

    fake.watch = [
        breaks(feed(6, 5), code="UNAVAILABLE", reason="STOPPING"),
        breaks(feed(8, 7), code="INTERNAL", reason=None),
        breaks(code="INTERNAL", reason="LEDGER_UNREADABLE"),
    ]
    seen = []
    with Client(fake.target) as client, pytest.raises(Exception, match="LEDGER_UNREADABLE"):
        for changes in client.watch(BRAND):
            seen.append(changes.through.revision)
    assert seen == [6, 8]
    assert [request.after.revision for request in fake.requests] == [0, 6, 8]


def test_a_consent_that_ends_may_suppress(client: Client) -> None:
    number = "+905370000020"
    grant(client, number)
    check: dict[str, Any] = {"brand": BRAND, "scope": SMS}
    start = client.check(number, **check)
    assert start.permitted
    ended = datetime.now(timezone.utc) - timedelta(minutes=1)
    short = Consent(
        brand=BRAND,
        contact=Contact(number),
        status="granted",
        channel=SMS.channel,
        purpose=SMS.purpose,
        recipient_type="individual",
        time=ended - timedelta(minutes=1),
        valid_until=ended,
    )
    client.record([short])
    assert client.check(number, **check).reason is Reason.EXPIRED
    (changes,) = client.watch(BRAND, after=start.revision, until_now=True)
    assert [one.may_suppress for one in changes.changes] == [True]


def test_what_is_not_known_may_suppress(fake: Fake) -> None:
    response = feed(9, 1, 2, 3, 4)
    response.records[0].consent.status = types_pb2.CONSENT_STATUS_GRANTED
    response.records[1].consent.status = types_pb2.CONSENT_STATUS_UNSPECIFIED
    response.records[2].erasure.brand = BRAND
    fake.watch = [lambda request, context: iter([response])]
    with Client(fake.target) as client:
        (changes,) = client.watch(BRAND, until_now=True)
    assert [one.may_suppress for one in changes.changes] == [False, True, True, True]
    assert [one.contact for one in changes.changes] == [None] * 4
