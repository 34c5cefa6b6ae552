//! What there is to do, found out without changing anything.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{check_post, check_rate};
use super::plan::{LoggedBlock, LoggedBlocks, Repeat, Step, decide};
use super::*;
use crate::log::{Bounds, MUST_BE_THERE, ReadLimit, Record, Topic, posting};
use crate::pipeline::recorded_cut::{self, LogIdentity};
use crate::pipeline::{SEMANTICS, installation, layout};
use crate::store::checkpoints::{PostCheckpoint, Versioned};
use crate::store::feed_rows::FeedRows;

use super::rewind::{PutBack, beginning, replacement};

/// How many posting blocks are read at a time.
const SCAN_RECORDS: usize = 1_024;
/// How many bytes of them.
const SCAN_BYTES: usize = 8 << 20;

/// What becomes of one source partition.
#[derive(Clone, Debug)]
pub struct SourcePlan {
    /// The source partition.
    pub source: Partition,
    /// Its stored checkpoint, and the id of its last write.
    pub stored: Option<RateCheckpoint>,
    pub(super) written: Option<WriteId>,
    /// The correction of its append times that the tables hold.
    pub(super) clock: Option<ClockCorrection>,
    /// What is done.
    pub step: Step,
}

/// What there is to do.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The newest entry of the control feed that the tables hold.
    pub control_head: Control,
    /// The newest control position with which a block was rated.
    pub control_needed: Control,
    /// Prices and links that do not agree with the control feed.
    pub feed: FeedRows,
    /// Entries of the control feed that an earlier recovery, which may have been broken off, put in
    /// the place of lost ones.
    void: BTreeSet<Control>,
    /// By source partition.
    pub sources: Vec<SourcePlan>,
    /// What posting had accepted when the tables were as they are, by posting and source partition.
    pub(super) accepted: BTreeMap<(Partition, Partition), Sequence>,
    /// What the sources have sent to each posting partition.
    pub(super) last: BTreeMap<(Partition, Partition), Sequence>,
    /// Posting blocks in the log that posting takes again.
    pub blocks: u64,
    /// The checkpoints of posting that are put back, or put where one is missing.
    put_back: Vec<PutBack>,
    /// Posting partitions that cannot be put back: no copy of their checkpoint is old enough, or
    /// the log has dropped what follows it. Rows that are older than the checkpoint would lack
    /// postings.
    pub stuck: Vec<Partition>,
    /// A recovery was broken off: what it has not done cannot be told from the checkpoints.
    pub is_begun: bool,
    /// The ends of the topics when they were looked at.
    ends: Vec<(Topic, Partition, Offset)>,
}

impl Survey {
    /// The newest number of the control feed that is lost; `None`: nothing of it is.
    pub fn lost_control(&self) -> Option<Control> {
        let newest = self.feed.newest_stray().max(Some(self.control_needed));
        newest.filter(|newest| *newest > self.control_head)
    }

    /// Whether a chunk was rated with nothing that is lost.
    pub(super) fn can_verify(&self, chunk: &Repeat) -> bool {
        let control = chunk.cut.control;
        let is_void = |number| self.void.contains(&number);
        let is_lost = is_void(control) && is_void(Control(control.0 + 1));
        control <= self.control_head && !is_lost
    }

    /// The partitions that are rolled forward.
    pub fn to_roll_forward(&self) -> impl Iterator<Item = &SourcePlan> {
        let is_one = |plan: &&SourcePlan| matches!(plan.step, Step::RollForward { .. });
        self.sources.iter().filter(is_one)
    }

    /// Posting partitions whose checkpoint is missing although they have had one, and from where
    /// they take blocks again.
    pub fn missing(&self) -> impl Iterator<Item = (Partition, Offset)> {
        let missing = self.put_back.iter().filter(|put| put.stored.is_none());
        missing.map(|put| (put.posting, put.to.next))
    }

    /// Whether there is nothing to recover.
    pub fn is_done(&self) -> bool {
        self.to_roll_forward().next().is_none()
            && self.lost_control().is_none()
            && self.missing().next().is_none()
            && self.feed.agree()
            && !self.is_begun
    }

    /// The source partitions in the order in which they are done. Those that stay come first: once
    /// the others are rolled forward, a survey finds nothing that is left to do.
    pub fn in_order(&self) -> impl Iterator<Item = &SourcePlan> {
        let stays = |plan: &&SourcePlan| matches!(plan.step, Step::Keep { .. });
        let staying = self.sources.iter().filter(stays);
        staying.chain(self.to_roll_forward())
    }

    /// Refuses if a topic has grown meanwhile: somebody rates.
    pub async fn check_quiet(&self, ctx: &WorkerContext) -> Result<(), Refusal> {
        for (topic, partition, end) in &self.ends {
            let now = ctx.log.bounds(*topic, *partition).await;
            if now.map_err(Failure::from)?.end != *end {
                return Err(Refusal::TryAgain(format!(
                    "{topic}/{partition} grew in the meantime, so a worker is running; stop all workers"
                )));
            }
        }
        Ok(())
    }
}

/// Finds out what there is to do.
pub async fn survey(ctx: &WorkerContext) -> Result<Survey, Refusal> {
    let source = ctx.log.topic(Topic::UsageEvents).await;
    let source = source.map_err(Failure::from)?;
    let postings = ctx.log.topic(Topic::LedgerPostings).await;
    let postings = postings.map_err(Failure::from)?;
    installation::check(ctx).await?;
    let layout = layout::agree(ctx, &source, &postings).await?;
    let identity = LogIdentity {
        topic_id: source.id.clone(),
        partitions: layout.source,
        posting_partitions: layout.posting,
    };
    let mut stored = Vec::new();
    // Those that are missing although there was one. Tables from before the first one lack the note
    // as well: they were restored, and usage rows went back with them.
    let mut lost = BTreeSet::new();
    for p in (0..layout.source).map(Partition) {
        let task = TaskId::new(Role::Rate, p);
        let checkpoint = get::<RateCheckpoint>(ctx, task).await?;
        if let Some(Versioned { value, .. }) = &checkpoint {
            check_rate(ctx, p, value, &source).await?;
        }
        let has_started = persist(ctx, || checkpoints::has_started(&*ctx.db, task)).await;
        if checkpoint.is_none() && has_started.map_err(Failure::from)? {
            lost.insert(p);
        }
        stored.push(checkpoint);
    }
    let mut survey = Survey {
        control_head: persist(ctx, || control::head(&*ctx.db))
            .await
            .map_err(Failure::from)?,
        control_needed: Control(0),
        feed: feed::compare(ctx).await?,
        void: BTreeSet::new(),
        sources: Vec::new(),
        accepted: BTreeMap::new(),
        last: BTreeMap::new(),
        blocks: 0,
        put_back: Vec::new(),
        stuck: Vec::new(),
        is_begun: persist(ctx, || recovery::is_begun(&*ctx.db))
            .await
            .map_err(Failure::from)?,
        ends: Vec::new(),
    };
    let mut blocks = LoggedBlocks::default();
    let mut posting = Vec::new();
    for q in (0..layout.posting).map(Partition) {
        let about = (&postings, layout.sequences_restart);
        posting.push(survey.posting_begins(ctx, q, about).await?);
    }
    // A rate checkpoint that is behind posting's was lost by itself: then the blocks that tell of
    // it stand before the checkpoint of posting.
    let behind: BTreeSet<Partition> = posting
        .iter()
        .flatten()
        .flat_map(|begins| begins.ahead_of(&stored))
        .collect();
    for (q, begins) in (0..).map(Partition).zip(&posting) {
        if let Some(Begins { stored, from }) = begins {
            blocks.accepted(q, stored, from);
        }
        let scan = Scan {
            q,
            from: begins.as_ref().map(|begins| &begins.from),
            behind: &behind,
            identity: &identity,
        };
        scan.read(ctx, &mut blocks, &mut survey).await?;
    }
    for (p, stored) in (0..).map(Partition).zip(stored) {
        let start = ctx.log.bounds(Topic::UsageEvents, p).await;
        let mut of_source = blocks.of(p);
        let value = stored.as_ref().map(|stored| stored.value.clone());
        let known = value.as_ref().map(|value| value.chunk);
        let known = known.or((!lost.contains(&p)).then_some(Chunk(0)));
        of_source.narrow(p, known, start.map_err(Failure::from)?.start)?;
        let step = decide(p, value.as_ref(), &of_source, SEMANTICS)?;
        let clock = persist(ctx, || checkpoints::clock_correction(&*ctx.db, p));
        for (q, last) in of_source.last {
            survey.last.insert((q, p), last);
        }
        survey.sources.push(SourcePlan {
            source: p,
            stored: value,
            written: stored.map(|stored| stored.write),
            clock: clock.await.map_err(Failure::from)?,
            step,
        });
    }
    survey.find_lost(ctx).await?;
    Ok(survey)
}

async fn get<T: serde::de::DeserializeOwned>(
    ctx: &WorkerContext,
    task: TaskId,
) -> Result<Option<Versioned<T>>, Failure> {
    let key = checkpoints::checkpoint_key(task);
    Ok(persist(ctx, || checkpoints::get(&*ctx.db, &key)).await?)
}

/// Where a posting partition stands.
struct Begins {
    /// Its stored checkpoint, or the one that takes its place.
    stored: PostCheckpoint,
    /// From where it takes blocks again.
    from: PostCheckpoint,
}

impl Begins {
    /// The source partitions of which posting has accepted chunks that the rate checkpoints do not
    /// know.
    fn ahead_of(&self, rates: &[Option<Versioned<RateCheckpoint>>]) -> Vec<Partition> {
        let known = |p: u32| {
            let rate = rates.get(p as usize).and_then(Option::as_ref);
            rate.map(|rate| rate.value.chunk)
        };
        let missing = self.stored.sources.iter();
        let missing =
            missing.filter(|(p, state)| known(**p).is_none() && state.sequence > Sequence(0));
        let older = self.from.sources.iter();
        let older = older.filter(|(p, state)| known(**p).is_some_and(|of| state.chunk > Some(of)));
        missing.chain(older).map(|(p, _)| Partition(*p)).collect()
    }
}

/// The blocks of a posting partition that are looked at: those that it takes again, and also those
/// before them that are of source partitions whose rate checkpoint was lost by itself.
struct Scan<'a> {
    q: Partition,
    from: Option<&'a PostCheckpoint>,
    behind: &'a BTreeSet<Partition>,
    identity: &'a LogIdentity,
}

impl Scan<'_> {
    async fn read(
        &self,
        ctx: &WorkerContext,
        blocks: &mut LoggedBlocks,
        survey: &mut Survey,
    ) -> Result<(), Refusal> {
        let (topic, q) = (Topic::LedgerPostings, self.q);
        let bounds = ctx.log.bounds(topic, q).await.map_err(Failure::from)?;
        let Bounds { start, end } = bounds;
        let taken = self.from.map_or(start, |from| from.next);
        let mut next = match self.behind.is_empty() {
            true => taken,
            false => start,
        };
        for (p, state) in self.from.iter().flat_map(|from| &from.sources) {
            survey.accepted.insert((q, Partition(*p)), state.sequence);
        }
        survey.ends.push((topic, q, end));
        survey.blocks += end.0.saturating_sub(taken.0);
        while next < end {
            let limit = ReadLimit {
                records: SCAN_RECORDS,
                bytes: SCAN_BYTES,
            };
            let read = ctx.log.read(topic, q, next, limit, MUST_BE_THERE).await;
            let records = read.map_err(Failure::from)?;
            let Some(last) = records.last() else {
                return Err(Refusal::TryAgain(format!(
                    "records of {topic}/{q} from {next} on could not be read yet"
                )));
            };
            next = last.offset.next();
            for record in &records {
                if is_of_earlier_epoch(ctx, record) {
                    continue;
                }
                let block = read_block(q, record, self.identity)?;
                if record.offset < taken && !self.behind.contains(&block.header.source) {
                    continue;
                }
                survey.control_needed = survey.control_needed.max(block.header.control);
                blocks.take(q, block)?;
            }
        }
        Ok(())
    }
}

/// Blocks that a topic still holds of an earlier epoch: every one of them was posted before this
/// epoch began. What cannot be read is left to [`read_block`], which says so.
fn is_of_earlier_epoch(ctx: &WorkerContext, record: &Record) -> bool {
    posting::peek(&record.value).is_ok_and(|(header, _)| header.epoch < ctx.log.epoch())
}

fn read_block(
    q: Partition,
    record: &Record,
    identity: &LogIdentity,
) -> Result<LoggedBlock, Refusal> {
    let unreadable = |error| Refusal::Unreadable {
        posting: q,
        offset: record.offset,
        error,
    };
    let (header, sequence) = posting::peek(&record.value).map_err(unreadable)?;
    let chunk = recorded_cut::of_record(record, &header, identity).map_err(unreadable)?;
    Ok(LoggedBlock {
        offset: record.offset,
        header,
        sequence,
        hash: xxhash_rust::xxh3::xxh3_64(&record.value),
        chunk,
    })
}

impl Survey {
    /// Where a posting partition stands; `None`: it has never had a checkpoint.
    async fn posting_begins(
        &mut self,
        ctx: &WorkerContext,
        q: Partition,
        (info, sequences_restart): (&crate::log::TopicInfo, bool),
    ) -> Result<Option<Begins>, Refusal> {
        let stored = get::<PostCheckpoint>(ctx, TaskId::new(Role::Post, q)).await?;
        let to = match &stored {
            Some(stored) => {
                check_post(ctx, q, &stored.value, info).await?;
                self.earlier(ctx, q, stored, (info, sequences_restart))
                    .await?
            }
            None => replacement(ctx, q, info, sequences_restart).await?,
        };
        let known = stored.as_ref().map(|stored| stored.value.clone());
        let Some(known) = known.or_else(|| to.clone()) else {
            return Ok(None);
        };
        let from = to.clone().unwrap_or_else(|| known.clone());
        let put_back = to.map(|to| PutBack {
            posting: q,
            stored,
            to,
        });
        self.put_back.extend(put_back);
        Ok(Some(Begins {
            stored: known,
            from,
        }))
    }

    /// A checkpoint before the stored one, if posting is put back to one.
    async fn earlier(
        &mut self,
        ctx: &WorkerContext,
        q: Partition,
        stored: &Versioned<PostCheckpoint>,
        (info, sequences_restart): (&crate::log::TopicInfo, bool),
    ) -> Result<Option<PostCheckpoint>, Refusal> {
        let copies = persist(ctx, || checkpoints::earlier(&*ctx.db, q)).await;
        let copies = copies.map_err(Failure::from)?;
        let chosen = choose(&stored.value, &copies);
        let chosen = ctx.protections.put_back(chosen, Rewind::Stay);
        let to = match chosen {
            Rewind::To(checkpoint) => checkpoint,
            // Only from a beginning is it known what was accepted before: nothing.
            Rewind::Beginning if sequences_restart => beginning(ctx, info),
            Rewind::Beginning => {
                self.stuck.push(q);
                return Ok(None);
            }
            Rewind::Stay => return Ok(None),
        };
        match check_post(ctx, q, &to, info).await {
            Ok(()) => Ok(Some(to)),
            Err(Refusal::TryAgain(why)) => Err(Refusal::TryAgain(why)),
            // The log does not reach back so far.
            Err(_) => {
                self.stuck.push(q);
                Ok(None)
            }
        }
    }

    /// Puts the checkpoints of posting back.
    pub(super) async fn put_posting_back(
        &self,
        ctx: &WorkerContext,
        by: &str,
    ) -> Result<(), Refusal> {
        for put in &self.put_back {
            put.write(ctx, by).await?;
        }
        Ok(())
    }

    /// Looks which of the control positions that chunks were rated with are void. The entries of a
    /// recovery end with one more than was lost, so that a later chunk is never rated with a
    /// position whose next entry is void as well.
    async fn find_lost(&mut self, ctx: &WorkerContext) -> Result<(), Refusal> {
        let mut numbers = BTreeSet::new();
        for plan in &self.sources {
            let (Step::Keep { chunks } | Step::RollForward { chunks }) = &plan.step;
            let controls = chunks.iter().map(|chunk| chunk.cut.control);
            numbers.extend(controls.flat_map(|control| [control, Control(control.0 + 1)]));
        }
        numbers.retain(|number| *number <= self.control_head && number.0 > 0);
        let void = persist(ctx, || control::void_among(&*ctx.db, &numbers)).await;
        self.void = void.map_err(Failure::from)?;
        Ok(())
    }
}
