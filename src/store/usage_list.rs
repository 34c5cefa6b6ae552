//! Reading a user's usage rows: what was requested, and how it was rated.

use serde::Serialize;

use super::db::{Attr, Db, Item, Key, StoreError, Table};
use super::pages;
use super::row::Row;
use super::usage::day_keys;
use crate::domain::amount::{Money, Points};
use crate::domain::time::{Day, Millis};

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageLine {
    /// When it was made.
    pub time: String,
    /// Who reported it.
    pub source: String,
    /// The report's id.
    pub id: String,
    /// The path that was called.
    pub endpoint: String,
    /// The service.
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
    /// Input tokens; `null` is unknown.
    pub input_tokens: Option<u64>,
    /// Output tokens; `null` is unknown.
    pub output_tokens: Option<u64>,
    /// Length of the audio, ms.
    pub audio_millis: Option<u64>,
    /// Points to the user.
    pub user_points: String,
    /// Points to the provider.
    pub provider_points: String,
    /// Charged, USD.
    pub cost: String,
    /// What mainnet would have charged, USD.
    pub shadow_cost: String,
    /// The day on which it was booked; `null` if it was late.
    pub booked_on: Option<String>,
    /// The month in which it was booked as late.
    pub booked_late_in: Option<String>,
    /// The control position with which it was rated.
    pub control: u64,
    /// The partition of `usage.events` in which it stands.
    pub partition: u32,
    /// Where it stands there.
    pub position: String,
}

impl UsageLine {
    /// Titles for [`UsageLine::columns`]; `>` stands before those of numbers.
    pub const TITLES: [&'static str; 9] = [
        "time", "service", "model", "provider", ">status", ">ms", ">points", ">cost", "id",
    ];

    /// What a person wants to see of it.
    pub fn columns(&self) -> Vec<String> {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            self.time.clone(),
            self.service.clone(),
            or_dash(&self.model),
            or_dash(&self.provider_id),
            self.status_code.to_string(),
            or_dash(&self.latency_ms.map(|ms| ms.to_string())),
            self.user_points.clone(),
            self.cost.clone(),
            self.id.clone(),
        ]
    }
}

/// A user's requests of a day, in order of their time. Rows that have expired are not shown, also where they still stand.
pub async fn of_day(
    db: &dyn Db,
    user: &str,
    day: Day,
    now: Millis,
) -> Result<Vec<UsageLine>, StoreError> {
    let mut lines = Vec::new();
    for hash in day_keys(user, day) {
        let items = pages::all(db, pages::whole(Table::UsageTracking, &hash)).await?;
        for item in items.iter().filter(|item| !has_expired(item, now)) {
            lines.push(read(&hash, item)?);
        }
    }
    lines.sort_by(|a: &UsageLine, b| (&a.time, &a.position).cmp(&(&b.time, &b.position)));
    Ok(lines)
}

fn has_expired(item: &Item, now: Millis) -> bool {
    let expires = Table::UsageTracking.ttl().and_then(|ttl| item.get(ttl));
    matches!(expires, Some(Attr::N(at)) if *at * 1_000 <= i128::from(now.0))
}

fn read(hash: &str, item: &Item) -> Result<UsageLine, StoreError> {
    let row = Row::new(Key::new(Table::UsageTracking, hash, "?"), item);
    let text = |name| row.text(name).map(str::to_owned);
    let optional = |name| Ok::<_, StoreError>(row.text_opt(name)?.map(str::to_owned));
    Ok(UsageLine {
        time: text("time")?,
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
        audio_millis: row.number_opt("audioMillis")?,
        user_points: Points(row.number("userMicropoints")?).to_string(),
        provider_points: Points(row.number("providerMicropoints")?).to_string(),
        cost: Money(row.number("costNanos")?).to_string(),
        shadow_cost: Money(row.number("shadowCostNanos")?).to_string(),
        booked_on: optional("bookedOn")?,
        booked_late_in: optional("bookedLateIn")?,
        control: row.number("control")?,
        partition: row.number("partition")?,
        position: text("position")?,
    })
}
