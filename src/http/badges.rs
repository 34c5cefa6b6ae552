//! What everybody may read of badges: by addresses that name no account, without a key.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, html};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::extract::{NoQuery, PathParams};
use super::problem::Problem;
use crate::app::credential::Issuer;
use crate::app::queries::{BadgeAddress, BadgeWithGrant, PublicKey};
use crate::domain::badges::Picture;

/// A JWT.
pub(super) const JWT: &str = "application/vc+jwt";
/// A picture runs no script, asks for nothing and is shown within no page but as an image.
const PICTURE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' https:; \
                           frame-ancestors 'none'";
/// So long others may keep what hardly ever changes.
const KEPT: &str = "public, max-age=300";
const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:3rem auto;padding:0 1rem}\
                     img{width:8rem;height:8rem;object-fit:contain}\
                     @media (prefers-color-scheme:dark){body{background:#111;color:#eee}}";

/// The routes.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(key_set))
        .routes(routes!(issuer))
        .routes(routes!(key))
        .routes(routes!(achievement))
        .routes(routes!(show))
        .routes(routes!(picture))
        .routes(routes!(status))
}

/// Where the service is reached, as credentials name it: never a name that a caller made up.
pub(super) fn issuer_of(service: &ApiState, headers: &HeaderMap) -> Result<Issuer, Problem> {
    if let Some(origin) = &service.config.public_origin {
        return Ok(Issuer(origin.to_string()));
    }
    if super::hosts::is_loopback_host(headers)
        && let Some(host) = headers.get(header::HOST).and_then(|h| h.to_str().ok())
    {
        return Ok(Issuer(format!("http://{host}")));
    }
    Err(Problem::new(
        StatusCode::CONFLICT,
        "no_public_origin",
        "badges and credentials name the service by its public address, which is not configured; set http.public_origin",
    ))
}

/// Pages of others may read it.
fn open(response: impl IntoResponse) -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::CACHE_CONTROL, KEPT),
    ];
    (headers, response).into_response()
}

async fn found(service: &ApiState, address: &str) -> Result<BadgeWithGrant, Problem> {
    let address: Option<BadgeAddress> = address.parse().ok();
    let found = match address {
        Some(address) => service.queries.badge_at(address).await?,
        None => None,
    };
    found.ok_or_else(|| {
        let what = "there is no badge at this address";
        Problem::new(StatusCode::NOT_FOUND, "unknown_badge", what)
    })
}

async fn published_keys(service: &ApiState) -> Result<Vec<PublicKey>, Problem> {
    let mut keys = service.queries.badge_keys().await?;
    keys.retain(|key| key.withdrawn_at.is_none());
    Ok(keys)
}

/// The public keys that sign credentials of badges, as a JSON Web Key Set: also those that were
/// replaced, by which older credentials are checked, but for those that were withdrawn.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "public",
    responses(
        (status = 200, description = "The keys.", content_type = "application/json"),
        (status = 409, description = "`no_public_origin`: the public address of the service is not configured.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn key_set(
    State(service): State<ApiState>,
    headers: HeaderMap,
    _: NoQuery,
) -> Result<Response, Problem> {
    let issuer = issuer_of(&service, &headers)?;
    let published = published_keys(&service).await?;
    let keys: Vec<Value> = published.iter().map(|key| issuer.web_key(key)).collect();
    Ok(open(Json(json!({"keys": keys}))))
}

/// Who issues badges: the profile of Open Badges 3.0 that credentials name as their issuer.
#[utoipa::path(get, path = "/badges/issuer", tag = "public",
    responses((status = 200, description = "The profile.", content_type = "application/json")))]
async fn issuer(
    State(service): State<ApiState>,
    headers: HeaderMap,
    _: NoQuery,
) -> Result<Response, Problem> {
    let issuer = issuer_of(&service, &headers)?;
    Ok(open(Json(issuer.profile())))
}

/// A public key as a JSON Web Key; the `kid` of a credential is its address.
#[utoipa::path(get, path = "/badges/keys/{key}", tag = "public",
    params(("key" = String, Path, description = "The key's thumbprint.", example = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")),
    responses(
        (status = 200, description = "The key.", content_type = "application/json"),
        (status = 404, description = "No such key, or it was withdrawn.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn key(
    State(service): State<ApiState>,
    headers: HeaderMap,
    PathParams(id): PathParams<String>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let issuer = issuer_of(&service, &headers)?;
    let published = published_keys(&service).await?;
    let key = published.iter().find(|key| key.id == id);
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "unknown_key", "there is no such key");
    let key = key.ok_or_else(unknown)?;
    Ok(open(Json(issuer.web_key(key))))
}

/// What a badge is for: the achievement of Open Badges 3.0.
#[utoipa::path(get, path = "/badges/achievements/{badge}", tag = "public",
    params(("badge" = String, Path, description = "The badge.", example = "week-streak")),
    responses(
        (status = 200, description = "The achievement.", content_type = "application/json"),
        (status = 404, description = "No such badge.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn achievement(
    State(service): State<ApiState>,
    headers: HeaderMap,
    PathParams(id): PathParams<String>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let issuer = issuer_of(&service, &headers)?;
    let badge = match id.parse() {
        Ok(id) => service.queries.badge_named(&id).await?,
        Err(_) => None,
    };
    let unknown = || {
        Problem::new(
            StatusCode::NOT_FOUND,
            "unknown_badge",
            "there is no such badge",
        )
    };
    let badge = badge.ok_or_else(unknown)?;
    Ok(open(Json(issuer.achievement(&badge))))
}

/// A badge that an account has: metadata as ERC-721 defines it, or a page for browsers.
///
/// Nothing of it names the account.
#[utoipa::path(get, path = "/badges/{address}", tag = "public",
    params(("address" = String, Path, description = "The badge's address.", example = "00112233445566778899aabbccddeeff")),
    responses(
        (status = 200, description = "The badge.", content_type = "application/json"),
        (status = 404, description = "No badge at this address.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`no_public_origin`: the public address of the service is not configured.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn show(
    State(service): State<ApiState>,
    headers: HeaderMap,
    PathParams(address): PathParams<String>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let accept = headers.get(header::ACCEPT).and_then(|h| h.to_str().ok());
    let shown = found(&service, &address).await?;
    if accept.is_some_and(|accept| accept.contains("text/html")) {
        return Ok(page(&shown));
    }
    let issuer = issuer_of(&service, &headers)?;
    let vary = [(header::VARY, "accept")];
    Ok(open((vary, Json(issuer.metadata(&shown)))))
}

/// The page of a badge, for people. It needs no session and knows none.
fn page(shown: &BadgeWithGrant) -> Response {
    let BadgeWithGrant { badge, grant } = shown;
    let day = grant.granted_at.day();
    let picture = format!("/badges/{}/picture", grant.address);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (badge.name) }
                style { (STYLE) }
            }
            body {
                main {
                    img src=(picture) alt="";
                    h1 { (badge.name) }
                    p { (badge.description) }
                    p { "For " (badge.criterion) "." }
                    @match &grant.revoked {
                        Some(revoked) => p #revoked { strong { "Taken back on " (revoked.at.day()) "." } },
                        None => p { "Granted on " (day) "." },
                    }
                }
            }
        }
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::VARY, "accept"),
    ];
    (headers, markup.into_string()).into_response()
}

/// The picture of a badge.
#[utoipa::path(get, path = "/badges/{address}/picture", tag = "public",
    params(("address" = String, Path, description = "The badge's address.", example = "00112233445566778899aabbccddeeff")),
    responses(
        (status = 200, description = "The picture.", content_type = "image/svg+xml"),
        (status = 302, description = "Another server has the picture."),
        (status = 404, description = "No badge at this address.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn picture(
    State(service): State<ApiState>,
    PathParams(address): PathParams<String>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let shown = found(&service, &address).await?;
    Ok(match shown.badge.picture {
        Picture::Url(url) => open((StatusCode::FOUND, [(header::LOCATION, url)])),
        Picture::Svg(svg) => open((
            [
                (header::CONTENT_TYPE, "image/svg+xml"),
                (header::CONTENT_SECURITY_POLICY, PICTURE_POLICY),
            ],
            svg,
        )),
    })
}

/// Whether a badge was taken back: a signed Bitstring Status List of this badge alone.
#[utoipa::path(get, path = "/badges/{address}/status", tag = "public",
    params(("address" = String, Path, description = "The badge's address.", example = "00112233445566778899aabbccddeeff")),
    responses(
        (status = 200, description = "The status list, as a JWT.", content_type = "application/vc+jwt"),
        (status = 404, description = "No badge at this address.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`no_public_origin`: the public address of the service is not configured.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn status(
    State(service): State<ApiState>,
    headers: HeaderMap,
    PathParams(address): PathParams<String>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let issuer = issuer_of(&service, &headers)?;
    let shown = found(&service, &address).await?;
    let key = service
        .queries
        .badge_signing_key(service.clock.now())
        .await?;
    let token = issuer.status(&shown.grant, &key);
    let headers = [
        (header::CONTENT_TYPE, JWT),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    Ok((headers, token).into_response())
}
