//! Taking up a source partition: read the checkpoint, check that the log is still the one that it
//! speaks of, rebuild the duplicate window, and run the recorded chunk again.

use super::decode::RecordRules;
use super::dedupe::rebuild;
use super::fold::Room;
use super::heartbeat::Heartbeat;
use super::tiers::Tiers;
use super::window::Window;
use super::{After, Rater};
use crate::domain::position::{Chunk, Control, Offset, Partition, Sequence, WriteId};
use crate::domain::semantics::Semantics;
use crate::domain::time::Millis;
use crate::log::{MUST_BE_THERE, ReadLimit, Record, Topic, TopicInfo};
use crate::ops::health::{Role, TaskId};
use crate::pipeline::failure::{Failure, HaltCode};
use crate::pipeline::follower::{Follower, Needs};
use crate::pipeline::installation::{self, NextCheck};
use crate::pipeline::layout::{self, Layout};
use crate::pipeline::retry::persist;
use crate::pipeline::settings::Settings;
use crate::pipeline::table_age::Loaded;
use crate::pipeline::{SEMANTICS, WorkerContext, lag, log_identity, versioned};
use crate::store::checkpoints::{self, RateCheckpoint, UsageRows, Versioned, WindowCut};
use crate::store::layout::Moved;
use crate::store::losses::{self, LostChunk};
use crate::store::rated_services::RatedServices;

/// How many records are read at a time while the window is rebuilt.
const REBUILD_RECORDS: usize = 20_000;
/// How many bytes.
const REBUILD_BYTES: usize = 16 << 20;

impl<'c> Rater<'c> {
    /// Takes up a source partition.
    pub async fn restore(
        ctx: &'c WorkerContext,
        partition: Partition,
    ) -> Result<Rater<'c>, Failure> {
        let source = ctx.log.topic(Topic::UsageEvents).await?;
        let postings = ctx.log.topic(Topic::LedgerPostings).await?;
        let key = checkpoints::checkpoint_key(TaskId::new(Role::Rate, partition));
        let stored: Option<Versioned<RateCheckpoint>> =
            persist(ctx, || checkpoints::get(&*ctx.db, &key)).await?;
        installation::check(ctx).await?;
        let layout = layout::agree(ctx, &source, &postings).await?;
        let cuts = ctx.log.topic(Topic::LedgerCuts).await?;
        layout::same_as_source(&layout, &cuts)?;
        let written = stored.as_ref().map(|stored| stored.write);
        let stored = stored.map(|stored| stored.value);
        let checkpoint = match check(ctx, partition, stored, &source, &layout).await {
            Ok(checkpoint) => checkpoint,
            Err(failure) => return Err(versioned::confirm(ctx, &key, written, failure).await),
        };
        let loaded = Loaded {
            source: partition,
            checkpoint: &checkpoint,
            written,
        };
        let task = TaskId::new(Role::Rate, partition);
        lag::tell_backlog(ctx, task, Topic::UsageEvents, checkpoint.from).await;
        let accepted = loaded.check(ctx, &layout).await?;
        let mut rater = Rater::at(ctx, partition, layout, checkpoint, written).await?;
        rater.rebuild_window().await?;
        rater.repeat_chunk().await?;
        let loaded = Loaded {
            source: partition,
            checkpoint: &rater.checkpoint,
            written,
        };
        let sent = &rater.after.sequences;
        loaded.check_sent(ctx, &accepted, sent).await?;
        rater.correct_clock().await?;
        rater.check_log_time().await?;
        Ok(rater)
    }

    /// A rater that stands at a checkpoint, without its duplicate window.
    pub(super) async fn at(
        ctx: &'c WorkerContext,
        partition: Partition,
        layout: Layout,
        checkpoint: RateCheckpoint,
        written: Option<WriteId>,
    ) -> Result<Rater<'c>, Failure> {
        let rejected = ctx.log.topic(Topic::UsageRejected).await?;
        let after = After {
            log_time: checkpoint.log_time,
            latest_event: checkpoint.latest_event,
            sequences: checkpoint.sequences.clone(),
            fingerprint: checkpoint.fingerprint,
        };
        let heartbeat = Heartbeat::start(checkpoint.posting_partitions, ctx.clock.moment());
        let mut void = persist(ctx, || losses::all(&*ctx.db)).await?;
        void.retain(LostChunk::is_uncounted);
        Ok(Rater {
            ctx,
            partition,
            role: Role::Rate,
            checkpoint,
            written,
            after,
            layout,
            void,
            rejected_partitions: rejected.partitions,
            follower: Follower::start(ctx, Needs::RulesAndLinks).await?,
            window: Window::default(),
            tiers: Tiers::default(),
            room: Room::default(),
            heartbeat,
            next_check: NextCheck::default(),
            early_head: None,
            progressed: false,
            archives: false,
        })
    }

    pub(super) async fn rebuild_window(&mut self) -> Result<(), Failure> {
        let window = self.checkpoint.window;
        self.take_into_window(window.first, window.first_log_time)
            .await
    }

    /// Takes the records from `next` up to the chunk into the window. `log_time` is the log time
    /// before them.
    pub(super) async fn take_into_window(
        &mut self,
        mut next: Offset,
        mut log_time: Millis,
    ) -> Result<(), Failure> {
        while next < self.checkpoint.from {
            // Records are in the window if they were valid for the services that rated them.
            let (version, changes_at) = self.services_that_rated(next);
            let services = self.follower.services(version);
            let end = changes_at.map_or(self.checkpoint.from, |at| at.min(self.checkpoint.from));
            let rules = RecordRules {
                // Reversals are not in the window, whatever rates them.
                semantics: Semantics::NOW,
                partition: self.partition,
                partitions: self.checkpoint.partitions,
                services: &services,
                clock: self.checkpoint.clock,
            };
            while next < end {
                let records = self.read_to(next, end).await?;
                rebuild(&records, &rules, &mut self.window, &mut log_time);
                next = after_last(&records, next);
            }
        }
        Ok(())
    }

    /// The version of the services with which a record of the window was rated, and the record at
    /// which another one begins.
    fn services_that_rated(&self, record: Offset) -> (Option<Control>, Option<Offset>) {
        let own = self.checkpoint.services.at(record);
        let now = || self.follower.services_version(self.checkpoint.control);
        self.ctx.protections.services_that_rated(own, now)
    }

    /// Runs the recorded chunk again, exactly as it was cut.
    async fn repeat_chunk(&mut self) -> Result<(), Failure> {
        if !self.checkpoint.is_cut() {
            return Ok(());
        }
        if Semantics::known(self.checkpoint.semantics).is_none() {
            let what = format!(
                "chunk {} was cut under rating semantics {}, but this program implements {SEMANTICS}",
                self.checkpoint.chunk, self.checkpoint.semantics
            );
            return Err(Failure::halt(HaltCode::SemanticsChanged, what));
        }
        let records = self.recorded().await?;
        self.rate_and_publish(&records).await
    }

    /// The records of the recorded chunk.
    pub(super) async fn recorded(&self) -> Result<Vec<Record>, Failure> {
        let mut records = Vec::new();
        let mut next = self.checkpoint.from;
        while next < self.checkpoint.to {
            records.extend(self.read_to(next, self.checkpoint.to).await?);
            next = after_last(&records, next);
        }
        Ok(records)
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
        // A window of millions of records takes minutes to read.
        self.ctx
            .health
            .reads_again(self.task(), after_last(&read, from).0);
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
    stored: Option<RateCheckpoint>,
    source: &TopicInfo,
    layout: &Layout,
) -> Result<RateCheckpoint, Failure> {
    let epoch = ctx.log.epoch();
    let checkpoint = match stored {
        Some(checkpoint) if checkpoint.epoch >= epoch => checkpoint,
        before => return first_of_epoch(ctx, partition, before, source, layout).await,
    };
    let place = log_identity::RecordedTopic {
        topic: Topic::UsageEvents,
        partition,
        id: &checkpoint.topic_id,
        epoch: checkpoint.epoch,
    };
    log_identity::same_log(epoch, &place, source)?;
    log_identity::same_count(Topic::UsageEvents, checkpoint.partitions, source.partitions)?;
    log_identity::same_count(
        Topic::LedgerPostings,
        checkpoint.posting_partitions,
        layout.posting,
    )?;
    log_identity::still_there(
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

/// A part of the window may have expired, after a long time without work. What is gone counts as
/// forgotten: events that may have a copy there take the slow lane, which tells the same
/// duplicates. Without usage rows that would rate a recorded chunk otherwise than before.
pub(super) fn shorten_window(
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
    // It may be ahead of log time already, where a clock was corrected or users came from
    // elsewhere.
    window.forgotten = window.forgotten.max(Some(checkpoint.log_time));
    Ok(checkpoint)
}

/// What stands before the first chunk of an epoch. Log time and chunk numbers go on. In a new topic
/// offsets begin again, at what the log still holds: what it dropped before that was never ours to
/// count. A topic that was not lost goes on where it was.
///
/// Everything of earlier epochs is forgotten by the window, so events that may have a copy there
/// take the slow lane. If users moved between source partitions, that copy may be one of any of
/// them. A copy has the same time as its original, so what is later than every event of the old log
/// has none there: fresh events are not looked up, and without usage rows not rejected.
async fn first_of_epoch(
    ctx: &WorkerContext,
    partition: Partition,
    before: Option<RateCheckpoint>,
    source: &TopicInfo,
    layout: &Layout,
) -> Result<RateCheckpoint, Failure> {
    if let Some(old) = &before {
        layout::not_cut(partition, old)?;
        layout::sealed(ctx, layout, partition, old)?;
        layout::postings_drained(ctx, partition, old).await?;
    }
    let from = match &before {
        Some(old) => continues_at(ctx, partition, old, source).await?,
        None => ctx.log.bounds(Topic::UsageEvents, partition).await?.start,
    };
    let own = before.as_ref().map(Moved::of);
    let own = own.map(|own| ctx.protections.own_users(own));
    let moved = ctx.protections.moved_users(layout.moved, own.as_ref());
    let earlier = own.into_iter().chain(moved).reduce(Moved::and);
    let first = first_window(&ctx.settings, from);
    let window = match &earlier {
        None => first,
        Some(earlier) => WindowCut {
            first_log_time: earlier.log_time,
            forgotten: Some(earlier.forgotten),
            usage_rows: earlier.usage_rows,
            ..first
        },
    };
    let sequences = match &before {
        Some(old) if !layout.sequences_restart => old.sequences.clone(),
        _ => vec![Sequence(0); layout.posting as usize],
    };
    Ok(RateCheckpoint {
        topic_id: source.id.clone(),
        epoch: ctx.log.epoch(),
        partitions: layout.source,
        posting_partitions: layout.posting,
        chunk: before.as_ref().map_or(Chunk(0), |old| old.chunk),
        from,
        to: from,
        control: before.as_ref().map_or(Control(0), |old| old.control),
        semantics: SEMANTICS,
        log_time: earlier.map_or(Millis(0), |earlier| earlier.log_time),
        window,
        fingerprint: None,
        sequences,
        clock: None,
        latest_event: before.and_then(|old| old.latest_event),
        services: RatedServices::default(),
    })
}

/// The first record of a source partition in a new epoch. Chunks that were given up before anything
/// of them was counted are rated again if their records are still there.
async fn continues_at(
    ctx: &WorkerContext,
    partition: Partition,
    old: &RateCheckpoint,
    source: &TopicInfo,
) -> Result<Offset, Failure> {
    let lost = persist(ctx, || losses::all(&*ctx.db)).await?;
    let lost = lost
        .iter()
        .filter(|lost| lost.is_uncounted() && lost.source == partition && lost.epoch == old.epoch);
    let next = lost.map(|lost| lost.from).chain([old.to]).min();
    let place = log_identity::RecordedTopic {
        topic: Topic::UsageEvents,
        partition,
        id: &old.topic_id,
        epoch: old.epoch,
    };
    let done = (next.unwrap_or(old.to), old.fingerprint.as_ref());
    log_identity::begins_at(ctx, &place, source, old.partitions, done).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::position::Epoch;

    fn checkpoint(forgotten: Option<Millis>, usage_rows: UsageRows, to: u64) -> RateCheckpoint {
        RateCheckpoint {
            topic_id: "topic".to_owned(),
            epoch: Epoch(1),
            partitions: 1,
            posting_partitions: 1,
            chunk: Chunk(3),
            from: Offset(20),
            to: Offset(to),
            control: Control(1),
            semantics: SEMANTICS,
            log_time: Millis(1_000),
            window: WindowCut {
                age_ms: 500,
                records_max: 100,
                usage_rows,
                first: Offset(10),
                first_log_time: Millis(700),
                forgotten,
            },
            fingerprint: None,
            sequences: vec![Sequence(0)],
            clock: None,
            latest_event: None,
            services: RatedServices::default(),
        }
    }

    #[test]
    fn what_has_expired_of_a_window_counts_as_forgotten_and_nothing_falls_back() {
        let (on, off) = (UsageRows::Since(None), UsageRows::Off);
        let (nothing, early, ahead) = (None, Some(Millis(600)), Some(Millis(5_000)));
        let log_time = Some(Millis(1_000));
        for (start, forgotten, (first, then)) in [
            (10, nothing, (10, nothing)),
            (15, nothing, (15, log_time)),
            (15, early, (15, log_time)),
            // After a correction of the clock it is ahead of log time.
            (15, ahead, (15, ahead)),
        ] {
            let shortened = shorten_window(checkpoint(forgotten, on, 30), Offset(start));
            let window = shortened.map(|of| of.window).ok();
            let told = window.map(|window| (window.first, window.forgotten));
            assert_eq!(told, Some((Offset(first), then)), "{start} {forgotten:?}");
        }
        // Without usage rows that would rate a recorded chunk otherwise than before.
        assert!(shorten_window(checkpoint(nothing, off, 30), Offset(15)).is_err());
        assert!(shorten_window(checkpoint(nothing, off, 20), Offset(15)).is_ok());
    }
}
