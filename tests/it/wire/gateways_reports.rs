//! What gateways were seen to send, and what is right: items that are not JSON, calls that are
//! reported twice, users that are sessions, tokens that are counted beside the input.

use proptest::prelude::*;
use serde_json::{Value, json};
use tidemark::gateways::{Format, GatewaySettings, read, read_otlp_protobuf};

use super::gateways::{RECEIVED, items, outcomes, payload, shown};
use super::gateways_otlp::export;

const ID: &str = "5b8efff798038103d269b633813fc60c";

/// What of the kept outcomes a test looks at: the user, input, cached and output of an event, or the
/// reason of a refusal.
fn told(outcomes: &Value) -> Vec<Value> {
    let one = |outcome: &Value| {
        if let Some(refused) = outcome.get("refused") {
            return refused[1].clone();
        }
        if outcome.get("skipped").is_some() {
            return json!([outcome["skipped"], outcome["items"]]);
        }
        let event = &outcome["event"];
        let data = &event["data"];
        json!([
            event["subject"],
            data["inputTokens"],
            data["cachedInputTokens"],
            data["outputTokens"]
        ])
    };
    outcomes
        .as_array()
        .expect("a list")
        .iter()
        .map(one)
        .collect()
}

fn litellm(body: &str) -> Vec<Value> {
    told(&shown(&outcomes(Format::Litellm, body.as_bytes())))
}

fn otlp(body: &Value) -> Vec<Value> {
    told(&shown(&outcomes(Format::Otlp, body.to_string().as_bytes())))
}

fn user(name: &str) -> Value {
    payload(&[
        ("metadata.user_api_key_user_id", json!(name)),
        ("litellm_call_id", json!(name)),
    ])
}

/// The spans of exports, in one.
fn together(exports: &[Value]) -> Value {
    let spans: Vec<Value> = exports
        .iter()
        .map(|export| export["resourceSpans"][0]["scopeSpans"][0]["spans"][0].clone())
        .collect();
    json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})
}

#[test]
fn an_item_that_is_not_json_costs_only_itself() {
    let (a, b) = (user("anna").to_string(), user("ben").to_string());
    let with = |field: &str| format!("{{{field},{}", &a[1..]);
    let rows = [
        // A number that nobody needs.
        (with("\"response_cost\":NaN"), true),
        (with("\"response\":{\"logprob\":-Infinity}"), true),
        (with("\"x\":[Infinity,\"NaN\"]"), true),
        // One that is needed.
        (
            a.replace("\"total_tokens\"", "\"prompt_tokens\":NaN,\"total_tokens\""),
            false,
        ),
        // Broken texts and brackets.
        (with("\"x\":\"\\x\""), false),
        (with("\"x\":[1,}"), false),
        (with("\"x\":\"a\tb\""), false),
        (with("\"x\""), false),
    ];
    for (item, is_taken) in rows {
        for body in [
            format!("[{item},{b}]"),
            format!("[{b},{item}]"),
            format!("{item}\n{b}"),
        ] {
            let found = litellm(&body);
            let events = found.iter().filter(|outcome| outcome.is_array());
            assert_eq!(found.len(), 2, "{body:.90}: {found:?}");
            assert_eq!(
                events.count(),
                1 + usize::from(is_taken),
                "{body:.90}: {found:?}"
            );
        }
    }
    // A missing quote may be in a client's text: nothing behind it is believed.
    let forged = format!("[{b},{{\"x\":\"oops}},{a}]");
    assert_eq!(litellm(&forged).len(), 2);
    assert!(!litellm(&forged).iter().any(|outcome| outcome[0] == "anna"));
    // Cut off in the middle.
    assert_eq!(litellm(&format!("[{b},{}", &a[..a.len() / 2])).len(), 2);
}

#[test]
fn a_span_that_is_not_json_costs_only_itself() {
    let good = export(&[]).to_string();
    let bad = good.replace("\"kind\":3", "\"kind\":3,\"x\":\"\\x\"");
    let spans = |text: &str| {
        let begin = text.find("\"spans\":[").expect("spans") + "\"spans\":[".len();
        text[begin..text.len() - "]}]}]}".len()].to_owned()
    };
    let body = format!(
        "{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{},{}]}}]}}]}}",
        spans(&bad),
        spans(&good)
    );
    let found = told(&shown(&outcomes(Format::Otlp, body.as_bytes())));
    assert_eq!(found, [json!("malformed"), json!(["anna", 10, null, 5])]);
}

#[test]
fn what_is_no_span_costs_only_itself() {
    let good = export(&[])["resourceSpans"][0].clone();
    let scope = good["scopeSpans"][0].clone();
    for (all, refused) in [
        (json!({"resourceSpans": [good, 7]}), 1),
        (json!({"resourceSpans": [null, good, "x"]}), 2),
        (
            json!({"resourceSpans": [{"scopeSpans": [null, scope, {"spans": {}}]}]}),
            2,
        ),
        (json!({"resourceSpans": [good, {"scopeSpans": 7}]}), 1),
    ] {
        let found = otlp(&all);
        let events = found.iter().filter(|outcome| outcome[0] == "anna").count();
        let malformed = found
            .iter()
            .filter(|outcome| **outcome == "malformed")
            .count();
        assert_eq!((events, malformed), (1, refused), "{all}: {found:?}");
    }
}

#[test]
fn lines_may_be_arrays() {
    let (a, b) = (user("anna").to_string(), user("ben").to_string());
    for body in [
        format!("[1]\n{a}\n{b}"),
        format!("{a}\n[1]\n{b}"),
        format!("[{a}]\n[7,{b}]"),
    ] {
        let events = litellm(&body).into_iter().filter(Value::is_array).count();
        assert_eq!(events, 2, "{body:.60}");
    }
}

#[test]
fn the_first_place_that_names_an_account_is_the_user() {
    let settings = GatewaySettings {
        litellm_user: vec![
            "end_user".to_owned(),
            "metadata.user_api_key_user_id".to_owned(),
        ],
        ..GatewaySettings::default()
    };
    let session = |device: &str, account: &str| {
        json!({"device_id": device, "account_uuid": account, "session_id": "s-1"}).to_string()
    };
    for (end_user, key_user, expected) in [
        (json!("customer"), json!("anna"), json!("customer")),
        (json!(session("d-1", "a-1")), json!("anna"), json!("anna")),
        (json!(session("d-1", "")), json!("anna"), json!("anna")),
        (
            json!("user_d-1_account_a-1_session_s-9"),
            json!("anna"),
            json!("anna"),
        ),
        (json!({"not": "text"}), json!("anna"), json!("anna")),
        (json!("x".repeat(200)), json!("anna"), json!("anna")),
        (json!("none"), json!("anna"), json!("anna")),
        (json!("-"), json!("anna"), json!("anna")),
        // Nothing else names the person.
        (json!(session("d-1", "a-1")), Value::Null, json!("a-1")),
        (json!(session("d-1", "")), Value::Null, json!("d-1")),
        (
            json!("user_d-1_account__session_s-9"),
            Value::Null,
            json!("d-1"),
        ),
    ] {
        let item = payload(&[
            ("end_user", end_user.clone()),
            ("metadata.user_api_key_user_id", key_user),
        ]);
        let body = item.to_string();
        let read = read(Format::Litellm, body.as_bytes(), RECEIVED, &settings).expect("readable");
        assert_eq!(shown(&read)[0]["event"]["subject"], expected, "{end_user}");
    }
}

#[test]
fn a_call_that_is_reported_twice_counts_once() {
    let early = payload(&[
        ("prompt_tokens", json!(0)),
        ("completion_tokens", json!(0)),
        ("total_tokens", json!(0)),
        ("id", json!("early")),
    ]);
    let late = payload(&[("id", json!("late"))]);
    let whole = told(&shown(&outcomes(
        Format::Litellm,
        late.to_string().as_bytes(),
    )));
    for body in [
        json!([early, late]),
        json!([late, early]),
        json!([late, late, early]),
    ] {
        let found = litellm(&body.to_string());
        assert_eq!(found[0], whole[0], "{found:?}");
        let skipped = body.as_array().expect("a list").len() - 1;
        assert_eq!(found[1..], [json!(["same_call", skipped])]);
    }
    // Another attempt of the call, and another user's call under the same id.
    let again = payload(&[("startTime", json!(1795394999.5))]);
    let other = payload(&[("metadata.user_api_key_user_id", json!("eve"))]);
    assert_eq!(litellm(&json!([late, again, other]).to_string()).len(), 3);
}

#[test]
fn spans_of_one_inference_are_one_request() {
    let span = |span: &str, changes: &[(&str, Value)]| {
        let mut all = vec![(".spanId", json!(span))];
        all.extend(changes.iter().cloned());
        export(&all)
    };
    let around = |parent: &str| (".parentSpanId", json!(parent));
    let response = ("gen_ai.response.id", json!("chatcmpl-0123456789abcdef"));
    let outer = span("aa", std::slice::from_ref(&response));
    let one = json!(["anna", 10, null, 5]);
    let same_call = json!(["same_call", 1]);
    // By the response; by the span around it, of whichever kind.
    let by_response = span(
        "bb",
        &[
            response.clone(),
            (".startTimeUnixNano", json!("1795394966000000007")),
        ],
    );
    let inner = span("bb", &[around("AA")]);
    let internal = span("aa", &[(".kind", json!(1))]);
    for spans in [
        [outer.clone(), by_response.clone()],
        [by_response, outer.clone()],
        [outer.clone(), inner.clone()],
        [inner.clone(), internal],
    ] {
        assert_eq!(otlp(&together(&spans)), [one.clone(), same_call.clone()]);
    }
    // What only one of them knows.
    let no_user = span("bb", &[around("aa"), ("enduser.id", Value::Null)]);
    let no_tokens = span(
        "aa",
        &[
            ("gen_ai.usage.input_tokens", Value::Null),
            ("gen_ai.usage.output_tokens", Value::Null),
        ],
    );
    let found = otlp(&together(&[no_user, no_tokens]));
    assert_eq!(found, [one.clone(), same_call.clone()]);
    // A framework's span around two calls is none of its own; they are its user's.
    let calls = [
        span("aa", &[]),
        span("bb", &[around("aa"), ("enduser.id", Value::Null)]),
        span("cc", &[around("aa")]),
    ];
    let found = otlp(&together(&calls));
    assert_eq!(found, [one.clone(), one.clone(), same_call]);
    // Two responses are two calls, also one within the other.
    let second = span(
        "bb",
        &[around("aa"), ("gen_ai.response.id", json!("chatcmpl-2"))],
    );
    assert_eq!(otlp(&together(&[outer.clone(), second])).len(), 2);
    // A server that numbers its responses from 0 to 999 gives two calls one id.
    let numbered = ("gen_ai.response.id", json!("chatcmpl-417"));
    let later = [
        numbered.clone(),
        (".startTimeUnixNano", json!("1795394976000000000")),
        (".endTimeUnixNano", json!("1795394976250000000")),
    ];
    let two = [
        span("aa", std::slice::from_ref(&numbered)),
        span("bb", &later),
    ];
    assert_eq!(otlp(&together(&two)), [one.clone(), one.clone()]);
    // Nobody's call is hidden behind that of somebody else.
    let other = json!(["eve", 10, null, 5]);
    let eve = span(
        "bb",
        &[around("aa"), response.clone(), ("enduser.id", json!("eve"))],
    );
    assert_eq!(otlp(&together(&[outer.clone(), eve])), [one, other]);
    // A call that is exported in two requests has one id.
    let id = |export: &Value| {
        let outcomes = outcomes(Format::Otlp, export.to_string().as_bytes());
        shown(&outcomes)[0]["event"]["id"].clone()
    };
    let apart = span("bb", &[response]);
    assert_eq!(
        (id(&outer), id(&apart)),
        (json!(format!("{ID}/chatcmpl-0123456789abcdef")), id(&outer))
    );
}

#[test]
fn an_attribute_that_is_sent_twice_counts_if_it_says_the_same() {
    let twice = |name: &str, value: Value| {
        let mut export = export(&[]);
        let span = &mut export["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        let attributes = span["attributes"].as_array_mut().expect("attributes");
        attributes.push(json!({"key": name, "value": value}));
        otlp(&export)
    };
    let one = [json!(["anna", 10, null, 5])];
    assert_eq!(
        twice("gen_ai.operation.name", json!({"stringValue": "chat"})),
        one
    );
    assert_eq!(
        twice("gen_ai.usage.input_tokens", json!({"intValue": 10})),
        one
    );
    let malformed = [json!("malformed")];
    assert_eq!(
        twice("gen_ai.usage.input_tokens", json!({"intValue": "11"})),
        malformed
    );
    assert_eq!(
        twice(
            "gen_ai.operation.name",
            json!({"stringValue": "embeddings"})
        ),
        malformed
    );
    let not_text = export(&[("gen_ai.operation.name", json!({"boolValue": true}))]);
    assert_eq!(otlp(&not_text), [json!("wrong_type")]);
}

#[test]
fn where_a_span_counts_cached_tokens_is_said_by_its_provider() {
    let tokens =
        |provider: &str, model: &str, counts: [Option<u64>; 3], settings: &GatewaySettings| {
            let [input, cached, written] = counts;
            let export = export(&[
                ("gen_ai.provider.name", json!(provider)),
                ("gen_ai.request.model", json!(model)),
                ("gen_ai.usage.input_tokens", json!(input)),
                ("gen_ai.usage.cache_read.input_tokens", json!(cached)),
                ("gen_ai.usage.cache_creation.input_tokens", json!(written)),
            ]);
            let read = read(
                Format::Otlp,
                export.to_string().as_bytes(),
                RECEIVED,
                settings,
            );
            let shown = shown(&read.expect("an export"));
            shown[0]["event"]["data"]["inputTokens"].clone()
        };
    let by_provider = GatewaySettings::default();
    for (provider, model, counts, expected) in [
        ("anthropic", "x", [Some(1000), Some(999), None], json!(1999)),
        (
            "anthropic",
            "x",
            [Some(1000), Some(1001), None],
            json!(2001),
        ),
        ("aws.bedrock", "x", [Some(3), None, Some(4511)], json!(4514)),
        (
            "prov-9",
            "claude-sonnet-4-5",
            [Some(0), Some(5000), None],
            json!(5000),
        ),
        (
            "prov-9",
            "claude-sonnet-4-5",
            [Some(1), Some(5000), None],
            json!(5001),
        ),
        (
            "prov-9",
            "gpt-4o",
            [Some(1000), Some(999), None],
            json!(1000),
        ),
        (
            "openai",
            "claude-sonnet-4-5",
            [Some(1000), Some(999), None],
            json!(1000),
        ),
        // Refused: it cannot be inside.
        (
            "openai",
            "gpt-4o",
            [Some(1000), Some(1001), None],
            Value::Null,
        ),
    ] {
        let found = tokens(provider, model, counts, &by_provider);
        assert_eq!(found, expected, "{provider} {model} {counts:?}");
    }
    let outside = GatewaySettings {
        otlp_cached_tokens: Some(tidemark::ops::config::CachedTokens::Outside),
        ..GatewaySettings::default()
    };
    let counts = [Some(1000), Some(1001), None];
    assert_eq!(tokens("openai", "gpt-4o", counts, &outside), json!(2001));
}

#[test]
fn a_provider_is_whom_the_gateway_names_or_the_operator() {
    let uuid = "018f3c1e-0000-4000-8000-00000000000a";
    let settings = GatewaySettings {
        providers: [
            (uuid.to_owned(), "prov-7".to_owned()),
            ("gpt-4o-eu".to_owned(), "prov-9".to_owned()),
        ]
        .into_iter()
        .collect(),
        ..GatewaySettings::default()
    };
    let failure = ("status", json!("failure"));
    let rows = [
        (
            vec![("model_id", json!("azure-1"))],
            json!(["azure-1", null, null]),
        ),
        (
            vec![("model_id", json!(uuid))],
            json!(["prov-7", null, null]),
        ),
        (
            vec![("model_id", json!("a".repeat(64)))],
            json!(["openai", true, null]),
        ),
        (
            vec![("model_id", json!("")), ("model_group", json!("gpt-4o-eu"))],
            json!(["prov-9", null, null]),
        ),
        (
            vec![
                failure.clone(),
                ("model_id", json!("")),
                ("model_group", json!("gpt-4o-eu")),
            ],
            json!(["prov-9", null, null]),
        ),
        (
            vec![failure.clone(), ("model_id", json!(""))],
            json!(["openai", null, true]),
        ),
        (
            vec![
                failure,
                ("model_id", Value::Null),
                ("custom_llm_provider", Value::Null),
            ],
            json!([null, null, true]),
        ),
    ];
    for (changes, expected) in rows {
        let mut all = vec![
            ("custom_llm_provider", json!("openai")),
            ("hidden_params", Value::Null),
        ];
        all.extend(changes);
        let body = payload(&all).to_string();
        let read = read(Format::Litellm, body.as_bytes(), RECEIVED, &settings).expect("readable");
        let shown = &shown(&read)[0];
        let is = json!([
            shown["event"]["data"]["providerId"],
            shown["isProviderMadeUp"],
            shown["isFailureUnattributed"]
        ]);
        assert_eq!(is, expected, "{all:?}: {shown}");
    }
}

#[test]
fn usage_that_is_fetched_afterwards_counts_once() {
    let response = |call: &str, call_type: &str, tokens: u64, more: &[(&str, Value)]| {
        let mut all = vec![
            ("id", json!("resp_1")),
            ("litellm_call_id", json!(call)),
            ("call_type", json!(call_type)),
            ("prompt_tokens", json!(tokens)),
            ("completion_tokens", json!(tokens)),
            ("total_tokens", json!(2 * tokens)),
        ];
        all.extend(more.iter().cloned());
        payload(&all)
    };
    let background = ("response", json!({"background": true, "status": "queued"}));
    let poll = (
        "metadata.internal_call_origin",
        json!("background_response_cost_poll"),
    );
    let created = response("c-1", "aresponses", 0, &[background]);
    let pending = response("c-2", "aget_responses", 0, std::slice::from_ref(&poll));
    let fetched = response("c-3", "aget_responses", 800, std::slice::from_ref(&poll));
    let again = response("c-4", "aget_responses", 800, std::slice::from_ref(&poll));
    let client = response("c-5", "aget_responses", 800, &[]);
    let other = ("metadata.internal_call_origin", json!("guardrail"));
    let helper = response("c-6", "acompletion", 800, &[other]);
    let body = json!([created, pending, fetched, again, client, helper]).to_string();
    let shown = shown(&outcomes(Format::Litellm, body.as_bytes()));
    assert_eq!(
        told(&shown),
        [
            json!(["anna", 800, null, 800]),
            json!(["same_call", 1]),
            json!(["housekeeping", 1]),
            json!(["gateway_call", 1]),
            json!(["usage_pending", 2]),
        ]
    );
    assert_eq!(shown[0]["event"]["id"], "response/resp_1");
    assert_eq!(shown[0]["event"]["data"]["endpoint"], "/v1/responses");
}

#[test]
fn many_spans_around_one_inference_are_no_reason_to_refuse_it() {
    let mut export = export(&[]);
    let spans = export["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array_mut();
    let spans = spans.expect("spans");
    spans.extend((0..20_000).map(|_| json!({"kind": 2})));
    let found = otlp(&export);
    assert_eq!(
        found,
        [
            json!(["anna", 10, null, 5]),
            json!(["not_inference", 20_000])
        ]
    );
}

#[test]
fn spans_that_share_an_id_and_cannot_be_one_call_are_counted_in_no_time() {
    // A client may write one id into all of its spans.
    let span = |n: u64| {
        let mut body = export(&[
            ("gen_ai.response.id", json!("chatcmpl-0123456789abcdef")),
            ("enduser.id", json!(format!("user-{n}"))),
            (".spanId", json!(format!("{n:016x}"))),
        ]);
        body["resourceSpans"][0]["scopeSpans"][0]["spans"][0].take()
    };
    let mut body = export(&[]);
    body["resourceSpans"][0]["scopeSpans"][0]["spans"] = (1..=9_000).map(span).collect();
    // Compared with each other, they would take minutes here.
    assert_eq!(otlp(&body).len(), 9_000);
}

/// A batch of items of every sort; some are the same call.
fn any_batch() -> impl Strategy<Value = Vec<Value>> {
    let said = (any::<bool>(), 0..3u64, 0..3u64, 0..3u64);
    let item = (0..4u64, 0..3u64, said, prop::option::of(0..2u64)).prop_map(
        |(call, user, (has_tokens, took, written, reasoning), broken)| {
            let tokens = if has_tokens { 100 } else { 0 };
            let mut item = payload(&[
                ("litellm_call_id", json!(format!("call-{call}"))),
                (
                    "metadata.user_api_key_user_id",
                    json!(format!("user-{user}")),
                ),
                ("prompt_tokens", json!(tokens)),
                ("completion_tokens", json!(tokens)),
                ("total_tokens", json!(2 * tokens)),
                ("endTime", json!(1_795_394_970.0 + took as f64)),
                (
                    "metadata.usage_object",
                    json!({"cache_creation_input_tokens": written,
                        "completion_tokens_details": {"reasoning_tokens": reasoning}}),
                ),
            ]);
            match broken {
                Some(0) => item["startTime"] = json!("never"),
                Some(_) => item["call_type"] = json!("get_responses"),
                None => (),
            }
            item
        },
    );
    prop::collection::vec(item, 1..9)
}

/// The events and refusals, whatever their order.
fn as_a_set(batch: &[Value]) -> Vec<String> {
    let body = Value::Array(batch.to_vec()).to_string();
    let outcomes = outcomes(Format::Litellm, body.as_bytes());
    let all = shown(&outcomes);
    let mut texts: Vec<String> = all
        .as_array()
        .expect("a list")
        .iter()
        .map(|outcome| match outcome.get("refused") {
            // Without its place.
            Some(refused) => format!("{} {}", refused[1], outcome["draft"]),
            None => outcome.to_string(),
        })
        .collect();
    texts.sort();
    texts
}

proptest! {
    #[test]
    fn every_item_has_one_outcome_and_their_order_does_not_matter(batch in any_batch().prop_shuffle()) {
        let body = Value::Array(batch.clone()).to_string();
        let outcomes = outcomes(Format::Litellm, body.as_bytes());
        prop_assert_eq!(items(&outcomes), batch.len() as u64);
        let mut sorted = batch.clone();
        sorted.sort_by_key(Value::to_string);
        prop_assert_eq!(as_a_set(&batch), as_a_set(&sorted));
    }

    #[test]
    fn a_broken_item_never_changes_the_others(batch in any_batch(), at in any::<prop::sample::Index>()) {
        let at = at.index(batch.len() + 1);
        let whole: Vec<String> = batch.iter().map(Value::to_string).collect();
        let mut with: Vec<String> = whole.clone();
        with.insert(at, "{\"id\":\"\\x\"}".to_owned());
        let read = |items: &[String]| {
            let body = format!("[{}]", items.join(","));
            let outcomes = outcomes(Format::Litellm, body.as_bytes());
            let texts = shown(&outcomes).as_array().expect("a list").iter().filter(|outcome| outcome.get("refused").is_none()).map(Value::to_string).collect::<Vec<_>>();
            (texts, self::items(&outcomes))
        };
        let ((alone, count), (beside, more)) = (read(&whole), read(&with));
        prop_assert_eq!(alone, beside);
        prop_assert_eq!(count + 1, more);
    }

    #[test]
    fn any_protobuf_of_spans_keeps_the_count(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(outcomes) = read_otlp_protobuf(&bytes, &GatewaySettings::default()) {
            prop_assert!(items(&outcomes) <= bytes.len() as u64);
        }
    }
}
