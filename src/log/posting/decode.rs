//! Reading posting blocks.
//!
//! A block's entries hold hundreds of thousands of small lists in a second. [`Entries`] keeps all
//! lists of a kind one after the other, so that reading a block takes a handful of allocations,
//! whatever its size.

use super::{
    Base, BlockHeader, CELL_BYTES_MIN, CELL_LATENCY, CELL_NUMBERED, CELL_OUTCOMES, CELL_POINTS,
    CELL_SERVICE, CELL_SLOT, CELL_UNUSED, DAYS, ENTRY_BYTES_MIN, ENTRY_CELLS_INLINE_MAX,
    ENTRY_CELLS_SHIFT, ENTRY_CHARGES, ENTRY_FIRSTS, ENTRY_PROVIDER, ENTRY_REFERRAL, FormatError,
    ID_BYTES_MAX, MONTHS, VERSION, VERSION_WITH_DEDUCTIONS, VERSION_WITH_SERVICES,
};
use crate::domain::amount::{Money, Points};
use crate::domain::event::Service;
use crate::domain::ids::{AccountKind, AccountRef, check_id};
use crate::domain::position::{Chunk, Control, Epoch, Partition, Sequence};
use crate::domain::posting::{
    Block, Cascade, Cell, Charge, Deduction, Deductions, EntryRef, FirstSuccess, Slot,
};
use crate::domain::time::{Day, Millis, Month};
use crate::log::varint::{Reader, unzigzag};

/// A block's entries as they were read.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    places: Vec<Place>,
    ids: String,
    cells: Vec<(Slot, Service, Cell)>,
    referral: Vec<(Slot, Cascade)>,
    charges: Vec<(Month, Charge)>,
    firsts: Vec<FirstSuccess>,
    /// By the number of the entry, ascending; only entries that take something back.
    deductions: Vec<(u32, Deductions)>,
}

/// Whose entry it is, and where its parts end. They begin where those of the entry before it end.
#[derive(Clone, Copy, Debug)]
struct Place {
    kind: AccountKind,
    ends: Ends,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    id: u32,
    cells: u32,
    referral: u32,
    charges: u32,
    firsts: u32,
}

impl Entries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// All of them, by account.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = EntryRef<'_>> {
        let mut from = Ends::default();
        let mut number = 0;
        self.places.iter().map(move |place| {
            let begins = std::mem::replace(&mut from, place.ends);
            let deductions = self.deductions_of(number);
            number += 1;
            EntryRef {
                deductions,
                ..self.entry(begins, place)
            }
        })
    }

    /// The oldest month that any of them books into.
    pub fn oldest_month(&self) -> Option<Month> {
        let slots = self
            .cells
            .iter()
            .map(|(slot, ..)| *slot)
            .chain(self.referral.iter().map(|(slot, _)| *slot))
            .chain(self.firsts.iter().map(|first| first.slot))
            .chain(self.all_deductions().map(|(slot, ..)| *slot));
        let (mut day, mut late) = (None::<Day>, None::<Month>);
        for slot in slots {
            match slot {
                Slot::Day(of) => day = Some(day.map_or(of, |day| day.min(of))),
                Slot::Late(of) => late = Some(late.map_or(of, |late| late.min(of))),
            }
        }
        let charges = self.charges.iter().map(|(month, _)| *month).min();
        [day.map(Day::month), late, charges]
            .into_iter()
            .flatten()
            .min()
    }

    fn all_deductions(&self) -> impl Iterator<Item = &(Slot, Service, Deduction)> {
        let deductions = self.deductions.iter();
        deductions.flat_map(|(_, deductions)| &deductions.by_service)
    }

    fn deductions_of(&self, number: u32) -> &Deductions {
        if self.deductions.is_empty() {
            return Deductions::NONE;
        }
        let place = self.deductions.binary_search_by_key(&number, |(of, _)| *of);
        place.map_or(Deductions::NONE, |place| &self.deductions[place].1)
    }

    /// Reads the list of what entries take back.
    fn take_deductions(&mut self, input: &mut Reader<'_>, base: Base) -> Result<(), FormatError> {
        let entries = input.length()?;
        input.check(entries > 0, "a redundant empty list")?;
        let mut next: u64 = 0;
        for _ in 0..entries {
            let number = next.saturating_add(input.varint()?);
            let is_there = number < self.places.len() as u64;
            input.check(is_there, "deductions of an entry that is not there")?;
            let deductions = take_deductions_of_entry(input, base)?;
            self.deductions
                .push((end_of(input, number as usize)?, deductions));
            next = number + 1;
        }
        Ok(())
    }

    /// Whether any of them names a service that is not built in.
    fn name_added_service(&self) -> bool {
        let of_cells = self
            .cells
            .iter()
            .any(|(_, service, _)| !service.is_default());
        of_cells || self.firsts.iter().any(|first| !first.service.is_default())
    }

    fn entry(&self, from: Ends, place: &Place) -> EntryRef<'_> {
        let to = place.ends;
        let range = |from: u32, to: u32| from as usize..to as usize;
        EntryRef {
            account: AccountRef {
                kind: place.kind,
                id: &self.ids[range(from.id, to.id)],
            },
            cells: &self.cells[range(from.cells, to.cells)],
            referral: &self.referral[range(from.referral, to.referral)],
            charges: &self.charges[range(from.charges, to.charges)],
            firsts: &self.firsts[range(from.firsts, to.firsts)],
            deductions: Deductions::NONE,
        }
    }

    /// The account of the last one, and where its parts end.
    fn last(&self) -> (Option<AccountRef<'_>>, Ends) {
        let mut newest = self.places.iter().rev();
        let Some(last) = newest.next() else {
            return (None, Ends::default());
        };
        let from = newest.next().map_or(Ends::default(), |place| place.ends);
        (Some(self.entry(from, last).account), last.ends)
    }

    /// Reads the next one. `id` holds the id before, and afterwards this one's.
    fn take(
        &mut self,
        input: &mut Reader<'_>,
        base: Base,
        id: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
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
        let text = std::str::from_utf8(id).map_err(|_| input.invalid("an id that is not UTF-8"))?;
        check_id(text).map_err(|_| input.invalid("invalid id"))?;
        let (last, from) = self.last();
        let ascending = last.is_none_or(|last| last < AccountRef { kind, id: text });
        input.check(ascending, "accounts out of order")?;
        self.ids.push_str(text);
        take_cells(input, base, cells, &mut self.cells, from.cells as usize)?;
        take_list(
            input,
            head & ENTRY_REFERRAL,
            &mut self.referral,
            |input| Ok((take_slot(input, base)?, take_cascade(input)?)),
            |(slot, _)| *slot,
        )?;
        take_list(
            input,
            head & ENTRY_CHARGES,
            &mut self.charges,
            |input| take_charge(input, base),
            |(month, _)| *month,
        )?;
        take_list(
            input,
            head & ENTRY_FIRSTS,
            &mut self.firsts,
            |input| take_first(input, base),
            |first| first.service,
        )?;
        let ends = Ends {
            id: end_of(input, self.ids.len())?,
            cells: end_of(input, self.cells.len())?,
            referral: end_of(input, self.referral.len())?,
            charges: end_of(input, self.charges.len())?,
            firsts: end_of(input, self.firsts.len())?,
        };
        self.places.push(Place { kind, ends });
        Ok(())
    }
}

fn end_of(input: &Reader<'_>, len: usize) -> Result<u32, FormatError> {
    u32::try_from(len).map_err(|_| input.invalid("more than 4 GiB of one kind"))
}

/// A block whose entries are as they were read.
#[derive(Clone, Debug)]
pub struct ReadBlock {
    /// What it has in common with the other blocks of its chunk.
    pub header: BlockHeader,
    /// Its place in the sequence from its source partition to its posting partition.
    pub sequence: Sequence,
    /// Entries, by account.
    pub entries: Entries,
}

/// Reads one block. Every byte must be as [`encode`](super::encode()) would write it; never panics,
/// and never takes much more memory than the bytes could describe.
pub fn decode_block(bytes: &[u8]) -> Result<ReadBlock, FormatError> {
    let mut input = Reader::new(bytes);
    let version = bytes.first().copied();
    let block = take_head(&mut input)?;
    let count = input.u32_le()? as usize;
    let base = Base::of(block.source_log_time);
    let mut entries = Entries::default();
    let possible = count.min(input.left() / ENTRY_BYTES_MIN);
    entries.places.reserve(possible);
    entries.cells.reserve(possible);
    let mut id = Vec::new();
    for _ in 0..count {
        entries.take(&mut input, base, &mut id)?;
    }
    if version == Some(VERSION_WITH_DEDUCTIONS) {
        entries.take_deductions(&mut input, base)?;
    }
    input.check(input.left() == 0, "bytes after the last entry")?;
    let named = if !entries.deductions.is_empty() {
        VERSION_WITH_DEDUCTIONS
    } else if entries.name_added_service() {
        VERSION_WITH_SERVICES
    } else {
        VERSION
    };
    input.check(
        version == Some(named),
        "another version than its entries need",
    )?;
    Ok(ReadBlock {
        header: BlockHeader::of(&block),
        sequence: block.sequence,
        entries,
    })
}

/// [`decode_block`], with entries of their own.
pub fn decode(bytes: &[u8]) -> Result<Block, FormatError> {
    let block = decode_block(bytes)?;
    let BlockHeader {
        epoch,
        source,
        chunk,
        control,
        source_log_time,
    } = block.header;
    Ok(Block {
        epoch,
        source,
        chunk,
        sequence: block.sequence,
        control,
        source_log_time,
        entries: block.entries.iter().map(|entry| entry.to_entry()).collect(),
    })
}

/// What stands before a block's entries, without a look at these.
pub fn peek(bytes: &[u8]) -> Result<(BlockHeader, Sequence), FormatError> {
    let block = take_head(&mut Reader::new(bytes))?;
    Ok((BlockHeader::of(&block), block.sequence))
}

/// A block without its entries.
fn take_head(input: &mut Reader<'_>) -> Result<Block, FormatError> {
    let version = input.byte()?;
    if !(VERSION..=VERSION_WITH_DEDUCTIONS).contains(&version) {
        return Err(FormatError::Version {
            found: version,
            known: VERSION_WITH_DEDUCTIONS,
        });
    }
    Ok(Block {
        epoch: Epoch(input.small()?),
        source: Partition(input.small()?),
        chunk: Chunk(input.varint()?),
        sequence: Sequence(input.varint()?),
        control: Control(input.varint()?),
        source_log_time: Millis(input.signed()?),
        entries: Vec::new(),
    })
}

/// `id` holds the id before, and afterwards this one's.
fn take_id(input: &mut Reader<'_>, id: &mut Vec<u8>) -> Result<(), FormatError> {
    let (shared, rest) = (input.length()?, input.length()?);
    input.check(
        shared <= id.len(),
        "more shared bytes than the previous id has",
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

/// Reads a list that is there if `announced` is not zero, behind what `items` holds: not empty
/// then, and strictly ascending by `key`.
fn take_list<T, K: Ord>(
    input: &mut Reader<'_>,
    announced: u8,
    items: &mut Vec<T>,
    take: impl Fn(&mut Reader<'_>) -> Result<T, FormatError>,
    key: impl Fn(&T) -> K,
) -> Result<(), FormatError> {
    if announced == 0 {
        return Ok(());
    }
    let count = input.length()?;
    input.check(count > 0, "a redundant empty list")?;
    items.reserve(count.min(input.left() / CELL_BYTES_MIN));
    let from = items.len();
    for _ in 0..count {
        let item = take(input)?;
        let before = items[from..].last();
        let ascending = before.is_none_or(|last| key(last) < key(&item));
        input.check(ascending, "a list out of order")?;
        items.push(item);
    }
    Ok(())
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
    let difference = unzigzag(code >> 1);
    if code & 1 == 1 {
        return take_month(input, base, difference).map(Slot::Late);
    }
    let difference = i32::try_from(difference).map_err(|_| input.invalid("a day out of range"))?;
    let day = difference.wrapping_add(base.day);
    input.check(DAYS.contains(&day), "a day out of range")?;
    Ok(Slot::Day(Day(day)))
}

fn take_service(input: &Reader<'_>, code: u8) -> Result<Service, FormatError> {
    Service::numbered(code).ok_or_else(|| input.invalid("an unknown service"))
}

/// The service of a cell with this tag.
fn take_cell_service(input: &mut Reader<'_>, tag: u8) -> Result<Service, FormatError> {
    let inline = tag & CELL_SERVICE;
    if tag & CELL_NUMBERED == 0 {
        return take_service(input, inline);
    }
    input.check(inline == 0, "a service given twice")?;
    let code = input.byte()?;
    let service = take_service(input, code)?;
    input.check(!service.is_default(), "a redundant number of a service")?;
    Ok(service)
}

fn take_charge(input: &mut Reader<'_>, base: Base) -> Result<(Month, Charge), FormatError> {
    let difference = input.signed()?;
    let month = take_month(input, base, difference)?;
    let cost = Money(input.signed_wide()?);
    let shadow = Money(input.signed_wide()?);
    Ok((month, Charge { cost, shadow }))
}

fn take_cascade(input: &mut Reader<'_>) -> Result<Cascade, FormatError> {
    let mut cascade = Cascade::default();
    for points in &mut cascade.0 {
        *points = Points(input.signed()?);
    }
    Ok(cascade)
}

fn take_first(input: &mut Reader<'_>, base: Base) -> Result<FirstSuccess, FormatError> {
    let code = input.byte()?;
    Ok(FirstSuccess {
        service: take_service(input, code)?,
        slot: take_slot(input, base)?,
        points: Points(input.signed()?),
    })
}

fn take_deductions_of_entry(input: &mut Reader<'_>, base: Base) -> Result<Deductions, FormatError> {
    let mut deductions = Deductions::default();
    take_list(
        input,
        1,
        &mut deductions.by_service,
        |input| take_deduction(input, base),
        |(slot, service, _)| (*slot, *service),
    )?;
    deductions.peak = input.varint()?;
    Ok(deductions)
}

fn take_deduction(
    input: &mut Reader<'_>,
    base: Base,
) -> Result<(Slot, Service, Deduction), FormatError> {
    let code = input.byte()?;
    let service = take_service(input, code)?;
    let slot = take_slot(input, base)?;
    let deduction = Deduction {
        reversed: input.varint()?,
        points: Points(input.signed()?),
        timed: input.varint()?,
        latency_ms: input.varint()?,
        target_ms: input.varint()?,
    };
    input.check(deduction != Deduction::default(), "a redundant deduction")?;
    Ok((slot, service, deduction))
}

/// Reads cells behind those that `cells` holds; its own begin at `from`.
fn take_cells(
    input: &mut Reader<'_>,
    base: Base,
    count: usize,
    cells: &mut Vec<(Slot, Service, Cell)>,
    from: usize,
) -> Result<(), FormatError> {
    cells.reserve(count.min(input.left() / CELL_BYTES_MIN));
    for _ in 0..count {
        let tag = input.byte()?;
        input.check(tag & CELL_UNUSED == 0, "an unknown mark on a cell")?;
        let before = cells[from..]
            .last()
            .map(|(slot, service, _)| (*slot, *service));
        let service = take_cell_service(input, tag)?;
        let slot = take_cell_slot(input, base, tag, before.map(|(slot, _)| slot))?;
        input.check(
            before.is_none_or(|b| b < (slot, service)),
            "cells out of order",
        )?;
        cells.push((slot, service, take_cell(input, tag)?));
    }
    Ok(())
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
        input.check(needed, "redundant outcome counts")?;
    }
    if tag & CELL_POINTS != 0 {
        cell.points = Points(input.signed()?);
        input.check(cell.points != Points::ZERO, "redundant zero points")?;
    }
    if tag & CELL_LATENCY != 0 {
        cell.timed = input.varint()?;
        cell.latency_ms = input.varint()?;
        cell.target_ms = input.varint()?;
        let any = cell.timed | cell.latency_ms | cell.target_ms != 0;
        input.check(any, "redundant zero latencies")?;
    }
    Ok(cell)
}
