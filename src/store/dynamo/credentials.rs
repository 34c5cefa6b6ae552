//! Who signs the requests, and in which region: AWS's own chain of sources, without single sign-on.
//!
//! Sources, in order: environment variables, the profile (`~/.aws`, `AWS_PROFILE`), a web identity
//! token (EKS), the container's endpoint (ECS, EKS pod identity), the instance's role (EC2). The
//! SDK caches what it finds and asks again shortly before it expires. A source that fails makes
//! requests fail with [`StoreError::Denied`](crate::store::db::StoreError::Denied), which passes
//! when the source is back.

use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::imds;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_sdk_dynamodb::config::{Region, SharedCredentialsProvider};

use super::settings::http_client;

/// The instance's metadata answers within milliseconds where it exists. Elsewhere its address
/// swallows packets, and this, twice, is what a start without credentials costs.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);
const METADATA_ATTEMPTS: u32 = 2;

/// Variables that name a source of credentials.
const SOURCES: [&str; 8] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
];

/// Whether the environment names a source of credentials. A DynamoDB-compatible server of one's own
/// takes any key, so without one nothing is looked for.
pub fn are_named_by_environment() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    SOURCES.into_iter().any(is_set)
}

/// The chain. Nothing is asked yet.
pub async fn chain(region: &str) -> SharedCredentialsProvider {
    let config = provider_config().with_region(Some(Region::new(region.to_owned())));
    let chain = DefaultCredentialsChain::builder()
        .region(Region::new(region.to_owned()))
        .configure(config.clone())
        .imds_client(metadata(&config))
        .build()
        .await;
    SharedCredentialsProvider::new(chain)
}

/// The region of the environment, of the profile, or of the instance.
pub async fn find_region() -> Option<String> {
    let config = provider_config();
    let profile = ProfileFileRegionProvider::builder()
        .configure(&config)
        .build();
    let instance = imds::region::ImdsRegionProvider::builder()
        .configure(&config)
        .imds_client(metadata(&config))
        .build();
    let chain = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(profile)
        .or_else(instance);
    let region = chain.region().await?;
    Some(region.as_ref().to_owned())
}

fn provider_config() -> ProviderConfig {
    ProviderConfig::default().with_http_client(http_client(None))
}

fn metadata(config: &ProviderConfig) -> imds::Client {
    imds::Client::builder()
        .configure(config)
        .connect_timeout(METADATA_TIMEOUT)
        .read_timeout(METADATA_TIMEOUT)
        .max_attempts(METADATA_ATTEMPTS)
        .build()
}
