//! Finishing the newest chunk: what the log lacks of it is published.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::plan::{Comparison, Repeat, compare};
use super::{Recovered, Refusal, SourcePlan, Survey};
use crate::domain::ids::AccountRef;
use crate::domain::position::{Offset, Partition, Sequence};
use crate::log::posting::{self, BlockHeader, encode_blocks};
use crate::log::{MUST_BE_THERE, ReadLimit, Topic};
use crate::pipeline::WorkerContext;
use crate::pipeline::failure::Failure;
use crate::pipeline::rate::{Output, Rater};

/// Publishes what the log lacks of the newest chunk; returns the last sequences sent.
pub(super) async fn finish(
    ctx: &WorkerContext,
    rater: &mut Rater<'_>,
    survey: &Survey,
    plan: &SourcePlan,
    chunk: &Repeat,
    recovered: &mut Recovered,
) -> Result<Vec<Sequence>, Refusal> {
    let mut output = rater.repeat().await?;
    let comparison = compared(&output, survey, plan, chunk);
    if survey.can_verify(chunk) {
        if let Some((posting, sequence)) = comparison.different.first() {
            return Err(Refusal::RatedDifferently {
                from: plan.source,
                chunk: chunk.cut.chunk,
                posting: *posting,
                sequence: *sequence,
            });
        }
        recovered.verified += comparison.equal;
        keep_missing(&mut output, &chunk.cut.sequences, &comparison);
    } else {
        recovered.unverified += chunk.blocks.len() as u64;
        complete(ctx, &mut output, survey, plan, chunk).await?;
    }
    output.blocks = ctx.protections.missing_blocks(output.blocks);
    let appended: usize = output.blocks.iter().map(|(_, blocks)| blocks.len()).sum();
    recovered.appended += appended as u64;
    recovered.chunks += 1;
    recovered.usage_rows += output.rows.len() as u64;
    let sent = output.after.sequences.clone();
    rater.append_all(output).await?;
    Ok(sent)
}

/// How the blocks of a chunk compare with those in the log.
pub(super) fn compared(
    output: &Output,
    survey: &Survey,
    plan: &SourcePlan,
    chunk: &Repeat,
) -> Comparison {
    let hash = |block: &Bytes| xxhash_rust::xxh3::xxh3_64(block);
    let hashes = |(q, blocks): &(Partition, Vec<Bytes>)| (*q, blocks.iter().map(hash).collect());
    let given: Vec<(Partition, Vec<u64>)> = output.blocks.iter().map(hashes).collect();
    compare(&given, &chunk.cut.sequences, &chunk.blocks, |q| {
        let accepted = survey.accepted.get(&(q, plan.source));
        accepted.copied().unwrap_or_default()
    })
}

/// Leaves only the blocks that the log does not hold.
fn keep_missing(output: &mut Output, before: &[Sequence], comparison: &Comparison) {
    let missing: BTreeSet<_> = comparison.missing.iter().copied().collect();
    for (q, blocks) in &mut output.blocks {
        let first = before.get(q.0 as usize).copied().unwrap_or_default().0 + 1;
        let numbered = std::mem::take(blocks).into_iter().zip(first..);
        let lacking = numbered.filter(|(_, sequence)| missing.contains(&(*q, Sequence(*sequence))));
        blocks.extend(lacking.map(|(block, _)| block));
    }
    output.blocks.retain(|(_, blocks)| !blocks.is_empty());
}

/// The same where entries of the control feed are lost that the chunk was rated with: what the log
/// lacks is rated without them. What it holds stays as it is, whatever rating gives now.
async fn complete(
    ctx: &WorkerContext,
    output: &mut Output,
    survey: &Survey,
    plan: &SourcePlan,
    chunk: &Repeat,
) -> Result<(), Refusal> {
    let given = std::mem::take(&mut output.blocks);
    let mut sent = chunk.cut.sequences.clone();
    for (q, sent) in (0..).map(Partition).zip(&mut sent) {
        let before = *sent;
        let of_chunk = chunk.sent.as_ref().and_then(|sent| sent.get(q.0 as usize));
        let expected = of_chunk.copied().unwrap_or(before);
        let present = survey.last.get(&(q, plan.source)).copied();
        let present = present.unwrap_or_default().max(before);
        *sent = present;
        if present >= expected {
            continue;
        }
        let blocks = given.iter().find(|(of, _)| *of == q);
        let mut blocks = blocks.map(|(_, blocks)| blocks.clone()).unwrap_or_default();
        if let Some((offset, _)) = chunk.blocks.get(&(q, present)) {
            blocks = rest(ctx, q, *offset, &blocks, present).await?;
        }
        sent.0 += blocks.len() as u64;
        if !blocks.is_empty() {
            output.blocks.push((q, blocks));
        }
    }
    output.after.sequences = sent;
    Ok(())
}

/// The entries of `blocks` behind the last account of the block at `offset`, as blocks that follow
/// `present`.
async fn rest(
    ctx: &WorkerContext,
    q: Partition,
    offset: Offset,
    blocks: &[Bytes],
    present: Sequence,
) -> Result<Vec<Bytes>, Refusal> {
    let topic = Topic::LedgerPostings;
    let read = ctx
        .log
        .read(topic, q, offset, ReadLimit::ONE, MUST_BE_THERE)
        .await;
    let read = read.map_err(Failure::from)?;
    let Some(record) = read.first() else {
        return Err(Refusal::TryAgain(format!(
            "record {offset} of {topic}/{q} could not be read yet"
        )));
    };
    let unreadable = |error| Refusal::Unreadable {
        posting: q,
        offset,
        error,
    };
    let held = posting::decode(&record.value).map_err(unreadable)?;
    let given: Result<Vec<_>, _> = blocks.iter().map(|block| posting::decode(block)).collect();
    let last = held
        .entries
        .last()
        .map(|entry| AccountRef::from(&entry.account));
    let entries: Vec<_> = given
        .map_err(unreadable)?
        .into_iter()
        .flat_map(|block| block.entries)
        .filter(|entry| last.is_none_or(|last| AccountRef::from(&entry.account) > last))
        .collect();
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let header = BlockHeader::of(&held);
    Ok(encode_blocks(&header, &entries, Sequence(present.0 + 1)))
}
