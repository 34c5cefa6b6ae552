//! `tidemark pricing import`: prices of single models from a public list.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, IsTerminal as _};

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::args::ImportArgs;
use super::output::{Done, Failure, Out, counted};
use super::rules::{all_faults, refused};
use super::session::{Session, by};
use crate::domain::rules::{ModelPrice, SettingKey, check_value};
use crate::gateways::PriceList;
use crate::ops::random_name;
use crate::store::pricing::{self, NewValue, Publish};

/// Largest list: the public one has 2 MB.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Changes that are shown one by one.
const SHOWN_MAX: usize = 30;

/// Runs the command.
pub async fn run(session: &Session, args: &ImportArgs) -> Done {
    let list = read(args)?;
    let (db, key) = (session.db(), SettingKey::ModelPrices.name());
    let in_force = pricing::current(db, session.now()).await?;
    let current = in_force.iter().find(|version| version.key == key);
    let known = match current {
        Some(version) => ModelPrice::list(&version.value).map_err(|faults| all_faults(&faults))?,
        None => Vec::new(),
    };
    let plan = Plan::of(&known, &list.prices);
    let mut out = Out::new();
    plan.show(&mut out)?;
    show_left_out(&mut out, &list)?;
    if plan.is_empty() {
        out.line("every price of the list is in force already; nothing was published")?;
        return out.finish();
    }
    let text = serde_json::to_string(&plan.prices).map_err(Failure::failed)?;
    let value = check_value(key, &text).map_err(|faults| all_faults(&faults))?;
    if args.dry_run {
        out.line("dry run: nothing was published")?;
        return out.finish();
    }
    out.finish()?;
    if !args.yes {
        confirm()?;
    }
    let now = session.now();
    let markup = percent(args.markup.0);
    let publish = Publish {
        values: vec![NewValue {
            key: key.to_owned(),
            value,
        }],
        effective_from: now,
        by: by(),
        reason: format!(
            "tidemark pricing import ({}, markup {markup} %)",
            name_of(args)
        ),
        now,
        token: random_name(),
    };
    pricing::publish(db, &publish).await.map_err(refused)?;
    let mut out = Out::new();
    out.line(format!(
        "published {key}, valid from {now}: {}",
        counted(plan.prices.len() as u64, "model")
    ))?;
    out.finish()
}

fn name_of(args: &ImportArgs) -> String {
    let name = args.file.file_name().unwrap_or(args.file.as_os_str());
    name.to_string_lossy()
        .chars()
        .filter(|c| !c.is_control())
        .take(80)
        .collect()
}

/// Basis points as a percentage.
fn percent(basis_points: u32) -> String {
    let (whole, rest) = (basis_points / 100, basis_points % 100);
    match rest {
        0 => whole.to_string(),
        _ => format!("{whole}.{rest:02}"),
    }
}

fn read(args: &ImportArgs) -> Done<PriceList> {
    let shown = args.file.display();
    let cannot = |error| Failure::refused(format!("cannot read {shown}: {error}"));
    let bytes = std::fs::metadata(&args.file).map_err(cannot)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(Failure::refused(format!(
            "{shown} has {bytes} bytes; a price list has at most {FILE_BYTES_MAX}"
        )));
    }
    let text = std::fs::read_to_string(&args.file).map_err(cannot)?;
    let list = PriceList::read(&text, args.markup);
    let mut list = list.map_err(|error| Failure::refused(format!("{shown}: {error}")))?;
    if !args.only.is_empty() {
        let wanted = globs(&args.only)?;
        list.prices.retain(|price| wanted.is_match(price.name()));
    }
    if list.prices.is_empty() {
        return Err(Failure::refused(format!(
            "{shown} has no price of a model that is paid by the token{}",
            if args.only.is_empty() {
                ""
            } else {
                " and matches --only"
            }
        )));
    }
    Ok(list)
}

fn globs(patterns: &[String]) -> Done<GlobSet> {
    let mut globs = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = Glob::new(&pattern.to_lowercase());
        let wrong = |error| Failure::refused(format!("--only {pattern:?} is not a glob: {error}"));
        globs.add(glob.map_err(wrong)?);
    }
    globs.build().map_err(Failure::failed)
}

/// What an import changes.
struct Plan {
    /// The whole list as it would be.
    prices: Vec<ModelPrice>,
    added: Vec<ModelPrice>,
    /// Before and after.
    changed: Vec<(ModelPrice, ModelPrice)>,
    unchanged: usize,
    /// Models that the imported list does not name.
    kept: usize,
    /// Imported models that an earlier pattern matches, with that pattern: their prices would not count.
    hidden: Vec<(String, String)>,
}

impl Plan {
    /// Prices that are known keep their places, for the first that matches counts; new ones come behind.
    fn of(known: &[ModelPrice], imported: &[ModelPrice]) -> Plan {
        let by_name: BTreeMap<&str, &ModelPrice> =
            imported.iter().map(|price| (price.name(), price)).collect();
        let names: BTreeSet<&str> = known.iter().map(ModelPrice::name).collect();
        let (mut prices, mut changed, mut unchanged) = (Vec::new(), Vec::new(), 0);
        for before in known {
            match by_name.get(before.name()) {
                Some(after) if *after != before => {
                    changed.push((before.clone(), (*after).clone()));
                    prices.push((*after).clone());
                }
                Some(_) => {
                    unchanged += 1;
                    prices.push(before.clone());
                }
                None => prices.push(before.clone()),
            }
        }
        let is_new = |price: &&ModelPrice| !names.contains(price.name());
        let added: Vec<ModelPrice> = imported.iter().filter(is_new).cloned().collect();
        prices.extend(added.iter().cloned());
        Plan {
            hidden: hidden(&prices, &by_name),
            kept: known.len() - changed.len() - unchanged,
            prices,
            added,
            changed,
            unchanged,
        }
    }

    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty()
    }

    fn show(&self, out: &mut Out) -> Done {
        let added = self.added.iter().map(|price| {
            vec![
                "new".to_owned(),
                price.name().to_owned(),
                String::new(),
                price.summary(),
            ]
        });
        let changed = self.changed.iter().map(|(before, after)| {
            let name = after.name().to_owned();
            vec![
                "changed".to_owned(),
                name,
                before.summary(),
                after.summary(),
            ]
        });
        let rows: Vec<Vec<String>> = changed.chain(added).collect();
        if !rows.is_empty() {
            let shown = &rows[..rows.len().min(SHOWN_MAX)];
            out.table(
                &["", "model", "now, USD per 1,000 tokens", "with the import"],
                shown,
            )?;
            if rows.len() > shown.len() {
                out.line(format!("… and {} more", rows.len() - shown.len()))?;
            }
        }
        out.line(format!(
            "{} new, {} changed, {} as they are; {} not in the list, kept",
            self.added.len(),
            self.changed.len(),
            self.unchanged,
            self.kept
        ))?;
        if let Some((name, pattern)) = self.hidden.first() {
            out.line(format!(
                "warning: {} of the list will not count, because a pattern before them matches; the first: {name} ({pattern})",
                counted(self.hidden.len() as u64, "price")
            ))?;
        }
        Ok(())
    }
}

fn hidden(prices: &[ModelPrice], imported: &BTreeMap<&str, &ModelPrice>) -> Vec<(String, String)> {
    let mut patterns: Vec<(globset::GlobMatcher, &str)> = Vec::new();
    let mut hidden = Vec::new();
    for price in prices {
        if price.is_pattern() {
            let glob = Glob::new(price.name()).ok();
            patterns.extend(glob.map(|glob| (glob.compile_matcher(), price.name())));
        } else if imported.contains_key(price.name())
            && let Some((_, pattern)) = patterns
                .iter()
                .find(|(glob, _)| glob.is_match(price.name()))
        {
            hidden.push((price.name().to_owned(), (*pattern).to_owned()));
        }
    }
    hidden
}

fn show_left_out(out: &mut Out, list: &PriceList) -> Done {
    if let Some(first) = list.other_sellers.first() {
        out.line(format!(
            "left out: {} of other sellers that differ; the first: {first}",
            counted(list.other_sellers.len() as u64, "price")
        ))?;
    }
    if list.skipped > 0 {
        let skipped = counted(list.skipped, "model");
        out.line(format!(
            "left out: {skipped} that are not paid by the token"
        ))?;
    }
    Ok(())
}

fn confirm() -> Done {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::refused(
            "nothing was published: there is no terminal to confirm on; review with --dry-run, \
             then run with --yes",
        ));
    }
    eprintln!("Publish these prices? Type \"yes\" to continue:");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::failed(format!("cannot read the answer: {error}")))?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => Err(Failure::refused("nothing was published")),
    }
}
