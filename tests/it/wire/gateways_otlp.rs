//! Spans of GenAI clients, attribute by attribute.

use serde_json::{Value, json};
use tidemark::gateways::{Format, GatewaySettings, read, read_otlp_protobuf};

use super::gateways::{OTLP, RECEIVED, Row, items, one, outcomes, shown};

/// An export of one span with these attributes, as texts; one that is empty is left out. A field of the span itself begins with a dot.
pub fn export(changes: &[(&str, Value)]) -> Value {
    let mut span = json!({"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "kind": 3,
        "startTimeUnixNano": "1795394966000000000", "endTimeUnixNano": "1795394966250000000"});
    let mut attributes = json!({"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "enduser.id": "anna",
        "gen_ai.usage.input_tokens": "10", "gen_ai.usage.output_tokens": "5"});
    for (name, with) in changes {
        match name.strip_prefix('.') {
            Some(name) => span[name] = with.clone(),
            None => attributes[*name] = with.clone(),
        }
    }
    let attributes = attributes.as_object().expect("one").iter();
    let kept = attributes.filter(|(_, value)| !value.is_null());
    let typed = |value: &Value| match value {
        Value::String(_) => json!({"stringValue": value}),
        Value::Object(_) => value.clone(),
        other => json!({"intValue": other}),
    };
    span["attributes"] = kept
        .map(|(name, value)| json!({"key": name, "value": typed(value)}))
        .collect();
    json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
}

#[test]
fn an_attribute_means_this() {
    let rows: Vec<Row<'_>> = vec![
        (vec![], "/subject", json!("anna")),
        (vec![("user.id", json!("ben"))], "/subject", json!("anna")),
        (
            vec![("enduser.id", Value::Null), ("user.id", json!("ben"))],
            "/subject",
            json!("ben"),
        ),
        (vec![("enduser.id", json!(4711))], "/subject", json!("4711")),
        (
            vec![],
            "/id",
            json!("5b8efff798038103d269b633813fc60c/eee19b7ec3c1b174"),
        ),
        (
            vec![(".spanId", json!("EEE19B7EC3C1B174"))],
            "/id",
            json!("5b8efff798038103d269b633813fc60c/eee19b7ec3c1b174"),
        ),
        (vec![], "/time", json!("2026-11-23T00:49:26.000Z")),
        (
            vec![(".startTimeUnixNano", json!(1795394966000999999_u64))],
            "/time",
            json!("2026-11-23T00:49:26.000Z"),
        ),
        (vec![], "/data/latencyMs", json!(250)),
        (
            vec![(".endTimeUnixNano", json!("0"))],
            "/data/latencyMs",
            Value::Null,
        ),
        (
            vec![(".kind", json!("SPAN_KIND_CLIENT"))],
            "/data/endpoint",
            json!("/v1/chat/completions"),
        ),
        (
            vec![("gen_ai.operation.name", json!("generate_content"))],
            "/data/endpoint",
            json!("/v1/chat/completions"),
        ),
        (
            vec![("gen_ai.operation.name", json!("text_completion"))],
            "/data/endpoint",
            json!("/v1/completions"),
        ),
        (
            vec![("gen_ai.operation.name", json!("embeddings"))],
            "/data/endpoint",
            json!("/v1/embeddings"),
        ),
        (
            vec![
                ("gen_ai.operation.name", Value::Null),
                ("llm.request.type", json!("embedding")),
            ],
            "/data/endpoint",
            json!("/v1/embeddings"),
        ),
        (
            vec![("gen_ai.system", json!("az.ai.openai"))],
            "/data/providerId",
            json!("az.ai.openai"),
        ),
        (
            vec![
                ("gen_ai.system", json!("old")),
                ("gen_ai.provider.name", json!("new")),
            ],
            "/data/providerId",
            json!("new"),
        ),
        (vec![], "/data/providerId", Value::Null),
        (
            vec![("gen_ai.response.model", json!("gpt-4o-2024-08-06"))],
            "/data/model",
            json!("gpt-4o-2024-08-06"),
        ),
        (
            vec![
                ("gen_ai.usage.input_tokens", Value::Null),
                ("gen_ai.usage.prompt_tokens", json!(7)),
            ],
            "/data/inputTokens",
            json!(7),
        ),
        (
            vec![
                ("gen_ai.usage.output_tokens", Value::Null),
                ("gen_ai.usage.completion_tokens", json!("8")),
            ],
            "/data/outputTokens",
            json!(8),
        ),
        (
            vec![("gen_ai.usage.cache_read.input_tokens", json!(4))],
            "/data/inputTokens",
            json!(10),
        ),
        (
            vec![("gen_ai.usage.cache_read.input_tokens", json!(4))],
            "/data/cachedInputTokens",
            json!(4),
        ),
        (
            vec![("gen_ai.usage.input_tokens", json!(0))],
            "/data/inputTokens",
            Value::Null,
        ),
        (
            vec![(".status", json!({"code": 0}))],
            "/data/statusCode",
            json!(200),
        ),
        (
            vec![(".status", json!({"code": 1}))],
            "/data/statusCode",
            json!(200),
        ),
        (
            vec![(".status", json!({"code": 2, "message": "SECRET"}))],
            "/data/statusCode",
            json!(500),
        ),
        (
            vec![(".status", json!({"code": "STATUS_CODE_ERROR"}))],
            "/data/statusCode",
            json!(500),
        ),
        (
            vec![("error.type", json!("timeout"))],
            "/data/statusCode",
            json!(500),
        ),
        (
            vec![("error.type", json!("429"))],
            "/data/statusCode",
            json!(429),
        ),
        (
            vec![
                ("error.type", json!("x")),
                ("http.response.status_code", json!(404)),
            ],
            "/data/statusCode",
            json!(404),
        ),
        (
            vec![
                ("error.type", json!("x")),
                ("http.response.status_code", json!(200)),
            ],
            "/data/statusCode",
            json!(500),
        ),
        (
            vec![("http.response.status_code", json!(201))],
            "/data/statusCode",
            json!(201),
        ),
    ];
    for (changes, pointer, expected) in rows {
        let is = one(Format::Otlp, &export(&changes));
        let found = is["event"].pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(found, expected, "{pointer} with {changes:?}: {is}");
        assert!(!is.to_string().contains("SECRET"));
    }
}

#[test]
fn only_inference_that_a_client_saw_is_counted() {
    for kind in [json!(1), json!(3), Value::Null, json!("SPAN_KIND_INTERNAL")] {
        let is = one(Format::Otlp, &export(&[(".kind", kind)]));
        assert_eq!(is["event"]["subject"], "anna");
    }
    for kind in [json!(2), json!(4), json!("SPAN_KIND_CONSUMER")] {
        let is = one(Format::Otlp, &export(&[(".kind", kind)]));
        assert_eq!(is, json!({"skipped": "other_side", "items": 1}));
    }
    let clients_alone = GatewaySettings {
        otlp_internal_spans: false,
        ..GatewaySettings::default()
    };
    let internal = export(&[(".kind", json!(1))]).to_string();
    let read = read(Format::Otlp, internal.as_bytes(), RECEIVED, &clients_alone);
    assert_eq!(shown(&read.expect("an export"))[0]["skipped"], "other_side");
    for changes in [
        ("gen_ai.operation.name", json!("invoke_agent")),
        ("gen_ai.operation.name", json!("execute_tool")),
        ("gen_ai.operation.name", json!("create_agent")),
        ("gen_ai.operation.name", json!("ai.generateText")),
    ] {
        let is = one(Format::Otlp, &export(&[changes]));
        assert_eq!(is, json!({"skipped": "not_inference", "items": 1}));
    }
}

#[test]
fn a_span_that_cannot_be_read_is_refused_by_the_name_of_its_attribute() {
    for (path, with, code, field) in [
        (
            "enduser.id",
            Value::Null,
            "missing_field",
            "enduser.id or user.id",
        ),
        (
            "enduser.id",
            json!({"boolValue": true}),
            "wrong_type",
            "enduser.id",
        ),
        (".traceId", Value::Null, "missing_field", "traceId"),
        (".spanId", json!(""), "missing_field", "spanId"),
        (
            ".startTimeUnixNano",
            Value::Null,
            "missing_field",
            "startTimeUnixNano",
        ),
        (
            ".startTimeUnixNano",
            json!("SECRET"),
            "invalid_time",
            "startTimeUnixNano",
        ),
        (
            "gen_ai.usage.input_tokens",
            json!({"doubleValue": 0.5}),
            "wrong_type",
            "gen_ai.usage.input_tokens",
        ),
        (
            "gen_ai.usage.output_tokens",
            json!(-1),
            "out_of_range",
            "gen_ai.usage.output_tokens",
        ),
        (
            "gen_ai.request.model",
            json!("SECRET\u{7}"),
            "invalid_id",
            "gen_ai.response.model",
        ),
    ] {
        let is = one(Format::Otlp, &export(&[(path, with)]));
        let found = (&is["refused"][1], &is["refused"][2]);
        assert_eq!(found, (&json!(code), &json!(field)), "{path}: {is}");
        assert!(!is.to_string().contains("SECRET"), "{is}");
    }
    // One that is no span at all costs only itself.
    let mut broken = export(&[]);
    broken["resourceSpans"][0]["scopeSpans"][0]["spans"]
        .as_array_mut()
        .expect("spans")
        .extend([json!(7), json!({"attributes": {}})]);
    assert_eq!(
        items(&outcomes(Format::Otlp, broken.to_string().as_bytes())),
        3
    );
}

#[test]
fn a_request_that_is_no_export_is_unreadable() {
    for body in [
        "",
        "[]",
        "[[]]",
        "null",
        "{\"resourceSpans\": 7}",
        "{\"resourceSpans\": [",
        "\u{0}\u{1}protobuf",
    ] {
        let read = read(
            Format::Otlp,
            body.as_bytes(),
            RECEIVED,
            &GatewaySettings::default(),
        );
        assert!(read.is_err(), "{body}");
    }
    for body in [
        "{}",
        "{\"resourceSpans\": null}",
        "{\"resourceSpans\": [{\"scopeSpans\": null}]}",
        "{\"resourceSpans\": [{\"scopeSpans\": [{\"spans\": null}]}]}",
        "{\"resourceSpans\": [{\"resource\": {\"attributes\": null}}]}",
        "{\"resourceSpans\": []}",
        "{\"resourceSpans\": [{}]}",
        "{\"resourceSpans\": [{\"scopeSpans\": [{\"spans\": []}]}]}",
    ] {
        assert_eq!(items(&outcomes(Format::Otlp, body.as_bytes())), 0);
    }
}

/// The fixture `traces.json` in protobuf, as the messages of opentelemetry-proto 1.45 (PyPI) write it.
pub const PROTOBUF: &[u8] = include_bytes!("fixtures/otlp/traces.pb");

#[test]
fn protobuf_becomes_the_same_as_json() {
    let from = GatewaySettings::default();
    let is = read_otlp_protobuf(PROTOBUF, &from).unwrap();
    assert_eq!(is, outcomes(Format::Otlp, OTLP.as_bytes()));
    assert_eq!(items(&read_otlp_protobuf(b"", &from).unwrap()), 0);
    for broken in [OTLP.as_bytes(), b"no protobuf"] {
        assert!(read_otlp_protobuf(broken, &from).is_err());
    }
}

#[test]
fn a_trace_in_protobuf_that_is_cut_short_is_read_as_far_as_it_is_whole() {
    let read = |bytes: &[u8]| {
        let read = read_otlp_protobuf(bytes, &GatewaySettings::default()).expect("spans");
        (items(&read), shown(&read))
    };
    let (count, whole) = read(PROTOBUF);
    let (cut_count, cut) = read(&PROTOBUF[..PROTOBUF.len() - 1]);
    // The last span became a refusal.
    assert_eq!(cut_count, count);
    let is_refused = |outcome: &&Value| outcome["refused"][1] == "malformed";
    let refused = |shown: &Value| {
        let all = shown.as_array().expect("a list").iter();
        all.filter(is_refused).count()
    };
    assert_eq!(refused(&cut), refused(&whole) + 1, "{cut}");
}

#[test]
fn a_text_in_protobuf_that_is_no_utf_8_costs_only_its_own_span() {
    let from = GatewaySettings::default();
    let mut bytes = PROTOBUF.to_vec();
    let at = bytes
        .windows(3)
        .position(|window| window == b"ben")
        .expect("a user");
    bytes[at] = 0xff;
    let whole = read_otlp_protobuf(PROTOBUF, &from).unwrap();
    let broken = read_otlp_protobuf(&bytes, &from).unwrap();
    assert_eq!(items(&whole), items(&broken));
    let (whole, broken) = (shown(&whole), shown(&broken));
    let rows = |shown: &Value| shown.as_array().expect("a list").clone();
    let rows = rows(&whole).into_iter().zip(rows(&broken));
    let differ: Vec<(Value, Value)> = rows.filter(|(a, b)| a != b).collect();
    assert_eq!(differ.len(), 1, "{differ:?}");
    assert_eq!(differ[0].1["refused"][1], "malformed");
}
