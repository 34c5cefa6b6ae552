//! Of both stages and of `recover`: are tables, topics and epoch those that a task believes?

use std::future::Future;

use super::{Breakage, Protections};
use crate::domain::position::Partition;
use crate::pipeline::failure::Failure;
use bytes::Bytes;

impl Protections {
    /// Checks that each table is still the installation's.
    pub(in crate::pipeline) async fn tables_marked(
        self,
        check: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        self.perform(check, Breakage::TablesUnmarked).await
    }

    /// Checks that no later epoch has begun.
    pub(in crate::pipeline) async fn epoch_current(
        self,
        check: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        self.perform(check, Breakage::LaterEpochIgnored).await
    }

    /// The partition counts of an epoch, as its layout says; `topics` are those of today's topics.
    pub(in crate::pipeline) fn partition_counts(
        self,
        layout: (u32, u32),
        topics: (u32, u32),
    ) -> (u32, u32) {
        match self.lack(Breakage::PartitionCountsIgnored) {
            true => topics,
            false => layout,
        }
    }

    /// Whether a source partition is seen to have gone on after it was sealed.
    pub(in crate::pipeline) fn sees_broken_seal(self, is_broken: bool) -> bool {
        self.sees(is_broken, Breakage::SealIgnored)
    }

    /// Whether posting is seen to have accepted more than a rater's checkpoint covers.
    pub(in crate::pipeline) fn sees_accepted_blocks(self, has_more: bool) -> bool {
        self.sees(has_more, Breakage::AcceptedBlocksIgnored)
    }

    /// Whether a topic of an earlier epoch is seen to be the one of this epoch.
    pub(in crate::pipeline) fn sees_kept_topic(self, is_kept: bool) -> bool {
        self.sees(is_kept, Breakage::EarlierBlocksTaken)
    }

    /// Whether a block is seen to be of an earlier epoch.
    pub(in crate::pipeline) fn sees_earlier_block(self, is_earlier: bool) -> bool {
        self.sees(is_earlier, Breakage::EarlierBlocksTaken)
    }

    /// How often an item is read again before a contradiction with it counts.
    pub(in crate::pipeline) fn confirming_readings(self, readings: u32) -> u32 {
        match self.lack(Breakage::ContradictionsUnconfirmed) {
            true => 0,
            false => readings,
        }
    }

    /// The blocks that the log lacks of an incomplete chunk.
    pub(in crate::pipeline) fn missing_blocks(
        self,
        blocks: Vec<(Partition, Vec<Bytes>)>,
    ) -> Vec<(Partition, Vec<Bytes>)> {
        match self.lack(Breakage::IncompleteChunkTakenAsComplete) {
            true => Vec::new(),
            false => blocks,
        }
    }

    /// Where posting is put back to, if account tables may be older than its checkpoint.
    pub(in crate::pipeline) fn put_back<T>(self, chosen: T, stay: T) -> T {
        match self.lack(Breakage::PostingNotPutBack) {
            true => stay,
            false => chosen,
        }
    }

    /// How the rows of prices and links differ from the control feed.
    pub(in crate::pipeline) fn feed_rows<T: Default>(self, found: T) -> T {
        match self.lack(Breakage::FeedRowsNotMended) {
            true => T::default(),
            false => found,
        }
    }
}
