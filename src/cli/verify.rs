//! `tidemark verify`: compares account rows with the archive and the awards.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::args::VerifyArgs;
use super::engine;
use super::output::{Done, Failure, Out, counted};
use super::progress;
use super::session::Session;
use crate::app::queries::verify::{
    Difference, Progress, Share, ShareCounts, Verified, VerifyError, VerifyRequest,
};
use crate::domain::time::Month;
use crate::ops::config::Config;

/// A share of the accounts that was verified, as it stands in the file of `--resume`.
#[derive(Serialize, Deserialize)]
struct DoneShare {
    month: Option<String>,
    share: Share,
    /// Files of versions that did not count yet lack it: such a share is verified again.
    counts: ShareCounts,
    differences: Vec<ShownDifference>,
    skipped: Vec<SkippedAccount>,
}

/// An account that could not be compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SkippedAccount {
    account: String,
    /// Why.
    skipped: String,
}

/// A difference, as people and programs see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ShownDifference {
    account: String,
    month: String,
    field: String,
    stored: String,
    expected: String,
}

impl From<&Difference> for ShownDifference {
    fn from(found: &Difference) -> ShownDifference {
        ShownDifference {
            account: found.account.to_string(),
            month: found.month.to_string(),
            field: found.field.clone(),
            stored: found.stored.clone(),
            expected: found.expected.clone(),
        }
    }
}

/// Runs `tidemark verify`.
pub async fn run(session: &Session, config: &Config, args: &VerifyArgs) -> Done {
    let mut out = Out::new();
    let verified = verify(session, config, args, &mut out).await;
    let verified = match verified {
        Ok(verified) => verified,
        Err(failure) => {
            // What was found before it ended.
            out.finish()?;
            return Err(cannot_verify(failure));
        }
    };
    show(&mut out, args, &verified)?;
    out.finish()?;
    match verified.counts.differences {
        0 => Ok(()),
        _ => Err(Failure::Said(1)),
    }
}

/// What keeps it from looking is another exit code than what it finds.
fn cannot_verify(failure: Failure) -> Failure {
    match failure {
        Failure::Failed(why) => Failure::Refused(format!("verify cannot run: {why}")),
        other => other,
    }
}

/// Verifies, and shows what is found, also by the run that it continues.
async fn verify(
    session: &Session,
    config: &Config,
    args: &VerifyArgs,
    out: &mut Out,
) -> Done<Verified> {
    let archive = engine::archive_to_read(config, args.archive.as_ref()).await?;
    let done = match &args.resume {
        Some(path) => read_done(path, args.month)?,
        None => Vec::new(),
    };
    for done in &done {
        for difference in &done.differences {
            show_difference(out, args, difference)?;
        }
        for skipped in &done.skipped {
            show_skipped(out, args, skipped)?;
        }
    }
    let mut kept = args.resume.as_deref().map(open_done).transpose()?;
    let request = VerifyRequest {
        now: session.now(),
        month: args.month,
        done: done.iter().map(|done| (done.share, done.counts)).collect(),
        accounts_max: args.accounts_max.get(),
    };
    let bar = progress::bar(None, "requests");
    let (mut differences, mut skipped_accounts) = (Vec::new(), Vec::new());
    let mut failed = Ok(());
    let tell = |progress| {
        let told = match progress {
            Progress::Archived(read, all) => {
                bar.set_length(all);
                bar.set_position(read);
                Ok(())
            }
            Progress::Split(_) => {
                bar.set_position(0);
                Ok(())
            }
            Progress::Found(difference) => {
                let shown = ShownDifference::from(&*difference);
                let told = bar.suspend(|| show_difference(out, args, &shown));
                differences.push(shown);
                told
            }
            Progress::Skipped(account, why) => {
                let skipped = SkippedAccount {
                    account: account.to_string(),
                    skipped: why.to_owned(),
                };
                let told = bar.suspend(|| show_skipped(out, args, &skipped));
                skipped_accounts.push(skipped);
                told
            }
            Progress::Compared(share, counts) => {
                let done = DoneShare {
                    month: args.month.map(|month| month.to_string()),
                    share,
                    counts,
                    differences: std::mem::take(&mut differences),
                    skipped: std::mem::take(&mut skipped_accounts),
                };
                match &mut kept {
                    Some(file) => keep(file, &done),
                    None => Ok(()),
                }
            }
        };
        if failed.is_ok() {
            failed = told;
        }
    };
    let verified = session.queries().verify(&archive, &request, tell).await;
    bar.finish_and_clear();
    failed?;
    verified.map_err(|error| match error {
        // It ran to its end.
        VerifyError::NothingCompared(_) => Failure::refused(error),
        error => Failure::failed(error),
    })
}

fn show_skipped(out: &mut Out, args: &VerifyArgs, skipped: &SkippedAccount) -> Done {
    let SkippedAccount {
        account,
        skipped: why,
    } = skipped;
    match args.json {
        true => out.json(skipped),
        false => out.line(format!("{account}: not compared, because {why}")),
    }
}

fn show_difference(out: &mut Out, args: &VerifyArgs, found: &ShownDifference) -> Done {
    match args.json {
        true => out.json(found),
        false => out.line(format!(
            "{} {} {}: the row holds {}, expected {}",
            found.account, found.month, found.field, found.stored, found.expected
        )),
    }
}

fn show(out: &mut Out, args: &VerifyArgs, verified: &Verified) -> Done {
    let counts = verified.counts;
    let not_compared = verified.not_compared();
    if args.json {
        return out.json(&json!({
            "month": verified.month.map(|month| month.to_string()),
            "differences": counts.differences,
            "accounts": counts.accounts,
            "skipped": counts.skipped,
            "requests": counts.requests,
            "notCompared": not_compared,
            "firstMonth": verified.first.map(|month| month.to_string()),
            "monthsLeftOut": verified.left_out.keys().map(Month::to_string).collect::<Vec<_>>(),
            "lifetimeCompared": verified.is_whole,
        }));
    }
    for what in not_compared {
        out.line(what)?;
    }
    let of_month = verified.month.map(|month| format!(" of {month}"));
    out.line(format!(
        "{} compared with {}{} in the archive: {}",
        counted(counts.accounts, "account"),
        counted(counts.requests, "request"),
        of_month.unwrap_or_default(),
        match counts.differences {
            0 => "no difference".to_owned(),
            some => counted(some, "difference"),
        }
    ))
}

fn read_done(path: &Path, month: Option<Month>) -> Done<Vec<DoneShare>> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::refused(format!("{}: {error}", path.display()));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(&error)),
    };
    let mut done: Vec<DoneShare> = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(|error| failed(&error))?;
        // The last line of a run that was killed may be cut off.
        let Ok(share) = serde_json::from_str::<DoneShare>(&line) else {
            continue;
        };
        if share.month != month.map(|month| month.to_string()) {
            return Err(failed(
                &"this file is of another --month; name another file, or delete it",
            ));
        }
        // Two runs at once may have written it: what the later one found holds.
        done.retain(|known| known.share != share.share);
        done.push(share);
    }
    Ok(done)
}

fn open_done(path: &Path) -> Done<File> {
    let opened = File::options().create(true).append(true).open(path);
    opened.map_err(|error| Failure::refused(format!("{}: {error}", path.display())))
}

fn keep(file: &mut File, done: &DoneShare) -> Done {
    let line = serde_json::to_string(done).map_err(Failure::failed)?;
    // A line of a run that was killed may have no end.
    let written = write!(file, "\n{line}\n").and_then(|()| file.sync_data());
    written.map_err(Failure::failed)
}
