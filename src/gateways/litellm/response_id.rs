//! Which response it is that was fetched.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::gateways::fields::Fields;
use crate::gateways::tokens::Tokens;

/// Longer ids are wrapped.
const CHARS_MAX: usize = 80;

/// The provider's id of a response.
///
/// LiteLLM wraps it in base64, or, by default since 1.7x, in a cipher text that differs each time
/// that the response is fetched. Then the id of its first output identifies it; or else when it was
/// created and what it took.
pub(super) fn response_id(fields: &Fields<'_>, id: &str, tokens: Tokens) -> String {
    if let Some(inner) = unwrapped(id) {
        return inner;
    }
    if id.len() <= CHARS_MAX {
        return id.to_owned();
    }
    let output = fields.first_of("response.output", "id");
    if let Some(output) = output.filter(|id| id.len() <= CHARS_MAX) {
        return output;
    }
    let count = |count: Option<u64>| count.map_or_else(String::new, |count| count.to_string());
    match fields.micros("response.created_at") {
        Some(created) => format!("{created}/{}/{}", count(tokens.input), count(tokens.output)),
        None => id.to_owned(),
    }
}

/// The id inside of base64 of `litellm:custom_llm_provider:...;model_id:...;response_id:...`.
fn unwrapped(id: &str) -> Option<String> {
    const MARK: &str = "response_id:";
    let wrapped = id.strip_prefix("resp_")?;
    let decoded = STANDARD
        .decode(wrapped)
        .or_else(|_| URL_SAFE.decode(wrapped));
    let text = String::from_utf8(decoded.ok()?).ok()?;
    text.split_once(MARK).map(|(_, inner)| inner.to_owned())
}
