//! Texts that stand where nothing is known.

/// Texts by which gateways and SDKs say that they know nothing, whatever their case.
const UNKNOWN: [&str; 10] = [
    "-",
    "n/a",
    "nil",
    "none",
    "null",
    "undefined",
    "unknown",
    "unset",
    "unspecified",
    // What JavaScript makes of an object where a text is expected.
    "[object object]",
];

/// Whether a text stands where its writer knew nothing.
pub fn says_nothing(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || UNKNOWN.iter().any(|word| text.eq_ignore_ascii_case(word))
}
