//! Publishing new values of rules: checked as a whole, compared with what is in force, and written if it is no dry run.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::difference::{Difference, Example, differences, examples};
use super::{At, refused};
use crate::domain::rules::{RuleFault, Rules, SettingKey, check_value};
use crate::domain::time::Millis;
use crate::http::Service;
use crate::http::problem::Problem;
use crate::ops::random_name;
use crate::store::pricing::{self, NewValue, Preview, Publish, PublishError, Seen, Version};

/// The code of what was decided looking at what is not so any more.
pub(in crate::http) const CHANGED_MEANWHILE: &str = "changed_meanwhile";

/// New values, from when on, and why.
pub(in crate::http) struct Wanted {
    /// Keys and their values as JSON text.
    pub values: Vec<(String, String)>,
    /// From when on; now, if nothing is said.
    pub effective_from: Option<At>,
    /// Why; checked.
    pub reason: String,
    /// What the body says of who made it; checked.
    pub note: Option<String>,
    /// Whether to write, or only to tell.
    pub mode: Mode,
    /// Of one value that follows what somebody looked at: what that was. Anything else in its place is `changed_meanwhile`.
    pub onto: Option<Onto>,
}

/// What a change of one key follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) struct Onto {
    /// What was seen of the key.
    pub seen: Seen,
    /// Names the publication, once and for all: sent twice, it is one.
    pub token: String,
}

/// Whether to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Mode {
    /// Check, compare, write.
    Write,
    /// Check and compare.
    DryRun,
}

/// What was published, or would be.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Published {
    /// Whether nothing was written because it was a dry run.
    pub dry_run: bool,
    /// The entry of the control feed that published it; absent if nothing was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<u64>,
    /// From when on, in event time. The first version of a key that rules must have has no beginning, whatever this says.
    pub effective_from: String,
    /// The same.
    #[serde(skip)]
    pub at: Millis,
    /// What is in force then without it, and with it.
    #[serde(skip)]
    pub rules: [Option<Arc<Rules>>; 2],
    /// What is new, by key.
    pub changes: Vec<KeyChange>,
    /// Keys whose value is in force then anyway; nothing is written for them.
    pub unchanged: Vec<String>,
    /// What comes out differently for single requests, once this is in force.
    pub examples: Vec<Example>,
}

/// The new value of one key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct KeyChange {
    /// The key.
    key: String,
    /// The version that is replaced; absent: this is the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<u32>,
    /// The value.
    value: Value,
    /// Where it differs from the version that is replaced; at most 200 places.
    differences: Vec<Difference>,
    /// How many places beyond those differ.
    #[serde(skip_serializing_if = "is_zero")]
    further_differences: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Checks everything, compares it with what is in force, and publishes what differs.
pub(in crate::http) async fn publish(
    service: &Service,
    by: &str,
    wanted: Wanted,
) -> Result<Published, Problem> {
    let now = service.clock.now();
    let token = wanted.onto.as_ref().map(|onto| onto.token.clone());
    let mut publish = Publish {
        values: checked(wanted.values)?,
        effective_from: wanted.effective_from.map_or(now, |At(at)| at),
        by: by.to_owned(),
        reason: wanted.reason,
        now,
        token: token.unwrap_or_else(random_name),
    };
    let preview = pricing::preview(&*service.db, &publish).await;
    let Preview { before, rules } = preview.map_err(of_publish)?;
    let mut unchanged = Vec::new();
    let mut changes = Vec::new();
    let values = std::mem::take(&mut publish.values);
    for (new, before) in values.into_iter().zip(before) {
        // A value that is in force at that moment anyway changes nothing by beginning then.
        if before
            .as_ref()
            .is_some_and(|before| before.value == new.value)
        {
            unchanged.push(new.key);
            continue;
        }
        changes.push(key_change(&new, before));
        publish.values.push(new);
    }
    let control = match wanted.mode {
        Mode::Write if !publish.values.is_empty() => {
            let (db, note) = (&*service.db, wanted.note.as_deref());
            let written = match wanted.onto {
                Some(onto) => pricing::publish_onto(db, &publish, onto.seen).await,
                None => pricing::publish_noted(db, &publish, note).await,
            };
            Some(written.map_err(of_publish)?.0)
        }
        _ => None,
    };
    Ok(Published {
        dry_run: wanted.mode == Mode::DryRun,
        control,
        effective_from: publish.effective_from.to_string(),
        at: publish.effective_from,
        changes,
        unchanged,
        examples: examples(rules[0].as_deref(), rules[1].as_deref()),
        rules,
    })
}

/// Every value in its canonical form; or every fault of all of them.
fn checked(values: Vec<(String, String)>) -> Result<Vec<NewValue>, Problem> {
    let mut faults = Vec::new();
    let mut good = Vec::new();
    for (key, value) in values {
        match check_value(&key, &value) {
            Ok(value) => good.push(NewValue { key, value }),
            Err(found) => faults.extend(found),
        }
    }
    if faults.is_empty() {
        Ok(good)
    } else {
        Err(of_faults(&faults))
    }
}

fn key_change(new: &NewValue, before: Option<Version>) -> KeyChange {
    let value = json_of(&new.value);
    let old = before.as_ref().map(|version| json_of(&version.value));
    let (differences, further_differences) =
        differences(&new.key, &old.unwrap_or_default(), &value);
    KeyChange {
        key: new.key.clone(),
        replaces: before.map(|version| version.version),
        value,
        differences,
        further_differences,
    }
}

/// The JSON of a stored value.
pub(in crate::http) fn json_of(value: &str) -> Value {
    // Canonical JSON, or it would not have been published.
    serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()))
}

/// Every fault, for the caller.
pub(super) fn of_faults(faults: &[RuleFault]) -> Problem {
    let detail =
        "the rules cannot be used; `faults` names every key with what is wrong and what is allowed";
    refused("invalid_rules", detail).of_faults(faults)
}

fn of_publish(error: PublishError) -> Problem {
    match error {
        PublishError::Store(error) => error.into(),
        PublishError::Faults(faults) => of_faults(&faults),
        PublishError::InThePast { .. } => refused("effective_from_in_the_past", error),
        PublishError::Values => {
            Problem::new(StatusCode::BAD_REQUEST, "no_values", error.to_string())
        }
        PublishError::Reason(error) => refused("invalid_reason", error),
        PublishError::Changed { .. } => {
            Problem::new(StatusCode::CONFLICT, CHANGED_MEANWHILE, error.to_string())
        }
    }
}

/// A version of a key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuleVersion {
    /// The key.
    key: String,
    /// 1, 2, 3, … of this key.
    version: u32,
    /// The entry of the control feed that published it.
    control: u64,
    /// From when on, in event time; null: from the beginning.
    effective_from: Option<String>,
    /// The value.
    value: Value,
    /// Who published it.
    updated_by: String,
    /// Why.
    reason: String,
    /// When it was written.
    updated_at: String,
}

impl From<Version> for RuleVersion {
    fn from(version: Version) -> RuleVersion {
        RuleVersion {
            value: json_of(&version.value),
            key: version.key,
            version: version.version,
            control: version.control.0,
            effective_from: version.effective_from.map(|at| at.to_string()),
            updated_by: version.by,
            reason: version.reason,
            updated_at: version.written_at.to_string(),
        }
    }
}

/// The versions that begin later than now, soonest first. Of several of one key that begin at one moment only the newest, which will hold.
/// `versions` in the order in which they were published.
pub(in crate::http) fn to_come(
    versions: &[Version],
    now: Millis,
) -> impl Iterator<Item = &Version> {
    let mut pending = BTreeMap::new();
    for version in versions {
        if let Some(at) = version.effective_from.filter(|at| *at > now) {
            pending.insert((at, &version.key), version);
        }
    }
    pending.into_values()
}

/// The versions that are in force now, in the order of [`SettingKey::all`].
pub(in crate::http) async fn in_force(
    service: &Service,
    now: Millis,
) -> Result<Vec<Version>, Problem> {
    let mut versions = pricing::current(&*service.db, now).await?;
    let place = |name: &str| SettingKey::all().position(|key| key.name() == name);
    versions.sort_by_key(|version| place(&version.key));
    Ok(versions)
}
