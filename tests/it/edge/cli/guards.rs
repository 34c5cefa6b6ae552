//! What something other than tidemark did to checkpoints, clocks and tables is noticed, and has a
//! way back that loses nothing.

use serde_json::{Value, json};
use tidemark::domain::position::Partition;
use tidemark::log::usage_partition;
use tidemark::ops::health::{Role, TaskId};
use tidemark::store::checkpoints::checkpoint_key;
use tidemark::store::db::{Attr, Condition, Db, Item, Key, Table, Write};
use tidemark::store::installation::marker_key;
use tidemark::store::recovery;

use super::halts::{run, store};
use super::losses::change_checkpoint;
use super::{Place, chat, until};

const USER: &str = "somebody";
const DAY_MS: i64 = 86_400_000;

fn rate_task() -> TaskId {
    TaskId::new(Role::Rate, usage_partition(USER, 4))
}

fn take(place: &Place, key: &Key) -> Item {
    run(async {
        let db = store(place);
        let item = db.get(key).await.unwrap().expect("an item");
        let delete = Write::Delete {
            key: key.clone(),
            condition: Condition::Present,
        };
        db.write(delete).await.unwrap();
        item
    })
}

fn put(place: &Place, table: Table, item: Item) {
    let put = Write::Put {
        table,
        item,
        condition: Condition::Always,
    };
    run(async { store(place).write(put).await.unwrap() });
}

/// What `doctor` says once a partition has halted with this code.
fn halted(place: &Place, code: &str) -> String {
    until(&format!("a partition halts with {code}"), || {
        let said = place.tidemark(&["doctor", "--json"]);
        let found: Value = serde_json::from_str(&said.out).ok()?;
        let faults = found["faults"].as_array()?.iter();
        let mut texts = faults.filter_map(|fault| fault.as_str());
        let is_it =
            |text: &&str| text.contains(&format!("({code})")) && text.contains("halted since");
        texts.find(is_it).map(str::to_owned)
    })
}

fn requests(place: &Place) -> Value {
    place.statement("user", USER)["requests"].clone()
}

#[test]
fn a_rater_whose_checkpoint_was_deleted_halts_also_after_a_resume_and_goes_on_once_it_is_back() {
    let place = Place::new();
    let up = place.up(&[]);
    place.send(&[chat("1", USER)]);
    place.wait();
    let task = rate_task();
    let checkpoint = take(&place, &checkpoint_key(task));
    place.send(&[chat("2", USER)]);
    let said = halted(&place, "tables_behind_log");
    assert!(said.contains(&task.to_string()), "{said}");
    assert!(said.contains("is missing"), "{said}");
    let name = task.to_string();
    place.tidemark(&["resume", &name, "--reason", "a try"]).ok();
    halted(&place, "tables_behind_log");
    assert_eq!(requests(&place), 1);
    put(&place, Table::Checkpoints, checkpoint);
    place
        .tidemark(&["resume", &name, "--reason", "the checkpoint is back"])
        .ok();
    place.wait();
    assert_eq!(requests(&place), 2);
    assert_eq!(place.tidemark(&["doctor", "--json"]).json()["well"], true);
    up.stop();
}

#[test]
fn log_time_that_an_older_version_let_jump_ahead_is_corrected_and_events_are_rated_again() {
    let place = Place::new();
    let up = place.up(&[]);
    let events = ["1", "2", "3"].map(|id| chat(id, USER));
    place.send(&events[..1]);
    place.wait();
    let task = rate_task();
    let key = checkpoint_key(task);
    let mut checkpoint = run(async { store(&place).get(&key).await.unwrap().unwrap() });
    let Some(Attr::S(body)) = checkpoint.get("body") else {
        panic!("no body: {checkpoint:?}");
    };
    let mut body: Value = serde_json::from_str(body).unwrap();
    let ahead = body["logTime"].as_i64().unwrap() + 60 * DAY_MS;
    body["logTime"] = json!(ahead);
    checkpoint.insert("body", Attr::S(body.to_string()));
    checkpoint.insert("write", Attr::S("00000000000000ff.1".to_owned()));
    put(&place, Table::Checkpoints, checkpoint);

    place.send(&events[1..2]);
    let said = halted(&place, "clock_ahead");
    let name = task.to_string();
    assert!(
        said.contains(&format!("tidemark correct-clock {name}")),
        "{said}"
    );
    let elsewhere = TaskId::new(Role::Rate, Partition((task.partition.0 + 1) % 4)).to_string();
    let refused = place.tidemark(&["correct-clock", &elsewhere, "--reason", "a test"]);
    let refused = refused.failed(2);
    assert!(
        refused.contains("is not halted with clock_ahead"),
        "{refused}"
    );
    let said = place
        .tidemark(&[
            "correct-clock",
            &name,
            "--reason",
            "the clock was 60 days ahead",
        ])
        .ok();
    assert!(said.contains(&format!("tidemark resume {name}")), "{said}");
    place
        .tidemark(&["resume", &name, "--reason", "corrected"])
        .ok();
    place.wait();
    assert_eq!(requests(&place), 2);
    // What was counted before the correction is still known.
    place.send(&events);
    place.wait();
    assert_eq!(requests(&place), 3);
    let rejects = place.tidemark(&["rejects", "list"]).ok();
    assert!(!rejects.contains("too_old"), "{rejects}");
    assert_eq!(place.tidemark(&["doctor", "--json"]).json()["well"], true);
    up.stop();
}

#[test]
fn a_table_that_was_created_again_is_noticed_although_nobody_touches_it() {
    let place = Place::new();
    let up = place.up(&[]);
    place.send(&[chat("1", USER)]);
    place.wait();
    let table = Table::UsageTracking;
    let marker = take(&place, &marker_key(table));
    up.stop();
    let up = place.up(&[]);
    let said = halted(&place, "row_regressed");
    assert!(
        said.contains("table UsageTracking was created again"),
        "{said}"
    );
    assert!(said.contains("Do not run `tidemark init`"), "{said}");
    put(&place, table, marker);
    place
        .tidemark(&["resume", "--all", "--reason", "it was restored"])
        .ok();
    place.send(&[chat("2", USER)]);
    place.wait();
    assert_eq!(requests(&place), 2);
    up.stop();
}

#[test]
fn a_recovery_that_was_broken_off_is_told_and_done_again() {
    let place = Place::new();
    let up = place.up(&[]);
    place.send(&[chat("1", USER)]);
    place.wait();
    run(async { recovery::begin(&store(&place)).await.unwrap() });
    let said = place.tidemark(&["doctor", "--json"]);
    assert!(said.out.contains("was interrupted"), "{}", said.out);
    up.stop();
    let recover = ["recover", "--yes", "--reason", "a test"];
    let done = place.tidemark(&recover).ok();
    assert!(done.contains("repeats all of it"), "{done}");
    let again = place.tidemark(&recover).ok();
    assert!(again.contains("nothing to recover"), "{again}");
}

/// A rollback as far as one program can play both: the checkpoint is as a newer version, which rates
/// by other rules, has left it.
#[test]
fn after_a_rollback_this_version_goes_on_from_a_graceful_stop_and_halts_at_a_chunk_that_is_cut() {
    let place = Place::new();
    let up = place.up(&[]);
    place.send(&[chat("1", USER)]);
    place.wait();
    up.stop();
    // The newer version was killed: the record of the first event is under way.
    change_checkpoint(&place, rate_task(), |body| {
        body["semantics"] = json!(body["semantics"].as_u64().unwrap() + 1);
        body["from"] = json!(body["to"].as_u64().unwrap() - 1);
    });
    let up = place.up(&[]);
    let said = halted(&place, "semantics_changed");
    assert!(said.contains("Let the version that cut"), "{said}");
    up.stop();
    // It is started once more, and stopped gracefully.
    change_checkpoint(&place, rate_task(), |body| {
        assert_eq!(body["from"], json!(body["to"].as_u64().unwrap() - 1));
        body["from"] = body["to"].clone();
    });
    let up = place.up(&[]);
    place
        .tidemark(&["resume", "--all", "--reason", "rolled back"])
        .ok();
    place.send(&[chat("2", USER)]);
    place.wait();
    assert_eq!(requests(&place), 2);
    assert_eq!(place.tidemark(&["doctor", "--json"]).json()["well"], true);
    up.stop();
}
