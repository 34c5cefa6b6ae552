//! The way back from tables that are older than the log (`tidemark recover`).
//!
//! The tables were restored to an earlier moment; the log is whole. Posting replays by itself what
//! it has lost: its checkpoints went back together with the rows. Rating must not: chunks that it
//! has cut since stand in `ledger.postings`, and cut anew they would carry sequences that are
//! taken.
//!
//! So the rate checkpoints are rolled forward. Every posting block names the recorded cut of its
//! chunk. The chunks that were lost are rated again, exactly as they were cut: their blocks must
//! equal those in the log byte for byte, and their usage rows, by which late copies are told, are
//! written again. The newest chunk may be incomplete: what is missing of it is appended. Then the
//! checkpoint is stored as a graceful stop would have left it.
//!
//! Entries of the control feed that are newer than the tables are lost. Their numbers must not be
//! used again, so void entries take their places. Prices and links that do not agree with the feed,
//! because their tables are of another moment, are made to agree first.

mod check;
mod feed;
mod finish;
mod plan;
mod rewind;
mod survey;

use serde_json::json;

use super::WorkerContext;
use super::failure::Failure;
use super::rate::Rater;
use super::retry::persist;
use crate::domain::position::{Chunk, Control, Offset, Partition, Sequence, WriteId};
use crate::log::varint::FormatError;
use crate::ops::health::{Role, TaskId};
use crate::store::checkpoints::{self, ClockCorrection, RateCheckpoint};
use crate::store::db::Write;
use crate::store::{audit, control, recovery};

pub use plan::{
    ChunkBlocks, Comparison, LoggedBlock, LoggedBlocks, Repeat, SourceBlocks, Step, compare, decide,
};
pub use rewind::{APART_MAX_MS, Rewind, choose};
pub use survey::{SourcePlan, Survey, survey};

/// Why tables cannot be rolled forward. Nothing was changed for the partition that it names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Posting blocks are missing.
    #[error(
        "block {expected} from source partition {from} is missing in ledger.postings/{posting}: offset {offset} holds block {found}; restore the topic"
    )]
    SequenceGap {
        /// The posting partition.
        posting: Partition,
        /// The source partition.
        from: Partition,
        /// What should have come.
        expected: Sequence,
        /// What came.
        found: Sequence,
        /// Where.
        offset: Offset,
    },
    /// A block cannot be read.
    #[error("offset {offset} of ledger.postings/{posting} cannot be read: {error}")]
    Unreadable {
        /// The posting partition.
        posting: Partition,
        /// Where.
        offset: Offset,
        /// Why.
        error: FormatError,
    },
    /// An older tidemark wrote the blocks.
    #[error(
        "the blocks of chunk {chunk} of source partition {from} were written by an older version, which did not store how the chunk was cut; restore the tables to a moment after the upgrade, or tables and log of one moment together"
    )]
    NoCut {
        /// The source partition.
        from: Partition,
        /// The chunk.
        chunk: Chunk,
    },
    /// The blocks that would tell how to go on have expired.
    #[error(
        "posting partition {posting} has accepted block {accepted} of source partition {from}, \
         which the rate checkpoint does not cover and ledger.postings no longer holds; restore \
         newer tables"
    )]
    BlocksExpired {
        /// The posting partition.
        posting: Partition,
        /// The source partition.
        from: Partition,
        /// What was accepted.
        accepted: Sequence,
    },
    /// The usage events that would tell how to go on have expired.
    #[error(
        "usage.events/{from} begins at {start}, but chunk {chunk} begins before that and has to be \
         rated again; restore the topic, or a newer item rate#{from} of table Checkpoints from a \
         backup"
    )]
    EventsExpired {
        /// The source partition.
        from: Partition,
        /// The chunk.
        chunk: Chunk,
        /// Where the log begins.
        start: Offset,
    },
    /// A posting checkpoint is missing, and nothing says from where to take blocks again.
    #[error(
        "the checkpoint of posting partition {posting} is missing, ledger.postings/{posting} begins at {start}, and no copy of the checkpoint that is kept fits it; bring back item post#{posting} of table Checkpoints from a backup: any one whose `next` the log still holds will do"
    )]
    PostingCheckpointLost {
        /// The posting partition.
        posting: Partition,
        /// Where the log begins.
        start: Offset,
    },
    /// Another version rated the chunk.
    #[error(
        "chunk {chunk} of source partition {from} was rated under semantics {found}, but this \
         program implements {known}; use `tidemark recover` of the version that rated it"
    )]
    OtherSemantics {
        /// The source partition.
        from: Partition,
        /// The chunk.
        chunk: Chunk,
        /// Its semantics.
        found: u32,
        /// The semantics of this program.
        known: u32,
    },
    /// The log and the checkpoint contradict each other.
    #[error("chunk {chunk} of source partition {from} contradicts the tables: {what}")]
    Contradiction {
        /// The source partition.
        from: Partition,
        /// The chunk.
        chunk: Chunk,
        /// How.
        what: &'static str,
    },
    /// An entry of the control feed is missing.
    #[error(
        "entry {number} of the control feed is missing in table Checkpoints, and what it changed is not known; bring back item control/{number:0>20} from a backup, or restore the tables to another moment"
    )]
    FeedEntryMissing {
        /// Its number.
        number: Control,
    },
    /// Rating again gives other blocks.
    #[error(
        "rating chunk {chunk} of source partition {from} again gives another block {sequence} for \
         ledger.postings/{posting} than the log holds: tables and log do not match"
    )]
    RatedDifferently {
        /// The source partition.
        from: Partition,
        /// The chunk.
        chunk: Chunk,
        /// The posting partition.
        posting: Partition,
        /// The block.
        sequence: Sequence,
    },
    /// The tables are of another epoch than the log.
    #[error("{0}")]
    OtherLog(String),
    /// The store or the log did not answer, or something was changed meanwhile.
    #[error("{0}; run `tidemark recover` again")]
    TryAgain(String),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        match failure {
            Failure::Reload(why) => Refusal::TryAgain(why),
            Failure::Halt(code, what) => Refusal::OtherLog(format!("{what} ({})", code.as_str())),
            Failure::Account(fault) => Refusal::from(Failure::from(*fault)),
        }
    }
}

/// What was done for one source partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Chunks that were rated again.
    pub chunks: u64,
    /// Blocks that equal those in the log.
    pub verified: u64,
    /// Blocks that cannot be verified, because control entries that they were rated with are lost.
    pub unverified: u64,
    /// Blocks of the newest chunk that were missing and were appended.
    pub appended: u64,
    /// Usage rows that were written.
    pub usage_rows: u64,
}

/// What comes before any source partition is rolled forward: prices and links are made to agree
/// with the control feed, posting is put back, and no number of the feed is given a second time.
/// May be repeated. From here until [`conclude`] a survey says that there is something to recover,
/// however far this came.
pub async fn prepare(ctx: &WorkerContext, survey: &Survey, by: &str) -> Result<(), Refusal> {
    let begun = persist(ctx, || recovery::begin(&*ctx.db)).await;
    begun.map_err(Failure::from)?;
    feed::repair(ctx, survey, by).await?;
    survey.put_posting_back(ctx, by).await?;
    keep_control_numbers(ctx, survey, by).await
}

/// Notes that every source partition of [`Survey::in_order`] is done.
pub async fn conclude(ctx: &WorkerContext) -> Result<(), Refusal> {
    let ended = persist(ctx, || recovery::end(&*ctx.db)).await;
    Ok(ended.map_err(Failure::from)?)
}

async fn keep_control_numbers(
    ctx: &WorkerContext,
    survey: &Survey,
    by: &str,
) -> Result<(), Refusal> {
    let Some(needed) = survey.lost_control() else {
        return Ok(());
    };
    let now = ctx.clock.now();
    let entry = audit::Entry {
        at: now,
        action: "recover.control".to_owned(),
        subject: "control".to_owned(),
        by: by.to_owned(),
        detail: json!({"from": survey.control_head, "to": needed}),
    };
    let write = audit::write(&entry);
    let done = persist(ctx, || {
        // One more than is lost: see `Survey::find_lost`.
        control::append_void(&*ctx.db, Control(needed.0 + 1), now, write.clone())
    });
    done.await.map_err(Failure::from)?;
    Ok(())
}

/// Rolls one source partition forward. May be repeated, however far it came.
pub async fn roll_forward(
    ctx: &WorkerContext,
    survey: &Survey,
    plan: &SourcePlan,
    by: &str,
) -> Result<Recovered, Refusal> {
    let (Step::Keep { chunks } | Step::RollForward { chunks }) = &plan.step;
    let [first, rest @ ..] = &chunks[..] else {
        return Ok(Recovered::default());
    };
    let mut recovered = Recovered::default();
    let (source, cut) = (plan.source, first.cut.clone());
    let mut rater = Rater::repeating(ctx, source, cut, plan.written).await?;
    let mut chunk = first;
    for next in rest {
        repeat(&mut rater, survey, plan, chunk, &mut recovered).await?;
        rater.go_on_to(next.cut.clone()).await?;
        chunk = next;
    }
    if let Step::Keep { .. } = plan.step {
        repeat(&mut rater, survey, plan, chunk, &mut recovered).await?;
        return Ok(recovered);
    }
    let sent = finish::finish(ctx, &mut rater, survey, plan, chunk, &mut recovered).await?;
    let audit = audit_entry(ctx, plan, chunk, &recovered, by);
    let clock = lost_correction(plan.clock.as_ref(), chunk.cut.clock.as_ref());
    let clock = clock.map(|clock| checkpoints::clock_correction_write(source, clock));
    let others = [Some(audit), clock].into_iter().flatten().collect();
    rater.store_done(sent, others).await?;
    Ok(recovered)
}

/// The correction of append times with which the newest chunk was rated, if the tables lack it.
/// They may hold a later one, made after that chunk.
pub fn lost_correction<'a>(
    stored: Option<&ClockCorrection>,
    rated_by: Option<&'a ClockCorrection>,
) -> Option<&'a ClockCorrection> {
    rated_by.filter(|rated_by| stored.is_none_or(|stored| stored.at < rated_by.at))
}

/// Rates a chunk again that is complete in the log: its blocks are compared, its usage rows
/// written.
async fn repeat(
    rater: &mut Rater<'_>,
    survey: &Survey,
    plan: &SourcePlan,
    chunk: &Repeat,
    recovered: &mut Recovered,
) -> Result<(), Refusal> {
    let output = rater.repeat().await?;
    let comparison = finish::compared(&output, survey, plan, chunk);
    let mut wrong = comparison.different.iter().chain(&comparison.missing);
    match (survey.can_verify(chunk), wrong.next()) {
        (true, Some((posting, sequence))) => {
            return Err(Refusal::RatedDifferently {
                from: plan.source,
                chunk: chunk.cut.chunk,
                posting: *posting,
                sequence: *sequence,
            });
        }
        (true, None) => recovered.verified += comparison.equal,
        (false, _) => recovered.unverified += chunk.blocks.len() as u64,
    }
    recovered.chunks += 1;
    recovered.usage_rows += output.rows.len() as u64;
    rater.put_rows(output.rows).await?;
    Ok(())
}

fn audit_entry(
    ctx: &WorkerContext,
    plan: &SourcePlan,
    last: &Repeat,
    recovered: &Recovered,
    by: &str,
) -> Write {
    let before = plan.stored.as_ref();
    let entry = audit::Entry {
        at: ctx.clock.now(),
        action: "recover".to_owned(),
        subject: TaskId::new(Role::Rate, plan.source).to_string(),
        by: by.to_owned(),
        detail: json!({
            "fromChunk": before.map(|before| before.chunk),
            "fromOffset": before.map(|before| before.from),
            "toChunk": last.cut.chunk,
            "toOffset": last.cut.to,
            "blocksVerified": recovered.verified,
            "blocksUnverified": recovered.unverified,
            "blocksAppended": recovered.appended,
            "usageRows": recovered.usage_rows,
        }),
    };
    audit::write(&entry)
}
