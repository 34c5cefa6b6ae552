//! A small deterministic world: one seed, virtual time, one thread. Tasks are ordinary futures; whatever they wait for is
//! an event in a queue that is ordered by virtual time and, within it, by a number drawn from the seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::hash::Hasher;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::db::DbState;
use super::faults::Faults;
use super::log::LogState;

/// How many lines of trace are kept for a failure.
const TRACE_LINES_MAX: usize = 600;

/// A task: one future that the executor polls.
pub type TaskId = u64;
/// A simulated process: its tasks live and die together.
pub type Owner = u64;

type Action = Box<dyn FnOnce(&mut Inner) + Send>;
/// Tasks stay on the thread of their run; they need not be `Send`.
type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Locks, also after a panic elsewhere: a failing seed still prints its trace.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything but the tasks.
pub struct Inner {
    /// The seed's numbers.
    pub rng: StdRng,
    /// Virtual time, ms since 1970.
    pub now: i64,
    /// What may go wrong, and how often.
    pub faults: Faults,
    /// The store.
    pub db: DbState,
    /// The logs, by epoch.
    pub logs: BTreeMap<u32, LogState>,
    /// The files of the archive, if there is one.
    pub archive: Option<Arc<super::archive::Files>>,
    /// The first thing that went wrong; the run stops at it.
    pub failure: Option<String>,
    /// Whose poll is going on.
    pub owner: Owner,
    /// Processes that were killed.
    pub killed: BTreeSet<Owner>,
    /// When the last late write lands.
    pub latest_late: i64,
    events: BTreeMap<(i64, u64, u64), Action>,
    sequence: u64,
    trace: VecDeque<String>,
    trace_on: bool,
    digest: xxhash_rust::xxh3::Xxh3,
}

impl Inner {
    /// True in so many of a thousand cases.
    pub fn chance(&mut self, permille: u32) -> bool {
        permille > 0 && self.rng.random_range(0..1_000) < permille
    }

    /// One of `from..=to`.
    pub fn between(&mut self, from: i64, to: i64) -> i64 {
        self.rng.random_range(from..=to)
    }

    /// Runs `action` after `ms` of virtual time.
    pub fn after(&mut self, ms: i64, action: impl FnOnce(&mut Inner) + Send + 'static) {
        self.sequence += 1;
        let key = (self.now + ms.max(0), self.rng.random(), self.sequence);
        self.events.insert(key, Box::new(action));
    }

    /// [`Inner::after`] for what process `owner` asked of a server: if the process is killed before, the request may never have left it.
    pub fn after_if_sent(
        &mut self,
        owner: Owner,
        ms: i64,
        action: impl FnOnce(&mut Inner) + Send + 'static,
    ) {
        let left = self.rng.random::<bool>();
        self.latest_late = self.latest_late.max(self.now + ms);
        self.after(ms, move |inner| {
            if left || !inner.killed.contains(&owner) {
                action(inner);
            }
        });
    }

    /// Notes what happens: for people after a failure, and for the digest that shows determinism.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if !self.trace_on {
            return;
        }
        let line = format!("{} [{}] {}", self.now, self.owner, line());
        let line = without_draws(&line);
        self.digest.write(line.as_bytes());
        if self.trace.len() == TRACE_LINES_MAX {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }

    /// Reports a failure; the first one counts.
    pub fn fail(&mut self, what: String) {
        self.note(|| format!("FAILURE {what}"));
        self.failure.get_or_insert(what);
    }
}

/// The shared world. Cheap to clone.
#[derive(Clone)]
pub struct World(Arc<Mutex<Inner>>);

impl World {
    /// A world of this seed at this time. Without `trace` it is faster and tells nothing.
    pub fn new(seed: u64, now: i64, faults: Faults, trace: bool) -> World {
        World(Arc::new(Mutex::new(Inner {
            rng: StdRng::seed_from_u64(seed),
            now,
            faults,
            db: DbState::default(),
            logs: BTreeMap::new(),
            archive: None,
            failure: None,
            owner: 0,
            killed: BTreeSet::new(),
            latest_late: 0,
            events: BTreeMap::new(),
            sequence: 0,
            trace: VecDeque::new(),
            trace_on: trace,
            digest: xxhash_rust::xxh3::Xxh3::new(),
        })))
    }

    /// Looks at it, or changes it.
    pub fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut lock(&self.0))
    }

    /// What spreads pauses; the same in each run of a seed.
    pub fn jitter(&self) -> u64 {
        self.with(|inner| inner.rng.random())
    }

    /// Virtual time.
    pub fn now(&self) -> i64 {
        self.with(|inner| inner.now)
    }

    /// The last lines of the trace.
    pub fn trace(&self) -> String {
        self.with(|inner| inner.trace.iter().cloned().collect::<Vec<_>>().join("\n"))
    }

    /// A hash of the whole trace.
    pub fn digest(&self) -> u64 {
        self.with(|inner| inner.digest.finish())
    }

    /// Starts an operation: `begin` schedules what will some day put an answer into the slot.
    pub fn operation<T: Send + 'static>(&self, begin: impl FnOnce(&mut Inner, Slot<T>)) -> Slot<T> {
        let slot = Slot::default();
        self.with(|inner| begin(inner, slot.clone()));
        slot
    }

    /// Waits in virtual time.
    pub fn sleep(&self, ms: i64) -> Slot<()> {
        self.operation(|inner, slot| inner.after(ms, move |_| slot.put(())))
    }
}

/// Where an answer is put, and waited for.
pub struct Slot<T>(Arc<Mutex<(Option<T>, Option<Waker>)>>);

impl<T> Default for Slot<T> {
    fn default() -> Slot<T> {
        Slot(Arc::new(Mutex::new((None, None))))
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Slot<T> {
        Slot(self.0.clone())
    }
}

impl<T> Slot<T> {
    /// Answers. Nobody may be waiting any more.
    pub fn put(&self, value: T) {
        let mut slot = lock(&self.0);
        slot.0 = Some(value);
        if let Some(waker) = slot.1.take() {
            waker.wake();
        }
    }
}

impl<T> Future for Slot<T> {
    type Output = T;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut slot = lock(&self.0);
        match slot.0.take() {
            Some(value) => Poll::Ready(value),
            None => {
                slot.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

struct TaskWaker {
    id: TaskId,
    ready: Arc<Mutex<BTreeSet<TaskId>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        lock(&self.ready).insert(self.id);
    }
}

/// Why [`Executor::run_until`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// What was waited for holds.
    Done,
    /// A check failed ([`Inner::failure`]).
    Failed,
    /// The virtual deadline, or the bound on steps, passed first.
    TimedOut,
    /// No task can go on and nothing will ever happen.
    Stuck,
}

/// Polls tasks and lets events happen, one at a time, in an order that the seed decides.
pub struct Executor {
    /// The world.
    pub world: World,
    tasks: BTreeMap<TaskId, (Owner, Arc<TaskWaker>, Task)>,
    ready: Arc<Mutex<BTreeSet<TaskId>>>,
    frozen: BTreeMap<Owner, i64>,
    next_id: TaskId,
    /// How far ahead the next event may be if it happens before a task that could go on.
    pub ahead_ms_max: i64,
    /// Steps taken.
    pub steps: u64,
}

impl Executor {
    /// No tasks yet.
    pub fn new(world: World) -> Executor {
        Executor {
            world,
            tasks: BTreeMap::new(),
            ready: Arc::default(),
            frozen: BTreeMap::new(),
            next_id: 0,
            ahead_ms_max: i64::MAX,
            steps: 0,
        }
    }

    /// Adds a task of process `owner`.
    pub fn spawn(&mut self, owner: Owner, task: impl Future<Output = ()> + 'static) {
        self.next_id += 1;
        let waker = Arc::new(TaskWaker {
            id: self.next_id,
            ready: self.ready.clone(),
        });
        lock(&self.ready).insert(self.next_id);
        self.tasks
            .insert(self.next_id, (owner, waker, Box::pin(task)));
    }

    /// Whether process `owner` has a task that has not returned.
    pub fn lives(&self, owner: Owner) -> bool {
        self.tasks.values().any(|(of, ..)| *of == owner)
    }

    /// Kills a process: its futures are dropped where they stand; what it asked of servers may still happen.
    pub fn kill(&mut self, owner: Owner) {
        self.world.with(|inner| {
            inner.killed.insert(owner);
            inner.note(|| format!("kill {owner}"));
        });
        self.tasks.retain(|_, (of, ..)| *of != owner);
        self.frozen.remove(&owner);
    }

    /// Ends the tasks of a process that goes on with others; what they asked of servers still happens.
    pub fn end_tasks(&mut self, owner: Owner) {
        self.tasks.retain(|_, (of, ..)| *of != owner);
    }

    /// Process `owner` does not run before virtual time `until`.
    pub fn freeze(&mut self, owner: Owner, until: i64) {
        self.world
            .with(|inner| inner.note(|| format!("freeze {owner} until {until}")));
        self.frozen.insert(owner, until);
        // Something must move time on to the thaw, even when all else is quiet.
        self.world
            .with(|inner| inner.after(until - inner.now, |_| {}));
    }

    fn runnable(&mut self) -> Vec<TaskId> {
        let now = self.world.now();
        self.frozen.retain(|_, until| *until > now);
        let mut ready = lock(&self.ready);
        ready.retain(|id| self.tasks.contains_key(id));
        ready
            .iter()
            .copied()
            .filter(|id| !self.frozen.contains_key(&self.tasks[id].0))
            .collect()
    }

    fn poll(&mut self, id: TaskId) {
        lock(&self.ready).remove(&id);
        let Some((owner, waker, task)) = self.tasks.get_mut(&id) else {
            return;
        };
        self.world.with(|inner| inner.owner = *owner);
        let waker = Waker::from(waker.clone());
        if task
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            self.tasks.remove(&id);
        }
        self.world.with(|inner| inner.owner = 0);
    }

    fn next_event(&mut self) -> bool {
        self.world.with(|inner| {
            let Some(((at, ..), action)) = inner.events.pop_first() else {
                return false;
            };
            inner.now = inner.now.max(at);
            action(inner);
            true
        })
    }

    /// Whether the next event is too far ahead to happen before a task that could go on.
    fn is_far(&self) -> bool {
        self.world.with(|inner| {
            let next = inner.events.first_key_value();
            next.is_some_and(|((at, ..), _)| at - inner.now > self.ahead_ms_max)
        })
    }

    /// One step: a task is polled, or the next event happens. False when neither is left.
    pub fn step(&mut self) -> bool {
        self.steps += 1;
        let runnable = self.runnable();
        let (poll, pick) = self
            .world
            .with(|inner| (!inner.chance(100), inner.rng.random::<u64>()));
        if !runnable.is_empty() && (poll || self.is_far() || !self.next_event()) {
            self.poll(runnable[pick as usize % runnable.len()]);
            return true;
        }
        !runnable.is_empty() || self.next_event()
    }

    /// Steps until `done` holds, at most to `deadline` in virtual time and `steps` in number.
    pub fn run_until(
        &mut self,
        deadline: i64,
        steps: u64,
        mut done: impl FnMut(&mut Executor) -> bool,
    ) -> Stopped {
        let last = self.steps + steps;
        loop {
            if self.world.with(|inner| inner.failure.is_some()) {
                return Stopped::Failed;
            }
            if done(self) {
                return Stopped::Done;
            }
            if self.world.now() > deadline || self.steps > last {
                return Stopped::TimedOut;
            }
            if !self.step() {
                return Stopped::Stuck;
            }
        }
    }
}

/// A line without the random part of an audit entry's key, the one thing that the program draws itself: `#` and 16 digits.
fn without_draws(line: &str) -> String {
    const DIGITS: usize = 16;
    let mut parts = line.split('#');
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        masked.push('#');
        let is_drawn = part.len() >= DIGITS
            && part.as_bytes()[..DIGITS]
                .iter()
                .all(|byte| byte.is_ascii_hexdigit());
        masked.push_str(if is_drawn { &part[DIGITS..] } else { part });
    }
    masked
}
