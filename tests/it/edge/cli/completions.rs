//! Requests that gateways report twice, first without what is not known yet.

use serde_json::{Value, json};

use super::{Place, chat};

/// An event without these fields.
fn without(event: &Value, names: &[&str]) -> Value {
    let mut event = event.clone();
    let fields = event.as_object_mut().unwrap();
    fields.retain(|name, _| !names.contains(&name.as_str()));
    event
}

#[test]
fn a_later_report_completes_a_request_once_and_a_reversal_takes_all_of_it_back() {
    let place = Place::new();
    let up = place.up(&[]);
    let (whole, other) = (chat("1", "ann"), chat("1", "bob"));
    let parts = [
        "inputTokens",
        "outputTokens",
        "latencyMs",
        "providerId",
        "model",
    ];
    let first = without(&whole, &parts);
    // The same request of another user, reported at once.
    place.send(&[other]);
    place.send(std::slice::from_ref(&first));
    place.wait();
    let partial = place.statement("user", "ann");
    assert_eq!(partial["shadowCost"], "0", "{partial}");
    let other_value = |field: &str| {
        let mut other = whole.clone();
        other[field] = 9_999.into();
        other
    };
    place.send(&[
        whole.clone(),
        whole.clone(),
        first.clone(),
        other_value("outputTokens"),
    ]);
    place.wait();
    let (ann, bob) = (
        place.statement("user", "ann"),
        place.statement("user", "bob"),
    );
    let sums = |statement: &Value| {
        let mut sums = statement.clone();
        sums["id"] = Value::Null;
        sums
    };
    assert_eq!(sums(&ann), sums(&bob), "as if the whole had come first");
    let provider = place.statement("provider", "prov");
    assert_eq!(
        (&provider["requests"], &provider["successful"]),
        (&json!(2), &json!(2)),
        "{provider}"
    );
    let rejects = place.tidemark(&["rejects", "list", "--json"]).lines();
    let reasons: Vec<&Value> = rejects.iter().map(|reject| &reject["reason"]).collect();
    assert_eq!(reasons, ["conflict"]);
    let text = up.metrics();
    for line in [
        "tidemark_events_completed_total 1",
        "tidemark_unknown_usage_events_total 1",
        "tidemark_unknown_usage_completed_total 1",
        "tidemark_events_duplicate_total 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let day = whole["timestamp"].as_str().unwrap()[..10].to_owned();
    let usage = ["usage", "ann", "--day", &day, "--json"];
    let requests = place.tidemark(&usage).lines();
    let [request] = &requests[..] else {
        panic!("{requests:?}");
    };
    for name in parts {
        assert_eq!(request[name], whole[name], "{name}");
    }
    assert_eq!(request["completion"]["bookedOn"], day.as_str());
    up.stop();

    // A restarted worker still knows, and a reversal takes back what is known by now.
    let _up = place.up(&[]);
    place.send(&[whole.clone(), first.clone()]);
    let reversal = json!({
        "specversion": "1.0", "type": "tidemark.reversal.v1", "source": "gw", "id": "r", "subject": "ann",
        "data": {"source": "plain", "id": "1", "time": whole["timestamp"]},
    });
    place.send(&[reversal]);
    place.wait();
    let after = place.statement("user", "ann");
    for name in ["usage", "shadowCost", "streak"] {
        assert_eq!(after[name], "0", "{name}: {after}");
    }
    let provider = place.statement("provider", "prov");
    assert_eq!(
        (&provider["requests"], &provider["successful"]),
        (&json!(2), &json!(1)),
        "{provider}"
    );
}
