//! `tidemark pricing`: publishing and showing rules.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::args::{PricingCommand, RuleSet};
use super::output::{Done, Failure, Out, counted};
use super::session::{Session, by};
use crate::domain::rules::{Network, RuleFault, RulesDocument};
use crate::domain::time::Millis;
use crate::ops::clock::{Clock, SystemClock};
use crate::ops::random_name;
use crate::store::db::Db;
use crate::store::pricing::{self, NewValue, Publish, PublishError, Version};

/// Runs the command.
pub async fn run(session: &Session, command: &PricingCommand) -> Done {
    match command {
        PricingCommand::Init { set, replace } => init(session, *set, *replace).await,
        PricingCommand::Show(args) => show(session, args.json).await,
        PricingCommand::Import(args) => super::price_import::run(session, args).await,
    }
}

/// Publishes the testnet's rules if there are none at all; whether it did.
pub async fn publish_first(db: &dyn Db) -> Done<bool> {
    let now = SystemClock.now();
    let in_force = pricing::current(db, now).await?;
    if !in_force.is_empty() {
        return Ok(false);
    }
    let values = differences(in_force, RuleSet::Testnet)?.missing;
    publish_set(db, RuleSet::Testnet, values, now, "first start").await?;
    Ok(true)
}

async fn init(session: &Session, set: RuleSet, replace: bool) -> Done {
    let (db, now, file) = (session.db(), session.now(), file_of(set));
    let in_force = pricing::current(db, now).await?;
    let Differences { missing, otherwise } = differences(in_force, set)?;
    let (mut values, mut kept) = (missing, otherwise);
    if replace {
        values.append(&mut kept);
    }
    let count = values.len();
    publish_set(db, set, values, now, "tidemark pricing init").await?;
    let mut out = Out::new();
    if count > 0 {
        let published = counted(count as u64, "value");
        out.line(format!(
            "{file} is in force: {published} published, effective {now} (first values: from the beginning)"
        ))?;
    } else if kept.is_empty() {
        out.line(format!("{file} is in force already; nothing was changed"))?;
    }
    if !kept.is_empty() {
        let keys: Vec<&str> = kept.iter().map(|value| value.key.as_str()).collect();
        out.line(format!(
            "{} in force different from {file} and kept: {}. `--replace` publishes the file's values.",
            match kept.len() {
                1 => "1 value is".to_owned(),
                many => format!("{many} values are"),
            },
            keys.join(", ")
        ))?;
    }
    out.finish()
}

/// The values of a file that are not in force.
struct Differences {
    /// Of their keys there is no value.
    missing: Vec<NewValue>,
    /// Of their keys another value is in force.
    otherwise: Vec<NewValue>,
}

fn differences(in_force: Vec<Version>, set: RuleSet) -> Done<Differences> {
    let in_force: BTreeMap<String, String> = in_force
        .into_iter()
        .map(|version| (version.key, version.value))
        .collect();
    let changes = document(set)?.changes().into_iter();
    let (missing, otherwise) = changes
        .filter(|(key, value)| in_force.get(key) != Some(value))
        .map(|(key, value)| NewValue { key, value })
        .partition(|value| !in_force.contains_key(&value.key));
    Ok(Differences { missing, otherwise })
}

async fn publish_set(
    db: &dyn Db,
    set: RuleSet,
    values: Vec<NewValue>,
    now: Millis,
    reason: &str,
) -> Done {
    if values.is_empty() {
        return Ok(());
    }
    let publish = Publish {
        values,
        effective_from: now,
        by: by(),
        reason: format!("{reason} ({})", file_of(set)),
        now,
        token: random_name(),
    };
    pricing::publish(db, &publish).await.map_err(refused)?;
    Ok(())
}

pub(super) fn refused(error: PublishError) -> Failure {
    match error {
        PublishError::Store(error) => error.into(),
        PublishError::Faults(faults) => all_faults(&faults),
        other => Failure::refused(other),
    }
}

pub(super) fn all_faults(faults: &[RuleFault]) -> Failure {
    let lines: Vec<String> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
    Failure::refused(format!("the rules cannot be used:{}", lines.concat()))
}

const fn network(set: RuleSet) -> Network {
    match set {
        RuleSet::Testnet => Network::Testnet,
        RuleSet::Mainnet => Network::Mainnet,
    }
}

fn file_of(set: RuleSet) -> &'static str {
    network(set).document().0
}

fn document(set: RuleSet) -> Done<RulesDocument> {
    let (file, text) = network(set).document();
    RulesDocument::parse_toml(file, text).map_err(|faults| all_faults(&faults))
}

async fn show(session: &Session, is_json: bool) -> Done {
    let mut versions = pricing::current(session.db(), session.now()).await?;
    versions.sort_by(|a, b| a.key.cmp(&b.key));
    let mut out = Out::new();
    if is_json {
        let all: Vec<Value> = versions.iter().map(version_json).collect();
        out.pretty_json(&all)?;
    } else if versions.is_empty() {
        out.line("no rules are published; run `tidemark pricing init testnet` (or mainnet)")?;
    } else {
        let rows: Vec<Vec<String>> = versions.iter().map(version_row).collect();
        out.table(&["key", ">version", "since", "value"], &rows)?;
    }
    out.finish()
}

fn version_json(version: &Version) -> Value {
    let value: Value =
        serde_json::from_str(&version.value).unwrap_or_else(|_| json!(version.value));
    json!({
        "key": version.key,
        "version": version.version,
        "control": version.control,
        "effectiveFrom": version.effective_from.map(|at| at.to_string()),
        "value": value,
        "by": version.by,
        "reason": version.reason,
        "writtenAt": version.written_at.to_string(),
    })
}

fn version_row(version: &Version) -> Vec<String> {
    let since = version
        .effective_from
        .map_or_else(|| "the beginning".to_owned(), |at| at.to_string());
    vec![
        version.key.clone(),
        version.version.to_string(),
        since,
        version.value.clone(),
    ]
}
