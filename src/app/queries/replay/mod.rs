//! The archive of a month, rated again: what other prices or rules would have brought.
//!
//! Every archived record is rated by rating's own functions, under the rules as of its control
//! position, with the values of a document in their place from the beginning on. Under the rules as
//! they were, that gives what was posted, to the micropoint and nano-dollar. What days bring
//! (streaks, quality), trials and awards are not in it: rating does not decide them.
//!
//! Threads read files side by side. What accounts gain is summed in a table of bounded size; if the
//! accounts do not fit, the archive is read several times, for a part of them each time.

mod files;
mod month;
mod report;
mod rerate;
mod tally;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Queries, QueryError};
use crate::archive::{ArchiveError, ArchiveFile, ArchivedRequest, RequestKind};
use crate::domain::ids::AccountKind;
use crate::domain::position::Control;
use crate::domain::rules::{RuleBook, RuleFault, RuleHistory, RulesDocument};
use crate::domain::time::Month;
use crate::store::{control, pricing};
pub(super) use files::check_overlap;
pub use files::{ArchivePath, OverlappingFiles, StoredArchive};
pub use month::{CoverageError, IncompleteArchive, MonthCoverage};
use report::Ranks;
pub use report::{ChangedAccount, ReplayReport, ReplayTotals, RowCounts};
pub use rerate::Worth;
use rerate::{RATED, Rerater};
pub use tally::{AccountChange, Pair};
use tally::{Gathered, Part, Tally};

/// Most parts of the accounts, each of which costs a pass over the archive.
const PASSES_MAX: u64 = 4_096;

/// What is to be replayed.
#[derive(Clone, Debug)]
pub struct ReplayRequest {
    /// The month in which requests are booked, and what the archive says that it holds of it.
    pub coverage: MonthCoverage,
    /// Whether it is replayed even if the archive lacks some of its requests.
    pub partial: bool,
    /// Other rules; `None`: those that there were.
    pub rules: Option<RulesDocument>,
    /// How much memory the table of accounts may take.
    pub memory_bytes: usize,
    /// Accounts at each end of each list of the report.
    pub top: usize,
    /// Threads.
    pub threads: usize,
    /// Once so many records have been read, further files are left out. Those that are read are
    /// spread evenly over the month and its partitions. `None`: all are read.
    pub records_max: Option<u64>,
}

/// Why nothing was replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The store.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The rules do not follow those that there were.
    #[error("the rules cannot be used: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Rules(Vec<RuleFault>),
    /// Nothing is archived of the month.
    #[error(
        "there is nothing of {month} in the archive at {place}; check the path and the month, and that \
         a worker with the role audit writes the archive"
    )]
    Nothing {
        /// The month.
        month: Month,
        /// Where was looked.
        place: String,
    },
    /// The archive lacks some requests.
    #[error(transparent)]
    Incomplete(#[from] IncompleteArchive),
    /// Two files hold the same records.
    #[error(transparent)]
    Overlap(#[from] OverlappingFiles),
    /// A file cannot be read.
    #[error("cannot read {what}: {error}")]
    Io {
        /// Which.
        what: String,
        /// Why.
        error: std::io::Error,
    },
    /// A file cannot be understood.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: ArchivePath,
        /// Why.
        error: ArchiveError,
    },
    /// A row that no version writes.
    #[error(
        "{path} has a request that was rated as of control position {control}, where the store has no \
         rules; the archive belongs to another installation, or the tables are older than it"
    )]
    NoRules {
        /// In which file.
        path: ArchivePath,
        /// The position.
        control: Control,
    },
    /// The accounts do not fit.
    #[error(
        "the accounts do not fit into {bytes} bytes, not even in {PASSES_MAX} parts; give more memory"
    )]
    Memory {
        /// How much there was.
        bytes: usize,
    },
    /// What is made of the accounts cannot be written.
    #[error("{0}")]
    Output(String),
}

impl Queries {
    /// Every version of the rules.
    pub async fn rule_book(&self) -> Result<RuleBook, QueryError> {
        let head = control::head(self.db()).await?;
        Ok(pricing::load_rules(self.db(), head).await?)
    }
}

/// Takes every account: its kind, id and change, in the order of kind and id within each part. Told
/// first when a part begins that was begun before with too little memory, so that what came before
/// is forgotten.
pub trait EachAccount {
    /// Everything begins again.
    fn restart(&mut self) -> Result<(), String>;
    /// An account.
    fn account(
        &mut self,
        kind: AccountKind,
        id: &str,
        change: &AccountChange,
    ) -> Result<(), String>;
}

/// Takes no account: only the report is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Forget;

impl EachAccount for Forget {
    fn restart(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn account(&mut self, _: AccountKind, _: &str, _: &AccountChange) -> Result<(), String> {
        Ok(())
    }
}

/// The files in an order of which every beginning is spread evenly over them, and always the same.
fn spread(files: Vec<ArchivePath>) -> Vec<ArchivePath> {
    // Multiples of the golden ratio, of which the fractions divide a circle evenly.
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut numbered: Vec<(u64, ArchivePath)> = (0u64..)
        .map(|number| number.wrapping_mul(GOLDEN))
        .zip(files)
        .collect();
    numbered.sort_unstable_by_key(|(place, _)| *place);
    numbered.into_iter().map(|(_, path)| path).collect()
}

/// Replays a month. Blocks, for as long as it takes to read the archive.
pub fn replay(
    archive: &StoredArchive,
    book: &RuleBook,
    request: &ReplayRequest,
    each: &mut dyn EachAccount,
) -> Result<ReplayReport, ReplayError> {
    let history = match &request.rules {
        None => book.history(),
        Some(document) => book.history_with(document).map_err(ReplayError::Rules)?,
    };
    if !request.partial {
        request.coverage.check()?;
    }
    let month = request.coverage.month;
    let files = archive.files(month).map_err(|error| ReplayError::Io {
        what: archive.place(),
        error,
    })?;
    let mut files = request.coverage.covered(files);
    if files.is_empty() {
        let place = archive.place();
        return Err(ReplayError::Nothing { month, place });
    }
    check_overlap(&files)?;
    if request.records_max.is_some() {
        files = spread(files);
    }
    let mut passes = 1;
    loop {
        let work = Work {
            archive,
            files: &files,
            history: &history,
            request,
        };
        match work.in_parts(passes, each)? {
            Some(report) => return Ok(report),
            None if passes >= PASSES_MAX => {
                let bytes = request.memory_bytes;
                return Err(ReplayError::Memory { bytes });
            }
            None => {
                passes *= 2;
                each.restart().map_err(ReplayError::Output)?;
            }
        }
    }
}

struct Work<'w> {
    archive: &'w StoredArchive,
    files: &'w [ArchivePath],
    history: &'w RuleHistory,
    request: &'w ReplayRequest,
}

/// What threads sum up of all rows, whoever they are of.
#[derive(Default)]
struct Sums {
    files: u64,
    rows: RowCounts,
    totals: ReplayTotals,
}

impl Work<'_> {
    /// `None`: a part did not fit.
    fn in_parts(
        &self,
        passes: u64,
        each: &mut dyn EachAccount,
    ) -> Result<Option<ReplayReport>, ReplayError> {
        let mut ranks = Ranks::new(self.request.top);
        let (mut accounts, mut sums, mut missing) = (0, Sums::default(), None);
        for number in 0..passes {
            let part = Part { number, of: passes };
            let tally = Tally::new(part, self.request.memory_bytes);
            let found = self.pass(&tally)?;
            if tally.is_full() {
                return Ok(None);
            }
            missing = self.missing(&found)?;
            // Each pass sees every row.
            sums = found;
            for (kind, id, change) in tally.into_accounts() {
                accounts += 1;
                each.account(kind, &id, &change)
                    .map_err(ReplayError::Output)?;
                ranks.add(kind, &id, &change);
            }
        }
        let Sums { rows, totals, .. } = sums;
        Ok(Some(ReplayReport {
            month: self.request.coverage.month,
            archive: self.archive.place(),
            files: sums.files,
            is_whole: self.has_all_files(&sums) && missing.is_none(),
            missing,
            up_to: self.request.coverage.up_to,
            rows,
            totals,
            accounts,
            passes,
            ranks: ranks.into_lists(),
        }))
    }

    /// What the archive lacks of the month; refused, unless that was asked for.
    fn missing(&self, sums: &Sums) -> Result<Option<String>, IncompleteArchive> {
        let coverage = &self.request.coverage;
        let is_complete = match self.has_all_files(sums) {
            true => coverage.check_rows(sums.rows.sum()),
            false => coverage.check(),
        };
        match is_complete {
            Ok(()) => Ok(None),
            Err(incomplete) if self.request.partial => Ok(Some(incomplete.why)),
            Err(incomplete) => Err(incomplete),
        }
    }

    fn has_all_files(&self, sums: &Sums) -> bool {
        sums.files == self.files.len() as u64
    }

    fn pass(&self, tally: &Tally) -> Result<Sums, ReplayError> {
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let all = Mutex::new(Sums::default());
        let records_max = self.request.records_max.unwrap_or(u64::MAX);
        let records = AtomicU64::new(0);
        let run = || -> Result<(), ReplayError> {
            let mut rerater = Rerater::new(self.history);
            let mut sums = Sums::default();
            while !stop.load(Ordering::Relaxed)
                && !tally.is_full()
                && records.load(Ordering::Relaxed) < records_max
            {
                let Some(path) = self.files.get(next.fetch_add(1, Ordering::Relaxed)) else {
                    break;
                };
                let before = sums.rows.sum();
                self.file(path, &mut rerater, &mut sums, tally)
                    .inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
                sums.files += 1;
                records.fetch_add(sums.rows.sum() - before, Ordering::Relaxed);
            }
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            all.files += sums.files;
            all.rows.add(&sums.rows);
            all.totals.add(&sums.totals);
            Ok(())
        };
        std::thread::scope(|scope| {
            // Which files are left out must not depend on which thread is faster.
            let threads = match self.request.records_max {
                Some(_) => 1,
                None => self.request.threads.max(1),
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            let ended = threads.into_iter().map(|thread| match thread.join() {
                Ok(ended) => ended,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            ended.collect::<Result<(), _>>()
        })?;
        Ok(all.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn file(
        &self,
        path: &ArchivePath,
        rerater: &mut Rerater<'_>,
        sums: &mut Sums,
        tally: &Tally,
    ) -> Result<(), ReplayError> {
        let bytes = self.archive.read(path).map_err(|error| ReplayError::Io {
            what: format!("{path} in {}", self.archive.place()),
            error,
        })?;
        let broken = |error| ReplayError::File { path: *path, error };
        let file = ArchiveFile::open_at(path.folder, path.name, bytes).map_err(broken)?;
        let gaps = self.request.coverage.gaps(path);
        for batch in file.batches(RATED) {
            let batch = batch.map_err(broken)?;
            let mut gathered = Gathered::default();
            for place in 0..batch.len() {
                let row = batch.row(place).map_err(broken)?;
                if gaps.iter().any(|gap| gap.has(row.offset)) {
                    continue;
                }
                let after = rerater.rate(&row).ok_or(ReplayError::NoRules {
                    path: *path,
                    control: row.control,
                })?;
                let before = Worth::archived(&row);
                sums.count(&row, &before, &after);
                gathered.add(&row, &before, &after);
            }
            tally.join(&gathered);
            if tally.is_full() {
                break;
            }
        }
        Ok(())
    }
}

impl Sums {
    fn count(&mut self, row: &ArchivedRequest<'_>, before: &Worth, after: &Worth) {
        let rows = &mut self.rows;
        match row.kind {
            RequestKind::Event => rows.events += 1,
            RequestKind::Completion => rows.completions += 1,
            RequestKind::Reversal => rows.reversals += 1,
        }
        rows.late += u64::from(row.booked_on.is_none());
        rows.changed += u64::from(before != after);
        self.totals.count(before, after);
    }
}
