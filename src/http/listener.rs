//! Proof that a listener is the `up` of a data directory: commands send it their key, so they ask
//! first.
//!
//! `up.json` may be left over from an `up` that was killed, and its port may be another program's
//! by now. Who asks sends a nonce; only who knows the key of the data directory can answer. The
//! answer is bound to the address, so that it cannot be fetched from the `up` that runs elsewhere.

use std::net::SocketAddr;
use std::sync::OnceLock;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ring::hmac;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::extract::{QueryParams, bad_query};
use super::problem::Problem;

/// Where it is asked for.
pub const LISTENER_PATH: &str = "/internal/listener";
/// Longest nonce.
const NONCE_CHARS_MAX: usize = 64;

/// What a listener can prove.
#[derive(Default)]
pub(super) struct Identity(OnceLock<(String, SocketAddr)>);

impl Identity {
    /// From now on it proves this key, at this address.
    pub fn set(&self, key: &str, address: SocketAddr) {
        // A second one would be a bug without consequences: the first counts.
        let _ = self.0.set((key.to_owned(), address));
    }
}

/// What only the owner of `key` that listens on `address` answers to `nonce`.
pub fn listener_proof(key: &str, address: SocketAddr, nonce: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let tag = hmac::sign(
        &key,
        format!("tidemark listener 1\n{address}\n{nonce}").as_bytes(),
    );
    base16ct::lower::encode_string(tag.as_ref())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Challenge {
    /// Random, 1 to 64 letters and digits.
    #[param(example = "7c3a9f")]
    nonce: String,
}

/// The answer to a challenge.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Proof {
    /// HMAC-SHA256 by the key of the data directory, in hexadecimal.
    proof: String,
}

/// Proves that this is the `up` of a data directory, to commands that are about to send it their
/// key.
#[utoipa::path(get, path = "/internal/listener", tag = "operators", params(Challenge),
    responses(
        (status = 200, description = "The proof.", body = Proof),
        (status = 400, description = "The nonce is missing or invalid.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This process has no data directory.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn prove(
    State(service): State<ApiState>,
    QueryParams(Challenge { nonce }): QueryParams<Challenge>,
) -> Result<Json<Proof>, Problem> {
    let is_nonce = (1..=NONCE_CHARS_MAX).contains(&nonce.len())
        && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_nonce {
        return Err(bad_query("the nonce must be 1 to 64 letters and digits"));
    }
    let (key, address) = service.identity.0.get().ok_or_else(|| {
        let why = "this process has no data directory";
        Problem::new(StatusCode::NOT_FOUND, "not_found", why)
    })?;
    let proof = listener_proof(key, *address, &nonce);
    Ok(Json(Proof { proof }))
}
