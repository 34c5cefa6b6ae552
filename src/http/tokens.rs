//! Tokens (JWT) of an identity provider, in place of API keys: what a person's browser sends.
//!
//! A token is believed if one of the issuer's published keys has signed it, by an algorithm that
//! goes with that key, and issuer, audience and times are right. It allows what belongs to the
//! accounts that its claims name, and nothing else.
//!
//! Signatures with shared secrets (HS256 and the like) and unsigned tokens are never believed: a
//! public key must not do for a secret.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Validation};
use ring::signature as rings;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;
use ureq::Agent;

use super::caller::Caller;
use super::problem::Problem;
use crate::domain::access::Scope;
use crate::domain::ids::{Account, AccountKind, check_id};
use crate::domain::time::{MINUTE_MS, Millis};
use crate::ops::clock::Clock;
use crate::ops::config::JwtConfig;

/// So much the clocks of issuer and service may differ.
const SKEW_MS: i64 = MINUTE_MS;
/// How old keys may be before they are asked for again.
const KEYS_FRESH_MS: i64 = 10 * MINUTE_MS;
/// Keys that are old are asked for again so often, if the issuer does not answer.
const ASK_AGAIN_AFTER_MS: i64 = MINUTE_MS;
/// Unknown keys are asked for so often at most, for everybody who sent one meanwhile: anybody can
/// make one up, and one that is new must work at once all the same.
const UNKNOWN_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long keys are believed while the issuer does not answer.
const ISSUER_KEYS_CACHE_TTL_MS: i64 = 24 * 60 * MINUTE_MS;
/// How long the issuer may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Longest answer of the issuer that is read.
const JWKS_BYTES_MAX: u64 = 256 * 1024;
/// Most keys of an issuer.
const KEYS_MAX: usize = 100;
/// Longest token.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Believes tokens of one issuer.
pub(super) struct Tokens {
    config: JwtConfig,
    clock: Arc<dyn Clock>,
    agent: Agent,
    known: Mutex<KnownKeys>,
    /// One request to the issuer at a time; when the last one began.
    asking: tokio::sync::Mutex<Option<Instant>>,
}

/// The issuer's keys.
#[derive(Clone, Default)]
struct KnownKeys {
    keys: Arc<Vec<Key>>,
    /// When the issuer gave them.
    given: Option<Millis>,
    /// When it was asked the last time, whether it answered or not.
    asked: Option<Millis>,
}

/// What is known of a key.
enum State {
    Fresh,
    /// To be asked for again, and good until then.
    Old,
    Unknown,
}

/// A key of the issuer.
struct Key {
    id: String,
    decoding: DecodingKey,
    /// What it may sign by.
    algorithms: Vec<Algorithm>,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// It is none, or not the issuer's, or not for us, or not yet.
    Bad,
    /// It was good once.
    Expired,
    /// The issuer's keys cannot be had.
    NoKeys,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let (status, code, detail) = match refusal {
            Refusal::Bad => (
                StatusCode::UNAUTHORIZED,
                "bad_token",
                "invalid token: wrong issuer, audience or signature; log in again",
            ),
            Refusal::Expired => (
                StatusCode::UNAUTHORIZED,
                "expired_token",
                "this token has expired; log in again",
            ),
            Refusal::NoKeys => {
                let detail = "cannot fetch the issuer's signing keys (JWKS); retry";
                return Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "issuer_unavailable",
                    detail,
                )
                .retry_after(1);
            }
        };
        Problem::new(status, code, detail)
    }
}

/// Whether a bearer token has the form of a JWT; an API key has no dots.
pub(super) fn is_token(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl Tokens {
    pub fn new(config: JwtConfig, clock: Arc<dyn Clock>) -> Tokens {
        // Another service of this process may have done so before.
        let _ = PROVIDER.install_default();
        let agent = Agent::config_builder()
            .timeout_global(Some(ANSWER_WITHIN))
            .max_redirects(0)
            .https_only(!config.is_plain())
            .build();
        Tokens {
            config,
            clock,
            agent: agent.into(),
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// Who sent this token.
    pub async fn caller(&self, token: &str) -> Result<Caller, Problem> {
        Ok(self.believed(token).await?)
    }

    async fn believed(&self, token: &str) -> Result<Caller, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Bad);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refusal::Bad)?;
        // What `crit` names must be understood, and nothing that it could name is.
        let (None, Some(id)) = (header.crit, header.kid) else {
            return Err(Refusal::Bad);
        };
        let keys = self.keys(&id).await?;
        let may_sign = |key: &&Key| key.id == id && key.algorithms.contains(&header.alg);
        let key = keys.iter().find(may_sign).ok_or(Refusal::Bad)?;
        let claims = self.claims(token, key, header.alg)?;
        self.check_times(&claims)?;
        self.caller_of(&claims)
    }

    fn claims(
        &self,
        token: &str,
        key: &Key,
        algorithm: Algorithm,
    ) -> Result<Map<String, Value>, Refusal> {
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.config.issuer]);
        validation.set_audience(&[&self.config.audience]);
        // Times are compared with the service's own clock.
        validation.validate_exp = false;
        let token = jsonwebtoken::decode(token, &key.decoding, &validation);
        token.map(|token| token.claims).map_err(|_| Refusal::Bad)
    }

    fn check_times(&self, claims: &Map<String, Value>) -> Result<(), Refusal> {
        let now = self.clock.now();
        let expires = claims.get("exp").and_then(instant).ok_or(Refusal::Bad)?;
        if now >= expires.plus(SKEW_MS) {
            return Err(Refusal::Expired);
        }
        match claims.get("nbf") {
            None => Ok(()),
            Some(not_before) => match instant(not_before) {
                Some(from) if now >= from.plus(-SKEW_MS) => Ok(()),
                _ => Err(Refusal::Bad),
            },
        }
    }

    fn caller_of(&self, claims: &Map<String, Value>) -> Result<Caller, Refusal> {
        let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
        let subject = text("sub").filter(|subject| check_id(subject).is_ok());
        let subject = subject.ok_or(Refusal::Bad)?;
        let named = [
            (AccountKind::User, &self.config.user_claim),
            (AccountKind::Provider, &self.config.provider_claim),
        ];
        let scope = |(kind, claim): (AccountKind, &Option<String>)| {
            let account = Account::new(kind, text(claim.as_deref()?)?).ok()?;
            Some(Scope::Account(account))
        };
        let scopes: Vec<Scope> = named.into_iter().filter_map(scope).collect();
        Ok(Caller::new(format!("token {subject}"), scopes))
    }

    /// Keys among which one of this id would be, if the issuer has it.
    async fn keys(&self, id: &str) -> Result<Arc<Vec<Key>>, Refusal> {
        match self.state_of(id) {
            State::Fresh => (),
            // Somebody asks already, and the key that is known will do until then.
            State::Old => {
                if let Ok(mut asking) = self.asking.try_lock() {
                    *asking = Some(Instant::now());
                    self.ask().await;
                }
            }
            State::Unknown => self.ask_for_unknown(id).await,
        }
        let known = self.lock().clone();
        let now = self.clock.now();
        match known.given {
            Some(given) if age(given, now) < ISSUER_KEYS_CACHE_TTL_MS => Ok(known.keys),
            _ => Err(Refusal::NoKeys),
        }
    }

    /// Asks once for everybody who waits, and not too soon after the last time.
    async fn ask_for_unknown(&self, id: &str) {
        let since = Instant::now();
        let mut asking = self.asking.lock().await;
        if asking.is_some_and(|asked| asked >= since)
            || !matches!(self.state_of(id), State::Unknown)
        {
            return;
        }
        if let Some(asked) = *asking {
            tokio::time::sleep_until(asked + UNKNOWN_AGAIN_AFTER).await;
        }
        *asking = Some(Instant::now());
        self.ask().await;
    }

    fn state_of(&self, id: &str) -> State {
        let (known, now) = (self.lock(), self.clock.now());
        if !known.keys.iter().any(|key| key.id == id) {
            return State::Unknown;
        }
        let is_old = known.given.is_none_or(|at| age(at, now) >= KEYS_FRESH_MS);
        let may_ask = known
            .asked
            .is_none_or(|at| age(at, now) >= ASK_AGAIN_AFTER_MS);
        match is_old && may_ask {
            true => State::Old,
            false => State::Fresh,
        }
    }

    async fn ask(&self) {
        let (agent, url) = (self.agent.clone(), self.config.jwks_url.clone());
        let answer = tokio::task::spawn_blocking(move || fetch(&agent, &url)).await;
        let answer = answer.unwrap_or_else(|error| Err(error.to_string()));
        let now = self.clock.now();
        let mut known = self.lock();
        known.asked = Some(now);
        match answer {
            Ok(keys) => {
                known.keys = Arc::new(keys);
                known.given = Some(now);
            }
            Err(error) => {
                let url = &self.config.jwks_url;
                tracing::warn!(event = "http.no_jwks", url, %error, "cannot fetch the issuer's signing keys (JWKS); the known ones stay in use");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, KnownKeys> {
        // A panic elsewhere leaves it whole: what is assigned under the lock is there already.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long ago, also if the clock was set back meanwhile: then it is long ago, and the keys are
/// asked for.
fn age(then: Millis, now: Millis) -> i64 {
    now.0.saturating_sub(then.0).saturating_abs()
}

/// Seconds since 1970, maybe with a fraction.
fn instant(claim: &Value) -> Option<Millis> {
    let seconds = match claim.as_i64() {
        Some(seconds) => seconds,
        // A cast saturates.
        None => claim.as_f64()? as i64,
    };
    Some(Millis(seconds.saturating_mul(1_000)))
}

/// What an issuer publishes. Each key is read by itself: one that we do not know must not hide the
/// others.
#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

fn fetch(agent: &Agent, url: &str) -> Result<Vec<Key>, String> {
    let answer = agent.get(url).header("accept", "application/json").call();
    let mut answer = answer.map_err(|error| error.to_string())?;
    if answer.status() != StatusCode::OK {
        return Err(format!("the answer is {}", answer.status()));
    }
    let body = answer.body_mut().with_config().limit(JWKS_BYTES_MAX);
    let body = body.read_to_vec().map_err(|error| error.to_string())?;
    let published: Published = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    let jwks = published.keys.into_iter().take(KEYS_MAX);
    Ok(jwks
        .filter_map(|key| serde_json::from_value(key).ok())
        .filter_map(|jwk| key_of(&jwk))
        .collect())
}

/// The key, if it has an id and signs by an algorithm that we know.
fn key_of(jwk: &Jwk) -> Option<Key> {
    if !matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    ) {
        return None;
    }
    let mut algorithms = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => vec![
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
        ],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            vec![Algorithm::EdDSA]
        }
        _ => return None,
    };
    if let Some(only) = jwk.common.key_algorithm {
        algorithms.retain(|algorithm| KeyAlgorithm::from(*algorithm) == only);
    }
    Some(Key {
        id: jwk.common.key_id.clone()?,
        decoding: DecodingKey::from_jwk(jwk).ok()?,
        algorithms,
    })
}

/// Verification by ring. We sign nothing.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(unsupported()),
    verifier_factory: |algorithm, key| {
        let (algorithm, key) = (*algorithm, key.clone());
        if !has_verifier(algorithm) || key.family() != algorithm.family() {
            return Err(unsupported());
        }
        Ok(Box::new(RingVerifier { algorithm, key }))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

fn unsupported() -> Error {
    ErrorKind::UnsupportedAlgorithm.into()
}

struct RingVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signed: &Vec<u8>) -> Result<(), signature::Error> {
        let is_good = match self.key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                rsa(self.algorithm).is_some_and(|parameters| {
                    let (n, e) = (without_zeros(n), without_zeros(e));
                    let key = rings::RsaPublicKeyComponents { n, e };
                    key.verify(parameters, message, signed).is_ok()
                })
            }
            DecodingKeyKind::SecretOrDer(point) => curve(self.algorithm).is_some_and(|algorithm| {
                let key = rings::UnparsedPublicKey::new(algorithm, point);
                key.verify(message, signed).is_ok()
            }),
        };
        is_good.then_some(()).ok_or_else(signature::Error::new)
    }
}

fn has_verifier(algorithm: Algorithm) -> bool {
    rsa(algorithm).is_some() || curve(algorithm).is_some()
}

fn rsa(algorithm: Algorithm) -> Option<&'static rings::RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&rings::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&rings::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&rings::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&rings::RSA_PSS_2048_8192_SHA256),
        _ => None,
    }
}

fn curve(algorithm: Algorithm) -> Option<&'static dyn rings::VerificationAlgorithm> {
    match algorithm {
        Algorithm::ES256 => Some(&rings::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Some(&rings::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Some(&rings::ED25519),
        _ => None,
    }
}

/// Some issuers write a sign byte, which ring refuses.
fn without_zeros(number: &[u8]) -> &[u8] {
    let first = number.iter().position(|byte| *byte != 0);
    first.map_or(&[], |first| &number[first..])
}
