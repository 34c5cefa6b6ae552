//! LiteLLM: what its callbacks post.

mod call_types;
pub(super) mod lago;
pub(super) mod openmeter;
pub(super) mod payload;
pub(super) mod price_list;
mod response_id;

use crate::domain::ids::ID_CHARS_MAX;

/// An id in place of one that is too long, or has control characters.
pub(super) fn hashed(id: &str) -> String {
    let hash = xxhash_rust::xxh3::xxh3_128(id.as_bytes());
    const _: () = assert!(ID_CHARS_MAX >= 32);
    format!("{hash:032x}")
}
