//! A log moves as a new epoch. With usage rows off fresh events count at once and resends do not
//! count again; a topic that stays as it is goes on where it was.

use tidemark::domain::position::{Epoch, Partition};
use tidemark::domain::time::Month;
use tidemark::log::{NewRecord, Topic, posting};
use tidemark::pipeline::Settings;

use super::adapter;
use super::log;
use super::quiet::Quiet;
use super::workload::{MINUTE, user};

fn requests(quiet: &Quiet) -> u64 {
    let november: Month = "2026-11".parse().unwrap();
    quiet.world.with(|inner| {
        let rows = adapter::month_rows(&inner.db, &user(1)).unwrap();
        let days = rows.get(&november).map(|stored| stored.row.days.clone());
        days.unwrap_or_default()
            .iter()
            .map(|(_, day)| day.requests)
            .sum()
    })
}

#[test]
fn without_usage_rows_a_new_epoch_counts_fresh_events_at_once_and_no_resend_again() {
    let settings = || Settings {
        usage_rows: false,
        ..Settings::default()
    };
    let ann = user(1);
    let mut quiet = Quiet::new(1, 1);
    quiet.start_worker(settings());
    for number in 0..5 {
        quiet.chat(&format!("old-{number}"), ann.id());
        quiet.pass(10_000);
    }
    let resend = quiet.last_sent().unwrap();
    quiet.pass(5_000);
    assert_eq!(requests(&quiet), 5);
    quiet.next_epoch();
    quiet.start_worker(settings());
    quiet.append(ann.id(), resend);
    for number in 0..7 {
        quiet.chat(&format!("new-{number}"), ann.id());
        quiet.pass(1_000);
    }
    quiet.pass(MINUTE);
    assert_eq!(requests(&quiet), 12);
}

/// One event in the first epoch, three in one chunk of the second, which keeps these topics.
fn goes_on(kept: &[Topic], settings: fn() -> Settings) -> Quiet {
    let ann = user(1);
    let mut quiet = Quiet::new(1, 1);
    quiet.start_worker(settings());
    quiet.chat("old", ann.id());
    quiet.pass(MINUTE);
    assert_eq!(requests(&quiet), 1);
    quiet.next_epoch_on(kept);
    for number in 0..3 {
        quiet.chat(&format!("new-{number}"), ann.id());
    }
    quiet.start_worker(settings());
    quiet.pass(MINUTE);
    assert_eq!(quiet.halts(), []);
    assert_eq!(requests(&quiet), 4, "{kept:?} were kept");
    quiet
}

fn without_usage_rows() -> Settings {
    Settings {
        usage_rows: false,
        ..Settings::default()
    }
}

#[test]
fn topics_that_were_not_lost_go_on_where_they_were() {
    for kept in [
        &[Topic::LedgerPostings][..],
        &[Topic::UsageEvents],
        &[Topic::UsageEvents, Topic::LedgerPostings],
    ] {
        goes_on(kept, Settings::default);
        let quiet = goes_on(kept, without_usage_rows);
        let rejected = quiet
            .world
            .with(|inner| log::records(inner, 2, Topic::UsageRejected, 0).len());
        assert_eq!(rejected, 0, "{kept:?} were kept");
    }
}

#[test]
fn a_block_of_an_earlier_epoch_that_comes_late_is_passed_over() {
    let mut quiet = goes_on(&[Topic::LedgerPostings], Settings::default);
    quiet.world.with(|inner| {
        let topic = Topic::LedgerPostings;
        let late: Vec<NewRecord> = log::records(inner, 1, topic, 0)
            .iter()
            .filter(|record| posting::peek(&record.value).is_ok_and(|(of, _)| of.epoch == Epoch(1)))
            .map(|record| NewRecord {
                key: record.key.clone(),
                value: record.value.clone(),
                headers: record.headers.clone(),
            })
            .collect();
        assert!(!late.is_empty());
        log::land(inner, Epoch(2), topic, Partition(0), late);
    });
    quiet.pass(MINUTE);
    assert_eq!(quiet.halts(), []);
    quiet.chat("after", user(1).id());
    quiet.pass(MINUTE);
    assert_eq!(requests(&quiet), 5);
}
