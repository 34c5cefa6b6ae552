//! Closes that are not finished, and files of closed months that are gone.

use std::time::Duration;

use super::findings::{Cause, Findings};
use crate::app::closing::{last_closed_and_unfinished, missing_files};
use crate::cli::engine;
use crate::cli::output::{Done, Failure, counted};
use crate::cli::session::Session;
use crate::domain::time::{MINUTE_MS, Month};
use crate::ops::config::Config;

/// A million accounts are closed in about a minute.
const CLOSE_MS_MAX: i64 = 10 * MINUTE_MS;
/// How long the place of the files may take to list them.
const LISTED_WITHIN: Duration = Duration::from_secs(10);
/// Files that are named one by one.
const NAMED_MAX: usize = 5;

/// Looks for a close that was begun a while ago, because whoever began it did not come to its end;
/// and for the files of those that are finished.
pub async fn look(session: &Session, config: &Config, findings: &mut Findings) -> Done {
    let (closed, unfinished) = last_closed_and_unfinished(session.db()).await?;
    if let Some((month, since)) = unfinished
        && session.now().0 - since.0 > CLOSE_MS_MAX
    {
        findings.fault(
            Cause::CloseUnfinished,
            format!(
                "The close of {month} was begun at {since} and is not finished, so its claims are not \
                 published and no later month can be closed. Finish it: tidemark close {month} \
                 (docs/runbook.md#tidemarkcloseunfinished)"
            ),
        );
    }
    if closed.is_some() {
        files(session, config, findings).await;
    }
    Ok(())
}

async fn files(session: &Session, config: &Config, findings: &mut Findings) {
    let looked = async {
        let Some(files) = engine::closing_to_read(config).await? else {
            return Err(Failure::refused("closing.location is not set here"));
        };
        let missing = missing_files(session.db(), &files).await?;
        Ok::<_, Failure>((files.place().to_owned(), missing))
    };
    let unread = match tokio::time::timeout(LISTED_WITHIN, looked).await {
        Ok(Ok((place, missing))) => {
            if missing.is_empty() {
                findings.note(format!("The files of all closed months are in {place}."));
                return;
            }
            let names = missing.iter().take(NAMED_MAX).map(ToString::to_string);
            let names: Vec<String> = names.collect();
            let more = if missing.len() > NAMED_MAX {
                ", ..."
            } else {
                ""
            };
            let mut months: Vec<Month> = missing.iter().map(|name| name.month).collect();
            months.dedup();
            let commands = months.iter().map(|month| format!("tidemark close {month}"));
            let commands: Vec<String> = commands.collect();
            findings.fault(
                Cause::CloseFiles,
                format!(
                    "{} of closed months {} gone from {place} or cut short, so that claims and proofs \
                     cannot be read: {}{more}. They are written again by: {} \
                     (docs/runbook.md#tidemarkclosefilesmissing)",
                    counted(missing.len() as u64, "file"),
                    if missing.len() == 1 { "is" } else { "are" },
                    names.join(", "),
                    commands.join(", ")
                ),
            );
            return;
        }
        Ok(Err(Failure::Failed(why) | Failure::Refused(why))) => why,
        Ok(Err(failure)) => format!("{failure:?}"),
        Err(_) => format!("no answer within {} s", LISTED_WITHIN.as_secs()),
    };
    findings.fault(
        Cause::CloseFiles,
        format!(
            "Cannot check from here whether the files of closed months are there: {unread} \
             (docs/runbook.md#tidemarkclosefilesmissing)"
        ),
    );
}
