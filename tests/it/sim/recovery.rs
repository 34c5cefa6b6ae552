//! Tables that are restored to an earlier moment while workers are at work, and recovered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rand::Rng;
use rand::seq::IndexedRandom;
use tidemark::domain::ids::Account;
use tidemark::domain::position::Epoch;
use tidemark::log::Topic;
use tidemark::ops::health::Role;
use tidemark::pipeline::recover::{self, APART_MAX_MS, Refusal};
use tidemark::store::checkpoints::RateCheckpoint;
use tidemark::store::db::{Item, Key, Table};
use tidemark::store::installation;

use super::adapter::{self, WorkerSpec};
use super::checks::{Admin, Cuts};
use super::db::DbState;
use super::faults::Faults;
use super::run::{ADMINS, Lean, Run};
use super::world::lock;

/// How often an operator runs the command until it works.
const TRIES_MAX: u32 = 40;
/// Then the store and the log get better.
const TRIES_UNDER_FAULTS: u32 = 25;

/// The tables of a moment, and what was cut until then.
#[derive(Clone)]
pub struct Backup {
    pub at: i64,
    pub items: Items,
    pub cuts: Cuts,
}

type Items = BTreeMap<Key, Item>;
type Said = Arc<Mutex<Option<Result<BTreeMap<u32, u64>, Refusal>>>>;

impl Run {
    /// Everybody is killed, all tables go back, the command is run, and everybody starts.
    pub(super) fn restore_and_recover(&mut self) -> Result<(), String> {
        let Some(older) = self.older.clone() else {
            return Ok(());
        };
        let is_rating = self.world.with(|inner| {
            let mut all = 0..self.source;
            all.any(|p| adapter::rate_checkpoint(&inner.db, p).is_some())
        });
        if !is_rating {
            // The first rules may not be published yet.
            return Ok(());
        }
        self.executor.end_tasks(ADMINS);
        self.kill_all();
        self.let_late_ones_land()?;
        if self.lean != Lean::RestoredTwice && self.rng.random_ratio(1, 3) {
            return self.restore_feed_apart(&older);
        }
        if self.rng.random() {
            // Whoever runs on finds no tables for a while, and then older ones. One that sleeps all
            // the while may find its own old checkpoint again: that is why workers are to be stopped.
            let mut tasks = adapter::tasks(self.source, self.posting);
            if self.rng.random() {
                tasks.retain(|task| task.role == Role::Post);
            }
            self.start(tasks);
            let until = self.world.now() + self.rng.random_range(1..5_000);
            let ended = self.executor.run_until(until, 100_000, |_| false);
            self.failed(ended)?;
        }
        let (older, is_apart) = self.apart(older);
        if is_apart {
            self.kill_all();
            self.let_late_ones_land()?;
        }
        let goes_back = self.can_go_back_to(&older);
        if goes_back {
            self.tables_are_gone()?;
            self.world
                .with(|inner| inner.note(|| "ALL TABLES ARE RESTORED".to_owned()));
            self.change(|items| *items = older)?;
            self.restores += 1;
            self.world.with(|inner| inner.db.is_missing = false);
        }
        self.know_grants();
        if goes_back {
            // Posters notice and go on; raters that are started halt.
            if !is_apart && (!self.workers.is_empty() || self.rng.random_ratio(1, 3)) {
                self.watch(&["tables_behind_log", "row_regressed"], true)?;
                self.kill_all();
                self.let_late_ones_land()?;
            }
            self.recover(is_apart)?;
            self.resume_all();
            self.forget_lost_cuts();
        }
        self.go_on();
        Ok(())
    }

    /// Keeps the tables of this moment.
    pub(super) fn back_up(&mut self) {
        let cuts = lock(&self.ledger).cuts();
        let (at, items) = self.world.with(|inner| (inner.now, inner.db.items.clone()));
        self.backups.push(Backup { at, items, cuts });
    }

    /// To any moment that the log still reaches, also to one that the first restore gave up.
    pub(super) fn restore_again(&mut self) -> Result<(), String> {
        let backups = std::mem::take(&mut self.backups);
        let near = backups
            .iter()
            .filter(|backup| self.can_go_back_to(&backup.items));
        let near: Vec<_> = near.collect();
        if let Some(backup) = near.choose(&mut self.rng) {
            (self.older, self.older_at, self.later) = (Some(backup.items.clone()), backup.at, None);
            self.back_at = Some((*backup).clone());
            self.restore_and_recover()?;
            self.back_at = None;
        }
        Ok(())
    }

    /// A table is deleted before it is restored under its name, which takes minutes: what was on its
    /// way finds none.
    fn tables_are_gone(&mut self) -> Result<(), String> {
        if self.workers.is_empty() {
            return Ok(());
        }
        lock(&self.ledger).may_halt.insert("store_refused");
        self.world.with(|inner| {
            inner.note(|| "ALL TABLES ARE GONE".to_owned());
            inner.db.is_missing = true;
        });
        let last = self.world.with(|inner| inner.latest_late);
        let gone_for = self.rng.random_range(60_000..300_000);
        let until = last.max(self.world.now() + gone_for) + 2_000;
        let ended = self.executor.run_until(until, 400_000, |_| false);
        self.failed(ended)
    }

    fn go_on(&mut self) {
        lock(&self.ledger)
            .may_halt
            .retain(|code| *code == "clock_ahead");
        self.kill_all();
        self.start_all();
    }

    /// The tables of prices and links, each by itself, are of another moment than the rest: the
    /// changes in between are lost where the feed is older, and written again where it is newer.
    fn restore_feed_apart(&mut self, older: &Items) -> Result<(), String> {
        let (mut base, mut rows) = (self.items(), older.clone());
        let mut goes_back = false;
        if !self.can_go_back_to(&base) {
            // A new epoch may not have begun in the tables yet.
            self.know_grants();
            self.start_all();
            return Ok(());
        }
        if self.rng.random() {
            goes_back = self.rng.random() && self.can_go_back_to(older);
            if goes_back {
                base.clone_from(older);
            }
            for _ in 0..self.rng.random_range(1..4) {
                match self.rng.random() {
                    true => self.publish(),
                    false => self.sign_up(),
                }
            }
            let until = self.world.now() + 600_000;
            let ended = self
                .executor
                .run_until(until, 400_000, |executor| !executor.lives(ADMINS));
            self.failed(ended)?;
            self.executor.end_tasks(ADMINS);
            self.let_late_ones_land()?;
            rows = self.items();
        }
        for table in [Table::PricingConfig, Table::ReferralRelationships] {
            // The marker of a table, too, may be younger than the other moment.
            let marked = |items: &Items| items.contains_key(&installation::marker_key(table));
            if self.rng.random_ratio(2, 3) && marked(&rows) == marked(&base) {
                base.retain(|key, _| key.table != table);
                let of_it = rows.iter().filter(|(key, _)| key.table == table);
                base.extend(of_it.map(|(key, item)| (key.clone(), item.clone())));
            }
        }
        self.world
            .with(|inner| inner.note(|| "PRICES AND LINKS ARE OF ANOTHER MOMENT".to_owned()));
        self.change(|items| *items = base)?;
        self.know_grants();
        if !goes_back && self.rng.random_ratio(1, 3) {
            self.watch(&["row_regressed"], true)?;
            self.kill_all();
            self.let_late_ones_land()?;
        }
        self.recover(false)?;
        self.resume_all();
        self.forget_lost_cuts();
        self.go_on();
        Ok(())
    }

    fn items(&self) -> Items {
        self.world.with(|inner| inner.db.items.clone())
    }

    /// A checkpoint is gone, and nobody has a copy of it. False: the log has dropped what would be
    /// needed to go on without one.
    pub(super) fn recover_without_backup(&mut self) -> Result<bool, String> {
        self.kill_all();
        self.let_late_ones_land()?;
        if let Err(refusal) = self.try_to_recover(false)? {
            return match refusal {
                Refusal::EventsExpired { .. }
                | Refusal::BlocksExpired { .. }
                | Refusal::PostingCheckpointLost { .. } => Ok(false),
                refusal => Err(format!("recover refuses: {refusal}")),
            };
        }
        self.resume_all();
        self.forget_lost_cuts();
        self.start_all();
        Ok(true)
    }

    /// Some tables may be of another moment than the rest, minutes apart at the most. What is granted
    /// in between would contradict itself.
    fn apart(&mut self, older: Items) -> (Items, bool) {
        let Some((at, later)) = self.later.clone() else {
            return (older, false);
        };
        let awards = |items: &Items| {
            let db = DbState::of(items.clone());
            let awards = adapter::all_awards(&db).into_iter();
            let names: Vec<_> = awards.map(|(account, award)| (account, award.id)).collect();
            (names, adapter::has_pointers(&db))
        };
        // Posting can be put back only as far as the log reaches.
        let is_whole = self.world.with(|inner| {
            let starts = &inner.logs[&self.epoch].starts;
            starts.values().all(|start| *start == 0)
        });
        // Between the two the tables may have been marked, which would look like another table.
        let marked = |items: &Items| items.get(&installation::key()).cloned();
        let is_whole = is_whole && marked(&older) == marked(&later);
        let is_near = is_whole && at - self.older_at < APART_MAX_MS - 10_000;
        let (before, after) = (awards(&older), awards(&later));
        if !is_near || before.1 || after.1 || before != after || self.rng.random_ratio(1, 3) {
            return (older, false);
        }
        // Checkpoints are older, or newer, than rows.
        let (rows, rest) = match self.rng.random() {
            true => (&older, &later),
            false => (&later, &older),
        };
        let is_row = |key: &Key| {
            matches!(
                key.table,
                Table::UserPoints
                    | Table::ProviderRewards
                    | Table::StreakTracking
                    | Table::UsageTracking
            )
        };
        let of_rows = rows.iter().filter(|(key, _)| is_row(key));
        let of_rest = rest.iter().filter(|(key, _)| !is_row(key));
        let own = |(key, item): (&Key, &Item)| (key.clone(), item.clone());
        (of_rows.chain(of_rest).map(own).collect(), true)
    }

    fn kill_all(&mut self) {
        for owner in std::mem::take(&mut self.workers).into_keys() {
            self.executor.kill(owner);
        }
    }

    /// What processes had sent that are gone.
    fn let_late_ones_land(&mut self) -> Result<(), String> {
        let last = self.world.with(|inner| inner.latest_late);
        let until = last.max(self.latest_freeze).max(self.world.now()) + 2_000;
        let ended = self.executor.run_until(until, 200_000, |_| false);
        self.failed(ended)
    }

    /// Whether the log still holds what those tables need, and nothing of the control feed is lost:
    /// the oracle knows only what is in the feed at the end.
    fn can_go_back_to(&self, older: &BTreeMap<Key, Item>) -> bool {
        let older = DbState::of(older.clone());
        let (epoch, source, posting) = (self.epoch, self.source, self.posting);
        self.world.with(|inner| {
            let head = adapter::control_head_now(&inner.db, i64::MAX);
            let log = &inner.logs[&epoch];
            let start = |topic, n| log.starts.get(&(topic, n)).copied().unwrap_or(0);
            let rates = (0..source).all(|p| match adapter::rate_checkpoint(&older, p) {
                Some(at) => {
                    at.epoch.0 == epoch && at.window.first.0 >= start(Topic::UsageEvents, p)
                }
                None => epoch == 1 && start(Topic::UsageEvents, p) == 0,
            });
            let posts = (0..posting).all(|q| match adapter::post_checkpoint(&older, q) {
                Some(at) => at.epoch.0 == epoch && at.next.0 >= start(Topic::LedgerPostings, q),
                None => epoch == 1 && start(Topic::LedgerPostings, q) == 0,
            });
            head == adapter::control_head_now(&older, i64::MAX) && rates && posts
        })
    }

    /// Sign-ups and adjustments that the tables hold: newer ones are gone, and nobody waits for the
    /// answer to others any more.
    fn know_grants(&mut self) {
        let mut admin = Admin::default();
        self.world.with(|inner| {
            for (account, award) in adapter::all_awards(&inner.db) {
                let Some((kind, id)) = award.id.split_once('#') else {
                    continue;
                };
                match kind {
                    "adjustment" => {
                        let of = (account, id.to_owned());
                        admin.adjustments.insert(of, award.micropoints);
                    }
                    "signup" => {
                        let (kind, id) = id.split_once(':').expect("an account");
                        let kind = kind.parse().expect("a kind");
                        let referee = Account::new(kind, id).expect("an account");
                        admin.signups.insert(referee);
                    }
                    _ => {}
                }
            }
        });
        *lock(&self.admin) = admin;
    }

    /// Chunks that sent no block are not known to the log: they are cut anew.
    fn forget_lost_cuts(&mut self) {
        let mut ledger = lock(&self.ledger);
        self.world.with(|inner| {
            for p in 0..self.source {
                let stored = adapter::rate_checkpoint(&inner.db, p);
                // Where nothing was rolled forward, the chunks are those of the backup.
                if let Some(backup) = &self.back_at {
                    let was = adapter::rate_checkpoint(&DbState::of(backup.items.clone()), p);
                    let place = |at: &RateCheckpoint| (at.chunk, at.from, at.to);
                    if was.as_ref().map(place) == stored.as_ref().map(place) {
                        ledger.put_back_of(p, &backup.cuts);
                    }
                }
                ledger.forget_cuts(p, |chunk| {
                    let stored = stored.as_ref();
                    stored.is_some_and(|at| {
                        chunk < at.chunk.0 || (chunk == at.chunk.0 && at.is_cut())
                    })
                });
            }
        });
    }

    fn recover(&mut self, always: bool) -> Result<(), String> {
        let done = self.try_to_recover(always)?;
        done.map_err(|refusal| format!("recover refuses: {refusal}"))
    }

    /// Runs the command until it works or refuses; it is killed half-way now and then.
    fn try_to_recover(&mut self, mut always: bool) -> Result<Result<(), Refusal>, String> {
        let faults = self.world.with(|inner| inner.faults.clone());
        for tries in 0..TRIES_MAX {
            if tries == TRIES_UNDER_FAULTS {
                self.world.with(|inner| inner.faults = Faults::none());
            }
            self.next_owner += 1;
            let owner = self.next_owner;
            let spec = WorkerSpec {
                owner,
                token: self.rng.random(),
                epoch: Epoch(self.epoch),
                skew_ms: 0,
                settings: self.settings.clone(),
                breakage: self.breakage,
                tasks: Vec::new(),
            };
            let ctx = adapter::context(&self.world, &spec);
            let said = Said::default();
            let saying = said.clone();
            self.executor.spawn(owner, async move {
                let result = run_command(&ctx, always).await;
                *lock(&saying) = Some(result);
            });
            let steps = match self.rng.random_ratio(1, 3) {
                true => self.rng.random_range(1..400),
                false => 1_000_000,
            };
            let until = self.world.now() + 3_600_000;
            let ended = self
                .executor
                .run_until(until, steps, |executor| !executor.lives(owner));
            self.failed(ended)?;
            let said = lock(&said).take();
            match said {
                Some(Ok(_)) => {
                    self.world.with(|inner| inner.faults = faults);
                    return Ok(Ok(()));
                }
                Some(Err(Refusal::TryAgain(_))) => {}
                Some(Err(refusal)) => {
                    self.world.with(|inner| inner.faults = faults);
                    return Ok(Err(refusal));
                }
                None => self.executor.kill(owner),
            }
            // Only the first look needs to be told that there is something to do.
            always &= !self.world.with(|inner| {
                let mut keys = inner.db.items.keys();
                keys.any(|key| key.table == Table::Checkpoints && key.hash == "recovery")
            });
            let now = self.world.now();
            let last = self.world.with(|inner| inner.latest_late);
            let ended = self
                .executor
                .run_until(last.max(now) + 2_000, 200_000, |_| false);
            self.failed(ended)?;
        }
        Err("recover does not succeed".to_owned())
    }
}

/// How many chunks of each source partition were rated again; nothing: there was nothing to recover.
pub(super) async fn run_command(
    ctx: &tidemark::pipeline::WorkerContext,
    always: bool,
) -> Result<BTreeMap<u32, u64>, Refusal> {
    let survey = recover::survey(ctx).await?;
    let mut chunks = BTreeMap::new();
    if survey.is_done() && !always {
        return Ok(chunks);
    }
    recover::prepare(ctx, &survey, "sim").await?;
    for plan in survey.in_order() {
        let done = recover::roll_forward(ctx, &survey, plan, "sim").await?;
        chunks.insert(plan.source.0, done.chunks);
    }
    recover::conclude(ctx).await?;
    Ok(chunks)
}
