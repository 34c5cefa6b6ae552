//! ADAPT: one partition of a gateway's topic, turned into usage events.
//!
//! ```text
//! read records ─▶ adapt (pure) ─▶ append events to their users' partitions, rejects to usage.rejected ─▶ position
//! ```
//!
//! At least once: the position moves only after everything before it is acknowledged. What is read
//! again after a crash becomes the same events with the same ids, which the duplicate check of
//! rating drops. So two workers on one partition do no harm either; the position is written only
//! over the one that this worker last saw, and whoever finds another there begins again from it.
//!
//! The topic is another's. That its records expire before they were read, or that it is deleted and
//! created again, is no contradiction of ours, and standing still would lose more of it: the task
//! says so (an error in the log, a metric), and goes on with what is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::sync::watch;

use super::Covers;
use super::WorkerContext;
use super::failure::Failure;
use super::provider_names::NamedConfig;
use super::retry::persist;
use super::versioned::save;
use crate::domain::position::{Offset, Partition, WriteId};
use crate::gateways::access_log::{ForeignRecord, Outcome, adapt};
use crate::log::foreign::{ForeignLog, ForeignRead};
use crate::log::{Bounds, NewRecord, ReadLimit, Record, Topic, rejected, usage_partition};
use crate::ops::clock::Moment;
use crate::ops::config::AdapterConfig;
use crate::ops::health::{Feed, Role, TaskId};
use crate::store::checkpoints::{self, AdaptCheckpoint, Versioned};

/// How much is read at a time.
const LIMIT: ReadLimit = ReadLimit {
    records: 2_000,
    bytes: 4 << 20,
};
/// How long a read waits for the first record.
const WAIT: Duration = Duration::from_millis(500);
/// How often the position is written while records keep coming. What lies in between is read again
/// after a crash.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// What a worker needs to adapt.
#[derive(Clone)]
pub struct AdapterSetup {
    /// Where the topics of gateways are.
    pub log: Arc<dyn ForeignLog>,
    /// The adapters.
    pub adapters: Vec<AdapterConfig>,
}

impl AdapterSetup {
    fn of(&self, feed: Feed) -> Option<&AdapterConfig> {
        self.adapters
            .iter()
            .find(|adapter| adapter.topic == feed.topic())
    }
}

/// One partition of a gateway's topic, between two loads.
pub(super) struct Adapter<'c> {
    ctx: &'c WorkerContext,
    log: &'c dyn ForeignLog,
    config: &'c AdapterConfig,
    task: TaskId,
    topic_id: String,
    usage_partitions: u32,
    rejected_partitions: u32,
    next: Offset,
    /// The position that is in the store, and the id of its last write.
    saved: Option<Offset>,
    written: Option<WriteId>,
    saved_at: Moment,
    progressed: bool,
    named: NamedConfig,
}

impl<'c> Adapter<'c> {
    /// Loads the position; where none was ever written, the topic is read from its beginning.
    pub async fn load(
        ctx: &'c WorkerContext,
        feed: Feed,
        partition: Partition,
    ) -> Result<Adapter<'c>, Failure> {
        let adapting = ctx.adapting.as_ref();
        let found = adapting.and_then(|all| Some((&*all.log, all.of(feed)?)));
        let (log, config) = found.ok_or_else(|| {
            Failure::reload(format!(
                "no adapter of topic {} is configured",
                feed.topic()
            ))
        })?;
        let task = TaskId::new(Role::Adapt(feed), partition);
        let key = checkpoints::checkpoint_key(task);
        let stored: Option<Versioned<AdaptCheckpoint>> =
            persist(ctx, || checkpoints::get(&*ctx.db, &key)).await?;
        let mut adapter = Adapter {
            ctx,
            log,
            config,
            task,
            topic_id: log.topic(&config.topic).await?.id,
            usage_partitions: ctx.log.topic(Topic::UsageEvents).await?.partitions,
            rejected_partitions: ctx.log.topic(Topic::UsageRejected).await?.partitions,
            next: Offset(0),
            saved: None,
            written: stored.as_ref().map(|stored| stored.write),
            saved_at: ctx.clock.moment(),
            progressed: false,
            named: NamedConfig::new(config),
        };
        adapter.begin(stored.map(|stored| stored.value)).await?;
        Ok(adapter)
    }

    /// Whether anything was done since the load.
    pub fn has_progressed(&self) -> bool {
        self.progressed
    }

    /// Works until shutdown or a failure.
    pub async fn work(&mut self, shutdown: &watch::Receiver<bool>) -> Result<(), Failure> {
        while !*shutdown.borrow() {
            let records = self.read().await?;
            if let Some(first) = records.first() {
                let (offset, append_time) = (first.offset.0, first.append_time);
                self.ctx
                    .health
                    .first_waiting(self.task, offset, append_time);
            }
            self.pass_on(&records).await?;
            let waited = self.ctx.clock.moment().since(self.saved_at);
            if records.is_empty() || waited >= SAVE_INTERVAL {
                self.save().await?;
            }
            self.report();
        }
        self.save().await
    }

    /// Where to begin, given what the store says.
    async fn begin(&mut self, stored: Option<AdaptCheckpoint>) -> Result<(), Failure> {
        let Bounds { start, end } = self
            .log
            .bounds(&self.config.topic, self.task.partition)
            .await?;
        let task = self.task;
        self.next = match stored {
            Some(stored) if stored.topic_id == self.topic_id => {
                self.saved = Some(stored.next);
                stored.next.clamp(start, end.max(start))
            }
            Some(stored) => {
                let (known, found) = (&stored.topic_id, &self.topic_id);
                tracing::error!(event = "adapter.recreated", %task, known, found, "the gateway's topic was deleted and created again; what had not been read of it is lost; reading the new one from its beginning");
                start
            }
            None => start,
        };
        if let Some(saved) = self.saved.filter(|saved| *saved < start) {
            self.lost(
                start.0 - saved.0,
                "they expired or were deleted; raise the topic's retention",
            );
        }
        if let Some(saved) = self.saved.filter(|saved| *saved > end) {
            tracing::error!(event = "adapter.truncated", %task, position = saved.0, end = end.0, "the gateway's topic ends before what was read of it already; going on from its end");
        }
        Ok(())
    }

    fn lost(&self, records: u64, why: &str) {
        let task = self.task;
        tracing::error!(event = "adapter.lost", %task, records, why, "records of the gateway's topic are gone before they were read; their usage is lost");
        self.counter(&self.ctx.metrics.adapter_lost_records_total, records);
    }

    async fn read(&mut self) -> Result<Vec<Record>, Failure> {
        let (topic, partition) = (&self.config.topic, self.task.partition);
        let read = self.log.read(topic, partition, self.next, LIMIT, WAIT);
        match read.await? {
            ForeignRead::Records(records) => Ok(records),
            // What is done is not lost. Then loading looks at what there is.
            ForeignRead::OutOfRange => {
                self.save().await?;
                let what = format!("{topic}/{partition} does not hold offset {}", self.next);
                Err(Failure::reload(what))
            }
        }
    }

    /// Appends what the records become, and waits for every acknowledgement.
    async fn pass_on(&mut self, records: &[Record]) -> Result<(), Failure> {
        let Some(last) = records.last() else {
            return Ok(());
        };
        self.named.refresh(self.ctx).await?;
        let mut batch = Batch::default();
        for record in records {
            let foreign = ForeignRecord {
                topic: &self.config.topic,
                topic_id: &self.topic_id,
                partition: self.task.partition,
                offset: record.offset,
                time: record.append_time,
                value: &record.value,
            };
            for outcome in adapt(self.named.config(), &foreign) {
                self.take(outcome, &foreign, &mut batch);
            }
        }
        let appends = batch
            .events
            .into_iter()
            .map(|(partition, events)| self.append(Topic::UsageEvents, partition, events));
        try_join_all(appends).await?;
        let partition = Partition(self.task.partition.0 % self.rejected_partitions);
        self.append(Topic::UsageRejected, partition, batch.rejects)
            .await?;
        self.counter(
            &self.ctx.metrics.adapter_records_total,
            records.len() as u64,
        );
        self.next = last.offset.next();
        self.progressed = true;
        Ok(())
    }

    fn take(&self, outcome: Outcome, record: &ForeignRecord<'_>, batch: &mut Batch) {
        let metrics = &self.ctx.metrics;
        let topic = self.config.topic.as_str();
        match outcome {
            Outcome::Event(adapted) => {
                let partition = usage_partition(&adapted.user, self.usage_partitions);
                batch
                    .events
                    .entry(partition)
                    .or_default()
                    .push(adapted.record);
                self.counter(&metrics.adapter_events_total, 1);
                let remarks = adapted.remarks;
                for (counter, is_so) in [
                    (
                        &metrics.adapter_usage_unknown_total,
                        remarks.is_usage_unknown,
                    ),
                    (&metrics.adapter_odd_totals_total, remarks.is_total_odd),
                    (
                        &metrics.adapter_unattributed_failures_total,
                        remarks.is_failure_unattributed,
                    ),
                ] {
                    self.counter(counter, u64::from(is_so));
                }
            }
            Outcome::Skipped(skip) => {
                let labels = [topic, skip.as_str()];
                metrics
                    .adapter_skipped_total
                    .with_label_values(&labels)
                    .inc();
            }
            Outcome::Refused(refusal) => {
                let labels = [topic, refusal.reason.as_str()];
                metrics
                    .adapter_refused_total
                    .with_label_values(&labels)
                    .inc();
                let reject = record.reject(&refusal, self.config);
                batch.rejects.push(rejected::encode_foreign(&reject));
            }
        }
    }

    async fn append(
        &self,
        topic: Topic,
        partition: Partition,
        records: Vec<NewRecord>,
    ) -> Result<(), Failure> {
        if records.is_empty() {
            return Ok(());
        }
        self.ctx.log.append(topic, partition, records).await?;
        Ok(())
    }

    /// Writes the position, if it has moved, and if what was read was still the topic that it
    /// speaks of.
    async fn save(&mut self) -> Result<(), Failure> {
        self.saved_at = self.ctx.clock.moment();
        if self.saved == Some(self.next) {
            return Ok(());
        }
        let now = self.log.topic(&self.config.topic).await?;
        if now.id != self.topic_id {
            let what = format!("topic {} is another one by now", self.config.topic);
            return Err(Failure::reload(what));
        }
        let checkpoint = AdaptCheckpoint {
            topic_id: self.topic_id.clone(),
            next: self.next,
        };
        let (key, write) = (
            checkpoints::checkpoint_key(self.task),
            self.ctx.next_write(),
        );
        let put = checkpoints::put(&key, &checkpoint, self.written, write);
        save(self.ctx, &key, &[put], self.written, write).await?;
        self.written = Some(write);
        self.saved = Some(self.next);
        self.ctx
            .tell_checkpoint(self.task, self.next, Covers::Everything);
        Ok(())
    }

    fn report(&self) {
        let end = self.log.end_seen(&self.config.topic, self.task.partition);
        let lag = end.map_or(0, |end| end.0.saturating_sub(self.next.0));
        self.ctx.health.stands_at(self.task, self.next.0);
        self.ctx.health.progressed(self.task, lag);
    }

    fn counter(&self, counter: &prometheus::IntCounterVec, by: u64) {
        counter
            .with_label_values(&[self.config.topic.as_str()])
            .inc_by(by);
    }
}

/// What records have become.
#[derive(Default)]
struct Batch {
    events: BTreeMap<Partition, Vec<NewRecord>>,
    rejects: Vec<NewRecord>,
}
