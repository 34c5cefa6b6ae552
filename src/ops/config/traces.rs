//! `[tracing]`: where the spans of requests, chunks and flushes go.

use axum::http::Uri;

use serde_json::json;

use super::kinds::integer;
use super::reader::Reader;

/// What a collector's address ends with, as OTLP has it.
const PATH: &str = "/v1/traces";

/// Where traces go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracingConfig {
    /// Where spans are posted to, path included; `None`: nowhere.
    pub endpoint: Option<String>,
    /// How many of a hundred traces that begin here are exported.
    pub percent: u8,
}

impl TracingConfig {
    pub(super) fn read(reader: &mut Reader) -> TracingConfig {
        let percent = reader.get("tracing.percent", 100, integer(1..=100));
        let config = TracingConfig {
            endpoint: read_endpoint(reader),
            percent: u8::try_from(percent).unwrap_or(100),
        };
        reader.must(
            config.endpoint.is_none() || cfg!(feature = "otlp"),
            "tracing.endpoint",
            "is set, but this binary was built without the feature otlp",
            "an empty string, or rebuild with `cargo build --release --features otlp`".to_owned(),
        );
        config
    }
}

/// The address, if it is one that can be used. A faulty one is not repeated: there may be a
/// password in it.
fn read_endpoint(reader: &mut Reader) -> Option<String> {
    const KEY: &str = "tracing.endpoint";
    const ALLOWED: &str = "a collector's URL such as http://127.0.0.1:4318, or an empty string to export \
                           no traces";
    let schema = json!({"type": "string", "pattern": "^(https?://[^?@]+)?$"});
    let (origin, value) = reader.raw(KEY, ALLOWED, &schema)?;
    let posted_to = value.as_str().ok_or("is not a string").and_then(posted_to);
    let fault = |problem: &str| {
        reader.fault(origin, KEY, problem.to_owned(), ALLOWED.to_owned());
    };
    posted_to.map_err(fault).ok().flatten()
}

fn posted_to(text: &str) -> Result<Option<String>, &'static str> {
    const NO_ADDRESS: &str = "is not an http:// or https:// URL";
    if text.is_empty() {
        return Ok(None);
    }
    let uri: Uri = text.parse().map_err(|_| NO_ADDRESS)?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err("contains a password, which would end up in logs; use OTEL_EXPORTER_OTLP_HEADERS")
        }
        Some(_) if is_web && uri.query().is_none() => {
            let base = text.trim_end_matches('/').trim_end_matches(PATH);
            Ok(Some(format!("{base}{PATH}")))
        }
        _ => Err(NO_ADDRESS),
    }
}

#[cfg(test)]
mod tests {
    use super::posted_to;

    #[test]
    fn the_path_of_otlp_is_added_where_it_is_missing() {
        for text in [
            "http://a:4318",
            "http://a:4318/",
            "http://a:4318/v1/traces",
            "http://a:4318/v1/traces/",
        ] {
            let posted_to = posted_to(text).expect(text);
            assert_eq!(posted_to.as_deref(), Some("http://a:4318/v1/traces"));
        }
        let below = posted_to("https://otlp.example/otlp").expect("an address");
        assert_eq!(
            below.as_deref(),
            Some("https://otlp.example/otlp/v1/traces")
        );
        assert_eq!(posted_to(""), Ok(None));
    }

    #[test]
    fn what_is_no_address_of_a_collector_is_refused() {
        for text in [
            "collector:4317",
            "grpc://a:4317",
            "/v1/traces",
            "http://a/?key=1",
            "http://",
        ] {
            assert!(posted_to(text).is_err(), "{text}");
        }
        let told = posted_to("https://me:hunter2@a").expect_err("a password");
        assert!(told.contains("password") && !told.contains("hunter2"));
    }
}
