//! What a provider's requests of the last days were for, by model. Postings do not tell models,
//! rows of single requests do; they stand by user, so a provider's are found by looking at
//! everybody's: some of them, and not for each who asks.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::Mutex;

use super::{Queries, QueryError};
use crate::domain::amount::Points;
use crate::domain::ids::Account;
use crate::domain::rating::is_successful;
use crate::domain::time::{DAY_MS, MINUTE_MS, Millis};
use crate::store::usage_list::{self, UsageRow, UsageSample};

/// How far back is looked.
const DAYS: i64 = 7;
/// So many rows are looked at, or a page of a scan more.
const ROWS: usize = 5_000;
/// So long an answer serves all providers: looking costs about as much as 600 reads.
const KEPT_MS: i64 = MINUTE_MS;

/// What requests of a provider came to that were for one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelLine {
    /// Their service.
    pub service: String,
    /// The model; `None` where requests named none.
    pub model: Option<String>,
    /// Its tier, as the newest of them was rated (chat).
    pub tier: Option<String>,
    /// How many.
    pub requests: u64,
    /// Those with status 200–299.
    pub successful: u64,
    /// What they earned: base points, without multipliers.
    pub points: Points,
    /// Sum of the latencies of successful ones that carry one, ms.
    latency_ms: u64,
    /// How many those are.
    timed: u64,
    newest: Option<Millis>,
}

impl ModelLine {
    /// Mean latency of the successful ones, ms.
    pub fn mean_latency_ms(&self) -> Option<u64> {
        self.latency_ms.checked_div(self.timed)
    }

    fn add(&mut self, line: &UsageRow) {
        self.requests += 1;
        if self.newest.is_none_or(|newest| newest <= line.time) {
            self.newest = Some(line.time);
            self.tier.clone_from(&line.tier);
        }
        if line.reversal.is_some() {
            return;
        }
        self.points = self.points.plus(line.provider_points);
        if is_successful(line.status_code) {
            self.successful += 1;
            self.timed += u64::from(line.latency_ms.is_some());
            self.latency_ms += line.latency_ms.unwrap_or(0);
        }
    }
}

/// A provider's requests of the last days, by model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelUse {
    /// How many days back was looked.
    pub days: i64,
    /// Whether all requests were looked at; else some of everybody's.
    pub is_whole: bool,
    /// How many rows, of all providers, were looked at.
    pub looked: usize,
    /// What most points came from stands first.
    pub lines: Vec<ModelLine>,
}

/// What was found the last time, of all providers.
#[derive(Debug, Default)]
pub(super) struct ModelCache(Mutex<Option<(Millis, Arc<OfAll>)>>);

#[derive(Debug)]
struct OfAll {
    is_whole: bool,
    looked: usize,
    by_provider: HashMap<String, Vec<ModelLine>>,
}

impl Queries {
    /// A provider's requests of the last week by model, at most a minute old. Where there are more
    /// rows than are looked at, some of them stand for all.
    pub async fn models_of(&self, provider: &Account, now: Millis) -> Result<ModelUse, QueryError> {
        let all = self.models(now).await?;
        Ok(ModelUse {
            days: DAYS,
            is_whole: all.is_whole,
            looked: all.looked,
            lines: all
                .by_provider
                .get(provider.id())
                .cloned()
                .unwrap_or_default(),
        })
    }

    /// Whoever asks while it is being looked waits for that look.
    async fn models(&self, now: Millis) -> Result<Arc<OfAll>, QueryError> {
        let mut found = self.models.0.lock().await;
        if let Some((at, all)) = &*found
            && (at.0..at.0 + KEPT_MS).contains(&now.0)
        {
            return Ok(Arc::clone(all));
        }
        let since = now.plus(-DAYS * DAY_MS);
        let sample = usage_list::sample(self.db(), since, ROWS, now).await?;
        let all = Arc::new(sum(&sample));
        *found = Some((now, Arc::clone(&all)));
        Ok(all)
    }
}

fn sum(sample: &UsageSample) -> OfAll {
    let mut sums: BTreeMap<(&str, &str, Option<&str>), ModelLine> = BTreeMap::new();
    for line in &sample.lines {
        if let Some(provider) = &line.provider_id {
            let key = (
                provider.as_str(),
                line.service.as_str(),
                line.model.as_deref(),
            );
            sums.entry(key).or_default().add(line);
        }
    }
    let mut by_provider: HashMap<String, Vec<ModelLine>> = HashMap::new();
    for ((provider, service, model), line) in sums {
        let lines = by_provider.entry(provider.to_owned()).or_default();
        lines.push(ModelLine {
            service: service.to_owned(),
            model: model.map(str::to_owned),
            ..line
        });
    }
    for lines in by_provider.values_mut() {
        // Stable: equal ones stay in the order of their names.
        lines.sort_by_key(|line| Reverse((line.points, line.requests)));
    }
    OfAll {
        is_whole: sample.is_whole,
        looked: sample.lines.len(),
        by_provider,
    }
}
