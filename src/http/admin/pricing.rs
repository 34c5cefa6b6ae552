//! `/api/admin/pricing`: prices and the switch between testnet and mainnet.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::publishing::{Mode, Wanted, in_force, json_of, of_faults, publish, to_come};
use super::rules::Depth;
use super::{At, note, reason};
use crate::domain::amount::Money;
use crate::domain::rules::{PriceKey, RuleFault, SettingKey};
use crate::http::Service;
use crate::http::access::{AdminRead, AdminWrite, May};
use crate::http::problem::Problem;
use crate::http::strict::{Asked, Exact, NoQuery, Strict};
use crate::store::pricing::{self, Version};

/// Why, where a body does not say.
const REASON_DEFAULT: &str = "not given";

/// A new price.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewPrice {
    /// Which: `tide_pool_input`, …, `embeddings`, `tts`, `scrape`.
    config_key: String,
    /// US dollars, as a number or a string, to the nano-dollar.
    #[schema(value_type = String)]
    price_per_unit: Exact<Money>,
    /// What it pays for: `1000_tokens`, `minute` or `request`, as the key has it.
    unit: String,
    /// Kept as a note in the audit trail; who made the change is told by the key.
    updated_by: Option<String>,
    /// From when on, in event time; now, if it is left out. Not in the past.
    #[schema(value_type = Option<String>, format = DateTime)]
    effective_from: Option<At>,
    /// Why.
    reason: Option<String>,
}

/// Which network's prices are charged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NetworkSwitch {
    /// Whether usage is charged.
    is_mainnet: bool,
    /// Kept as a note in the audit trail; who made the change is told by the key.
    updated_by: Option<String>,
    /// From when on, in event time; now, if it is left out. Not in the past.
    #[schema(value_type = Option<String>, format = DateTime)]
    effective_from: Option<At>,
    /// Why.
    reason: Option<String>,
}

/// The prices that are in force.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pricing {
    /// Whether usage is charged; null: nothing was published yet.
    is_mainnet: Option<bool>,
    /// Prices; charged on mainnet, and noted as what it would have cost on testnet.
    prices: Vec<PriceVersion>,
    /// Prices and switches that are to come, soonest first; of several that begin at one moment the one that will hold.
    pending: Vec<PriceVersion>,
    /// Every version of every price and of the switch, in the order in which they were published, those that begin later included; only
    /// with `history=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<PriceVersion>>,
}

/// A version, and what is to come for its key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PriceAnswer {
    /// The version.
    #[serde(flatten)]
    version: PriceVersion,
    /// Versions of this key that are to come, this one included if it is one of them; soonest first. To call one back, publish what shall hold in its
    /// place with the same `effectiveFrom`.
    pending: Vec<PriceVersion>,
}

/// A version of a price, or of the switch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PriceVersion {
    /// Which.
    config_key: String,
    /// US dollars for one unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    price_per_unit: Option<String>,
    /// What it pays for.
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    /// Of `system_mainnet`: whether usage is charged.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_mainnet: Option<bool>,
    /// 1, 2, 3, … of this key.
    version: u32,
    /// The entry of the control feed that published it.
    control: u64,
    /// From when on, in event time; null: from the beginning.
    effective_from: Option<String>,
    /// Who published it.
    updated_by: String,
    /// When.
    updated_at: String,
    /// Why.
    reason: String,
}

impl From<Version> for PriceVersion {
    fn from(version: Version) -> PriceVersion {
        let value = json_of(&version.value);
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        PriceVersion {
            price_per_unit: text("pricePerUnit"),
            unit: text("unit"),
            is_mainnet: value.as_bool(),
            config_key: version.key,
            version: version.version,
            control: version.control.0,
            effective_from: version.effective_from.map(|at| at.to_string()),
            updated_by: version.by,
            updated_at: version.written_at.to_string(),
            reason: version.reason,
        }
    }
}

fn is_price(version: &Version) -> bool {
    matches!(SettingKey::named(&version.key), Some(SettingKey::Price(_)))
}

fn is_switch(version: &Version) -> bool {
    version.key == SettingKey::Mainnet.name()
}

/// The prices that are in force now, and whether they are charged.
#[utoipa::path(get, path = "/api/admin/pricing", tag = "admin", security(("key" = ["admin:read"])), params(Depth),
    responses((status = 200, description = "Prices and the switch.", body = Pricing)))]
pub(super) async fn show(
    _: May<AdminRead>,
    State(service): State<Service>,
    Asked(depth): Asked<Depth>,
) -> Result<Json<Pricing>, Problem> {
    let now = service.clock.now();
    let current = in_force(&service, now).await?;
    let switch = current.iter().find(|version| is_switch(version));
    let is_mainnet = switch.and_then(|version| json_of(&version.value).as_bool());
    let prices = current.into_iter().filter(is_price).map(PriceVersion::from);
    let mut all = pricing::all(&*service.db).await?;
    all.retain(|version| is_price(version) || is_switch(version));
    let pending = to_come(&all, now).cloned().map(PriceVersion::from);
    Ok(Json(Pricing {
        is_mainnet,
        prices: prices.collect(),
        pending: pending.collect(),
        history: depth
            .history
            .then(|| all.into_iter().map(PriceVersion::from).collect()),
    }))
}

/// Sets a price. An event that is appended after the answer is rated with it, from `effectiveFrom` on; nothing that was rated changes.
/// A price that is in force then anyway is answered with the version that says so, and nothing is written: asking again is safe.
#[utoipa::path(post, path = "/api/admin/pricing", tag = "admin", security(("key" = ["admin:write"])),
    request_body(content = NewPrice, example = json!({"configKey": "tide_pool_input", "pricePerUnit": "0.0003", "unit": "1000_tokens",
        "updatedBy": "alice", "reason": "a test of the example"})),
    responses(
        (status = 200, description = "The version that is in force from then on, and what is to come for its key.", body = PriceAnswer),
        (status = 422, description = "The price cannot be used: `faults` says why.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn set_price(
    caller: May<AdminWrite>,
    State(service): State<Service>,
    _: NoQuery,
    Strict(body): Strict<NewPrice>,
) -> Result<Json<PriceAnswer>, Problem> {
    if !PriceKey::NAMES.contains(&body.config_key.as_str()) {
        let names = PriceKey::NAMES.join(", ");
        return Err(of_faults(&[RuleFault::new(
            body.config_key,
            "is no price",
            names,
        )]));
    }
    let value = json!({"pricePerUnit": body.price_per_unit.0.to_string(), "unit": body.unit});
    let wanted = wanted(body.reason, body.updated_by, body.effective_from)?;
    one(&service, &caller.0.by, &body.config_key, &value, wanted).await
}

/// Switches between testnet (nothing is charged) and mainnet. Asking again is safe.
#[utoipa::path(put, path = "/api/admin/pricing", tag = "admin", security(("key" = ["admin:write"])),
    request_body(content = NetworkSwitch, example = json!({"isMainnet": true, "updatedBy": "alice"})),
    responses(
        (status = 200, description = "The version of the switch that is in force from then on, and what is to come for it.", body = PriceAnswer),
        (status = 422, description = "The reason, the note or the time cannot be used.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn switch(
    caller: May<AdminWrite>,
    State(service): State<Service>,
    _: NoQuery,
    Strict(body): Strict<NetworkSwitch>,
) -> Result<Json<PriceAnswer>, Problem> {
    let value = Value::Bool(body.is_mainnet);
    let wanted = wanted(body.reason, body.updated_by, body.effective_from)?;
    let key = SettingKey::Mainnet.name();
    one(&service, &caller.0.by, key, &value, wanted).await
}

fn wanted(
    why: Option<String>,
    updated_by: Option<String>,
    effective_from: Option<At>,
) -> Result<Wanted, Problem> {
    Ok(Wanted {
        values: Vec::new(),
        effective_from,
        reason: reason(why.unwrap_or_else(|| REASON_DEFAULT.to_owned()))?,
        note: note(updated_by)?,
        mode: Mode::Write,
        onto: None,
    })
}

/// Publishes one value, and tells its version.
async fn one(
    service: &Service,
    by: &str,
    key: &str,
    value: &Value,
    wanted: Wanted,
) -> Result<Json<PriceAnswer>, Problem> {
    let values = vec![(key.to_owned(), value.to_string())];
    let published = publish(service, by, Wanted { values, ..wanted }).await?;
    let versions = pricing::history(&*service.db, key).await?;
    let pending = to_come(&versions, service.clock.now());
    let pending = pending.cloned().map(PriceVersion::from).collect();
    let version = match published.control {
        Some(control) => versions.into_iter().find(|v| v.control.0 == control),
        // Nothing was written: the value is in force then anyway.
        None => pricing::in_force_at(&versions, published.at).cloned(),
    };
    let answer = |version: Version| {
        Json(PriceAnswer {
            version: version.into(),
            pending,
        })
    };
    version.map(answer).ok_or_else(|| {
        tracing::error!(
            event = "http.version_missing",
            key,
            "a published version is not there"
        );
        Problem::internal()
    })
}
