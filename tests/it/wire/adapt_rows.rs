//! Adapters, row by row: how single fields of a log entry are read, and what is refused.

use serde_json::{Value, json};
use tidemark::domain::position::{Offset, Partition};
use tidemark::domain::time::Millis;
use tidemark::gateways::access_log::{ForeignRecord, Outcome, adapt};
use tidemark::log::usage;
use tidemark::ops::config::AdapterConfig;

use super::adapt::{APISIX, ENVOY, KONG, adapter, outcomes, shown};

/// The smallest entries that are events.
pub fn least(format: &str) -> (AdapterConfig, Value) {
    match format {
        "apisix" => (
            adapter(APISIX),
            json!({"consumer": {"username": "u"}, "start_time": 1_795_330_862_123_u64,
            "request": {"uri": "/v1/embeddings"}, "response": {"status": 200}, "llm_summary": {}}),
        ),
        "kong" => (
            adapter(KONG),
            json!({"consumer": {"username": "u"}, "started_at": 1_795_330_862_123_u64,
            "request": {"uri": "/v1/embeddings"}, "response": {"status": 200}, "ai": {"proxy": {}}}),
        ),
        _ => (
            adapter(ENVOY),
            json!({"x-user-id": "u", "start_time": "2026-11-22T07:01:02.123Z",
            "x-envoy-origin-path": "/v1/embeddings", "response_code": 200, "gen_ai.request.model": "m"}),
        ),
    }
}

/// The entry with the value at a path of keys replaced (`None`: removed).
pub fn with(mut entry: Value, path: &[&str], value: Option<Value>) -> Value {
    let (last, parents) = path.split_last().expect("a path");
    let mut at = &mut entry;
    for key in parents {
        at = &mut at[*key];
    }
    match value {
        Some(value) => at[*last] = value,
        None => drop(at.as_object_mut().expect("an object").remove(*last)),
    }
    entry
}

/// The data of the only event.
fn event(settings: &AdapterConfig, entry: &Value) -> Value {
    let outcomes = outcomes(settings, entry.to_string().as_bytes());
    match &outcomes[..] {
        [Outcome::Event(adapted)] => serde_json::from_slice(&adapted.record.value).expect("JSON"),
        other => panic!("{entry} became {other:?}"),
    }
}

#[test]
fn the_least_entry_of_each_format_is_an_event_without_what_it_does_not_say() {
    for format in ["apisix", "kong", "envoy"] {
        let (settings, entry) = least(format);
        let event = event(&settings, &entry);
        let mut data = json!({"endpoint": "/v1/embeddings", "statusCode": 200, "stream": false});
        if format == "envoy" {
            data["model"] = "m".into();
        }
        assert_eq!(event["data"], data, "{format}");
        assert_eq!(event["subject"], "u");
        assert_eq!(event["time"], "2026-11-22T07:01:02.123Z");
        assert_eq!(event["source"], format!("{format}-eu"));
        assert_eq!(event["id"], format!("{format}-logs/t-1/3/42/0"));
    }
}

#[test]
fn numbers_are_taken_exactly_however_they_are_written() {
    let (settings, entry) = least("apisix");
    let input = |value: Value| {
        let entry = with(
            entry.clone(),
            &["llm_summary", "prompt_tokens"],
            Some(value),
        );
        event(&settings, &entry)["data"]["inputTokens"].clone()
    };
    for (written, read) in [
        (json!(150), json!(150)),
        (json!("150"), json!(150)),
        (json!(150.0), json!(150)),
        (json!("1.5e2"), json!(150)),
        (json!(1_099_511_627_776_u64), json!(1_099_511_627_776_u64)),
        (json!(0), Value::Null),
        (json!("0"), Value::Null),
        (json!(""), Value::Null),
        (json!(null), Value::Null),
    ] {
        assert_eq!(input(written.clone()), read, "{written}");
    }
    let time = |value: Value| {
        event(
            &settings,
            &with(entry.clone(), &["start_time"], Some(value)),
        )["time"]
            .clone()
    };
    assert_eq!(time(json!("1795330862123")), "2026-11-22T07:01:02.123Z");
    assert_eq!(time(json!(1_795_330_862_123.9)), "2026-11-22T07:01:02.123Z");
    let latency = |value: Value| {
        event(&settings, &with(entry.clone(), &["latency"], Some(value)))["data"]["latencyMs"]
            .clone()
    };
    assert_eq!(latency(json!(8.999_824_523_925_8)), 8);
    assert_eq!(latency(json!("8.99")), 8);
    assert_eq!(latency(json!(-3.5)), Value::Null);
}

#[test]
fn unknown_tokens_are_left_out_and_known_ones_are_counted_once() {
    // prompt, completion, cache read, cache creation → input, output, cached
    let rows = [
        (
            "inside",
            [Some(150), Some(75), Some(100), None],
            [Some(150), Some(75), Some(100)],
        ),
        (
            "inside",
            [Some(150), Some(0), None, None],
            [Some(150), Some(0), None],
        ),
        (
            "inside",
            [Some(150), None, None, None],
            [Some(150), None, None],
        ),
        (
            "inside",
            [Some(0), Some(0), Some(0), Some(0)],
            [None, None, None],
        ),
        (
            "inside",
            [Some(0), Some(75), None, None],
            [None, Some(75), None],
        ),
        ("inside", [None, None, None, None], [None, None, None]),
        (
            "outside",
            [Some(12), Some(75), Some(100), Some(30)],
            [Some(142), Some(75), Some(100)],
        ),
        (
            "outside",
            [Some(0), Some(75), Some(100), None],
            [Some(100), Some(75), Some(100)],
        ),
        (
            "outside",
            [Some(12), Some(75), None, None],
            [Some(12), Some(75), None],
        ),
    ];
    for (counted, written, expected) in rows {
        let settings = adapter(&format!("{APISIX}cached_tokens = '{counted}'\n"));
        let (_, mut entry) = least("apisix");
        let names = [
            "prompt_tokens",
            "completion_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
        ];
        for (name, value) in names.into_iter().zip(written) {
            entry["llm_summary"][name] =
                value.map_or(Value::Null, |value| value.to_string().into());
        }
        let event = event(&settings, &entry);
        for (name, expected) in ["inputTokens", "outputTokens", "cachedInputTokens"]
            .into_iter()
            .zip(expected)
        {
            let read = event["data"]
                .get(name)
                .map(|value| value.as_u64().expect("a count"));
            assert_eq!(read, expected, "{counted} {written:?}: {name}");
        }
    }
}

#[test]
fn one_bad_entry_costs_nothing_but_itself() {
    let (settings, good) = least("apisix");
    let good = good.to_string();
    let twice = good.replacen('{', r#"{"start_time":1,"#, 1);
    let bytes = [
        b"[".as_slice(),
        good.as_bytes(),
        br#",7,null,"x",[{}],{},"#,
        // A header that is no UTF-8 is nothing to us.
        br#"{"request":{"headers":{"x":""#,
        b"\xff",
        br#""}}},"#,
        // A field that we read, and that is no UTF-8, is.
        good.replace(r#""u""#, "\"@\"").as_bytes(),
        b",",
        twice.as_bytes(),
        b",",
        good.as_bytes(),
        b"]\n",
        good.as_bytes(),
        b" [",
        good.as_bytes(),
    ]
    .concat();
    let bytes: Vec<u8> = bytes
        .iter()
        .map(|byte| if *byte == b'@' { 0xff } else { *byte })
        .collect();
    let is: Vec<String> = outcomes(&settings, &bytes)
        .iter()
        .map(|outcome| match outcome {
            Outcome::Event(adapted) => {
                let event = usage::decode(&adapted.record.value, &adapted.record.headers).unwrap();
                event.id.rsplit('/').next().unwrap().to_owned()
            }
            Outcome::Skipped(skip) => skip.as_str().to_owned(),
            Outcome::Refused(refusal) => format!(
                "{} {} {:?}",
                refusal.index,
                refusal.reason.as_str(),
                refusal.field
            ),
        })
        .collect();
    assert_eq!(
        is,
        [
            "0",
            "1 malformed None",
            "empty",
            "3 malformed None",
            "4 malformed None",
            "not_inference",
            "not_inference",
            r#"7 malformed Some("consumer.username")"#,
            r#"8 malformed Some("start_time")"#,
            "9",
            "10",
            // Its array has no end.
            "11",
        ]
    );
    for empty in ["", "  \n", "null"] {
        assert_eq!(
            shown(&outcomes(&settings, empty.as_bytes())),
            json!([{"skipped": "empty"}])
        );
    }
    assert_eq!(outcomes(&settings, b"[]").len(), 1);
}

#[test]
fn nesting_without_end_is_passed_over() {
    let (settings, entry) = least("kong");
    let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
    let entry = entry
        .to_string()
        .replacen('{', &format!(r#"{{"x":{deep},"#), 1);
    assert!(matches!(
        outcomes(&settings, entry.as_bytes())[..],
        [Outcome::Event(_)]
    ));
    assert!(matches!(
        outcomes(&settings, deep.as_bytes())[..],
        [Outcome::Refused(_)]
    ));
}

#[test]
fn an_id_made_of_a_place_fits_however_long_the_topic_is_called() {
    let (_, entry) = least("apisix");
    let entry = entry.to_string();
    let id = |topic: &str, topic_id: &str| {
        let settings = adapter(&APISIX.replace("apisix-logs", topic));
        let record = ForeignRecord {
            topic,
            topic_id,
            partition: Partition(u32::MAX),
            offset: Offset(u64::MAX),
            time: Millis(0),
            value: entry.as_bytes(),
        };
        let outcomes = adapt(&settings, &record);
        let [Outcome::Event(adapted)] = &outcomes[..] else {
            panic!("{outcomes:?}");
        };
        usage::decode(&adapted.record.value, &adapted.record.headers)
            .unwrap()
            .id
            .into_owned()
    };
    let long = "t".repeat(249);
    assert_eq!(id(&long, "a"), id(&long, "a"));
    assert_ne!(
        id(&long, "a"),
        id(&long, "b"),
        "a topic that was created again"
    );
    assert_ne!(id("t", "a"), id("t", "b"));
}
