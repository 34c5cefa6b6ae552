//! Closes that two versions of tidemark make with different results, and what the audit trail says of
//! who closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::{Value, json};
use tidemark::app::CommandError;
use tidemark::app::closing::{CloseState, Closing};
use tidemark::claims::{CloseFile, FileKind};
use tidemark::domain::closing::Terms;
use tidemark::domain::position::Control;
use tidemark::domain::time::Millis;
use tidemark::objects::Objects;
use tidemark::store::audit::Entry;
use tidemark::store::closes::{self, BegunClose, FinishedClose};
use tidemark::store::control;
use tidemark::store::db::{Attr, Condition, Db as _, Key, Table, Write};
use tidemark::store::dynamo::DynamoDb;

use super::closes::{all_files, closing, earns, marketplace, month, terms};
use super::hooked::{Hook, Hooked};
use super::rows::{posted_up_to, start_of};
use super::stand::{NOON, Stand};
use crate::store::user;

const AUGUST: &str = "2026-08";

async fn final_stand() -> Stand {
    let stand = marketplace().await;
    posted_up_to(&stand, start_of("2026-11-05")).await;
    stand
}

fn on(stand: &Stand, files: &Objects) -> Closing {
    closing(stand, Arc::new(stand.db.clone()), files)
}

/// The code and the words of a refusal.
#[track_caller]
fn refusal<T>(result: Result<T, CommandError>) -> (&'static str, String) {
    match result {
        Err(CommandError::Refused(refusal)) => (refusal.code, refusal.detail),
        Err(other) => panic!("not refused, but {other}"),
        Ok(_) => panic!("not refused"),
    }
}

#[track_caller]
fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// How a close of August begins, by somebody else.
async fn begun(stand: &Stand) -> BegunClose {
    let begun = BegunClose {
        month: month(AUGUST),
        control: control::head(&stand.db).await.unwrap(),
        terms: Terms::try_from(terms()).unwrap(),
        positions: Vec::new(),
        by: "the other version".to_owned(),
        at: NOON,
    };
    let stored = closes::begin(&stand.db, &begun, None).await.unwrap();
    assert_eq!(stored.expect("a close").begun, begun);
    begun
}

/// What came of the same close by a version with another result: its `close.json`.
async fn other_result() -> FinishedClose {
    let stand = final_stand().await;
    earns(&stand, &user("ann"), "2026-08-20", 5_000_000).await;
    let closing = on(&stand, &Objects::in_memory());
    let closed = closing.close(month(AUGUST), Some(terms()), "a test").await;
    closed.unwrap();
    let stored = closes::get(&stand.db, month(AUGUST)).await.unwrap();
    FinishedClose {
        by: "the other version".to_owned(),
        ..stored.and_then(|close| close.finished).expect("a result")
    }
}

/// Just before the close is finished, another version finishes it with another result.
struct Overtaken {
    db: DynamoDb,
    transactions: AtomicUsize,
    result: FinishedClose,
}

#[async_trait]
impl Hook for Overtaken {
    async fn before_transact(&self) {
        // The first one begins the close.
        if self.transactions.fetch_add(1, Ordering::Relaxed) != 1 {
            return;
        }
        let stored = closes::get(&self.db, month(AUGUST)).await.unwrap();
        let begun = stored.expect("a close that was begun").begun;
        let entry = Entry {
            at: self.result.at,
            action: "closes.close".to_owned(),
            subject: AUGUST.to_owned(),
            by: self.result.by.clone(),
            detail: json!({}),
        };
        let stands = closes::finish(&self.db, &begun, &self.result, &entry).await;
        assert_eq!(stands.unwrap(), self.result);
    }
}

async fn trail(stand: &Stand, action: &str) -> Vec<Value> {
    let audit = stand.get("/api/admin/audit?limit=500").await.json();
    let entries = audit["entries"].as_array().expect("entries").iter();
    let ours = entries.filter(|entry| entry["action"] == action);
    ours.cloned().collect()
}

#[tokio::test]
async fn of_two_versions_with_different_results_the_second_is_refused() {
    let stand = final_stand().await;
    let result = other_result().await;
    let overtaken = Overtaken {
        db: stand.db.clone(),
        transactions: AtomicUsize::new(0),
        result: result.clone(),
    };
    let db = Hooked {
        db: stand.db.clone(),
        hook: overtaken,
    };
    let files = Objects::in_memory();
    let late = closing(&stand, Arc::new(db), &files);
    let refused = late
        .close(month(AUGUST), Some(terms()), "this version")
        .await;
    let (code, said) = refusal(refused);
    assert_eq!(code, "close_differs");
    says(
        &said,
        &[
            "the other version closed 2026-08",
            "which is kept",
            "the same version",
            files.place(),
            "tidemark close 2026-08",
        ],
    );
    assert_eq!(stand.metrics.closing_failures_total.get(), 1);
    // The first result stands, as it was, and only it is in the audit trail.
    let stored = closes::get(&stand.db, month(AUGUST)).await.unwrap();
    let stored = stored.expect("a close");
    assert_eq!(stored.finished, Some(result));
    let closed = trail(&stand, "closes.close").await;
    let by: Vec<&Value> = closed.iter().map(|entry| &entry["by"]).collect();
    assert_eq!(by, ["the other version"]);
    let shown = late.show(month(AUGUST)).await.unwrap();
    assert_eq!(shown.closed_by.as_deref(), Some("the other version"));
    // This version cannot make the files of that result, and says so instead of writing others.
    for (path, _) in all_files(&files).await {
        files.delete(&path).await.unwrap();
    }
    let (code, said) = refusal(late.close(month(AUGUST), None, "this version").await);
    assert_eq!(code, "close_differs");
    says(
        &said,
        &[
            "2026-08",
            "Nothing was written",
            "the version that closed it",
        ],
    );
    assert!(all_files(&files).await.is_empty());
}

/// A `close.json` that names other bytes of a file.
fn with_other_bytes(close: &str, name: &str) -> String {
    let close = CloseFile::read(close.as_bytes()).unwrap();
    let mut files = close.files;
    let file = files.iter_mut().find(|file| file.name == name);
    file.expect(name).sha256 = "0".repeat(64);
    let CloseFile {
        month,
        control,
        terms,
        previous,
        totals,
        roots,
        ..
    } = close;
    let other = CloseFile::new(
        month,
        Control(control),
        terms,
        previous,
        totals,
        roots,
        files,
    );
    String::from_utf8(other.bytes()).unwrap()
}

/// The sums agree, but a file has other bytes: an amount went to another account, say.
#[tokio::test]
async fn a_file_that_would_get_other_bytes_than_the_record_says_is_not_written() {
    let stand = final_stand().await;
    let files = Objects::in_memory();
    let closing = on(&stand, &files);
    let first = closing.close(month(AUGUST), Some(terms()), "a test").await;
    let first = first.unwrap();
    for name in ["accounts.csv", "openzeppelin.json", "cumulative.tree"] {
        let key = Key::new(Table::Checkpoints, "closes", AUGUST);
        let record = stand.db.get(&key).await.unwrap().expect("a record");
        let stored = closes::get(&stand.db, month(AUGUST)).await.unwrap();
        let finished = stored.and_then(|close| close.finished).expect("a result");
        let changed = FinishedClose {
            file: with_other_bytes(&finished.file, name),
            ..finished
        };
        let mut other = record.clone();
        other.insert("closed", Attr::S(serde_json::to_string(&changed).unwrap()));
        let put = |item| Write::Put {
            table: Table::Checkpoints,
            item,
            condition: Condition::Always,
        };
        stand.db.write(put(other)).await.unwrap();
        files.delete(&format!("{AUGUST}/{name}")).await.unwrap();
        let left = all_files(&files).await;
        let (code, said) = refusal(closing.close(month(AUGUST), None, "a test").await);
        assert_eq!(code, "close_differs", "{name}");
        says(&said, &["the close of 2026-08", "Nothing was written"]);
        assert!(
            all_files(&files).await == left,
            "{name}: files were written"
        );
        // With the record as it was, the file comes back.
        stand.db.write(put(record)).await.unwrap();
        let again = closing.close(month(AUGUST), None, "a test").await;
        assert_eq!(again.unwrap(), first, "{name}");
        assert_eq!(all_files(&files).await.len(), left.len() + 1, "{name}");
    }
}

/// A version that was killed on the way has left a file as it makes it.
#[tokio::test]
async fn a_close_that_another_version_began_is_finished_only_without_its_files() {
    let whole = {
        let stand = final_stand().await;
        let files = Objects::in_memory();
        let closed = on(&stand, &files);
        let closed = closed.close(month(AUGUST), Some(terms()), "a test").await;
        closed.unwrap();
        all_files(&files).await
    };
    for name in ["openzeppelin.json", "accounts.csv", "close.json"] {
        let stand = final_stand().await;
        let files = Objects::in_memory();
        let begun = begun(&stand).await;
        let path = format!("{AUGUST}/{name}");
        files
            .put(&path, "as another version makes it".into())
            .await
            .unwrap();
        let closing = on(&stand, &files);
        let (code, said) = refusal(closing.close(month(AUGUST), None, "this version").await);
        assert_eq!(code, "closing_file_damaged", "{name}");
        says(
            &said,
            &[&path, "another version of tidemark", "move it away"],
        );
        // Nothing is published, and the file is as it was.
        let shown = closing.show(month(AUGUST)).await.unwrap();
        assert_eq!((shown.state, shown.totals), (CloseState::Begun, None));
        let kind: FileKind = name.parse().unwrap();
        let (code, _) = refusal(closing.open_file(month(AUGUST), kind).await);
        assert_eq!(code, "close_unfinished");
        let left = files.get(&path).await.unwrap().expect("the file");
        assert_eq!(left, "as another version makes it");
        // Moved away, it is written, and everything is as if one version had closed.
        files.delete(&path).await.unwrap();
        let closed = closing.close(month(AUGUST), None, "this version").await;
        let closed = closed.unwrap();
        assert_eq!(closed.begun_by, begun.by);
        assert_eq!(closed.closed_by.as_deref(), Some("this version"));
        assert!(all_files(&files).await == whole, "{name}: other bytes");
    }
}

#[tokio::test]
async fn the_audit_trail_says_who_began_a_close_on_which_terms_and_who_finished_it() {
    let stand = final_stand().await;
    let begun = begun(&stand).await;
    let trail_of = async |action: &str| {
        let entries = trail(&stand, action).await;
        assert!(entries.len() < 2, "{entries:?}");
        entries.into_iter().next()
    };
    let begin = trail_of("closes.begin").await.expect("an entry");
    assert_eq!(
        (&begin["subject"], &begin["by"], &begin["at"]),
        (&json!(AUGUST), &json!(begun.by), &json!(NOON.to_string()))
    );
    assert_eq!(begin["detail"]["control"], begun.control.0);
    assert_eq!(begin["detail"]["terms"], json!(begun.terms));
    assert_eq!(trail_of("closes.close").await, None);
    // Begun again, it is the same close.
    closes::begin(&stand.db, &begun, None).await.unwrap();

    stand.clock.set(Millis(NOON.0 + 1_000));
    let closing = on(&stand, &Objects::in_memory());
    let closed = closing.close(month(AUGUST), None, "who finished it").await;
    let closed = closed.unwrap();
    assert_eq!(trail_of("closes.begin").await, Some(begin));
    let close = trail_of("closes.close").await.expect("an entry");
    let detail = &close["detail"];
    for (found, expected) in [
        (&close["by"], json!("who finished it")),
        (&detail["begunBy"], json!(begun.by)),
        (&detail["control"], json!(begun.control.0)),
        (&detail["terms"], json!(begun.terms)),
        (&detail["totals"], json!(closed.totals)),
        (&detail["roots"], json!(closed.roots)),
        (&detail["closeSha256"], json!(closed.files[0].sha256)),
    ] {
        assert_eq!(*found, expected, "{close}");
    }
    assert_eq!(closed.files[0].name, "close.json");
    // Closing again changes nothing, and leaves no entry.
    let again = closing.close(month(AUGUST), None, "somebody else").await;
    assert_eq!(again.unwrap(), closed);
    assert_eq!(trail_of("closes.close").await, Some(close));
}
