//! The document that describes every route, and a page to read it.

use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use utoipa::OpenApi;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Components, PathItem, Ref};

use super::Described;
use super::problem::{BadEvent, Problem};

/// What stands above the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "tidemark",
        description = "Usage events in; points, referral rewards, streaks, statements and credits out.\n\n\
            Amounts are decimal strings: points to the micropoint, US dollars to the nano-dollar. Days and months are UTC. \
            Errors are problem+json (RFC 9457) with a stable `code`."
    ),
    components(schemas(Problem, BadEvent)),
    tags(
        (name = "ingest", description = "Usage events of gateways."),
        (name = "accounts", description = "What users and providers earned, and their referrals."),
        (name = "public", description = "Badges, for everyone who has their address."),
        (name = "admin", description = "Prices, credits, corrections, rejects."),
        (name = "governance", description = "Frozen weights of votes, for everybody."),
        (name = "operators", description = "Health, metrics, this document."),
        (name = "internal", description = "For the tidemark command; may change with any version.")
    )
)]
pub(super) struct Document;

/// What every route has in common: the key, and the answers that come before its own.
pub(super) fn complete(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let components = document.components.get_or_insert_with(Components::new);
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.description = Some(
        "An API key (`tidemark keys create`); or, where the service is configured so, a JWT of the marketplace's own login, which has the scopes of \
         the accounts that it names. The scopes beside an operation say which keys may use it: one of them is enough."
            .to_owned(),
    );
    components.add_security_scheme("key", SecurityScheme::Http(bearer));
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            if operation.security.is_some() {
                add_answers(operation, &COMMON);
            }
            if operation.request_body.is_some() {
                add_answers(operation, &OF_BODIES);
            }
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem {
        get,
        put,
        post,
        delete,
        patch,
        ..
    } = item;
    [get, put, post, delete, patch].into_iter().flatten()
}

/// What any request with a key may be answered.
const COMMON: [(&str, &str); 6] = [
    ("400", "The request is malformed: `code` says why."),
    ("401", "No valid key or token."),
    ("403", "The key's scopes do not allow this."),
    ("429", "Too many requests: see Retry-After."),
    (
        "500",
        "Internal error; search the server log for the x-request-id.",
    ),
    ("503", "Log or store do not answer: retry, see Retry-After."),
];
/// What any request with a body may be answered.
const OF_BODIES: [(&str, &str); 3] = [
    ("408", "The body did not arrive in time; nothing was done."),
    ("413", "The body is too large."),
    ("415", "Unsupported Content-Type or Content-Encoding."),
];

fn add_answers(operation: &mut Operation, answers: &[(&str, &str)]) {
    let documented = &mut operation.responses.responses;
    for (status, text) in answers {
        documented.entry((*status).to_owned()).or_insert_with(|| {
            let schema = Ref::from_schema_name("Problem");
            let content = ContentBuilder::new().schema(Some(schema)).build();
            ResponseBuilder::new()
                .description(*text)
                .content("application/problem+json", content)
                .build()
                .into()
        });
    }
}

/// `GET /openapi.json`.
#[utoipa::path(get, path = "/openapi.json", tag = "operators",
    responses((status = 200, description = "This document.", content_type = "application/json")))]
pub(super) async fn json(State(described): State<Described>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (content_type, described.json.clone()).into_response()
}

/// `GET /docs`.
#[utoipa::path(get, path = "/docs", tag = "operators",
    responses((status = 200, description = "This document, for people.", content_type = "text/html")))]
pub(super) async fn page(State(described): State<Described>) -> Response {
    // One style sheet within the page, nothing else.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    let headers = [(header::CONTENT_SECURITY_POLICY, policy)];
    (headers, Html(described.page.clone())).into_response()
}
