//! UsageTracking: one row per request, everything about it and how it was rated. Doubles as the
//! memory of the slow lane: the row of an event says which position won.

use std::borrow::Cow;

use super::db::{Attr, Item, Key, StoreError, Table};
use super::row::{Fields, Row};
use crate::domain::amount::{Money, Points};
use crate::domain::event::UsageEvent;
use crate::domain::position::{Control, Partition, Position};
use crate::domain::posting::{Charge, Slot};
use crate::domain::reversal::Reversal;
use crate::domain::tier::Tier;
use crate::domain::time::{Day, Millis, Month};

/// A user's day is spread over so many partition keys, so that one busy user is no hot partition.
pub const BUCKETS: u64 = 16;

/// A row to be written.
#[derive(Clone, Debug)]
pub struct UsageRow<'a> {
    /// Where it goes.
    pub key: Key,
    /// The event.
    pub event: &'a UsageEvent<'a>,
    /// The name of its service.
    pub service: &'a str,
    /// The tier of its model, if it earns by that.
    pub tier: Option<Tier>,
    /// Its source partition.
    pub partition: Partition,
    /// Its position there: the one that won.
    pub position: Position,
    /// Log time at it.
    pub log_time: Millis,
    /// The control position with which it was rated.
    pub control: Control,
    /// Where it is booked.
    pub slot: Slot,
    /// To the provider.
    pub provider_points: Points,
    /// To the user.
    pub user_points: Points,
    /// Charged to the user.
    pub charge: Charge,
    /// The gateway's total of tokens is not the sum of its parts, which were counted.
    pub is_total_odd: bool,
    /// When the row expires.
    pub expires_at: Millis,
}

/// The key of an event's row. Source and id are hashed (XXH3-128); the time is the event's.
pub fn key(event: &UsageEvent<'_>) -> Key {
    key_of(&event.user, &event.source, &event.id, event.time)
}

/// [`key`] of the event with these parts.
pub fn key_of(user: &str, source: &str, id: &str, time: Millis) -> Key {
    let hash = source_and_id(source, id);
    let day = partition_key(user, time.day(), (hash % u128::from(BUCKETS)) as u64);
    Key::new(Table::UsageTracking, day, format!("{time}#{hash:032x}"))
}

/// The partition key of a request with this source and id on a day of its user's, and how its sort
/// key ends, behind the time.
pub fn day_key_of(user: &str, day: Day, source: &str, id: &str) -> (String, String) {
    let hash = source_and_id(source, id);
    let key = partition_key(user, day, (hash % u128::from(BUCKETS)) as u64);
    (key, format!("#{hash:032x}"))
}

/// What the sort key of a completion's row adds to that of the event's row.
const COMPLETION_SUFFIX: &str = "#completion";

/// The key of the row of an event's completion, from the key of the event's row: right behind it.
/// The row has the form of the event's, and says everything that is known of the event since.
pub fn completion_key(original: &Key) -> Key {
    Key {
        range: format!("{}{COMPLETION_SUFFIX}", original.range),
        ..original.clone()
    }
}

/// The sort key of the event's row, of that of its completion's. `None`: it is no completion's.
pub fn completed_range(range: &str) -> Option<&str> {
    range.strip_suffix(COMPLETION_SUFFIX)
}

/// What the sort key of a reversal's row adds to that of the event's row.
const REVERSAL_SUFFIX: &str = "#reversal";

/// The key of the row of an event's reversal, from the key of the event's row: right behind it.
pub fn reversal_key(original: &Key) -> Key {
    Key {
        range: format!("{}{REVERSAL_SUFFIX}", original.range),
        ..original.clone()
    }
}

/// The sort key of the event's row, of that of its reversal's. `None`: it is no reversal's.
pub fn reversed_range(range: &str) -> Option<&str> {
    range.strip_suffix(REVERSAL_SUFFIX)
}

/// The key without the identity: two requests of one user in the same millisecond share it. For the
/// simulator only.
pub fn key_without_identity(event: &UsageEvent<'_>) -> Key {
    let day = partition_key(&event.user, event.time.day(), 0);
    Key::new(Table::UsageTracking, day, event.time.to_string())
}

/// The partition keys of a user's day.
pub fn day_keys(user: &str, day: Day) -> impl Iterator<Item = String> {
    let user = user.to_owned();
    (0..BUCKETS).map(move |bucket| partition_key(&user, day, bucket))
}

fn partition_key(user: &str, day: Day, bucket: u64) -> String {
    format!("{user}#{day}#{bucket:02}")
}

fn source_and_id(source: &str, id: &str) -> u128 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    hasher.update(&(source.len() as u64).to_le_bytes());
    hasher.update(source.as_bytes());
    hasher.update(id.as_bytes());
    hasher.digest128()
}

/// The item of a row. The same event at the same position always gives the same item.
pub fn encode(row: &UsageRow<'_>) -> Item {
    let event = row.event;
    let mut item = Fields::of(&row.key)
        .text("userId", &event.user)
        .text("source", &event.source)
        .text("id", &event.id)
        .text("time", event.time)
        .text("endpoint", &event.endpoint)
        .text("service", row.service)
        .number("statusCode", event.status)
        .number_opt("latencyMs", event.latency_ms)
        .number_opt("inputTokens", event.input_tokens)
        .number_opt("outputTokens", event.output_tokens)
        .number_opt("cachedInputTokens", event.cached_input_tokens)
        .number_opt("cacheWriteTokens", event.cache_write_tokens)
        .number_opt("reasoningTokens", event.reasoning_tokens)
        .number_opt("audioMillis", event.audio_millis)
        .number_opt("imageCount", event.image_count)
        .number_opt("requestBytes", event.request_bytes)
        .number_opt("responseBytes", event.response_bytes)
        .number("stream", u8::from(event.stream))
        .number_opt("oddTotal", row.is_total_odd.then_some(1u8))
        .number("partition", row.partition.0)
        .text("position", row.position)
        .text("logTime", row.log_time)
        .number("control", row.control.0)
        .number("providerMicropoints", row.provider_points.0)
        .number("userMicropoints", row.user_points.0)
        .number("costNanos", row.charge.cost.0)
        .number("shadowCostNanos", row.charge.shadow.0)
        .number("expiresAt", row.expires_at.0.div_euclid(1_000))
        .item();
    put_slot(&mut item, row.slot);
    let mut put = |name: &str, text: String| item.insert(name.to_owned(), Attr::S(text));
    let optional = [
        ("providerId", &event.provider),
        ("model", &event.model),
        ("errorMessage", &event.error_message),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            put(name, value.to_string());
        }
    }
    if let Some(tier) = row.tier {
        put("tier", tier.as_str().to_owned());
    }
    item
}

/// The event of a row.
pub fn event_of<'a>(key: &Key, item: &'a Item) -> Result<UsageEvent<'a>, StoreError> {
    let row = Row::new(key.clone(), item);
    let optional = |name| Ok::<_, StoreError>(row.text_opt(name)?.map(Cow::Borrowed));
    Ok(UsageEvent {
        source: row.text("source")?.into(),
        id: row.text("id")?.into(),
        time: row.parsed("time")?,
        user: row.text("userId")?.into(),
        provider: optional("providerId")?,
        endpoint: row.text("endpoint")?.into(),
        model: optional("model")?,
        status: row.number("statusCode")?,
        latency_ms: row.number_opt("latencyMs")?,
        input_tokens: row.number_opt("inputTokens")?,
        output_tokens: row.number_opt("outputTokens")?,
        cached_input_tokens: row.number_opt("cachedInputTokens")?,
        cache_write_tokens: row.number_opt("cacheWriteTokens")?,
        reasoning_tokens: row.number_opt("reasoningTokens")?,
        audio_millis: row.number_opt("audioMillis")?,
        image_count: row.number_opt("imageCount")?,
        request_bytes: row.number_opt("requestBytes")?,
        response_bytes: row.number_opt("responseBytes")?,
        error_message: optional("errorMessage")?,
        stream: row.number::<u8>("stream")? != 0,
    })
}

/// The position that won, and its source partition.
pub fn winner(key: &Key, item: &Item) -> Result<(Partition, Position), StoreError> {
    let row = Row::new(key.clone(), item);
    Ok((Partition(row.number("partition")?), row.parsed("position")?))
}

/// How an accepted event was rated, as its row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RatedEvent {
    /// Its source partition.
    pub partition: Partition,
    /// Its position there.
    pub position: Position,
    /// The control position with which it was rated.
    pub control: Control,
    /// When the request was made.
    pub time: Millis,
    /// Who served it.
    pub provider: Option<String>,
    /// The path that was called: it tells the service.
    pub endpoint: String,
    /// The tier of its model, if the service earns by that.
    pub tier: Option<Tier>,
    /// The HTTP status.
    pub status: u16,
    /// How long it took, ms.
    pub latency_ms: Option<u64>,
    /// To the provider.
    pub provider_points: Points,
    /// To the user.
    pub user_points: Points,
    /// Charged to the user.
    pub charge: Charge,
}

impl RatedEvent {
    /// The one in an item.
    pub fn of(key: &Key, item: &Item) -> Result<RatedEvent, StoreError> {
        let row = Row::new(key.clone(), item);
        let tier = row.text_opt("tier")?;
        let known = |name: &str| {
            let tier = Tier::named(name);
            tier.ok_or_else(|| row.newer(format!("attribute tier is '{name}'")))
        };
        Ok(RatedEvent {
            partition: Partition(row.number("partition")?),
            position: row.parsed("position")?,
            control: Control(row.number("control")?),
            time: row.parsed("time")?,
            provider: row.text_opt("providerId")?.map(str::to_owned),
            endpoint: row.text("endpoint")?.to_owned(),
            tier: tier.map(known).transpose()?,
            status: row.number("statusCode")?,
            latency_ms: row.number_opt("latencyMs")?,
            provider_points: Points(row.number("providerMicropoints")?),
            user_points: Points(row.number("userMicropoints")?),
            charge: Charge {
                cost: Money(row.number("costNanos")?),
                shadow: Money(row.number("shadowCostNanos")?),
            },
        })
    }
}

/// The row of a reversal to be written.
#[derive(Clone, Debug)]
pub struct ReversalRow<'a> {
    /// Where it goes: [`reversal_key`].
    pub key: Key,
    /// The reversal.
    pub reversal: &'a Reversal<'a>,
    /// Its source partition.
    pub partition: Partition,
    /// Its position there: the one that won.
    pub position: Position,
    /// Log time at it.
    pub log_time: Millis,
    /// Where it is booked.
    pub slot: Slot,
    /// When the row expires: with the event's.
    pub expires_at: Millis,
}

/// The item of a reversal's row. The same reversal at the same position always gives the same item.
pub fn encode_reversal(row: &ReversalRow<'_>) -> Item {
    let reversal = row.reversal;
    let mut item = Fields::of(&row.key)
        .text("userId", &reversal.user)
        .text("source", &reversal.source)
        .text("id", &reversal.id)
        .number("partition", row.partition.0)
        .text("position", row.position)
        .text("logTime", row.log_time)
        .number("expiresAt", row.expires_at.0.div_euclid(1_000))
        .item();
    put_slot(&mut item, row.slot);
    if let Some(reason) = &reversal.reason {
        item.insert("reason", Attr::S(reason.to_string()));
    }
    item
}

fn put_slot(item: &mut Item, slot: Slot) {
    let (name, text) = match slot {
        Slot::Day(day) => ("bookedOn", day.to_string()),
        Slot::Late(month) => ("bookedLateIn", month.to_string()),
    };
    item.insert(name, Attr::S(text));
}

/// The reversal that took an event back, as its row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReversal {
    /// Who asked for it.
    pub source: String,
    /// Its own id.
    pub id: String,
    /// Why, for people.
    pub reason: Option<String>,
    /// Its source partition.
    pub partition: Partition,
    /// Its position there.
    pub position: Position,
    /// Log time at it.
    pub log_time: Millis,
    /// The day on which it was booked; `None` if it was late.
    pub booked_on: Option<Day>,
    /// The month in which it was booked as late.
    pub booked_late_in: Option<Month>,
}

impl StoredReversal {
    /// The one in an item.
    pub fn of(key: &Key, item: &Item) -> Result<StoredReversal, StoreError> {
        let row = Row::new(key.clone(), item);
        Ok(StoredReversal {
            source: row.text("source")?.to_owned(),
            id: row.text("id")?.to_owned(),
            reason: row.text_opt("reason")?.map(str::to_owned),
            partition: Partition(row.number("partition")?),
            position: row.parsed("position")?,
            log_time: row.parsed("logTime")?,
            booked_on: row.parsed_opt("bookedOn")?,
            booked_late_in: row.parsed_opt("bookedLateIn")?,
        })
    }
}
