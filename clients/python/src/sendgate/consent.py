"""Consent given and withdrawn, suppressions, and what became of them."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from sendgate.errors import ContractError
from sendgate.model import Kind, Reason, RecipientType, Revision
from sendgate.v1 import consent_pb2, types_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def to_ms(time: datetime | int) -> int:
    """Milliseconds since 1970 in UTC. A time without an offset is refused: it
    would be another time on another machine."""
    if isinstance(time, int):
        return time
    if time.tzinfo is None:
        raise ValueError(f"{time} has no offset from UTC; give it a tzinfo")
    return (time - _EPOCH) // timedelta(milliseconds=1)


class Status(str, enum.Enum):
    """Whether a consent event gives or takes permission."""

    GRANTED = "granted"
    WITHDRAWN = "withdrawn"


class Precision(str, enum.Enum):
    """How exactly a time was stated. A grant counts from the first millisecond
    of what was stated, a withdrawal from the last."""

    MILLISECOND = "millisecond"
    SECOND = "second"
    MINUTE = "minute"
    DAY = "day"


class ActorRole(str, enum.Enum):
    """The role in which somebody caused an event."""

    UNSPECIFIED = "unspecified"
    CUSTOMER = "customer"
    STAFF = "staff"
    SYSTEM = "system"
    REGISTRY = "registry"


@dataclass(frozen=True)
class Contact:
    """One address of one kind."""

    #: As text in any accepted spelling, or as an integer: a contact ID, or the
    #: digits of a phone number from the country code on.
    address: str | int
    kind: Kind | str = Kind.PHONE
    #: Region, such as TR, whose national phone spellings are accepted.
    region: str = ""

    def to_wire(self) -> types_pb2.Contact:
        kind = Kind(self.kind)
        address = str(self.address)
        if kind is Kind.PHONE and not isinstance(self.address, str):
            # As in a filter, an integer is E.164 digits. Without the plus sign
            # it might be read as a national number of the region.
            address = f"+{address}"
        return types_pb2.Contact(kind=kind.wire, address=address, default_region=self.region)


@dataclass(frozen=True)
class Actor:
    """Who caused an event."""

    role: ActorRole | str = ActorRole.UNSPECIFIED
    id: str = ""

    def to_wire(self) -> types_pb2.Actor:
        return types_pb2.Actor(role=f"ACTOR_ROLE_{ActorRole(self.role).name}", id=self.id)


@dataclass(frozen=True)
class Consent:
    """Consent given or withdrawn.

    The level follows from what is named: channel and purpose; a channel alone
    ("no more SMS from you"); neither ("never write to me again"). A grant names
    both, a recipient type, and its time. A double opt-in is one grant, recorded
    once the person has confirmed.
    """

    brand: str
    contact: Contact
    status: Status | str
    channel: str = ""
    purpose: str = ""
    #: None in a withdrawal: both types.
    recipient_type: RecipientType | str | None = None
    #: When the person did so. A withdrawal without it counts as of its recording.
    time: datetime | int | None = None
    precision: Precision | str = Precision.MILLISECOND
    valid_until: datetime | int | None = None
    source: str = ""
    legal_basis: str = ""
    notice_id: str = ""
    notice_version: str = ""
    actor: Actor = Actor()
    collected_by: str = ""
    evidence_uri: str = ""
    evidence_sha256: bytes = b""
    #: Your identifier of this event. Repeating one with the same content
    #: changes nothing. Empty: the content is the key.
    event_key: str = ""
    registered_with: str = ""

    def to_wire(self) -> types_pb2.ConsentEvent:
        event = types_pb2.ConsentEvent(
            brand=self.brand,
            contact=self.contact.to_wire(),
            channel=self.channel,
            purpose=self.purpose,
            status=f"CONSENT_STATUS_{Status(self.status).name}",
            source=self.source,
            legal_basis=self.legal_basis,
            actor=self.actor.to_wire(),
            collected_by=self.collected_by,
            event_key=self.event_key,
            registered_with=self.registered_with,
        )
        if self.recipient_type is not None:
            event.recipient_type = RecipientType(self.recipient_type).wire
        if self.time is not None:
            event.consent_time.CopyFrom(_stated(self.time, self.precision))
        if self.valid_until is not None:
            event.valid_until_ms = to_ms(self.valid_until)
        if self.notice_id or self.notice_version:
            event.notice.id = self.notice_id
            event.notice.version = self.notice_version
        if self.evidence_uri or self.evidence_sha256:
            event.evidence.uri = self.evidence_uri
            event.evidence.sha256 = self.evidence_sha256
        return event


@dataclass(frozen=True)
class Suppression:
    """A reason not to send that is not a consent choice: a bounce, a complaint,
    a legal block."""

    brand: str
    contact: Contact
    reason: Reason
    channel: str = ""
    since: datetime | int | None = None
    precision: Precision | str = Precision.MILLISECOND
    #: Required for a soft bounce.
    expires_at: datetime | int | None = None
    source: str = ""
    note: str = ""
    actor: Actor = Actor()
    event_key: str = ""

    def to_wire(self) -> types_pb2.Suppression:
        suppression = types_pb2.Suppression(
            brand=self.brand,
            contact=self.contact.to_wire(),
            channel=self.channel,
            reason=Reason(self.reason).wire,
            source=self.source,
            note=self.note,
            actor=self.actor.to_wire(),
            event_key=self.event_key,
        )
        if self.since is not None:
            suppression.since.CopyFrom(_stated(self.since, self.precision))
        if self.expires_at is not None:
            suppression.expires_at_ms = to_ms(self.expires_at)
        return suppression


class Outcome(enum.IntEnum):
    """What became of one event."""

    UNKNOWN = 0
    APPLIED = 1
    SUPERSEDED = 2
    DUPLICATE = 3
    KEY_REUSED = 4
    REJECTED = 5


@dataclass(frozen=True)
class Recorded:
    """The result of one event."""

    outcome: Outcome
    #: The event's revision; 0 if it was not recorded.
    revision: int
    #: Why it was not recorded, such as INVALID_ADDRESS; empty if it was.
    code: str = ""
    field: str = ""
    message: str = ""

    @property
    def is_recorded(self) -> bool:
        """Whether the ledger holds the event, from this call or from before."""
        return self.outcome not in (Outcome.UNKNOWN, Outcome.REJECTED) and self.revision > 0


@dataclass(frozen=True)
class Written:
    """What became of the events of one call: all are durable and visible."""

    results: tuple[Recorded, ...]
    #: A revision at which all of them are visible.
    revision: Revision


def written(
    results: Sequence[consent_pb2.EventResult], revision: types_pb2.Revision, due: int
) -> Written:
    """Reads an acknowledgement, which must be about every event."""
    if len(results) != due:
        raise ContractError(f"{due} events sent, {len(results)} answered: repeat the write")
    if not revision.epoch:
        raise ContractError("the acknowledgement has no revision: repeat the write")
    return Written(tuple(map(_recorded, results)), Revision.from_wire(revision))


def _recorded(result: consent_pb2.EventResult) -> Recorded:
    try:
        outcome = Outcome(result.outcome)
    except ValueError:  # Newer than this client; not taken for recorded.
        outcome = Outcome.UNKNOWN
    if not result.HasField("rejection"):
        return Recorded(outcome, result.revision)
    rejection = result.rejection
    try:
        code = consent_pb2.RejectCode.Name(rejection.code).removeprefix("REJECT_CODE_")
    except ValueError:
        code = f"CODE_{rejection.code}"
    return Recorded(Outcome.REJECTED, 0, code, rejection.field, rejection.message)


def _stated(time: datetime | int, precision: Precision | str) -> types_pb2.StatedTime:
    name = f"PRECISION_{Precision(precision).name}"
    return types_pb2.StatedTime(unix_ms=to_ms(time), precision=name)
