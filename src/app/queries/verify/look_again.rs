//! Accounts that differ from the archive, looked at one by one as of one moment.

use std::collections::{BTreeMap, HashMap};

use super::expected::ArchivedAccount;
use super::milestone::Rated;
use crate::domain::amount::Points;
use crate::domain::ids::Account;
use crate::domain::position::{Epoch, Offset, Partition, Position, Sequence};
use crate::domain::posting::Entry;
use crate::domain::time::{Millis, Month};
use crate::log::posting;
use crate::log::{Log, LogError, MUST_BE_THERE, ReadLimit, Topic};
use crate::store::accounts::{self, StoredRow};
use crate::store::awards;
use crate::store::db::{Db, StoreError};

/// How often an account that is being written is read anew.
const ATTEMPTS_MAX: u32 = 20;
/// How much of `ledger.postings` is read at a time.
const READ: ReadLimit = ReadLimit {
    records: 256,
    bytes: 4 << 20,
};

/// The rows of an account and the awards that are in them, as of one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct SettledAccount {
    pub(super) rows: BTreeMap<Month, StoredRow>,
    /// Points of awards that are in the rows, by month.
    pub(super) bonuses: BTreeMap<Month, Points>,
    /// The newest posting block that is in the rows.
    pub(super) position: Option<Position>,
}

/// Reads an account; `None`: it was being written at every attempt.
pub(super) async fn settled(
    db: &dyn Db,
    account: &Account,
    posting_partitions: u32,
) -> Result<Option<SettledAccount>, StoreError> {
    let head = |rows: &[StoredRow]| rows.last().map(|row| row.fence);
    for _ in 0..ATTEMPTS_MAX {
        let before = accounts::all_rows(db, account).await?;
        // Awards before their pointers: one that is granted in between is not among them, and of
        // one that is among them the pointer says whether it is in the rows.
        let granted = awards::awards_of(db, account).await?;
        let pending = awards::pending_among(db, &granted, posting_partitions).await?;
        let after = accounts::all_rows(db, account).await?;
        if head(&before) != head(&after) {
            continue;
        }
        let mut bonuses: BTreeMap<Month, Points> = BTreeMap::new();
        for award in granted.iter().filter(|award| !pending.contains(award)) {
            let sum = bonuses.entry(award.month).or_default();
            *sum = sum.plus(award.points);
        }
        let position = head(&after).and_then(|fence| fence.position);
        let rows = after.into_iter().map(|row| (row.row.month, row));
        return Ok(Some(SettledAccount {
            rows: rows.collect(),
            bonuses,
            position,
        }));
    }
    Ok(None)
}

/// Up to where the archive holds what a source partition of this epoch has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedSource {
    /// Log time at the end of it.
    pub log_time: Millis,
    /// The offset after the last record of `usage.events`.
    pub to: Offset,
    /// The last sequence sent to each posting partition.
    pub sequences: Vec<Sequence>,
    /// By posting partition: no later block stands before it.
    pub postings: Vec<Offset>,
}

/// What the log holds beyond the archive for some accounts.
pub(super) struct Beyond<'l> {
    pub(super) log: &'l dyn Log,
    pub(super) epoch: Epoch,
    pub(super) sources: &'l BTreeMap<Partition, ArchivedSource>,
}

/// The log does not hold the blocks between the archive and the rows any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlocksExpired;

impl Beyond<'_> {
    /// Adds to accounts of one posting partition what the blocks beyond the archive bring up to the
    /// position of each. `active` are the source partitions that have sent something since.
    pub(super) async fn add(
        &self,
        q: Partition,
        active: &[Partition],
        accounts: &mut HashMap<Account, (Option<Position>, ArchivedAccount)>,
    ) -> Result<Result<(), BlocksExpired>, LogError> {
        let known = |p: &Partition| {
            let source = self.sources.get(p);
            let next = source.and_then(|source| source.postings.get(q.0 as usize));
            next.copied().unwrap_or_default()
        };
        let Some(from) = active.iter().map(known).min() else {
            return Ok(Ok(()));
        };
        let in_epoch =
            |position: &Option<Position>| position.filter(|position| position.epoch == self.epoch);
        let newest = accounts
            .values()
            .filter_map(|(position, _)| in_epoch(position));
        let Some(to) = newest.map(|position| position.offset).max() else {
            return Ok(Ok(()));
        };
        if from > to {
            return Ok(Ok(()));
        }
        if self.log.bounds(Topic::LedgerPostings, q).await?.start > from {
            return Ok(Err(BlocksExpired));
        }
        let mut next = from;
        while next <= to {
            let read = self
                .log
                .read(Topic::LedgerPostings, q, next, READ, MUST_BE_THERE);
            let records = read.await?;
            let Some(last) = records.last() else {
                return Ok(Err(BlocksExpired));
            };
            next = last.offset.next();
            for record in records.iter().filter(|record| record.offset <= to) {
                if let Ok(block) = posting::decode(&record.value)
                    && block.epoch == self.epoch
                    && self.is_beyond(block.source, q, block.sequence)
                {
                    let position = Position {
                        epoch: self.epoch,
                        offset: record.offset,
                    };
                    let rated = Rated {
                        epoch: block.epoch,
                        source: block.source,
                        chunk: block.chunk,
                        chunk_log_time: block.source_log_time,
                    };
                    add_entries(&block.entries, position, &rated, accounts);
                }
            }
        }
        Ok(Ok(()))
    }

    fn is_beyond(&self, source: Partition, q: Partition, sequence: Sequence) -> bool {
        let known = self.sources.get(&source);
        let known = known.and_then(|source| source.sequences.get(q.0 as usize));
        known.is_none_or(|known| sequence > *known)
    }
}

fn add_entries(
    entries: &[Entry],
    position: Position,
    rated: &Rated,
    accounts: &mut HashMap<Account, (Option<Position>, ArchivedAccount)>,
) {
    for entry in entries {
        if let Some((counted, account)) = accounts.get_mut(&entry.account)
            && counted.is_some_and(|counted| position <= counted)
        {
            account.add_entry(entry, position, rated);
        }
    }
}
