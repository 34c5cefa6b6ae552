//! Rows that are older than this worker has seen them.
//!
//! If all tables were restored to an earlier moment while it ran, the checkpoint went back together
//! with the rows, to before the postings that the rows lack: the partition is loaded again and
//! takes them once more. If the checkpoint stands where this worker has put it, or covers postings
//! that a row lacks, then the row went back by itself, and nothing would bring them back.

use super::Poster;
use crate::domain::position::{Partition, Position, WriteId};
use crate::ops::health::{Role, TaskId};
use crate::pipeline::WorkerContext;
use crate::pipeline::failure::{Failure, HaltCode};
use crate::pipeline::retry::persist;
use crate::store::checkpoints::{self, PostCheckpoint, Versioned};

/// The checkpoint as this worker has read or written it last.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnCheckpoint {
    pub(super) partition: Partition,
    pub(super) written: Option<WriteId>,
}

impl Poster<'_> {
    pub(super) fn own_checkpoint(&self) -> OwnCheckpoint {
        OwnCheckpoint {
            partition: self.partition,
            written: self.written,
        }
    }
}

impl OwnCheckpoint {
    /// What follows from a row that has lost the posting at `seen`, the newest that it had counted.
    pub(super) async fn regressed(
        self,
        ctx: &WorkerContext,
        seen: Option<Position>,
        what: String,
    ) -> Failure {
        let key = checkpoints::checkpoint_key(TaskId::new(Role::Post, self.partition));
        let stored: Result<Option<Versioned<PostCheckpoint>>, _> =
            persist(ctx, || checkpoints::get(&*ctx.db, &key)).await;
        match stored {
            Ok(stored) => {
                let is_lost = !went_back(stored.as_ref(), self.written, seen);
                match ctx.protections.sees_lost_posting(is_lost) {
                    true => Failure::halt(HaltCode::RowRegressed, what),
                    false => Failure::reload(format!(
                        "{what}: the tables were restored to an earlier moment"
                    )),
                }
            }
            Err(error) => error.into(),
        }
    }
}

/// Whether the stored checkpoint is another one than `own`, and takes the posting at `seen` again.
fn went_back(
    stored: Option<&Versioned<PostCheckpoint>>,
    own: Option<WriteId>,
    seen: Option<Position>,
) -> bool {
    if stored.map(|stored| stored.write) == own {
        return false;
    }
    let next = stored.map(|stored| Position {
        epoch: stored.value.epoch,
        offset: stored.value.next,
    });
    seen.is_none_or(|seen| next <= Some(seen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::position::{Epoch, Offset};
    use std::collections::BTreeMap;

    const fn write(count: u64) -> WriteId {
        WriteId { worker: 1, count }
    }

    fn stored(next: u64, count: u64) -> Versioned<PostCheckpoint> {
        Versioned {
            value: PostCheckpoint {
                topic_id: "topic".to_owned(),
                epoch: Epoch(1),
                partitions: 1,
                next: Offset(next),
                fingerprint: None,
                sources: BTreeMap::new(),
                witnesses: Vec::new(),
            },
            write: write(count),
        }
    }

    #[test]
    fn only_a_checkpoint_that_went_back_as_well_makes_it_good() {
        let seen = |offset| {
            Some(Position {
                epoch: Epoch(1),
                offset: Offset(offset),
            })
        };
        let own = Some(write(9));
        for (stored, seen, expected) in [
            (Some(stored(5, 3)), seen(7), true),
            (Some(stored(7, 3)), seen(7), true),
            // It covers the posting, so nobody takes it again.
            (Some(stored(8, 3)), seen(7), false),
            // It is where this worker has put it.
            (Some(stored(5, 9)), seen(7), false),
            // The tables are from before the first checkpoint.
            (None, seen(7), true),
            // Only an award is lost: its pointer went back with the checkpoint.
            (Some(stored(5, 3)), None, true),
        ] {
            assert_eq!(
                went_back(stored.as_ref(), own, seen),
                expected,
                "{stored:?} {seen:?}"
            );
        }
    }
}
