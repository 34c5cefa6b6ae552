//! `tidemark pricing import`: prices of single models from a public list.

use std::io::{BufRead as _, IsTerminal as _};

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::args::ImportArgs;
use super::output::{Done, Failure, Out, counted};
use super::session::{Session, by};
use crate::app::commands::rules::{Mode, PriceImport};
use crate::domain::rules::ModelPrice;
use crate::gateways::PriceList;

/// Largest list: the public one has 2 MB.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Changes that are shown one by one.
const SHOWN_MAX: usize = 30;

/// Runs the command.
pub async fn run(session: &Session, args: &ImportArgs) -> Done {
    let list = read(args)?;
    let commands = session.commands();
    let import = commands.plan_price_import(&list.prices).await?;
    let mut out = Out::new();
    show(&mut out, &import)?;
    show_left_out(&mut out, &list)?;
    if import.is_empty() {
        out.line("every price of the list is in force already; nothing was published")?;
        return out.finish();
    }
    let markup = percent(args.markup.0);
    let reason = format!(
        "tidemark pricing import ({}, markup {markup} %)",
        name_of(args)
    );
    let publish = |mode| commands.publish_price_import(&import, reason.clone(), by(), mode);
    publish(Mode::DryRun).await?;
    if args.dry_run {
        out.line("dry run: nothing was published")?;
        return out.finish();
    }
    out.finish()?;
    if !args.yes {
        confirm("Publish these prices?")?;
    }
    let published = publish(Mode::Write).await?;
    let mut out = Out::new();
    out.line(format!(
        "published, valid from {}: {} with prices of their own",
        published.effective_from,
        counted(import.prices.len() as u64, "model")
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

fn show(out: &mut Out, import: &PriceImport) -> Done {
    let row = |what: &str, name: &str, [before, after]: [String; 2]| {
        vec![what.to_owned(), name.to_owned(), before, after]
    };
    let changed = import.changed.iter().map(|(before, after)| {
        let prices = [before, after].map(ModelPrice::summary);
        row("changed", after.name(), prices)
    });
    let added = import.added.iter().map(|price| {
        let prices = [String::new(), price.summary()];
        row("new", price.name(), prices)
    });
    let rows: Vec<Vec<String>> = changed.chain(added).collect();
    if !rows.is_empty() {
        let shown = &rows[..rows.len().min(SHOWN_MAX)];
        let titles = ["", "model", "now, USD per 1,000 tokens", "with the import"];
        out.table(&titles, shown)?;
        if rows.len() > shown.len() {
            out.line(format!("… and {} more", rows.len() - shown.len()))?;
        }
    }
    out.line(format!(
        "{} new, {} changed, {} unchanged; {} that the list does not name, kept",
        import.added.len(),
        import.changed.len(),
        import.unchanged,
        import.kept
    ))?;
    if let Some(from) = import.replaced_from {
        out.line(format!(
            "warning: another version of these prices is published already and replaces them from {from} on"
        ))?;
    }
    if let Some((name, pattern)) = import.hidden.first() {
        out.line(format!(
            "warning: {} will not count, because an earlier pattern matches; the first: {name} ({pattern})",
            counted(import.hidden.len() as u64, "imported price")
        ))?;
    }
    Ok(())
}

fn show_left_out(out: &mut Out, list: &PriceList) -> Done {
    if let Some(first) = list.other_sellers.first() {
        out.line(format!(
            "left out: {} of other sellers that differ; the first: {first}",
            counted(list.other_sellers.len() as u64, "price")
        ))?;
    }
    if let Some(first) = list.free.first() {
        out.line(format!(
            "left out: {} at no price; the first: {first}",
            counted(list.free.len() as u64, "model")
        ))?;
    }
    if let Some(what) = &list.unreadable {
        out.line(format!("left out: an entry that cannot be read: {what}"))?;
    }
    if list.skipped > 0 {
        let skipped = counted(list.skipped, "model");
        out.line(format!(
            "left out: {skipped} not paid by the token, or without a price"
        ))?;
    }
    Ok(())
}

/// Asks on the terminal.
pub(super) fn confirm(question: &str) -> Done {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::refused(
            "nothing was published: there is no terminal to confirm on; review with --dry-run, \
             then run with --yes",
        ));
    }
    type_yes(question, "nothing was published")
}

/// Goes on only if "yes" is typed; else what did not happen.
pub(super) fn type_yes(question: &str, otherwise: &str) -> Done {
    eprintln!("{question} Type \"yes\" to continue:");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::failed(format!("cannot read the answer: {error}")))?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => Err(Failure::refused(otherwise)),
    }
}
