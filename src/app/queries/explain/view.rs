//! The form of an explanation: what the API answers and `--json` prints.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::{optional_text, text};
use super::after::{CompletionStep, DayStep, ReversalSent, ReversalStep};
use super::shares::{Beneficiary, Floored};
use crate::domain::amount::{Money, Points};
use crate::domain::time::{Day, Millis, Month};

/// Why a request earned and cost what it did: every step of rating it, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// For whom: the ids of others are left out for users and providers.
    pub view: View,
    /// Who made the request; left out for providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// What the gateway reported.
    pub request: RequestFacts,
    /// How the service was found.
    pub service: ServiceStep,
    /// How the tier was found; `null` where no tier decides anything.
    pub tier: Option<TierFound>,
    /// The rules that were in force.
    pub rules: RulesStep,
    /// How the points were computed; `null` if nothing was earned.
    pub points: Option<PointsStep>,
    /// Everybody who got points for it.
    pub beneficiaries: Vec<Beneficiary>,
    /// How the cost was computed; `null` if nothing was charged. Left out for providers.
    pub cost: Option<CostStep>,
    /// Its position in the log, and what made it count.
    pub log: LogStep,
    /// Where it was booked.
    pub booking: BookingStep,
    /// What quality and streak do with it afterwards.
    pub days: Vec<DayStep>,
    /// The later report that completed it, if one did. Everything else here is about both together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion: Option<CompletionStep>,
    /// What took it back, if anything did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reversal: Option<ReversalStep>,
    /// A reversal that an admin has sent and that is not rated yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reversal_sent: Option<ReversalSent>,
    /// What was posted beside what the steps come to.
    pub sums: Vec<SumLine>,
    /// `explanation_differs` if the steps come to something other than was posted. That is a fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What differs, in sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
    /// All of it in plain sentences.
    pub text: Vec<Section>,
}

/// For whom an explanation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// Admins see everything.
    Admin,
    /// The user who made the request.
    User,
    /// The provider who served it.
    Provider,
}

/// Some sentences, and what they are about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ExplanationSection)]
#[serde(rename_all = "camelCase")]
pub struct Section {
    /// What about.
    pub title: &'static str,
    /// The sentences.
    pub sentences: Vec<String>,
}

/// What the gateway reported of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ExplainedRequest)]
#[serde(rename_all = "camelCase")]
pub struct RequestFacts {
    /// Who reported it.
    pub source: String,
    /// The report's id.
    pub id: String,
    /// When it was made.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub time: Millis,
    /// The path that was called.
    pub endpoint: String,
    /// The model.
    pub model: Option<String>,
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
    /// Whether the gateway's own total of tokens is not the sum of its parts; the parts were
    /// counted.
    pub odd_total: bool,
}

/// How the service was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStep {
    /// The service.
    pub name: String,
    /// The ending of the endpoint's path that decided it.
    pub ending: String,
    /// Whether the request was successful: only then it earns and costs.
    pub successful: bool,
}

/// How the tier of the model was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = TierStep)]
#[serde(rename_all = "camelCase")]
pub struct TierFound {
    /// The tier.
    pub tier: &'static str,
    /// `name`: an exact name of the catalogue. `pattern`: the first pattern that matches. `size`:
    /// the size in the name. `default`: nothing recognises the name. `no_model`: the event names
    /// none.
    pub by: &'static str,
    /// The spelling by which the model was recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recognised_as: Option<String>,
    /// The pattern of the catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// The pattern's place in the catalogue, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern_place: Option<usize>,
    /// Millions of parameters, by the size in the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub million_parameters: Option<u64>,
    /// The mark of four-bit quantisation in the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub four_bit_mark: Option<String>,
}

/// The rules that were in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RulesStep {
    /// The control position with which the request was rated: what was published later does not
    /// count.
    pub control: u64,
    /// The newest entry of the control feed up to it that changed rules.
    pub newest_change: u64,
    /// Since when these rules have been in force, in event time; `null`: from the beginning.
    #[serde(serialize_with = "optional_text")]
    #[schema(value_type = Option<String>)]
    pub since: Option<Millis>,
    /// The version of each key that decided something.
    pub versions: Vec<RuleUsed>,
}

/// A version of a key that decided something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleUsed {
    /// The key.
    pub key: &'static str,
    /// 1, 2, 3, … of this key.
    pub version: usize,
    /// The entry of the control feed that published it.
    pub control: u64,
    /// From when on, in event time; `null`: from the beginning.
    #[serde(serialize_with = "optional_text")]
    #[schema(value_type = Option<String>)]
    pub since: Option<Millis>,
}

/// How the points were computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PointsStep {
    /// What the base points are for: a tier, or a service.
    pub of: String,
    /// Base points.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub base: Points,
    /// The demand multiplier, basis points (10,000 = ×1).
    pub demand_bp: u32,
    /// The season, if there was one.
    pub season: Option<SeasonStep>,
    /// `floor(base × demand × season / 10^8)`.
    pub product: Floored,
    /// Of a service of its own that earns by the tier of the model: its own demand, and what that
    /// leaves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_demand: Option<ServiceDemand>,
    /// To the provider.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub provider: Points,
    /// The user's share of that, basis points; left out for providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_share_bp: Option<u32>,
    /// `floor(provider × share / 10^4)`: to the user; left out for providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Floored>,
}

/// A season.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeasonStep {
    /// Its name.
    pub name: String,
    /// Its first instant.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub from: Millis,
    /// The first instant after it.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub to: Millis,
    /// The multiplier, basis points.
    pub multiplier_bp: u32,
}

/// The demand multiplier of a service of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceDemand {
    /// Basis points.
    pub demand_bp: u32,
    /// `floor(product × demand / 10^4)`.
    pub product: Floored,
}

/// How the cost was computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostStep {
    /// `mainnet`: it was charged. `testnet`: it was only noted.
    pub network: &'static str,
    /// `model`: an entry of `rules.modelPrices`. `tier`: the tier's prices. `key`: the price of one
    /// key. `service`: the service's own, in `rules.services`. `none`: there is no price.
    pub prices_of: &'static str,
    /// The entry, tier, key or service.
    pub name: String,
    /// Each rounded down once, to a billionth of a dollar.
    pub lines: Vec<CostLine>,
    /// Charged, USD.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub cost: Money,
    /// What mainnet would have charged, USD.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub shadow_cost: Money,
}

/// Products that were added and rounded down once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostLine {
    /// What was multiplied.
    pub items: Vec<CostItem>,
    /// How much one price is for: 1,000 tokens, 60,000 ms, 1 request or image.
    pub unit: u64,
    /// `floor(Σ count × price / unit)`, USD.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub amount: Money,
}

/// So much of something, and its price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostItem {
    /// `input`, `cached_input`, `cache_write`, `output`, `reasoning`, `audio_millis`, `request`,
    /// `image`.
    pub what: &'static str,
    /// How much; what the gateway did not report counts as 0.
    pub count: u64,
    /// USD for one unit.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub price: Money,
}

/// The position of a request in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogStep {
    /// The partition of `usage.events`; not for providers, since it depends on the user's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// The offset. Of several copies, this one counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// The log's time at it.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub log_time: Millis,
    /// How much later than the request, ms.
    pub behind_ms: i64,
}

/// Where a request was booked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BookingStep {
    /// The day on which it was booked; `null` if it was late.
    #[serde(serialize_with = "optional_text")]
    #[schema(value_type = Option<String>)]
    pub booked_on: Option<Day>,
    /// The month in which it was booked as late.
    #[serde(serialize_with = "optional_text")]
    #[schema(value_type = Option<String>)]
    pub booked_late_in: Option<Month>,
    /// When the month of the request closed, or closes, in log time.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub month_closes: Millis,
}

/// What was posted beside what the steps come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SumLine {
    /// `provider`, `user`, `cost`, `shadow_cost`.
    pub what: &'static str,
    /// What was posted, as the request's row says: points, or USD.
    pub posted: String,
    /// What the steps above come to.
    pub computed: String,
}
