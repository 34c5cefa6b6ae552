//! Is this still the log that the checkpoint speaks of? Checked on every load, before anything is done (I8).

use std::collections::BTreeMap;

use super::WorkerContext;
use super::failure::{Failure, HaltCode};
use super::supervise::persist;
use crate::domain::position::{Chunk, Epoch, Offset, Partition, WriteId};
use crate::log::{Bounds, Fingerprint, MUST_BE_THERE, ReadLimit, Topic, TopicInfo, posting};
use crate::ops::health::{Role, TaskId};
use crate::store::checkpoints::{self, PostCheckpoint, RateCheckpoint, SourceState, Versioned};

/// How many posting blocks are looked at at a time.
const SCAN_RECORDS: usize = 1_024;
/// How many bytes of them.
const SCAN_BYTES: usize = 8 << 20;

/// Where a checkpoint stands.
pub(super) struct Place<'a> {
    pub topic: Topic,
    pub partition: Partition,
    /// The topic's id as the checkpoint has it.
    pub id: &'a str,
    /// The epoch as the checkpoint has it.
    pub epoch: Epoch,
}

/// The topic must be the same one, not one of the same name.
pub(super) fn same_log(
    ctx: &WorkerContext,
    place: &Place<'_>,
    info: &TopicInfo,
) -> Result<(), Failure> {
    let epoch = ctx.log.epoch();
    if place.epoch > epoch {
        let what = format!(
            "this log has epoch {epoch}, the tables are at epoch {} already",
            place.epoch
        );
        return Err(Failure::halt(HaltCode::LogRecreated, what));
    }
    if place.id != info.id {
        let (topic, known, found) = (place.topic, place.id, &info.id);
        let what =
            format!("topic {topic} was created again: its id was {known}, now it is {found}");
        return Err(Failure::halt(HaltCode::LogRecreated, what));
    }
    Ok(())
}

/// Keys move between partitions when their number changes; that takes a new log.
pub(super) fn same_count(topic: Topic, known: u32, found: u32) -> Result<(), Failure> {
    if known == found {
        return Ok(());
    }
    let what = format!("topic {topic} had {known} partitions, now it has {found}");
    Err(Failure::halt(HaltCode::PartitionsChanged, what))
}

/// Everything from `first` on must be there, and the last record that is done (`next − 1`) must be the one that was done.
/// That it has expired is no fault.
pub(super) async fn still_there(
    ctx: &WorkerContext,
    place: &Place<'_>,
    first: Offset,
    next: Offset,
    fingerprint: Option<&Fingerprint>,
) -> Result<(), Failure> {
    let (topic, partition) = (place.topic, place.partition);
    let Bounds { start, end } = ctx.log.bounds(topic, partition).await?;
    if end < next {
        let what =
            format!("{topic}/{partition} ends at {end}, but everything before {next} was done");
        return Err(Failure::halt(HaltCode::LogTruncated, what));
    }
    if start > first {
        let what = format!(
            "{topic}/{partition} begins at {start}, but records from {first} on are needed"
        );
        return Err(Failure::halt(HaltCode::LogTruncated, what));
    }
    match fingerprint {
        Some(known) if known.offset >= start => same_record(ctx, place, known).await,
        _ => Ok(()),
    }
}

async fn same_record(
    ctx: &WorkerContext,
    place: &Place<'_>,
    known: &Fingerprint,
) -> Result<(), Failure> {
    let limit = ReadLimit {
        records: 1,
        bytes: 1,
    };
    let read = ctx
        .log
        .read(
            place.topic,
            place.partition,
            known.offset,
            limit,
            MUST_BE_THERE,
        )
        .await?;
    let Some(record) = read.first() else {
        return Err(Failure::reload(format!(
            "record {} could not be read yet",
            known.offset
        )));
    };
    let found = Fingerprint::of(record);
    if found == *known {
        return Ok(());
    }
    let (topic, partition) = (place.topic, place.partition);
    let what = format!(
        "{topic}/{partition} holds another record than the one that was done: {found}, not {known}"
    );
    Err(Failure::halt(HaltCode::FingerprintMismatch, what))
}

/// The tables must not be older than the log (restored from an older backup, or deleted): chunks would be cut anew, their blocks would
/// carry sequences that stand in the log already, and posting would drop them as duplicates. A cut is written before its blocks are, so
/// no block can be of a chunk above the recorded one. Whatever is below a posting checkpoint was looked at when it was taken.
pub(super) async fn tables_are_not_behind(
    ctx: &WorkerContext,
    source: Partition,
    checkpoint: &RateCheckpoint,
    written: Option<WriteId>,
) -> Result<(), Failure> {
    for q in (0..checkpoint.posting_partitions).map(Partition) {
        let Some(newest) = newest_chunk(ctx, q, source).await? else {
            continue;
        };
        if newest <= checkpoint.chunk {
            continue;
        }
        let key = checkpoints::checkpoint_key(TaskId::new(Role::Rate, source));
        if persist(ctx, || checkpoints::last_write(&*ctx.db, &key)).await? != written {
            let what = format!("somebody else has cut chunks of source partition {source}");
            return Err(Failure::reload(what));
        }
        let (topic, known) = (Topic::LedgerPostings, checkpoint.chunk);
        let what = format!(
            "{topic}/{q} holds a block of chunk {newest} of source partition {source}, but the tables know chunks up to {known} only"
        );
        return Err(Failure::halt(HaltCode::TablesBehindLog, what));
    }
    Ok(())
}

/// What has been looked at of the posting partitions: how far, and the newest chunk of each source partition among it. Every source
/// partition of a worker asks the same, so each goes on where the one before stopped.
#[derive(Debug, Default)]
pub(super) struct Tails(BTreeMap<Partition, Tail>);

#[derive(Debug, Default)]
struct Tail {
    next: Offset,
    newest: BTreeMap<Partition, Chunk>,
}

/// The newest chunk of a source partition among the blocks that a posting partition has not taken for good yet.
async fn newest_chunk(
    ctx: &WorkerContext,
    q: Partition,
    source: Partition,
) -> Result<Option<Chunk>, Failure> {
    let mut tails = ctx.tails.lock().await;
    let tail = tails.0.entry(q).or_default();
    let key = checkpoints::checkpoint_key(TaskId::new(Role::Post, q));
    let stored: Option<Versioned<PostCheckpoint>> =
        persist(ctx, || checkpoints::get(&*ctx.db, &key)).await?;
    let epoch = ctx.log.epoch();
    let taken = stored.filter(|stored| stored.value.epoch == epoch);
    let taken = taken.map_or(Offset(0), |stored| stored.value.next);
    let Bounds { start, end } = ctx.log.bounds(Topic::LedgerPostings, q).await?;
    tail.next = tail.next.max(taken).max(start);
    while tail.next < end {
        let limit = ReadLimit {
            records: SCAN_RECORDS,
            bytes: SCAN_BYTES,
        };
        let topic = Topic::LedgerPostings;
        let read = ctx.log.read(topic, q, tail.next, limit, MUST_BE_THERE);
        let records = read.await?;
        let Some(last) = records.last() else {
            let what = format!(
                "records of {topic}/{q} from {} on could not be read yet",
                tail.next
            );
            return Err(Failure::reload(what));
        };
        // A block that cannot be read halts the posting partition that must take it, with a better message than there is here.
        for block in records
            .iter()
            .filter_map(|record| posting::peek(&record.value).ok())
        {
            let newest = tail.newest.entry(block.source).or_default();
            *newest = (*newest).max(block.chunk);
        }
        tail.next = last.offset.next();
    }
    Ok(tail.newest.get(&source).copied())
}

/// Before a source partition begins a new epoch, every posting partition must have taken all that it sent in the old one.
pub(super) async fn postings_drained(
    ctx: &WorkerContext,
    source: Partition,
    old: &RateCheckpoint,
) -> Result<(), Failure> {
    for (q, sent) in old.sequences.iter().enumerate() {
        let task = TaskId::new(Role::Post, Partition(q as u32));
        let key = checkpoints::checkpoint_key(task);
        let stored: Option<Versioned<PostCheckpoint>> =
            persist(ctx, || checkpoints::get(&*ctx.db, &key)).await?;
        let taken = stored.and_then(|stored| stored.value.sources.get(&source.0).copied());
        let SourceState { sequence, .. } = taken.unwrap_or_default();
        if sequence < *sent {
            let what = format!(
                "a new epoch began while {task} had taken {sequence} of {sent} blocks of the old one"
            );
            return Err(Failure::halt(HaltCode::LogRecreated, what));
        }
    }
    Ok(())
}
