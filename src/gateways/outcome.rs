//! What becomes of one item of a gateway, in whichever format it came.

use bytes::Bytes;

use super::kind::has_output;
use crate::domain::event::{Reason, Rejection, UsageEvent};
use crate::domain::time::Millis;
use crate::log::usage::ODD_TOTAL_HEADER;
use crate::log::{Headers, NewRecord, usage};

/// A usage event made from an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapted {
    /// Who made the request: decides the partition of `usage.events`.
    pub user: String,
    /// Which of the source's events it is.
    pub id: String,
    /// When it was.
    pub time: Millis,
    /// Whether it says how many tokens went in.
    pub has_usage: bool,
    /// The record for `usage.events`, keyed by the user.
    pub record: NewRecord,
    /// What an operator should know about it.
    pub remarks: Remarks,
}

impl Adapted {
    /// The same event with these remarks. One about its tokens goes with the record, to whoever
    /// asks why the request cost what it did.
    pub(super) fn with_remarks(mut self, remarks: Remarks) -> Adapted {
        if remarks.is_total_odd {
            let header = (ODD_TOTAL_HEADER.to_owned(), Bytes::from_static(b"1"));
            self.record.headers.push(header);
        }
        self.remarks = remarks;
        self
    }
}

/// What is odd about an event that was taken. Each is counted by a metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// The request succeeded, but the gateway does not say how many tokens it took: those are not
    /// charged.
    pub is_usage_unknown: bool,
    /// The gateway's total of tokens is not the sum of its parts. The parts count.
    pub is_total_odd: bool,
    /// The gateway made up the id of the deployment, so the vendor stands for the provider.
    pub is_provider_made_up: bool,
    /// A failed request of which nobody knows where it went: no provider's uptime falls.
    pub is_failure_unattributed: bool,
}

/// Why an item is no event. The names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skip {
    /// It is about something else than inference.
    NotInference,
    /// It is null, or the record is empty.
    Empty,
    /// A span of a server, producer or consumer: the other end of a call.
    OtherSide,
    /// Another item reports the same call. What only this one knew was taken from it.
    SameCall,
    /// A call about something that exists already: a stored response, a batch, a vector store.
    Housekeeping,
    /// The gateway's own check of a model.
    HealthCheck,
    /// The gateway called by itself, not for a user.
    GatewayCall,
    /// The call goes on in the background; its usage comes in a later item.
    UsagePending,
    /// An early line about a request that has not been answered yet.
    Unfinished,
    /// It has token counts, but no operation that is known here as inference or as something else.
    UnknownOperation,
}

impl Skip {
    /// All, for metrics and documentation.
    pub const ALL: [Skip; 10] = [
        Skip::NotInference,
        Skip::Empty,
        Skip::OtherSide,
        Skip::SameCall,
        Skip::Housekeeping,
        Skip::HealthCheck,
        Skip::GatewayCall,
        Skip::UsagePending,
        Skip::Unfinished,
        Skip::UnknownOperation,
    ];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Skip::NotInference => "not_inference",
            Skip::Empty => "empty",
            Skip::OtherSide => "other_side",
            Skip::SameCall => "same_call",
            Skip::Housekeeping => "housekeeping",
            Skip::HealthCheck => "health_check",
            Skip::GatewayCall => "gateway_call",
            Skip::UsagePending => "usage_pending",
            Skip::Unfinished => "unfinished",
            Skip::UnknownOperation => "unknown_operation",
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

/// The canonical record of an event: whatever it is checked for, it is checked for by decoding what
/// was written. `name_of` gives the gateway's name of a canonical field.
pub(super) fn canonical_record<'n>(
    event: &UsageEvent<'_>,
    name_of: impl Fn(&str) -> Option<&'n str>,
) -> Result<Adapted, Refusal> {
    let value = usage::encode(event);
    let headers = Headers::new();
    let decoded = usage::decode_at_edge(&value, &headers)
        .map_err(|rejection| translated(rejection, name_of))?;
    debug_assert_eq!(&decoded, event, "what is written is what was meant");
    let (user, id, time) = (
        decoded.user.into_owned(),
        decoded.id.into_owned(),
        decoded.time,
    );
    let is_success = (200..300).contains(&event.status);
    let is_output_unknown = has_output(&event.endpoint) && event.output_tokens.is_none();
    // What is paid by the image or the minute need not have tokens.
    let is_counted_otherwise = event.image_count.is_some() || event.audio_millis.is_some();
    let is_input_unknown = event.input_tokens.is_none() && !is_counted_otherwise;
    let is_usage_unknown = is_success && (is_input_unknown || is_output_unknown);
    let is_failure_unattributed = event.status >= 500 && event.provider.is_none();
    Ok(Adapted {
        record: NewRecord {
            key: Some(Bytes::copy_from_slice(user.as_bytes())),
            value: value.into(),
            headers,
        },
        user,
        id,
        time,
        has_usage: event.input_tokens.is_some(),
        remarks: Remarks {
            is_usage_unknown,
            is_failure_unattributed,
            ..Remarks::default()
        },
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
