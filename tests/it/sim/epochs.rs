//! A log moves as a new epoch while usage rows are off: fresh events count at once, resends do not count again.

use tidemark::domain::time::Month;
use tidemark::pipeline::Settings;

use super::adapter;
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
