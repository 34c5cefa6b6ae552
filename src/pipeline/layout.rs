//! The partition counts of the epoch, which every task compares with the topics before it does
//! anything: also one that has no checkpoint yet.
//!
//! The first task of an epoch stores them. It makes sure first that the epoch before is drained: in
//! the new one sequences begin again, and users and accounts may belong to other partitions.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;

use super::WorkerContext;
use super::failure::{Failure, HaltCode};
use super::log_identity::{later_epoch, same_count};
use super::retry::persist;
use crate::domain::position::{Epoch, Partition, Sequence};
use crate::log::{LogError, Topic, TopicInfo};
use crate::ops::health::{Role, TaskId};
use crate::store::checkpoints::{self, PostCheckpoint, RateCheckpoint, Versioned};
use crate::store::conditional::write_once;
use crate::store::db::{BATCH_GET_KEYS_MAX, Key};
use crate::store::layout::{self, Moved};
use crate::store::set_aside::{self, SetAside};

pub(super) use crate::store::layout::Layout;

/// Tables of an older tidemark do not say how many partitions there were. The first checkpoint
/// among so many partitions does.
const PARTITIONS_SEARCHED: u32 = 64;

/// The layout of this epoch. Halts unless the topics have the same numbers of partitions.
pub(super) async fn agree(
    ctx: &WorkerContext,
    source: &TopicInfo,
    postings: &TopicInfo,
) -> Result<Layout, Failure> {
    let epoch = ctx.log.epoch();
    check_epoch(ctx).await?;
    let layout = match persist(ctx, || layout::get(&*ctx.db, epoch)).await? {
        Some(layout) => layout,
        None => begin(ctx, source.partitions, postings.partitions).await?,
    };
    let topics = (source.partitions, postings.partitions);
    let counts = (layout.source, layout.posting);
    let counts = ctx.protections.partition_counts(counts, topics);
    let layout = Layout {
        source: counts.0,
        posting: counts.1,
        ..layout
    };
    same_count(Topic::UsageEvents, layout.source, source.partitions)?;
    same_count(Topic::LedgerPostings, layout.posting, postings.partitions)?;
    Ok(layout)
}

/// The layout that a rater of this epoch has stored.
pub(super) async fn stored(ctx: &WorkerContext) -> Result<Layout, Failure> {
    let epoch = ctx.log.epoch();
    let stored = persist(ctx, || layout::get(&*ctx.db, epoch)).await?;
    stored.ok_or_else(|| Failure::reload(format!("the layout of epoch {epoch} is not stored yet")))
}

/// `ledger.cuts` must have as many partitions as `usage.events`. Nothing is wrong with what was
/// rated if it has not, so this is no halt: it passes once the topic is right.
pub(super) fn same_as_source(layout: &Layout, cuts: &TopicInfo) -> Result<(), Failure> {
    if layout.source == cuts.partitions {
        return Ok(());
    }
    let (topic, needed, found) = (Topic::LedgerCuts, layout.source, cuts.partitions);
    let what = format!(
        "topic {topic} has {found} partitions, but needs as many as usage.events, {needed}; if it is \
         empty, delete it and run `tidemark topics apply`"
    );
    Err(Failure::reload(what))
}

/// The layout of this epoch, for a poster. `usage.events` may be gone: what was posted before still
/// stands in `ledger.postings`, and the stored layout says how many sources it came from.
pub(super) async fn agree_to_post(
    ctx: &WorkerContext,
    postings: &TopicInfo,
) -> Result<Layout, Failure> {
    let gone = match ctx.log.topic(Topic::UsageEvents).await {
        Ok(source) => return agree(ctx, &source, postings).await,
        Err(gone @ LogError::NoTopic { .. }) => gone,
        Err(error) => return Err(error.into()),
    };
    check_epoch(ctx).await?;
    let stored = persist(ctx, || layout::get(&*ctx.db, ctx.log.epoch())).await?;
    // Nothing was rated in an epoch without a layout, so there is nothing to post.
    let layout = stored.ok_or(gone)?;
    same_count(Topic::LedgerPostings, layout.posting, postings.partitions)?;
    Ok(layout)
}

/// Halts if a later epoch has begun: what is rated in this one from then on would be posted by
/// nobody, and the windows of the later one know nothing of it.
pub(super) async fn check_epoch(ctx: &WorkerContext) -> Result<(), Failure> {
    ctx.protections.epoch_current(is_newest_epoch(ctx)).await
}

async fn is_newest_epoch(ctx: &WorkerContext) -> Result<(), Failure> {
    let epoch = ctx.log.epoch();
    let newest = persist(ctx, || layout::newest(&*ctx.db)).await?;
    match newest {
        Some(newest) if newest.epoch > epoch => Err(later_epoch(epoch, newest.epoch)),
        _ => Ok(()),
    }
}

/// How far a source partition has come, to be told from anything else. Its blocks alone would not
/// do: a chunk may have none, and have forwarded a record to a log that nobody reads any more.
fn seal(stored: Option<&RateCheckpoint>) -> u64 {
    let Some(rate) = stored else { return 0 };
    let sent = rate.sequences.iter().map(|sequence| sequence.0);
    hashed([rate.chunk.0, rate.to.0].into_iter().chain(sent))
}

/// The same as an older tidemark had it. What it stored must go on to match.
fn seal_by_sequences(rate: &RateCheckpoint) -> u64 {
    hashed(rate.sequences.iter().map(|sequence| sequence.0))
}

fn hashed(numbers: impl Iterator<Item = u64>) -> u64 {
    let bytes: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

/// Whether a source partition stands where the seals of this layout say; also if there is none.
fn matches_seal(layout: &Layout, source: Partition, old: &RateCheckpoint) -> bool {
    let now = seal(Some(old));
    match (layout.seals.get(&source.0), layout.sealed.get(&source.0)) {
        (Some(known), _) => *known == now,
        // Versions between two releases kept seals of today's form there.
        (None, Some(known)) => *known == now || *known == seal_by_sequences(old),
        (None, None) => true,
    }
}

/// Halts if a source partition went on in an earlier epoch after this one had begun: its last
/// blocks may not be posted.
pub(super) fn sealed(
    ctx: &WorkerContext,
    layout: &Layout,
    source: Partition,
    old: &RateCheckpoint,
) -> Result<(), Failure> {
    let is_broken = !matches_seal(layout, source, old);
    if !ctx.protections.sees_broken_seal(is_broken) {
        return Ok(());
    }
    let what = format!(
        "source partition {source} was rated in epoch {} after epoch {} had begun; blocks of it may be missing from the accounts",
        old.epoch, layout.epoch
    );
    Err(Failure::halt(HaltCode::LogRecreated, what))
}

/// Halts if a source partition that this epoch does not have any more went on in an earlier one.
/// Nobody takes it up, so each of today's looks after those whose numbers are its own and a
/// multiple of how many there are.
pub(super) async fn check_former_sources(
    ctx: &WorkerContext,
    layout: &Layout,
    own: Partition,
) -> Result<(), Failure> {
    let known: BTreeSet<u32> = layout
        .seals
        .keys()
        .chain(layout.sealed.keys())
        .copied()
        .collect();
    let former = known.into_iter().filter(|p| *p >= layout.source);
    let former = former.filter(|p| *p % layout.source.max(1) == own.0);
    for source in former.map(Partition) {
        let key = checkpoints::checkpoint_key(TaskId::new(Role::Rate, source));
        let stored: Option<Versioned<RateCheckpoint>> =
            persist(ctx, || checkpoints::get(&*ctx.db, &key)).await?;
        if let Some(old) = stored.map(|stored| stored.value)
            && old.epoch < layout.epoch
        {
            not_cut(source, &old)?;
            sealed(ctx, layout, source, &old)?;
        }
    }
    Ok(())
}

/// Stores the layout of an epoch that has none yet.
async fn begin(ctx: &WorkerContext, source: u32, posting: u32) -> Result<Layout, Failure> {
    let epoch = ctx.log.epoch();
    let known = persist(ctx, || layout::newest(&*ctx.db)).await?;
    let searched = match &known {
        Some(newest) => newest.source.max(newest.posting),
        None => PARTITIONS_SEARCHED,
    };
    let mut stored = Stored::read(ctx, source.max(searched), posting.max(searched)).await?;
    let before = known.or_else(|| stored.layout(source));
    if let Some(before) = &before
        && before.source.max(before.posting) > searched
    {
        // The first checkpoints said that there are more.
        let (source, posting) = (source.max(before.source), posting.max(before.posting));
        stored = Stored::read(ctx, source, posting).await?;
    }
    let layout = match before {
        None => Layout {
            epoch,
            source,
            posting,
            sequences_restart: true,
            posting_since: Epoch(0),
            sealed: BTreeMap::new(),
            seals: BTreeMap::new(),
            moved: None,
        },
        Some(newest) if newest.epoch > epoch => return Err(later_epoch(epoch, newest.epoch)),
        // An older tidemark began this epoch.
        Some(newest) if newest.epoch == epoch => newest,
        Some(before) => {
            // What an older tidemark did not store: its leaderboards are read by these counts.
            store(ctx, &before).await?;
            let aside = persist(ctx, || set_aside::all(&*ctx.db)).await?;
            let drained = stored.check_drained(&before);
            if let Err(undrained) = drained.and_then(|()| none_set_aside(&aside)) {
                // Another task may have begun the epoch meanwhile; its checkpoints begin anew.
                let begun = persist(ctx, || layout::get(&*ctx.db, epoch)).await?;
                return begun.ok_or(undrained);
            }
            stored.next(&before, (epoch, source, posting))
        }
    };
    store(ctx, &layout).await
}

/// Stores a layout unless its epoch has one; the one that is stored.
async fn store(ctx: &WorkerContext, layout: &Layout) -> Result<Layout, Failure> {
    let (epoch, write) = (layout.epoch, ctx.next_write());
    match write_once(&*ctx.db, vec![layout::begin(layout, write)]).await {
        Ok(_) => {}
        Err(error) if error.is_transient() => {}
        Err(error) => return Err(error.into()),
    }
    // Another task may have been first.
    let found = persist(ctx, || layout::get(&*ctx.db, epoch)).await?;
    found.ok_or_else(|| Failure::reload(format!("the layout of epoch {epoch} is not stored yet")))
}

/// The checkpoints of all partitions, of any epoch.
struct Stored {
    rates: Vec<(u32, RateCheckpoint)>,
    posts: Vec<(u32, PostCheckpoint)>,
}

impl Stored {
    /// Those of the first partitions of each topic.
    async fn read(ctx: &WorkerContext, source: u32, posting: u32) -> Result<Stored, Failure> {
        Ok(Stored {
            rates: existing(ctx, Role::Rate, source).await?,
            posts: existing(ctx, Role::Post, posting).await?,
        })
    }

    /// What the tables of an older tidemark say of the newest epoch.
    fn layout(&self, source: u32) -> Option<Layout> {
        let rates = self.rates.iter().map(|(_, rate)| rate.epoch);
        let posts = self.posts.iter().map(|(_, post)| post.epoch);
        let epoch = rates.chain(posts).max()?;
        let rate = self.rates.iter().find(|(_, rate)| rate.epoch == epoch);
        let post = self.posts.iter().find(|(_, post)| post.epoch == epoch);
        let (source, posting) = match (rate, post) {
            (Some((_, rate)), _) => (rate.partitions, rate.posting_partitions),
            // Nothing was rated in this epoch, so no user has a partition yet.
            (None, Some((_, post))) => (source, post.partitions),
            (None, None) => return None,
        };
        Some(Layout {
            epoch,
            source,
            posting,
            sequences_restart: false,
            posting_since: Epoch(0),
            sealed: BTreeMap::new(),
            seals: BTreeMap::new(),
            moved: None,
        })
    }

    /// Every chunk of the epoch before must be done, and every block of it posted.
    fn check_drained(&self, before: &Layout) -> Result<(), Failure> {
        let of_before = |(_, rate): &&(u32, RateCheckpoint)| rate.epoch == before.epoch;
        for (p, rate) in self.rates.iter().filter(of_before) {
            not_cut(Partition(*p), rate)?;
            for (q, sent) in (0..).zip(&rate.sequences) {
                let post = self.posts.iter().find(|(of, _)| *of == q);
                let taken = accepted(post.map(|(_, post)| post), Partition(*p), before);
                all_taken(q, taken, *sent)?;
            }
        }
        Ok(())
    }

    /// How far each source partition has come; one that has no checkpoint has not begun.
    fn seals(&self, source: u32) -> BTreeMap<u32, u64> {
        let nothing = (0..source).map(|p| (p, seal(None)));
        let stored = self.rates.iter();
        let stored = stored.map(|(p, rate)| (*p, seal(Some(rate))));
        nothing.chain(stored).collect()
    }

    fn next(&self, before: &Layout, (epoch, source, posting): (Epoch, u32, u32)) -> Layout {
        let all = self.rates.iter().map(|(_, rate)| Moved::of(rate));
        let moved = match before.source == source {
            true => before.moved,
            false => all.chain(before.moved).reduce(Moved::and),
        };
        Layout {
            epoch,
            source,
            posting,
            sequences_restart: true,
            posting_since: match before.posting == posting {
                true => before.posting_since,
                false => epoch,
            },
            sealed: BTreeMap::new(),
            seals: self.seals(before.source),
            moved,
        }
    }
}

/// What accounts that are set aside miss stands in the log of the epoch before, unless an operator
/// has given it up.
fn none_set_aside(aside: &[Versioned<SetAside>]) -> Result<(), Failure> {
    let is_given_up =
        |record: &SetAside| record.release.as_ref().is_some_and(|of| of.accept_missing);
    let waiting = aside.iter().map(|stored| &stored.value);
    let waiting: Vec<String> = waiting
        .filter(|record| !is_given_up(record))
        .map(|record| record.account.to_string())
        .collect();
    if waiting.is_empty() {
        return Ok(());
    }
    let what = format!(
        "a new epoch began while {} accounts are set aside ({}): what they miss is in the log of the old epoch. Go back to it, mend and release them (`tidemark set-aside release`); if that log is gone for good, release them with --accept-missing",
        waiting.len(),
        waiting.join(", ")
    );
    Err(Failure::halt(HaltCode::LogRecreated, what))
}

/// A chunk that is cut must be finished in its own epoch.
pub(super) fn not_cut(source: Partition, old: &RateCheckpoint) -> Result<(), Failure> {
    if !old.is_cut() {
        return Ok(());
    }
    let what = format!(
        "a new epoch began while chunk {} of source partition {source} in epoch {} was not done",
        old.chunk, old.epoch
    );
    Err(Failure::halt(HaltCode::LogRecreated, what))
}

/// What a posting partition has accepted of a source partition in an epoch of this layout.
fn accepted(post: Option<&PostCheckpoint>, source: Partition, layout: &Layout) -> Sequence {
    let is_comparable =
        |post: &&PostCheckpoint| post.epoch == layout.epoch || !layout.sequences_restart;
    let state = post
        .filter(is_comparable)
        .and_then(|post| post.sources.get(&source.0));
    state.map_or(Sequence(0), |state| state.sequence)
}

/// Halts unless a posting partition has taken what was sent to it, and no more: a chunk whose loss
/// was accepted may have blocks that came late.
fn all_taken(q: u32, taken: Sequence, sent: Sequence) -> Result<(), Failure> {
    let task = TaskId::new(Role::Post, Partition(q));
    let what = match taken.cmp(&sent) {
        Ordering::Equal => return Ok(()),
        Ordering::Less => format!(
            "a new epoch began while {task} had taken {taken} of {sent} blocks of the old one"
        ),
        Ordering::Greater => format!(
            "{task} has taken block {taken} of the old epoch although it was given up after block \
             {sent}; run `tidemark accept-loss`, which explains and resolves it"
        ),
    };
    Err(Failure::halt(HaltCode::LogRecreated, what))
}

/// Before a source partition begins a new epoch, every posting partition must have taken all that
/// it sent in the old one. One that has begun the new epoch has: the layout was stored before.
pub(super) async fn postings_drained(
    ctx: &WorkerContext,
    source: Partition,
    old: &RateCheckpoint,
) -> Result<(), Failure> {
    let layout = persist(ctx, || layout::get(&*ctx.db, old.epoch)).await?;
    let restarted = layout.is_some_and(|layout| layout.sequences_restart);
    for (q, sent) in (0..).zip(&old.sequences) {
        let task = TaskId::new(Role::Post, Partition(q));
        let key = checkpoints::checkpoint_key(task);
        let stored: Option<Versioned<PostCheckpoint>> =
            persist(ctx, || checkpoints::get(&*ctx.db, &key)).await?;
        let stored = stored.map(|stored| stored.value);
        if stored.as_ref().is_some_and(|post| post.epoch > old.epoch) {
            continue;
        }
        let comparable = stored.filter(|post| post.epoch == old.epoch || !restarted);
        let state = comparable.and_then(|post| post.sources.get(&source.0).copied());
        let taken = state.unwrap_or_default().sequence;
        all_taken(q, taken, *sent)?;
    }
    Ok(())
}

/// The checkpoints of a role that exist among its first `count` partitions.
async fn existing<T: DeserializeOwned>(
    ctx: &WorkerContext,
    role: Role,
    count: u32,
) -> Result<Vec<(u32, T)>, Failure> {
    let keys = (0..count).map(|n| checkpoints::checkpoint_key(TaskId::new(role, Partition(n))));
    let keys: Vec<Key> = keys.collect();
    let mut found = Vec::new();
    let mut first = 0;
    for keys in keys.chunks(BATCH_GET_KEYS_MAX) {
        let items = persist(ctx, || ctx.db.batch_get(keys)).await?;
        for ((n, key), item) in (first..).zip(keys).zip(items) {
            if item.is_none() {
                continue;
            }
            // A batch may show one half of a transaction; an item by itself is consistent.
            let stored: Option<Versioned<T>> =
                persist(ctx, || checkpoints::get(&*ctx.db, key)).await?;
            found.extend(stored.map(|stored| (n, stored.value)));
        }
        first += keys.len() as u32;
    }
    Ok(found)
}
