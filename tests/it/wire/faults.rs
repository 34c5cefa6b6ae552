//! What the edge says of a bad event: every fault at once, and the right name of a misnamed field.

use tidemark::domain::event::Reason;
use tidemark::log::Headers;
use tidemark::log::usage::{decode, decode_or_faults, record};

use super::accepted::{CLOUD_EVENT, PLAIN};

/// Reason and field of each fault.
fn faults(value: &str) -> Vec<(Reason, Option<&'static str>)> {
    let headers = Headers::new();
    let faults = decode_or_faults(value.as_bytes(), &headers).expect_err(value);
    faults.iter().map(|f| (f.reason, f.field)).collect()
}

#[test]
fn every_fault_of_an_event_is_told_at_once() {
    let bad = r#"{"specversion":"0.3","type":"tidemark.usage.v1","source":"","id":7,"time":"yesterday","data":{"endpoint":"",
        "model":["m"],"statusCode":99,"latencyMs":86400001,"inputTokens":1.5,"outputTokens":3,"cachedInputTokens":9,
        "reasoningTokens":4,"requestBytes":1099511627777,"stream":"no","prompt_tokens":3,"user_id":"u"}}"#;
    let mut found = faults(bad);
    let mut expected = [
        (Reason::WrongType, "id"),
        (Reason::WrongType, "data.model"),
        (Reason::WrongType, "data.inputTokens"),
        (Reason::WrongType, "data.stream"),
        (Reason::MisnamedField, "subject"),
        (Reason::UnknownType, "specversion"),
        (Reason::OutOfRange, "data.statusCode"),
        (Reason::OutOfRange, "data.latencyMs"),
        (Reason::OutOfRange, "data.requestBytes"),
        (Reason::InvalidId, "source"),
        (Reason::InvalidTime, "time"),
        (Reason::InvalidId, "data.endpoint"),
    ]
    .map(|(reason, field)| (reason, Some(field)));
    assert_eq!(found, expected);
    found.sort_by_key(|(_, field)| *field);
    expected.sort_by_key(|(_, field)| *field);
    let mut fields = found.clone();
    fields.dedup_by_key(|(_, field)| *field);
    assert_eq!(fields, expected, "one fault per field");
    // Without data, what it should hold is not missed one by one.
    let no_data = CLOUD_EVENT.replace(r#""data""#, r#""payload""#);
    assert_eq!(faults(&no_data), [(Reason::MissingField, Some("data"))]);
    let oversized = PLAIN.replace("cachedInputTokens\":0", "cachedInputTokens\":151");
    let oversized = oversized.replace("prov-9", "");
    assert_eq!(
        faults(&oversized),
        [
            (Reason::InvalidId, Some("providerId")),
            (Reason::OutOfRange, Some("cachedInputTokens"))
        ]
    );
}

/// Past the edge such a record is read as ever.
#[test]
fn a_misnamed_field_is_refused_at_the_edge_unless_the_right_one_is_there() {
    let headers = Headers::new();
    for (from, to, field) in [
        ("\"inputTokens\"", "\"prompt_tokens\"", "data.inputTokens"),
        ("\"inputTokens\"", "\"input_tokens\"", "data.inputTokens"),
        (
            "\"outputTokens\"",
            "\"completionTokens\"",
            "data.outputTokens",
        ),
        ("\"model\"", "\"model_name\"", "data.model"),
        ("\"providerId\"", "\"provider\"", "data.providerId"),
        (
            "\"inputTokens\":150,\"outputTokens\":75",
            "\"usage\":{\"prompt_tokens\":150}",
            "data.inputTokens",
        ),
        ("\"specversion\"", "\"model\":\"m\",\"specversion\"", ""),
    ] {
        assert!(CLOUD_EVENT.contains(from), "{from}");
        let value = CLOUD_EVENT.replacen(from, to, 1);
        assert!(decode(value.as_bytes(), &headers).is_ok(), "{value}");
        if field.is_empty() {
            assert!(decode_or_faults(value.as_bytes(), &headers).is_ok());
            continue;
        }
        assert_eq!(faults(&value), [(Reason::MisnamedField, Some(field))]);
        let refused = record(value.into(), headers.clone()).expect_err("misnamed");
        let name = to.split('"').nth(1).expect("a name");
        for told in [format!("data.{name} is not"), format!("probably {field},")] {
            assert!(refused.detail.contains(&told), "{}", refused.detail);
        }
        // Beside the right one, or without a value, it is the sender's own affair.
        let both = CLOUD_EVENT.replacen("\"stream\"", &format!("\"{name}\":7,\"stream\""), 1);
        assert!(
            decode_or_faults(both.as_bytes(), &headers).is_ok(),
            "{both}"
        );
    }
    let null = CLOUD_EVENT.replacen("\"inputTokens\":150", "\"prompt_tokens\":null", 1);
    assert!(decode_or_faults(null.as_bytes(), &headers).is_ok());
    for (from, to, field) in [
        ("userId", "user_id", "userId"),
        ("requestId", "id", "requestId"),
        ("timestamp", "time", "timestamp"),
        ("statusCode", "status", "statusCode"),
        ("inputTokens", "promptTokens", "inputTokens"),
    ] {
        let value = PLAIN.replacen(from, to, 1);
        assert_eq!(
            faults(&value),
            [(Reason::MisnamedField, Some(field))],
            "{value}"
        );
    }
}
