//! A simulated world in which nothing goes wrong: for what must come to pass in time.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::position::{Epoch, Partition};
use tidemark::domain::time::Millis;
use tidemark::log::{NewRecord, Topic, usage_partition};
use tidemark::ops::health::{Health, Role, TaskId};
use tidemark::ops::metrics::Metrics;
use tidemark::pipeline::recover::Refusal;
use tidemark::pipeline::{self, Breakage, Protections, Settings, WorkerContext};
use tidemark::store::checkpoints;
use tidemark::store::db::Db;
use tidemark::store::pricing::{NewValue, Publish, publish};
use tokio::sync::watch;

use super::adapter::{self, WorkerSpec};
use super::clock::SimClock;
use super::db::SimDb;
use super::faults::Faults;
use super::log::{self, LogState, SimLog};
use super::world::{Executor, Stopped, World, lock};
use crate::oracle::defaults;

/// 2026-11-29T20:00:00Z.
pub const START: i64 = 1_795_982_400_000;
const STEPS_MAX: u64 = 20_000_000;
/// No more time passes before a task that could go on: hours would, and with them time-outs that no test means.
const AHEAD_MS_MAX: i64 = 2_000;

/// A world with rules and one worker that does everything.
pub struct Quiet {
    pub world: World,
    pub executor: Executor,
    epoch: u32,
    source: u32,
    posting: u32,
    /// The process of the worker; a killed one's requests may be lost, so each has its own.
    owner: u64,
    last: Option<String>,
    breakage: Option<Breakage>,
    workers: Vec<watch::Sender<bool>>,
}

impl Quiet {
    pub fn new(source: u32, posting: u32) -> Quiet {
        Quiet::at(START, source, posting)
    }

    /// As [`Quiet::new`], at another time.
    pub fn at(start: i64, source: u32, posting: u32) -> Quiet {
        let world = World::new(1, start, Faults::none(), false);
        world.with(|inner| {
            inner.logs.insert(1, LogState::new(source, 1, posting));
        });
        let mut quiet = Quiet {
            executor: Executor::new(world.clone()),
            world,
            epoch: 1,
            source,
            posting,
            owner: 2,
            last: None,
            breakage: None,
            workers: Vec::new(),
        };
        quiet.executor.ahead_ms_max = AHEAD_MS_MAX;
        quiet.publish_rules();
        quiet
    }

    fn publish_rules(&mut self) {
        let value = |(key, value): (String, serde_json::Value)| NewValue {
            key,
            value: value.to_string(),
        };
        let request = Publish {
            values: defaults::values(false).into_iter().map(value).collect(),
            effective_from: Millis(START),
            by: "test".to_owned(),
            reason: "a test".to_owned(),
            now: Millis(START),
            token: "rules".to_owned(),
        };
        let db = self.db();
        self.finish(async move {
            publish(&db, &request).await.unwrap();
        });
    }

    /// Breaks the workers that are started from now on.
    pub fn break_workers(&mut self, breakage: Option<Breakage>) {
        self.breakage = breakage;
    }

    /// Publishes a value of a rule that is in force from now on.
    pub fn publish_rule(&mut self, key: &str, value: String) {
        let now = Millis(self.world.now());
        let request = Publish {
            values: vec![NewValue {
                key: key.to_owned(),
                value,
            }],
            effective_from: now,
            by: "test".to_owned(),
            reason: "a test".to_owned(),
            now,
            token: format!("{key}-{now}"),
        };
        let db = self.db();
        self.finish(async move {
            publish(&db, &request).await.unwrap();
        });
    }

    pub fn db(&self) -> SimDb {
        SimDb {
            world: self.world.clone(),
        }
    }

    /// Runs a task to its end.
    pub fn finish(&mut self, task: impl Future<Output = ()> + 'static) {
        const ADMIN: u64 = 1;
        self.executor.spawn(ADMIN, task);
        let ended = self
            .executor
            .run_until(i64::MAX, STEPS_MAX, |executor| !executor.lives(ADMIN));
        assert_eq!(ended, Stopped::Done);
    }

    pub fn start_worker(&mut self, settings: Settings) {
        self.start_tasks(settings, adapter::tasks(self.source, self.posting));
    }

    /// Starts a worker that only rates.
    pub fn start_raters(&mut self, settings: Settings) {
        let mut tasks = adapter::tasks(self.source, self.posting);
        tasks.retain(|task| task.role == Role::Rate);
        self.start_tasks(settings, tasks);
    }

    /// Starts another worker that only audits.
    pub fn start_auditors(&mut self, settings: Settings) {
        self.owner += 1;
        self.start_tasks(settings, pipeline::audit_tasks(self.source));
    }

    fn start_tasks(&mut self, settings: Settings, tasks: Vec<TaskId>) {
        let spec = WorkerSpec {
            owner: self.owner,
            token: self.owner,
            epoch: Epoch(self.epoch),
            skew_ms: 0,
            settings,
            breakage: self.breakage,
            tasks,
        };
        let stop = adapter::start(&mut self.executor, spec);
        self.workers.push(stop);
    }

    /// Starts a worker that sees the store through `db`; its metrics.
    pub fn start_worker_on(&mut self, db: Arc<dyn Db>, settings: Settings) -> Arc<Metrics> {
        let world = self.world.clone();
        let metrics = Arc::new(Metrics::new());
        let log = SimLog {
            world: world.clone(),
            epoch: Epoch(self.epoch),
        };
        let mut ctx = WorkerContext::new(
            Arc::new(log),
            db,
            Arc::new(SimClock { world, skew_ms: 0 }),
            settings,
            metrics.clone(),
            Arc::new(Health::new(metrics.clone())),
            7,
        );
        ctx.protections = Protections::but(self.breakage);
        let ctx = Arc::new(ctx);
        let (stop, stopped) = watch::channel(false);
        for task in adapter::tasks(self.source, self.posting) {
            let (ctx, stopped) = (ctx.clone(), stopped.clone());
            self.executor
                .spawn(self.owner, pipeline::run(ctx, task, stopped));
        }
        self.workers.push(stop);
        metrics
    }

    /// Kills the worker.
    pub fn kill_worker(&mut self) {
        self.executor.kill(self.owner);
        self.owner += 1;
        self.workers.clear();
    }

    /// Stops the worker gracefully, and begins the next epoch with an empty log.
    pub fn next_epoch(&mut self) {
        self.next_epoch_on(&[]);
    }

    /// As [`Quiet::next_epoch`], with some of the topics as they are.
    pub fn next_epoch_on(&mut self, kept: &[Topic]) {
        for stop in self.workers.drain(..) {
            stop.send(true).unwrap();
        }
        let owner = self.owner;
        let ended = self
            .executor
            .run_until(i64::MAX, STEPS_MAX, |executor| !executor.lives(owner));
        assert_eq!(ended, Stopped::Done);
        self.owner += 1;
        self.epoch += 1;
        let mut log = LogState::new(self.source, 1, self.posting);
        let before = Epoch(self.epoch - 1);
        self.world.with(|inner| {
            let homes = kept.iter().map(|t| (*t, log::home(inner, before, *t).0));
            log.homes.extend(homes);
            inner.logs.insert(self.epoch, log)
        });
    }

    /// As [`Quiet::next_epoch`], with another number of posting partitions.
    pub fn next_epoch_with(&mut self, posting: u32) {
        self.posting = posting;
        self.next_epoch();
    }

    /// The worker sleeps for so long; the next one that is started is another process.
    pub fn freeze_worker(&mut self, ms: i64) {
        let until = self.world.now() + ms;
        self.executor.freeze(self.owner, until);
        self.owner += 1;
    }

    /// The recorded halts, by task and code.
    pub fn halts(&self) -> Vec<(String, String)> {
        let halts = self.world.with(|inner| adapter::halts(&inner.db));
        let named = halts
            .into_iter()
            .map(|(task, code)| (task.to_string(), code));
        named.collect()
    }

    /// The requests of a user that its rows have counted.
    pub fn requests(&self, user: &str) -> u64 {
        let account = Account::new(AccountKind::User, user).unwrap();
        self.world.with(|inner| {
            let rows = adapter::month_rows(&inner.db, &account).unwrap();
            let days = rows.values().flat_map(|stored| stored.row.days.iter());
            days.map(|(_, day)| day.requests).sum()
        })
    }

    /// Clears a halt.
    pub fn resume(&mut self, task: &str) {
        let (db, now) = (self.db(), Millis(self.world.now()));
        let task: TaskId = task.parse().unwrap();
        self.finish(async move {
            assert_eq!(checkpoints::resume(&db, task, "test", now).await, Ok(true));
        });
    }

    /// Runs `tidemark recover`: how many chunks of each source partition were rated again; nothing:
    /// there was nothing to recover.
    pub fn recover(&mut self) -> Result<BTreeMap<u32, u64>, Refusal> {
        self.run_recover(false)
    }

    /// As [`Quiet::recover`], also where nothing seems to be behind.
    pub fn recover_in_any_case(&mut self) -> Result<BTreeMap<u32, u64>, Refusal> {
        self.run_recover(true)
    }

    fn run_recover(&mut self, always: bool) -> Result<BTreeMap<u32, u64>, Refusal> {
        let spec = WorkerSpec {
            owner: 1,
            token: self.world.now().unsigned_abs(),
            epoch: Epoch(self.epoch),
            skew_ms: 0,
            settings: Settings::default(),
            breakage: None,
            tasks: Vec::new(),
        };
        let ctx = adapter::context(&self.world, &spec);
        let said = Arc::new(Mutex::new(None));
        let saying = said.clone();
        self.finish(async move {
            let result = super::recovery::run_command(&ctx, always).await;
            *lock(&saying) = Some(result);
        });
        let result = lock(&said).take();
        result.expect("it has ended")
    }

    /// Lets virtual time pass.
    pub fn pass(&mut self, ms: i64) {
        let world = self.world.clone();
        self.finish(async move { world.sleep(ms).await });
    }

    /// Lets time pass until `done`, at most so long.
    #[track_caller]
    pub fn until(&mut self, ms: i64, mut done: impl FnMut(&World) -> bool) {
        let deadline = self.world.now() + ms;
        let ended = self
            .executor
            .run_until(deadline, STEPS_MAX, |executor| done(&executor.world));
        assert_eq!(ended, Stopped::Done);
    }

    /// Appends a successful chat of a user, now.
    pub fn chat(&mut self, id: &str, user: &str) {
        let now = jiff::Timestamp::from_millisecond(self.world.now()).unwrap();
        let event = json!({
            "requestId": id, "userId": user, "endpoint": "/v1/chat/completions", "model": "llama-3-8b",
            "timestamp": now.to_string(), "statusCode": 200, "inputTokens": 5, "outputTokens": 5,
        });
        self.last = Some(event.to_string());
        self.append(user, event.to_string());
    }

    /// The last chat, as it was sent.
    pub fn last_sent(&self) -> Option<String> {
        self.last.clone()
    }

    /// Appends a record of a user.
    pub fn append(&mut self, user: &str, value: String) {
        let partition: Partition = usage_partition(user, self.source);
        let record = NewRecord {
            key: Some(user.to_owned().into()),
            value: value.into(),
            headers: Vec::new(),
        };
        let (topic, epoch) = (Topic::UsageEvents, Epoch(self.epoch));
        self.world
            .with(|inner| log::land(inner, epoch, topic, partition, vec![record]));
    }
}
