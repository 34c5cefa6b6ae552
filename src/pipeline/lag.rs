//! Lag, seen from outside of the tasks: a task that waits for a store that does not answer cannot tell how far behind it falls.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use tokio::sync::watch;

use super::supervise::pause;
use super::{WorkerContext, progress};
use crate::domain::position::Offset;
use crate::domain::time::Millis;
use crate::log::Topic;
use crate::ops::health::{Role, TaskHealth, TaskId};

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long the store may take to tell where a task stands: the other tasks are to be looked at, too.
const STORED_WITHIN: Duration = Duration::from_millis(250);

/// Looks that are remembered at the most, per task. Beyond that every second one is forgotten.
const LOOKS_MAX: usize = 4_096;

/// Keeps the lag of every task of this process current until shutdown.
pub async fn watch_lag(ctx: Arc<WorkerContext>, mut shutdown: watch::Receiver<bool>) {
    let mut ends: BTreeMap<TaskId, Ends> = BTreeMap::new();
    while !*shutdown.borrow() {
        let tasks = ctx.health.tasks();
        ends.retain(|id, _| tasks.iter().any(|task| task.id == *id));
        for task in tasks {
            look(&ctx, &task, ends.entry(task.id).or_default()).await;
        }
        pause(&ctx, &mut shutdown, INTERVAL).await;
    }
}

async fn look(ctx: &WorkerContext, task: &TaskHealth, ends: &mut Ends) {
    let partition = task.id.partition;
    let bounds = match (task.id.role, &ctx.adapting) {
        (Role::Rate, _) => ctx.log.bounds(Topic::UsageEvents, partition).await,
        (Role::Post, _) => ctx.log.bounds(Topic::LedgerPostings, partition).await,
        (Role::Adapt(feed), Some(adapting)) => adapting.log.bounds(feed.topic(), partition).await,
        (Role::Adapt(_), None) => return,
    };
    // A log that does not answer is told of by the task itself.
    let Ok(bounds) = bounds else {
        return;
    };
    let now = ctx.clock.now();
    ends.see(now, bounds.end.0);
    let next = match task.next {
        Some(next) => Offset(next),
        // Too many are better than none while the store does not tell.
        None => ends.stored(ctx, task.id).await.unwrap_or(bounds.start),
    };
    let (lag, next) = (bounds.waiting(next), next.max(bounds.start).0);
    let since = match lag {
        0 => now,
        _ => ends.since(next, task.reached).unwrap_or(now),
    };
    let waited = u64::try_from(now.0 - since.0).unwrap_or(0);
    ctx.health.lags(task.id, lag, Duration::from_millis(waited));
}

/// When a partition ended where: it tells since when a record has been there, without reading it.
#[derive(Default)]
struct Ends {
    seen: VecDeque<(Millis, u64)>,
    /// Where the task stood before this process took it up, once it has been read; `Some(None)`: nothing was ever done.
    stood: Option<Option<Offset>>,
}

impl Ends {
    /// Where a task stands that has not told it, because it is being taken up or was found halted: what its checkpoint says.
    async fn stored(&mut self, ctx: &WorkerContext, id: TaskId) -> Option<Offset> {
        if let Some(stood) = self.stood {
            return stood;
        }
        let info = match (id.role, &ctx.adapting) {
            (Role::Rate, _) => ctx.log.topic(Topic::UsageEvents).await,
            (Role::Post, _) => ctx.log.topic(Topic::LedgerPostings).await,
            (Role::Adapt(feed), Some(adapting)) => adapting.log.topic(feed.topic()).await,
            (Role::Adapt(_), None) => return None,
        };
        let read = std::pin::pin!(progress::standing(&*ctx.db, id));
        let within = ctx.clock.sleep(STORED_WITHIN);
        let (Ok(info), Either::Left((Ok(found), _))) = (info, select(read, within).await) else {
            return None;
        };
        let next = found.and_then(|found| found.next_in(ctx.log.epoch(), &info));
        *self.stood.insert(next)
    }

    fn see(&mut self, now: Millis, end: u64) {
        match self.seen.back() {
            Some((_, last)) if *last == end => return,
            // Another topic under the same name.
            Some((_, last)) if *last > end => self.seen.clear(),
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

    /// Since when, to the second, the record at `next` has been there. What was there before the first look has waited since log time was
    /// at `reached`, at the longest.
    fn since(&mut self, next: u64, reached: Option<Millis>) -> Option<Millis> {
        while self.seen.get(1).is_some_and(|(_, end)| *end <= next) {
            self.seen.pop_front();
        }
        let (first, end) = *self.seen.front()?;
        if end <= next {
            return self.seen.get(1).map(|(seen, _)| *seen);
        }
        Some(reached.map_or(first, |reached| reached.min(first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_waited_since_the_first_look_that_saw_it() {
        let mut ends = Ends::default();
        for (now, end) in [(1_000, 10), (2_000, 10), (3_000, 15), (4_000, 20)] {
            ends.see(Millis(now), end);
        }
        assert_eq!(ends.since(12, None), Some(Millis(3_000)));
        assert_eq!(ends.since(15, None), Some(Millis(4_000)));
        assert_eq!(ends.since(20, None), None, "there is no such record yet");
    }

    #[test]
    fn what_was_there_before_has_waited_since_the_last_record_that_is_done_at_the_longest() {
        let mut ends = Ends::default();
        ends.see(Millis(60_000), 500);
        assert_eq!(ends.since(3, Some(Millis(5_000))), Some(Millis(5_000)));
        assert_eq!(ends.since(3, None), Some(Millis(60_000)));
    }

    #[test]
    fn a_topic_made_anew_begins_anew_and_memory_is_bounded() {
        let mut ends = Ends::default();
        ends.see(Millis(0), 500);
        ends.see(Millis(1_000), 2);
        assert_eq!(ends.since(1, None), Some(Millis(1_000)));
        for i in 0..20_000 {
            ends.see(Millis(i), 10 + i as u64);
        }
        assert!(ends.seen.len() <= LOOKS_MAX);
    }
}
