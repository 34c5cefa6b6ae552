//! Health: where pipeline tasks report what they do, and where `/healthz`, `/readyz` and the
//! metrics learn it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::metrics::Metrics;
use super::outages::Outages;
pub use super::outages::{Dependency, Outage};
use crate::domain::position::Partition;
use crate::domain::time::Millis;

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Rating one partition of `usage.events`.
    Rate,
    /// Posting one partition of `ledger.postings`.
    Post,
    /// Auditing the rating of one partition of `usage.events`.
    Audit,
    /// AdapterSetup one partition of a gateway's topic.
    Adapt(Feed),
}

/// A gateway's topic that is adapted. There are as many as are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Feed(&'static str);

/// Before the topic's name in the name of the role.
const ADAPT: &str = "adapt-";

impl Feed {
    /// The feed of a topic. Its name is kept for the life of the process, once: roles are copied
    /// everywhere and become labels.
    pub fn of(topic: &str) -> Feed {
        static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
        let role = format!("{ADAPT}{topic}");
        // A panic elsewhere does not make the set wrong.
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(role) = known.get(role.as_str()) {
            return Feed(role);
        }
        let role: &'static str = Box::leak(role.into_boxed_str());
        known.insert(role);
        Feed(role)
    }

    /// The topic.
    pub fn topic(self) -> &'static str {
        self.0.strip_prefix(ADAPT).unwrap_or(self.0)
    }
}

impl Role {
    /// `rate`, `post`, `audit` or `adapt-TOPIC`, as it stands in labels and in `tidemark resume
    /// rate/2`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Rate => "rate",
            Role::Post => "post",
            Role::Audit => "audit",
            Role::Adapt(Feed(role)) => role,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A task of the pipeline: `rate/2`, `post/0`, `audit/2`, `adapt-kong-logs/1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// What it does.
    pub role: Role,
    /// Which partition.
    pub partition: Partition,
}

impl TaskId {
    /// A task.
    pub const fn new(role: Role, partition: Partition) -> TaskId {
        TaskId { role, partition }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.role, self.partition)
    }
}

/// The text names no task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a partition; write rate/N, post/N, audit/N or adapt-TOPIC/N, for example rate/2"
)]
pub struct NotATask(pub String);

impl FromStr for TaskId {
    type Err = NotATask;
    fn from_str(text: &str) -> Result<TaskId, NotATask> {
        let bad = || NotATask(text.to_owned());
        let (role, partition) = text.split_once('/').ok_or_else(bad)?;
        let role = match role {
            "rate" => Role::Rate,
            "post" => Role::Post,
            "audit" => Role::Audit,
            _ => match role.strip_prefix(ADAPT) {
                None | Some("") => return Err(bad()),
                Some(topic) => Role::Adapt(Feed::of(topic)),
            },
        };
        let partition = partition.parse().map_err(|_| bad())?;
        Ok(TaskId::new(role, Partition(partition)))
    }
}

/// Why a partition stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halted {
    /// A short, stable code from a fixed set; it becomes a label.
    pub code: &'static str,
    /// What is wrong and what to do, for people.
    pub message: String,
}

/// What is known of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskHealth {
    /// Which.
    pub id: TaskId,
    /// Records that it has yet to work on. `None`: not known yet.
    pub lag: Option<u64>,
    /// The offset of the first record whose work is not done: not rated and sent on, or not in
    /// rows.
    pub next: Option<u64>,
    /// A record at or before `next`, and when it was appended: the one at `next` has waited at most
    /// since then, and exactly so long if it is that one.
    pub first_waiting: Option<(u64, Millis)>,
    /// When it last made progress, or had nothing to do.
    pub last_progress: Instant,
    /// How far it has read again what it needs before it goes on, since it last made progress.
    pub read_again_to: Option<u64>,
    /// Whether it has found since it was taken up, or resumed, that it can go on from where it
    /// stood. Until then nobody knows whether it will halt.
    pub is_loaded: bool,
    /// Set while it is halted.
    pub halted: Option<Halted>,
    /// How many of its accounts are set aside.
    pub set_aside: usize,
}

/// The shared registry. Every change also sets the metrics about it.
pub struct Health {
    metrics: Arc<Metrics>,
    ready: AtomicBool,
    outages: Outages,
    /// What this process cannot work without and does not find.
    missing: Mutex<Vec<String>>,
    tasks: Mutex<BTreeMap<TaskId, TaskHealth>>,
}

impl Health {
    /// Nothing runs yet, and nothing is ready.
    pub fn new(metrics: Arc<Metrics>) -> Health {
        Health {
            metrics,
            ready: AtomicBool::new(false),
            outages: Outages::default(),
            missing: Mutex::default(),
            tasks: Mutex::default(),
        }
    }

    /// Says whether this process takes requests: true once log and store are open, false while it
    /// shuts down.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Names what is not there and keeps this process from being ready (`topic usage.events`);
    /// nothing: all is there.
    pub fn set_missing(&self, missing: Vec<String>) {
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner) = missing;
    }

    /// What is not there.
    pub fn missing(&self) -> Vec<String> {
        let missing = self.missing.lock();
        missing.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says that a dependency fails, or works (again); whether that is news.
    pub fn set_outage(&self, dependency: Dependency, outage: Option<Outage>) -> bool {
        self.outages.set(dependency, outage, &self.metrics)
    }

    /// An append of usage events succeeded, or failed for a reason that is not its sender's.
    pub fn appended(&self, outcome: Result<(), Outage>) {
        self.outages.appended(outcome);
    }

    /// Why usage events cannot be appended now, as far as is known.
    pub fn appends_fail(&self) -> Option<Outage> {
        self.outages.appends_fail()
    }

    /// Whether this process takes requests.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// This process has taken up a task. How far it is behind is not known yet, and not told: 0
    /// would say that nothing waits.
    pub fn taken_up(&self, id: TaskId) {
        self.update(id, None, |_| ());
    }

    /// A task has found that it can go on from where it stood, and begins to work.
    pub fn loaded(&self, id: TaskId) {
        self.moved_on(id, None);
    }

    /// A task has worked, or found nothing to do; `lag` records are left.
    pub fn progressed(&self, id: TaskId, lag: u64) {
        self.moved_on(id, Some(lag));
    }

    fn moved_on(&self, id: TaskId, lag: Option<u64>) {
        self.update(id, lag, |task| {
            task.last_progress = Instant::now();
            task.read_again_to = None;
            task.is_loaded = true;
        });
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.metrics
            .last_progress_timestamp_seconds
            .with_label_values(&[id.role.as_str(), &id.partition.to_string()])
            .set(since.unwrap_or_default().as_secs_f64());
    }

    /// A task that is taken up has read again up to here. That is progress, unless it was there
    /// before and had to begin anew. Nothing happens if the task is unknown.
    pub fn reads_again(&self, id: TaskId, to: u64) {
        if let Some(task) = self.lock().get_mut(&id)
            && task.read_again_to.is_none_or(|before| before < to)
        {
            task.read_again_to = Some(to);
            task.last_progress = Instant::now();
        }
    }

    /// How far a task's work is done: the offset of the first record that is not. Whoever knows the
    /// log's end can tell its lag from that while the task itself is stuck.
    pub fn stands_at(&self, id: TaskId, next: u64) {
        self.update(id, None, |task| task.next = Some(next));
    }

    /// When the record was appended that a task works on first of all.
    pub fn first_waiting(&self, id: TaskId, offset: u64, append_time: Millis) {
        self.update(id, None, |task| {
            task.first_waiting = Some((offset, append_time));
        });
    }

    /// By how much the newest record that a rater read was appended in the future of this machine.
    pub fn log_clock_ahead(&self, id: TaskId, ahead: Duration) {
        let tasks = self.lock();
        if tasks.contains_key(&id) {
            self.metrics
                .log_clock_ahead_seconds
                .with_label_values(&[&id.partition.to_string()])
                .set(ahead.as_secs_f64());
        }
    }

    /// What is told from outside of a task: it has `lag` records before it, the oldest of which has
    /// waited for `waited`. Nothing happens if this process does not run it (any more).
    pub fn lags(&self, id: TaskId, lag: u64, waited: Duration) {
        // The metrics too are set under the lock: after `gone` nobody would take them away again.
        let mut tasks = self.lock();
        if let Some(task) = tasks.get_mut(&id) {
            task.lag = Some(lag);
            self.lag_metric(id, lag);
            self.metrics
                .lag_seconds
                .with_label_values(&[id.role.as_str(), &id.partition.to_string()])
                .set(waited.as_secs_f64());
        }
    }

    /// A task has halted. `code` comes from a fixed set.
    pub fn halted(&self, id: TaskId, code: &'static str, message: impl Into<String>) {
        self.resumed(id);
        let halted = Halted {
            code,
            message: message.into(),
        };
        self.update(id, None, |task| task.halted = Some(halted));
        self.halted_metric(id, code, 1);
    }

    /// A task goes on after a halt (nothing happens if it was not halted).
    pub fn resumed(&self, id: TaskId) {
        let Some(task) = self.task(id) else { return };
        let Some(halted) = task.halted else { return };
        self.update(id, None, |task| {
            task.halted = None;
            task.is_loaded = false;
            task.last_progress = Instant::now();
            task.read_again_to = None;
        });
        self.halted_metric(id, halted.code, 0);
    }

    /// How many accounts a posting partition has set aside, and since when the oldest posting that
    /// they may lack has been in the log.
    pub fn set_aside(&self, id: TaskId, accounts: usize, oldest: Option<Millis>) {
        self.update(id, None, |task| task.set_aside = accounts);
        let partition = id.partition.to_string();
        let count = &self.metrics.accounts_set_aside;
        count
            .with_label_values(&[&partition])
            .set(i64::try_from(accounts).unwrap_or(i64::MAX));
        let since = &self.metrics.accounts_set_aside_since_timestamp_seconds;
        match oldest {
            Some(at) => since
                .with_label_values(&[&partition])
                .set(at.0 as f64 / 1_000.0),
            None => drop(since.remove_label_values(&[partition.as_str()])),
        }
    }

    /// A task that this process no longer runs. Its metrics go with it: whoever runs it now tells
    /// them.
    pub fn gone(&self, id: TaskId) {
        self.resumed(id);
        let mut tasks = self.lock();
        tasks.remove(&id);
        let partition = id.partition.to_string();
        let labels = [id.role.as_str(), partition.as_str()];
        // That one was never told is no fault.
        drop(self.metrics.lag_records.remove_label_values(&labels));
        drop(self.metrics.checkpoint_offset.remove_label_values(&labels));
        for told in [
            &self.metrics.lag_seconds,
            &self.metrics.last_progress_timestamp_seconds,
            &self.metrics.checkpoint_timestamp_seconds,
        ] {
            drop(told.remove_label_values(&labels));
        }
        if id.role == Role::Rate {
            let ahead = &self.metrics.log_clock_ahead_seconds;
            drop(ahead.remove_label_values(&[partition.as_str()]));
        }
        if id.role == Role::Post {
            let visible = &self.metrics.visible_event_timestamp_seconds;
            drop(visible.remove_label_values(&[partition.as_str()]));
            let since = &self.metrics.accounts_set_aside_since_timestamp_seconds;
            drop(since.remove_label_values(&[partition.as_str()]));
            for accounts in [
                &self.metrics.accounts_cached,
                &self.metrics.accounts_dirty,
                &self.metrics.accounts_set_aside,
            ] {
                drop(accounts.remove_label_values(&[partition.as_str()]));
            }
        }
    }

    /// Every task, in order.
    pub fn tasks(&self) -> Vec<TaskHealth> {
        self.lock().values().cloned().collect()
    }

    /// Tasks that have lag and made no progress for longer than `bound`. A restart, which is what a
    /// failed liveness probe brings, must be able to cure them. So halted ones are not among them:
    /// they wait for a person; nor is any while the log or the store cannot be used, and for as
    /// long after an outage that was not short.
    pub fn stalled(&self, bound: Duration) -> Vec<TaskHealth> {
        let (is_out, well_since) = (self.outages.any(), self.outages.well_since(bound));
        let is_stalled = |task: &TaskHealth| {
            let since = well_since.map_or(task.last_progress, |at| at.max(task.last_progress));
            task.lag.is_some_and(|lag| lag > 0)
                && task.halted.is_none()
                && !is_out
                && since.elapsed() > bound
        };
        self.tasks().into_iter().filter(is_stalled).collect()
    }

    fn task(&self, id: TaskId) -> Option<TaskHealth> {
        self.lock().get(&id).cloned()
    }

    fn update(&self, id: TaskId, lag: Option<u64>, change: impl FnOnce(&mut TaskHealth)) {
        let mut tasks = self.lock();
        let task = tasks.entry(id).or_insert_with(|| TaskHealth {
            id,
            lag,
            next: None,
            first_waiting: None,
            last_progress: Instant::now(),
            read_again_to: None,
            is_loaded: false,
            halted: None,
            set_aside: 0,
        });
        change(task);
        if let Some(lag) = lag {
            task.lag = Some(lag);
            self.lag_metric(id, lag);
        }
    }

    fn lag_metric(&self, id: TaskId, lag: u64) {
        self.metrics
            .lag_records
            .with_label_values(&[id.role.as_str(), &id.partition.to_string()])
            .set(i64::try_from(lag).unwrap_or(i64::MAX));
    }

    fn halted_metric(&self, id: TaskId, code: &str, value: i64) {
        self.metrics
            .halted
            .with_label_values(&[id.role.as_str(), &id.partition.to_string(), code])
            .set(value);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TaskId, TaskHealth>> {
        // A panic elsewhere must not turn into a second one here; the map is consistent between any
        // two statements.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_2: TaskId = TaskId::new(Role::Rate, Partition(2));

    fn health() -> Health {
        Health::new(Arc::new(Metrics::new()))
    }

    fn stalled(health: &Health) -> Vec<TaskId> {
        std::thread::sleep(Duration::from_millis(2));
        health
            .stalled(Duration::from_millis(1))
            .iter()
            .map(|task| task.id)
            .collect()
    }

    #[test]
    fn a_task_that_was_just_taken_up_tells_no_lag_until_it_is_known() {
        let metrics = Arc::new(Metrics::new());
        let health = Health::new(metrics.clone());
        let told = || metrics.render().contains("tidemark_lag_records{");
        health.taken_up(RATE_2);
        health.stands_at(RATE_2, 70);
        assert!(!told());
        assert_eq!(health.tasks()[0].lag, None);
        health.lags(RATE_2, 8, Duration::ZERO);
        assert!(told());
    }

    #[test]
    fn whether_a_task_can_go_on_is_known_once_it_is_loaded_and_again_after_a_halt() {
        let health = health();
        let is_loaded = || health.tasks()[0].is_loaded;
        health.taken_up(RATE_2);
        health.stands_at(RATE_2, 70);
        health.lags(RATE_2, 8, Duration::ZERO);
        assert!(!is_loaded());
        health.loaded(RATE_2);
        assert!(is_loaded());
        health.halted(RATE_2, "gap", "sequence 3 is missing");
        health.resumed(RATE_2);
        assert!(!is_loaded());
        health.progressed(RATE_2, 0);
        assert!(is_loaded());
    }

    #[test]
    fn a_task_with_lag_and_no_progress_is_stalled() {
        let health = health();
        health.progressed(RATE_2, 7);
        assert_eq!(stalled(&health), [RATE_2]);
        health.lags(RATE_2, 8, Duration::ZERO);
        assert_eq!(stalled(&health), [RATE_2]);
        assert!(health.stalled(Duration::from_secs(60)).is_empty());
    }

    #[test]
    fn reading_again_is_progress_but_not_twice_over() {
        let health = health();
        health.reads_again(RATE_2, 5);
        assert!(health.tasks().is_empty());
        health.taken_up(RATE_2);
        health.lags(RATE_2, 7, Duration::ZERO);
        let reads_to = |to| {
            assert_eq!(stalled(&health), [RATE_2]);
            let before = health.tasks()[0].last_progress;
            health.reads_again(RATE_2, to);
            health.tasks()[0].last_progress > before
        };
        assert_eq!(
            [10, 20, 10, 20, 21].map(reads_to),
            [true, true, false, false, true]
        );
        health.progressed(RATE_2, 7);
        assert!(reads_to(10));
    }

    #[test]
    fn an_idle_task_and_a_halted_task_are_not_stalled() {
        let health = health();
        health.progressed(RATE_2, 0);
        assert!(stalled(&health).is_empty());
        health.lags(RATE_2, 5, Duration::ZERO);
        health.halted(RATE_2, "gap", "sequence 3 is missing");
        assert!(stalled(&health).is_empty());
        health.resumed(RATE_2);
        assert_eq!(stalled(&health), [RATE_2]);
    }

    #[test]
    fn in_an_outage_and_shortly_after_it_nothing_is_stalled() {
        let health = health();
        health.progressed(RATE_2, 7);
        let outage = Outage {
            code: "store_unavailable",
            detail: String::new(),
        };
        assert!(health.set_outage(Dependency::Store, Some(outage.clone())));
        assert!(
            !health.set_outage(Dependency::Store, Some(outage)),
            "no news"
        );
        assert!(stalled(&health).is_empty());
        assert!(health.set_outage(Dependency::Store, None));
        assert!(health.stalled(Duration::from_secs(60)).is_empty());
        assert_eq!(stalled(&health), [RATE_2]);
    }

    #[test]
    fn a_failed_append_counts_until_one_succeeds() {
        let health = health();
        let outage = Outage {
            code: "log_unavailable",
            detail: "no answer".to_owned(),
        };
        health.appended(Err(outage.clone()));
        assert_eq!(health.appends_fail(), Some(outage));
        health.appended(Ok(()));
        assert_eq!(health.appends_fail(), None);
    }

    #[test]
    fn the_halt_metric_follows_the_halt() {
        let health = health();
        health.halted(RATE_2, "gap", "sequence 3 is missing");
        health.halted(RATE_2, "log_truncated", "the log lost records");
        let text = health.metrics.render();
        let line =
            |reason| format!(r#"tidemark_halted{{partition="2",reason="{reason}",role="rate"}}"#);
        assert!(text.contains(&format!("{} 0", line("gap"))), "{text}");
        assert!(
            text.contains(&format!("{} 1", line("log_truncated"))),
            "{text}"
        );
    }

    #[test]
    fn task_names_read_back() {
        for text in ["rate/0", "post/12", "adapt-kong-logs/3"] {
            assert_eq!(text.parse::<TaskId>().unwrap().to_string(), text);
        }
        for text in [
            "", "rate", "rate/", "rate/x", "foo/1", "rate/-1", "adapt-/1", "adapt/1",
        ] {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
    }
}
