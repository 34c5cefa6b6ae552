//! The archive of rated requests.

use std::time::Duration;

use super::kinds::{duration, integer, optional_name, url};
use super::location::{FilesLocation, location};
use super::reader::Reader;
use super::secs;

/// The archive of rated requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveConfig {
    /// Where it is; `None`: none is written.
    pub location: Option<FilesLocation>,
    /// The address of an S3 server other than AWS.
    pub endpoint: Option<String>,
    /// The region of the bucket; `None`: that of the environment, the profile or the instance.
    pub region: Option<String>,
    /// A file ends once it has so many rows.
    pub file_rows_max: u64,
    /// A file ends after so long.
    pub file_age_max: Duration,
}

impl ArchiveConfig {
    pub(super) fn read(reader: &mut Reader) -> ArchiveConfig {
        let minutes = |minutes: u64| secs(60 * minutes);
        let rows = reader.get("archive.file_rows_max", 500_000, integer(1_000..=4_000_000));
        ArchiveConfig {
            location: reader.get(
                "archive.location",
                None,
                location("a directory, s3://BUCKET/PREFIX, or an empty string for no archive"),
            ),
            endpoint: reader.get("archive.endpoint", None, url()),
            region: reader.get("archive.region", None, optional_name(32, "-")),
            file_rows_max: u64::try_from(rows).unwrap_or(u64::MAX),
            file_age_max: reader.get(
                "archive.file_age_max",
                minutes(15),
                duration(secs(1)..=minutes(24 * 60)),
            ),
        }
    }
}
