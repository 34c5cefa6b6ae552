//! A chunk asks the store once for everything that rating it needs, however many pieces it has.

use std::sync::Arc;

use tidemark::domain::ids::{Account, AccountKind};
use tidemark::pipeline::Settings;
use tidemark::pipeline::rate::PIECE_RECORDS;
use tidemark::store::db::Table;

use super::adapter;
use super::quiet::Quiet;
use super::workload::MINUTE;

const USERS: usize = 3 * PIECE_RECORDS + 7;

fn user(number: usize) -> String {
    format!("u-{number}")
}

/// Batches that were read of a table since the last call.
fn reads(quiet: &Quiet, table: Table) -> u64 {
    let taken = |reads: &mut std::collections::BTreeMap<Table, u64>| reads.remove(&table);
    let reads = quiet.world.with(|inner| taken(&mut inner.db.batch_reads));
    reads.unwrap_or_default()
}

/// Requests that count, of all users.
fn requests(quiet: &Quiet) -> u64 {
    let of = |number| {
        let account = Account::new(AccountKind::User, &user(number)).unwrap();
        let rows = quiet
            .world
            .with(|inner| adapter::month_rows(&inner.db, &account));
        let rows = rows.expect("rows that can be read");
        let services = rows.values().flat_map(|stored| stored.row.services.iter());
        services.map(|(_, stats)| stats.requests).sum::<u64>()
    };
    (0..USERS).map(of).sum()
}

#[test]
fn a_chunk_looks_up_all_its_usage_rows_at_once_and_all_its_chains_at_once() {
    let mut quiet = Quiet::new(1, 1);
    let settings = Settings {
        window_age_ms: MINUTE,
        ..Settings::default()
    };
    let db = Arc::new(quiet.db());
    let metrics = quiet.start_worker_on(db, settings);
    quiet.pass(MINUTE);
    reads(&quiet, Table::ReferralRelationships);
    let mut sent = Vec::new();
    for number in 0..USERS {
        quiet.chat(&format!("first-{number}"), &user(number));
        sent.extend(quiet.last_sent().map(|event| (number, event)));
    }
    quiet.pass(MINUTE);
    assert_eq!(requests(&quiet), USERS as u64);
    assert_eq!(metrics.chunks_total.get(), 1);
    assert_eq!(reads(&quiet, Table::ReferralRelationships), 1);
    assert_eq!(reads(&quiet, Table::UsageTracking), 0);
    // The window forgets them; then they come again, among new ones of the same users.
    quiet.pass(2 * MINUTE);
    quiet.chat("between", &user(0));
    quiet.pass(MINUTE);
    reads(&quiet, Table::UsageTracking);
    for (number, event) in sent {
        quiet.append(&user(number), event);
        quiet.chat(&format!("second-{number}"), &user(number));
    }
    quiet.pass(MINUTE);
    assert_eq!(requests(&quiet), 2 * USERS as u64 + 1);
    assert_eq!(reads(&quiet, Table::UsageTracking), 1);
    assert_eq!(reads(&quiet, Table::ReferralRelationships), 0);
    assert_eq!(metrics.events_duplicate_total.get(), USERS as u64);
    assert_eq!(quiet.halts(), []);
}
