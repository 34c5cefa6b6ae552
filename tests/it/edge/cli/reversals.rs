//! `tidemark reverse`, and reversals that gateways send: through a running `up`, and without one.

use serde_json::{Value, json};

use super::{Place, chat};

/// A reversal of a plain event, as a gateway sends it.
pub(super) fn reversal(id: &str, of: &Value) -> Value {
    json!({
        "specversion": "1.0", "type": "tidemark.reversal.v1", "source": "gw", "id": id, "subject": of["userId"],
        "data": {"source": "plain", "id": of["requestId"], "time": of["timestamp"]},
    })
}

/// Sums and counts of a statement that a reversal must bring back.
fn earned(statement: &Value) -> Value {
    let names = [
        "usage",
        "base",
        "cost",
        "shadowCost",
        "streak",
        "referral",
        "successful",
    ];
    let of = |name: &&str| ((*name).to_owned(), statement[*name].clone());
    Value::Object(names.iter().map(of).collect())
}

fn reverse<'a>(event: &'a Value, key: &'a str) -> Vec<&'a str> {
    let text = |name: &str| event[name].as_str().unwrap();
    vec![
        "reverse",
        text("userId"),
        "--source",
        "plain",
        "--id",
        text("requestId"),
        "--time",
        text("timestamp"),
        "--reason",
        "the answer was cut off",
        "--key",
        key,
    ]
}

#[test]
fn a_request_is_taken_back_once_whoever_asks_and_how_often() {
    let place = Place::new();
    let up = place.up(&[]);
    let (kept, first, second) = (chat("1", "ann"), chat("2", "ann"), chat("3", "ann"));
    place.send(&[kept]);
    place.wait();
    let before =
        [("user", "ann"), ("provider", "prov")].map(|(kind, id)| place.statement(kind, id));
    place.send(&[first.clone(), second.clone()]);
    place.wait();
    assert_eq!(place.statement("user", "ann")["successful"], 3);

    // By an admin, twice under one key; by a gateway, twice.
    let said = place.tidemark(&reverse(&first, "ticket-1")).ok();
    assert!(said.contains("sent to usage.events/"), "{said}");
    place.tidemark(&reverse(&first, "ticket-1")).ok();
    place.send(&[reversal("r-1", &second), reversal("r-1", &second)]);
    place.wait();
    let after = [("user", "ann"), ("provider", "prov")].map(|(kind, id)| place.statement(kind, id));
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(earned(before), earned(after), "{after}");
        assert_eq!(
            (&after["requests"], &after["reversed"]),
            (&json!(3), &json!(2)),
            "{after}"
        );
    }
    // Another reversal is refused, at once or as a reject; the event itself stays a duplicate.
    let refused = place.tidemark(&reverse(&first, "ticket-2")).failed(2);
    assert!(
        refused.contains("was reversed before, by 'ticket-1'"),
        "{refused}"
    );
    let mut unknown = first.clone();
    unknown["requestId"] = "4".into();
    let refused = place.tidemark(&reverse(&unknown, "ticket-3")).failed(2);
    assert!(refused.contains("no request of ann has"), "{refused}");
    let mut failed = chat("5", "ann");
    failed["statusCode"] = 500.into();
    place.send(&[
        failed.clone(),
        reversal("r-2", &first),
        reversal("r-3", &unknown),
        reversal("r-4", &failed),
        first.clone(),
    ]);
    place.wait();
    // Nothing is sent, and nothing audited, of what rating would refuse.
    let refused = place.tidemark(&reverse(&failed, "ticket-4")).failed(2);
    assert!(
        refused.contains("earned and cost nothing, so there is nothing to reverse"),
        "{refused}"
    );
    let rejects = place.tidemark(&["rejects", "list", "--json"]).lines();
    let reasons: Vec<&Value> = rejects.iter().map(|reject| &reject["reason"]).collect();
    for reason in ["already_reversed", "unknown_original", "nothing_to_reverse"] {
        assert_eq!(
            reasons.iter().filter(|found| **found == reason).count(),
            1,
            "{reasons:?}"
        );
    }
    let statement = place.statement("user", "ann");
    assert_eq!(earned(&before[0]), earned(&statement), "{statement}");
    assert_eq!(
        (&statement["requests"], &statement["failed"]),
        (&json!(4), &json!(1))
    );
    let text = up.metrics();
    assert!(
        text.lines()
            .any(|line| line == "tidemark_events_reversed_total 2"),
        "{text}"
    );
    up.stop();

    // Without `up` the command has the log to itself; a restarted worker still knows.
    place.tidemark(&reverse(&first, "ticket-1")).ok();
    let _up = place.up(&[]);
    place.wait();
    assert_eq!(place.statement("user", "ann"), statement);
    let day = first["timestamp"].as_str().unwrap()[..10].to_owned();
    let requests = place
        .tidemark(&["usage", "ann", "--day", &day, "--json"])
        .ok();
    assert!(requests.contains("the answer was cut off"), "{requests}");
}
