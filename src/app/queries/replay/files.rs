//! Where the files of the archive lie.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::archive::FileName;
use crate::archive::Folder;
use crate::domain::time::Month;

/// The files of the archive, as replay and export read them. Calls block.
pub trait ArchiveFiles: Send + Sync {
    /// Where they are, for people.
    fn place(&self) -> String;

    /// Those in which rows of this month are booked, in order.
    fn files(&self, month: Month) -> io::Result<Vec<ArchivePath>>;

    /// The bytes of one.
    fn read(&self, path: &ArchivePath) -> io::Result<Bytes>;
}

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

/// Two files of a partition that hold the same records.
pub(super) fn overlap(files: &[ArchivePath]) -> Option<(ArchivePath, ArchivePath)> {
    let mut pairs = files.windows(2);
    let same = pairs.find(|pair| {
        let [first, second] = [pair[0], pair[1]];
        first.folder == second.folder
            && (first.name.epoch, first.name.source) == (second.name.epoch, second.name.source)
            && second.name.from < first.name.to
    });
    same.map(|pair| (pair[0], pair[1]))
}

/// An archive in a local directory.
#[derive(Clone, Debug)]
pub struct LocalArchive {
    directory: PathBuf,
}

impl LocalArchive {
    /// The archive in this directory.
    pub fn new(directory: &Path) -> LocalArchive {
        LocalArchive {
            directory: directory.to_owned(),
        }
    }
}

impl ArchiveFiles for LocalArchive {
    fn place(&self) -> String {
        self.directory.display().to_string()
    }

    fn files(&self, month: Month) -> io::Result<Vec<ArchivePath>> {
        let days = match fs::read_dir(self.directory.join(format!("month={month}"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            days => days?,
        };
        let mut found = Vec::new();
        for day in days {
            let day = day?.path();
            if !day.is_dir() {
                continue;
            }
            for file in fs::read_dir(&day)? {
                let file = file?.path();
                // What others put there is none of ours.
                if let Ok((folder, name)) = FileName::of_path(&file.to_string_lossy()) {
                    found.push(ArchivePath { folder, name });
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn read(&self, path: &ArchivePath) -> io::Result<Bytes> {
        fs::read(self.directory.join(path.to_string())).map(Bytes::from)
    }
}
