//! What an account can claim on chain, and the download of its proofs.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::visitor::{PathAccount, Visitor};
use super::words::account_path;
use super::{Pages, frame};
use crate::app::closing::{AccountClaims, ClaimOfClose};
use crate::app::words::tokens;
use crate::domain::ids::Account;
use crate::domain::time::Month;
use crate::http::extract::QueryParams;
use crate::http::problem::Problem;

/// Which closes.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ClaimsQuery {
    before: Option<Month>,
}

/// `GET /users/{id}/claims`, `GET /providers/{id}/claims`.
pub(super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    PathAccount(account): PathAccount,
    QueryParams(asked): QueryParams<ClaimsQuery>,
) -> Result<Response, Problem> {
    let claims = pages
        .service
        .closing
        .claims_of(&account, asked.before)
        .await?;
    let body = page(&account, &claims, asked.before);
    Ok(frame::page(&visitor, "Claims", &body))
}

fn page(account: &Account, claims: &AccountClaims, before: Option<Month>) -> Markup {
    let path = account_path(account);
    let query = before
        .map(|month| format!("?before={month}"))
        .unwrap_or_default();
    let is_paid = claims
        .closes
        .iter()
        .any(|close| close.openzeppelin.is_some());
    html! {
        h1 { "Claims of " (frame::account_kind(account.kind)) " " span .id { (account.id()) } }
        p { a href=(path) { "Back to the account" } }
        section .card aria-labelledby="claims-h" {
            h2 #claims-h { "Closed months" }
            @if claims.closes.is_empty() {
                p .empty { "Nothing to claim yet. When a month is closed, its claims are shown here." }
            } @else {
                (table(&claims.closes))
            }
            @if is_paid || !claims.cumulative.is_empty() {
                p { a .button href=(format!("{path}/claims/proofs{query}")) download { "Download proofs" } }
                p .help { "The file holds what a claim contract asks for: address, amount and proof of each month." }
            }
            @if let Some(next) = claims.next { p { a href=(format!("{path}/claims?before={next}")) { "Earlier months" } } }
        }
    }
}

fn table(closes: &[ClaimOfClose]) -> Markup {
    html! {
        div .scroll.wide tabindex="0" role="group" aria-label="Claims, the newest month first" {
            table {
                thead { tr {
                    th scope="col" { "Month" } th scope="col" { "Status" } th scope="col" .num { "Points" }
                    th scope="col" .num { "Tokens" } th scope="col" .num { "Paid" } th scope="col" .num { "Waiting" }
                    th scope="col" { "Address" }
                } }
                tbody {
                    @for close in closes {
                        tr {
                            td { (close.month) }
                            td { (status(close)) (debts(close)) }
                            td .num { (close.eligible_points) }
                            td .num { (tokens(&close.amount, close.decimals)) }
                            td .num { (tokens(&close.paid, close.decimals)) }
                            td .num { (tokens(&close.unpaid, close.decimals)) }
                            td { @if let Some(address) = close.address { code { (address) } } @else { "–" } }
                        }
                    }
                }
            }
        }
    }
}

fn status(close: &ClaimOfClose) -> Markup {
    html! {
        @match close.status.as_str() {
            "claimable" => "Claimable",
            "no_wallet" => "No wallet linked: paid in a later close",
            "below_minimum" => "Below the minimum: paid in a later close",
            "debt" => "More points were reversed than earned",
            "excluded" => "This kind of account took no part",
            _ => "Nothing to claim",
        }
    }
}

/// Points of closed months that were reversed: they are taken off what is paid.
fn debts(close: &ClaimOfClose) -> Markup {
    let has = |points: &str| points != "0";
    html! {
        @if has(&close.debt_before) {
            span .help { "Reversed points of earlier months, taken off this month: " (close.debt_before) }
        }
        @if has(&close.debt) {
            span .help { "Reversed points, still to be taken off later months: " (close.debt) }
        }
    }
}

/// `GET /users/{id}/claims/proofs`, `GET /providers/{id}/claims/proofs`.
pub(super) async fn proofs(
    State(pages): State<Pages>,
    PathAccount(account): PathAccount,
    QueryParams(asked): QueryParams<ClaimsQuery>,
) -> Result<Response, Problem> {
    let claims = pages
        .service
        .closing
        .claims_of(&account, asked.before)
        .await?;
    let headers = [(
        header::CONTENT_DISPOSITION,
        "attachment; filename=\"claims.json\"",
    )];
    Ok((headers, Json(claims)).into_response())
}
