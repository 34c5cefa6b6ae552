//! What is decoded, and to what.

use std::borrow::Cow;

use bytes::Bytes;
use tidemark::domain::event::UsageEvent;
use tidemark::domain::time::Millis;
use tidemark::log::Headers;
use tidemark::log::usage::{decode, decode_precisely, encode, record};

/// The example of the wire format.
pub const CLOUD_EVENT: &str = r#"{"specversion":"1.0","type":"tidemark.usage.v1","source":"gateway-eu-1","id":"018f3c1e",
 "time":"2026-11-22T07:01:02.123Z","subject":"user-123","datacontenttype":"application/json",
 "data":{"providerId":"prov-9","endpoint":"/v1/chat/completions","model":"llama-3-8b","statusCode":200,
         "latencyMs":250,"inputTokens":150,"outputTokens":75,"cachedInputTokens":0,"audioMillis":0,
         "requestBytes":812,"responseBytes":1490,"errorMessage":null,"stream":false}}"#;

/// The same in the plain form.
pub const PLAIN: &str = r#"{"requestId":"018f3c1e","source":"gateway-eu-1","userId":"user-123","providerId":"prov-9","endpoint":"/v1/chat/completions",
 "model":"llama-3-8b","timestamp":"2026-11-22T07:01:02.123Z","statusCode":200,"latencyMs":250,"inputTokens":150,"outputTokens":75,
 "cachedInputTokens":0,"audioMillis":0,"requestBytes":812,"responseBytes":1490,"errorMessage":null,"stream":false}"#;

fn example() -> UsageEvent<'static> {
    UsageEvent {
        source: Cow::Borrowed("gateway-eu-1"),
        id: Cow::Borrowed("018f3c1e"),
        time: Millis(1_795_330_862_123),
        user: Cow::Borrowed("user-123"),
        provider: Some(Cow::Borrowed("prov-9")),
        endpoint: Cow::Borrowed("/v1/chat/completions"),
        model: Some(Cow::Borrowed("llama-3-8b")),
        status: 200,
        latency_ms: Some(250),
        input_tokens: Some(150),
        output_tokens: Some(75),
        cached_input_tokens: Some(0),
        cache_write_tokens: None,
        reasoning_tokens: None,
        audio_millis: Some(0),
        image_count: None,
        request_bytes: Some(812),
        response_bytes: Some(1490),
        error_message: None,
        stream: false,
    }
}

fn check(json: &str, expected: &UsageEvent<'_>) {
    let headers = Headers::new();
    for decoded in [
        decode(json.as_bytes(), &headers),
        decode_precisely(json.as_bytes(), &headers),
    ] {
        assert_eq!(decoded.as_ref(), Ok(expected), "{json}");
    }
}

#[test]
fn both_forms_carry_the_same_event() {
    check(CLOUD_EVENT, &example());
    check(PLAIN, &example());
}

#[test]
fn the_fields_that_may_be_missing_may_also_be_null() {
    let least = UsageEvent {
        source: Cow::Borrowed("plain"),
        provider: None,
        model: None,
        latency_ms: None,
        input_tokens: None,
        output_tokens: None,
        cached_input_tokens: None,
        audio_millis: None,
        request_bytes: None,
        response_bytes: None,
        ..example()
    };
    check(
        r#"{"requestId":"018f3c1e","userId":"user-123","endpoint":"/v1/chat/completions","timestamp":"2026-11-22T07:01:02.123Z","statusCode":200}"#,
        &least,
    );
    check(
        r#"{"requestId":"018f3c1e","userId":"user-123","endpoint":"/v1/chat/completions","timestamp":"2026-11-22T07:01:02.123Z","statusCode":200,
            "source":null,"providerId":null,"model":null,"latencyMs":null,"inputTokens":null,"outputTokens":null,"cachedInputTokens":null,
            "audioMillis":null,"imageCount":null,"requestBytes":null,"responseBytes":null,"errorMessage":null,"stream":null,"specversion":null}"#,
        &least,
    );
    check(
        r#"{"requestId":"018f3c1e","userId":"user-123","endpoint":"/v1/chat/completions","timestamp":"2026-11-22T07:01:02.123Z","statusCode":200,
            "model":"","errorMessage":""}"#,
        &least,
    );
}

#[test]
fn what_is_not_ours_is_passed_over() {
    let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
    for extra in [
        r#""prompt":{"nested":[1,2.5e-3,{"a":null}]},"#,
        r#""cost":-1.5e400,"#,
        r#""knativearrivaltime":"2026-11-22T07:01:02Z","partitionkey":"x","#,
        r#""x":"\ud83d\ude00 \u00e9 \\ \" \/","#,
        r#""x":1,"x":2,"#,
        r#""endpoint":7,"model":["of another form"],"#,
        &format!(r#""deep":{deep},"#),
    ] {
        let json = CLOUD_EVENT.replacen('{', &format!("{{{extra}"), 1);
        check(&json, &example());
    }
    check(
        &CLOUD_EVENT.replace(r#""stream""#, r#""cost":{"usd":1},"stream""#),
        &example(),
    );
    check(&format!("\r\n\t {PLAIN} \n"), &example());
}

#[test]
fn escapes_mean_what_they_stand_for() {
    check(
        &CLOUD_EVENT.replace("/v1/chat/", r"\/v1\/chat\/"),
        &example(),
    );
    check(
        &CLOUD_EVENT.replace("user-123", r"\u0075ser\u002d123"),
        &example(),
    );
    check(
        &CLOUD_EVENT.replace(r#""subject""#, r#""sub\u006aect""#),
        &example(),
    );
    let smile = UsageEvent {
        model: Some(Cow::Borrowed("😀 é")),
        error_message: Some(Cow::Borrowed("line\nline\u{0}")),
        ..example()
    };
    let json = CLOUD_EVENT.replace("llama-3-8b", r"\ud83d\ude00 é");
    check(
        &json.replace(
            r#""errorMessage":null"#,
            r#""errorMessage":"line\nline\u0000""#,
        ),
        &smile,
    );
}

#[test]
fn a_plain_event_takes_its_source_from_itself_then_from_the_header_then_from_the_default() {
    let without = PLAIN.replace(r#""source":"gateway-eu-1","#, "");
    let header = vec![
        ("trace".to_owned(), Bytes::from_static(b"x")),
        ("source".to_owned(), Bytes::from_static(b"from-header")),
    ];
    let none = Headers::new();
    let source = |json: &str, headers: &Headers| {
        let event = decode(json.as_bytes(), headers).expect("a valid event");
        event.source.into_owned()
    };
    assert_eq!(source(PLAIN, &header), "gateway-eu-1");
    assert_eq!(source(&without, &header), "from-header");
    assert_eq!(source(&without, &none), "plain");
    assert_eq!(source(CLOUD_EVENT, &header), "gateway-eu-1");
}

#[test]
fn values_at_their_limits_are_taken() {
    let id = "é".repeat(128);
    let count = 1u64 << 40;
    for json in [
        CLOUD_EVENT.replace("user-123", &id),
        CLOUD_EVENT.replace("prov-9", &id),
        CLOUD_EVENT.replace("018f3c1e", &id),
        CLOUD_EVENT.replace("gateway-eu-1", &id),
        CLOUD_EVENT.replace("/v1/chat/completions", &"/".repeat(2_048)),
        CLOUD_EVENT.replace("llama-3-8b", &"m".repeat(256)),
        CLOUD_EVENT.replace("null", &format!("{:?}", "e".repeat(8_192))),
        CLOUD_EVENT.replace("150", &count.to_string()),
        CLOUD_EVENT.replace("200", "100"),
        CLOUD_EVENT.replace("200", "599"),
        format!("{CLOUD_EVENT}{}", " ".repeat(64 * 1024 - CLOUD_EVENT.len())),
    ] {
        assert!(decode(json.as_bytes(), &Headers::new()).is_ok(), "{json}");
    }
}

#[test]
fn the_canonical_form_is_stable() {
    let encoded = String::from_utf8(encode(&example())).expect("JSON is UTF-8");
    let expected = CLOUD_EVENT.replace("\n ", "").replace("        ", "");
    assert_eq!(encoded, expected.replace(r#""errorMessage":null,"#, ""));
}

#[test]
fn a_record_at_the_edge_is_keyed_by_its_user_and_otherwise_unchanged() {
    let headers = vec![("source".to_owned(), Bytes::from_static(b"x"))];
    let value = Bytes::from_static(PLAIN.as_bytes());
    let record = record(value.clone(), headers.clone()).expect("a valid event");
    assert_eq!(record.key, Some(Bytes::from_static(b"user-123")));
    assert_eq!((record.value, record.headers), (value, headers));
}
