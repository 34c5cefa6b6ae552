//! What a real LiteLLM proxy posted for each kind of call, as `tests/servers/litellm capture` wrote
//! it down, and what it becomes. Its prompts and keys say SECRET. The providers behind it were mocks
//! that report 1,200 input tokens (1,000 of them cached) and 30 output tokens of a chat, 130 of a
//! response (100 of them reasoning).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidemark::gateways::Format;

use super::gateways::{outcomes, shown};

/// The version of LiteLLM stands in the folder's name.
const FOLDER: &str = "tests/it/wire/fixtures/litellm_1.106.2";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER)
}

fn names() -> BTreeSet<String> {
    let entries = fs::read_dir(folder()).expect("the fixtures");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.into_string().expect("UTF-8"));
    let fixtures = names.filter(|name| !name.ends_with(".out.json"));
    fixtures
        .map(|name| name.trim_end_matches(".json").to_owned())
        .collect()
}

fn of(name: &str) -> Value {
    let body = fs::read(folder().join(format!("{name}.json"))).expect("a fixture");
    shown(&outcomes(Format::Litellm, &body))
}

#[test]
fn what_a_litellm_proxy_really_posts_becomes_what_stands_beside_it() {
    for name in names() {
        let is = of(&name);
        let golden = folder().join(format!("{name}.out.json"));
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

/// The events of a call: endpoint, status, input, cached, cache-writing, output and reasoning tokens.
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

/// However often a call is reported (failures and background responses are, several times), it is one
/// event with what the provider said.
#[test]
fn each_call_is_one_event_with_what_its_provider_reported() {
    const CHAT: &str = "/v1/chat/completions";
    let cached = |endpoint: &str, output: u32, reasoning: Option<u32>| {
        json!([endpoint, 200, 1200, 1000, null, output, reasoning])
    };
    // Anthropic counts cached and cache-writing tokens beside the input.
    let anthropic = |endpoint: &str| json!([endpoint, 200, 1250, 1000, 50, 30, null]);
    let failed =
        |endpoint: &str, status: u16| json!([endpoint, status, null, null, null, null, null]);
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
        // Queued, polled while it worked, and polled twice when it was done.
        (
            "responses_background",
            cached("/v1/responses", 130, Some(100)),
        ),
        (
            "embeddings",
            json!(["/v1/embeddings", 200, 9, null, null, 0, null]),
        ),
        (
            "images",
            json!(["/v1/images/generations", 200, 12, 0, null, 4160, null]),
        ),
        ("moderation", failed("/v1/moderations", 200)),
        ("rerank", failed("/v1/rerank", 200)),
        ("transcription", failed("/v1/audio/transcriptions", 200)),
        ("speech", failed("/v1/audio/speech", 200)),
        ("failure_429", failed(CHAT, 429)),
        ("failure_500", failed(CHAT, 500)),
        ("failure_400", failed(CHAT, 400)),
        ("failure_timeout", failed(CHAT, 408)),
        ("failure_unknown_model", failed(CHAT, 400)),
        ("failure_messages_500", failed("/v1/messages", 500)),
        ("failure_responses_500", failed("/v1/responses", 500)),
        // LiteLLM reports no usage of calls that it only passes through to OpenAI.
        (
            "passthrough_openai",
            failed("/openai/v1/chat/completions", 200),
        ),
        ("passthrough_anthropic", anthropic("/anthropic/v1/messages")),
    ];
    for (name, expected) in &rows {
        assert_eq!(events(name), std::slice::from_ref(expected), "{name}");
    }
    // The second answer came from the gateway's cache: nobody served it, and nothing was computed.
    let hit = json!([CHAT, 200, 0, null, null, 0, null]);
    assert_eq!(events("chat_cache_hit"), [cached(CHAT, 30, None), hit]);
    // A key without a user: it is kept as a reject.
    assert_eq!(events("chat_nobody"), Vec::<Value>::new());
    let known = rows.iter().map(|(name, _)| (*name).to_owned());
    let known = known.chain(["chat_cache_hit", "chat_nobody"].map(str::to_owned));
    assert_eq!(names(), known.collect());
}

#[test]
fn what_was_heard_or_drawn_is_counted_by_its_own_measure() {
    for (name, field, expected) in [
        ("transcription", "audioMillis", 13_000),
        ("images", "imageCount", 2),
    ] {
        let is = of(name);
        assert_eq!(is[0]["event"]["data"][field], expected, "{name}");
    }
}

/// Who served it is the operator's id of the deployment, else the vendor; nobody, where no deployment
/// was chosen or the answer came from the cache.
#[test]
fn the_provider_is_the_deployment_that_the_operator_named() {
    for (name, at, expected) in [
        ("chat", 0, json!("prov-9")),
        ("rerank", 0, json!("prov-5-rerank-v3.5")),
        ("responses_background", 0, json!("prov-9-o4-mini")),
        ("failure_500", 0, json!("prov-9-broken")),
        ("chat_unnamed_deployment", 0, json!("openai")),
        ("passthrough_anthropic", 0, json!("anthropic")),
        ("failure_unknown_model", 0, Value::Null),
        ("chat_cache_hit", 1, Value::Null),
    ] {
        let is = of(name);
        assert_eq!(is[at]["event"]["data"]["providerId"], expected, "{name}");
    }
}
