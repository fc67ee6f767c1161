//! Spans on their way to a collector, by OTLP over gRPC.
//!
//! Whoever ends a span puts it into a queue and goes on; a full queue drops it.
//! A thread of its own sends what is there. A collector that is slow or gone
//! costs spans and nothing else.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator},
    trace::TracerProvider,
};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    resource::{EnvResourceDetector, TelemetryResourceDetector},
    trace::{SdkTracerProvider, SpanData, SpanExporter as Export},
};
use tonic::codegen::http::HeaderMap;
use tracing::{Span, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, Registry, filter::Targets};

use super::TARGET;
use crate::caps;

const TRACEPARENT: &str = "traceparent";

/// The sending of spans. The variables `OTEL_…` of the specification say where
/// to, how often, which of them, and how many may wait.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins. A runtime must be there, on which the connection is kept; the
    /// collector need not be.
    ///
    /// # Errors
    /// What the variables say is no place to send to.
    pub fn begin() -> Result<Self, String> {
        let otlp = SpanExporter::builder().with_tonic().build();
        let otlp = otlp.map_err(|error| error.to_string())?;
        let exporter = Exporter { otlp, failures: Mutex::default() };
        let provider = SdkTracerProvider::builder()
            .with_resource(resource())
            .with_batch_exporter(exporter)
            .build();
        Ok(Self(provider))
    }

    /// What takes up the spans, and nothing else.
    #[must_use]
    pub fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        // Spans are held and not entered; where in the source they stand, the
        // source says.
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("sendgate"))
            .with_context_activation(false)
            .with_tracked_inactivity(false)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_filter(Targets::new().with_target(TARGET, LevelFilter::TRACE))
            .boxed()
    }

    /// Sends what still waits, for as long as [`caps::TRACES_END`] allows.
    pub fn end(self) {
        if let Err(error) = self.0.shutdown_with_timeout(caps::TRACES_END) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Whose spans they are: `sendgate`, unless the variables give another name.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder_empty()
        .with_service_name(env!("CARGO_PKG_NAME"))
        .with_attribute(version)
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_detector(Box::new(EnvResourceDetector::new()));
    match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
        _ => resource.build(),
    }
}

/// Makes a call part of its caller's trace, where the headers name one.
pub fn follow(call: &Span, headers: &HeaderMap) {
    if call.is_disabled() || !headers.contains_key(TRACEPARENT) {
        return;
    }
    let theirs = TraceContextPropagator::new();
    let parent = theirs.extract_with_context(&Context::new(), &Headers(headers));
    // A span that nobody takes up any more needs no parent.
    drop(call.set_parent(parent));
}

/// The one header that is heeded. What comes beside it, `tracestate`, is free
/// text of the caller's, which no span of ours may hold.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let value = (name == TRACEPARENT).then(|| self.0.get(name)).flatten()?;
        value.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

/// Sends spans, and tells of those that it lost, but seldom.
#[derive(Debug)]
struct Exporter {
    otlp: SpanExporter,
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    /// Spans lost since they were last told of.
    lost: usize,
    told: Option<Instant>,
}

impl Failures {
    /// Counts lost spans; how many to tell of, if it is time to.
    fn add(&mut self, lost: usize, now: Instant) -> Option<usize> {
        self.lost += lost;
        let is_silent =
            self.told.is_some_and(|told| now.duration_since(told) < caps::TRACES_LOGGED);
        if is_silent {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.lost))
    }
}

impl Export for Exporter {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        let count = spans.len();
        let sent = self.otlp.export(spans).await;
        if let Err(error) = &sent {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(lost) = failures.add(count, Instant::now()) {
                tracing::warn!(lost, %error, "traces could not be sent; nothing else is amiss");
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_of_seldom_and_all_of_them() {
        let (mut failures, begun) = (Failures::default(), Instant::now());
        assert_eq!(failures.add(3, begun), Some(3));
        assert_eq!(failures.add(4, begun + caps::TRACES_LOGGED / 2), None);
        assert_eq!(failures.add(5, begun + caps::TRACES_LOGGED), Some(9));
        assert_eq!(failures.add(6, begun + caps::TRACES_LOGGED), None);
    }

    #[test]
    fn of_a_callers_headers_only_the_parent_is_heeded() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, "00-1-2-01".parse().unwrap());
        headers.insert("tracestate", "who=ada@example.org".parse().unwrap());
        assert_eq!(Headers(&headers).get(TRACEPARENT), Some("00-1-2-01"));
        assert_eq!(Headers(&headers).get("tracestate"), None);
    }
}
