//! Where files stand: Hive-style folders, and names from positions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::ArchiveError;
use super::row::ArchivedRequest;
use crate::domain::position::{Epoch, Offset, Partition};
use crate::domain::time::{Day, Month};
use crate::store::audits::coverage::Coverage;

/// A folder of the archive: `month=2026-11/day=2026-11-22`.
///
/// `month` is the month in which rows are booked, as statements have them; `day` the UTC day of log
/// time, when records were received. By the event's own day a folder would still change 35 days
/// later; like this a folder is complete once the audit has passed its day, and the few events that
/// were received on another day than they were made are found by the column `event_time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Folder {
    /// The month in which its rows are booked.
    pub month: Month,
    /// The UTC day of their log time.
    pub day: Day,
}

impl Folder {
    /// That of a row.
    pub const fn of(row: &ArchivedRequest<'_>) -> Folder {
        Folder {
            month: row.month,
            day: row.log_time.day(),
        }
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "month={}/day={}", self.month, self.day)
    }
}

/// The name of a file: the records that it holds what was accepted of. Writing the same again
/// replaces the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileName {
    /// The epoch of the log.
    pub epoch: Epoch,
    /// The partition of `usage.events`.
    pub source: Partition,
    /// The first offset.
    pub from: Offset,
    /// The offset after the last.
    pub to: Offset,
}

const EXTENSION: &str = ".parquet";

impl FileName {
    /// Whether the name that comes next in order holds records that this one holds, too.
    pub fn overlaps(&self, next: &FileName) -> bool {
        (self.epoch, self.source) == (next.epoch, next.source) && next.from < self.to
    }

    /// Whether this says that it is whole: others are being written.
    pub fn is_covered_by(&self, coverage: &Coverage) -> bool {
        (coverage.epoch, coverage.source) == (self.epoch, self.source) && self.to <= coverage.to
    }

    /// Its path in a folder.
    pub fn path_in(&self, folder: Folder) -> String {
        format!("{folder}/{self}")
    }

    /// Folder and name of a path.
    ///
    /// # Errors
    /// [`ArchiveError::Path`]: it is not the path of an archive file.
    pub fn of_path(path: &str) -> Result<(Folder, FileName), ArchiveError> {
        let parts = || {
            let mut parts = path.rsplit('/');
            let name = parts.next()?.parse().ok()?;
            let day = parts.next()?.strip_prefix("day=")?.parse().ok()?;
            let month = parts.next()?.strip_prefix("month=")?.parse().ok()?;
            Some((Folder { month, day }, name))
        };
        parts().ok_or_else(|| ArchiveError::Path(path.to_owned()))
    }
}

impl fmt::Display for FileName {
    /// Numbers have leading zeros, so that names order as positions do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (epoch, source) = (self.epoch.0, self.source.0);
        let (from, to) = (self.from.0, self.to.0);
        write!(
            f,
            "e{epoch:010}-p{source:05}-{from:020}-{to:020}{EXTENSION}"
        )
    }
}

impl FromStr for FileName {
    type Err = ArchiveError;
    fn from_str(text: &str) -> Result<FileName, ArchiveError> {
        let parts = || {
            let mut parts = text.strip_suffix(EXTENSION)?.split('-');
            let name = FileName {
                epoch: Epoch(parts.next()?.strip_prefix('e')?.parse().ok()?),
                source: Partition(parts.next()?.strip_prefix('p')?.parse().ok()?),
                from: Offset(parts.next()?.parse().ok()?),
                to: Offset(parts.next()?.parse().ok()?),
            };
            (parts.next().is_none() && name.to_string() == text).then_some(name)
        };
        parts().ok_or_else(|| ArchiveError::Path(text.to_owned()))
    }
}
