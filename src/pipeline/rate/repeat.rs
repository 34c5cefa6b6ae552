//! Rating chunks again: those that were rated before the tables went back (`tidemark recover`), and
//! every one for its audit.

use super::Rater;
use super::output::Output;
use super::restore::shorten_window;
use crate::domain::position::{Control, Offset, Partition, WriteId};
use crate::log::{Fingerprint, Topic};
use crate::ops::health::Role;
use crate::pipeline::failure::{Failure, HaltCode};
use crate::pipeline::{WorkerContext, layout};
use crate::store::checkpoints::{RateCheckpoint, WindowCut};
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

    /// The first record of this rater's duplicate window: of a chunk's recorded one, an earlier
    /// part may have expired.
    pub(in crate::pipeline) fn window_first(&self) -> Offset {
        self.checkpoint.window.first
    }

    /// How the recorded cut of the next chunk, which follows this one's records, contradicts what
    /// this rater would have cut: its duplicate window and the services that rated it. How many
    /// records, with which entries of the control feed and by which settings was the other's to
    /// decide; this one has followed the feed up to there.
    pub(in crate::pipeline) fn contradictions(&self, next: &RateCheckpoint) -> Vec<String> {
        let is_corrected = next.clock != self.checkpoint.clock;
        let window = (!is_corrected).then(|| self.window_contradiction(next));
        let services = self.services_contradiction(next);
        window.flatten().into_iter().chain(services).collect()
    }

    /// Whether a worker may have been in between that cut no chunk: it may have other settings, or
    /// have found that a part of the window had expired.
    fn leaves_number(&self, next: &RateCheckpoint) -> bool {
        next.chunk.0 > self.checkpoint.chunk.0 + 1
    }

    fn window_contradiction(&self, next: &RateCheckpoint) -> Option<String> {
        let (own, to) = (self.checkpoint.window, self.checkpoint.to);
        let before = WindowCut {
            first: own.first,
            first_log_time: own.first_log_time,
            forgotten: own.forgotten,
            ..next.window
        };
        let (expected, _) = self.window.advanced(&before, to, next.log_time);
        if next.window == expected {
            return None;
        }
        let forgotten = own
            .forgotten
            .max(self.window.latest_before(next.window.first));
        let is_possible = self.leaves_number(next)
            && next.window.first >= expected.first
            && (forgotten..=forgotten.max(Some(next.log_time))).contains(&next.window.forgotten);
        (!is_possible).then(|| {
            format!(
                "its duplicate window {}, but the chunks before it leave one that {}",
                window_text(&next.window),
                window_text(&expected)
            )
        })
    }

    fn services_contradiction(&self, next: &RateCheckpoint) -> Option<String> {
        let version = self.follower.services_version(next.control);
        let mut expected = self.checkpoint.services.clone();
        expected.rate_from(next.from, version, next.window.first.min(next.from));
        // A tidemark that does not keep them may have been in between.
        let is_unknown = next.services.is_empty() && self.leaves_number(next);
        (next.services != expected && !is_unknown).then(|| {
            "it names other versions of rules.services for its duplicate window than were in force"
                .to_owned()
        })
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

    /// Stores that the chunk is done, with other writes in one transaction. `sequences` are the
    /// last ones that were sent.
    pub(in crate::pipeline) async fn store_done(
        &mut self,
        sequences: Vec<crate::domain::position::Sequence>,
        others: Vec<Write>,
    ) -> Result<(), Failure> {
        self.after.sequences = sequences;
        self.declare_done_with(others).await
    }
}

fn window_text(window: &WindowCut) -> String {
    let forgotten = match window.forgotten {
        Some(forgotten) => format!("has forgotten events up to {forgotten}"),
        None => "has forgotten nothing".to_owned(),
    };
    format!("begins at record {} and {forgotten}", window.first)
}
