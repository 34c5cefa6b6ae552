//! LiteLLM's `openmeter` callback: a CloudEvent per successful call, of the type `litellm_tokens`.
//!
//! Where this is written down:
//! [`openmeter.py`](https://github.com/BerriAI/litellm/blob/main/litellm/integrations/openmeter.py).
//! `time` is when the event was made (on Pythons before 3.11 without an offset, and then UTC);
//! `subject` may be empty, or a number; `cost` may be null; usage is absent for everything but chat
//! completions and embeddings. There is neither provider, nor status, nor endpoint: the service
//! comes from the model's name (`kind`).
//!
//! The id of an answer from LiteLLM's cache is that of the first answer, so the time is part of the
//! event's id.

use std::borrow::Cow;

use super::hashed;
use crate::domain::event::Reason;
use crate::domain::ids::check_id;
use crate::domain::time::Millis;
use crate::gateways::calls::Report;
use crate::gateways::claim::{Claim, Read};
use crate::gateways::fields::{Fields, missing};
use crate::gateways::items::ItemReader;
use crate::gateways::json::Scalar;
use crate::gateways::kind::{endpoint_of_model, has_output};
use crate::gateways::outcome::Refusal;
use crate::gateways::tokens::ReportedTokens;
use crate::gateways::{BodyError, Format, Outcomes};
use crate::ops::config::CachedTokens;

const NAMES: &[(&str, &str)] = &[
    ("subject", "subject"),
    ("id", "id"),
    ("time", "time"),
    ("data.model", "data.model"),
    ("data.inputTokens", "data.prompt_tokens"),
    ("data.outputTokens", "data.completion_tokens"),
];
/// Only successful calls are told.
const SUCCESS: u16 = 200;

/// The outcomes of a body.
pub(in crate::gateways) fn read(body: &[u8]) -> Result<Outcomes, BodyError> {
    let items = ItemReader {
        wanted: "a CloudEvent of LiteLLM's openmeter callback",
        unset: &["default_user_id"],
        lists: &[],
        item: |fields: &Fields<'_>, index| Ok(metered_report(claim(fields), index)),
    };
    items.read(body)
}

fn claim<'a>(fields: &Fields<'a>) -> Claim<'a> {
    let paths = Paths {
        user: "subject",
        model: "data.model",
        input: "data.prompt_tokens",
        output: "data.completion_tokens",
    };
    let metered = metered(fields, Format::LitellmOpenmeter, &paths);
    let tokens = match is_usage_of_model(fields) {
        true => metered.tokens,
        false => Err(Refusal::new(
            Reason::UnknownType,
            "type",
            "is not that of a call of a model (litellm_tokens), and the event has no token counts: send one \
             event per call, with data.prompt_tokens and data.completion_tokens",
        )),
    };
    Claim {
        id: id(fields),
        time: time(fields),
        names: NAMES,
        tokens,
        ..metered
    }
}

/// Whether the event is about a call of a model. The type can be configured in LiteLLM
/// (`OPENMETER_EVENT_TYPE`), so an event of another type is one if it has LiteLLM's token counts.
fn is_usage_of_model(fields: &Fields<'_>) -> bool {
    const COUNTS: [&str; 3] = [
        "data.prompt_tokens",
        "data.completion_tokens",
        "data.total_tokens",
    ];
    let is_litellm = match fields.text("type") {
        Ok(kind) => kind.is_none_or(|kind| kind == "litellm_tokens"),
        Err(_) => false,
    };
    is_litellm || COUNTS.iter().any(|path| fields.at(path) != Ok(None))
}

/// The count that an event lacks beside the other one. LiteLLM sends both, or neither.
///
/// Halves with ids of their own are two requests for all that they say. Halves with one id and
/// source are one event by the rules of CloudEvents, of which OpenMeter itself drops the second;
/// and one that comes alone does not say whether the other will have its id and time. So neither is
/// taken, and both are kept as rejects.
fn missing_half(fields: &Fields<'_>, paths: &Paths) -> Option<&'static str> {
    let [has_input, has_output] =
        [paths.input, paths.output].map(|path| fields.at(path) != Ok(None));
    match (has_input, has_output) {
        (true, false) => Some(paths.output),
        (false, true) => Some(paths.input),
        _ => None,
    }
}

/// Where metering callbacks have what.
pub(super) struct Paths {
    pub user: &'static str,
    pub model: &'static str,
    pub input: &'static str,
    pub output: &'static str,
}

/// What the metering callbacks of LiteLLM have in common. Whoever calls adds names, id and time.
pub(super) fn metered<'a>(fields: &Fields<'a>, format: Format, paths: &Paths) -> Claim<'a> {
    let user = fields.user(&[paths.user]);
    let model = fields.text(paths.model);
    let endpoint = model
        .clone()
        .map(|model| endpoint_of_model(model.as_deref()));
    let has_output = endpoint.as_ref().is_ok_and(|endpoint| has_output(endpoint));
    let tokens = || {
        if let Some(half) = missing_half(fields, paths).filter(|_| has_output) {
            let problem = "is missing: send both counts of a call in one event. Input and output in two \
                           events could count as two requests. If the counts are known at different times, \
                           send tidemark's own events: a later one completes the first";
            return Err(Refusal::new(Reason::MissingField, half, problem));
        }
        let counted = ReportedTokens {
            input: fields.count(paths.input)?,
            output: fields.count(paths.output)?,
            ..ReportedTokens::default()
        };
        counted.tokens(CachedTokens::Inside, paths.input, has_output)
    };
    Claim {
        names: &[],
        source: format.as_str(),
        id: Err(missing("id")),
        time: Err(missing("time")),
        user: user.and_then(|user| user.ok_or_else(|| missing(paths.user))),
        provider: Ok(None),
        endpoint: endpoint.map(Cow::Borrowed),
        model,
        status: Ok(SUCCESS),
        latency_ms: None,
        tokens: tokens(),
        audio_millis: None,
        image_count: None,
        error_message: None,
        is_stream: false,
        is_provider_made_up: false,
        is_failure_unattributed: false,
    }
}

/// Every item is a call of its own.
pub(super) fn metered_report(claim: Claim<'_>, index: usize) -> Report {
    Report {
        index,
        claim: claim.into_owned(),
        call: None,
        span: None,
        parent: None,
    }
}

fn id<'a>(fields: &Fields<'a>) -> Read<Cow<'a, str>> {
    let id = fields.text("id")?.ok_or_else(|| missing("id"))?;
    let whole = match fields.text("time")? {
        Some(time) => format!("{id}/{time}"),
        None => id.into_owned(),
    };
    Ok(Cow::Owned(match check_id(&whole) {
        Ok(()) => whole,
        Err(_) => hashed(&whole),
    }))
}

fn time(fields: &Fields<'_>) -> Read<Millis> {
    let value = fields.at("time")?.ok_or_else(|| missing("time"))?;
    let read = match value {
        Scalar::Text(text) => text.parse().or_else(|_| format!("{text}Z").parse()).ok(),
        _ => None,
    };
    read.filter(|Millis(millis)| *millis >= 0).ok_or_else(|| {
        let problem = "is not a time in RFC 3339, with or without an offset";
        Refusal::new(Reason::InvalidTime, "time", problem)
    })
}
