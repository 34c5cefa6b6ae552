//! TAKE: the blocks of the posting partition, each once and in the sequence of its source.

use std::time::Duration;

use super::Poster;
use crate::domain::position::Offset;
use crate::log::posting::{self, BlockHeader, ReadBlock};
use crate::log::{ReadLimit, Record, Topic};
use crate::pipeline::failure::{Failure, HaltCode};
use crate::pipeline::{log_identity, versioned};
use crate::store::checkpoints;

/// Blocks are at most half a MiB; a read stops at this.
pub(super) const READ_BYTES_MAX: usize = 8 << 20;

/// How long a read waits at most while a sweep is under way, which goes on after every read.
const SWEEP_PAUSE: Duration = Duration::from_millis(10);

/// A block that was accepted.
pub(super) struct Accepted {
    pub(super) offset: Offset,
    pub(super) block: ReadBlock,
    /// The number of each entry's account, once it is in memory.
    pub(super) numbers: Vec<Option<u32>>,
}

impl Poster<'_> {
    /// The next records, if there are any before something else is due.
    pub(super) async fn read(&self) -> Result<Vec<Record>, Failure> {
        let limit = ReadLimit {
            records: self.ctx.settings.blocks_read_max,
            bytes: READ_BYTES_MAX,
        };
        let wait = self.until_next_duty();
        Ok(self
            .ctx
            .log
            .read(
                Topic::LedgerPostings,
                self.partition,
                self.next,
                limit,
                wait,
            )
            .await?)
    }

    /// How long a read may wait before something else is to be done.
    fn until_next_duty(&self) -> Duration {
        // The checkpoint waits for the flush; without a look at that, a read that waits for nothing
        // would come again and again until then.
        let may_write = self.dirty_since.is_none() && self.is_uncovered();
        let checkpoint_at = may_write.then_some(self.next_tops);
        let duties = [Some(self.next_awards), self.flush_at(), checkpoint_at];
        if self.aside.catching_up.is_some() {
            return Duration::ZERO;
        }
        let next = duties
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.next_awards);
        let wait = next.since(self.ctx.clock.moment());
        match self.sweeps.is_running() {
            true => wait.min(SWEEP_PAUSE),
            false => wait,
        }
    }

    /// Takes the blocks of these records, in order.
    pub(super) async fn accept_blocks(
        &mut self,
        records: &[Record],
    ) -> Result<Vec<Accepted>, Failure> {
        if self.first_unwritten.is_none() {
            self.first_unwritten = records.first().map(|r| (r.offset, r.append_time));
            self.stands();
        }
        match self.accept(records) {
            Ok(blocks) => Ok(blocks),
            Err(failure) => {
                let key = checkpoints::checkpoint_key(self.task());
                Err(versioned::confirm(self.ctx, &key, self.written, failure).await)
            }
        }
    }

    /// The blocks that are next in the sequence of their source. Lower ones came before; higher
    /// ones mean that blocks are missing. Sequences begin again in each epoch, but a topic may
    /// outlive one: blocks of earlier epochs have had their turn.
    fn accept(&mut self, records: &[Record]) -> Result<Vec<Accepted>, Failure> {
        let mut blocks = Vec::with_capacity(records.len());
        for record in records {
            let block = posting::decode_block(&record.value)
                .map_err(|error| self.unreadable(record.offset, &error.to_string()))?;
            let header = &block.header;
            if self.is_of_earlier_epoch(header)? {
                continue;
            }
            let source = self.sources.entry(header.source.0).or_default();
            let expected = source.sequence.0 + 1;
            if block.sequence.0 < expected {
                self.ctx.metrics.postings_duplicate_blocks_total.inc();
                continue;
            }
            if block.sequence.0 > expected {
                let (p, found, offset) = (header.source, block.sequence, record.offset);
                let what = format!(
                    "block {expected} from source partition {p} is missing: offset {offset} holds block {found}"
                );
                return Err(Failure::halt(HaltCode::SequenceGap, what));
            }
            source.sequence = block.sequence;
            // Not the greatest so far: after a corrected clock (`ClockCorrection`) log time goes on
            // from a lower one.
            source.log_time = header.source_log_time;
            source.chunk = Some(header.chunk);
            blocks.push(Accepted {
                offset: record.offset,
                block,
                numbers: Vec::new(),
            });
        }
        Ok(blocks)
    }

    fn is_of_earlier_epoch(&self, header: &BlockHeader) -> Result<bool, Failure> {
        let (own, found) = (self.ctx.log.epoch(), header.epoch);
        if found > own {
            return Err(log_identity::later_epoch(own, found));
        }
        let is_earlier = self.ctx.protections.sees_earlier_block(found < own);
        if is_earlier {
            self.ctx.metrics.postings_duplicate_blocks_total.inc();
        }
        Ok(is_earlier)
    }

    fn unreadable(&self, offset: Offset, error: &str) -> Failure {
        let what = format!(
            "offset {offset} of {}/{}: {error}",
            Topic::LedgerPostings,
            self.partition
        );
        Failure::halt(HaltCode::BlockUnreadable, what)
    }
}
