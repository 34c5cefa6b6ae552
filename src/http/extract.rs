//! Bodies of admin and account routes: JSON that says exactly what is meant, or a refusal that says
//! where it does not.

use std::collections::HashSet;
use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode, header};
use serde::de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::body::{Incoming, Packing, Reading};
use super::problem::Problem;
use crate::domain::ids::{Account, AccountKind, IdError, check_id, check_new_id};

/// Largest body.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A JSON body. Its type must deny unknown fields, and hold values of any form as [`Verbatim`]:
/// then nothing in it stands twice.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, _: &S) -> Result<JsonBody<T>, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let media_type = content_type.and_then(|value| value.split(';').next());
        if !media_type.is_some_and(|text| text.trim().eq_ignore_ascii_case("application/json")) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "send a JSON object, with the header Content-Type: application/json",
            ));
        }
        // Set by the guard that stands before every route with a body.
        let reading = request.extensions().get::<Reading>().cloned();
        let reading = reading.ok_or_else(Problem::internal)?;
        let body = Incoming::of(request, BODY_BYTES_MAX, Packing::Refused)?;
        let body = body.read(&reading).await?;
        let bad = |why: String| Problem::new(StatusCode::BAD_REQUEST, "invalid_body", why);
        // An array of the members' values in their order would do for serde.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(bad("the body is not a JSON object".to_owned()));
        }
        serde_json::from_slice(&body)
            .map(JsonBody)
            .map_err(|error| bad(error.to_string()))
    }
}

/// A value of a body that is kept as it was written. No object in it has a member twice, however
/// deep it stands: it could mean either.
#[derive(Debug)]
pub struct Verbatim(Box<RawValue>);

impl Verbatim {
    /// As it was written.
    pub fn get(&self) -> &str {
        self.0.get()
    }
}

impl<'de> Deserialize<'de> for Verbatim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Verbatim, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        serde_json::from_str::<Unambiguous>(raw.get()).map_err(D::Error::custom)?;
        Ok(Verbatim(raw))
    }
}

/// Any JSON in which no object has a member twice, however deep it stands.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unambiguous, D::Error> {
        deserializer.deserialize_any(UnambiguousVisitor)
    }
}

struct UnambiguousVisitor;

impl<'de> Visitor<'de> for UnambiguousVisitor {
    type Value = Unambiguous;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    /// Numbers are looked at here, never kept: amounts are read from their digits.
    fn visit_f64<E>(self, _: f64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_unit<E>(self) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Unambiguous, A::Error> {
        while items.next_element::<Unambiguous>()?.is_some() {}
        Ok(Unambiguous)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Unambiguous, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            members.next_value::<Unambiguous>()?;
            if let Some(twice) = names.replace(name) {
                return Err(A::Error::custom(format!(
                    "the field `{twice}` appears twice"
                )));
            }
        }
        Ok(Unambiguous)
    }
}

/// The query string. Its type should deny unknown fields.
#[derive(Debug)]
pub struct QueryParams<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryParams<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<QueryParams<T>, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|Query(query)| QueryParams(query))
            .map_err(|error| {
                // The cause without the library's words before it.
                let why = match error.source() {
                    Some(cause) => cause.to_string(),
                    None => "it cannot be read".to_owned(),
                };
                bad_query(format!("the query: {why}"))
            })
    }
}

/// That nothing is asked for in the query string, of routes that change something: what a caller
/// believes to be a dry run is to be none.
#[derive(Debug)]
pub struct NoQuery;

impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<NoQuery, Problem> {
        match parts.uri.query() {
            None | Some("") => Ok(NoQuery),
            Some(_) => Err(bad_query(
                "this route takes no query parameters; nothing was done",
            )),
        }
    }
}

/// A query that cannot be answered.
pub fn bad_query(why: impl ToString) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_query", why.to_string())
}

/// How many entries of a list are given at once: as many as were asked for, if that is within
/// bounds.
pub fn page_entries(asked: Option<u32>, usual: u32, max: u32) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(usual);
    if (1..=max).contains(&limit) {
        return Ok(limit as usize);
    }
    Err(bad_query(format!("limit is {limit}; allowed: 1 to {max}")))
}

/// The header `Idempotency-Key`, which names a change so that it counts once, however often it is
/// sent; if there is one.
#[derive(Debug)]
pub struct IdempotencyKey(Option<String>);

/// Its name.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl IdempotencyKey {
    /// The key, if one was sent.
    pub fn given(self) -> Option<String> {
        self.0
    }

    /// The key, without which nothing is done.
    pub fn needed(self) -> Result<String, Problem> {
        self.0.ok_or_else(|| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "idempotency_key_missing",
                "send a header Idempotency-Key with a name of your own for this change (an invoice's number, say): sent again \
                 under the same key, it counts once",
            )
        })
    }
}

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<IdempotencyKey, Problem> {
        let Some(value) = parts.headers.get(IDEMPOTENCY_KEY) else {
            return Ok(IdempotencyKey(None));
        };
        let key = std::str::from_utf8(value.as_bytes()).unwrap_or_default();
        check_id(key).map_err(|error| {
            let why = format!("the header Idempotency-Key: {error}");
            Problem::new(StatusCode::BAD_REQUEST, "invalid_idempotency_key", why)
        })?;
        Ok(IdempotencyKey(Some(key.to_owned())))
    }
}

/// What the path names.
#[derive(Debug)]
pub struct PathParams<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathParams<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<PathParams<T>, Problem> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(path)| PathParams(path)).map_err(|error| {
            let bad = match &error {
                PathRejection::FailedToDeserializePathParams(error) => path_fault(error.kind()),
                _ => None,
            };
            let why = bad.unwrap_or_else(|| "the path is not valid".to_owned());
            Problem::new(StatusCode::BAD_REQUEST, "invalid_path", why)
        })
    }
}

/// Which part of the path is wrong, in words that do not tell of our types.
fn path_fault(kind: &ErrorKind) -> Option<String> {
    match kind {
        ErrorKind::ParseErrorAtKey { key, value, .. } => {
            Some(format!("the path: {key} cannot be '{value}'"))
        }
        ErrorKind::ParseErrorAtIndex { value, .. } | ErrorKind::ParseError { value, .. } => {
            Some(format!("the path: '{value}' does not fit there"))
        }
        ErrorKind::DeserializeError {
            key,
            value,
            message,
        } => Some(format!("the path: {key} cannot be '{value}': {message}")),
        ErrorKind::InvalidUtf8InPathParam { key } => Some(format!("the path: {key} is not UTF-8")),
        ErrorKind::Message(message) => Some(format!("the path: {message}")),
        _ => None,
    }
}

/// A decimal amount, given as a JSON number or as a string, read from its very digits: never
/// through a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exact<T>(pub T);

/// Largest exponent that is written out; what is beyond stays as it is, to be refused.
const EXPONENT_MAX: i32 = 40;

/// A JSON number without its exponent: clients write a ten-millionth of a dollar as `1e-7`.
fn plain(number: &str) -> String {
    let written_out = || {
        let (mantissa, exponent) = number.split_once(['e', 'E'])?;
        let exponent: i32 = exponent.parse().ok()?;
        if exponent.abs() > EXPONENT_MAX {
            return None;
        }
        let (sign, unsigned) = mantissa
            .strip_prefix('-')
            .map_or(("", mantissa), |rest| ("-", rest));
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let zeros = "0".repeat(exponent.unsigned_abs() as usize);
        // As many zeros on the side to which the point moves, so that there is always a digit for
        // it to pass.
        let (before, after) = match exponent < 0 {
            true => (format!("{zeros}{whole}"), fraction.to_owned()),
            false => (whole.to_owned(), format!("{fraction}{zeros}")),
        };
        let point = before.len().checked_add_signed(exponent as isize)?;
        let digits = before + &after;
        let (whole, fraction) = digits.split_at(point);
        Some(format!("{sign}{whole}.{fraction}0"))
    };
    written_out().unwrap_or_else(|| number.to_owned())
}

impl<'de, T> Deserialize<'de> for Exact<T>
where
    T: FromStr,
    T::Err: Display,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Exact<T>, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let is_number = raw
            .get()
            .starts_with(|c: char| c == '-' || c.is_ascii_digit());
        let text = if is_number {
            plain(raw.get())
        } else {
            serde_json::from_str::<String>(raw.get()).map_err(|_| {
                D::Error::custom("an amount must be a decimal number, or a string that holds one")
            })?
        };
        text.parse().map(Exact).map_err(D::Error::custom)
    }
}

/// The account that a body names, and that may be new: its id must look like no other.
pub fn new_account(kind: AccountKind, id: &str) -> Result<Account, Problem> {
    check_new_id(id).map_err(|error| invalid_id(&error))?;
    account(kind, id)
}

/// The id, or the kind, of an account is none.
pub fn invalid_id(error: &IdError) -> Problem {
    let why = format!("the id: {error}");
    Problem::new(StatusCode::BAD_REQUEST, "invalid_id", why)
}

/// The account that a path, a query or a body names.
pub fn account(kind: AccountKind, id: &str) -> Result<Account, Problem> {
    Account::new(kind, id).map_err(|error| invalid_id(&error))
}
