//! What the `otel` callback of a real LiteLLM proxy exported for each kind of call, as
//! `tests/servers/litellm capture-otel` wrote it down, and what it becomes. Its prompts and keys
//! say SECRET. The folders are the ways in which the callback can be set up; the providers were
//! those of `gateways_litellm_real`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidemark::gateways::{Format, GatewaySettings, Outcomes, read_otlp_protobuf};
use tidemark::ops::config::CachedTokens;

use super::gateways::{items, one, outcomes, shown};
use super::gateways_otlp::export;

/// The version of LiteLLM stands in the folder's name.
const FOLDER: &str = "tests/it/wire/fixtures/litellm_otel_1.106.2";
const CHAT: &str = "/v1/chat/completions";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER)
}

/// The fixtures of a folder, by their names.
fn names(mode: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder().join(mode)).expect("the fixtures");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.into_string().expect("UTF-8"));
    names
        .filter_map(|name| name.strip_suffix(".pb").map(str::to_owned))
        .collect()
}

fn read_with(settings: &GatewaySettings, name: &str) -> Outcomes {
    let body = fs::read(folder().join(format!("{name}.pb"))).expect("a fixture");
    read_otlp_protobuf(&body, settings).expect("an export request")
}

fn of(name: &str) -> Value {
    shown(&read_with(&GatewaySettings::default(), name))
}

#[test]
fn what_litellms_otel_callback_really_exports_becomes_what_stands_beside_it() {
    let modes = fs::read_dir(folder()).expect("the folders");
    let modes = modes.map(|entry| entry.expect("an entry").file_name());
    let mut seen = 0;
    for mode in modes.map(|mode| mode.into_string().expect("UTF-8")) {
        for name in names(&mode) {
            seen += 1;
            let name = format!("{mode}/{name}");
            let is = of(&name);
            let golden = folder().join(format!("{name}.pb.out.json"));
            if std::env::var_os("UPDATE_FIXTURES").is_some() {
                let text = serde_json::to_string_pretty(&is).expect("JSON") + "\n";
                fs::write(&golden, text).expect("the golden file is written");
            }
            let must = fs::read(&golden).expect("a golden file");
            let must: Value = serde_json::from_slice(&must).expect("JSON");
            assert_eq!(is, must, "{name}");
            assert!(!is.to_string().contains("SECRET"), "{name}");
        }
    }
    assert_eq!(seen, 58);
}

/// The events of a call: endpoint, status, input, cached, cache-writing, output and reasoning
/// tokens.
fn events(name: &str) -> Vec<Value> {
    let is = of(name);
    let outcomes = is.as_array().expect("a list").iter();
    let events = outcomes.filter_map(|outcome| outcome.get("event"));
    let fields = |event: &Value| {
        let data = &event["data"];
        json!([
            data["endpoint"],
            data["statusCode"],
            data["inputTokens"],
            data["cachedInputTokens"],
            data["cacheWriteTokens"],
            data["outputTokens"],
            data["reasoningTokens"],
        ])
    };
    events.map(fields).collect()
}

/// LiteLLM writes several spans for a call, and FastAPI others around them.
#[test]
fn each_call_is_one_event_with_what_its_provider_reported() {
    let cached = |endpoint: &str, output: u32, reasoning: Option<u32>| {
        json!([endpoint, 200, 1200, 1000, null, output, reasoning])
    };
    // Anthropic counts cached and cache-writing tokens beside the input; LiteLLM adds them.
    let anthropic = |endpoint: &str| json!([endpoint, 200, 1250, 1000, 50, 30, null]);
    let uncounted =
        |endpoint: &str, status: u16| json!([endpoint, status, null, null, null, null, null]);
    let embeddings = json!(["/v1/embeddings", 200, 9, null, null, 0, null]);
    let images = json!(["/v1/images/generations", 200, 12, 0, null, 4160, null]);
    let rows = [
        ("chat", cached(CHAT, 30, None)),
        ("chat_stream", cached(CHAT, 30, None)),
        ("chat_stream_with_usage", cached(CHAT, 30, None)),
        ("chat_reasoning", cached(CHAT, 30, Some(20))),
        ("chat_end_user", cached(CHAT, 30, None)),
        ("chat_unnamed_deployment", cached(CHAT, 30, None)),
        ("chat_anthropic", anthropic(CHAT)),
        ("chat_anthropic_stream", anthropic(CHAT)),
        ("completions", cached("/v1/completions", 30, None)),
        ("messages", anthropic("/v1/messages")),
        ("messages_stream", anthropic("/v1/messages")),
        ("messages_of_openai", cached("/v1/messages", 130, Some(100))),
        ("responses", cached("/v1/responses", 130, Some(100))),
        ("responses_stream", cached("/v1/responses", 130, Some(100))),
        // Spans do not say that it goes on in the background; what polls find is not the call's.
        ("responses_background", uncounted("/v1/responses", 200)),
        ("embeddings", embeddings.clone()),
        ("images", images.clone()),
        ("moderation", uncounted("/v1/moderations", 200)),
        ("rerank", uncounted("/v1/rerank", 200)),
        ("transcription", uncounted("/v1/audio/transcriptions", 200)),
        ("speech", uncounted("/v1/audio/speech", 200)),
        ("failure_429", uncounted(CHAT, 429)),
        ("failure_500", uncounted(CHAT, 500)),
        ("failure_400", uncounted(CHAT, 400)),
        ("failure_timeout", uncounted(CHAT, 408)),
        ("failure_unknown_model", uncounted(CHAT, 400)),
        ("failure_messages_500", uncounted("/v1/messages", 500)),
        ("failure_responses_500", uncounted("/v1/responses", 500)),
        (
            "passthrough_openai",
            uncounted("/openai/v1/chat/completions", 200),
        ),
        ("passthrough_anthropic", anthropic("/anthropic/v1/messages")),
    ];
    for (name, expected) in &rows {
        let events = events(&format!("default/{name}"));
        assert_eq!(events, std::slice::from_ref(expected), "{name}");
    }
    // The second answer came from the gateway's cache: nothing was computed.
    let hit = json!([CHAT, 200, 0, null, null, 0, null]);
    let both = events("default/chat_cache_hit");
    assert_eq!(both, [cached(CHAT, 30, None), hit]);
    // A key without a user: it is kept as a reject.
    assert_eq!(events("default/chat_nobody"), Vec::<Value>::new());
    let known = rows.iter().map(|(name, _)| (*name).to_owned());
    let known = known.chain(["chat_cache_hit", "chat_nobody"].map(str::to_owned));
    assert_eq!(names("default"), known.collect());
    // However the callback is set up, the counts are the same; the successor has no reasoning.
    for mode in ["no_content", "latest", "v2"] {
        let reasoning = (mode != "v2").then_some(100);
        for (name, expected) in [
            ("chat", cached(CHAT, 30, None)),
            ("chat_stream", cached(CHAT, 30, None)),
            ("chat_anthropic", anthropic(CHAT)),
            ("messages", anthropic("/v1/messages")),
            ("responses", cached("/v1/responses", 130, reasoning)),
            ("embeddings", embeddings.clone()),
            ("images", images.clone()),
            ("failure_500", uncounted(CHAT, 500)),
        ] {
            assert_eq!(
                events(&format!("{mode}/{name}")),
                [expected],
                "{mode}/{name}"
            );
        }
    }
    // Without a span of its own there is nothing to count: docs/wire.md says how to get one.
    assert_eq!(events("custom_auth/chat"), Vec::<Value>::new());
    let own_span = events("custom_auth_own_span/chat");
    assert_eq!(own_span, [cached(CHAT, 30, None)]);
}

#[test]
fn the_provider_is_the_deployment_that_the_operator_named() {
    for (name, at, expected) in [
        ("default/chat", 0, json!("prov-9")),
        ("default/rerank", 0, json!("prov-5-rerank-v3.5")),
        ("default/responses", 0, json!("prov-9-o4-mini")),
        (
            "latest/embeddings",
            0,
            json!("prov-9-text-embedding-3-small"),
        ),
        // Where LiteLLM does not say which deployment it was, or made its id up: the vendor.
        ("default/failure_500", 0, json!("openai")),
        ("default/failure_responses_500", 0, json!("openai")),
        ("default/messages_stream", 0, json!("anthropic")),
        ("default/chat_unnamed_deployment", 0, json!("openai")),
        ("v2/messages", 0, json!("anthropic")),
        ("default/failure_unknown_model", 0, Value::Null),
        ("default/chat_cache_hit", 1, Value::Null),
    ] {
        let is = of(name);
        assert_eq!(is[at]["event"]["data"]["providerId"], expected, "{name}");
    }
    let mut settings = GatewaySettings::default();
    let mapping = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        pairs
            .map(|(name, account)| ((*name).to_owned(), (*account).to_owned()))
            .collect()
    };
    settings.providers = mapping(&[("limited", "prov-1")]);
    let is = shown(&read_with(&settings, "default/failure_429"));
    assert_eq!(is[0]["event"]["data"]["providerId"], "prov-1");
    // A vendor is mapped where nothing better is known.
    settings.providers = mapping(&[("limited", "prov-1"), ("openai", "prov-2")]);
    for (name, expected) in [
        ("default/chat", "prov-9"),
        ("default/failure_500", "prov-2"),
        ("default/chat_unnamed_deployment", "prov-2"),
        ("v2/chat", "prov-2"),
    ] {
        let is = shown(&read_with(&settings, name));
        assert_eq!(is[0]["event"]["data"]["providerId"], expected, "{name}");
        assert_eq!(is[0].get("isFailureUnattributed"), None, "{name}");
    }
    assert_eq!(of("default/failure_500")[0]["isFailureUnattributed"], true);
    assert_eq!(
        of("default/chat_unnamed_deployment")[0]["isProviderMadeUp"],
        true
    );
}

#[test]
fn what_was_heard_or_drawn_is_counted_by_its_own_measure() {
    for (name, field, expected) in [
        ("transcription", "audioMillis", 13_000),
        ("images", "imageCount", 2),
    ] {
        let is = of(&format!("default/{name}"));
        assert_eq!(is[0]["event"]["data"][field], expected, "{name}");
    }
}

/// The user of a span of LiteLLM's with these settings, or the reason why there is none.
fn user(settings: &GatewaySettings, name: &str) -> Value {
    let is = shown(&read_with(settings, name));
    match is[0].get("event") {
        Some(event) => event["subject"].clone(),
        None => is[0]["refused"][1].clone(),
    }
}

#[test]
fn the_user_is_the_keys_and_no_client_chooses_another() {
    let default = GatewaySettings::default();
    for name in ["default/chat", "v2/chat", "default/chat_end_user"] {
        assert_eq!(user(&default, name), "anna", "{name}");
    }
    assert_eq!(user(&default, "default/chat_nobody"), "missing_field");
    let customers = GatewaySettings {
        litellm_user: ["end_user", "metadata.user_api_key_user_id"]
            .map(str::to_owned)
            .to_vec(),
        ..GatewaySettings::default()
    };
    assert_eq!(user(&customers, "default/chat_end_user"), "customer-7");
    assert_eq!(user(&customers, "default/chat"), "anna");
    // What an operator has set for all spans comes first.
    let own = GatewaySettings {
        otlp_user: vec!["metadata.user_api_key_end_user_id".to_owned()],
        ..GatewaySettings::default()
    };
    assert_eq!(user(&own, "default/chat_end_user"), "customer-7");
    assert_eq!(user(&own, "default/chat"), "anna");
}

fn litellm(changes: &[(&str, Value)]) -> Value {
    let named = [
        ("litellm.call_id", json!("call-1")),
        ("enduser.id", Value::Null),
        ("metadata.user_api_key_user_id", json!("anna")),
        ("gen_ai.operation.name", json!("acompletion")),
    ];
    export(&[&named[..], changes].concat())
}

#[test]
fn an_attribute_of_litellms_means_this() {
    let event = |changes: &[(&str, Value)]| {
        let is = one(Format::Otlp, &litellm(changes));
        assert!(is.get("event").is_some(), "{changes:?}: {is}");
        is["event"].clone()
    };
    // Some of LiteLLM's spans take what a client says as the user.
    let named = [("user.id", json!("ben")), ("llm.user", json!("ben"))];
    assert_eq!(event(&named)["subject"], "anna");
    for place in ["user.id", "enduser.id", "llm.user", "litellm.end_user.id"] {
        let nobody = [
            ("metadata.user_api_key_user_id", json!("")),
            (place, json!("ben")),
        ];
        let is = one(Format::Otlp, &litellm(&nobody));
        assert_eq!(is["refused"][1], "missing_field", "{place}: {is}");
    }
    let master = [("metadata.user_api_key_user_id", json!("default_user_id"))];
    let is = one(Format::Otlp, &litellm(&master));
    assert_eq!(is["refused"][1], "missing_field", "{is}");
    // Its attributes may be on the span of a server that was around the call.
    assert_eq!(event(&[(".kind", json!(2))])["subject"], "anna");
    // A call id that a client chose is not the provider's id of a response.
    let chosen = "0123456789abcdef0123456789abcdef";
    let same = [
        ("litellm.call_id", json!(chosen)),
        ("gen_ai.response.id", json!(chosen)),
    ];
    let id = event(&same)["id"].clone();
    assert_eq!(id, "5b8efff798038103d269b633813fc60c/eee19b7ec3c1b174");
    for (call, endpoint) in [
        ("completion", CHAT),
        ("acompletion", CHAT),
        ("aresponses", "/v1/responses"),
        ("anthropic_messages", "/v1/messages"),
        ("agenerate_content_stream", CHAT),
        ("aembedding", "/v1/embeddings"),
        ("atranscription", "/v1/audio/transcriptions"),
    ] {
        for name in [
            "gen_ai.operation.name",
            "llm.request.type",
            "litellm.call_type",
        ] {
            let event = event(&[(name, json!(call))]);
            assert_eq!(event["data"]["endpoint"], endpoint, "{name} {call}");
        }
    }
    // The call type may be all that tells a call from other spans.
    let only = [
        ("gen_ai.operation.name", Value::Null),
        ("gen_ai.usage.input_tokens", Value::Null),
        ("gen_ai.usage.output_tokens", Value::Null),
        ("litellm.call_type", json!("aembedding")),
    ];
    assert_eq!(event(&only)["data"]["endpoint"], "/v1/embeddings");
    // What LiteLLM's cache answers has the id of the call that filled it.
    let response = ("gen_ai.response.id", json!("chatcmpl-0123456789abcdef"));
    let hit = [
        response.clone(),
        ("hidden_params", json!(r#"{"cache_key": "k"}"#)),
    ];
    let (called, hit) = (event(&[response]), event(&hit));
    assert_ne!(called["id"], hit["id"]);
    assert_eq!(
        hit["id"],
        "5b8efff798038103d269b633813fc60c/eee19b7ec3c1b174"
    );
    // The newest conventions call all of them chat.
    let drawn = [
        ("gen_ai.operation.name", json!("chat")),
        ("llm.request.type", json!("aimage_generation")),
    ];
    let endpoint = event(&drawn)["data"]["endpoint"].clone();
    assert_eq!(endpoint, "/v1/images/generations");
    // In a span of another instrumentation, the same word is text completion.
    let other = export(&[("gen_ai.operation.name", json!("completion"))]);
    let is = one(Format::Otlp, &other);
    assert_eq!(is["event"]["data"]["endpoint"], "/v1/completions");
}

#[test]
fn what_litellm_does_by_itself_is_skipped() {
    for (changes, reason) in [
        (
            vec![("gen_ai.operation.name", json!("aget_responses"))],
            "housekeeping",
        ),
        (
            vec![("gen_ai.operation.name", json!("avector_store_search"))],
            "housekeeping",
        ),
        (
            vec![(
                "metadata.internal_call_origin",
                json!("background_response_cost_poll"),
            )],
            "gateway_call",
        ),
        (
            vec![("litellm.request.purpose", json!("autorouter_classifier"))],
            "gateway_call",
        ),
        (
            vec![
                (
                    "metadata.user_api_key_alias",
                    json!("litellm-internal-health-check"),
                ),
                ("metadata.user_api_key_user_id", json!("")),
            ],
            "health_check",
        ),
        (
            vec![("gen_ai.operation.name", json!("execute_tool"))],
            "not_inference",
        ),
        (
            vec![("gen_ai.operation.name", json!("a_new_type"))],
            "unknown_operation",
        ),
    ] {
        let is = one(Format::Otlp, &litellm(&changes));
        assert_eq!(is["skipped"], reason, "{changes:?}: {is}");
    }
}

/// An SDK may cut the texts in which LiteLLM writes objects. What was cached costs less, and who
/// served stands there, too: a span without them must not count as if there were nothing.
#[test]
fn a_text_that_should_hold_an_object_says_nothing_or_refuses_its_span() {
    let with = |name: &str, text: &str| {
        let changes = [
            (name, json!(text)),
            ("gen_ai.system", json!("openai")),
            ("gen_ai.usage.input_tokens", json!(1200)),
        ];
        one(Format::Otlp, &litellm(&changes))
    };
    for name in ["metadata.usage_object", "hidden_params"] {
        for text in [
            "",
            " ",
            "None",
            "-",
            "null",
            "{}",
            r"{'a': 'it\'s'}",
            // Numbers that nobody needs.
            r#"{"response_cost": NaN}"#,
            "{'cost': nan, 'limit': -inf}",
        ] {
            let is = with(name, text);
            let data = &is["event"]["data"];
            assert_eq!(data["inputTokens"], 1200, "{name}={text}: {is}");
            assert_eq!(data["providerId"], "openai", "{name}={text}: {is}");
        }
        for text in [
            "{",
            "{'prompt_tok",
            "{'a': {'b': 1}",
            "Usage(cached_tokens=4)",
            "[1]",
            r#""{\"cached\": 1}""#,
        ] {
            let is = with(name, text);
            assert_eq!(is["refused"][1], "malformed", "{name}={text}: {is}");
            assert!(is["refused"].to_string().contains(name), "{text}: {is}");
        }
    }
    // A failure is nobody's charge, and must be somebody's.
    let failed = [
        ("metadata.usage_object", json!("{'cut")),
        ("error.type", json!("APIError")),
        ("gen_ai.system", json!("openai")),
    ];
    let is = one(Format::Otlp, &litellm(&failed));
    assert_eq!(is["event"]["data"]["statusCode"], 500, "{is}");
    let object =
        json!({"kvlistValue": {"values": [{"key": "model_id", "value": {"stringValue": "d"}}]}});
    let is = one(Format::Otlp, &litellm(&[("hidden_params", object)]));
    assert_eq!(is["refused"][1], "malformed", "{is}");
    let told = r"{'note': 'it\'s', 'prompt_tokens_details': {'cached_tokens': 1000}}";
    let is = with("metadata.usage_object", told);
    assert_eq!(is["event"]["data"]["cachedInputTokens"], 1000, "{is}");
}

#[test]
fn a_span_with_litellms_attributes_is_litellms_also_if_its_scope_cannot_be_read() {
    let provider = |scope: Value| {
        let mut body = litellm(&[
            ("litellm.call_id", Value::Null),
            ("gen_ai.system", json!("openai")),
            ("hidden_params", json!(r#"{"model_id": "dep-1"}"#)),
        ]);
        body["resourceSpans"][0]["scopeSpans"][0]["scope"] = scope;
        let is = one(Format::Otlp, &body);
        is["event"]["data"]["providerId"].clone()
    };
    for (scope, expected) in [
        (json!({"name": "litellm"}), json!("dep-1")),
        (json!({"name": 5}), json!("dep-1")),
        (json!("litellm"), json!("dep-1")),
        // Of another instrumentation, its words mean what the conventions say.
        (json!({"name": "somebodys"}), Value::Null),
    ] {
        assert_eq!(provider(scope.clone()), expected, "{scope}");
    }
}

#[test]
fn litellm_counts_cached_tokens_inside_unless_it_is_an_old_version() {
    let cached = litellm(&[
        ("gen_ai.system", json!("anthropic")),
        ("gen_ai.usage.input_tokens", json!(1120)),
        (
            "metadata.usage_object",
            json!("{'cache_read_input_tokens': 1000, 'cache_creation_input_tokens': 20}"),
        ),
    ]);
    let is = one(Format::Otlp, &cached);
    assert_eq!(is["event"]["data"]["inputTokens"], 1120, "{is}");
    let old = GatewaySettings {
        litellm_cached_tokens: CachedTokens::Outside,
        ..GatewaySettings::default()
    };
    let read = tidemark::gateways::read(
        Format::Otlp,
        cached.to_string().as_bytes(),
        super::gateways::RECEIVED,
        &old,
    );
    let is = shown(&read.expect("an export"));
    assert_eq!(is[0]["event"]["data"]["inputTokens"], 2140, "{is}");
}

/// JSON has the same spans as protobuf.
#[test]
fn a_scope_of_litellms_is_known_in_json_too() {
    let mut body = export(&[
        ("enduser.id", Value::Null),
        ("metadata.user_api_key_user_id", json!("anna")),
        ("gen_ai.operation.name", Value::Null),
        ("llm.request.type", json!("aspeech")),
    ]);
    body["resourceSpans"][0]["scopeSpans"][0]["scope"] = json!({"name": "litellm"});
    let outcomes = outcomes(Format::Otlp, body.to_string().as_bytes());
    assert_eq!(items(&outcomes), 1);
    let is = shown(&outcomes);
    assert_eq!(
        is[0]["event"]["data"]["endpoint"], "/v1/audio/speech",
        "{is}"
    );
}
