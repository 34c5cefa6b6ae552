//! `tidemark statement`, `tidemark leaderboard` and `tidemark usage`.

use super::args::{LeaderboardArgs, StatementArgs, UsageArgs};
use super::output::{Done, Failure, Out};
use super::progress;
use super::session::Session;
use crate::app::queries::{Place, Statements, UsageLine};
use crate::domain::ids::{Account, AccountKind};

/// Runs `tidemark statement`.
pub async fn statements(session: &Session, args: &StatementArgs) -> Done {
    let now = session.now();
    let month = args.month.unwrap_or_else(|| now.month());
    let queries = session.queries();
    let statements = queries.statements(month, now).await?;
    match (args.kind, &args.id) {
        (Some(kind), Some(id)) => {
            let account = Account::new(kind, id).map_err(Failure::refused)?;
            one(&statements, &account, args.json).await
        }
        _ => all(&statements).await,
    }
}

async fn one(statements: &Statements<'_>, account: &Account, is_json: bool) -> Done {
    let statement = statements.of(account).await?.ok_or_else(|| {
        Failure::failed(format!(
            "{} {} has no activity in {}; ids are case-sensitive, and new events take a moment to \
             appear (see `tidemark wait`)",
            account.kind,
            account.id(),
            statements.month()
        ))
    })?;
    let mut out = Out::new();
    if is_json {
        out.json(&statement)?;
    } else {
        out.line(statement.to_string().trim_end())?;
    }
    out.finish()
}

async fn all(statements: &Statements<'_>) -> Done {
    let mut out = Out::new();
    let bar = progress::beside_output(None, "accounts");
    let mut unreadable = Vec::new();
    for kind in AccountKind::ALL {
        let mut after = None;
        loop {
            let page = statements.page(kind, after).await?;
            let found = page.statements.iter();
            found.clone().try_for_each(|found| out.json(found))?;
            bar.inc(found.len() as u64);
            unreadable.extend(page.unreadable);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    bar.finish_and_clear();
    out.finish()?;
    if unreadable.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = unreadable.iter().map(Account::to_string).collect();
    Err(Failure::failed(format!(
        "the rows of {} accounts in {} cannot be read, so their statements are missing: {}. Restore \
         the rows; `tidemark set-aside list` shows accounts that wait for that",
        names.len(),
        statements.month(),
        names.join(", ")
    )))
}

/// Runs `tidemark leaderboard`.
pub async fn leaderboard(session: &Session, args: &LeaderboardArgs) -> Done {
    let month = args.month.unwrap_or_else(|| session.now().month());
    let kind = args.kind.kind();
    let places = session.queries().leaderboard(kind, month).await?;
    let places = places.places(0, args.top);
    let mut out = Out::new();
    if args.json {
        places.iter().try_for_each(|place| out.json(place))?;
    } else if places.is_empty() {
        out.line(format!("no {kind} has points in {month}"))?;
    } else {
        let row = |place: &Place| {
            vec![
                place.rank.to_string(),
                place.id.clone(),
                place.total.to_string(),
            ]
        };
        let rows: Vec<Vec<String>> = places.iter().map(row).collect();
        out.table(&[">rank", kind.as_str(), ">points"], &rows)?;
    }
    out.finish()
}

/// Runs `tidemark usage`.
pub async fn usage(session: &Session, args: &UsageArgs) -> Done {
    let user = Account::new(AccountKind::User, &args.id).map_err(Failure::refused)?;
    let day = args.day.unwrap_or_else(|| session.now().day());
    let lines = session.queries().usage(&user, day, session.now()).await?;
    let mut out = Out::new();
    if args.json {
        lines.iter().try_for_each(|line| out.json(line))?;
    } else if lines.is_empty() {
        out.line(format!("user {} has no requests on {day}", args.id))?;
    } else {
        let rows: Vec<Vec<String>> = lines.iter().map(columns).collect();
        out.table(&TITLES, &rows)?;
    }
    out.finish()
}

/// Titles of [`columns`].
const TITLES: [&str; 10] = [
    "time",
    "service",
    "model",
    "provider",
    ">status",
    ">ms",
    ">points",
    ">cost",
    "id",
    "reversed by",
];

fn columns(line: &UsageLine) -> Vec<String> {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        line.time.to_string(),
        line.service.clone(),
        or_dash(&line.model),
        or_dash(&line.provider_id),
        line.status_code.to_string(),
        or_dash(&line.latency_ms.map(|ms| ms.to_string())),
        line.user_points.to_string(),
        line.cost.to_string(),
        line.id.clone(),
        line.reversal
            .as_ref()
            .map_or_else(String::new, |reversal| reversal.id.clone()),
    ]
}
