//! Files are read in pieces, however large they are.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tidemark::objects::{Objects, ObjectsError};

/// A store that holds each answer whole, as the client that asks S3 does, and keeps the length of the
/// longest.
#[derive(Debug, Default)]
struct Longest {
    objects: InMemory,
    bytes: AtomicU64,
}

impl fmt::Display for Longest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store that holds answers whole")
    }
}

#[async_trait]
impl ObjectStore for Longest {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.objects.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let is_head = options.head;
        let got = self.objects.get_opts(path, options).await?;
        if !is_head {
            let bytes = got.range.end - got.range.start;
            self.bytes.fetch_max(bytes, Ordering::Relaxed);
        }
        Ok(got)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

/// All pieces of a file, and their lengths.
async fn pieces(files: &Objects, path: &str) -> std::result::Result<Vec<usize>, ObjectsError> {
    let (_, pieces) = files.get_pieces(path).await?.expect("a file");
    pieces.map_ok(|piece| piece.len()).try_collect().await
}

#[tokio::test]
async fn no_answer_holds_more_than_a_piece() {
    const MIB: usize = 1024 * 1024;
    let store = Arc::new(Longest::default());
    let files = Objects::on(store.clone(), "a test");
    for (bytes, lengths) in [
        (0, vec![]),
        (5, vec![5]),
        (4 * MIB, vec![4 * MIB]),
        (9 * MIB + 1, vec![4 * MIB, 4 * MIB, MIB + 1]),
    ] {
        let path = bytes.to_string();
        files.put(&path, vec![7; bytes].into()).await.unwrap();
        assert_eq!(pieces(&files, &path).await.unwrap(), lengths);
        assert_eq!(files.size(&path).await.unwrap(), Some(bytes as u64));
    }
    assert_eq!(store.bytes.load(Ordering::Relaxed), 4 * MIB as u64);
    assert!(files.get_pieces("none").await.unwrap().is_none());
    assert_eq!(files.size("none").await.unwrap(), None);
}

#[tokio::test]
async fn a_file_that_is_replaced_while_it_is_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for files in [
        Objects::in_memory(),
        Objects::in_directory(folder.path()).unwrap(),
    ] {
        let bytes = |of: u8| bytes::Bytes::from(vec![of; 5 * 1024 * 1024]);
        files.put("file", bytes(1)).await.unwrap();
        let (_, mut pieces) = files.get_pieces("file").await.unwrap().unwrap();
        pieces.next().await.unwrap().unwrap();
        files.delete("file").await.unwrap();
        files.put("file", bytes(2).slice(1..)).await.unwrap();
        assert!(pieces.next().await.unwrap().is_err(), "{}", files.place());
    }
}
