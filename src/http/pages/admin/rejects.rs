//! Rejects: what was refused, why, and what becomes of it.

use std::fmt::Display;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::super::frame::{self, token};
use super::super::guard::{Form, Visitor};
use super::super::words::instant_of;
use super::super::{Pages, redirect};
use super::overview::{last_page, overview};
use super::preview::plain;
use super::{Wished, coded, page, page_of, refusal, writes};
use crate::domain::position::{Offset, Partition};
use crate::http::RejectDetail;
use crate::http::admin::{decider, find, of_find, of_redrive, partitions, reason};
use crate::http::ingest::of_log;
use crate::http::problem::Problem;
use crate::http::strict::Named;
use crate::log::{ReadLimit, Topic};
use crate::store::redrive;

pub(super) const PATH: &str = "/admin/rejects";
/// Rejects of a page.
pub(super) const PAGE: usize = 25;

/// What is read of the log for a page.
pub(super) const fn of_page() -> ReadLimit {
    ReadLimit {
        records: PAGE,
        bytes: 4 * 1024 * 1024,
    }
}

/// Which rejects.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct Wanted {
    /// All of them, if none is named.
    partition: Option<u32>,
    #[serde(default)]
    from: u64,
    #[serde(default)]
    done: String,
}

fn path(partition: impl Display, offset: impl Display) -> String {
    format!("{PATH}/{partition}/{offset}")
}

/// `GET /admin/rejects`.
pub(in super::super) async fn list(
    State(pages): State<Pages>,
    visitor: Visitor,
    Wished(wanted): Wished<Wanted>,
) -> Result<Response, Problem> {
    let service = &pages.service;
    let count = partitions(service, wanted.partition.unwrap_or(0)).await?;
    let Some(number) = wanted.partition else {
        let body = overview(service, count).await?;
        return Ok(page(&visitor, "Rejects", PATH, &body));
    };
    let (partition, from) = (Partition(number), Offset(wanted.from));
    let bounds = service.log.bounds(Topic::UsageRejected, partition).await;
    let bounds = bounds.map_err(of_log)?;
    let listed = redrive::list(&*service.log, partition, from, of_page()).await;
    let listed = listed.map_err(of_find)?;
    let fates = redrive::fates(&*service.db, &listed.found).await?;
    let rows: Vec<Value> = listed
        .found
        .iter()
        .zip(fates)
        .map(|(found, fate)| told(&RejectDetail::new(found, fate)))
        .collect();
    let first = format!("{PATH}?partition={partition}");
    let newest = last_page(bounds);
    let body = html! {
        h1 { "Rejects" }
        p { a href=(PATH) { "All partitions" } }
        form .picker method="get" action=(PATH) {
            label for="partition" { "Partition" }
            select #partition name="partition" {
                @for number in 0..count { option value=(number) selected[number == partition.0] { (number) } }
            }
            button .second type="submit" { "Show" }
        }
        section .card aria-label="Rejects" {
            @if !rows.is_empty() {
                p .help { "The oldest first." }
                (table(&rows))
            } @else if bounds.start < bounds.end {
                p .empty { "From here on there is nothing. Earlier ones are kept." }
            } @else {
                p .empty { "Nothing was refused in this partition, as far back as the log keeps it." }
            }
        }
        nav .pages aria-label="More rejects" {
            @if from > bounds.start { a .button.second href=(first) { "From the first" } }
            @if bounds.start < bounds.end && newest != from.0 && newest > bounds.start.0 {
                a .button.second href=(format!("{first}&from={newest}")) { "The newest" }
            }
            @if let Some(next) = listed.next {
                a .button.second rel="next" href=(format!("{first}&from={next}")) { "After" }
            }
        }
    };
    Ok(page(&visitor, "Rejects", PATH, &body))
}

pub(super) fn told(reject: &RejectDetail) -> Value {
    serde_json::to_value(reject).unwrap_or_default()
}

fn state_chip(state: &Value) -> Markup {
    html! {
        @match state.as_str() {
            Some("open") => { span .chip.open { "Open" } }
            Some("redriven") => { span .chip { "Sent again" } }
            _ => { span .chip.bad { "Discarded" } }
        }
    }
}

pub(super) fn table(rows: &[Value]) -> Markup {
    html! {
        div .scroll.wide.cells tabindex="0" role="group" aria-label="Rejects" {
            table {
                thead { tr {
                    th scope="col" { "When" }
                    th scope="col" { "State" }
                    th scope="col" { "Reason" }
                    th scope="col" { "Field" }
                    th scope="col" { "In words" }
                } }
                tbody {
                    @for row in rows {
                        @let place = path(plain(&row["partition"]), plain(&row["offset"]));
                        tr {
                            th .time scope="row" { a href=(place) { (instant_of(&plain(&row["logTime"]))) } }
                            td { (state_chip(&row["state"])) }
                            td data-label="Reason" { (plain(&row["reason"])) }
                            td data-label="Field" { (plain(&row["field"])) }
                            td data-label="In words" { (coded(&plain(&row["detail"]))) }
                        }
                    }
                }
            }
        }
    }
}

/// `GET /admin/rejects/{partition}/{offset}`.
pub(in super::super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    Named(place): Named<(u32, u64)>,
    Wished(wanted): Wished<Wanted>,
) -> Result<Response, Problem> {
    let note = match wanted.done.as_str() {
        "redriven" => Some(frame::done(
            "It was sent again. If it is refused again, it becomes a reject of its own.",
        )),
        "discarded" => Some(frame::done("It is done with.")),
        _ => None,
    };
    respond(&pages, &visitor, place, note, None, StatusCode::OK).await
}

async fn respond(
    pages: &Pages,
    visitor: &Visitor,
    (partition, offset): (u32, u64),
    note: Option<Markup>,
    sent: Option<&Form>,
    status: StatusCode,
) -> Result<Response, Problem> {
    let found = find(&pages.service, (partition, offset)).await?;
    let fates = redrive::fates(&*pages.service.db, std::slice::from_ref(&found)).await?;
    let fate = fates.into_iter().next().flatten();
    let detail = told(&RejectDetail::new(&found, fate));
    let is_open = detail["state"] == "open";
    let body = html! {
        h1 { "A reject" }
        @if let Some(note) = note { (note) }
        (facts(&detail))
        @if is_open && writes(visitor) { (forms(visitor, partition, offset, &detail, sent)) }
        p { a href=(format!("{PATH}?partition={partition}&from={offset}")) { "The rejects from here on" } }
    };
    Ok(page_of(status, visitor, "A reject", PATH, &body))
}

fn facts(detail: &Value) -> Markup {
    let fate = [("redriven", "Sent again"), ("discarded", "Discarded")];
    html! {
        section .card aria-label="The reject" {
            div .row { h2 { (plain(&detail["reason"])) } (state_chip(&detail["state"])) }
            p { (coded(&plain(&detail["detail"]))) }
            dl .facts {
                div { dt { "Field" } dd { (plain(&detail["field"])) } }
                div { dt { "Refused" } dd { (instant_of(&plain(&detail["logTime"]))) } }
                div { dt { "Original" } dd {
                    (plain(&detail["origin"]["topic"])) " " (plain(&detail["origin"]["partition"])) ", offset " (plain(&detail["origin"]["offset"]))
                } }
                @for (name, word) in fate {
                    @if let Some(fate) = detail.get(name) {
                        div { dt { (word) } dd { (instant_of(&plain(&fate["at"]))) ", by " (plain(&fate["by"])) } }
                        @if let Some(reason) = fate.get("reason") { div { dt { "Why" } dd { (plain(reason)) } } }
                    }
                }
            }
            h3 { "What was sent" }
            @match original(detail) {
                Some(text) => { pre tabindex="0" { (text) } }
                None => { p .empty { "It is not kept here, or is no text." } }
            }
            @if let Some(event) = detail["redriven"]["value"].as_str() {
                h3 { "What was sent again" }
                pre tabindex="0" { (event) }
            }
        }
    }
}

/// The original, if it is text.
fn original(detail: &Value) -> Option<&str> {
    detail["value"].as_str()
}

fn forms(
    visitor: &Visitor,
    partition: u32,
    offset: u64,
    detail: &Value,
    sent: Option<&Form>,
) -> Markup {
    let place = path(partition, offset);
    let text = sent.map_or_else(
        || original(detail).unwrap_or(""),
        |sent| sent.whole("value"),
    );
    html! {
        div .grid {
            section .card aria-labelledby="redrive-h" {
                h2 #redrive-h { "Send it again" }
                form .stack method="post" action=(format!("{place}/redrive")) {
                    (token(visitor))
                    label for="value" { "The event, edited or as it was" }
                    textarea #value name="value" spellcheck="false" required aria-describedby="value-help" { (text) }
                    p #value-help .help { "Leave its id and source as they are, unless another event with the same ones counted." }
                    p .actions { button type="submit" { "Send" } }
                }
            }
            section .card aria-labelledby="discard-h" {
                h2 #discard-h { "Be done with it" }
                form .stack method="post" action=(format!("{place}/discard")) {
                    (token(visitor))
                    label for="reason" { "Why" }
                    input #reason name="reason" required maxlength="500" autocomplete="off" aria-describedby="reason-help";
                    p #reason-help .help { "What is discarded is not sent any more." }
                    p .actions { button .danger type="submit" { "Discard" } }
                }
            }
        }
    }
}

/// `POST /admin/rejects/{partition}/{offset}/redrive`.
pub(in super::super) async fn redrive_one(
    State(pages): State<Pages>,
    visitor: Visitor,
    Named(place): Named<(u32, u64)>,
    form: Form,
) -> Result<Response, Problem> {
    let service = &pages.service;
    let found = find(service, place).await?;
    // Browsers send a text's ends of lines as two characters.
    let text = form.whole("value").replace("\r\n", "\n");
    let before = told(&RejectDetail::new(&found, None));
    let edited = Some(text.as_str()).filter(|text| original(&before) != Some(*text));
    let decider = decider(service, visitor.by());
    match redrive::redrive(&*service.db, &*service.log, &found, edited, &decider).await {
        Ok(_) => Ok(redirect(&format!(
            "{}?done=redriven",
            path(place.0, place.1)
        ))),
        Err(error) => refused(&pages, &visitor, place, of_redrive(error), &form).await,
    }
}

/// `POST /admin/rejects/{partition}/{offset}/discard`.
pub(in super::super) async fn discard(
    State(pages): State<Pages>,
    visitor: Visitor,
    Named(place): Named<(u32, u64)>,
    form: Form,
) -> Result<Response, Problem> {
    let service = &pages.service;
    let found = find(service, place).await?;
    let decider = decider(service, visitor.by());
    let done = match reason(form.text("reason").to_owned()) {
        Ok(why) => redrive::discard(&*service.db, &found, &why, &decider)
            .await
            .map_err(of_redrive),
        Err(problem) => Err(problem),
    };
    match done {
        Ok(_) => Ok(redirect(&format!(
            "{}?done=discarded",
            path(place.0, place.1)
        ))),
        Err(problem) => refused(&pages, &visitor, place, problem, &Form::default()).await,
    }
}

async fn refused(
    pages: &Pages,
    visitor: &Visitor,
    place: (u32, u64),
    problem: Problem,
    form: &Form,
) -> Result<Response, Problem> {
    if !problem.is_about_input() {
        return Err(problem);
    }
    let sent = Some(form).filter(|form| !form.whole("value").is_empty());
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    respond(pages, visitor, place, Some(refusal(&problem)), sent, status).await
}
