//! `[http.jwt]`: tokens of an identity provider, for people's own pages.

use axum::http::Uri;

use serde_json::json;

use super::kinds::checked;
use super::reader::Reader;

/// Longest text of a setting.
const CHARS_MAX: usize = 512;

/// Whose tokens are accepted, and what they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// Where the issuer publishes its keys (JWKS).
    pub jwks_url: String,
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must be, or hold.
    pub audience: String,
    /// The claim that names the token's user; `None`: tokens are for no user.
    pub user_claim: Option<String>,
    /// The claim that names the token's provider; `None`: tokens are for no provider.
    pub provider_claim: Option<String>,
}

impl JwtConfig {
    pub(super) fn read(reader: &mut Reader) -> Option<JwtConfig> {
        let text = |name: &'static str| {
            checked(name, |text: &str| match text.chars().count() {
                0..=CHARS_MAX if !text.chars().any(char::is_control) => Ok(()),
                _ => Err("is too long, or has control characters".to_owned()),
            })
        };
        let none = String::new;
        let jwks_url = read_url(reader).unwrap_or_default();
        let issuer = text("the tokens' `iss`, at most 512 characters");
        let issuer = reader.get("http.jwt.issuer", none(), issuer);
        let audience = text("the tokens' `aud`, at most 512 characters");
        let audience = reader.get("http.jwt.audience", none(), audience);
        let claim = || text("the name of a claim, at most 512 characters, or an empty string");
        let user_claim = reader.get("http.jwt.user_claim", "sub".to_owned(), claim());
        let provider_claim = reader.get("http.jwt.provider_claim", none(), claim());
        let is_on = !jwks_url.is_empty();
        for (key, value) in [
            ("http.jwt.issuer", &issuer),
            ("http.jwt.audience", &audience),
        ] {
            let (problem, allowed) = match is_on {
                true => (
                    "is missing, but http.jwt.jwks_url is set",
                    "a non-empty string",
                ),
                false => ("is set without http.jwt.jwks_url", "an empty string"),
            };
            reader.must(value.is_empty() != is_on, key, problem, allowed.to_owned());
        }
        reader.must(
            !(is_on && user_claim.is_empty() && provider_claim.is_empty()),
            "http.jwt.user_claim",
            "is empty, and so is http.jwt.provider_claim, so tokens would grant no access",
            "the name of a claim in at least one of them".to_owned(),
        );
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        is_on.then(|| JwtConfig {
            jwks_url,
            issuer,
            audience,
            user_claim: given(user_claim),
            provider_claim: given(provider_claim),
        })
    }

    /// Whether the keys come from this machine, without TLS.
    pub fn is_plain(&self) -> bool {
        self.jwks_url.starts_with("http://")
    }
}

/// The address, if it is one that can be used. A faulty one is not repeated: there may be a
/// password in it.
fn read_url(reader: &mut Reader) -> Option<String> {
    const KEY: &str = "http.jwt.jwks_url";
    const ALLOWED: &str = "an https:// URL (http:// only on this machine), or an empty string to accept \
                           no tokens";
    let schema = json!({"type": "string", "pattern": "^(https?://[^@]+)?$"});
    let (origin, value) = reader.raw(KEY, ALLOWED, &schema)?;
    let checked = match value.as_str() {
        Some(text) => check_url(text).map(|()| text.to_owned()),
        None => Err("is not a string".to_owned()),
    };
    let fault = |problem| {
        reader.fault(origin, KEY, problem, ALLOWED.to_owned());
    };
    checked.map_err(fault).ok()
}

/// What travels between machines decides who may read accounts: it needs TLS.
fn check_url(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let no_address = || "is not an http:// or https:// URL".to_owned();
    let uri: Uri = text.parse().map_err(|_| no_address())?;
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    if authority.contains('@') {
        return Err("contains a password, which would end up in logs".to_owned());
    }
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") if !host.is_empty() => Ok(()),
        Some("http") if is_here => Ok(()),
        Some("http") => Err("does not use TLS".to_owned()),
        _ => Err(no_address()),
    }
}
