//! The format of `ledger.postings`: one posting block per record, compact, versioned and canonical.
//!
//! Canonical means: equal blocks have equal bytes, and bytes that [`decode`] takes are exactly those that [`encode`] gives
//! for the result. So re-rating a chunk can be compared byte for byte (I6), and nothing that [`decode`] takes is ambiguous.
//!
//! ```text
//! block  = version:u8 (1)  epoch  source  chunk  sequence  control  log_time:zigzag  count:u32 LE  entry*
//! entry  = head:u8  [cells - 15]  shared  rest  bytes(rest)  cell*  [n (slot points:zigzag)*]  [n (month cost:zigzag128 shadow:zigzag128)*]
//!          [n (service:u8 slot points:zigzag)*]
//!          head: bit 0 provider, 1 referral, 2 charges, 3 firsts, 4-7 number of cells (15: and more follow)
//!          the id is the first `shared` bytes of the id before it (a maximum) and `rest` bytes of its own
//! cell   = tag:u8  [slot]  requests  [successful failed]  [points:zigzag]  [timed latency target]
//!          tag: bits 0-1 service, 2 slot given (else that of the cell before), 3 outcomes (else all successful), 4 points, 5 latencies
//! slot   = (zigzag(day or month - base) << 1) | late        month = zigzag(month - base)
//! ```
//! Numbers are minimal LEB128 varints unless said otherwise. The bases are the day of the source log time and a
//! month near it, so that almost every slot takes one byte. Every optional part is there only if it is not zero.

use bytes::Bytes;

use crate::domain::amount::{Money, Points};
use crate::domain::event::Service;
use crate::domain::ids::{Account, AccountKind, ID_CHARS_MAX};
use crate::domain::position::{Chunk, Control, Epoch, Partition, Sequence};
use crate::domain::posting::{Block, Cell, Charge, Entry, FirstSuccess, Slot};
use crate::domain::time::{DAY_MS, Day, Millis, Month};

pub use super::varint::FormatError;
use super::varint::{Reader, put_signed, put_signed_wide, put_varint};

/// Largest block, in bytes of its encoding, unless a single entry is larger.
///
/// An entry is at most 67 bytes per cell, so it would take more than 7,800 cells of one account in one chunk, while the bounds on
/// event time leave at most 41 days of four services and the late slot: 12 KiB or so. A log whose `ledger.postings` takes 1 MiB takes every block.
pub const BLOCK_BYTES_MAX: usize = 512 * 1024;

/// The version of the format that is written.
const VERSION: u8 = 1;
/// Longest id in bytes: every character may take four.
const ID_BYTES_MAX: usize = ID_CHARS_MAX * 4;
/// Years 0000 to 9999: the days that [`Day`] can show. Event times are far within, so anything else is damage.
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
const CELL_UNUSED: u8 = 0b1100_0000;

/// Fewest bytes of an entry and of a cell: hostile counts reserve no more memory than their bytes could fill.
const ENTRY_BYTES_MIN: usize = 4;
const CELL_BYTES_MIN: usize = 2;

const _: () = assert!(Service::COUNT == CELL_SERVICE as usize + 1);

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

/// Encodes one block, whatever its size. Its lists must be sorted as [`Entry`] says and its days lie in the years 0 to 9999:
/// [`decode`] refuses anything else, and the partition that reads it halts.
pub fn encode(block: &Block) -> Bytes {
    let mut writer = BlockWriter::new(&BlockHeader::of(block), block.sequence);
    for entry in &block.entries {
        writer.push(entry);
    }
    writer.finish()
}

/// Encodes what a chunk adds to one posting partition: entries by account, as blocks of at most [`BLOCK_BYTES_MAX`] whose sequences count up from `first`.
/// Without entries it is one empty block. An entry that is larger by itself gets a block of its own.
pub fn encode_blocks(header: &BlockHeader, entries: &[Entry], first: Sequence) -> Vec<Bytes> {
    let mut blocks = Vec::new();
    let mut writer = BlockWriter::new(header, first);
    for entry in entries {
        if !writer.push_within(entry, BLOCK_BYTES_MAX) {
            let next = BlockWriter::new(header, Sequence(writer.sequence.0 + 1));
            blocks.push(std::mem::replace(&mut writer, next).finish());
            writer.push(entry);
        }
    }
    blocks.push(writer.finish());
    blocks
}

/// A block in the making.
struct BlockWriter<'a> {
    out: Vec<u8>,
    base: Base,
    sequence: Sequence,
    count_at: usize,
    count: u32,
    previous: Option<&'a Account>,
}

impl<'a> BlockWriter<'a> {
    fn new(header: &BlockHeader, sequence: Sequence) -> BlockWriter<'a> {
        let mut out = Vec::with_capacity(4 * 1024);
        out.push(VERSION);
        put_varint(&mut out, u64::from(header.epoch.0));
        put_varint(&mut out, u64::from(header.source.0));
        put_varint(&mut out, header.chunk.0);
        put_varint(&mut out, sequence.0);
        put_varint(&mut out, header.control.0);
        put_signed(&mut out, header.source_log_time.0);
        let count_at = out.len();
        out.extend_from_slice(&[0; 4]);
        BlockWriter {
            out,
            base: Base::of(header.source_log_time),
            sequence,
            count_at,
            count: 0,
            previous: None,
        }
    }

    fn push(&mut self, entry: &'a Entry) {
        debug_assert!(self.previous.is_none_or(|account| *account < entry.account));
        put_entry(&mut self.out, self.base, self.previous, entry);
        self.previous = Some(&entry.account);
        self.count += 1;
    }

    /// Pushes the entry unless the block then has more than `bytes_max`; an empty block takes any entry.
    fn push_within(&mut self, entry: &'a Entry, bytes_max: usize) -> bool {
        let (before, previous) = (self.out.len(), self.previous);
        self.push(entry);
        if self.out.len() <= bytes_max || self.count == 1 {
            return true;
        }
        self.out.truncate(before);
        self.previous = previous;
        self.count -= 1;
        false
    }

    fn finish(mut self) -> Bytes {
        self.out[self.count_at..self.count_at + 4].copy_from_slice(&self.count.to_le_bytes());
        Bytes::from(self.out)
    }
}

fn put_entry(out: &mut Vec<u8>, base: Base, previous: Option<&Account>, entry: &Entry) {
    let inline = entry.cells.len().min(ENTRY_CELLS_INLINE_MAX);
    let flag = |on: bool, bit: u8| if on { bit } else { 0 };
    out.push(
        flag(entry.account.kind == AccountKind::Provider, ENTRY_PROVIDER)
            | flag(!entry.referral.is_empty(), ENTRY_REFERRAL)
            | flag(!entry.charges.is_empty(), ENTRY_CHARGES)
            | flag(!entry.firsts.is_empty(), ENTRY_FIRSTS)
            | (inline as u8) << ENTRY_CELLS_SHIFT,
    );
    if inline == ENTRY_CELLS_INLINE_MAX {
        put_varint(out, (entry.cells.len() - ENTRY_CELLS_INLINE_MAX) as u64);
    }
    put_id(out, previous.map_or("", Account::id), entry.account.id());
    put_cells(out, base, &entry.cells);
    put_list(out, &entry.referral, |out, (slot, points)| {
        put_slot(out, base, *slot);
        put_signed(out, points.0);
    });
    put_list(out, &entry.charges, |out, (month, charge)| {
        put_signed(out, i64::from(month.0.wrapping_sub(base.month)));
        put_signed_wide(out, charge.cost.0);
        put_signed_wide(out, charge.shadow.0);
    });
    put_list(out, &entry.firsts, |out, first| {
        out.push(first.service as u8);
        put_slot(out, base, first.slot);
        put_signed(out, first.points.0);
    });
}

/// A list that the entry's head announces if it is not empty.
fn put_list<T>(out: &mut Vec<u8>, items: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    if items.is_empty() {
        return;
    }
    put_varint(out, items.len() as u64);
    for item in items {
        put(out, item);
    }
}

fn put_id(out: &mut Vec<u8>, previous: &str, id: &str) {
    let shared = shared_prefix(previous.as_bytes(), id.as_bytes());
    put_varint(out, shared as u64);
    put_varint(out, (id.len() - shared) as u64);
    out.extend_from_slice(&id.as_bytes()[shared..]);
}

fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn put_slot(out: &mut Vec<u8>, base: Base, slot: Slot) {
    let (difference, late) = match slot {
        Slot::Day(day) => (day.0.wrapping_sub(base.day), 0),
        Slot::Late(month) => (month.0.wrapping_sub(base.month), 1),
    };
    put_varint(
        out,
        super::varint::zigzag(i64::from(difference)) << 1 | late,
    );
}

fn put_cells(out: &mut Vec<u8>, base: Base, cells: &[(Slot, Service, Cell)]) {
    let mut previous = None;
    for (slot, service, cell) in cells {
        debug_assert!(previous.is_none_or(|p| p < (*slot, *service)));
        let new_slot = previous.is_none_or(|(p, _)| p != *slot);
        put_cell(out, base, new_slot.then_some(*slot), *service, cell);
        previous = Some((*slot, *service));
    }
}

fn put_cell(out: &mut Vec<u8>, base: Base, slot: Option<Slot>, service: Service, cell: &Cell) {
    let outcomes = cell.successful != cell.requests || cell.failed != 0;
    let points = cell.points != Points::ZERO;
    let latency = cell.timed | cell.latency_ms | cell.target_ms != 0;
    let flag = |on: bool, bit: u8| if on { bit } else { 0 };
    out.push(
        service as u8
            | flag(slot.is_some(), CELL_SLOT)
            | flag(outcomes, CELL_OUTCOMES)
            | flag(points, CELL_POINTS)
            | flag(latency, CELL_LATENCY),
    );
    if let Some(slot) = slot {
        put_slot(out, base, slot);
    }
    put_varint(out, cell.requests);
    if outcomes {
        put_varint(out, cell.successful);
        put_varint(out, cell.failed);
    }
    if points {
        put_signed(out, cell.points.0);
    }
    if latency {
        put_varint(out, cell.timed);
        put_varint(out, cell.latency_ms);
        put_varint(out, cell.target_ms);
    }
}

/// Decodes one block. Every byte must be as [`encode`] would write it; never panics, and never takes much more
/// memory than the bytes could describe.
pub fn decode(bytes: &[u8]) -> Result<Block, FormatError> {
    let mut input = Reader::new(bytes);
    let version = input.byte()?;
    if version != VERSION {
        return Err(FormatError::Version {
            found: version,
            known: VERSION,
        });
    }
    let mut block = Block {
        epoch: Epoch(input.small()?),
        source: Partition(input.small()?),
        chunk: Chunk(input.varint()?),
        sequence: Sequence(input.varint()?),
        control: Control(input.varint()?),
        source_log_time: Millis(input.signed()?),
        entries: Vec::new(),
    };
    let count = input.u32_le()? as usize;
    let base = Base::of(block.source_log_time);
    block
        .entries
        .reserve(count.min(input.left() / ENTRY_BYTES_MIN));
    let mut id = Vec::new();
    for _ in 0..count {
        let entry = take_entry(&mut input, base, &mut id)?;
        let ascending = block
            .entries
            .last()
            .is_none_or(|last| last.account < entry.account);
        input.check(ascending, "accounts out of order")?;
        block.entries.push(entry);
    }
    input.check(input.left() == 0, "bytes after the last entry")?;
    Ok(block)
}

/// `id` holds the id before, and afterwards this one's.
fn take_entry(input: &mut Reader<'_>, base: Base, id: &mut Vec<u8>) -> Result<Entry, FormatError> {
    let head = input.byte()?;
    let mut cells = usize::from(head >> ENTRY_CELLS_SHIFT);
    if cells == ENTRY_CELLS_INLINE_MAX {
        cells = cells.saturating_add(input.length()?);
    }
    let kind = if head & ENTRY_PROVIDER == 0 {
        AccountKind::User
    } else {
        AccountKind::Provider
    };
    take_id(input, id)?;
    let text = std::str::from_utf8(id).map_err(|_| input.invalid("an id that is no text"))?;
    let account = Account::new(kind, text).map_err(|_| input.invalid("an id that is none"))?;
    Ok(Entry {
        account,
        cells: take_cells(input, base, cells)?,
        referral: take_list(
            input,
            head & ENTRY_REFERRAL,
            |input| Ok((take_slot(input, base)?, Points(input.signed()?))),
            |(slot, _)| *slot,
        )?,
        charges: take_list(
            input,
            head & ENTRY_CHARGES,
            |input| take_charge(input, base),
            |(month, _)| *month,
        )?,
        firsts: take_list(
            input,
            head & ENTRY_FIRSTS,
            |input| take_first(input, base),
            |first| first.service,
        )?,
    })
}

fn take_id(input: &mut Reader<'_>, id: &mut Vec<u8>) -> Result<(), FormatError> {
    let (shared, rest) = (input.length()?, input.length()?);
    input.check(
        shared <= id.len(),
        "more shared bytes than the id before has",
    )?;
    input.check(
        shared.saturating_add(rest) <= ID_BYTES_MAX,
        "an id that is too long",
    )?;
    let rest = input.bytes(rest)?;
    let maximal = match (id.get(shared), rest.first()) {
        (Some(before), Some(own)) => before != own,
        _ => true,
    };
    input.check(maximal, "fewer shared bytes than there are")?;
    id.truncate(shared);
    id.extend_from_slice(rest);
    Ok(())
}

/// A list that is there if `announced` is not zero: not empty then, and strictly ascending by `key`.
fn take_list<T, K: Ord>(
    input: &mut Reader<'_>,
    announced: u8,
    take: impl Fn(&mut Reader<'_>) -> Result<T, FormatError>,
    key: impl Fn(&T) -> K,
) -> Result<Vec<T>, FormatError> {
    if announced == 0 {
        return Ok(Vec::new());
    }
    let count = input.length()?;
    input.check(count > 0, "an empty list that is announced")?;
    let mut items: Vec<T> = Vec::with_capacity(count.min(input.left() / CELL_BYTES_MIN));
    for _ in 0..count {
        let item = take(input)?;
        let ascending = items.last().is_none_or(|last| key(last) < key(&item));
        input.check(ascending, "a list out of order")?;
        items.push(item);
    }
    Ok(items)
}

fn take_month(input: &Reader<'_>, base: Base, difference: i64) -> Result<Month, FormatError> {
    let difference =
        i32::try_from(difference).map_err(|_| input.invalid("a month out of range"))?;
    let month = difference.wrapping_add(base.month);
    input.check(MONTHS.contains(&month), "a month out of range")?;
    Ok(Month(month))
}

fn take_slot(input: &mut Reader<'_>, base: Base) -> Result<Slot, FormatError> {
    let code = input.varint()?;
    let difference = super::varint::unzigzag(code >> 1);
    if code & 1 == 1 {
        return take_month(input, base, difference).map(Slot::Late);
    }
    let difference = i32::try_from(difference).map_err(|_| input.invalid("a day out of range"))?;
    let day = difference.wrapping_add(base.day);
    input.check(DAYS.contains(&day), "a day out of range")?;
    Ok(Slot::Day(Day(day)))
}

fn take_service(input: &Reader<'_>, code: u8) -> Result<Service, FormatError> {
    let service = Service::ALL.get(usize::from(code)).copied();
    service.ok_or_else(|| input.invalid("an unknown service"))
}

fn take_charge(input: &mut Reader<'_>, base: Base) -> Result<(Month, Charge), FormatError> {
    let difference = input.signed()?;
    let month = take_month(input, base, difference)?;
    let cost = Money(input.signed_wide()?);
    let shadow = Money(input.signed_wide()?);
    Ok((month, Charge { cost, shadow }))
}

fn take_first(input: &mut Reader<'_>, base: Base) -> Result<FirstSuccess, FormatError> {
    let code = input.byte()?;
    Ok(FirstSuccess {
        service: take_service(input, code)?,
        slot: take_slot(input, base)?,
        points: Points(input.signed()?),
    })
}

fn take_cells(
    input: &mut Reader<'_>,
    base: Base,
    count: usize,
) -> Result<Vec<(Slot, Service, Cell)>, FormatError> {
    let mut cells: Vec<(Slot, Service, Cell)> =
        Vec::with_capacity(count.min(input.left() / CELL_BYTES_MIN));
    for _ in 0..count {
        let tag = input.byte()?;
        input.check(tag & CELL_UNUSED == 0, "an unknown mark on a cell")?;
        let before = cells.last().map(|(slot, service, _)| (*slot, *service));
        let slot = take_cell_slot(input, base, tag, before.map(|(slot, _)| slot))?;
        let service = take_service(input, tag & CELL_SERVICE)?;
        input.check(
            before.is_none_or(|b| b < (slot, service)),
            "cells out of order",
        )?;
        cells.push((slot, service, take_cell(input, tag)?));
    }
    Ok(cells)
}

fn take_cell_slot(
    input: &mut Reader<'_>,
    base: Base,
    tag: u8,
    before: Option<Slot>,
) -> Result<Slot, FormatError> {
    if tag & CELL_SLOT == 0 {
        return before.ok_or_else(|| input.invalid("a first cell without its slot"));
    }
    let slot = take_slot(input, base)?;
    input.check(before != Some(slot), "a slot given twice")?;
    Ok(slot)
}

fn take_cell(input: &mut Reader<'_>, tag: u8) -> Result<Cell, FormatError> {
    let requests = input.varint()?;
    let mut cell = Cell {
        requests,
        successful: requests,
        ..Cell::default()
    };
    if tag & CELL_OUTCOMES != 0 {
        cell.successful = input.varint()?;
        cell.failed = input.varint()?;
        let needed = cell.successful != requests || cell.failed != 0;
        input.check(needed, "outcomes that go without saying")?;
    }
    if tag & CELL_POINTS != 0 {
        cell.points = Points(input.signed()?);
        input.check(cell.points != Points::ZERO, "no points, said")?;
    }
    if tag & CELL_LATENCY != 0 {
        cell.timed = input.varint()?;
        cell.latency_ms = input.varint()?;
        cell.target_ms = input.varint()?;
        let any = cell.timed | cell.latency_ms | cell.target_ms != 0;
        input.check(any, "no latencies, said")?;
    }
    Ok(cell)
}
