//! A month as a file for finance: statements, their services and days from the tables, requests
//! from the archive, piece by piece.
//!
//! Memory stays bounded: a page of the table, or a row group of the archive, is read, encoded and
//! handed on before the next is read. Statements come in the order in which the table is read,
//! users before providers; requests in the order of the archive's files. A file that was cut short
//! can be told from a whole one: CSV ends with a comment that counts the rows, FOCUS says the
//! number of rows in its last one, Parquet has a footer.

mod changes;
mod csv;
mod encoder;
mod focus;
mod parquet;
mod request;
mod requests;
mod statements;
mod table;
mod trail;

use std::sync::Arc;

use ::parquet::errors::ParquetError;
use bytes::Bytes;

use super::replay::{
    ArchivePath, IncompleteArchive, MonthCoverage, OverlappingFiles, StoredArchive, check_overlap,
};
use super::statements::MonthView;
use super::{Queries, QueryError};
use crate::app::{CommandError, Refusal};
use crate::archive::{ArchiveError, ArchiveFile};
use crate::domain::ids::{Account, AccountKind};
use crate::domain::time::{Millis, Month};
use crate::store::db::Item;
pub use changes::ChangesFile;
use csv::CsvRows;
use encoder::{Encoder, columns_of};
pub use focus::FOCUS_VERSION;
use focus::{CHARGES, FocusRows};
use parquet::ParquetRows;
pub use request::{ExportFormat, ExportRequest, ExportWhat, ISSUER_DEFAULT, UnknownName};
use requests::ARCHIVED;
pub use table::{Column, ColumnKind, Sums};
pub use trail::TrailFile;

/// Accounts that an error names.
const NAMED_MAX: usize = 10;

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Everything else has been written, but not these.
    #[error(
        "the file is incomplete: the rows of {count} accounts in {month} cannot be read, among them {named}. \
         Restore the rows and export again; `tidemark set-aside list` shows accounts that wait for that"
    )]
    Unreadable {
        /// The month.
        month: Month,
        /// How many accounts.
        count: u64,
        /// Some of them.
        named: String,
    },
    /// The archive cannot be read.
    #[error("cannot read {what} of the archive at {place}: {error}")]
    Archive {
        /// Where it is.
        place: String,
        /// Which file.
        what: String,
        /// Why.
        error: ArchiveFault,
    },
    /// Everything that the archive holds has been written, but requests are missing.
    #[error(transparent)]
    Incomplete(#[from] IncompleteArchive),
    /// Two files of the archive hold the same records.
    #[error(transparent)]
    Overlap(#[from] OverlappingFiles),
    /// The file cannot be made.
    #[error("cannot write Parquet: {0}")]
    Parquet(#[from] ParquetError),
}

/// What is wrong with a file of the archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveFault {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It cannot be understood.
    #[error(transparent)]
    File(#[from] ArchiveError),
    /// Reading it ended early, which is a bug.
    #[error("{0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// A file in the making.
pub struct Export {
    queries: Arc<Queries>,
    view: MonthView,
    request: ExportRequest,
    /// Of requests: what the archive says that it holds of the month.
    coverage: Option<MonthCoverage>,
    /// Rows of the archive so far.
    archived: u64,
    /// What is missing, if it was exported all the same.
    missing: Option<String>,
    encoder: Encoder,
    sums: Sums,
    stage: Stage,
    unreadable: Vec<Account>,
    unreadable_count: u64,
}

/// What comes next.
enum Stage {
    Header,
    /// A page of the table of this kind of account, after this item.
    Page(AccountKind, Option<Item>),
    /// The archive's files, the next one last.
    Files(Vec<ArchivePath>),
    /// A row group of a file of the archive, and the files after it.
    Group(ArchivePath, Arc<ArchiveFile>, usize, Vec<ArchivePath>),
    End,
    Done,
}

impl Queries {
    /// Begins an export. What it is refused for is known before anything is read of the rows.
    pub async fn export(
        self: Arc<Queries>,
        request: ExportRequest,
        now: Millis,
    ) -> Result<Export, CommandError> {
        request.check()?;
        let archive = self.archive.as_ref();
        let archive = archive.filter(|_| request.what == ExportWhat::Requests);
        if request.what == ExportWhat::Requests && archive.is_none() {
            let detail = "requests are exported from the archive, and none is configured here; set \
                          archive.location (docs/archive.md)";
            return Err(Refusal::invalid("no_archive", detail).into());
        }
        if request.month > now.month() {
            let detail = format!("{} has not begun", request.month);
            return Err(Refusal::invalid("month_in_the_future", detail).into());
        }
        let view = self.month_view(request.month, now).await?;
        let coverage = match archive {
            Some(archive) => Some(self.month_coverage(archive, request.month, now).await?),
            None => None,
        };
        let mut missing = None;
        if let Some(Err(incomplete)) = coverage.as_ref().map(MonthCoverage::check) {
            if !request.partial {
                return Err(Refusal::conflict(IncompleteArchive::CODE, incomplete).into());
            }
            missing = Some(incomplete.why);
        }
        let (columns, encoder) = match request.format {
            ExportFormat::Csv => (
                columns_of(request.what),
                Encoder::Csv(CsvRows::new(request.exact_text)),
            ),
            ExportFormat::Parquet => {
                let columns = columns_of(request.what);
                let notes = vec![
                    ("month", request.month.to_string()),
                    ("what", request.what.to_string()),
                    ("final", view.is_final().to_string()),
                ];
                let rows = ParquetRows::new(columns, notes);
                let rows = rows.expect("every column has a name and a type of its own");
                (columns, Encoder::Parquet(Box::new(rows)))
            }
            ExportFormat::Focus => {
                let rows = FocusRows::new(request.exact_text, request.issuer.clone());
                (CHARGES, Encoder::Focus(rows))
            }
        };
        Ok(Export {
            queries: self,
            view,
            request,
            coverage,
            archived: 0,
            missing,
            encoder,
            sums: Sums::new(columns),
            stage: Stage::Header,
            unreadable: Vec::new(),
            unreadable_count: 0,
        })
    }
}

impl Export {
    /// What it is of.
    pub fn request(&self) -> &ExportRequest {
        &self.request
    }

    /// Whether nothing of the month can change any more. Rows of accounts that are set aside say
    /// for themselves that they are not final.
    pub fn is_final(&self) -> bool {
        self.view.is_final()
    }

    /// What is missing of it, as far as that is known by now.
    pub fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    /// The log time up to which the archive holds requests of a month that is not final; `None`: it
    /// holds everything that has been rated, or nothing is read of it.
    pub fn up_to(&self) -> Option<Millis> {
        self.coverage.as_ref().and_then(|coverage| coverage.up_to)
    }

    /// How many rows have been written so far, and what they sum up to.
    pub fn sums(&self) -> &Sums {
        &self.sums
    }

    /// A name for the file. It says so if the month is not final, or requests of it are missing.
    pub fn file_name(&self) -> String {
        let ExportRequest {
            month,
            what,
            format,
            ..
        } = &self.request;
        let state = if self.is_final() { "" } else { "-not-final" };
        let part = self.missing().map_or("", |_| "-partial");
        format!(
            "tidemark-{month}-{what}{state}{part}.{}",
            format.extension()
        )
    }

    /// The next piece of the file; `None` after the last. After an error, the file is incomplete.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ExportError> {
        loop {
            let piece = match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Done => return Ok(None),
                Stage::Header => {
                    self.stage = self.first().await?;
                    self.encoder.header(self.request.what)?
                }
                Stage::Page(kind, after) => {
                    self.stage = self.page(kind, after).await?;
                    self.encoder.take()?
                }
                Stage::Files(files) => {
                    self.stage = self.open(files).await?;
                    Vec::new()
                }
                Stage::Group(path, file, group, files) => {
                    self.stage = self.group(path, file, group, files).await?;
                    self.encoder.take()?
                }
                Stage::End => {
                    self.check_complete()?;
                    self.encoder.end(&mut self.sums, self.missing.is_some())?
                }
            };
            if !piece.is_empty() {
                return Ok(Some(piece.into()));
            }
        }
    }

    async fn first(&self) -> Result<Stage, ExportError> {
        let archive = match self.request.what {
            ExportWhat::Requests => self.archive(),
            _ => None,
        };
        let Some(archive) = archive else {
            return Ok(Stage::Page(AccountKind::ALL[0], None));
        };
        let month = self.request.month;
        let listed = tokio::task::spawn_blocking(move || archive.files(month)).await;
        let files = listed
            .map_err(ArchiveFault::from)
            .and_then(|files| Ok(files?));
        let files = files.map_err(|error| self.archive_fault("the list of files", error))?;
        let mut files = match &self.coverage {
            Some(coverage) => coverage.covered(files),
            None => files,
        };
        check_overlap(&files)?;
        files.reverse();
        Ok(Stage::Files(files))
    }

    async fn open(&self, mut files: Vec<ArchivePath>) -> Result<Stage, ExportError> {
        let (Some(path), Some(archive)) = (files.pop(), self.archive()) else {
            return Ok(Stage::End);
        };
        let read = move || -> Result<ArchiveFile, ArchiveFault> {
            let bytes = archive.read(&path)?;
            Ok(ArchiveFile::open_at(path.folder, path.name, bytes)?)
        };
        let file = tokio::task::spawn_blocking(read).await;
        let file = file.map_err(ArchiveFault::from).and_then(|file| file);
        let file = file.map_err(|error| self.archive_fault(&path.to_string(), error))?;
        Ok(Stage::Group(path, Arc::new(file), 0, files))
    }

    async fn group(
        &mut self,
        path: ArchivePath,
        file: Arc<ArchiveFile>,
        group: usize,
        files: Vec<ArchivePath>,
    ) -> Result<Stage, ExportError> {
        if group >= file.groups() {
            return Ok(Stage::Files(files));
        }
        let same = Arc::clone(&file);
        let read = move || same.read_group(group, ARCHIVED);
        let batch = tokio::task::spawn_blocking(read).await;
        let batch = batch
            .map_err(ArchiveFault::from)
            .and_then(|batch| Ok(batch?));
        let broken = |error| (path.to_string(), error);
        let batch = batch.map_err(broken);
        let batch = batch.map_err(|(path, error)| self.archive_fault(&path, error))?;
        let is_final = self.is_final();
        let coverage = self.coverage.as_ref();
        let gaps = coverage.map_or(&[][..], |coverage| coverage.gaps(&path));
        for place in 0..batch.len() {
            let row = batch.row(place).map_err(ArchiveFault::from);
            let row = row.map_err(|error| self.archive_fault(&path.to_string(), error))?;
            if !gaps.iter().any(|gap| gap.has(row.offset)) {
                self.archived += 1;
                self.encoder.request(&row, is_final, &mut self.sums);
            }
        }
        Ok(Stage::Group(path, file, group + 1, files))
    }

    fn archive(&self) -> Option<Arc<StoredArchive>> {
        self.queries.archive.clone()
    }

    fn archive_fault(&self, what: &str, error: ArchiveFault) -> ExportError {
        let place = self.archive().map(|archive| archive.place());
        ExportError::Archive {
            place: place.unwrap_or_default(),
            what: what.to_owned(),
            error,
        }
    }

    async fn page(&mut self, kind: AccountKind, after: Option<Item>) -> Result<Stage, QueryError> {
        let statements = self.view.clone().of(&self.queries);
        let page = statements.page(kind, after).await?;
        for statement in &page.statements {
            self.encoder
                .statement(self.request.what, statement, &mut self.sums);
        }
        self.unreadable_count += page.unreadable.len() as u64;
        let room = NAMED_MAX.saturating_sub(self.unreadable.len());
        self.unreadable
            .extend(page.unreadable.into_iter().take(room));
        let mut kinds = AccountKind::ALL
            .into_iter()
            .skip_while(|other| *other != kind);
        Ok(match page.next {
            Some(next) => Stage::Page(kind, Some(next)),
            None => kinds
                .nth(1)
                .map_or(Stage::End, |next| Stage::Page(next, None)),
        })
    }

    fn check_complete(&mut self) -> Result<(), ExportError> {
        let coverage = self.coverage.as_ref();
        let is_complete = coverage.map_or(Ok(()), |of| of.check_rows(self.archived));
        if let Err(incomplete) = is_complete {
            if !self.request.partial {
                return Err(incomplete.into());
            }
            self.missing = Some(incomplete.why);
        }
        if self.unreadable_count == 0 {
            return Ok(());
        }
        let named: Vec<String> = self.unreadable.iter().map(Account::to_string).collect();
        Err(ExportError::Unreadable {
            month: self.request.month,
            count: self.unreadable_count,
            named: named.join(", "),
        })
    }
}
