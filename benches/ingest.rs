//! How fast events come in over HTTP: `cargo bench --bench ingest`. Batches of 100, over connections that stay open, answered once the embedded log has
//! synced them to disk; beside it, in the same run, the same batches appended to the log directly by as many tasks. Prints events per second, the
//! latency of a batch at p50 and p99, and the ratio of both rates. Client, service and log share this machine's cores.

mod load;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::try_join_all;
use tidemark::domain::access::Scope;
use tidemark::domain::position::{Epoch, Partition};
use tidemark::http::{self, ApiState, Hosts, Partitions, Parts};
use tidemark::log::embedded::EmbeddedLog;
use tidemark::log::topics::shipped;
use tidemark::log::{Headers, Log, NewRecord, Topic, usage_partition};
use tidemark::ops::clock::{Clock, SystemClock};
use tidemark::ops::config::{Config, HttpConfig};
use tidemark::ops::health::Health;
use tidemark::ops::metrics::Metrics;
use tidemark::ops::shutdown;
use tidemark::store::dynamo::{DynamoDb, DynamoSettings};
use tidemark::store::embedded::EmbeddedStore;
use tidemark::store::keys::{self, KeyText};
use tidemark::store::meter::StoreMeter;
use tidemark::store::tables::create_tables;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 100;
const BATCHES: usize = 3_000;
/// Connections, and tasks that append.
const WIDTHS: [usize; 3] = [1, 8, 32];

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run());
}

/// A batch: its records by partition, and its body.
struct Batch {
    records: Vec<(Partition, Vec<NewRecord>)>,
    body: Bytes,
}

fn batches(partitions: u32) -> Vec<Batch> {
    let (draws, mut rng) = load::draws(BATCH * BATCHES);
    let now = SystemClock.now();
    let events = draws.iter().enumerate();
    let events: Vec<(String, Bytes)> = events
        .map(|(number, draw)| {
            let event = load::event(*draw, number as u64, now, &mut rng);
            (load::user(draw.user), event)
        })
        .collect();
    events
        .chunks(BATCH)
        .map(|chunk| {
            let mut by_partition: Vec<Vec<NewRecord>> = vec![Vec::new(); partitions as usize];
            let mut body = Vec::new();
            for (user, value) in chunk {
                let partition = usage_partition(user, partitions);
                by_partition[partition.0 as usize].push(NewRecord {
                    key: Some(Bytes::from(user.clone())),
                    value: value.clone(),
                    headers: Headers::new(),
                });
                body.extend_from_slice(value);
                body.push(b'\n');
            }
            let records = (0..).map(Partition).zip(by_partition);
            Batch {
                records: records.filter(|(_, records)| !records.is_empty()).collect(),
                body: body.into(),
            }
        })
        .collect()
}

async fn run() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = EmbeddedLog::open(&dir.path().join("log"), &shipped(), Arc::new(SystemClock))
        .expect("a log");
    let log: Arc<dyn Log> = Arc::new(log);
    assert_eq!(log.epoch(), Epoch(0));
    let store = EmbeddedStore::open(&dir.path().join("store")).expect("a store");
    let db = DynamoDb::new(
        &DynamoSettings::embedded(store.client()),
        Arc::new(StoreMeter::default()),
        Arc::new(SystemClock),
    );
    create_tables(&db).await.expect("tables");
    let key = KeyText::of_random(rand::random(), rand::random());
    let now = SystemClock.now();
    keys::create(&db, &key, "the benchmark", vec![Scope::Ingest], "it", now)
        .await
        .expect("a key");
    let partitions = Partitions::of(&*log).await.expect("partitions");
    let metrics = Arc::new(Metrics::new());
    let service = ApiState::new(Parts {
        closing: None,
        log: log.clone(),
        partitions,
        db: Arc::new(db),
        clock: Arc::new(SystemClock),
        health: Arc::new(Health::new(metrics.clone())),
        metrics,
        config: HttpConfig {
            requests_per_second_per_key: None,
            requests_per_second_per_address: None,
            ..Config::default().http
        },
        archive: None,
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (trigger, shutdown) = shutdown::channel();
    let connections = service.connections();
    let router = http::router(service, Hosts::Any);
    let drain = Duration::from_secs(5);
    let served = tokio::spawn(http::serve(
        listener,
        router,
        None,
        connections,
        shutdown,
        drain,
    ));
    let batches = Arc::new(batches(partitions.source));
    println!(
        "{} events of about 413 bytes, {BATCH} a batch",
        BATCH * BATCHES
    );
    for width in WIDTHS {
        let direct = measure(width, &batches, |_| Appender(log.clone())).await;
        let bearer = key.to_string();
        let over_http = measure(width, &batches, |_| Poster {
            address,
            bearer: bearer.clone(),
            stream: None,
        })
        .await;
        println!("{width:>3} at a time: appended directly {direct}");
        println!("{:>14}over HTTP        {over_http}", "");
        println!(
            "{:>14}ratio            {:.2}",
            "",
            over_http.rate / direct.rate
        );
    }
    trigger.shut_down();
    served.await.expect("it ends").expect("it served");
    store.shutdown(Duration::from_secs(5)).await;
}

/// What sends batches.
trait Sender: Send + 'static {
    fn send(&mut self, batch: &Batch) -> impl Future<Output = ()> + Send;
}

struct Appender(Arc<dyn Log>);

impl Sender for Appender {
    async fn send(&mut self, batch: &Batch) {
        let appends = batch.records.iter().map(|(partition, records)| {
            self.0
                .append(Topic::UsageEvents, *partition, records.clone())
        });
        try_join_all(appends).await.expect("appended");
    }
}

/// One connection that stays open.
struct Poster {
    address: SocketAddr,
    bearer: String,
    stream: Option<TcpStream>,
}

impl Sender for Poster {
    async fn send(&mut self, batch: &Batch) {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address)
                .await
                .expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            self.stream = Some(stream);
        }
        let stream = self.stream.as_mut().expect("connected above");
        let head = format!(
            "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
            self.bearer,
            batch.body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream.write_all(&batch.body).await.expect("sent");
        let mut answer = Vec::with_capacity(1024);
        while !answer.ends_with(b"\r\n\r\n") {
            let read = stream.read_buf(&mut answer).await.expect("an answer");
            assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 204"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
}

struct Measured {
    rate: f64,
    p50: Duration,
    p99: Duration,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |took: Duration| took.as_secs_f64() * 1_000.0;
        let (rate, p50, p99) = (self.rate, ms(self.p50), ms(self.p99));
        write!(
            f,
            "{rate:>9.0} events/s, a batch p50 {p50:>6.1} ms, p99 {p99:>6.1} ms"
        )
    }
}

async fn measure<S: Sender>(
    width: usize,
    batches: &Arc<Vec<Batch>>,
    sender: impl Fn(usize) -> S,
) -> Measured {
    let begun = Instant::now();
    let tasks = (0..width).map(|number| {
        let (mut sender, batches) = (sender(number), batches.clone());
        tokio::spawn(async move {
            let mut took = Vec::new();
            for batch in batches.iter().skip(number).step_by(width) {
                let begun = Instant::now();
                sender.send(batch).await;
                took.push(begun.elapsed());
            }
            took
        })
    });
    let took = try_join_all(tasks).await.expect("they end");
    let rate = (BATCH * BATCHES) as f64 / begun.elapsed().as_secs_f64();
    let mut took: Vec<Duration> = took.into_iter().flatten().collect();
    took.sort_unstable();
    Measured {
        rate,
        p50: took[took.len() / 2],
        p99: took[took.len() * 99 / 100],
    }
}
