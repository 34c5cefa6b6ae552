//! Export by OTLP, in protobuf over HTTP, with OpenTelemetry's own SDK and our own HTTP client.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanKind, Status, TracerProvider as _};
use opentelemetry::{Context, Key, KeyValue, Value};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span as SdkSpan, SpanData,
    SpanExporter, SpanProcessor,
};
use prometheus::IntCounterVec;
use tracing::{Level, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use ureq::Agent;

use super::SpanLayer;
use crate::ops::config::Config;

/// Spans that wait for the collector, or are on the way to it, at the most: a few megabytes. What
/// comes beyond is dropped.
const WAITING_MAX: usize = 8_192;
/// Most spans in one request to the collector.
const BATCH_MAX: usize = 512;
/// How often spans are sent if that many do not come together.
const EVERY: Duration = Duration::from_secs(1);
/// How long the collector may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long the process waits, at its end, until the last spans are sent.
const END_WITHIN: Duration = Duration::from_secs(3);
/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// The name of requests' spans.
const REQUEST: &str = "http.request";
/// Routes of probes and of Prometheus: a trace of each would bury the others.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// Fields of requests' spans, and what OpenTelemetry's conventions call them.
const CONVENTIONS: [(&str, &str); 2] = [("method", "http.request.method"), ("route", "http.route")];
const STATUS_CODE: &str = "http.response.status_code";
const SERVER_ERRORS: u16 = 500;

/// The metric that tells what became of spans.
static TOLD: OnceLock<IntCounterVec> = OnceLock::new();

/// What became of spans.
#[derive(Clone, Copy)]
enum Outcome {
    /// The collector has taken them.
    Sent,
    /// The collector has not.
    Failed,
    /// Too many waited already.
    Dropped,
}

pub fn count_in(counter: &IntCounterVec) {
    // Only the first process of a kind tells; there is one per process but in tests.
    drop(TOLD.set(counter.clone()));
}

fn count(outcome: Outcome, spans: usize) {
    let outcome = match outcome {
        Outcome::Sent => "sent",
        Outcome::Failed => "failed",
        Outcome::Dropped => "dropped",
    };
    if let Some(counter) = TOLD.get() {
        counter.with_label_values(&[outcome]).inc_by(spans as u64);
    }
}

/// An export that goes on by itself.
pub struct Exporting(SdkTracerProvider);

impl Exporting {
    /// Sends what is left, but does not wait longer than [`END_WITHIN`].
    pub fn end(self) {
        if let Err(error) = self.0.shutdown_with_timeout(END_WITHIN) {
            tracing::debug!(event = "traces.unfinished", %error, "could not export the last traces");
        }
    }
}

/// Begins. The layer tells it of spans.
pub fn start(
    endpoint: &str,
    config: &Config,
) -> Result<(Exporting, SpanLayer), Box<dyn std::error::Error>> {
    let shared = Arc::new(Shared::default());
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Client::new(shared.clone()))
        .with_endpoint(endpoint)
        .with_timeout(ANSWER_WITHIN)
        .build()?;
    let exporter = CountingExporter {
        exporter,
        shared: shared.clone(),
    };
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(WAITING_MAX)
        .with_max_export_batch_size(BATCH_MAX)
        .with_scheduled_delay(EVERY)
        .build();
    let batches = BatchSpanProcessor::builder(exporter).with_batch_config(batches);
    let ratio = f64::from(config.tracing.percent) / 100.0;
    let provider = SdkTracerProvider::builder()
        .with_resource(resource(config))
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            ratio,
        ))))
        .with_span_processor(Bounded {
            batches: batches.build(),
            shared,
        })
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("tidemark"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        // Ours alone: requests to the store would be many, and this export would export itself.
        .with_filter(Targets::new().with_target("tidemark", Level::INFO));
    Ok((Exporting(provider), layer.boxed()))
}

/// Who exports: what Prometheus and log lines call this process, as far as it can be known.
/// `OTEL_RESOURCE_ATTRIBUTES` adds to it.
fn resource(config: &Config) -> Resource {
    let random = || format!("{:016x}", rand::random::<u64>());
    let instance = config.kafka.instance.clone().unwrap_or_else(random);
    let builder = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance),
        KeyValue::new("process.pid", i64::from(std::process::id())),
    ]);
    if std::env::var_os("OTEL_SERVICE_NAME").is_some() {
        return builder.build();
    }
    builder.with_service_name("tidemark").build()
}

/// What the ends of the queue know together.
#[derive(Debug, Default)]
struct Shared {
    /// Spans that wait, or are on their way.
    waiting: AtomicUsize,
    /// Whether it has been said that spans are lost, since the last that was taken.
    is_said: AtomicBool,
    /// Why the last request was not answered.
    why: Mutex<Option<String>>,
}

impl Shared {
    fn lost(&self, outcome: Outcome, spans: usize, why: &dyn fmt::Display) {
        count(outcome, spans);
        if !self.is_said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                event = "traces.lost",
                %why,
                "cannot export traces; they are dropped until it works again and counted in \
                 tidemark_trace_spans_total; nothing else is affected"
            );
        }
    }

    fn sent(&self, spans: usize) {
        count(Outcome::Sent, spans);
        if self.is_said.swap(false, Ordering::Relaxed) {
            tracing::info!(event = "traces.sent", "traces are exported again");
        }
    }

    /// A panic elsewhere does not make a text wrong.
    fn why(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes spans as long as not too many wait. The SDK's own queue is bounded as well, but tells
/// nobody what it drops.
#[derive(Debug)]
struct Bounded {
    batches: BatchSpanProcessor,
    shared: Arc<Shared>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut SdkSpan, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, mut span: SpanData) {
        if span.name == REQUEST && !told_by_conventions(&mut span) {
            return;
        }
        if self.shared.waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX {
            self.batches.on_end(span);
        } else {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            let why = "the queue is full because the collector is slow or unreachable";
            self.shared.lost(Outcome::Dropped, 1, &why);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Turns the span of a request into what OpenTelemetry's conventions ask for, so that every tool
/// knows it as one. False: it is of a probe.
fn told_by_conventions(span: &mut SpanData) -> bool {
    let text = |span: &SpanData, key: &str| {
        let mut attributes = span.attributes.iter();
        let found = attributes.find(|attribute| attribute.key.as_str() == key);
        found.map_or_else(String::new, |found| found.value.as_str().into_owned())
    };
    let (method, route) = (text(span, "method"), text(span, "route"));
    span.name = format!("{method} {route}").into();
    span.span_kind = SpanKind::Server;
    for attribute in &mut span.attributes {
        let known = CONVENTIONS
            .iter()
            .find(|(ours, _)| attribute.key.as_str() == *ours);
        if let Some((_, theirs)) = known {
            attribute.key = Key::from_static_str(theirs);
        }
    }
    !PROBES.contains(&route.as_str())
}

/// Counts what the collector has taken and what not.
#[derive(Debug)]
struct CountingExporter {
    exporter: opentelemetry_otlp::SpanExporter,
    shared: Arc<Shared>,
}

impl SpanExporter for CountingExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.exporter.export(batch).await;
        self.shared.waiting.fetch_sub(spans, Ordering::Relaxed);
        match &sent {
            Ok(()) => self.shared.sent(spans),
            Err(error) => {
                let why = self.shared.why().take();
                let why = why.unwrap_or_else(|| error.to_string());
                self.shared.lost(Outcome::Failed, spans, &why);
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Asks the collector. It blocks: the SDK calls it on a thread of its own, where nothing else
/// waits.
#[derive(Debug)]
struct Client {
    agent: Agent,
    shared: Arc<Shared>,
}

impl Client {
    fn new(shared: Arc<Shared>) -> Client {
        let agent = Agent::config_builder()
            .timeout_global(Some(ANSWER_WITHIN))
            .max_redirects(0)
            .http_status_as_error(false)
            .build();
        Client {
            agent: agent.into(),
            shared,
        }
    }

    fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, body.to_vec());
        let (head, mut body) = self.agent.run(request)?.into_parts();
        let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(Response::from_parts(head, body.into()))
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.ask(request);
        *self.shared.why() = answer.as_ref().err().map(ToString::to_string);
        Ok(answer?)
    }
}

/// The headers of W3C Trace Context.
struct Headers<'a> {
    parent: &'a str,
    state: Option<&'a str>,
}

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            PARENT => Some(self.parent),
            STATE => self.state,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![PARENT, STATE]
    }
}

pub fn continue_from<'a>(span: &Span, header: impl Fn(&str) -> Option<&'a str>) {
    let Some(parent) = header(PARENT) else { return };
    let state = header(STATE);
    let context = TraceContextPropagator::new().extract(&Headers { parent, state });
    // It fails only where nothing is exported.
    drop(span.set_parent(context));
}

pub fn answered(span: &Span, status: u16) {
    span.set_attribute(STATUS_CODE, Value::I64(status.into()));
    if status >= SERVER_ERRORS {
        span.set_status(Status::error(""));
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use prometheus::Opts;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::registry;

    use super::*;

    #[test]
    fn what_finds_no_room_is_dropped_and_counted_and_nobody_waits() {
        const SPANS: u64 = 3 * WAITING_MAX as u64;
        let counter = IntCounterVec::new(Opts::new("spans", "Spans."), &["outcome"]);
        count_in(counter.as_ref().expect("a metric"));
        // Connections are taken by the kernel, and nobody reads them.
        let silent = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let endpoint = format!("http://{}", silent.local_addr().expect("an address"));
        let (exporting, layer) = start(&endpoint, &Config::default()).expect("an export");
        let begin = Instant::now();
        tracing::subscriber::with_default(registry().with(layer), || {
            for number in 0..SPANS {
                drop(tracing::info_span!("chunk", number));
            }
        });
        assert!(begin.elapsed() < ANSWER_WITHIN, "{:?}", begin.elapsed());
        let begin = Instant::now();
        exporting.end();
        assert!(begin.elapsed() < 2 * END_WITHIN, "{:?}", begin.elapsed());
        let told = TOLD.get().expect("the metric");
        let dropped = told.with_label_values(&["dropped"]).get();
        assert_eq!(dropped, SPANS - WAITING_MAX as u64);
        assert_eq!(told.with_label_values(&["sent"]).get(), 0);
    }
}
