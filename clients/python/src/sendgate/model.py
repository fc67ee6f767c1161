"""The words of the wire contract, as Python values.

Numbers of enums are plain integers in the generated messages, whatever their
stubs say; hence the casts.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import cast

from sendgate.v1 import types_pb2


class Kind(str, enum.Enum):
    """What sort of address names a contact."""

    PHONE = "phone"
    EMAIL = "email"
    CONTACT_ID = "contact_id"
    EXTERNAL_ID = "external_id"

    @property
    def wire(self) -> types_pb2.ContactKind:
        number = types_pb2.ContactKind.Value(f"CONTACT_KIND_{self.name}")
        return cast(types_pb2.ContactKind, number)


class RecipientType(str, enum.Enum):
    """Whether the recipient is a private person or acts as a business."""

    INDIVIDUAL = "individual"
    MERCHANT = "merchant"

    @property
    def wire(self) -> types_pb2.RecipientType:
        number = types_pb2.RecipientType.Value(f"RECIPIENT_TYPE_{self.name}")
        return cast(types_pb2.RecipientType, number)


class Reason(enum.IntEnum):
    """The verdict on one recipient. Only PERMITTED permits."""

    UNSPECIFIED = 0
    PERMITTED = 1
    INVALID_RECIPIENT = 2
    ERASED = 3
    LEGAL_BLOCK = 4
    RESTRICTED = 5
    INVALID_ADDRESS = 6
    LINE_CLOSED = 7
    HARD_BOUNCE = 8
    SPAM_COMPLAINT = 9
    MANUAL_BLOCK = 10
    OBJECTED = 11
    SOFT_BOUNCE = 12
    CONTACT_OPT_OUT = 13
    CHANNEL_OPT_OUT = 14
    OPTED_OUT = 15
    EXPIRED = 16
    NO_CONSENT = 17
    DUPLICATE = 18

    @classmethod
    def read(cls, number: int) -> Reason:
        """The reason of this number; UNSPECIFIED, which suppresses, if it is new."""
        try:
            return cls(number)
        except ValueError:
            return cls.UNSPECIFIED

    @property
    def wire(self) -> types_pb2.Reason:
        return cast(types_pb2.Reason, types_pb2.Reason.Value(f"REASON_{self.name}"))


@dataclass(frozen=True)
class Scope:
    """What a message is about, within one brand."""

    channel: str
    purpose: str
    recipient_type: RecipientType | str = RecipientType.INDIVIDUAL

    def to_wire(self) -> types_pb2.Scope:
        return types_pb2.Scope(
            recipient_type=RecipientType(self.recipient_type).wire,
            channel=self.channel,
            purpose=self.purpose,
        )


@dataclass(frozen=True)
class Revision:
    """A point in a store's history. Revisions of different epochs do not compare."""

    epoch: str
    revision: int

    @classmethod
    def from_wire(cls, message: types_pb2.Revision) -> Revision:
        return cls(message.epoch, message.revision)

    def to_wire(self) -> types_pb2.Revision:
        return types_pb2.Revision(epoch=self.epoch, revision=self.revision)
