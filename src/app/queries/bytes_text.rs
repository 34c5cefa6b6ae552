//! Bytes in JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Bytes: `"text"`, or `{"base64":"…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BytesText {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Binary {
        /// In base64.
        base64: String,
    },
}

impl BytesText {
    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            BytesText::Text(text) => Some(text),
            BytesText::Binary { .. } => None,
        }
    }
}

impl From<&Bytes> for BytesText {
    fn from(bytes: &Bytes) -> BytesText {
        match std::str::from_utf8(bytes) {
            Ok(text) => BytesText::Text(text.to_owned()),
            Err(_) => BytesText::Binary {
                base64: BASE64.encode(bytes),
            },
        }
    }
}

impl TryFrom<BytesText> for Bytes {
    type Error = base64::DecodeError;
    fn try_from(text: BytesText) -> Result<Bytes, base64::DecodeError> {
        match text {
            BytesText::Text(text) => Ok(Bytes::from(text)),
            BytesText::Binary { base64 } => BASE64.decode(base64).map(Bytes::from),
        }
    }
}
