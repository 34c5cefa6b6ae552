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
    /// A block's place in the sequence from one source partition to one posting partition: 1, 2, 3,
    /// …
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

/// A text in the making, of at most `N` bytes. Every written row holds positions and fences, and
/// the formatting machinery of the standard library takes ten times as long.
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    const fn new() -> Text<N> {
        Text {
            bytes: [0; N],
            len: 0,
        }
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// Digits of `number` to a base, with zeros before them up to `width`.
    fn number(&mut self, number: u64, base: u64, width: usize) {
        let mut digits = [b'0'; 20];
        let (mut at, mut rest) = (digits.len(), number);
        while rest > 0 {
            at -= 1;
            digits[at] = b"0123456789abcdef"[(rest % base) as usize];
            rest /= base;
        }
        let from = at.min(digits.len() - width);
        for digit in &digits[from..] {
            self.push(*digit);
        }
    }

    fn position(&mut self, position: Position) {
        self.number(position.epoch.0.into(), 10, 10);
        self.push(b'.');
        self.number(position.offset.0, 10, 20);
    }

    fn write_id(&mut self, write: WriteId) {
        self.number(write.worker, 16, 16);
        self.push(b'.');
        self.number(write.count, 16, 1);
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::str::from_utf8(&self.bytes[..self.len]);
        f.write_str(text.expect("digits and points are ASCII"))
    }
}

impl fmt::Display for Position {
    /// Zero-padded, so that the text orders as the position does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Text::<31>::new();
        text.position(*self);
        text.show(f)
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
        let mut text = Text::<33>::new();
        text.write_id(*self);
        text.show(f)
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

/// What an account's rows have counted (every accepted posting up to `position`), and which write
/// said so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The newest posting block that is in the rows; `None` before the first (an award may come
    /// first).
    pub position: Option<Position>,
    /// The write.
    pub write: WriteId,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Text::<65>::new();
        match self.position {
            Some(position) => text.position(position),
            None => text.push(b'-'),
        }
        text.push(b'/');
        text.write_id(self.write);
        text.show(f)
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

#[cfg(test)]
mod tests {
    use super::{Epoch, Fence, Offset, Position, WriteId};

    #[test]
    fn positions_and_fences_are_written_as_they_always_were() {
        let numbers = [0, 1, 9, 10, 255, 4_294_967_295, u64::MAX];
        for (a, b) in numbers.iter().flat_map(|a| numbers.map(|b| (*a, b))) {
            let position = Position {
                epoch: Epoch(a as u32),
                offset: Offset(b),
            };
            let says = format!("{:010}.{:020}", a as u32, b);
            assert_eq!(position.to_string(), says);
            let write = WriteId {
                worker: a,
                count: b,
            };
            let id = format!("{a:016x}.{b:x}");
            assert_eq!(write.to_string(), id);
            for (position, says) in [(Some(position), says.as_str()), (None, "-")] {
                let fence = Fence { position, write };
                assert_eq!(fence.to_string(), format!("{says}/{id}"));
                assert_eq!(fence.to_string().parse(), Ok(fence));
            }
        }
    }
}
