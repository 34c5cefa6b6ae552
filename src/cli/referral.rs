//! `tidemark referral`: codes, signups, and the links of a marketplace that moves in.

use std::path::Path;

use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::json;

use super::args::ReferralCommand;
use super::lines::{self, Taken};
use super::output::{Done, Failure, Out, counted};
use super::progress;
use super::session::{Session, by};
use crate::app::commands::{Commands, Imported, LINKS_MAX, NewLink, NewSignup, Referrer, Repeat};
use crate::domain::ids::{Account, check_new_id};
use crate::domain::referral::SignupRefusal;

/// Longest line of an import.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Runs the command.
pub async fn run(session: &Session, command: &ReferralCommand) -> Done {
    match command {
        ReferralCommand::Code { account, json } => {
            code(
                session,
                &account.account().map_err(Failure::refused)?,
                *json,
            )
            .await
        }
        ReferralCommand::Signup {
            account,
            code,
            json,
        } => {
            let referee = account.account().map_err(Failure::refused)?;
            sign_up(session, referee, code, *json).await
        }
        ReferralCommand::Import { file, no_awards } => import(session, file, *no_awards).await,
    }
}

async fn code(session: &Session, owner: &Account, is_json: bool) -> Done {
    check_new_id(owner.id()).map_err(Failure::refused)?;
    let commands = session.commands();
    let code = commands.referral_code(owner, Some(&by())).await?;
    let mut out = Out::new();
    if is_json {
        out.json(&code)?;
    } else {
        let state = if code.active { "" } else { ", switched off" };
        let signups = counted(code.signups, "signup");
        out.line(format!("{} ({signups}{state})", code.code))?;
    }
    out.finish()
}

async fn sign_up(session: &Session, referee: Account, code: &str, is_json: bool) -> Done {
    check_new_id(referee.id()).map_err(Failure::refused)?;
    let signup = NewSignup {
        referrer: Referrer::Code(code.to_owned()),
        referee,
        repeat: Repeat::Never,
        paid_elsewhere: false,
        by: Some(by()),
    };
    let link = session.commands().sign_up(signup).await?;
    let mut out = Out::new();
    if is_json {
        out.json(&json!({"referee": link.referee, "chain": link.chain, "control": link.control}))?;
    } else {
        let chain: Vec<String> = link.chain.iter().map(ToString::to_string).collect();
        out.line(format!(
            "{} is referred by {}",
            link.referee,
            chain.join(", who is referred by ")
        ))?;
    }
    out.finish()
}

/// A line of an import.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportLine {
    referee: Account,
    referrer: Account,
}

/// How an import goes.
struct Import<'s> {
    commands: &'s Commands,
    no_awards: bool,
    bar: &'s ProgressBar,
    /// Lines that wait to be imported together, and their numbers.
    waiting: Vec<(u64, NewLink)>,
    made: u64,
    known: u64,
    refused: u64,
}

async fn import(session: &Session, file: &Path, no_awards: bool) -> Done {
    let (queries, commands) = (session.queries(), session.commands());
    if !no_awards {
        // Before anything is read: without rules nothing can be paid.
        queries.rules_needed().await?;
    }
    let mut reader = lines::open(file)?;
    let bar = progress::bar(None, "lines");
    let mut import = Import {
        commands: &commands,
        no_awards,
        bar: &bar,
        waiting: Vec::new(),
        made: 0,
        known: 0,
        refused: 0,
    };
    let mut number = 0;
    let unreadable = |error| Failure::failed(format!("cannot read {}: {error}", file.display()));
    while let Some(taken) = lines::next(&mut *reader, LINE_BYTES_MAX).map_err(unreadable)? {
        number += 1;
        match parse(&taken) {
            Ok(Some(line)) => import.add(number, line).await?,
            Ok(None) => bar.inc(1),
            Err(why) => {
                // What is wrong is told in the order of the lines.
                import.send().await?;
                bar.inc(1);
                import.refuse(number, &format!("malformed: {why}"));
            }
        }
    }
    import.send().await?;
    bar.finish_and_clear();
    let mut out = Out::new();
    out.line(format!(
        "{} created, {} already present, {} refused",
        counted(import.made, "link"),
        import.known,
        counted(import.refused, "line")
    ))?;
    out.finish()?;
    if import.refused > 0 {
        return Err(Failure::Said(2));
    }
    Ok(())
}

fn parse(taken: &Taken) -> Result<Option<ImportLine>, String> {
    match taken {
        Taken::TooLong => Err(format!("the line is longer than {LINE_BYTES_MAX} bytes")),
        Taken::Line(line) if line.is_empty() => Ok(None),
        Taken::Line(line) => serde_json::from_slice(line).map(Some).map_err(|error| {
            format!(
                "{error}; a line is {{\"referee\":[\"user\",\"b\"],\"referrer\":[\"user\",\"a\"]}}"
            )
        }),
    }
}

impl Import<'_> {
    async fn add(&mut self, number: u64, line: ImportLine) -> Done {
        let ImportLine { referee, referrer } = line;
        self.waiting.push((number, NewLink { referee, referrer }));
        match self.waiting.len() {
            LINKS_MAX.. => self.send().await,
            _ => Ok(()),
        }
    }

    /// Imports the lines that wait. Importing a file again, after an interruption say, finds its
    /// own links.
    async fn send(&mut self) -> Done {
        let (numbers, links): (Vec<u64>, Vec<NewLink>) = self.waiting.drain(..).unzip();
        if links.is_empty() {
            return Ok(());
        }
        let imported = self.commands.import_links(links, self.no_awards, by());
        for (number, imported) in numbers.into_iter().zip(imported.await?) {
            self.bar.inc(1);
            match imported {
                Imported::Made(_) => self.made += 1,
                Imported::Known => self.known += 1,
                Imported::Refused(refusal) => {
                    let why = format!("{}: {}", refusal.code(), of_accounts(&refusal));
                    self.refuse(number, &why);
                }
            }
        }
        Ok(())
    }

    fn refuse(&mut self, number: u64, why: &str) {
        self.bar.suspend(|| eprintln!("line {number}: {why}"));
        self.refused += 1;
    }
}

/// A refusal in words for a line that names two accounts, and no code.
fn of_accounts(refusal: &SignupRefusal) -> String {
    match refusal {
        SignupRefusal::OwnCode => {
            "referee and referrer have the same id; an account cannot refer itself, as a user or as \
             a provider"
                .to_owned()
        }
        SignupRefusal::Cycle(referee) => format!(
            "{referee} is among the referrers of its referrer; referrals cannot form a cycle"
        ),
        SignupRefusal::AlreadyReferred(before) => format!(
            "the referee was already referred by {before}; a referrer is set once and never changed"
        ),
        // These two speak of codes, which a line has none of: they cannot come up here.
        SignupRefusal::UnknownCode | SignupRefusal::InactiveCode => refusal.to_string(),
    }
}
