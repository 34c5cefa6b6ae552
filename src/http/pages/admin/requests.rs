//! One request, as admins see it: why it earned and cost what it did, and the form that reverses
//! it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::super::frame::{self, token};
use super::super::request::{RequestQuery, cards, find_form, not_found};
use super::super::requests;
use super::super::visitor::{Form, Visitor};
use super::super::words::{account_path, encoded};
use super::super::{Pages, redirect};
use super::{PageQuery, adjustments, page_of, refusal, writes};
use crate::app::commands::NewReversal;
use crate::app::queries::{Beneficiary, Explanation, ReversalSent, View};
use crate::domain::amount::{Money, Points};
use crate::domain::event::BEHIND_MS_MAX;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::text::check_reason;
use crate::domain::time::Millis;
use crate::http::extract::account;
use crate::http::problem::Problem;
use crate::ops::random_name;

/// The page.
pub(super) const PATH: &str = "/admin/request";
const TITLE: &str = "Requests";
/// How often the page of a reversal that is not rated yet looks for it.
const REFRESH: &str = "every 2s";
/// After so long a reversal that is not rated may be sent again, ms.
const OVERDUE_MS: i64 = 60_000;

/// `GET /admin/request`.
pub(in super::super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    PageQuery(asked): PageQuery<RequestQuery>,
) -> Result<Response, Problem> {
    if !asked.is_given() {
        let body = html! { h1 { "Requests" } (find_form(PATH, &asked, View::Admin)) };
        return Ok(page_of(StatusCode::OK, &visitor, TITLE, PATH, &body));
    }
    let note = match asked.done.as_str() {
        "reversed" => Some(frame::done(
            "Reversal sent. It takes effect once it is rated, within seconds.",
        )),
        _ => None,
    };
    respond(&pages, &visitor, &asked, note, "", StatusCode::OK).await
}

async fn respond(
    pages: &Pages,
    visitor: &Visitor,
    asked: &RequestQuery,
    note: Option<Markup>,
    reason: &str,
    status: StatusCode,
) -> Result<Response, Problem> {
    let now = pages.service.clock.now();
    let user = account(AccountKind::User, &asked.user)?;
    let explained = pages
        .service
        .queries
        .explain(asked.which(&user)?, now)
        .await;
    let explained = match explained.map_err(Problem::from) {
        Err(problem) if problem.is("unknown_request") => {
            let body = html! {
                h1 { "Requests" }
                (not_found(&problem))
                (find_form(PATH, asked, View::Admin))
            };
            return Ok(page_of(StatusCode::NOT_FOUND, visitor, TITLE, PATH, &body));
        }
        explained => explained?,
    };
    let here = path_of(&user, &explained);
    let sent = explained.reversal_sent.as_ref();
    let is_overdue = |sent: &ReversalSent| sent.at < now.plus(-OVERDUE_MS);
    let get = sent.filter(|sent| !is_overdue(sent)).map(|_| &here);
    let overdue = sent.filter(|sent| is_overdue(sent));
    let body = html! {
        h1 { "Why this number?" }
        p {
            "A request of user " a href=(account_path(&user)) { (user.id()) } ": "
            a href=(requests::path_of(&user)) { "all requests" } " · "
            a href=(adjustments::path_of(&user)) { "adjust the points" } " · "
            a href=(format!("/admin/credits?user={}", encoded(user.id()))) { "credits" }
        }
        @if let Some(note) = note { (note) }
        div #live hx-get=[get] hx-trigger=[get.map(|_| REFRESH)] hx-select=[get.map(|_| "#live")] hx-swap=[get.map(|_| "outerHTML")] {
            (cards(&explained))
            @if let Some(why) = why_not(&explained, now) { p .help #irreversible { (why) } }
        }
        @if writes(visitor) {
            @if let Some(sent) = overdue { (again_form(visitor, &user, &explained, sent)) }
            @if why_not(&explained, now).is_none() { (reverse_form(visitor, &user, &explained, reason)) }
        }
    };
    Ok(page_of(status, visitor, TITLE, PATH, &body))
}

/// The page of a request.
fn path_of(user: &Account, explained: &Explanation) -> String {
    let request = &explained.request;
    let [user, source, id, time] = [
        user.id(),
        &request.source,
        &request.id,
        &request.time.to_string(),
    ]
    .map(encoded);
    format!("{PATH}?user={user}&source={source}&id={id}&time={time}")
}

/// Why a request cannot be reversed, if it cannot.
fn why_not(explained: &Explanation, now: Millis) -> Option<&'static str> {
    let nobody_got = |of: &Beneficiary| of.points == Points::ZERO;
    let cost = explained.cost.as_ref();
    let is_free =
        cost.is_none_or(|cost| cost.cost == Money::ZERO && cost.shadow_cost == Money::ZERO);
    match () {
        () if explained.reversal.is_some() => {
            Some("This request is reversed. A request is reversed once.")
        }
        () if explained.reversal_sent.is_some() => {
            Some("A reversal of this request is on its way.")
        }
        () if is_free && explained.beneficiaries.iter().all(nobody_got) => {
            Some("This request earned and cost nothing, so there is nothing to reverse.")
        }
        () if explained.request.time < now.plus(-BEHIND_MS_MAX) => {
            Some("This request is more than 35 days old. Correct it with an adjustment.")
        }
        () => None,
    }
}

fn hidden(visitor: &Visitor, user: &Account, explained: &Explanation) -> Markup {
    let request = &explained.request;
    html! {
        (token(visitor))
        input type="hidden" name="user" value=(user.id());
        input type="hidden" name="source" value=(request.source);
        input type="hidden" name="id" value=(request.id);
        input type="hidden" name="time" value=(request.time);
    }
}

/// For a reversal that was recorded a while ago and is not rated: it may never have reached the
/// log.
fn again_form(
    visitor: &Visitor,
    user: &Account,
    explained: &Explanation,
    sent: &ReversalSent,
) -> Markup {
    html! {
        section .card aria-labelledby="again-h" {
            h2 #again-h { "Send it again" }
            p .help { "The reversal may not have been sent, or rating may have refused it: look for its key among the rejects. Sent twice, it counts once." }
            form .actions method="post" action=(format!("{PATH}/reverse")) {
                (hidden(visitor, user, explained))
                input type="hidden" name="reason" value=(sent.reason);
                input type="hidden" name="once" value=(sent.key);
                button type="submit" { "Send it again" }
            }
        }
    }
}

fn reverse_form(
    visitor: &Visitor,
    user: &Account,
    explained: &Explanation,
    reason: &str,
) -> Markup {
    html! {
        section .card aria-labelledby="reverse-h" {
            h2 #reverse-h { "Reverse it" }
            form .stack method="post" action=(format!("{PATH}/preview")) {
                (hidden(visitor, user, explained))
                label for="reason" { "Why" }
                input #reason name="reason" required maxlength="500" value=(reason) autocomplete="off" aria-describedby="reason-help";
                p #reason-help .help { "The user sees it too. The next page shows whose points fall, and by how much." }
                p .actions { button type="submit" { "Reverse" } }
            }
        }
    }
}

/// A form of this page, and what it is about.
struct Sent {
    asked: RequestQuery,
    user: Account,
    reason: String,
}

impl Sent {
    fn of(form: &Form) -> Result<Sent, Problem> {
        let whole = |name| form.whole(name).to_owned();
        Ok(Sent {
            user: account(AccountKind::User, form.whole("user"))?,
            asked: RequestQuery {
                user: whole("user"),
                source: whole("source"),
                id: whole("id"),
                time: whole("time"),
                done: String::new(),
            },
            reason: form.text("reason").to_owned(),
        })
    }
}

/// `POST /admin/request/preview`: shows whose points fall, and by how much.
pub(in super::super) async fn preview(
    State(pages): State<Pages>,
    visitor: Visitor,
    form: Form,
) -> Result<Response, Problem> {
    let sent = Sent::of(&form)?;
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    if let Err(error) = check_reason(&sent.reason) {
        let note = Some(frame::not_done(&format!("Nothing was reversed: {error}.")));
        return respond(&pages, &visitor, &sent.asked, note, &sent.reason, status).await;
    }
    let now = pages.service.clock.now();
    let which = sent.asked.which(&sent.user)?;
    let explained = pages.service.queries.explain(which, now).await?;
    if why_not(&explained, now).is_some() {
        // The page says why.
        return respond(&pages, &visitor, &sent.asked, None, &sent.reason, status).await;
    }
    let body = confirmation(&visitor, &sent, &explained);
    Ok(page_of(StatusCode::OK, &visitor, TITLE, PATH, &body))
}

fn confirmation(visitor: &Visitor, sent: &Sent, explained: &Explanation) -> Markup {
    let request = &explained.request;
    let back = path_of(&sent.user, explained);
    html! {
        h1 { "Reverse this request?" }
        section .card aria-labelledby="falls-h" {
            h2 #falls-h { "What it takes back" }
            p { "Request " strong { (request.id) } " of " (request.source) ", made by user " (sent.user.id()) " at " (request.time) "." }
            div .scroll tabindex="0" role="group" aria-labelledby="falls-h" { (falls(explained)) }
            p .help {
                "The request stays counted as a request, as a reversed one. First uses of a service, signups and milestones are not taken back. "
                "A reversal cannot be undone."
            }
            p { "Reason: " (sent.reason) }
            form .actions method="post" action=(format!("{PATH}/reverse")) {
                (hidden(visitor, &sent.user, explained))
                input type="hidden" name="reason" value=(sent.reason);
                // Sent twice it counts once.
                input type="hidden" name="once" value=(format!("page-{}", random_name()));
                button .danger type="submit" { "Reverse" } " "
                a .button.second href=(back) { "Cancel" }
            }
        }
    }
}

/// Whose points fall, and by how much.
fn falls(explained: &Explanation) -> Markup {
    let cost = explained.cost.as_ref();
    let charges = cost.map(|cost| {
        [
            ("charged", cost.cost),
            ("noted on testnet", cost.shadow_cost),
        ]
    });
    let charges = charges.into_iter().flatten();
    html! {
        table #falls {
            thead { tr { th scope="col" { "Whose" } th .n scope="col" { "By" } } }
            tbody {
                @for of in &explained.beneficiaries {
                    tr { th scope="row" { (of.title()) } td .n { (Points::ZERO.minus(of.points)) " points" } }
                }
                @for (what, amount) in charges.filter(|(_, amount)| *amount != Money::ZERO) {
                    tr { th scope="row" { "The user’s cost, " (what) } td .n { (Money::ZERO.minus(amount)) " USD" } }
                }
            }
        }
    }
}

/// `POST /admin/request/reverse`: the command of `POST /api/admin/reversals`.
pub(in super::super) async fn reverse(
    State(pages): State<Pages>,
    visitor: Visitor,
    form: Form,
) -> Result<Response, Problem> {
    let sent = Sent::of(&form)?;
    let time = sent.asked.which(&sent.user)?.time;
    let (Some(time), once) = (time, form.text("once")) else {
        return Err(unconfirmed());
    };
    if once.is_empty() {
        return Err(unconfirmed());
    }
    let now = pages.service.clock.now();
    let which = sent.asked.which(&sent.user)?;
    let explained = pages.service.queries.explain(which, now).await?;
    let other = |before: &ReversalSent| before.key != once;
    if explained.reversal_sent.as_ref().is_some_and(other) {
        // Somebody else was faster; the page says so.
        let status = StatusCode::CONFLICT;
        return respond(&pages, &visitor, &sent.asked, None, &sent.reason, status).await;
    }
    let reversed = pages.service.commands.reverse(NewReversal {
        user: sent.user.id().to_owned(),
        source: sent.asked.source.clone(),
        id: sent.asked.id.clone(),
        time,
        reason: sent.reason.clone(),
        idempotency_key: once.to_owned(),
        by: visitor.by(),
    });
    match reversed.await {
        Ok(_) => {
            let RequestQuery {
                user, source, id, ..
            } = &sent.asked;
            let [user, source, id] = [user, source, id].map(|text| encoded(text));
            let time = encoded(&time.to_string());
            Ok(redirect(&format!(
                "{PATH}?user={user}&source={source}&id={id}&time={time}&done=reversed"
            )))
        }
        Err(error) => {
            let problem = Problem::from(error);
            if !problem.is_about_input() {
                return Err(problem);
            }
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            let note = Some(refusal(&problem));
            respond(&pages, &visitor, &sent.asked, note, &sent.reason, status).await
        }
    }
}

/// Nobody confirms what was not shown.
fn unconfirmed() -> Problem {
    let detail = "nothing was reversed: open the request's page, and confirm what it shows";
    Problem::new(StatusCode::BAD_REQUEST, "not_confirmed", detail)
}
