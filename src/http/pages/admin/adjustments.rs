//! Adjustments: the awards of an account, a form to correct its points, and the counter-entry of
//! each correction.

use std::collections::HashSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::frame;
use super::super::visitor::{Form, Visitor};
use super::super::words::{account_path, encoded, instant, kind_word, number};
use super::super::{Pages, redirect};
use super::money::{Desk, Outcome, Said, Sent, Words};
use super::{PageQuery, page_of, spaces_note, unknown_note, writes};
use crate::app::commands::{Adjusted, NewAdjustment, key_of_undo};
use crate::app::queries::{AWARDS_LOOKED_MAX, AccountTraces, AwardInfo, AwardList};
use crate::domain::amount::Points;
use crate::domain::ids::{Account, AccountKind};
use crate::http::extract::{account, invalid_id};
use crate::http::problem::Problem;

/// The page.
pub(super) const PATH: &str = "/admin/adjustments";
const TITLE: &str = "Adjustments";
/// Most awards that are shown.
const AWARDS: usize = 100;

const WORDS: Words = Words {
    path: PATH,
    title: TITLE,
    field: "points",
    label: "Points",
    unit: "points",
    form: "Add points, or take them away",
    amount_help: "For example 25 or -0.5. Booked in the bonus of this month.",
    reason_help: "The audit trail and the list below keep it.",
    submit: "Adjust",
    add: ["Add these points?", "Add them"],
    take: ["Take these points away?", "Take them away"],
    done: "booked",
};

fn desk<'p>(pages: &'p Pages, visitor: &'p Visitor, of: &Account) -> Desk<'p> {
    Desk {
        words: &WORDS,
        pages,
        visitor,
        whose: format!("{} “{}”", of.kind, of.id()),
        account: html! {
            input type="hidden" name="kind" value=(of.kind);
            input type="hidden" name="id" value=(of.id());
        },
        back: path_of(of),
    }
}

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
    let desk = desk(&pages, &visitor, &of);
    if !wanted.undo.is_empty() && writes(&visitor) {
        return ask_undo(&desk, &of, &wanted.undo).await;
    }
    let note = match wanted.done.as_str() {
        "adjusted" => Some("Adjusted. The statement of this month shows it within seconds."),
        "before" => Some("This form was sent before; its points were booked once."),
        _ => None,
    };
    let note = note.map(frame::done);
    let form = desk.form(&Sent::default());
    respond(&desk, &of, note, &form, StatusCode::OK).await
}

async fn respond(
    desk: &Desk<'_>,
    of: &Account,
    note: Option<Markup>,
    form: &Markup,
    status: StatusCode,
) -> Result<Response, Problem> {
    let queries = &desk.pages.service.queries;
    let found = queries.awards(of).await?;
    let traces = match found.awards.is_empty() {
        true => Some(queries.traces_of(of).await?),
        false => None,
    };
    let nothing = traces.filter(AccountTraces::is_empty);
    let path = format!("{PATH}?kind={}&id=", of.kind);
    let body = html! {
        h1 { "Adjustments" }
        @if let Some(note) = note { (note) }
        (whose(Some(of.kind), of.id()))
        (spaces_note(of.id(), &path))
        @if let Some(nothing) = &nothing { (unknown_note(of, nothing)) }
        p { (kind_word(of.kind)) " " a href=(account_path(of)) { (of.id()) } }
        @if writes(desk.visitor) { (form) }
        (list(desk.visitor, of, &found))
    };
    Ok(desk.page(status, &body))
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

/// The corrections among an account's awards, to look up which of them are undone.
struct Corrections<'a>(HashSet<(&'a str, Points)>);

impl<'a> Corrections<'a> {
    fn of(awards: &'a [AwardInfo]) -> Corrections<'a> {
        let corrections = awards
            .iter()
            .filter_map(|award| Some((award.adjustment_key()?, award.points)));
        Corrections(corrections.collect())
    }

    /// Whether the correction of so many points has its counter-entry.
    fn have_undone(&self, key: &str, points: Points) -> bool {
        let (undo, back) = (key_of_undo(key), Points::ZERO.minus(points));
        self.0.contains(&(undo.as_str(), back))
    }
}

fn list(visitor: &Visitor, of: &Account, found: &AwardList) -> Markup {
    let awards = found.awards.as_slice();
    let corrections = Corrections::of(awards);
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
                                        @if let Some(key) = award.adjustment_key() {
                                            @if corrections.have_undone(key, award.points) { span .chip.open { "Undone" } }
                                            @else if writes(visitor) { a href=(format!("{}&undo={}", path_of(of), encoded(key))) { "Undo" } }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
                @if awards.len() > AWARDS { p .help { "And " (number(awards.len() - AWARDS)) " before these." } }
                @if !found.is_whole { p .warn { "This account has more than " (number(AWARDS_LOOKED_MAX)) " awards; adjustments are read first, so signups and milestones may be missing here." } }
            }
        }
    }
}

/// Asks whether a correction is to be undone by a counter-entry.
async fn ask_undo(desk: &Desk<'_>, of: &Account, key: &str) -> Result<Response, Problem> {
    let commands = &desk.pages.service.commands;
    let counter = commands
        .counter_adjustment(of, key, &desk.visitor.by())
        .await;
    let why = match counter.map_err(Problem::from) {
        Ok(counter) if counter.is_booked => "this adjustment is undone already".to_owned(),
        Ok(counter) => {
            let (points, reason) = (counter.new.points, &counter.new.reason);
            let body = desk.undo_question(key, points, reason, &html! {});
            return Ok(desk.page(StatusCode::OK, &body));
        }
        Err(problem) if problem.is("unknown_entry") || problem.is_about_input() => {
            problem.told().0.to_owned()
        }
        Err(problem) => return Err(problem),
    };
    refused(desk, of, Sent::default(), &why).await
}

/// `POST /admin/adjustments`: the commands of `POST /api/admin/adjustments`.
pub(in super::super) async fn adjust(
    State(pages): State<Pages>,
    visitor: Visitor,
    form: Form,
) -> Result<Response, Problem> {
    let kind = form.text("kind").parse::<AccountKind>();
    let kind = kind.map_err(|error| invalid_id(&error))?;
    let of = account(kind, form.whole("id"))?;
    let desk = desk(&pages, &visitor, &of);
    let (undo, sent) = (form.whole("undo"), Sent::of(&form, &WORDS));
    let is_confirmed = form.text("confirmed") == "yes";
    let (booked, undone) = (
        book(&desk, &of, &sent, is_confirmed),
        undone(&desk, &of, undo),
    );
    let said = desk.booked_or_undone(&sent, undo, booked, undone);
    match said.await? {
        Said::Page(page) => Ok(page),
        Said::Refused(why) => refused(&desk, &of, sent, &why).await,
        Said::Booked(adjusted) => {
            let is_new = adjusted.is_new;
            let done = if is_new { "adjusted" } else { "before" };
            Ok(redirect(&format!("{}&done={done}", path_of(&of))))
        }
    }
}

/// Books what a form says, or asks first.
async fn book(
    desk: &Desk<'_>,
    of: &Account,
    sent: &Sent,
    is_confirmed: bool,
) -> Result<Outcome<Adjusted>, Problem> {
    let service = &desk.pages.service;
    let points = match sent.amount.parse::<Points>() {
        Ok(points) => points,
        Err(error) => return Ok(Outcome::Refused(error.to_string())),
    };
    let new = NewAdjustment {
        account: of.clone(),
        points,
        reason: sent.reason.clone(),
        idempotency_key: sent.key(),
        by: desk.visitor.by(),
    };
    if !is_confirmed {
        new.check()?;
        let (commands, above) = (&service.commands, service.config.ask_above_points);
        let doubts = commands.doubts_of_adjustment(of, points, above).await?;
        if !doubts.is_empty() {
            return Ok(Outcome::Question(desk.question(
                points,
                sent,
                &doubts,
                &html! {},
            )));
        }
    }
    let adjusted = service.commands.adjust(new).await;
    match adjusted.map_err(Problem::from) {
        Ok(adjusted) => Ok(Outcome::Booked(adjusted)),
        // Without the words of the API.
        Err(problem) if problem.is("idempotency_key_reused") => Ok(Outcome::Refused(
            "this form was sent before with another number of points, and those were booked. Below is a new form with what you \
             typed now: send it if this is to be booked, too"
                .to_owned(),
        )),
        Err(problem) => Err(problem),
    }
}

async fn undone(desk: &Desk<'_>, of: &Account, key: &str) -> Result<Outcome<Adjusted>, Problem> {
    let commands = &desk.pages.service.commands;
    let by = desk.visitor.by();
    let (_, adjusted) = commands.undo_adjustment(of, key, &by).await?;
    Ok(Outcome::Booked(adjusted))
}

/// The page with the form as it was typed.
async fn refused(
    desk: &Desk<'_>,
    of: &Account,
    sent: Sent,
    why: &str,
) -> Result<Response, Problem> {
    let note = Some(desk.not_done(why));
    let (form, status) = (desk.form_anew(sent), StatusCode::UNPROCESSABLE_ENTITY);
    respond(desk, of, note, &form, status).await
}
