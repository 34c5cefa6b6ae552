//! Closing months: what it would pay is shown first, and the month is typed to confirm it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::frame::{self, month_field, token};
use super::super::visitor::{Form, Visitor};
use super::super::words::instant;
use super::super::{Pages, redirect};
use super::{PageQuery, page, page_of, refusal, writes};
use crate::app::closing::{ClosePreview, CloseState, CloseView};
use crate::app::words::tokens;
use crate::claims::{CloseTotals, Roots};
use crate::domain::closing::TermsText;
use crate::domain::time::Month;
use crate::http::admin::closes::{ClosePath, close_to_the_end};
use crate::http::download::{Downloader, download_closed};
use crate::http::extract::{PathParams, bad_query};
use crate::http::problem::Problem;

pub(super) const PATH: &str = "/admin/closes";

/// What was done just before.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct ClosesQuery {
    /// The month that was closed.
    done: Option<Month>,
}

/// What a form says.
struct Asked {
    month: String,
    by_point: bool,
    amount: String,
    decimals: String,
    kinds: String,
    minimum: String,
}

impl Asked {
    fn of(form: &Form) -> Asked {
        Asked {
            month: form.text("month").to_owned(),
            by_point: form.text("share") == "point",
            amount: form.text("amount").to_owned(),
            decimals: form.text("decimals").to_owned(),
            kinds: form.text("kinds").to_owned(),
            minimum: form.text("minimum").to_owned(),
        }
    }

    fn first(next: Month) -> Asked {
        Asked {
            month: next.to_string(),
            by_point: false,
            amount: String::new(),
            decimals: "18".to_owned(),
            kinds: "users,providers".to_owned(),
            minimum: String::new(),
        }
    }

    fn read(&self) -> Result<(Month, TermsText), Problem> {
        let month = self.month.parse();
        let month = month.map_err(|_| bad_query("choose a month such as 2026-10"))?;
        let decimals = self.decimals.parse();
        let decimals = decimals.map_err(|_| bad_query("decimals is a whole number, 0 to 36"))?;
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let (pool, tokens_per_point) = match self.by_point {
            true => (None, given(&self.amount)),
            false => (given(&self.amount), None),
        };
        let terms = TermsText {
            pool,
            tokens_per_point,
            decimals,
            kinds: given(&self.kinds),
            minimum: given(&self.minimum),
        };
        Ok((month, terms))
    }

    fn hidden(&self) -> Markup {
        html! {
            input type="hidden" name="month" value=(self.month);
            input type="hidden" name="share" value=(if self.by_point { "point" } else { "pool" });
            input type="hidden" name="amount" value=(self.amount);
            input type="hidden" name="decimals" value=(self.decimals);
            input type="hidden" name="kinds" value=(self.kinds);
            input type="hidden" name="minimum" value=(self.minimum);
        }
    }
}

/// `GET /admin/closes`.
pub(in super::super) async fn list(
    State(pages): State<Pages>,
    visitor: Visitor,
    PageQuery(wanted): PageQuery<ClosesQuery>,
) -> Result<Response, Problem> {
    let note = wanted
        .done
        .map(|month| frame::done(&format!("{month} is closed.")));
    let body = overview(&pages, &visitor, note, None).await?;
    Ok(page(&visitor, "Closes", PATH, &body))
}

async fn overview(
    pages: &Pages,
    visitor: &Visitor,
    note: Option<Markup>,
    asked: Option<Asked>,
) -> Result<Markup, Problem> {
    let closes = pages.service.closing.list().await?;
    let now = pages.service.clock.now().month();
    let newest = closes.first();
    let next = newest.map_or(Month(now.0 - 1), CloseView::next_to_close);
    let asked = asked.unwrap_or_else(|| Asked::first(next));
    Ok(html! {
        h1 { "Closes" }
        @if let Some(note) = note { (note) }
        p { "Closing a month fixes what each account is paid in tokens and writes the files from which it is claimed. \
             A month is closed once, in order, when nothing in it can change any more." }
        @for close in closes.iter().filter(|close| close.state == CloseState::Begun) {
            p .note.bad role="status" {
                "The close of " (close.month) " was begun by " (close.begun_by) " at " (instant(close.begun_at))
                " and is not finished. Close it again on the same terms, or run " code { "tidemark close " (close.month) } "."
            }
        }
        @if writes(visitor) { (form(visitor, &asked, now)) }
        (table(&closes))
    })
}

fn form(visitor: &Visitor, asked: &Asked, newest: Month) -> Markup {
    let kinds = [
        ("users,providers", "Users and providers"),
        ("providers", "Providers only"),
        ("users", "Users only"),
    ];
    let month = asked.month.parse().unwrap_or(newest);
    html! {
        section .card aria-labelledby="close-h" {
            h2 #close-h { "Close a month" }
            form .stack method="post" action=(format!("{PATH}/preview")) {
                (token(visitor))
                (month_field(month, newest))
                label for="share" { "Pay" }
                select #share name="share" {
                    option value="pool" selected[!asked.by_point] { "A pool, shared by points" }
                    option value="point" selected[asked.by_point] { "So many tokens per point" }
                }
                label for="amount" { "Whole tokens" }
                input #amount name="amount" inputmode="decimal" required autocomplete="off" value=(asked.amount);
                label for="decimals" { "Decimals of the token" }
                input #decimals name="decimals" inputmode="numeric" required autocomplete="off" value=(asked.decimals);
                label for="kinds" { "Who takes part" }
                select #kinds name="kinds" {
                    @for (value, name) in kinds {
                        option value=(value) selected[asked.kinds == value] { (name) }
                    }
                }
                label for="minimum" { "Least payment in whole tokens (optional)" }
                input #minimum name="minimum" inputmode="decimal" autocomplete="off" value=(asked.minimum);
                p .actions { button type="submit" { "Preview" } }
            }
        }
    }
}

fn table(closes: &[CloseView]) -> Markup {
    html! {
        section .card aria-labelledby="closed-h" {
            h2 #closed-h { "Closed months" }
            @if closes.is_empty() { p .empty { "No month was closed yet." } } @else {
                div .scroll tabindex="0" role="group" aria-label="Closed months, the newest first" {
                    table {
                        thead { tr {
                            th scope="col" { "Month" } th scope="col" { "State" }
                            th scope="col" .num { "Tokens paid" } th scope="col" { "By" }
                        } }
                        tbody {
                            @for close in closes { (row(close)) }
                        }
                    }
                }
            }
        }
    }
}

fn row(close: &CloseView) -> Markup {
    let paid = close.totals.as_ref();
    let paid = paid.map(|totals| tokens(&totals.paid, close.terms.decimals));
    html! {
        tr {
            td { a href=(format!("{PATH}/{}", close.month)) { (close.month) } }
            td { @match close.state { CloseState::Begun => "not finished", CloseState::Closed => "closed" } }
            td .num { (paid.as_deref().unwrap_or("–")) }
            td { (close.begun_by) }
        }
    }
}

fn sums(totals: &CloseTotals, decimals: u32) -> Markup {
    let amount = |units: &str| tokens(units, decimals);
    let rows = [
        ("Eligible points", totals.points.clone()),
        ("Tokens for them", amount(&totals.amount)),
        ("Left in the pool by rounding", amount(&totals.remainder)),
        ("Unpaid from earlier closes", amount(&totals.carried)),
        ("Paid now", amount(&totals.paid)),
        ("Waiting for a later close", amount(&totals.unpaid)),
        ("Accounts paid", totals.paid_accounts.to_string()),
        ("Addresses paid", totals.claims.to_string()),
        (
            "Accounts without a wallet",
            totals.without_wallet.to_string(),
        ),
        (
            "Accounts below the minimum",
            totals.below_minimum.to_string(),
        ),
        ("Accounts in debt", totals.in_debt.to_string()),
    ];
    html! {
        div .scroll tabindex="0" role="group" aria-label="Sums" {
            table {
                tbody {
                    @for (name, value) in rows { tr { th scope="row" { (name) } td .num { (value) } } }
                }
            }
        }
    }
}

fn terms(terms: &TermsText) -> Markup {
    html! {
        p {
            @if let Some(pool) = &terms.pool { "A pool of " strong { (pool) } " tokens, shared by points" }
            @if let Some(each) = &terms.tokens_per_point { strong { (each) } " tokens per point" }
            "; " (terms.decimals) " decimals; " (terms.kinds.as_deref().unwrap_or("users,providers"))
            @if let Some(minimum) = terms.minimum.as_deref().filter(|minimum| *minimum != "0") {
                "; payments of at least " (minimum)
            }
            "."
        }
    }
}

/// `POST /admin/closes/preview`.
pub(in super::super) async fn preview(
    State(pages): State<Pages>,
    visitor: Visitor,
    form: Form,
) -> Result<Response, Problem> {
    ask(&pages, &visitor, Asked::of(&form), None, StatusCode::OK).await
}

/// The page that asks for confirmation.
async fn ask(
    pages: &Pages,
    visitor: &Visitor,
    asked: Asked,
    note: Option<Markup>,
    status: StatusCode,
) -> Result<Response, Problem> {
    let previewed = match asked.read() {
        Ok((month, terms)) => {
            let previewed = pages.service.closing.preview(month, terms).await;
            previewed.map_err(Problem::from)
        }
        Err(problem) => Err(problem),
    };
    let shown = match previewed {
        Ok(shown) => shown,
        Err(problem) => return refused(pages, visitor, asked, problem).await,
    };
    let body = confirmation(visitor, &asked, &shown, note);
    Ok(page_of(status, visitor, "Close it?", PATH, &body))
}

fn confirmation(
    visitor: &Visitor,
    asked: &Asked,
    shown: &ClosePreview,
    note: Option<Markup>,
) -> Markup {
    let month = shown.month;
    html! {
        h1 { "Close " (month) "?" }
        @if let Some(note) = note { (note) }
        (terms(&shown.terms))
        section .card aria-labelledby="sums-h" {
            h2 #sums-h { "What it would pay" }
            (sums(&shown.totals, shown.terms.decimals))
            p .help { "Wallets are those that are linked at the moment of the close." }
            @if shown.is_first {
                p .note { "This would be the first close. Months before " (month) " could never be closed." }
            }
        }
        section .card aria-labelledby="confirm-h" {
            h2 #confirm-h { "Confirm" }
            p { "This cannot be undone: a month is closed once. Later corrections are taken off later months." }
            form .stack method="post" action=(PATH) {
                (token(visitor))
                (asked.hidden())
                label for="typed" { "Type " strong { (month) } " to confirm" }
                input #typed name="typed" required autocomplete="off" spellcheck="false" pattern=(month);
                p .actions {
                    button .danger type="submit" { "Close " (month) } " "
                    a .button.second href=(PATH) { "Cancel" }
                }
            }
        }
    }
}

async fn refused(
    pages: &Pages,
    visitor: &Visitor,
    asked: Asked,
    problem: Problem,
) -> Result<Response, Problem> {
    if !problem.is_about_input() {
        return Err(problem);
    }
    let body = overview(pages, visitor, Some(refusal(&problem)), Some(asked)).await?;
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Ok(page_of(status, visitor, "Closes", PATH, &body))
}

/// `POST /admin/closes`.
pub(in super::super) async fn close(
    State(pages): State<Pages>,
    visitor: Visitor,
    form: Form,
) -> Result<Response, Problem> {
    let asked = Asked::of(&form);
    if form.text("typed") != asked.month {
        let note = frame::not_done("Nothing was closed: the month was not typed exactly.");
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return ask(&pages, &visitor, asked, Some(note), status).await;
    }
    let closed = match asked.read() {
        Ok((month, terms)) => close_to_the_end(&pages.service, month, terms, visitor.by()).await,
        Err(problem) => Err(problem),
    };
    match closed {
        Ok(closed) => Ok(redirect(&format!("{PATH}?done={}", closed.month))),
        Err(problem) => refused(&pages, &visitor, asked, problem).await,
    }
}

/// `GET /admin/closes/{month}`.
pub(in super::super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    PathParams(month): PathParams<Month>,
) -> Result<Response, Problem> {
    let close = pages.service.closing.show(month).await?;
    let body = html! {
        h1 { "Close of " (month) }
        (terms(&close.terms))
        p .help { "Begun by " (close.begun_by) " at " (instant(close.begun_at)) ", with wallets as of entry " (close.control) " of the control feed." }
        @if let Some(totals) = &close.totals {
            section .card aria-labelledby="sums-h" {
                h2 #sums-h { "Sums" }
                (sums(totals, close.terms.decimals))
            }
        }
        @if let Some(roots) = &close.roots {
            section .card aria-labelledby="roots-h" {
                h2 #roots-h { "Merkle roots" }
                dl {
                    @for kind in Roots::FILES {
                        dt { (kind) } dd { code { (roots.of(kind).unwrap_or("nothing to claim")) } }
                    }
                }
            }
        }
        (files(&close))
    };
    Ok(page(&visitor, &format!("Close of {month}"), PATH, &body))
}

fn files(close: &CloseView) -> Markup {
    html! {
        section .card aria-labelledby="files-h" {
            h2 #files-h { "Files" }
            @if close.files.is_empty() { p .empty { "None yet: the close is not finished." } }
            ul {
                @for file in &close.files {
                    li {
                        a href=(format!("{PATH}/{}/{}", close.month, file.name)) download { (file.name) }
                        @if file.public { " – public" } @else { " – for admins" }
                    }
                }
            }
            p .help { "Check them with " code { "tidemark claims check close.json" } "." }
        }
    }
}

/// `GET /admin/closes/{month}/{file}`.
pub(in super::super) async fn file(
    State(pages): State<Pages>,
    PathParams(path): PathParams<ClosePath>,
) -> Result<Response, Problem> {
    let (month, kind) = path.parsed()?;
    download_closed(&pages.service, month, kind, Downloader::Admin).await
}
