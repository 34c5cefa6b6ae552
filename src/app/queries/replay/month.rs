//! What the archive holds of a month, as it says itself, and whether that is all of it.

use super::files::{ArchivePath, StoredArchive};
use crate::app::CommandError;
use crate::app::queries::verify::Covered;
use crate::app::queries::{Queries, QueryError};
use crate::archive::ArchiveError;
use crate::domain::position::Partition;
use crate::domain::time::{Millis, Month};
use crate::objects::ObjectsError;
use crate::pipeline::progress;
use crate::store::audits::coverage::{Coverage, Gap};

/// The archive lacks requests of a month.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "archive_incomplete: the archive does not hold all requests of {month}: {why}; `tidemark verify` \
     checks the whole archive: restore what is missing (docs/archive.md), or add --partial (partial=true \
     in the API) to read what there is"
)]
pub struct IncompleteArchive {
    /// Of which month.
    pub month: Month,
    /// What is missing, or why it is not known that nothing is.
    pub why: String,
}

impl IncompleteArchive {
    /// The stable code.
    pub const CODE: &'static str = "archive_incomplete";
}

/// What the archive says that it holds of a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonthCoverage {
    /// The month.
    pub month: Month,
    /// What is covered, of each epoch and source partition.
    pub coverages: Vec<Coverage>,
    /// Why requests of the month are missing, or may be; files may be missing as well.
    pub missing: Option<String>,
    /// The log time up to which it holds a month that is not final; `None`: it holds everything
    /// that has been rated.
    pub up_to: Option<Millis>,
}

impl MonthCoverage {
    /// Only those of the files that are covered: others are being written.
    pub(in crate::app::queries) fn covered(&self, mut files: Vec<ArchivePath>) -> Vec<ArchivePath> {
        files.retain(|path| self.of(path).is_some());
        files
    }

    /// Ranges whose rows do not count, whatever a file holds.
    pub(in crate::app::queries) fn gaps(&self, path: &ArchivePath) -> &[Gap] {
        self.of(path).map_or(&[], |coverage| &coverage.gaps)
    }

    fn of(&self, path: &ArchivePath) -> Option<&Coverage> {
        let mut coverages = self.coverages.iter();
        coverages.find(|coverage| path.name.is_covered_by(coverage))
    }

    /// What is known to be missing before any file is read.
    pub fn check(&self) -> Result<(), IncompleteArchive> {
        match &self.missing {
            None => Ok(()),
            Some(why) => Err(self.incomplete(why.clone())),
        }
    }

    /// What is known to be missing once all files were read, and held so many rows.
    pub fn check_rows(&self, found: u64) -> Result<(), IncompleteArchive> {
        self.check()?;
        let of_month = |coverage: &Coverage| coverage.rows_of_month.get(&self.month).copied();
        let expected: u64 = self.coverages.iter().filter_map(of_month).sum();
        match found == expected {
            true => Ok(()),
            false => Err(self.incomplete(format!(
                "it should hold {expected} rows of the month, but its files hold {found}"
            ))),
        }
    }

    fn incomplete(&self, why: String) -> IncompleteArchive {
        let month = self.month;
        IncompleteArchive { month, why }
    }
}

/// Why it is not known what an archive holds of a month.
#[derive(Debug, thiserror::Error)]
pub enum CoverageError {
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The store.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl From<CoverageError> for CommandError {
    fn from(error: CoverageError) -> CommandError {
        match error {
            CoverageError::Query(error) => error.into(),
            CoverageError::Archive(ArchiveError::Objects { place, what }) => {
                ObjectsError { place, what }.into()
            }
            CoverageError::Archive(error) => CommandError::Internal(error.to_string()),
        }
    }
}

impl Queries {
    /// What the archive says that it holds of a month, whether that is final or not.
    pub async fn month_coverage(
        &self,
        archive: &StoredArchive,
        month: Month,
        now: Millis,
    ) -> Result<MonthCoverage, CoverageError> {
        let is_final = self.month_view(month, now).await?.is_final();
        let coverages = archive.coverages().await?;
        let posted = self.posted().await.map_err(QueryError::from)?;
        let covered = self.covered(&coverages, &posted).await;
        let covered = covered.map_err(QueryError::from)?;
        let behind = self.behind(&covered).await?;
        let mut coverage = MonthCoverage {
            month,
            coverages,
            missing: missing(&covered, month),
            up_to: behind,
        };
        if is_final && let Some(up_to) = coverage.up_to.take() {
            let is_missing = up_to <= month.closes() && coverage.missing.is_none();
            if is_missing {
                let why = format!("it has come to {up_to}, and is still being written");
                coverage.missing = Some(why);
            }
        }
        Ok(coverage)
    }

    /// The least log time up to which the archive has come, of source partitions that have rated
    /// more than it holds.
    async fn behind(&self, covered: &Covered) -> Result<Option<Millis>, QueryError> {
        let mut least: Option<Millis> = None;
        for p in (0..self.partitions().source).map(Partition) {
            let Some(archived) = covered.sources.get(&p) else {
                continue;
            };
            let rated = progress::rate_checkpoint(self.db(), p).await?;
            if rated.is_some_and(|rated| rated.to > archived.to) {
                let log_time = archived.log_time;
                least = Some(least.map_or(log_time, |least| least.min(log_time)));
            }
        }
        Ok(least)
    }
}

fn missing(covered: &Covered, month: Month) -> Option<String> {
    if covered.sources.is_empty() && !covered.is_whole {
        let why = "it covers nothing of the present epoch: it is not the archive of this installation, \
                   or its first file is still to be written, archive.file_age_max (15 min by default) \
                   after the first request";
        return Some(why.to_owned());
    }
    covered.why_not(month)
}
