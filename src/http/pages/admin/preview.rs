//! What a change of the rules would do, before it is confirmed.

use axum::http::StatusCode;
use maud::{Markup, html};
use serde_json::Value;

use super::super::Pages;
use super::super::words::counted;
use crate::app::commands::rules::{ChangePreview, Confirmation, Confirmed, Example, ShownChange};
use crate::app::differences::Difference;
use crate::app::queries::{ChangedAccount, Pair, ReplayReport, SampledWeek, WhatIf};
use crate::domain::amount::{Money, WidePoints};
use crate::domain::time::Millis;
use crate::http::extract::Verbatim;
use crate::http::problem::Problem;

/// A change, as a form has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    pub key: String,
    /// JSON.
    pub value: String,
    /// An instant, UTC, as a browser's field gives it; empty: now.
    pub from: String,
    pub reason: String,
    /// What the form showed.
    pub confirmation: Option<Confirmation>,
}

/// What the page says that a confirmed change leads to.
pub(super) fn query_of(outcome: Confirmed) -> String {
    match outcome {
        Confirmed::Published(version) => format!("?done=published&version={version}"),
        Confirmed::Before(version) => format!("?done=before&version={version}"),
        Confirmed::Unchanged => "?done=unchanged".to_owned(),
        Confirmed::Changed => String::new(),
    }
}

impl Change {
    fn checked(&self, by: &str) -> Result<ShownChange, Problem> {
        once_each(&self.value)?;
        let from = from_field(&self.from).transpose().map_err(|()| {
            let detail =
                "the time is not valid; give a day and a time in UTC, or leave it empty for now";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_time", detail)
        })?;
        Ok(ShownChange {
            key: self.key.clone(),
            value: self.value.clone(),
            effective_from: from,
            reason: self.reason.clone(),
            by: by.to_owned(),
        })
    }

    /// Checks it, and says what it would do.
    pub async fn preview(&self, pages: &Pages, by: &str) -> Result<ChangePreview, Problem> {
        let change = self.checked(by)?;
        Ok(pages.service.commands.preview_change(change).await?)
    }

    /// Publishes it, if what was shown still holds.
    pub async fn publish(
        &self,
        pages: &Pages,
        by: &str,
        confirmation: &Confirmation,
    ) -> Result<Confirmed, Problem> {
        let commands = &pages.service.commands;
        let before = commands.confirmed_before(&self.key, &self.value, confirmation);
        if let Some(version) = before.await? {
            return Ok(Confirmed::Before(version));
        }
        let change = self.checked(by)?;
        Ok(commands.confirm_change(change, confirmation).await?)
    }
}

/// That no object of a value has a member twice: it could mean either. What is no JSON at all is
/// told by who checks the value.
fn once_each(value: &str) -> Result<(), Problem> {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok();
    match serde_json::from_str::<Verbatim>(value) {
        Err(error) if is_json => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_rules",
            error.to_string().replace('`', "'"),
        )),
        _ => Ok(()),
    }
}

/// `2026-11-23T05:00`, with seconds or without, as UTC; `None`: the field is empty.
fn from_field(text: &str) -> Option<Result<Millis, ()>> {
    if text.is_empty() {
        return None;
    }
    let whole = match text.len() {
        16 => format!("{text}:00Z"),
        19 => format!("{text}Z"),
        _ => text.to_owned(),
    };
    Some(whole.parse().map_err(|_| ()))
}

/// The field for when a change begins.
pub(super) fn from_input(value: &str) -> Markup {
    html! {
        label for="from" { "Effective from (UTC)" }
        input #from name="from" type="datetime-local" value=(value) aria-describedby="from-help";
        p #from-help .help { "Compared with the time of the events. Leave empty to apply it from the moment of confirmation." }
    }
}

/// The field for why.
pub(super) fn reason_input(value: &str) -> Markup {
    html! {
        label for="reason" { "Why" }
        input #reason name="reason" value=(value) required maxlength="500" autocomplete="off" aria-describedby="reason-help";
        p #reason-help .help { "Shown in the history and in the audit trail." }
    }
}

/// The difference, for people.
pub(super) fn shown(change: &Change, preview: &ChangePreview) -> Markup {
    let titles = match change.from.as_str() {
        "" => ["Now", "Then"],
        _ => ["In force then", "With the change"],
    };
    let published = &preview.published;
    let differences = |found: &[Difference]| {
        let row = |one: &Difference| [one.path.clone(), plain(&one.before), plain(&one.after)];
        found.iter().map(row).collect::<Vec<_>>()
    };
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "–".to_owned());
    let example = |one: &Example| [one.what.clone(), or_dash(&one.before), or_dash(&one.after)];
    html! {
        @if published.changes.is_empty() {
            p .note { "This changes nothing: the value is already in force then. There is nothing to confirm." }
        }
        @for change in &published.changes {
            section .card aria-label="What changes" {
                h2 { "What changes" }
                (table(["Where", titles[0], titles[1]], &differences(&change.differences)))
                @if change.further_differences > 0 { p .help { "And " (change.further_differences) " more places." } }
            }
        }
        @if !published.examples.is_empty() {
            section .card aria-label="What that means" {
                h2 { "What that means for a request" }
                (table(["What", titles[0], titles[1]], &published.examples.iter().map(example).collect::<Vec<_>>()))
            }
        }
        @if let Some(found) = &preview.what_if { (what_if(found, titles)) }
    }
}

fn table([title, before, after]: [&str; 3], rows: &[[String; 3]]) -> Markup {
    html! {
        div .scroll.cells tabindex="0" role="group" aria-label=(title) {
            table {
                thead { tr {
                    th scope="col" { (title) }
                    th .n scope="col" { (before) }
                    th .n scope="col" { (after) }
                } }
                tbody {
                    @for [name, old, new] in rows {
                        tr {
                            th scope="row" { (name) }
                            td .n data-label=(before) { del .before { (old) } }
                            td .n data-label=(after) { ins .now { (new) } }
                        }
                    }
                }
            }
        }
    }
}

/// A JSON value for people.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn what_if(found: &WhatIf, titles: [&str; 2]) -> Markup {
    match found {
        WhatIf::Month(report) => replayed_month(report),
        WhatIf::Week(week) => sampled_week(week, titles),
    }
}

fn replayed_month(report: &ReplayReport) -> Markup {
    const TITLES: [&str; 2] = ["As posted", "With the change"];
    let totals = &report.totals;
    let points = |name: &str, pair: Pair<WidePoints>| {
        [
            name.to_owned(),
            pair.before.to_string(),
            pair.after.to_string(),
        ]
    };
    let dollars = |name: &str, pair: Pair<Money>| {
        [
            name.to_owned(),
            pair.before.to_string(),
            pair.after.to_string(),
        ]
    };
    let sums = [
        points("Points of users", totals.user_points),
        points("Points of providers", totals.provider_points),
        points("Points of users’ referrers", totals.user_referral_points),
        points(
            "Points of providers’ referrers",
            totals.provider_referral_points,
        ),
        dollars("Charged, USD", totals.cost),
        dollars("Mainnet would charge, USD", totals.shadow_cost),
    ];
    let ranks = &report.ranks;
    let lists = [
        ("Gain most points", &ranks.gain_points, false),
        ("Lose most points", &ranks.lose_points, false),
        ("Are charged more", &ranks.pay_more, true),
        ("Are charged less", &ranks.pay_less, true),
    ];
    html! {
        section #what-if .card aria-labelledby="what-if-h" {
            h2 #what-if-h { "The requests of " (report.month) " with this change" }
            (table(["Sum over all accounts", TITLES[0], TITLES[1]], &sums))
            @for (title, accounts, is_cost) in lists.into_iter().filter(|(_, accounts, _)| !accounts.is_empty()) {
                (table([title, TITLES[0], TITLES[1]], &accounts.iter().map(|of| changed(of, is_cost)).collect::<Vec<_>>()))
            }
            p .help {
                @if report.is_whole {
                    (counted(report.rows.sum(), "archived record"))
                    ", all of the month; " (report.rows.changed) " of them would bring something else. "
                } @else {
                    "A part of the month, spread over its days: " (counted(report.rows.sum(), "archived record"))
                    ", of which " (report.rows.changed) " would bring something else. Read the ratios, not the sums; "
                    code { "tidemark replay" } " rates all of it. "
                }
                "What days and awards bring (streaks, quality, trials, signups) is not included."
            }
        }
    }
}

fn changed(account: &ChangedAccount, is_cost: bool) -> [String; 3] {
    let name = format!("{} {}", account.kind, account.id);
    match is_cost {
        true => [
            name,
            format!("{} USD", account.cost.before),
            format!("{} USD", account.cost.after),
        ],
        false => [
            name,
            account.points.before.to_string(),
            account.points.after.to_string(),
        ],
    }
}

fn sampled_week(found: &SampledWeek, [before, after]: [&str; 2]) -> Markup {
    html! {
        section #what-if .card aria-labelledby="what-if-h" {
            h2 #what-if-h { "Last week’s usage under these prices" }
            @if found.requests == 0 {
                p .empty { "No requests of the last " (found.days) " days are kept, so there is nothing to compare." }
            } @else {
                div .scroll.cells tabindex="0" role="group" aria-labelledby="what-if-h" {
                    table {
                        thead { tr { th scope="col" { "On mainnet" } th .n scope="col" { (before) } th .n scope="col" { (after) } } }
                        tbody { tr {
                            th scope="row" { (counted(found.requests, "successful request")) }
                            td .n data-label=(before) { (found.before) " USD" }
                            td .n data-label=(after) { (found.after) " USD" }
                        } }
                    }
                }
                p .help {
                    @if found.is_whole {
                        "Every request of the last " (found.days) " days that is kept."
                    } @else {
                        "A sample of the requests of the last " (found.days) " days, taken over all users and days. Read the ratio, not the sums."
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::from_field;

    #[test]
    fn a_browsers_time_is_utc() {
        let read = |text| from_field(text).map(|at| at.map(|at| at.to_string()));
        assert_eq!(read(""), None);
        let wanted = |text: &str| Some(Ok(text.to_owned()));
        assert_eq!(read("2026-11-23T05:00"), wanted("2026-11-23T05:00:00.000Z"));
        assert_eq!(
            read("2026-11-23T05:00:07"),
            wanted("2026-11-23T05:00:07.000Z")
        );
        assert_eq!(
            read("2026-11-23T05:00:07Z"),
            wanted("2026-11-23T05:00:07.000Z")
        );
        for bad in ["tomorrow", "2026-11-23", "2026-13-23T05:00"] {
            assert_eq!(read(bad), Some(Err(())), "{bad}");
        }
    }
}
