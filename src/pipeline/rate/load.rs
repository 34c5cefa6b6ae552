//! Taking up a source partition: read the checkpoint, check that the log is still the one that it speaks of, rebuild the
//! duplicate window, and run the recorded chunk again.

use super::examine::{Place, rebuild};
use super::fold::{Room, Tiers};
use super::heartbeat::Heartbeat;
use super::window::Window;
use super::{After, Rater};
use crate::domain::event::AHEAD_MS_MAX;
use crate::domain::position::{Chunk, Control, Offset, Partition, Sequence};
use crate::domain::time::Millis;
use crate::log::{MUST_BE_THERE, ReadLimit, Record, Topic, TopicInfo};
use crate::ops::health::{Role, TaskId};
use crate::pipeline::failure::{Failure, HaltCode};
use crate::pipeline::follower::Follower;
use crate::pipeline::settings::Settings;
use crate::pipeline::supervise::persist;
use crate::pipeline::{SEMANTICS, WorkerContext, anchor};
use crate::store::checkpoints::{self, RateCheckpoint, UsageRows, Versioned, WindowCut};

/// How many records are read at a time while the window is rebuilt.
const REBUILD_RECORDS: usize = 20_000;
/// How many bytes.
const REBUILD_BYTES: usize = 16 << 20;

impl<'c> Rater<'c> {
    /// Takes up a source partition.
    pub async fn load(ctx: &'c WorkerContext, partition: Partition) -> Result<Rater<'c>, Failure> {
        let source = ctx.log.topic(Topic::UsageEvents).await?;
        let postings = ctx.log.topic(Topic::LedgerPostings).await?;
        let rejected = ctx.log.topic(Topic::UsageRejected).await?;
        let key = checkpoints::checkpoint_key(TaskId::new(Role::Rate, partition));
        let stored: Option<Versioned<RateCheckpoint>> =
            persist(ctx, || checkpoints::get(&*ctx.db, &key)).await?;
        let (checkpoint, written) = match stored {
            Some(stored) => (stored.value, Some(stored.write)),
            None => {
                let start = ctx.log.bounds(Topic::UsageEvents, partition).await?.start;
                (first_checkpoint(ctx, &source, &postings, start), None)
            }
        };
        let checkpoint = check(ctx, partition, checkpoint, &source, &postings).await?;
        anchor::tables_are_not_behind(ctx, partition, &checkpoint, written).await?;
        let after = After {
            log_time: checkpoint.log_time,
            latest_event: checkpoint.latest_event,
            sequences: checkpoint.sequences.clone(),
            fingerprint: checkpoint.fingerprint,
        };
        let heartbeat = Heartbeat::start(checkpoint.posting_partitions, ctx.clock.now());
        let mut rater = Rater {
            ctx,
            partition,
            checkpoint,
            written,
            after,
            rejected_partitions: rejected.partitions,
            follower: Follower::start(ctx).await?,
            window: Window::default(),
            tiers: Tiers::default(),
            room: Room::default(),
            heartbeat,
            progressed: false,
        };
        rater.rebuild_window().await?;
        rater.repeat_chunk().await?;
        Ok(rater)
    }

    async fn rebuild_window(&mut self) -> Result<(), Failure> {
        let window = self.checkpoint.window;
        let place = Place {
            partition: self.partition,
            partitions: self.checkpoint.partitions,
            window: &window,
            breakage: self.ctx.breakage,
        };
        let mut log_time = window.first_log_time;
        let mut next = window.first;
        while next < self.checkpoint.from {
            let records = self.read_to(next, self.checkpoint.from).await?;
            rebuild(&records, place, &mut self.window, &mut log_time);
            next = after_last(&records, next);
        }
        Ok(())
    }

    /// Runs the recorded chunk again, exactly as it was cut.
    async fn repeat_chunk(&mut self) -> Result<(), Failure> {
        if !self.checkpoint.is_cut() {
            return Ok(());
        }
        if self.checkpoint.semantics != SEMANTICS {
            let what = format!(
                "chunk {} was cut by rating semantics {}, this program has {SEMANTICS}",
                self.checkpoint.chunk, self.checkpoint.semantics
            );
            return Err(Failure::halt(HaltCode::SemanticsChanged, what));
        }
        let mut records = Vec::new();
        let mut next = self.checkpoint.from;
        while next < self.checkpoint.to {
            records.extend(self.read_to(next, self.checkpoint.to).await?);
            next = after_last(&records, next);
        }
        self.rate(&records).await
    }

    /// Reads records that must be there, from `from` up to `to` at most.
    async fn read_to(&self, from: Offset, to: Offset) -> Result<Vec<Record>, Failure> {
        let records = usize::try_from(to.0 - from.0)
            .unwrap_or(usize::MAX)
            .min(REBUILD_RECORDS);
        let limit = ReadLimit {
            records,
            bytes: REBUILD_BYTES,
        };
        let mut read = self
            .ctx
            .log
            .read(
                Topic::UsageEvents,
                self.partition,
                from,
                limit,
                MUST_BE_THERE,
            )
            .await?;
        read.retain(|record| record.offset < to);
        if read.is_empty() {
            return Err(Failure::reload(format!(
                "records from {from} to {to} could not be read yet"
            )));
        }
        Ok(read)
    }
}

fn after_last(records: &[Record], next: Offset) -> Offset {
    records.last().map_or(next, |record| record.offset.next())
}

/// What stands before the first chunk ever. What the log has dropped before anybody rated it was never ours to count.
fn first_checkpoint(
    ctx: &WorkerContext,
    source: &TopicInfo,
    postings: &TopicInfo,
    start: Offset,
) -> RateCheckpoint {
    RateCheckpoint {
        topic_id: source.id.clone(),
        epoch: ctx.log.epoch(),
        partitions: source.partitions,
        posting_partitions: postings.partitions,
        chunk: Chunk(0),
        from: start,
        to: start,
        control: Control(0),
        semantics: SEMANTICS,
        log_time: Millis(0),
        window: first_window(&ctx.settings, start),
        fingerprint: None,
        sequences: vec![Sequence(0); postings.partitions as usize],
        latest_event: None,
    }
}

fn first_window(settings: &Settings, start: Offset) -> WindowCut {
    WindowCut {
        age_ms: settings.window_age_ms,
        records_max: settings.window_records_max,
        usage_rows: if settings.usage_rows {
            UsageRows::Since(None)
        } else {
            UsageRows::Off
        },
        first: start,
        first_log_time: Millis(0),
        forgotten: None,
    }
}

/// Checks that the log is the one that the checkpoint speaks of.
async fn check(
    ctx: &WorkerContext,
    partition: Partition,
    checkpoint: RateCheckpoint,
    source: &TopicInfo,
    postings: &TopicInfo,
) -> Result<RateCheckpoint, Failure> {
    let epoch = ctx.log.epoch();
    anchor::same_count(Topic::UsageEvents, checkpoint.partitions, source.partitions)?;
    anchor::same_count(
        Topic::LedgerPostings,
        checkpoint.posting_partitions,
        postings.partitions,
    )?;
    if checkpoint.epoch < epoch {
        return next_epoch(ctx, partition, checkpoint, source).await;
    }
    let place = anchor::Place {
        topic: Topic::UsageEvents,
        partition,
        id: &checkpoint.topic_id,
        epoch: checkpoint.epoch,
    };
    anchor::same_log(epoch, &place, source)?;
    anchor::still_there(
        ctx,
        &place,
        checkpoint.from,
        checkpoint.to,
        checkpoint.fingerprint.as_ref(),
    )
    .await?;
    let start = ctx.log.bounds(Topic::UsageEvents, partition).await?.start;
    shorten_window(checkpoint, start)
}

/// A part of the window may have expired, after a long time without work. What is gone counts as forgotten: events that may have
/// a copy there take the slow lane, which tells the same duplicates. Without usage rows that would rate a recorded chunk
/// otherwise than before.
fn shorten_window(
    mut checkpoint: RateCheckpoint,
    start: Offset,
) -> Result<RateCheckpoint, Failure> {
    let window = &mut checkpoint.window;
    if start <= window.first {
        return Ok(checkpoint);
    }
    if window.usage_rows == UsageRows::Off && checkpoint.from < checkpoint.to {
        let what = format!(
            "the duplicate window of a recorded chunk begins at {}, the log at {start}",
            window.first
        );
        return Err(Failure::halt(HaltCode::LogTruncated, what));
    }
    tracing::warn!(
        event = "window.shortened",
        first = window.first.0,
        start = start.0,
        "a part of the duplicate window has expired"
    );
    window.first = start;
    window.forgotten = Some(checkpoint.log_time);
    Ok(checkpoint)
}

/// The first checkpoint of a new epoch: sequences and log time go on, offsets begin again, and everything before is forgotten
/// by the window (events that may have a copy there take the slow lane). A copy has the same time as its original, so what is later than every event
/// of the old log has none there: fresh events are not looked up, and without usage rows not rejected.
async fn next_epoch(
    ctx: &WorkerContext,
    partition: Partition,
    old: RateCheckpoint,
    source: &TopicInfo,
) -> Result<RateCheckpoint, Failure> {
    if old.is_cut() {
        let what = format!(
            "a new epoch began while chunk {} of epoch {} was not done",
            old.chunk, old.epoch
        );
        return Err(Failure::halt(HaltCode::LogRecreated, what));
    }
    anchor::postings_drained(ctx, partition, &old).await?;
    let start = ctx.log.bounds(Topic::UsageEvents, partition).await?.start;
    Ok(RateCheckpoint {
        topic_id: source.id.clone(),
        epoch: ctx.log.epoch(),
        from: start,
        to: start,
        fingerprint: None,
        window: WindowCut {
            first: start,
            first_log_time: old.log_time,
            forgotten: Some(match old.latest_event {
                Some(latest) => old.log_time.min(latest.plus(-AHEAD_MS_MAX)),
                None => old.log_time,
            }),
            ..old.window
        },
        ..old
    })
}
