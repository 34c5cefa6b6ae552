//! Lag, seen from outside of the tasks: a task that waits for a store that does not answer cannot
//! tell how far behind it falls.
//!
//! Lag means **not yet in rows**: what is not rated and sent on, and what is posted in memory but
//! not written. `tidemark top`, `tidemark doctor`, the metrics, the alerts and autoscaling all go
//! by this one definition.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use tokio::sync::watch;

use super::recent::Recent;
use super::retry::pause;
use super::{WorkerContext, progress};
use crate::domain::position::Offset;
use crate::domain::time::Millis;
use crate::log::{Bounds, ReadLimit, Topic};
use crate::ops::clock::Moment;
use crate::ops::health::{Role, TaskHealth, TaskId};

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long the store may take to tell where a task stands: the other tasks are to be looked at,
/// too.
const STORED_WITHIN: Duration = Duration::from_millis(250);

/// How long the log may take to tell where a partition ends.
const BOUNDS_WITHIN: Duration = Duration::from_secs(1);

/// How long it may take to read the first record that waits.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// Looks that are remembered at the most, per task. Beyond that every second one is forgotten.
const LOOKS_MAX: usize = 4_096;

/// Keeps the lag of every task of this process current until shutdown.
pub async fn watch_lag(ctx: Arc<WorkerContext>, mut shutdown: watch::Receiver<bool>) {
    let mut ends: BTreeMap<TaskId, Ends> = BTreeMap::new();
    let mut recent = Recent::default();
    while !*shutdown.borrow() {
        recent.tell(ctx.clock.moment(), &ctx.metrics);
        let tasks = ctx.health.tasks();
        ends.retain(|id, _| tasks.iter().any(|task| task.id == *id));
        let mut answers = Answers::default();
        for task in tasks {
            let ends = ends.entry(task.id).or_default();
            update_lag(&ctx, &task, ends, &mut answers).await;
        }
        pause(&ctx, &mut shutdown, INTERVAL).await;
    }
}

/// What has not answered in this round, and is not asked again in it: there may be many tasks.
#[derive(Default)]
struct Answers {
    log_is_silent: bool,
    store_is_silent: bool,
}

async fn update_lag(
    ctx: &WorkerContext,
    task: &TaskHealth,
    ends: &mut Ends,
    answers: &mut Answers,
) {
    let now = ctx.clock.moment();
    if !answers.log_is_silent {
        answers.log_is_silent = !ends.ask(ctx, task.id).await;
    }
    // While the log does not answer, what waited before goes on to wait.
    let Some(bounds) = ends.bounds else {
        return;
    };
    ends.see(now, bounds.end.0);
    let next = match task.next {
        Some(next) => Offset(next),
        // Too many are better than none while the store does not tell.
        None if answers.store_is_silent => bounds.start,
        None => {
            let stored = ends.stored(ctx, task.id).await;
            answers.store_is_silent = ends.stood.is_none();
            stored.unwrap_or(bounds.start)
        }
    };
    let (lag, next) = (bounds.waiting(next), next.max(bounds.start).0);
    let since = match lag {
        0 => now,
        _ => ends
            .since(next, task.first_waiting, (now, ctx.clock.now()))
            .unwrap_or(now),
    };
    ctx.health.lags(task.id, lag, now.since(since));
}

/// Says how far a task that is being taken up has come, and how long its first record has waited:
/// before anything is done, which may take long, or not begin at all. What cannot be read now is
/// told later.
pub(super) async fn tell_backlog(ctx: &WorkerContext, task: TaskId, topic: Topic, next: Offset) {
    ctx.health.stands_at(task, next.0);
    let Ok(bounds) = ctx.log.bounds(topic, task.partition).await else {
        return;
    };
    let next = next.max(bounds.start);
    if bounds.waiting(next) == 0 {
        return;
    }
    let read = ctx
        .log
        .read(topic, task.partition, next, ReadLimit::ONE, FIRST_WITHIN);
    if let Ok(records) = read.await
        && let Some(first) = records.first()
    {
        let (offset, append_time) = (first.offset.0, first.append_time);
        ctx.health.first_waiting(task, offset, append_time);
    }
}

async fn bounds(ctx: &WorkerContext, id: TaskId) -> Option<Bounds> {
    let (log, partition) = (&ctx.log, id.partition);
    let bounds = match (id.role, &ctx.adapting) {
        (Role::Rate, _) => log.bounds(Topic::UsageEvents, partition).await,
        (Role::Post, _) => log.bounds(Topic::LedgerPostings, partition).await,
        (Role::Audit, _) => log.bounds(Topic::LedgerCuts, partition).await,
        (Role::Adapt(feed), Some(adapting)) => adapting.log.bounds(feed.topic(), partition).await,
        (Role::Adapt(_), None) => return None,
    };
    bounds.ok()
}

/// When a partition ended where: it tells since when a record has been there, without reading it.
#[derive(Default)]
struct Ends {
    seen: VecDeque<(Moment, u64)>,
    bounds: Option<Bounds>,
    /// The record of which the task has told when it was appended, and since when it has waited.
    /// Kept, so that a wall clock that is set says nothing new about it.
    told: Option<(u64, Moment)>,
    /// Where the task stood before this process took it up, once it has been read; `Some(None)`:
    /// nothing was ever done.
    stood: Option<Option<Offset>>,
}

impl Ends {
    /// Asks what the partition holds; whether that was answered.
    async fn ask(&mut self, ctx: &WorkerContext, id: TaskId) -> bool {
        let asked = std::pin::pin!(bounds(ctx, id));
        let within = ctx.clock.sleep(BOUNDS_WITHIN);
        match select(asked, within).await {
            Either::Left((Some(bounds), _)) => {
                self.bounds = Some(bounds);
                true
            }
            Either::Left((None, _)) => true,
            Either::Right(_) => false,
        }
    }

    /// Where a task stands that has not told it, because it is being taken up or was found halted:
    /// what its checkpoint says. A chunk that is cut is not done.
    async fn stored(&mut self, ctx: &WorkerContext, id: TaskId) -> Option<Offset> {
        if let Some(stood) = self.stood {
            return stood;
        }
        let info = match (id.role, &ctx.adapting) {
            (Role::Rate, _) => ctx.log.topic(Topic::UsageEvents).await,
            (Role::Post, _) => ctx.log.topic(Topic::LedgerPostings).await,
            (Role::Audit, _) => ctx.log.topic(Topic::LedgerCuts).await,
            (Role::Adapt(feed), Some(adapting)) => adapting.log.topic(feed.topic()).await,
            (Role::Adapt(_), None) => return None,
        };
        let read = std::pin::pin!(progress::standing(&*ctx.db, id));
        let within = ctx.clock.sleep(STORED_WITHIN);
        let (Ok(info), Either::Left((Ok(found), _))) = (info, select(read, within).await) else {
            return None;
        };
        let next = found.and_then(|found| found.first_in(ctx.log.epoch(), &info));
        *self.stood.insert(next)
    }

    fn see(&mut self, now: Moment, end: u64) {
        match self.seen.back() {
            Some((_, last)) if *last == end => return,
            // Another topic under the same name.
            Some((_, last)) if *last > end => {
                self.seen.clear();
                self.told = None;
            }
            _ => {}
        }
        self.seen.push_back((now, end));
        if self.seen.len() > LOOKS_MAX {
            let mut index = 0;
            self.seen.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    /// Since when, to the second, the record at `next` has been there. Of one that was there before
    /// the first look, the task tells when it, or one shortly before it, was appended.
    fn since(
        &mut self,
        next: u64,
        first_waiting: Option<(u64, Millis)>,
        (now, wall): (Moment, Millis),
    ) -> Option<Moment> {
        while self.seen.get(1).is_some_and(|(_, end)| *end <= next) {
            self.seen.pop_front();
        }
        let (first, end) = *self.seen.front()?;
        if end <= next {
            return self.seen.get(1).map(|(seen, _)| *seen);
        }
        if let Some((offset, append_time)) = first_waiting.filter(|(offset, _)| *offset <= next)
            && self.told.is_none_or(|(known, _)| known != offset)
        {
            let age = u64::try_from(wall.0.saturating_sub(append_time.0)).unwrap_or(0);
            self.told = Some((offset, now.minus(Duration::from_millis(age))));
        }
        let told = self.told.filter(|(offset, _)| *offset <= next);
        Some(told.map_or(first, |(_, since)| since.min(first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Moment {
        Moment::from_millis(millis)
    }

    const NOW: (Moment, Millis) = (Moment::from_millis(70_000), Millis(1_000_000));

    #[test]
    fn a_record_has_waited_since_the_first_look_that_saw_it() {
        let mut ends = Ends::default();
        for (now, end) in [(1_000, 10), (2_000, 10), (3_000, 15), (4_000, 20)] {
            ends.see(at(now), end);
        }
        assert_eq!(ends.since(12, None, NOW), Some(at(3_000)));
        assert_eq!(ends.since(15, None, NOW), Some(at(4_000)));
        assert_eq!(ends.since(20, None, NOW), None, "no such record yet");
    }

    #[test]
    fn a_record_that_was_there_before_has_waited_since_it_was_appended() {
        let mut ends = Ends::default();
        ends.see(at(60_000), 500);
        assert_eq!(ends.since(3, None, NOW), Some(at(60_000)));
        // 66 s old by the wall clock, which is set afterwards: that changes nothing.
        let first = Some((3, Millis(1_000_000 - 66_000)));
        assert_eq!(ends.since(3, first, NOW), Some(at(4_000)));
        let later = (at(71_000), Millis(0));
        assert_eq!(ends.since(3, first, later), Some(at(4_000)));
        // Of the next one it is known that it came no earlier.
        assert_eq!(ends.since(4, first, later), Some(at(4_000)));
        // A clock of a broker that is ahead makes nothing younger than what was seen.
        assert_eq!(
            ends.since(5, Some((5, Millis(2_000_000))), NOW),
            Some(at(60_000))
        );
    }

    #[test]
    fn a_topic_made_anew_begins_anew_and_memory_is_bounded() {
        let mut ends = Ends::default();
        ends.see(at(0), 500);
        ends.see(at(1_000), 2);
        assert_eq!(ends.since(1, None, NOW), Some(at(1_000)));
        for i in 0..20_000 {
            ends.see(at(i), 10 + i as u64);
        }
        assert!(ends.seen.len() <= LOOKS_MAX);
    }
}
