//! The badges of an account, and their credentials to take away.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::Pages;
use super::subject::Subject;
use super::visitor::PathAccount;
use super::words::{account_path, encoded, instant};
use crate::app::commands::{badge_id, not_granted};
use crate::app::queries::BadgeLine;
use crate::http::badges::{JWT, issuer_of};
use crate::http::extract::PathParams;
use crate::http::problem::Problem;

/// The section, on an account's page; nothing while there are no badges.
pub(super) async fn section(pages: &Pages, subject: &Subject) -> Result<Markup, Problem> {
    let list = pages.service.queries.badges(&subject.account).await?;
    if list.badges.is_empty() {
        return Ok(html! {});
    }
    let path = account_path(&subject.account);
    Ok(html! {
        section #badges .card aria-labelledby="badges-h" {
            h2 #badges-h { "Badges" }
            ul .badges {
                @for line in &list.badges { (one(line, &path)) }
            }
        }
    })
}

fn one(line: &BadgeLine, path: &str) -> Markup {
    // Pictures of other sites are not loaded here: they would learn who looks at this page.
    let is_own = line.picture.starts_with('/');
    html! {
        li {
            @if is_own { img src=(line.picture) alt="" width="64" height="64"; }
            div {
                p { strong { (line.name) } }
                p { (line.description) }
                p .help { "For " (line.evidence) ", " (instant(line.granted_at)) }
                @match &line.revoked_at {
                    Some(_) => p .warn { "Taken back" @if let Some(reason) = &line.revoked_reason { ": " (reason) } },
                    None => p {
                        a href=(line.path) { "Public page" }
                        " · "
                        a href=(format!("{path}/badges/{}", encoded(&line.badge))) download { "Credential" }
                    },
                }
            }
        }
    }
}

/// `GET /users/{id}/badges/{badge}` and the same of providers: the credential, as a file.
pub(super) async fn credential(
    State(pages): State<Pages>,
    PathAccount(account): PathAccount,
    PathParams((_, badge)): PathParams<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let service = &pages.service;
    let issuer = issuer_of(service, &headers)?;
    let id = badge_id(&badge)?;
    let shown = service.queries.badge_of(&account, &id).await?;
    let shown = shown.ok_or_else(|| not_granted(&account, &id))?;
    let key = service
        .queries
        .badge_signing_key(service.clock.now())
        .await?;
    let headers = [
        (header::CONTENT_TYPE, JWT.to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{id}.jwt\""),
        ),
    ];
    Ok((headers, issuer.credential(&shown, &key)).into_response())
}
