//! Rating chunks again: those that were rated before the tables went back (`tidemark recover`), and
//! every one for its audit.

use super::Rater;
use super::output::Output;
use super::restore::shorten_window;
use crate::domain::position::{Control, Partition, WriteId};
use crate::log::{Fingerprint, Topic};
use crate::ops::health::Role;
use crate::pipeline::failure::{Failure, HaltCode};
use crate::pipeline::{WorkerContext, layout};
use crate::store::checkpoints::RateCheckpoint;
use crate::store::db::Write;

impl<'c> Rater<'c> {
    /// A rater for chunks whose cuts are known, that begins with this one. `written` is the last
    /// write of the stored checkpoint.
    pub(in crate::pipeline) async fn repeating(
        ctx: &'c WorkerContext,
        partition: Partition,
        first: RateCheckpoint,
        written: Option<WriteId>,
    ) -> Result<Rater<'c>, Failure> {
        let start = ctx.log.bounds(Topic::UsageEvents, partition).await?.start;
        let first = shorten_window(first, start)?;
        let source = ctx.log.topic(Topic::UsageEvents).await?;
        let postings = ctx.log.topic(Topic::LedgerPostings).await?;
        let layout = layout::agree(ctx, &source, &postings).await?;
        let mut rater = Rater::at(ctx, partition, layout, first, written).await?;
        rater.rebuild_window().await?;
        Ok(rater)
    }

    /// A rater for the audit of chunks, that begins with this one. It publishes nothing and counts
    /// nothing. `archives`: it gathers rows for the archive.
    pub(in crate::pipeline) async fn auditing(
        ctx: &'c WorkerContext,
        partition: Partition,
        first: RateCheckpoint,
        archives: bool,
    ) -> Result<Rater<'c>, Failure> {
        let start = ctx.log.bounds(Topic::UsageEvents, partition).await?.start;
        let first = shorten_window(first, start)?;
        let layout = layout::stored(ctx).await?;
        let control = first.control;
        let mut rater = Rater::at(ctx, partition, layout, first, None).await?;
        rater.role = Role::Audit;
        rater.archives = archives;
        rater.follow_to(control).await?;
        rater.rebuild_window().await?;
        Ok(rater)
    }

    /// Follows the control feed at least to this position.
    pub(in crate::pipeline) async fn follow_to(&mut self, control: Control) -> Result<(), Failure> {
        self.follower.trim(self.ctx.settings.chains_cached_max);
        if self.follower.followed() >= control {
            return Ok(());
        }
        match self.follower.follow(self.ctx).await? {
            head if head >= control => Ok(()),
            head => Err(Failure::reload(format!(
                "the control feed ends at {head}, but a chunk was rated with entries up to {control}"
            ))),
        }
    }

    /// Goes on to a later chunk. Records between the two belong to chunks that sent no block.
    pub(in crate::pipeline) async fn go_on_to(
        &mut self,
        next: RateCheckpoint,
    ) -> Result<(), Failure> {
        let bounds = self.ctx.log.bounds(Topic::UsageEvents, self.partition);
        let start = bounds.await?.start;
        self.continue_with(shorten_window(next, start)?).await
    }

    /// The same where nothing has expired of the window since this rater stood at the chunk before.
    pub(in crate::pipeline) async fn continue_with(
        &mut self,
        next: RateCheckpoint,
    ) -> Result<(), Failure> {
        let (to, log_time) = (self.checkpoint.to, self.after.log_time);
        let first = next.window.first;
        let is_corrected = next.clock != self.checkpoint.clock;
        self.checkpoint = next;
        if is_corrected {
            // Log time went back in between.
            self.window = super::Window::default();
            return self.rebuild_window().await;
        }
        self.take_into_window(to, log_time).await?;
        self.window.forget_before(first);
        Ok(())
    }

    /// Rates the chunk, and publishes nothing.
    pub(in crate::pipeline) async fn repeat(&mut self) -> Result<Output, Failure> {
        let records = self.recorded().await?;
        let last = records.last().map(Fingerprint::of);
        if last != self.checkpoint.fingerprint {
            let (topic, partition) = (Topic::UsageEvents, self.partition);
            let what = format!(
                "{topic}/{partition} does not hold the record with which chunk {} ended",
                self.checkpoint.chunk
            );
            return Err(Failure::halt(HaltCode::FingerprintMismatch, what));
        }
        let output = self.rate(&records).await?;
        self.after = output.after.clone();
        Ok(output)
    }

    /// Stores that the chunk is done, with other writes in one transaction. `sequences` are the last
    /// ones that were sent.
    pub(in crate::pipeline) async fn store_done(
        &mut self,
        sequences: Vec<crate::domain::position::Sequence>,
        others: Vec<Write>,
    ) -> Result<(), Failure> {
        self.after.sequences = sequences;
        self.declare_done_with(others).await
    }
}
