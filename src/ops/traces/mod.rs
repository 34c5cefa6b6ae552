//! Traces: the spans of requests, chunks and flushes go to an OpenTelemetry collector, by OTLP over
//! HTTP, if `tracing.endpoint` names one.
//!
//! Only builds with the feature `otlp` can do that. In others there is nothing behind these
//! functions, and the configuration refuses an endpoint. Nobody ever waits for the collector: spans
//! go through a bounded queue to a thread of their own, and what finds no room there, or is not
//! taken, is counted in `tidemark_trace_spans_total` and gone.

use tracing::Span;
use tracing_subscriber::{Layer, Registry};

#[cfg(feature = "otlp")]
mod export;

use super::config::Config;
use super::metrics::Metrics;

/// Sees spans begin and end. It stands directly on the registry.
pub type SpanLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Exports until it is told to end.
pub struct Traces {
    #[cfg(feature = "otlp")]
    exporting: Option<export::Exporting>,
}

impl Traces {
    /// Nothing is exported.
    pub fn none() -> Traces {
        Traces {
            #[cfg(feature = "otlp")]
            exporting: None,
        }
    }

    /// Begins to export, if that is configured. An error is for people: something in the
    /// environment (`OTEL_…`) cannot be used.
    #[cfg(feature = "otlp")]
    pub fn start(config: &Config) -> Result<(Traces, Option<SpanLayer>), String> {
        let Some(endpoint) = &config.tracing.endpoint else {
            return Ok((Traces::none(), None));
        };
        let (exporting, layer) = export::start(endpoint, config)
            .map_err(|error| format!("cannot export traces: {error}"))?;
        let exporting = Some(exporting);
        Ok((Traces { exporting }, Some(layer)))
    }

    /// Nothing is exported: this build cannot.
    #[cfg(not(feature = "otlp"))]
    pub fn start(_config: &Config) -> Result<(Traces, Option<SpanLayer>), String> {
        Ok((Traces::none(), None))
    }

    /// Exports what is left, within a bound of a few seconds.
    pub fn end(self) {
        #[cfg(feature = "otlp")]
        if let Some(exporting) = self.exporting {
            exporting.end();
        }
    }
}

/// From now on these metrics tell what became of spans. Only the first ones of a process do.
pub fn count_in(metrics: &Metrics) {
    #[cfg(feature = "otlp")]
    export::count_in(&metrics.trace_spans_total);
    #[cfg(not(feature = "otlp"))]
    let _ = metrics;
}

/// A span goes on with the trace of whoever asked: `header` reads the W3C headers `traceparent` and
/// `tracestate`. Must be called before the span is entered.
pub fn continue_from<'a>(span: &Span, header: impl Fn(&str) -> Option<&'a str>) {
    #[cfg(feature = "otlp")]
    export::continue_from(span, header);
    #[cfg(not(feature = "otlp"))]
    let _ = (span, header);
}

/// The span of a request was answered with this status code.
pub fn answered(span: &Span, status: u16) {
    #[cfg(feature = "otlp")]
    export::answered(span, status);
    #[cfg(not(feature = "otlp"))]
    let _ = (span, status);
}
