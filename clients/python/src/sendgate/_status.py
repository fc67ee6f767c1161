"""From a gRPC status to an error of ours."""

from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from sendgate.errors import BusyError, LostError, NotAllowedError, RefusedError, StatusError

#: The domain of every ErrorInfo that sendgate sends.
DOMAIN = "sendgate"
DETAILS = "grpc-status-details-bin"

_REFUSED = {
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "FAILED_PRECONDITION",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
}
_NOT_ALLOWED = {"UNAUTHENTICATED", "PERMISSION_DENIED"}
#: Codes that promise, together with our ErrorInfo, that nothing happened.
_PROMISED = {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}


def error_of(error: grpc.RpcError) -> StatusError:
    """What a failed call means. A bare code promises nothing: transports make
    them up."""
    call = error if isinstance(error, grpc.Call) else None
    code = call.code().name if call is not None and call.code() is not None else "UNKNOWN"
    message = (call.details() or "" if call is not None else "") or str(error)
    reason, field = _error_info(call) if call is not None else (None, None)
    if code in _NOT_ALLOWED:
        return NotAllowedError(code, message, reason, field)
    if code in _REFUSED:
        return RefusedError(code, message, reason, field)
    if code in _PROMISED and reason is not None:
        return BusyError(code, message, reason, field)
    return LostError(code, message, reason, field)


def _error_info(call: grpc.Call) -> tuple[str | None, str | None]:
    """The reason and the field of our ErrorInfo, if the status has one."""
    for key, value in call.trailing_metadata() or ():
        if key != DETAILS or not isinstance(value, bytes):
            continue
        try:
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info) and info.domain == DOMAIN and info.reason:
                    return info.reason, info.metadata.get("field")
        except DecodeError:
            continue
    return None, None
