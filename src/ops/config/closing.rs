//! Closed months.

use super::kinds::{optional_name, url};
use super::location::{FilesLocation, location};
use super::reader::Reader;

/// Where the files of closed months are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosingConfig {
    /// `None`: with Kafka and DynamoDB months cannot be closed; else in the data directory.
    pub location: Option<FilesLocation>,
    /// The address of an S3 server other than AWS.
    pub endpoint: Option<String>,
    /// The region of the bucket; `None`: that of the environment, the profile or the instance.
    pub region: Option<String>,
}

impl ClosingConfig {
    pub(super) fn read(reader: &mut Reader) -> ClosingConfig {
        let allowed = "a directory, s3://BUCKET/PREFIX, or an empty string for the default";
        ClosingConfig {
            location: reader.get("closing.location", None, location(allowed)),
            endpoint: reader.get("closing.endpoint", None, url()),
            region: reader.get("closing.region", None, optional_name(32, "-")),
        }
    }
}
