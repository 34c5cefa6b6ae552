//! Awards that wait in thousands, and checks that are visible before their links.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tidemark::domain::amount::Points;
use tidemark::domain::ids::Account;
use tidemark::domain::time::{Millis, Month};
use tidemark::ops::clock::Clock;
use tidemark::pipeline::{Breakage, Settings};
use tidemark::store::awards::{Award, AwardKind, grant_writes};
use tidemark::store::db::{Db, Item, Key, Page, Query, StoreError, Table, Write};
use tidemark::store::referrals::{AwardPolicy, Referrer, SignupRequest, signup};

use super::adapter;
use super::db::SimDb;
use super::quiet::{Quiet, START};
use super::workload::{HOUR, MINUTE, user};

const AWARDS: u32 = 3_000;

fn award(number: u32) -> Award {
    Award {
        id: format!("award-{number}"),
        // Some accounts get many, most get one.
        account: user(number % 2_000),
        kind: AwardKind::Adjustment,
        month: november(),
        points: Points::whole(1),
        granted_at: Millis(START - i64::from(number)),
        reason: "a test".to_owned(),
    }
}

fn november() -> Month {
    "2026-11".parse().unwrap()
}

fn bonus(quiet: &Quiet, account: &Account) -> Points {
    quiet.world.with(|inner| {
        let rows = adapter::month_rows(&inner.db, account).unwrap();
        rows.get(&november())
            .map_or(Points::ZERO, |stored| stored.row.bonus)
    })
}

fn pointers(quiet: &Quiet) -> usize {
    quiet.world.with(|inner| {
        let keys = inner.db.items.keys();
        keys.filter(|key| key.table == Table::Checkpoints && key.hash.starts_with("pending#"))
            .count()
    })
}

/// So many pointers are taken at a time.
const BATCH_MAX: usize = 500;
/// Accounts that stay in memory.
const CACHED_MAX: usize = 100;

/// How a backlog of awards was worked off.
#[derive(Debug)]
struct Course {
    most_cached: i64,
    /// How many pointers were taken at a time.
    most_taken: usize,
    /// How many awards were left when an event was posted that came before the worker began.
    left_when_posted: usize,
}

impl Course {
    /// Whether memory was bounded: by a batch, and by what stays cached.
    fn is_bounded(&self) -> bool {
        self.most_taken <= BATCH_MAX && self.most_cached <= (BATCH_MAX + CACHED_MAX) as i64 + 1
    }
}

fn work_off(breakage: Option<Breakage>) -> Course {
    let mut quiet = Quiet::new(1, 1);
    quiet.break_workers(breakage);
    // DynamoDB's pages hold thousands of pointers: the batch alone bounds how many are read.
    quiet
        .world
        .with(|inner| inner.faults.page_items_max = AWARDS as usize);
    let db = quiet.db();
    quiet.finish(async move {
        for number in 0..AWARDS {
            db.transact(grant_writes(award(number), 1)).await.unwrap();
        }
    });
    assert_eq!(pointers(&quiet), AWARDS as usize);
    quiet.chat("r-1", "newcomer");
    let settings = Settings {
        accounts_cached_max: CACHED_MAX,
        ..Settings::default()
    };
    let db = Arc::new(quiet.db());
    let metrics = quiet.start_worker_on(db, settings);
    let newcomer = Account::new(tidemark::domain::ids::AccountKind::User, "newcomer").unwrap();
    let mut most_cached = 0;
    let mut left_when_posted = None;
    quiet.until(HOUR, |world| {
        let cached = metrics.accounts_cached.with_label_values(&["0"]).get();
        most_cached = most_cached.max(cached);
        world.with(|inner| {
            let left = inner
                .db
                .items
                .keys()
                .filter(|key| key.hash.starts_with("pending#"))
                .count();
            if left_when_posted.is_none() {
                let rows = adapter::month_rows(&inner.db, &newcomer).unwrap();
                left_when_posted = (!rows.is_empty()).then_some(left);
            }
            left == 0
        })
    });
    for number in 0..2_000 {
        let must = if number < AWARDS - 2_000 { 2 } else { 1 };
        assert_eq!(
            bonus(&quiet, &user(number)),
            Points::whole(must),
            "{number}"
        );
    }
    Course {
        most_cached,
        most_taken: quiet.world.with(|inner| inner.db.largest_page),
        left_when_posted: left_when_posted.expect("the newcomer's event was posted"),
    }
}

#[test]
fn a_backlog_of_awards_takes_bounded_memory_and_does_not_hold_up_postings() {
    let course = work_off(None);
    let left = course.left_when_posted;
    assert!(
        left > AWARDS as usize / 2,
        "posted when {left} awards were left"
    );
    assert!(course.is_bounded(), "{course:?}");
}

#[test]
fn the_simulator_finds_a_backlog_of_awards_that_is_taken_at_once() {
    let course = work_off(Some(Breakage::AwardsInOneBatch));
    assert!(!course.is_bounded(), "{course:?}");
}

/// A store in which one item stays invisible for so many looks.
struct Late {
    db: SimDb,
    key: Key,
    looks: Mutex<u32>,
}

impl Late {
    fn sees(&self, key: &Key) -> bool {
        let mut looks = self.looks.lock().unwrap();
        if *key != self.key || *looks == 0 {
            return true;
        }
        *looks -= 1;
        false
    }
}

#[async_trait]
impl Db for Late {
    fn clock(&self) -> &dyn Clock {
        self.db.clock()
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        Ok(self.db.get(key).await?.filter(|_| self.sees(key)))
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let items = self.db.batch_get(keys).await?;
        Ok(items
            .into_iter()
            .zip(keys)
            .map(|(item, key)| item.filter(|_| self.sees(key)))
            .collect())
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        self.db.query(query).await
    }

    async fn scan(&self, table: Table, after: Option<Item>) -> Result<Page, StoreError> {
        self.db.scan(table, after).await
    }

    async fn write(&self, write: Write) -> Result<(), StoreError> {
        self.db.write(write).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.db.transact(writes).await
    }

    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        self.db.put_all(table, items).await
    }
}

/// What a referrer has for a referee who had 50 successes already, if the check for the milestone
/// is visible before the link.
fn bonus_for_a_late_link(breakage: Option<Breakage>) -> Points {
    let mut quiet = Quiet::new(1, 1);
    quiet.break_workers(breakage);
    let (ann, ben) = (user(1), user(2));
    for number in 0..50 {
        quiet.chat(&format!("r-{number}"), ann.id());
    }
    // Her events are posted before she has a referrer.
    quiet.start_worker(Settings::default());
    quiet.pass(MINUTE);
    quiet.kill_worker();
    let (db, referee, referrer) = (quiet.db(), ann.clone(), ben.clone());
    quiet.finish(async move {
        let request = SignupRequest {
            referrer: Referrer::Account(referrer),
            referee,
            now: Millis(START + MINUTE),
            token: "signup".to_owned(),
            awards: AwardPolicy::Pay(Points::whole(100)),
            by: None,
        };
        signup(&db, &request, 1).await.unwrap();
    });
    let key = Key::new(Table::ReferralRelationships, ann.id(), ann.kind.as_str());
    let late = Late {
        db: quiet.db(),
        key,
        looks: Mutex::new(4),
    };
    quiet.start_worker_on(Arc::new(late), Settings::default());
    quiet.pass(MINUTE);
    assert_eq!(pointers(&quiet), 0);
    bonus(&quiet, &ben)
}

#[test]
fn a_milestone_is_granted_although_its_check_is_visible_before_the_link() {
    // 100 for the signup, 200 for the milestone.
    assert_eq!(bonus_for_a_late_link(None), Points::whole(300));
}

#[test]
fn the_simulator_finds_a_milestone_check_that_does_not_wait_for_its_link() {
    let bonus = bonus_for_a_late_link(Some(Breakage::InvisibleLinkTaken));
    assert_eq!(bonus, Points::whole(100));
}
