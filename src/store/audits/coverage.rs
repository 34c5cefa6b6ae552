//! How far the archive has come: what the auditor keeps of it with its checkpoint, and what readers
//! of the archive find beside its files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::position::{Chunk, Epoch, Offset, Partition, Sequence};
use crate::domain::time::{Millis, Month};

/// Gaps of one source partition that are kept apart. Beyond that the newest are joined, with what
/// lies between them: more is then said to be missing than is.
pub const GAPS_MAX: usize = 200;

/// A part of `usage.events` of which the archive has no rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// Its first offset.
    pub from: Offset,
    /// The offset after its last.
    pub to: Offset,
    /// Why: a reason of docs/audit.md.
    pub reason: String,
    /// Log time before it.
    pub log_time_from: Millis,
    /// Log time at its end.
    pub log_time_to: Millis,
}

impl Gap {
    /// Whether this offset is in it.
    pub fn has(&self, offset: Offset) -> bool {
        (self.from..self.to).contains(&offset)
    }
}

/// What of one source partition and epoch is in the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// The id of `ledger.cuts`: another log's offsets mean something else.
    pub topic_id: String,
    /// The epoch of the log.
    pub epoch: Epoch,
    /// The source partition.
    pub source: Partition,
    /// The next record of `ledger.cuts` whose chunk is not in files.
    pub next_cut: Offset,
    /// The first offset.
    pub from: Offset,
    /// The offset after the last.
    pub to: Offset,
    /// Whether nothing was posted in this epoch before `from`.
    #[serde(default)]
    pub is_from_start: bool,
    /// Log time before the first chunk.
    #[serde(default)]
    pub log_time_from: Millis,
    /// The last chunk; `None`: nothing is covered yet.
    pub chunk: Option<Chunk>,
    /// Log time at its end.
    pub log_time: Millis,
    /// The last sequence that was sent to each posting partition once it was done.
    pub sequences: Vec<Sequence>,
    /// By posting partition: no block of a later chunk stands before it.
    #[serde(default)]
    pub postings: Vec<Offset>,
    /// How many rows there are.
    pub rows: u64,
    /// How many of them are booked in each month.
    #[serde(default)]
    pub rows_of_month: BTreeMap<Month, u64>,
    /// What is missing between `from` and `to`, ascending.
    pub gaps: Vec<Gap>,
}

impl Coverage {
    /// Nothing yet: the archive begins with this record of `ledger.cuts`.
    pub fn beginning(
        topic_id: &str,
        epoch: Epoch,
        source: Partition,
        next_cut: Offset,
    ) -> Coverage {
        Coverage {
            topic_id: topic_id.to_owned(),
            epoch,
            source,
            next_cut,
            from: Offset::default(),
            to: Offset::default(),
            is_from_start: false,
            log_time_from: Millis::default(),
            chunk: None,
            log_time: Millis::default(),
            sequences: Vec::new(),
            postings: Vec::new(),
            rows: 0,
            rows_of_month: BTreeMap::new(),
            gaps: Vec::new(),
        }
    }

    /// Adds a gap behind those that there are.
    pub fn add_gap(&mut self, gap: Gap) {
        let is_full = self.gaps.len() >= GAPS_MAX;
        match self.gaps.last_mut() {
            Some(last) if is_full || last.to == gap.from && last.reason == gap.reason => {
                (last.to, last.log_time_to) = (gap.to, gap.log_time_to);
            }
            _ => self.gaps.push(gap),
        }
    }
}

/// A chunk without rows in the files that are being gathered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// The chunk.
    pub chunk: Chunk,
    /// Why; a chunk that was cut anew is no gap.
    pub reason: String,
}

/// How far the archive of one source partition has come, in the audit's checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveProgress {
    /// The record of `ledger.cuts` before which files end. It is stored before the first of them is
    /// written: whoever begins again after a crash writes the same files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Offset>,
    /// Chunks between the files and the audit's position that have no rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// What files say.
    pub coverage: Coverage,
}
