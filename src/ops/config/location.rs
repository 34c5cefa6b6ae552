//! Where files are kept.

use std::path::PathBuf;
use std::str::FromStr;

use serde_json::json;

use super::kinds::{Kind, text_kind};

/// Where files are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilesLocation {
    /// In a directory.
    Directory(PathBuf),
    /// In a bucket of S3.
    Bucket {
        /// Its name.
        bucket: String,
        /// What stands before every path in it, without slashes around it; it may be empty.
        prefix: String,
    },
}

impl FromStr for FilesLocation {
    type Err = String;

    /// The one that a text names: `s3://bucket/prefix`, or a directory.
    fn from_str(text: &str) -> Result<FilesLocation, String> {
        let Some(bucket) = text.strip_prefix("s3://") else {
            return match text.contains("://") {
                true => Err(format!("is '{text}'")),
                false => Ok(FilesLocation::Directory(PathBuf::from(text))),
            };
        };
        let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
        match bucket.is_empty() {
            true => Err(format!("is '{text}', which names no bucket")),
            false => Ok(FilesLocation::Bucket {
                bucket: bucket.to_owned(),
                prefix: prefix.trim_matches('/').to_owned(),
            }),
        }
    }
}

/// A setting that names such a place, or none.
pub(super) fn location(allowed: &'static str) -> Kind<Option<FilesLocation>> {
    text_kind(allowed, json!({"type": "string"}), |text| match text {
        "" => Ok(None),
        text => text.parse().map(Some),
    })
}
