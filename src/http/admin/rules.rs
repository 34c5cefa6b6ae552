//! `/api/admin/rules`: every number that decides an amount, as versions; prices among them.

use std::collections::BTreeMap;
use std::fmt;

use axum::Json;
use axum::extract::State;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::At;
use crate::app::commands::rules::{Mode, Published, RulesUpdate};
use crate::app::queries::{RuleList, RuleVersion, in_force_at, known_rule};
use crate::http::ApiState;
use crate::http::caller::{AdminRead, AdminWrite, May};
use crate::http::extract::{JsonBody, PathParams, QueryParams, Verbatim};
use crate::http::problem::Problem;

/// What to tell of a key.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Depth {
    /// Every version, too.
    #[serde(default)]
    pub(super) history: bool,
}

/// One rule.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OneRule {
    /// The version that is in force now; null: there is none yet.
    current: Option<RuleVersion>,
    /// Every version, oldest first, those that begin later included; only with `history=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<RuleVersion>>,
}

/// Whether to write.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(super) struct Run {
    /// Check and compare only; write nothing.
    #[serde(default)]
    dry_run: bool,
}

impl Run {
    const fn mode(&self) -> Mode {
        if self.dry_run {
            Mode::DryRun
        } else {
            Mode::Write
        }
    }
}

/// A new value of one key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewRule {
    /// The value, in the form of the rules documents (config/rules).
    #[schema(value_type = serde_json::Value)]
    value: Verbatim,
    /// From when on, in event time; now, if it is left out. Not in the past.
    #[schema(value_type = Option<String>, format = DateTime)]
    effective_from: Option<At>,
    /// Why.
    reason: String,
}

/// New values of several keys.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewRules {
    /// Values by key; up to a whole document. All of them begin together, or none.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    #[serde(deserialize_with = "each_once")]
    values: BTreeMap<String, Verbatim>,
    /// From when on, in event time; now, if it is left out. Not in the past.
    #[schema(value_type = Option<String>, format = DateTime)]
    effective_from: Option<At>,
    /// Why.
    reason: String,
}

/// A map that names no key twice: it could mean either.
fn each_once<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Verbatim>, D::Error> {
    struct EachOnce;
    impl<'de> Visitor<'de> for EachOnce {
        type Value = BTreeMap<String, Verbatim>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("values by key")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut values = BTreeMap::new();
            while let Some((key, value)) = map.next_entry::<String, Verbatim>()? {
                if values.contains_key(&key) {
                    return Err(A::Error::custom(format!("the key {key} appears twice")));
                }
                values.insert(key, value);
            }
            Ok(values)
        }
    }
    deserializer.deserialize_map(EachOnce)
}

/// The rules that are in force now: prices, the switch of the network, and every other number that
/// decides an amount.
#[utoipa::path(get, path = "/api/admin/rules", tag = "admin", security(("key" = ["admin:read"])),
    responses((status = 200, description = "The version of each key that is in force.", body = RuleList)))]
pub(super) async fn list(
    _: May<AdminRead>,
    State(service): State<ApiState>,
) -> Result<Json<RuleList>, Problem> {
    let now = service.clock.now();
    Ok(Json(service.queries.rule_list(now).await?))
}

/// One rule, and its history.
#[utoipa::path(get, path = "/api/admin/rules/{key}", tag = "admin", security(("key" = ["admin:read"])),
    params(("key" = String, Path, description = "The key.", example = "rules.streak"), Depth),
    responses(
        (status = 200, description = "The rule.", body = OneRule),
        (status = 404, description = "Unknown key.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    PathParams(key): PathParams<String>,
    QueryParams(depth): QueryParams<Depth>,
) -> Result<Json<OneRule>, Problem> {
    known_rule(&key)?;
    let versions = service.queries.rule_history(&key).await?;
    let current = in_force_at(&versions, service.clock.now()).cloned();
    let all = || versions.into_iter().map(RuleVersion::from).collect();
    Ok(Json(OneRule {
        current: current.map(RuleVersion::from),
        history: depth.history.then(all),
    }))
}

/// Publishes a new value of one rule; with `dryRun=true` it only says what would change. Events
/// appended after the answer are rated with it, from `effectiveFrom` on.
#[utoipa::path(put, path = "/api/admin/rules/{key}", tag = "admin", security(("key" = ["admin:write"])),
    params(("key" = String, Path, description = "The key.", example = "rules.awards"), Run),
    request_body(content = NewRule,
        example = json!({"value": {"trial": "10", "signup": "100", "milestone": "50"}, "reason": "a test of the example"})),
    responses(
        (status = 200, description = "What was published, or would be.", body = Published),
        (status = 404, description = "Unknown key.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The value cannot be used: `faults` names everything that is wrong.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn publish_one(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    PathParams(key): PathParams<String>,
    QueryParams(run): QueryParams<Run>,
    JsonBody(body): JsonBody<NewRule>,
) -> Result<Json<Published>, Problem> {
    known_rule(&key)?;
    let update = RulesUpdate {
        values: vec![(key, body.value.get().to_owned())],
        effective_from: body.effective_from.map(|At(at)| at),
        reason: body.reason,
        note: None,
        by: caller.0.by,
        mode: run.mode(),
    };
    Ok(Json(service.commands.publish_rules(update).await?))
}

/// Publishes new values of several rules together, up to a whole document; with `dryRun=true` it
/// only says what would change.
#[utoipa::path(post, path = "/api/admin/rules", tag = "admin", security(("key" = ["admin:write"])), params(Run),
    request_body(content = NewRules,
        example = json!({"values": {"system_mainnet": false, "scrape": {"pricePerUnit": "0.001", "unit": "request"}}, "reason": "a test of the example"})),
    responses(
        (status = 200, description = "What was published, or would be.", body = Published),
        (status = 422, description = "A value cannot be used: `faults` names everything that is wrong.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn publish_all(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    QueryParams(run): QueryParams<Run>,
    JsonBody(body): JsonBody<NewRules>,
) -> Result<Json<Published>, Problem> {
    let text = |(key, value): (String, Verbatim)| (key, value.get().to_owned());
    let update = RulesUpdate {
        values: body.values.into_iter().map(text).collect(),
        effective_from: body.effective_from.map(|At(at)| at),
        reason: body.reason,
        note: None,
        by: caller.0.by,
        mode: run.mode(),
    };
    Ok(Json(service.commands.publish_rules(update).await?))
}
