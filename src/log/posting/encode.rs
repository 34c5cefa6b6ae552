//! Writing posting blocks.

use bytes::Bytes;

use super::{
    BLOCK_BYTES_MAX, Base, BlockHeader, CELL_LATENCY, CELL_NUMBERED, CELL_OUTCOMES, CELL_POINTS,
    CELL_SLOT, ENTRY_CELLS_INLINE_MAX, ENTRY_CELLS_SHIFT, ENTRY_CHARGES, ENTRY_FIRSTS,
    ENTRY_PROVIDER, ENTRY_REFERRAL, VERSION, VERSION_WITH_DEDUCTIONS, VERSION_WITH_SERVICES,
};
use crate::domain::amount::Points;
use crate::domain::event::Service;
use crate::domain::ids::{AccountKind, AccountRef};
use crate::domain::position::Sequence;
use crate::domain::posting::{Block, Cell, Deductions, EntryRef, Slot};
use crate::log::varint::{put_signed, put_signed_wide, put_varint, zigzag};

/// Encodes one block, whatever its size. Its lists must be sorted as
/// [`Entry`](crate::domain::posting::Entry) says and its days lie in the years 0 to 9999:
/// [`decode`](super::decode()) refuses anything else, and the partition that reads it halts.
pub fn encode(block: &Block) -> Bytes {
    let mut writer = BlockWriter::new(&BlockHeader::of(block), block.sequence);
    for entry in &block.entries {
        writer.push(entry.into());
    }
    writer.finish()
}

/// Encodes what a chunk adds to one posting partition: entries by account, as blocks of at most
/// [`BLOCK_BYTES_MAX`] whose sequences count up from `first`. Without entries it is one empty
/// block. An entry that is larger by itself gets a block of its own.
pub fn encode_blocks<'a, E: Into<EntryRef<'a>>>(
    header: &BlockHeader,
    entries: impl IntoIterator<Item = E>,
    first: Sequence,
) -> Vec<Bytes> {
    let mut blocks = Vec::new();
    let mut writer = BlockWriter::new(header, first);
    for entry in entries {
        let entry = entry.into();
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
    previous: Option<AccountRef<'a>>,
    /// Whether an entry names a service that is not built in.
    adds_services: bool,
    deductions: DeductionList,
}

/// What entries take back: a list behind the entries, since nearly no block has one.
#[derive(Default)]
struct DeductionList {
    out: Vec<u8>,
    entries: u64,
    /// The number of the entry after the last one in it.
    next: u32,
}

impl DeductionList {
    fn push(&mut self, base: Base, entry: u32, deductions: &Deductions) {
        let out = &mut self.out;
        put_varint(out, u64::from(entry - self.next));
        put_varint(out, deductions.by_service.len() as u64);
        for (slot, service, deduction) in &deductions.by_service {
            out.push(service.number());
            put_slot(out, base, *slot);
            put_varint(out, deduction.reversed);
            put_signed(out, deduction.points.0);
            put_varint(out, deduction.timed);
            put_varint(out, deduction.latency_ms);
            put_varint(out, deduction.target_ms);
        }
        put_varint(out, deductions.peak);
        self.entries += 1;
        self.next = entry + 1;
    }

    fn mark(&self) -> (usize, u64, u32) {
        (self.out.len(), self.entries, self.next)
    }

    fn go_back_to(&mut self, (bytes, entries, next): (usize, u64, u32)) {
        self.out.truncate(bytes);
        (self.entries, self.next) = (entries, next);
    }
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
            adds_services: false,
            deductions: DeductionList::default(),
        }
    }

    fn push(&mut self, entry: EntryRef<'a>) {
        debug_assert!(self.previous.is_none_or(|account| account < entry.account));
        let previous = self.previous.map_or("", |account| account.id);
        put_entry(&mut self.out, self.base, previous, entry);
        self.previous = Some(entry.account);
        self.adds_services |= names_added_service(entry);
        if !entry.deductions.is_empty() {
            self.deductions
                .push(self.base, self.count, entry.deductions);
        }
        self.count += 1;
    }

    /// Pushes the entry unless the block then has more than `bytes_max`; an empty block takes any
    /// entry.
    fn push_within(&mut self, entry: EntryRef<'a>, bytes_max: usize) -> bool {
        let (before, previous) = (self.out.len(), self.previous);
        let (adds_services, deductions) = (self.adds_services, self.deductions.mark());
        self.push(entry);
        if self.out.len() + self.deductions.out.len() <= bytes_max || self.count == 1 {
            return true;
        }
        self.out.truncate(before);
        self.previous = previous;
        self.adds_services = adds_services;
        self.deductions.go_back_to(deductions);
        self.count -= 1;
        false
    }

    fn finish(mut self) -> Bytes {
        if self.adds_services {
            self.out[0] = VERSION_WITH_SERVICES;
        }
        if self.deductions.entries > 0 {
            self.out[0] = VERSION_WITH_DEDUCTIONS;
            put_varint(&mut self.out, self.deductions.entries);
            self.out.extend_from_slice(&self.deductions.out);
        }
        self.out[self.count_at..self.count_at + 4].copy_from_slice(&self.count.to_le_bytes());
        Bytes::from(self.out)
    }
}

fn names_added_service(entry: EntryRef<'_>) -> bool {
    // A first success comes with a cell of its service; only damaged or made-up entries have one
    // alone.
    let of_cells = entry
        .cells
        .iter()
        .any(|(_, service, _)| !service.is_default());
    of_cells || entry.firsts.iter().any(|first| !first.service.is_default())
}

fn put_entry(out: &mut Vec<u8>, base: Base, previous: &str, entry: EntryRef<'_>) {
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
    put_id(out, previous, entry.account.id);
    put_cells(out, base, entry.cells);
    put_list(out, entry.referral, |out, (slot, cascade)| {
        put_slot(out, base, *slot);
        cascade
            .0
            .iter()
            .for_each(|points| put_signed(out, points.0));
    });
    put_list(out, entry.charges, |out, (month, charge)| {
        put_signed(out, i64::from(month.0.wrapping_sub(base.month)));
        put_signed_wide(out, charge.cost.0);
        put_signed_wide(out, charge.shadow.0);
    });
    put_list(out, entry.firsts, |out, first| {
        out.push(first.service.number());
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
    put_varint(out, zigzag(i64::from(difference)) << 1 | late);
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
    let (inline, numbered) = match service.is_default() {
        true => (service.number(), false),
        false => (0, true),
    };
    out.push(
        inline
            | flag(numbered, CELL_NUMBERED)
            | flag(slot.is_some(), CELL_SLOT)
            | flag(outcomes, CELL_OUTCOMES)
            | flag(points, CELL_POINTS)
            | flag(latency, CELL_LATENCY),
    );
    if numbered {
        out.push(service.number());
    }
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
