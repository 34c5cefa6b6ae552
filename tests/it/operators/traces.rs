//! Export of traces: real processes, and a collector of the test's own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prost::Message;

use crate::process::site::Site;

/// How long what is awaited may take.
const WITHIN: Duration = Duration::from_secs(30);
/// How long a stop may take while the collector does not answer: what is under way, and three seconds for the last traces.
const STOPPED_WITHIN: Duration = Duration::from_secs(15);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// What is looked at of an ExportTraceServiceRequest, by the tags of opentelemetry-proto.
#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Scalar", tags = "1, 3")]
    value: Option<Scalar>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Scalar {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Int(i64),
}

fn value(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Scalar::Text(text) => Some(text.clone()),
        Scalar::Int(number) => Some(number.to_string()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One request to the collector.
struct Request {
    head: Vec<String>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &TcpStream) -> Option<Request> {
        let mut reader = BufReader::new(stream);
        let (mut head, mut length) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let line = line.trim().to_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(given) = line.strip_prefix("content-length: ") {
                length = given.parse().ok()?;
            }
            head.push(line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some(Request { head, body })
    }
}

/// A collector, which takes everything. It ends with the process of the tests.
struct Collector {
    endpoint: String,
    taken: Arc<Mutex<Vec<Request>>>,
}

impl Collector {
    fn start() -> Collector {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let taken = Arc::new(Mutex::new(Vec::new()));
        let into = taken.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let Some(request) = Request::read(&stream) else {
                    continue;
                };
                into.lock().expect("no panic").push(request);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer).expect("an answer");
            }
        });
        Collector { endpoint, taken }
    }

    fn resources(&self) -> Vec<ResourceSpans> {
        let taken = self.taken.lock().expect("no panic");
        let exports = taken
            .iter()
            .map(|request| Export::decode(&request.body[..]).expect("an export of OTLP"));
        exports.flat_map(|export| export.resources).collect()
    }
}

fn spans(resources: &[ResourceSpans]) -> Vec<&Span> {
    let scopes = resources.iter().flat_map(|resource| &resource.scopes);
    scopes.flat_map(|scope| &scope.spans).collect()
}

#[test]
fn a_collector_gets_the_spans_of_requests_and_chunks_with_their_ids_and_all_of_them_before_the_end()
{
    let collector = Collector::start();
    let mut site = Site::new();
    site.set(&[
        ("TIDEMARK_TRACING_ENDPOINT", collector.endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter2"),
    ]);
    let mut up = site.up();
    up.wait_ready();
    site.run(&["emit", "--events", "50"]);
    site.run(&["wait"]);
    let asked = ureq::get(up.url("/openapi.json"))
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .header("x-request-id", "request-7")
        .call();
    assert_eq!(asked.expect("an answer").status(), 200);
    let said = up.said();
    let (status, _) = up.stop();
    assert!(status.success());

    let resources = collector.resources();
    let attributes = &resources[0]
        .resource
        .as_ref()
        .expect("a resource")
        .attributes;
    assert_eq!(
        value(attributes, "service.name").as_deref(),
        Some("tidemark")
    );
    let version = value(attributes, "service.version");
    assert_eq!(version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert!(value(attributes, "service.instance.id").is_some_and(|id| id.len() == 16));

    let spans = spans(&resources);
    let of = |span: &Span, key: &str| value(&span.attributes, key);
    let request = spans
        .iter()
        .find(|span| of(span, "request_id").as_deref() == Some("request-7"))
        .expect("the last request before the end");
    assert_eq!(request.name, "GET /openapi.json");
    assert_eq!(hex(&request.trace_id), TRACE);
    assert_eq!(hex(&request.parent_span_id), PARENT);
    assert_eq!(request.kind, 2, "a server's");
    assert_eq!(of(request, "http.route").as_deref(), Some("/openapi.json"));
    assert_eq!(
        of(request, "http.response.status_code").as_deref(),
        Some("200")
    );
    assert!(request.start < request.end);
    let chunk = spans.iter().find(|span| span.name == "rate.chunk");
    let chunk = chunk.expect("a chunk was rated");
    assert!(of(chunk, "task").is_some_and(|task| task.starts_with("rate/")));
    assert!(of(chunk, "chunk").is_some_and(|number| number.parse::<u64>().is_ok()));
    assert!(spans.iter().any(|span| span.name == "post.flush"));
    let probes = ["GET /readyz", "GET /healthz", "GET /metrics"];
    assert!(
        spans
            .iter()
            .all(|span| !probes.contains(&span.name.as_str()))
    );

    let taken = collector.taken.lock().expect("no panic");
    assert!(
        taken
            .iter()
            .all(|request| request.head[0] == "post /v1/traces http/1.1")
    );
    assert!(
        taken
            .iter()
            .all(|request| request.head.contains(&"x-key: hunter2".to_owned()))
    );
    assert!(
        !said.contains("hunter2") && !said.contains("traces.lost"),
        "{said}"
    );
}

/// What is sent to `endpoint` is lost; events are counted all the same, and the end comes in time.
fn harms_nothing(endpoint: &str) {
    let mut site = Site::new();
    site.set(&[
        ("TIDEMARK_TRACING_ENDPOINT", endpoint),
        ("TIDEMARK_LOGGING_FORMAT", "json"),
    ]);
    let mut up = site.up();
    up.wait_ready();
    site.run(&["emit", "--events", "500"]);
    site.run(&["wait"]);
    let start = Instant::now();
    let lost = r#"tidemark_trace_spans_total{outcome="failed"}"#;
    while !crate::process::site::get(&up.url("/metrics")).is_some_and(|text| text.contains(lost)) {
        assert!(
            start.elapsed() < WITHIN,
            "{endpoint}: nothing is counted as lost"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    site.run(&["emit", "--events", "500"]);
    site.run(&["wait"]);
    // Among what is generated are resends, and a few events that are to be rejected.
    let rated = up.metric("tidemark_events_rated_total");
    assert!(rated.is_some_and(|rated| rated > 900.0), "{rated:?}");
    let said = up.said();
    assert_eq!(said.matches("traces.lost").count(), 1, "{said}");
    let (status, took) = up.stop();
    assert!(status.success());
    assert!(took < STOPPED_WITHIN, "{endpoint}: {took:?}");
}

#[test]
fn a_collector_that_is_not_there_harms_nothing_and_is_told_once() {
    let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let endpoint = format!("http://{}", free.local_addr().expect("an address"));
    drop(free);
    harms_nothing(&endpoint);
}

#[test]
fn a_collector_that_never_answers_harms_nothing_and_is_told_once() {
    // Connections are taken by the kernel, and nobody reads them.
    let silent = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    harms_nothing(&format!(
        "http://{}",
        silent.local_addr().expect("an address")
    ));
}
