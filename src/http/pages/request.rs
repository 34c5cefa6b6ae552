//! One request: why it earned and cost what it did, for the user who made it and the provider who
//! served it. Admins have a page of their own ([`super::admin::requests`]).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::visitor::{PathAccount, Visitor};
use super::words::{account_path, encoded};
use super::{Pages, frame};
use crate::app::queries::{Explanation, View, WhichRequest};
use crate::domain::access::Scope;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::time::Millis;
use crate::http::extract::{QueryParams, account};
use crate::http::problem::Problem;
use crate::http::requests::instant;

/// Which request, as an address or a form says it. Nothing at all asks for the form.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RequestQuery {
    /// The user who made it; the path of a user's page names it.
    #[serde(default)]
    pub user: String,
    #[serde(default)]
    pub source: String,
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub time: String,
    /// What was done just before.
    #[serde(default)]
    pub done: String,
}

impl RequestQuery {
    /// Whether it names a request.
    pub fn is_given(&self) -> bool {
        !self.source.is_empty() || !self.id.is_empty()
    }

    /// The request.
    pub fn which<'a>(&'a self, user: &'a Account) -> Result<WhichRequest<'a>, Problem> {
        let time = Some(self.time.trim()).filter(|time| !time.is_empty());
        Ok(WhichRequest {
            user,
            source: &self.source,
            id: &self.id,
            time: time.map(instant).transpose()?,
        })
    }
}

/// The page of a request: the admins' for those who may see it, else the user's own.
pub(super) fn request_path(
    visitor: &Visitor,
    user: &Account,
    source: &str,
    id: &str,
    time: Millis,
) -> String {
    let [source, id, time] = [source, id, &time.to_string()].map(encoded);
    let which = format!("source={source}&id={id}&time={time}");
    match visitor.may(&Scope::AdminRead) {
        true => format!("/admin/request?user={}&{which}", encoded(user.id())),
        false => format!("{}/request?{which}", account_path(user)),
    }
}

/// `GET /users/{id}/request`, `GET /providers/{id}/request`.
pub(super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    PathAccount(owner): PathAccount,
    QueryParams(asked): QueryParams<RequestQuery>,
) -> Result<Response, Problem> {
    let path = format!("{}/request", account_path(&owner));
    let view = match owner.kind {
        AccountKind::User => View::User,
        AccountKind::Provider => View::Provider,
    };
    let found = match asked.is_given() {
        true => Some(explained(&pages, &owner, &asked).await),
        false => None,
    };
    let (status, shown) = match found {
        Some(Err(problem)) if !problem.is("unknown_request") => return Err(problem),
        Some(Err(problem)) => (StatusCode::NOT_FOUND, Some(not_found(&problem))),
        Some(Ok(explained)) => (StatusCode::OK, Some(cards(&explained))),
        None => (StatusCode::OK, None),
    };
    let body = html! {
        div .head { h1 { "Why this number?" } }
        p { a href=(account_path(&owner)) { "Back to " (owner.id()) } }
        @if let Some(shown) = shown { (shown) }
        (find_form(&path, &asked, view))
    };
    Ok(frame::page_of(status, &visitor, "Why this number?", &body))
}

async fn explained(
    pages: &Pages,
    owner: &Account,
    asked: &RequestQuery,
) -> Result<Explanation, Problem> {
    let (queries, now) = (&pages.service.queries, pages.service.clock.now());
    let explained = match owner.kind {
        AccountKind::User => queries.explain_to_user(asked.which(owner)?, now).await?,
        AccountKind::Provider => {
            let user = account(AccountKind::User, &asked.user)?;
            let which = asked.which(&user)?;
            queries.explain_to_provider(owner, which, now).await?
        }
    };
    Ok(explained)
}

/// That there is no such request, and what to check.
pub(super) fn not_found(problem: &Problem) -> Markup {
    let (detail, _) = problem.told();
    frame::not_done(&format!("Not found: {detail}."))
}

/// The form that asks for a request.
pub(super) fn find_form(path: &str, asked: &RequestQuery, view: View) -> Markup {
    let asks_for_user = view != View::User;
    // A search takes as long as the user has requests, which is not the provider's business.
    let needs_time = view == View::Provider;
    html! {
        section .card aria-labelledby="find-h" {
            h2 #find-h { "Look up a request" }
            form .stack method="get" action=(path) {
                @if asks_for_user {
                    label for="user" { "User" }
                    input #user name="user" required maxlength="128" value=(asked.user) autocomplete="off" spellcheck="false";
                }
                label for="source" { "Source" }
                input #source name="source" required maxlength="128" value=(asked.source) autocomplete="off" spellcheck="false";
                label for="id" { "Id" }
                input #id name="id" required maxlength="128" value=(asked.id) autocomplete="off" spellcheck="false";
                label for="time" { "Time" @if !needs_time { " (optional)" } }
                input #time name="time" required[needs_time] value=(asked.time) autocomplete="off" spellcheck="false" aria-describedby="time-help";
                p #time-help .help {
                    "The event’s own, to the millisecond, such as 2026-11-22T07:01:02.123Z."
                    @if !needs_time { " Without it the newest request of the last 35 days is shown." }
                }
                p .actions { button type="submit" { "Show" } }
            }
        }
    }
}

/// Every step, a card each.
pub(super) fn cards(explained: &Explanation) -> Markup {
    html! {
        @if explained.code.is_some() {
            div #differs .note.bad role="alert" {
                p { strong { "These steps differ from what was posted." } " Tell an operator: this is a fault, or a row was changed by hand." }
                @if !explained.differences.is_empty() { ul { @for difference in &explained.differences { li { (difference) } } } }
            }
        }
        div #steps {
            @for (place, section) in explained.text.iter().enumerate() {
                @let heading = format!("step-{place}");
                section .card aria-labelledby=(heading) {
                    h2 id=(heading) { (section.title) }
                    @for sentence in &section.sentences { p { (sentence) } }
                }
            }
        }
    }
}
