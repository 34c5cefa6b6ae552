//! Adjustments: the awards of an account, a form to correct its points, and the counter-entry of
//! each correction.

use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::frame::{self, token};
use super::super::visitor::{Form, Visitor};
use super::super::words::{account_path, encoded, headline, instant, kind_word, number};
use super::super::{Pages, redirect};
use super::credits::EARLIER;
use super::{PageQuery, coded, page_of, refusal, spaces_note, unknown_note, writes};
use crate::app::commands::{
    Adjusted, Doubt, NewAdjustment, is_key_of_undo, key_of_undo, reason_of_undo,
};
use crate::app::queries::AwardInfo;
use crate::domain::amount::Points;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::text::REASON_CHARS_MAX;
use crate::http::extract::{account, invalid_id};
use crate::http::problem::Problem;
use crate::ops::random_name;

/// The page.
pub(super) const PATH: &str = "/admin/adjustments";
const TITLE: &str = "Adjustments";
/// Most awards that are shown.
const AWARDS: usize = 100;
/// What the id of a correction begins with; its key follows.
const ADJUSTMENT: &str = "adjustment#";

/// Which account, and what was done before.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct AdjustmentsQuery {
    kind: Option<AccountKind>,
    #[serde(default)]
    id: String,
    #[serde(default)]
    done: String,
    /// The key of a correction that is to be undone.
    #[serde(default)]
    undo: String,
}

/// The page of an account.
pub(in super::super) fn path_of(account: &Account) -> String {
    format!("{PATH}?kind={}&id={}", account.kind, encoded(account.id()))
}

/// `GET /admin/adjustments`.
pub(in super::super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    PageQuery(wanted): PageQuery<AdjustmentsQuery>,
) -> Result<Response, Problem> {
    if wanted.id.is_empty() {
        let body = html! { h1 { "Adjustments" } (whose(wanted.kind, "")) };
        return Ok(page_of(StatusCode::OK, &visitor, TITLE, PATH, &body));
    }
    let of = account(wanted.kind.unwrap_or(AccountKind::User), &wanted.id)?;
    if !wanted.undo.is_empty() && writes(&visitor) {
        return undo(&pages, &visitor, &of, &wanted.undo).await;
    }
    let note = match wanted.done.as_str() {
        "adjusted" => Some("Adjusted. The statement of this month shows it within seconds."),
        "before" => Some("This form was sent before; its points were booked once."),
        _ => None,
    };
    let note = note.map(frame::done);
    respond(&pages, &visitor, &of, note, Sent::default(), StatusCode::OK).await
}

/// A form as it was sent.
#[derive(Clone, Debug, Default)]
struct Sent {
    points: String,
    reason: String,
    /// The name of the correction; a new one, where it is empty.
    once: String,
}

impl Sent {
    fn name(&self) -> String {
        match self.once.as_str() {
            "" => format!("page-{}", random_name()),
            once => once.to_owned(),
        }
    }
}

async fn respond(
    pages: &Pages,
    visitor: &Visitor,
    of: &Account,
    note: Option<Markup>,
    sent: Sent,
    status: StatusCode,
) -> Result<Response, Problem> {
    let queries = &pages.service.queries;
    let awards = queries.awards(of).await?;
    let is_unknown = awards.is_empty() && queries.traces_of(of).await?.is_empty();
    let path = format!("{PATH}?kind={}&id=", of.kind);
    let body = html! {
        h1 { "Adjustments" }
        @if let Some(note) = note { (note) }
        (whose(Some(of.kind), of.id()))
        (spaces_note(of.id(), &path))
        @if is_unknown { (unknown_note(of)) }
        p { (kind_word(of.kind)) " " a href=(account_path(of)) { (of.id()) } }
        @if writes(visitor) { (form(visitor, of, &sent)) }
        (list(visitor, of, &awards))
    };
    Ok(page_of(status, visitor, TITLE, PATH, &body))
}

fn whose(kind: Option<AccountKind>, id: &str) -> Markup {
    let is_provider = kind == Some(AccountKind::Provider);
    html! {
        form .line.card method="get" action=(PATH) {
            span .field {
                label for="kind" { "Of" }
                select #kind name="kind" {
                    option value="user" selected[!is_provider] { "User" }
                    option value="provider" selected[is_provider] { "Provider" }
                }
            }
            span .field {
                label for="id" { "Id" }
                input #id name="id" required maxlength="128" value=(id) autocomplete="off" spellcheck="false";
            }
            button .second type="submit" { "Show" }
        }
    }
}

fn form(visitor: &Visitor, of: &Account, sent: &Sent) -> Markup {
    html! {
        section .card aria-labelledby="adjust-h" {
            h2 #adjust-h { "Add points, or take them away" }
            form .stack method="post" action=(PATH) {
                (token(visitor))
                (hidden(of, &sent.name()))
                label for="points" { "Points" }
                input #points name="points" inputmode="decimal" required readonly[is_key_of_undo(&sent.once)] value=(sent.points) autocomplete="off" aria-describedby="points-help";
                p #points-help .help { "For example 25 or -0.5. Booked in the bonus of this month." }
                label for="reason" { "Why" }
                input #reason name="reason" required readonly[is_key_of_undo(&sent.once)] maxlength=(REASON_CHARS_MAX) value=(sent.reason) autocomplete="off";
                p .actions { button type="submit" { "Adjust" } }
            }
        }
    }
}

fn hidden(of: &Account, once: &str) -> Markup {
    html! {
        input type="hidden" name="kind" value=(of.kind);
        input type="hidden" name="id" value=(of.id());
        // Sent twice it counts once.
        input type="hidden" name="once" value=(once);
    }
}

/// The key under which a correction was made; `None`: it is a signup or a milestone.
fn key_of(award: &AwardInfo) -> Option<&str> {
    award.award_id.strip_prefix(ADJUSTMENT)
}

/// The counter-entry of a correction, if there is one.
fn is_undone(awards: &[AwardInfo], key: &str) -> bool {
    let undo = key_of_undo(key);
    awards.iter().any(|award| key_of(award) == Some(&undo))
}

fn list(visitor: &Visitor, of: &Account, awards: &[AwardInfo]) -> Markup {
    html! {
        section .card aria-labelledby="awards-h" {
            h2 #awards-h { "Awards" }
            p .help { "Points that do not come from usage: adjustments, signups and milestones, newest first." }
            @if awards.is_empty() { p .empty { "None yet." } } @else {
                div .scroll.wide.cells tabindex="0" role="group" aria-labelledby="awards-h" {
                    table {
                        thead { tr {
                            th scope="col" { "When" }
                            th .n scope="col" { "Points" }
                            th scope="col" { "What" }
                            th scope="col" { "Why" }
                            th scope="col" { "Month" }
                            th scope="col" { span .sr { "Undo" } }
                        } }
                        tbody {
                            @for award in awards.iter().take(AWARDS) {
                                tr {
                                    th .time scope="row" { (instant(award.granted_at)) }
                                    td .n data-label="Points" { (number(award.points)) }
                                    td data-label="What" { (award.r#type) }
                                    td data-label="Why" { (award.reason) }
                                    td data-label="Month" { (award.month) }
                                    td {
                                        @if let Some(key) = key_of(award) {
                                            @if is_undone(awards, key) { span .chip.open { "Undone" } }
                                            @else if writes(visitor) { a href=(format!("{}&undo={}", path_of(of), encoded(key))) { "Undo" } }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
                @if awards.len() > AWARDS { p .help { "And " (number(awards.len() - AWARDS)) " before these." } }
            }
        }
    }
}

/// Asks whether a correction is to be undone by a counter-entry.
async fn undo(
    pages: &Pages,
    visitor: &Visitor,
    of: &Account,
    key: &str,
) -> Result<Response, Problem> {
    let awards = pages.service.queries.awards(of).await?;
    let award = awards.iter().find(|award| key_of(award) == Some(key));
    let why = match award {
        None => "Nothing was adjusted: there is no such adjustment.",
        Some(_) if is_undone(&awards, key) => "Nothing was adjusted: it is undone already.",
        Some(_) => "",
    };
    let Some(award) = award.filter(|_| why.is_empty()) else {
        let (note, status) = (Some(frame::not_done(why)), StatusCode::UNPROCESSABLE_ENTITY);
        return respond(pages, visitor, of, note, Sent::default(), status).await;
    };
    let points = Points::ZERO.minus(award.points);
    let reason = reason_of_undo(
        &format!("{} points", award.points),
        &instant(award.granted_at),
        &award.reason,
    );
    let sent = Sent {
        points: points.to_string(),
        reason,
        once: key_of_undo(key),
    };
    let body = confirmation(visitor, of, points, &sent, &[]);
    Ok(page_of(StatusCode::OK, visitor, TITLE, PATH, &body))
}

fn confirmation(
    visitor: &Visitor,
    of: &Account,
    points: Points,
    sent: &Sent,
    doubts: &[Doubt],
) -> Markup {
    let is_less = points < Points::ZERO;
    html! {
        h1 { @if is_less { "Take these points away?" } @else { "Add these points?" } }
        section .card aria-labelledby="sure-h" {
            h2 #sure-h { (kind_word(of.kind)) " “" (of.id()) "”" }
            @for doubt in doubts { p .warn { (coded(&format!("Please check: {doubt}."))) } }
            (headline(points, "points"))
            p { "Why: " (sent.reason) }
            form .actions method="post" action=(PATH) {
                (token(visitor))
                (hidden(of, &sent.name()))
                input type="hidden" name="points" value=(sent.points);
                input type="hidden" name="reason" value=(sent.reason);
                input type="hidden" name="confirmed" value="yes";
                button .danger[is_less] type="submit" { @if is_less { "Take them away" } @else { "Add them" } } " "
                a .button.second href=(path_of(of)) { "Cancel" }
            }
        }
    }
}

/// `POST /admin/adjustments`: the command of `POST /api/admin/adjustments`.
pub(in super::super) async fn adjust(
    State(pages): State<Pages>,
    visitor: Visitor,
    form: Form,
) -> Result<Response, Problem> {
    let kind = form.text("kind").parse::<AccountKind>();
    let kind = kind.map_err(|error| invalid_id(&error))?;
    let of = account(kind, form.whole("id"))?;
    let sent = Sent {
        points: form.text("points").to_owned(),
        reason: form.text("reason").to_owned(),
        once: form.text("once").to_owned(),
    };
    let points = match sent.points.parse::<Points>() {
        Ok(points) => points,
        Err(error) => {
            let note = frame::not_done(&format!("Nothing was adjusted: {error}."));
            return refused(&pages, &visitor, &of, note, sent).await;
        }
    };
    let new = NewAdjustment {
        account: of.clone(),
        points,
        reason: sent.reason.clone(),
        idempotency_key: sent.name(),
        by: visitor.by(),
    };
    // The confirmation, and the form again, keep the name.
    let sent = Sent {
        once: new.idempotency_key.clone(),
        ..sent
    };
    let is_confirmed = form.text("confirmed") == "yes";
    let within = pages.answer_within(&Method::POST).saturating_sub(EARLIER);
    let booked = book(&pages, new, is_confirmed);
    let problem = match tokio::time::timeout(within, booked).await {
        Ok(Ok(Outcome::Doubtful(doubts))) => {
            let body = confirmation(&visitor, &of, points, &sent, &doubts);
            return Ok(page_of(StatusCode::OK, &visitor, TITLE, PATH, &body));
        }
        Ok(Ok(Outcome::Booked(adjusted))) => {
            let is_new = adjusted.is_new;
            let done = if is_new { "adjusted" } else { "before" };
            return Ok(redirect(&format!("{}&done={done}", path_of(&of))));
        }
        Ok(Err(problem)) => problem,
        Err(_) => return Ok(unsure(&visitor, &of, &sent)),
    };
    if problem.is_unavailable() {
        return Ok(unsure(&visitor, &of, &sent));
    }
    if !problem.is_about_input() {
        return Err(problem);
    }
    let note = match problem.is("idempotency_key_reused") {
        true => frame::not_done(
            "Nothing was adjusted: this form was sent before with another number of points, and those were booked. \
             Below is a new form with what you typed now: send it if this is to be booked, too.",
        ),
        false => refusal(&problem),
    };
    refused(&pages, &visitor, &of, note, sent).await
}

/// What became of a form.
enum Outcome {
    /// It has to be confirmed first.
    Doubtful(Vec<Doubt>),
    /// It was booked, now or before.
    Booked(Adjusted),
}

async fn book(pages: &Pages, new: NewAdjustment, is_confirmed: bool) -> Result<Outcome, Problem> {
    let commands = &pages.service.commands;
    if !is_confirmed {
        new.check()?;
        let above = pages.service.config.ask_above_points;
        let doubts = commands.doubts_of_adjustment(&new.account, new.points, above);
        let doubts = doubts.await?;
        if !doubts.is_empty() {
            return Ok(Outcome::Doubtful(doubts));
        }
    }
    Ok(Outcome::Booked(commands.adjust(new).await?))
}

/// The page with the form as it was typed. Nothing was booked under its name, or something else was:
/// it gets a new one.
async fn refused(
    pages: &Pages,
    visitor: &Visitor,
    of: &Account,
    note: Markup,
    sent: Sent,
) -> Result<Response, Problem> {
    let anew = Sent {
        once: String::new(),
        ..sent
    };
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    respond(pages, visitor, of, Some(note), anew, status).await
}

/// It is unknown whether it was booked. The same form under the same name is safe to send again.
fn unsure(visitor: &Visitor, of: &Account, sent: &Sent) -> Response {
    let body = html! {
        h1 { "Adjustments" }
        div .note.bad role="alert" {
            p { "The store did not answer, so this may or may not have been booked. Send the same form again in a few seconds: it counts \
                 once, however often it is sent." }
        }
        h2 { (kind_word(of.kind)) " “" (of.id()) "”" }
        (form(visitor, of, sent))
    };
    page_of(StatusCode::SERVICE_UNAVAILABLE, visitor, TITLE, PATH, &body)
}
