//! Reading a user's usage rows: what was requested, and how it was rated. Rows of chunks that were
//! given up before anything of them was counted say nothing, as to rating (`losses`): they are not
//! shown.

mod merged;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use futures::future::try_join_all;

use super::db::{Attr, Db, Item, Key, Query, StoreError, Table};
use super::losses::{self, LostChunk};
use super::marker;
use super::pages;
use super::row::Row;
use super::usage::{
    StoredReversal, completed_range, completion_key, day_key_of, day_keys, key_of, reversal_key,
    reversed_range, winner,
};
use crate::domain::amount::{Money, Points};
use crate::domain::time::{Day, Millis, Month};
use merged::Merged;

/// How many rows of a day's partition key are searched for a request whose time is not given.
const SEARCHED_ROWS_MAX: usize = 20_000;
/// Hexadecimal digits of the hash in a sort key.
const HASH_CHARS: usize = 32;
/// Days that are looked through at a time for a request whose time is not known.
const DAYS_TOGETHER: usize = 4;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// When it was made.
    pub time: Millis,
    /// Who reported it.
    pub source: String,
    /// The report's id.
    pub id: String,
    /// The path that was called.
    pub endpoint: String,
    /// The service's name, which may be one that this version does not know.
    pub service: String,
    /// The model.
    pub model: Option<String>,
    /// The model's tier (chat).
    pub tier: Option<String>,
    /// Who served it.
    pub provider_id: Option<String>,
    /// The HTTP status.
    pub status_code: u16,
    /// How long it took, ms.
    pub latency_ms: Option<u64>,
    /// Input tokens, if they are known.
    pub input_tokens: Option<u64>,
    /// Output tokens, if they are known.
    pub output_tokens: Option<u64>,
    /// Input tokens that were read from a cache, part of `inputTokens`.
    pub cached_input_tokens: Option<u64>,
    /// Input tokens that were written to a cache, part of `inputTokens`.
    pub cache_write_tokens: Option<u64>,
    /// Output tokens that were spent on reasoning, part of `outputTokens`.
    pub reasoning_tokens: Option<u64>,
    /// Length of the audio, ms.
    pub audio_millis: Option<u64>,
    /// Images that were made or read.
    pub image_count: Option<u64>,
    /// The gateway's total of tokens is not the sum of its parts, which were counted.
    pub is_total_odd: bool,
    /// Points to the user.
    pub user_points: Points,
    /// Points to the provider.
    pub provider_points: Points,
    /// Charged, USD.
    pub cost: Money,
    /// What mainnet would have charged, USD.
    pub shadow_cost: Money,
    /// The day on which it was booked; `None` if it was late.
    pub booked_on: Option<Day>,
    /// The month in which it was booked as late.
    pub booked_late_in: Option<Month>,
    /// The log's time at it.
    pub log_time: Millis,
    /// The control position with which it was rated.
    pub control: u64,
    /// The partition of `usage.events` that holds it.
    pub partition: u32,
    /// Its offset in that partition.
    pub position: String,
    /// The later report that completed it, if one did: of its content and amounts the ones here
    /// are.
    pub completion: Option<StoredCompletion>,
    /// What took it back, if anything did.
    pub reversal: Option<StoredReversal>,
}

/// A user's requests of a day, in order of their time. Rows that have expired are not shown, also
/// where they still stand.
pub async fn of_day(
    db: &dyn Db,
    user: &str,
    day: Day,
    now: Millis,
) -> Result<Vec<UsageRow>, StoreError> {
    let (void, mut lines) = (VoidChunks::of(db).await?, Vec::new());
    for hash in day_keys(user, day) {
        let items = pages::all(db, pages::whole(Table::UsageTracking, &hash)).await?;
        lines.extend(void.read_rows(&hash, items, now)?);
    }
    lines.sort_by(|a: &UsageRow, b| (a.time, &a.position).cmp(&(b.time, &b.position)));
    Ok(lines)
}

/// One request, by what identifies it.
pub async fn one(
    db: &dyn Db,
    user: &str,
    source: &str,
    id: &str,
    time: Millis,
    now: Millis,
) -> Result<Option<UsageRow>, StoreError> {
    let key = key_of(user, source, id, time);
    let keys = [key.clone(), completion_key(&key), reversal_key(&key)];
    let items = db.batch_get(&keys).await?;
    let Ok([Some(item), completion, reversal]) = <[Option<Item>; 3]>::try_from(items) else {
        return Ok(None);
    };
    let row = DayRow {
        key,
        item,
        completion,
        reversal,
    };
    if has_expired(&row.item, now) {
        return Ok(None);
    }
    let row = VoidChunks::of(db).await?.without(row)?;
    row.map(|row| row.read()).transpose()
}

/// The time of the newest of a user's requests of these days that has this source and id. Reads the
/// keys that such a request can have: of each day one of its partition keys, and of that so many of
/// the newest rows at the most. So it may not find one of a very busy user.
pub async fn time_of(
    db: &dyn Db,
    user: &str,
    source: &str,
    id: &str,
    days: &[Day],
    now: Millis,
) -> Result<Option<Millis>, StoreError> {
    for days in days.chunks(DAYS_TOGETHER) {
        let queries = days.iter().map(|day| {
            let (hash, ending) = day_key_of(user, *day, source, id);
            async move { newest_time(db, &hash, &ending, now).await }
        });
        let found = try_join_all(queries).await?;
        if let Some(time) = found.into_iter().flatten().max() {
            return Ok(Some(time));
        }
    }
    Ok(None)
}

/// The time of the newest row of a partition key whose sort key ends so.
async fn newest_time(
    db: &dyn Db,
    hash: &str,
    ending: &str,
    now: Millis,
) -> Result<Option<Millis>, StoreError> {
    let mut query = Query {
        descending: true,
        ..pages::whole(Table::UsageTracking, hash)
    };
    let mut looked = 0;
    loop {
        let page = db.query(&query).await?;
        looked += page.items.len();
        let mut rows = page.items.iter().filter(|item| !has_expired(item, now));
        if let Some(time) = rows.find_map(|item| time_in_key(item, ending)) {
            return Ok(Some(time));
        }
        match page.next {
            Some(next) if looked < SEARCHED_ROWS_MAX => query.after = Some(next),
            _ => return Ok(None),
        }
    }
}

/// The time in the sort key of an event's row, if it ends so.
fn time_in_key(item: &Item, ending: &str) -> Option<Millis> {
    let (_, range) = Table::UsageTracking.keys();
    match item.get(range?)? {
        Attr::S(range) => range.strip_suffix(ending)?.parse().ok(),
        _ => None,
    }
}

/// Where a page of a user's day ends: the sort key of its last row. As text: `<time>_<hash>`, fit
/// for URLs once its colons are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageCursor {
    time: Millis,
    hash: String,
}

/// The text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no place in a day's usage: give what the page before named as its `next`")]
pub struct NotACursor;

impl fmt::Display for UsageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.time, self.hash)
    }
}

impl FromStr for UsageCursor {
    type Err = NotACursor;
    fn from_str(text: &str) -> Result<UsageCursor, NotACursor> {
        let (time, hash) = text.split_once('_').ok_or(NotACursor)?;
        let time: Millis = time.parse().map_err(|_| NotACursor)?;
        let is_hash = hash.len() == HASH_CHARS && hash.bytes().all(|b| b.is_ascii_hexdigit());
        let hash = hash.to_owned();
        is_hash
            .then_some(UsageCursor { time, hash })
            .ok_or(NotACursor)
    }
}

impl UsageCursor {
    fn of_range(range: &str) -> Option<UsageCursor> {
        let (time, hash) = range.split_once('#')?;
        format!("{time}_{hash}").parse().ok()
    }

    fn range(&self) -> String {
        format!("{}#{}", self.time, self.hash)
    }
}

/// A page of a user's day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsagePage {
    /// Requests, in order of their time; may be fewer than asked for also where there are more.
    pub lines: Vec<UsageRow>,
    /// Behind each of them: where a page begins that goes on from there.
    pub ends: Vec<UsageCursor>,
    /// Where the next page begins, if there is one.
    pub next: Option<UsageCursor>,
}

/// A page of at most `limit` of a user's requests of a day, in order of their time, after `after`.
/// The day's partition keys are read side by side, a small part of the page each: in all about as
/// many rows as the page has, and a few of each key.
pub async fn page_of_day(
    db: &dyn Db,
    user: &str,
    day: Day,
    after: Option<&UsageCursor>,
    limit: u32,
    now: Millis,
) -> Result<UsagePage, StoreError> {
    let after = after.map(UsageCursor::range);
    let mut merged = Merged::new(user, day, after.as_deref(), limit);
    let limit = limit as usize;
    // One more than fits tells whether there is a next page.
    let mut rows = merged.first(db, limit.saturating_add(1)).await?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| has_more);
    let next = last.and_then(|row| UsageCursor::of_range(&row.key.range));
    let void = VoidChunks::of(db).await?;
    let (mut lines, mut ends) = (Vec::new(), Vec::new());
    for row in rows {
        // The sort key of every event's row is a cursor; what is none holds no event.
        let Some(end) = UsageCursor::of_range(&row.key.range) else {
            continue;
        };
        for line in void.read_alive(vec![row], now)? {
            lines.push(line);
            ends.push(end.clone());
        }
    }
    Ok(UsagePage { lines, ends, next })
}

/// The last requests of a user's day, at most `limit`, newest first. Reads so many rows of each of
/// the day's partition keys at most.
pub async fn last_of_day(
    db: &dyn Db,
    user: &str,
    day: Day,
    limit: u32,
    now: Millis,
) -> Result<Vec<UsageRow>, StoreError> {
    let queries = day_keys(user, day).map(|hash| {
        let query = Query {
            descending: true,
            ..pages::whole(Table::UsageTracking, &hash)
        };
        async move { Ok::<_, StoreError>((first_rows(db, query, limit).await?, hash)) }
    });
    let (void, mut lines) = (VoidChunks::of(db).await?, Vec::new());
    for (items, hash) in try_join_all(queries).await? {
        lines.extend(void.read_rows(&hash, items, now)?);
    }
    lines.sort_by(|a: &UsageRow, b| (b.time, &b.position).cmp(&(a.time, &a.position)));
    lines.truncate(limit as usize);
    Ok(lines)
}

/// Some requests of everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSample {
    /// Those that were found since the time that was asked for.
    pub lines: Vec<UsageRow>,
    /// Whether these are all that there are.
    pub is_whole: bool,
}

/// Requests of everybody since `since`: all of them, or those among the first rows that a scan of
/// the table meets, at least `rows_min` of them. A scan goes by the hash of (user, day), so what it
/// meets is no choice of users or days.
pub async fn sample(
    db: &dyn Db,
    since: Millis,
    rows_min: usize,
    now: Millis,
) -> Result<UsageSample, StoreError> {
    let mut by_day: BTreeMap<String, Vec<Item>> = BTreeMap::new();
    let (mut looked, mut after) = (0, None);
    let is_whole = loop {
        let page = db.scan(Table::UsageTracking, after).await?;
        looked += page.items.len();
        for item in page.items {
            if !marker::is_marker(Table::UsageTracking, &item) {
                let unknown = Row::new(Key::new(Table::UsageTracking, "?", "?"), &item);
                let (hash, _) = Table::UsageTracking.keys();
                let day = unknown.text(hash)?.to_owned();
                by_day.entry(day).or_default().push(item);
            }
        }
        after = page.next;
        if after.is_none() || looked >= rows_min {
            break after.is_none();
        }
    };
    let (void, mut lines) = (VoidChunks::of(db).await?, Vec::new());
    for (hash, items) in by_day {
        let read = void.read_rows(&hash, items, now)?;
        lines.extend(read.into_iter().filter(|line| line.time >= since));
    }
    Ok(UsageSample { lines, is_whole })
}

/// The first rows of a query: at most `wanted` of events, and those of their amendments among them,
/// over as many of its pages as that takes.
async fn first_rows(db: &dyn Db, mut query: Query, wanted: u32) -> Result<Vec<Item>, StoreError> {
    let wanted = wanted as usize;
    let (mut items, mut events) = (Vec::new(), 0);
    loop {
        query.limit = u32::try_from(wanted - events).ok();
        let page = db.query(&query).await?;
        let of_events = page.items.iter().filter(|item| !is_amendment(item));
        events += of_events.count();
        items.extend(page.items);
        match page.next {
            Some(next) if events < wanted => query.after = Some(next),
            _ => return Ok(items),
        }
    }
}

/// Whether a row is that of a completion or a reversal.
fn is_amendment(item: &Item) -> bool {
    let (_, range) = Table::UsageTracking.keys();
    match range.and_then(|range| item.get(range)) {
        Some(Attr::S(range)) => completed_range(range).is_some() || reversed_range(range).is_some(),
        _ => false,
    }
}

/// The row of an event, and those of its completion and reversal.
struct DayRow {
    key: Key,
    item: Item,
    completion: Option<Item>,
    reversal: Option<Item>,
}

impl DayRow {
    fn read(&self) -> Result<UsageRow, StoreError> {
        let first = decode_usage_row(&self.key, &self.item)?;
        let reversal = self.reversal.as_ref();
        let reversal = reversal.map(|item| StoredReversal::of(&reversal_key(&self.key), item));
        let reversal = reversal.transpose()?;
        let Some(item) = &self.completion else {
            return Ok(UsageRow { reversal, ..first });
        };
        let key = completion_key(&self.key);
        let completed = decode_usage_row(&key, item)?;
        Ok(UsageRow {
            completion: Some(StoredCompletion {
                log_time: Row::new(key, item).parsed("logTime")?,
                booked_on: completed.booked_on,
                booked_late_in: completed.booked_late_in,
                before: AmountsBefore {
                    // Without a name they were nobody's.
                    provider_points: match first.provider_id {
                        Some(_) => first.provider_points,
                        None => Points::ZERO,
                    },
                    user_points: first.user_points,
                    cost: first.cost,
                    shadow_cost: first.shadow_cost,
                },
            }),
            booked_on: first.booked_on,
            booked_late_in: first.booked_late_in,
            log_time: first.log_time,
            partition: first.partition,
            position: first.position,
            is_total_odd: first.is_total_odd || completed.is_total_odd,
            reversal,
            ..completed
        })
    }
}

/// The later report that completed a request, as its row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCompletion {
    /// Log time at it.
    pub log_time: Millis,
    /// The day on which the difference was booked; `None` if it was late.
    pub booked_on: Option<Day>,
    /// The month in which it was booked as late.
    pub booked_late_in: Option<Month>,
    /// What the first report had come to.
    pub before: AmountsBefore,
}

/// What a request came to by its first report alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmountsBefore {
    /// Points to the provider.
    pub provider_points: Points,
    /// Points to the user.
    pub user_points: Points,
    /// Charged, USD.
    pub cost: Money,
    /// What mainnet would have charged, USD.
    pub shadow_cost: Money,
}

/// The rows of events among items of one partition key, each with its amendments. One whose event
/// is not among them belongs to another page.
fn day_rows(hash: &str, items: Vec<Item>) -> Result<Vec<DayRow>, StoreError> {
    let mut rows: BTreeMap<String, DayRow> = BTreeMap::new();
    let (mut completions, mut reversals) = (Vec::new(), Vec::new());
    for item in items {
        let unknown = Row::new(Key::new(Table::UsageTracking, hash, "?"), &item);
        let range = unknown.text("timeHash")?.to_owned();
        if let Some(original) = completed_range(&range) {
            completions.push((original.to_owned(), item));
        } else if let Some(original) = reversed_range(&range) {
            reversals.push((original.to_owned(), item));
        } else {
            let row = DayRow {
                key: Key::new(Table::UsageTracking, hash, &range),
                item,
                completion: None,
                reversal: None,
            };
            rows.insert(range, row);
        }
    }
    for (original, item) in completions {
        if let Some(row) = rows.get_mut(&original) {
            row.completion = Some(item);
        }
    }
    for (original, item) in reversals {
        if let Some(row) = rows.get_mut(&original) {
            row.reversal = Some(item);
        }
    }
    Ok(rows.into_values().collect())
}

/// Chunks that were given up before anything of them was counted: their rows say nothing.
struct VoidChunks(Vec<LostChunk>);

impl VoidChunks {
    async fn of(db: &dyn Db) -> Result<VoidChunks, StoreError> {
        let mut lost = losses::all(db).await?;
        lost.retain(LostChunk::is_uncounted);
        Ok(VoidChunks(lost))
    }

    fn hold(&self, key: &Key, item: &Item) -> Result<bool, StoreError> {
        if self.0.is_empty() {
            return Ok(false);
        }
        let (source, position) = winner(key, item)?;
        Ok(self.0.iter().any(|lost| lost.holds(source, position)))
    }

    /// The row without what is void of it; `None`: all of it is.
    fn without(&self, mut row: DayRow) -> Result<Option<DayRow>, StoreError> {
        if self.hold(&row.key, &row.item)? {
            return Ok(None);
        }
        if let Some(item) = &row.completion
            && self.hold(&completion_key(&row.key), item)?
        {
            row.completion = None;
        }
        if let Some(item) = &row.reversal
            && self.hold(&reversal_key(&row.key), item)?
        {
            row.reversal = None;
        }
        Ok(Some(row))
    }

    /// The requests of these rows, without those that have expired.
    fn read_alive(&self, rows: Vec<DayRow>, now: Millis) -> Result<Vec<UsageRow>, StoreError> {
        let alive = rows.into_iter().filter(|row| !has_expired(&row.item, now));
        let mut lines = Vec::new();
        for row in alive {
            if let Some(row) = self.without(row)? {
                lines.push(row.read()?);
            }
        }
        Ok(lines)
    }

    /// The same of items of one partition key.
    fn read_rows(
        &self,
        hash: &str,
        items: Vec<Item>,
        now: Millis,
    ) -> Result<Vec<UsageRow>, StoreError> {
        self.read_alive(day_rows(hash, items)?, now)
    }
}

fn has_expired(item: &Item, now: Millis) -> bool {
    let expires = Table::UsageTracking.ttl().and_then(|ttl| item.get(ttl));
    matches!(expires, Some(Attr::N(at)) if *at * 1_000 <= i128::from(now.0))
}

/// The row of an event, without what amended it.
fn decode_usage_row(key: &Key, item: &Item) -> Result<UsageRow, StoreError> {
    let row = Row::new(key.clone(), item);
    let text = |name| row.text(name).map(str::to_owned);
    let optional = |name| Ok::<_, StoreError>(row.text_opt(name)?.map(str::to_owned));
    Ok(UsageRow {
        time: row.parsed("time")?,
        source: text("source")?,
        id: text("id")?,
        endpoint: text("endpoint")?,
        service: text("service")?,
        model: optional("model")?,
        tier: optional("tier")?,
        provider_id: optional("providerId")?,
        status_code: row.number("statusCode")?,
        latency_ms: row.number_opt("latencyMs")?,
        input_tokens: row.number_opt("inputTokens")?,
        output_tokens: row.number_opt("outputTokens")?,
        cached_input_tokens: row.number_opt("cachedInputTokens")?,
        cache_write_tokens: row.number_opt("cacheWriteTokens")?,
        reasoning_tokens: row.number_opt("reasoningTokens")?,
        audio_millis: row.number_opt("audioMillis")?,
        image_count: row.number_opt("imageCount")?,
        is_total_odd: row.number_opt::<u8>("oddTotal")?.is_some(),
        user_points: Points(row.number("userMicropoints")?),
        provider_points: Points(row.number("providerMicropoints")?),
        cost: Money(row.number("costNanos")?),
        shadow_cost: Money(row.number("shadowCostNanos")?),
        booked_on: row.parsed_opt("bookedOn")?,
        booked_late_in: row.parsed_opt("bookedLateIn")?,
        log_time: row.parsed("logTime")?,
        control: row.number("control")?,
        partition: row.number("partition")?,
        position: text("position")?,
        completion: None,
        reversal: None,
    })
}
