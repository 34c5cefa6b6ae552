//! LiteLLM: what its callbacks post. The spans of its `otel` callback are read by `otlp`, with the
//! names that are here.

pub(super) mod call_types;
pub(super) mod lago;
pub(super) mod openmeter;
pub(super) mod payload;
pub(super) mod price_list;
pub(super) mod provider;
mod response_id;

use crate::domain::ids::ID_CHARS_MAX;

/// What LiteLLM calls the user of its master key: nobody.
pub(super) const UNSET: &[&str] = &["default_user_id"];
/// The key by which LiteLLM asks its own models whether they live.
pub(super) const HEALTH_CHECK: &str = "litellm-internal-health-check";
/// The name of the key that a call was made with.
pub(super) const KEY_NAME: &str = "metadata.user_api_key_alias";
/// The user to whom that key belongs.
pub(super) const KEY_USER: &str = "metadata.user_api_key_user_id";
/// Who made a call that no client made.
pub(super) const CALL_ORIGIN: &str = "metadata.internal_call_origin";
/// The route of the proxy that was called.
pub(super) const ROUTE: &str = "metadata.user_api_key_request_route";

/// An id in place of one that is too long, or has control characters.
pub(super) fn hashed(id: &str) -> String {
    let hash = xxhash_rust::xxh3::xxh3_128(id.as_bytes());
    const _: () = assert!(ID_CHARS_MAX >= 32);
    format!("{hash:032x}")
}
