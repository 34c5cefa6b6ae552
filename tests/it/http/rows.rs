//! What tests of accounts find in the store: rules, rows, streaks and requests, written as the pipeline writes them.

use std::collections::BTreeSet;

use tidemark::domain::amount::{Money, Points};
use tidemark::domain::event::Service as AiService;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::ledger::{AccountRows, months_of};
use tidemark::domain::position::{
    Control, Epoch, Fence, Offset, Partition, Position, Sequence, WriteId,
};
use tidemark::domain::posting::{Cell, Charge, Entry, Slot};
use tidemark::domain::rules::{Network, RulesDocument};
use tidemark::domain::statement;
use tidemark::domain::time::{Day, Millis, Month};
use tidemark::log::Headers;
use tidemark::log::usage::decode;
use tidemark::ops::health::{Role, TaskId};
use tidemark::store::account_write::{AccountWrite, Omissions};
use tidemark::store::accounts::{self, ReadOrder, Reading};
use tidemark::store::checkpoints::{self, PostCheckpoint, Ranked, SourceState, TopList};
use tidemark::store::db::{Attr, Db, Item, Key, Table};
use tidemark::store::pricing::{NewValue, Publish, publish};
use tidemark::store::usage::{self, UsageRow};
use tidemark::store::{control, pricing, streaks};

use super::stand::{NOON, Stand};
use crate::edge::memory_log::PARTITIONS;

/// Publishes the shipped rules, from the beginning.
pub async fn rules(stand: &Stand, network: Network) {
    let (name, text) = network.document();
    let document = RulesDocument::parse_toml(name, text).unwrap();
    let values = document.changes().into_iter();
    let publication = Publish {
        values: values.map(|(key, value)| NewValue { key, value }).collect(),
        effective_from: NOON,
        by: "a test".to_owned(),
        reason: "a test".to_owned(),
        now: NOON,
        token: format!("{:x}", rand::random::<u64>()),
    };
    publish(&stand.db, &publication).await.unwrap();
}

/// Adds an entry to an account's rows, and its streak's snapshot, as a poster would.
pub async fn book(stand: &Stand, account: &Account, fill: impl FnOnce(&mut Entry)) {
    book_in(&stand.db, account, fill).await;
}

/// The same in any store.
pub async fn book_in(db: &dyn Db, account: &Account, fill: impl FnOnce(&mut Entry)) {
    let mut entry = Entry::new(account.clone());
    fill(&mut entry);
    let head = control::head(db).await.unwrap();
    let mut book = pricing::load_rules(db, head).await.unwrap();
    let activity = book.as_of(head).expect("rules").activity();
    let read = accounts::read(db, account, ReadOrder::HeadFirstMatched);
    let (stored, mut rows) = match read.await.unwrap() {
        Reading::Absent => (None, AccountRows::default()),
        Reading::Whole(found) => (Some(found.head), found.rows),
        Reading::Torn(torn) => panic!("{torn:?}"),
    };
    assert!(
        months_of(&entry).first() >= rows.months.keys().next(),
        "rows of months before those in memory are not loaded here"
    );
    let changed = rows.apply(account.kind, &entry, NOON, activity);
    let dirty: Vec<Month> = BTreeSet::from_iter(changed).into_iter().collect();
    let position = Position {
        epoch: Epoch(0),
        offset: Offset(rand::random::<u32>().into()),
    };
    let write = AccountWrite {
        account,
        stored: stored.as_ref(),
        rows: &rows,
        dirty: &dirty,
        fence: Fence {
            position: Some(position),
            write: WriteId {
                worker: rand::random(),
                count: 1,
            },
        },
        open_from: Month(0),
        omit: Omissions::default(),
    };
    let (writes, _) = write.build().expect("a row");
    db.transact(writes).await.unwrap();
    let head = rows.months.last_key_value().unwrap().1;
    let streak = statement::streak(account.kind, head, activity);
    let last = Position {
        epoch: Epoch(u32::MAX),
        offset: Offset(0),
    };
    db.write(streaks::put(account, &streak, last))
        .await
        .unwrap();
}

/// Successful chat requests of a day that earn so many points together.
pub fn served(entry: &mut Entry, day: &str, requests: u64, points: Points) {
    let cell = Cell {
        requests,
        successful: requests,
        failed: 0,
        points,
        timed: requests,
        latency_ms: 250 * requests,
        target_ms: 8_000 * requests,
    };
    let slot = Slot::Day(day.parse().unwrap());
    entry.cells.push((slot, AiService::CHAT_COMPLETIONS, cell));
}

/// What usage of a month costs.
pub fn charged(entry: &mut Entry, month: &str, cost: Money, shadow: Money) {
    let charge = Charge { cost, shadow };
    entry.charges.push((month.parse().unwrap(), charge));
}

/// A usage row of a request of `user` at `time`.
pub async fn request(stand: &Stand, user: &str, id: &str, time: Millis) {
    requests(stand, vec![usage_item(user, id, time)]).await;
}

/// As many of a user's requests, all of one time.
pub async fn many_requests(stand: &Stand, user: &str, count: usize, time: Millis) {
    let item = |n| usage_item(user, &format!("many-{n}"), time);
    requests(stand, (0..count).map(item).collect()).await;
}

async fn requests(stand: &Stand, items: Vec<Item>) {
    stand.db.put_all(Table::UsageTracking, items).await.unwrap();
}

pub fn usage_item(user: &str, id: &str, time: Millis) -> Item {
    let json = serde_json::json!({
        "requestId": id, "userId": user, "providerId": "prov-1", "endpoint": "/v1/chat/completions",
        "model": "llama-3-70b", "timestamp": time.to_string(), "statusCode": 200, "latencyMs": 250,
        "inputTokens": 150, "outputTokens": 75,
    });
    let bytes = serde_json::to_vec(&json).unwrap();
    let headers = Headers::new();
    let event = decode(&bytes, &headers).unwrap();
    let row = UsageRow {
        key: usage::key(&event),
        event: &event,
        service: "chat_completions",
        tier: None,
        partition: Partition(1),
        position: Position {
            epoch: Epoch(0),
            offset: Offset(7),
        },
        log_time: time,
        control: Control(1),
        slot: Slot::Day(time.day()),
        provider_points: Points::whole(15),
        user_points: Points(1_500_000),
        charge: Charge::default(),
        // The engine expires rows by the real clock.
        is_total_odd: false,
        expires_at: Millis(i64::from(u32::MAX) * 1_000),
    };
    usage::encode(&row)
}

/// Every posting partition has passed this log time, for every source partition.
pub async fn posted_up_to(stand: &Stand, log_time: Millis) {
    for q in (0..PARTITIONS).map(Partition) {
        let state = SourceState {
            sequence: Sequence(1),
            log_time,
            chunk: None,
        };
        let checkpoint = PostCheckpoint {
            topic_id: "t".to_owned(),
            epoch: Epoch(0),
            partitions: PARTITIONS,
            next: Offset(1),
            fingerprint: None,
            sources: (0..PARTITIONS).map(|p| (p, state)).collect(),
            witnesses: Vec::new(),
        };
        let key = checkpoints::checkpoint_key(TaskId::new(Role::Post, q));
        let write = checkpoints::put(&key, &checkpoint, None, WriteId::default());
        stand.db.write(write).await.unwrap();
    }
}

/// The top list of a posting partition, of which nobody was left out unless there are more than `exact`.
pub async fn ranked(stand: &Stand, q: u32, month: &str, exact: usize, ranked: &[(i64, &str)]) {
    let all = ranked
        .iter()
        .map(|(points, id)| Ranked(Points::whole(*points), (*id).to_owned()));
    let mut all: Vec<Ranked> = all.collect();
    let left_out = (all.len() > exact).then(|| all.split_off(exact).remove(0));
    let list = TopList {
        exact,
        ranked: all,
        left_out,
    };
    let key = checkpoints::top_key(
        Partition(q),
        AccountKind::User,
        month.parse().unwrap(),
        Default::default(),
    );
    let write = checkpoints::put(&key, &list, None, WriteId::default());
    stand.db.write(write).await.unwrap();
}

/// The first instant of a day.
pub fn start_of(day: &str) -> Millis {
    day.parse::<Day>().unwrap().start()
}

/// Gives alice so many entries of credit, `k-00000` the oldest, as this version writes them; or as
/// one without the list by time did.
pub async fn many_credits(stand: &Stand, count: i64, is_listed: bool) {
    let body = serde_json::json!({"userId": "alice", "amount": "1", "reason": "x"});
    super::admin::post(stand, "/api/admin/credits", "k-00000", &body).await;
    let row = async |range: &str| {
        let key = Key::new(Table::UserCredits, "alice", range);
        stand.db.get(&key).await.unwrap().unwrap()
    };
    let (entry, mut balance) = (row("entry#k-00000").await, row("balance").await);
    let mut items = Vec::new();
    for n in 0..count {
        let at = Millis(NOON.0 + n);
        let ranges = [format!("entry#k-{n:05}"), format!("at#{at}#k-{n:05}")];
        let ranges = ranges.into_iter().take(1 + usize::from(is_listed));
        for range in ranges {
            let mut item = entry.clone();
            item.insert("entry", Attr::S(range));
            item.insert("at", Attr::N(i128::from(at.0)));
            items.push(item);
        }
    }
    let Some(Attr::N(one)) = balance.get("added").cloned() else {
        panic!("{balance:?}")
    };
    for (name, value) in [
        ("added", one * i128::from(count)),
        ("entries", count.into()),
    ] {
        balance.insert(name, Attr::N(value));
    }
    // It says that all are listed only if all are.
    balance.insert("listed", Attr::N(if is_listed { count.into() } else { 1 }));
    items.push(balance);
    stand.db.put_all(Table::UserCredits, items).await.unwrap();
}
