//! What can be wrong with an archive.

use parquet::errors::ParquetError;

use crate::objects::ObjectsError;

/// Why an archive file cannot be written or read. Trying again helps only if the place of the files
/// did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The bytes are not those of a Parquet file, or were damaged.
    #[error(
        "not a readable Parquet file: {0}; if the archive was damaged, restore the file or let the \
         audit write it again"
    )]
    Parquet(#[from] ParquetError),
    /// It is a Parquet file, but none of the archive, or of a later version.
    #[error("not an archive file that this version can read: {0}; use the tidemark that wrote it")]
    Format(String),
    /// A value that no version writes.
    #[error("column {column} holds {found}, which is not a value of it; the file was damaged")]
    Value {
        /// The column.
        column: &'static str,
        /// What is there.
        found: String,
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
            ArchiveError::Objects { .. } => "archive_unreachable",
            ArchiveError::Path(_) => "archive_path",
        }
    }
}
