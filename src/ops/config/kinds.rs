//! The kinds of values that settings have: how each is read, what may be written, and its JSON
//! schema.
//!
//! Schemas describe values as they are written in a file. They are no narrower than what is read
//! from there, but for numbers and booleans, which the environment gives as text and a file should
//! not.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use toml::Value;

use super::origin::PublicOrigin;
use crate::domain::time::Millis;

/// A kind of value: how it is read, and what may be written.
pub(super) struct Kind<T> {
    pub(super) allowed: String,
    pub(super) schema: serde_json::Value,
    #[expect(clippy::type_complexity, reason = "used only here")]
    pub(super) read: Box<dyn Fn(&Value) -> Result<T, String>>,
}

fn kind<T>(
    allowed: impl Into<String>,
    schema: serde_json::Value,
    read: impl Fn(&Value) -> Result<T, String> + 'static,
) -> Kind<T> {
    Kind {
        allowed: allowed.into(),
        schema,
        read: Box::new(read),
    }
}

/// The schema of a text that matches a regular expression.
fn text_like(pattern: &str) -> serde_json::Value {
    json!({"type": "string", "pattern": pattern})
}

fn text_of(value: &Value) -> Result<&str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("is {value}, which is not a string"))
}

/// Any text of at most `max` characters out of letters, digits and `extra`.
pub(super) fn name(max: usize, extra: &'static str) -> Kind<String> {
    let allowed = format!("at most {max} letters, digits and any of '{extra}'");
    let escaped: String = extra.chars().flat_map(|c| ['\\', c]).collect();
    let mut schema = text_like(&format!("^[A-Za-z0-9{}]*$", escaped.replace("\\_", "_")));
    schema["maxLength"] = json!(max);
    kind(allowed, schema, move |value| {
        let text = text_of(value)?;
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || extra.contains(c);
        if text.chars().count() <= max && text.chars().all(is_allowed) {
            Ok(text.to_owned())
        } else {
            Err(format!("is '{text}'"))
        }
    })
}

/// As [`name`], or empty.
pub(super) fn optional_name(max: usize, extra: &'static str) -> Kind<Option<String>> {
    let inner = name(max, extra);
    let allowed = format!("{}, or an empty string", inner.allowed);
    kind(allowed, inner.schema, move |value| {
        let text = (inner.read)(value)?;
        Ok((!text.is_empty()).then_some(text))
    })
}

/// An `http://` or `https://` URL, or empty.
pub(super) fn url() -> Kind<Option<String>> {
    kind(
        "a URL such as http://127.0.0.1:8000, or an empty string for the region's own endpoint",
        text_like("^(https?://.*)?$"),
        |value| {
            let text = text_of(value)?;
            let is_url = text.starts_with("http://") || text.starts_with("https://");
            match text {
                "" => Ok(None),
                _ if is_url => Ok(Some(text.to_owned())),
                _ => Err(format!("is '{text}'")),
            }
        },
    )
}

/// An origin: scheme, host and optional port, without a path.
pub(super) fn origin() -> Kind<Option<PublicOrigin>> {
    kind(
        "a URL without a path, such as https://points.example, or an empty string",
        text_like("^(https?://[^/?#@\\s]+)?$"),
        |value| match text_of(value)? {
            "" => Ok(None),
            text => PublicOrigin::parse(text)
                .map(Some)
                .ok_or_else(|| format!("is '{text}'")),
        },
    )
}

/// A text that `check` accepts.
pub(super) fn checked(
    allowed: &str,
    check: impl Fn(&str) -> Result<(), String> + 'static,
) -> Kind<String> {
    kind(allowed, json!({"type": "string"}), move |value| {
        let text = text_of(value)?;
        check(text).map_err(|why| format!("is '{text}' ({why})"))?;
        Ok(text.to_owned())
    })
}

/// A text that `read` understands.
pub(super) fn text_kind<T>(
    allowed: &str,
    schema: serde_json::Value,
    read: impl Fn(&str) -> Result<T, String> + 'static,
) -> Kind<T> {
    kind(allowed, schema, move |value| read(text_of(value)?))
}

/// A point in time, or empty.
pub(super) fn instant() -> Kind<Option<Millis>> {
    let allowed = "a time such as 2026-11-30T00:00:00Z, or an empty string";
    kind(
        allowed,
        text_like("^([0-9+-].*)?$"),
        |value| match text_of(value)? {
            "" => Ok(None),
            text => match text.parse().ok() {
                Some(time) => Ok(Some(time)),
                None => Err(format!("is '{text}'")),
            },
        },
    )
}

/// A path.
pub(super) fn path() -> Kind<PathBuf> {
    kind(
        "a path",
        json!({"type": "string", "minLength": 1}),
        |value| match text_of(value)? {
            "" => Err("is empty".to_owned()),
            text => Ok(PathBuf::from(text)),
        },
    )
}

/// A path, or empty.
pub(super) fn optional_path() -> Kind<Option<PathBuf>> {
    kind(
        "a path, or an empty string",
        json!({"type": "string"}),
        |value| {
            let text = text_of(value)?;
            Ok((!text.is_empty()).then(|| PathBuf::from(text)))
        },
    )
}

/// A comma-separated list of `host:port`, or empty.
pub(super) fn hosts() -> Kind<Vec<String>> {
    let allowed = "brokers such as kafka-1:9092,kafka-2:9092, or an empty string";
    let host = "([^,]+:[0-9]{1,5}\\s*|\\s*)";
    kind(
        allowed,
        text_like(&format!("^{host}(,{host})*$")),
        |value| {
            let text = text_of(value)?;
            let hosts = text
                .split(',')
                .map(str::trim)
                .filter(|host| !host.is_empty());
            let is_host = |host: &&str| {
                host.rsplit_once(':')
                    .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok())
            };
            match hosts.clone().find(|host| !is_host(host)) {
                Some(bad) => Err(format!("has '{bad}', which is not host:port")),
                None => Ok(hosts.map(str::to_owned).collect()),
            }
        },
    )
}

/// The value of a setting that is passed on as it is.
pub(super) fn plain() -> Kind<String> {
    kind(
        "a string, a whole number, true or false",
        json!({"type": ["string", "integer", "boolean"]}),
        |value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Integer(_) | Value::Boolean(_) => Ok(value.to_string()),
            other => Err(format!("is {other}")),
        },
    )
}

/// Any socket address.
pub(super) fn address() -> Kind<SocketAddr> {
    kind(
        "an IP address and port, such as 127.0.0.1:8787 or 0.0.0.0:8788",
        text_like("^.*:[0-9]{1,5}$"),
        |value| {
            let text = text_of(value)?;
            text.replace("localhost:", "127.0.0.1:")
                .parse()
                .map_err(|_| format!("is '{text}', which is not an IP address and port"))
        },
    )
}

/// As [`address`], or empty.
pub(super) fn optional_address() -> Kind<Option<SocketAddr>> {
    let inner = address();
    let allowed = format!("{}, or an empty string", inner.allowed);
    let schema = text_like("^(.*:[0-9]{1,5})?$");
    kind(allowed, schema, move |value| match text_of(value)? {
        "" => Ok(None),
        _ => (inner.read)(value).map(Some),
    })
}

/// An integer; in the environment and in flags, its digits.
pub(super) fn integer(range: RangeInclusive<i64>) -> Kind<i64> {
    let allowed = format!("a whole number from {} to {}", range.start(), range.end());
    let schema = json!({"type": "integer", "minimum": range.start(), "maximum": range.end()});
    kind(allowed, schema, move |value| {
        let number = match value {
            Value::Integer(number) => Some(*number),
            Value::String(text) => text.replace('_', "").parse().ok(),
            _ => None,
        };
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("is {value}"))
    })
}

/// A duration such as `250ms`, `1s`, `5m` or `1h 30m`.
pub(super) fn duration(range: RangeInclusive<Duration>) -> Kind<Duration> {
    let shown = |duration: &Duration| match duration.is_zero() {
        true => "0s".to_owned(),
        false => format!("{duration:?}"),
    };
    let allowed = format!(
        "a duration from {} to {}, written like \"250ms\", \"1s\" or \"1h 30m\"",
        shown(range.start()),
        shown(range.end())
    );
    let schema = text_like("^\\s*\\+?[P0-9].*[A-Za-zµ:]");
    kind(allowed, schema, move |value| {
        let text = text_of(value)?;
        let parsed: Option<jiff::SignedDuration> = text.parse().ok();
        parsed
            .and_then(|duration| Duration::try_from(duration).ok())
            .filter(|duration| range.contains(duration))
            .ok_or_else(|| format!("is '{text}'"))
    })
}

/// True or false.
pub(super) fn boolean() -> Kind<bool> {
    kind(
        "true, false",
        json!({"type": "boolean"}),
        |value| match value {
            Value::Boolean(is_on) => Ok(*is_on),
            Value::String(text) if text == "true" || text == "false" => Ok(text == "true"),
            other => Err(format!("is {other}")),
        },
    )
}

/// One of a few words.
pub(super) fn choice<T: Copy + 'static>(words: &'static [(&'static str, T)]) -> Kind<T> {
    let allowed = words.iter().map(|(word, _)| *word).collect::<Vec<_>>();
    let schema = json!({"type": "string", "enum": allowed});
    kind(allowed.join(", "), schema, move |value| {
        let text = text_of(value)?;
        let known = words.iter().find(|(word, _)| *word == text);
        known
            .map(|(_, choice)| *choice)
            .ok_or_else(|| format!("is '{text}'"))
    })
}
