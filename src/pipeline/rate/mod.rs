//! RATE: one source partition. Each stage has a file of its name.
//!
//! ```text
//! collect ─▶ cut ─▶ decode ─▶ dedupe ─▶ resolve (usage rows, referral chains) ─▶ fold
//!    ▲                                                                          │
//!    └──────── (acknowledged) ◀─ publish (blocks, usage rows, rejects, forwards) ◀┘
//! ```
//!
//! The cut is written before the work, under the condition that nobody else has written one: it
//! fixes everything that the rating depends on, it says that the chunk before is done, and it is
//! the lock. After a crash the recorded cut is run again; its posting blocks carry the same
//! sequences, and whoever has them already drops them.

pub mod accounts;
mod archived;
pub mod candidate;
mod chunk;
mod clock;
mod collect;
mod complete;
mod count;
mod cut;
pub mod decode;
pub mod dedupe;
mod find_originals;
pub mod fold;
mod heartbeat;
mod originals;
mod output;
mod publish;
mod repeat;
mod resolve;
mod restore;
mod reverse;
mod tally;
pub mod tiers;
mod usage_rows;
pub mod window;

use std::sync::Arc;

use tokio::sync::watch;
use tracing::Instrument as _;

use super::failure::Failure;
use super::follower::Follower;
use super::installation::{self, NextCheck};
use super::layout::{self, Layout};
use super::{Covers, WorkerContext};
use crate::domain::position::{Control, Partition, WriteId};
use crate::domain::semantics::Semantics;
use crate::domain::time::Millis;
use crate::log::{Record, Topic};
use crate::ops::health::{Role, TaskId};
use crate::store::checkpoints::{RateCheckpoint, UsageRows};
use crate::store::losses::LostChunk;
use chunk::ChunkState;
use fold::Room;
use heartbeat::Heartbeat;
use tiers::Tiers;
use usage_rows::UsageRowMaker;
use window::Window;

pub(in crate::pipeline) use archived::ArchivedChunk;
pub use chunk::PIECE_RECORDS;
pub use clock::is_log_time_ahead;
pub(in crate::pipeline) use output::Output;

/// The rater of one source partition, between two loads.
pub struct Rater<'c> {
    ctx: &'c WorkerContext,
    partition: Partition,
    /// In whose name it works: rating, or the audit of it.
    role: Role,
    /// The checkpoint as it stands in the store.
    checkpoint: RateCheckpoint,
    /// The id of the checkpoint's last write; `None` if there is no checkpoint yet.
    written: Option<WriteId>,
    /// The state after the recorded chunk, once that is done.
    after: After,
    layout: Layout,
    /// Chunks that were lost before any account had counted them: their usage rows say nothing.
    void: Vec<LostChunk>,
    rejected_partitions: u32,
    follower: Follower,
    window: Window,
    tiers: Tiers,
    room: Room,
    heartbeat: Heartbeat,
    next_check: NextCheck,
    /// Broken on purpose: the control position of the next cut.
    early_head: Option<Control>,
    progressed: bool,
    /// Whether it gathers rows for the archive.
    archives: bool,
}

/// Where the log and the sequences stand after the recorded chunk.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct After {
    pub(in crate::pipeline) log_time: Millis,
    pub(in crate::pipeline) latest_event: Option<Millis>,
    pub(in crate::pipeline) sequences: Vec<crate::domain::position::Sequence>,
    pub(in crate::pipeline) fingerprint: Option<crate::log::Fingerprint>,
}

impl Rater<'_> {
    /// Whether anything was done since the load.
    pub fn has_progressed(&self) -> bool {
        self.progressed
    }

    fn task(&self) -> TaskId {
        TaskId::new(self.role, self.partition)
    }

    /// Works until shutdown or a failure.
    pub async fn work(&mut self, shutdown: &watch::Receiver<bool>) -> Result<(), Failure> {
        self.stands();
        self.ctx.health.loaded(self.task());
        while !*shutdown.borrow() {
            let head = self.follower.follow(self.ctx);
            self.early_head = self.ctx.protections.head_after_records(head).await?;
            let records = self.collect(shutdown).await?;
            if records.is_empty() {
                self.idle().await?;
            } else {
                let records = self.before_clock_jump(&records).await?;
                let (task, chunk) = (self.task(), self.checkpoint.chunk.0 + 1);
                let span = tracing::info_span!("rate.chunk", %task, chunk, records = records.len());
                self.chunk(records).instrument(span).await?;
            }
            // Under load, too: a busy source may send to a few posting partitions only.
            self.send_heartbeat().await?;
            self.report().await?;
            if self.next_check.is_due(self.ctx) {
                installation::check_tables(self.ctx).await?;
                layout::check_former_sources(self.ctx, &self.layout, self.partition).await?;
            }
        }
        self.declare_done().await
    }

    /// Cuts, rates and publishes the chunk that was collected.
    async fn chunk(&mut self, records: &[Record]) -> Result<(), Failure> {
        let started = self.ctx.clock.moment();
        self.cut(records).await?;
        self.ctx.stage(Role::Rate, "cut", started);
        self.rate_and_publish(records).await
    }

    /// Rates the recorded chunk, whose records these are, and publishes what it gives. Returns when
    /// all of it is acknowledged; only then may the next chunk be cut.
    async fn rate_and_publish(&mut self, records: &[Record]) -> Result<(), Failure> {
        let started = self.ctx.clock.moment();
        let output = self.rate(records).await?;
        let emitting = self.ctx.stage(Role::Rate, "rate", started);
        self.after = self.publish(output).await?;
        self.ctx.stage(Role::Rate, "emit", emitting);
        self.progressed = true;
        let took = self.ctx.clock.moment().since(started);
        self.ctx.metrics.chunk_seconds.observe(took.as_secs_f64());
        let took_ms = took.as_millis();
        tracing::debug!(event = "chunk.rated", task = %self.task(), chunk = self.checkpoint.chunk.0, records = records.len(), took_ms);
        Ok(())
    }

    /// Rates the recorded chunk, whose records these are. A piece is folded while it is in the
    /// processor's caches, unless it needs the store: then it waits, with all that follow.
    async fn rate(&mut self, records: &[Record]) -> Result<Output, Failure> {
        let (mut chunk, protections) = (self.open_chunk()?, self.ctx.protections);
        for piece in protections.pieces(records, PIECE_RECORDS) {
            chunk.decode(piece);
            chunk.dedupe(protections.window_of(&mut self.window, piece, records));
            chunk.fold_known(self.follower.chains(), &mut self.tiers);
        }
        self.resolve(&mut chunk).await?;
        chunk.fold_resolved(self.follower.chains(), &mut self.tiers)?;
        self.count(&chunk, records);
        Ok(self.output(chunk, records))
    }

    /// The recorded chunk, with nothing decoded.
    fn open_chunk<'r>(&mut self) -> Result<ChunkState<'r>, Failure> {
        let cut = &self.checkpoint;
        let semantics = Semantics::known(cut.semantics).unwrap_or_default();
        self.tiers.recognise_by(semantics);
        let timeline = self.follower.rules(cut.control).ok_or_else(no_rules)?;
        let protections = self.ctx.protections;
        let rows = UsageRowMaker {
            is_on: cut.window.usage_rows != UsageRows::Off,
            partition: self.partition,
            services: Arc::clone(timeline.services()),
            epoch: cut.epoch,
            control: cut.control,
            life_ms: self.ctx.settings.usage_row_life.as_millis() as i64,
            key: protections.usage_key(),
        };
        let room = std::mem::take(&mut self.room);
        let chunk = ChunkState::new(cut, timeline, rows, room, semantics, protections);
        Ok(match self.archives {
            true => chunk.archiving(cut.chunk, cut.log_time),
            false => chunk,
        })
    }

    /// Nothing came: says so once.
    async fn idle(&mut self) -> Result<(), Failure> {
        if self.checkpoint.is_cut() {
            self.declare_done().await?;
        }
        Ok(())
    }

    async fn report(&self) -> Result<(), Failure> {
        let end = self
            .ctx
            .log
            .end_seen(Topic::UsageEvents, self.partition)
            .await?;
        self.stands();
        self.ctx
            .health
            .progressed(self.task(), end.0.saturating_sub(self.checkpoint.to.0));
        self.ctx
            .tell_checkpoint(self.task(), self.checkpoint.to, Covers::Everything);
        Ok(())
    }

    fn stands(&self) {
        let next = self.checkpoint.to.0;
        self.ctx.health.stands_at(self.task(), next);
    }
}

fn no_rules() -> Failure {
    Failure::reload("no rules are published; run `tidemark pricing init testnet` (or mainnet)")
}
