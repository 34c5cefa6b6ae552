//! Is this still the log that the checkpoint speaks of? Checked on every load, before anything is done (I8).

use std::time::Duration;

use super::WorkerContext;
use super::failure::{Failure, HaltCode};
use super::supervise::persist;
use crate::domain::position::{Epoch, Offset, Partition};
use crate::log::{Bounds, Fingerprint, ReadLimit, Topic, TopicInfo};
use crate::ops::health::{Role, TaskId};
use crate::store::checkpoints::{self, PostCheckpoint, RateCheckpoint, SourceState, Versioned};

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
            Duration::ZERO,
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
