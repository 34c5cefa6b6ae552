//! Where a command writes a file: stdout, or a path at which it appears when it is complete.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::output::{Done, Failure, Out};

/// A file in the making.
pub enum OutputFile {
    /// Stdout.
    Stdout(Out),
    /// A file beside its place.
    Part {
        /// What is written.
        file: BufWriter<File>,
        /// Where it is meanwhile.
        part: PathBuf,
        /// Where it will be.
        place: PathBuf,
    },
}

impl OutputFile {
    /// Begins a file; without a path, stdout.
    pub fn create(path: Option<&Path>) -> Done<OutputFile> {
        let Some(place) = path else {
            return Ok(OutputFile::Stdout(Out::new()));
        };
        let mut part = OsString::from(place);
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).map_err(|error| cannot(&part, &error))?;
        Ok(OutputFile::Part {
            file: BufWriter::new(file),
            part,
            place: place.to_owned(),
        })
    }

    /// Writes a piece.
    pub fn write(&mut self, bytes: &[u8]) -> Done {
        match self {
            OutputFile::Stdout(out) => out.bytes(bytes),
            OutputFile::Part { file, part, .. } => {
                file.write_all(bytes).map_err(|error| cannot(part, &error))
            }
        }
    }

    /// The file is complete: it appears at its place, and lasts.
    pub fn finish(self) -> Done {
        match self {
            OutputFile::Stdout(mut out) => out.finish(),
            OutputFile::Part { file, part, place } => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error);
                let synced = file.and_then(|file| file.sync_all());
                let moved = synced.and_then(|()| std::fs::rename(&part, &place));
                moved.map_err(|error| cannot(&place, &error))
            }
        }
    }

    /// What is there of a file that does not become complete; `None`: stdout.
    pub fn part(&self) -> Option<&Path> {
        match self {
            OutputFile::Stdout(_) => None,
            OutputFile::Part { part, .. } => Some(part),
        }
    }
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot write {}: {error}", path.display()))
}
