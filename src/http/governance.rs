//! Votes for everybody: the frozen weights of proposals, and scores in the form of Snapshot's
//! strategy `api-v2`. Nobody needs a key.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::body::{Incoming, Packing};
use super::extract::PathParams;
use super::problem::Problem;
use crate::app::CommandError;
use crate::app::commands::unknown_proposal;
use crate::app::queries::WeightTable;
use crate::domain::votes::{ProposalId, voter};

/// Most addresses of a request.
const ADDRESSES_MAX: usize = 100_000;
/// Largest body: so many addresses, and what else Snapshot sends.
const BODY_BYTES_MAX: usize = 8 << 20;
/// All of these requests together have the share of one caller of the room for bodies.
const CALLER: &str = "governance";
/// What is frozen never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// Routes that need no key, as their state is the whole service's.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(document))
        .routes(routes!(scores))
}

pub(super) fn proposal(text: &str) -> Result<ProposalId, Problem> {
    text.parse::<ProposalId>()
        .map_err(|error| CommandError::from(error).into())
}

/// The frozen weights of a proposal: every address and its weight, with what they were computed
/// from.
///
/// The bytes never change; `ETag` is their SHA-256. Its `score` is what Snapshot's strategy
/// `api-v2` reads by type `json`.
#[utoipa::path(get, path = "/api/governance/{proposal}", tag = "governance",
    params(("proposal" = String, Path, description = "The proposal.", example = "proposal-1")),
    responses(
        (status = 200, description = "The document.", content_type = "application/json", body = String),
        (status = 304, description = "The client has it (`If-None-Match`)."),
        (status = 404, description = "`unknown_proposal`: nothing is frozen under this name.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_proposal`: no proposal has such a name.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn document(
    State(service): State<ApiState>,
    PathParams(name): PathParams<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let proposal = proposal(&name)?;
    let frozen = service.queries.frozen_votes(&proposal).await?;
    let frozen = frozen.ok_or_else(|| unknown_proposal(&proposal))?;
    let tag = format!("\"{}\"", frozen.hash);
    let tag_header = HeaderValue::from_str(&tag).map_err(|_| Problem::internal())?;
    let known = headers.get(header::IF_NONE_MATCH);
    let known = known.and_then(|known| known.to_str().ok()).unwrap_or("");
    let is_known = known
        .split(',')
        .any(|one| one.trim().trim_start_matches("W/") == tag || one.trim() == "*");
    let caching = [
        (header::ETAG, tag_header),
        (header::CACHE_CONTROL, FOR_EVER),
    ];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    let content = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        ),
        (header::CONTENT_LENGTH, HeaderValue::from(frozen.bytes)),
    ];
    // One piece is in memory at a time. One that cannot be read breaks the connection, so that
    // nobody takes a part for the whole.
    let pieces = futures::stream::unfold(0, move |number| {
        let (service, frozen) = (service.clone(), frozen.clone());
        async move {
            if number >= frozen.pieces {
                return None;
            }
            let piece = service.queries.frozen_piece(&frozen, number).await;
            let piece = piece.map_err(std::io::Error::other);
            Some((piece, number + 1))
        }
    });
    Ok((caching, content, Body::from_stream(pieces)).into_response())
}

/// What Snapshot asks; whatever else it sends is not needed.
#[derive(Debug, Deserialize, ToSchema)]
struct ScoresRequest<'a> {
    /// Voters: at most 100,000.
    #[serde(borrow)]
    #[schema(value_type = Vec<String>)]
    addresses: Addresses<'a>,
}

/// Texts, of which a body holds not too many.
#[derive(Debug)]
struct Addresses<'a>(Vec<Cow<'a, str>>);

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Addresses<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Addresses<'a>, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Vec<Cow<'de, str>>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of addresses")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(Text(text)) = items.next_element::<Text<'de>>()? {
                    if texts.len() == ADDRESSES_MAX {
                        return Err(A::Error::custom(format!(
                            "more than {ADDRESSES_MAX} addresses; ask for them in several requests"
                        )));
                    }
                    texts.push(text);
                }
                Ok(texts)
            }
        }
        deserializer.deserialize_seq(Texts).map(Addresses)
    }
}

/// The weights of the addresses that were asked for, in their order.
#[derive(Debug, Serialize, ToSchema)]
struct Scores<'a> {
    /// One for each.
    score: Vec<Score<'a>>,
}

/// The weight of an address.
#[derive(Debug, Serialize, ToSchema)]
struct Score<'a> {
    /// As it was sent: Snapshot compares it letter by letter.
    #[schema(value_type = String)]
    address: &'a str,
    /// An integer in the smallest unit; 0 for an address without a weight, and for what is no
    /// address.
    score: Weight,
}

#[derive(Debug, ToSchema)]
#[schema(value_type = String)]
struct Weight(u128);

impl Serialize for Weight {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The weights of addresses in a frozen proposal, as Snapshot's strategy `api-v2` of type
/// `api-post` asks for them.
///
/// Give the strategy `decimals` 6. Whatever else the body has is ignored.
#[utoipa::path(post, path = "/api/governance/{proposal}/scores", tag = "governance",
    params(("proposal" = String, Path, description = "The proposal.", example = "proposal-1")),
    request_body(content = ScoresRequest, example = json!({"addresses": ["0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"]})),
    responses(
        (status = 200, description = "The weights.", body = Scores),
        (status = 400, description = "`invalid_body`: no JSON object with at most 100,000 addresses.", body = Problem,
            content_type = "application/problem+json"),
        (status = 404, description = "`unknown_proposal`: nothing is frozen under this name.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`body_too_large`: more than 8 MiB.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_proposal`: no proposal has such a name.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`votes_loading`: many requests wait for weights to be loaded; retry after `Retry-After`.", body = Problem,
            content_type = "application/problem+json"),
    ))]
async fn scores(
    State(service): State<ApiState>,
    PathParams(name): PathParams<String>,
    request: Request,
) -> Result<Response, Problem> {
    let proposal = proposal(&name)?;
    // What the headers give away, before anything is read.
    let incoming = Incoming::of(request, BODY_BYTES_MAX, Packing::Refused)?;
    let frozen = service.queries.frozen_votes(&proposal).await?;
    let frozen = frozen.ok_or_else(|| unknown_proposal(&proposal))?;
    let received = incoming.receive(&service.reading(CALLER)).await?;
    let is_large = received.is_large();
    // The room is held until the answer is made, which is about as large.
    let (body, room) = received.unpack()?;
    // Weights are loaded only for who names an address that may have one.
    let named = service.decoding.run(is_large, move || {
        let named = names_an_address(&body);
        named.map(|is_named| (is_named, body, room))
    });
    let (is_named, body, room) = named.await??;
    let weights = match is_named {
        true => service.queries.vote_weights(&frozen).await?,
        false => Arc::default(),
    };
    let answer = service.decoding.run(is_large, move || {
        let _room = room;
        answer(&body, &weights)
    });
    let (asked, answer) = answer.await??;
    service.metrics.votes_addresses_total.inc_by(asked as u64);
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok((json, answer).into_response())
}

fn parse(body: &Bytes) -> Result<ScoresRequest<'_>, Problem> {
    let bad = |why: String| Problem::new(StatusCode::BAD_REQUEST, "invalid_body", why);
    serde_json::from_slice(body).map_err(|error| bad(error.to_string()))
}

/// Whether anything that is asked for is an address.
fn names_an_address(body: &Bytes) -> Result<bool, Problem> {
    let asked = parse(body)?;
    let mut texts = asked.addresses.0.iter();
    Ok(texts.any(|text| voter(text).is_some()))
}

/// How many addresses were asked for, and the answer.
fn answer(body: &Bytes, weights: &WeightTable) -> Result<(usize, Bytes), Problem> {
    let asked = parse(body)?;
    let score = asked.addresses.0.iter().map(|text| Score {
        address: text,
        score: Weight(voter(text).map_or(0, |address| weights.of(&address))),
    });
    let scores = Scores {
        score: score.collect(),
    };
    let answer = serde_json::to_vec(&scores).map_err(|_| Problem::internal())?;
    Ok((scores.score.len(), answer.into()))
}
