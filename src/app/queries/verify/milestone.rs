//! When an account had its 50th success, from rows of the archive. Pure.

use std::collections::BTreeSet;
use std::fmt;

use crate::domain::ledger::MILESTONE_SUCCESSES;
use crate::domain::position::{Chunk, Epoch, Partition};
use crate::domain::time::Millis;

/// Where a row was rated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rated {
    /// The epoch of the log.
    pub epoch: Epoch,
    /// The source partition.
    pub source: Partition,
    /// The chunk.
    pub chunk: Chunk,
    /// Log time before the chunk: that of its posting blocks.
    pub chunk_log_time: Millis,
}

/// The successes of one account. Its requests come source partition by source partition, and of
/// each in the order of the log.
///
/// Those of a user all come from one source partition of an epoch, so the moment of the 50th is
/// known. Those of a provider come from several, and which was posted first the archive does not
/// say: then the moment is one of few.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Milestone {
    /// Successes less reversed ones.
    pub successes: u64,
    /// The most that there were at a time, in the order in which rows came.
    peak: u64,
    /// The chunk with which that reached 50.
    reached: Option<Millis>,
    /// The last source.
    last: Option<(Epoch, Partition)>,
    /// Of which there is more than one within an epoch.
    several: Option<Box<Several>>,
    /// Reached before the epoch of the last source.
    reached_before: Option<Millis>,
    has_reversals: bool,
    of_source: OfSource,
}

/// Successes of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OfSource {
    successes: u64,
    /// Log times of its chunks with a success, up to its own 50th.
    times: Vec<Millis>,
}

/// Log times of chunks with which an account may have reached its 50th success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Several {
    times: BTreeSet<Millis>,
}

/// What is known of the moment of the 50th success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fiftieth {
    /// Exactly this.
    Known(Option<Millis>),
    /// One of these.
    OneOf(BTreeSet<Millis>),
    /// Reversals and successes come from several source partitions. Whether there ever were 50 at a
    /// time depends on which was posted first.
    Unknown,
}

impl Fiftieth {
    /// Whether a stored value can be right.
    pub fn allows(&self, stored: Option<Millis>) -> bool {
        match (self, stored) {
            (Fiftieth::Known(known), stored) => *known == stored,
            (Fiftieth::OneOf(times), stored) => stored.is_some_and(|at| times.contains(&at)),
            (Fiftieth::Unknown, _) => true,
        }
    }
}

impl fmt::Display for Fiftieth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fiftieth::Known(None) => f.write_str("none"),
            Fiftieth::Known(Some(at)) => write!(f, "{at}"),
            Fiftieth::OneOf(times) => write!(f, "one of {} chunks with a success", times.len()),
            Fiftieth::Unknown => f.write_str("unknown"),
        }
    }
}

impl Milestone {
    /// Adds successes.
    pub fn succeed(&mut self, at: &Rated, successes: u64) {
        self.chunk(at, successes, successes, 0);
    }

    /// Takes successes back.
    pub fn take_back(&mut self, at: &Rated, reversed: u64) {
        self.chunk(at, 0, 0, reversed);
    }

    /// Adds what a chunk brings: successes, of which there were `peak` more than before at a time,
    /// and reversals.
    pub fn chunk(&mut self, at: &Rated, successes: u64, peak: u64, reversed: u64) {
        self.turn_to(at);
        self.has_reversals |= reversed > 0;
        self.peak = self.peak.max(self.successes.saturating_add(peak));
        self.successes = self
            .successes
            .saturating_add(successes)
            .saturating_sub(reversed);
        if self.peak >= MILESTONE_SUCCESSES && self.reached.is_none() {
            self.reached = Some(at.chunk_log_time);
        }
        let of = &mut self.of_source;
        if successes > 0 && of.successes < MILESTONE_SUCCESSES {
            of.successes = of.successes.saturating_add(successes);
            if of.times.last() != Some(&at.chunk_log_time) {
                of.times.push(at.chunk_log_time);
            }
        }
    }

    fn turn_to(&mut self, at: &Rated) {
        let source = (at.epoch, at.source);
        let last = self.last.replace(source);
        let Some(last) = last.filter(|last| *last != source) else {
            return;
        };
        let before = std::mem::take(&mut self.of_source);
        if last.0 != source.0 && self.several.is_none() {
            self.reached_before = self.reached;
            return;
        }
        let several = self.several.get_or_insert_default();
        several.times.extend(before.times);
    }

    /// When there were 50 for the first time.
    pub fn fiftieth(&self) -> Fiftieth {
        let Some(several) = &self.several else {
            return Fiftieth::Known(self.reached);
        };
        if self.reached_before.is_some() {
            return Fiftieth::Known(self.reached_before);
        }
        if self.has_reversals {
            return Fiftieth::Unknown;
        }
        if self.reached.is_none() {
            return Fiftieth::Known(None);
        }
        let times = several.times.iter().chain(&self.of_source.times);
        Fiftieth::OneOf(times.copied().collect())
    }
}
