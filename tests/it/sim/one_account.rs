//! What is wrong with one account costs the others nothing: neither a halt of their source partition nor
//! reads of the store.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tidemark::domain::time::Millis;
use tidemark::ops::clock::Clock;
use tidemark::pipeline::Settings;
use tidemark::store::db::{Attr, Db, Item, Key, Page, Query, StoreError, Table, Write};
use tidemark::store::referrals::{AwardPolicy, Referrer, SignupRequest, signup};

use super::adapter;
use super::aside::{ANN, ask, damage, november_of, user};
use super::quiet::{Quiet, START};
use super::workload::MINUTE;
use super::world::lock;

/// So many entries of the control feed that a worker does not read all of them when it starts.
const LATER_LINKS: u32 = 300;

/// What Ben has from Ann, whom he referred, if her link is damaged in this way.
fn earned_by_ben(damaged: &[&'static str]) -> String {
    let mut quiet = Quiet::new(1, 1);
    quiet.start_worker(Settings::default());
    let db = quiet.db();
    quiet.finish(async move {
        for number in 0..=LATER_LINKS {
            let referee = match number {
                0 => ANN.to_owned(),
                _ => format!("later-{number}"),
            };
            let request = SignupRequest {
                referrer: Referrer::Account(user("ben")),
                referee: user(&referee),
                now: Millis(START),
                token: referee,
                awards: AwardPolicy::Elsewhere,
                by: None,
            };
            signup(&db, &request, 1).await.unwrap();
        }
    });
    quiet.pass(20 * MINUTE);
    quiet.kill_worker();
    let link = Key::new(Table::ReferralRelationships, ANN, "user");
    quiet.world.with(|inner| {
        let item = inner.db.items.get_mut(&link).unwrap();
        for name in damaged {
            item.insert(*name, Attr::S("?".to_owned()));
        }
    });
    quiet.start_worker(Settings::default());
    quiet.chat("one", ANN);
    quiet.pass(MINUTE);
    assert_eq!(quiet.halts(), [], "{damaged:?}");
    quiet.world.with(|inner| {
        let rows = adapter::month_rows(&inner.db, &user("ben")).unwrap();
        assert_eq!(rows.len(), 1, "{damaged:?}");
        let row = &rows.values().next().unwrap().row;
        format!("{:?}", row.days)
    })
}

#[test]
fn a_link_that_cannot_be_decoded_is_taken_from_the_feed_and_the_source_partition_goes_on() {
    let expected = earned_by_ben(&[]);
    assert!(expected.contains("referral"), "{expected}");
    assert_eq!(earned_by_ben(&["chain"]), expected);
    // Nor does it say under which number it was made.
    assert_eq!(earned_by_ben(&["chain", "control"]), expected);
    assert_eq!(earned_by_ben(&["milestone"]), expected);
}

/// Counts what is read of accounts that are set aside.
struct Asked {
    db: Arc<dyn Db>,
    records: Mutex<u64>,
    requests: Mutex<u64>,
    lists: Mutex<u64>,
}

impl Asked {
    fn take(&self) -> [u64; 3] {
        [&self.records, &self.requests, &self.lists].map(|count| std::mem::take(&mut *lock(count)))
    }
}

#[async_trait]
impl Db for Asked {
    fn clock(&self) -> &dyn Clock {
        self.db.clock()
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        match key.hash.as_str() {
            "aside" => *lock(&self.records) += 1,
            "aside_requests" => *lock(&self.requests) += 1,
            _ => {}
        }
        self.db.get(key).await
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.db.batch_get(keys).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        if query.hash == "aside" {
            *lock(&self.lists) += 1;
        }
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

#[test]
fn looking_for_a_release_is_one_small_read_and_none_of_the_records() {
    let mut quiet = Quiet::new(1, 1);
    let asked = Arc::new(Asked {
        db: Arc::new(quiet.db()),
        records: Mutex::default(),
        requests: Mutex::default(),
        lists: Mutex::default(),
    });
    // Each account is loaded anew with every block.
    let settings = Settings {
        accounts_cached_max: 1,
        ..Settings::default()
    };
    quiet.start_worker_on(asked.clone(), settings);
    for id in [ANN, "ben"] {
        quiet.chat(&format!("first-{id}"), id);
    }
    quiet.pass(2 * MINUTE);
    // Nobody is set aside, so nobody is looked for.
    asked.take();
    quiet.pass(10 * MINUTE);
    assert_eq!(asked.take(), [0, 0, 0]);

    let good = damage(&quiet, &november_of(ANN));
    for id in [ANN, "ben"] {
        quiet.chat(&format!("second-{id}"), id);
    }
    quiet.pass(2 * MINUTE);
    asked.take();
    quiet.pass(10 * MINUTE);
    let [records, requests, lists] = asked.take();
    // Twice a second one item of a few bytes; the records three times a minute, in case an older
    // version wrote the request.
    assert!((600..=1_300).contains(&requests), "{requests}");
    assert!(records <= 33, "{records}");
    assert_eq!(lists, 0);

    quiet
        .world
        .with(|inner| inner.db.items.insert(november_of(ANN), good));
    ask(&mut quiet, ANN, false);
    assert_eq!(
        quiet
            .world
            .with(|inner| adapter::set_aside(&inner.db))
            .len(),
        0
    );
}
