//! A user's page.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::Pages;
use super::request::request_path;
use super::requests;
use super::subject::Subject;
use super::visitor::Visitor;
use super::words::{headline, instant, number, service_word};
use crate::app::queries::{CreditLine, CreditSums, LedgerOrder, UsageLine};
use crate::domain::amount::Money;
use crate::domain::statement::Earned;
use crate::http::problem::Problem;

/// How many requests are shown.
const REQUESTS: u32 = 25;
/// How many credits are shown; all of them count.
const CREDITS: usize = 5;

/// What a user's page shows of the month.
pub(super) async fn live(
    pages: &Pages,
    visitor: &Visitor,
    subject: &Subject,
) -> Result<Markup, Problem> {
    let queries = &pages.service.queries;
    let user = &subject.account;
    let last = queries.credit_page(user, LedgerOrder::NewestFirst, None, CREDITS);
    let last = last.await?.map(|page| page.entries).unwrap_or_default();
    let sums = queries.credit_sums(user).await?;
    let days = subject.statement.days.iter();
    let days = days.filter(|(_, line)| line.outcomes.requests > 0);
    let days = days.map(|(day, _)| *day);
    let requests = queries.last_requests(&subject.account, days, REQUESTS, subject.now);
    let requests = requests.await?;
    Ok(html! {
        div .cards {
            (subject.summary())
            div .column {
                (subject.streak_card())
                (credits_card(subject, &sums, &last, &requests))
            }
        }
        (subject.chart())
        (subject.services())
        (requests_card(visitor, subject, &requests))
    })
}

/// Why a balance is below zero, if it is.
pub(super) fn overdrawn(sums: &CreditSums) -> Markup {
    html! {
        @if sums.is_overdrawn() {
            p .warn {
                @if sums.spent > Money::ZERO { "Overdrawn: more was used than there was credit for." }
                @else { "Below zero: more was taken back than was added." }
            }
        }
    }
}

fn credits_card(
    subject: &Subject,
    sums: &CreditSums,
    last: &[CreditLine],
    requests: &[UsageLine],
) -> Markup {
    let charge = match subject.statement.earned {
        Earned::User { charge, .. } => charge,
        Earned::Provider { .. } => Default::default(),
    };
    let is_testnet = !subject.rules.is_mainnet();
    html! {
        section .card aria-labelledby="credits-h" {
            h2 #credits-h { "Credits" @if subject.month != subject.now.month() { ", today" } }
            (headline(sums.balance(), "USD"))
            (overdrawn(sums))
            @if is_testnet {
                p .help { "On testnet nothing is charged. What mainnet would have charged is recorded." }
            }
            dl .facts {
                div { dt { "Added" } dd .n { (number(sums.added)) " USD" } }
                div { dt { "Spent, ever" } dd .n { (number(sums.spent)) " USD" } }
                div { dt { "Spent this month" } dd .n #month-cost { (number(charge.cost)) " USD" } }
                @if charge.shadow != Money::ZERO {
                    div { dt { "Would have been charged this month" } dd .n { (number(charge.shadow)) " USD" } }
                }
            }
            (spent_on(requests))
            (entries(last, sums.entries))
        }
    }
}

/// What the requests that are shown have cost, by service and model.
fn spent_on(requests: &[UsageLine]) -> Markup {
    let mut sums: BTreeMap<(&str, &str), Money> = BTreeMap::new();
    for line in requests.iter().filter(|line| line.reversal.is_none()) {
        let model = line.model.as_deref().unwrap_or("");
        let sum = sums.entry((&line.service, model)).or_default();
        *sum = sum.plus(line.cost);
    }
    sums.retain(|_, sum| *sum != Money::ZERO);
    html! {
        @if !sums.is_empty() {
            h3 { "Spent on, in the requests below" }
            table {
                thead .sr { tr { th scope="col" { "What" } th .n scope="col" { "USD" } } }
                tbody {
                    @for ((service, model), sum) in sums {
                        tr { th scope="row" { (service_word(service)) " " span .model { (model) } } td .n { (number(sum)) " USD" } }
                    }
                }
            }
        }
    }
}

/// The newest entries, of so many.
fn entries(entries: &[CreditLine], count: u64) -> Markup {
    let before = count.saturating_sub(entries.len() as u64);
    html! {
        @if entries.is_empty() {
            p .empty { "No credits yet." }
        } @else {
            h3 { "Last credits" }
            table {
                thead .sr { tr { th scope="col" { "When and why" } th .n scope="col" { "USD" } } }
                tbody {
                    @for entry in entries {
                        tr {
                            th scope="row" { (entry.reason) span .help { (instant(entry.at)) } }
                            td .n { (number(entry.amount)) " USD" }
                        }
                    }
                }
            }
            @if before > 0 { p .help { "And " (number(before)) " before these." } }
        }
    }
}

fn requests_card(visitor: &Visitor, subject: &Subject, requests: &[UsageLine]) -> Markup {
    html! {
        section .card aria-labelledby="requests-h" {
            h2 #requests-h { "Last requests" }
            p .help { a href=(requests::path_of(&subject.account)) { "All requests" } ", of any day, by id, model or status" }
            @if requests.is_empty() {
                p .empty { "No requests to show in this month. Requests are kept for at least 35 days if request logging is on; those that arrived after the month had closed are not shown here." }
            } @else {
                div .scroll.wide.cells.dense tabindex="0" role="group" aria-labelledby="requests-h" {
                    table {
                        thead { tr {
                            th scope="col" { "Time" }
                            th scope="col" { "What" }
                            th .n scope="col" { "Points" }
                            th .n scope="col" { "USD" }
                            th .n scope="col" { "Status" }
                            th scope="col" { "Tier" }
                            th .n scope="col" { "Tokens in" }
                            th .n scope="col" { "out" }
                        } }
                        tbody {
                            @for line in requests {
                                @let path = request_path(visitor, &subject.account, &line.source, &line.id, line.time);
                                (request(line, &path))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn request(line: &UsageLine, path: &str) -> Markup {
    let count = |count: Option<u64>| count.map_or_else(|| "–".to_owned(), number);
    let is_bad = !(200..300).contains(&line.status_code);
    html! {
        tr {
            th .time scope="row" { a href=(path) title="Why this number?" { (instant(line.time)) } }
            td {
                (service_word(&line.service)) " " span .model { (line.model.as_deref().unwrap_or("")) }
                @if let Some(reversal) = &line.reversal {
                    span .help { "Reversed" @if let Some(reason) = &reversal.reason { ": " (reason) } }
                }
            }
            td .n data-label="Points" { @if line.reversal.is_some() { s { (number(line.user_points)) } } @else { (number(line.user_points)) } }
            td .n data-label="USD" {
                @if line.reversal.is_some() { s { (number(line.cost)) } } @else if line.cost == Money::ZERO && line.shadow_cost != Money::ZERO { span .muted { (number(line.shadow_cost)) " noted" } } @else { (number(line.cost)) }
            }
            td .n.warn[is_bad] data-label="Status" { (line.status_code) }
            td data-label="Tier" { (line.tier.as_deref().unwrap_or("–").replace('_', " ")) }
            td .n data-label="Tokens in" { (count(line.input_tokens)) }
            td .n data-label="out" { (count(line.output_tokens)) }
        }
    }
}
