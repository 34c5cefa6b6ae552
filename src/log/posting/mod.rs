//! The format of `ledger.postings`: one posting block per record, compact, versioned and canonical.
//!
//! Canonical means: equal blocks have equal bytes, and bytes that [`decode()`] takes are exactly
//! those that [`encode()`] gives for the result. So re-rating a chunk can be compared byte for byte
//! (I6), and nothing that [`decode()`] takes is ambiguous.
//!
//! ```text
//! block  = version:u8 (2 to 4)  epoch  source  chunk  sequence  control  log_time:zigzag  count:u32 LE  entry*  [n deductions*]
//! entry  = head:u8  [cells - 15]  shared  rest  bytes(rest)  cell*  [n (slot points:zigzag{3})*]  [n (month cost:zigzag128 shadow:zigzag128)*]
//!          [n (service:u8 slot points:zigzag)*]
//!          head: bit 0 provider, 1 referral, 2 charges, 3 firsts, 4-7 number of cells (15: and more follow)
//!          the id is the first `shared` bytes of the id before it (a maximum) and `rest` bytes of its own
//! cell   = tag:u8  [service:u8]  [slot]  requests  [successful failed]  [points:zigzag]  [timed latency target]
//!          tag: bits 0-1 service, 2 slot given (else that of the cell before), 3 outcomes (else all successful), 4 points, 5 latencies,
//!          6 the service's number follows (bits 0-1 are zero; the built-in services have numbers 0 to 3)
//! deductions = skipped  n (service:u8 slot reversed points:zigzag timed latency target)*  peak
//!          of the entry that comes after `skipped` entries without any, counted from the one after the last that has some
//! slot   = (zigzag(day or month - base) << 1) | late        month = zigzag(month - base)
//! ```
//! Numbers are minimal LEB128 varints unless said otherwise. The bases are the day of the source
//! log time and a month near it, so that almost every slot takes one byte. Every optional part is
//! there only if it is not zero. A block has version 4 exactly if it has deductions; else version 3
//! exactly if it names a service that is not built in.

mod decode;
mod encode;

use crate::domain::event::Service;
use crate::domain::ids::ID_CHARS_MAX;
use crate::domain::position::{Chunk, Control, Epoch, Partition};
use crate::domain::posting::Block;
use crate::domain::time::{DAY_MS, Millis};

pub use self::decode::{Entries, ReadBlock, decode, decode_block, peek};
pub use self::encode::{encode, encode_blocks};
pub use super::varint::FormatError;

/// Largest block, in bytes of its encoding, unless a single entry is larger.
///
/// An entry is at most 68 bytes per cell, so it would take more than 7,700 cells of one account in
/// one chunk, while the bounds on event time leave at most 41 days of 64 services and the late
/// slot: 180 KiB or so. A log whose `ledger.postings` takes 1 MiB takes every block.
pub const BLOCK_BYTES_MAX: usize = 512 * 1024;

/// The version of the format. Version 1 had one sum of a referrer's points in place of one per
/// level: what it held cannot be told by level, so such blocks are not read. The tidemark that
/// wrote them must post them first.
const VERSION: u8 = 2;
/// The version of blocks that name services that are not built in, so that an older tidemark says
/// that they are newer.
const VERSION_WITH_SERVICES: u8 = 3;
/// The version of blocks that take something back
/// ([`Deductions`](crate::domain::posting::Deductions)).
const VERSION_WITH_DEDUCTIONS: u8 = 4;
/// Longest id in bytes: every character may take four.
const ID_BYTES_MAX: usize = ID_CHARS_MAX * 4;
/// Years 0000 to 9999: the days that [`Day`](crate::domain::time::Day) can show. Event times are
/// far within, so anything else is damage.
const DAYS: std::ops::RangeInclusive<i32> = -719_528..=2_932_896;
/// The months of [`DAYS`].
const MONTHS: std::ops::RangeInclusive<i32> = -23_640..=96_359;

const ENTRY_PROVIDER: u8 = 1;
const ENTRY_REFERRAL: u8 = 1 << 1;
const ENTRY_CHARGES: u8 = 1 << 2;
const ENTRY_FIRSTS: u8 = 1 << 3;
const ENTRY_CELLS_SHIFT: u8 = 4;
const ENTRY_CELLS_INLINE_MAX: usize = 15;

const CELL_SERVICE: u8 = 0b11;
const CELL_SLOT: u8 = 1 << 2;
const CELL_OUTCOMES: u8 = 1 << 3;
const CELL_POINTS: u8 = 1 << 4;
const CELL_LATENCY: u8 = 1 << 5;
const CELL_NUMBERED: u8 = 1 << 6;
const CELL_UNUSED: u8 = 0b1000_0000;

/// Fewest bytes of an entry and of a cell: hostile counts reserve no more memory than their bytes
/// could fill.
const ENTRY_BYTES_MIN: usize = 3;
const CELL_BYTES_MIN: usize = 2;

const _: () = assert!(Service::DEFAULT_COUNT == CELL_SERVICE as usize + 1);

/// What all blocks of one chunk have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// The epoch of the source log.
    pub epoch: Epoch,
    /// The partition of `usage.events`.
    pub source: Partition,
    /// The chunk.
    pub chunk: Chunk,
    /// The control position with which the chunk was rated.
    pub control: Control,
    /// The source's log time just before the chunk.
    pub source_log_time: Millis,
}

impl BlockHeader {
    /// The header of a block.
    pub const fn of(block: &Block) -> BlockHeader {
        BlockHeader {
            epoch: block.epoch,
            source: block.source,
            chunk: block.chunk,
            control: block.control,
            source_log_time: block.source_log_time,
        }
    }
}

/// What days and months are counted from.
#[derive(Clone, Copy)]
struct Base {
    day: i32,
    month: i32,
}

impl Base {
    /// Any source log time will do, also one before the beginning of days: differences wrap.
    fn of(source_log_time: Millis) -> Base {
        let day = source_log_time.0.div_euclid(DAY_MS) as i32;
        // 4,800 months have 146,097 days; near is enough here.
        let month = (i64::from(day) * 4_800).div_euclid(146_097) as i32;
        Base { day, month }
    }
}
