//! Queries, scans, pages and expired items.

use std::time::Duration;

use tidemark::store::db::{
    Attr, Condition, Db, Item, Key, Query, RangeFilter, StoreError, Table, Write,
};

use super::laws::{item, key, n, s};
use super::on_every_store;

const CHECKPOINTS: Table = Table::Checkpoints;

/// A query of table Checkpoints.
pub fn query(hash: &str, range: RangeFilter) -> Query {
    Query {
        table: CHECKPOINTS,
        index: false,
        hash: hash.to_owned(),
        range,
        descending: false,
        limit: None,
        after: None,
    }
}

async fn ranges(db: &dyn Db, mut query: Query) -> (Vec<String>, usize) {
    let (mut found, mut pages) = (Vec::new(), 0);
    loop {
        let page = db.query(&query).await.unwrap();
        pages += 1;
        for item in page.items {
            let Some(Attr::S(range)) = item.get("item") else {
                panic!("{item:?}");
            };
            found.push(range.clone());
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return (found, pages),
        }
    }
}

#[test]
fn a_query_gives_the_range_asked_in_order_over_all_pages() {
    on_every_store(|db| async move {
        let names = ["a#1", "a#2", "a#3", "b#1", "b#2", "c"];
        let items = names.iter().map(|name| key("q", name).item());
        db.put_all(CHECKPOINTS, items.collect()).await.unwrap();
        db.put_all(CHECKPOINTS, vec![key("other", "a#9").item()])
            .await
            .unwrap();
        let prefix = RangeFilter::Prefix("a#".to_owned());
        let between = RangeFilter::Between("a#2".to_owned(), "b#1".to_owned());
        let rows: [(RangeFilter, &[&str]); 4] = [
            (RangeFilter::All, &names),
            (prefix, &names[..3]),
            (between, &names[1..4]),
            (RangeFilter::Prefix("x".to_owned()), &[]),
        ];
        for (range, expected) in rows {
            let (found, _) = ranges(&db, query("q", range.clone())).await;
            assert_eq!(found, expected, "{range:?}");
            let paged = Query {
                limit: Some(2),
                ..query("q", range.clone())
            };
            assert_eq!(ranges(&db, paged).await.0, expected, "{range:?}");
            let backward = Query {
                descending: true,
                limit: Some(1),
                ..query("q", range.clone())
            };
            let reversed: Vec<&str> = expected.iter().rev().copied().collect();
            assert_eq!(ranges(&db, backward).await.0, reversed, "{range:?}");
        }
    });
}

#[test]
fn pages_of_a_megabyte_lose_nothing_in_a_query_nor_in_a_scan() {
    on_every_store(|db| async move {
        let large = "x".repeat(100_000);
        let items: Vec<Item> = (0..25)
            .map(|i| item(&key("big", &format!("{i:02}")), &[("text", s(&large))]))
            .collect();
        db.put_all(CHECKPOINTS, items).await.unwrap();
        let (found, pages) = ranges(&db, query("big", RangeFilter::All)).await;
        assert_eq!(found.len(), 25);
        assert!(pages > 1, "a page holds a megabyte at most");
        let (mut scanned, mut after, mut pages) = (0, None, 0);
        loop {
            let page = db.scan(CHECKPOINTS, after).await.unwrap();
            scanned += page.items.len();
            pages += 1;
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(scanned, 25);
        assert!(pages > 1);
    });
}

#[test]
fn an_index_is_asked_by_its_own_key() {
    on_every_store(|db| async move {
        let codes = ["c1", "c2", "c3"].map(|code| {
            let owner = if code == "c2" { "user:b" } else { "user:a" };
            item(
                &Key::new(Table::ReferralCodes, code, ""),
                &[("owner", s(owner))],
            )
        });
        db.put_all(Table::ReferralCodes, codes.to_vec())
            .await
            .unwrap();
        let mut asked = query("user:a", RangeFilter::All);
        asked.table = Table::ReferralCodes;
        asked.index = true;
        let found = eventually(|| async { db.query(&asked).await.unwrap().items }, 2).await;
        assert_eq!(found.len(), 2);
        asked.table = Table::Checkpoints;
        let refused = db.query(&asked).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))));
    });
}

/// Asks again until `count` items are there, or a second is over.
async fn eventually<Fut: Future<Output = Vec<Item>>>(
    ask: impl Fn() -> Fut,
    count: usize,
) -> Vec<Item> {
    for _ in 0..20 {
        let found = ask().await;
        if found.len() == count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ask().await
}

#[test]
fn an_expired_item_is_neither_listed_nor_in_the_way() {
    on_every_store(|db| async move {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs() as i128;
        let at = |range: &str| Key::new(Table::UsageTracking, "u#day#0", range);
        let row = |range: &str, expires: i128| item(&at(range), &[("expiresAt", n(expires))]);
        let rows = vec![row("old", now - 10), row("new", now + 1_000)];
        db.put_all(Table::UsageTracking, rows).await.unwrap();
        assert_eq!(db.get(&at("old")).await.unwrap(), None);
        assert!(db.get(&at("new")).await.unwrap().is_some());
        let both = db.batch_get(&[at("old"), at("new")]).await.unwrap();
        // Rating looks events up with it, and a clock that is ahead must not make it forget them.
        assert_eq!(both.iter().filter(|item| item.is_some()).count(), 2);
        let asked = Query {
            table: Table::UsageTracking,
            ..query("u#day#0", RangeFilter::All)
        };
        assert_eq!(db.query(&asked).await.unwrap().items.len(), 1);
        let page = db.scan(Table::UsageTracking, None).await.unwrap();
        assert_eq!(page.items.len(), 1);
        let write = |range: &str, condition| Write::Put {
            table: Table::UsageTracking,
            item: row(range, now + 2_000),
            condition,
        };
        let failed = Err(StoreError::ConditionFailed);
        assert_eq!(db.write(write("old", Condition::Present)).await, failed);
        assert_eq!(db.write(write("new", Condition::Absent)).await, failed);
        let old = Condition::Equals("expiresAt", n(now - 10));
        assert_eq!(db.write(write("old", old)).await, failed);
        assert_eq!(db.write(write("old", Condition::Absent)).await, Ok(()));
        assert!(db.get(&at("old")).await.unwrap().is_some());
    });
}
