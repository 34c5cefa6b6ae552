//! Verification: whether account rows hold what the archive and the awards come to.
//!
//! ```text
//! archive ─▶ fold a share of all accounts ─▶ scan the rows, compare
//!                                              └─ what differs ─▶ look again, with what came after the archive
//! ```
//!
//! Rows go on changing while they are verified. So what differs is looked at again by itself: the
//! rows of the account as of one position of `ledger.postings`, against the archive and the blocks
//! between its end and that position. What differs then is wrong.

mod archive_rows;
mod compare;
mod covered;
mod expected;
mod look_again;
mod milestone;
mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

pub use compare::{Difference, ExpectedLifetime, ExpectedRows, Scope, compare};
pub use covered::Covered;
pub use expected::{ArchivedAccount, ArchivedAccounts, Share, TooManyAccounts};
pub use look_again::ArchivedSource;
pub use milestone::{Fiftieth, Milestone, Rated};

pub use archive_rows::FileError;

use self::archive_rows::CoveredFiles;
use self::look_again::{Beyond, SettledAccount, settled};
use self::rows::{AccountRows, AccountScan};
use super::{Queries, QueryError};
use crate::archive::{ArchiveError, ArchiveStore, ArchivedRequest, Column, Columns, FileName};
use crate::domain::amount::Points;
use crate::domain::ids::{Account, AccountKind, AccountRef};
use crate::domain::ledger::{Activity, MonthRow};
use crate::domain::position::{Epoch, Partition, Sequence};
use crate::domain::time::{Millis, Month};
use crate::log::LogError;
use crate::pipeline::progress;
use crate::store::accounts::StoredRow;
use crate::store::audits::coverage::Coverage;
use crate::store::checkpoints::PostCheckpoint;
use crate::store::db::StoreError;
use crate::store::{awards, layout, set_aside};

/// What is read of the archive.
const COLUMNS: Columns = Columns::POSTED.and(Columns::of(&[
    Column::epoch,
    Column::partition,
    Column::offset,
    Column::chunk,
    Column::chunk_log_time,
]));
/// Accounts that are looked at again at a time.
const LOOKED_AT_MAX: usize = 1_000;
/// Services of which every combination is tried, where it is not known which were used before the
/// archive begins.
const SERVICES_TRIED_MAX: usize = 8;

/// What is verified.
#[derive(Clone, Debug, Default)]
pub struct VerifyRequest {
    /// The present time: a month that has not begun is refused.
    pub now: Millis,
    /// Rows of this month; `None`: of every month that the archive covers.
    pub month: Option<Month>,
    /// Shares that were verified before, with what came of them: they are not verified again.
    pub done: Vec<(Share, ShareCounts)>,
    /// At most so many accounts are in memory at a time. With more, the archive and the tables are
    /// read more than once.
    pub accounts_max: usize,
}

/// Something that happened while verifying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There are too many accounts for one pass: this share is verified in halves.
    Split(Share),
    /// So many rows of the archive were read, of all.
    Archived(u64, u64),
    /// The accounts of a share have been compared, with what came of it.
    Compared(Share, ShareCounts),
    /// A value is not what it should be.
    Found(Box<Difference>),
    /// An account could not be compared, and why.
    Skipped(Account, &'static str),
}

/// What verifying a share of the accounts came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShareCounts {
    /// Rows of the archive that are booked in the months that were compared: of all accounts.
    pub requests: u64,
    /// Accounts of which rows of these months were compared.
    pub accounts: u64,
    /// Values that are wrong.
    pub differences: u64,
    /// Accounts that could not be compared.
    pub skipped: u64,
}

/// What verifying came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The one month that was to be compared; `None`: all of them.
    pub month: Option<Month>,
    /// Of all shares.
    pub counts: ShareCounts,
    /// The first month that was compared; `None`: from the beginning, or only one.
    pub first: Option<Month>,
    /// Why months before it were not.
    pub why_first: String,
    /// Whether facts of an account's whole life were compared, too.
    pub is_whole: bool,
    /// Months that were left out, and why.
    pub left_out: BTreeMap<Month, String>,
}

impl Verified {
    /// Adds a share. Every share reads the whole archive.
    fn add(&mut self, share: &ShareCounts) {
        let counts = &mut self.counts;
        counts.requests = counts.requests.max(share.requests);
        counts.accounts += share.accounts;
        counts.differences += share.differences;
        counts.skipped += share.skipped;
    }

    /// What was not compared and why, a sentence each, for people.
    pub fn not_compared(&self) -> Vec<String> {
        let month = |(month, why): (&Month, &String)| {
            format!("{month} was not compared: the archive lacks requests ({why})")
        };
        let mut said: Vec<String> = self.left_out.iter().map(month).collect();
        if let Some(first) = self.first {
            said.push(format!(
                "months before {first} were not compared: {}",
                self.why_first
            ));
        }
        if !self.is_whole {
            said.push("facts of an account's whole life were not compared".to_owned());
        }
        match self.counts.skipped {
            0 => {}
            1 => said.push("1 account was not compared".to_owned()),
            count => said.push(format!("{count} accounts were not compared")),
        }
        said
    }

    /// Refuses to call free of differences what was not compared at all.
    fn check_compared(self) -> Result<Verified, VerifyError> {
        let counts = self.counts;
        if counts.accounts > 0 || counts.differences > 0 {
            return Ok(self);
        }
        let mut why = Vec::new();
        if counts.requests == 0 && counts.skipped == 0 {
            why.push(match self.month {
                Some(month) => {
                    format!("neither the archive nor the tables hold anything of {month}")
                }
                None => {
                    let what = "neither the archive nor the tables hold anything of the months that \
                                can be compared";
                    what.to_owned()
                }
            });
        }
        why.extend(self.not_compared());
        Err(VerifyError::NothingCompared(why.join("; ")))
    }
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Nothing is archived.
    #[error(
        "the archive at {0} covers nothing yet; it is written by the role audit once \
         archive.location is set, its first file archive.file_age_max (15 min by default) after the \
         first request (docs/archive.md)"
    )]
    Empty(String),
    /// The month lies in the future.
    #[error("{0} has not begun, so there is nothing of it to compare; name an earlier month")]
    NotBegun(Month),
    /// There was nothing to compare.
    #[error("nothing was compared: {0}")]
    NothingCompared(String),
    /// A file of the archive cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The month is not covered.
    #[error("{0} cannot be verified: {1}")]
    NotCovered(Month, String),
    /// Posting is behind the archive.
    #[error(
        "posting partition {q} has not posted everything of source partition {source_partition} \
         that is in the archive; run this again once `tidemark wait` returns"
    )]
    PostingBehind {
        /// The posting partition.
        q: Partition,
        /// The source partition.
        source_partition: Partition,
    },
    /// Not even a small share of the accounts fits.
    #[error("more than {0} accounts in one of {1} shares of all; allow for more accounts")]
    TooManyAccounts(usize, u64),
    /// The archive lacks rows that it should have, or has more.
    #[error(
        "the archive says that it has {expected} rows of {month}, but its files have {found}; {advice} \
         (docs/archive.md#damaged-files)",
        advice = match .found < .expected {
            true => "files are missing: restore them, or delete the whole folder of the month, which is \
                     then not compared",
            false => "remove the files that were copied there from another place, or restore those of \
                      _coverage that fit the files",
        }
    )]
    RowsMissing {
        /// The month in which they are booked.
        month: Month,
        /// According to its coverage.
        expected: u64,
        /// In its files.
        found: u64,
    },
    /// Two files hold the same records.
    #[error(
        "the files {0} and {1} of the archive hold the same records: a worker died while it wrote one of \
         them, and then tables were restored; delete the older one, in every folder (docs/archive.md)"
    )]
    Overlap(FileName, FileName),
    /// A query.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Shares are not split further.
const SHARES_MAX: u64 = 1 << 16;

/// Why reading the archive ended.
enum Ended {
    Failed(VerifyError),
    TooMany,
}

impl From<FileError> for Ended {
    fn from(error: FileError) -> Ended {
        Ended::Failed(error.into())
    }
}

/// One verification.
struct Verification<'a, T> {
    queries: &'a Queries,
    archive: &'a ArchiveStore,
    epoch: Epoch,
    covered: Covered,
    files: CoveredFiles,
    scope: Scope,
    request: VerifyRequest,
    /// Points of all awards, also those that are not in rows yet.
    bonuses: HashMap<Account, BTreeMap<Month, Points>>,
    aside: BTreeSet<Account>,
    tell: T,
    /// Of the share that is being verified.
    counts: ShareCounts,
    verified: Verified,
}

impl Queries {
    /// Compares every account row with the archive and the awards. `tell` hears what is found, and
    /// how far it is.
    ///
    /// # Errors
    /// Nothing can be said, or not more.
    pub async fn verify(
        &self,
        archive: &ArchiveStore,
        request: &VerifyRequest,
        tell: impl FnMut(Progress) + Send,
    ) -> Result<Verified, VerifyError> {
        if let Some(month) = request.month.filter(|month| *month > request.now.month()) {
            return Err(VerifyError::NotBegun(month));
        }
        let coverages = archive.coverages().await?;
        let posted = self.posted().await?;
        let mut covered = self.covered(&coverages, &posted).await?;
        let epoch = covered.epoch;
        let coverages: Vec<Coverage> = coverages
            .into_iter()
            .filter(|coverage| coverage.epoch == epoch)
            .collect();
        if coverages.iter().all(|coverage| coverage.chunk.is_none()) {
            return Err(VerifyError::Empty(archive.place().to_owned()));
        }
        check_posted(&covered, &posted)?;
        let mut files = CoveredFiles::find(archive, &coverages).await?;
        if let Some((first, second)) = files.overlap() {
            return Err(VerifyError::Overlap(first, second));
        }
        for month in files.without_deleted() {
            covered.leave_out(month, "its files were deleted");
        }
        if let Some(month) = request.month
            && let Some(why) = covered.why_not(month)
        {
            return Err(VerifyError::NotCovered(month, why));
        }
        let mut bonuses: HashMap<Account, BTreeMap<Month, Points>> = HashMap::new();
        awards::all_awards(self.db(), |award| {
            let months = bonuses.entry(award.account).or_default();
            let sum = months.entry(award.month).or_default();
            *sum = sum.plus(award.points);
        })
        .await?;
        let aside = set_aside::all(self.db()).await?;
        let aside = aside
            .into_iter()
            .map(|stored| stored.value.account)
            .collect();
        let (first, last) = match request.month {
            Some(month) => (month, month),
            None => (covered.first(), Month(i32::MAX)),
        };
        let scope = Scope {
            first,
            last,
            left_out: covered.left_out(),
            activity: self.activity().await?,
        };
        let mut verified = Verified {
            month: request.month,
            is_whole: covered.is_whole,
            ..Verified::default()
        };
        // Of one month, others are not left out: they were not asked for.
        if request.month.is_none() {
            verified.first = covered.begins_in();
            verified.why_first = covered.why_first();
            verified.left_out = covered.missing.clone();
        }
        let verification = Verification {
            queries: self,
            archive,
            epoch,
            covered,
            files,
            scope,
            request: request.clone(),
            bonuses,
            aside,
            tell,
            counts: ShareCounts::default(),
            verified,
        };
        verification.run().await
    }

    async fn activity(&self) -> Result<Activity, QueryError> {
        Ok(self.rules_needed().await?.activity())
    }

    /// What an archive covers of the present epoch, by what it says. What came from source
    /// partitions of which it says nothing is not known.
    pub(super) async fn covered(
        &self,
        coverages: &[Coverage],
        posted: &[Option<PostCheckpoint>],
    ) -> Result<Covered, StoreError> {
        let epochs = layout::all(self.db()).await?;
        let epoch = epochs.last().map(|layout| layout.epoch);
        let epoch = epoch.unwrap_or_else(|| self.log().epoch());
        let mut covered = Covered::of(coverages, epoch, epochs.len() > 1);
        for (p, source) in posted.iter().flatten().flat_map(|posted| &posted.sources) {
            let p = Partition(*p);
            if !covered.sources.contains_key(&p) && source.sequence > Sequence(0) {
                covered.begin_after(p, source.log_time);
            }
        }
        Ok(covered)
    }

    /// How far each posting partition is. Read it after the coverages that it is compared with.
    pub(super) async fn posted(&self) -> Result<Vec<Option<PostCheckpoint>>, StoreError> {
        let mut posted = Vec::new();
        for q in (0..self.partitions().posting).map(Partition) {
            posted.push(progress::post_checkpoint(self.db(), q).await?);
        }
        Ok(posted)
    }
}

/// Rows must hold everything that the archive holds.
fn check_posted(covered: &Covered, posted: &[Option<PostCheckpoint>]) -> Result<(), VerifyError> {
    for (q, posted) in (0..).map(Partition).zip(posted) {
        for (p, source) in &covered.sources {
            let sent = source.sequences.get(q.0 as usize).copied();
            let counted = posted
                .as_ref()
                .and_then(|posted| posted.sources.get(&p.0))
                .map(|source| source.sequence);
            if counted.unwrap_or_default() < sent.unwrap_or_default() {
                return Err(VerifyError::PostingBehind {
                    q,
                    source_partition: *p,
                });
            }
        }
    }
    Ok(())
}

impl<T: FnMut(Progress) + Send> Verification<'_, T> {
    async fn run(mut self) -> Result<Verified, VerifyError> {
        let mut shares = vec![Share::ALL];
        while let Some(share) = shares.pop() {
            let done = &self.request.done;
            if let Some((_, counts)) = done.iter().find(|(done, _)| *done == share) {
                self.verified.add(counts);
                continue;
            }
            if done.iter().any(|(done, _)| done.is_within(share)) {
                shares.extend(share.split());
                continue;
            }
            self.counts = ShareCounts::default();
            match self.fold(share).await {
                Ok(archived) => {
                    self.compare(&archived).await?;
                    self.verified.add(&self.counts);
                    (self.tell)(Progress::Compared(share, self.counts));
                }
                Err(Ended::Failed(error)) => return Err(error),
                Err(Ended::TooMany) if share.of >= SHARES_MAX => {
                    return Err(VerifyError::TooManyAccounts(
                        self.request.accounts_max,
                        share.of,
                    ));
                }
                Err(Ended::TooMany) => {
                    (self.tell)(Progress::Split(share));
                    shares.extend(share.split());
                }
            }
        }
        self.verified.check_compared()
    }

    /// What the archive says of a share of the accounts.
    async fn fold(&mut self, share: Share) -> Result<ArchivedAccounts, Ended> {
        let mut archived = ArchivedAccounts::new(share, self.request.accounts_max);
        let (all, tell) = (self.files.rows, &mut self.tell);
        let mut read = 0u64;
        let each = |row: &ArchivedRequest<'_>| {
            read += 1;
            if read.is_multiple_of(1 << 16) {
                tell(Progress::Archived(read, all));
            }
            archived.add(row).map_err(|TooManyAccounts| Ended::TooMany)
        };
        let found = self.files.for_each(self.archive, COLUMNS, each).await?;
        tell(Progress::Archived(read, all));
        if let Some((month, expected, found)) = self.files.first_wrong(&found) {
            let wrong = VerifyError::RowsMissing {
                month,
                expected,
                found,
            };
            return Err(Ended::Failed(wrong));
        }
        let in_scope = found.iter().filter(|(month, _)| self.scope.holds(**month));
        self.counts.requests = in_scope.map(|(_, rows)| rows).sum();
        Ok(archived)
    }

    async fn compare(&mut self, archived: &ArchivedAccounts) -> Result<(), VerifyError> {
        let db = self.queries.db();
        // Each with the month of a row that cannot be read, if there is one.
        let mut differing: BTreeMap<Account, Option<Month>> = BTreeMap::new();
        let mut compared = 0u64;
        let mut has_row = vec![false; archived.iter().len()];
        let awarded = self.bonuses.keys();
        let mut awarded: HashSet<&Account> = awarded
            .filter(|account| archived.share().holds((*account).into()))
            .collect();
        for kind in [AccountKind::User, AccountKind::Provider] {
            let mut scan = AccountScan::new(db, kind);
            while let Some(accounts) = scan.next().await? {
                for (account, found) in accounts {
                    let account_ref = AccountRef::from(&account);
                    if !archived.share().holds(account_ref) {
                        continue;
                    }
                    let place = archived.place_of(account_ref);
                    if let Some(place) = place {
                        has_row[place] = true;
                    }
                    awarded.remove(&account);
                    let bonuses = self.bonuses.get(&account);
                    let known = place.and_then(|place| archived.at(place));
                    let is_in_scope = self.is_in_scope(Some(&found), known, bonuses);
                    if self.scope.is_one_month() && !is_in_scope {
                        continue;
                    }
                    let is_right = found.unreadable.is_empty()
                        && self
                            .differences(&account, &found.rows, known, bonuses)
                            .is_empty();
                    // Rows of other months may contradict each other, too.
                    compared += u64::from(is_in_scope || !is_right);
                    if !is_right {
                        let unreadable = found.unreadable.first().map(|(month, _)| *month);
                        differing.insert(account, unreadable);
                    }
                }
            }
        }
        let known = archived.iter().zip(&has_row);
        let without_row = known.filter(|(_, has_row)| !**has_row);
        let without_row = without_row.map(|(known, _)| &known.account);
        let without_row: BTreeSet<&Account> = without_row.chain(awarded).collect();
        for account in without_row {
            let (known, bonuses) = (archived.get(account.into()), self.bonuses.get(account));
            if self.is_in_scope(None, known, bonuses) {
                compared += 1;
                differing.insert(account.clone(), None);
            }
        }
        self.counts.accounts = compared;
        let differing: Vec<(Account, Option<Month>)> = differing.into_iter().collect();
        for some in differing.chunks(LOOKED_AT_MAX) {
            self.look_again(some, archived).await?;
        }
        Ok(())
    }

    /// Whether an account has, or should have, a row of a month that is compared.
    fn is_in_scope(
        &self,
        stored: Option<&AccountRows>,
        known: Option<&ArchivedAccount>,
        bonuses: Option<&BTreeMap<Month, Points>>,
    ) -> bool {
        let stored = stored.into_iter().flat_map(AccountRows::months);
        let known = known.into_iter().flat_map(|known| &known.months);
        let awarded = bonuses.into_iter().flat_map(BTreeMap::keys).copied();
        let mut months = stored.chain(known.map(|row| row.month)).chain(awarded);
        months.any(|month| self.scope.holds(month))
    }

    /// Looks at accounts again, each as of one moment. With each comes the month of a row that
    /// cannot be read, if there is one.
    async fn look_again(
        &mut self,
        accounts: &[(Account, Option<Month>)],
        archived: &ArchivedAccounts,
    ) -> Result<(), VerifyError> {
        let (db, partitions) = (self.queries.db(), self.queries.partitions().posting);
        let mut by_partition: BTreeMap<Partition, Vec<(&Account, SettledAccount)>> =
            BTreeMap::new();
        for (account, unreadable) in accounts {
            if self.aside.contains(account) {
                self.skip(account, "it is set aside (docs/runbook.md)");
                continue;
            }
            match settled(db, account, partitions).await {
                Ok(Some(found)) => {
                    let q = account.partition(partitions);
                    by_partition.entry(q).or_default().push((account, found));
                }
                Ok(None) => self.skip(account, "its rows were being written all the time"),
                Err(StoreError::Corrupt { key, what }) => {
                    let difference = Difference {
                        account: account.clone(),
                        month: unreadable.unwrap_or(self.scope.first),
                        field: key,
                        stored: what,
                        expected: "a readable row".to_owned(),
                    };
                    self.found(difference);
                }
                Err(error) => return Err(error.into()),
            }
        }
        for (q, found) in by_partition {
            self.look_again_at(q, found, archived).await?;
        }
        Ok(())
    }

    async fn look_again_at(
        &mut self,
        q: Partition,
        found: Vec<(&Account, SettledAccount)>,
        archived: &ArchivedAccounts,
    ) -> Result<(), VerifyError> {
        let queries = self.queries;
        let known = |account: &Account| {
            let known = archived.get(account.into()).cloned();
            known.unwrap_or_else(|| ArchivedAccount::new(account.into()))
        };
        let mut expected: HashMap<Account, _> = found
            .iter()
            .map(|(account, found)| ((*account).clone(), (found.position, known(account))))
            .collect();
        // After the rows: what a source has not sent by now is not in them.
        let active = self.active().await?;
        let beyond = Beyond {
            log: queries.log(),
            epoch: self.epoch,
            sources: &self.covered.sources,
        };
        let added = beyond.add(q, &active, &mut expected).await?;
        for (account, found) in found {
            if added.is_err() {
                self.skip(
                    account,
                    "ledger.postings does not reach back to the end of the archive",
                );
                continue;
            }
            let known = expected.remove(account).map(|(_, known)| known);
            let bonuses = Some(&found.bonuses);
            for difference in self.differences(account, &found.rows, known.as_ref(), bonuses) {
                self.found(difference);
            }
        }
        Ok(())
    }

    /// Source partitions that have rated something that is not in the archive.
    async fn active(&self) -> Result<Vec<Partition>, StoreError> {
        let mut active = Vec::new();
        for p in (0..self.queries.partitions().source).map(Partition) {
            let rated = progress::rate_checkpoint(self.queries.db(), p).await?;
            let archived = self.covered.sources.get(&p).map(|source| source.to);
            if rated.is_some_and(|rated| rated.to > archived.unwrap_or_default()) {
                active.push(p);
            }
        }
        Ok(active)
    }

    fn found(&mut self, difference: Difference) {
        self.counts.differences += 1;
        (self.tell)(Progress::Found(Box::new(difference)));
    }

    fn skip(&mut self, account: &Account, why: &'static str) {
        self.counts.skipped += 1;
        self.counts.accounts = self.counts.accounts.saturating_sub(1);
        (self.tell)(Progress::Skipped(account.clone(), why));
    }

    fn differences(
        &self,
        account: &Account,
        stored: &BTreeMap<Month, StoredRow>,
        known: Option<&ArchivedAccount>,
        bonuses: Option<&BTreeMap<Month, Points>>,
    ) -> Vec<Difference> {
        let with = |used_before: u64| {
            let expected = ExpectedRows {
                lifetime: self.lifetime(known),
                months: months(known, used_before, bonuses),
            };
            compare(account, stored, &expected, &self.scope)
        };
        let differences = with(0);
        if self.covered.is_whole || differences.is_empty() {
            return differences;
        }
        // Whether a success was the first is not known: an earlier one may stand before the
        // archive.
        let services = known
            .map(ArchivedAccount::services_used)
            .unwrap_or_default();
        let subsets = subsets(services);
        let tried = subsets.into_iter().map(with);
        tried.fold(differences, |best, other| match other.len() < best.len() {
            true => other,
            false => best,
        })
    }

    fn lifetime(&self, known: Option<&ArchivedAccount>) -> Option<ExpectedLifetime> {
        self.covered.is_whole.then(|| match known {
            Some(known) => ExpectedLifetime {
                services_used: known.services_used(),
                successes: known.milestone.successes,
                spent: known.spent,
                fiftieth: known.milestone.fiftieth(),
            },
            None => ExpectedLifetime::NONE,
        })
    }
}

/// The month rows that an account should have.
fn months(
    known: Option<&ArchivedAccount>,
    used_before: u64,
    bonuses: Option<&BTreeMap<Month, Points>>,
) -> BTreeMap<Month, MonthRow> {
    let mut months = known
        .map(|known| known.rows(used_before))
        .unwrap_or_default();
    for (month, points) in bonuses.into_iter().flatten() {
        let row = months.entry(*month);
        let row = row.or_insert_with(|| MonthRow::new(*month, Default::default()));
        row.bonus = row.bonus.plus(*points);
    }
    months
}

/// Every choice of these bits but none of them; of many only each by itself and all of them.
fn subsets(bits: u64) -> Vec<u64> {
    let all: Vec<u64> = (0..64)
        .map(|place| 1 << place)
        .filter(|bit| bits & bit != 0)
        .collect();
    if all.len() > SERVICES_TRIED_MAX {
        return all.into_iter().chain([bits]).collect();
    }
    let chosen = |choice: u64| {
        let places = all.iter().enumerate();
        let taken = places.filter(|(place, _)| choice & (1 << place) != 0);
        taken.fold(0, |sum, (_, bit)| sum | bit)
    };
    (1..1u64 << all.len()).map(chosen).collect()
}
