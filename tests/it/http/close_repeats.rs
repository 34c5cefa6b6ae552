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
use serde_json::{Value, json};
use tidemark::domain::amount::Points;
use tidemark::domain::ethereum::U256;
use tidemark::domain::event::Service;
use tidemark::domain::posting::{Deduction, Slot};
use tidemark::domain::rules::Network;
use tidemark::domain::time::Millis;
use tidemark::objects::Objects;
use tidemark::store::closes::{self, StoredClose};

use super::closes::{
    ROUTE, all_files, body, claims, closing, earns, link, marketplace, month, terms, units,
};
use super::rows::{book, posted_up_to, rules, start_of};
use super::stand::{NOON, Stand};
use crate::domain::closing::address;
use crate::store::user;

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

/// What every address was paid so far.
fn leaves(files: &BTreeMap<String, Vec<u8>>, month: &str) -> BTreeMap<String, U256> {
    let file = &files[&format!("{month}/cumulative.json")];
    let file: Value = serde_json::from_slice(file).unwrap();
    let values = file["values"].as_array().expect("values").iter();
    let leaf = |value: &Value| {
        let address = value["value"][0].as_str().expect("an address");
        (address.to_owned(), units(&value["value"][1]))
    };
    values.map(leaf).collect()
}

#[tokio::test]
async fn a_reversal_after_a_close_lowers_nothing_and_is_taken_off_later_closes() {
    let stand = Stand::new().await;
    rules(&stand, Network::Testnet).await;
    for (number, id) in [(1, "ann"), (2, "bob")] {
        let account = user(id);
        earns(&stand, &account, "2026-08-03", 2_000_000).await;
        link(&stand.db, &account, Some(address(number))).await;
    }
    earns(&stand, &user("ann"), "2026-09-03", 1_000_000).await;
    posted_up_to(&stand, start_of("2026-11-05")).await;
    let files = Objects::in_memory();
    let stand = stand.with_files(files.clone());
    let closing = closing(&stand, Arc::new(stand.db.clone()), &files);
    let first = closing.close(month("2026-08"), Some(terms()), "a test");
    let first = first.await.unwrap();
    let august = all_files(&files).await;

    // What bob earned in August is reversed, and more, as its month has closed.
    book(&stand, &user("bob"), |entry| {
        let deduction = Deduction {
            reversed: 1,
            points: Points(5_000_000),
            ..Deduction::default()
        };
        let late = Slot::Late(month("2026-09"));
        let place = (late, Service::CHAT_COMPLETIONS, deduction);
        entry.deductions.by_service.push(place);
    })
    .await;
    earns(&stand, &user("bob"), "2026-10-03", 6_000_000).await;
    for path in august.keys() {
        files.delete(path).await.unwrap();
    }
    let again = closing.close(month("2026-08"), None, "a test").await;
    assert_eq!(again.unwrap(), first);
    assert!(
        all_files(&files).await == august,
        "August came out differently"
    );

    let second = closing.close(month("2026-09"), Some(terms()), "a test");
    assert_eq!(second.await.unwrap().totals.expect("sums").in_debt, 1);
    let bob = claims(&stand, "users/bob").await;
    let (september, of_august) = (&bob["closes"][0], &bob["closes"][1]);
    assert_eq!(september["status"], "debt");
    assert_eq!(
        (&september["debt"], &september["paid"]),
        (&json!("5"), &json!("0"))
    );
    assert_eq!(of_august["status"], "claimable");
    let found = all_files(&files).await;
    let (before, after) = (leaves(&found, "2026-08"), leaves(&found, "2026-09"));
    assert_eq!(before.len(), 2);
    for (address, paid) in &before {
        assert!(after[address] >= *paid, "{address} fell");
    }
    assert!(after != before, "ann was paid");
    let address = bob["cumulative"][0]["claim"]["address"].as_str();
    let address = address.expect("bob's address");
    let bobs = |leaves: &BTreeMap<String, U256>| {
        let mut leaves = leaves.iter();
        let found = leaves.find(|(leaf, _)| leaf.eq_ignore_ascii_case(address));
        *found.expect("bob's leaf").1
    };
    assert_eq!(bobs(&after), bobs(&before));

    // Of six points, five pay off the debt.
    let third = closing.close(month("2026-10"), Some(terms()), "a test");
    third.await.unwrap();
    let bob = claims(&stand, "users/bob").await;
    let october = &bob["closes"][0];
    for (field, expected) in [
        ("status", "claimable"),
        ("points", "6"),
        ("debtBefore", "5"),
        ("eligiblePoints", "1"),
        ("debt", "0"),
    ] {
        assert_eq!(october[field], expected, "{field} of {october}");
    }
    let last = leaves(&all_files(&files).await, "2026-10");
    let paid = units(&october["paid"]);
    assert!(bobs(&last) > bobs(&after), "{paid} were paid");
    assert_eq!(bobs(&after).checked_add(paid), Some(bobs(&last)));
}
