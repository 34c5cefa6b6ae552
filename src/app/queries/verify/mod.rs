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

pub use compare::{Difference, ExpectedLifetime, ExpectedRows, Scope, compare};
pub use covered::Covered;
pub use expected::{ArchivedAccount, ArchivedAccounts, Share, TooManyAccounts};
pub use look_again::ArchivedSource;
pub use milestone::{Fiftieth, Milestone, Rated};

use self::archive_rows::CoveredFiles;
use self::look_again::{Beyond, SettledAccount, settled};
use self::rows::AccountScan;
use super::{Queries, QueryError};
use crate::archive::{ArchiveError, ArchiveStore, ArchivedRequest, Column, Columns, FileName};
use crate::domain::amount::Points;
use crate::domain::ids::{Account, AccountKind, AccountRef};
use crate::domain::ledger::{Activity, MonthRow};
use crate::domain::position::{Epoch, Partition, Sequence};
use crate::domain::time::Month;
use crate::log::LogError;
use crate::pipeline::progress;
use crate::store::accounts::StoredRow;
use crate::store::audits::coverage::Coverage;
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
    /// Rows of this month; `None`: of every month that the archive covers.
    pub month: Option<Month>,
    /// Shares that were verified before: they are left out.
    pub done: Vec<Share>,
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
    /// The accounts of a share have been compared.
    Compared(Share),
    /// A value is not what it should be.
    Found(Box<Difference>),
    /// An account could not be compared, and why.
    Skipped(Account, &'static str),
}

/// What verifying came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Rows of the archive.
    pub requests: u64,
    /// Accounts whose rows were compared.
    pub accounts: u64,
    /// Values that are wrong.
    pub differences: u64,
    /// Accounts that could not be compared.
    pub skipped: u64,
    /// The first month that was compared; `None`: from the beginning.
    pub first: Option<Month>,
    /// Whether facts of an account's whole life were compared, too.
    pub is_whole: bool,
    /// Months that were left out, and why.
    pub left_out: BTreeMap<Month, String>,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Nothing is archived.
    #[error(
        "the archive at {0} covers nothing yet; it is written by the role audit once \
         archive.location is set (docs/archive.md)"
    )]
    Empty(String),
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
    /// The archive lacks rows that it should have, or has some twice.
    #[error(
        "the archive says that it has {expected} rows of {month}, but its files have {found}; \
         restore the missing files, or delete the whole month (docs/archive.md)"
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

impl From<ArchiveError> for Ended {
    fn from(error: ArchiveError) -> Ended {
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
        let coverages = archive.coverages().await?;
        let mut covered = self.covered(&coverages).await?;
        let epoch = covered.epoch;
        let coverages: Vec<Coverage> = coverages
            .into_iter()
            .filter(|coverage| coverage.epoch == epoch)
            .collect();
        if coverages.iter().all(|coverage| coverage.chunk.is_none()) {
            return Err(VerifyError::Empty(archive.place().to_owned()));
        }
        self.check_posted(&covered).await?;
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
            None => (covered.first, Month(i32::MAX)),
        };
        let scope = Scope {
            first,
            last,
            left_out: covered.left_out(),
            activity: self.activity().await?,
        };
        let verified = Verified {
            first: covered.begins_in(),
            is_whole: covered.is_whole,
            left_out: covered.missing.clone(),
            ..Verified::default()
        };
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
            verified,
        };
        verification.run().await
    }

    async fn activity(&self) -> Result<Activity, QueryError> {
        Ok(self.rules_needed().await?.activity())
    }

    /// What an archive covers of the present epoch, by what it says. What came from source
    /// partitions of which it says nothing is not known.
    pub(super) async fn covered(&self, coverages: &[Coverage]) -> Result<Covered, StoreError> {
        let epochs = layout::all(self.db()).await?;
        let epoch = epochs.last().map(|layout| layout.epoch);
        let epoch = epoch.unwrap_or_else(|| self.log().epoch());
        let mut covered = Covered::of(coverages, epoch, epochs.len() > 1);
        for q in (0..self.partitions().posting).map(Partition) {
            let posted = progress::post_checkpoint(self.db(), q).await?;
            for (p, source) in posted.iter().flat_map(|posted| &posted.sources) {
                let is_unknown = !covered.sources.contains_key(&Partition(*p));
                if is_unknown && source.sequence > Sequence(0) {
                    covered.begin_after(source.log_time);
                }
            }
        }
        Ok(covered)
    }

    /// Rows must hold everything that the archive holds.
    async fn check_posted(&self, covered: &Covered) -> Result<(), VerifyError> {
        for q in (0..self.partitions().posting).map(Partition) {
            let posted = progress::post_checkpoint(self.db(), q).await?;
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
}

impl<T: FnMut(Progress) + Send> Verification<'_, T> {
    async fn run(mut self) -> Result<Verified, VerifyError> {
        let mut shares = vec![Share::ALL];
        while let Some(share) = shares.pop() {
            let done = &self.request.done;
            if done.contains(&share) {
                continue;
            }
            if done.iter().any(|done| done.is_within(share)) {
                shares.extend(share.split());
                continue;
            }
            match self.fold(share).await {
                Ok(archived) => {
                    self.compare(&archived).await?;
                    (self.tell)(Progress::Compared(share));
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
        Ok(self.verified)
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
        self.verified.requests = found.values().sum();
        Ok(archived)
    }

    async fn compare(&mut self, archived: &ArchivedAccounts) -> Result<(), VerifyError> {
        let db = self.queries.db();
        // Each with the month of a row that cannot be read, if there is one.
        let mut differing: BTreeMap<Account, Option<Month>> = BTreeMap::new();
        let mut seen = 0u64;
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
                    seen += 1;
                    let place = archived.place_of(account_ref);
                    if let Some(place) = place {
                        has_row[place] = true;
                    }
                    awarded.remove(&account);
                    let bonuses = self.bonuses.get(&account);
                    let known = place.and_then(|place| archived.at(place));
                    let is_right = found.unreadable.is_empty()
                        && self
                            .differences(&account, &found.rows, known, bonuses)
                            .is_empty();
                    if !is_right {
                        let unreadable = found.unreadable.first().map(|(month, _)| *month);
                        differing.insert(account, unreadable);
                    }
                }
            }
        }
        let known = archived.iter().zip(&has_row);
        let without_row = known.filter(|(_, has_row)| !**has_row);
        differing.extend(without_row.map(|(known, _)| (known.account.clone(), None)));
        differing.extend(awarded.into_iter().map(|account| (account.clone(), None)));
        self.verified.accounts += seen;
        let differing: Vec<(Account, Option<Month>)> = differing.into_iter().collect();
        for some in differing.chunks(LOOKED_AT_MAX) {
            self.look_again(some, archived).await?;
        }
        Ok(())
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
        self.verified.differences += 1;
        (self.tell)(Progress::Found(Box::new(difference)));
    }

    fn skip(&mut self, account: &Account, why: &'static str) {
        self.verified.skipped += 1;
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
