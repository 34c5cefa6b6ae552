//! `log cat`, `rejects list`, `usage`, `leaderboard`.

use serde_json::{Value, json};
use tidemark::domain::position::Partition;
use tidemark::log::usage_partition;

use super::{Place, chat};

#[test]
fn what_the_log_holds_can_be_looked_at_with_and_without_up() {
    let place = Place::new();
    let up = place.up(&[]);
    let good = chat("1", "ann");
    let mut strange = chat("2", "ann");
    strange["endpoint"] = "/v1/horoscopes".into();
    place.send(&[good.clone(), strange.clone()]);
    place.wait();
    look(&place, &good, &strange);
    up.stop();
    look(&place, &good, &strange);
}

fn look(place: &Place, good: &Value, strange: &Value) {
    let Partition(partition) = usage_partition("ann", 4);
    let number = partition.to_string();
    let events = place
        .tidemark(&["log", "cat", "usage.events", "--partition", &number])
        .lines();
    assert_eq!(events.len(), 2);
    for (offset, (found, sent)) in events.iter().zip([good, strange]).enumerate() {
        assert_eq!(
            (&found["key"], &found["offset"]),
            (&json!("ann"), &json!(offset))
        );
        assert_eq!(
            (&found["partition"], &found["value"]),
            (&json!(partition), sent)
        );
    }
    let from = [
        "log",
        "cat",
        "usage.events",
        "--partition",
        &number,
        "--from",
        "1",
        "--limit",
        "1",
    ];
    assert_eq!(place.tidemark(&from).lines(), events[1..]);

    let blocks = place.tidemark(&["log", "cat", "ledger.postings"]).lines();
    let accounts: Vec<&Value> = blocks
        .iter()
        .flat_map(|block| block["value"]["entries"].as_array().unwrap())
        .map(|entry| &entry["account"])
        .collect();
    for account in [json!(["user", "ann"]), json!(["provider", "prov"])] {
        assert!(accounts.contains(&&account), "{account} {blocks:?}");
    }

    // One per chunk, in the partition of its records.
    let cuts = place.tidemark(&["log", "cat", "ledger.cuts"]).lines();
    let cut = cuts.first().map(|cut| &cut["value"]).unwrap();
    assert_eq!(
        (&cut["source"], &cut["cut"]["from"]),
        (&json!(partition), &json!(0))
    );
    assert!(cut["cut"]["window"].is_object(), "{cut}");
    assert!(cut["end"]["sequences"].is_array(), "{cut}");

    let rejected = place.tidemark(&["log", "cat", "usage.rejected"]).lines();
    assert_eq!((rejected.len(), &rejected[0]["value"]), (1, strange));
    let rejects = place.tidemark(&["rejects", "list", "--json"]).lines();
    assert_eq!(rejects.len(), 1);
    let reject = &rejects[0];
    assert_eq!(
        [
            &reject["reason"],
            &reject["field"],
            &reject["key"],
            &reject["partition"],
            &reject["offset"]
        ],
        [
            &json!("unknown_service"),
            &json!("endpoint"),
            &json!("ann"),
            &json!(partition),
            &json!(1)
        ]
    );
    // The original bytes, not the same thing written anew.
    assert_eq!(reject["value"], strange.to_string());
    let people = place
        .tidemark(&["rejects", "list", "--reason", "unknown_service"])
        .ok();
    assert!(people.contains("unknown_service endpoint: "), "{people}");
    assert_eq!(
        place
            .tidemark(&["rejects", "list", "--reason", "malformed"])
            .ok(),
        ""
    );
    let said = place
        .tidemark(&["rejects", "list", "--reason", "ugly"])
        .failed(2);
    assert!(
        said.contains("allowed: ") && said.contains("unknown_service"),
        "{said}"
    );
    let said = place.tidemark(&["log", "cat", "usage.event"]).failed(2);
    assert!(
        said.contains("allowed: usage.events, usage.rejected, ledger.postings, ledger.cuts"),
        "{said}"
    );
    let said = place
        .tidemark(&["log", "cat", "usage.events", "--partition", "9"])
        .failed(2);
    assert!(said.contains("partitions 0 to 3, not 9"), "{said}");
    reads(place);
}

fn reads(place: &Place) {
    let usage = place.tidemark(&["usage", "ann", "--json"]).lines();
    assert_eq!(usage.len(), 1, "{usage:?}");
    assert!(
        place
            .tidemark(&["usage", "ann"])
            .ok()
            .contains("llama-3-8b")
    );
    let nothing = place
        .tidemark(&["usage", "ann", "--day", "2026-01-01"])
        .ok();
    assert_eq!(nothing, "user ann has no requests on 2026-01-01\n");
    for (kinds, id, total) in [("users", "ann", "5.3"), ("providers", "prov", "3")] {
        let board = place.tidemark(&["leaderboard", kinds, "--json"]).lines();
        assert_eq!(board.len(), 1);
        assert_eq!(
            [&board[0]["rank"], &board[0]["id"], &board[0]["total"]],
            [&json!(1), &json!(id), &json!(total)]
        );
    }
    let empty = place
        .tidemark(&["leaderboard", "users", "--month", "2025-01"])
        .ok();
    assert_eq!(empty, "no user has points in 2025-01\n");
    for args in [
        ["statement", "user", "nobody"],
        ["statement", "provider", "ann"],
    ] {
        let said = place.tidemark(&args).failed(1);
        assert!(
            said.contains("has no activity in 20") && said.contains("tidemark wait"),
            "{said}"
        );
    }
    let said = place
        .tidemark(&["statement", "user", "ann", "--month", "2025-01"])
        .failed(1);
    assert!(
        said.contains("user ann has no activity in 2025-01"),
        "{said}"
    );
    place
        .tidemark(&["statement", "user", "ann", "--month", "January"])
        .failed(2);
    let ann = place.statement("user", "ann");
    let all = place.tidemark(&["statement", "--all", "--json"]).lines();
    assert!(all.contains(&ann) && all.len() == 2, "{all:?}");
}
