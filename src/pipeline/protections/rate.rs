//! Of RATE.

use std::slice::Chunks;

use super::{Breakage, Protections};
use crate::domain::event::{AHEAD_MS_MAX, UsageEvent};
use crate::store::db::Key;
use crate::store::usage;

impl Protections {
    /// The pieces in which a chunk goes through its stages. If the window is to end inside of it, there
    /// are two.
    #[inline]
    pub(in crate::pipeline) fn pieces<T>(self, records: &[T], piece: usize) -> Chunks<'_, T> {
        if self.lack(Breakage::WindowEndsInsideChunk) {
            return records.chunks(records.len().div_ceil(2).max(1));
        }
        records.chunks(piece)
    }

    /// The window in which duplicates of `piece`, a piece of `chunk`, are looked for: it reaches over
    /// the whole chunk.
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
}
