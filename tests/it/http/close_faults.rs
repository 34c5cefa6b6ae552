//! Closing when something is wrong: files cut short, records lost, steps in the wrong order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response, header};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use tidemark::app::CommandError;
use tidemark::app::closing::{Closing, missing_files, watch};
use tidemark::app::queries::Queries;
use tidemark::claims::FileKind;
use tidemark::domain::closing::Terms;
use tidemark::domain::position::{Control, WriteId};
use tidemark::http::{Hosts, Partitions, router};
use tidemark::objects::Objects;
use tidemark::ops::config::{Config, HttpConfig};
use tidemark::ops::shutdown;
use tidemark::store::closes::{self, BegunClose};
use tidemark::store::db::Db;
use tidemark::store::set_aside;
use tower::ServiceExt as _;

use super::closes::{all_files, body, closing, earns, filled, marketplace, month, terms};
use super::rows::{posted_up_to, start_of};
use super::set_aside::record_of;
use super::stand::{NOON, Stand};
use crate::edge::memory_log::PARTITIONS;
use crate::store::user;

async fn final_stand() -> Stand {
    let stand = marketplace().await;
    posted_up_to(&stand, start_of("2026-11-05")).await;
    stand
}

fn on(stand: &Stand, files: &Objects) -> Closing {
    closing(stand, Arc::new(stand.db.clone()), files)
}

/// The code with which something was refused.
#[track_caller]
fn code<T>(result: Result<T, CommandError>) -> &'static str {
    match result {
        Err(CommandError::Refused(refusal)) => refusal.code,
        Err(other) => panic!("not refused, but {other}"),
        Ok(_) => panic!("not refused"),
    }
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_not_served_and_is_completed() {
    let stand = final_stand().await;
    let files = Objects::in_memory();
    let closing = on(&stand, &files);
    for closed in ["2026-08", "2026-09"] {
        let closed = closing.close(month(closed), Some(terms()), "a test").await;
        closed.unwrap();
    }
    let before = all_files(&files).await;
    let cut = async |path: &str, length: usize| {
        let bytes = before[path][..length].to_vec();
        files.delete(path).await.unwrap();
        files.put(path, bytes.into()).await.unwrap();
    };
    for (path, bytes) in &before {
        for length in [0, bytes.len() / 2, bytes.len() - 1] {
            cut(path, length).await;
            let (closed, name) = path.split_once('/').unwrap();
            let kind: FileKind = name.parse().unwrap();
            let opened = closing.open_file(month(closed), kind).await;
            assert_eq!(code(opened), "closing_file_damaged", "{path}");
            let again = closing.close(month(closed), None, "a test").await;
            again.unwrap_or_else(|error| panic!("{path} cut to {length}: {error}"));
            assert!(all_files(&files).await == before, "{path} cut to {length}");
        }
    }
    // The next close continues from files that it has to complete first.
    cut("2026-09/accounts.csv", 100).await;
    let third = closing.close(month("2026-10"), Some(terms()), "a test");
    third.await.unwrap();
    let after = all_files(&files).await;
    assert_eq!(
        after["2026-09/accounts.csv"],
        before["2026-09/accounts.csv"]
    );
    // Longer is not cut short: it is refused, and counted as a failure.
    let failures = &stand.metrics.closing_failures_total;
    assert_eq!(failures.get(), 0);
    let path = "2026-08/sablier.csv";
    let longer = [before[path].as_slice(), b"x"].concat();
    files.delete(path).await.unwrap();
    files.put(path, longer.into()).await.unwrap();
    let refused = closing.close(month("2026-08"), None, "a test").await;
    assert_eq!(code(refused), "closing_file_damaged");
    assert_eq!(failures.get(), 1);
}

#[tokio::test]
async fn a_file_in_which_a_byte_was_changed_never_ends_well() {
    let stand = final_stand().await;
    let files = Objects::in_memory();
    let closing = on(&stand, &files);
    let closed = closing.close(month("2026-08"), Some(terms()), "a test");
    closed.await.unwrap();
    for (path, bytes) in all_files(&files).await {
        let (closed, name) = path.split_once('/').unwrap();
        let kind: FileKind = name.parse().unwrap();
        let put = async |bytes: Vec<u8>| {
            files.delete(&path).await.unwrap();
            files.put(&path, bytes.into()).await.unwrap();
        };
        let pieces = async || {
            let opened = closing.open_file(month(closed), kind).await.unwrap();
            opened.pieces.try_collect::<Vec<_>>().await
        };
        assert_eq!(pieces().await.unwrap().concat(), bytes, "{path}");
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            put(changed).await;
            let error = pieces().await.expect_err(&path);
            assert!(error.what.contains("closing_file_damaged"), "{error}");
        }
        put(bytes).await;
    }
}

#[tokio::test]
async fn a_preview_writes_nothing_also_if_files_are_gone() {
    let stand = final_stand().await;
    let files = Objects::in_memory();
    let closing = on(&stand, &files);
    let preview = async |of: &str| closing.preview(month(of), terms()).await.unwrap();
    assert!(preview("2026-08").await.is_first);
    assert!(all_files(&files).await.is_empty());
    let first = closing.close(month("2026-08"), Some(terms()), "a test");
    first.await.unwrap();
    let whole = preview("2026-09").await;
    assert!(!whole.is_first);
    for path in ["2026-08/accounts.csv", "2026-08/cumulative.tree"] {
        files.delete(path).await.unwrap();
    }
    let left = all_files(&files).await;
    assert_eq!(preview("2026-09").await, whole);
    assert!(all_files(&files).await == left, "a preview wrote files");
    let second = closing.close(month("2026-09"), Some(terms()), "a test");
    assert_eq!(second.await.unwrap().totals, Some(whole.totals));
}

#[tokio::test]
async fn a_month_whose_record_was_lost_is_not_closed_anew() {
    let files = Objects::in_memory();
    let stand = final_stand().await;
    let closed = on(&stand, &files);
    let closed = closed.close(month("2026-08"), Some(terms()), "a test");
    closed.await.unwrap();
    let before = all_files(&files).await;
    // Other tables: as restored to a moment before the close.
    let restored = final_stand().await;
    let closing = on(&restored, &files);
    for of in ["2026-08", "2026-09"] {
        let refused = closing.close(month(of), Some(terms()), "a test").await;
        let said = refused.as_ref().unwrap_err().to_string();
        assert!(said.contains("2026-08/close.json"), "{said}");
        assert_eq!(code(refused), "close_record_missing", "{of}");
        let refused = closing.preview(month(of), terms()).await;
        assert_eq!(code(refused), "close_record_missing", "{of}");
    }
    assert!(closing.list().await.unwrap().is_empty());
    assert!(all_files(&files).await == before);
    // Moved away deliberately, it can be closed.
    for path in before.keys() {
        files.delete(path).await.unwrap();
    }
    let anew = closing.close(month("2026-08"), Some(terms()), "a test");
    anew.await.unwrap();
}

#[tokio::test]
async fn what_has_to_wait_says_so() {
    let stand = final_stand().await;
    let files = Objects::in_memory();
    let db: Arc<dyn Db> = Arc::new(stand.db.clone());
    let closing = closing(&stand, db.clone(), &files);
    // One at a time in a process.
    let (one, other) = tokio::join!(
        closing.close(month("2026-08"), Some(terms()), "one"),
        closing.close(month("2026-08"), Some(terms()), "two"),
    );
    one.unwrap();
    assert_eq!(code(other), "close_running");
    // September was begun, and whoever began it is gone.
    let begun = BegunClose {
        month: month("2026-09"),
        control: Control(0),
        terms: Terms::try_from(terms()).unwrap(),
        positions: Vec::new(),
        by: "a test".to_owned(),
        at: NOON,
    };
    let previous = Some(month("2026-08"));
    closes::begin(&*db, &begun, previous).await.unwrap();
    let opened = closing.open_file(month("2026-09"), FileKind::Close).await;
    assert_eq!(code(opened), "close_unfinished");
    let next = closing.close(month("2026-10"), Some(terms()), "a test");
    assert_eq!(code(next.await), "close_unfinished");
    let finished = closing.close(month("2026-09"), None, "a test");
    finished.await.unwrap();
    // Begun twice, it is there; after another month than the newest, it is not.
    let again = closes::begin(&*db, &begun, previous).await.unwrap();
    assert!(again.is_some());
    let out_of_order = BegunClose {
        month: month("2026-12"),
        ..begun
    };
    let refused = closes::begin(&*db, &out_of_order, previous).await.unwrap();
    assert_eq!(refused, None);
}

#[tokio::test]
async fn an_account_that_is_set_aside_holds_its_months_back() {
    let stand = final_stand().await;
    let files = Objects::in_memory();
    let aside = set_aside::put(&record_of(user("ann")), None, WriteId::default());
    stand.db.write(aside).await.unwrap();
    let closing = on(&stand, &files);
    let refused = closing.close(month("2026-08"), Some(terms()), "a test");
    let refused = refused.await;
    let said = refused.as_ref().unwrap_err().to_string();
    assert!(said.contains("ann"), "{said}");
    assert_eq!(code(refused), "accounts_set_aside");
    let refused = closing.preview(month("2026-08"), terms());
    assert_eq!(code(refused.await), "accounts_set_aside");
    assert!(closing.list().await.unwrap().is_empty());
    assert!(all_files(&files).await.is_empty());
}

#[tokio::test]
async fn without_a_location_nothing_is_closed() {
    let stand = final_stand().await;
    let partitions = Partitions {
        source: PARTITIONS,
        posting: PARTITIONS,
        rejected: PARTITIONS,
    };
    let queries = Queries::new(Arc::new(stand.db.clone()), stand.log.clone(), partitions);
    let (clock, metrics) = (stand.clock.clone(), stand.metrics.clone());
    let closing = Closing::new(Arc::new(queries), clock, metrics, None);
    let refused = closing.close(month("2026-08"), Some(terms()), "a test");
    assert_eq!(code(refused.await), "no_closing_location");
    let refused = closing.preview(month("2026-08"), terms());
    assert_eq!(code(refused.await), "no_closing_location");
    assert!(closing.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn there_is_nothing_before_the_first_year() {
    let stand = final_stand().await;
    let closed = stand.post(super::closes::ROUTE, &body("2026-08")).await;
    assert_eq!(closed.status, 200, "{:?}", closed.body);
    for (before, count) in [("2026-09", 1), ("2026-08", 0), ("0000-01", 0)] {
        let path = format!("/api/users/ann/claims?before={before}");
        let answer = stand.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {:?}", answer.body);
        let answer = answer.json();
        assert_eq!(answer["closes"].as_array().map(Vec::len), Some(count));
        assert_eq!(answer["next"], json!(null));
    }
}

#[tokio::test]
async fn claims_whose_files_are_gone_wait_for_an_admin() {
    let stand = final_stand().await;
    let files = Objects::in_memory();
    let stand = stand.with_files(files.clone());
    let close = async || {
        let closed = stand.post(super::closes::ROUTE, &body("2026-08")).await;
        assert_eq!(closed.status, 200, "{:?}", closed.body);
    };
    close().await;
    for gone in ["accounts-index.csv", "accounts.csv", "openzeppelin.tree"] {
        files.delete(&format!("2026-08/{gone}")).await.unwrap();
        let answer = stand.get("/api/users/ann/claims").await;
        let expected = (503, "closing_file_missing".to_owned());
        assert_eq!(answer.code(), expected, "{gone}");
        assert!(answer.headers.contains_key(header::RETRY_AFTER));
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains(gone), "{detail}");
        close().await;
        assert_eq!(stand.get("/api/users/ann/claims").await.status, 200);
    }
}

#[tokio::test]
async fn claims_whose_files_were_cut_short_or_changed_are_not_called_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let directory = Objects::in_directory(folder.path()).unwrap();
    for files in [Objects::in_memory(), directory] {
        let stand = final_stand().await.with_files(files.clone());
        let closed = stand.post(super::closes::ROUTE, &body("2026-08")).await;
        assert_eq!(closed.status, 200, "{:?}", closed.body);
        for name in [
            "accounts.csv",
            "openzeppelin.tree",
            "uniswap.tree",
            "cumulative.tree",
        ] {
            let path = format!("2026-08/{name}");
            let whole = files.get(&path).await.unwrap().unwrap();
            let put = async |bytes: Vec<u8>| {
                files.delete(&path).await.unwrap();
                assert!(files.put(&path, bytes.into()).await.unwrap());
                stand.get("/api/users/ann/claims").await.code()
            };
            for left in [0, 20] {
                let expected = (503, "closing_file_missing".to_owned());
                let said = put(whole[..left].to_vec()).await;
                assert_eq!(said, expected, "{left} bytes of {path}");
            }
            let expected = (409, "closing_file_damaged".to_owned());
            assert_eq!(put(vec![b'x'; whole.len()]).await, expected, "{path}");
            files.delete(&path).await.unwrap();
            assert!(files.put(&path, whole).await.unwrap());
        }
        let mended = stand.get("/api/users/ann/claims").await;
        assert_eq!(mended.status, 200, "{:?}", mended.body);
    }
}

#[tokio::test]
async fn a_close_that_comes_out_differently_is_refused_and_writes_nothing() {
    let stand = final_stand().await;
    let files = Objects::in_memory();
    let closing = on(&stand, &files);
    let closed = closing.close(month("2026-08"), Some(terms()), "a test");
    closed.await.unwrap();
    // Rows of a closed month that somebody changed.
    earns(&stand, &user("dora"), "2026-08-06", 1_000_000).await;
    files.delete("2026-08/accounts.csv").await.unwrap();
    let left = all_files(&files).await;
    let again = closing.close(month("2026-08"), None, "a test").await;
    assert_eq!(code(again), "close_differs");
    assert_eq!(stand.metrics.closing_failures_total.get(), 1);
    let next = closing.preview(month("2026-09"), terms()).await;
    assert_eq!(code(next), "close_differs");
    let next = closing.close(month("2026-09"), Some(terms()), "a test");
    assert_eq!(code(next.await), "close_differs");
    assert!(all_files(&files).await == left, "files were written");
}

/// What the metrics say of the files after one look: missing ones, and whether they cannot be looked
/// for.
async fn looked(stand: &Stand, files: &Objects) -> (i64, i64) {
    let (missing, unchecked) = (
        &stand.metrics.closing_files_missing,
        &stand.metrics.closing_files_unchecked,
    );
    let before = missing.get();
    unchecked.set(-1);
    let (trigger, shutdown) = shutdown::channel();
    let (clock, metrics) = (stand.clock.clone(), stand.metrics.clone());
    let db = Arc::new(stand.db.clone());
    let watching = tokio::spawn(watch(db, clock, metrics, Some(files.clone()), shutdown));
    let start = Instant::now();
    while unchecked.get() < 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "nobody looks");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    trigger.shut_down();
    watching.await.unwrap();
    if unchecked.get() == 1 {
        assert_eq!(missing.get(), before, "it says as many as were last seen");
    }
    (missing.get(), unchecked.get())
}

/// A directory in whose place is a link to itself can neither be read nor does it look empty.
#[tokio::test]
async fn a_place_that_cannot_be_read_is_reported_until_it_can_be() {
    let stand = final_stand().await;
    let directory = tempfile::tempdir().unwrap();
    let files = Objects::in_directory(directory.path()).unwrap();
    let closing = on(&stand, &files);
    let closed = closing.close(month("2026-08"), Some(terms()), "a test");
    closed.await.unwrap();
    assert_eq!(looked(&stand, &files).await, (0, 0));
    let (place, aside) = (
        directory.path().join("2026-08"),
        directory.path().join("aside"),
    );
    std::fs::rename(&place, &aside).unwrap();
    std::os::unix::fs::symlink(&place, &place).unwrap();
    assert_eq!(looked(&stand, &files).await, (0, 1));
    std::fs::remove_file(&place).unwrap();
    std::fs::rename(&aside, &place).unwrap();
    assert_eq!(looked(&stand, &files).await, (0, 0));
}

#[tokio::test]
async fn files_that_are_gone_are_counted_until_they_are_there_again() {
    let stand = final_stand().await;
    let files = Objects::in_memory();
    let closing = on(&stand, &files);
    for of in ["2026-08", "2026-09"] {
        let closed = closing.close(month(of), Some(terms()), "a test").await;
        closed.unwrap();
    }
    let db: Arc<dyn Db> = Arc::new(stand.db.clone());
    let counted = async || looked(&stand, &files).await.0;
    let missing = async || {
        let missing = missing_files(&*db, &files).await.unwrap();
        let names = missing.iter().map(ToString::to_string);
        names.collect::<Vec<String>>()
    };
    assert_eq!((counted().await, missing().await), (0, vec![]));
    files.delete("2026-08/sablier.csv").await.unwrap();
    files.delete("2026-09/close.json").await.unwrap();
    files.delete("2026-09/accounts.csv").await.unwrap();
    files
        .put("2026-09/accounts.csv", "kind,".into())
        .await
        .unwrap();
    let mut found = missing().await;
    found.sort();
    let expected = [
        "2026-08/sablier.csv",
        "2026-09/accounts.csv",
        "2026-09/close.json",
    ];
    assert_eq!(found, expected);
    assert_eq!(counted().await, 3);
    for of in ["2026-08", "2026-09"] {
        closing.close(month(of), None, "a test").await.unwrap();
    }
    assert_eq!((counted().await, missing().await), (0, vec![]));
}

/// Asks for a public file from an address, and has not read the body yet.
async fn begun(stand: &Stand, address: [u8; 4]) -> Response<Body> {
    let mut request = Request::get("/api/closes/2026-08/openzeppelin.json")
        .header(header::HOST, "localhost")
        .body(Body::empty())
        .unwrap();
    let peer = SocketAddr::from((address, 40_000));
    request.extensions_mut().insert(ConnectInfo(peer));
    let router = router(stand.service.clone(), Hosts::Loopback);
    router.oneshot(request).await.unwrap()
}

async fn code_of(response: Response<Body>) -> (u16, String) {
    let (status, body) = (response.status().as_u16(), response.into_body());
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    (
        status,
        problem["code"].as_str().unwrap_or_default().to_owned(),
    )
}

#[tokio::test]
async fn an_address_has_a_share_of_the_public_downloads() {
    let stand = final_stand().await;
    let closed = stand.post(super::closes::ROUTE, &body("2026-08")).await;
    assert_eq!(closed.status, 200, "{:?}", closed.body);
    let greedy = [10, 0, 0, 1];
    let mut held = vec![begun(&stand, greedy).await, begun(&stand, greedy).await];
    let refused = begun(&stand, greedy).await;
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(
        code_of(refused).await,
        (429, "too_many_downloads".to_owned())
    );
    for other in 2..=4 {
        for _ in 0..2 {
            held.push(begun(&stand, [10, 0, 0, other]).await);
        }
    }
    assert!(held.iter().all(|answer| answer.status() == 200));
    let refused = begun(&stand, [10, 0, 0, 5]).await;
    assert_eq!(code_of(refused).await, (503, "downloads_busy".to_owned()));
    // What was read or given up makes room again.
    assert_eq!(code_of(held.remove(0)).await.0, 200);
    drop(held);
    let start = Instant::now();
    for _ in 0..2 {
        while begun(&stand, greedy).await.status() != 200 {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "no room comes back"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // Behind a proxy all clients have its address: there is no share of it.
    let proxied = Stand::with(HttpConfig {
        connections_per_address_max: None,
        ..Config::default().http
    });
    let proxied = filled(proxied.await).await;
    posted_up_to(&proxied, start_of("2026-11-05")).await;
    let closed = proxied.post(super::closes::ROUTE, &body("2026-08")).await;
    assert_eq!(closed.status, 200, "{:?}", closed.body);
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(begun(&proxied, greedy).await);
    }
    assert!(held.iter().all(|answer| answer.status() == 200));
    let refused = begun(&proxied, greedy).await;
    assert_eq!(code_of(refused).await, (503, "downloads_busy".to_owned()));
}

/// The server takes pieces off the body while its buffer has room, whether the client reads or not.
#[tokio::test]
async fn a_client_that_reads_nothing_of_a_small_file_holds_a_slot() {
    let stand = final_stand().await;
    let closed = stand.post(super::closes::ROUTE, &body("2026-08")).await;
    assert_eq!(closed.status, 200, "{:?}", closed.body);
    let mut held = Vec::new();
    for client in 1..=8 {
        let answer = begun(&stand, [10, 0, 1, client]).await;
        assert_eq!(answer.status(), 200);
        let mut pieces = answer.into_body().into_data_stream();
        let first = pieces.next().await.expect("a piece").unwrap();
        assert!(!first.is_empty());
        held.push(pieces);
    }
    // Whoever makes the pieces has time to come to the end.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let refused = begun(&stand, [10, 0, 1, 9]).await;
    assert_eq!(code_of(refused).await, (503, "downloads_busy".to_owned()));
    drop(held);
    let start = Instant::now();
    while begun(&stand, [10, 0, 1, 9]).await.status() != 200 {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "no room comes back"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
