//! Of RATE.

use std::cmp::Ordering;
use std::future::Future;
use std::slice::Chunks;

use super::{Breakage, Protections};
use crate::domain::amount::Points;
use crate::domain::event::{AHEAD_MS_MAX, UsageEvent};
use crate::domain::position::{Chunk, Control, Offset, Position, Sequence};
use crate::domain::rating::Amounts;
use crate::domain::time::Millis;
use crate::log::Record;
use crate::pipeline::failure::Failure;
use crate::pipeline::recorded_cut::ChunkEnd;
use crate::store::checkpoints::{RateCheckpoint, UsageRows, WindowCut};
use crate::store::db::Key;
use crate::store::layout::Moved;
use crate::store::usage;

impl Protections {
    /// The pieces in which a chunk goes through its stages. If the window is to end inside of it,
    /// there are two.
    #[inline]
    pub(in crate::pipeline) fn pieces<T>(self, records: &[T], piece: usize) -> Chunks<'_, T> {
        if self.lack(Breakage::WindowEndsInsideChunk) {
            return records.chunks(records.len().div_ceil(2).max(1));
        }
        records.chunks(piece)
    }

    /// The window in which duplicates of `piece`, a piece of `chunk`, are looked for: it reaches
    /// over the whole chunk.
    #[inline]
    pub(in crate::pipeline) fn window_of<'w, T, W: Default>(
        self,
        window: &'w mut W,
        piece: &[T],
        chunk: &[T],
    ) -> &'w mut W {
        let is_first = std::ptr::eq(piece.as_ptr(), chunk.as_ptr());
        if self.lack(Breakage::WindowEndsInsideChunk) && !is_first {
            *window = W::default();
        }
        window
    }

    /// What the window says of an event. Broken: nothing, only usage rows tell duplicates.
    #[inline]
    pub(in crate::pipeline) fn standing<S>(self, new: S, look_up: impl FnOnce() -> S) -> S {
        if self.lack(Breakage::SlowLaneInPlaceOfWindow) {
            return new;
        }
        look_up()
    }

    /// How far an event may have been ahead of log time, ms.
    #[inline]
    pub(in crate::pipeline) fn ahead_ms(self) -> i64 {
        if self.lack(Breakage::SlowLaneWithoutFiveMinutes) {
            return 0;
        }
        AHEAD_MS_MAX
    }

    /// What makes the key of an event's usage row: the event's identity is in it.
    pub(in crate::pipeline) fn usage_key(self) -> fn(&UsageEvent<'_>) -> Key {
        if self.lack(Breakage::UsageRowKeyWithoutIdentity) {
            return usage::key_without_identity;
        }
        usage::key
    }

    /// The control position whose rules and links say what a reversal takes back: that with which
    /// its original was rated. Broken: that of the reversal.
    pub(in crate::pipeline) fn rules_of_original(self, own: Control, now: Control) -> Control {
        match self.lack(Breakage::ReversedByRulesOfNow) {
            true => now,
            false => own,
        }
    }

    /// Whether a read shows the row that was written at a position, to a reversal at another. Reads
    /// are strongly consistent: always. Broken: not if it was written just before.
    pub(in crate::pipeline) fn shows_row(self, written: Position, reader: Position) -> bool {
        const RECENT: u64 = 16;
        let is_recent = written.offset.0 + RECENT > reader.offset.0;
        !(is_recent && self.lack(Breakage::OriginalsReadEventually))
    }

    /// How the position of the completion that won compares with that of a completion. Broken: a
    /// rerun is decided anew, with the row that its first run wrote.
    pub(in crate::pipeline) fn order_of_completion(self, won: Ordering) -> Ordering {
        match self.lack(Breakage::CompletionDecidedAnew) {
            true => Ordering::Less,
            false => won,
        }
    }

    /// What an event earns: rounded down. Broken: up.
    #[inline]
    pub(in crate::pipeline) fn amounts(self, amounts: Amounts) -> Amounts {
        if self.lack(Breakage::AmountsRoundedUp) {
            let user = Points(amounts.user.0 + i64::from(amounts.user != Points::ZERO));
            return Amounts { user, ..amounts };
        }
        amounts
    }

    /// The blocks of a chunk that are sent: all of them. Broken: not the first.
    pub(in crate::pipeline) fn sent_blocks<T>(self, mut blocks: Vec<T>) -> Vec<T> {
        if self.lack(Breakage::BlockNotSent) && blocks.len() > 1 {
            blocks.remove(0);
        }
        blocks
    }

    /// Reads the head of the control feed: after the records of the chunk. Broken: before.
    pub(in crate::pipeline) async fn head_after_records<T>(
        self,
        read: impl Future<Output = Result<T, Failure>>,
    ) -> Result<Option<T>, Failure> {
        if self.lack(Breakage::ControlHeadBeforeRecords) {
            return read.await.map(Some);
        }
        Ok(None)
    }

    /// Advances the window from what was cut before. What it has forgotten never falls back.
    pub(in crate::pipeline) fn advance(
        self,
        before: &WindowCut,
        advance: impl FnOnce(&WindowCut) -> WindowCut,
    ) -> WindowCut {
        if self.lack(Breakage::WindowForgetsEarly) {
            let advanced = advance(before);
            let forgotten = advanced.forgotten.max(Some(advanced.first_log_time));
            return WindowCut {
                forgotten: forgotten.map(|forgotten| forgotten.plus(1)),
                ..advanced
            };
        }
        if self.lack(Breakage::UncheckedWindowCutShort) {
            let advanced = advance(&WindowCut {
                usage_rows: UsageRows::Since(None),
                ..*before
            });
            return WindowCut {
                usage_rows: before.usage_rows,
                ..advanced
            };
        }
        if !self.lack(Breakage::ForgottenFallsBack) {
            return advance(before);
        }
        let advanced = advance(&WindowCut {
            forgotten: None,
            ..*before
        });
        WindowCut {
            forgotten: advanced.forgotten.or(before.forgotten),
            ..advanced
        }
    }

    /// From which record on the next chunk is collected: from where the recorded one ends.
    pub(in crate::pipeline) fn next_record(self, recorded: &RateCheckpoint) -> Offset {
        match self.lacks_now(Breakage::RecordsCutAnew, recorded.chunk) {
            true => recorded.from,
            false => recorded.to,
        }
    }

    /// The collected records that the chunk after the recorded one takes: all of them.
    pub(in crate::pipeline) fn taken<T>(self, recorded: Chunk, mut records: Vec<T>) -> Vec<T> {
        if records.len() > 1 && self.lacks_now(Breakage::RecordsPassedOver, recorded) {
            records.remove(0);
        }
        records
    }

    /// The first record of a chunk: where the one before ends. Broken: whatever was collected.
    pub(in crate::pipeline) fn first_record(self, next: Offset, collected: &[Record]) -> Offset {
        let is_broken =
            self.lack(Breakage::RecordsCutAnew) || self.lack(Breakage::RecordsPassedOver);
        match collected.first() {
            Some(first) if is_broken => first.offset,
            _ => next,
        }
    }

    /// The number of the chunk after the recorded one.
    pub(in crate::pipeline) fn next_chunk(self, recorded: Chunk) -> Chunk {
        match self.lacks_now(Breakage::ChunkNumberUsedAgain, recorded) {
            true => recorded,
            false => Chunk(recorded.0 + 1),
        }
    }

    /// Log time before a chunk.
    pub(in crate::pipeline) fn log_time_before(self, log_time: Millis) -> Millis {
        match self.lack(Breakage::LogTimeMisstated) {
            true => log_time.plus(1),
            false => log_time,
        }
    }

    /// The control position of the chunk after the recorded one.
    pub(in crate::pipeline) fn control_of_next(self, recorded: Chunk, control: Control) -> Control {
        let goes_back = recorded.0.is_multiple_of(2) && self.lack(Breakage::ControlGoesBack);
        Control(control.0.saturating_sub(u64::from(goes_back)))
    }

    /// Since when a posting partition waits for a block: the one that has waited longest. Broken:
    /// the one that was sent a block last.
    pub(in crate::pipeline) fn waits_since<T: Ord>(
        self,
        reached: impl Iterator<Item = T>,
    ) -> Option<T> {
        match self.lack(Breakage::HeartbeatsBySource) {
            true => reached.max(),
            false => reached.min(),
        }
    }

    /// Whether a cut notes the services that rate it.
    pub(in crate::pipeline) fn notes_services(self) -> bool {
        !self.lack(Breakage::ServicesNotNoted)
    }

    /// The last sequences sent before the chunk after the recorded one.
    pub(in crate::pipeline) fn sent_before(
        self,
        recorded: Chunk,
        mut sequences: Vec<Sequence>,
    ) -> Vec<Sequence> {
        if self.lacks_now(Breakage::SequencesPassedOver, recorded)
            && let Some(first) = sequences.first_mut()
        {
            first.0 += 1;
        }
        sequences
    }

    /// The latest event before a chunk.
    pub(in crate::pipeline) fn latest_event_before(self, latest: Option<Millis>) -> Option<Millis> {
        match self.lack(Breakage::LatestEventMisstated) {
            true => latest.map(|latest| latest.plus(1)),
            false => latest,
        }
    }

    /// What the record of a chunk says of its end.
    pub(in crate::pipeline) fn recorded_end(self, mut end: ChunkEnd) -> ChunkEnd {
        if self.lack(Breakage::EndLogTimeMisstated) {
            end.log_time = end.log_time.plus(1);
        }
        if self.lack(Breakage::EndLatestEventMisstated) {
            end.latest_event = end.latest_event.map(|latest| latest.plus(1));
        }
        if self.lack(Breakage::EndSequencesMisstated)
            && let Some(last) = end.sequences.last_mut()
        {
            last.0 += 1;
        }
        end
    }

    /// Whether a protection fails at the chunk after the recorded one: at every fourth.
    fn lacks_now(self, breakage: Breakage, recorded: Chunk) -> bool {
        recorded.0 % 4 == 3 && self.lack(breakage)
    }

    /// With which services a record of the window was rated, as of its own time; `now` are those of
    /// the chunk.
    pub(in crate::pipeline) fn services_that_rated(
        self,
        own: (Option<Control>, Option<Offset>),
        now: impl FnOnce() -> Option<Control>,
    ) -> (Option<Control>, Option<Offset>) {
        match self.lack(Breakage::WindowRatedWithNewServices) {
            true => (now(), None),
            false => own,
        }
    }

    /// The first record whose append time is seen to be impossible.
    pub(in crate::pipeline) fn clock_jump(self, at: Option<usize>) -> Option<usize> {
        at.filter(|_| !self.lack(Breakage::ClocksTrusted))
    }

    /// Whether log time is seen to be far ahead.
    pub(in crate::pipeline) fn sees_log_time_ahead(self, is_ahead: bool) -> bool {
        self.sees(is_ahead, Breakage::ClocksTrusted)
    }

    /// The latest event before a correction of the clock, which was `at` that time, where an older
    /// tidemark did not note it.
    pub(in crate::pipeline) fn unknown_latest_event(self, latest: Millis, at: Millis) -> Millis {
        match self.lack(Breakage::LatestEventUnknown) {
            true => at,
            false => latest,
        }
    }

    /// The latest event that a corrected window has forgotten; the clock was corrected to `at`.
    pub(in crate::pipeline) fn forgotten_event(self, latest: Millis, at: Millis) -> Millis {
        match self.lack(Breakage::LatestEventForgotten) {
            true => at,
            false => latest,
        }
    }

    /// What a new epoch assumes of a source partition's own users.
    pub(in crate::pipeline) fn own_users(self, own: Moved) -> Moved {
        match self.lack(Breakage::LatestEventNotMoved) {
            true => Moved {
                forgotten: own.log_time,
                ..own
            },
            false => own,
        }
    }

    /// What a new epoch assumes of users who came from other source partitions.
    pub(in crate::pipeline) fn moved_users(
        self,
        moved: Option<Moved>,
        own: Option<&Moved>,
    ) -> Option<Moved> {
        moved.filter(|_| own.is_none() || !self.lack(Breakage::MovedUsersForgotten))
    }
}
