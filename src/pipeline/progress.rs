//! How far everything is, read from the tables alone: what `tidemark wait` waits for, and whether a
//! month is final.

use std::collections::BTreeMap;

use crate::domain::ids::Account;
use crate::domain::position::{Epoch, Offset, Partition, Sequence};
use crate::domain::time::{Millis, Month};
use crate::log::{Bounds, Topic, TopicInfo};
use crate::ops::health::{Role, TaskId};
use crate::store::audits::AuditCheckpoint;
use crate::store::awards::{self, Pending, Pointer, State, Task};
use crate::store::checkpoints::{self, AdaptCheckpoint, PostCheckpoint, RateCheckpoint, Versioned};
use crate::store::db::{Db, StoreError};
use crate::store::layout;
use crate::store::referrals::{self, Milestone};
use crate::store::set_aside;

/// The topics of this epoch that have held records which the tables know of.
pub async fn known_topics(db: &dyn Db, epoch: Epoch) -> Result<Vec<Topic>, StoreError> {
    let Some(layout) = layout::get(db, epoch).await? else {
        return Ok(Vec::new());
    };
    let mut known = Vec::new();
    known.extend(source_topic(db, epoch).await?.map(|_| Topic::UsageEvents));
    for partition in (0..layout.posting).map(Partition) {
        let stored = post_checkpoint(db, partition).await?;
        if stored.is_some_and(|stored| stored.epoch == epoch) {
            known.push(Topic::LedgerPostings);
            break;
        }
    }
    Ok(known)
}

/// The stored checkpoint of a source partition; `None` before its first chunk.
pub async fn rate_checkpoint(
    db: &dyn Db,
    partition: Partition,
) -> Result<Option<RateCheckpoint>, StoreError> {
    let key = checkpoints::checkpoint_key(TaskId::new(Role::Rate, partition));
    let stored: Option<Versioned<RateCheckpoint>> = checkpoints::get(db, &key).await?;
    Ok(stored.map(|stored| stored.value))
}

/// Which topic `usage.events` is in this epoch, as the first source partition has it that was
/// rated; `None`: none was.
pub async fn source_topic(db: &dyn Db, epoch: Epoch) -> Result<Option<TopicInfo>, StoreError> {
    let Some(layout) = layout::get(db, epoch).await? else {
        return Ok(None);
    };
    for partition in (0..layout.source).map(Partition) {
        let stored = rate_checkpoint(db, partition).await?;
        if let Some(stored) = stored.filter(|stored| stored.epoch == epoch) {
            return Ok(Some(TopicInfo {
                id: stored.topic_id,
                partitions: stored.partitions,
            }));
        }
    }
    Ok(None)
}

/// The stored checkpoint of a posting partition; `None` before its first.
pub async fn post_checkpoint(
    db: &dyn Db,
    partition: Partition,
) -> Result<Option<PostCheckpoint>, StoreError> {
    let key = checkpoints::checkpoint_key(TaskId::new(Role::Post, partition));
    let stored: Option<Versioned<PostCheckpoint>> = checkpoints::get(db, &key).await?;
    Ok(stored.map(|stored| stored.value))
}

/// The stored checkpoint of the audit of a source partition; `None` before its first.
pub async fn audit_checkpoint(
    db: &dyn Db,
    partition: Partition,
) -> Result<Option<AuditCheckpoint>, StoreError> {
    let key = checkpoints::checkpoint_key(TaskId::new(Role::Audit, partition));
    let stored: Option<Versioned<AuditCheckpoint>> = checkpoints::get(db, &key).await?;
    Ok(stored.map(|stored| stored.value))
}

/// Where a task stands, as its stored checkpoint has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The id of the topic that it reads.
    pub topic_id: String,
    /// The epoch of the logs; `None`: a gateway's topic has none.
    pub epoch: Option<Epoch>,
    /// How many partitions topics had.
    pub counts: Vec<(Topic, u32)>,
    /// The first record that is needed yet: of a chunk that is cut, its first one.
    pub first: Offset,
    /// The first record that nothing was done about.
    pub next: Offset,
}

impl Standing {
    /// The first record that nothing was done about, in the topic as it is now; `None`: the
    /// checkpoint speaks of another topic, or of an earlier epoch, and nothing was done in this
    /// one.
    pub fn next_in(&self, epoch: Epoch, topic: &TopicInfo) -> Option<Offset> {
        self.is_of(epoch, topic).then_some(self.next)
    }

    /// As [`Standing::next_in`], but the first record that is needed yet.
    pub fn first_in(&self, epoch: Epoch, topic: &TopicInfo) -> Option<Offset> {
        self.is_of(epoch, topic).then_some(self.first)
    }

    fn is_of(&self, epoch: Epoch, topic: &TopicInfo) -> bool {
        self.topic_id == topic.id && self.epoch.is_none_or(|known| known == epoch)
    }
}

/// Where a task stands; `None` before its first checkpoint.
pub async fn standing(db: &dyn Db, task: TaskId) -> Result<Option<Standing>, StoreError> {
    let partition = task.partition;
    Ok(match task.role {
        Role::Rate => rate_checkpoint(db, partition).await?.map(|found| Standing {
            counts: vec![
                (Topic::UsageEvents, found.partitions),
                (Topic::LedgerPostings, found.posting_partitions),
            ],
            topic_id: found.topic_id,
            epoch: Some(found.epoch),
            first: found.from,
            next: found.to,
        }),
        Role::Post => post_checkpoint(db, partition).await?.map(|found| Standing {
            counts: vec![(Topic::LedgerPostings, found.partitions)],
            topic_id: found.topic_id,
            epoch: Some(found.epoch),
            first: found.next,
            next: found.next,
        }),
        Role::Audit => audit_checkpoint(db, partition)
            .await?
            .map(|found| Standing {
                counts: vec![(Topic::LedgerCuts, found.partitions)],
                topic_id: found.topic_id,
                epoch: Some(found.epoch),
                first: found.next,
                next: found.next,
            }),
        Role::Adapt(_) => {
            let key = checkpoints::checkpoint_key(task);
            let stored: Option<Versioned<AdaptCheckpoint>> = checkpoints::get(db, &key).await?;
            stored.map(|stored| Standing {
                topic_id: stored.value.topic_id,
                epoch: None,
                counts: Vec::new(),
                first: stored.value.next,
                next: stored.value.next,
            })
        }
    })
}

/// What must be taken by the posting partitions before everything that was appended before some
/// moment is visible: for each source partition the sequences that its records up to there became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RatedSequences {
    epoch: Epoch,
    sequences: BTreeMap<Partition, Vec<Sequence>>,
}

/// What the records became that the source partitions held when they had these bounds; `None` while
/// some of them are not rated. A checkpoint of an earlier epoch says nothing about the records of
/// this one.
pub async fn rated(
    db: &dyn Db,
    epoch: Epoch,
    bounds: &[Bounds],
) -> Result<Option<RatedSequences>, StoreError> {
    let mut sequences = BTreeMap::new();
    for (partition, Bounds { start, end }) in (0..).map(Partition).zip(bounds) {
        let is_empty = start == end;
        match rate_checkpoint(db, partition).await? {
            Some(found) if found.epoch == epoch && (is_empty || found.from >= *end) => {
                sequences.insert(partition, found.sequences);
            }
            _ if is_empty => {}
            _ => return Ok(None),
        }
    }
    Ok(Some(RatedSequences { epoch, sequences }))
}

/// Whether every posting partition has written what is wanted of it, effects included.
pub async fn posted(db: &dyn Db, wanted: &RatedSequences) -> Result<bool, StoreError> {
    let partitions = wanted.sequences.values().map(Vec::len).max().unwrap_or(0);
    let restarted = layout::get(db, wanted.epoch).await?;
    let restarted = restarted.is_some_and(|layout| layout.sequences_restart);
    for q in 0..partitions {
        let sources = post_checkpoint(db, Partition(q as u32))
            .await?
            .filter(|found| found.epoch == wanted.epoch || !restarted)
            .map(|found| found.sources)
            .unwrap_or_default();
        let behind = wanted.sequences.iter().any(|(source, sequences)| {
            let taken = sources
                .get(&source.0)
                .map_or(Sequence(0), |state| state.sequence);
            sequences.get(q).is_some_and(|sent| taken < *sent)
        });
        if behind {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Every pointer of every posting partition, also of earlier epochs: awards that are not in their
/// rows, or whose effects are not durable.
pub async fn pointers(db: &dyn Db, posting_partitions: u32) -> Result<Pending, StoreError> {
    let mut all = Pending::default();
    let most = layout::most_posting_partitions(db).await?;
    for q in 0..posting_partitions.max(most) {
        let of_partition = awards::list_pending(db, Partition(q)).await?;
        all.pointers.extend(of_partition.pointers);
        all.unreadable.extend(of_partition.unreadable);
    }
    Ok(all)
}

/// Which months are final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finality {
    /// The newest month that every posting partition has passed for every source partition; `None`:
    /// none yet.
    passed: Option<Month>,
    /// Months of awards that are pending.
    pending: Vec<Month>,
    /// A pending check, or something that cannot be read, may grant an award of any month.
    checks: bool,
    aside: Aside,
}

/// What accounts that are set aside may still change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Aside {
    /// Those accounts, and referrers whose milestone award such an account may bring about, each
    /// with the newest month that the posting partition had passed before.
    passed: BTreeMap<Account, Option<Month>>,
    /// The accounts that are set aside, each with the referrer to whom it still owes a milestone.
    owe: BTreeMap<Account, Option<Account>>,
    /// A record or a link cannot be read: anybody's statement may change.
    is_unknown: bool,
}

impl Aside {
    async fn read(db: &dyn Db, source_partitions: u32) -> Result<Aside, StoreError> {
        let (records, unreadable) = set_aside::readable(db).await?;
        let mut aside = Aside::default();
        for record in unreadable {
            aside.takes_damaged(db, record.account).await?;
        }
        for Versioned { value: record, .. } in records {
            let of = |p| record.since.sources.get(&p).map(|source| source.log_time);
            let slowest = (0..source_partitions).map(|p| of(p).unwrap_or_default());
            let passed = slowest.min().and_then(passed);
            aside.takes_account(db, record.account, passed).await?;
        }
        Ok(aside)
    }

    /// Takes an account that misses something of the months after `passed`.
    async fn takes_account(
        &mut self,
        db: &dyn Db,
        account: Account,
        passed: Option<Month>,
    ) -> Result<(), StoreError> {
        let owed = match referrals::link_of(db, &account).await {
            Ok(link) => link.filter(|link| link.milestone == Milestone::Owed),
            Err(StoreError::Corrupt { .. }) => {
                self.is_unknown = true;
                None
            }
            Err(error) => return Err(error),
        };
        let referrer = owed.and_then(|link| link.chain.first().cloned());
        // Its fiftieth success may be among what it misses, and dates the award.
        if let Some(referrer) = &referrer {
            self.may_change(referrer.clone(), passed);
        }
        self.may_change(account.clone(), passed);
        self.owe.insert(account, referrer);
        Ok(())
    }

    /// Takes a record or a pointer that cannot be decoded: it may be about any month of its
    /// account.
    async fn takes_damaged(
        &mut self,
        db: &dyn Db,
        account: Option<Account>,
    ) -> Result<(), StoreError> {
        match account {
            Some(account) => self.takes_account(db, account, None).await,
            None => {
                self.is_unknown = true;
                Ok(())
            }
        }
    }

    /// Takes a pending task of an account that is set aside: it concerns that account, or its
    /// referrer, and nobody else. Whether it was one.
    fn takes(&mut self, pointer: &Pointer) -> bool {
        let Some(referrer) = self.owe.get(pointer.account()).cloned() else {
            return false;
        };
        match &pointer.task {
            Task::Award(award) => {
                let before = Month(award.month.0 - 1);
                self.may_change(award.account.clone(), Some(before));
            }
            // The fiftieth success may be long past.
            Task::Check { .. } => {
                if let Some(referrer) = referrer {
                    self.may_change(referrer, None);
                }
            }
        }
        true
    }

    fn may_change(&mut self, account: Account, passed: Option<Month>) {
        let known = self.passed.entry(account).or_insert(passed);
        *known = passed.min(*known);
    }
}

impl Finality {
    /// Reads it: checkpoints first, then the pointers, so that an award that a covered block
    /// brought about is seen.
    pub async fn read(
        db: &dyn Db,
        source_partitions: u32,
        posting_partitions: u32,
    ) -> Result<Finality, StoreError> {
        let mut slowest = None;
        for q in 0..posting_partitions {
            let sources = post_checkpoint(db, Partition(q))
                .await?
                .map(|found| found.sources)
                .unwrap_or_default();
            for p in 0..source_partitions {
                let passed = sources
                    .get(&p)
                    .map(|source| source.log_time)
                    .unwrap_or_default();
                slowest = Some(slowest.map_or(passed, |slowest: Millis| slowest.min(passed)));
            }
        }
        let mut aside = Aside::read(db, source_partitions).await?;
        let Pending {
            mut pointers,
            unreadable,
        } = pointers(db, posting_partitions).await?;
        for pointer in unreadable {
            aside.takes_damaged(db, pointer.account).await?;
        }
        pointers.retain(|pointer| pointer.state != State::Pending || !aside.takes(pointer));
        let pending = pointers
            .iter()
            .filter(|pointer| pointer.state == State::Pending);
        let months = pending.clone().filter_map(|pointer| match &pointer.task {
            Task::Award(award) => Some(award.month),
            Task::Check { .. } => None,
        });
        Ok(Finality {
            passed: slowest.and_then(passed),
            pending: months.collect(),
            checks: aside.is_unknown
                || pointers
                    .iter()
                    .any(|pointer| matches!(pointer.task, Task::Check { .. })),
            aside,
        })
    }

    /// Whether nothing can change this month's statements any more, but for those of accounts that
    /// are set aside ([`Finality::may_change`]).
    pub fn is_final(&self, month: Month) -> bool {
        self.passed.is_some_and(|passed| month <= passed)
            && !self.checks
            && !self.pending.contains(&month)
    }

    /// The newest month up to which nothing can change any statement any more, those of accounts
    /// that are set aside included.
    pub fn all_up_to(&self) -> Option<Month> {
        if self.checks {
            return None;
        }
        let mut month = self.passed?;
        for pending in &self.pending {
            month = month.min(Month(pending.0 - 1));
        }
        for passed in self.aside.passed.values() {
            month = month.min((*passed)?);
        }
        Some(month)
    }

    /// The accounts whose statements of this month may still change although it is final.
    pub fn accounts_that_may_change(&self, month: Month) -> Vec<Account> {
        let aside = self.aside.passed.keys();
        let changing = aside.filter(|account| self.may_change(account, month));
        changing.cloned().collect()
    }

    /// Whether this account, or one whose milestone brings it an award, is set aside and may miss
    /// something of this month.
    pub fn may_change(&self, account: &Account, month: Month) -> bool {
        let of = self.aside.passed.get(account);
        of.is_some_and(|passed| passed.is_none_or(|passed| month > passed))
    }
}

/// The newest month that log time has passed. A month is closed once log time is past `closes()`;
/// the newest such month is at most the one before log time's own.
fn passed(slowest: Millis) -> Option<Month> {
    let before = Month(slowest.month().0 - 1);
    let is_past = slowest > before.closes();
    (slowest.0 > 0).then(|| if is_past { before } else { Month(before.0 - 1) })
}
