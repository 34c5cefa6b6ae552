//! How items are strung together, and what clients put into the fields that name users and models.

use serde_json::{Value, json};
use tidemark::gateways::{Format, GatewaySettings, Outcome, read};

use super::adapt;
use super::adapt_rows::{least, with};
use super::gateways::{
    LITELLM, NEW_API, OPENMETER, RECEIVED, SUB2API, is_refused, items, one, outcomes, payload,
    shown,
};
use super::gateways_otlp::export;

/// How many events come out of a body.
fn events(format: Format, body: &str) -> usize {
    let outcomes = outcomes(format, body.as_bytes());
    let events = outcomes.kept.values();
    events
        .filter(|outcome| matches!(outcome, Outcome::Event(_)))
        .count()
}

#[test]
fn items_in_a_row_are_read_whatever_is_between_them() {
    for (format, fixture) in [
        (Format::Litellm, LITELLM),
        (Format::NewApi, NEW_API),
        (Format::Sub2Api, SUB2API),
        (Format::LitellmOpenmeter, OPENMETER),
    ] {
        let all: Vec<Value> = serde_json::from_str(fixture).expect("an array");
        let compact: Vec<String> = all.iter().map(Value::to_string).collect();
        let pretty = all
            .iter()
            .map(|item| serde_json::to_string_pretty(item).expect("JSON"));
        let pretty: Vec<String> = pretty.collect();
        let expected = shown(&outcomes(format, fixture.as_bytes()));
        for body in [
            compact.join("\n"),
            compact.concat(),
            compact.join(" "),
            pretty.join("\n"),
            format!("\u{feff}{fixture}"),
            format!("\u{feff}{}", compact.join("\r\n")),
        ] {
            let is = shown(&outcomes(format, body.as_bytes()));
            assert_eq!(is, expected, "{format:?}: {body:.40}");
        }
    }
}

#[test]
fn a_page_of_the_gateways_own_api_is_a_list_of_items() {
    for (format, fixture) in [(Format::NewApi, NEW_API), (Format::Sub2Api, SUB2API)] {
        let all: Value = serde_json::from_str(fixture).expect("an array");
        let expected = shown(&outcomes(format, fixture.as_bytes()));
        for page in [
            json!({"success": true, "message": "", "data": {"page": 1, "items": all}}),
            json!({"code": 0, "data": all}),
        ] {
            let is = shown(&outcomes(format, page.to_string().as_bytes()));
            assert_eq!(is, expected, "{format:?}");
        }
    }
    // A gateway without such pages has no lists in its items.
    let wrapped = json!({"data": [payload(&[])]}).to_string();
    assert_eq!(events(Format::Litellm, &wrapped), 0);
}

#[test]
fn export_requests_follow_one_another() {
    let span = |id: &str| export(&[(".spanId", json!(id))]);
    let (one, two) = (span("eee19b7ec3c1b174"), span("eee19b7ec3c1b175"));
    let pretty = |export: &Value| serde_json::to_string_pretty(export).expect("JSON");
    for (body, taken) in [
        (format!("{one}\n{two}\n"), 2),
        (format!("{one}\r\n\r\n{two}"), 2),
        (format!("{one}{two}"), 2),
        (format!("{}\n{}", pretty(&one), pretty(&two)), 2),
        (format!("\u{feff}{one}"), 1),
        (format!("{one}\n{{\"resourceSpans\":[{{\"a\":\"\n{two}"), 2),
        (format!("{one}\n7\n{two}"), 2),
    ] {
        assert_eq!(events(Format::Otlp, &body), taken, "{body:.60}");
    }
    // Nothing is lost without a trace: what is left behind a request is kept as a reject.
    let outcomes = outcomes(Format::Otlp, format!("{one} 7").as_bytes());
    assert_eq!(items(&outcomes), 2);
}

#[test]
fn an_export_in_other_names_is_not_an_empty_export() {
    let spans = export(&[])["resourceSpans"][0]["scopeSpans"][0]["spans"].clone();
    for body in [
        json!({"resource_spans": [{"scope_spans": [{"spans": spans}]}]}),
        json!({"batches": [{"scopeSpans": [{"spans": spans}]}]}),
        json!({"resourceMetrics": []}),
    ] {
        let settings = GatewaySettings::default();
        let read = read(
            Format::Otlp,
            body.to_string().as_bytes(),
            RECEIVED,
            &settings,
        );
        assert!(read.is_err(), "{body}");
    }
    let good = export(&[])["resourceSpans"][0].clone();
    for bad in [
        json!({"instrumentationLibrarySpans": [{"spans": spans}]}),
        json!({"scopeSpans": [{"Spans": spans}]}),
    ] {
        let body = json!({"resourceSpans": [good, bad]}).to_string();
        let outcomes = outcomes(Format::Otlp, body.as_bytes());
        assert_eq!(
            (events(Format::Otlp, &body), items(&outcomes)),
            (1, 2),
            "{bad}"
        );
    }
}

/// What gateways and SDKs write where they know nothing.
const NOTHING: [&str; 10] = [
    "",
    " ",
    "-",
    "none",
    "None",
    "null",
    "unset",
    "UNSPECIFIED",
    "unknown",
    "N/A",
];

#[test]
fn a_word_for_nothing_is_nothing_in_every_format() {
    let row = |fixture: &str, name: &str, with: &str| {
        let all: Vec<Value> = serde_json::from_str(fixture).expect("an array");
        let mut item = all[0].clone();
        item[name] = json!(with);
        item
    };
    for word in NOTHING {
        let model = payload(&[("model", json!(word)), ("model_group", json!("group"))]);
        let is = one(Format::Litellm, &model);
        assert_eq!(is["event"]["data"]["model"], "group", "{word}");
        let span = export(&[("gen_ai.response.model", json!(word))]);
        assert_eq!(
            one(Format::Otlp, &span)["event"]["data"]["model"],
            "gpt-4o",
            "{word}"
        );
        let span = export(&[
            ("gen_ai.provider.name", json!(word)),
            ("gen_ai.system", json!("openai")),
        ]);
        assert_eq!(
            one(Format::Otlp, &span)["event"]["data"]["providerId"],
            "openai",
            "{word}"
        );
        let count = payload(&[
            ("prompt_tokens", json!(word)),
            ("completion_tokens", json!(word)),
        ]);
        assert_eq!(
            one(Format::Litellm, &count)["isUsageUnknown"],
            true,
            "{word}"
        );
        let user = "metadata.user_api_key_user_id";
        is_refused(
            Format::Litellm,
            &payload(&[(user, json!(word))]),
            "missing_field",
            user,
        );
        let span = export(&[("enduser.id", json!(word))]);
        is_refused(
            Format::Otlp,
            &span,
            "missing_field",
            "enduser.id or user.id",
        );
        for (format, fixture, field) in [
            (Format::NewApi, NEW_API, "user_id"),
            (Format::Sub2Api, SUB2API, "user_id"),
            (Format::LitellmOpenmeter, OPENMETER, "subject"),
        ] {
            is_refused(format, &row(fixture, field, word), "missing_field", field);
        }
    }
}

/// Where something is in an entry.
type Place = &'static [&'static str];

/// The access logs of Kong, APISIX and Envoy, whose writers have such words too.
#[test]
fn a_word_for_nothing_is_nothing_in_every_access_log() {
    const KONG_MODELS: [Place; 2] = [
        &["ai", "proxy", "meta", "response_model"],
        &["ai", "proxy", "meta", "request_model"],
    ];
    const APISIX_MODELS: [Place; 2] =
        [&["llm_summary", "model"], &["llm_summary", "request_model"]];
    const ENVOY_MODELS: [Place; 2] = [&["gen_ai.response.model"], &["gen_ai.request.model"]];
    let consumer: Place = &["consumer", "username"];
    let rows: [(&str, Place, Place, [Place; 2], Place); 3] = [
        (
            "kong",
            consumer,
            &["ai", "proxy", "meta", "provider_name"],
            KONG_MODELS,
            &["ai", "proxy", "usage", "prompt_tokens"],
        ),
        (
            "apisix",
            consumer,
            &["service_id"],
            APISIX_MODELS,
            &["llm_summary", "prompt_tokens"],
        ),
        (
            "envoy",
            &["x-user-id"],
            &["gen_ai.provider.name"],
            ENVOY_MODELS,
            &["gen_ai.usage.input_tokens"],
        ),
    ];
    for word in NOTHING {
        for (format, user, provider, [first, second], input) in rows {
            let (settings, least) = least(format);
            let is = |entry: &Value| {
                let outcomes = adapt::outcomes(&settings, entry.to_string().as_bytes());
                adapt::shown(&outcomes)[0].clone()
            };
            let entry = with(least, second, Some(json!("model-2")));
            let refused = is(&with(entry.clone(), user, Some(json!(word))));
            assert_eq!(refused["refused"][1], "missing_field", "{format} {word}");
            let said = [provider, first, input]
                .into_iter()
                .fold(entry, |entry, path| with(entry, path, Some(json!(word))));
            let event = is(&said)["event"].clone();
            assert_eq!(event["subject"], "u", "{format} {word}");
            let data = &event["data"];
            assert_eq!(data["model"], "model-2", "{format} {word}");
            assert_eq!(data["providerId"], Value::Null, "{format} {word}");
            assert_eq!(data["inputTokens"], Value::Null, "{format} {word}");
        }
    }
}

#[test]
fn a_clients_blob_names_the_same_person_in_every_session_and_format() {
    let blobs = |session: u32| {
        [
            format!("user_c0ffee_account_ann_session_{session}"),
            json!({"device_id": "c0ffee", "account_uuid": "ann", "session_id": session})
                .to_string(),
            json!({"user_id": "ann", "session": session}).to_string(),
        ]
    };
    let all: Vec<Value> = serde_json::from_str(OPENMETER).expect("an array");
    for blob in blobs(1).into_iter().chain(blobs(2)) {
        let mut metered = all[0].clone();
        metered["subject"] = json!(blob);
        for (format, item) in [
            (
                Format::Litellm,
                payload(&[("metadata.user_api_key_user_id", json!(blob))]),
            ),
            (Format::Otlp, export(&[("enduser.id", json!(blob))])),
            (Format::LitellmOpenmeter, metered),
        ] {
            assert_eq!(
                one(format, &item)["event"]["subject"],
                "ann",
                "{format:?} {blob}"
            );
        }
    }
    let anonymous = json!({"session": 7}).to_string();
    let item = export(&[("enduser.id", json!(anonymous))]);
    is_refused(
        Format::Otlp,
        &item,
        "missing_field",
        "enduser.id or user.id",
    );
}

#[test]
fn a_metered_event_without_usage_of_a_model_is_refused() {
    let all: Vec<Value> = serde_json::from_str(OPENMETER).expect("an array");
    let mut event = all[0].clone();
    event["type"] = json!("prompt");
    event["data"] = json!({"tokens": 12, "type": "input", "model": "gpt-4o"});
    is_refused(Format::LitellmOpenmeter, &event, "unknown_type", "type");
    event["type"] = json!("request");
    event["data"] = json!({"method": "GET", "route": "/x"});
    is_refused(Format::LitellmOpenmeter, &event, "unknown_type", "type");
    // The type can be configured in LiteLLM.
    let mut event = all[0].clone();
    event["type"] = json!("our_tokens");
    assert!(one(Format::LitellmOpenmeter, &event).get("event").is_some());
}
