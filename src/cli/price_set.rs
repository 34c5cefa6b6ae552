//! `tidemark pricing set`: a new value of one price or rule.

use std::fs;

use super::args::SetArgs;
use super::output::{Done, Failure, Out};
use super::price_import::confirm;
use super::session::{Session, by};
use crate::app::commands::rules::{Mode, Published, RulesUpdate};
use crate::domain::rules::{PriceKey, SettingKey};

/// Runs the command.
pub async fn run(session: &Session, args: &SetArgs) -> Done {
    let value = value_of(args)?;
    let update = |mode| RulesUpdate {
        values: vec![(args.key.clone(), value.clone())],
        effective_from: args.from,
        reason: args.reason.clone(),
        note: None,
        by: by(),
        mode,
    };
    let commands = session.commands();
    // Before what is shown is read: what another admin publishes from here on is not overwritten.
    let confirmation = commands.confirmation_of(&args.key).await?;
    let planned = commands.publish_rules(update(Mode::DryRun)).await?;
    let mut out = Out::new();
    show(&mut out, &planned)?;
    if planned.changes.is_empty() {
        return out.finish();
    }
    if args.dry_run {
        out.line("dry run: nothing was published")?;
        return out.finish();
    }
    out.finish()?;
    if !args.yes {
        confirm("Publish this change?")?;
    }
    let published = commands.publish_confirmed(update(Mode::Write), &confirmation);
    let published = published.await?;
    let mut out = Out::new();
    let from = published.effective_from;
    out.line(match published.changes.is_empty() {
        false => format!("published {}, valid from {from}", args.key),
        true => "it was published meanwhile; nothing was changed".to_owned(),
    })?;
    out.finish()
}

/// The value as JSON text. That of a price may be its amount alone.
fn value_of(args: &SetArgs) -> Done<String> {
    if let Some(file) = &args.file {
        let shown = file.display();
        return fs::read_to_string(file)
            .map_err(|error| Failure::refused(format!("cannot read {shown}: {error}")));
    }
    let value = args.value.clone().unwrap_or_default();
    let price = PriceKey::ALL
        .into_iter()
        .find(|key| key.as_str() == args.key)
        .filter(|_| value.starts_with(|first: char| first.is_ascii_digit()));
    Ok(match price {
        Some(key) => {
            serde_json::json!({"pricePerUnit": value, "unit": key.unit().as_str()}).to_string()
        }
        None => value,
    })
}

fn show(out: &mut Out, planned: &Published) -> Done {
    for key in &planned.unchanged {
        out.line(format!(
            "{key} has this value at that time anyway; nothing is published"
        ))?;
    }
    for change in &planned.changes {
        for place in &change.differences {
            out.line(format!(
                "{}: {} → {}",
                place.path, place.before, place.after
            ))?;
        }
        if change.further_differences > 0 {
            out.line(format!("and {} more places", change.further_differences))?;
        }
    }
    for example in &planned.examples {
        let of = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        let (before, after) = (of(&example.before), of(&example.after));
        out.line(format!("  {}: {before} → {after}", example.what))?;
    }
    let mut keys = planned.changes.iter().map(|change| &change.key);
    if keys.any(|key| key == SettingKey::Providers.name()) {
        out.line(
            "it maps requests that are made from then on, at the earliest five seconds after it is \
             published; earlier requests keep their providers",
        )?;
    }
    Ok(())
}
