//! What can be wrong with an archive.

use parquet::errors::ParquetError;

use crate::objects::ObjectsError;

/// Why an archive file cannot be written or read. Trying again helps only if the place of the files
/// did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The bytes are not those of a Parquet file, or were damaged.
    #[error(
        "not a readable Parquet file: {0}; it was cut short or damaged, and is not written again: \
         restore it from a copy (docs/archive.md#damaged-files)"
    )]
    Parquet(#[from] ParquetError),
    /// It is a Parquet file, but none of the archive, or of a later version.
    #[error(
        "not an archive file that this version can read: {0}; use the version of tidemark that wrote \
         it, or, if it was not written by tidemark, move it away (docs/archive.md#damaged-files)"
    )]
    Format(String),
    /// A value that no version writes.
    #[error(
        "column {column} holds {found}, which is not a value of it; the file was damaged: restore it \
         from a copy (docs/archive.md#damaged-files)"
    )]
    Value {
        /// The column.
        column: &'static str,
        /// What is there.
        found: String,
    },
    /// The rows are not those that the path names.
    #[error(
        "column {column} holds {found}, which does not belong into a file of this path: another file \
         was copied or moved here; restore the right one, or, if this path did not exist before, \
         remove it (docs/archive.md#damaged-files)"
    )]
    Misplaced {
        /// The column that says so.
        column: &'static str,
        /// What is there, for people.
        found: String,
    },
    /// A file was listed, and is not there.
    #[error(
        "it was listed and is gone: restore it if it was deleted, or repeat this if files are being \
         moved (docs/archive.md#damaged-files)"
    )]
    Gone,
    /// What says up to where there is an archive cannot be read.
    #[error(
        "{path} is damaged: {what}; restore it from a copy, or remove it: the auditor writes it again \
         with its next file (docs/archive.md#damaged-files)"
    )]
    Coverage {
        /// Which file.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// Where files lie does not answer, or refuses them. Trying again may help.
    #[error("the archive in {place} cannot be used: {what}")]
    Objects {
        /// Where files lie.
        place: String,
        /// What it answered.
        what: String,
    },
    /// The path is not one of an archive file.
    #[error("'{0}' is not the path of an archive file")]
    Path(String),
}

impl From<ObjectsError> for ArchiveError {
    fn from(error: ObjectsError) -> ArchiveError {
        let ObjectsError { place, what } = error;
        ArchiveError::Objects { place, what }
    }
}

impl ArchiveError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            ArchiveError::Parquet(_) => "archive_unreadable",
            ArchiveError::Format(_) => "archive_format",
            ArchiveError::Value { .. } => "archive_value",
            ArchiveError::Misplaced { .. } => "archive_misplaced",
            ArchiveError::Gone => "archive_file_gone",
            ArchiveError::Coverage { .. } => "archive_coverage_damaged",
            ArchiveError::Objects { .. } => "archive_unreachable",
            ArchiveError::Path(_) => "archive_path",
        }
    }
}
