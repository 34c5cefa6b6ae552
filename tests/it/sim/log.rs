//! The simulated log: durable, partitioned, with appends that are lost, repeated, late or only half done.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use tidemark::domain::position::{Epoch, Offset, Partition};
use tidemark::domain::time::Millis;
use tidemark::log::{Bounds, Log, LogError, NewRecord, ReadLimit, Record, Topic, TopicInfo};

use super::faults::{Fate, fate_of_write, hop};
use super::world::{Inner, Slot, World};

/// Called after every append with the records that were added; an `Err` fails the run.
pub type Hook =
    Box<dyn FnMut(&mut Inner, Epoch, Topic, Partition, &[Record]) -> Result<(), String> + Send>;

/// The logs of one epoch.
#[derive(Default)]
pub struct LogState {
    /// Partitions of each topic.
    pub partitions: BTreeMap<Topic, u32>,
    /// All records.
    pub records: BTreeMap<(Topic, u32), Vec<Record>>,
    /// The first offset that each partition still holds, if it has dropped any.
    pub starts: BTreeMap<(Topic, u32), u64>,
    /// What was appended and acknowledged, by the harness or the pipeline: a count of records.
    pub appended: u64,
    /// Topics that are still those of an earlier epoch, and of which: their records are held there.
    pub homes: BTreeMap<Topic, u32>,
    /// The checks of the run.
    pub hook: Option<Hook>,
    waiting: BTreeMap<(Topic, u32), Vec<Pending>>,
}

/// A read that waits for a first record.
struct Pending {
    from: Offset,
    limit: ReadLimit,
    slot: Slot<Result<Vec<Record>, LogError>>,
}

impl LogState {
    /// Empty topics with so many partitions.
    pub fn new(usage: u32, rejected: u32, postings: u32) -> LogState {
        let partitions = BTreeMap::from([
            (Topic::UsageEvents, usage),
            (Topic::UsageRejected, rejected),
            (Topic::LedgerPostings, postings),
            (Topic::LedgerCuts, usage),
        ]);
        LogState {
            partitions,
            ..LogState::default()
        }
    }

    /// The first offset that a partition still holds.
    pub fn start(&self, topic: Topic, partition: Partition) -> u64 {
        self.starts.get(&(topic, partition.0)).copied().unwrap_or(0)
    }

    /// The records of one partition, also those that it does not hold any more.
    pub fn of(&self, topic: Topic, partition: Partition) -> &[Record] {
        self.records
            .get(&(topic, partition.0))
            .map_or(&[], Vec::as_slice)
    }
}

/// The epoch that created the topic which this epoch uses.
pub fn home(inner: &Inner, epoch: Epoch, topic: Topic) -> Epoch {
    let log = inner.logs.get(&epoch.0);
    let kept = log.and_then(|log| log.homes.get(&topic).copied());
    kept.map_or(epoch, Epoch)
}

/// The id of a topic that this epoch created.
pub fn topic_id(topic: Topic, home: Epoch) -> String {
    format!("{topic}-of-epoch-{home}")
}

/// The records of a partition as an epoch sees it.
pub fn records(inner: &Inner, epoch: u32, topic: Topic, partition: u32) -> &[Record] {
    let home = home(inner, Epoch(epoch), topic);
    inner.logs[&home.0].of(topic, Partition(partition))
}

/// Appends now. The broker's clock may step back.
pub fn land(
    inner: &mut Inner,
    epoch: Epoch,
    topic: Topic,
    partition: Partition,
    records: Vec<NewRecord>,
) -> Vec<Offset> {
    let back = inner.faults.step_back_ms_max;
    let back = if inner.chance(100) {
        inner.between(0, back)
    } else {
        0
    };
    land_at(inner, epoch, topic, partition, records, inner.now - back)
}

/// Appends now, by a broker whose clock shows this time.
pub fn land_at(
    inner: &mut Inner,
    epoch: Epoch,
    topic: Topic,
    partition: Partition,
    records: Vec<NewRecord>,
    append_time: i64,
) -> Vec<Offset> {
    let epoch = home(inner, epoch, topic);
    let log = inner.logs.entry(epoch.0).or_default();
    let held = log.records.entry((topic, partition.0)).or_default();
    let first = held.len();
    for record in records {
        held.push(Record {
            offset: Offset(held.len() as u64),
            append_time: Millis(append_time),
            key: record.key,
            value: record.value,
            headers: record.headers,
        });
    }
    let added: Vec<Record> = held[first..].to_vec();
    log.appended += added.len() as u64;
    let waiting = log
        .waiting
        .remove(&(topic, partition.0))
        .unwrap_or_default();
    let offsets: Vec<Offset> = added.iter().map(|r| r.offset).collect();
    inner.note(|| format!("log {epoch}/{topic}/{partition} takes {offsets:?}"));
    let hook = inner.logs.get_mut(&epoch.0).and_then(|l| l.hook.take());
    if let Some(mut hook) = hook {
        if let Err(what) = hook(inner, epoch, topic, partition, &added) {
            inner.fail(what);
        }
        if let Some(log) = inner.logs.get_mut(&epoch.0) {
            log.hook = Some(hook);
        }
    }
    for read in waiting {
        let ms = hop(inner);
        inner.after(ms, move |inner| {
            let records = select(inner, epoch, topic, partition, read.from, read.limit);
            read.slot.put(Ok(records));
        });
    }
    offsets
}

fn select(
    inner: &mut Inner,
    epoch: Epoch,
    topic: Topic,
    partition: Partition,
    from: Offset,
    limit: ReadLimit,
) -> Vec<Record> {
    let most = if inner.chance(200) {
        inner.between(1, limit.records.max(1) as i64) as usize
    } else {
        limit.records
    };
    let Some(log) = inner.logs.get(&home(inner, epoch, topic).0) else {
        return Vec::new();
    };
    let mut bytes = 0;
    let mut chosen = Vec::new();
    for record in &log.of(topic, partition)[from.0 as usize..] {
        bytes += record.size();
        if !chosen.is_empty() && (chosen.len() >= most || bytes > limit.bytes) {
            break;
        }
        chosen.push(record.clone());
    }
    chosen
}

/// One worker's way to the log of one epoch.
#[derive(Clone)]
pub struct SimLog {
    /// The world.
    pub world: World,
    /// Which log.
    pub epoch: Epoch,
}

fn unavailable() -> LogError {
    LogError::Unavailable("simulated".to_owned())
}

impl SimLog {
    fn partitions(inner: &Inner, epoch: Epoch, topic: Topic) -> u32 {
        inner
            .logs
            .get(&epoch.0)
            .and_then(|log| log.partitions.get(&topic).copied())
            .unwrap_or(0)
    }

    fn delay(inner: &mut Inner, topic: Topic, partition: Partition) -> i64 {
        let extra = match inner.faults.slow_partition {
            Some((name, of, most)) if name == topic.name() && of == partition.0 => {
                inner.between(0, most)
            }
            _ => 0,
        };
        extra + hop(inner)
    }
}

#[async_trait]
impl Log for SimLog {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    async fn topic(&self, topic: Topic) -> Result<TopicInfo, LogError> {
        let epoch = self.epoch;
        let answer = self.world.operation(|inner, slot| {
            let rate = inner.faults.read_failed;
            let result = if inner.chance(rate) {
                Err(unavailable())
            } else {
                Ok(TopicInfo {
                    id: topic_id(topic, home(inner, epoch, topic)),
                    partitions: SimLog::partitions(inner, epoch, topic),
                })
            };
            let ms = hop(inner);
            inner.after(ms, move |_| slot.put(result));
        });
        answer.await
    }

    async fn append(
        &self,
        topic: Topic,
        partition: Partition,
        records: Vec<NewRecord>,
    ) -> Result<Vec<Offset>, LogError> {
        let epoch = self.epoch;
        let answer = self
            .world
            .operation(|inner, slot: Slot<Result<_, LogError>>| {
                let owner = inner.owner;
                let there = SimLog::delay(inner, topic, partition);
                let (back, fate) = (hop(inner), fate_of_write(inner));
                let prefix = |inner: &mut Inner, mut records: Vec<NewRecord>| {
                    if inner.chance(500) {
                        let most = inner.between(0, records.len() as i64) as usize;
                        records.truncate(most);
                    }
                    records
                };
                match fate {
                    Fate::Throttled | Fate::LostBefore => {
                        inner.after(there + back, move |_| slot.put(Err(unavailable())));
                    }
                    Fate::LostAfter => inner.after_if_sent(owner, there, move |inner| {
                        let records = prefix(inner, records);
                        inner.note(|| {
                            format!("the answer to an append of {} is lost", records.len())
                        });
                        land(inner, epoch, topic, partition, records);
                        inner.after(back, move |_| slot.put(Err(unavailable())));
                    }),
                    Fate::Late(ms) => {
                        inner.after_if_sent(owner, there + back + ms, move |inner| {
                            let records = prefix(inner, records);
                            inner.note(|| format!("{} records land late", records.len()));
                            land(inner, epoch, topic, partition, records);
                        });
                        inner.after(there + back, move |_| slot.put(Err(unavailable())));
                    }
                    Fate::Answered => inner.after_if_sent(owner, there, move |inner| {
                        let offsets = land(inner, epoch, topic, partition, records);
                        inner.after(back, move |_| slot.put(Ok(offsets)));
                    }),
                }
            });
        answer.await
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
        wait: Duration,
    ) -> Result<Vec<Record>, LogError> {
        let epoch = self.epoch;
        let answer = self
            .world
            .operation(|inner, slot: Slot<Result<_, LogError>>| {
                let rate = inner.faults.read_failed;
                let ms = SimLog::delay(inner, topic, partition);
                if inner.chance(rate) {
                    return inner.after(ms, move |_| slot.put(Err(unavailable())));
                }
                inner.after(ms, move |inner| {
                    let home = home(inner, epoch, topic);
                    let Some(log) = inner.logs.get_mut(&home.0) else {
                        return slot.put(Err(unavailable()));
                    };
                    let end = Offset(log.of(topic, partition).len() as u64);
                    let start = Offset(log.start(topic, partition));
                    if from > end || from < start {
                        return slot.put(Err(LogError::OutOfRange {
                            topic,
                            partition,
                            wanted: from,
                            start,
                            end,
                        }));
                    }
                    if from < end {
                        let records = select(inner, epoch, topic, partition, from, limit);
                        let back = hop(inner);
                        return inner.after(back, move |_| slot.put(Ok(records)));
                    }
                    let pending = Pending {
                        from,
                        limit,
                        slot: slot.clone(),
                    };
                    log.waiting
                        .entry((topic, partition.0))
                        .or_default()
                        .push(pending);
                    inner.after(wait.as_millis() as i64, move |_| slot.put(Ok(Vec::new())));
                });
            });
        answer.await
    }

    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, LogError> {
        let epoch = self.epoch;
        let answer = self
            .world
            .operation(|inner, slot: Slot<Result<_, LogError>>| {
                let rate = inner.faults.read_failed;
                let ms = hop(inner);
                if inner.chance(rate) {
                    return inner.after(ms, move |_| slot.put(Err(unavailable())));
                }
                inner.after(ms, move |inner| {
                    let log = inner.logs.get(&home(inner, epoch, topic).0);
                    let end = log.map_or(0, |log| log.of(topic, partition).len());
                    let start = log.map_or(0, |log| log.start(topic, partition));
                    slot.put(Ok(Bounds {
                        start: Offset(start),
                        end: Offset(end as u64),
                    }));
                });
            });
        answer.await
    }
}
