//! Where files lie: a directory, or a bucket of S3 or of a server that speaks its protocol.

use std::path::Path as Directory;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};

use super::error::ArchiveError;
use super::http::{CachedCredentials, Connector};
use super::layout::{FileName, Folder};
use crate::domain::position::{Epoch, Partition};
use crate::domain::time::Month;
use crate::store::audits::coverage::Coverage;

/// Readers of Hive-style folders skip what begins with an underscore.
const COVERAGE: &str = "_coverage";

/// A bucket.
#[derive(Clone, Debug)]
pub struct S3Place {
    /// Its name.
    pub bucket: String,
    /// What stands before every path, without slashes around it; it may be empty.
    pub prefix: String,
    /// The region.
    pub region: String,
    /// The address of a server other than AWS.
    pub endpoint: Option<String>,
}

/// The files of the archive.
#[derive(Clone, Debug)]
pub struct ArchiveStore {
    objects: Arc<dyn ObjectStore>,
    prefix: String,
    /// For people.
    place: String,
}

impl ArchiveStore {
    /// Files in a directory, which is made if need be. A file is replaced at once and whole, and is on
    /// the disk before it counts as written.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn in_directory(directory: &Directory) -> Result<ArchiveStore, ArchiveError> {
        let place = directory.display().to_string();
        let failed = |what: &dyn std::fmt::Display| ArchiveError::Objects {
            place: place.clone(),
            what: what.to_string(),
        };
        std::fs::create_dir_all(directory).map_err(|error| failed(&error))?;
        let files = LocalFileSystem::new_with_prefix(directory).map_err(|error| failed(&error))?;
        Ok(ArchiveStore::on(Arc::new(files.with_fsync(true)), &place))
    }

    /// Files in a bucket; requests are signed with these credentials.
    ///
    /// # Errors
    /// The settings contradict each other.
    pub fn in_bucket(
        s3: &S3Place,
        credentials: aws_credential_types::provider::SharedCredentialsProvider,
    ) -> Result<ArchiveStore, ArchiveError> {
        let place = format!("s3://{}/{}", s3.bucket, s3.prefix);
        let is_plain = s3.endpoint.as_deref().is_some_and(is_plain);
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&s3.bucket)
            .with_region(&s3.region)
            .with_allow_http(is_plain)
            .with_http_connector(Connector { is_plain })
            .with_credentials(Arc::new(CachedCredentials::of(credentials)));
        if let Some(endpoint) = &s3.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let bucket = builder.build().map_err(|error| ArchiveError::Objects {
            place: place.clone(),
            what: error.to_string(),
        })?;
        Ok(ArchiveStore {
            prefix: s3.prefix.clone(),
            ..ArchiveStore::on(Arc::new(bucket), &place)
        })
    }

    /// Files in memory, for tests.
    pub fn in_memory() -> ArchiveStore {
        ArchiveStore::on(Arc::new(InMemory::new()), "memory")
    }

    /// Files in another store of objects.
    pub fn on(objects: Arc<dyn ObjectStore>, place: &str) -> ArchiveStore {
        ArchiveStore {
            objects,
            prefix: String::new(),
            place: place.to_owned(),
        }
    }

    /// Where it is, for people.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Writes a file, or replaces it.
    ///
    /// # Errors
    /// The store does not answer, or refuses it; trying again may help.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<(), ArchiveError> {
        let payload = PutPayload::from(bytes);
        let put = self.objects.put(&self.path(path), payload).await;
        put.map(drop).map_err(|error| self.failed(&error))
    }

    /// The bytes of a file; `None`: there is none.
    ///
    /// # Errors
    /// As [`ArchiveStore::put`].
    pub async fn get(&self, path: &str) -> Result<Option<Bytes>, ArchiveError> {
        let read = async { self.objects.get(&self.path(path)).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Folders and names of the files in which rows of this month are booked, or of all months. In no
    /// order.
    pub fn files(
        &self,
        month: Option<Month>,
    ) -> BoxStream<'_, Result<(Folder, FileName), ArchiveError>> {
        let within = month.map(|month| self.path(&format!("month={month}")));
        let prefix = within.or_else(|| (!self.prefix.is_empty()).then(|| self.path("")));
        let listed = self.objects.list(prefix.as_ref());
        let files = listed.map_err(|error| self.failed(&error));
        // What others put there is none of ours.
        let ours =
            files.try_filter_map(async |meta| Ok(FileName::of_path(meta.location.as_ref()).ok()));
        ours.boxed()
    }

    /// Path and bytes of the file that says what is covered of a source partition.
    ///
    /// # Errors
    /// None that memory does not bring.
    pub fn coverage_file(coverage: &Coverage) -> Result<(String, Bytes), ArchiveError> {
        let path = coverage_path(coverage.epoch, coverage.source);
        let bytes = serde_json::to_vec_pretty(coverage);
        let bytes = bytes.map_err(|error| ArchiveError::Format(error.to_string()))?;
        Ok((path, bytes.into()))
    }

    /// What is covered of a source partition; `None`: nothing yet.
    ///
    /// # Errors
    /// As [`ArchiveStore::put`]; or the file was damaged.
    pub async fn coverage(
        &self,
        epoch: Epoch,
        source: Partition,
    ) -> Result<Option<Coverage>, ArchiveError> {
        let path = coverage_path(epoch, source);
        let bytes = self.get(&path).await?;
        let read = |bytes: Bytes| {
            serde_json::from_slice(&bytes)
                .map_err(|error| ArchiveError::Format(format!("{path}: {error}")))
        };
        bytes.map(read).transpose()
    }

    /// What is covered of each epoch and source partition, in their order.
    ///
    /// # Errors
    /// As [`ArchiveStore::put`]; or a file was damaged.
    pub async fn coverages(&self) -> Result<Vec<Coverage>, ArchiveError> {
        let prefix = self.path(COVERAGE);
        let listed = self.objects.list(Some(&prefix));
        let listed: Vec<_> = listed
            .try_collect()
            .await
            .map_err(|error| self.failed(&error))?;
        let mut coverages = Vec::new();
        for meta in listed {
            let read = async { self.objects.get(&meta.location).await?.bytes().await };
            let bytes = read.await.map_err(|error| self.failed(&error))?;
            let coverage: Coverage = serde_json::from_slice(&bytes)
                .map_err(|error| ArchiveError::Format(format!("{}: {error}", meta.location)))?;
            coverages.push(coverage);
        }
        coverages.sort_by_key(|coverage| (coverage.epoch, coverage.source));
        Ok(coverages)
    }

    fn path(&self, path: &str) -> Path {
        match self.prefix.is_empty() {
            true => Path::from(path),
            false => Path::from(format!("{}/{path}", self.prefix)),
        }
    }

    fn failed(&self, error: &object_store::Error) -> ArchiveError {
        ArchiveError::Objects {
            place: self.place.clone(),
            what: error.to_string(),
        }
    }
}

fn coverage_path(epoch: Epoch, source: Partition) -> String {
    format!("{COVERAGE}/e{:010}-p{:05}.json", epoch.0, source.0)
}

fn is_plain(endpoint: &str) -> bool {
    endpoint.starts_with("http://")
}
