//! Of POST.

use std::future::Future;

use super::{Breakage, Protections};
use crate::domain::position::WriteId;
use crate::pipeline::failure::Failure;
use crate::store::account_write::Omissions;
use crate::store::accounts::ReadOrder;
use crate::store::db::{StoreError, Write};

impl Protections {
    /// What a flush begins with: nothing. Broken: the checkpoint, before the rows.
    pub(in crate::pipeline) async fn checkpoint_after_rows(
        self,
        checkpoint: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        if self.lack(Breakage::CheckpointAheadOfFlush) {
            return checkpoint.await;
        }
        Ok(())
    }

    /// Sends one write of an account, and waits for its answer. Broken: two at the same time.
    pub(in crate::pipeline) async fn one_in_flight<F>(
        self,
        writes: Vec<Write>,
        send: impl Fn(Vec<Write>) -> F,
    ) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        if self.lack(Breakage::FenceLowerAndTwoInFlight) {
            let both = futures::future::join(send(writes.clone()), send(writes));
            let (first, second) = both.await;
            return first.or(second);
        }
        send(writes).await
    }

    /// The id of a write, which is part of the fence.
    pub(in crate::pipeline) fn write_id(self, own: WriteId) -> WriteId {
        match self.lack(Breakage::FenceWithoutWriteId) {
            true => WriteId::default(),
            false => own,
        }
    }

    /// What is left out of an account's write: nothing.
    pub(in crate::pipeline) fn omissions(self) -> Omissions {
        Omissions {
            old_head: self.lack(Breakage::OpenedHeadLeavesOldFence),
            account_item: self.lack(Breakage::FirstRowWithoutAccountItem),
            lower_fence: self.lack(Breakage::FenceLowerAndTwoInFlight),
        }
    }

    /// The changes of awards' pointers, which stand in the transaction of the account's rows.
    pub(in crate::pipeline) fn award_pointers(
        self,
        changes: impl Iterator<Item = Write>,
    ) -> impl Iterator<Item = Write> {
        let are_written = !self.lack(Breakage::PointerOutlivesAward);
        changes.filter(move |_| are_written)
    }

    /// How many awards fit a transaction.
    pub(in crate::pipeline) fn awards_per_write(self, most: usize) -> usize {
        match self.lack(Breakage::AwardsInOneTransaction) {
            true => usize::MAX,
            false => most,
        }
    }

    /// How many pending awards are taken at a time. Broken: as many as there are.
    pub(in crate::pipeline) fn awards_per_batch(self, most: u32) -> u32 {
        match self.lack(Breakage::AwardsInOneBatch) {
            true => u32::MAX,
            false => most,
        }
    }

    /// Whether the link of a milestone check is seen to be missing.
    pub(in crate::pipeline) fn sees_missing_link(self, is_missing: bool) -> bool {
        self.sees(is_missing, Breakage::InvisibleLinkTaken)
    }

    /// Whether a row went back by itself, so that nothing would bring back what it has lost.
    pub(in crate::pipeline) fn sees_lost_posting(self, is_lost: bool) -> bool {
        self.sees(is_lost, Breakage::RegressedRowsTaken)
    }

    /// Checks that the rows that were read show the awards that were applied to them.
    pub(in crate::pipeline) async fn applied_awards(
        self,
        check: impl Future<Output = Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        self.perform(check, Breakage::AppliedAwardsUnchecked).await
    }

    /// In which order the rows of an account are read.
    pub(in crate::pipeline) fn read_order(self) -> ReadOrder {
        if self.lack(Breakage::OlderRowsBeforeHead) {
            return ReadOrder::OlderFirst;
        }
        match self.lack(Breakage::OlderRowsUnmatched) {
            true => ReadOrder::HeadFirstUnmatched,
            false => ReadOrder::HeadFirstMatched,
        }
    }

    /// Whether an account that was touched may have earned badges: always. Broken: only if this
    /// worker wrote its rows.
    pub(in crate::pipeline) fn owes_badges(self, wrote_rows: impl FnOnce() -> bool) -> bool {
        !self.lack(Breakage::BadgesOfOwnWritesOnly) || wrote_rows()
    }

    /// Whether a top-K list is seen to lack the rows of before a change of partitions.
    pub(in crate::pipeline) fn sees_unbuilt_list(self, is_unbuilt: bool) -> bool {
        self.sees(is_unbuilt, Breakage::ListsNotRebuilt)
    }

    /// Checks that the rows that were written last are still there.
    pub(in crate::pipeline) async fn witnesses(
        self,
        check: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        self.perform(check, Breakage::WitnessesIgnored).await
    }

    /// Stores the records of accounts that are set aside, before the checkpoint passes their
    /// postings.
    pub(in crate::pipeline) async fn records_durable(
        self,
        save: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        self.perform(save, Breakage::SetAsideInMemoryOnly).await
    }

    /// Where an account that is released catches up from; `here` is where its partition is, `since`
    /// where it was set aside.
    pub(in crate::pipeline) fn catch_up_from<T>(
        self,
        chosen: Option<T>,
        here: impl FnOnce() -> T,
        since: impl FnOnce() -> T,
    ) -> Option<T> {
        match chosen {
            Some(_) if self.lack(Breakage::ReleaseWithoutCatchUp) => Some(here()),
            None if self.lack(Breakage::OlderRowsReleased) => Some(since()),
            chosen => chosen,
        }
    }

    /// Whether the awards of an account that is released are compared with its rows.
    pub(in crate::pipeline) fn compares_awards(self, is_asked: bool) -> bool {
        self.sees(is_asked, Breakage::OlderRowsReleased)
    }
}
