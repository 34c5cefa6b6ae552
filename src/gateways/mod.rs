//! Other people's formats, turned into usage events.
//!
//! Pure: bytes and the time at which they came in give events. The format is given by the path that
//! was called or by configuration, never guessed. Each gateway has a folder or file of its own,
//! with its sources: what is posted over HTTP (`litellm`, `new_api`, `sub2api`, `otlp`), and what
//! is read from a gateway's own Kafka topic ([`access_log`]). Only the fields that a format names
//! are read, so prompts, completions, keys and addresses cannot enter the log.
//!
//! None of these senders corrects an item that is refused, and most never send again, so one bad
//! item must not cost its batch, nor be lost itself: it becomes a [`Refused`], which is kept in
//! `usage.rejected` with everything of it that could be read, as a draft of the event.
//!
//! The same item always gives the same event, with the same id, so that a batch that is sent twice
//! counts once. The one format that makes up a new id with each attempt (`litellm::lago`) says so.

pub mod access_log;
mod calls;
mod claim;
mod decimal;
mod fields;
mod items;
mod json;
mod kind;
mod litellm;
mod new_api;
mod otlp;
mod outcome;
mod outcomes;
mod session;
mod structure;
mod sub2api;
mod tokens;
mod unknown;

use bytes::Bytes;

use crate::domain::time::Millis;
use crate::log::rejected::GatewayReject;
pub use crate::ops::config::GatewaySettings;
pub use litellm::price_list::{Markup, PriceList, PriceListError};
pub use otlp::protobuf::exported as otlp_exported;
pub use outcome::{Adapted, Refusal, Remarks, Skip};
pub use outcomes::{Outcome, Outcomes};
pub use unknown::says_nothing;

/// A form in which a gateway posts usage. The names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// LiteLLM's `generic_api` callback: its StandardLoggingPayload.
    Litellm,
    /// LiteLLM's `openmeter` callback.
    LitellmOpenmeter,
    /// LiteLLM's `lago` callback.
    LitellmLago,
    /// Rows of the logs of new-api or one-api.
    NewApi,
    /// Rows of the usage logs of sub2api.
    Sub2Api,
    /// OpenTelemetry traces, OTLP in JSON or protobuf: spans of GenAI clients.
    Otlp,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 6] = [
        Format::Litellm,
        Format::LitellmOpenmeter,
        Format::LitellmLago,
        Format::NewApi,
        Format::Sub2Api,
        Format::Otlp,
    ];

    /// The name, in metrics and rejects; also the CloudEvents source of the events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Litellm => "litellm",
            Format::LitellmOpenmeter => "litellm-openmeter",
            Format::LitellmLago => "litellm-lago",
            Format::NewApi => "new-api",
            Format::Sub2Api => "sub2api",
            Format::Otlp => "otlp",
        }
    }
}

/// An item that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why. Quotes nothing of the item.
    pub refusal: Refusal,
    /// The event as far as it could be read: canonical JSON without the fields that are missing or
    /// wrong; empty if there is nothing. Mended by whoever knows what is missing, it can be sent.
    pub draft: Bytes,
}

impl Refused {
    /// What goes into `usage.rejected`.
    pub fn reject(self, format: Format, received: Millis, sender: Option<String>) -> GatewayReject {
        GatewayReject {
            reason: self.refusal.reason,
            field: self.refusal.field,
            detail: self.refusal.detail,
            format: format.as_str().to_owned(),
            received,
            sender,
            draft: self.draft,
        }
    }
}

/// Most events and refusals of one body. Items that are passed over do not count: a trace may have
/// many spans around one inference.
pub const ITEMS_MAX: usize = 10_000;

/// Why nothing was read of a body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Nothing in it is in this format.
    #[error("the body is not {wanted}")]
    Unreadable {
        /// What it should be.
        wanted: &'static str,
    },
    /// It holds more than [`ITEMS_MAX`] events.
    #[error("the body has more than {ITEMS_MAX} events; send smaller batches")]
    TooManyItems,
}

/// The outcomes of a body that was received at that time.
///
/// # Errors
/// Nothing in it can be read, or there are too many events. The same bytes are never readable.
pub fn read(
    format: Format,
    body: &[u8],
    received: Millis,
    settings: &GatewaySettings,
) -> Result<Outcomes, BodyError> {
    match format {
        Format::Litellm => litellm::payload::read(body, settings),
        Format::LitellmOpenmeter => litellm::openmeter::read(body),
        Format::LitellmLago => litellm::lago::read(body, received),
        Format::NewApi => new_api::read(body, settings),
        Format::Sub2Api => sub2api::read(body, settings),
        Format::Otlp => otlp::read(body, settings),
    }
}

/// The elements of an array of which some are not JSON, as they are written; `None`: the text is
/// not one whole array.
///
/// # Errors
/// There are more than [`ITEMS_MAX`].
pub fn elements_of_broken_array(text: &str) -> Result<Option<Vec<&str>>, BodyError> {
    let text = text.trim();
    if !text.starts_with('[') {
        return Ok(None);
    }
    let mut elements = Vec::new();
    let end = structure::each_element(text, |element| {
        if elements.len() == ITEMS_MAX {
            return Err(BodyError::TooManyItems);
        }
        elements.push(element);
        Ok(())
    })?;
    let is_whole = end == Some(text.len()) && !elements.contains(&"");
    Ok(is_whole.then_some(elements))
}

/// [`read`] for [`Format::Otlp`] in protobuf.
///
/// # Errors
/// As of [`read`].
pub fn read_otlp_protobuf(body: &[u8], settings: &GatewaySettings) -> Result<Outcomes, BodyError> {
    otlp::protobuf::read(body, settings)
}
