//! Where in a log: epochs, partitions, offsets, positions, fences.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// One life of the logs. A move to other logs (embedded → Kafka) is a new epoch.
    Epoch(u32)
);
number!(
    /// A partition of a topic.
    Partition(u32)
);
number!(
    /// An offset in one partition of one topic.
    Offset(u64)
);
number!(
    /// A chunk number of one source partition: 1, 2, 3, …
    Chunk(u64)
);
number!(
    /// A block's place in the sequence from one source partition to one posting partition: 1, 2, 3, …
    Sequence(u64)
);
number!(
    /// A position in the control feed: the number of its newest entry that is seen.
    Control(u64)
);

impl Offset {
    /// The next offset.
    pub const fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

/// A position in the log of one partition across epochs; compared epoch first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// The epoch.
    pub epoch: Epoch,
    /// The offset within it.
    pub offset: Offset,
}

impl fmt::Display for Position {
    /// Zero-padded, so that the text orders as the position does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}.{:020}", self.epoch.0, self.offset.0)
    }
}

/// The text is not a position or a fence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a log position")]
pub struct NotAPosition(pub String);

impl FromStr for Position {
    type Err = NotAPosition;
    fn from_str(text: &str) -> Result<Position, NotAPosition> {
        let bad = || NotAPosition(text.to_owned());
        let (epoch, offset) = text.split_once('.').ok_or_else(bad)?;
        Ok(Position {
            epoch: Epoch(epoch.parse().map_err(|_| bad())?),
            offset: Offset(offset.parse().map_err(|_| bad())?),
        })
    }
}

/// Names one write: the worker's token and a counter. New with every write, so that
/// "the row that I tried to write" can never be somebody else's.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct WriteId {
    /// Random, drawn once when a worker starts.
    pub worker: u64,
    /// Counts that worker's writes.
    pub count: u64,
}

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{:x}", self.worker, self.count)
    }
}

impl FromStr for WriteId {
    type Err = NotAPosition;
    fn from_str(text: &str) -> Result<WriteId, NotAPosition> {
        let bad = || NotAPosition(text.to_owned());
        let (worker, count) = text.split_once('.').ok_or_else(bad)?;
        Ok(WriteId {
            worker: u64::from_str_radix(worker, 16).map_err(|_| bad())?,
            count: u64::from_str_radix(count, 16).map_err(|_| bad())?,
        })
    }
}

/// What an account's rows have counted (every accepted posting up to `position`), and which write said so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The newest posting block that is in the rows; `None` before the first (an award may come first).
    pub position: Option<Position>,
    /// The write.
    pub write: WriteId,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "{position}/{}", self.write),
            None => write!(f, "-/{}", self.write),
        }
    }
}

impl FromStr for Fence {
    type Err = NotAPosition;
    fn from_str(text: &str) -> Result<Fence, NotAPosition> {
        let (position, write) = text
            .split_once('/')
            .ok_or_else(|| NotAPosition(text.to_owned()))?;
        let position = if position == "-" {
            None
        } else {
            Some(position.parse()?)
        };
        Ok(Fence {
            position,
            write: write.parse()?,
        })
    }
}
