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
use crate::domain::ids::check_id;
use crate::domain::time::Millis;
use crate::gateways::claim::Claim;
use crate::gateways::fields::{Fields, Instant, missing};
use crate::gateways::items::ItemReader;
use crate::gateways::{BodyError, Format, Outcomes};

const NAMES: &[(&str, &str)] = &[
    ("subject", USER),
    ("id", ID),
    ("time", TIME),
    ("data.model", MODEL),
    ("data.inputTokens", INPUT),
    ("data.outputTokens", OUTPUT),
];
const ID: &str = "event.transaction_id";
const TIME: &str = "event.timestamp";
const USER: &str = "event.external_subscription_id";
const MODEL: &str = "event.properties.model";
const INPUT: &str = "event.properties.prompt_tokens";
const OUTPUT: &str = "event.properties.completion_tokens";

/// The outcomes of a body. An event without a time was made when it came in.
pub(in crate::gateways) fn read(body: &[u8], received: Millis) -> Result<Outcomes, BodyError> {
    let items = ItemReader {
        wanted: "an event of LiteLLM's lago callback",
        unset: &["default_user_id"],
        lists: &[],
        item: |fields: &Fields<'_>, index| Ok(metered_report(claim(fields, received), index)),
    };
    items.read(body)
}

fn claim<'a>(fields: &Fields<'a>, received: Millis) -> Claim<'a> {
    let paths = Paths {
        user: USER,
        model: MODEL,
        input: INPUT,
        output: OUTPUT,
    };
    let id = fields.text(ID).and_then(|id| id.ok_or_else(|| missing(ID)));
    let time = fields.instant(TIME, Instant::Seconds);
    Claim {
        id: id.map(|id| match check_id(&id) {
            Ok(()) => id,
            Err(_) => Cow::Owned(hashed(&id)),
        }),
        time: time.map(|time| time.unwrap_or(received)),
        names: NAMES,
        ..metered(fields, Format::LitellmLago, &paths)
    }
}
