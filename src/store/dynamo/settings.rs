//! Where the tables are and how to talk to them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::config::retry::{ReconnectMode, RetryConfig};
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Credentials, Region, SharedCredentialsProvider, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls;

use super::server_clock::DateReader;
use crate::ops::retry::{Backoff, RetryPolicy};
use crate::store::durability::Durability;
use crate::store::embedded::{ENDPOINT, EmbeddedClient};

/// How often and how long a request is tried again that surely was not carried out, or may be
/// twice: for about 15 s, and for 30 s at most if each attempt takes as long as it may.
pub const RETRIES: RetryPolicy = RetryPolicy {
    backoff: Backoff {
        base: Duration::from_millis(25),
        cap: Duration::from_secs(5),
    },
    attempts_max: 10,
    within: Duration::from_secs(30),
};

/// Where the tables are and how to talk to them.
#[derive(Clone, Debug)]
pub struct DynamoSettings {
    /// `http://127.0.0.1:8000`, or `None` for AWS itself in `region`.
    pub endpoint: Option<String>,
    /// The way to an embedded store, in place of an endpoint.
    pub embedded: Option<EmbeddedClient>,
    /// The AWS region.
    pub region: String,
    /// What stands before every table's name.
    pub prefix: String,
    /// Who signs the requests.
    pub credentials: SharedCredentialsProvider,
    /// How long one request may take, its connection included.
    pub request_timeout: Duration,
    /// How failures are repeated.
    pub retries: RetryPolicy,
    /// At most so many write units a second, averaged over a second; `None`: no bound of ours. A
    /// write counts one unit per begun KiB of its item, twice that in a transaction; what indexes
    /// need on top is not counted.
    pub write_units_per_second: Option<NonZeroU32>,
    /// How many requests of one batch are on their way at once.
    pub batch_concurrency: usize,
    /// What syncs answered writes, where the store leaves that to its clients: the embedded one.
    pub durability: Option<Arc<Durability>>,
}

impl DynamoSettings {
    /// Settings for a server of our own on this machine (DynamoDB Local), which takes any key.
    pub fn local(endpoint: impl Into<String>) -> DynamoSettings {
        DynamoSettings {
            endpoint: Some(endpoint.into()),
            embedded: None,
            region: "us-east-1".to_owned(),
            prefix: String::new(),
            credentials: SharedCredentialsProvider::new(Credentials::new(
                "tidemark", "local", None, None, "local",
            )),
            request_timeout: Duration::from_secs(10),
            retries: RETRIES,
            write_units_per_second: None,
            batch_concurrency: 4,
            durability: None,
        }
    }

    /// Settings for an embedded store, in this process or in another. Whoever writes adds its
    /// durability.
    pub fn embedded(client: EmbeddedClient) -> DynamoSettings {
        DynamoSettings {
            embedded: Some(client),
            ..DynamoSettings::local(ENDPOINT)
        }
    }
}

pub(super) fn config(settings: &DynamoSettings, dates: DateReader) -> aws_sdk_dynamodb::Config {
    let timeouts = TimeoutConfig::builder()
        .operation_timeout(settings.request_timeout)
        .connect_timeout(settings.request_timeout.min(Duration::from_secs(3)))
        .build();
    let mut builder = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(settings.region.clone()))
        .credentials_provider(settings.credentials.clone())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .interceptor(dates)
        // The request's own time-out bounds everything already.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    builder = match &settings.embedded {
        // There is no connection that could be closed after an error, and the SDK would log that
        // each time.
        Some(client) => builder.http_client(client.clone()).retry_config(
            RetryConfig::disabled().with_reconnect_mode(ReconnectMode::ReuseAllConnections),
        ),
        None => builder.http_client(http_client(settings.endpoint.as_deref())),
    };
    builder.set_endpoint_url(settings.endpoint.clone());
    builder.build()
}

/// Plain HTTP where the endpoint says so, without a look at the machine's root certificates, which
/// may be missing.
pub(super) fn http_client(endpoint: Option<&str>) -> SharedHttpClient {
    let builder = aws_smithy_http_client::Builder::new();
    if endpoint.is_some_and(|url| url.starts_with("http://")) {
        return builder.build_http();
    }
    let ring = tls::rustls_provider::CryptoMode::Ring;
    builder
        .tls_provider(tls::Provider::Rustls(ring))
        .build_https()
}
