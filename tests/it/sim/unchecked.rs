//! Without usage rows memory alone tells duplicates, so it holds what is young, however small the window is.

use tidemark::pipeline::{Breakage, Settings};

use super::quiet::Quiet;
use super::workload::MINUTE;

const USERS: [&str; 3] = ["ann", "ben", "cem"];
const ROUNDS: u64 = 10;

/// How many requests are counted of each user, if each event is sent, and sent again later.
fn counted(breakage: Option<Breakage>) -> [u64; 3] {
    let mut quiet = Quiet::new(1, 1);
    quiet.break_workers(breakage);
    quiet.start_worker(Settings {
        usage_rows: false,
        // Far fewer than come within the 15 minutes that memory must hold.
        window_records_max: 3,
        ..Settings::default()
    });
    let mut sent = Vec::new();
    for round in 0..ROUNDS {
        for user in USERS {
            quiet.chat(&format!("{round}-{user}"), user);
            sent.extend(quiet.last_sent().map(|event| (user, event)));
            quiet.pass(5_000);
        }
    }
    for (user, event) in sent {
        quiet.append(user, event);
    }
    quiet.pass(MINUTE);
    assert_eq!(quiet.halts(), []);
    USERS.map(|user| quiet.requests(user))
}

#[test]
fn without_usage_rows_each_fresh_event_counts_once_however_few_records_the_window_has() {
    assert_eq!(counted(None), [ROUNDS; 3]);
}

#[test]
fn the_simulator_finds_an_unchecked_window_that_is_cut_short() {
    let counted = counted(Some(Breakage::UncheckedWindowCutShort));
    assert!(counted.iter().all(|count| *count < ROUNDS), "{counted:?}");
}
