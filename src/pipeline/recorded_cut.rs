//! The recorded cut of a chunk, as every posting block of the chunk carries it in a header.
//!
//! The cut itself stands in the rate checkpoint. If the tables are restored to an earlier moment,
//! the checkpoints of later chunks are gone; this header brings them back (`tidemark recover`). A
//! block without one is as good. The same bytes stand in `ledger.cuts`
//! ([`cut_record`](super::cut_record)).

use std::ops::Range;

use bytes::Bytes;
use serde::Serialize;

use crate::domain::position::{Chunk, Control, Epoch, Offset, Partition, Sequence};
use crate::domain::time::Millis;
use crate::log::posting::BlockHeader;
use crate::log::varint::{FormatError, Reader, put_signed, put_varint};
use crate::log::{Fingerprint, Record};
use crate::store::checkpoints::{ClockCorrection, RateCheckpoint, UsageRows, WindowCut};
use crate::store::rated_services::{RatedServices, ServicesSince};

/// Name of the header.
const CUT_HEADER: &str = "tidemark-cut";
/// The version of its format.
const VERSION: u8 = 1;
/// The same with the services that rated the window behind the rest; only where there are any.
const VERSION_WITH_SERVICES: u8 = 2;

const ROWS_OFF: u8 = 0;
const ROWS_ALWAYS: u8 = 1;
const ROWS_SINCE: u8 = 2;

/// Where the log and the sequences stand after a chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChunkEnd {
    /// Log time at its last record.
    pub log_time: Millis,
    /// The latest time of all valid events up to there, or later.
    pub latest_event: Option<Millis>,
    /// The last sequence sent to each posting partition.
    pub sequences: Vec<Sequence>,
}

/// A chunk as its posting blocks describe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoggedChunk {
    /// Its recorded cut.
    pub cut: RateCheckpoint,
    /// What holds once all of it is done.
    pub end: ChunkEnd,
}

/// What the cuts of one epoch have in common; blocks do not repeat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    /// The id of `usage.events`.
    pub topic_id: String,
    /// Partitions of `usage.events`.
    pub partitions: u32,
    /// Partitions of `ledger.postings`.
    pub posting_partitions: u32,
}

/// The header of a chunk's blocks.
pub(super) fn header(cut: &RateCheckpoint, end: &ChunkEnd) -> (String, Bytes) {
    (CUT_HEADER.to_owned(), encode(cut, end))
}

/// A hash of a chunk's recorded cut, by which its posting blocks are told from those of a chunk of
/// the same number that was cut otherwise.
pub(super) fn hash(cut: &RateCheckpoint, end: &ChunkEnd) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&encode(cut, end))
}

/// The same of what a posting block carries; `None` if an older tidemark wrote it.
pub(super) fn hash_of_record(record: &Record) -> Option<u64> {
    record.header(CUT_HEADER).map(xxhash_rust::xxh3::xxh3_64)
}

/// The chunk of a posting block; `None` if an older tidemark wrote it.
pub(super) fn of_record(
    record: &Record,
    block: &BlockHeader,
    identity: &LogIdentity,
) -> Result<Option<LoggedChunk>, FormatError> {
    let Some(bytes) = record.header(CUT_HEADER) else {
        return Ok(None);
    };
    decode(bytes, block, identity).map(Some)
}

fn encode(cut: &RateCheckpoint, end: &ChunkEnd) -> Bytes {
    let mut out = Vec::with_capacity(96);
    out.push(match cut.services.is_empty() {
        true => VERSION,
        false => VERSION_WITH_SERVICES,
    });
    put_varint(&mut out, cut.from.0);
    put_varint(&mut out, cut.to.0.saturating_sub(cut.from.0));
    put_varint(&mut out, cut.semantics.into());
    put_window(&mut out, &cut.window);
    out.push(cut.fingerprint.is_some().into());
    if let Some(fingerprint) = &cut.fingerprint {
        put_signed(&mut out, fingerprint.append_time.0);
        out.extend_from_slice(&fingerprint.checksum.to_le_bytes());
    }
    out.push(cut.clock.is_some().into());
    if let Some(clock) = &cut.clock {
        put_varint(&mut out, clock.epoch.0.into());
        put_varint(&mut out, clock.until.0);
        put_signed(&mut out, clock.at.0);
    }
    put_moment(&mut out, cut.latest_event);
    put_signed(&mut out, end.log_time.0);
    put_moment(&mut out, end.latest_event);
    put_varint(&mut out, cut.sequences.len() as u64);
    for (before, after) in cut.sequences.iter().zip(&end.sequences) {
        put_varint(&mut out, before.0);
        put_varint(&mut out, after.0.saturating_sub(before.0));
    }
    if !cut.services.is_empty() {
        put_services(&mut out, &cut.services.0);
    }
    Bytes::from(out)
}

fn put_services(out: &mut Vec<u8>, services: &[ServicesSince]) {
    put_varint(out, services.len() as u64);
    for since in services {
        put_varint(out, since.from.0);
        put_varint(out, since.version.0);
    }
}

fn put_window(out: &mut Vec<u8>, window: &WindowCut) {
    put_signed(out, window.age_ms);
    put_varint(out, window.records_max);
    match window.usage_rows {
        UsageRows::Off => out.push(ROWS_OFF),
        UsageRows::Since(None) => out.push(ROWS_ALWAYS),
        UsageRows::Since(Some(since)) => {
            out.push(ROWS_SINCE);
            put_signed(out, since.0);
        }
    }
    put_varint(out, window.first.0);
    put_signed(out, window.first_log_time.0);
    put_moment(out, window.forgotten);
}

fn put_moment(out: &mut Vec<u8>, moment: Option<Millis>) {
    out.push(moment.is_some().into());
    if let Some(moment) = moment {
        put_signed(out, moment.0);
    }
}

pub(super) fn decode(
    bytes: &[u8],
    block: &BlockHeader,
    identity: &LogIdentity,
) -> Result<LoggedChunk, FormatError> {
    let mut input = Reader::new(bytes);
    let found = input.byte()?;
    if !(VERSION..=VERSION_WITH_SERVICES).contains(&found) {
        return Err(FormatError::Version {
            found,
            known: VERSION_WITH_SERVICES,
        });
    }
    let Range {
        start: from,
        end: to,
    } = take_records(&mut input)?;
    let semantics = input.small()?;
    let window = take_window(&mut input)?;
    let fingerprint = match take_flag(&mut input)? {
        true => Some(take_fingerprint(&mut input, to)?),
        false => None,
    };
    let clock = match take_flag(&mut input)? {
        true => Some(ClockCorrection {
            epoch: Epoch(input.small()?),
            until: Offset(input.varint()?),
            at: Millis(input.signed()?),
        }),
        false => None,
    };
    let latest_event = take_moment(&mut input)?;
    let log_time = Millis(input.signed()?);
    let latest_event_after = take_moment(&mut input)?;
    let (before, after) = take_sequences(&mut input, identity.posting_partitions)?;
    let services = match found == VERSION_WITH_SERVICES {
        true => RatedServices(take_services(&mut input)?),
        false => RatedServices::default(),
    };
    input.check(input.left() == 0, "bytes after the end")?;
    Ok(LoggedChunk {
        cut: RateCheckpoint {
            topic_id: identity.topic_id.clone(),
            epoch: block.epoch,
            partitions: identity.partitions,
            posting_partitions: identity.posting_partitions,
            chunk: block.chunk,
            from,
            to,
            control: block.control,
            semantics,
            log_time: block.source_log_time,
            window,
            fingerprint,
            sequences: before,
            clock,
            latest_event,
            services,
        },
        end: ChunkEnd {
            log_time,
            latest_event: latest_event_after,
            sequences: after,
        },
    })
}

/// What [`decode`] makes of the bytes, encoded again: for the fuzz targets.
#[doc(hidden)]
pub fn fuzzed_cut(bytes: &[u8]) -> Result<Bytes, FormatError> {
    let block = BlockHeader {
        epoch: Epoch(1),
        source: Partition(0),
        chunk: Chunk(1),
        control: Control(1),
        source_log_time: Millis(0),
    };
    let identity = LogIdentity {
        topic_id: String::new(),
        partitions: 1,
        posting_partitions: 3,
    };
    let chunk = decode(bytes, &block, &identity)?;
    Ok(encode(&chunk.cut, &chunk.end))
}

fn take_records(input: &mut Reader<'_>) -> Result<Range<Offset>, FormatError> {
    let (from, count) = (input.varint()?, input.varint()?);
    let to = from.checked_add(count);
    let to = to.ok_or_else(|| input.invalid("an offset over 64 bits"))?;
    Ok(Offset(from)..Offset(to))
}

fn take_window(input: &mut Reader<'_>) -> Result<WindowCut, FormatError> {
    let (age_ms, records_max) = (input.signed()?, input.varint()?);
    let usage_rows = match input.byte()? {
        ROWS_OFF => UsageRows::Off,
        ROWS_ALWAYS => UsageRows::Since(None),
        ROWS_SINCE => UsageRows::Since(Some(Millis(input.signed()?))),
        _ => return Err(input.invalid("an unknown kind of usage rows")),
    };
    Ok(WindowCut {
        age_ms,
        records_max,
        usage_rows,
        first: Offset(input.varint()?),
        first_log_time: Millis(input.signed()?),
        forgotten: take_moment(input)?,
    })
}

fn take_fingerprint(input: &mut Reader<'_>, to: Offset) -> Result<Fingerprint, FormatError> {
    let append_time = Millis(input.signed()?);
    let mut checksum = [0; 8];
    checksum.copy_from_slice(input.bytes(8)?);
    let offset = to.0.checked_sub(1);
    Ok(Fingerprint {
        offset: Offset(offset.ok_or_else(|| input.invalid("a fingerprint of no record"))?),
        append_time,
        checksum: u64::from_le_bytes(checksum),
    })
}

/// At least one, or the version would be another; each takes two bytes or more.
fn take_services(input: &mut Reader<'_>) -> Result<Vec<ServicesSince>, FormatError> {
    let count = input.length()?;
    input.check(count > 0, "a redundant empty list")?;
    let mut services: Vec<ServicesSince> = Vec::new();
    for _ in 0..count {
        let since = ServicesSince {
            from: Offset(input.varint()?),
            version: Control(input.varint()?),
        };
        let ascending = services.last().is_none_or(|last| last.from <= since.from);
        input.check(ascending, "services out of order")?;
        services.push(since);
    }
    Ok(services)
}

fn take_sequences(
    input: &mut Reader<'_>,
    partitions: u32,
) -> Result<(Vec<Sequence>, Vec<Sequence>), FormatError> {
    let count = input.small()?;
    input.check(count == partitions, "another number of posting partitions")?;
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (sent, more) = (input.varint()?, input.varint()?);
        let last = sent.checked_add(more);
        before.push(Sequence(sent));
        after.push(Sequence(
            last.ok_or_else(|| input.invalid("a sequence over 64 bits"))?,
        ));
    }
    Ok((before, after))
}

fn take_moment(input: &mut Reader<'_>) -> Result<Option<Millis>, FormatError> {
    Ok(match take_flag(input)? {
        true => Some(Millis(input.signed()?)),
        false => None,
    })
}

fn take_flag(input: &mut Reader<'_>) -> Result<bool, FormatError> {
    match input.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(input.invalid("a flag that is neither 0 nor 1")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity(posting_partitions: u32) -> LogIdentity {
        LogIdentity {
            topic_id: "topic".to_owned(),
            partitions: 3,
            posting_partitions,
        }
    }

    fn moment() -> impl Strategy<Value = Option<Millis>> {
        proptest::option::of(any::<i64>().prop_map(Millis))
    }

    prop_compose! {
        fn window()(
            age_ms in any::<i64>(),
            records_max in any::<u64>(),
            usage_rows in prop_oneof![
                Just(UsageRows::Off),
                moment().prop_map(UsageRows::Since),
            ],
            first in any::<u64>(),
            first_log_time in any::<i64>(),
            forgotten in moment(),
        ) -> WindowCut {
            WindowCut {
                age_ms,
                records_max,
                usage_rows,
                first: Offset(first),
                first_log_time: Millis(first_log_time),
                forgotten,
            }
        }
    }

    prop_compose! {
        fn chunk()(
            (from, count) in (0..u64::MAX / 2, 1..u64::MAX / 2),
            (semantics, chunk, control) in any::<(u32, u64, u64)>(),
            (log_time, end_log_time) in any::<(i64, i64)>(),
            window in window(),
            fingerprint in proptest::option::of(any::<(i64, u64)>()),
            clock in proptest::option::of(any::<(u32, u64, i64)>()),
            (latest_event, end_latest_event) in (moment(), moment()),
            sequences in proptest::collection::vec((0..u64::MAX / 2, 0..u64::MAX / 2), 0..5),
            mut services in proptest::collection::vec(any::<(u64, u64)>(), 0..4),
        ) -> LoggedChunk {
            services.sort_unstable();
            let identity = identity(sequences.len() as u32);
            let to = Offset(from + count);
            LoggedChunk {
                cut: RateCheckpoint {
                    topic_id: identity.topic_id,
                    epoch: Epoch(2),
                    partitions: identity.partitions,
                    posting_partitions: identity.posting_partitions,
                    chunk: Chunk(chunk),
                    from: Offset(from),
                    to,
                    control: Control(control),
                    semantics,
                    log_time: Millis(log_time),
                    window,
                    fingerprint: fingerprint.map(|(at, checksum)| Fingerprint {
                        offset: Offset(to.0 - 1),
                        append_time: Millis(at),
                        checksum,
                    }),
                    sequences: sequences.iter().map(|(sent, _)| Sequence(*sent)).collect(),
                    clock: clock.map(|(epoch, until, at)| ClockCorrection {
                        epoch: Epoch(epoch),
                        until: Offset(until),
                        at: Millis(at),
                    }),
                    latest_event,
                    services: RatedServices(services
                        .iter()
                        .map(|(from, version)| ServicesSince {
                            from: Offset(*from),
                            version: Control(*version),
                        })
                        .collect()),
                },
                end: ChunkEnd {
                    log_time: Millis(end_log_time),
                    latest_event: end_latest_event,
                    sequences: sequences.iter().map(|(sent, more)| Sequence(sent + more)).collect(),
                },
            }
        }
    }

    fn block(cut: &RateCheckpoint) -> BlockHeader {
        BlockHeader {
            epoch: cut.epoch,
            source: Partition(1),
            chunk: cut.chunk,
            control: cut.control,
            source_log_time: cut.log_time,
        }
    }

    proptest! {
        #[test]
        fn a_chunk_is_read_as_it_was_written(chunk in chunk()) {
            let bytes = encode(&chunk.cut, &chunk.end);
            let identity = identity(chunk.cut.posting_partitions);
            prop_assert_eq!(decode(&bytes, &block(&chunk.cut), &identity), Ok(chunk));
        }

        #[test]
        fn whatever_the_bytes_are_reading_them_does_not_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
            chunk in chunk(),
            cut_off in any::<prop::sample::Index>(),
        ) {
            let block = block(&chunk.cut);
            let identity = identity(chunk.cut.posting_partitions);
            let _ = decode(&bytes, &block, &identity);
            let whole = encode(&chunk.cut, &chunk.end);
            let part = &whole[..cut_off.index(whole.len())];
            prop_assert!(decode(part, &block, &identity).is_err());
        }
    }
}
