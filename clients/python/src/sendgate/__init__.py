"""Client of sendgate: may this message go to this recipient, now?

Every failure means: send to nobody that has no answer.
"""

from sendgate.answer import Answer, ScopeAnswer
from sendgate.client import Client, Verdict
from sendgate.consent import (
    Actor,
    ActorRole,
    Consent,
    Contact,
    Outcome,
    Precision,
    Recorded,
    Status,
    Suppression,
    Written,
)
from sendgate.errors import (
    BatchRefusedError,
    BusyError,
    ContractError,
    LostError,
    NotAllowedError,
    RefusedError,
    RejectedError,
    SendgateError,
    StatusError,
    StreamError,
    Unanswered,
    UnreachableError,
)
from sendgate.model import Kind, Reason, RecipientType, Revision, Scope
from sendgate.stream import FilterStream
from sendgate.watch import Change, Changes, Watch

__all__ = [
    "Actor",
    "ActorRole",
    "Answer",
    "BatchRefusedError",
    "BusyError",
    "Change",
    "Changes",
    "Client",
    "Consent",
    "Contact",
    "ContractError",
    "FilterStream",
    "Kind",
    "LostError",
    "NotAllowedError",
    "Outcome",
    "Precision",
    "Reason",
    "RecipientType",
    "Recorded",
    "RefusedError",
    "RejectedError",
    "Revision",
    "Scope",
    "ScopeAnswer",
    "SendgateError",
    "Status",
    "StatusError",
    "StreamError",
    "Suppression",
    "Unanswered",
    "UnreachableError",
    "Verdict",
    "Watch",
    "Written",
]
