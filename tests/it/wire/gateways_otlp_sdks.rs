//! What instrumentations really write: operations, counts and spans around spans.

use serde_json::{Value, json};
use tidemark::gateways::{Format, GatewaySettings, read, read_otlp_protobuf};

use super::gateways::{RECEIVED, one, outcomes, shown};
use super::gateways_otlp::export;

fn span(changes: &[(&str, Value)]) -> Value {
    export(changes)["resourceSpans"][0]["scopeSpans"][0]["spans"][0].clone()
}

fn together(scope: &str, spans: &[Value]) -> Value {
    json!({"resourceSpans": [{"scopeSpans": [{"scope": {"name": scope}, "spans": spans}]}]})
}

/// Input tokens of each event, then how many spans were skipped for which reason.
fn counted(body: &Value) -> Vec<Value> {
    let shown = shown(&outcomes(Format::Otlp, body.to_string().as_bytes()));
    let all = shown.as_array().expect("a list").iter();
    all.map(|outcome| match outcome.get("event") {
        Some(event) => event["data"]["inputTokens"].clone(),
        None => outcome
            .get("skipped")
            .or(outcome.get("refused"))
            .cloned()
            .unwrap_or_default(),
    })
    .collect()
}

#[test]
fn who_adds_cached_tokens_to_the_input_is_known_by_the_scope() {
    let cached = [
        ("gen_ai.provider.name", json!("anthropic")),
        ("gen_ai.request.model", json!("claude-sonnet-4-5")),
        ("gen_ai.usage.input_tokens", json!(1120)),
        ("gen_ai.usage.cache_read_input_tokens", json!(1000)),
        ("gen_ai.usage.cache_creation_input_tokens", json!(20)),
    ];
    for (scope, input) in [
        ("opentelemetry.instrumentation.anthropic", 1120),
        ("pydantic-ai", 1120),
        ("opentelemetry.util.genai.handler", 1120),
        // It copies what the provider says.
        ("opentelemetry.instrumentation.bedrock", 2140),
        ("my-own", 2140),
    ] {
        assert_eq!(
            counted(&together(scope, &[span(&cached)])),
            [json!(input)],
            "{scope}"
        );
    }
    // Version 6 of the Vercel AI SDK.
    let mut vercel = cached.to_vec();
    vercel.push(("ai.usage.inputTokenDetails.noCacheTokens", json!(100)));
    assert_eq!(counted(&together("ai", &[span(&vercel)])), [json!(1120)]);
    // What is configured counts before.
    let outside = GatewaySettings {
        otlp_cached_tokens: Some(tidemark::ops::config::CachedTokens::Outside),
        ..GatewaySettings::default()
    };
    let body = together("pydantic-ai", &[span(&cached)]).to_string();
    let read = read(Format::Otlp, body.as_bytes(), RECEIVED, &outside).expect("an export");
    assert_eq!(shown(&read)[0]["event"]["data"]["inputTokens"], 2140);
}

#[test]
fn reasoning_tokens_are_read_from_spans() {
    for name in [
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.details.reasoning_tokens",
        "ai.usage.outputTokenDetails.reasoningTokens",
    ] {
        let is = one(Format::Otlp, &export(&[(name, json!(3))]));
        assert_eq!(is["event"]["data"]["reasoningTokens"], 3, "{name}");
    }
}

#[test]
fn an_operation_is_a_text_of_any_case() {
    let operation = "gen_ai.operation.name";
    for text in ["chat", "Chat", "CHAT"] {
        assert_eq!(
            counted(&export(&[(operation, json!(text))])),
            [json!(10)],
            "{text}"
        );
    }
    for other in [
        json!({"intValue": 7}),
        json!({"boolValue": true}),
        json!({"arrayValue": {"values": [{"stringValue": "chat"}]}}),
        json!({"kvlistValue": {"values": []}}),
        json!({"bytesValue": "Y2hhdA=="}),
    ] {
        let is = one(Format::Otlp, &export(&[(operation, other.clone())]));
        let refused = (&is["refused"][1], &is["refused"][2]);
        assert_eq!(
            refused,
            (&json!("wrong_type"), &json!(operation)),
            "{other}: {is}"
        );
    }
}

#[test]
fn tokens_of_an_operation_that_is_not_known_are_visible() {
    for (changes, skipped) in [
        (
            vec![("gen_ai.operation.name", Value::Null)],
            "unknown_operation",
        ),
        (
            vec![("gen_ai.operation.name", json!("responses"))],
            "unknown_operation",
        ),
        (
            vec![
                ("gen_ai.operation.name", Value::Null),
                ("gen_ai.usage.input_tokens", Value::Null),
                ("gen_ai.usage.output_tokens", Value::Null),
                ("llm.token_count.prompt", json!(10)),
            ],
            "unknown_operation",
        ),
        // An agent's totals are those of the calls within.
        (
            vec![("gen_ai.operation.name", json!("invoke_agent"))],
            "not_inference",
        ),
        (
            vec![
                ("gen_ai.operation.name", json!("rerank")),
                ("gen_ai.usage.input_tokens", Value::Null),
                ("gen_ai.usage.output_tokens", Value::Null),
            ],
            "not_inference",
        ),
    ] {
        assert_eq!(counted(&export(&changes)), [json!(skipped)], "{changes:?}");
    }
}

#[test]
fn an_attribute_that_says_nothing_costs_nothing() {
    for attribute in [
        Value::Null,
        json!({"key": "x"}),
        json!({"value": {"stringValue": "x"}}),
        json!({"key": "x", "value": null}),
        json!({"key": "gen_ai.usage.input_tokens", "value": {"doubleValue": 10.0}}),
    ] {
        let mut span = span(&[]);
        let attributes = span["attributes"].as_array_mut().expect("attributes");
        attributes.push(attribute.clone());
        assert_eq!(counted(&together("", &[span])), [json!(10)], "{attribute}");
    }
}

#[test]
fn ids_of_zeros_are_no_ids() {
    let is = one(
        Format::Otlp,
        &export(&[(".traceId", json!("0".repeat(32)))]),
    );
    assert_eq!(is["refused"][2], "traceId");
}

#[test]
fn spans_of_the_vercel_ai_sdk_are_counted_once() {
    let inner = [
        ("gen_ai.operation.name", Value::Null),
        ("ai.operationId", json!("ai.generateText.doGenerate")),
        (".spanId", json!("eee19b7ec3c1b175")),
        (".parentSpanId", json!("eee19b7ec3c1b174")),
    ];
    let outer = [
        ("gen_ai.operation.name", Value::Null),
        ("ai.operationId", json!("ai.generateText")),
    ];
    let spans = [span(&inner), span(&outer)];
    assert_eq!(
        counted(&together("ai", &spans)),
        [json!(10), json!("not_inference")]
    );
    let embedding = export(&[
        ("gen_ai.operation.name", Value::Null),
        ("ai.operationId", json!("ai.embed.doEmbed")),
        ("gen_ai.request.model", Value::Null),
        ("gen_ai.usage.input_tokens", Value::Null),
        ("gen_ai.usage.output_tokens", Value::Null),
        ("ai.usage.tokens", json!(7)),
        ("ai.model.id", json!("text-embedding-3-small")),
        ("ai.model.provider", json!("openai.embedding")),
    ]);
    let data = &one(Format::Otlp, &embedding)["event"]["data"];
    assert_eq!(
        (&data["endpoint"], &data["model"], &data["inputTokens"]),
        (
            &json!("/v1/embeddings"),
            &json!("text-embedding-3-small"),
            &json!(7)
        )
    );
}

/// A framework's span, a step in between, and the SDK's span.
fn nested(between: &[(&str, Value)], inner: &[(&str, Value)]) -> Vec<Value> {
    let outer = span(&[(".kind", json!(1))]);
    let mut step = vec![
        ("gen_ai.operation.name", Value::Null),
        ("gen_ai.usage.input_tokens", Value::Null),
        ("gen_ai.usage.output_tokens", Value::Null),
        (".spanId", json!("eee19b7ec3c1b175")),
        (".parentSpanId", json!("eee19b7ec3c1b174")),
    ];
    step.extend_from_slice(between);
    let mut sdk = vec![
        (".spanId", json!("eee19b7ec3c1b176")),
        (".parentSpanId", json!("eee19b7ec3c1b175")),
    ];
    sdk.extend_from_slice(inner);
    vec![span(&sdk), span(&step), outer]
}

#[test]
fn spans_of_one_inference_are_found_through_others_between_them() {
    let same = [json!(10), json!("not_inference"), json!("same_call")];
    let two = [json!(10), json!(10), json!("not_inference")];
    assert_eq!(counted(&together("", &nested(&[], &[]))), same);
    // What a tool calls is another call.
    let tool = [("gen_ai.operation.name", json!("execute_tool"))];
    assert_eq!(counted(&together("", &nested(&tool, &[]))), two);
    // So is one with other counts.
    let other = [("gen_ai.usage.output_tokens", json!(6))];
    assert_eq!(counted(&together("", &nested(&[], &other))), two);
    // And embeddings, which a chat looks something up with.
    let lookup = [
        ("gen_ai.operation.name", json!("embeddings")),
        (".parentSpanId", json!("eee19b7ec3c1b174")),
    ];
    assert_eq!(counted(&together("", &nested(&[], &lookup))), two);
    let mut reversed = nested(&[], &[]);
    reversed.reverse();
    assert_eq!(counted(&together("", &reversed)), same);
}

/// A message of protobuf, field by field.
fn message(fields: &[(u8, &[u8])]) -> Vec<u8> {
    let fields = fields.iter().flat_map(|(tag, bytes)| {
        let length = u8::try_from(bytes.len()).expect("a short field");
        let head = [tag << 3 | 2, length];
        head.into_iter().chain(bytes.iter().copied())
    });
    fields.collect()
}

#[test]
fn an_operation_in_protobuf_that_is_no_text_is_refused() {
    let operation = |any_value: &[u8]| {
        let attribute = message(&[(1, b"gen_ai.operation.name"), (2, any_value)]);
        let user = message(&[(1, b"enduser.id"), (2, &message(&[(1, b"anna")]))]);
        let mut span = message(&[(1, &[7; 16]), (2, &[7; 8]), (9, &attribute), (9, &user)]);
        // Field 7, the start, as a fixed64.
        span.push(7 << 3 | 1);
        span.extend(1_795_394_966_000_000_000u64.to_le_bytes());
        let scope = message(&[(2, &span)]);
        let resource = message(&[(2, &scope)]);
        let body = message(&[(1, &resource)]);
        let read = read_otlp_protobuf(&body, &GatewaySettings::default());
        shown(&read.expect("an export"))[0].clone()
    };
    let is = operation(&message(&[(5, b"")]));
    assert_eq!(is["refused"][1], "wrong_type", "{is}");
    let is = operation(&message(&[(7, b"chat")]));
    assert_eq!(is["refused"][1], "wrong_type", "{is}");
    let is = operation(&message(&[(1, b"invoke_agent")]));
    assert_eq!(is["skipped"], "not_inference");
}
