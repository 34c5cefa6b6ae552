//! Accounts that are set aside, one case after the other, in a world in which nothing else goes
//! wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tidemark::domain::amount::Points;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::position::{Partition, WriteId};
use tidemark::domain::time::{Millis, Month};
use tidemark::log::Topic;
use tidemark::ops::clock::Clock;
use tidemark::pipeline::{self, Settings};
use tidemark::store::accounts;
use tidemark::store::awards::{Award, AwardKind, grant_writes};
use tidemark::store::db::{Attr, Db, Item, Key, Page, Query, StoreError, Table, Write};
use tidemark::store::set_aside::{FaultCode, ReleaseRequest, SetAside, Stood, request_release};

use super::adapter;
use super::quiet::{Quiet, START};
use super::workload::MINUTE;
use super::world::lock;

pub(super) const ANN: &str = "ann";
const OTHERS: [&str; 3] = ["ben", "cem", "dee"];
/// When the month after the one in which these worlds begin does.
const NEXT_MONTH: i64 = START + 28 * 60 * MINUTE;

pub(super) fn user(id: &str) -> Account {
    Account::new(AccountKind::User, id).unwrap()
}

fn november() -> Month {
    "2026-11".parse().unwrap()
}

pub(super) fn november_of(id: &str) -> Key {
    accounts::row_key(&user(id), november())
}

/// Each account is loaded anew with every block, but for the one that was used last.
fn forgetful() -> Settings {
    Settings {
        accounts_cached_max: 1,
        ..Settings::default()
    }
}

fn requests(quiet: &Quiet, id: &str) -> u64 {
    quiet.world.with(|inner| {
        let rows = adapter::month_rows(&inner.db, &user(id)).unwrap();
        let days = rows.values().flat_map(|stored| stored.row.days.iter());
        days.map(|(_, day)| day.requests).sum()
    })
}

fn bonus(quiet: &Quiet, id: &str) -> Points {
    quiet.world.with(|inner| {
        let rows = adapter::month_rows(&inner.db, &user(id)).unwrap();
        rows[&november()].row.bonus
    })
}

fn chat_all(quiet: &mut Quiet, round: &str) {
    quiet.chat(&format!("{round}-{ANN}"), ANN);
    for other in OTHERS {
        quiet.chat(&format!("{round}-{other}"), other);
    }
    quiet.pass(MINUTE);
}

fn item(quiet: &Quiet, key: &Key) -> Item {
    quiet.world.with(|inner| inner.db.items[key].clone())
}

fn put(quiet: &Quiet, key: &Key, item: Item) {
    quiet
        .world
        .with(|inner| inner.db.items.insert(key.clone(), item));
}

/// Makes a row undecodable; how it was.
pub(super) fn damage(quiet: &Quiet, key: &Key) -> Item {
    let good = item(quiet, key);
    let mut bad = good.clone();
    bad.insert("stats", Attr::B(vec![99].into()));
    put(quiet, key, bad);
    good
}

fn aside(quiet: &Quiet) -> BTreeMap<Account, SetAside> {
    quiet.world.with(|inner| adapter::set_aside(&inner.db))
}

#[track_caller]
fn only_ann_is_aside(quiet: &Quiet, code: FaultCode) -> SetAside {
    assert_eq!(quiet.halts(), []);
    let aside = aside(quiet);
    let found: Vec<_> = aside.iter().map(|(of, by)| (of.id(), by.code)).collect();
    assert_eq!(found, [(ANN, code)]);
    aside.into_values().next().unwrap()
}

pub(super) fn ask(quiet: &mut Quiet, id: &str, accept_missing: bool) {
    let (db, account, now) = (quiet.db(), user(id), Millis(quiet.world.now()));
    let request = ReleaseRequest {
        at: now,
        by: "test: mended".to_owned(),
        accept_missing,
    };
    let write = WriteId {
        worker: 99,
        count: now.0.unsigned_abs(),
    };
    quiet.finish(async move {
        assert_eq!(
            request_release(&db, &account, &request, write).await,
            Ok(true)
        );
    });
    quiet.pass(MINUTE);
}

fn release(quiet: &mut Quiet) {
    ask(quiet, ANN, false);
}

#[track_caller]
fn assert_each_has(quiet: &Quiet, expected: u64) {
    assert_eq!(quiet.halts(), []);
    assert_eq!(aside(quiet), BTreeMap::new());
    for id in OTHERS.into_iter().chain([ANN]) {
        assert_eq!(requests(quiet, id), expected, "{id}");
    }
}

#[track_caller]
fn assert_refused(quiet: &Quiet, code: &str) {
    let record = aside(quiet).remove(&user(ANN)).unwrap();
    assert_eq!(record.release, None);
    let refused = record.refused.unwrap();
    assert_eq!(refused.code, code, "{}", refused.what);
}

/// A worker that has counted one chat of each, and Ann's row was damaged since.
fn damaged(settings: Settings) -> (Quiet, Item) {
    let mut quiet = Quiet::new(1, 1);
    quiet.start_worker(settings);
    chat_all(&mut quiet, "first");
    assert_each_has(&quiet, 1);
    let good = damage(&quiet, &november_of(ANN));
    (quiet, good)
}

fn award(id: &str, name: &str, at: i64) -> Vec<Write> {
    grant_writes(
        Award {
            id: format!("adjustment#{name}"),
            account: user(id),
            kind: AwardKind::Adjustment,
            month: november(),
            points: Points::whole(5),
            granted_at: Millis(at),
            reason: "a test".to_owned(),
        },
        1,
    )
}

fn grant(quiet: &mut Quiet, id: &str, name: &str) {
    let (db, writes) = (quiet.db(), award(id, name, quiet.world.now()));
    quiet.finish(async move { db.transact(writes).await.unwrap() });
    quiet.pass(MINUTE);
}

#[test]
fn a_row_that_cannot_be_decoded_stops_its_account_only_and_nothing_is_lost() {
    let (mut quiet, good) = damaged(forgetful());
    chat_all(&mut quiet, "second");
    let record = only_ann_is_aside(&quiet, FaultCode::RowUnreadable);
    assert!(
        record.what.contains("UserPoints/ann/2026-11"),
        "{}",
        record.what
    );
    assert!(record.since_time.is_some());
    for other in OTHERS {
        assert_eq!(requests(&quiet, other), 2, "{other}");
    }
    grant(&mut quiet, ANN, "one");
    grant(&mut quiet, "ben", "one");
    assert_eq!(bonus(&quiet, "ben"), Points::whole(5));
    // Another worker finds it as it is, and goes on without it too.
    quiet.kill_worker();
    quiet.start_worker(Settings::default());
    chat_all(&mut quiet, "third");
    assert_eq!(only_ann_is_aside(&quiet, FaultCode::RowUnreadable), record);

    put(&quiet, &november_of(ANN), good);
    release(&mut quiet);
    assert_each_has(&quiet, 3);
    assert_eq!(bonus(&quiet, ANN), Points::whole(5));
    chat_all(&mut quiet, "fourth");
    assert_each_has(&quiet, 4);
}

#[test]
fn a_release_before_the_row_is_mended_is_refused_and_says_why() {
    let (mut quiet, good) = damaged(forgetful());
    chat_all(&mut quiet, "second");
    release(&mut quiet);
    only_ann_is_aside(&quiet, FaultCode::RowUnreadable);
    assert_refused(&quiet, "row_unreadable");
    put(&quiet, &november_of(ANN), good);
    release(&mut quiet);
    assert_each_has(&quiet, 2);
}

#[test]
fn a_row_is_found_damaged_also_when_it_is_written() {
    let (mut quiet, good) = damaged(Settings::default());
    let mut bad = item(&quiet, &november_of(ANN));
    bad.insert("fence", Attr::N(7));
    put(&quiet, &november_of(ANN), bad);
    chat_all(&mut quiet, "second");
    only_ann_is_aside(&quiet, FaultCode::RowUnreadable);
    put(&quiet, &november_of(ANN), good);
    release(&mut quiet);
    assert_each_has(&quiet, 2);
}

#[test]
fn a_damaged_witness_is_set_aside_and_no_sign_of_older_tables() {
    let mut quiet = Quiet::new(1, 1);
    quiet.start_worker(Settings::default());
    quiet.chat("first", ANN);
    quiet.pass(MINUTE);
    let good = damage(&quiet, &november_of(ANN));
    quiet.kill_worker();
    quiet.start_worker(Settings::default());
    quiet.pass(2 * MINUTE);
    only_ann_is_aside(&quiet, FaultCode::RowUnreadable);
    put(&quiet, &november_of(ANN), good);
    release(&mut quiet);
    assert_eq!(aside(&quiet), BTreeMap::new());
    assert_eq!(quiet.halts(), []);
}

#[test]
fn rows_that_do_not_belong_together_stop_their_account_only() {
    let mut quiet = Quiet::at(NEXT_MONTH - 10 * MINUTE, 1, 1);
    quiet.start_worker(forgetful());
    chat_all(&mut quiet, "first");
    // Both months are open for three days.
    quiet.pass(5 * 60 * MINUTE);
    chat_all(&mut quiet, "second");
    let older = november_of(ANN);
    let good = item(&quiet, &older);
    let mut bad = good.clone();
    let other = "0000000001.00000000000000000000/0000000000000001.1";
    bad.insert("fence", Attr::S(other.to_owned()));
    put(&quiet, &older, bad);
    chat_all(&mut quiet, "third");
    let record = only_ann_is_aside(&quiet, FaultCode::RowsContradict);
    assert_eq!(record.stood, Stood::Unknown);
    put(&quiet, &older, good);
    release(&mut quiet);
    assert_each_has(&quiet, 3);
}

#[test]
fn awards_and_links_that_cannot_be_decoded_stop_their_account_only() {
    let mut quiet = Quiet::new(1, 1);
    let db = quiet.db();
    // Not one after the other in the queue.
    let awards = [
        (ANN, "one", START),
        ("ben", "one", START + 1),
        (ANN, "two", START + 2),
    ];
    quiet.finish(async move {
        for (id, name, at) in awards {
            db.transact(award(id, name, at)).await.unwrap();
        }
    });
    let is_anns = |(key, item): &(&Key, &Item)| {
        key.hash == "pending#0" && item.get("account") == Some(&Attr::S(format!("user:{ANN}")))
    };
    let pointers: Vec<(Key, Item)> = quiet.world.with(|inner| {
        let found = inner.db.items.iter().filter(is_anns);
        found
            .map(|(key, item)| (key.clone(), item.clone()))
            .collect()
    });
    for (key, good) in &pointers {
        let mut bad = good.clone();
        bad.insert("points", Attr::S("many".to_owned()));
        put(&quiet, key, bad);
    }
    quiet.start_worker(Settings::default());
    chat_all(&mut quiet, "first");
    only_ann_is_aside(&quiet, FaultCode::AwardUnreadable);
    assert_eq!(requests(&quiet, "ben"), 1);
    assert_eq!(bonus(&quiet, "ben"), Points::whole(5));
    // An award that waits where it cannot be read is none that the rows have lost.
    release(&mut quiet);
    assert_refused(&quiet, "award_unreadable");
    for (key, good) in pointers {
        put(&quiet, &key, good);
    }
    release(&mut quiet);
    assert_each_has(&quiet, 1);
    assert_eq!(bonus(&quiet, ANN), Points::whole(10));

    // Fifty successes make the poster look for a link.
    let link = Key::new(Table::ReferralRelationships, ANN, "user");
    put(&quiet, &link, link.item());
    for turn in 0..50 {
        quiet.chat(&format!("more-{turn}"), ANN);
    }
    quiet.pass(MINUTE);
    only_ann_is_aside(&quiet, FaultCode::LinkUnreadable);
    quiet.world.with(|inner| inner.db.items.remove(&link));
    release(&mut quiet);
    assert_eq!(aside(&quiet), BTreeMap::new());
    assert_eq!(requests(&quiet, ANN), 51);
}

#[test]
fn more_than_a_few_halt_the_partition_and_none_is_set_aside() {
    let mut quiet = Quiet::new(1, 1);
    quiet.start_worker(forgetful());
    // One of them stays in memory.
    let ids: Vec<String> = (0..=pipeline::post::SET_ASIDE_MAX + 1)
        .map(|n| format!("u{n}"))
        .collect();
    let chat = |quiet: &mut Quiet, round: &str| {
        for id in &ids {
            quiet.chat(&format!("{round}-{id}"), id);
        }
        // Not so long that the newest row is looked at by itself, and its account set aside.
        quiet.pass(MINUTE / 2);
    };
    chat(&mut quiet, "first");
    let good: Vec<Item> = ids
        .iter()
        .map(|id| damage(&quiet, &november_of(id)))
        .collect();
    chat(&mut quiet, "second");
    let halt = ("post/0".to_owned(), "accounts_uncountable".to_owned());
    assert_eq!(quiet.halts(), [halt]);
    assert_eq!(aside(&quiet), BTreeMap::new());

    for (id, good) in ids.iter().zip(good) {
        put(&quiet, &november_of(id), good);
    }
    quiet.resume("post/0");
    quiet.pass(MINUTE);
    assert_eq!(quiet.halts(), []);
    for id in &ids {
        assert_eq!(requests(&quiet, id), 2, "{id}");
    }
}

#[test]
fn a_row_of_a_newer_version_halts_its_partition_and_refuses_a_release() {
    let newer = |quiet: &Quiet| {
        let mut item = item(quiet, &november_of(ANN));
        item.insert("stats", Attr::B(vec![5, 1].into()));
        put(quiet, &november_of(ANN), item);
    };
    let mut quiet = Quiet::new(1, 1);
    quiet.start_worker(forgetful());
    chat_all(&mut quiet, "first");
    let good = item(&quiet, &november_of(ANN));
    newer(&quiet);
    chat_all(&mut quiet, "second");
    let halt = ("post/0".to_owned(), "row_unreadable".to_owned());
    assert_eq!(quiet.halts(), [halt]);
    assert_eq!(aside(&quiet), BTreeMap::new());

    // Of an account that waits already, it is no reason to stop the others.
    put(&quiet, &november_of(ANN), good.clone());
    quiet.resume("post/0");
    quiet.pass(MINUTE);
    damage(&quiet, &november_of(ANN));
    chat_all(&mut quiet, "third");
    only_ann_is_aside(&quiet, FaultCode::RowUnreadable);
    newer(&quiet);
    release(&mut quiet);
    assert_eq!(quiet.halts(), []);
    assert_refused(&quiet, "row_unreadable");
    put(&quiet, &november_of(ANN), good);
    release(&mut quiet);
    assert_each_has(&quiet, 3);
}

#[test]
fn a_row_that_is_gone_still_halts_its_partition() {
    let mut quiet = Quiet::new(1, 1);
    quiet.start_worker(forgetful());
    chat_all(&mut quiet, "first");
    quiet
        .world
        .with(|inner| inner.db.items.remove(&november_of(ANN)));
    chat_all(&mut quiet, "second");
    let halt = ("post/0".to_owned(), "row_regressed".to_owned());
    assert_eq!(quiet.halts(), [halt]);
    assert_eq!(aside(&quiet), BTreeMap::new());
}

#[test]
fn rows_that_are_mended_as_they_were_earlier_get_what_they_lack_from_the_log() {
    let mut quiet = Quiet::new(1, 1);
    quiet.start_worker(forgetful());
    chat_all(&mut quiet, "first");
    let older = item(&quiet, &november_of(ANN));
    chat_all(&mut quiet, "second");
    damage(&quiet, &november_of(ANN));
    chat_all(&mut quiet, "third");
    only_ann_is_aside(&quiet, FaultCode::RowUnreadable);
    put(&quiet, &november_of(ANN), older);
    release(&mut quiet);
    assert_each_has(&quiet, 3);
}

#[test]
fn rows_that_lack_what_the_log_has_dropped_are_not_released_unless_that_is_accepted() {
    let mut quiet = Quiet::new(1, 1);
    quiet.start_worker(forgetful());
    chat_all(&mut quiet, "first");
    let older = item(&quiet, &november_of(ANN));
    // Longer than checkpoints are kept.
    for turn in 0..8 {
        quiet.pass(10 * MINUTE);
        chat_all(&mut quiet, &format!("second-{turn}"));
    }
    let newest = damage(&quiet, &november_of(ANN));
    chat_all(&mut quiet, "third");
    only_ann_is_aside(&quiet, FaultCode::RowUnreadable);
    drop_before(&quiet, 1);
    put(&quiet, &november_of(ANN), older.clone());
    release(&mut quiet);
    assert_refused(&quiet, "rows_too_old");
    put(&quiet, &november_of(ANN), newest);
    release(&mut quiet);
    assert_each_has(&quiet, 10);
}

#[test]
fn a_block_that_cannot_be_read_is_given_up_only_if_an_operator_accepts_it() {
    let (mut quiet, good) = damaged(forgetful());
    chat_all(&mut quiet, "second");
    only_ann_is_aside(&quiet, FaultCode::RowUnreadable);
    chat_all(&mut quiet, "third");
    let first_missing = aside(&quiet)[&user(ANN)].since.next;
    quiet.world.with(|inner| {
        let log = inner.logs.get_mut(&1).unwrap();
        let records = log.records.get_mut(&(Topic::LedgerPostings, 0)).unwrap();
        let of = records.iter_mut();
        let mut of = of.filter(|record| record.offset == first_missing);
        of.next().unwrap().value = b"damaged".to_vec().into();
    });
    put(&quiet, &november_of(ANN), good);
    release(&mut quiet);
    assert_refused(&quiet, "blocks_missing");
    ask(&mut quiet, ANN, true);
    assert_eq!(quiet.halts(), []);
    assert_eq!(aside(&quiet), BTreeMap::new());
    // What stood in that block alone is lost.
    assert_eq!(requests(&quiet, ANN), 2);
    assert_eq!(requests(&quiet, "ben"), 3);
}

#[test]
fn rows_of_before_a_release_that_a_restore_brings_back_get_what_they_lack() {
    const A_COPY_LATER: i64 = 11 * MINUTE;
    let (mut quiet, good) = damaged(forgetful());
    chat_all(&mut quiet, "second");
    only_ann_is_aside(&quiet, FaultCode::RowUnreadable);
    quiet.pass(A_COPY_LATER);
    // A copy of the checkpoint that is past what the account misses.
    chat_all(&mut quiet, "third");
    put(&quiet, &november_of(ANN), good.clone());
    release(&mut quiet);
    assert_each_has(&quiet, 3);
    quiet.pass(A_COPY_LATER);
    chat_all(&mut quiet, "fourth");
    quiet.kill_worker();

    // The account's rows come from some seconds before the release, everything else from now.
    put(&quiet, &november_of(ANN), good);
    quiet.recover_in_any_case().unwrap();
    quiet.start_worker(forgetful());
    quiet.pass(MINUTE);
    assert_each_has(&quiet, 4);
}

#[test]
fn what_is_remembered_of_a_release_is_forgotten_after_a_while() {
    let (mut quiet, good) = damaged(forgetful());
    chat_all(&mut quiet, "second");
    put(&quiet, &november_of(ANN), good);
    release(&mut quiet);
    let remembered = |quiet: &Quiet| {
        quiet.world.with(|inner| {
            let mut keys = inner.db.items.keys();
            keys.any(|key| key.table == Table::Checkpoints && key.hash == "released")
        })
    };
    assert!(remembered(&quiet));
    for turn in 0..10 {
        quiet.pass(11 * MINUTE);
        chat_all(&mut quiet, &format!("later-{turn}"));
    }
    assert!(!remembered(&quiet));
}

#[test]
fn what_has_expired_is_given_up_only_if_an_operator_accepts_it() {
    let (mut quiet, good) = damaged(forgetful());
    chat_all(&mut quiet, "second");
    only_ann_is_aside(&quiet, FaultCode::RowUnreadable);
    let end = quiet.world.with(|inner| {
        let log = &inner.logs[&1];
        log.of(Topic::LedgerPostings, Partition(0)).len() as u64
    });
    drop_before(&quiet, end);
    put(&quiet, &november_of(ANN), good);
    chat_all(&mut quiet, "third");
    release(&mut quiet);
    assert_refused(&quiet, "postings_expired");
    ask(&mut quiet, ANN, true);
    assert_eq!(aside(&quiet), BTreeMap::new());
    assert_eq!(quiet.halts(), []);
    // The second was lost; what came after it was not.
    assert_eq!(requests(&quiet, ANN), 2);
    chat_all(&mut quiet, "fourth");
    assert_eq!(requests(&quiet, ANN), 3);
    assert_eq!(requests(&quiet, "ben"), 4);
}

fn drop_before(quiet: &Quiet, start: u64) {
    quiet.world.with(|inner| {
        let log = inner.logs.get_mut(&1).unwrap();
        log.starts.insert((Topic::LedgerPostings, 0), start);
    });
}

#[test]
fn rows_that_have_lost_an_award_are_not_released() {
    let mut quiet = Quiet::new(1, 1);
    quiet.start_worker(forgetful());
    chat_all(&mut quiet, "first");
    let older = item(&quiet, &november_of(ANN));
    grant(&mut quiet, ANN, "one");
    assert_eq!(bonus(&quiet, ANN), Points::whole(5));
    // She is not in memory any more.
    grant(&mut quiet, "ben", "one");
    let newest = damage(&quiet, &november_of(ANN));
    chat_all(&mut quiet, "second");
    only_ann_is_aside(&quiet, FaultCode::RowUnreadable);
    put(&quiet, &november_of(ANN), older);
    release(&mut quiet);
    assert_refused(&quiet, "awards_missing");
    put(&quiet, &november_of(ANN), newest);
    release(&mut quiet);
    assert_each_has(&quiet, 2);
    assert_eq!(bonus(&quiet, ANN), Points::whole(5));
}

#[test]
fn a_new_epoch_waits_until_nobody_is_set_aside() {
    let (mut quiet, good) = damaged(forgetful());
    chat_all(&mut quiet, "second");
    only_ann_is_aside(&quiet, FaultCode::RowUnreadable);
    quiet.next_epoch();
    quiet.start_worker(forgetful());
    chat_all(&mut quiet, "third");
    let halts: Vec<String> = quiet.halts().into_iter().map(|(_, code)| code).collect();
    assert!(
        halts.iter().all(|code| code == "log_recreated"),
        "{halts:?}"
    );
    assert!(!halts.is_empty());
    assert_eq!(requests(&quiet, "ben"), 2);

    // The old log is gone for good: what the account misses is given up, and the epoch begins.
    put(&quiet, &november_of(ANN), good);
    ask(&mut quiet, ANN, true);
    for task in ["rate/0", "post/0"] {
        quiet.resume(task);
    }
    quiet.pass(2 * MINUTE);
    assert_eq!(quiet.halts(), []);
    assert_eq!(aside(&quiet), BTreeMap::new());
    assert_eq!(requests(&quiet, "ben"), 3);
    // Without the second.
    assert_eq!(requests(&quiet, ANN), 2);
}

/// A store that refuses whatever is written to some rows.
struct Refusing {
    db: Arc<dyn Db>,
    keys: Mutex<BTreeSet<Key>>,
}

impl Refusing {
    fn check(&self, write: &Write) -> Result<(), StoreError> {
        let Write::Put { table, item, .. } = write else {
            return Ok(());
        };
        let key = super::db::key_of(*table, item)?;
        match lock(&self.keys).contains(&key) {
            true => Err(StoreError::Refused(
                "Item size has exceeded the limit".into(),
            )),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Db for Refusing {
    fn clock(&self) -> &dyn Clock {
        self.db.clock()
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        self.db.get(key).await
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.db.batch_get(keys).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        self.db.query(query).await
    }

    async fn scan(&self, table: Table, after: Option<Item>) -> Result<Page, StoreError> {
        self.db.scan(table, after).await
    }

    async fn write(&self, write: Write) -> Result<(), StoreError> {
        self.check(&write)?;
        self.db.write(write).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        writes.iter().try_for_each(|write| self.check(write))?;
        self.db.transact(writes).await
    }

    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        self.db.put_all(table, items).await
    }
}

#[test]
fn a_write_that_the_store_refuses_stops_its_account_only() {
    let mut quiet = Quiet::new(1, 1);
    let refusing = Arc::new(Refusing {
        db: Arc::new(quiet.db()),
        keys: Mutex::new(BTreeSet::from([november_of(ANN)])),
    });
    let metrics = quiet.start_worker_on(refusing.clone(), Settings::default());
    chat_all(&mut quiet, "first");
    grant(&mut quiet, ANN, "one");
    let record = only_ann_is_aside(&quiet, FaultCode::WriteRefused);
    assert!(record.what.contains("Item size"), "{}", record.what);
    assert_eq!(requests(&quiet, "ben"), 1);
    let told = metrics.render();
    assert!(
        told.contains(r#"tidemark_accounts_set_aside{partition="0"} 1"#),
        "{told}"
    );
    let total = r#"tidemark_accounts_set_aside_total{reason="write_refused"} 1"#;
    assert!(told.contains(total), "{told}");

    // Released too early, it is set aside again, and misses nothing for that.
    release(&mut quiet);
    chat_all(&mut quiet, "second");
    only_ann_is_aside(&quiet, FaultCode::WriteRefused);
    lock(&refusing.keys).clear();
    release(&mut quiet);
    assert_each_has(&quiet, 2);
    assert_eq!(bonus(&quiet, ANN), Points::whole(5));
    let told = metrics.render();
    assert!(
        told.contains(r#"tidemark_accounts_set_aside{partition="0"} 0"#),
        "{told}"
    );
}

#[test]
fn a_store_that_refuses_every_row_halts_the_partition() {
    let mut quiet = Quiet::new(1, 1);
    let all = OTHERS.into_iter().chain([ANN]);
    let refusing = Arc::new(Refusing {
        db: Arc::new(quiet.db()),
        keys: Mutex::new(all.map(november_of).collect()),
    });
    quiet.start_worker_on(refusing.clone(), Settings::default());
    chat_all(&mut quiet, "first");
    let halt = ("post/0".to_owned(), "store_refused".to_owned());
    assert_eq!(quiet.halts(), [halt]);
    assert_eq!(aside(&quiet), BTreeMap::new());
    lock(&refusing.keys).clear();
    quiet.resume("post/0");
    quiet.pass(MINUTE);
    assert_each_has(&quiet, 1);
}

#[test]
fn what_a_release_took_into_memory_only_is_not_taken_for_rows() {
    let mut quiet = Quiet::new(1, 1);
    let refusing = Arc::new(Refusing {
        db: Arc::new(quiet.db()),
        keys: Mutex::default(),
    });
    quiet.start_worker_on(refusing.clone(), forgetful());
    chat_all(&mut quiet, "first");
    let older = item(&quiet, &november_of(ANN));
    chat_all(&mut quiet, "second");
    damage(&quiet, &november_of(ANN));
    chat_all(&mut quiet, "third");
    let before = only_ann_is_aside(&quiet, FaultCode::RowUnreadable);
    // Older rows get what they lack, but it cannot be written.
    put(&quiet, &november_of(ANN), older);
    lock(&refusing.keys).insert(november_of(ANN));
    release(&mut quiet);
    let again = only_ann_is_aside(&quiet, FaultCode::WriteRefused);
    assert_eq!(again.stood, before.stood);
    assert_eq!(again.since, before.since);
    lock(&refusing.keys).clear();
    release(&mut quiet);
    assert_each_has(&quiet, 3);
}
