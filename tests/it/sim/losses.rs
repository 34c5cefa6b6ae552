//! A log that is gone for good while work was in flight: the next epoch does not begin before an
//! operator has given it up, and then nothing counts twice.

use serde_json::{Value, json};
use tidemark::domain::position::{Chunk, Epoch, Offset, Partition, WriteId};
use tidemark::domain::time::{Millis, Month};
use tidemark::ops::health::{Role, TaskId};
use tidemark::pipeline::Settings;
use tidemark::pipeline::loss::{LossError, Losses};
use tidemark::store::audit;
use tidemark::store::checkpoints::{self, PostCheckpoint, Versioned, checkpoint_key};
use tidemark::store::db::{Attr, Db, Item, Key, StoreError, Table};
use tidemark::store::row::Fields;

use super::adapter;
use super::db::SimDb;
use super::quiet::Quiet;
use super::workload::{MINUTE, user};

const SECOND: Epoch = Epoch(2);

fn requests(quiet: &Quiet) -> u64 {
    let november: Month = "2026-11".parse().unwrap();
    quiet.world.with(|inner| {
        let rows = adapter::month_rows(&inner.db, &user(1)).unwrap();
        let days = rows.get(&november).map(|stored| stored.row.days.clone());
        let requests = |(_, day): &(_, tidemark::domain::ledger::DayStats)| day.requests;
        days.unwrap_or_default().iter().map(requests).sum()
    })
}

fn is_cut(quiet: &Quiet) -> bool {
    quiet
        .world
        .with(|inner| adapter::rate_checkpoint(&inner.db, 0).is_some_and(|at| at.is_cut()))
}

/// Sends an event; what was sent.
fn send(quiet: &mut Quiet, id: &str) -> String {
    quiet.chat(id, user(1).id());
    quiet.last_sent().unwrap()
}

/// Gives everything up; how many chunks and runs of blocks that were.
fn accept(quiet: &mut Quiet) -> (usize, usize) {
    let (db, now) = (quiet.db(), Millis(quiet.world.now()));
    let (sender, receiver) = std::sync::mpsc::channel();
    quiet.finish(async move {
        let losses = Losses::find(&db, SECOND).await.unwrap();
        let mut count = 0;
        let next = || {
            count += 1;
            WriteId { worker: 99, count }
        };
        losses.accept(&db, "test", now, next).await.unwrap();
        assert!(Losses::find(&db, SECOND).await.unwrap().is_empty());
        let entries = audit::page(&db, None, 100).await.unwrap().entries;
        let accepted = entries.iter().filter(|entry| entry.action == "loss.accept");
        sender
            .send((losses.chunks.len(), losses.blocks.len(), accepted.count()))
            .unwrap();
    });
    let (chunks, blocks, entries) = receiver.recv().unwrap();
    assert_eq!(entries, chunks + blocks);
    (chunks, blocks)
}

/// The log of the first epoch is destroyed, and a worker of the second begins.
fn move_on(quiet: &mut Quiet) {
    quiet.kill_worker();
    quiet.pass(MINUTE);
    quiet.next_epoch();
    quiet.world.with(|inner| inner.logs.remove(&1));
    quiet.start_worker(Settings::default());
    quiet.pass(MINUTE);
}

fn assert_halted_then_resume(quiet: &mut Quiet) {
    let halts = quiet.halts();
    let cut = quiet
        .world
        .with(|inner| adapter::rate_checkpoint(&inner.db, 0));
    assert!(!halts.is_empty(), "{cut:?}");
    assert!(
        halts.iter().all(|(_, code)| code == "log_recreated"),
        "{halts:?}"
    );
    quiet.kill_worker();
}

fn go_on(quiet: &mut Quiet) {
    quiet
        .world
        .with(|inner| inner.db.items.retain(|key, _| key.hash != "halts"));
    quiet.start_worker(Settings::default());
    quiet.pass(MINUTE);
    assert_eq!(quiet.halts(), []);
}

/// Counts one event, and leaves another in a chunk that nobody has counted; both, as they were sent.
fn lose_a_chunk(quiet: &mut Quiet) -> [String; 2] {
    quiet.start_worker(Settings::default());
    let first = send(quiet, "e-1");
    quiet.pass(MINUTE);
    let lost = send(quiet, "e-2");
    // Its usage row is written, its block is not posted.
    quiet.until(MINUTE, |world| {
        world.with(|inner| {
            let rows = inner.db.items.keys();
            rows.filter(|key| key.table == Table::UsageTracking).count() == 3
        })
    });
    assert!(is_cut(quiet));
    [first, lost]
}

const POST: TaskId = TaskId {
    role: Role::Post,
    partition: Partition(0),
};

fn write(count: u64) -> WriteId {
    WriteId { worker: 98, count }
}

async fn posted(db: &SimDb) -> Versioned<PostCheckpoint> {
    let stored = checkpoints::get(db, &checkpoint_key(POST)).await;
    stored.unwrap().unwrap()
}

/// A poster that has read `seen` writes this checkpoint.
async fn post(
    db: &SimDb,
    seen: WriteId,
    next: &PostCheckpoint,
    count: u64,
) -> Result<(), StoreError> {
    let put = checkpoints::put(&checkpoint_key(POST), next, Some(seen), write(count));
    db.write(put).await
}

fn ids(first: u64) -> impl FnMut() -> WriteId {
    let mut count = first;
    move || {
        count += 1;
        write(count)
    }
}

/// The posting checkpoint as it is stored.
fn post_item(quiet: &Quiet) -> Item {
    quiet
        .world
        .with(|inner| inner.db.items[&checkpoint_key(POST)].clone())
}

/// Leaves what a worker leaves that is killed after the rows and before the checkpoint that follows
/// this one.
fn kill_before_the_checkpoint(quiet: &mut Quiet, stored: Item) {
    quiet.kill_worker();
    quiet
        .world
        .with(|inner| inner.db.items.insert(checkpoint_key(POST), stored));
}

/// Changes what an item of the pipeline says.
fn edit(quiet: &Quiet, key: &Key, change: impl FnOnce(&mut Value)) {
    quiet.world.with(|inner| {
        let item = inner.db.items.get_mut(key).unwrap();
        let Some(Attr::S(body)) = item.get("body") else {
            panic!("no body: {item:?}");
        };
        let mut body: Value = serde_json::from_str(body).unwrap();
        change(&mut body);
        item.insert("body", Attr::S(body.to_string()));
    });
}

#[test]
fn events_of_a_lost_chunk_that_nobody_counted_count_when_they_are_sent_again() {
    let mut quiet = Quiet::new(1, 1);
    let [first, lost] = lose_a_chunk(&mut quiet);
    move_on(&mut quiet);
    assert_eq!(requests(&quiet), 1);
    assert_halted_then_resume(&mut quiet);
    assert_eq!(accept(&mut quiet), (1, 0));
    go_on(&mut quiet);
    for event in [&first, &lost, &lost] {
        quiet.append(user(1).id(), event.clone());
    }
    send(&mut quiet, "e-3");
    quiet.pass(2 * MINUTE);
    assert_eq!(requests(&quiet), 3);
    assert_eq!(quiet.halts(), []);
}

#[test]
fn events_of_a_lost_chunk_that_was_counted_are_taken_as_seen() {
    let mut quiet = Quiet::new(1, 1);
    let settings = Settings {
        // It stays in flight: the chunk is not declared done.
        idle_after: std::time::Duration::from_secs(3_600),
        ..Settings::default()
    };
    quiet.start_worker(settings);
    let counted = send(&mut quiet, "e-1");
    quiet.pass(MINUTE);
    assert_eq!(requests(&quiet), 1);
    assert!(is_cut(&quiet));
    move_on(&mut quiet);
    assert_halted_then_resume(&mut quiet);
    assert_eq!(accept(&mut quiet), (1, 0));
    go_on(&mut quiet);
    quiet.append(user(1).id(), counted);
    send(&mut quiet, "e-2");
    quiet.pass(2 * MINUTE);
    assert_eq!(requests(&quiet), 2);
}

#[test]
fn blocks_that_were_never_posted_are_given_up_by_name() {
    let mut quiet = Quiet::new(1, 1);
    quiet.start_worker(Settings::default());
    send(&mut quiet, "e-1");
    quiet.pass(MINUTE);
    quiet.kill_worker();
    // Rating goes on alone.
    quiet.start_raters(Settings::default());
    let rated = send(&mut quiet, "e-2");
    quiet.pass(MINUTE);
    assert!(!is_cut(&quiet));
    move_on(&mut quiet);
    assert_halted_then_resume(&mut quiet);
    assert_eq!(accept(&mut quiet), (0, 1));
    go_on(&mut quiet);
    quiet.append(user(1).id(), rated);
    send(&mut quiet, "e-3");
    quiet.pass(2 * MINUTE);
    // The resend is a duplicate by its usage row.
    assert_eq!(requests(&quiet), 2);
}

#[test]
fn a_loss_is_accepted_only_between_two_epochs() {
    let mut quiet = Quiet::new(1, 1);
    let db = quiet.db();
    quiet.finish(async move {
        let none = Losses::find(&db, SECOND).await;
        assert!(matches!(none, Err(LossError::NoEpoch)));
    });
    quiet.start_worker(Settings::default());
    send(&mut quiet, "e-1");
    quiet.pass(MINUTE);
    let db = quiet.db();
    quiet.finish(async move {
        let begun = Losses::find(&db, Epoch(1)).await;
        assert!(matches!(begun, Err(LossError::HasBegun { .. })));
        assert!(Losses::find(&db, SECOND).await.unwrap().is_empty());
    });
}

#[test]
fn events_in_rows_that_are_ahead_of_the_checkpoint_are_taken_as_seen() {
    let mut quiet = Quiet::new(1, 1);
    quiet.start_worker(Settings::default());
    send(&mut quiet, "e-1");
    quiet.pass(MINUTE);
    assert!(!is_cut(&quiet));
    quiet.kill_worker();
    let before = post_item(&quiet);
    let settings = Settings {
        // It stays in flight: the chunk is not declared done.
        idle_after: std::time::Duration::from_secs(3_600),
        ..Settings::default()
    };
    quiet.start_worker(settings);
    let counted = send(&mut quiet, "e-2");
    quiet.pass(MINUTE);
    assert_eq!(requests(&quiet), 2);
    assert!(is_cut(&quiet));
    kill_before_the_checkpoint(&mut quiet, before);
    move_on(&mut quiet);
    assert_halted_then_resume(&mut quiet);
    assert_eq!(accept(&mut quiet), (1, 0));
    go_on(&mut quiet);
    quiet.append(user(1).id(), counted);
    send(&mut quiet, "e-3");
    quiet.pass(2 * MINUTE);
    assert_eq!(requests(&quiet), 3);
}

#[test]
fn accounts_that_may_hold_lost_blocks_are_named() {
    let mut quiet = Quiet::new(1, 1);
    quiet.start_worker(Settings::default());
    send(&mut quiet, "e-1");
    quiet.pass(MINUTE);
    let before = post_item(&quiet);
    let rated = send(&mut quiet, "e-2");
    quiet.pass(MINUTE);
    assert!(!is_cut(&quiet));
    kill_before_the_checkpoint(&mut quiet, before);
    move_on(&mut quiet);
    assert_halted_then_resume(&mut quiet);
    let db = quiet.db();
    quiet.finish(async move {
        let losses = Losses::find(&db, SECOND).await.unwrap();
        let ahead = &losses.ahead[&Partition(0)];
        assert!(ahead.named.contains(&user(1)), "{ahead:?}");
        assert_eq!(ahead.count, ahead.named.len() as u64);
    });
    assert_eq!(accept(&mut quiet), (0, 1));
    go_on(&mut quiet);
    quiet.append(user(1).id(), rated);
    send(&mut quiet, "e-3");
    quiet.pass(2 * MINUTE);
    assert_eq!(requests(&quiet), 3);
}

#[test]
fn a_loss_is_not_accepted_beside_a_worker_that_posts() {
    let mut quiet = Quiet::new(1, 1);
    lose_a_chunk(&mut quiet);
    quiet.kill_worker();
    quiet.pass(MINUTE);
    let db = quiet.db();
    quiet.finish(async move {
        let losses = Losses::find(&db, SECOND).await.unwrap();
        let seen = posted(&db).await;
        post(&db, seen.write, &seen.value, 1).await.unwrap();
        let refused = losses.accept(&db, "test", Millis(0), ids(10)).await;
        assert!(
            matches!(refused, Err(LossError::WorkerRuns(POST))),
            "{refused:?}"
        );
        let losses = Losses::find(&db, SECOND).await.unwrap();
        assert_eq!(losses.chunks.len(), 1);
        let seen = posted(&db).await;
        let accepted = losses.accept(&db, "test", Millis(0), ids(20)).await;
        accepted.unwrap();
        // What a worker had read before is of no use to it any more.
        let late = post(&db, seen.write, &seen.value, 2).await;
        assert_eq!(late, Err(StoreError::ConditionFailed));
    });
}

#[test]
fn blocks_of_a_void_chunk_that_are_counted_after_all_are_taken_as_counted() {
    let mut quiet = Quiet::new(1, 1);
    let [_, lost] = lose_a_chunk(&mut quiet);
    move_on(&mut quiet);
    assert_halted_then_resume(&mut quiet);
    assert_eq!(accept(&mut quiet), (1, 0));
    let (db, now) = (quiet.db(), Millis(quiet.world.now()));
    quiet.finish(async move {
        // A poster of the first epoch goes on.
        let seen = posted(&db).await;
        let mut next = seen.value.clone();
        next.next = Offset(next.next.0 + 1);
        next.sources.get_mut(&0).unwrap().sequence.0 += 1;
        post(&db, seen.write, &next, 1).await.unwrap();
        let losses = Losses::find(&db, SECOND).await.unwrap();
        assert!(!losses.is_empty());
        let [late] = losses.late[..] else {
            panic!("{:?}", losses.late);
        };
        assert!(late.given_up.is_some_and(|chunk| chunk > Chunk(0)));
        losses.accept(&db, "test", now, ids(10)).await.unwrap();
        assert!(Losses::find(&db, SECOND).await.unwrap().is_empty());
    });
    go_on(&mut quiet);
    quiet.append(user(1).id(), lost);
    send(&mut quiet, "e-3");
    quiet.pass(2 * MINUTE);
    // The resend is a duplicate by its usage row.
    assert_eq!(requests(&quiet), 2);
}

#[test]
fn sequences_that_go_on_in_the_next_epoch_stay_when_blocks_are_given_up() {
    let mut quiet = Quiet::new(2, 1);
    quiet.start_worker(Settings::default());
    for number in 1..8 {
        quiet.chat(&format!("e-{number}"), user(number).id());
    }
    quiet.pass(MINUTE);
    quiet.kill_worker();
    quiet.pass(MINUTE);
    // An older tidemark began the second epoch, and has posted nothing in it.
    let key = Key::new(Table::Checkpoints, "epochs", "0000000002");
    let body = json!({
        "epoch": 2, "source": 2, "posting": 1, "sequencesRestart": false, "postingSince": 0,
    });
    let item = Fields::of(&key).json("body", &body).text("write", write(1));
    quiet
        .world
        .with(|inner| inner.db.items.insert(key, item.item()));
    for source in [0, 1] {
        let task = TaskId::new(Role::Rate, Partition(source));
        edit(&quiet, &checkpoint_key(task), |body| {
            body["epoch"] = json!(2);
            let sent = body["sequences"][0].as_u64().unwrap();
            assert!(sent > 0);
            body["sequences"][0] = json!(sent + u64::from(source));
        });
    }
    let db = quiet.db();
    quiet.finish(async move {
        let before = posted(&db).await.value.sources;
        let losses = Losses::find(&db, Epoch(3)).await.unwrap();
        assert_eq!(losses.blocks.len(), 1);
        losses
            .accept(&db, "test", Millis(0), ids(10))
            .await
            .unwrap();
        let after = posted(&db).await.value.sources;
        assert_eq!(after[&0], before[&0]);
        assert_eq!(after[&1].sequence.0, before[&1].sequence.0 + 1);
        assert!(Losses::find(&db, Epoch(3)).await.unwrap().is_empty());
    });
}
