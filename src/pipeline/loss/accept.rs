//! Giving up what is in flight: fence, look again, then one transaction per partition.

use std::collections::BTreeMap;

use serde_json::json;

use super::{LateBlocks, LossError, Losses, LostBlocks};
use crate::domain::event::AHEAD_MS_MAX;
use crate::domain::position::{Chunk, Offset, Partition, Sequence, WriteId};
use crate::domain::time::{HOUR_MS, Millis};
use crate::ops::health::{Role, TaskId};
use crate::store::audit;
use crate::store::checkpoints::{
    self, PostCheckpoint, RateCheckpoint, SourceState, UsageRows, Versioned,
};
use crate::store::conditional::{WriteOutcome, write_once};
use crate::store::db::{Attr, Condition, Db, TRANSACTION_ITEMS_MAX, Write};
use crate::store::losses::{self, LostChunk};

/// The write ids of the posting checkpoints; `None`: there is none yet.
type PostIds = BTreeMap<Partition, Option<WriteId>>;

impl Losses {
    /// Gives all of it up, each partition in a transaction of its own with an audit entry. If it is
    /// interrupted, what is left is found and given up the next time.
    ///
    /// First every posting checkpoint gets a write id of ours, so a worker that still runs cannot
    /// store what it has read before; then all is looked at again. Each transaction makes sure that
    /// the posting checkpoints are still those that it was decided by.
    pub async fn accept(
        &self,
        db: &dyn Db,
        by: &str,
        now: Millis,
        mut next_write: impl FnMut() -> WriteId,
    ) -> Result<(), LossError> {
        let (found, mut held) = self.fence(db, &mut next_write).await?;
        for posting in found.posts.keys().copied() {
            let lost: Vec<&LostBlocks> = found.of_posting(posting).collect();
            if lost.is_empty() {
                continue;
            }
            let (task, write) = (TaskId::new(Role::Post, posting), next_write());
            held.insert(posting, Some(write));
            let mut writes = found.pass_blocks(posting, &lost, write);
            writes.push(entry(task, by, now, &found.blocks_detail(posting, &lost)));
            transact(db, task, writes).await?;
        }
        for lost in &found.chunks {
            let (task, write) = (TaskId::new(Role::Rate, lost.source), next_write());
            let mut writes = found.pass_chunk(lost, now, write);
            writes.push(losses::keep(lost, write));
            let appended = found.times_of_chunk(lost).detail();
            let detail = json!({"lost": lost, "appended": appended});
            writes.push(entry(task, by, now, &detail));
            writes.extend(still(&held));
            transact(db, task, writes).await?;
            still_beyond(db, &held).await?;
        }
        for (source, stored) in &found.rates {
            let late: Vec<&LateBlocks> = found.late_of(*source).collect();
            if late.is_empty() {
                continue;
            }
            let (task, write) = (TaskId::new(Role::Rate, *source), next_write());
            let (lost, mut writes) = found.take_late(*source, stored, &late, (now, write));
            writes.push(entry(task, by, now, &json!({"late": lost})));
            writes.extend(still(&held));
            transact(db, task, writes).await?;
            still_beyond(db, &held).await?;
        }
        Ok(())
    }

    /// Rewrites each posting checkpoint under a write id of ours, and looks at everything again. It
    /// must be what was found before: that is what the operator has confirmed.
    async fn fence(
        &self,
        db: &dyn Db,
        next_write: &mut impl FnMut() -> WriteId,
    ) -> Result<(Losses, PostIds), LossError> {
        let mut held = PostIds::new();
        for (posting, stored) in &self.posts {
            let Some(stored) = stored else {
                held.insert(*posting, None);
                continue;
            };
            let (task, write) = (TaskId::new(Role::Post, *posting), next_write());
            let key = checkpoints::checkpoint_key(task);
            let put = checkpoints::put(&key, &stored.value, Some(stored.write), write);
            transact(db, task, vec![put]).await?;
            held.insert(*posting, Some(write));
        }
        let found = Losses::find(db, self.next).await?;
        match self.changed(&found, &held) {
            Some(task) => Err(LossError::WorkerRuns(task)),
            None => Ok((found, held)),
        }
    }

    /// Whose checkpoint or accounts are not as they were found before.
    fn changed(&self, now: &Losses, held: &PostIds) -> Option<TaskId> {
        let is_held = |(q, post): &(&Partition, &Option<Versioned<PostCheckpoint>>)| {
            let written = post.as_ref().map(|post| post.write);
            held.get(q) == Some(&written) && self.ahead.get(q) == now.ahead.get(q)
        };
        let mut posts = now.posts.iter();
        let mut rates = now.rates.iter();
        let post = posts.find(|post| !is_held(post));
        let rate = rates.find(|(p, rate)| self.rates.get(p) != Some(*rate));
        let post = post.map(|(q, _)| TaskId::new(Role::Post, *q));
        post.or_else(|| rate.map(|(p, _)| TaskId::new(Role::Rate, *p)))
    }

    /// What the audit entry says of lost blocks.
    fn blocks_detail(&self, posting: Partition, lost: &[&LostBlocks]) -> serde_json::Value {
        let blocks: Vec<_> = lost
            .iter()
            .map(|lost| json!({"source": lost.source, "first": lost.first, "last": lost.last}))
            .collect();
        let mut detail = json!({"epoch": self.epoch, "blocks": blocks});
        if let Some(ahead) = self.ahead.get(&posting) {
            let named: Vec<String> = ahead.named.iter().map(ToString::to_string).collect();
            detail["maybeIn"] = json!({"accounts": ahead.count, "first": named});
        }
        detail
    }

    fn late_of(&self, source: Partition) -> impl Iterator<Item = &LateBlocks> {
        self.late.iter().filter(move |late| late.source == source)
    }

    /// The checkpoint of a source partition says that it has sent the late blocks. The chunk that
    /// they are of is not uncounted any more, if it was.
    fn take_late(
        &self,
        source: Partition,
        stored: &Versioned<RateCheckpoint>,
        late: &[&LateBlocks],
        (now, write): (Millis, WriteId),
    ) -> (LostChunk, Vec<Write>) {
        let rate = &stored.value;
        let kept = self.given_up.get(&source);
        let mut lost = match kept {
            Some(kept) => kept.value.clone(),
            None => LostChunk {
                epoch: rate.epoch,
                source,
                chunk: rate.chunk,
                from: rate.from,
                to: rate.to,
                counted: Vec::new(),
                unsure: Vec::new(),
            },
        };
        let mut sequences = rate.sequences.clone();
        for late in late {
            if let Some(sent) = sequences.get_mut(late.posting.0 as usize) {
                let blocks = late.last.0 - sent.0;
                match lost.counted.iter_mut().find(|(q, _)| *q == late.posting) {
                    Some((_, known)) => *known += blocks,
                    None => lost.counted.push((late.posting, blocks)),
                }
                *sent = late.last;
            }
        }
        let next = RateCheckpoint {
            sequences,
            latest_event: self.latest_event(rate, &lost, now),
            ..rate.clone()
        };
        let key = checkpoints::checkpoint_key(TaskId::new(Role::Rate, source));
        let mut writes = vec![checkpoints::put(&key, &next, Some(stored.write), write)];
        writes.extend(kept.map(|kept| losses::amend(&lost, kept.write, write)));
        (lost, writes)
    }

    fn of_posting(&self, posting: Partition) -> impl Iterator<Item = &LostBlocks> {
        let blocks = self.blocks.iter();
        blocks.filter(move |lost| lost.posting == posting)
    }

    /// The checkpoint of a posting partition says that it has taken the lost blocks.
    fn pass_blocks(&self, posting: Partition, lost: &[&LostBlocks], write: WriteId) -> Vec<Write> {
        let task = TaskId::new(Role::Post, posting);
        let stored = self.posts.get(&posting).and_then(Option::as_ref);
        let mut next = match stored {
            Some(stored) => stored.value.clone(),
            None => PostCheckpoint {
                topic_id: String::new(),
                epoch: self.epoch,
                partitions: self.layout.posting,
                next: Offset(0),
                fingerprint: None,
                sources: BTreeMap::new(),
                witnesses: Vec::new(),
            },
        };
        if next.epoch < self.epoch {
            next.epoch = self.epoch;
            // It has read nothing of this epoch's log.
            next.next = Offset(0);
            next.fingerprint = None;
            if self.layout.sequences_restart {
                for state in next.sources.values_mut() {
                    state.sequence = Sequence(0);
                    state.chunk = None;
                }
            }
        }
        for lost in lost {
            let state: &mut SourceState = next.sources.entry(lost.source.0).or_default();
            state.sequence = lost.last;
        }
        let key = checkpoints::checkpoint_key(task);
        let previous = stored.map(|stored| stored.write);
        vec![
            checkpoints::put(&key, &next, previous, write),
            checkpoints::start(task),
        ]
    }

    /// The checkpoint of a source partition says that nothing is cut.
    fn pass_chunk(&self, lost: &LostChunk, now: Millis, write: WriteId) -> Vec<Write> {
        let Some(stored) = self.rates.get(&lost.source) else {
            return Vec::new();
        };
        let rate = &stored.value;
        let mut sequences = rate.sequences.clone();
        for (posting, blocks) in &lost.counted {
            if let Some(sent) = sequences.get_mut(posting.0 as usize) {
                sent.0 += blocks;
            }
        }
        let next = RateCheckpoint {
            chunk: Chunk(rate.chunk.0 + 1),
            from: rate.to,
            fingerprint: None,
            sequences,
            latest_event: self.latest_event(rate, lost, now),
            ..rate.clone()
        };
        let key = checkpoints::checkpoint_key(TaskId::new(Role::Rate, lost.source));
        vec![checkpoints::put(&key, &next, Some(stored.write), write)]
    }

    /// Nobody knows any more how late the events of the chunk were. With usage rows it costs little
    /// to look them all up. Without, and with some of them counted, everything up to now must be
    /// taken as a copy; with none of them counted, nothing of the chunk has to be told apart.
    fn latest_event(&self, rate: &RateCheckpoint, lost: &LostChunk, now: Millis) -> Option<Millis> {
        let bound = match rate.window.usage_rows {
            UsageRows::Since(_) => now.plus(HOUR_MS + AHEAD_MS_MAX),
            UsageRows::Off if lost.is_uncounted() => return rate.latest_event,
            UsageRows::Off => now.plus(AHEAD_MS_MAX),
        };
        // Not known before: as late as log time allowed.
        let before = rate
            .latest_event
            .unwrap_or(rate.log_time.plus(AHEAD_MS_MAX));
        Some(before.max(bound))
    }
}

/// As many posting checkpoints as a transaction can check beside a checkpoint, a loss and an entry.
const CHECKED_MAX: usize = TRANSACTION_ITEMS_MAX - 3;

/// Checks that the posting checkpoints are those of these writes, as far as they fit into the
/// transaction. The rest is for [`still_beyond`].
fn still(held: &PostIds) -> impl Iterator<Item = Write> {
    let check = |(posting, written): (&Partition, &Option<WriteId>)| Write::Check {
        key: checkpoints::checkpoint_key(TaskId::new(Role::Post, *posting)),
        condition: match written {
            Some(write) => Condition::Equals("write", Attr::S(write.to_string())),
            None => Condition::Absent,
        },
    };
    held.iter().take(CHECKED_MAX).map(check)
}

/// Looks whether the posting checkpoints that did not fit into the transaction are still those of
/// these writes. If not, a worker has posted meanwhile: what it has counted of a chunk that was
/// given up just now is found as late blocks by the next run.
async fn still_beyond(db: &dyn Db, held: &PostIds) -> Result<(), LossError> {
    for (posting, written) in held.iter().skip(CHECKED_MAX) {
        let task = TaskId::new(Role::Post, *posting);
        let key = checkpoints::checkpoint_key(task);
        let stored: Option<Versioned<PostCheckpoint>> = checkpoints::get(db, &key).await?;
        if stored.map(|stored| stored.write) != *written {
            return Err(LossError::WorkerRuns(task));
        }
    }
    Ok(())
}

fn entry(task: TaskId, by: &str, now: Millis, detail: &serde_json::Value) -> Write {
    audit::write(&audit::Entry {
        at: now,
        action: "loss.accept".to_owned(),
        subject: task.to_string(),
        by: by.to_owned(),
        detail: detail.clone(),
    })
}

async fn transact(db: &dyn Db, task: TaskId, writes: Vec<Write>) -> Result<(), LossError> {
    match write_once(db, writes).await? {
        WriteOutcome::Written => Ok(()),
        WriteOutcome::NotYet | WriteOutcome::ByAnother => Err(LossError::WorkerRuns(task)),
    }
}
