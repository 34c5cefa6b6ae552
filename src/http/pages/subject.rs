//! The account and the month that a page is about, and the cards that users' and providers' pages
//! share.

use std::sync::Arc;

use maud::{Markup, html};

use super::words::{counted, headline, month_word, number, service_word, times};
use super::{Pages, chart};
use crate::app::queries::StreakView;
use crate::domain::ids::Account;
use crate::domain::rules::Rules;
use crate::domain::statement::Statement;
use crate::domain::time::{Millis, Month};
use crate::http::problem::Problem;

/// An account, and the month that is looked at.
pub(super) struct Subject {
    pub account: Account,
    pub month: Month,
    pub now: Millis,
    pub statement: Statement,
    pub streak: StreakView,
    /// The rules in force now.
    pub rules: Arc<Rules>,
}

impl Subject {
    /// Reads what every page of an account shows.
    pub async fn read(
        pages: &Pages,
        account: Account,
        month: Option<Month>,
    ) -> Result<Subject, Problem> {
        let (queries, now) = (&pages.service.queries, pages.service.clock.now());
        let month = month.unwrap_or_else(|| now.month());
        let rules = Arc::clone(queries.rules_needed().await?.at(now));
        Ok(Subject {
            statement: queries.statement(&account, month, now).await?,
            streak: queries.streak(&account, now).await?,
            account,
            month,
            now,
            rules,
        })
    }

    /// The total, and what it is made of.
    pub fn summary(&self) -> Markup {
        let statement = &self.statement;
        let in_days: u64 = statement
            .days
            .iter()
            .map(|(_, line)| line.outcomes.requests)
            .sum();
        let late = statement.outcomes.requests.saturating_sub(in_days);
        let is_to_come = self.month > self.now.month();
        html! {
            section .card.total aria-labelledby="total-h" {
                div .row {
                    h2 #total-h { (month_word(self.month)) }
                    @if statement.is_final {
                        span .chip { "Final" }
                    } @else if is_to_come {
                        span .chip { "To come" }
                    } @else {
                        span .chip.open { "Still open" }
                    }
                }
                (headline(statement.total, "points"))
                p .help {
                    @if statement.is_final {
                        "This month is closed and final. Usage that arrives for it from now on is booked as late, in the month in which it arrives."
                    } @else if is_to_come {
                        "This month has not begun."
                    } @else {
                        "Numbers may still change until " (self.month.closes().day()) " at the earliest, once everything that arrived before is counted."
                    }
                }
                table .parts {
                    caption .sr { "What the total is made of" }
                    thead .sr { tr { th scope="col" { "Part" } th .n scope="col" { "Points" } } }
                    tbody {
                        @for (name, points) in statement.parts() {
                            @let (word, help) = part(name);
                            tr .zero[points.0 == 0] {
                                th scope="row" { (word) span .help { (help) } }
                                td .n { (number(points)) }
                            }
                        }
                    }
                    tfoot { tr { th scope="row" { "Total" } td .n { (number(statement.total)) } } }
                }
                p .help {
                    (counted(statement.outcomes.requests, "request")) ", " (number(statement.successful())) " successful, " (number(statement.outcomes.failed)) " failed" @if statement.others() > 0 { ", " (number(statement.others())) " other" } @if statement.reversed > 0 { ", " (number(statement.reversed)) " reversed" } "."
                    @if statement.others() > 0 { " Others are requests that a client got wrong, with a status such as 404 or 429; they neither earn nor cost anything." }
                    @if late > 0 { " " (counted(late, "request")) @if late == 1 { " arrived late, for a month that had already closed, and is" } @else { " arrived late, for months that had already closed, and are" } " not part of any day." }
                    @if statement.successful() < 0 { " Requests of closed months were reversed in this month and are taken off here." }
                }
            }
        }
    }

    /// The days.
    pub fn chart(&self) -> Markup {
        html! {
            section .card aria-label="Points per day" { (chart::per_day(self.month, &self.statement.days)) }
        }
    }

    /// The streak, and how far the next step is.
    pub fn streak_card(&self) -> Markup {
        let (streak, rules) = (&self.streak, &self.rules);
        let current = streak.current;
        let next = rules.next_streak_step(current);
        html! {
            section .card aria-labelledby="streak-h" {
                h2 #streak-h { "Days in a row" @if self.month != self.now.month() { ", today" } }
                p .big { span .number { (current) } @if current == 1 { " day" } @else { " days" } }
                @if let Some((days, bp)) = next {
                    p {
                        (counted(u64::from(days - current), "more day")) " to the next step: from day " (days)
                        " on, a day counts " strong { (times(bp)) } "."
                    }
                    progress max=(days) value=(current) aria-label="Days until the next step" {}
                } @else if current > 0 {
                    p { "That is the highest step." }
                }
                dl .facts {
                    div { dt { "Now" } dd .n { (times(rules.streak(current))) } }
                    div { dt { "Longest" } dd .n { (counted(u64::from(streak.longest), "day")) } }
                    @if let Some(last) = streak.last_active { div { dt { "Last active day" } dd .n { (last) } } }
                }
                @if streak.last_active.is_none() {
                    p .help { "It begins with the first active day." }
                } @else if current > 0 && streak.last_active != Some(self.now.day()) {
                    p .help { "Today is not active yet; the streak continues once it is." }
                }
            }
        }
    }

    /// The services that were used in the month.
    pub fn services(&self) -> Markup {
        let services = &self.statement.services;
        html! {
            section .card aria-labelledby="services-h" {
                h2 #services-h { "By service" }
                @if services.is_empty() {
                    p .empty { "No requests in this month." }
                } @else {
                    div .scroll.cells.dense tabindex="0" role="group" aria-labelledby="services-h" {
                        table {
                            thead { tr {
                                th scope="col" { "Service" }
                                th .n scope="col" { "Points" }
                                th .n scope="col" { "Requests" }
                                th .n scope="col" { "Failed" }
                                th .n scope="col" { "Mean latency" }
                            } }
                            tbody {
                                @for (service, line) in services {
                                    tr {
                                        th scope="row" { (service_word(service)) }
                                        td .n data-label="Points" { (number(line.points)) }
                                        td .n data-label="Requests" { (number(line.outcomes.requests)) }
                                        td .n data-label="Failed" { (number(line.outcomes.failed)) }
                                        td .n data-label="Mean latency" { @match line.mean_latency_ms { Some(ms) => { (number(ms)) " ms" }, None => "–" } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What a part of the total is called, and where it comes from.
fn part(name: &str) -> (&str, &'static str) {
    match name {
        "base" => ("Requests served", "every successful request"),
        "multiplier" => ("Quality", "what uptime and latency add, or take away"),
        "usage" => ("Requests made", "every successful request"),
        "trial" => ("First use of a service", "once for each service"),
        "streak" => ("Days in a row", "from the first step of the streak on"),
        "referral" => ("Referrals", "share of your referrals’ earnings"),
        "bonus" => ("Awards", "signups, milestones, corrections"),
        "late" => ("Late", "for months that had already closed"),
        other => (other, ""),
    }
}
