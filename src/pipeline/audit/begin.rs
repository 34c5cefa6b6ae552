//! Where the audit of an epoch begins.

use crate::domain::position::{Chunk, Epoch, Offset, Partition};
use crate::log::{MUST_BE_THERE, ReadLimit, Record, Topic, TopicInfo, posting};
use crate::pipeline::failure::Failure;
use crate::pipeline::{WorkerContext, cut_record};
use crate::store::audits::AuditCheckpoint;

/// What the audit of a source partition goes on from.
pub(super) struct Begin {
    pub(super) checkpoint: AuditCheckpoint,
    /// The last chunk of the epoch before that was passed there: its record may be repeated.
    pub(super) earlier: Option<(Epoch, Chunk)>,
}

/// Goes on from the stored checkpoint, if that is of this epoch. Else begins where this epoch does:
/// topics that were not lost hold records of earlier ones, which were audited in their time. What
/// was not, because the epoch ended before, is read: it is skipped, and counted.
pub(super) async fn begin(
    ctx: &WorkerContext,
    source: Partition,
    (cuts, postings): (&TopicInfo, &TopicInfo),
    stored: Option<AuditCheckpoint>,
) -> Result<Begin, Failure> {
    let epoch = ctx.log.epoch();
    let stored = stored.filter(|stored| stored.topic_id == cuts.id && stored.epoch <= epoch);
    if let Some(checkpoint) = stored.clone().filter(|stored| stored.epoch == epoch) {
        return Ok(Begin {
            checkpoint,
            earlier: None,
        });
    }
    let next = match &stored {
        Some(before) => before.next,
        None => first_of_epoch(ctx, Topic::LedgerCuts, source, epoch_of_cut).await?,
    };
    let mut first_blocks = Vec::new();
    for q in (0..postings.partitions).map(Partition) {
        let first = first_of_epoch(ctx, Topic::LedgerPostings, q, epoch_of_block).await?;
        let start = ctx.log.bounds(Topic::LedgerPostings, q).await?.start;
        // What the topic has dropped before that may have been of this epoch.
        first_blocks.push(if first > start { first } else { Offset(0) });
    }
    let passed = |before: AuditCheckpoint| Some((before.epoch, before.passed?.chunk));
    Ok(Begin {
        earlier: stored.and_then(passed),
        checkpoint: AuditCheckpoint {
            topic_id: cuts.id.clone(),
            epoch,
            partitions: cuts.partitions,
            next,
            first_chunk: None,
            passed: None,
            postings: first_blocks,
            audited: 0,
            skipped: 0,
            findings: 0,
            archive: None,
        },
    })
}

fn epoch_of_cut(record: &Record) -> Option<Epoch> {
    let cut = cut_record::decode_cut(&record.value).ok()?;
    Some(cut.chunk.cut.epoch)
}

fn epoch_of_block(record: &Record) -> Option<Epoch> {
    let (header, _) = posting::peek(&record.value).ok()?;
    Some(header.epoch)
}

/// The first record of this epoch in a partition, by bisection: epochs follow each other. One that
/// cannot be read is taken to be of this epoch.
async fn first_of_epoch(
    ctx: &WorkerContext,
    topic: Topic,
    partition: Partition,
    epoch_of: fn(&Record) -> Option<Epoch>,
) -> Result<Offset, Failure> {
    let (log, epoch) = (&ctx.log, ctx.log.epoch());
    let bounds = log.bounds(topic, partition).await?;
    let (mut first, mut end) = (bounds.start, bounds.end);
    while first < end {
        let middle = Offset(first.0 + (end.0 - first.0) / 2);
        let read = log.read(topic, partition, middle, ReadLimit::ONE, MUST_BE_THERE);
        let records = read.await?;
        let Some(record) = records.first() else {
            return Err(Failure::reload(format!(
                "record {middle} of {topic}/{partition} could not be read yet"
            )));
        };
        match epoch_of(record) {
            Some(of) if of < epoch => first = record.offset.next(),
            _ => end = middle,
        }
    }
    Ok(first)
}
