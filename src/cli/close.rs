//! `tidemark close`.

use std::sync::Arc;

use super::args::CloseArgs;
use super::engine;
use super::output::{Done, Failure, Out};
use super::session::{Session, by};
use crate::app::Refusal;
use crate::app::closing::{CloseState, CloseView, Closing};
use crate::app::words::tokens;
use crate::claims::{CloseTotals, Roots};
use crate::domain::closing::TermsText;
use crate::ops::clock::SystemClock;
use crate::ops::config::Config;
use crate::ops::metrics::Metrics;

/// Closing, as configured.
pub async fn closing(session: &Session, config: &Config) -> Done<Closing> {
    let files = engine::closing(config).await?;
    let queries = Arc::new(session.queries());
    let metrics = Arc::new(Metrics::new());
    Ok(Closing::new(queries, Arc::new(SystemClock), metrics, files))
}

/// Runs `tidemark close`.
pub async fn run(session: &Session, config: &Config, args: &CloseArgs) -> Done {
    let closing = closing(session, config).await?;
    let Some(month) = args.month else {
        return list(&closing, args.json).await;
    };
    let terms = terms(args);
    if args.preview {
        let terms = terms.ok_or_else(|| {
            let why = "a preview needs --pool or --tokens-per-point, and --decimals";
            Failure::with_code(Refusal::invalid("pool_or_tokens_per_point", why))
        })?;
        let preview = closing.preview(month, terms).await;
        let preview = preview.map_err(Failure::with_code)?;
        let mut out = Out::new();
        if args.json {
            out.pretty_json(&preview)?;
            return out.finish();
        }
        out.line(format!("{month} would pay (nothing was written):"))?;
        sums(&mut out, &preview.totals, preview.terms.decimals)?;
        if preview.is_first {
            out.line(format!(
                "This would be the first close: months before {month} could never be closed."
            ))?;
        }
        return out.finish();
    }
    let closed = closing.close(month, terms, &by()).await;
    show(&closed.map_err(Failure::with_code)?, args.json)
}

/// `None`: those with which the close was begun.
fn terms(args: &CloseArgs) -> Option<TermsText> {
    args.pool.as_ref().or(args.tokens_per_point.as_ref())?;
    Some(TermsText {
        pool: args.pool.clone(),
        tokens_per_point: args.tokens_per_point.clone(),
        decimals: args.decimals?,
        kinds: args.kinds.clone(),
        minimum: args.minimum.clone(),
    })
}

fn show(closed: &CloseView, is_json: bool) -> Done {
    let mut out = Out::new();
    if is_json {
        out.pretty_json(closed)?;
        return out.finish();
    }
    out.line(format!("{} is closed:", closed.month))?;
    if let Some(totals) = &closed.totals {
        sums(&mut out, totals, closed.terms.decimals)?;
    }
    if let Some(roots) = &closed.roots {
        for kind in Roots::FILES {
            let (name, root) = (kind.to_string(), roots.of(kind));
            let root = root.unwrap_or("nothing to claim");
            out.line(format!("  root of {name:<18} {root}"))?;
        }
    }
    out.finish()
}

fn sums(out: &mut Out, totals: &CloseTotals, decimals: u32) -> Done {
    let amount = |units: &str| tokens(units, decimals);
    let lines = [
        ("eligible points", totals.points.clone()),
        ("tokens for them", amount(&totals.amount)),
        ("left in the pool", amount(&totals.remainder)),
        ("unpaid before", amount(&totals.carried)),
        ("paid now", amount(&totals.paid)),
        ("waiting", amount(&totals.unpaid)),
        ("accounts paid", totals.paid_accounts.to_string()),
        ("addresses paid", totals.claims.to_string()),
        ("without a wallet", totals.without_wallet.to_string()),
        ("below the minimum", totals.below_minimum.to_string()),
        ("in debt", totals.in_debt.to_string()),
    ];
    let mut lines = lines.iter();
    lines.try_for_each(|(name, value)| out.line(format!("  {name:<18} {value}")))
}

async fn list(closing: &Closing, is_json: bool) -> Done {
    let closes = closing.list().await?;
    let mut out = Out::new();
    if is_json {
        out.pretty_json(&closes)?;
        return out.finish();
    }
    let row = |close: &CloseView| {
        let paid = close.totals.as_ref();
        let paid = paid.map(|totals| tokens(&totals.paid, close.terms.decimals));
        vec![
            close.month.to_string(),
            match close.state {
                CloseState::Begun => "begun, not finished".to_owned(),
                CloseState::Closed => "closed".to_owned(),
            },
            paid.unwrap_or_else(|| "-".to_owned()),
            close.begun_by.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = closes.iter().map(row).collect();
    out.table(&["month", "state", "tokens paid", "by"], &rows)?;
    if let Some(newest) = closes.first() {
        out.line(format!("next: {}", newest.next_to_close()))?;
    }
    out.finish()
}
