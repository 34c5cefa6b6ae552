//! Reading given partitions from given offsets.
//!
//! A *stream* reads on from where it is; whoever asks for another position gets the stream assigned
//! anew, with that position in the assignment. There are a few *lanes* (clients), so that a look at
//! another place of a partition need not disturb who reads along it: rating or posting, the auditor
//! behind it, and one more.

use std::collections::{HashMap, VecDeque};
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::OwnedMutexGuard;

use super::context::Says;
use super::queue::{PartitionQueue, QueueError, Times, c_name};
use super::settings::KafkaSettings;
use super::{KafkaFault, refused_settings};
use crate::domain::position::{Offset, Partition};
use crate::log::{ReadLimit, Record};

/// How many clients there are.
const LANES: usize = 3;
/// Most records that are taken out of a queue at a time.
const TAKE_MAX: usize = 20_000;
/// How long a wait lasts before it is looked again, whatever was told.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// A stream that nobody read for so long is given up, with what it has read ahead.
const IDLE: Duration = Duration::from_secs(30);
/// How often errors and log lines are fetched from the clients.
const SERVE: Duration = Duration::from_millis(100);

/// Why nothing could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReadFault {
    /// The position is not there, says the broker.
    OutOfRange,
    /// The broker knows no such topic or partition (any more).
    Unknown(String),
    /// A record carries its producer's time.
    ProducersTime(Offset),
    /// Anything else; it passes.
    Unavailable(String),
}

/// Which partition.
type Place = (String, u32);

/// The place of a stream, locked by who reads.
type Slot = Arc<tokio::sync::Mutex<Option<Stream>>>;

/// The readers.
pub(super) struct Readers {
    lanes: Vec<Arc<Lane>>,
    stop: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

struct Lane {
    times: Times,
    consumer: Arc<BaseConsumer<Says>>,
    slots: Mutex<HashMap<Place, Slot>>,
}

/// One partition, being read.
struct Stream {
    queue: PartitionQueue,
    name: CString,
    partition: i32,
    /// The offset of the next record to be handed out.
    next: Offset,
    /// Taken out of the queue and not handed out yet.
    pending: VecDeque<Record>,
    /// A jump over offsets that the assignment before this one showed as well.
    jump: Option<Offset>,
    used: Instant,
}

impl Readers {
    /// Connects. Clients find their brokers by themselves, later.
    pub(super) fn start(settings: &KafkaSettings, times: Times) -> Result<Readers, KafkaFault> {
        let lanes = (0..LANES)
            .map(|_| {
                let consumer: BaseConsumer<Says> = settings
                    .reader()
                    .create_with_context(Says { client: "reader" })
                    .map_err(|error| refused_settings(&error))?;
                Ok(Arc::new(Lane {
                    times,
                    consumer: Arc::new(consumer),
                    slots: Mutex::default(),
                }))
            })
            .collect::<Result<Vec<_>, KafkaFault>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let server = {
            let (lanes, stop) = (lanes.clone(), stop.clone());
            std::thread::Builder::new()
                .name("kafka-reader".to_owned())
                .spawn(move || serve(&lanes, &stop))
                .map_err(|error| KafkaFault::Settings(format!("cannot start a thread: {error}")))?
        };
        Ok(Readers {
            lanes,
            stop,
            server: Some(server),
        })
    }

    /// Reads from `from` on, as [`Log::read`](crate::log::Log::read) says.
    pub(super) async fn read(
        &self,
        topic: &str,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
        wait: Duration,
    ) -> Result<Vec<Record>, ReadFault> {
        let place = (topic.to_owned(), partition.0);
        let (lane, mut slot) = self.choose(&place, from).await;
        let read = lane.read(&place, &mut slot, from, limit, wait).await;
        if read.is_err() {
            lane.give_up(&mut slot);
        }
        read
    }

    /// The end of a partition as its readers last heard of it.
    pub(super) fn end_seen(&self, topic: &str, partition: Partition) -> Option<Offset> {
        let place = (topic.to_owned(), partition.0);
        let seen = |lane: &Arc<Lane>| {
            let slot = lane.slot(&place);
            let stream = slot.try_lock().ok()?;
            let stream = stream.as_ref()?;
            stream.queue.end_seen(&stream.name, stream.partition)
        };
        self.lanes.iter().filter_map(seen).max()
    }

    /// Gives up every stream of a topic: it is not what it was.
    pub(super) async fn forget(&self, topic: &str) {
        for lane in &self.lanes {
            let slots: Vec<Slot> = lane
                .lock()
                .iter()
                .filter(|((name, _), _)| name == topic)
                .map(|(_, slot)| slot.clone())
                .collect();
            for slot in slots {
                let mut slot = slot.lock_owned().await;
                lane.give_up(&mut slot);
            }
        }
    }

    /// The lane whose stream stands at `from`; else one that nobody uses; else the one that was
    /// used longest ago.
    async fn choose(
        &self,
        place: &Place,
        from: Offset,
    ) -> (&Lane, OwnedMutexGuard<Option<Stream>>) {
        let free: Vec<_> = self
            .lanes
            .iter()
            .filter_map(|lane| Some((&**lane, lane.slot(place).try_lock_owned().ok()?)))
            .collect();
        let rank = |slot: &Option<Stream>| match slot {
            Some(stream) if stream.next == from => (0, None),
            None => (1, None),
            Some(stream) => (2, Some(stream.used)),
        };
        if let Some(best) = free.into_iter().min_by_key(|(_, slot)| rank(slot)) {
            return best;
        }
        let last = self.lanes.last().expect("there are LANES lanes");
        (last, last.slot(place).lock_owned().await)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(server) = self.server.take() {
            drop(server.join());
        }
    }
}

impl Lane {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Place, Slot>> {
        // A panic elsewhere does not make the map wrong.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, place: &Place) -> Slot {
        let mut slots = self.lock();
        slots.entry(place.clone()).or_default().clone()
    }

    async fn read(
        &self,
        place: &Place,
        slot: &mut Option<Stream>,
        from: Offset,
        limit: ReadLimit,
        wait: Duration,
    ) -> Result<Vec<Record>, ReadFault> {
        if slot.as_ref().is_none_or(|stream| stream.next != from) {
            self.assign(place, slot, from, None)?;
        }
        let until = Instant::now() + wait;
        loop {
            let Some(stream) = slot.as_mut() else {
                return Err(ReadFault::Unavailable(
                    "the partition consumer was dropped".to_owned(),
                ));
            };
            stream.used = Instant::now();
            match stream.fill(limit)? {
                Filled::Records => return Ok(stream.hand_out(limit)),
                Filled::Jumped(to) => {
                    // Offsets may be missing by right (the marks of a gateway's transactions). But
                    // that a stale batch of an earlier assignment shows up here must be excluded:
                    // the broker is asked once more.
                    let next = stream.next;
                    self.assign(place, slot, next, Some(to))?;
                }
                Filled::Nothing => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(Vec::new());
                    }
                    let arrived = stream.queue.arrived().notified();
                    drop(tokio::time::timeout(left.min(LOOK_AGAIN), arrived).await);
                }
            }
        }
    }

    /// Begins to read a partition at an offset, which is part of the assignment.
    fn assign(
        &self,
        place: &Place,
        slot: &mut Option<Stream>,
        from: Offset,
        jump: Option<Offset>,
    ) -> Result<(), ReadFault> {
        self.give_up(slot);
        let (topic, partition) = place;
        let (name, number) = (c_name(topic), i32::try_from(*partition).unwrap_or(i32::MAX));
        let queue = PartitionQueue::open(&self.consumer, &name, number, self.times)
            .ok_or_else(|| ReadFault::Unavailable("librdkafka gave no queue".to_owned()))?;
        let mut list = TopicPartitionList::new();
        let offset = i64::try_from(from.0).unwrap_or(i64::MAX);
        list.add_partition_offset(topic, number, rdkafka::Offset::Offset(offset))
            .and_then(|()| self.consumer.incremental_assign(&list))
            .map_err(|error| ReadFault::Unavailable(error.to_string()))?;
        *slot = Some(Stream {
            queue,
            name,
            partition: number,
            next: from,
            pending: VecDeque::new(),
            jump,
            used: Instant::now(),
        });
        Ok(())
    }

    fn give_up(&self, slot: &mut Option<Stream>) {
        let Some(stream) = slot.take() else { return };
        let mut list = TopicPartitionList::new();
        list.add_partition(&stream.name.to_string_lossy(), stream.partition);
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            tracing::debug!(event = "kafka.unassign", %error);
        }
    }

    /// Gives up what nobody reads.
    fn sweep(&self) {
        let slots: Vec<Slot> = self.lock().values().cloned().collect();
        for slot in slots {
            let Ok(mut slot) = slot.try_lock_owned() else {
                continue;
            };
            if slot.as_ref().is_some_and(|s| s.used.elapsed() > IDLE) {
                self.give_up(&mut slot);
            }
        }
    }
}

/// What a stream got.
enum Filled {
    /// There is something to hand out.
    Records,
    /// There is nothing.
    Nothing,
    /// The next record is not the expected one.
    Jumped(Offset),
}

impl Stream {
    /// Takes records out of the queue if none are left.
    fn fill(&mut self, limit: ReadLimit) -> Result<Filled, ReadFault> {
        if !self.pending.is_empty() {
            return Ok(Filled::Records);
        }
        let batch = self.queue.take(limit.records.clamp(1, TAKE_MAX));
        // Before the position that was asked for: the broker sends whole batches, librdkafka drops
        // their beginnings.
        let records = batch.records.into_iter();
        self.pending
            .extend(records.skip_while(|record| record.offset < self.next));
        match (self.pending.front(), batch.error) {
            (Some(first), _) if first.offset != self.next && self.jump != Some(first.offset) => {
                Ok(Filled::Jumped(first.offset))
            }
            (Some(_), _) => Ok(Filled::Records),
            (None, Some(error)) => Err(error.into()),
            (None, None) => Ok(Filled::Nothing),
        }
    }

    fn hand_out(&mut self, limit: ReadLimit) -> Vec<Record> {
        let mut bytes = 0;
        let fits = |record: &Record| {
            bytes += record.size();
            bytes <= limit.bytes
        };
        let most = self.pending.iter().take(limit.records).take_while({
            let mut fits = fits;
            move |record| fits(record)
        });
        let count = most.count().max(1);
        let records: Vec<Record> = self.pending.drain(..count).collect();
        if let Some(last) = records.last() {
            self.next = last.offset.next();
            self.jump = None;
        }
        records
    }
}

impl From<QueueError> for ReadFault {
    fn from(error: QueueError) -> ReadFault {
        use RDKafkaErrorCode as Code;
        match error {
            QueueError::ProducersTime(offset) => ReadFault::ProducersTime(offset),
            QueueError::Kafka(Code::OffsetOutOfRange | Code::AutoOffsetReset) => {
                ReadFault::OutOfRange
            }
            QueueError::Kafka(
                code @ (Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::UnknownPartition
                | Code::UnknownTopicId),
            ) => ReadFault::Unknown(code.to_string()),
            QueueError::Kafka(code) => ReadFault::Unavailable(code.to_string()),
        }
    }
}

/// Fetches errors and log lines from the clients, and gives up idle streams, until told to stop.
fn serve(lanes: &[Arc<Lane>], stop: &AtomicBool) {
    let mut swept = Instant::now();
    while !stop.load(Ordering::Acquire) {
        for lane in lanes {
            match lane.consumer.poll(SERVE / LANES as u32) {
                // Records go to the partitions' own queues. One that a partition's cutting off was
                // too late for is read again.
                None | Some(Ok(_)) => {}
                Some(Err(KafkaError::MessageConsumption(code))) => {
                    tracing::debug!(event = "kafka.reader", %code);
                }
                Some(Err(error)) => tracing::warn!(event = "kafka.reader", %error),
            }
        }
        if swept.elapsed() > IDLE / 4 {
            lanes.iter().for_each(|lane| lane.sweep());
            swept = Instant::now();
        }
    }
}
