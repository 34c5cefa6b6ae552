//! Group commit, for an engine whose every commit costs an fsync: writes that are waiting at the same time share one
//! transaction, and each still gets its own answer.
//!
//! Nothing waits for company: while one group is written, the next gathers. A group's writes touch different items, so
//! that one's condition cannot depend on another's write. If conditions fail, DynamoDB says of which writes; those get
//! [`StoreError::ConditionFailed`], and the others go again without them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::items::{key_of, write_units};
use super::retry::{Repeatable, condition_failures, transaction_fault};
use super::{DynamoDb, repeatable};
use crate::store::db::{Key, StoreError, TRANSACTION_ITEMS_MAX, Write};
use crate::store::meter::Operation;

/// Most KiB in one group; DynamoDB allows 4 MiB in a transaction.
pub(super) const GROUP_KIB_MAX: u32 = 3_500;

/// Writes that belong together, and who waits for them.
struct Job {
    writes: Vec<Write>,
    keys: Vec<Key>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// Whether a task is working on them.
    is_served: bool,
}

/// The writes that wait for the next group.
#[derive(Default)]
pub(super) struct Groups {
    waiting: Mutex<Waiting>,
}

impl Groups {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here can be left half done by a panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next group: as many jobs as fit, in order, leaving those that touch an item which is in it already.
    /// Nothing left: the caller is done serving.
    fn take(&self) -> Vec<Job> {
        let mut waiting = self.lock();
        let mut group = Group::default();
        let jobs = std::mem::take(&mut waiting.jobs);
        for job in jobs {
            if let Some(job) = group.admit(job) {
                waiting.jobs.push_back(job);
            }
        }
        waiting.is_served = !group.jobs.is_empty();
        group.jobs
    }
}

#[derive(Default)]
struct Group {
    jobs: Vec<Job>,
    keys: BTreeSet<Key>,
    kib: u32,
    is_full: bool,
}

impl Group {
    /// Takes a job, or hands it back. The first one is always taken.
    fn admit(&mut self, job: Job) -> Option<Job> {
        let kib: u32 = job.writes.iter().map(kib).sum();
        let items = self.keys.len() + job.keys.len();
        let fits = items <= TRANSACTION_ITEMS_MAX && self.kib + kib <= GROUP_KIB_MAX;
        self.is_full |= !fits;
        let apart = job.keys.iter().all(|key| !self.keys.contains(key));
        if !self.jobs.is_empty() && (self.is_full || !apart) {
            return Some(job);
        }
        self.kib += kib;
        self.keys.extend(job.keys.iter().cloned());
        self.jobs.push(job);
        None
    }
}

fn kib(write: &Write) -> u32 {
    match write {
        Write::Put { item, .. } => write_units(item),
        Write::Delete { .. } | Write::Check { .. } => 1,
    }
}

fn key(write: &Write) -> Option<Key> {
    match write {
        Write::Put { table, item, .. } => key_of(*table, item),
        Write::Delete { key, .. } | Write::Check { key, .. } => Some(key.clone()),
    }
}

/// Answers those who still wait when the serving task ends before its time (its runtime shuts down).
struct Serving {
    groups: Arc<Groups>,
    is_done: bool,
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.is_done {
            // Whoever has come since then is served by another task.
            return;
        }
        let mut waiting = self.groups.lock();
        waiting.is_served = false;
        // Their senders go with them; `commit_in_group` makes an error of that.
        waiting.jobs.clear();
    }
}

impl DynamoDb {
    /// Commits writes, all or none, in one transaction with whatever else waits.
    pub(super) async fn commit_in_group(
        &self,
        groups: &Arc<Groups>,
        writes: Vec<Write>,
    ) -> Result<(), StoreError> {
        let Some(keys) = writes.iter().map(key).collect::<Option<Vec<Key>>>() else {
            // Without a key it cannot be grouped; DynamoDB will say what is wrong with it.
            return self.commit(writes).await;
        };
        let (done, answer) = oneshot::channel();
        let must_serve = {
            let mut waiting = groups.lock();
            waiting.jobs.push_back(Job { writes, keys, done });
            !std::mem::replace(&mut waiting.is_served, true)
        };
        if must_serve {
            let serving = Serving {
                groups: groups.clone(),
                is_done: false,
            };
            let db = self.clone();
            tokio::spawn(async move { db.serve(serving).await });
        }
        let stopped = || StoreError::Unanswered("the client was shut down meanwhile".to_owned());
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    async fn serve(&self, mut serving: Serving) {
        loop {
            let jobs = serving.groups.take();
            if jobs.is_empty() {
                serving.is_done = true;
                return;
            }
            self.commit_group(jobs).await;
        }
    }

    /// Commits a group and answers each of its jobs.
    async fn commit_group(&self, mut jobs: Vec<Job>) {
        while jobs.len() > 1 {
            let (error, failed) = match self.try_group(&jobs).await {
                Ok(()) => {
                    jobs.into_iter().for_each(|job| answer(job, Ok(())));
                    return;
                }
                Err(error) => error,
            };
            match error {
                StoreError::ConditionFailed if !failed.is_empty() => {
                    jobs = without_failed(jobs, &failed);
                }
                // One bad write, or a lost answer to unconditional ones: each by itself.
                StoreError::ConditionFailed | StoreError::Refused(_) => break,
                error => {
                    jobs = unconditional_only(jobs, &error);
                    break;
                }
            }
        }
        for mut job in jobs {
            let result = self.commit(std::mem::take(&mut job.writes)).await;
            answer(job, result);
        }
    }

    /// Tries a group as one transaction; a failure says whose conditions failed (by the number of the write).
    async fn try_group(&self, jobs: &[Job]) -> Result<(), (StoreError, BTreeSet<usize>)> {
        let nobody = |error| (error, BTreeSet::new());
        let writes = jobs.iter().flat_map(|job| job.writes.iter().cloned());
        let request = self.transaction(writes.collect()).await.map_err(nobody)?;
        let failed = Mutex::new(BTreeSet::new());
        let sort = |error: &_| {
            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
            *failed = condition_failures(error);
            transaction_fault(error)
        };
        let send = || request.clone().send();
        match self.run(Repeatable::No, sort, send).await {
            Ok(answer) => {
                self.measure_all(Operation::Transact, answer.consumed_capacity());
                Ok(())
            }
            Err(error) => {
                let failed = failed.into_inner();
                Err((error, failed.unwrap_or_else(PoisonError::into_inner)))
            }
        }
    }
}

fn answer(job: Job, result: Result<(), StoreError>) {
    // Whoever asked may have given up waiting.
    let _ = job.done.send(result);
}

/// Tells the jobs whose conditions failed so, and keeps the others.
fn without_failed(jobs: Vec<Job>, failed: &BTreeSet<usize>) -> Vec<Job> {
    let mut begin = 0;
    let mut left = Vec::new();
    for job in jobs {
        let end = begin + job.writes.len();
        if failed.range(begin..end).next().is_some() {
            answer(job, Err(StoreError::ConditionFailed));
        } else {
            left.push(job);
        }
        begin = end;
    }
    left
}

/// Gives an error to all but those whose writes may be repeated.
fn unconditional_only(jobs: Vec<Job>, error: &StoreError) -> Vec<Job> {
    let may_repeat = |write: &Write| match write {
        Write::Put { condition, .. } | Write::Delete { condition, .. } => {
            repeatable(condition) == Repeatable::Yes
        }
        Write::Check { .. } => false,
    };
    let mut left = Vec::new();
    for job in jobs {
        if job.writes.len() == 1 && job.writes.iter().all(may_repeat) {
            left.push(job);
        } else {
            answer(job, Err(error.clone()));
        }
    }
    left
}
