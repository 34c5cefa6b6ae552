//! Pages of admins.

use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::frame;
use super::guard::Visitor;
use super::redirect;
use super::words::account_path;
use crate::domain::ids::AccountKind;
use crate::http::problem::Problem;
use crate::http::strict::{Asked, account};

/// `GET /admin`.
pub(super) async fn show(visitor: Visitor) -> Response {
    let body = html! {
        h1 { "Admin" }
        (find_account())
    };
    frame::page(&visitor, "Admin", &body)
}

/// Leads to any account's page.
fn find_account() -> Markup {
    html! {
        section .card aria-labelledby="find-h" {
            h2 #find-h { "An account’s page" }
            form .line method="get" action="/admin/find" {
                label for="find-kind" { "Kind" }
                select #find-kind name="kind" {
                    option value="user" { "User" }
                    option value="provider" { "Provider" }
                }
                label for="find-id" { "Id" }
                input #find-id name="id" required maxlength="128" autocomplete="off" spellcheck="false";
                button type="submit" { "Show" }
            }
        }
    }
}

/// Which account.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    kind: AccountKind,
    id: String,
}

/// `GET /admin/find`.
pub(super) async fn find(Asked(which): Asked<Which>) -> Result<Response, Problem> {
    let account = account(which.kind, which.id.trim())?;
    Ok(redirect(&account_path(&account)))
}
