//! A log that is gone for good while work was in flight: the next epoch does not begin before an
//! operator has given it up, and then nothing counts twice.

use tidemark::domain::position::{Epoch, WriteId};
use tidemark::domain::time::{Millis, Month};
use tidemark::pipeline::Settings;
use tidemark::pipeline::loss::{LossError, Losses};
use tidemark::store::audit;
use tidemark::store::db::Table;

use super::adapter;
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

#[test]
fn events_of_a_lost_chunk_that_nobody_counted_count_when_they_are_sent_again() {
    let mut quiet = Quiet::new(1, 1);
    quiet.start_worker(Settings::default());
    let first = send(&mut quiet, "e-1");
    quiet.pass(MINUTE);
    let lost = send(&mut quiet, "e-2");
    // Its usage row is written, its block is not posted.
    quiet.until(MINUTE, |world| {
        world.with(|inner| {
            let rows = inner.db.items.keys();
            rows.filter(|key| key.table == Table::UsageTracking).count() == 3
        })
    });
    assert!(is_cut(&quiet));
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
