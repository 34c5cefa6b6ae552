//! Where the files of the archive lie.

use std::io;

use bytes::Bytes;
use futures::TryStreamExt as _;
use tokio::runtime::Handle;

use crate::archive::{ArchiveError, ArchiveStore, FileName, Folder};
use crate::domain::time::Month;
use crate::store::audits::coverage::Coverage;

/// A file of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArchivePath {
    /// Its folder.
    pub folder: Folder,
    /// Its name.
    pub name: FileName,
}

impl std::fmt::Display for ArchivePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name.path_in(self.folder))
    }
}

/// Two files hold the same records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{first} and {second} hold the same records, so that they would be counted twice; remove the one \
     that does not belong to the archive"
)]
pub struct OverlappingFiles {
    /// One.
    pub first: ArchivePath,
    /// The other.
    pub second: ArchivePath,
}

/// Refuses files of which two hold the same records. They are in order.
pub(in crate::app::queries) fn check_overlap(
    files: &[ArchivePath],
) -> Result<(), OverlappingFiles> {
    let mut pairs = files.windows(2);
    let same = pairs.find(|pair| {
        let [first, second] = [pair[0], pair[1]];
        first.folder == second.folder && first.name.overlaps(&second.name)
    });
    match same {
        None => Ok(()),
        Some(pair) => Err(OverlappingFiles {
            first: pair[0],
            second: pair[1],
        }),
    }
}

/// The files of an archive, as replay and export read them. Calls block.
#[derive(Clone, Debug)]
pub struct StoredArchive {
    store: ArchiveStore,
    runtime: Handle,
}

impl StoredArchive {
    /// Those of this archive, whose requests are made on this runtime.
    pub const fn new(store: ArchiveStore, runtime: Handle) -> StoredArchive {
        StoredArchive { store, runtime }
    }

    /// Where they are, for people.
    pub fn place(&self) -> String {
        self.store.place().to_owned()
    }

    /// What it says that it covers. Does not block.
    ///
    /// # Errors
    /// The archive does not answer, or what it says was damaged.
    pub(super) async fn coverages(&self) -> Result<Vec<Coverage>, ArchiveError> {
        self.store.coverages().await
    }

    /// Those in which rows of this month are booked, in order.
    ///
    /// # Errors
    /// The archive does not answer.
    pub fn files(&self, month: Month) -> io::Result<Vec<ArchivePath>> {
        let listed = self.store.files(Some(month)).try_collect::<Vec<_>>();
        let listed = self.runtime.block_on(listed).map_err(io::Error::other)?;
        let path = |(folder, name)| ArchivePath { folder, name };
        let mut found: Vec<ArchivePath> = listed.into_iter().map(path).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// The bytes of one.
    ///
    /// # Errors
    /// The archive does not answer, or the file is gone.
    pub fn read(&self, path: &ArchivePath) -> io::Result<Bytes> {
        let read = self.runtime.block_on(self.store.get(&path.to_string()));
        read.map_err(io::Error::other)?
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}
