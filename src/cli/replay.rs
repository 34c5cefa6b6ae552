//! `tidemark replay`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;

use super::args::ReplayArgs;
use super::engine;
use super::export::say_what_is_missing;
use super::output::{Done, Failure, Out, all_faults, counted};
use super::output_file::OutputFile;
use super::session::Session;
use crate::app::CommandError;
use crate::app::queries::{
    AccountChange, ChangedAccount, ChangesFile, EachAccount, ExportFormat, Forget, Pair,
    ReplayError, ReplayReport, ReplayRequest, StoredArchive, replay,
};
use crate::domain::ids::AccountKind;
use crate::domain::rules::{RuleBook, RulesDocument};
use crate::domain::time::Month;
use crate::ops::config::Config;

/// Accounts that are gathered before they are written.
const PIECE_ACCOUNTS: u64 = 4_096;

/// Runs `tidemark replay`.
pub async fn run(session: &Session, config: &Config, args: &ReplayArgs) -> Done {
    let rules = args.rules.as_deref().map(read_rules).transpose()?;
    let is_check = rules.is_none();
    let queries = Arc::new(session.queries());
    let book = queries.rule_book().await?;
    let archive = engine::archive_to_read(config, args.archive.as_ref()).await?;
    let archive = StoredArchive::new(archive, Handle::current());
    let coverage = queries.month_coverage(&archive, args.month, session.now());
    let request = ReplayRequest {
        coverage: coverage.await.map_err(CommandError::from)?,
        partial: args.partial,
        rules,
        memory_bytes: args.memory as usize * 1024 * 1024,
        top: args.top,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        records_max: None,
    };
    let accounts = match &args.output {
        None => None,
        Some(path) => Some(AccountsFile::create(path, args.exact_text, args.month)?),
    };
    let work = move || work(&archive, &book, &request, accounts);
    let report = tokio::task::spawn_blocking(work).await;
    let report = report.map_err(Failure::failed)??;
    let mut out = Out::new();
    match args.json {
        true => out.pretty_json(&report)?,
        false => show(&mut out, &report)?,
    }
    out.finish()?;
    say_what_is_missing(args.month, report.missing.as_deref(), report.up_to);
    match is_check && report.rows.changed > 0 {
        true => Err(Failure::failed(format!(
            "replay_differs: under the rules that there were, {} come to something other than was \
             posted; `tidemark audit findings` and `tidemark doctor` may say why",
            counted(report.rows.changed, "record")
        ))),
        false => Ok(()),
    }
}

fn read_rules(path: &Path) -> Done<RulesDocument> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::refused(format!("cannot read {name}: {error}")))?;
    RulesDocument::parse_toml(&name, &text).map_err(|faults| all_faults(&faults))
}

fn work(
    archive: &StoredArchive,
    book: &RuleBook,
    request: &ReplayRequest,
    accounts: Option<AccountsFile>,
) -> Done<ReplayReport> {
    let Some(mut accounts) = accounts else {
        return replay(archive, book, request, &mut Forget).map_err(failure);
    };
    let report = replay(archive, book, request, &mut accounts).map_err(failure)?;
    accounts.finish(report.missing.is_some())?;
    Ok(report)
}

fn failure(error: ReplayError) -> Failure {
    match error {
        ReplayError::Rules(faults) => all_faults(&faults),
        ReplayError::Query(error) => error.into(),
        ReplayError::Incomplete(error) => Failure::refused(error),
        error => Failure::failed(error),
    }
}

/// The file of every account.
struct AccountsFile {
    path: PathBuf,
    exact_text: bool,
    month: Month,
    file: OutputFile,
    changes: ChangesFile,
    pending: u64,
}

impl AccountsFile {
    fn create(path: &Path, exact_text: bool, month: Month) -> Done<AccountsFile> {
        let is_parquet = path.extension().is_some_and(|ending| ending == "parquet");
        let format = match is_parquet {
            true => ExportFormat::Parquet,
            false => ExportFormat::Csv,
        };
        Ok(AccountsFile {
            path: path.to_owned(),
            exact_text,
            month,
            file: OutputFile::create(Some(path))?,
            changes: ChangesFile::new(format, exact_text, month).map_err(Failure::failed)?,
            pending: 0,
        })
    }

    fn finish(mut self, is_partial: bool) -> Done {
        let rest = self.changes.end(is_partial).map_err(Failure::failed)?;
        self.file.write(&rest)?;
        self.file.finish()
    }
}

fn said(failure: Failure) -> String {
    match failure {
        Failure::Failed(why) | Failure::Refused(why) => why,
        Failure::Said(_) | Failure::ReaderGone => "cannot write the accounts".to_owned(),
    }
}

impl EachAccount for AccountsFile {
    fn restart(&mut self) -> Result<(), String> {
        let again = AccountsFile::create(&self.path, self.exact_text, self.month);
        *self = again.map_err(said)?;
        Ok(())
    }

    fn account(
        &mut self,
        kind: AccountKind,
        id: &str,
        change: &AccountChange,
    ) -> Result<(), String> {
        self.changes.account(kind, id, change);
        self.pending += 1;
        if self.pending < PIECE_ACCOUNTS {
            return Ok(());
        }
        self.pending = 0;
        let piece = self.changes.take().map_err(|error| error.to_string())?;
        self.file.write(&piece).map_err(said)
    }
}

fn show(out: &mut Out, report: &ReplayReport) -> Done {
    let rows = report.rows;
    out.line(format!(
        "{} of {} from {} in {}: {} booked late, {} taken back; {} would bring something else",
        counted(rows.sum(), "record"),
        report.month,
        counted(report.files, "file"),
        report.archive,
        rows.late,
        rows.reversals,
        rows.changed
    ))?;
    let totals = &report.totals;
    let line = |name: &str, before: String, after: String| vec![name.to_owned(), before, after];
    let points = |name, pair: Pair<crate::domain::amount::WidePoints>| {
        line(name, pair.before.to_string(), pair.after.to_string())
    };
    let dollars = |name, pair: Pair<crate::domain::amount::Money>| {
        line(name, pair.before.to_string(), pair.after.to_string())
    };
    out.table(
        &["sum over all accounts", ">before", ">after"],
        &[
            points("points of users", totals.user_points),
            points("points of providers", totals.provider_points),
            points("points of users' referrers", totals.user_referral_points),
            points(
                "points of providers' referrers",
                totals.provider_referral_points,
            ),
            dollars("charged, USD", totals.cost),
            dollars("mainnet would charge, USD", totals.shadow_cost),
        ],
    )?;
    let ranks = &report.ranks;
    for (title, accounts, is_cost) in [
        ("gain most points", &ranks.gain_points, false),
        ("lose most points", &ranks.lose_points, false),
        ("are charged more", &ranks.pay_more, true),
        ("are charged less", &ranks.pay_less, true),
    ] {
        if accounts.is_empty() {
            continue;
        }
        out.line("")?;
        let rows: Vec<Vec<String>> = accounts.iter().map(|of| columns(of, is_cost)).collect();
        out.table(&[title, "id", ">before", ">after"], &rows)?;
    }
    Ok(())
}

fn columns(of: &ChangedAccount, is_cost: bool) -> Vec<String> {
    let (before, after) = match is_cost {
        true => (of.cost.before.to_string(), of.cost.after.to_string()),
        false => (of.points.before.to_string(), of.points.after.to_string()),
    };
    vec![of.kind.to_string(), of.id.clone(), before, after]
}
