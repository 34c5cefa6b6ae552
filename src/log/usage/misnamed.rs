//! Fields that are not ours, and probably mean one of ours: other APIs' names, other spellings,
//! fields in the wrong place.
//!
//! The edge refuses them, because what they say would be lost silently: the event would count
//! without it. They are refused only if the field of ours is not in the event, so a sender may add
//! any field of its own beside ours. Records that reach the log past the edge are read as ever.

use super::check::{Names, refuse};
use super::fields::Form;
use super::precise::Object;
use crate::domain::event::{Reason, Rejection};

/// A field of ours, and what other APIs call it: in lower case, without `_`, `-` and `.`.
type Row = (fn(&Names) -> &'static str, &'static [&'static str]);

const ROWS: [Row; 19] = [
    (
        |ours| ours.id,
        &["requestid", "eventid", "id", "callid", "xrequestid"],
    ),
    (
        |ours| ours.time,
        &[
            "timestamp",
            "time",
            "created",
            "createdat",
            "starttime",
            "startedat",
            "ts",
        ],
    ),
    (
        |ours| ours.user,
        &[
            "userid",
            "subject",
            "user",
            "username",
            "enduser",
            "enduserid",
            "customer",
            "customerid",
        ],
    ),
    (
        |ours| ours.provider,
        &[
            "provider",
            "providername",
            "customllmprovider",
            "genaiprovidername",
            "genaisystem",
        ],
    ),
    (
        |ours| ours.endpoint,
        &["path", "requestpath", "route", "url", "uri", "requesturi"],
    ),
    (
        |ours| ours.model,
        &[
            "modelname",
            "modelid",
            "requestmodel",
            "responsemodel",
            "genairequestmodel",
            "genairesponsemodel",
        ],
    ),
    (
        |ours| ours.status,
        &[
            "status",
            "httpstatus",
            "httpstatuscode",
            "responsecode",
            "responsestatus",
            "responsestatuscode",
            "code",
        ],
    ),
    (
        |ours| ours.latency_ms,
        &[
            "latency",
            "latencymillis",
            "latencymilliseconds",
            "durationms",
            "durationmillis",
            "responsetimems",
        ],
    ),
    (
        |ours| ours.input_tokens,
        &[
            "prompttokens",
            "inputtokencount",
            "prompttokencount",
            "prompttokenscount",
            "promptevalcount",
            "tokensin",
            "tokensinput",
            "tokensprompt",
            "intokens",
            "genaiusageinputtokens",
            "genaiusageprompttokens",
            "usage",
        ],
    ),
    (
        |ours| ours.output_tokens,
        &[
            "completiontokens",
            "outputtokencount",
            "completiontokencount",
            "candidatestokencount",
            "generatedtokens",
            "evalcount",
            "tokensout",
            "tokensoutput",
            "tokenscompletion",
            "outtokens",
            "genaiusageoutputtokens",
            "genaiusagecompletiontokens",
        ],
    ),
    (
        |ours| ours.cached_input_tokens,
        &[
            "cachedtokens",
            "cachedprompttokens",
            "promptcachedtokens",
            "cachereadtokens",
            "cachereadinputtokens",
            "cachedcontenttokencount",
            "promptcachehittokens",
            "cachedinputtokencount",
            "genaiusagecachereadinputtokens",
        ],
    ),
    (
        |ours| ours.cache_write_tokens,
        &[
            "cachecreationtokens",
            "cachecreationinputtokens",
            "cachewriteinputtokens",
            "cachedwritetokens",
            "genaiusagecachecreationinputtokens",
        ],
    ),
    (
        |ours| ours.reasoning_tokens,
        &[
            "thoughtstokencount",
            "thinkingtokens",
            "reasoningoutputtokens",
            "completionreasoningtokens",
        ],
    ),
    (
        |ours| ours.audio_millis,
        &[
            "audioms",
            "audiomilliseconds",
            "audioduration",
            "audiodurationms",
            "audioseconds",
        ],
    ),
    (
        |ours| ours.image_count,
        &["numimages", "nimages", "imagescount", "numberofimages"],
    ),
    (
        |ours| ours.request_bytes,
        &[
            "requestsize",
            "requestlength",
            "bytesin",
            "requestbodybytes",
        ],
    ),
    (
        |ours| ours.response_bytes,
        &[
            "responsesize",
            "responselength",
            "bytesout",
            "responsebodybytes",
        ],
    ),
    (
        |ours| ours.error_message,
        &["errormsg", "errorstr", "errortext", "errordescription"],
    ),
    (
        |ours| ours.stream,
        &["isstream", "streaming", "isstreaming", "streamed"],
    ),
];

/// Fields beside those of [`Names`]: of the CloudEvents envelope, and of the plain form.
const ENVELOPE: [&str; 7] = [
    "specversion",
    "type",
    "source",
    "data",
    "datacontenttype",
    "dataschema",
    "data_base64",
];
const PLAIN_SOURCE: &str = "source";
/// Shorter names are one letter away from too much else.
const MISSPELT_CHARS_MIN: usize = 6;

/// How many names are looked at: an event has some thirty.
const NAMES_MAX: usize = 200;

/// Every field of a record that is probably a misnamed one of ours, which the record lacks.
pub(super) fn faults(top: &Object<'_>, form: Form) -> Vec<Rejection> {
    let data = match form {
        Form::CloudEvent => top.object("data").unwrap_or_default(),
        Form::Plain => Object::default(),
    };
    let is_lacking = |field: &str| match field.strip_prefix("data.") {
        Some(name) => !data.has(name),
        None => !top.has(field),
    };
    let at_top = top.names().map(|name| ("", name));
    let in_data = data.names().map(|name| ("data.", name));
    let mut faults = Vec::new();
    for (place, name) in at_top.chain(in_data).take(NAMES_MAX) {
        if let Some(right) = right_name(form, place, name)
            && is_lacking(right)
        {
            let detail = format!(
                "{place}{name} is not a field of an event; it is probably {right}, which is missing: \
                 rename it, or send {right} beside it"
            );
            faults.push(refuse(Reason::MisnamedField, Some(right), detail));
        }
    }
    faults
}

/// The field of ours that a name in this place (`""` or `"data."`) probably means; `None`: it is
/// that field, or none of ours.
fn right_name(form: Form, place: &str, name: &str) -> Option<&'static str> {
    let names = form.names();
    if is_ours(names, form, place, name) {
        return None;
    }
    let name = normalized(name);
    if form == Form::Plain && name == "specversion" {
        return Some("specversion");
    }
    let ours = |(name_of, others): &Row| (name_of(names), *others);
    let is_other = |(right, others): &(&str, &[&str])| {
        normalized(last(right)) == name || others.contains(&name.as_str())
    };
    let is_misspelt = |(right, _): &(&str, &[&str])| {
        let right = normalized(last(right));
        right.len() >= MISSPELT_CHARS_MIN && is_one_edit_away(right.as_bytes(), name.as_bytes())
    };
    let exact = ROWS.iter().map(ours).find(is_other);
    let found = exact.or_else(|| ROWS.iter().map(ours).find(is_misspelt));
    found.map(|(right, _)| right)
}

/// Whether it is a field of ours where it should be.
fn is_ours(names: &Names, form: Form, place: &str, name: &str) -> bool {
    let is_of_envelope = match form {
        Form::CloudEvent => place.is_empty() && ENVELOPE.contains(&name),
        Form::Plain => name == PLAIN_SOURCE,
    };
    let is_at = |(name_of, _): &Row| name_of(names).strip_prefix(place) == Some(name);
    is_of_envelope || ROWS.iter().any(is_at)
}

/// The name without its place.
fn last(field: &str) -> &str {
    field.rsplit_once('.').map_or(field, |(_, name)| name)
}

/// Spellings differ in case and in what stands between words.
fn normalized(name: &str) -> String {
    let kept = name.chars().filter(|c| !['_', '-', '.'].contains(c));
    kept.map(|c| c.to_ascii_lowercase()).collect()
}

/// Whether one letter more, less or other, or two swapped, make the one name the other.
fn is_one_edit_away(a: &[u8], b: &[u8]) -> bool {
    if a.len().abs_diff(b.len()) > 1 {
        return false;
    }
    let same_start = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[same_start..], &b[same_start..]);
    let same_end = a.iter().rev().zip(b.iter().rev());
    let same_end = same_end.take_while(|(a, b)| a == b).count();
    match (&a[..a.len() - same_end], &b[..b.len() - same_end]) {
        ([a1, a2], [b1, b2]) => (a1, a2) == (b2, b1),
        (a, b) => a.len() <= 1 && b.len() <= 1,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::Form::{CloudEvent, Plain};
    use super::{ROWS, is_one_edit_away, normalized, right_name};

    #[test]
    fn other_names_and_spellings_are_known_in_either_form() {
        for (name, right) in [
            ("prompt_tokens", "inputTokens"),
            ("promptTokens", "inputTokens"),
            ("input_tokens", "inputTokens"),
            ("InputTokens", "inputTokens"),
            ("inputToken", "inputTokens"),
            ("inputTokesn", "inputTokens"),
            ("gen_ai.usage.input_tokens", "inputTokens"),
            ("promptTokenCount", "inputTokens"),
            ("completion_tokens", "outputTokens"),
            ("output_tokens", "outputTokens"),
            ("candidatesTokenCount", "outputTokens"),
            ("cached_tokens", "cachedInputTokens"),
            ("cache_read_input_tokens", "cachedInputTokens"),
            ("cache_creation_input_tokens", "cacheWriteTokens"),
            ("reasoning_tokens", "reasoningTokens"),
            ("model_name", "model"),
            ("modelName", "model"),
            ("provider", "providerId"),
            ("provider_id", "providerId"),
            ("status_code", "statusCode"),
            ("status", "statusCode"),
            ("latency_ms", "latencyMs"),
            ("error_message", "errorMessage"),
            ("audio_millis", "audioMillis"),
            ("image_count", "imageCount"),
            ("request_bytes", "requestBytes"),
            ("response_bytes", "responseBytes"),
            ("is_stream", "stream"),
            ("path", "endpoint"),
        ] {
            assert_eq!(right_name(Plain, "", name), Some(right), "{name}");
            let in_data = right_name(CloudEvent, "data.", name);
            assert_eq!(in_data, Some(format!("data.{right}").as_str()), "{name}");
        }
        for (name, plain, cloud) in [
            ("request_id", "requestId", "id"),
            ("id", "requestId", ""),
            ("requestId", "", "id"),
            ("user_id", "userId", "subject"),
            ("user", "userId", "subject"),
            ("userId", "", "subject"),
            ("subject", "userId", ""),
            ("timestamp", "", "time"),
            ("time", "timestamp", ""),
            ("inputTokens", "", "data.inputTokens"),
            ("specVersion", "specversion", ""),
        ] {
            let found = [
                right_name(Plain, "", name),
                right_name(CloudEvent, "", name),
            ];
            assert_eq!(
                found.map(Option::unwrap_or_default),
                [plain, cloud],
                "{name}"
            );
        }
    }

    #[test]
    fn fields_of_a_senders_own_are_left_alone() {
        for name in [
            "cost",
            "duration",
            "error",
            "prompt",
            "metadata",
            "tags",
            "team",
            "x",
            "region",
            "total_tokens",
            "traceparent",
            "knativearrivaltime",
            "finish_reason",
            "deployment",
            "",
        ] {
            for (form, place) in [(Plain, ""), (CloudEvent, ""), (CloudEvent, "data.")] {
                assert_eq!(right_name(form, place, name), None, "{place}{name}");
            }
        }
    }

    #[test]
    fn no_name_means_two_fields() {
        let mut all = Vec::new();
        for (name_of, others) in ROWS {
            for other in others {
                assert_eq!(normalized(other), *other);
                all.push(*other);
            }
            assert_eq!(right_name(Plain, "", name_of(Plain.names())), None);
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn one_edit_is_one_letter_or_a_swap() {
        for (a, b, is_one) in [
            ("stream", "stream", true),
            ("stream", "streams", true),
            ("stream", "tream", true),
            ("stream", "steram", true),
            ("stream", "strzam", true),
            ("stream", "steaam", false),
            ("stream", "streamed", false),
            ("inputtokens", "outputtokens", false),
        ] {
            assert_eq!(
                is_one_edit_away(a.as_bytes(), b.as_bytes()),
                is_one,
                "{a} {b}"
            );
        }
    }
}
