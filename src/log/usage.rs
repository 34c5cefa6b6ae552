//! The record formats of `usage.events` (see also docs/wire.md).

use crate::domain::event::{Rejection, UsageEvent};
use crate::log::Headers;

/// Decodes one record's value, in either form.
pub fn decode<'a>(_value: &'a [u8], _headers: &'a Headers) -> Result<UsageEvent<'a>, Rejection> {
    todo!()
}

impl UsageEvent<'_> {
    /// The identity.
    pub fn identity(&self) -> crate::domain::event::Identity {
        todo!()
    }

    /// The content.
    pub fn content(&self) -> crate::domain::event::ContentHash {
        todo!()
    }
}
