"""A server that follows a script, and breaks the contract where it says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from sendgate.v1 import consent_pb2, filter_pb2, types_pb2

EPOCH = "0123456789abcdef" * 2
REVISION = types_pb2.Revision(epoch=EPOCH, revision=9)

Batches = Iterator[filter_pb2.RecipientBatch]
Responses = Iterator[filter_pb2.FilterResponse]
#: What becomes of the batches of the n-th stream.
FilterScript = Callable[[int, filter_pb2.FilterOptions, Batches, grpc.ServicerContext], Responses]


def right_answer(
    batch: filter_pb2.RecipientBatch, options: filter_pb2.FilterOptions
) -> filter_pb2.BatchAnswer:
    """Permits every second recipient, from the first on."""
    n = batch.count
    bits = bytes(
        sum(1 << bit for bit in range(0, 8, 2) if byte * 8 + bit < n)
        for byte in range((n + 7) // 8)
    )
    scope = filter_pb2.ScopeAnswer(recipients=n, permitted_count=(n + 1) // 2, permitted=bits)
    if options.answer_form == filter_pb2.ANSWER_FORM_REASONS:
        scope.reasons = bytes(1 if at % 2 == 0 else 17 for at in range(n))
        scope.reason_counts.add(reason=types_pb2.REASON_PERMITTED, count=(n + 1) // 2)
        if n > 1:
            scope.reason_counts.add(reason=types_pb2.REASON_NO_CONSENT, count=n // 2)
    answer = filter_pb2.BatchAnswer(
        batch_id=batch.batch_id, revision=REVISION, as_of_ms=1, policy_version="fake"
    )
    answer.scopes.extend([scope] * len(options.scopes))
    return answer


def summary(answers: list[filter_pb2.BatchAnswer], scopes: int = 1) -> filter_pb2.FilterResponse:
    """The right summary of these answers."""
    good = [one for one in answers if not one.HasField("error")]
    of_scope = filter_pb2.ScopeSummary(
        recipients=sum(one.scopes[0].recipients for one in good),
        permitted=sum(one.scopes[0].permitted_count for one in good),
    )
    total = filter_pb2.FilterSummary(batches=len(good), refused_batches=len(answers) - len(good))
    total.scopes.extend([of_scope] * scopes)
    return filter_pb2.FilterResponse(summary=total)


def honest(
    number: int, options: filter_pb2.FilterOptions, batches: Batches, context: Any
) -> Responses:
    answers = []
    for batch in batches:
        answers.append(right_answer(batch, options))
        yield filter_pb2.FilterResponse(answer=answers[-1])
    yield summary(answers, len(options.scopes))


def fail(
    context: grpc.ServicerContext,
    code: grpc.StatusCode,
    reason: str | None = None,
    domain: str = "sendgate",
) -> None:
    """Ends a call with a status, with our ErrorInfo if a reason is given."""
    if reason is not None:
        info = any_pb2.Any()
        info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain))
        status = status_pb2.Status(code=code.value[0], message=reason, details=[info])
        details = ("grpc-status-details-bin", status.SerializeToString())
        context.set_trailing_metadata((details,))
    context.abort(code, reason or "made up by a transport")


class Fake:
    """The scripts, and what was asked."""

    def __init__(self) -> None:
        self.filter: FilterScript = honest
        #: What each call of the other methods does, in turn; the last one again.
        self.unary: list[Callable[[Any, grpc.ServicerContext], Any]] = []
        self.watch: list[Callable[[Any, grpc.ServicerContext], Iterator[Any]]] = []
        self.requests: list[Any] = []
        self.metadata: list[dict[str, Any]] = []
        self.options: list[filter_pb2.FilterOptions] = []
        self._lock = threading.Lock()
        self.target = ""

    def _note(self, request: Any, context: grpc.ServicerContext) -> int:
        with self._lock:
            self.requests.append(request)
            self.metadata.append(dict(context.invocation_metadata()))
            return len(self.requests) - 1

    def _filter(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Responses:
        options = next(requests).options
        number = self._note(options, context)
        batches = (request.batch for request in requests)
        yield from self.filter(number, options, batches, context)

    def _unary(self, request: Any, context: grpc.ServicerContext) -> Any:
        number = self._note(request, context)
        return self.unary[min(number, len(self.unary) - 1)](request, context)

    def _watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        number = self._note(request, context)
        yield from self.watch[min(number, len(self.watch) - 1)](request, context)


@contextmanager
def serving(fake: Fake, address: str = "127.0.0.1:0", tls: Any = None) -> Iterator[Fake]:
    def unary(request: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            fake._unary, request.FromString, lambda message: message.SerializeToString()
        )

    server = grpc.server(futures.ThreadPoolExecutor(8))
    filter_service = {
        "Filter": grpc.stream_stream_rpc_method_handler(
            fake._filter,
            filter_pb2.FilterRequest.FromString,
            filter_pb2.FilterResponse.SerializeToString,
        ),
        "Check": unary(filter_pb2.CheckRequest),
    }
    consent_service = {
        "Record": unary(consent_pb2.RecordRequest),
        "Suppress": unary(consent_pb2.SuppressRequest),
        "Watch": grpc.unary_stream_rpc_method_handler(
            fake._watch,
            consent_pb2.WatchRequest.FromString,
            consent_pb2.WatchResponse.SerializeToString,
        ),
    }
    for name, methods in (("Filter", filter_service), ("Consent", consent_service)):
        handler = grpc.method_handlers_generic_handler(f"sendgate.v1.{name}Service", methods)
        server.add_generic_rpc_handlers((handler,))
    if tls is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, tls)
    fake.target = f"127.0.0.1:{port}"
    server.start()
    try:
        yield fake
    finally:
        server.stop(None).wait()
