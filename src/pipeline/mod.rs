//! The pipeline: RATE turns usage events into posting blocks, POST adds posting blocks to account
//! rows. ADAPT stands before it, where gateways write logs of their own: it turns their entries
//! into usage events.
//!
//! ```text
//! usage.events ─▶ chunk ─▶ cut ─▶ decode ─▶ duplicates ─▶ prefetch ─▶ fold ─▶ blocks, usage rows, rejects ─▶ ledger.postings
//! ledger.postings ─▶ sequence check ─▶ load accounts ─▶ fold ─▶ flush rows ─▶ effects ─▶ checkpoint
//! ```
//!
//! One task per partition and role. A task is ordinary sequential code over three traits (log,
//! store, clock): it starts no task and reads no clock of its own, so that the simulator runs
//! exactly this code under its own scheduler.
//!
//! A task that cannot go on does one of two things. It **reloads**: drops what it has in memory and
//! begins again from its checkpoint (an answer was lost, somebody else wrote, the store is away).
//! Or it **halts**, because the state contradicts itself: it records why, changes nothing, and
//! waits for `tidemark resume`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::domain::position::{Offset, Partition, WriteId};
use crate::domain::semantics::Semantics;
use crate::log::Log;
use crate::ops::clock::{Clock, Moment};
use crate::ops::health::{Health, Role, TaskId};
use crate::ops::metrics::Metrics;
use crate::store::db::Db;

mod adapt;
mod audit;
pub mod breakage;
mod counters;
mod cut_record;
pub mod failure;
pub mod follower;
mod freshness;
pub mod hashed;
mod installation;
mod lag;
mod layout;
mod log_identity;
pub mod loss;
mod ownership;
pub mod post;
pub mod progress;
pub mod protections;
mod provider_names;
pub mod rate;
mod recent;
mod recorded_cut;
pub mod recover;
mod retry;
pub mod rows_ahead;
pub mod settings;
mod supervise;
mod table_age;
mod versioned;

pub use adapt::AdapterSetup;
pub use audit::ArchiveSetup;
pub use breakage::Breakage;
pub use cut_record::{AuditedCut, decode_cut};
pub use failure::{Failure, HaltCode};
pub use lag::watch_lag;
pub use log_identity::{RecordedTopic, contradiction, same_count};
pub use ownership::OwnedTasks;
pub use protections::Protections;
pub use rate::is_log_time_ahead;
pub use recent::watch_recent;
#[doc(hidden)]
pub use recorded_cut::fuzzed_cut;
pub use recorded_cut::{ChunkEnd, LogIdentity, LoggedChunk};
pub use settings::Settings;
pub use table_age::tables_behind_log;

/// The number of the rating semantics that this code implements. It rises with every change that
/// could rate the same records differently. A chunk that was cut by an earlier number is rated by
/// that one, if this code still knows it ([`Semantics`]). 2: points from referrals are counted by
/// level. 3: a latency of more than a day is rejected; sums stay at the end of their range. 4:
/// models are recognised in more spellings.
pub const SEMANTICS: u32 = Semantics::NOW.number();

/// What a checkpoint covers of what its task has done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Covers {
    /// All of it.
    Everything,
    /// Something is done that it does not cover yet.
    Part,
}

/// What the tasks of one worker share.
pub struct WorkerContext {
    /// The logs.
    pub log: Arc<dyn Log>,
    /// The tables.
    pub db: Arc<dyn Db>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Settings.
    pub settings: Settings,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Where tasks report what they do.
    pub health: Arc<Health>,
    /// What there is to adapt, if this worker does.
    pub adapting: Option<AdapterSetup>,
    /// The archive that auditors write, if there is one.
    pub archive: Option<ArchiveSetup>,
    /// The protections of the protocol: all of them, except in tests that break one.
    pub protections: Protections,
    /// Random, drawn once when the worker starts.
    worker: u64,
    writes: AtomicU64,
    tails: tokio::sync::Mutex<table_age::Tails>,
    audits: audit::BlockReaders,
}

impl WorkerContext {
    /// A worker. `worker` must be drawn at random for every start of a process: it tells its writes
    /// from all others.
    pub fn new(
        log: Arc<dyn Log>,
        db: Arc<dyn Db>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        worker: u64,
    ) -> WorkerContext {
        let writes = AtomicU64::new(0);
        counters::at_zero(&metrics);
        audit::counters_at_zero(&metrics);
        WorkerContext {
            log,
            db,
            clock,
            settings,
            metrics,
            health,
            adapting: None,
            archive: None,
            protections: Protections::default(),
            worker,
            writes,
            tails: tokio::sync::Mutex::default(),
            audits: audit::BlockReaders::default(),
        }
    }

    /// An id for one write, never given before.
    pub fn next_write(&self) -> WriteId {
        WriteId {
            worker: self.worker,
            count: self.writes.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    /// Tells up to where a task's work is durable.
    fn tell_checkpoint(&self, task: TaskId, next: Offset, covers: Covers) {
        let partition = task.partition.to_string();
        let labels = [task.role.as_str(), partition.as_str()];
        let metrics = &self.metrics;
        let offset = metrics.checkpoint_offset.with_label_values(&labels);
        let next = i64::try_from(next.0).unwrap_or(i64::MAX);
        let since = metrics
            .checkpoint_timestamp_seconds
            .with_label_values(&labels);
        if covers == Covers::Everything || offset.get() != next || since.get() == 0.0 {
            since.set(self.clock.now().0 as f64 / 1_000.0);
        }
        offset.set(next);
    }

    /// Tells how long a stage has taken, that began at `started`; the moment at which the next one
    /// begins.
    fn stage(&self, role: Role, stage: &str, started: Moment) -> Moment {
        let now = self.clock.moment();
        let seconds = now.since(started).as_secs_f64();
        let stages = &self.metrics.stage_seconds;
        stages
            .with_label_values(&[role.as_str(), stage])
            .observe(seconds);
        now
    }
}

/// Runs one task until shutdown: through reloads, halts and resumes.
pub async fn run(ctx: Arc<WorkerContext>, task: TaskId, shutdown: watch::Receiver<bool>) {
    ctx.health.taken_up(task);
    supervise::run(&ctx, task, shutdown).await;
    ctx.health.gone(task);
}

/// The tasks that audit rating, one for each source partition.
pub fn audit_tasks(source_partitions: u32) -> Vec<TaskId> {
    let task = |p| TaskId::new(Role::Audit, Partition(p));
    (0..source_partitions).map(task).collect()
}

/// Every task of both roles, for one process that does it all.
pub fn all_tasks(source_partitions: u32, posting_partitions: u32) -> Vec<TaskId> {
    let of = |role, count| (0..count).map(move |p| TaskId::new(role, Partition(p)));
    of(Role::Rate, source_partitions)
        .chain(of(Role::Post, posting_partitions))
        .collect()
}
