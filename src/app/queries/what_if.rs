//! What usage would have cost under other rules.

use super::{Queries, QueryError};
use crate::domain::amount::Money;
use crate::domain::event::Service;
use crate::domain::rating::{Used, is_successful, price};
use crate::domain::rules::{Rules, TokenCounts};
use crate::domain::tier::{Detection, Tier};
use crate::domain::time::{DAY_MS, Millis};
use crate::store::usage_list::{self, UsageRow};

/// How far back is looked.
const DAYS: i64 = 7;
/// So many rows are looked at, or a page of a scan more.
const ROWS: usize = 5_000;

/// What requests of the last week come to under two sets of rules, by the prices of mainnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WhatIf {
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
    /// Prices requests of the last week under both. Bounded: where there are more rows than that, some of them stand for all.
    pub async fn what_if(
        &self,
        before: &Rules,
        after: &Rules,
        now: Millis,
    ) -> Result<WhatIf, QueryError> {
        let since = now.plus(-DAYS * DAY_MS);
        let sample = usage_list::sample(self.db(), since, ROWS, now).await?;
        let mut found = WhatIf {
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
