//! The files of the archive, and what they cover.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path as Directory;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore;

use super::error::ArchiveError;
use super::layout::{FileName, Folder};
use crate::domain::position::{Epoch, Offset, Partition};
use crate::domain::time::Month;
use crate::objects::{Objects, S3Place};
use crate::store::audits::coverage::Coverage;

/// Readers of Hive-style folders skip what begins with an underscore.
const COVERAGE: &str = "_coverage";
/// How often files are listed that are replaced meanwhile.
const LISTINGS_MAX: usize = 10;

/// The files of the archive.
#[derive(Clone, Debug)]
pub struct ArchiveStore {
    files: Objects,
}

impl ArchiveStore {
    /// Files in a directory ([`Objects::in_directory`]).
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn in_directory(directory: &Directory) -> Result<ArchiveStore, ArchiveError> {
        Ok(ArchiveStore::of(Objects::in_directory(directory)?))
    }

    /// Files in a bucket ([`Objects::in_bucket`]).
    ///
    /// # Errors
    /// The settings contradict each other.
    pub fn in_bucket(
        s3: &S3Place,
        credentials: aws_credential_types::provider::SharedCredentialsProvider,
    ) -> Result<ArchiveStore, ArchiveError> {
        Ok(ArchiveStore::of(Objects::in_bucket(s3, credentials)?))
    }

    /// The archive in these files.
    pub fn of(files: Objects) -> ArchiveStore {
        ArchiveStore { files }
    }

    /// Files in memory, for tests.
    pub fn in_memory() -> ArchiveStore {
        ArchiveStore::of(Objects::in_memory())
    }

    /// Files in another store of objects.
    pub fn on(objects: Arc<dyn ObjectStore>, place: &str) -> ArchiveStore {
        ArchiveStore::of(Objects::on(objects, place))
    }

    /// Where it is, for people.
    pub fn place(&self) -> &str {
        self.files.place()
    }

    /// Writes a file, unless it is there: what was written first stays. Whether it was not there.
    ///
    /// # Errors
    /// The store does not answer, or refuses it; trying again may help.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<bool, ArchiveError> {
        Ok(self.files.put(path, bytes).await?)
    }

    /// The bytes of a file; `None`: there is none.
    ///
    /// # Errors
    /// As [`ArchiveStore::put`].
    pub async fn get(&self, path: &str) -> Result<Option<Bytes>, ArchiveError> {
        Ok(self.files.get(path).await?)
    }

    /// Folders and names of the files in which rows of this month are booked, or of all months. In
    /// no order.
    pub fn files(
        &self,
        month: Option<Month>,
    ) -> BoxStream<'_, Result<(Folder, FileName), ArchiveError>> {
        let within = month.map(|month| format!("month={month}"));
        let files = self.files.list(within.as_deref());
        let files = files.map_err(ArchiveError::from);
        // What others put there is none of ours.
        let ours =
            files.try_filter_map(async |meta| Ok(FileName::of_path(meta.location.as_ref()).ok()));
        ours.boxed()
    }

    /// Says what is covered of a source partition, unless that was said before as of this place in
    /// the audit log: then what was said first holds. What holds.
    ///
    /// # Errors
    /// As [`ArchiveStore::put`]; or a file was damaged.
    pub async fn put_coverage(&self, coverage: &Coverage) -> Result<Coverage, ArchiveError> {
        let name = CoverageName::of(coverage);
        let bytes = serde_json::to_vec_pretty(coverage);
        let bytes = bytes.map_err(|error| ArchiveError::Format(error.to_string()))?;
        let is_new = self.put(&name.to_string(), bytes.into()).await?;
        let before = match is_new {
            true => None,
            false => self.read_coverage(&name).await?,
        };
        self.delete_coverages_before(&name).await?;
        Ok(before.unwrap_or_else(|| coverage.clone()))
    }

    /// Only the newest is read.
    async fn delete_coverages_before(&self, newest: &CoverageName) -> Result<(), ArchiveError> {
        for name in self.coverage_names().await? {
            if name.is_before(newest) {
                self.files.delete(&name.to_string()).await?;
            }
        }
        Ok(())
    }

    async fn coverage_names(&self) -> Result<Vec<CoverageName>, ArchiveError> {
        let listed: Vec<_> = self.files.list(Some(COVERAGE)).try_collect().await?;
        let names = listed
            .iter()
            .filter_map(|meta| meta.location.filename()?.parse().ok());
        Ok(names.collect())
    }

    async fn read_coverage(&self, name: &CoverageName) -> Result<Option<Coverage>, ArchiveError> {
        let bytes = self.get(&name.to_string()).await?;
        let damaged = |what: String| ArchiveError::Coverage {
            path: name.to_string(),
            what,
        };
        let read = |bytes: Bytes| {
            let read: serde_json::Result<Coverage> = serde_json::from_slice(&bytes);
            let coverage = read.map_err(|error| damaged(error.to_string()))?;
            match CoverageName::of(&coverage) {
                own if own == *name => Ok(coverage),
                own => Err(damaged(format!("it holds what belongs into {own}"))),
            }
        };
        bytes.map(read).transpose()
    }

    /// What is covered of a source partition; `None`: nothing yet.
    ///
    /// # Errors
    /// As [`ArchiveStore::put`]; or the file was damaged.
    pub async fn coverage(
        &self,
        epoch: Epoch,
        source: Partition,
    ) -> Result<Option<Coverage>, ArchiveError> {
        let is_it = |name: &CoverageName| (name.epoch, name.source) == (epoch, source);
        Ok(self.newest_coverages(is_it).await?.pop())
    }

    /// What is covered of each epoch and source partition, in their order.
    ///
    /// # Errors
    /// As [`ArchiveStore::put`]; or a file was damaged.
    pub async fn coverages(&self) -> Result<Vec<Coverage>, ArchiveError> {
        self.newest_coverages(|_| true).await
    }

    async fn newest_coverages(
        &self,
        is_wanted: impl Fn(&CoverageName) -> bool,
    ) -> Result<Vec<Coverage>, ArchiveError> {
        for _ in 0..LISTINGS_MAX {
            let mut coverages = BTreeMap::new();
            let mut newest: BTreeMap<(Epoch, Partition), CoverageName> = BTreeMap::new();
            for name in self.coverage_names().await?.into_iter().filter(&is_wanted) {
                let known = newest.entry((name.epoch, name.source)).or_insert(name);
                known.next_cut = known.next_cut.max(name.next_cut);
            }
            let count = newest.len();
            for (of, name) in newest {
                // A newer one has taken its place since.
                let Some(coverage) = self.read_coverage(&name).await? else {
                    break;
                };
                coverages.insert(of, coverage);
            }
            if coverages.len() == count {
                return Ok(coverages.into_values().collect());
            }
        }
        Err(ArchiveError::Objects {
            place: self.place().to_owned(),
            what: format!(
                "what {COVERAGE} lists was deleted before it could be read, {LISTINGS_MAX} times in a \
                 row; try again, and see whether something other than tidemark deletes there"
            ),
        })
    }
}

/// The name of a file that says what is covered of a source partition, as of a record of
/// `ledger.cuts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CoverageName {
    epoch: Epoch,
    source: Partition,
    next_cut: Offset,
}

impl CoverageName {
    fn of(coverage: &Coverage) -> CoverageName {
        CoverageName {
            epoch: coverage.epoch,
            source: coverage.source,
            next_cut: coverage.next_cut,
        }
    }

    fn is_before(&self, other: &CoverageName) -> bool {
        (self.epoch, self.source) == (other.epoch, other.source) && self.next_cut < other.next_cut
    }
}

impl fmt::Display for CoverageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (epoch, source, next) = (self.epoch.0, self.source.0, self.next_cut.0);
        write!(f, "{COVERAGE}/e{epoch:010}-p{source:05}-{next:020}.json")
    }
}

impl FromStr for CoverageName {
    type Err = ArchiveError;

    /// The file name alone.
    fn from_str(text: &str) -> Result<CoverageName, ArchiveError> {
        let parts = || {
            let mut parts = text.strip_suffix(".json")?.split('-');
            let name = CoverageName {
                epoch: Epoch(parts.next()?.strip_prefix('e')?.parse().ok()?),
                source: Partition(parts.next()?.strip_prefix('p')?.parse().ok()?),
                next_cut: Offset(parts.next()?.parse().ok()?),
            };
            parts.next().is_none().then_some(name)
        };
        parts().ok_or_else(|| ArchiveError::Path(text.to_owned()))
    }
}
