//! Laws of decoding, over made-up and broken events.

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tidemark::domain::event::{Reason, Rejection, UsageEvent};
use tidemark::domain::time::Millis;
use tidemark::log::Headers;
use tidemark::log::usage::{
    Decoder, LATENCY_MS_MAX, decode, decode_or_faults, decode_precisely, encode,
};

use super::accepted::{CLOUD_EVENT, PLAIN};

fn id() -> impl Strategy<Value = String> {
    "[^\\p{Cc}]{1,40}"
}

fn count() -> impl Strategy<Value = Option<u64>> {
    proptest::option::of(prop_oneof![0..=1u64 << 40, 0..1000u64])
}

prop_compose! {
    fn event()(
        ids in [id(), id(), id()],
        provider in proptest::option::of(id()),
        endpoint in "[^\\p{Cc}]{1,60}",
        model in proptest::option::of("[^\\p{Cc}]{1,60}"),
        error in proptest::option::of(".{1,60}"),
        // The years 0000 to 9999.
        time in -62_167_219_200_000i64..253_402_300_800_000,
        status in 100u16..600,
        counts in [count(), count(), count(), count(), count(), count(), count(), count(), count(), count()],
        stream: bool,
    ) -> UsageEvent<'static> {
        let [source, id, user] = ids.map(Cow::Owned);
        let [latency_ms, input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens, audio_millis, image_count, request_bytes, response_bytes] = counts;
        let latency_ms = latency_ms.map(|ms| ms.min(LATENCY_MS_MAX));
        UsageEvent {
            source, id, user, status, stream,
            time: Millis(time),
            provider: provider.map(Cow::Owned),
            endpoint: Cow::Owned(endpoint),
            model: model.map(Cow::Owned),
            error_message: error.map(Cow::Owned),
            latency_ms, input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens,
            audio_millis, image_count, request_bytes, response_bytes,
        }
    }
}

/// The plain form of an event in canonical form.
fn to_plain(canonical: &Value) -> Value {
    let mut plain: Map<String, Value> = canonical["data"].as_object().expect("data").clone();
    for (from, to) in [
        ("source", "source"),
        ("id", "requestId"),
        ("time", "timestamp"),
        ("subject", "userId"),
    ] {
        plain.insert(to.to_owned(), canonical[from].clone());
    }
    Value::Object(plain)
}

/// Bytes of an event with a few of them changed, cut, doubled or replaced by a piece of JSON.
fn broken() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&str; 24] = [
        "null",
        "true",
        "-1",
        "1.5",
        "1e400",
        "99999999999999999999",
        "00",
        "\"\"",
        "\\u0000",
        "\\ud800",
        "\\",
        "\"",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\u{85}",
        "é",
        "  ",
        "\"id\":\"x\",",
        "\"data\":{},",
        "\"specversion\":null,",
    ];
    let source = prop_oneof![Just(CLOUD_EVENT), Just(PLAIN)];
    let piece = proptest::sample::select(&PIECES[..]).prop_map(|piece| piece.as_bytes().to_vec());
    let bytes = prop_oneof![3 => piece, 1 => proptest::collection::vec(any::<u8>(), 0..4)];
    let edit = (any::<proptest::sample::Index>(), 0usize..12, bytes);
    (source, proptest::collection::vec(edit, 1..4)).prop_map(|(source, edits)| {
        let mut value = source.as_bytes().to_vec();
        for (index, cut, bytes) in edits {
            let at = index.index(value.len() + 1);
            let end = (at + cut).min(value.len());
            value.splice(at..end, bytes);
        }
        value
    })
}

/// The two passes agree: the same event, or the same refusal. The edge accepts the same event, or its first fault is that
/// refusal, unless the fault is one that only the edge looks for.
fn agree(value: &[u8]) -> Result<(), TestCaseError> {
    let headers = Headers::new();
    let decoded = decode(value, &headers);
    prop_assert_eq!(&decoded, &decode_precisely(value, &headers));
    match (decoded, decode_or_faults(value, &headers)) {
        (decoded, Ok(event)) => prop_assert_eq!(decoded, Ok(event)),
        (decoded, Err(faults)) => {
            let is_own = |fault: &Rejection| fault.reason == Reason::MisnamedField;
            let is_misnamed = faults.iter().any(is_own);
            match decoded {
                Err(refused) => prop_assert!(is_misnamed || faults[0] == refused, "{:?}", faults),
                Ok(event) => prop_assert!(
                    is_misnamed || event.oversized_part().is_some(),
                    "{:?}",
                    faults
                ),
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn encoding_then_decoding_gives_the_event_back(event in event()) {
        let encoded = encode(&event);
        let headers = Headers::new();
        let decoded = decode(&encoded, &headers);
        prop_assert_eq!(decoded.as_ref(), Ok(&event));
        agree(&encoded)?;
    }

    #[test]
    fn form_order_and_spacing_change_neither_identity_nor_content(event in event()) {
        let canonical: Value = serde_json::from_slice(&encode(&event)).expect("JSON");
        let plain = to_plain(&canonical);
        let headers = Headers::new();
        // serde_json orders members by name; pretty printing adds spaces.
        for text in [canonical.to_string(), plain.to_string(), format!("{plain:#}"), format!("{canonical:#}")] {
            let decoded = decode(text.as_bytes(), &headers).expect("the same event");
            prop_assert_eq!(decoded.identity(), event.identity());
            prop_assert_eq!(decoded.content(), event.content());
            agree(text.as_bytes())?;
        }
    }

    #[test]
    fn another_value_of_any_field_is_another_identity_or_content(a in event(), b in event()) {
        let same_identity = (&a.user, &a.source, &a.id) == (&b.user, &b.source, &b.id);
        prop_assert_eq!(a.identity() == b.identity(), same_identity);
        prop_assert_eq!(a.content() == b.content() && same_identity, a == b);
    }

    #[test]
    fn no_bytes_panic_and_both_passes_agree(value in proptest::collection::vec(any::<u8>(), 0..200)) {
        agree(&value)?;
    }

    #[test]
    fn no_text_panics_and_both_passes_agree(text in "[\\[\\]{}\":,\\\\0-9a-z.\\-+ \n\u{0}é]{0,80}") {
        agree(text.as_bytes())?;
        agree(format!("{{\"id\":\"1\",\"x\":{text},\"userId\":\"{text}\"}}").as_bytes())?;
    }

    #[test]
    fn broken_events_are_decoded_alike_by_both_passes(value in broken()) {
        agree(&value)?;
    }
}

/// Events of either form, as gateways space and order them, and broken ones.
fn written() -> impl Strategy<Value = Vec<u8>> {
    let json = event().prop_map(|event| serde_json::from_slice(&encode(&event)).expect("JSON"));
    let json = json.prop_flat_map(|json: Value| {
        let plain = to_plain(&json);
        let texts = [json.to_string(), plain.to_string(), format!("{json:#}")];
        proptest::sample::select(texts.map(String::into_bytes).to_vec())
    });
    let encoded = event().prop_map(|event| encode(&event).to_vec());
    prop_oneof![json, encoded, broken()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_was_decoded_before_changes_nothing(values in proptest::collection::vec(written(), 1..12)) {
        let (headers, mut decoder) = (Headers::new(), Decoder::default());
        for value in values.iter().chain(&values) {
            prop_assert_eq!(decoder.decode(value, &headers), decode_precisely(value, &headers));
        }
    }
}

#[test]
fn each_single_field_changes_the_content() {
    let headers = Headers::new();
    let content = |json: &Value| {
        let text = json.to_string();
        decode(text.as_bytes(), &headers).expect("valid").content()
    };
    let base: Value = serde_json::from_str(CLOUD_EVENT).expect("JSON");
    let mut seen = vec![content(&base)];
    for (field, value) in [
        ("providerId", json!("prov-8")),
        ("providerId", Value::Null),
        ("endpoint", json!("/v1/embeddings")),
        ("model", json!("llama-3-70b")),
        ("model", Value::Null),
        ("statusCode", json!(201)),
        ("latencyMs", json!(251)),
        ("latencyMs", Value::Null),
        ("inputTokens", json!(151)),
        ("outputTokens", json!(76)),
        ("cachedInputTokens", json!(1)),
        ("cacheWriteTokens", json!(1)),
        ("cacheWriteTokens", json!(0)),
        ("reasoningTokens", json!(1)),
        ("audioMillis", Value::Null),
        ("imageCount", json!(0)),
        ("imageCount", json!(1)),
        ("requestBytes", json!(813)),
        ("responseBytes", json!(1491)),
        ("errorMessage", json!("x")),
        ("stream", json!(true)),
    ] {
        let mut changed = base.clone();
        changed["data"][field] = value;
        let hash = content(&changed);
        assert!(!seen.contains(&hash), "{field}");
        seen.push(hash);
    }
    let mut later = base.clone();
    later["time"] = json!("2026-11-22T07:01:02.124Z");
    assert!(!seen.contains(&content(&later)));
}

#[test]
fn identities_do_not_depend_on_where_one_text_ends_and_the_next_begins() {
    let event = |user: &str, source: &str, id: &str| {
        let json = format!(
            r#"{{"requestId":"{id}","source":"{source}","userId":"{user}","endpoint":"/tts","timestamp":"2026-11-22T07:01:02Z","statusCode":200}}"#
        );
        decode(json.as_bytes(), &Headers::new())
            .expect("valid")
            .identity()
    };
    assert_ne!(event("ab", "c", "d"), event("a", "bc", "d"));
    assert_ne!(event("a", "bc", "d"), event("a", "b", "cd"));
    // Usage rows are keyed by it, so it must never change.
    assert_eq!(
        event("u", "s", "i").0,
        0x605a5da3_c80a0276_517e80df_f5eadf0c
    );
}

#[test]
fn a_huge_text_is_hashed_as_a_whole() {
    let event = |last: char| {
        let error = format!("{}{last}", "e".repeat(2_000));
        let json = PLAIN.replace("null", &format!("{error:?}"));
        let headers = Headers::new();
        decode(json.as_bytes(), &headers).expect("valid").content()
    };
    assert_ne!(event('a'), event('b'));
}
