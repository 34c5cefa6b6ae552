//! A user's requests of any day: filtered, page by page, each with the way to its explanation.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::request::request_path;
use super::visitor::{PathAccount, Visitor};
use super::words::{account_path, encoded, number, service_word};
use super::{Pages, frame};
use crate::app::queries::{StatusFilter, UsageCursor, UsageFilter, UsageLine, UsageOfDay};
use crate::domain::amount::Money;
use crate::domain::ids::Account;
use crate::domain::time::Day;
use crate::http::extract::QueryParams;
use crate::http::problem::Problem;

/// Requests of a page.
const REQUESTS: usize = 50;

/// Which requests, as the address says it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RequestsQuery {
    #[serde(default)]
    day: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    after: String,
}

/// What was asked for, read.
struct Asked {
    day: Day,
    filter: UsageFilter,
    after: Option<UsageCursor>,
}

impl RequestsQuery {
    fn read(&self, today: Day) -> Result<Asked, String> {
        let text = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let day = match text(&self.day) {
            None => today,
            Some(day) => day
                .parse()
                .map_err(|_| format!("“{day}” is not a day such as 2026-11-22"))?,
        };
        let status = text(&self.status).map(|status| {
            let parsed: Result<StatusFilter, _> = status.parse();
            parsed.map_err(|error| format!("“{status}” is {error}"))
        });
        Ok(Asked {
            day,
            filter: UsageFilter {
                id: text(&self.id),
                model: text(&self.model),
                status: status.transpose()?,
            },
            after: self.after.parse().ok(),
        })
    }

    /// The address of these requests.
    fn path(&self, account: &Account, day: Day, after: Option<&str>) -> String {
        let day = day.to_string();
        let fields = [
            ("day", day.as_str()),
            ("id", &self.id),
            ("model", &self.model),
            ("status", &self.status),
            ("after", after.unwrap_or_default()),
        ];
        let given = fields.iter().filter(|(_, value)| !value.is_empty());
        let query: Vec<String> = given
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        format!("{}?{}", path_of(account), query.join("&"))
    }
}

/// The page of a user's requests.
pub(super) fn path_of(account: &Account) -> String {
    format!("{}/requests", account_path(account))
}

/// `GET /users/{id}/requests`.
pub(super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    PathAccount(user): PathAccount,
    QueryParams(wanted): QueryParams<RequestsQuery>,
) -> Result<Response, Problem> {
    let (queries, now) = (&pages.service.queries, pages.service.clock.now());
    let title = format!("{}: requests", user.id());
    let head = |day: Day| {
        html! {
            div .head { h1 { "Requests of " span .id { (user.id()) } } }
            p { a href=(account_path(&user)) { "Back to the user" } }
            (form(&user, &wanted, day))
        }
    };
    let asked = match wanted.read(now.day()) {
        Ok(asked) => asked,
        Err(why) => {
            let body = html! { (head(now.day())) (frame::not_done(&format!("{why}."))) };
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return Ok(frame::page_of(status, &visitor, &title, &body));
        }
    };
    let Asked { day, filter, after } = asked;
    let is_first = after.is_none();
    let found = queries.usage_page(&user, day, &filter, after, REQUESTS, now);
    let found = found.await?;
    let body = html! {
        (head(day))
        section .card aria-label="Requests" { (table(&visitor, &user, &found, &filter)) }
        nav .pages aria-label="More requests" {
            @if !is_first { a .button.second href=(wanted.path(&user, day, None)) { "The first" } }
            @if let Some(next) = &found.next { a .button.second rel="next" href=(wanted.path(&user, day, Some(next))) { "Later" } }
        }
        nav .pages aria-label="Other days" {
            a .button.second rel="prev" href=(wanted.path(&user, day.previous(), None)) { (day.previous()) }
            @if day < now.day() { a .button.second href=(wanted.path(&user, day.next(), None)) { (day.next()) } }
        }
    };
    Ok(frame::page_of(StatusCode::OK, &visitor, &title, &body))
}

fn form(user: &Account, wanted: &RequestsQuery, day: Day) -> Markup {
    html! {
        form .line.card method="get" action=(path_of(user)) aria-label="Which requests" {
            span .field {
                label for="day" { "Day" }
                input #day type="date" name="day" value=(day);
            }
            span .field {
                label for="id" { "Id" }
                input #id name="id" maxlength="128" value=(wanted.id) autocomplete="off" spellcheck="false";
            }
            span .field {
                label for="model" { "Model" }
                input #model name="model" maxlength="128" value=(wanted.model) autocomplete="off" spellcheck="false";
            }
            span .field {
                label for="status" { "Status" }
                input #status name="status" maxlength="3" value=(wanted.status) placeholder="5xx" autocomplete="off" spellcheck="false";
            }
            button .second type="submit" { "Show" }
        }
    }
}

fn table(visitor: &Visitor, user: &Account, found: &UsageOfDay, filter: &UsageFilter) -> Markup {
    let is_filtered = *filter != UsageFilter::default();
    html! {
        @if found.requests.is_empty() && found.next.is_some() {
            p .empty { "No match among the requests searched; there are later ones." }
        } @else if found.requests.is_empty() && is_filtered {
            p .empty { "No requests match on " (found.day) "." }
        } @else if found.requests.is_empty() {
            p .empty { "No requests to show on " (found.day) ". Requests are kept for at least 35 days if request logging is on." }
        } @else {
            div .scroll.wide.cells.dense tabindex="0" role="group" aria-label="Requests, by time" {
                table {
                    thead { tr {
                        th scope="col" { "Time" }
                        th scope="col" { "What" }
                        th scope="col" { "Id" }
                        th .n scope="col" { "Status" }
                        th .n scope="col" { "Points" }
                        th .n scope="col" { "USD" }
                        th .n scope="col" { "Tokens in" }
                        th .n scope="col" { "out" }
                    } }
                    tbody { @for line in &found.requests { (row(visitor, user, line)) } }
                }
            }
        }
    }
}

fn row(visitor: &Visitor, user: &Account, line: &UsageLine) -> Markup {
    let count = |count: Option<u64>| count.map_or_else(|| "–".to_owned(), number);
    let is_bad = !(200..300).contains(&line.status_code);
    let path = request_path(visitor, user, &line.source, &line.id, line.time);
    let time = line.time.to_string();
    html! {
        tr {
            th .time scope="row" { a href=(path) title="Why this number?" { (time.get(11..19).unwrap_or(&time)) } }
            td {
                (service_word(&line.service)) " " span .model { (line.model.as_deref().unwrap_or("")) }
                @if line.reversal.is_some() { span .help { "Reversed" } }
            }
            td data-label="Id" { code { (line.id) } }
            td .n.warn[is_bad] data-label="Status" { (line.status_code) }
            td .n data-label="Points" { @if line.reversal.is_some() { s { (number(line.user_points)) } } @else { (number(line.user_points)) } }
            td .n data-label="USD" {
                @if line.cost == Money::ZERO && line.shadow_cost != Money::ZERO { span .muted { (number(line.shadow_cost)) " noted" } }
                @else { (number(line.cost)) }
            }
            td .n data-label="Tokens in" { (count(line.input_tokens)) }
            td .n data-label="out" { (count(line.output_tokens)) }
        }
    }
}
