//! RATE: one source partition.
//!
//! ```text
//! collect a chunk ─▶ write the cut ─▶ rate ─▶ emit blocks, usage rows, rejects, forwards ─▶ (acknowledged) ─▶ collect …
//! ```
//!
//! The cut is written before the work, under the condition that nobody else has written one: it fixes everything that the rating
//! depends on, it says that the chunk before is done, and it is the lock. After a crash the recorded cut is run again; its
//! posting blocks carry the same sequences, and whoever has them already drops them.

pub mod accounts;
mod clock;
mod cut;
mod emit;
pub mod examine;
pub mod fold;
mod heartbeat;
mod load;
mod publish;
mod repeat;
pub mod window;

use std::time::Duration;

use tokio::sync::watch;
use tracing::Instrument as _;

use super::failure::Failure;
use super::follower::Follower;
use super::installation::{self, NextCheck};
use super::layout::{self, Layout};
use super::{Breakage, Covers, WorkerContext};
use crate::domain::position::{Control, Offset, Partition, WriteId};
use crate::domain::time::Millis;
use crate::log::{ReadLimit, Record, Topic};
use crate::ops::health::{Role, TaskId};
use crate::store::checkpoints::RateCheckpoint;
use crate::store::losses::LostChunk;
use fold::{Room, Tiers};
use heartbeat::Heartbeat;
use window::Window;

pub use clock::is_log_time_ahead;
pub use emit::PIECE_RECORDS;
pub(in crate::pipeline) use publish::Output;

/// The rater of one source partition, between two loads.
pub struct Rater<'c> {
    ctx: &'c WorkerContext,
    partition: Partition,
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
        TaskId::new(Role::Rate, self.partition)
    }

    /// Works until shutdown or a failure.
    pub async fn work(&mut self, shutdown: &watch::Receiver<bool>) -> Result<(), Failure> {
        self.stands();
        while !*shutdown.borrow() {
            if self.ctx.broken(Breakage::ControlHeadBeforeRecords) {
                self.early_head = Some(self.follower.follow(self.ctx).await?);
            }
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

    async fn chunk(&mut self, records: &[Record]) -> Result<(), Failure> {
        let started = self.ctx.clock.moment();
        self.cut(records).await?;
        self.ctx.stage(Role::Rate, "cut", started);
        self.rate(records).await
    }

    /// Collects a chunk: full by count, bytes or age. Empty if nothing came for a while.
    async fn collect(&self, shutdown: &watch::Receiver<bool>) -> Result<Vec<Record>, Failure> {
        let settings = &self.ctx.settings;
        let mut records = self
            .read(
                self.checkpoint.to,
                settings.chunk_records_max,
                settings.chunk_bytes_max,
                settings.idle_after,
            )
            .await?;
        let Some(first) = records.first() else {
            return Ok(records);
        };
        let (task, health) = (self.task(), &self.ctx.health);
        health.first_waiting(task, first.offset.0, first.append_time);
        let until = self.ctx.clock.moment().plus(settings.chunk_age);
        let mut bytes: usize = records.iter().map(Record::size).sum();
        while let Some(last) = records.last().map(|record| record.offset) {
            let left = until.since(self.ctx.clock.moment());
            let room = settings.chunk_records_max.saturating_sub(records.len());
            let room_bytes = settings.chunk_bytes_max.saturating_sub(bytes);
            if left.is_zero() || room == 0 || room_bytes == 0 || *shutdown.borrow() {
                break;
            }
            let more = self.read(last.next(), room, room_bytes, left).await?;
            bytes += more.iter().map(Record::size).sum::<usize>();
            records.extend(more);
        }
        Ok(records)
    }

    async fn read(
        &self,
        from: Offset,
        records: usize,
        bytes: usize,
        wait: Duration,
    ) -> Result<Vec<Record>, Failure> {
        let limit = ReadLimit { records, bytes };
        Ok(self
            .ctx
            .log
            .read(Topic::UsageEvents, self.partition, from, limit, wait)
            .await?)
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
