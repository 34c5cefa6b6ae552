//! Reading posting blocks.

use super::{
    Base, BlockHeader, CELL_BYTES_MIN, CELL_LATENCY, CELL_OUTCOMES, CELL_POINTS, CELL_SERVICE,
    CELL_SLOT, CELL_UNUSED, DAYS, ENTRY_BYTES_MIN, ENTRY_CELLS_INLINE_MAX, ENTRY_CELLS_SHIFT,
    ENTRY_CHARGES, ENTRY_FIRSTS, ENTRY_PROVIDER, ENTRY_REFERRAL, FormatError, ID_BYTES_MAX, MONTHS,
    VERSION,
};
use crate::domain::amount::{Money, Points};
use crate::domain::event::Service;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::position::{Chunk, Control, Epoch, Partition, Sequence};
use crate::domain::posting::{Block, Cell, Charge, Entry, FirstSuccess, Slot};
use crate::domain::time::{Day, Millis, Month};
use crate::log::varint::{Reader, unzigzag};

/// Decodes one block. Every byte must be as [`encode`](super::encode()) would write it; never panics, and never takes much more
/// memory than the bytes could describe.
pub fn decode(bytes: &[u8]) -> Result<Block, FormatError> {
    let mut input = Reader::new(bytes);
    let mut block = take_head(&mut input)?;
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

/// What stands before a block's entries, without a look at these.
pub fn peek(bytes: &[u8]) -> Result<BlockHeader, FormatError> {
    let block = take_head(&mut Reader::new(bytes))?;
    Ok(BlockHeader::of(&block))
}

/// A block without its entries.
fn take_head(input: &mut Reader<'_>) -> Result<Block, FormatError> {
    let version = input.byte()?;
    if version != VERSION {
        return Err(FormatError::Version {
            found: version,
            known: VERSION,
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
