//! What is refused: every reason of the decoder, with the field that it names.

use bytes::Bytes;
use tidemark::domain::event::Reason;
use tidemark::log::Headers;
use tidemark::log::usage::{decode, decode_precisely, record};

use super::accepted::{CLOUD_EVENT, PLAIN};

/// One refusal: bytes, reason, field.
#[track_caller]
fn check(value: &[u8], reason: Reason, field: Option<&'static str>) {
    let headers = Headers::new();
    let refused = decode(value, &headers).expect_err("must be refused");
    let text = String::from_utf8_lossy(&value[..value.len().min(300)]).into_owned();
    assert_eq!(
        (refused.reason, refused.field),
        (reason, field),
        "{text}: {}",
        refused.detail
    );
    assert!(!refused.detail.is_empty());
    let at_edge = record(Bytes::copy_from_slice(value), headers.clone());
    assert_eq!(at_edge.expect_err("the edge refuses the same"), refused);
    if reason != Reason::TooLarge {
        assert_eq!(decode_precisely(value, &headers), Err(refused));
    }
}

/// A refusal of the cloud event after replacing a part of it.
#[track_caller]
fn cloud(from: &str, to: &str, reason: Reason, field: &'static str) {
    assert!(CLOUD_EVENT.contains(from), "{from}");
    check(
        CLOUD_EVENT.replacen(from, to, 1).as_bytes(),
        reason,
        Some(field),
    );
}

/// A refusal of the plain event after replacing a part of it.
#[track_caller]
fn plain(from: &str, to: &str, reason: Reason, field: &'static str) {
    assert!(PLAIN.contains(from), "{from}");
    check(PLAIN.replacen(from, to, 1).as_bytes(), reason, Some(field));
}

#[test]
fn what_is_no_json_object_is_malformed() {
    for bytes in [
        &b""[..],
        b" ",
        b"{",
        b"hello",
        b"[]",
        b"[{}]",
        b"null",
        b"1e400",
        b"\"text\"",
        b"{}{}",
        b"{\"a\":1,}",
        b"{\"a\":01}",
        b"{'a':1}",
        b"{\"a\":\"\x01\"}",
        b"{\"a\":\"\xff\"}",
        b"{\"a\":\"\\x\"}",
        b"\xef\xbb\xbf{}",
        b"\x00",
        b"{\"a\":1}\x00",
        b"{\"\xff\":1}",
    ] {
        check(bytes, Reason::Malformed, None);
    }
    check(
        &CLOUD_EVENT.as_bytes()[..CLOUD_EVENT.len() - 1],
        Reason::Malformed,
        None,
    );
    check(&[b'['; 60_000], Reason::Malformed, None);
    check("{\"a\":".repeat(12_000).as_bytes(), Reason::Malformed, None);
}

#[test]
fn a_text_that_is_no_unicode_is_malformed_at_its_field() {
    cloud("user-123", r"\ud800", Reason::Malformed, "subject");
    cloud("llama-3-8b", r"\udc00x", Reason::Malformed, "data.model");
    plain("prov-9", r"\ud800\ud800", Reason::Malformed, "providerId");
}

#[test]
fn a_field_that_stands_twice_is_malformed_because_readers_disagree_on_which_one_counts() {
    cloud(
        "{",
        r#"{"subject":"someone-else","#,
        Reason::Malformed,
        "subject",
    );
    cloud(
        r#""data":{"#,
        r#""data":{"statusCode":500,"#,
        Reason::Malformed,
        "data.statusCode",
    );
    cloud(
        r#""data":"#,
        r#""data":{},"data":"#,
        Reason::Malformed,
        "data",
    );
    plain(
        "{",
        r#"{"userI\u0064":"someone-else","#,
        Reason::Malformed,
        "userId",
    );
}

#[test]
fn what_must_be_there_is_missed_by_name() {
    for (field, name) in [
        (r#""id":"018f3c1e","#, "id"),
        (r#""source":"gateway-eu-1","#, "source"),
        (r#""type":"tidemark.usage.v1","#, "type"),
        (r#""time":"2026-11-22T07:01:02.123Z","#, "time"),
        (r#""subject":"user-123","#, "subject"),
        (r#""endpoint":"/v1/chat/completions","#, "data.endpoint"),
        (r#""statusCode":200,"#, "data.statusCode"),
    ] {
        cloud(field, "", Reason::MissingField, name);
        let (key, _) = field.split_once(':').expect("a member");
        cloud(field, &format!("{key}:null,"), Reason::MissingField, name);
    }
    for (field, name) in [
        (r#""requestId":"018f3c1e","#, "requestId"),
        (r#""userId":"user-123","#, "userId"),
        (r#""endpoint":"/v1/chat/completions","#, "endpoint"),
        (r#""timestamp":"2026-11-22T07:01:02.123Z","#, "timestamp"),
        (r#""statusCode":200,"#, "statusCode"),
    ] {
        plain(field, "", Reason::MissingField, name);
    }
    let no_data = r#"{"specversion":"1.0","type":"tidemark.usage.v1","source":"s","id":"i","time":"2026-11-22T07:01:02Z","subject":"u"}"#;
    check(no_data.as_bytes(), Reason::MissingField, Some("data"));
    check(
        no_data.replace('}', r#","data":null}"#).as_bytes(),
        Reason::MissingField,
        Some("data"),
    );
    check(b"{}", Reason::MissingField, Some("statusCode"));
}

#[test]
fn a_value_of_another_type_is_refused() {
    for (from, to, field) in [
        (r#""subject":"user-123""#, r#""subject":123"#, "subject"),
        (r#""id":"018f3c1e""#, r#""id":{}"#, "id"),
        (
            r#""time":"2026-11-22T07:01:02.123Z""#,
            r#""time":1795331000000"#,
            "time",
        ),
        (
            r#""specversion":"1.0""#,
            r#""specversion":1.0"#,
            "specversion",
        ),
        (r#""type":"tidemark.usage.v1""#, r#""type":[]"#, "type"),
        ("200", r#""200""#, "data.statusCode"),
        ("200", "200.0", "data.statusCode"),
        ("200", "2e2", "data.statusCode"),
        ("250", "true", "data.latencyMs"),
        ("150", "1.5", "data.inputTokens"),
        ("150", "1e400", "data.inputTokens"),
        ("75", "[75]", "data.outputTokens"),
        (r#""stream":false"#, r#""stream":"false""#, "data.stream"),
        (r#""stream":false"#, r#""stream":0"#, "data.stream"),
        (
            r#""errorMessage":null"#,
            r#""errorMessage":{"a":1}"#,
            "data.errorMessage",
        ),
        (r#""model":"llama-3-8b""#, r#""model":false"#, "data.model"),
    ] {
        cloud(from, to, Reason::WrongType, field);
    }
    plain(
        r#""userId":"user-123""#,
        r#""userId":123"#,
        Reason::WrongType,
        "userId",
    );
    plain(
        "{",
        r#"{"specversion":1,"#,
        Reason::WrongType,
        "specversion",
    );
    for data in ["7", "[]", r#""text""#, "true"] {
        let json = format!(r#"{{"specversion":"1.0","data":{data}}}"#);
        check(json.as_bytes(), Reason::WrongType, Some("data"));
    }
}

#[test]
fn a_number_outside_its_limits_is_refused() {
    for (from, to, field) in [
        ("200", "99", "data.statusCode"),
        ("200", "600", "data.statusCode"),
        ("200", "0", "data.statusCode"),
        ("200", "-200", "data.statusCode"),
        ("200", "65736", "data.statusCode"),
        ("150", "-1", "data.inputTokens"),
        ("150", "1099511627777", "data.inputTokens"),
        ("150", "99999999999999999999999999", "data.inputTokens"),
        ("150", "-99999999999999999999999999", "data.inputTokens"),
        ("75", "1099511627777", "data.outputTokens"),
        ("250", "1099511627777", "data.latencyMs"),
        ("250", "86400001", "data.latencyMs"),
        ("812", "1099511627777", "data.requestBytes"),
        ("1490", "1099511627777", "data.responseBytes"),
        (
            r#""audioMillis":0"#,
            r#""audioMillis":1099511627777"#,
            "data.audioMillis",
        ),
        (
            r#""audioMillis":0"#,
            r#""imageCount":1099511627777"#,
            "data.imageCount",
        ),
        (
            r#""cachedInputTokens":0"#,
            r#""cachedInputTokens":1099511627777"#,
            "data.cachedInputTokens",
        ),
    ] {
        cloud(from, to, Reason::OutOfRange, field);
    }
    plain("150", "1099511627777", Reason::OutOfRange, "inputTokens");
}

/// Past the edge such a record is rated as far as its counts make sense.
#[test]
fn a_part_that_is_larger_than_its_whole_is_refused_at_the_edge_alone() {
    let (cached, output) = (r#""cachedInputTokens":0"#, r#""outputTokens":75"#);
    for (from, to, field) in [
        (
            cached,
            r#""cachedInputTokens":151"#,
            "data.cachedInputTokens",
        ),
        (cached, r#""cacheWriteTokens":151"#, "data.cacheWriteTokens"),
        (
            cached,
            r#""cachedInputTokens":76,"cacheWriteTokens":75"#,
            "data.cacheWriteTokens",
        ),
        (
            output,
            r#""outputTokens":75,"reasoningTokens":76"#,
            "data.reasoningTokens",
        ),
        (output, r#""reasoningTokens":1"#, "data.reasoningTokens"),
    ] {
        assert!(CLOUD_EVENT.contains(from), "{from}");
        let value = CLOUD_EVENT.replacen(from, to, 1);
        let refused = record(value.clone().into(), Headers::new()).expect_err(to);
        let found = (refused.reason, refused.field);
        assert_eq!(found, (Reason::OutOfRange, Some(field)), "{to}");
        assert!(decode(value.as_bytes(), &Headers::new()).is_ok(), "{to}");
    }
    for whole in [
        r#""cachedInputTokens":150"#,
        r#""cachedInputTokens":75,"cacheWriteTokens":75,"reasoningTokens":75"#,
    ] {
        let value = CLOUD_EVENT.replacen(cached, whole, 1);
        assert!(record(value.into(), Headers::new()).is_ok(), "{whole}");
    }
    let value = r#"{"requestId":"r","userId":"u","endpoint":"/scrape","timestamp":"2026-11-22T07:01:02Z",
        "statusCode":200,"inputTokens":1,"cachedInputTokens":2}"#;
    let refused = record(value.into(), Headers::new()).expect_err("plain");
    assert_eq!(refused.field, Some("cachedInputTokens"));
}

#[test]
fn a_text_that_is_no_id_or_too_long_is_refused() {
    let long = "x".repeat(129);
    for bad in [
        "",
        r"a\nb",
        r"\u0000",
        "a\u{7f}",
        "a\u{85}",
        &long,
        &"é".repeat(129),
    ] {
        cloud("user-123", bad, Reason::InvalidId, "subject");
        cloud("018f3c1e", bad, Reason::InvalidId, "id");
        cloud("gateway-eu-1", bad, Reason::InvalidId, "source");
        cloud("prov-9", bad, Reason::InvalidId, "data.providerId");
    }
    for (from, to, field) in [
        ("/v1/chat/completions", String::new(), "data.endpoint"),
        (
            "/v1/chat/completions",
            r"/v1\u0007".to_owned(),
            "data.endpoint",
        ),
        ("llama-3-8b", r"\u0085".to_owned(), "data.model"),
    ] {
        cloud(from, &to, Reason::InvalidId, field);
    }
    let message = format!("{:?}", "e".repeat(8_193));
    for (from, to, field) in [
        ("/v1/chat/completions", "/".repeat(2_049), "data.endpoint"),
        ("llama-3-8b", "m".repeat(257), "data.model"),
        ("null", message, "data.errorMessage"),
    ] {
        cloud(from, &to, Reason::TooLong, field);
    }
    plain("user-123", &long, Reason::InvalidId, "userId");
}

#[test]
fn a_bad_source_header_is_refused() {
    let json = PLAIN.replace(r#""source":"gateway-eu-1","#, "");
    for bytes in [&b""[..], b"\xff", b"a\x00"] {
        let headers = vec![("source".to_owned(), Bytes::copy_from_slice(bytes))];
        let refused = decode(json.as_bytes(), &headers).expect_err("no id");
        assert_eq!(
            (refused.reason, refused.field),
            (Reason::InvalidId, Some("source"))
        );
    }
}

#[test]
fn a_time_without_offset_or_that_is_none_is_refused() {
    for bad in [
        "",
        "2026-11-22T07:01:02",
        "2026-11-22",
        "2026-11-22T07:01Z",
        "2026-02-30T07:01:02Z",
        "2026-13-01T07:01:02Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T07:61:02Z",
        "2026-11-22T07:01:02.Z",
        "2026-11-22T07:01:02+0100",
        "2026-11-22T07:01:02+01",
        "2026-11-22T07:01:02+24:00",
        "2026-11-22T07:01:02Z[UTC]",
        "20261122T070102Z",
        " 2026-11-22T07:01:02Z",
        "2026-11-22T07:01:02Z ",
        "１026-11-22T07:01:02Z",
        "tomorrow",
    ] {
        cloud("2026-11-22T07:01:02.123Z", bad, Reason::InvalidTime, "time");
        plain(
            "2026-11-22T07:01:02.123Z",
            bad,
            Reason::InvalidTime,
            "timestamp",
        );
    }
}

#[test]
fn an_event_over_the_limit_is_too_large_whatever_it_holds() {
    check(&vec![b' '; 64 * 1024 + 1], Reason::TooLarge, None);
    let padded = format!(
        "{CLOUD_EVENT}{}",
        " ".repeat(64 * 1024 + 1 - CLOUD_EVENT.len())
    );
    check(padded.as_bytes(), Reason::TooLarge, None);
}

#[test]
fn a_cloud_event_of_another_type_is_refused() {
    cloud(
        "tidemark.usage.v1",
        "tidemark.usage.v2",
        Reason::UnknownType,
        "type",
    );
    cloud("tidemark.usage.v1", "", Reason::UnknownType, "type");
    cloud(r#""1.0""#, r#""0.3""#, Reason::UnknownType, "specversion");
}

#[test]
fn the_codes_are_stable_and_their_json_is_the_same() {
    let codes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(
        codes,
        [
            "malformed",
            "missing_field",
            "wrong_type",
            "misnamed_field",
            "out_of_range",
            "invalid_id",
            "too_long",
            "invalid_time",
            "too_large",
            "unknown_type",
            "unknown_service",
            "in_the_future",
            "too_old",
            "conflict",
            "unknown_original",
            "already_reversed",
            "nothing_to_reverse"
        ]
    );
    for reason in Reason::ALL {
        let json = serde_json::to_value(reason).expect("a reason serialises");
        assert_eq!(json, reason.as_str());
    }
}
