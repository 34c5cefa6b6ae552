//! The rows of the archive in the order of the log: epoch by epoch, source partition by source
//! partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{SyncSender, sync_channel};

use crate::archive::{
    ArchiveError, ArchiveFile, ArchiveStore, ArchivedRequest, Batch, Columns, FileName, Folder,
};
use crate::domain::position::{Epoch, Offset, Partition};
use crate::domain::time::Month;
use crate::store::audits::coverage::{Coverage, Gap};
use futures::TryStreamExt as _;

/// Bytes of files that are in memory at a time, and a file more.
const PORTION_BYTES: usize = 32 * 1024 * 1024;
/// Row groups that are decoded ahead.
const AHEAD: usize = 1;

/// A file of the archive that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the file {path} of the archive at {place} cannot be used: {error}")]
pub struct FileError {
    /// Which.
    pub path: String,
    /// Where the archive is.
    pub place: String,
    /// What is wrong with it.
    pub error: ArchiveError,
}

/// The files that hold what is covered, by name; one name stands in several folders.
#[derive(Clone, Debug, Default)]
pub(super) struct CoveredFiles {
    files: BTreeMap<FileName, Vec<Folder>>,
    /// How many rows they should have.
    pub(super) rows: u64,
    /// The same by the month in which they are booked.
    expected: BTreeMap<Month, u64>,
    /// Ranges of which there are no rows, whatever files hold.
    gaps: BTreeMap<(Epoch, Partition), Vec<Gap>>,
}

impl CoveredFiles {
    /// Finds them. Files behind what is covered are left out: they are being written.
    ///
    /// # Errors
    /// The archive does not answer.
    pub(super) async fn find(
        store: &ArchiveStore,
        coverages: &[Coverage],
    ) -> Result<CoveredFiles, ArchiveError> {
        let is_covered = |name: &FileName| {
            coverages
                .iter()
                .any(|coverage| name.is_covered_by(coverage))
        };
        let mut files: BTreeMap<FileName, Vec<Folder>> = BTreeMap::new();
        let mut listed = store.files(None);
        while let Some((folder, name)) = listed.try_next().await? {
            if is_covered(&name) {
                files.entry(name).or_default().push(folder);
            }
        }
        let mut expected: BTreeMap<Month, u64> = BTreeMap::new();
        for (month, rows) in coverages
            .iter()
            .flat_map(|coverage| &coverage.rows_of_month)
        {
            *expected.entry(*month).or_default() += rows;
        }
        let gaps_of =
            |coverage: &Coverage| ((coverage.epoch, coverage.source), coverage.gaps.clone());
        Ok(CoveredFiles {
            files,
            rows: expected.values().sum(),
            expected,
            gaps: coverages.iter().map(gaps_of).collect(),
        })
    }

    /// Two files that hold the same records.
    pub(super) fn overlap(&self) -> Option<(FileName, FileName)> {
        let mut names = self.files.keys().zip(self.files.keys().skip(1));
        let found = names.find(|(name, next)| name.overlaps(next));
        found.map(|(name, next)| (*name, *next))
    }

    /// Leaves out months whose folders were deleted; which they are.
    pub(super) fn without_deleted(&mut self) -> Vec<Month> {
        let folders = self.files.values().flatten();
        let there: BTreeSet<Month> = folders.map(|folder| folder.month).collect();
        let deleted = self
            .expected
            .extract_if(.., |month, rows| *rows > 0 && !there.contains(month));
        let deleted: Vec<Month> = deleted.map(|(month, _)| month).collect();
        self.rows = self.expected.values().sum();
        deleted
    }

    /// The first month of which there are not as many rows as there should be: how many there
    /// should be, and how many there are.
    pub(super) fn first_wrong(&self, found: &BTreeMap<Month, u64>) -> Option<(Month, u64, u64)> {
        let months: BTreeSet<&Month> = self.expected.keys().chain(found.keys()).collect();
        let of = |rows: &BTreeMap<Month, u64>, month: &Month| rows.get(month).copied();
        months.into_iter().find_map(|month| {
            let expected = of(&self.expected, month).unwrap_or_default();
            let found = of(found, month).unwrap_or_default();
            (expected != found).then_some((*month, expected, found))
        })
    }

    /// Shows every row, in order; how many there were by month. `each` ends it by an error.
    ///
    /// While rows are shown, another thread decodes those that come next.
    pub(super) async fn for_each<E: From<FileError>>(
        &self,
        store: &ArchiveStore,
        columns: Columns,
        mut each: impl FnMut(&ArchivedRequest<'_>) -> Result<(), E>,
    ) -> Result<BTreeMap<Month, u64>, E> {
        let mut found: BTreeMap<Month, u64> = BTreeMap::new();
        let mut names = self.files.iter();
        loop {
            let (mut portion, mut bytes) = (Vec::new(), 0);
            while bytes < PORTION_BYTES
                && let Some((name, folders)) = names.next()
            {
                let range = self.open(store, name, folders).await?;
                bytes += range.bytes;
                portion.push(range);
            }
            if portion.is_empty() {
                return Ok(found);
            }
            in_turn(&portion, columns, &mut |gaps, row: &ArchivedRequest<'_>| {
                if gaps.iter().any(|gap| gap.has(row.offset)) {
                    return Ok(());
                }
                *found.entry(row.month).or_default() += 1;
                each(row)
            })?;
        }
    }

    async fn open(
        &self,
        store: &ArchiveStore,
        name: &FileName,
        folders: &[Folder],
    ) -> Result<RangeOfLog, FileError> {
        let gaps = self.gaps.get(&(name.epoch, name.source));
        let within = |gap: &&Gap| gap.from < name.to && name.from < gap.to;
        let mut range = RangeOfLog {
            gaps: gaps.into_iter().flatten().filter(within).cloned().collect(),
            files: Vec::with_capacity(folders.len()),
            bytes: 0,
        };
        for folder in folders {
            let at = Located {
                path: name.path_in(*folder),
                place: store.place().to_owned(),
            };
            let bytes = store.get(&at.path).await;
            let bytes = bytes.and_then(|bytes| bytes.ok_or(ArchiveError::Gone));
            let bytes = bytes.map_err(|error| at.fault(error))?;
            range.bytes += bytes.len();
            let file = ArchiveFile::open_at(*folder, *name, bytes);
            let file = file.map_err(|error| at.fault(error))?;
            range.files.push(FileOfRange { at, file });
        }
        Ok(range)
    }
}

/// Where a file is.
struct Located {
    path: String,
    place: String,
}

impl Located {
    fn fault(&self, error: ArchiveError) -> FileError {
        FileError {
            path: self.path.clone(),
            place: self.place.clone(),
            error,
        }
    }
}

/// A file of a range.
struct FileOfRange {
    at: Located,
    file: ArchiveFile,
}

/// The files that hold a range of the log: one per folder.
struct RangeOfLog {
    gaps: Vec<Gap>,
    files: Vec<FileOfRange>,
    bytes: usize,
}

/// What the decoding thread gives.
enum Decoded<'p> {
    /// Rows of a range that is in one file.
    Batch(&'p RangeOfLog, &'p FileOfRange, Batch),
    /// A range in several files, which are read one beside the other.
    Several(&'p RangeOfLog),
    Failed(FileError),
}

/// Shows the rows of ranges, one range after the other, with the gaps of their range.
fn in_turn<E: From<FileError>>(
    portion: &[RangeOfLog],
    columns: Columns,
    each: &mut impl FnMut(&[Gap], &ArchivedRequest<'_>) -> Result<(), E>,
) -> Result<(), E> {
    std::thread::scope(|scope| {
        let (decoded, coming) = sync_channel(AHEAD);
        scope.spawn(move || decode(portion, columns, &decoded));
        for piece in coming {
            match piece {
                Decoded::Batch(range, file, batch) => {
                    (0..batch.len()).try_for_each(|row| {
                        let row = batch.row(row).map_err(|error| file.at.fault(error))?;
                        each(&range.gaps, &row)
                    })?;
                }
                Decoded::Several(range) => {
                    in_order(&range.files, columns, &mut |row: &ArchivedRequest<'_>| {
                        each(&range.gaps, row)
                    })?;
                }
                Decoded::Failed(error) => return Err(error.into()),
            }
        }
        Ok(())
    })
}

/// Decodes until the end, an error, or until nobody takes what is decoded.
fn decode<'p>(portion: &'p [RangeOfLog], columns: Columns, out: &SyncSender<Decoded<'p>>) {
    for range in portion {
        // Nearly always there is one.
        let [file] = &range.files[..] else {
            if out.send(Decoded::Several(range)).is_err() {
                return;
            }
            continue;
        };
        for group in 0..file.file.groups() {
            let piece = match file.file.read_group(group, columns) {
                Ok(batch) => Decoded::Batch(range, file, batch),
                Err(error) => Decoded::Failed(file.at.fault(error)),
            };
            let is_last = matches!(piece, Decoded::Failed(_));
            if out.send(piece).is_err() || is_last {
                return;
            }
        }
    }
}

/// A file that is being read, at a row.
struct OpenFile<'f> {
    file: &'f FileOfRange,
    group: usize,
    batch: Option<Batch>,
    row: usize,
}

impl OpenFile<'_> {
    fn begin(file: &FileOfRange, columns: Columns) -> Result<OpenFile<'_>, FileError> {
        let mut open = OpenFile {
            file,
            group: 0,
            batch: None,
            row: 0,
        };
        open.next_group(columns)?;
        Ok(open)
    }

    fn next_group(&mut self, columns: Columns) -> Result<(), FileError> {
        (self.batch, self.row) = (None, 0);
        while self.batch.is_none() && self.group < self.file.file.groups() {
            let batch = self.file.file.read_group(self.group, columns);
            let batch = batch.map_err(|error| self.file.at.fault(error))?;
            self.group += 1;
            self.batch = Some(batch).filter(|batch| !batch.is_empty());
        }
        Ok(())
    }

    fn current(&self) -> Result<Option<ArchivedRequest<'_>>, FileError> {
        let row = self.batch.as_ref().map(|batch| batch.row(self.row));
        row.transpose().map_err(|error| self.file.at.fault(error))
    }

    fn advance(&mut self, columns: Columns) -> Result<(), FileError> {
        self.row += 1;
        match &self.batch {
            Some(batch) if self.row < batch.len() => Ok(()),
            _ => self.next_group(columns),
        }
    }
}

/// Shows the rows of files that hold the same range of the log, by offset.
fn in_order<E: From<FileError>>(
    files: &[FileOfRange],
    columns: Columns,
    each: &mut impl FnMut(&ArchivedRequest<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let opened = files.iter().map(|file| OpenFile::begin(file, columns));
    let mut files = opened.collect::<Result<Vec<_>, FileError>>()?;
    loop {
        let mut next: Option<(usize, Offset)> = None;
        for (place, file) in files.iter().enumerate() {
            if let Some(row) = file.current()?
                && next.is_none_or(|(_, offset)| row.offset < offset)
            {
                next = Some((place, row.offset));
            }
        }
        let Some((place, _)) = next else {
            return Ok(());
        };
        let file = &mut files[place];
        if let Some(row) = file.current()? {
            each(&row)?;
        }
        file.advance(columns)?;
    }
}
