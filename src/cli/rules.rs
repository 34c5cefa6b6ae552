//! `tidemark pricing`: publishing and showing rules.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::args::{PricingCommand, RuleSet};
use super::output::{Done, Failure, Out, counted};
use super::session::{Session, by};
use crate::app::commands::Commands;
use crate::app::queries::{Version, json_of};
use crate::domain::position::Control;
use crate::domain::rules::{Network, RuleFault, RulesDocument, check_value};

/// Runs the command.
pub async fn run(session: &Session, command: &PricingCommand) -> Done {
    match command {
        PricingCommand::Init { set, replace } => init(session, *set, *replace).await,
        PricingCommand::Show { scheduled, json } => show(session, *scheduled, json.json).await,
        PricingCommand::Set(args) => super::price_set::run(session, args).await,
        PricingCommand::Import(args) => super::price_import::run(session, args).await,
        PricingCommand::Check { file, key } => check(file, key.as_deref()),
    }
}

/// Checks a file of rules, or of the value of one key.
pub fn check(file: &Path, key: Option<&str>) -> Done {
    let name = file.display().to_string();
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::refused(format!("cannot read {name}: {error}")))?;
    let checked = match key {
        None => RulesDocument::parse_toml(&name, &text).map(|document| document.changes().len()),
        Some(key) => check_value(key, &text).map(|_| 1),
    };
    let values = checked.map_err(|faults| {
        let lines: Vec<String> = faults
            .into_iter()
            .map(|fault| RuleFault {
                file: Some(name.clone()),
                ..fault
            })
            .map(|fault| fault.to_string())
            .collect();
        Failure::refused(lines.join("\n"))
    })?;
    let mut out = Out::new();
    out.line(format!(
        "{name} is valid: {}",
        counted(values as u64, "value")
    ))?;
    out.finish()
}

/// Publishes the testnet's rules if there are none at all; whether it did.
pub async fn publish_first(commands: &Commands) -> Done<bool> {
    Ok(commands.init_first_rules(&by()).await?)
}

async fn init(session: &Session, set: RuleSet, replace: bool) -> Done {
    let (commands, reason, by) = (session.commands(), "tidemark pricing init", by());
    let done = commands.init_rules(network(set), replace, reason, &by);
    let done = done.await?;
    let (file, now) = (done.file, done.effective_from);
    let mut out = Out::new();
    if done.published > 0 {
        let published = counted(done.published as u64, "value");
        out.line(format!(
            "{file} is in force: {published} published, effective {now} (first values: from the beginning)"
        ))?;
    } else if done.kept.is_empty() {
        out.line(format!("{file} is in force already; nothing was changed"))?;
    }
    if !done.kept.is_empty() {
        out.line(format!(
            "{} in force different from {file} and kept: {}. `--replace` publishes the file's values.",
            match done.kept.len() {
                1 => "1 value is".to_owned(),
                many => format!("{many} values are"),
            },
            done.kept.join(", ")
        ))?;
    }
    out.finish()
}

const fn network(set: RuleSet) -> Network {
    match set {
        RuleSet::Testnet => Network::Testnet,
        RuleSet::Mainnet => Network::Mainnet,
    }
}

async fn show(session: &Session, only_scheduled: bool, is_json: bool) -> Done {
    let (now, queries) = (session.now(), session.queries());
    let scheduled = queries.pending_rules(now).await?;
    let mut versions = match only_scheduled {
        true => scheduled.clone(),
        false => queries.rules_in_force(now).await?,
    };
    if !only_scheduled {
        versions.sort_by(|a, b| a.key.cmp(&b.key));
    }
    let mut out = Out::new();
    if is_json {
        let all: Vec<Shown> = versions.iter().map(Shown::from).collect();
        out.pretty_json(&all)?;
    } else if only_scheduled && versions.is_empty() {
        out.line("nothing is scheduled")?;
    } else if versions.is_empty() {
        out.line("no rules are published; run `tidemark pricing init testnet` (or mainnet)")?;
    } else {
        let rows: Vec<Vec<String>> = versions.iter().map(version_row).collect();
        let since = if only_scheduled { "from" } else { "since" };
        out.table(&["key", ">version", since, "value"], &rows)?;
        if !only_scheduled && !scheduled.is_empty() {
            out.line("")?;
            out.line("scheduled:")?;
            let rows: Vec<Vec<String>> = scheduled.iter().map(version_row).collect();
            out.table(&["key", ">version", "from", "value"], &rows)?;
        }
    }
    out.finish()
}

/// A version as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'v> {
    by: &'v str,
    control: Control,
    effective_from: Option<String>,
    key: &'v str,
    reason: &'v str,
    value: Value,
    version: u32,
    written_at: String,
}

impl<'v> From<&'v Version> for Shown<'v> {
    fn from(version: &'v Version) -> Shown<'v> {
        Shown {
            by: &version.by,
            control: version.control,
            effective_from: version.effective_from.map(|at| at.to_string()),
            key: &version.key,
            reason: &version.reason,
            value: json_of(&version.value),
            version: version.version,
            written_at: version.written_at.to_string(),
        }
    }
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
