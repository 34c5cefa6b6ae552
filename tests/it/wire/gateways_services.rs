//! Gateways' calls of services that a marketplace may add: images, transcription, reranking, batches.

use serde_json::{Value, json};
use tidemark::gateways::Format;

use super::gateways::{NEW_API, SUB2API, one, payload};

fn data(changes: &[(&str, Value)]) -> Value {
    one(Format::Litellm, &payload(changes))["event"]["data"].clone()
}

#[test]
fn images_are_counted_as_the_answer_has_them_or_as_they_were_asked_for() {
    let images = ("call_type", json!("aimage_generation"));
    let answer = |count: usize| {
        let images = vec![json!({"b64_json": "SECRET"}); count];
        ("response", json!({"created": 1, "data": images}))
    };
    let asked = |n: Value| ("model_parameters", n);
    for (changes, expected) in [
        (vec![answer(3)], json!(3)),
        (vec![answer(3), asked(json!({"n": 4}))], json!(3)),
        (vec![asked(json!({"n": 4}))], json!(4)),
        (vec![asked(json!({"size": "1024x1024"}))], json!(1)),
        (vec![asked(json!({"n": "four"}))], Value::Null),
        (vec![("model_parameters", Value::Null)], Value::Null),
        (vec![answer(3), ("cache_hit", json!(true))], Value::Null),
        (vec![answer(3), ("status", json!("failure"))], Value::Null),
    ] {
        let mut all = vec![images.clone()];
        all.extend(changes);
        let data = data(&all);
        assert_eq!(data["imageCount"], expected, "{all:?}");
        assert_eq!(data["endpoint"], "/v1/images/generations");
    }
    // A chat is not an image, whatever its answer has.
    assert_eq!(data(&[answer(3)])["imageCount"], Value::Null);
    let all: Vec<Value> = serde_json::from_str(SUB2API).expect("an array");
    let mut row = all[0].clone();
    row["inbound_endpoint"] = json!("/v1/images/generations");
    row["image_count"] = json!(2);
    assert_eq!(one(Format::Sub2Api, &row)["event"]["data"]["imageCount"], 2);
    row["inbound_endpoint"] = json!("/v1/messages");
    row["image_count"] = json!(0);
    assert_eq!(
        one(Format::Sub2Api, &row)["event"]["data"]["imageCount"],
        Value::Null
    );
}

#[test]
fn known_images_are_known_usage() {
    let unknown = [
        ("call_type", json!("aimage_generation")),
        ("prompt_tokens", json!(0)),
        ("completion_tokens", json!(0)),
        ("model_parameters", Value::Null),
    ];
    assert_eq!(
        one(Format::Litellm, &payload(&unknown))["isUsageUnknown"],
        true
    );
    let mut known = unknown.to_vec();
    known.push(("response", json!({"data": [{}]})));
    assert_eq!(
        one(Format::Litellm, &payload(&known))["isUsageUnknown"],
        Value::Null
    );
}

#[test]
fn audio_is_as_long_as_the_answer_says() {
    let transcription = ("call_type", json!("atranscription"));
    for (changes, expected) in [
        (
            vec![("response", json!({"text": "SECRET", "duration": 12.3456}))],
            json!(12_345),
        ),
        (
            vec![(
                "response",
                json!({"usage": {"type": "duration", "seconds": 7}}),
            )],
            json!(7_000),
        ),
        (
            vec![(
                "metadata.usage_object",
                json!({"type": "duration", "seconds": "9.5"}),
            )],
            json!(9_500),
        ),
        (vec![("response", json!({"duration": "long"}))], Value::Null),
        (vec![("response", json!({"duration": -1}))], Value::Null),
    ] {
        let mut all = vec![transcription.clone()];
        all.extend(changes);
        let data = data(&all);
        assert_eq!(data["audioMillis"], expected, "{all:?}");
        assert_eq!(data["endpoint"], "/v1/audio/transcriptions");
    }
}

#[test]
fn a_call_type_names_its_endpoint_without_a_route() {
    let route = ("metadata.user_api_key_request_route", Value::Null);
    for (call, endpoint) in [
        ("arerank", "/v1/rerank"),
        ("amoderation", "/v1/moderations"),
        ("aimage_edit", "/v1/images/edits"),
        ("acreate_video", "/v1/videos"),
        ("aocr", "/v1/ocr"),
        ("_arealtime", "/_arealtime"),
    ] {
        let data = data(&[("call_type", json!(call)), route.clone()]);
        assert_eq!(data["endpoint"], endpoint, "{call}");
    }
    for call in [
        "avideo_content",
        "alist_containers",
        "acreate_fine_tuning_job",
        "afile_list",
        "a_add_message",
        "list_mcp_tools",
    ] {
        let is = one(Format::Litellm, &payload(&[("call_type", json!(call))]));
        assert_eq!(is, json!({"skipped": "housekeeping", "items": 1}), "{call}");
    }
}

#[test]
fn what_ends_later_is_of_the_service_that_it_was_and_may_fail() {
    // LiteLLM's job, as it is: it does not say that no client made the call, but names no route.
    let batch = [
        ("call_type", json!("aretrieve_batch")),
        ("metadata.user_api_key_request_route", Value::Null),
        ("id", json!("batch_abc123")),
        ("model", json!("text-embedding-3-small")),
    ];
    assert_eq!(data(&batch)["endpoint"], "/v1/embeddings");
    let named = ("response.endpoint", json!("/v1/chat/completions"));
    let named = [&batch[..], &[named]].concat();
    assert_eq!(data(&named)["endpoint"], "/v1/chat/completions");
    let ids = [&batch[..], &named].map(|changes| {
        let again = [changes, &[("litellm_call_id", json!("another"))]].concat();
        one(Format::Litellm, &payload(&again))["event"]["id"].clone()
    });
    assert_eq!(ids[0], ids[1]);
    let failed = |background: bool, origin: Value| {
        payload(&[
            ("call_type", json!("aget_responses")),
            ("metadata.internal_call_origin", origin),
            ("prompt_tokens", json!(0)),
            ("completion_tokens", json!(0)),
            (
                "response",
                json!({"background": background, "status": "failed"}),
            ),
        ])
    };
    let poll = json!("background_response_cost_poll");
    for item in [failed(false, poll), failed(true, Value::Null)] {
        let is = one(Format::Litellm, &item);
        assert_eq!(is["event"]["data"]["statusCode"], 500, "{is}");
    }
    let is = one(Format::Litellm, &failed(false, Value::Null));
    assert_eq!(is["skipped"], "housekeeping");
    // One that was cut short was paid for.
    let incomplete = data(&[
        ("call_type", json!("aget_responses")),
        (
            "response",
            json!({"background": true, "status": "incomplete"}),
        ),
    ]);
    assert_eq!(incomplete["statusCode"], 200);
}

#[test]
fn a_failure_names_its_deployment_wherever_the_version_writes_it() {
    let failure = [
        ("status", json!("failure")),
        ("model_id", Value::Null),
        ("custom_llm_provider", Value::Null),
        ("hidden_params", Value::Null),
    ];
    let with = |path: &str, value: Value| {
        let mut all = failure.to_vec();
        all.push((path, value));
        data(&all)["providerId"].clone()
    };
    assert_eq!(
        with("hidden_params", json!({"model_id": "prov-9"})),
        "prov-9"
    );
    assert_eq!(
        with("error_information", json!({"llm_provider": "azure"})),
        "azure"
    );
    // Ids that were made up, with and without hyphens.
    for id in ["ab12".repeat(8), "AB12".repeat(10), "ab12".repeat(16)] {
        let is = one(Format::Litellm, &payload(&[("model_id", json!(id))]));
        assert_eq!(is["isProviderMadeUp"], true, "{id}");
    }
}

#[test]
fn rows_of_the_table_name_the_channel_by_its_column() {
    let all: Vec<Value> = serde_json::from_str(NEW_API).expect("an array");
    let mut row = all[0].clone();
    let channel = row["channel"].take();
    row.as_object_mut().expect("an object").remove("channel");
    row["channel_id"] = channel;
    assert_eq!(
        one(Format::NewApi, &row)["event"]["data"]["providerId"],
        "7"
    );
    row["other"] = json!(json!({"violation_fee": true}).to_string());
    row["prompt_tokens"] = json!(0);
    row["completion_tokens"] = json!(0);
    assert_eq!(one(Format::NewApi, &row)["skipped"], "housekeeping");
}

#[test]
fn a_response_that_is_fetched_again_is_the_same_under_whichever_id() {
    let id = |id: &str, response: Value| {
        let item = payload(&[
            ("call_type", json!("aget_responses")),
            ("id", json!(id)),
            ("model", json!("openai/any-other")),
            ("response", response),
        ]);
        one(Format::Litellm, &item)["event"].clone()
    };
    let ended = |output: Value| json!({"background": true, "status": "completed", "created_at": 1795394966, "model": "gpt-4o", "output": output});
    // What LiteLLM 1.106 makes of an id, two times.
    let (one, two) = (
        format!("resp_{}", "aB_-".repeat(81)),
        format!("resp_{}", "Cd-_".repeat(81)),
    );
    let message = json!([{"type": "message", "id": "msg_68b1", "content": "SECRET"}]);
    for output in [message, json!([]), json!("redacted-by-litellm")] {
        let (one, two) = (
            id(&one, ended(output.clone())),
            id(&two, ended(output.clone())),
        );
        assert_eq!(one, two, "{output}");
        assert!(!one.to_string().contains("SECRET"));
        assert_eq!(one["data"]["model"], "gpt-4o");
    }
    let wrapped = "resp_bGl0ZWxsbTpjdXN0b21fbGxtX3Byb3ZpZGVyOm9wZW5haTttb2RlbF9pZDpwcm92LTk7cmVzcG9uc2VfaWQ6cmVzcF8wMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMg==";
    let event = id(wrapped, ended(json!([])));
    assert_eq!(
        event["id"],
        "response/resp_00000000000000000000000000000002"
    );
    assert_eq!(
        id("resp_68b1", ended(json!([])))["id"],
        "response/resp_68b1"
    );
}

#[test]
fn images_and_written_tokens_are_read_as_litellm_1_106_writes_them() {
    let image = data(&[
        ("call_type", json!("aimage_generation")),
        ("metadata.usage_object", json!({"output_image_count": 2})),
        ("model_parameters", json!({"n": 3})),
    ]);
    assert_eq!(image["imageCount"], 2);
    let written = data(&[
        ("prompt_tokens", json!(150)),
        (
            "metadata.usage_object",
            json!({"prompt_tokens_details": {"cache_write_tokens": 20, "cached_tokens": 100}}),
        ),
    ]);
    assert_eq!(written["cacheWriteTokens"], 20);
}
