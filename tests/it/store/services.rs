//! Month rows with services that are not built in, and without.

use std::collections::BTreeMap;

use tidemark::domain::amount::{Bp, Money, Points};
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::ledger::{
    AccountRows, Activity, Carry, DayStats, Lifetime, MonthRow, ServiceStats,
};
use tidemark::domain::position::{Fence, WriteId};
use tidemark::domain::posting::{Cascade, Charge, Deduction, Entry, Slot};
use tidemark::domain::service::Service;
use tidemark::domain::time::{Millis, Month};
use tidemark::store::accounts::{StoredRow, decode, encode, row_key};
use tidemark::store::db::{Attr, Item, StoreError};

fn account() -> Account {
    Account::new(AccountKind::User, "ada").unwrap()
}

fn stats(requests: u64) -> ServiceStats {
    ServiceStats {
        requests,
        successful: requests - 1,
        failed: 1,
        points: Points(-7_500_000),
        timed: requests,
        latency_ms: 300_000,
    }
}

fn stored() -> StoredRow {
    let mut row = MonthRow::new(Month(682), Carry::default());
    row.days = vec![(
        3,
        DayStats {
            base: Points(12),
            requests: 3,
            successful: 3,
            ..DayStats::default()
        },
    )];
    row.services[Service::EMBEDDINGS] = stats(3);
    row.charge = Charge {
        cost: Money(1 << 70),
        shadow: Money(-2),
    };
    let write = WriteId {
        worker: 7,
        count: 1,
    };
    StoredRow {
        row,
        fence: Fence {
            position: None,
            write,
        },
        lifetime: Lifetime {
            services_used: Service::EMBEDDINGS.bit() | 1 << 63,
            ..Lifetime::default()
        },
        older: BTreeMap::new(),
        superseded_by: None,
    }
}

fn bytes(item: &Item) -> &[u8] {
    match item.get("stats") {
        Some(Attr::B(bytes)) => bytes,
        other => panic!("{other:?}"),
    }
}

fn read(item: &Item) -> Result<StoredRow, StoreError> {
    decode(row_key(&account(), Month(682)), item)
}

#[test]
fn rows_without_other_services_have_the_bytes_that_they_had() {
    let mut stored = stored();
    let old = |row: &MonthRow| {
        let services: [ServiceStats; 4] = Service::DEFAULTS.map(|service| row.services[service]);
        (row.carry, row.days.clone(), services, row.late, row.charge)
    };
    let plain = postcard::to_extend(&old(&stored.row), vec![1]).unwrap();
    let item = encode(&account(), &stored);
    assert_eq!(bytes(&item), plain);
    assert_eq!(read(&item).unwrap(), stored);
    stored.row.cascade = Cascade([Points(1), Points(2), Points(3)]);
    let both = (old(&stored.row), stored.row.cascade);
    let with_levels = postcard::to_extend(&both, vec![2]).unwrap();
    let item = encode(&account(), &stored);
    assert_eq!(bytes(&item), with_levels);
    assert_eq!(read(&item).unwrap(), stored);
}

#[test]
fn rows_keep_other_services_by_number() {
    for cascade in [
        Cascade::default(),
        Cascade([Points(1), Points(2), Points(3)]),
    ] {
        let mut stored = stored();
        stored.row.cascade = cascade;
        for number in [63, 4, 17] {
            let service = Service::numbered(number).unwrap();
            stored.row.services[service] = stats(u64::from(number));
        }
        let item = encode(&account(), &stored);
        assert_eq!(bytes(&item)[0], 3);
        assert_eq!(read(&item).unwrap(), stored);
    }
}

#[test]
fn rows_keep_what_was_reversed() {
    let mut stored = stored();
    let plain = encode(&account(), &stored);
    assert!(bytes(&plain)[0] < 4);
    let slot = Slot::Day(stored.row.month.day(7));
    let of = |slot, service, reversed| {
        (
            slot,
            service,
            Deduction {
                reversed,
                ..Deduction::default()
            },
        )
    };
    let mut entry = Entry::new(account());
    entry.deductions.by_service = vec![
        of(slot, Service::TTS, 2),
        of(slot, Service::numbered(17).unwrap(), 1),
        of(Slot::Late(stored.row.month), Service::TTS, 3),
    ];
    let activity = Activity {
        provider_uptime: Bp(9_500),
    };
    let mut rows = AccountRows::default();
    rows.months.insert(stored.row.month, stored.row.clone());
    rows.apply(account().kind, &entry, Millis(0), activity);
    stored.row = rows.months.get(&stored.row.month).unwrap().clone();
    assert_eq!(stored.row.reversals().sum(), 6);
    assert_eq!(stored.row.reversals().of_day(7), 3);
    let item = encode(&account(), &stored);
    assert_eq!(bytes(&item)[0], 4);
    assert_eq!(read(&item).unwrap(), stored);
}

#[test]
fn what_no_version_of_this_program_writes_is_refused() {
    let mut stored = stored();
    stored.row.services[Service::numbered(4).unwrap()] = stats(2);
    let whole = encode(&account(), &stored);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = bytes(&whole).to_vec();
        change(&mut changed);
        let mut item = whole.clone();
        item.insert("stats", Attr::B(changed.into()));
        read(&item).map_err(|error| error.to_string())
    };
    let newer = with(&|bytes| bytes[0] = 5).unwrap_err();
    assert!(newer.contains("attribute stats has version 5"), "{newer}");
    // The number of the one service is the first byte of the last element.
    let element = postcard::to_stdvec(&(4_u8, stats(2))).unwrap().len();
    for number in [3, 64] {
        let error = with(&|bytes| {
            let at = bytes.len() - element;
            assert_eq!(bytes[at], 4);
            bytes[at] = number;
        });
        let error = error.unwrap_err();
        assert!(error.contains("out of order or unknown"), "{error}");
    }
}
