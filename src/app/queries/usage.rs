//! Usage: the requests of a user's day.

use std::str::FromStr;

use serde::Serialize;
use utoipa::ToSchema;

use super::filtered::{self, Batch, Bounds};
use super::{Queries, QueryError, optional_text, text};
use crate::domain::amount::{Money, Points};
use crate::domain::ids::Account;
use crate::domain::time::{Day, Millis, Month};
use crate::store::usage::StoredReversal;
use crate::store::usage_list::{self, StoredCompletion, UsageRow};

pub use crate::store::usage_list::UsageCursor;

/// Most days that are looked at for the last requests: each is a query of each of its partition
/// keys.
const DAYS_MAX: usize = 7;

/// Most requests that are looked at for one page of a filter.
const LOOKED_MAX: usize = 2_000;
/// How many of them are read at a time.
const READ_TOGETHER: usize = 500;

/// Which requests of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// A part of the report's id.
    pub id: Option<String>,
    /// A part of the model's name, whatever its case.
    pub model: Option<String>,
    /// Its HTTP status.
    pub status: Option<StatusFilter>,
}

impl UsageFilter {
    fn takes(&self, line: &UsageLine) -> bool {
        let model = || line.model.as_deref().unwrap_or_default().to_lowercase();
        let has_model = |part: &String| model().contains(&part.to_lowercase());
        self.id
            .as_ref()
            .is_none_or(|part| line.id.contains(part.as_str()))
            && self.model.as_ref().is_none_or(has_model)
            && self
                .status
                .is_none_or(|status| status.takes(line.status_code))
    }
}

/// A status, or a hundred of them: `503`, `5xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusFilter {
    /// This one.
    One(u16),
    /// Those that begin with this digit.
    Class(u16),
}

impl StatusFilter {
    fn takes(self, status: u16) -> bool {
        match self {
            StatusFilter::One(one) => status == one,
            StatusFilter::Class(class) => status / 100 == class,
        }
    }
}

/// The text is not a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an HTTP status such as 503 or 5xx")]
pub struct NotAStatus;

impl FromStr for StatusFilter {
    type Err = NotAStatus;
    fn from_str(text: &str) -> Result<StatusFilter, NotAStatus> {
        let text = text.to_lowercase();
        if let Some(class) = text.strip_suffix("xx") {
            let class = class.parse().ok().filter(|class| (1..=9).contains(class));
            return class.map(StatusFilter::Class).ok_or(NotAStatus);
        }
        let one = text.parse().ok().filter(|one| (100..=999).contains(one));
        one.map(StatusFilter::One).ok_or(NotAStatus)
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageLine {
    /// When it was made.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub time: Millis,
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
    /// Points to the user.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub user_points: Points,
    /// Points to the provider.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub provider_points: Points,
    /// Charged, USD.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub cost: Money,
    /// What mainnet would have charged, USD.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub shadow_cost: Money,
    /// The day on which it was booked; `null` if it was late.
    #[serde(serialize_with = "optional_text")]
    #[schema(value_type = Option<String>)]
    pub booked_on: Option<Day>,
    /// The month in which it was booked as late.
    #[serde(serialize_with = "optional_text")]
    #[schema(value_type = Option<String>)]
    pub booked_late_in: Option<Month>,
    /// The control position with which it was rated.
    pub control: u64,
    /// The partition of `usage.events` that holds it.
    pub partition: u32,
    /// Its offset in that partition.
    pub position: String,
    /// The later report that completed it, if one did: content, points and cost are those of both
    /// reports together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion: Option<CompletionOfRequest>,
    /// What took it back, if anything did: then its points and cost no longer count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reversal: Option<ReversalOfRequest>,
}

/// The completion of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CompletionOfRequest {
    /// The log's time at it.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub log_time: Millis,
    /// The day on which the difference was booked, the request's own; `null` if it was late.
    #[serde(serialize_with = "optional_text")]
    #[schema(value_type = Option<String>)]
    pub booked_on: Option<Day>,
    /// The month in which it was booked as late.
    #[serde(serialize_with = "optional_text")]
    #[schema(value_type = Option<String>)]
    pub booked_late_in: Option<Month>,
}

impl From<StoredCompletion> for CompletionOfRequest {
    fn from(row: StoredCompletion) -> CompletionOfRequest {
        CompletionOfRequest {
            log_time: row.log_time,
            booked_on: row.booked_on,
            booked_late_in: row.booked_late_in,
        }
    }
}

/// The reversal of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReversalOfRequest {
    /// Who asked for it.
    pub source: String,
    /// Its own id.
    pub id: String,
    /// Why, for people.
    pub reason: Option<String>,
    /// The log's time at it.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub log_time: Millis,
    /// The day on which it was booked, the request's own; `null` if it was late.
    #[serde(serialize_with = "optional_text")]
    #[schema(value_type = Option<String>)]
    pub booked_on: Option<Day>,
    /// The month in which it was booked as late.
    #[serde(serialize_with = "optional_text")]
    #[schema(value_type = Option<String>)]
    pub booked_late_in: Option<Month>,
}

impl From<StoredReversal> for ReversalOfRequest {
    fn from(row: StoredReversal) -> ReversalOfRequest {
        ReversalOfRequest {
            source: row.source,
            id: row.id,
            reason: row.reason,
            log_time: row.log_time,
            booked_on: row.booked_on,
            booked_late_in: row.booked_late_in,
        }
    }
}

impl From<UsageRow> for UsageLine {
    fn from(row: UsageRow) -> UsageLine {
        UsageLine {
            time: row.time,
            source: row.source,
            id: row.id,
            endpoint: row.endpoint,
            service: row.service,
            model: row.model,
            tier: row.tier,
            provider_id: row.provider_id,
            status_code: row.status_code,
            latency_ms: row.latency_ms,
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            cached_input_tokens: row.cached_input_tokens,
            cache_write_tokens: row.cache_write_tokens,
            reasoning_tokens: row.reasoning_tokens,
            audio_millis: row.audio_millis,
            image_count: row.image_count,
            user_points: row.user_points,
            provider_points: row.provider_points,
            cost: row.cost,
            shadow_cost: row.shadow_cost,
            booked_on: row.booked_on,
            booked_late_in: row.booked_late_in,
            control: row.control,
            partition: row.partition,
            position: row.position,
            completion: row.completion.map(CompletionOfRequest::from),
            reversal: row.reversal.map(ReversalOfRequest::from),
        }
    }
}

fn lines(rows: Vec<UsageRow>) -> Vec<UsageLine> {
    rows.into_iter().map(UsageLine::from).collect()
}

/// Some requests of a user's day, in order of their time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageOfDay {
    /// Whose.
    pub user_id: String,
    /// The day.
    #[schema(value_type = String)]
    pub day: Day,
    /// The requests of this page.
    pub requests: Vec<UsageLine>,
    /// Give it as `after` for the next page; `null` if there is none.
    pub next: Option<String>,
}

impl Queries {
    /// A page of a user's day: those requests that the filter takes. Empty where usage rows are
    /// switched off, and for days of which they have expired. With a filter, at most 2,000 requests
    /// are looked at.
    pub async fn usage_page(
        &self,
        user: &Account,
        day: Day,
        filter: &UsageFilter,
        after: Option<UsageCursor>,
        limit: usize,
        now: Millis,
    ) -> Result<UsageOfDay, QueryError> {
        let is_filtered = *filter != UsageFilter::default();
        let together = if is_filtered { READ_TOGETHER } else { limit };
        let wanted = u32::try_from(together).unwrap_or(u32::MAX);
        let bounds = Bounds {
            limit,
            looked_max: if is_filtered { LOOKED_MAX } else { 0 },
        };
        let read = |after: Option<UsageCursor>| async move {
            let (db, user) = (self.db(), user.id());
            let page = usage_list::page_of_day(db, user, day, after.as_ref(), wanted, now).await?;
            Ok::<_, QueryError>(Batch {
                found: lines(page.lines).into_iter().zip(page.ends).collect(),
                looked: together,
                next: page.next,
            })
        };
        let takes = |line: &UsageLine| filter.takes(line);
        let (requests, next) = filtered::page(bounds, after, takes, read).await?;
        Ok(UsageOfDay {
            user_id: user.id().to_owned(),
            day,
            requests,
            next: next.map(|next| next.to_string()),
        })
    }

    /// The last requests of a user on these days, at most `limit`, newest first. Days are looked at
    /// from the last one on, as many as that takes but at most seven; give those that have requests
    /// by the statement. A day of them without a row ends the search: then rows are not kept, or
    /// have expired.
    pub async fn last_requests(
        &self,
        user: &Account,
        days: impl DoubleEndedIterator<Item = Day>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<UsageLine>, QueryError> {
        let mut found = Vec::new();
        for day in days.rev().take(DAYS_MAX) {
            let left = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
            if left == 0 {
                break;
            }
            let rows = usage_list::last_of_day(self.db(), user.id(), day, left, now).await?;
            if rows.is_empty() {
                break;
            }
            found.extend(rows.into_iter().map(UsageLine::from));
        }
        Ok(found)
    }

    /// All of a user's day.
    pub async fn usage(
        &self,
        user: &Account,
        day: Day,
        now: Millis,
    ) -> Result<Vec<UsageLine>, QueryError> {
        let rows = usage_list::of_day(self.db(), user.id(), day, now).await?;
        Ok(lines(rows))
    }
}
