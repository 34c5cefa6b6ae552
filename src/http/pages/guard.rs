//! What stands before every page: who asks, what the page needs, and whether a form comes from a
//! page of ours.
//!
//! A page is registered with what it needs ([`super::table`]), and nothing reaches its handler that
//! does not have it. So no handler can forget to ask; and no form's handler can forget to check
//! where the form comes from, for the fields that it gets were checked here.

use std::sync::Arc;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{FromRequestParts as _, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;

use super::Pages;
use super::cookies::cookie;
use super::ended::SessionId;
use super::failure;
use super::fields;
use super::needs::Needs;
use super::seal::{Seal, Session};
use super::visitor::{FORM_TOKEN, Form, PathAccount, Visitor};
use super::way_back;
use crate::app::commands::may_grant;
use crate::domain::access::Scope;
use crate::domain::ids::{Account, AccountKind};
use crate::http::access;
use crate::http::body::{Incoming, Packing};
use crate::http::caller::Caller;
use crate::http::extract::account;
use crate::http::limits::Costs;
use crate::http::problem::Problem;
use crate::ops::config::PublicOrigin;

const HX_REQUEST: &str = "hx-request";
const HX_REDIRECT: HeaderName = HeaderName::from_static("hx-redirect");
const SEC_FETCH_SITE: &str = "sec-fetch-site";
/// How long somebody may look at the sign-in page.
const GUEST_SECS: i64 = 24 * 60 * 60;
const FORM_TYPE: &str = "application/x-www-form-urlencoded";
/// Largest form: an event that is mended fits.
const FORM_BYTES_MAX: usize = 1024 * 1024;
/// Largest form of who is not signed in: the longest token fits.
const SIGN_IN_BYTES_MAX: usize = 8 * 1024;

/// A page's needs, and what it is checked with.
#[derive(Clone)]
pub(super) struct Door {
    pub pages: Pages,
    pub needs: Needs,
}

/// What stands before a page.
pub(super) async fn guard(State(door): State<Door>, request: Request, next: Next) -> Response {
    let pages = door.pages.clone();
    let within = pages.answer_within(request.method());
    match tokio::time::timeout(within, behind(door, request, next)).await {
        Ok(response) => response,
        Err(_) => {
            let problem = Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "timeout",
                "this took too long; the request may have been applied",
            );
            failure::of_problem(&problem, None)
        }
    }
}

/// Who asks, by its cookies.
struct Identified {
    visitor: Visitor,
    /// What the form's token is bound to.
    bound_to: String,
    /// A cookie to set.
    guest: Option<String>,
}

async fn behind(door: Door, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let seal = match door.pages.seal().await {
        Ok(seal) => seal,
        Err(error) => return failure::of_problem(&error.into(), None),
    };
    let known = match known(&door.pages, &seal, &parts).await {
        Ok(known) => known,
        Err(problem) => return failure::of_problem(&problem, None),
    };
    let visitor = known.visitor.clone();
    let response = match rights(&door, &visitor, &mut parts).await {
        Err(AccessError::SignedOut) => return to_sign_in(&parts, &visitor),
        Err(AccessError::Problem(problem)) => problem.into_response(),
        Ok(()) if parts.method == Method::POST => {
            let request = Request::from_parts(parts, body);
            match posted(&door, &seal, &known, request).await {
                Ok(request) => forward(request, visitor.clone(), next).await,
                Err(problem) => problem.into_response(),
            }
        }
        Ok(()) => forward(Request::from_parts(parts, body), visitor.clone(), next).await,
    };
    let mut response = failure::in_place_of_problems(response, Some(&visitor));
    if let Some(cookie) = known.guest.and_then(|guest| guest.parse().ok()) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

async fn forward(mut request: Request, visitor: Visitor, next: Next) -> Response {
    if let Some(caller) = &visitor.caller {
        tracing::Span::current().record("caller", caller.by.as_str());
    }
    request.extensions_mut().insert(visitor);
    next.run(request).await
}

/// Who asks for what is no page, for the head of the page that says so; `None` where that cannot be
/// found out soon.
pub(super) async fn visitor_of(pages: &Pages, parts: &Parts) -> Option<Visitor> {
    let identify = async {
        let seal = pages.seal().await.ok()?;
        let identified = known(pages, &seal, parts).await.ok()?;
        Some(identified.visitor)
    };
    let within = pages.answer_within(&Method::GET);
    tokio::time::timeout(within, identify).await.ok().flatten()
}

async fn known(pages: &Pages, seal: &Seal, parts: &Parts) -> Result<Identified, Problem> {
    let service = &pages.service;
    let here = parts.uri.path_and_query().map_or("/", |here| here.as_str());
    let sent_from: Option<Arc<str>> = (parts.method == Method::POST)
        .then(|| page_of_form(&parts.headers))
        .flatten()
        .map(Arc::from);
    let now = service.clock.now();
    let sealed = cookie(&parts.headers, pages.cookies.session());
    let session = sealed.and_then(|cookie| Some((cookie, seal.open(cookie, now)?)));
    if let Some((cookie, session)) = session
        && let id = SessionId::of(cookie, session.until)
        && !pages.has_ended(&id).await?
        && let Some(caller) = caller_of(pages, &session, Costs::of_method(&parts.method)).await?
    {
        let visitor = Visitor {
            caller: Some(caller),
            session: Some(id),
            form_token: seal.form_token(cookie).into(),
            here: here.into(),
            sent_from,
        };
        return Ok(Identified {
            visitor,
            bound_to: cookie.to_owned(),
            guest: None,
        });
    }
    let name = pages.cookies.guest();
    let (guest, is_new) = match cookie(&parts.headers, name) {
        Some(guest) => (guest.to_owned(), false),
        None => (BASE64.encode(rand::random::<[u8; 16]>()), true),
    };
    let visitor = Visitor {
        caller: None,
        session: None,
        form_token: seal.form_token(&guest).into(),
        here: here.into(),
        sent_from,
    };
    Ok(Identified {
        visitor,
        guest: is_new.then(|| pages.cookies.set(name, &guest, GUEST_SECS)),
        bound_to: guest,
    })
}

/// Who a session is for; `None` if its key or token is not good any more.
pub(super) async fn caller_of(
    pages: &Pages,
    session: &Session,
    costs: Costs,
) -> Result<Option<Caller>, Problem> {
    let caller = match access::who(&pages.service, &session.bearer).await {
        Ok(caller) => caller,
        Err(problem) if problem.is_unauthorized() => return Ok(None),
        Err(problem) => return Err(problem),
    };
    pages.service.limits.of_caller(&caller.by, costs)?;
    match &session.only {
        None => Ok(Some(caller)),
        // The key may have been another one when the session began.
        Some(only) if may_grant(caller.scopes(), only).is_ok() => {
            let by = format!("{}, signed in as {only}", caller.by);
            Ok(Some(Caller::new(by, [only.clone()])))
        }
        Some(_) => Ok(None),
    }
}

enum AccessError {
    SignedOut,
    Problem(Problem),
}

impl From<Problem> for AccessError {
    fn from(problem: Problem) -> AccessError {
        AccessError::Problem(problem)
    }
}

async fn rights(door: &Door, visitor: &Visitor, parts: &mut Parts) -> Result<(), AccessError> {
    if door.needs == Needs::Nothing {
        return Ok(());
    }
    let caller = visitor.caller.as_ref().ok_or(AccessError::SignedOut)?;
    match door.needs {
        Needs::Nothing | Needs::SignedIn => (),
        Needs::Read(kind) => caller.must_read(&named(kind, parts).await?)?,
        Needs::Act(kind) => caller.must_act_for(&named(kind, parts).await?)?,
        Needs::AdminRead => caller.must(&[Scope::AdminRead])?,
        Needs::AdminWrite => caller.must(&[Scope::AdminWrite])?,
    }
    Ok(())
}

/// The account that the path names as `{id}`, which is left for the handler.
async fn named(kind: AccountKind, parts: &mut Parts) -> Result<Account, Problem> {
    let params: Result<RawPathParams, RawPathParamsRejection> =
        RawPathParams::from_request_parts(parts, &()).await;
    let params = params.map_err(|_| no_account())?;
    let id = params.iter().find(|(name, _)| *name == "id");
    let account = account(kind, id.ok_or_else(no_account)?.1)?;
    parts.extensions.insert(PathAccount(account.clone()));
    Ok(account)
}

fn no_account() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such page")
}

/// The sign-in page, which leads back here. What was posted is not kept.
fn to_sign_in(parts: &Parts, visitor: &Visitor) -> Response {
    let back = match parts.method {
        Method::GET => way_back::path_back_to(&visitor.here),
        _ => way_back::path_after_a_lost_form(visitor.sent_from.as_deref()),
    };
    // A part of a page that refreshes itself is not to hold the sign-in page: the whole page goes
    // there.
    if parts.headers.contains_key(HX_REQUEST) {
        let to = HeaderValue::from_str(&back);
        let to = to.unwrap_or_else(|_| HeaderValue::from_static(way_back::SIGN_IN));
        return (StatusCode::NO_CONTENT, [(HX_REDIRECT, to)]).into_response();
    }
    super::redirect(&back)
}

/// A form that came from a page of ours which this very visitor was shown; its fields go on with
/// it.
async fn posted(
    door: &Door,
    seal: &Seal,
    known: &Identified,
    request: Request,
) -> Result<Request, Problem> {
    let forged = || {
        Problem::new(
            StatusCode::FORBIDDEN,
            "foreign_form",
            "this form did not come from an open page of this service, or that page is too old; open the page again and send it from there",
        )
    };
    let origin = door.pages.service.config.public_origin.as_ref();
    if !is_same_site(request.headers(), origin) {
        return Err(forged());
    }
    let (mut parts, body) = request.into_parts();
    let bytes = form_bytes(door, known, Request::from_parts(parts.clone(), body)).await?;
    let form = Form::new(fields::read(&bytes)?);
    if !seal.is_form_token(&known.bound_to, form.whole(FORM_TOKEN)) {
        return Err(forged());
    }
    parts.extensions.insert(form);
    Ok(Request::from_parts(parts, axum::body::Body::empty()))
}

/// The body of a form. Those that anybody may send have room for a key and little else.
async fn form_bytes(door: &Door, known: &Identified, request: Request) -> Result<Bytes, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()?.split(';').next());
    if !kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM_TYPE)) {
        return Err(fields::unread(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let caller = known.visitor.caller.as_ref();
    let (caller, bytes_max) = match door.needs {
        Needs::Nothing => ("nobody", SIGN_IN_BYTES_MAX),
        _ => (caller.map_or("nobody", |caller| &caller.by), FORM_BYTES_MAX),
    };
    let reading = door.pages.service.reading(caller);
    let incoming = Incoming::of(request, bytes_max, Packing::Refused);
    let read = match incoming {
        Ok(incoming) => incoming.read(&reading).await,
        Err(problem) => Err(problem),
    };
    read.map_err(|problem| match problem {
        problem if problem.is("body_too_large") => fields::too_large(bytes_max),
        problem if problem.is("unreadable_body") => fields::unread(StatusCode::BAD_REQUEST),
        problem => problem,
    })
}

/// Whether a browser says that a page of ours sent this. What says nothing is no browser of today,
/// and needs the form's token anyway.
fn is_same_site(headers: &HeaderMap, public: Option<&PublicOrigin>) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text(SEC_FETCH_SITE) {
        return matches!(site, "same-origin" | "none");
    }
    match (headers.get(header::ORIGIN), text("host")) {
        (None, _) => true,
        // The proxy before the service may have put its own name into `Host`.
        (Some(origin), _) if public.is_some_and(|public| origin == public.to_string().as_str()) => {
            true
        }
        (Some(origin), Some(host)) => origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"))
            .is_some_and(|(_, from)| from.eq_ignore_ascii_case(host)),
        (Some(_), None) => false,
    }
}

/// The path of the page that a form was sent from, as the browser tells it.
fn page_of_form(headers: &HeaderMap) -> Option<&str> {
    let (_, rest) = headers
        .get(header::REFERER)?
        .to_str()
        .ok()?
        .split_once("://")?;
    let path = &rest[rest.find('/')?..];
    way_back::is_of_ours(path).then_some(path)
}
