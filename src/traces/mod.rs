//! Spans of what the server does: calls, batches of filter streams, commits.
//!
//! They have a target and a level of their own. The log does not tell of them,
//! and where nobody collects them each costs a comparison. With the feature
//! `otel`, `export` sends them to a collector of OpenTelemetry.
//!
//! A span never says whom anything was about: it holds names of methods, numbers
//! and codes, and nothing that a caller wrote.

#[cfg(feature = "otel")]
pub mod export;

use tonic::Code;
use tracing::{Span, field::Empty, trace_span};

/// The target of every span here, and of nothing else.
pub const TARGET: &str = "sendgate::trace";

/// The variables that name a collector; the more special one comes first.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// The variable that names a collector, if one does.
#[must_use]
pub fn asked_for() -> Option<&'static str> {
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    ENDPOINTS.into_iter().find(is_set)
}

/// A call of this method, as in its path without the first slash.
#[must_use]
pub fn call(path: &'static str) -> Span {
    let (service, method) = path.split_once('/').unwrap_or_default();
    trace_span!(
        target: TARGET,
        parent: None,
        "call",
        otel.name = path,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
    )
}

/// Says how a call ended. One that its caller broke off ends without a code.
pub fn ended(call: &Span, code: Code) {
    call.record("rpc.grpc.status_code", i32::from(code));
    // What is the server's fault; the rest is its callers'.
    let is_failure = matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    );
    if is_failure {
        call.record("otel.status_code", "ERROR");
    }
}

/// A batch of this stream, from being read to its answer being ready.
#[must_use]
pub fn batch(call: &Span) -> Span {
    trace_span!(
        target: TARGET,
        parent: call,
        "batch",
        recipients = Empty,
        permitted = Empty,
        error = Empty,
        revision = Empty,
    )
}

/// A commit of so many changes, which many callers may have asked for. It ends
/// without a revision if nothing came of it.
#[must_use]
pub fn commit(changes: usize) -> Span {
    let changes = number(changes);
    trace_span!(target: TARGET, parent: None, "commit", changes, revision = Empty)
}

/// Records a number.
pub fn record(span: &Span, field: &'static str, value: impl TryInto<i64>) {
    span.record(field, number(value));
}

/// A number as OpenTelemetry has them: it makes texts of unsigned ones.
fn number(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
