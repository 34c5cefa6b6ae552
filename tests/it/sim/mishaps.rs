//! What happens to tables, topics and clocks from outside. The pipeline must notice, stand still, and
//! go on once the harness, as the operator, has undone it.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use rand::seq::IndexedRandom;
use tidemark::domain::position::{Epoch, Partition};
use tidemark::log::{NewRecord, Topic, usage_partition};
use tidemark::ops::health::{Role, TaskId};
use tidemark::store::accounts;
use tidemark::store::checkpoints;
use tidemark::store::db::{Item, Key, Table};
use tidemark::store::installation::marked_tables;

use super::adapter;
use super::db::DbState;
use super::log;
use super::run::{Lean, Run};
use super::world::{Inner, lock};

/// How long it is watched what the workers make of a mishap. Less than any heartbeat takes.
const WATCHED_MS: i64 = 25_000;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishap {
    /// A checkpoint is deleted.
    LostCheckpoint,
    /// All tables are restored from an older backup.
    OlderTables,
    /// A table is deleted and created again.
    RecreatedTable,
    /// One account table is restored from an older backup.
    OlderAccounts,
    /// Partitions are added to `usage.events` in place.
    GrownTopic,
}

const ALL: [Mishap; 5] = [
    Mishap::LostCheckpoint,
    Mishap::OlderTables,
    Mishap::RecreatedTable,
    Mishap::OlderAccounts,
    Mishap::GrownTopic,
];

/// Tables that are older than the log. Records that they still need may have expired.
const OLDER: [&str; 3] = ["tables_behind_log", "sequence_gap", "log_truncated"];

type Items = BTreeMap<Key, Item>;

impl Run {
    /// Stops everything, lets something happen, and starts again.
    pub(super) fn mishap(&mut self) -> Result<(), String> {
        if matches!(self.lean, Lean::Restores | Lean::RestoredTwice) || self.rng.random_ratio(1, 6)
        {
            return self.restore_and_recover();
        }
        let mishap = *ALL.choose(&mut self.rng).expect("not empty");
        let faults = self.world.with(|inner| inner.faults.clone());
        if !self.quiesce()? {
            return Ok(());
        }
        let newest = self.world.with(|inner| inner.db.items.clone());
        self.world
            .with(|inner| inner.note(|| format!("MISHAP {mishap:?}")));
        match mishap {
            Mishap::LostCheckpoint => self.lose_checkpoint(&newest)?,
            Mishap::OlderTables => self.restore_all(&newest)?,
            Mishap::RecreatedTable => self.recreate_table(&newest)?,
            Mishap::OlderAccounts => self.restore_accounts(&newest)?,
            Mishap::GrownTopic => self.grow()?,
        }
        lock(&self.ledger)
            .may_halt
            .retain(|code| *code == "clock_ahead");
        if self.workers.is_empty() {
            self.start_all();
        }
        self.set_faults(faults);
        Ok(())
    }

    fn lose_checkpoint(&mut self, newest: &Items) -> Result<(), String> {
        let (role, partitions) = match self.rng.random() {
            true => (Role::Rate, self.source),
            false => (Role::Post, self.posting),
        };
        let task = TaskId::new(role, Partition(self.rng.random_range(0..partitions)));
        let key = checkpoints::checkpoint_key(task);
        self.change(|items| {
            items.remove(&key);
        })?;
        self.watch(&["tables_behind_log"], true)?;
        let is_mended = self.is_noticed() && self.rng.random() && self.recover_without_backup()?;
        if self.is_noticed() && !is_mended {
            self.repair(|items| items.extend(newest.get_key_value(&key).map(own)))?;
        }
        Ok(())
    }

    /// Whoever restores tables may also resume, once posting has caught up.
    fn restore_all(&mut self, newest: &Items) -> Result<(), String> {
        let Some(older) = self.older.clone() else {
            return Ok(());
        };
        let cuts = lock(&self.ledger).cuts();
        lock(&self.ledger).has_older_feed = true;
        self.change(|items| *items = older)?;
        self.watch(&OLDER, false)?;
        let halted = self.halted().into_iter();
        let raters = halted.filter(|task| task.role == Role::Rate);
        let halted: BTreeSet<u32> = raters.map(|task| task.partition.0).collect();
        if !halted.is_empty() {
            self.resume_all();
            self.append_to(&halted);
            self.watch(&OLDER, false)?;
        }
        self.repair(|items| *items = newest.clone())?;
        lock(&self.ledger).has_older_feed = false;
        lock(&self.ledger).put_back(cuts);
        Ok(())
    }

    fn recreate_table(&mut self, newest: &Items) -> Result<(), String> {
        let tables: Vec<Table> = marked_tables().collect();
        let table = *tables.choose(&mut self.rng).expect("not empty");
        self.change(|items| items.retain(|key, _| key.table != table))?;
        self.watch(&["row_regressed"], true)?;
        if self.is_noticed() {
            self.repair(|items| items.extend(of_table(newest, table)))?;
        }
        Ok(())
    }

    fn restore_accounts(&mut self, newest: &Items) -> Result<(), String> {
        let Some(older) = self.older.clone() else {
            return Ok(());
        };
        let table = match self.rng.random() {
            true => Table::UserPoints,
            false => Table::ProviderRewards,
        };
        if !self.loses_postings(&older, table) {
            return Ok(());
        }
        self.change(|items| {
            items.retain(|key, _| key.table != table);
            items.extend(of_table(&older, table));
        })?;
        self.watch(&["row_regressed"], false)?;
        if self.is_noticed() {
            self.repair(|items| {
                items.retain(|key, _| key.table != table);
                items.extend(of_table(newest, table));
            })?;
        }
        Ok(())
    }

    /// Whether a checkpoint covers postings that older rows lack. Lost awards alone are not noticed.
    fn loses_postings(&self, older: &Items, table: Table) -> bool {
        let older = DbState::of(older.clone());
        self.world.with(|inner| {
            let posts = (0..self.posting).filter_map(|q| adapter::post_checkpoint(&inner.db, q));
            let witnesses: Vec<_> = posts.flat_map(|post| post.witnesses).collect();
            let of_table = witnesses
                .iter()
                .filter(|witness| accounts::table(witness.account.kind) == table);
            of_table.into_iter().any(|witness| {
                let rows = adapter::month_rows(&older, &witness.account).expect("readable rows");
                let head = rows
                    .last_key_value()
                    .and_then(|(_, head)| head.fence.position);
                head < Some(witness.position)
            })
        })
    }

    fn grow(&mut self) -> Result<(), String> {
        let (before, epoch) = (self.source, self.epoch);
        self.forget_layout();
        self.source += self.rng.random_range(1..3);
        let grown = self.source;
        self.set_partitions(grown);
        self.watch(&["partitions_changed"], true)?;
        if !self.is_noticed() {
            return Ok(());
        }
        // The operator takes the new partitions away and sends their records to the old ones.
        self.source = before;
        self.set_partitions(before);
        let stray: Vec<NewRecord> = self.world.with(|inner| {
            let log = inner.logs.get_mut(&epoch).expect("the log of this epoch");
            let added =
                (before..grown).filter_map(|p| log.records.remove(&(Topic::UsageEvents, p)));
            let records = added.flatten().map(|record| NewRecord {
                key: record.key,
                value: record.value,
                headers: record.headers,
            });
            records.collect()
        });
        self.repair(|_| {})?;
        for record in stray {
            let user = record.key.as_deref().map(String::from_utf8_lossy);
            let partition = usage_partition(&user.unwrap_or_default(), before);
            self.world.with(|inner| {
                log::land(
                    inner,
                    Epoch(epoch),
                    Topic::UsageEvents,
                    partition,
                    vec![record],
                );
            });
        }
        Ok(())
    }

    /// The tables are of a version that did not store the partition counts of its only epoch.
    pub(super) fn forget_layout(&mut self) {
        if self.epoch == 1 && self.rng.random() {
            let items = |inner: &mut Inner| inner.db.items.retain(|key, _| key.hash != "epochs");
            self.world.with(items);
        }
    }

    fn set_partitions(&mut self, count: u32) {
        let epoch = self.epoch;
        self.world.with(|inner| {
            let log = inner.logs.get_mut(&epoch).expect("the log of this epoch");
            log.partitions.insert(Topic::UsageEvents, count);
        });
    }

    /// Changes the tables while nobody works.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Items)) -> Result<(), String> {
        self.world.with(|inner| {
            change(&mut inner.db.items);
            lock(&self.ledger).read_again(&inner.db)
        })
    }

    /// Starts everybody, and lets them work for a while.
    pub(super) fn watch(&mut self, codes: &[&'static str], with_usage: bool) -> Result<(), String> {
        lock(&self.ledger).may_halt.extend(codes);
        if self.workers.is_empty() {
            self.start_all();
        }
        for _ in 0..2 {
            if with_usage {
                self.append();
            }
            let until = self.world.now() + WATCHED_MS / 2;
            let ended = self.executor.run_until(until, 400_000, |_| false);
            self.failed(ended)?;
        }
        Ok(())
    }

    fn halted(&self) -> Vec<TaskId> {
        let halts = self.world.with(|inner| adapter::halts(&inner.db));
        halts.into_iter().map(|(task, _)| task).collect()
    }

    fn is_noticed(&self) -> bool {
        !self.halted().is_empty()
    }

    pub(super) fn resume_all(&mut self) {
        self.world.with(|inner| {
            inner.db.items.retain(|key, _| key.hash != "halts");
        });
    }

    /// Everybody is stopped, the tables are as they were, and everybody goes on.
    fn repair(&mut self, change: impl FnOnce(&mut Items)) -> Result<(), String> {
        for owner in std::mem::take(&mut self.workers).into_keys() {
            self.executor.kill(owner);
        }
        let until = self.world.now() + 2_000;
        let ended = self.executor.run_until(until, 100_000, |_| false);
        self.failed(ended)?;
        self.change(change)?;
        self.resume_all();
        self.start_all();
        Ok(())
    }

    /// Usage in these partitions only.
    fn append_to(&mut self, partitions: &BTreeSet<u32>) {
        let now = self.world.now();
        for _ in 0..40 {
            let (partition, record) = self.workload.record(&mut self.rng, now, self.source);
            if partitions.contains(&partition) {
                self.land(partition, record, now);
            }
        }
    }

    pub(super) fn land(&mut self, partition: u32, record: NewRecord, append_time: i64) {
        let (epoch, topic) = (Epoch(self.epoch), Topic::UsageEvents);
        self.world.with(|inner| {
            let records = vec![record];
            log::land_at(
                inner,
                epoch,
                topic,
                Partition(partition),
                records,
                append_time,
            );
        });
    }

    /// Logs drop what is done, and usage rows outlive their time to live.
    pub(super) fn expire(&mut self) {
        let (epoch, source, posting) = (self.epoch, self.source, self.posting);
        if self.rng.random_ratio(1, 4) {
            let share = self.rng.random_range(0.0..1.0);
            self.world
                .with(|inner| retain(inner, (epoch, source, posting), share));
        }
        if self.rng.random_ratio(1, 4) {
            self.world.with(|inner| {
                let now = inner.now;
                let lives = |key: &Key, item: &Item| {
                    key.table != Table::UsageTracking || !adapter::has_expired(item, now)
                };
                inner.db.items.retain(|key, item| lives(key, item));
            });
        }
    }
}

fn own((key, item): (&Key, &Item)) -> (Key, Item) {
    (key.clone(), item.clone())
}

fn of_table(items: &Items, table: Table) -> Items {
    let of_it = items.iter().filter(|(key, _)| key.table == table);
    of_it.map(own).collect()
}

/// Drops a share of what is rated and posted, the duplicate windows included where usage rows tell
/// duplicates.
fn retain(inner: &mut Inner, (epoch, source, posting): (u32, u32, u32), share: f64) {
    let aside = adapter::set_aside(&inner.db);
    let mut starts = Vec::new();
    for p in 0..source {
        if let Some(at) = adapter::rate_checkpoint(&inner.db, p).filter(|at| at.epoch.0 == epoch) {
            starts.push(((Topic::UsageEvents, p), at.window.first.0));
        }
    }
    for q in 0..posting {
        if let Some(at) = adapter::post_checkpoint(&inner.db, q).filter(|at| at.epoch.0 == epoch) {
            // An operator who has set accounts aside keeps what they miss.
            let missed = aside
                .values()
                .filter(|record| record.partition.0 == q && record.since.epoch.0 == epoch)
                .map(|record| record.since.next.0);
            let most = missed.chain([at.next.0]).min().unwrap_or_default();
            starts.push(((Topic::LedgerPostings, q), most));
        }
    }
    for (place, most) in starts {
        let home = log::home(inner, Epoch(epoch), place.0);
        let log = inner.logs.get_mut(&home.0).expect("the log of this epoch");
        let start = log.starts.entry(place).or_default();
        *start = (*start).max((most as f64 * share) as u64);
    }
}
