//! What the server tells of itself while it runs: its log, and its traces where
//! it was built with them.

use std::io::{self, IsTerminal};

use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::{
    config::{LogFormat, Settings},
    traces,
};

/// The log, and the sending of traces, which has an end.
pub(super) struct Telemetry {
    #[cfg(feature = "otel")]
    traces: Option<traces::export::Traces>,
}

impl Telemetry {
    /// Begins both, within the runtime. Traces that cannot be sent keep no server
    /// from starting: the log tells of them.
    pub fn begin(settings: &Settings) -> Self {
        #[cfg(not(feature = "otel"))]
        {
            Registry::default().with(log(settings)).init();
            if let Some(variable) = traces::asked_for() {
                tracing::warn!("{variable} is set, and this sendgate was built without traces");
            }
            Self {}
        }
        #[cfg(feature = "otel")]
        {
            let begun = traces::asked_for().map(|variable| {
                let begun = traces::export::Traces::begin();
                begun.map_err(|error| format!("by {variable} no traces can be sent: {error}"))
            });
            let begun = begun.transpose();
            let mut layers = vec![log(settings)];
            if let Ok(Some(traces)) = &begun {
                layers.push(traces.layer());
            }
            Registry::default().with(layers).init();
            let traces = begun.unwrap_or_else(|error| {
                tracing::error!("{error}");
                None
            });
            Self { traces }
        }
    }

    /// Sends the last traces, while the runtime is still there.
    pub fn end(self) {
        #[cfg(feature = "otel")]
        if let Some(traces) = self.traces {
            traces.end();
        }
    }
}

fn log(settings: &Settings) -> Box<dyn Layer<Registry> + Send + Sync> {
    let log = fmt::layer().with_writer(io::stderr);
    let log = match settings.log_format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    };
    log.with_filter(EnvFilter::new(&settings.log_level)).boxed()
}
