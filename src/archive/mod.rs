//! The archive: every accepted request, as it was rated, in Parquet files.
//!
//! A row ([`ArchivedRequest`]) suffices without any other source: what posting adds to accounts
//! follows from it, and it can be rated again under other rules. Nothing here decides a number or
//! knows who writes rows.

mod batch;
mod column;
mod decode;
mod encode;
mod error;
mod layout;
mod objects;
mod posted;
mod row;

pub use batch::{Batch, Flags, Scalars, Texts};
pub use column::{Shape, Text};
pub use decode::ArchiveFile;
pub use encode::{ArchiveWriter, ROWS_PER_GROUP};
pub use error::ArchiveError;
pub use layout::{FileName, Folder};
pub use objects::ArchiveStore;
pub use posted::Posted;
pub use row::{ArchivedRequest, Column, Columns, RequestKind, Rows};
