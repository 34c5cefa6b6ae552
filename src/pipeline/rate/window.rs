//! The duplicate window: which identities stand in the recent log of one source partition.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::domain::event::{ContentHash, Identity};
use crate::domain::position::Offset;
use crate::domain::time::Millis;
use crate::store::checkpoints::{UsageRows, WindowCut};

/// The latest valid record of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Latest {
    offset: Offset,
    content: ContentHash,
}

/// A valid record, accepted or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    identity: Identity,
    offset: Offset,
    log_time: Millis,
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

/// Valid records in log order, and the latest of each identity.
#[derive(Debug, Default)]
pub struct Window {
    seen: VecDeque<Seen>,
    latest: HashMap<Identity, Latest>,
}

impl Window {
    /// Takes a valid record; says what stood before it.
    pub fn take(
        &mut self,
        identity: Identity,
        content: ContentHash,
        offset: Offset,
        log_time: Millis,
    ) -> Standing {
        self.seen.push_back(Seen {
            identity,
            offset,
            log_time,
        });
        match self.latest.insert(identity, Latest { offset, content }) {
            None => Standing::New,
            Some(before) if before.content == content => Standing::Duplicate,
            Some(_) => Standing::Conflict,
        }
    }

    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Forgets what the next chunk, which begins at `from` with log time `log_time` before it, need not see any more,
    /// and says what the window is from then on. Never forgets a record at or after `from`: there is none yet.
    pub fn advance(&mut self, before: &WindowCut, from: Offset, log_time: Millis) -> WindowCut {
        let by_count = from.0.saturating_sub(before.records_max);
        let oldest = log_time.plus(-before.age_ms);
        let mut forgotten = before.forgotten;
        while let Some(seen) = self.seen.front().copied()
            && (seen.offset.0 < by_count || seen.log_time < oldest)
        {
            self.seen.pop_front();
            forgotten = Some(seen.log_time);
            if self
                .latest
                .get(&seen.identity)
                .is_some_and(|latest| latest.offset == seen.offset)
            {
                self.latest.remove(&seen.identity);
            }
        }
        let (first, first_log_time) = match self.seen.front() {
            Some(seen) => (seen.offset, seen.log_time),
            None => (from, log_time),
        };
        WindowCut {
            first,
            first_log_time,
            forgotten,
            ..*before
        }
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

/// Which lane an event of `time` takes. A copy of it was appended at a log time of at least `time − ahead_ms`; if everything
/// that was forgotten is older than that, no copy was forgotten.
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
