//! The archive of rated requests.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde_json::json;

use super::kinds::{Kind, duration, integer, optional_name, text_kind, url};
use super::reader::Reader;
use super::secs;

/// The archive of rated requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveConfig {
    /// Where it is; `None`: none is written.
    pub location: Option<ArchiveLocation>,
    /// The address of an S3 server other than AWS.
    pub endpoint: Option<String>,
    /// The region of the bucket; `None`: that of the environment, the profile or the instance.
    pub region: Option<String>,
    /// A file ends once it has so many rows.
    pub file_rows_max: u64,
    /// A file ends after so long.
    pub file_age_max: Duration,
}

/// Where the archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveLocation {
    /// A directory.
    Directory(PathBuf),
    /// A bucket of S3, and what stands before every path in it.
    Bucket {
        /// Its name.
        bucket: String,
        /// Without slashes around it; it may be empty.
        prefix: String,
    },
}

impl FromStr for ArchiveLocation {
    type Err = String;

    /// The one that a text names: `s3://bucket/prefix`, or a directory.
    fn from_str(text: &str) -> Result<ArchiveLocation, String> {
        let Some(bucket) = text.strip_prefix("s3://") else {
            return match text.contains("://") {
                true => Err(format!("is '{text}'")),
                false => Ok(ArchiveLocation::Directory(PathBuf::from(text))),
            };
        };
        let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
        match bucket.is_empty() {
            true => Err(format!("is '{text}', which names no bucket")),
            false => Ok(ArchiveLocation::Bucket {
                bucket: bucket.to_owned(),
                prefix: prefix.trim_matches('/').to_owned(),
            }),
        }
    }
}

fn location() -> Kind<Option<ArchiveLocation>> {
    text_kind(
        "a directory, s3://BUCKET/PREFIX, or an empty string for no archive",
        json!({"type": "string"}),
        |text| match text {
            "" => Ok(None),
            text => text.parse().map(Some),
        },
    )
}

impl ArchiveConfig {
    pub(super) fn read(reader: &mut Reader) -> ArchiveConfig {
        let minutes = |minutes: u64| secs(60 * minutes);
        let rows = reader.get("archive.file_rows_max", 500_000, integer(1_000..=4_000_000));
        ArchiveConfig {
            location: reader.get("archive.location", None, location()),
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
