//! Pages for users, providers and admins, which work without scripts except for updates in place.
//!
//! Every page and every form target is listed in [`pages`], with the access that it requires.
//! Sessions are in `seal`, the checks in `guard`, what these leave for the handlers in `visitor`.
//! What a page shows comes from [`crate::app::queries`], and what a form does from
//! [`crate::app::commands`], as for the API.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::OnceCell;

use super::problem::Problem;
use super::{ApiState, Hosts};
use crate::domain::access::Scope;
use crate::domain::ids::AccountKind;
use crate::store::db::StoreError;
use crate::store::secrets;
use cookies::Cookies;
use ended::{Ended, SessionId};
use links::Links;
use seal::Seal;
use table::Table;

mod account;
mod admin;
mod assets;
mod badges;
mod chart;
mod claims;
mod cookies;
mod ended;
mod failure;
mod fields;
mod frame;
mod guard;
mod home;
mod leaderboard;
mod links;
mod needs;
mod provider;
mod referral_forms;
mod referrals;
mod request;
mod requests;
mod seal;
mod sign_in;
mod subject;
mod table;
mod user;
mod visible;
mod visitor;
mod wallet;
mod way_back;
mod words;

pub use needs::Needs;
pub use table::PageRoute;

/// After so long a page that only shows says that the store does not answer.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);
/// So much earlier than any request a page gives up, to say so as a page.
const EARLIER: Duration = Duration::from_millis(200);

/// What the pages of one service share.
#[derive(Default)]
pub(super) struct Shared {
    seal: OnceCell<Arc<Seal>>,
    links: Links,
    ended: Ended,
}

/// What pages are made with.
#[derive(Clone)]
pub(super) struct Pages {
    service: ApiState,
    cookies: Cookies,
}

impl Pages {
    /// Reads the secret once.
    async fn seal(&self) -> Result<Arc<Seal>, StoreError> {
        let make = async || {
            // The generator of `rand::random` is a cryptographic one, seeded by the system.
            let secret = secrets::sessions(&*self.service.db, rand::random()).await?;
            Ok(Arc::new(Seal::new(&secret)))
        };
        self.service.pages.seal.get_or_try_init(make).await.cloned()
    }

    /// Whether a session was ended before its time.
    async fn has_ended(&self, session: &SessionId) -> Result<bool, StoreError> {
        let shared = &self.service.pages;
        shared.ended.has_ended(&*self.service.db, session).await
    }

    /// Notes that a session has begun here.
    fn begun(&self, session: &SessionId) {
        self.service.pages.ended.begun(session);
    }

    /// Ends a session, whoever holds its cookie.
    async fn end(&self, session: &SessionId) -> Result<(), StoreError> {
        let (shared, now) = (&self.service.pages, self.service.clock.now());
        shared.ended.end(&*self.service.db, session, now).await
    }

    fn links(&self) -> &Links {
        &self.service.pages.links
    }

    /// How long a page may take. Somebody waits before it; a form may have begun to do something,
    /// and is given all the time there is.
    fn answer_within(&self, method: &Method) -> Duration {
        let within = self.service.config.request_timeout.saturating_sub(EARLIER);
        match *method {
            Method::POST => within,
            _ => within.min(SHOWN_WITHIN),
        }
    }
}

impl ApiState {
    /// The path of a page that signs in, once, within a day, with this API key; as somebody who may
    /// do `only` this, if it says so. Whoever has the path has that right: it is for the person who
    /// started the process.
    pub fn sign_in_path(&self, key: &str, only: Option<Scope>) -> String {
        let token = self.pages.links.make(key, only, self.clock.now());
        format!("{}/link?t={token}", way_back::SIGN_IN)
    }
}

/// Every page.
fn pages(made_with: Option<Pages>) -> Table {
    use AccountKind::{Provider, User};
    use Method as M;
    use Needs::{Act, AdminRead, AdminWrite, Nothing, Read, SignedIn};
    Table::new(made_with)
        .add(M::GET, "/", SignedIn, get(home::show))
        .add(M::GET, "/signin", Nothing, get(sign_in::show))
        .add(M::POST, "/signin", Nothing, post(sign_in::sign_in))
        .add(M::GET, "/signin/link", Nothing, get(sign_in::show_link))
        .add(M::POST, "/signin/link", Nothing, post(sign_in::follow_link))
        .add(M::POST, "/signout", Nothing, post(sign_in::sign_out))
        .add(M::GET, "/leaderboard", SignedIn, get(leaderboard::show))
        .add(M::GET, "/users/{id}", Read(User), get(account::show))
        .add(
            M::POST,
            "/users/{id}/code",
            Act(User),
            post(referral_forms::make_code),
        )
        .add(
            M::POST,
            "/users/{id}/referrer",
            Act(User),
            post(referral_forms::enter_code),
        )
        .add(
            M::GET,
            "/providers/{id}",
            Read(Provider),
            get(account::show),
        )
        .add(
            M::GET,
            "/providers/{id}/models",
            Read(Provider),
            get(provider::models),
        )
        .add(
            M::POST,
            "/providers/{id}/code",
            Act(Provider),
            post(referral_forms::make_code),
        )
        .add(
            M::POST,
            "/providers/{id}/referrer",
            Act(Provider),
            post(referral_forms::enter_code),
        )
        .add(M::GET, "/users/{id}/wallet", Read(User), get(wallet::show))
        .add(M::POST, "/users/{id}/wallet", Act(User), post(wallet::link))
        .add(
            M::POST,
            "/users/{id}/wallet/message",
            Act(User),
            post(wallet::message),
        )
        .add(
            M::POST,
            "/users/{id}/wallet/unlink",
            Act(User),
            post(wallet::unlink),
        )
        .add(
            M::GET,
            "/providers/{id}/wallet",
            Read(Provider),
            get(wallet::show),
        )
        .add(
            M::POST,
            "/providers/{id}/wallet",
            Act(Provider),
            post(wallet::link),
        )
        .add(
            M::POST,
            "/providers/{id}/wallet/message",
            Act(Provider),
            post(wallet::message),
        )
        .add(
            M::POST,
            "/providers/{id}/wallet/unlink",
            Act(Provider),
            post(wallet::unlink),
        )
        .add(
            M::GET,
            "/users/{id}/request",
            Read(User),
            get(request::show),
        )
        .add(
            M::GET,
            "/users/{id}/requests",
            Read(User),
            get(requests::show),
        )
        .add(
            M::GET,
            "/providers/{id}/request",
            Read(Provider),
            get(request::show),
        )
        .add(
            M::GET,
            "/users/{id}/badges/{badge}",
            Read(User),
            get(badges::credential),
        )
        .add(
            M::GET,
            "/providers/{id}/badges/{badge}",
            Read(Provider),
            get(badges::credential),
        )
        .add(
            M::GET,
            "/admin/request",
            AdminRead,
            get(admin::requests::show),
        )
        .add(
            M::POST,
            "/admin/request/preview",
            AdminWrite,
            post(admin::requests::preview),
        )
        .add(
            M::POST,
            "/admin/request/reverse",
            AdminWrite,
            post(admin::requests::reverse),
        )
        .add(M::GET, "/admin", AdminRead, get(admin::show))
        .add(M::GET, "/admin/find", AdminRead, get(admin::find::show))
        .add(M::GET, "/admin/rules", AdminRead, get(admin::rules::list))
        .add(
            M::GET,
            "/admin/rules/{key}",
            AdminRead,
            get(admin::rules::show),
        )
        .add(
            M::POST,
            "/admin/rules/{key}",
            AdminWrite,
            post(admin::change::publish),
        )
        .add(
            M::POST,
            "/admin/rules/{key}/preview",
            AdminWrite,
            post(admin::change::preview),
        )
        .add(
            M::GET,
            "/admin/network",
            AdminRead,
            get(admin::network::show),
        )
        .add(
            M::POST,
            "/admin/network",
            AdminWrite,
            post(admin::network::switch),
        )
        .add(
            M::GET,
            "/admin/credits",
            AdminRead,
            get(admin::credits::show),
        )
        .add(
            M::POST,
            "/admin/credits",
            AdminWrite,
            post(admin::credits::add),
        )
        .add(
            M::GET,
            "/admin/rejects",
            AdminRead,
            get(admin::rejects::list),
        )
        .add(
            M::GET,
            "/admin/rejects/{partition}/{offset}",
            AdminRead,
            get(admin::rejects::show),
        )
        .add(
            M::POST,
            "/admin/rejects/{partition}/{offset}/redrive",
            AdminWrite,
            post(admin::rejects::redrive_one),
        )
        .add(
            M::POST,
            "/admin/rejects/{partition}/{offset}/discard",
            AdminWrite,
            post(admin::rejects::discard),
        )
        .add(
            M::GET,
            "/admin/exports",
            AdminRead,
            get(admin::exports::show),
        )
        .add(M::GET, "/users/{id}/claims", Read(User), get(claims::show))
        .add(
            M::GET,
            "/users/{id}/claims/proofs",
            Read(User),
            get(claims::proofs),
        )
        .add(
            M::GET,
            "/providers/{id}/claims",
            Read(Provider),
            get(claims::show),
        )
        .add(
            M::GET,
            "/providers/{id}/claims/proofs",
            Read(Provider),
            get(claims::proofs),
        )
        .add(M::GET, "/admin/closes", AdminRead, get(admin::closes::list))
        .add(
            M::POST,
            "/admin/closes",
            AdminWrite,
            post(admin::closes::close),
        )
        .add(
            M::POST,
            "/admin/closes/preview",
            AdminWrite,
            post(admin::closes::preview),
        )
        .add(
            M::GET,
            "/admin/closes/{month}",
            AdminRead,
            get(admin::closes::show),
        )
        .add(
            M::GET,
            "/admin/closes/{month}/{file}",
            AdminRead,
            get(admin::closes::file),
        )
        .add(
            M::GET,
            "/admin/exports/file",
            AdminRead,
            get(admin::exports::file),
        )
        .add(
            M::GET,
            "/admin/governance",
            AdminRead,
            get(admin::governance::show),
        )
        .add(
            M::POST,
            "/admin/governance",
            AdminWrite,
            post(admin::governance::freeze),
        )
        .add(
            M::POST,
            "/admin/governance/preview",
            AdminWrite,
            post(admin::governance::preview),
        )
        .add(M::GET, "/admin/audit", AdminRead, get(admin::audit::show))
        .add(
            M::GET,
            "/admin/audit/file",
            AdminRead,
            get(admin::audit::file),
        )
        .add(
            M::GET,
            "/admin/adjustments",
            AdminRead,
            get(admin::adjustments::show),
        )
        .add(
            M::POST,
            "/admin/adjustments",
            AdminWrite,
            post(admin::adjustments::adjust),
        )
        .add(M::GET, "/admin/keys", AdminRead, get(admin::keys::list))
        .add(
            M::POST,
            "/admin/keys",
            AdminWrite,
            post(admin::keys::create),
        )
        .add(
            M::POST,
            "/admin/keys/revoke",
            AdminWrite,
            post(admin::keys::revoke),
        )
}

/// Every page and target of a form, for who wants to try them all.
pub fn page_routes() -> Vec<PageRoute> {
    pages(None).routes()
}

/// What the pages of a service are made with.
pub(super) fn made_with(service: &ApiState, hosts: Hosts) -> Pages {
    let origin = &service.config.public_origin;
    let cookies = Cookies {
        secure: match origin {
            Some(origin) => origin.is_https,
            None => hosts == Hosts::Any,
        },
    };
    Pages {
        service: service.clone(),
        cookies,
    }
}

/// The pages, with their style sheet and scripts.
pub(super) fn router(made_with: Pages) -> Router {
    let assets = Router::new().route(assets::ROUTE, get(assets::show));
    let pages = pages(Some(made_with.clone())).router();
    pages.with_state(made_with).merge(assets)
}

/// Whether who asks for a path that leads nowhere is a person.
pub(super) fn is_for_people(request: &Request) -> bool {
    let accept = request.headers().get(header::ACCEPT);
    let accept = accept.and_then(|accept| accept.to_str().ok());
    let path = request.uri().path();
    accept.is_some_and(|accept| accept.contains("text/html"))
        && !path.starts_with("/api/")
        && !path.starts_with("/internal/")
}

/// The page that says that there is none (404), or that a form's target is no page (405), to whoever
/// is signed in.
pub(super) async fn no_page(pages: &Pages, request: Request, status: StatusCode) -> Response {
    let (parts, _) = request.into_parts();
    let visitor = guard::visitor_of(pages, &parts).await;
    failure::page(status, None, visitor.as_ref())
}

/// The page that says what a problem says.
pub(super) fn of_problem(problem: &Problem) -> Response {
    failure::of_problem(problem, None)
}

/// The page that says that something went wrong here.
pub(super) fn broken() -> Response {
    failure::page(StatusCode::INTERNAL_SERVER_ERROR, None, None)
}

/// Another page, to be asked for by GET.
fn redirect(to: &str) -> Response {
    let to = HeaderValue::from_str(to).unwrap_or_else(|_| HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
}

/// The fields of a form, as the pages read them: for the fuzz targets.
#[doc(hidden)]
pub fn fuzzed_form(bytes: &[u8]) -> Option<std::collections::HashMap<String, String>> {
    fields::read(bytes).ok()
}
