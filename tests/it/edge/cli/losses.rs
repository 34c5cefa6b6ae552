//! `accept-loss`: a log that is gone for good with a chunk in flight.

use std::sync::Arc;

use serde_json::{Value, json};
use tidemark::domain::position::Partition;
use tidemark::domain::time::Millis;
use tidemark::log::usage_partition;
use tidemark::ops::clock::SystemClock;
use tidemark::ops::health::{Role, TaskId};
use tidemark::store::checkpoints::checkpoint_key;
use tidemark::store::db::{Attr, Condition, Db, Table, Write};
use tidemark::store::dynamo::{DynamoDb, DynamoSettings};
use tidemark::store::embedded::EmbeddedStore;
use tidemark::store::meter::StoreMeter;

use super::halts::run;
use super::{Place, chat, until};

const USER: &str = "somebody";

/// Nothing runs: a chunk of one more record is cut. Its offset, and between which times it was
/// appended.
fn cut_one_more(place: &Place, task: TaskId) -> (u64, [Millis; 2]) {
    change_checkpoint(place, task, |body| {
        let from = body["to"].as_u64().unwrap();
        body["from"] = json!(from);
        body["to"] = json!(from + 1);
        // The last record of the chunk, 1.5 s after all before it.
        let before = body["logTime"].as_i64().unwrap();
        let last = before + 1_500;
        body["fingerprint"] = json!(format!("{from}@{last}#{:016x}", 0));
        (from, [before, last].map(Millis))
    })
}

/// Nothing runs: changes a checkpoint as it is stored.
pub(super) fn change_checkpoint<T>(
    place: &Place,
    task: TaskId,
    change: impl FnOnce(&mut Value) -> T,
) -> T {
    run(async {
        let store = EmbeddedStore::open(&place.path("data/store")).unwrap();
        let mut settings = DynamoSettings::embedded(store.client());
        settings.prefix = "tidemark-".to_owned();
        let meter = Arc::new(StoreMeter::default());
        let db = DynamoDb::new(&settings, meter, Arc::new(SystemClock));
        let mut item = db.get(&checkpoint_key(task)).await.unwrap().unwrap();
        let Some(Attr::S(body)) = item.get("body") else {
            panic!("no body: {item:?}");
        };
        let mut body: Value = serde_json::from_str(body).unwrap();
        let changed = change(&mut body);
        item.insert("body", Attr::S(body.to_string()));
        let put = Write::Put {
            table: Table::Checkpoints,
            item,
            condition: Condition::Always,
        };
        db.write(put).await.unwrap();
        changed
    })
}

#[test]
fn a_chunk_in_a_lost_log_is_named_confirmed_and_given_up_and_the_next_epoch_begins() {
    let mut place = Place::new();
    let up = place.up(&[]);
    let events = ["1", "2"].map(|id| chat(id, USER));
    place.send(&events[..1]);
    place.wait();
    up.stop();
    let task = TaskId::new(Role::Rate, usage_partition(USER, 4));
    let Partition(p) = task.partition;
    let (from, [before, last]) = cut_one_more(&place, task);
    std::fs::rename(place.path("data/log"), place.path("lost")).unwrap();
    place.env.push(("TIDEMARK_LOG_EPOCH", "2"));
    let up = place.up(&[]);
    let said = until("the partition halts", || {
        let said = place.tidemark(&["doctor"]).out;
        (said.contains("(log_recreated)") && said.contains("resume")).then_some(said)
    });
    assert!(said.contains("runbook.md#a-topic-is-gone"), "{said}");
    let accept = ["accept-loss", "--reason", "the disk burnt"];
    let asked = place.tidemark(&accept);
    let which = format!(
        "usage.events/{p} offsets {from} to {} (not included), chunk ",
        from + 1
    );
    let when = format!(", appended from {before} to {last}: in no account. ");
    let never_rated = format!(
        "usage.events/{p} from offset {} on, appended from {last} on: never",
        from + 1
    );
    for text in [&which, &when, &never_rated] {
        assert!(asked.out.contains(text), "{text}: {}", asked.out);
    }
    let refused = asked.failed(2);
    assert!(refused.contains("nothing was changed"), "{refused}");
    let accepted = place.tidemark(&[&accept[..], &["--yes"]].concat()).ok();
    assert!(accepted.contains("epoch 2 can begin"), "{accepted}");
    // A task of `up` that looks again may have begun the epoch already.
    let again = place.tidemark(&[&accept[..], &["--yes"]].concat());
    let is_settled = again.out.contains("nothing is in flight");
    assert!(
        is_settled || again.err.contains("the tables are at epoch 2"),
        "{} {}",
        again.out,
        again.err
    );
    place
        .tidemark(&["resume", "--all", "--reason", "accepted"])
        .ok();
    place.send(&events);
    place.wait();
    assert_eq!(place.statement("user", USER)["requests"], 2);
    assert_eq!(place.tidemark(&["doctor", "--json"]).json()["well"], true);
    let begun = place.tidemark(&accept).failed(2);
    assert!(begun.contains("the tables are at epoch 2"), "{begun}");
    up.stop();
}
