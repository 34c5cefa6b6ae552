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
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Of which topic it speaks.
    pub topic: Topic,
    /// Of which partition.
    pub partition: Partition,
    /// The topic's id as the checkpoint has it.
    pub id: &'a str,
    /// The epoch as the checkpoint has it.
    pub epoch: Epoch,
}

/// What topics and bounds tell of whether a task could go on from its checkpoint: what it would halt with. Reads nothing, so that
/// `tidemark doctor` says the same as the task would. `counts` are numbers of partitions as the checkpoint has them and as they are;
/// `first` is the first record that is needed yet, everything before `next` is done.
pub fn contradiction(
    place: &Place<'_>,
    counts: &[(Topic, u32, u32)],
    (epoch, info, bounds): (Epoch, &TopicInfo, Bounds),
    (first, next): (Offset, Offset),
) -> Result<(), Failure> {
    for (topic, known, found) in counts {
        same_count(*topic, *known, *found)?;
    }
    if place.epoch < epoch {
        // Offsets begin again.
        return Ok(());
    }
    same_log(epoch, place, info)?;
    within(place, bounds, first, next)
}

/// The topic must be the same one, not one of the same name.
pub(super) fn same_log(epoch: Epoch, place: &Place<'_>, info: &TopicInfo) -> Result<(), Failure> {
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
    let bounds = ctx.log.bounds(place.topic, place.partition).await?;
    within(place, bounds, first, next)?;
    match fingerprint {
        Some(known) if known.offset >= bounds.start => same_record(ctx, place, known).await,
        _ => Ok(()),
    }
}

/// Neither what is needed nor what is done may have gone.
fn within(
    place: &Place<'_>,
    Bounds { start, end }: Bounds,
    first: Offset,
    next: Offset,
) -> Result<(), Failure> {
    let (topic, partition) = (place.topic, place.partition);
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
    Ok(())
}

async fn same_record(
    ctx: &WorkerContext,
    place: &Place<'_>,
    known: &Fingerprint,
) -> Result<(), Failure> {
    let (topic, partition) = (place.topic, place.partition);
    let read = ctx
        .log
        .read(
            topic,
            partition,
            known.offset,
            ReadLimit::ONE,
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

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place {
        topic: Topic::UsageEvents,
        partition: Partition(2),
        id: "a",
        epoch: Epoch(1),
    };

    /// What would be halted with; `counts` as the checkpoint has them and as they are, `bounds` and `done` as offsets.
    fn found(
        epoch: u32,
        id: &str,
        counts: (u32, u32),
        bounds: (u64, u64),
        done: (u64, u64),
    ) -> Option<(HaltCode, String)> {
        let info = TopicInfo {
            id: id.to_owned(),
            partitions: counts.1,
        };
        let bounds = Bounds {
            start: Offset(bounds.0),
            end: Offset(bounds.1),
        };
        let counts = [(Topic::UsageEvents, counts.0, counts.1)];
        let log = (Epoch(epoch), &info, bounds);
        match contradiction(&PLACE, &counts, log, (Offset(done.0), Offset(done.1))) {
            Ok(()) => None,
            Err(Failure::Halt(code, what)) => Some((code, what)),
            Err(Failure::Reload(why)) => panic!("{why}"),
        }
    }

    #[test]
    fn a_contradiction_between_checkpoint_and_log_is_named_by_its_first_cause() {
        let fine = (4, 4);
        for (given, expected) in [
            ((1, "a", fine, (0, 9), (5, 7)), None),
            ((1, "a", fine, (5, 9), (5, 9)), None),
            // In a new epoch offsets begin again; the number of partitions stays.
            ((2, "b", fine, (0, 0), (5, 7)), None),
            (
                (2, "b", (4, 6), (0, 0), (5, 7)),
                Some((
                    HaltCode::PartitionsChanged,
                    "topic usage.events had 4 partitions, now it has 6",
                )),
            ),
            (
                (0, "a", fine, (0, 9), (5, 7)),
                Some((
                    HaltCode::LogRecreated,
                    "this log has epoch 0, the tables are at epoch 1 already",
                )),
            ),
            // Another topic has other offsets: they are not told as well.
            (
                (1, "b", fine, (0, 0), (5, 7)),
                Some((
                    HaltCode::LogRecreated,
                    "topic usage.events was created again: its id was a, now it is b",
                )),
            ),
            (
                (1, "a", fine, (0, 6), (5, 7)),
                Some((
                    HaltCode::LogTruncated,
                    "usage.events/2 ends at 6, but everything before 7 was done",
                )),
            ),
            (
                (1, "a", fine, (6, 9), (5, 7)),
                Some((
                    HaltCode::LogTruncated,
                    "usage.events/2 begins at 6, but records from 5 on are needed",
                )),
            ),
        ] {
            let (epoch, id, counts, bounds, done) = given;
            let expected = expected.map(|(code, what)| (code, what.to_owned()));
            assert_eq!(
                found(epoch, id, counts, bounds, done),
                expected,
                "{given:?}"
            );
        }
    }
}
