//! The first page: it leads to what is the visitor's own.

use axum::http::StatusCode;
use axum::response::Response;
use maud::html;

use super::frame::{Width, framed};
use super::redirect;
use super::visitor::Visitor;
use super::words::{account_path, kind_word};
use crate::domain::access::Scope;

/// `GET /`.
pub(super) async fn show(visitor: Visitor) -> Response {
    let accounts = visitor.accounts();
    let is_admin = visitor.may(&Scope::AdminRead);
    match (accounts.as_slice(), is_admin) {
        // Every client takes a path with such an id for another one, so it has no page.
        ([account], false) if matches!(account.id(), "." | "..") => (),
        ([account], false) => return redirect(&account_path(account)),
        ([], true) => return redirect("/admin"),
        _ => (),
    }
    let body = html! {
        h1 { "Welcome" }
        @if accounts.is_empty() {
            p .empty { "This key only sends usage events; it has no account page." }
        }
        ul .choices {
            @for account in &accounts {
                li { a href=(account_path(account)) { (kind_word(account.kind)) " " (account.id()) } }
            }
            li { a href="/leaderboard" { "Leaderboard" } }
            @if is_admin { li { a href="/admin" { "Admin" } } }
        }
    };
    framed(
        StatusCode::OK,
        Some(&visitor),
        "Welcome",
        Width::Narrow,
        &body,
    )
}
