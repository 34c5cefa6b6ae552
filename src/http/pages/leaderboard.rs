//! The leaderboard of users or providers.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::Pages;
use super::frame;
use super::visitor::Visitor;
use super::words::{
    account_path, counted, encoded, instant as written, month_word, number, season, shortened,
};
use crate::app::commands::season_not_frozen;
use crate::app::queries::{LeaderboardPage, Place};
use crate::domain::access::Scope;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::time::Month;
use crate::http::extract::QueryParams;
use crate::http::problem::Problem;

/// Places of a page.
const PLACES: usize = 25;

/// Which leaderboard, and which page of it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct LeaderboardQuery {
    kind: Option<AccountKind>,
    month: Option<Month>,
    #[serde(default)]
    after: u64,
    /// A season that was frozen, in place of a month.
    #[serde(default)]
    season: String,
}

/// `GET /leaderboard`.
pub(super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    QueryParams(wanted): QueryParams<LeaderboardQuery>,
) -> Result<Response, Problem> {
    let instant = pages.service.clock.now();
    let now = instant.month();
    let rules = pages.service.queries.rules().await?;
    let own = visitor.accounts();
    // Without a choice: what the visitor is.
    let usual = own
        .first()
        .map_or(AccountKind::User, |account| account.kind);
    let kind = wanted.kind.unwrap_or(usual);
    if !wanted.season.is_empty() {
        return of_season(&pages, &visitor, kind, &wanted.season).await;
    }
    let month = wanted.month.unwrap_or(now);
    let frozen = pages.service.queries.frozen_seasons().await?;
    let ranking = pages.service.queries.leaderboard(kind, month).await?;
    let page = ranking.page(wanted.after, PLACES);
    let mine: Vec<(&Account, Option<u64>)> = own
        .into_iter()
        .filter(|account| account.kind == kind)
        .map(|account| (account, ranking.rank(account.id())))
        .collect();
    let here = |after: u64| format!("/leaderboard?kind={kind}&month={month}&after={after}");
    let body = html! {
        div .head {
            h1 { "Leaderboard" }
            (picker(kind, month, now))
        }
        @if let Some(rules) = &rules { (season(rules.at(instant))) }
        @if !frozen.is_empty() {
            p .help {
                "Seasons that have ended: "
                @for name in &frozen {
                    a href=(format!("/leaderboard?kind={kind}&season={}", encoded(name))) { (name) } " "
                }
            }
        }
        @for (account, rank) in &mine {
            @if page.kept > 0 { (own_place(account, *rank, page.kept, &here)) }
        }
        div #live hx-get=(here(wanted.after)) hx-trigger="every 15s" hx-select="#live" hx-swap="outerHTML" {
            section .card aria-label="Places" {
                @if page.places.is_empty() && wanted.after > 0 {
                    p .empty { "No more places are kept: " (number(page.kept)) " in " (month_word(month)) "." }
                } @else if page.places.is_empty() {
                    p .empty { "No account has points in " (month_word(month)) " yet." }
                } @else {
                    (places(&visitor, &page))
                }
            }
            nav .pages aria-label="More places" {
                @if wanted.after > 0 {
                    a .button.second rel="prev" href=(here(wanted.after.saturating_sub(PLACES as u64))) { "Before" }
                }
                @if let Some(next) = page.next { a .button.second rel="next" href=(here(next)) { "After" } }
            }
        }
        p .help {
            "By points, awards included."
            @if page.kept > 0 { " " (counted(page.kept, "place")) " kept, all exact; there is no order beyond them." }
        }
    };
    Ok(frame::page(&visitor, "Leaderboard", &body))
}

fn picker(kind: AccountKind, month: Month, now: Month) -> Markup {
    html! {
        form .picker method="get" action="/leaderboard" {
            label for="kind" { "Of" }
            select #kind name="kind" {
                option value="user" selected[kind == AccountKind::User] { "Users" }
                option value="provider" selected[kind == AccountKind::Provider] { "Providers" }
            }
            (frame::month_field(month, now))
            button .second type="submit" { "Show" }
        }
    }
}

/// The leaderboard of a season, as it was frozen.
async fn of_season(
    pages: &Pages,
    visitor: &Visitor,
    kind: AccountKind,
    name: &str,
) -> Result<Response, Problem> {
    let boards = pages.service.queries.frozen_season(name).await?;
    let boards = boards.ok_or_else(|| season_not_frozen(name))?;
    let shown = match kind {
        AccountKind::User => &boards.users,
        AccountKind::Provider => &boards.providers,
    };
    let page = LeaderboardPage {
        kind,
        month: boards.from.month(),
        kept: shown.len() as u64,
        places: shown
            .iter()
            .map(|place| Place {
                rank: place.rank,
                kind,
                id: place.id.clone(),
                month: boards.from.month(),
                total: place.points,
            })
            .collect(),
        next: None,
    };
    let body = html! {
        div .head { h1 { (boards.name) } }
        p .help {
            "From " (written(boards.from)) " to " (written(boards.to))
            ": points of requests in the season, and shares of referrals' requests."
        }
        section .card aria-label="Places" { (places(visitor, &page)) }
    };
    Ok(frame::page(visitor, "Leaderboard", &body))
}

fn own_place(
    account: &Account,
    rank: Option<u64>,
    kept: u64,
    here: &impl Fn(u64) -> String,
) -> Markup {
    html! {
        p .note {
            strong { (account.id()) }
            @match rank {
                Some(rank) => {
                    " has place " strong { (number(rank)) } ". "
                    a href=(here((rank - 1) / PLACES as u64 * PLACES as u64)) { "Show it" }
                }
                None => { " is not in the top " (number(kept)) "." }
            }
        }
    }
}

/// Ids are whole to admins and to whom they belong; to others they are shortened.
fn places(visitor: &Visitor, page: &LeaderboardPage) -> Markup {
    let own = visitor.accounts();
    let is_admin = visitor.may(&Scope::AdminRead);
    let is_own = |place: &Place| {
        own.iter()
            .any(|account| account.kind == place.kind && account.id() == place.id)
    };
    html! {
        table {
            thead { tr {
                th .n.rank scope="col" { "Place" }
                th scope="col" { "Who" }
                th .n scope="col" { "Points" }
            } }
            tbody {
                @for place in &page.places {
                    @let mine = is_own(place);
                    tr .mine[mine] {
                        td .n.rank { (number(place.rank)) }
                        th scope="row" {
                            @if is_admin {
                                a href=(account_path(&Account::of_checked(place.kind, &place.id))) { (place.id) }
                            } @else if mine {
                                (place.id) " " span .chip { "You" }
                            } @else {
                                (shortened(&place.id))
                            }
                        }
                        td .n { (number(place.total)) }
                    }
                }
            }
        }
    }
}
