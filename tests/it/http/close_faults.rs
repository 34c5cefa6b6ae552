//! Closing when something is wrong: files cut short, records lost, steps in the wrong order.

use std::sync::Arc;

use serde_json::json;
use tidemark::app::CommandError;
use tidemark::app::closing::Closing;
use tidemark::app::queries::Queries;
use tidemark::claims::FileKind;
use tidemark::domain::closing::Terms;
use tidemark::domain::position::{Control, WriteId};
use tidemark::http::Partitions;
use tidemark::objects::Objects;
use tidemark::store::closes::{self, BegunClose};
use tidemark::store::db::Db;
use tidemark::store::set_aside;

use super::closes::{all_files, body, closing, marketplace, month, terms};
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
