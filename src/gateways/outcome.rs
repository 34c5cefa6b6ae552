//! What becomes of one item of a gateway, in whichever format it came.

use bytes::Bytes;

use crate::domain::event::{Reason, Rejection, UsageEvent};
use crate::log::{Headers, NewRecord, usage};

/// A usage event made from a log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapted {
    /// Who made the request: decides the partition of `usage.events`.
    pub user: String,
    /// The record for `usage.events`, keyed by the user.
    pub record: NewRecord,
    /// The request succeeded, but the gateway does not know how many tokens it took: nothing will be charged for it.
    pub is_usage_unknown: bool,
}

/// Why an entry is no event. The names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skip {
    /// It is about something else than inference.
    NotInference,
    /// It is null, or the record is empty.
    Empty,
}

impl Skip {
    /// All, for metrics and documentation.
    pub const ALL: [Skip; 2] = [Skip::NotInference, Skip::Empty];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Skip::NotInference => "not_inference",
            Skip::Empty => "empty",
        }
    }
}

/// Why an entry cannot be read. Nothing here quotes the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The entry's place in the record.
    pub index: u32,
    /// The stable code.
    pub reason: Reason,
    /// The field it is about, as the gateway names it.
    pub field: Option<String>,
    /// A sentence for people.
    pub detail: String,
}

impl Refusal {
    pub(super) fn new(reason: Reason, field: &str, problem: &str) -> Refusal {
        Refusal {
            index: 0,
            reason,
            field: Some(field.to_owned()),
            detail: format!("{field} {problem}"),
        }
    }

    pub(super) fn of_entry(reason: Reason, detail: &str) -> Refusal {
        Refusal {
            index: 0,
            reason,
            field: None,
            detail: detail.to_owned(),
        }
    }
}

/// The canonical record of an event: whatever it is checked for, it is checked for by decoding what was written.
/// `name_of` gives the gateway's name of a canonical field.
pub(super) fn canonical_record<'n>(
    event: &UsageEvent<'_>,
    name_of: impl Fn(&str) -> Option<&'n str>,
) -> Result<Adapted, Refusal> {
    let value = usage::encode(event);
    let headers = Headers::new();
    let decoded =
        usage::decode(&value, &headers).map_err(|rejection| translated(rejection, name_of))?;
    debug_assert_eq!(&decoded, event, "what is written is what was meant");
    let user = decoded.user.into_owned();
    let is_success = (200..300).contains(&event.status);
    let has_usage = event.input_tokens.is_some() || event.output_tokens.is_some();
    Ok(Adapted {
        record: NewRecord {
            key: Some(Bytes::copy_from_slice(user.as_bytes())),
            value: value.into(),
            headers,
        },
        user,
        is_usage_unknown: is_success && !has_usage,
    })
}

/// A refusal of the canonical form, in the gateway's names.
fn translated<'n>(rejection: Rejection, name_of: impl Fn(&str) -> Option<&'n str>) -> Refusal {
    let Rejection {
        reason,
        field,
        detail,
    } = rejection;
    let named = field.and_then(|canonical| Some((canonical, name_of(canonical)?)));
    match named {
        Some((canonical, name)) => Refusal {
            index: 0,
            reason,
            field: Some(name.to_owned()),
            detail: detail.replacen(canonical, name, 1),
        },
        None => Refusal::of_entry(reason, &detail),
    }
}
