//! Rejects: what was refused, why, and what becomes of it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::frame::{self, token};
use super::super::visitor::{Form, Visitor};
use super::super::words::instant;
use super::super::{Pages, redirect};
use super::reject_overview::overview;
use super::reject_table::{PATH, last_page, of_page, path, state_chip, table};
use super::{PageQuery, coded, page, page_of, refusal, writes};
use crate::app::CommandError;
use crate::app::queries::{RejectDetail, RejectLine, RejectPlace, RejectState};
use crate::http::extract::PathParams;
use crate::http::problem::Problem;

/// Which rejects.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct RejectsQuery {
    /// All of them, if none is named.
    partition: Option<u32>,
    #[serde(default)]
    from: u64,
    #[serde(default)]
    done: String,
}

/// `GET /admin/rejects`.
pub(in super::super) async fn list(
    State(pages): State<Pages>,
    visitor: Visitor,
    PageQuery(wanted): PageQuery<RejectsQuery>,
) -> Result<Response, Problem> {
    let queries = &pages.service.queries;
    let Some(partition) = wanted.partition else {
        let body = overview(queries).await?;
        return Ok(page(&visitor, "Rejects", PATH, &body));
    };
    let (from, bounds) = (wanted.from, queries.reject_bounds(partition).await?);
    let listed = queries.reject_page(partition, from, of_page()).await?;
    let (count, rows) = (listed.partitions, &listed.rejects);
    let first = format!("{PATH}?partition={partition}");
    let newest = last_page(bounds);
    let body = html! {
        h1 { "Rejects" }
        p { a href=(PATH) { "All partitions" } }
        form .picker method="get" action=(PATH) {
            label for="partition" { "Partition" }
            select #partition name="partition" {
                @for number in 0..count { option value=(number) selected[number == partition] { (number) } }
            }
            button .second type="submit" { "Show" }
        }
        section .card aria-label="Rejects" {
            @if !rows.is_empty() {
                p .help { "The oldest first." }
                (table(rows))
            } @else if bounds.start < bounds.end {
                p .empty { "No rejects from here on. There are earlier ones." }
            } @else {
                p .empty { "No rejects in this partition, as far back as the log keeps them." }
            }
        }
        nav .pages aria-label="More rejects" {
            @if from > bounds.start.0 { a .button.second href=(first) { "From the first" } }
            @if bounds.start < bounds.end && newest != from && newest > bounds.start.0 {
                a .button.second href=(format!("{first}&from={newest}")) { "The newest" }
            }
            @if let Some(next) = listed.next {
                a .button.second rel="next" href=(format!("{first}&from={next}")) { "After" }
            }
        }
    };
    Ok(page(&visitor, "Rejects", PATH, &body))
}

/// `GET /admin/rejects/{partition}/{offset}`.
pub(in super::super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    PathParams((partition, offset)): PathParams<(u32, u64)>,
    PageQuery(wanted): PageQuery<RejectsQuery>,
) -> Result<Response, Problem> {
    let note = match wanted.done.as_str() {
        "redriven" => Some(frame::done(
            "Sent again. If it is rejected again, it appears as a new reject.",
        )),
        "discarded" => Some(frame::done("It is discarded.")),
        _ => None,
    };
    let place = RejectPlace { partition, offset };
    respond(&pages, &visitor, place, note, None, StatusCode::OK).await
}

async fn respond(
    pages: &Pages,
    visitor: &Visitor,
    place: RejectPlace,
    note: Option<Markup>,
    sent: Option<&Form>,
    status: StatusCode,
) -> Result<Response, Problem> {
    let RejectPlace { partition, offset } = place;
    let detail = pages.service.queries.reject(place).await?;
    let is_open = detail.line.state == RejectState::Open;
    let body = html! {
        h1 { "A reject" }
        @if let Some(note) = note { (note) }
        (facts(&detail))
        @if is_open && writes(visitor) { (forms(visitor, place, &detail, sent)) }
        p { a href=(format!("{PATH}?partition={partition}&from={offset}")) { "Rejects from here on" } }
    };
    Ok(page_of(status, visitor, "A reject", PATH, &body))
}

fn facts(detail: &RejectDetail) -> Markup {
    let RejectLine {
        reason,
        field,
        detail: why,
        origin,
        log_time,
        state,
        ..
    } = &detail.line;
    html! {
        section .card aria-label="The reject" {
            div .row { h2 { (reason) } (state_chip(*state)) }
            p { (coded(why)) }
            dl .facts {
                div { dt { "Field" } dd { (field.as_deref().unwrap_or("–")) } }
                div { dt { "Refused" } dd { (instant(*log_time)) } }
                div { dt { "Original" } dd { (origin.topic) " " (origin.partition) ", offset " (origin.offset) } }
                @if let Some(sent) = &detail.redriven {
                    div { dt { "Sent again" } dd { (instant(sent.at)) ", by " (sent.by) } }
                }
                @if let Some(discarded) = &detail.discarded {
                    div { dt { "Discarded" } dd { (instant(discarded.at)) ", by " (discarded.by) } }
                    div { dt { "Why" } dd { (discarded.reason) } }
                }
            }
            h3 { "What was sent" }
            @match detail.original() {
                Some(text) => { pre tabindex="0" { (text) } }
                None => { p .empty { "It is not kept here, or is not text." } }
            }
            @if let Some(sent) = &detail.redriven {
                h3 { "What was sent again" }
                pre tabindex="0" { (sent.value) }
            }
        }
    }
}

fn forms(
    visitor: &Visitor,
    place: RejectPlace,
    detail: &RejectDetail,
    sent: Option<&Form>,
) -> Markup {
    let place = path(place);
    let text = sent.map_or_else(
        || detail.original().unwrap_or(""),
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
                    p #value-help .help { "Keep its id and source, unless another event with the same ones was counted." }
                    p .actions { button type="submit" { "Send" } }
                }
            }
            section .card aria-labelledby="discard-h" {
                h2 #discard-h { "Discard it" }
                form .stack method="post" action=(format!("{place}/discard")) {
                    (token(visitor))
                    label for="reason" { "Why" }
                    input #reason name="reason" required maxlength="500" autocomplete="off" aria-describedby="reason-help";
                    p #reason-help .help { "A discarded reject cannot be sent again." }
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
    PathParams((partition, offset)): PathParams<(u32, u64)>,
    form: Form,
) -> Result<Response, Problem> {
    let place = RejectPlace { partition, offset };
    let before = pages.service.queries.reject(place).await?;
    // Browsers send a text's ends of lines as two characters.
    let text = form.whole("value").replace("\r\n", "\n");
    let edited = Some(text.as_str()).filter(|text| before.original() != Some(*text));
    let commands = &pages.service.commands;
    match commands.redrive_reject(place, edited, visitor.by()).await {
        Ok(_) => Ok(redirect(&format!("{}?done=redriven", path(place)))),
        Err(error) => refused(&pages, &visitor, place, error, &form).await,
    }
}

/// `POST /admin/rejects/{partition}/{offset}/discard`.
pub(in super::super) async fn discard(
    State(pages): State<Pages>,
    visitor: Visitor,
    PathParams((partition, offset)): PathParams<(u32, u64)>,
    form: Form,
) -> Result<Response, Problem> {
    let place = RejectPlace { partition, offset };
    let (reason, commands) = (form.text("reason"), &pages.service.commands);
    match commands.discard_reject(place, reason, visitor.by()).await {
        Ok(_) => Ok(redirect(&format!("{}?done=discarded", path(place)))),
        Err(error) => refused(&pages, &visitor, place, error, &Form::default()).await,
    }
}

async fn refused(
    pages: &Pages,
    visitor: &Visitor,
    place: RejectPlace,
    error: CommandError,
    form: &Form,
) -> Result<Response, Problem> {
    let problem = Problem::from(error);
    if !problem.is_about_input() {
        return Err(problem);
    }
    let sent = Some(form).filter(|form| !form.whole("value").is_empty());
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    respond(pages, visitor, place, Some(refusal(&problem)), sent, status).await
}
