//! The form of what became of a request after it was rated.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::text;
use super::super::usage::{CompletionOfRequest, ReversalOfRequest};
use super::shares::Beneficiary;
use crate::domain::amount::Points;
use crate::domain::time::{Day, Millis};

/// What the day of an account does with the points of its requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DayStep {
    /// User or provider.
    pub kind: &'static str,
    /// Who.
    pub id: String,
    /// The day.
    #[schema(value_type = String)]
    pub day: Day,
    /// What all requests of the day earned.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub base: Points,
    /// A provider's quality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<QualityStep>,
    /// What quality adds to the day, or takes away.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub multiplier: Points,
    /// Active days in a row that end on this day; 0 if it is not active.
    pub streak_days: u32,
    /// The streak's multiplier, basis points.
    pub streak_bp: u32,
    /// What the streak adds to the day.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub streak: Points,
    /// A user's points for first uses of services on that day.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub trial: Points,
    /// What quality and streak add to this request's points alone. The day is rounded once, over
    /// all its requests.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub for_this_request: Points,
}

/// How well a provider's day was served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QualityStep {
    /// Requests of the day that count, successful and failed.
    pub requests: u64,
    /// Requests from which on quality counts.
    pub requests_min: u64,
    /// The share of successful requests, basis points.
    pub uptime_ratio_bp: Option<u64>,
    /// Its multiplier, basis points.
    pub uptime_bp: u32,
    /// Latency as a share of its target, basis points.
    pub latency_ratio_bp: Option<u64>,
    /// Its multiplier, basis points.
    pub latency_bp: u32,
}

/// What completed a request, and what it had come to before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CompletionStep {
    /// The completion.
    #[serde(flatten)]
    pub completion: CompletionOfRequest,
    /// To the provider, by the first report alone.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub provider_before: Points,
    /// To the user; left out for providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_before: Option<String>,
    /// Charged, or noted on testnet, USD; left out for providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_before: Option<String>,
}

/// What took a request back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReversalStep {
    /// The reversal.
    #[serde(flatten)]
    pub reversal: ReversalOfRequest,
    /// The admin who asked for it, for admins only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What it took back, from everybody.
    pub took_back: Vec<Beneficiary>,
    /// What it took back of the cost, USD; left out for providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub cost: Option<String>,
}

/// A reversal that was sent and is not rated yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReversalSent {
    /// Its idempotency key.
    pub key: String,
    /// Why.
    pub reason: String,
    /// Who asked for it, for admins only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub at: Millis,
}
