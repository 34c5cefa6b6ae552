//! Is this still the log that the checkpoint speaks of? Checked on every load, before anything is
//! done (I8).

use super::WorkerContext;
use super::failure::{Failure, HaltCode};
use crate::domain::position::{Epoch, Offset, Partition};
use crate::log::{Bounds, Fingerprint, MUST_BE_THERE, ReadLimit, Topic, TopicInfo};

/// Where a checkpoint stands.
#[derive(Clone, Copy)]
pub struct RecordedTopic<'a> {
    /// Of which topic it speaks.
    pub topic: Topic,
    /// Of which partition.
    pub partition: Partition,
    /// The topic's id as the checkpoint has it.
    pub id: &'a str,
    /// The epoch as the checkpoint has it.
    pub epoch: Epoch,
}

/// What topics and bounds tell of whether a task could go on from its checkpoint: what it would
/// halt with. Reads nothing, so that `tidemark doctor` says the same as the task would. `counts`
/// are numbers of partitions as the checkpoint has them and as they are; `first` is the first
/// record that is needed yet, everything before `next` is done.
pub fn contradiction(
    place: &RecordedTopic<'_>,
    counts: &[(Topic, u32, u32)],
    (epoch, info, bounds): (Epoch, &TopicInfo, Bounds),
    (first, next): (Offset, Offset),
) -> Result<(), Failure> {
    if place.epoch < epoch {
        // Offsets begin again, and there may be other numbers of partitions.
        return Ok(());
    }
    for (topic, known, found) in counts {
        same_count(*topic, *known, *found)?;
    }
    same_log(epoch, place, info)?;
    within(place, bounds, first, next)
}

/// The topic must be the same one, not one of the same name.
pub(super) fn same_log(
    epoch: Epoch,
    place: &RecordedTopic<'_>,
    info: &TopicInfo,
) -> Result<(), Failure> {
    if place.epoch > epoch {
        return Err(later_epoch(epoch, place.epoch));
    }
    if place.id != info.id {
        let (topic, known, found) = (place.topic, place.id, &info.id);
        let what = format!("topic {topic} was recreated: its id was {known} and is now {found}");
        return Err(Failure::halt(HaltCode::LogRecreated, what));
    }
    Ok(())
}

/// A later epoch than this log's has begun.
pub(super) fn later_epoch(epoch: Epoch, later: Epoch) -> Failure {
    let what = format!("this log has epoch {epoch}, but the tables are already at epoch {later}");
    Failure::halt(HaltCode::LogRecreated, what)
}

/// Keys move between partitions when their number changes; that takes a new log.
pub fn same_count(topic: Topic, known: u32, found: u32) -> Result<(), Failure> {
    if known == found {
        return Ok(());
    }
    let what = format!("topic {topic} had {known} partitions and now has {found}");
    Err(Failure::halt(HaltCode::PartitionsChanged, what))
}

/// Everything from `first` on must be there, and the last record that is done (`next − 1`) must be
/// the one that was done. That it has expired is no fault.
pub(super) async fn still_there(
    ctx: &WorkerContext,
    place: &RecordedTopic<'_>,
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

/// The first record to read in a new epoch. A topic that was not lost goes on at `next`, which the
/// earlier epoch had reached; of any other topic, everything that it holds is new.
pub(super) async fn begins_at(
    ctx: &WorkerContext,
    place: &RecordedTopic<'_>,
    info: &TopicInfo,
    partitions: u32,
    (next, fingerprint): (Offset, Option<&Fingerprint>),
) -> Result<Offset, Failure> {
    let bounds = ctx.log.bounds(place.topic, place.partition).await?;
    let is_kept = place.id == info.id && partitions == info.partitions && bounds.end >= next;
    if !ctx.protections.sees_kept_topic(is_kept) {
        return Ok(bounds.start);
    }
    if let Some(known) = fingerprint.filter(|known| known.offset >= bounds.start) {
        match same_record(ctx, place, known).await {
            Err(Failure::Halt(HaltCode::FingerprintMismatch, _)) => return Ok(bounds.start),
            result => result?,
        }
    }
    Ok(next.max(bounds.start))
}

/// Neither what is needed nor what is done may have gone.
fn within(
    place: &RecordedTopic<'_>,
    Bounds { start, end }: Bounds,
    first: Offset,
    next: Offset,
) -> Result<(), Failure> {
    let (topic, partition) = (place.topic, place.partition);
    if end < next {
        let what = format!(
            "{topic}/{partition} ends at {end}, but everything before {next} was already processed"
        );
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
    place: &RecordedTopic<'_>,
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
        "{topic}/{partition} holds a different record than the one that was processed: {found}, not \
         {known}"
    );
    Err(Failure::halt(HaltCode::FingerprintMismatch, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: RecordedTopic<'_> = RecordedTopic {
        topic: Topic::UsageEvents,
        partition: Partition(2),
        id: "a",
        epoch: Epoch(1),
    };

    /// What would be halted with; `counts` as the checkpoint has them and as they are, `bounds` and
    /// `done` as offsets.
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
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_contradiction_between_checkpoint_and_log_is_named_by_its_first_cause() {
        let fine = (4, 4);
        for (given, expected) in [
            ((1, "a", fine, (0, 9), (5, 7)), None),
            ((1, "a", fine, (5, 9), (5, 9)), None),
            // In a new epoch offsets begin again, and there may be more partitions.
            ((2, "b", fine, (0, 0), (5, 7)), None),
            ((2, "b", (4, 6), (0, 0), (5, 7)), None),
            (
                (1, "a", (4, 6), (0, 9), (5, 7)),
                Some((
                    HaltCode::PartitionsChanged,
                    "topic usage.events had 4 partitions and now has 6",
                )),
            ),
            (
                (0, "a", fine, (0, 9), (5, 7)),
                Some((
                    HaltCode::LogRecreated,
                    "this log has epoch 0, but the tables are already at epoch 1",
                )),
            ),
            // Another topic has other offsets: they are not told as well.
            (
                (1, "b", fine, (0, 0), (5, 7)),
                Some((
                    HaltCode::LogRecreated,
                    "topic usage.events was recreated: its id was a and is now b",
                )),
            ),
            (
                (1, "a", fine, (0, 6), (5, 7)),
                Some((
                    HaltCode::LogTruncated,
                    "usage.events/2 ends at 6, but everything before 7 was already processed",
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
