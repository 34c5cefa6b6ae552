//! `[http.jwt]`: tokens of an identity provider, for people's own pages.

use axum::http::Uri;

use super::reader::{Reader, checked};

/// Longest text of a setting.
const CHARS_MAX: usize = 512;

/// Whose tokens are believed, and what they say.
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
        let issuer = text("what `iss` of the tokens is, in at most 512 characters");
        let issuer = reader.get("http.jwt.issuer", none(), issuer);
        let audience = text("what `aud` of the tokens is, in at most 512 characters");
        let audience = reader.get("http.jwt.audience", none(), audience);
        let claim = || text("a claim's name of at most 512 characters, or an empty text");
        let user_claim = reader.get("http.jwt.user_claim", "sub".to_owned(), claim());
        let provider_claim = reader.get("http.jwt.provider_claim", none(), claim());
        let is_on = !jwks_url.is_empty();
        for (key, value) in [
            ("http.jwt.issuer", &issuer),
            ("http.jwt.audience", &audience),
        ] {
            let (problem, allowed) = match is_on {
                true => ("is missing, but http.jwt.jwks_url is given", "a text"),
                false => ("is given without http.jwt.jwks_url", "an empty text"),
            };
            reader.must(value.is_empty() != is_on, key, problem, allowed.to_owned());
        }
        reader.must(
            !(is_on && user_claim.is_empty() && provider_claim.is_empty()),
            "http.jwt.user_claim",
            "is empty, and so is http.jwt.provider_claim: tokens would allow nothing",
            "a claim's name in one of them".to_owned(),
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

/// The address, if it is one that can be used. A faulty one is not repeated: there may be a password in it.
fn read_url(reader: &mut Reader) -> Option<String> {
    const KEY: &str = "http.jwt.jwks_url";
    let (origin, value) = reader.raw(KEY)?;
    let checked = match value.as_str() {
        Some(text) => check_url(text).map(|()| text.to_owned()),
        None => Err("is no text".to_owned()),
    };
    let fault = |problem| {
        let allowed = "an https:// address (http:// on this machine alone), or an empty text: no tokens are taken";
        reader.fault(origin, KEY, problem, allowed.to_owned());
    };
    checked.map_err(fault).ok()
}

/// What travels between machines decides who may read accounts: it needs TLS.
fn check_url(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let no_address = || "is no address of a web server".to_owned();
    let uri: Uri = text.parse().map_err(|_| no_address())?;
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    if authority.contains('@') {
        return Err("has a password in it, which would end in logs".to_owned());
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
        Some("http") => Err("is reached without TLS".to_owned()),
        _ => Err(no_address()),
    }
}
