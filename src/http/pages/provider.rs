//! A provider's page.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::Pages;
use super::frame;
use super::subject::Subject;
use super::visitor::{PathAccount, Visitor};
use super::words::{account_path, counted, number, percent, service_word, times};
use crate::app::queries::{ModelUse, RankOf};
use crate::domain::amount::Bp;
use crate::domain::rules::Rules;
use crate::domain::statement::DayQuality;
use crate::http::problem::Problem;

/// What a provider's page shows of the month.
pub(super) async fn live(pages: &Pages, subject: &Subject) -> Result<Markup, Problem> {
    let queries = &pages.service.queries;
    let quality = queries.quality_today(&subject.account, subject.now).await?;
    let rank = queries.rank_of(&subject.account, subject.month).await?;
    Ok(html! {
        div .cards {
            (subject.summary())
            div .column {
                (rank_card(&rank))
                (subject.streak_card())
            }
        }
        (quality_card(&quality, &subject.rules))
        (subject.chart())
        (subject.services())
        p .help.after { a href={ (account_path(&subject.account)) "/models" } { "By model" } ", for the last days, if request logging is on" }
        p .help { a href={ (account_path(&subject.account)) "/request" } { "Why this number?" } " Look up a request that you served." }
    })
}

/// `GET /providers/{id}/models`.
pub(super) async fn models(
    State(pages): State<Pages>,
    visitor: Visitor,
    PathAccount(account): PathAccount,
) -> Result<Response, Problem> {
    let now = pages.service.clock.now();
    let used = pages.service.queries.models_of(&account, now).await?;
    let title = format!("{}: models", account.id());
    let body = html! {
        div .head { h1 { "Models of " span .id { (account.id()) } } }
        p { a href=(account_path(&account)) { "Back to the provider" } }
        (models_card(&used))
    };
    Ok(frame::page_of(StatusCode::OK, &visitor, &title, &body))
}

fn models_card(used: &ModelUse) -> Markup {
    html! {
        section .card aria-labelledby="models-h" {
            h2 #models-h { "The last " (used.days) " days, by model" }
            @if used.is_whole {
                p .help { "From single requests, at most a minute old. Points are without the quality multiplier." }
            } @else {
                p .warn #sample {
                    "A sample: " (number(used.looked)) " requests of all providers were looked at, and there are more. Shares are about right, sums are not."
                }
            }
            @if used.lines.is_empty() {
                p .empty { "No requests found. Requests are kept for at least 35 days if request logging is on." }
            } @else {
                div .scroll.cells.dense tabindex="0" role="group" aria-labelledby="models-h" { (models_table(used)) }
            }
        }
    }
}

fn models_table(used: &ModelUse) -> Markup {
    html! {
        table {
            thead { tr {
                th scope="col" { "Model" }
                th scope="col" { "Service" }
                th scope="col" { "Tier" }
                th .n scope="col" { "Requests" }
                th .n scope="col" { "Successful" }
                th .n scope="col" { "Mean latency" }
                th .n scope="col" { "Points" }
            } }
            tbody { @for line in &used.lines {
                tr {
                    th scope="row" { @match &line.model { Some(model) => { span .model { (model) } }, None => "none named" } }
                    td { (service_word(&line.service)) }
                    td data-label="Tier" { (line.tier.as_deref().unwrap_or("–").replace('_', " ")) }
                    td .n data-label="Requests" { (number(line.requests)) }
                    td .n data-label="Successful" { (number(line.successful)) }
                    td .n data-label="Mean latency" { @match line.mean_latency_ms() { Some(ms) => { (number(ms)) " ms" }, None => "–" } }
                    td .n data-label="Points" { (number(line.points)) }
                }
            } }
        }
    }
}

fn rank_card(rank: &RankOf) -> Markup {
    let page = format!("/leaderboard?kind=provider&month={}", rank.month);
    html! {
        section .card aria-labelledby="rank-h" {
            h2 #rank-h { "Rank" }
            @match rank.rank {
                Some(place) => { p .big { span .number { (number(place)) } } }
                None if rank.kept == 0 => { p .empty { "No provider has points in this month yet." } }
                None => { p .empty { "Not in the top " (number(rank.kept)) " in this month." } }
            }
            p { a href=(page) { "The leaderboard" } }
        }
    }
}

/// How well today was served, and what would make it better.
fn quality_card(quality: &DayQuality, rules: &Rules) -> Markup {
    let product = u64::from(quality.uptime.0) * u64::from(quality.latency.0) / u64::from(Bp::ONE.0);
    let product = Bp(u32::try_from(product).unwrap_or(u32::MAX));
    let missing = quality.missing();
    html! {
        section .card aria-labelledby="quality-h" {
            h2 #quality-h { "Quality today" }
            p .big { span .number { (times(product)) } }
            @if missing > 0 {
                p .help {
                    "Quality counts from " (counted(quality.requests_min, "request")) " a day on; today has " (number(quality.requests))
                    ", so " (number(missing)) " to go."
                }
            }
            div .scroll.cells tabindex="0" role="group" aria-labelledby="quality-h" {
                table {
                    thead { tr {
                        th scope="col" { "What" }
                        th .n scope="col" { "Today" }
                        th .n scope="col" { "Counts" }
                        th scope="col" { "What would raise it" }
                    } }
                    tbody {
                        tr {
                            th scope="row" { "Uptime" span .help { "successful among successful and failed" } }
                            td .n data-label="Today" { (quality.uptime_ratio.map_or_else(|| "–".to_owned(), percent)) }
                            td .n data-label="Counts" { (times(quality.uptime)) }
                            td data-label="What would raise it" { (raise_uptime(quality, rules)) }
                        }
                        tr {
                            th scope="row" { "Latency" span .help { "as a share of what is expected of each request" } }
                            td .n data-label="Today" { (quality.latency_ratio.map_or_else(|| "–".to_owned(), percent)) }
                            td .n data-label="Counts" { (times(quality.latency)) }
                            td data-label="What would raise it" { (raise_latency(quality, rules)) }
                        }
                    }
                }
            }
        }
    }
}

fn to_go(missing: u64) -> String {
    format!(
        "{} first; requests with a status of 300 to 499 do not count.",
        counted(missing, "more request")
    )
}

fn raise_uptime(quality: &DayQuality, rules: &Rules) -> String {
    let (ratio, best) = rules.best_uptime();
    match quality.uptime_ratio {
        _ if quality.missing() > 0 => to_go(quality.missing()),
        None => "The first request that counts.".to_owned(),
        Some(now) if now >= u64::from(ratio) => "Nothing; this is the maximum.".to_owned(),
        Some(_) => format!(
            "Fewer failed requests: {} from {} on.",
            times(best),
            percent(u64::from(ratio))
        ),
    }
}

fn raise_latency(quality: &DayQuality, rules: &Rules) -> String {
    let (ratio, best) = rules.best_latency();
    match quality.latency_ratio {
        _ if quality.missing() > 0 => to_go(quality.missing()),
        None => "Latencies, which the gateway must report (latencyMs).".to_owned(),
        Some(now) if now <= u64::from(ratio) => "Nothing; this is the maximum.".to_owned(),
        Some(_) => format!(
            "Faster answers: {} at {} of what is expected.",
            times(best),
            percent(u64::from(ratio))
        ),
    }
}
