//! What happens to tables, topics and clocks from outside. The pipeline must notice, stand still, and
//! go on once the harness, as the operator, has undone it.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::Value;
use tidemark::domain::position::{Epoch, Offset, Partition};
use tidemark::domain::time::Millis;
use tidemark::log::{NewRecord, Topic, rejected, usage_partition};
use tidemark::ops::health::{Role, TaskId};
use tidemark::store::accounts;
use tidemark::store::checkpoints::{self, ClockCorrection};
use tidemark::store::db::{Attr, Item, Key, StoreError, Table};
use tidemark::store::installation::marked_tables;

use super::adapter;
use super::db::DbState;
use super::log;
use super::run::{ADMINS, Lean, Run};
use super::workload::{DAY, HOUR};
use super::world::{Inner, lock};

/// How long it is watched what the workers make of a mishap. Less than any heartbeat takes.
const WATCHED_MS: i64 = 25_000;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishap {
    /// A rate checkpoint is deleted.
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
        if self.lean == Lean::Restores || self.rng.random_ratio(1, 6) {
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
        let task = TaskId::new(Role::Rate, Partition(self.rng.random_range(0..self.source)));
        let key = checkpoints::checkpoint_key(task);
        self.change(|items| {
            items.remove(&key);
        })?;
        self.watch(&["tables_behind_log"], true)?;
        if self.is_noticed() {
            self.repair(|items| items.extend(newest.get_key_value(&key).map(own)))?;
        }
        Ok(())
    }

    /// Whoever restores tables may also resume, once posting has caught up.
    fn restore_all(&mut self, newest: &Items) -> Result<(), String> {
        let Some(older) = self.older.clone() else {
            return Ok(());
        };
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
        self.repair(|items| *items = newest.clone())
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

    fn land(&mut self, partition: u32, record: NewRecord, append_time: i64) {
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

    /// A record is appended by a broker whose clock is hours to weeks ahead.
    pub(super) fn clock_jumps(&mut self) {
        let ahead = match self.rng.random() {
            true => self.rng.random_range(3 * HOUR..DAY),
            false => self.rng.random_range(DAY..60 * DAY),
        };
        self.clock_jumps_by(ahead);
    }

    fn clock_jumps_by(&mut self, ahead: i64) {
        let now = self.world.now();
        let (partition, record) = self.workload.record(&mut self.rng, now, self.source);
        lock(&self.ledger).may_halt.insert("clock_ahead");
        self.land(partition, record, now + ahead);
    }

    /// See [`super::run::cure`].
    pub(super) fn be_cured(&mut self) -> Result<(), String> {
        self.settings.usage_rows = true;
        let mix = &mut self.workload.mix;
        // Every event is right and of its own moment, so that none has another reason to be lost.
        (mix.conflicting, mix.malformed, mix.misplaced, mix.misdated) = (0, 0, 0, 0);
        mix.users = 12;
        lock(&self.ledger).may_run_ahead = true;
        self.publish_first();
        self.start_all();
        for round in 0..8 {
            if round == 3 {
                let ahead = self.rng.random_range(36 * DAY..60 * DAY);
                self.clock_jumps_by(ahead);
            }
            self.append();
            self.pass_moments()?;
        }
        while !self.quiesce()? {}
        let too_old = self.too_old();
        self.breakage = None;
        lock(&self.ledger).may_run_ahead = false;
        self.start_all();
        self.append();
        self.drain()?;
        for (partition, original) in too_old.clone() {
            let now = self.world.now();
            self.land(partition, original, now);
        }
        self.drain()?;
        self.settle()?;
        self.check()?;
        let lost = self.rejected_and_never_accepted(&too_old);
        match (too_old.is_empty(), lost) {
            (true, _) => Err("the jump made nothing too old".to_owned()),
            (_, 0) => Ok(()),
            (_, lost) => Err(format!("{lost} of {} events are lost", too_old.len())),
        }
    }

    fn pass_moments(&mut self) -> Result<(), String> {
        let until = self.world.now() + 3_000;
        let ended = self.executor.run_until(until, 200_000, |_| false);
        self.failed(ended)
    }

    /// The originals of what was rejected as too old, each once, and where they belong.
    fn too_old(&self) -> Vec<(u32, NewRecord)> {
        let epoch = self.epoch;
        let originals: BTreeMap<_, _> = self.world.with(|inner| {
            let log = &inner.logs[&epoch];
            let records = log.of(Topic::UsageRejected, Partition(0)).iter();
            let rejects = records.map(|record| rejected::decode(record).expect("a reject"));
            let too_old = rejects.filter(|reject| reject.reason.as_str() == "too_old");
            let places =
                too_old.map(|reject| ((reject.partition.0, reject.position), reject.original));
            places.collect()
        });
        let places = originals.into_iter();
        places
            .map(|((partition, _), original)| (partition, original))
            .collect()
    }

    /// How many of these events have no usage row.
    fn rejected_and_never_accepted(&self, events: &[(u32, NewRecord)]) -> usize {
        let rows: BTreeSet<String> = self.world.with(|inner| {
            let rows = inner.db.items.iter();
            let rows = rows.filter(|(key, _)| key.table == Table::UsageTracking);
            rows.filter_map(|(_, item)| match item.get("id") {
                Some(Attr::S(id)) => Some(id.clone()),
                _ => None,
            })
            .collect()
        });
        let id = |record: &NewRecord| {
            let event: Value = serde_json::from_slice(&record.value).expect("JSON");
            let id = event.get("requestId").or(event.get("id"));
            id.and_then(Value::as_str).expect("an id").to_owned()
        };
        let is_lost = |(_, record): &&(u32, NewRecord)| !rows.contains(&id(record));
        events.iter().filter(is_lost).count()
    }

    /// The operator declares those append times wrong, and lets the partitions go on.
    pub(super) fn correct_clocks(&mut self) {
        let halts = self.world.with(|inner| adapter::halts(&inner.db));
        let is_clock = |(task, code): (TaskId, String)| (code == "clock_ahead").then_some(task);
        let halted: BTreeSet<TaskId> = halts.into_iter().filter_map(is_clock).collect();
        // A worker that halted before may record its halt late, after all was corrected.
        if !self.executor.lives(ADMINS) {
            self.correcting.clear();
        }
        for task in halted {
            if self.correcting.insert(task) {
                self.correct_clock(task);
            }
        }
    }

    fn correct_clock(&mut self, task: TaskId) {
        let (epoch, now) = (self.epoch, self.world.now());
        let end = self.world.with(|inner| {
            let log = &inner.logs[&epoch];
            log.of(Topic::UsageEvents, task.partition).len() as u64
        });
        let correction = ClockCorrection {
            epoch: Epoch(epoch),
            until: Offset(end),
            at: Millis(now),
        };
        self.ask(move |db, now, _| async move {
            let partition = task.partition;
            let now = Millis(now);
            match checkpoints::correct_clock(&db, partition, &correction, "sim", now).await {
                // Refused: it stands there already.
                Ok(()) | Err(StoreError::ConditionFailed) => {}
                Err(_) => return false,
            }
            checkpoints::resume(&db, task, "sim", now).await.is_ok()
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
    let mut starts = Vec::new();
    for p in 0..source {
        if let Some(at) = adapter::rate_checkpoint(&inner.db, p).filter(|at| at.epoch.0 == epoch) {
            starts.push(((Topic::UsageEvents, p), at.window.first.0));
        }
    }
    for q in 0..posting {
        if let Some(at) = adapter::post_checkpoint(&inner.db, q).filter(|at| at.epoch.0 == epoch) {
            starts.push(((Topic::LedgerPostings, q), at.next.0));
        }
    }
    let log = inner.logs.get_mut(&epoch).expect("the log of this epoch");
    for (place, most) in starts {
        let start = log.starts.entry(place).or_default();
        *start = (*start).max((most as f64 * share) as u64);
    }
}
