//! One seed, one schedule: draws it, runs it, drains it, checks it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use serde_json::json;
use tidemark::domain::amount::Points;
use tidemark::domain::ethereum::Address;
use tidemark::domain::ids::Account;
use tidemark::domain::position::{Epoch, Partition};
use tidemark::domain::time::Millis;
use tidemark::log::Topic;
use tidemark::ops::health::TaskId;
use tidemark::pipeline::{self, Breakage, Settings};
use tidemark::store::awards::{Adjustment, AdjustmentError, adjustment};
use tidemark::store::db::{Item, Key};
use tidemark::store::pricing::{NewValue, Publish, PublishError, publish};
use tidemark::store::referrals::{AwardPolicy, Referrer, SignupError, SignupRequest, signup};
use tidemark::store::wallets::{IssuedMessage, LinkError, LinkRequest, issue, link};
use tokio::sync::watch;

use super::adapter::{self, WorkerSpec};
use super::badges;
use super::checks::{self, Admin, Ledger};
use super::damage::{self, Damaged};
use super::db::SimDb;
use super::faults::Faults;
use super::log::{self, LogState};
use super::recovery::Backup;
use super::workload::{DAY, HOUR, MINUTE, Mix, Workload, provider, user};
use super::world::{Executor, Owner, Stopped, World, lock};
use crate::oracle::defaults;

/// 2026-11-29T20:00:00Z.
const START: i64 = 1_795_982_400_000;
/// 2026-12-01T06:00:00Z: events of a few hours ago are of the month before.
const MONTH_BEGINS: i64 = START + 34 * HOUR;
/// What the drain may take, virtual ms and steps.
const DRAIN_MS_MAX: i64 = 30 * MINUTE;
const DRAIN_STEPS_MAX: u64 = 1_500_000;
/// The process of all administrators.
pub(super) const ADMINS: Owner = 1;

/// What a schedule leans to, so that few seeds are needed to meet what is rare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lean {
    /// Everything there is.
    #[default]
    Everything,
    /// Two workers at once, short flushes, late writes.
    Rivals,
    /// New accounts that get a posting and an award of different months at once, from two workers.
    FirstRows,
    /// Accounts whose months open while rivals write.
    Months,
    /// More awards of one account than a transaction has room for.
    Crowd,
    /// Awards while workers die.
    Awards,
    /// Resends near the window's edge.
    Window,
    /// New epochs with other numbers of partitions.
    Moves,
    /// New epochs in which one topic or both are still those of the epoch before.
    Kept,
    /// Tables and topics that something other than the pipeline changes.
    Mishaps,
    /// Brokers whose clocks jump ahead.
    Clocks,
    /// Tables that are restored to an earlier moment, and recovered.
    Restores,
    /// Earlier epochs that go on after a later one began.
    Rollbacks,
    /// Rows of single accounts that something other than the pipeline damages.
    Damage,
    /// Requests that are taken back.
    Reversals,
    /// Requests that are reported twice, first in part.
    Completions,
    /// Badges, while workers die; months become final.
    Badges,
    /// Tables that are restored and recovered, and then restored again to another moment: before or
    /// after the first one, or to one that the first restore had abandoned.
    RestoredTwice,
}

/// One run.
pub struct Run {
    pub(super) rng: StdRng,
    pub(super) executor: Executor,
    pub(super) world: World,
    pub(super) workload: Workload,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) admin: Arc<Mutex<Admin>>,
    pub(super) settings: Settings,
    pub(super) source: u32,
    pub(super) posting: u32,
    pub(super) epoch: u32,
    pub(super) breakage: Option<Breakage>,
    pub(super) lean: Lean,
    pub(super) workers: BTreeMap<Owner, (Vec<TaskId>, watch::Sender<bool>)>,
    pub(super) next_owner: Owner,
    pub(super) asked: u64,
    pub(super) latest_freeze: i64,
    /// The tables at some earlier moment.
    pub(super) older: Option<BTreeMap<Key, Item>>,
    /// When that was.
    pub(super) older_at: i64,
    /// The tables at a moment after that.
    pub(super) later: Option<(i64, BTreeMap<Key, Item>)>,
    /// The tables at more moments, also at those that a restore has abandoned.
    pub(super) backups: Vec<Backup>,
    /// The one to which the tables went back again.
    pub(super) back_at: Option<Backup>,
    /// How often tables were restored and recovered.
    pub(super) restores: u32,
    /// Items that are damaged, and how they were before.
    pub(super) damaged: BTreeMap<Key, Damaged>,
    /// Partitions whose clocks an operator is correcting.
    pub(super) correcting: BTreeSet<TaskId>,
    /// All badges were published.
    has_all_badges: bool,
}

/// What a run came to.
pub struct Outcome {
    /// What failed, with the trace.
    pub failure: Option<String>,
    /// A hash of all that happened.
    pub digest: u64,
    /// Steps taken.
    pub steps: u64,
    /// How often tables were restored to an earlier moment and recovered.
    pub restores: u32,
}

/// Runs a seed.
pub fn run(seed: u64, lean: Lean, breakage: Option<Breakage>, trace: bool) -> Outcome {
    let mut run = Run::new(seed, lean, breakage, trace);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.whole()));
    let result = result.unwrap_or_else(|panic| Err(format!("panic: {}", message(&*panic))));
    let failure = result.err().map(|what| {
        if trace {
            format!("{}\n\nseed {seed}, {lean:?}: {what}", run.world.trace())
        } else {
            what
        }
    });
    Outcome {
        failure,
        digest: run.world.digest(),
        steps: run.executor.steps,
        restores: run.restores,
    }
}

/// An installation whose version did not look at clocks has rated a record from one that was weeks
/// ahead, and rejected what came after it. This version halts, an operator corrects the clock and
/// sends the rejects again.
pub fn cure(seed: u64, breakage: Option<Breakage>) -> Result<(), String> {
    let mut run = Run::new(seed, Lean::Clocks, Some(Breakage::ClocksTrusted), false);
    let cured = std::panic::AssertUnwindSafe(|| run.be_cured(breakage));
    let result = std::panic::catch_unwind(cured);
    result.unwrap_or_else(|panic| Err(format!("panic: {}", message(&*panic))))
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()))
        .unwrap_or_else(|| "something without words".to_owned())
}

fn ms(rng: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.random_range(from..=to))
}

fn settings(rng: &mut StdRng, lean: Lean) -> Settings {
    let windowed = lean == Lean::Window;
    let meets = matches!(lean, Lean::FirstRows | Lean::Months);
    let (flush_ms_max, award_ms_max) = if meets { (150, 100) } else { (600, 1_000) };
    let cached_max = if lean == Lean::Months { 4 } else { 25 };
    // A checkpoint of one rival makes the other begin again.
    let tops_ms = if meets { (1_000, 5_000) } else { (50, 2_000) };
    Settings {
        chunk_records_max: rng.random_range(2..12),
        chunk_bytes_max: if rng.random_ratio(1, 8) { 600 } else { 1 << 20 },
        chunk_age: ms(rng, 1, 60),
        idle_after: ms(rng, 50, 600),
        tick_after: ms(rng, 60_000, 900_000),
        window_age_ms: *[3_000, 60_000, 3_600_000].choose(rng).expect("not empty"),
        window_records_max: *if windowed {
            &[1_u64, 3, 8, 12][..]
        } else {
            &[5, 20, 1_000, 1_000][..]
        }
        .choose(rng)
        .expect("not empty"),
        usage_rows: windowed || !rng.random_ratio(1, 6) || lean == Lean::Completions,
        chains_cached_max: rng.random_range(1..30),
        flush_interval: ms(rng, 5, flush_ms_max),
        flush_accounts_max: rng.random_range(1..12),
        flush_concurrency: rng.random_range(1..5),
        accounts_cached_max: rng.random_range(1..cached_max),
        blocks_read_max: rng.random_range(1..6),
        leaderboard_size: rng.random_range(1..5),
        leaderboard_interval: ms(rng, tops_ms.0, tops_ms.1),
        award_interval: ms(rng, 50, award_ms_max),
        halt_poll: ms(rng, 500, 2_000),
        backoff: ms(rng, 5, 100),
        backoff_max: ms(rng, 200, 3_000),
        tries_max: rng.random_range(1..9),
        ..Settings::default()
    }
}

fn mix(rng: &mut StdRng, lean: Lean) -> Mix {
    let windowed = lean == Lean::Window;
    Mix {
        users: rng.random_range(2..6),
        providers: rng.random_range(1..4),
        resent: if windowed {
            450
        } else {
            rng.random_range(0..300)
        },
        conflicting: rng.random_range(0..250),
        malformed: rng.random_range(0..80),
        misplaced: rng.random_range(0..60),
        misdated: if windowed {
            300
        } else {
            rng.random_range(0..600)
        },
        ahead: if windowed {
            700
        } else {
            rng.random_range(0..300)
        },
        simultaneous: if windowed {
            200
        } else {
            rng.random_range(0..60)
        },
        hot: if rng.random_ratio(1, 5) { 850 } else { 0 },
        // Not drawn: the other leans keep their schedules.
        reversed: match lean {
            Lean::Reversals => 250,
            Lean::Everything | Lean::Moves | Lean::Restores | Lean::Completions => 60,
            Lean::Badges => 60,
            _ => 0,
        },
        unfinished: match lean {
            Lean::Completions => 250,
            Lean::Everything | Lean::Moves | Lean::Restores => 60,
            _ => 0,
        },
    }
}

impl Run {
    fn new(seed: u64, lean: Lean, breakage: Option<Breakage>, trace: bool) -> Run {
        // Two generators: what the schedule is must not depend on how it goes.
        let mut rng = StdRng::seed_from_u64(seed ^ 0x7469_6465_6d61_726b);
        let start = match lean {
            Lean::FirstRows | Lean::Months => MONTH_BEGINS,
            _ => START + rng.random_range(0..5) * DAY,
        };
        let world = World::new(seed, start, Faults::none(), trace);
        let (source, posting) = match lean {
            Lean::FirstRows | Lean::Months => (1, 1),
            _ => (rng.random_range(1..4), rng.random_range(1..3)),
        };
        // Without auditors nobody writes it.
        let archive = breakage.is_none().then(Arc::default);
        world.with(|inner| inner.archive = archive);
        let ledger = checks::watch(&world);
        let settings = settings(&mut rng, lean);
        let workload = Workload::new(mix(&mut rng, lean));
        let mut run = Run {
            rng,
            executor: Executor::new(world.clone()),
            world,
            workload,
            ledger,
            admin: Arc::default(),
            settings,
            source,
            posting,
            epoch: 0,
            breakage,
            lean,
            workers: BTreeMap::new(),
            next_owner: ADMINS,
            asked: 0,
            latest_freeze: 0,
            older: None,
            older_at: 0,
            later: None,
            backups: Vec::new(),
            back_at: None,
            restores: 0,
            damaged: BTreeMap::new(),
            correcting: BTreeSet::new(),
            has_all_badges: false,
        };
        run.open_epoch();
        run
    }

    fn whole(&mut self) -> Result<(), String> {
        match self.lean {
            Lean::FirstRows | Lean::Months => return self.rivals_meet(),
            Lean::Crowd => return self.crowd(),
            _ => {}
        }
        self.publish_first();
        let level = self.rng.random_range(0..4);
        let faults = self.world.with(|inner| Faults::draw(inner, level));
        self.set_faults(faults);
        self.start_all();
        let rounds = self.rng.random_range(6..22);
        let moves = match self.lean {
            Lean::Moves | Lean::Kept => 2,
            _ => u32::from(self.rng.random_ratio(1, 8)),
        };
        let moves_at: Vec<u32> = (0..moves)
            .map(|_| self.rng.random_range(2..rounds))
            .collect();
        let leans = matches!(
            self.lean,
            Lean::Mishaps | Lean::Restores | Lean::RestoredTwice | Lean::Rollbacks
        );
        // A backup of a damaged row is not what the mishaps are about.
        let has_mishap = leans
            || !matches!(self.lean, Lean::Damage | Lean::Badges) && self.rng.random_ratio(1, 10);
        let mishap_at = has_mishap.then(|| self.rng.random_range(2..rounds));
        let snapshot_at = match (self.lean, mishap_at) {
            (Lean::Restores | Lean::RestoredTwice, Some(at)) => {
                self.rng.random_range(at.saturating_sub(3)..=at)
            }
            _ => self.rng.random_range(0..rounds),
        };
        let again_at = match (self.lean, mishap_at) {
            (Lean::RestoredTwice, Some(at)) => Some(self.rng.random_range(at + 1..rounds + 2)),
            _ => None,
        };
        let rounds = rounds.max(again_at.map_or(0, |at| at + 1));
        for round in 0..rounds {
            if moves_at.contains(&round) {
                self.next_epoch()?;
            }
            if snapshot_at + 1 == round && self.older.is_some() {
                let (now, items) = self.world.with(|inner| (inner.now, inner.db.items.clone()));
                self.later = Some((now, items));
            }
            if snapshot_at == round {
                self.older = Some(self.world.with(|inner| inner.db.items.clone()));
                self.older_at = self.world.now();
                self.later = None;
            }
            if self.lean == Lean::RestoredTwice {
                self.back_up();
            }
            if mishap_at == Some(round) {
                match self.lean {
                    Lean::Rollbacks => self.roll_back()?,
                    _ => self.mishap()?,
                }
            }
            if again_at == Some(round) {
                self.restore_again()?;
            }
            if self.lean == Lean::Clocks && self.rng.random_ratio(1, 5) {
                self.clock_jumps();
            }
            self.correct_clocks();
            self.expire();
            if self.lean == Lean::Damage {
                self.damage_or_mend()?;
            }
            if self.lean == Lean::Badges {
                self.badges(round);
            }
            self.append();
            self.disturb();
            self.proceed()?;
        }
        if self.lean == Lean::Badges && self.rng.random::<bool>() {
            // The month becomes final, if it does not have to wait for an award.
            let jump = self.rng.random_range(3 * DAY..12 * DAY);
            self.world.with(|inner| inner.now += jump);
        }
        self.drain()?;
        self.settle()?;
        self.check()
    }

    /// Badges are published, later more of them; an admin takes some back, and workers die.
    fn badges(&mut self, round: u32) {
        let is_drawn = round == 0 || round > 2 && self.rng.random_ratio(1, 6);
        if is_drawn && (round == 0 || !self.has_all_badges) {
            self.has_all_badges = round > 0;
            self.publish_badges(badges::rules(round > 0));
        }
        if self.rng.random_ratio(1, 4) {
            self.revoke();
        }
        if self.rng.random_ratio(1, 2) {
            self.kill_one(true);
        }
    }

    fn publish_badges(&mut self, value: String) {
        self.ask(move |db, now, token| {
            let request = Publish {
                values: vec![NewValue {
                    key: "rules.badges".to_owned(),
                    value: value.clone(),
                }],
                effective_from: Millis(now),
                by: "sim".to_owned(),
                reason: "a test".to_owned(),
                now: Millis(now),
                token: format!("publish-{token}"),
            };
            async move {
                match publish(&db, &request).await {
                    Err(PublishError::Store(error)) => !error.is_transient(),
                    // Fewer badges after all of them: the requests of admins are not in order.
                    Ok(_) | Err(PublishError::Faults(_)) => true,
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }

    fn revoke(&mut self) {
        let account = self.an_account();
        let id = *["one-day", "scraper", "two-days", "chatter"]
            .choose(&mut self.rng)
            .expect("not empty");
        let admin = self.admin.clone();
        self.ask(move |db, now, token| {
            let (account, admin) = (account.clone(), admin.clone());
            async move {
                let decision = badges::decision(now, format!("revoke-{token}"), true);
                let badge = id.parse().expect("an id");
                match tidemark::store::badges::decide(&db, &account, &badge, &decision).await {
                    Ok(Some(_)) => {
                        lock(&admin).revoked.insert((account, id.to_owned()));
                        true
                    }
                    Ok(None) => true,
                    Err(error) => !error.is_transient(),
                }
            }
        });
    }

    pub(super) fn set_faults(&mut self, mut faults: Faults) {
        if self.rng.random_ratio(1, 5) {
            let posting = self.rng.random::<bool>();
            let topic = if posting {
                Topic::LedgerPostings
            } else {
                Topic::UsageEvents
            };
            let of = if posting { self.posting } else { self.source };
            let slow = self.rng.random_range(100..10_000);
            faults.slow_partition = Some((topic.name(), self.rng.random_range(0..of), slow));
        }
        if matches!(self.lean, Lean::Rivals | Lean::FirstRows | Lean::Months) {
            faults.torn_ms_max = faults.torn_ms_max.max(60);
            faults.late = faults.late.max(60);
        }
        self.world.with(|inner| inner.faults = faults);
    }

    pub(super) fn open_epoch(&mut self) {
        self.epoch += 1;
        self.backups.clear();
        self.older = None;
        self.later = None;
        let mut log = LogState::new(self.source, 1, self.posting);
        checks::watch_log(&mut log, self.epoch, &self.ledger);
        self.world.with(|inner| inner.logs.insert(self.epoch, log));
    }

    pub(super) fn start(&mut self, tasks: Vec<TaskId>) -> Owner {
        self.start_in(self.epoch, tasks)
    }

    /// Starts a worker that is configured for this epoch.
    pub(super) fn start_in(&mut self, epoch: u32, tasks: Vec<TaskId>) -> Owner {
        self.next_owner += 1;
        let spec = WorkerSpec {
            owner: self.next_owner,
            token: self.rng.random(),
            epoch: Epoch(epoch),
            skew_ms: self.rng.random_range(-3_000..3_000),
            settings: self.settings_of_a_worker(),
            breakage: self.breakage,
            tasks: tasks.clone(),
        };
        let stop = adapter::start(&mut self.executor, spec);
        self.workers.insert(self.next_owner, (tasks, stop));
        self.next_owner
    }

    /// Workers may have different settings, but for those that must be the same.
    fn settings_of_a_worker(&mut self) -> Settings {
        if !self.rng.random_ratio(1, 3) {
            return self.settings.clone();
        }
        Settings {
            usage_rows: self.settings.usage_rows,
            leaderboard_size: self.settings.leaderboard_size,
            ..settings(&mut self.rng, self.lean)
        }
    }

    /// Whether auditors are among the tasks. Where something is broken on purpose, the oracle must find it
    /// without them, unless no number shows it.
    fn has_audits(&self) -> bool {
        self.breakage
            .is_none_or(|breakage| FOUND_BY_AUDIT.contains(&breakage))
    }

    /// Every task of the epoch.
    fn tasks(&self) -> Vec<TaskId> {
        let mut tasks = adapter::tasks(self.source, self.posting);
        if self.has_audits() {
            tasks.extend(pipeline::audit_tasks(self.source));
        }
        tasks
    }

    /// Spreads all tasks over a few workers; some tasks run twice.
    pub(super) fn start_all(&mut self) {
        let mut tasks = self.tasks();
        tasks.shuffle(&mut self.rng);
        let workers = self.rng.random_range(1..4_usize).min(tasks.len());
        let share = tasks.len().div_ceil(workers);
        let overlap = if self.leans_to_rivals() { 500 } else { 150 };
        for chunk in tasks.clone().chunks(share) {
            let mut own = chunk.to_vec();
            for task in &tasks {
                if !own.contains(task) && self.rng.random_range(0..1_000) < overlap {
                    own.push(*task);
                }
            }
            self.start(own);
        }
    }

    fn leans_to_rivals(&self) -> bool {
        matches!(
            self.lean,
            Lean::Rivals | Lean::FirstRows | Lean::Months | Lean::Awards
        )
    }

    pub(super) fn append(&mut self) {
        let records = self.rng.random_range(1..14);
        let now = self.world.now();
        for _ in 0..records {
            let (partition, record) = self.workload.record(&mut self.rng, now, self.source);
            let (epoch, topic) = (Epoch(self.epoch), Topic::UsageEvents);
            self.world
                .with(|inner| log::land(inner, epoch, topic, Partition(partition), vec![record]));
        }
    }

    /// Lets time pass: usually moments, by steps or by time, and now and then days.
    pub(super) fn proceed(&mut self) -> Result<(), String> {
        let now = self.world.now();
        let ended = if self.rng.random_ratio(1, 3) {
            let steps = self.rng.random_range(1..400);
            self.executor.run_until(i64::MAX, steps, |_| false)
        } else {
            let until = now + self.rng.random_range(1..3_000);
            self.executor.run_until(until, 100_000, |_| false)
        };
        let jump = match self.rng.random_range(0..14) {
            0 => self.rng.random_range(0..3 * DAY),
            1 => self.rng.random_range(0..10 * HOUR),
            2 => self.rng.random_range(0..10 * MINUTE),
            3 => self.rng.random_range(0..10_000),
            _ => 0,
        };
        self.world.with(|inner| inner.now += jump);
        self.failed(ended)
    }

    pub(super) fn failed(&self, ended: Stopped) -> Result<(), String> {
        match ended {
            Stopped::Failed => Err(self
                .world
                .with(|inner| inner.failure.clone().unwrap_or_default())),
            _ => Ok(()),
        }
    }

    /// Something happens to the workers, or an administrator does something.
    fn disturb(&mut self) {
        for _ in 0..self.rng.random_range(0..3) {
            match self.rng.random_range(0..12) {
                0 | 1 => self.kill_one(true),
                2 => self.kill_one(false),
                3 | 4 => self.zombie(),
                5 => self.storm(),
                6 => self.stop_one(),
                7 => self.rival(),
                // The oracle knows no feed but the last one.
                8 | 9 if self.lean == Lean::RestoredTwice => {}
                8 => self.sign_up(),
                9 => self.publish(),
                _ => self.adjust(),
            }
        }
        if self.lean == Lean::Awards {
            self.adjust();
            self.kill_one(true);
        }
    }

    fn any_worker(&mut self) -> Option<Owner> {
        let owners: Vec<Owner> = self.workers.keys().copied().collect();
        owners.choose(&mut self.rng).copied()
    }

    pub(super) fn kill_one(&mut self, restart: bool) {
        let Some(owner) = self.any_worker() else {
            return;
        };
        self.executor.kill(owner);
        if let Some((tasks, _)) = self.workers.remove(&owner)
            && restart
        {
            self.start(tasks);
        }
    }

    pub(super) fn zombie(&mut self) {
        let Some(owner) = self.any_worker() else {
            return;
        };
        let most = *[500, 20_000, 10 * MINUTE]
            .choose(&mut self.rng)
            .expect("not empty");
        let until = self.world.now() + self.rng.random_range(1..most);
        self.latest_freeze = self.latest_freeze.max(until);
        self.executor.freeze(owner, until);
        let tasks = self.workers[&owner].0.clone();
        self.start(tasks);
    }

    fn storm(&mut self) {
        for _ in 0..self.rng.random_range(2..8) {
            self.kill_one(true);
            let steps = self.rng.random_range(1..60);
            self.executor.run_until(i64::MAX, steps, |_| false);
        }
    }

    fn stop_one(&mut self) {
        let Some(owner) = self.any_worker() else {
            return;
        };
        if let Some((tasks, stop)) = self.workers.remove(&owner) {
            let _ = stop.send(true);
            if self.rng.random::<bool>() {
                self.start(tasks);
            }
        }
    }

    fn rival(&mut self) {
        let mut tasks = self.tasks();
        tasks.shuffle(&mut self.rng);
        tasks.truncate(self.rng.random_range(1..4));
        if self.workers.len() < 6 {
            self.start(tasks);
        }
    }

    /// An administrator's request, repeated until it is answered.
    pub(super) fn ask<F>(&mut self, request: impl Fn(SimDb, i64, u64) -> F + Send + 'static)
    where
        F: Future<Output = bool> + Send,
    {
        let (world, delay) = (self.world.clone(), self.rng.random_range(0..500));
        self.asked += 1;
        let asked = self.asked;
        self.executor.spawn(ADMINS, async move {
            world.sleep(delay).await;
            for attempt in 0.. {
                let db = SimDb {
                    world: world.clone(),
                };
                if request(db, world.now(), asked * 10_000 + attempt).await {
                    return;
                }
                world.sleep(50).await;
            }
        });
    }

    pub(super) fn publish_first(&mut self) {
        let mainnet = self.rng.random();
        let optional = match mainnet {
            true => defaults::optional_values(),
            false => Vec::new(),
        };
        let values: Vec<NewValue> = defaults::values(mainnet)
            .into_iter()
            .chain(optional)
            .map(|(key, value)| NewValue {
                key,
                value: value.to_string(),
            })
            .collect();
        self.ask_to_publish(values, 0);
    }

    fn ask_to_publish(&mut self, values: Vec<NewValue>, from_now: i64) {
        self.ask(move |db, now, token| {
            let request = Publish {
                values: values.clone(),
                effective_from: Millis(now + from_now),
                by: "sim".to_owned(),
                reason: "a test".to_owned(),
                now: Millis(now),
                token: format!("publish-{token}"),
            };
            async move {
                match publish(&db, &request).await {
                    Ok(_) => true,
                    Err(PublishError::Store(error)) => !error.is_transient(),
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }

    pub(super) fn publish(&mut self) {
        let current = defaults::values(false);
        let of = |key: &str| {
            current
                .iter()
                .find(|(k, _)| k == key)
                .expect("the key")
                .1
                .clone()
        };
        let from_now = [0, 0, 30_000, 3 * HOUR]
            .choose(&mut self.rng)
            .copied()
            .expect("not empty");
        let (key, value, from_now) = match self.rng.random_range(0..6) {
            0 => ("system_mainnet", self.rng.random::<bool>().into(), from_now),
            1 => {
                let price = format!("0.00{}", self.rng.random_range(1..99));
                (
                    "scrape",
                    json!({"pricePerUnit": price, "unit": "request"}),
                    from_now,
                )
            }
            2 | 3 => {
                let mut demand = of("rules.demand");
                demand["blue_surge"] = self.rng.random_range(5_000..20_000).into();
                demand["mariana_depth"] = self.rng.random_range(5_000..20_000).into();
                ("rules.demand", demand, from_now)
            }
            4 => {
                let mut awards = of("rules.awards");
                awards["trial"] = format!("{}", self.rng.random_range(1..9)).into();
                ("rules.awards", awards, from_now)
            }
            _ => {
                // Day amounts: from a day on that no event can have yet.
                let mut streak = of("rules.streak");
                streak["steps"][0]["days"] = self.rng.random_range(1..5).into();
                ("rules.streak", streak, 2 * DAY)
            }
        };
        let value = NewValue {
            key: key.to_owned(),
            value: value.to_string(),
        };
        self.ask_to_publish(vec![value], from_now);
    }

    fn an_account(&mut self) -> Account {
        if self.rng.random_ratio(2, 3) {
            user(self.rng.random_range(0..self.workload.mix.users))
        } else {
            provider(self.rng.random_range(0..self.workload.mix.providers))
        }
    }

    /// Links a wallet, which must change no number.
    fn link_wallet(&mut self, account: Account) {
        let (asked, now) = (self.asked, self.world.now());
        let message = IssuedMessage {
            nonce: format!("nonce{asked:08}"),
            text: "a message".to_owned(),
            issued_at: Millis(now),
            expires_at: Millis(now + HOUR),
        };
        self.ask(move |db, _, _| {
            let request = LinkRequest {
                account: account.clone(),
                address: Address([u8::try_from(asked % 4).expect("small"); 20]),
                nonce: message.nonce.clone(),
                now: Millis(now),
                token: format!("wallet-{asked}"),
                by: "sim".to_owned(),
                reason: None,
                by_admin: false,
            };
            let message = message.clone();
            async move {
                if let Err(error) = issue(&db, &request.account, &message).await {
                    return !error.is_transient();
                }
                match link(&db, &request).await {
                    Ok(_) | Err(LinkError::Refused(_)) => true,
                    Err(LinkError::Store(error)) if error.is_transient() => false,
                    Err(LinkError::Store(error)) => panic!("{error}"),
                }
            }
        });
    }

    pub(super) fn sign_up(&mut self) {
        let (referee, referrer) = (self.an_account(), self.an_account());
        if self.asked.is_multiple_of(3) {
            self.link_wallet(referrer.clone());
        }
        let (admin, posting, now) = (self.admin.clone(), self.posting, self.world.now());
        let token = format!("signup-{}", self.asked);
        self.ask(move |db, _, _| {
            let request = SignupRequest {
                referrer: Referrer::Account(referrer.clone()),
                referee: referee.clone(),
                now: Millis(now),
                token: token.clone(),
                awards: AwardPolicy::Pay(Points::whole(100)),
                by: None,
            };
            let admin = admin.clone();
            async move {
                match signup(&db, &request, posting).await {
                    Ok(_) => {
                        lock(&admin).signups.insert(request.referee);
                        true
                    }
                    Err(SignupError::Refused(_)) => true,
                    Err(SignupError::Store(error)) if error.is_transient() => false,
                    Err(SignupError::Store(error)) => panic!("{error}"),
                }
            }
        });
    }

    fn adjust(&mut self) {
        let account = self.an_account();
        self.adjust_by(account);
    }

    pub(super) fn adjust_by(&mut self, account: Account) {
        let back = [0, 0, 0, 20 * DAY]
            .choose(&mut self.rng)
            .copied()
            .expect("not empty");
        self.adjust_of(account, back);
    }

    /// An adjustment that is granted as of so long ago, ms.
    pub(super) fn adjust_of(&mut self, account: Account, back: i64) {
        let micros = self.rng.random_range(-50_000_000..90_000_000);
        let (admin, posting, now) = (self.admin.clone(), self.posting, self.world.now() - back);
        let key = format!("k{}", self.asked);
        self.ask(move |db, _, _| {
            let request = Adjustment {
                account: account.clone(),
                points: Points(micros),
                reason: "a test".to_owned(),
                idempotency_key: key.clone(),
                by: "sim".to_owned(),
                now: Millis(now),
            };
            let admin = admin.clone();
            async move {
                match adjustment(&db, &request, posting).await {
                    Ok(_) => {
                        let of = (request.account, request.idempotency_key);
                        lock(&admin).adjustments.insert(of, micros);
                        true
                    }
                    Err(AdjustmentError::Store(error)) if error.is_transient() => false,
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }

    /// Faults stop, every task has a healthy worker, and everything must become visible.
    pub(super) fn drain(&mut self) -> Result<(), String> {
        self.world.with(|inner| inner.faults = Faults::none());
        self.mend();
        let mut missing = self.tasks();
        for (tasks, _) in self.workers.values() {
            missing.retain(|task| !tasks.contains(task));
        }
        if !missing.is_empty() {
            self.start(missing);
        }
        let deadline = self.world.now().max(self.latest_freeze) + DRAIN_MS_MAX;
        let (partitions, epoch) = ((self.source, self.posting), self.epoch);
        let (audits, lean) = (self.has_audits(), self.lean);
        loop {
            let ended = self
                .executor
                .run_until(deadline, DRAIN_STEPS_MAX, |executor| {
                    executor.steps % 64 == 0
                        && (needs_hand(executor)
                            || is_drained(executor, partitions, epoch, audits)
                                && (lean != Lean::Badges
                                    || are_badges_granted(executor, partitions)))
                });
            self.failed(ended)?;
            if ended != Stopped::Done {
                let standing = self.standing();
                return Err(format!("I7: {ended:?} before the lag was zero\n{standing}"));
            }
            if is_drained(&self.executor, partitions, epoch, audits) {
                return Ok(());
            }
            self.correct_clocks();
            self.mend_and_release();
            let soon = self.world.now() + 5_000;
            let ended = self.executor.run_until(soon, DRAIN_STEPS_MAX, |_| false);
            self.failed(ended)?;
        }
    }

    /// Lets every late write land and every sleeper wake, and drains again.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        let now = self.world.now();
        let last = self.world.with(|inner| inner.latest_late);
        let until = last.max(self.latest_freeze).max(now) + 1;
        self.world
            .with(|inner| inner.now = inner.now.max(until - 2_000));
        let ended = self.executor.run_until(until, DRAIN_STEPS_MAX, |_| false);
        self.failed(ended)?;
        self.drain()
    }

    fn standing(&self) -> String {
        self.world.with(|inner| {
            let rate = (0..self.source)
                .map(|p| format!("rate/{p} {:?}", adapter::rate_checkpoint(&inner.db, p)));
            let post = (0..self.posting)
                .map(|q| format!("post/{q} {:?}", adapter::post_checkpoint(&inner.db, q)));
            let aside = adapter::set_aside(&inner.db).into_values();
            let aside = aside.map(|record| format!("aside {record:?}"));
            let audit = (0..self.source)
                .map(|p| format!("audit/{p} {:?}", adapter::audit_checkpoint(&inner.db, p)));
            rate.chain(post)
                .chain(audit)
                .chain(aside)
                .collect::<Vec<_>>()
                .join("\n")
        })
    }

    /// Both roles drain and everybody stops. False if a heartbeat came just before the end, so that
    /// they had to be started again.
    pub(super) fn quiesce(&mut self) -> Result<bool, String> {
        self.drain()?;
        self.settle()?;
        for (_, stop) in std::mem::take(&mut self.workers).into_values() {
            let _ = stop.send(true);
        }
        let (next, now) = (self.next_owner, self.world.now());
        let ended = self
            .executor
            .run_until(now + 10 * MINUTE, 500_000, |executor| {
                (ADMINS + 1..=next).all(|owner| !executor.lives(owner))
            });
        self.failed(ended)?;
        if ended != Stopped::Done {
            return Err(format!("a graceful stop does not end: {ended:?}"));
        }
        let (partitions, audits) = ((self.source, self.posting), self.has_audits());
        if !is_drained(&self.executor, partitions, self.epoch, audits) {
            self.start_all();
            return Ok(false);
        }
        Ok(true)
    }

    /// The same tables go on with new logs, which may have other numbers of partitions.
    pub(super) fn next_epoch(&mut self) -> Result<(), String> {
        let faults = self.world.with(|inner| inner.faults.clone());
        if !self.quiesce()? {
            return Ok(());
        }
        self.forget_layout();
        if self.lean == Lean::Kept {
            return self.next_epoch_on_kept(faults);
        }
        if self.lean == Lean::Moves || self.rng.random() {
            self.source = self.rng.random_range(1..5);
            self.posting = self.rng.random_range(1..4);
        }
        self.open_epoch();
        self.set_faults(faults);
        self.start_all();
        Ok(())
    }

    /// Only one topic was lost, or none.
    fn next_epoch_on_kept(&mut self, faults: Faults) -> Result<(), String> {
        let before = Epoch(self.epoch);
        let topics = [Topic::UsageEvents, Topic::LedgerPostings];
        let kept = topics.map(|topic| self.rng.random_ratio(2, 3).then_some(topic));
        self.open_epoch();
        self.world.with(|inner| {
            // The cuts of a topic that is kept are kept as well.
            let cuts = kept[0].map(|_| Topic::LedgerCuts);
            let kept = kept.into_iter().flatten().chain(cuts);
            let homes: Vec<_> = kept.map(|t| (t, log::home(inner, before, t).0)).collect();
            let log = inner.logs.get_mut(&self.epoch).expect("it was opened");
            log.homes.extend(homes);
        });
        self.set_faults(faults);
        self.start_all();
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let findings = self.world.with(|inner| adapter::findings(&inner.db));
        if let Some(finding) = findings.first() {
            return Err(format!("I6: the auditor found {finding:?}"));
        }
        let (ledger, admin) = (lock(&self.ledger), lock(&self.admin));
        // A hash of all that has happened, which follows from the seed.
        let seed = self.world.digest();
        self.world.with(|inner| {
            checks::at_the_end(
                inner,
                &ledger,
                &admin,
                self.source,
                self.settings.leaderboard_size,
                seed,
            )
        })
    }
}

/// Breakages that change what is recorded of a chunk, but none of its amounts.
pub const FOUND_BY_AUDIT: [Breakage; 6] = [
    Breakage::ChunkNumberUsedAgain,
    Breakage::LogTimeMisstated,
    Breakage::WindowForgetsEarly,
    Breakage::LatestEventMisstated,
    Breakage::EndLogTimeMisstated,
    Breakage::EndLatestEventMisstated,
];

/// Whether a partition stands still.
fn needs_hand(executor: &Executor) -> bool {
    executor
        .world
        .with(|inner| !adapter::halts(&inner.db).is_empty() || damage::waits_for_hand(&inner.db))
}

/// Whether all accounts were looked through for badges.
fn are_badges_granted(executor: &Executor, (source, posting): (u32, u32)) -> bool {
    executor
        .world
        .with(|inner| badges::is_swept(&inner.db, source, posting))
}

/// Whether everything that was appended is rated, posted and settled, and no administrator waits.
fn is_drained(
    executor: &Executor,
    (source, posting): (u32, u32),
    epoch: u32,
    audits: bool,
) -> bool {
    if executor.lives(ADMINS) {
        return false;
    }
    executor.world.with(|inner| {
        let end = |topic, partition| log::records(inner, epoch, topic, partition).len() as u64;
        let rated = |p| match adapter::rate_checkpoint(&inner.db, p) {
            Some(at) => {
                at.epoch.0 == epoch && !at.is_cut() && at.to.0 == end(Topic::UsageEvents, p)
            }
            None => end(Topic::UsageEvents, p) == 0,
        };
        let posted = |q| match adapter::post_checkpoint(&inner.db, q) {
            Some(at) => at.epoch.0 == epoch && at.next.0 == end(Topic::LedgerPostings, q),
            None => end(Topic::LedgerPostings, q) == 0,
        };
        let audited = |p| match adapter::audit_checkpoint(&inner.db, p) {
            Some(at) => {
                let archived = at.archive.is_none_or(|of| of.coverage.next_cut == at.next);
                at.epoch.0 == epoch && at.next.0 == end(Topic::LedgerCuts, p) && archived
            }
            None => end(Topic::LedgerCuts, p) == 0,
        };
        (0..source).all(rated)
            && (!audits || (0..source).all(audited))
            && (0..posting).all(posted)
            && !adapter::has_pointers(&inner.db)
            && adapter::halts(&inner.db).is_empty()
            && adapter::set_aside(&inner.db).is_empty()
    })
}
