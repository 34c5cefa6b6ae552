//! Requests as rating leaves them: rows rated by the rules and links of the stand.

use std::borrow::Cow;

use serde_json::{Value, json};
use tidemark::domain::ids::Account;
use tidemark::domain::position::{Epoch, Offset, Partition, Position};
use tidemark::domain::posting::Slot;
use tidemark::domain::rating::rate;
use tidemark::domain::reversal::{Original, Reversal};
use tidemark::domain::semantics::Semantics;
use tidemark::domain::time::Millis;
use tidemark::log::Headers;
use tidemark::log::usage::decode;
use tidemark::store::db::{Attr, Db, Item, Key, Table};
use tidemark::store::referrals::{AwardPolicy, Referrer, SignupRequest, signup};
use tidemark::store::usage::{self, ReversalRow, UsageRow};
use tidemark::store::{control, pricing};

use super::stand::{NOON, Stand};
use crate::edge::memory_log::PARTITIONS;

/// The engine expires rows by the real clock.
const NEVER: Millis = Millis(u32::MAX as i64 * 1_000);

/// A successful chat request of user `u` to provider `p`, with what `change` says instead.
pub fn event(id: &str, change: Value) -> Value {
    let mut event = json!({
        "requestId": id, "source": "gw", "userId": "u", "providerId": "p", "endpoint": "/v1/chat/completions",
        "model": "llama-3-70b", "timestamp": NOON.to_string(), "statusCode": 200, "latencyMs": 250,
        "inputTokens": 150, "outputTokens": 75,
    });
    for (name, value) in change.as_object().expect("an object") {
        event[name] = value.clone();
    }
    event
}

/// The row of an event that came at this log time, rated by what the control feed says now.
pub async fn row(stand: &Stand, event: &Value, log_time: Millis) -> Item {
    let head = control::head(&stand.db).await.unwrap();
    let mut book = pricing::load_rules(&stand.db, head).await.unwrap();
    let timeline = book.as_of(head).expect("rules");
    let bytes = serde_json::to_vec(event).unwrap();
    let headers = Headers::new();
    let event = decode(&bytes, &headers).unwrap();
    let services = timeline.services();
    let service = services.of_endpoint(&event.endpoint).expect("a service");
    let rules = timeline.at(event.time);
    let model = rules.detect_for(service, event.model.as_deref(), Semantics::NOW);
    let amounts = rate(&event, service, &model, rules);
    usage::encode(&UsageRow {
        key: usage::key(&event),
        event: &event,
        service: &services.name(service),
        tier: services.is_tiered(service).then_some(model.tier),
        partition: Partition(1),
        position: Position {
            epoch: Epoch(0),
            offset: Offset(7),
        },
        log_time,
        control: head,
        slot: Slot::of(event.time.day(), event.time.month(), log_time),
        provider_points: amounts.provider,
        user_points: amounts.user,
        charge: amounts.charge,
        is_total_odd: false,
        expires_at: NEVER,
    })
}

/// The row of a later report that completed an event: everything that is known since.
pub async fn completed(stand: &Stand, whole: &Value, log_time: Millis) {
    let mut item = row(stand, whole, log_time).await;
    let (hash, range) = Table::UsageTracking.keys();
    let text = |name: &str| match item.get(name) {
        Some(Attr::S(text)) => text.clone(),
        other => panic!("{other:?}"),
    };
    let (hash, range) = (text(hash), range.expect("a sort key"));
    let key = Key::new(Table::UsageTracking, hash, text(range));
    item.insert(range, Attr::S(usage::completion_key(&key).range));
    put(stand, item).await;
}

/// As [`row`], and stores it.
pub async fn rated(stand: &Stand, event: &Value, log_time: Millis) {
    let row = row(stand, event, log_time).await;
    put(stand, row).await;
}

pub async fn put(stand: &Stand, row: Item) {
    let rows = vec![row];
    stand.db.put_all(Table::UsageTracking, rows).await.unwrap();
}

/// The row of a reversal that took an event back.
pub async fn reversed(stand: &Stand, event: &Value, (source, id): (&str, &str), log_time: Millis) {
    let text = |name: &str| event[name].as_str().expect("a text");
    let time: Millis = text("timestamp").parse().unwrap();
    let key = usage::key_of(text("userId"), text("source"), text("requestId"), time);
    let reversal = Reversal {
        source: Cow::Borrowed(source),
        id: Cow::Borrowed(id),
        user: Cow::Borrowed(text("userId")),
        original: Original {
            source: Cow::Borrowed(text("source")),
            id: Cow::Borrowed(text("requestId")),
            time,
        },
        reason: Some(Cow::Borrowed("the model answered nonsense")),
    };
    let item = usage::encode_reversal(&ReversalRow {
        key: usage::reversal_key(&key),
        reversal: &reversal,
        partition: Partition(1),
        position: Position {
            epoch: Epoch(0),
            offset: Offset(8),
        },
        log_time,
        slot: Slot::of(time.day(), time.month(), log_time),
        expires_at: NEVER,
    });
    put(stand, item).await;
}

/// Links accounts, each to the one behind it.
pub async fn chain(stand: &Stand, accounts: &[Account]) {
    for pair in accounts.windows(2).rev() {
        let request = SignupRequest {
            referrer: Referrer::Account(pair[1].clone()),
            referee: pair[0].clone(),
            now: NOON,
            token: format!("{:x}", rand::random::<u64>()),
            awards: AwardPolicy::Elsewhere,
            by: None,
        };
        signup(&stand.db, &request, PARTITIONS).await.unwrap();
    }
}
