//! What lists cost: rows read for one answer, however many there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use tidemark::app::commands::Commands;
use tidemark::app::queries::Queries;
use tidemark::domain::access::Scope;
use tidemark::domain::amount::Money;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::position::{Epoch, Offset, Partition};
use tidemark::domain::rules::Network;
use tidemark::domain::time::Millis;
use tidemark::http::{ApiState, Hosts, router};
use tidemark::log::{Bounds, Log, LogError, NewRecord, ReadLimit, Record, Topic, TopicInfo};
use tidemark::store::db::{Attr, Db as _, Item, Key, Table};
use tidemark::store::keys::{self, KeyText};
use tower::ServiceExt as _;

use super::admin::{post, publish, put};
use super::rows::{many_credits, many_requests, request, usage_item};
use super::slow_db::{Counted, service_on};
use super::stand::{NOON, Stand};
use crate::edge::memory_log::MemoryLog;

/// A service whose reads are counted.
struct Watched {
    service: ApiState,
    db: Arc<Counted>,
    key: String,
}

impl Watched {
    async fn of(stand: &Stand) -> Watched {
        let db = Arc::new(Counted::new(stand.db.clone()));
        let service = service_on(stand, db.clone());
        let key = stand.admin.clone();
        let watched = Watched { service, db, key };
        // The key is known from here on.
        watched.get("/api/admin/audit?limit=1").await;
        watched
    }

    /// The answer, and how many rows were read for it.
    async fn get(&self, path: &str) -> (Value, u64) {
        let before = self.db.rows();
        let request = Request::get(path)
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .body(Body::empty())
            .unwrap();
        let router = router(self.service.clone(), Hosts::Loopback);
        let answer = router.oneshot(request).await.unwrap();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
        let body = serde_json::from_slice(&body.unwrap()).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        (body, self.db.rows() - before)
    }
}

fn ids(page: &Value) -> Vec<String> {
    let requests = page["requests"].as_array().unwrap().iter();
    requests
        .map(|line| line["id"].as_str().unwrap().to_owned())
        .collect()
}

/// A page of a filter reads about as many rows as it looks at, not so many of each of the day's
/// partition keys.
#[tokio::test]
async fn a_filtered_day_reads_little_more_than_it_looks_at() {
    const LOOKED_MAX: u64 = 2_000;
    // Each time that it reads on, a few rows of each of 16 partition keys may be read in vain.
    const SPARE: u64 = 4 * 16 * 48;
    let stand = Stand::new().await;
    many_requests(&stand, "alice", 6_000, NOON).await;
    request(&stand, "alice", "the-last", Millis(NOON.0 + 1)).await;
    let watched = Watched::of(&stand).await;
    let day = "/api/users/alice/usage?day=2026-11-22";
    let (page, rows) = watched.get(&format!("{day}&model=gpt&limit=10")).await;
    assert_eq!(ids(&page).len(), 0);
    assert!(page["next"].is_string(), "{page}");
    assert!(
        (LOOKED_MAX..=LOOKED_MAX + SPARE).contains(&rows),
        "{rows} rows were read"
    );
    // Without a filter, a small page costs a small part of each.
    let (page, rows) = watched.get(&format!("{day}&limit=10")).await;
    assert_eq!(ids(&page).len(), 10);
    assert!(rows <= 16 * 16, "{rows} rows were read");
    // Page by page all is found, the last one too.
    let (mut after, mut found) = (String::new(), Vec::new());
    for _ in 0..10 {
        let (page, _) = watched.get(&format!("{day}&id=the-last{after}")).await;
        found.extend(ids(&page));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(found, ["the-last"]);
}

/// Pages of any size give every request once, with what was amended of it, wherever they end.
#[tokio::test]
async fn pages_of_a_day_keep_each_request_and_its_reversal_together() {
    let stand = Stand::new().await;
    let mut items = Vec::new();
    for n in 0..97 {
        // Several at one time, and of some the reversal.
        let item = usage_item("alice", &format!("r-{n:02}"), Millis(NOON.0 + n / 3));
        if n % 2 == 0 {
            items.push(reversal_of(&item));
        }
        items.push(item);
    }
    stand.db.put_all(Table::UsageTracking, items).await.unwrap();
    for limit in [1, 2, 7, 96, 97, 98] {
        let (mut after, mut found) = (String::new(), Vec::new());
        loop {
            let path = format!("/api/users/alice/usage?day=2026-11-22&limit={limit}{after}");
            let page = stand.get(&path).await.json();
            let lines = page["requests"].as_array().unwrap();
            assert!(lines.len() <= limit);
            for line in lines {
                let id = line["id"].as_str().unwrap().to_owned();
                let number: u32 = id[2..].parse().unwrap();
                assert_eq!(
                    line["reversal"].is_object(),
                    number.is_multiple_of(2),
                    "{line}"
                );
                found.push((line["time"].as_str().unwrap().to_owned(), id));
            }
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert!(found.is_sorted_by(|a, b| a.0 <= b.0), "{limit}: {found:?}");
        let mut names: Vec<String> = found.into_iter().map(|(_, id)| id).collect();
        names.sort_unstable();
        let expected: Vec<String> = (0..97).map(|n| format!("r-{n:02}")).collect();
        assert_eq!(names, expected, "{limit}");
    }
}

/// The row that a reversal of a request leaves.
fn reversal_of(item: &Item) -> Item {
    let mut row = item.clone();
    let text = |text: &str| Attr::S(text.to_owned());
    let Some(Attr::S(range)) = item.get("timeHash") else {
        panic!("{item:?}")
    };
    row.insert("timeHash", text(&format!("{range}#reversal")));
    row.insert("reason", text("a test"));
    row
}

/// Old and new values of the trail: two rows for each version that an entry published, however many
/// versions its key has.
#[tokio::test]
async fn the_trail_reads_two_rows_for_each_published_version() {
    let stand = Stand::new().await;
    publish(&stand, Network::Testnet).await;
    for n in 1..=60 {
        stand.clock.set(Millis(NOON.0 + 1_000 * n));
        let price = json!({"value": {"pricePerUnit": format!("0.{n:03}"), "unit": "request"}, "reason": "dearer"});
        put(&stand, "/api/admin/rules/scrape", &price).await;
    }
    let watched = Watched::of(&stand).await;
    let (page, rows) = watched.get("/api/admin/audit?subject=scrape&limit=5").await;
    let entries = page["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 5);
    for (n, entry) in (56..=60).rev().zip(entries) {
        let change = &entry["changes"][0];
        let price = |n: u32| format!("0.{n:03}").trim_end_matches('0').to_owned();
        assert_eq!(change["before"], price(n - 1), "{entry}");
        assert_eq!(change["after"], price(n), "{entry}");
    }
    // The entries that were searched, and the versions 56 to 61 and the one before them.
    let searched = 64;
    assert!(rows <= searched + 1 + 2 * 5, "{rows} rows were read");
    // Newest first, the first five are those: no others are searched.
    let (_, rows) = watched.get("/api/admin/audit?limit=5").await;
    assert!(rows <= 5 + 1 + 2 * 5, "{rows} rows were read");
}

/// A version that is scheduled replaces the one in force then, which need not be the one before it.
#[tokio::test]
async fn the_trail_names_what_was_replaced_also_of_what_was_scheduled() {
    let stand = Stand::new().await;
    publish(&stand, Network::Testnet).await;
    let at = |hours: i64| Millis(NOON.0 + hours * 3_600_000).to_string();
    for (n, price, from) in [(1, "0.2", at(48)), (2, "0.3", at(24)), (3, "0.4", at(72))] {
        stand.clock.set(Millis(NOON.0 + 1_000 * n));
        let value = json!({"pricePerUnit": price, "unit": "request"});
        let change = json!({"value": value, "effectiveFrom": from, "reason": "a plan"});
        put(&stand, "/api/admin/rules/scrape", &change).await;
    }
    let entries = stand.get("/api/admin/audit?subject=scrape").await.json();
    let changes: Vec<[Value; 2]> = entries["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["changes"][0])
        .map(|change| [change["before"].clone(), change["after"].clone()])
        .collect();
    assert_eq!(changes[0], [json!("0.2"), json!("0.4")]);
    assert_eq!(changes[1][1], json!("0.3"));
    assert_eq!(
        changes[1][0], changes[2][0],
        "what was in force before all of them"
    );
    assert_eq!(changes[2][1], json!("0.2"));
    // Entries of versions that did not record it: it is looked for.
    let (mut page, mut old) = (0, Vec::new());
    let query = tidemark::store::audit::page(&stand.db, None, 100)
        .await
        .unwrap();
    for (entry, key) in query.entries.into_iter().zip(query.keys) {
        if entry.subject != "scrape" {
            continue;
        }
        page += 1;
        let mut detail = entry.detail.clone();
        let versions = detail["versions"].as_array_mut().unwrap();
        versions[0]
            .as_object_mut()
            .unwrap()
            .remove("replaces")
            .expect("it is recorded");
        let place = Key::new(Table::Checkpoints, "audit", key);
        let mut item = stand.db.get(&place).await.unwrap().unwrap();
        item.insert("detail", Attr::S(detail.to_string()));
        old.push(item);
    }
    assert_eq!(page, 3);
    stand.db.put_all(Table::Checkpoints, old).await.unwrap();
    let again = stand.get("/api/admin/audit?subject=scrape").await.json();
    for (before, after) in entries["entries"]
        .as_array()
        .unwrap()
        .iter()
        .zip(again["entries"].as_array().unwrap())
    {
        assert_eq!(before["changes"], after["changes"]);
    }
}

fn keys_of(page: &Value) -> Vec<String> {
    let entries = page["entries"].as_array().unwrap().iter();
    entries
        .map(|entry| entry["key"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_page_of_credits_reads_little_more_than_it_shows() {
    const COUNT: i64 = 100_000;
    let stand = Stand::new().await;
    many_credits(&stand, COUNT, true).await;
    let watched = Watched::of(&stand).await;
    let path = "/api/admin/credits?userId=alice";
    // The list: one more than fits. Beside it: the key asked with, the entry `after`, the balance
    // twice, the account's newest row.
    const BESIDE: u64 = 6;
    let (page, rows) = watched.get(&format!("{path}&limit=50")).await;
    assert!(rows <= 50 + BESIDE, "{rows} rows were read");
    assert_eq!(keys_of(&page)[49], "k-00049");
    assert_eq!(
        (&page["added"], &page["next"]),
        (&json!("100000"), &json!("k-00049"))
    );
    let (page, rows) = watched.get(&format!("{path}&limit=50&after=k-99899")).await;
    assert!(rows <= 50 + BESIDE, "{rows} rows were read");
    assert_eq!(
        (&keys_of(&page)[0], &page["next"]),
        (&"k-99900".to_owned(), &json!("k-99949"))
    );
    let (page, _) = watched.get(&format!("{path}&limit=50&after=k-99949")).await;
    assert_eq!(keys_of(&page).len(), 50);
    assert!(page.get("next").is_none(), "{:?}", page["next"]);
    for after in ["k-1", "%0a", ""] {
        let answer = stand.get(&format!("{path}&after={after}")).await;
        assert_eq!(answer.code(), (400, "invalid_query".to_owned()), "{after}");
    }
}

/// Entries of a version without the list by time are listed when they are first looked at.
#[tokio::test]
async fn old_credits_are_read_whole_once() {
    const COUNT: i64 = 2_500;
    let stand = Stand::new().await;
    many_credits(&stand, COUNT, false).await;
    let watched = Watched::of(&stand).await;
    let path = "/api/admin/credits?userId=alice&limit=1000";
    let (mut after, mut found, mut all_rows) = (String::new(), Vec::new(), Vec::new());
    loop {
        let (page, rows) = watched.get(&format!("{path}{after}")).await;
        found.extend(keys_of(&page));
        all_rows.push(rows);
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let expected: Vec<String> = (0..COUNT).map(|n| format!("k-{n:05}")).collect();
    assert_eq!(found, expected);
    assert!((3_500..3_520).contains(&all_rows[0]), "{all_rows:?}");
    assert!(
        all_rows[1..].iter().all(|rows| *rows <= 1_010),
        "{all_rows:?}"
    );
}

async fn make_keys(stand: &Stand, count: i64) {
    for n in 0..count {
        let text = KeyText::of_random(rand::random(), rand::random());
        let scopes = vec![Scope::Ingest];
        let name = format!("gateway {n}");
        keys::create(
            &stand.db,
            &text,
            &name,
            scopes,
            "a test",
            Millis(NOON.0 + n),
        )
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn keys_are_listed_in_pages_that_read_no_more_than_they_show() {
    let stand = Stand::new().await;
    make_keys(&stand, 120).await;
    let watched = Watched::of(&stand).await;
    let (mut after, mut found, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let (page, rows) = watched
            .get(&format!("/api/admin/keys?limit=50{after}"))
            .await;
        // One more tells whether there is another page; and the key that is asked with.
        assert!(rows <= 50 + 2, "{rows} rows were read");
        let keys = page["keys"].as_array().unwrap();
        let made: Vec<&str> = keys
            .iter()
            .map(|key| key["createdAt"].as_str().unwrap())
            .collect();
        assert!(made.is_sorted(), "those of a page oldest first: {made:?}");
        found.extend(
            keys.iter()
                .map(|key| key["id"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let count = found.len();
    found.sort_unstable();
    found.dedup();
    assert_eq!((found.len(), count, pages), (121, 121, 3));
    // A list that ends where the page ends has no next page.
    let (page, rows) = watched.get("/api/admin/keys?limit=121").await;
    assert_eq!(page["keys"].as_array().unwrap().len(), 121);
    assert!(page.get("next").is_none(), "{}", page["next"]);
    assert!(rows <= 121 + 2, "{rows} rows were read");
    for query in ["limit=0", "limit=1001", "after=%0a"] {
        let answer = stand.get(&format!("/api/admin/keys?{query}")).await;
        assert_eq!(answer.code(), (400, "invalid_query".to_owned()), "{query}");
    }
}

#[tokio::test]
async fn awards_are_listed_newest_first_in_pages() {
    let stand = Stand::new().await;
    for n in 0..7 {
        stand.clock.set(Millis(NOON.0 + n));
        let body = json!({"kind": "user", "id": "alice", "points": n + 1, "reason": "x"});
        post(&stand, "/api/admin/adjustments", &format!("k-{n}"), &body).await;
    }
    let path = "/api/admin/adjustments?kind=user&id=alice";
    let (mut after, mut found) = (String::new(), Vec::new());
    loop {
        let page = stand.get(&format!("{path}&limit=3{after}")).await.json();
        assert_eq!((&page["total"], &page["whole"]), (&json!(7), &json!(true)));
        let awards = page["awards"].as_array().unwrap().iter();
        found.extend(awards.map(|award| award["awardId"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", next.replace('#', "%23")),
            None => break,
        }
    }
    let expected: Vec<String> = (0..7).rev().map(|n| format!("adjustment#k-{n}")).collect();
    assert_eq!(found, expected);
    let answer = stand.get(&format!("{path}&after=nothing")).await;
    assert_eq!(answer.code(), (400, "invalid_query".to_owned()));
}

/// Who looks at the home page again reads of the log what is new, and of the store what became of
/// what was open.
#[tokio::test]
async fn open_rejects_are_looked_at_again_without_reading_the_log_again() {
    let stand = Stand::new().await;
    let refuse = async || {
        let row = json!([{"id": 1, "type": 6}]);
        let answer = stand.post("/api/v1/events/new-api", &row).await;
        assert_eq!(answer.json()["refused"].as_array().unwrap().len(), 1);
    };
    for _ in 0..3 {
        refuse().await;
    }
    let log = Arc::new(ReadLog {
        log: stand.log.clone(),
        records: AtomicU64::new(0),
    });
    let queries = Queries::new(
        Arc::new(stand.db.clone()),
        log.clone(),
        stand.service.partitions,
    );
    // How many are open, and how many records were read to know that.
    let look = async || {
        let open = queries.open_rejects().await.unwrap();
        let read = log.records.swap(0, Ordering::Relaxed);
        (open.values().sum::<usize>(), read)
    };
    assert_eq!(look().await, (3, 3));
    assert_eq!(look().await, (3, 0));
    refuse().await;
    assert_eq!(look().await, (4, 1));
    // What another process discards is not open here either.
    let (partition, offset) = first_reject(&stand).await;
    let path = format!("/api/admin/rejects/{partition}/{offset}/discard");
    let answer = stand.post(&path, &json!({"reason": "a test"})).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!(look().await, (3, 0));
}

async fn first_reject(stand: &Stand) -> (u64, u64) {
    for partition in 0..stand.service.partitions.rejected {
        let path = format!("/api/admin/rejects?partition={partition}");
        let page = stand.get(&path).await.json();
        if let Some(first) = page["rejects"].as_array().unwrap().first() {
            return (
                first["partition"].as_u64().unwrap(),
                first["offset"].as_u64().unwrap(),
            );
        }
    }
    panic!("there are none");
}

/// A log that counts the records which are read of it.
struct ReadLog {
    log: Arc<MemoryLog>,
    records: AtomicU64,
}

#[async_trait]
impl Log for ReadLog {
    fn epoch(&self) -> Epoch {
        self.log.epoch()
    }

    async fn topic(&self, topic: Topic) -> Result<TopicInfo, LogError> {
        self.log.topic(topic).await
    }

    async fn append(
        &self,
        topic: Topic,
        partition: Partition,
        records: Vec<NewRecord>,
    ) -> Result<Vec<Offset>, LogError> {
        self.log.append(topic, partition, records).await
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
        wait: Duration,
    ) -> Result<Vec<Record>, LogError> {
        let records = self.log.read(topic, partition, from, limit, wait).await?;
        self.records
            .fetch_add(records.len() as u64, Ordering::Relaxed);
        Ok(records)
    }

    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, LogError> {
        self.log.bounds(topic, partition).await
    }

    async fn end_seen(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError> {
        self.log.end_seen(topic, partition).await
    }
}

/// However many awards an account has, an answer reads some 10,000 of them, corrections first.
#[tokio::test]
async fn awards_beyond_what_is_read_are_said_to_be_missing() {
    let stand = Stand::new().await;
    let body = json!({"kind": "user", "id": "alice", "points": 1, "reason": "x"});
    post(&stand, "/api/admin/adjustments", "k", &body).await;
    let alice = Account::new(AccountKind::User, "alice").unwrap();
    let place = Key::new(
        Table::Checkpoints,
        format!("awards#{alice}"),
        "adjustment#k",
    );
    let award = stand
        .db
        .get(&place)
        .await
        .unwrap()
        .expect("the record of the award");
    let milestones = (0..25_000).map(|n| {
        let (mut item, id) = (award.clone(), format!("milestone#user:u-{n:05}"));
        item.insert("item", Attr::S(id.clone()));
        item.insert("award", Attr::S(id));
        item.insert("kind", Attr::S("milestone".to_owned()));
        item
    });
    stand
        .db
        .put_all(Table::Checkpoints, milestones.collect())
        .await
        .unwrap();
    let watched = Watched::of(&stand).await;
    let path = "/api/admin/adjustments?kind=user&id=alice&limit=1000";
    let (page, rows) = watched.get(path).await;
    assert!((10_000..25_000).contains(&rows), "{rows} rows were read");
    assert_eq!(page["whole"], false);
    let total = page["total"].as_u64().unwrap();
    assert!((10_000..=rows).contains(&total), "{total} of {rows}");
}

/// An account of which there is nothing but a key is not said to have none, if not every key was
/// looked at.
#[tokio::test]
async fn what_is_not_found_among_too_many_keys_is_said_to_be_uncertain() {
    let stand = Stand::new().await;
    let found = stand.get("/api/admin/search?q=alcie").await.json();
    assert!(found.get("keysUnsearched").is_none(), "{found}");
    let alcie = Account::new(AccountKind::User, "alcie").unwrap();
    let (db, log) = (Arc::new(stand.db.clone()), stand.log.clone());
    let queries = Queries::new(db, log, stand.service.partitions);
    let commands = Commands::new(Arc::new(queries), stand.clock.clone());
    let doubt = async || {
        let doubts = commands.doubts_of_credit(&alcie, Money(1), Money(2)).await;
        doubts.unwrap()[0].to_string()
    };
    assert!(doubt().await.ends_with("no wallet, no key"));
    let text = KeyText::of_random(0, rand::random());
    let scopes = vec![Scope::Ingest];
    let made = keys::create(&stand.db, &text, "one", scopes, "a test", NOON).await;
    let place = Key::new(Table::Checkpoints, "keys", made.unwrap().id);
    let key = stand.db.get(&place).await.unwrap().unwrap();
    let keys = (0..5_000).map(|n| {
        let mut key = key.clone();
        key.insert("item", Attr::S(format!("{n:012x}")));
        key
    });
    let keys = keys.collect();
    stand.db.put_all(Table::Checkpoints, keys).await.unwrap();
    let found = stand.get("/api/admin/search?q=alcie").await.json();
    assert_eq!(found["keysUnsearched"], true, "{found}");
    let said = doubt().await;
    assert!(
        said.ends_with("no key among the 5,000 that were searched"),
        "{said}"
    );
}
