//! Spans of calls and of batches, where somebody collects them.

use std::convert::Infallible;

use http_body_util::BodyExt;
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, http::Response},
};
use tracing::Span;

use crate::{engine::filter::Verdicts, proto::v1::BatchErrorCode, traces};

/// Keeps the span of a call until the whole answer is given, and records how it
/// ended.
pub(super) fn traced(
    call: Span,
    answering: BoxFuture<Response<Body>, Infallible>,
) -> BoxFuture<Response<Body>, Infallible> {
    if call.is_disabled() {
        return answering;
    }
    Box::pin(async move {
        let response = answering.await?;
        // A refusal is all headers.
        if let Some(status) = Status::from_header_map(response.headers()) {
            traces::ended(&call, status.code());
            return Ok(response);
        }
        Ok(response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                if let Some(status) = frame.trailers_ref().and_then(Status::from_header_map) {
                    traces::ended(&call, status.code());
                }
                frame
            }))
        }))
    })
}

/// The span of a batch.
pub(super) struct BatchSpan(Span);

impl BatchSpan {
    pub fn begin(call: &Span) -> Self {
        Self(traces::batch(call))
    }

    /// Answered from the view of this revision; the permitted of all scopes are
    /// counted together.
    pub fn answered(&self, revision: u64, verdicts: &[Verdicts]) {
        if self.0.is_disabled() {
            return;
        }
        traces::record(&self.0, "recipients", verdicts.first().map_or(0, |scope| scope.recipients));
        let permitted: u64 = verdicts.iter().map(|scope| scope.permitted).sum();
        traces::record(&self.0, "permitted", permitted);
        traces::record(&self.0, "revision", revision);
    }

    pub fn refused(&self, revision: u64, code: BatchErrorCode) {
        self.0.record("error", code.as_str_name());
        traces::record(&self.0, "revision", revision);
    }
}
