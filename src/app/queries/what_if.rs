//! What usage would have brought and cost under other rules.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::replay::{
    CoverageError, Forget, ReplayError, ReplayReport, ReplayRequest, StoredArchive, replay,
};
use super::{Queries, QueryError};
use crate::domain::amount::Money;
use crate::domain::event::Service;
use crate::domain::rating::{Used, is_successful, price};
use crate::domain::rules::{Rules, RulesDocument, TokenCounts};
use crate::domain::tier::{Detection, Tier};
use crate::domain::time::{DAY_MS, Millis, Month};
use crate::store::usage_list::{self, UsageRow};

/// How far back is looked, without an archive.
const DAYS: i64 = 7;
/// So many rows are looked at, or a page of a scan more.
const ROWS: usize = 5_000;
/// Archived records that are rated again for a preview, or a file more: some seconds.
const RECORDS: u64 = 1_000_000;
/// Memory for the accounts that they are of.
const ACCOUNTS_BYTES: usize = 64 * 1024 * 1024;
/// Accounts that gain or lose most.
const TOP: usize = 5;

/// A change of one key of the rules.
#[derive(Clone, Copy, Debug)]
pub struct ChangedValue<'c> {
    /// The key.
    pub key: &'c str,
    /// Its new value, as JSON text.
    pub value: &'c str,
    /// The rules without the change.
    pub before: &'c Rules,
    /// The rules with it.
    pub after: &'c Rules,
}

/// What usage of the past comes to under other rules.
#[derive(Clone, Debug)]
pub enum WhatIf {
    /// A month of the archive, as it was posted and rated with the change.
    Month(Box<ReplayReport>),
    /// Requests of the last week that the usage rows still hold, by the prices of mainnet.
    Week(SampledWeek),
}

/// What requests of the last week come to under two sets of rules, by the prices of mainnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampledWeek {
    /// How many days back was looked.
    pub days: i64,
    /// How many successful requests were looked at.
    pub requests: u64,
    /// Whether these are all that there were; else they are some of them.
    pub is_whole: bool,
    /// Under the first rules, USD.
    pub before: Money,
    /// Under the second, USD.
    pub after: Money,
}

impl Queries {
    /// What the usage of last month would have come to with a change, from the archive; of this
    /// month if nothing is archived of the last. Without an archive, prices of the last week.
    ///
    /// Bounded: where there is more than that, some of the requests stand for all.
    pub async fn what_if(
        &self,
        change: ChangedValue<'_>,
        now: Millis,
    ) -> Result<WhatIf, QueryError> {
        let this = now.month();
        if let Some(archive) = &self.archive
            && let Ok(document) = RulesDocument::of_value(change.key, change.value)
        {
            for month in [Month(this.0 - 1), this] {
                let report = self.replay_in_part(archive, &document, month, now).await?;
                if let Some(report) = report {
                    return Ok(WhatIf::Month(Box::new(report)));
                }
            }
        }
        let week = self.sampled_week(change.before, change.after, now).await?;
        Ok(WhatIf::Week(week))
    }

    /// `None`: there is nothing archived of the month, or it cannot be read; the log says so.
    async fn replay_in_part(
        &self,
        archive: &Arc<StoredArchive>,
        document: &RulesDocument,
        month: Month,
        now: Millis,
    ) -> Result<Option<ReplayReport>, QueryError> {
        let book = self.rule_book().await?;
        let coverage = match self.month_coverage(archive, month, now).await {
            Ok(coverage) => coverage,
            Err(CoverageError::Query(error)) => return Err(error),
            Err(error) => {
                warn_unread(month, &error.to_string());
                return Ok(None);
            }
        };
        let request = ReplayRequest {
            coverage,
            // A preview looks at some of the requests anyway, and says so.
            partial: true,
            rules: Some(document.clone()),
            memory_bytes: ACCOUNTS_BYTES,
            top: TOP,
            threads: 1,
            records_max: Some(RECORDS),
        };
        let Ok(room) = Arc::clone(&self.replays).acquire_owned().await else {
            return Ok(None);
        };
        let archive = Arc::clone(archive);
        let work = move || {
            let _room = room;
            replay(&archive, &book, &request, &mut Forget)
        };
        let replayed = Handle::current().spawn_blocking(work).await;
        match replayed.map_err(|error| error.to_string()) {
            Ok(Ok(report)) if report.rows.sum() > 0 => Ok(Some(report)),
            Ok(Ok(_) | Err(ReplayError::Nothing { .. })) => Ok(None),
            Ok(Err(error)) => {
                warn_unread(month, &error.to_string());
                Ok(None)
            }
            Err(error) => {
                warn_unread(month, &error);
                Ok(None)
            }
        }
    }

    /// Prices requests of the last week under both. Bounded: where there are more rows than that,
    /// some of them stand for all.
    async fn sampled_week(
        &self,
        before: &Rules,
        after: &Rules,
        now: Millis,
    ) -> Result<SampledWeek, QueryError> {
        let since = now.plus(-DAYS * DAY_MS);
        let sample = usage_list::sample(self.db(), since, ROWS, now).await?;
        let mut found = SampledWeek {
            days: DAYS,
            requests: 0,
            is_whole: sample.is_whole,
            before: Money::ZERO,
            after: Money::ZERO,
        };
        for line in sample
            .lines
            .iter()
            .filter(|line| is_successful(line.status_code) && line.reversal.is_none())
        {
            let Some(service) = after.services().named(&line.service) else {
                continue;
            };
            found.requests += 1;
            found.before = found.before.plus(price_of(line, service, before));
            found.after = found.after.plus(price_of(line, service, after));
        }
        Ok(found)
    }
}

fn warn_unread(month: Month, error: &str) {
    tracing::warn!(
        event = "archive.preview_failed", %month, error,
        "the archive could not be read for the preview of a change; it shows usage rows of the last week"
    );
}

/// The tier is the one that the request was rated with; a row of chat always has it.
fn price_of(line: &UsageRow, service: Service, rules: &Rules) -> Money {
    let tier = line.tier.as_deref().and_then(Tier::named);
    let model = Detection {
        prices: line.model.as_deref().and_then(|m| rules.model_prices(m)),
        ..Detection::of_tier(tier.unwrap_or(Tier::TidePool))
    };
    let used = Used {
        tokens: TokenCounts {
            input: line.input_tokens.unwrap_or(0),
            cached_input: line.cached_input_tokens.unwrap_or(0),
            cache_write: line.cache_write_tokens.unwrap_or(0),
            output: line.output_tokens.unwrap_or(0),
            reasoning: line.reasoning_tokens.unwrap_or(0),
        },
        audio_millis: line.audio_millis.unwrap_or(0),
        image_count: line.image_count.unwrap_or(0),
    };
    price(used, service, &model, rules)
}
