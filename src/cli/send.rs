//! Sends events to `up`, or into Kafka, until they are acknowledged: several batches in flight, the
//! events of one user in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::try_join_all;
use rand::Rng;
use tokio::runtime::Handle;

use super::client::{Answer, BadEvent, Client, NoAnswer};
use crate::domain::position::Partition;
use crate::http::EVENTS_PER_REQUEST_MAX;
use crate::log::usage::decode_record_or_faults;
use crate::log::{Headers, Log, LogError, NewRecord, Topic, usage_partition};
use crate::ops::shutdown::Shutdown;

/// Where events go.
const PATH: &str = "/api/v1/events";
const CONTENT_TYPE: &str = "application/x-ndjson";
/// Batches in flight.
const SENDERS: usize = 8;
/// Events in a batch.
const BATCH_EVENTS_MAX: usize = 500;
/// Bytes in a batch (one event may be larger).
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a batch waits to fill.
const LINGER: Duration = Duration::from_millis(20);
/// Events that wait to be sent, per sender.
const QUEUE_EVENTS_MAX: usize = 2 * BATCH_EVENTS_MAX;
/// How long the log's answer is still waited for once this process has been asked to stop.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// What an attempt may take at the least: `--patience 0s` is one attempt.
const ATTEMPT_MIN: Duration = Duration::from_secs(1);
/// Pauses between attempts grow from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

const _: () = assert!(BATCH_EVENTS_MAX <= EVENTS_PER_REQUEST_MAX);

/// Where events are sent.
#[derive(Clone)]
pub enum Destination {
    /// To a running `up`, over HTTP.
    Up(Client),
    /// Straight into the log.
    Log {
        /// The log.
        log: Arc<dyn Log>,
        /// How many partitions `usage.events` has.
        partitions: u32,
        /// Where its futures run.
        runtime: Handle,
    },
}

/// One event to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its place in the input, from 1.
    pub number: u64,
    /// The event, without a line break in it.
    pub text: Vec<u8>,
}

/// An event that was refused, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the input, from 1.
    pub number: u64,
    /// The code.
    pub code: String,
    /// The field.
    pub field: Option<String>,
    /// A sentence.
    pub detail: String,
}

/// How far sending has come.
#[derive(Debug, Default)]
pub struct Tally {
    /// Events that `up` has acknowledged.
    pub acknowledged: AtomicU64,
    /// Events that it refused.
    pub refused: AtomicU64,
    /// Requests that had to be sent again.
    pub retries: AtomicU64,
    /// Set when sending is of no use any more: every sender stops.
    given_up: AtomicBool,
    why: Mutex<Option<String>>,
}

impl Tally {
    /// Whether sending has been given up.
    pub fn has_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    fn give_up(&self, why: String) {
        self.why().get_or_insert(why);
        self.given_up.store(true, Ordering::Release);
    }

    fn why(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The senders.
pub struct Senders {
    queues: Vec<SyncSender<Line>>,
    threads: Vec<JoinHandle<()>>,
    tally: Arc<Tally>,
}

impl Senders {
    /// Starts them. Each tries for `patience`, or until shutdown, to get a batch acknowledged
    /// before all give up. `on_refused` is told of every refused event.
    pub fn start(
        destination: &Destination,
        patience: Duration,
        shutdown: &Shutdown,
        on_refused: impl Fn(Refused) + Send + Sync + 'static,
    ) -> Senders {
        let tally = Arc::new(Tally::default());
        let on_refused: Arc<dyn Fn(Refused) + Send + Sync> = Arc::new(on_refused);
        let mut queues = Vec::new();
        let mut threads = Vec::new();
        for _ in 0..SENDERS {
            let (queue, lines) = sync_channel(QUEUE_EVENTS_MAX);
            let sender = Sender {
                destination: destination.clone(),
                patience,
                shutdown: shutdown.clone(),
                tally: tally.clone(),
                on_refused: on_refused.clone(),
            };
            queues.push(queue);
            threads.push(std::thread::spawn(move || sender.run(&lines)));
        }
        Senders {
            queues,
            threads,
            tally,
        }
    }

    /// How far sending has come.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Queues an event of `user`; blocks while its sender is behind. `false`: sending has been
    /// given up.
    pub fn send(&self, user: &str, line: Line) -> bool {
        let hash = xxhash_rust::xxh3::xxh3_64(user.as_bytes());
        let queue = usize::try_from(hash % SENDERS as u64).unwrap_or(0);
        !self.tally.has_given_up() && self.queues[queue].send(line).is_ok()
    }

    /// Waits until everything is acknowledged or refused. The error says why that cannot be.
    pub fn finish(self) -> Result<(), String> {
        drop(self.queues);
        for thread in self.threads {
            if thread.join().is_err() {
                self.tally
                    .give_up("a sender failed; this is a bug".to_owned());
            }
        }
        match self.tally.why().take() {
            Some(why) => Err(why),
            None => Ok(()),
        }
    }
}

/// What became of an attempt.
enum Attempt {
    Acknowledged,
    Refused(Vec<BadEvent>),
    Later(String),
    Never(String),
}

struct Sender {
    destination: Destination,
    patience: Duration,
    shutdown: Shutdown,
    tally: Arc<Tally>,
    on_refused: Arc<dyn Fn(Refused) + Send + Sync>,
}

impl Sender {
    fn run(&self, lines: &Receiver<Line>) {
        while let Ok(first) = lines.recv() {
            let batch = fill(first, lines);
            if let Err(why) = self.deliver(batch) {
                self.tally.give_up(why);
            }
            if self.tally.has_given_up() {
                return;
            }
        }
    }

    /// Sends a batch until nothing is left of it.
    fn deliver(&self, mut batch: Vec<Line>) -> Result<(), String> {
        let mut pause = PAUSES.0;
        let start = Instant::now();
        while !batch.is_empty() {
            match self.attempt(&batch, start) {
                Attempt::Acknowledged => {
                    let count = batch.len() as u64;
                    self.tally.acknowledged.fetch_add(count, Ordering::Relaxed);
                    return Ok(());
                }
                Attempt::Refused(bad) => self.take_out(&mut batch, bad)?,
                Attempt::Later(_) if self.is_patient(start) => {
                    self.tally.retries.fetch_add(1, Ordering::Relaxed);
                    let jitter = rand::rng().random_range(0.5..1.5);
                    // An attempt begins within the patience, and ends with it.
                    std::thread::sleep(pause.mul_f64(jitter).min(self.left(start)));
                    pause = (pause * 2).min(PAUSES.1);
                }
                Attempt::Later(why) | Attempt::Never(why) => return Err(why),
            }
            if self.tally.has_given_up() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether to try again what has been tried since `start`. Who asked this process to stop does
    /// not want to wait for `up`.
    fn is_patient(&self, start: Instant) -> bool {
        start.elapsed() < self.patience && !self.shutdown.is_requested()
    }

    /// What is left of the patience: an attempt may not take longer, or who accepts connections and
    /// never answers would be waited for without an end.
    fn left(&self, start: Instant) -> Duration {
        let left = self.patience.saturating_sub(start.elapsed());
        left.max(ATTEMPT_MIN)
    }

    fn attempt(&self, batch: &[Line], start: Instant) -> Attempt {
        match &self.destination {
            Destination::Up(client) => post(client, batch, self.left(start)),
            Destination::Log {
                log,
                partitions,
                runtime,
            } => {
                let append = append(&**log, *partitions, batch);
                runtime.block_on(self.bounded(self.left(start), append))
            }
        }
    }

    /// A log waits for its brokers without an end of its own. What it has been given it may append
    /// later all the same.
    async fn bounded(&self, left: Duration, append: impl Future<Output = Attempt>) -> Attempt {
        let until_stopped = self.shutdown.bounded(STOP_WITHIN, append);
        let answered = tokio::time::timeout(left, until_stopped).await;
        answered.ok().flatten().unwrap_or_else(|| {
            Attempt::Later("the brokers have not acknowledged the events yet".to_owned())
        })
    }

    /// Removes refused events from the batch and reports them.
    fn take_out(&self, batch: &mut Vec<Line>, bad: Vec<BadEvent>) -> Result<(), String> {
        let mut is_bad = vec![false; batch.len()];
        for event in bad {
            let Some(line) = batch.get(event.index) else {
                return Err(format!(
                    "`up` refused event {} of a batch that has {}",
                    event.index,
                    batch.len()
                ));
            };
            // One event may have several faults: each is told, and the event counted once.
            if !std::mem::replace(&mut is_bad[event.index], true) {
                self.tally.refused.fetch_add(1, Ordering::Relaxed);
            }
            (self.on_refused)(Refused {
                number: line.number,
                code: event.code,
                field: event.field,
                detail: event.detail,
            });
        }
        let mut is_bad = is_bad.into_iter();
        batch.retain(|_| !is_bad.next().unwrap_or(false));
        Ok(())
    }
}

fn post(client: &Client, batch: &[Line], within: Duration) -> Attempt {
    let mut body = Vec::with_capacity(batch.iter().map(|line| line.text.len() + 1).sum());
    for line in batch {
        body.extend_from_slice(&line.text);
        body.push(b'\n');
    }
    match client.post_within(PATH, CONTENT_TYPE, &body, within) {
        Ok(answer) => judge(&answer),
        Err(
            error @ (NoAnswer::NotRunning(_) | NoAnswer::Failed { .. } | NoAnswer::Stranger { .. }),
        ) => Attempt::Later(error.to_string()),
    }
}

/// Lines have none.
const NO_HEADERS: &Headers = &Headers::new();

/// What the edge would have done: refuses what can never be read, and takes a batch whole or not at
/// all.
async fn append(log: &dyn Log, partitions: u32, batch: &[Line]) -> Attempt {
    let mut by_partition: BTreeMap<Partition, Vec<NewRecord>> = BTreeMap::new();
    let mut bad = Vec::new();
    for (index, line) in batch.iter().enumerate() {
        let decoded = decode_record_or_faults(&line.text, NO_HEADERS);
        match decoded.map_err(|mut faults| faults.swap_remove(0)) {
            Ok(record) => {
                let user = record.into_user();
                let partition = usage_partition(&user, partitions);
                by_partition.entry(partition).or_default().push(NewRecord {
                    key: Some(Bytes::copy_from_slice(user.as_bytes())),
                    value: Bytes::copy_from_slice(&line.text),
                    headers: Headers::new(),
                });
            }
            Err(rejection) => bad.push(BadEvent {
                index,
                code: rejection.reason.as_str().to_owned(),
                field: rejection.field.map(str::to_owned),
                detail: rejection.detail,
            }),
        }
    }
    if !bad.is_empty() {
        return Attempt::Refused(bad);
    }
    let appends = by_partition
        .into_iter()
        .map(|(partition, records)| log.append(Topic::UsageEvents, partition, records));
    match try_join_all(appends).await {
        Ok(_) => Attempt::Acknowledged,
        Err(
            error
            @ (LogError::Unavailable(_) | LogError::Refused { .. } | LogError::NoTopic { .. }),
        ) => Attempt::Later(error.to_string()),
        Err(error) => Attempt::Never(error.to_string()),
    }
}

fn fill(first: Line, lines: &Receiver<Line>) -> Vec<Line> {
    let deadline = Instant::now() + LINGER;
    let mut bytes = first.text.len();
    let mut batch = vec![first];
    while batch.len() < BATCH_EVENTS_MAX && bytes < BATCH_BYTES_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => {
                bytes += line.text.len();
                batch.push(line);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    batch
}

fn judge(answer: &Answer) -> Attempt {
    let problem = answer.problem();
    match answer.status {
        200..=299 => Attempt::Acknowledged,
        400 | 413 if !problem.events.is_empty() => Attempt::Refused(problem.events),
        408 | 429 | 500..=599 => Attempt::Later(format!(
            "`up` could not accept the events (status {}: {})",
            answer.status, problem.detail
        )),
        status => Attempt::Never(format!(
            "`up` refused a request (status {status}: {})",
            problem.detail
        )),
    }
}
