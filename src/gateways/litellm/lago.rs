//! LiteLLM's `lago` callback: `{"event": {…}}` per successful call.
//!
//! Where this is written down:
//! [`lago.py`](https://github.com/BerriAI/litellm/blob/main/litellm/integrations/lago.py), and
//! Lago's own [event ingestion](https://getlago.com/docs/api-reference/events/usage), whose
//! `timestamp` (seconds since 1970, LiteLLM sends none) is taken where it stands.
//!
//! LiteLLM draws a new `transaction_id` with each attempt, so a call that is sent twice counts
//! twice: nothing in it says that it is the same.

use std::borrow::Cow;

use super::hashed;
use super::openmeter::{Paths, metered, metered_report};
use crate::domain::event::Reason;
use crate::domain::ids::check_id;
use crate::domain::time::Millis;
use crate::gateways::claim::Claim;
use crate::gateways::fields::{Fields, Instant, missing};
use crate::gateways::items::ItemReader;
use crate::gateways::outcome::Refusal;
use crate::gateways::{BodyError, Format, Outcomes};

/// The fields of an event, by our names and by Lago's.
struct Names {
    names: &'static [(&'static str, &'static str)],
    id: &'static str,
    time: &'static str,
    paths: Paths,
}

/// Of an event alone in its body.
const ALONE: Names = Names {
    names: &[
        ("subject", "event.external_subscription_id"),
        ("id", "event.transaction_id"),
        ("time", "event.timestamp"),
        ("data.model", "event.properties.model"),
        ("data.inputTokens", "event.properties.prompt_tokens"),
        ("data.outputTokens", "event.properties.completion_tokens"),
    ],
    id: "event.transaction_id",
    time: "event.timestamp",
    paths: Paths {
        user: "event.external_subscription_id",
        model: "event.properties.model",
        input: "event.properties.prompt_tokens",
        output: "event.properties.completion_tokens",
    },
};
/// Of one in Lago's list of several, `{"events": [{…}, {…}]}`.
const LISTED: Names = Names {
    names: &[
        ("subject", "external_subscription_id"),
        ("id", "transaction_id"),
        ("time", "timestamp"),
        ("data.model", "properties.model"),
        ("data.inputTokens", "properties.prompt_tokens"),
        ("data.outputTokens", "properties.completion_tokens"),
    ],
    id: "transaction_id",
    time: "timestamp",
    paths: Paths {
        user: "external_subscription_id",
        model: "properties.model",
        input: "properties.prompt_tokens",
        output: "properties.completion_tokens",
    },
};

/// The outcomes of a body. An event without a time was made when it came in.
pub(in crate::gateways) fn read(body: &[u8], received: Millis) -> Result<Outcomes, BodyError> {
    let items = ItemReader {
        wanted: "an event of LiteLLM's lago callback",
        unset: &["default_user_id"],
        lists: &["events"],
        item: |fields: &Fields<'_>, index| Ok(metered_report(claim(fields, received), index)),
    };
    items.read(body)
}

fn claim<'a>(fields: &Fields<'a>, received: Millis) -> Claim<'a> {
    let is_listed = fields.at("event") == Ok(None) && fields.at(LISTED.id) != Ok(None);
    let names = if is_listed { &LISTED } else { &ALONE };
    let Names {
        id, time, paths, ..
    } = names;
    let is_absent = |path| fields.at(path) == Ok(None);
    let metered = metered(fields, Format::LitellmLago, paths);
    // LiteLLM tells the model of every call, and of some no tokens.
    let is_of_model = ![paths.model, paths.input, paths.output]
        .into_iter()
        .all(is_absent);
    let tokens = match is_of_model {
        true => metered.tokens,
        false => Err(Refusal::new(
            Reason::UnknownType,
            paths.model,
            "is missing, and so are token counts: this is not the usage of a model",
        )),
    };
    let said = fields
        .text(id)
        .and_then(|id_said| id_said.ok_or_else(|| missing(id)));
    let at = fields.instant(time, Instant::Seconds);
    Claim {
        id: said.map(|id| match check_id(&id) {
            Ok(()) => id,
            Err(_) => Cow::Owned(hashed(&id)),
        }),
        time: at.map(|at| at.unwrap_or(received)),
        names: names.names,
        tokens,
        ..metered
    }
}
