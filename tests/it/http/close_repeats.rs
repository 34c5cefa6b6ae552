//! Closes that are repeated: after the closer was killed at any file, and after a reversal.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::http::header;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use serde_json::json;
use tidemark::domain::time::Millis;
use tidemark::objects::Objects;
use tidemark::store::closes::{self, StoredClose};

use super::closes::{ROUTE, all_files, body, closing, marketplace, month, terms};
use super::rows::{posted_up_to, start_of};
use super::stand::NOON;

/// Files in memory, whose `n`-th write fails: before it happened, or after. That is where its closer
/// is killed. The files of the closes here are small, so that each is written at once.
#[derive(Debug)]
struct DyingFiles {
    objects: Arc<InMemory>,
    left: AtomicUsize,
    happens: bool,
}

impl fmt::Display for DyingFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("files that cannot all be written")
    }
}

#[async_trait]
impl ObjectStore for DyingFiles {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let dies = self.left.fetch_sub(1, Ordering::Relaxed) == 0;
        if !dies {
            return self.objects.put_opts(path, payload, options).await;
        }
        if self.happens {
            self.objects.put_opts(path, payload, options).await?;
        }
        Err(object_store::Error::Generic {
            store: "a test",
            source: "killed".into(),
        })
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.objects.get_opts(path, options).await
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

/// What stands after two closes.
struct Outcome {
    was_killed: bool,
    files: BTreeMap<String, Vec<u8>>,
    /// Without who closed, and when.
    records: Vec<StoredClose>,
}

/// Two closes, whose closer is killed at a file; another one finishes them.
async fn killed_at(dies_at: usize, happens: bool) -> Outcome {
    let stand = marketplace().await;
    posted_up_to(&stand, start_of("2026-11-05")).await;
    let objects = Arc::new(InMemory::new());
    let dying = DyingFiles {
        objects: objects.clone(),
        left: AtomicUsize::new(dies_at),
        happens,
    };
    let dying = Objects::on(Arc::new(dying), "a test");
    let killed = closing(&stand, Arc::new(stand.db.clone()), &dying);
    let mut was_killed = false;
    for closed in ["2026-08", "2026-09"] {
        let by = format!("{dies_at} {happens}");
        let closed = killed.close(month(closed), Some(terms()), &by).await;
        was_killed = closed.is_err();
        // A process that was killed closes no further month.
        if was_killed {
            break;
        }
    }
    // Somebody else finishes it, later.
    stand.clock.set(Millis(NOON.0 + 86_400_000));
    let files = Objects::on(objects, "a test");
    let next = closing(&stand, Arc::new(stand.db.clone()), &files);
    for closed in ["2026-08", "2026-09"] {
        let closed = next.close(month(closed), Some(terms()), "another").await;
        closed.unwrap();
    }
    let mut records = closes::all(&stand.db).await.unwrap();
    for record in &mut records {
        let finished = record.finished.as_mut().expect("a finished close");
        for (by, at) in [
            (&mut finished.by, &mut finished.at),
            (&mut record.begun.by, &mut record.begun.at),
        ] {
            by.clear();
            *at = NOON;
        }
    }
    Outcome {
        was_killed,
        files: all_files(&files).await,
        records,
    }
}

#[tokio::test]
async fn a_close_that_was_killed_at_any_file_and_repeated_gives_the_same_record_and_bytes() {
    let whole = killed_at(usize::MAX, false).await;
    assert!(!whole.was_killed);
    assert_eq!((whole.files.len(), whole.records.len()), (20, 2));
    for dies_at in 0..whole.files.len() {
        for happens in [false, true] {
            let found = killed_at(dies_at, happens).await;
            let at = format!("killed at file {dies_at}, written: {happens}");
            assert!(found.was_killed, "not {at}");
            assert!(found.files == whole.files, "{at}: other bytes");
            assert_eq!(found.records, whole.records, "{at}");
        }
    }
    let every_file = killed_at(whole.files.len(), false).await;
    assert!(!every_file.was_killed, "there are more writes than files");
}

#[tokio::test]
async fn a_place_that_refuses_a_file_is_unavailable_until_it_takes_it() {
    let dying = DyingFiles {
        objects: Arc::new(InMemory::new()),
        left: AtomicUsize::new(3),
        happens: false,
    };
    let files = Objects::on(Arc::new(dying), "a test");
    let stand = marketplace().await.with_files(files);
    posted_up_to(&stand, start_of("2026-11-05")).await;
    let refused = stand.post(ROUTE, &body("2026-08")).await;
    assert_eq!(refused.code(), (503, "files_unavailable".to_owned()));
    assert!(refused.headers.contains_key(header::RETRY_AFTER));
    let begun = stand.get(&format!("{ROUTE}/2026-08")).await.json();
    assert_eq!(begun["state"], "begun");
    let closed = stand.post(ROUTE, &body("2026-08")).await;
    assert_eq!(closed.status, 200, "{:?}", closed.body);
    assert_eq!(closed.json()["state"], json!("closed"));
}
