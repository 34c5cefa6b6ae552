//! The claims of an account: the files of several closes are read at once, but not of all, and come
//! out in order.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use serde_json::{Value, json};
use tidemark::domain::rules::Network;
use tidemark::objects::Objects;

use super::closes::{claims, closing, earns, link, month, terms};
use super::rows::{posted_up_to, rules, start_of};
use super::stand::Stand;
use crate::domain::closing::address;
use crate::store::user;

/// How often a read lets others go first. Whoever reads several at once has begun all of them then.
const TURNS: usize = 50;

/// Files that answer slowly, and know how many are read at once.
#[derive(Debug, Default)]
struct SlowFiles {
    objects: InMemory,
    reading: AtomicUsize,
    most: AtomicUsize,
}

impl fmt::Display for SlowFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("files that answer slowly")
    }
}

#[async_trait]
impl ObjectStore for SlowFiles {
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
        let reading = self.reading.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(reading, Ordering::Relaxed);
        // The files of the newest close come last.
        let newest = path.as_ref().starts_with("2026-10");
        let turns = if newest { 4 * TURNS } else { TURNS };
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        self.reading.fetch_sub(1, Ordering::Relaxed);
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

#[tokio::test]
async fn four_closes_are_read_at_once_and_stand_in_order() {
    let stand = Stand::new().await;
    rules(&stand, Network::Testnet).await;
    // Another wallet in each month, so that each has a cumulative claim as well.
    let months: Vec<String> = (5..=10).map(|month| format!("2026-{month:02}")).collect();
    for of in &months {
        earns(&stand, &user("ann"), &format!("{of}-03"), 1_000_000).await;
    }
    posted_up_to(&stand, start_of("2026-11-05")).await;
    let slow = Arc::new(SlowFiles::default());
    let files = Objects::on(slow.clone(), "a test");
    let stand = stand.with_files(files.clone());
    let closing = closing(&stand, Arc::new(stand.db.clone()), &files);
    for (number, of) in (1..).zip(&months) {
        link(&stand.db, &user("ann"), Some(address(number))).await;
        let closed = closing.close(month(of), Some(terms()), "a test").await;
        closed.unwrap();
    }
    slow.most.store(0, Ordering::Relaxed);
    let ann = claims(&stand, "users/ann").await;
    let of = |list: &str, name: &str| -> Vec<Value> {
        let lines = ann[list].as_array().expect("a list").iter();
        lines.map(|line| line[name].clone()).collect()
    };
    let newest_first: Vec<Value> = months.iter().rev().map(|of| json!(of)).collect();
    assert_eq!(of("closes", "month"), newest_first);
    let wallets: Vec<Value> = (1..=6).rev().map(|number| json!(address(number))).collect();
    assert_eq!(of("closes", "address"), wallets);
    // One per address, in their order.
    let claimed: Vec<Value> = of("cumulative", "claim");
    let mut sorted: Vec<Value> = (1..=6).map(|number| json!(address(number))).collect();
    sorted.sort_by_key(|address| address.as_str().map(str::to_ascii_lowercase));
    let claimed: Vec<Value> = claimed.iter().map(|one| one["address"].clone()).collect();
    assert_eq!(claimed, sorted);
    assert_eq!(slow.most.load(Ordering::Relaxed), 4, "read at once");
}

/// A year of closes is one page, and has no next one until there is another close.
#[tokio::test]
async fn claims_end_where_the_closes_end() {
    let stand = Stand::new().await;
    rules(&stand, Network::Testnet).await;
    let months = (10..=12).map(|month| format!("2025-{month:02}"));
    let months: Vec<String> = months
        .chain((1..=10).map(|month| format!("2026-{month:02}")))
        .collect();
    for of in &months {
        earns(&stand, &user("ann"), &format!("{of}-03"), 1_000_000).await;
    }
    posted_up_to(&stand, start_of("2026-11-05")).await;
    let files = Objects::in_memory();
    let stand = stand.with_files(files.clone());
    let closing = closing(&stand, Arc::new(stand.db.clone()), &files);
    link(&stand.db, &user("ann"), Some(address(1))).await;
    for (count, of) in (1..).zip(&months) {
        let closed = closing.close(month(of), Some(terms()), "a test").await;
        closed.unwrap();
        if count >= 12 {
            let ann = claims(&stand, "users/ann").await;
            assert_eq!(ann["closes"].as_array().map(Vec::len), Some(12));
            let next = (count > 12).then(|| json!(months[1]));
            assert_eq!(ann["next"], next.unwrap_or_default(), "{count} closes");
        }
    }
}
