//! Where files lie: a directory, or a bucket of S3 or of a server that speaks its protocol.
//!
//! The archive and the files of closed months are kept so. Nothing here knows what is in a file.

mod http;

use std::ops::Range;
use std::path::Path as Directory;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
    WriteMultipart,
};

use http::{CachedCredentials, Connector};

/// Larger files are written in parts of this size.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Files are read in pieces of this size: the client that asks S3 holds each answer whole.
const PIECE_BYTES: u64 = 4 * 1024 * 1024;
/// Parts of a file on their way at once.
const PARTS_IN_FLIGHT_MAX: usize = 4;

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

/// The place of files does not answer, or refuses them. Trying again may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the files in {place} cannot be used: {what}")]
pub struct ObjectsError {
    /// Where files lie.
    pub place: String,
    /// What it answered.
    pub what: String,
}

/// A file piece by piece.
pub type Pieces = BoxStream<'static, Result<Bytes, ObjectsError>>;

/// Files by path. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Objects {
    objects: Arc<dyn ObjectStore>,
    prefix: String,
    /// For people.
    place: String,
}

impl Objects {
    /// Files in a directory, which is made if need be. A file is replaced at once and whole, and is
    /// on the disk before it counts as written.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn in_directory(directory: &Directory) -> Result<Objects, ObjectsError> {
        let place = directory.display().to_string();
        let failed = |what: &dyn std::fmt::Display| ObjectsError {
            place: place.clone(),
            what: what.to_string(),
        };
        std::fs::create_dir_all(directory).map_err(|error| failed(&error))?;
        let files = LocalFileSystem::new_with_prefix(directory).map_err(|error| failed(&error))?;
        Ok(Objects::on(Arc::new(files.with_fsync(true)), &place))
    }

    /// Files in a bucket; requests are signed with these credentials.
    ///
    /// # Errors
    /// The settings contradict each other.
    pub fn in_bucket(
        s3: &S3Place,
        credentials: aws_credential_types::provider::SharedCredentialsProvider,
    ) -> Result<Objects, ObjectsError> {
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
        let bucket = builder.build().map_err(|error| ObjectsError {
            place: place.clone(),
            what: error.to_string(),
        })?;
        Ok(Objects {
            prefix: s3.prefix.clone(),
            ..Objects::on(Arc::new(bucket), &place)
        })
    }

    /// Files in memory, for tests.
    pub fn in_memory() -> Objects {
        Objects::on(Arc::new(InMemory::new()), "memory")
    }

    /// Files in another store of objects.
    pub fn on(objects: Arc<dyn ObjectStore>, place: &str) -> Objects {
        Objects {
            objects,
            prefix: String::new(),
            place: place.to_owned(),
        }
    }

    /// Where it is, for people.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Writes a file, unless it is there: what was written first stays. Whether it was not there.
    ///
    /// # Errors
    /// The store does not answer, or refuses it; trying again may help.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<bool, ObjectsError> {
        let payload = PutPayload::from(bytes);
        let options = PutOptions::from(PutMode::Create);
        let path = self.path(path);
        match self.objects.put_opts(&path, payload, options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Writes a file of any size, piece by piece; it appears when it is whole, also over another.
    /// An error of `pieces` ends it, and nothing appears.
    ///
    /// # Errors
    /// As [`Objects::put`], or that of `pieces`.
    pub async fn put_pieces<E: From<ObjectsError>>(
        &self,
        path: &str,
        mut pieces: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(), E> {
        let path = self.path(path);
        let upload = self.objects.put_multipart(&path).await;
        let upload = upload.map_err(|error| self.failed(&error))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        while let Some(piece) = pieces.next().await {
            let bytes = match piece {
                Ok(bytes) => bytes,
                Err(error) => {
                    // Without it, the store removes the parts in its own time.
                    drop(upload.abort().await);
                    return Err(error);
                }
            };
            let room = upload.wait_for_capacity(PARTS_IN_FLIGHT_MAX).await;
            room.map_err(|error| self.failed(&error))?;
            upload.put(bytes);
        }
        let finished = upload.finish().await;
        finished.map_err(|error| self.failed(&error))?;
        Ok(())
    }

    /// The bytes of a file; `None`: there is none.
    ///
    /// # Errors
    /// As [`Objects::put`].
    pub async fn get(&self, path: &str) -> Result<Option<Bytes>, ObjectsError> {
        let read = async { self.objects.get(&self.path(path)).await?.bytes().await };
        self.found(read.await)
    }

    /// How many bytes a file has; `None`: there is none.
    ///
    /// # Errors
    /// As [`Objects::put`].
    pub async fn size(&self, path: &str) -> Result<Option<u64>, ObjectsError> {
        let found = self.found(self.objects.head(&self.path(path)).await)?;
        Ok(found.map(|meta| meta.size))
    }

    /// Parts of a file, in their order; `None`: there is no such file.
    ///
    /// # Errors
    /// As [`Objects::put`]; also if the file is shorter.
    pub async fn get_ranges(
        &self,
        path: &str,
        ranges: &[Range<u64>],
    ) -> Result<Option<Vec<Bytes>>, ObjectsError> {
        self.found(self.objects.get_ranges(&self.path(path), ranges).await)
    }

    /// A file piece by piece, and how many bytes it has; `None`: there is none. Each piece is asked
    /// for when the one before was taken, so that a slow reader holds one in memory.
    ///
    /// # Errors
    /// As [`Objects::put`]; also if the file is replaced meanwhile.
    pub async fn get_pieces(&self, path: &str) -> Result<Option<(u64, Pieces)>, ObjectsError> {
        let Some(meta) = self.found(self.objects.head(&self.path(path)).await)? else {
            return Ok(None);
        };
        let bytes = meta.size;
        let begin = (self.clone(), meta, 0);
        let pieces = futures::stream::try_unfold(begin, |(from, meta, at)| async move {
            if at >= meta.size {
                return Ok(None);
            }
            let end = meta.size.min(at + PIECE_BYTES);
            let options = GetOptions {
                range: Some((at..end).into()),
                if_match: meta.e_tag.clone(),
                ..GetOptions::default()
            };
            let read = async {
                let got = from.objects.get_opts(&meta.location, options).await?;
                got.bytes().await
            };
            let piece = read.await.map_err(|error| from.failed(&error))?;
            if piece.len() as u64 != end - at {
                return Err(ObjectsError {
                    place: from.place.clone(),
                    what: format!("{} was cut short while it was read", meta.location),
                });
            }
            Ok(Some((piece, (from, meta, end))))
        });
        Ok(Some((bytes, pieces.boxed())))
    }

    /// What lies under a path, or everything. In no order.
    pub fn list(&self, under: Option<&str>) -> BoxStream<'_, Result<ObjectMeta, ObjectsError>> {
        let within = under.map(|under| self.path(under));
        let prefix = within.or_else(|| (!self.prefix.is_empty()).then(|| self.path("")));
        let listed = self.objects.list(prefix.as_ref());
        listed.map_err(|error| self.failed(&error)).boxed()
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// As [`Objects::put`].
    pub async fn delete(&self, path: &str) -> Result<(), ObjectsError> {
        self.found(self.objects.delete(&self.path(path)).await)?;
        Ok(())
    }

    fn found<T>(&self, read: object_store::Result<T>) -> Result<Option<T>, ObjectsError> {
        match read {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn path(&self, path: &str) -> Path {
        match self.prefix.is_empty() {
            true => Path::from(path),
            false => Path::from(format!("{}/{path}", self.prefix)),
        }
    }

    fn failed(&self, error: &object_store::Error) -> ObjectsError {
        ObjectsError {
            place: self.place.clone(),
            what: error.to_string(),
        }
    }
}

fn is_plain(endpoint: &str) -> bool {
    endpoint.starts_with("http://")
}
