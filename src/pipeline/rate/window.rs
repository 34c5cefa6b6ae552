//! The duplicate window: which identities stand in the recent log of one source partition.

use std::collections::VecDeque;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::domain::event::{AHEAD_MS_MAX, ContentHash, Identity};
use crate::domain::position::Offset;
use crate::domain::time::{MINUTE_MS, Millis};
use crate::ops::config::WINDOW_UNCHECKED_MIN;
use crate::store::checkpoints::{UsageRows, WindowCut};

/// A valid record, accepted or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WindowRecord {
    identity: Identity,
    content: ContentHash,
    offset: Offset,
    log_time: Millis,
}

/// Where the latest record of an identity stands, and a part of the identity: eight bytes, since
/// each look into this table is a look into another part of memory, and it holds millions.
#[derive(Clone, Copy, Debug)]
struct Latest {
    /// The record's count among all that ever were taken, wrapped.
    count: u32,
    /// Bits of the identity that its place in the table does not tell. Where they are equal, the
    /// record's own are compared.
    mark: u32,
}

/// What the window says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No record of its identity stands in the window.
    New,
    /// The latest one has the same content.
    Duplicate,
    /// The latest one has other content.
    Conflict,
}

/// Without usage rows the window reaches back at least so far, whatever its bound by count: events
/// may be five minutes ahead of the log, and are not rejected for being ten minutes late.
pub const UNCHECKED_AGE_MS_MIN: i64 = AHEAD_MS_MAX + 10 * MINUTE_MS;
const _: () = assert!(WINDOW_UNCHECKED_MIN.as_millis() as i64 >= UNCHECKED_AGE_MS_MIN);

/// Valid records in log order, and the latest of each identity.
#[derive(Debug, Default)]
pub struct Window {
    seen: VecDeque<WindowRecord>,
    /// The count of the first of `seen`, wrapped. A window holds far fewer than 2^32 records.
    first: u32,
    latest: HashTable<Latest>,
}

/// An identity is a hash itself.
const fn hash_of(identity: Identity) -> u64 {
    identity.0 as u64
}

const fn mark_of(identity: Identity) -> u32 {
    (identity.0 >> 64) as u32
}

impl Window {
    /// Takes a valid record; says what stood before it.
    pub fn classify(
        &mut self,
        identity: Identity,
        content: ContentHash,
        offset: Offset,
        log_time: Millis,
    ) -> Standing {
        let (seen, first) = (&self.seen, self.first);
        let place = |latest: &Latest| latest.count.wrapping_sub(first) as usize;
        let mark = mark_of(identity);
        let count = first.wrapping_add(seen.len() as u32);
        let is_it =
            |latest: &Latest| latest.mark == mark && seen[place(latest)].identity == identity;
        let hash = |latest: &Latest| hash_of(seen[place(latest)].identity);
        let standing = match self.latest.entry(hash_of(identity), is_it, hash) {
            Entry::Vacant(free) => {
                free.insert(Latest { count, mark });
                Standing::New
            }
            Entry::Occupied(mut found) => {
                let before = std::mem::replace(&mut found.get_mut().count, count);
                let before = before.wrapping_sub(first) as usize;
                if seen[before].content == content {
                    Standing::Duplicate
                } else {
                    Standing::Conflict
                }
            }
        };
        self.seen.push_back(WindowRecord {
            identity,
            content,
            offset,
            log_time,
        });
        standing
    }

    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Forgets the records before `first`.
    pub fn forget_before(&mut self, first: Offset) {
        while self.seen.front().is_some_and(|seen| seen.offset < first) {
            self.forget_first();
        }
    }

    /// Forgets the oldest record.
    fn forget_first(&mut self) {
        let Some(seen) = self.seen.pop_front() else {
            return;
        };
        // If a later record has its identity, that one stands in the table.
        let count = self.first;
        let is_it = |latest: &Latest| latest.count == count;
        if let Ok(found) = self.latest.find_entry(hash_of(seen.identity), is_it) {
            found.remove();
        }
        self.first = self.first.wrapping_add(1);
    }

    /// Forgets what the next chunk, which begins at `from` with log time `log_time` before it, need
    /// not see any more, and says what the window is from then on. Never forgets a record at or
    /// after `from`: there is none yet.
    pub fn advance(&mut self, before: &WindowCut, from: Offset, log_time: Millis) -> WindowCut {
        let (advanced, forgotten) = self.advanced(before, from, log_time);
        for _ in 0..forgotten {
            self.forget_first();
        }
        advanced
    }

    /// What [`Window::advance`] would make of it, and how many records it would forget.
    pub fn advanced(
        &self,
        before: &WindowCut,
        from: Offset,
        log_time: Millis,
    ) -> (WindowCut, usize) {
        let by_count = from.0.saturating_sub(before.records_max);
        let oldest = log_time.plus(-before.age_ms);
        // Without usage rows an event whose copy may have been forgotten is rejected. A window that
        // is cut short by its count would so reject everything, fresh events too; memory holds what
        // is young instead.
        let countable = match before.usage_rows {
            UsageRows::Off => log_time.plus(-UNCHECKED_AGE_MS_MIN),
            UsageRows::Since(_) => Millis(i64::MAX),
        };
        let is_forgotten = |seen: &&WindowRecord| {
            seen.log_time < oldest || (seen.offset.0 < by_count && seen.log_time < countable)
        };
        let (mut forgotten, mut count) = (before.forgotten, 0);
        for seen in self.seen.iter().take_while(is_forgotten) {
            // A correction of the clock may have put it ahead of log time.
            forgotten = forgotten.max(Some(seen.log_time));
            count += 1;
        }
        let (first, first_log_time) = match self.seen.get(count) {
            Some(seen) => (seen.offset, seen.log_time),
            None => (from, log_time),
        };
        let advanced = WindowCut {
            first,
            first_log_time,
            forgotten,
            ..*before
        };
        (advanced, count)
    }

    /// The latest log time of the records before `first`.
    pub fn latest_before(&self, first: Offset) -> Option<Millis> {
        let before = self.seen.iter().take_while(|seen| seen.offset < first);
        before.map(|seen| seen.log_time).max()
    }
}

/// What the slow lane must do with an event that the window does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The window has forgotten no copy of it: it is new.
    Fast,
    /// A forgotten copy may have a usage row: look.
    Slow,
    /// A forgotten copy may have none: it cannot be told, and is rejected.
    Closed,
}

/// Which lane an event of `time` takes. A copy of it was appended at a log time of at least `time −
/// ahead_ms`; if everything that was forgotten is older than that, no copy was forgotten.
pub fn lane(cut: &WindowCut, time: Millis, ahead_ms: i64) -> Lane {
    let may_be_before =
        |moment: Option<Millis>| moment.is_some_and(|moment| time.plus(-ahead_ms) <= moment);
    if !may_be_before(cut.forgotten) {
        return Lane::Fast;
    }
    match cut.usage_rows {
        UsageRows::Off => Lane::Closed,
        UsageRows::Since(since) if may_be_before(since) => Lane::Closed,
        UsageRows::Since(_) => Lane::Slow,
    }
}
