//! What finance books by API: entries once, undone once, and all of them as a file.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tidemark::domain::rules::Network;
use tidemark::domain::time::Millis;
use tidemark::store::audit::{self, Entry};
use tidemark::store::db::Db as _;

use super::admin::{post, publish, put};
use super::stand::{NOON, Stand};

const CREDITS: &str = "/api/admin/credits";
const POINTS: &str = "/api/admin/adjustments";

#[tokio::test]
async fn an_entry_of_credits_is_undone_once_however_often_it_is_asked_for() {
    let stand = Stand::new().await;
    let entry = json!({"userId": "alice", "amount": "40", "reason": "an invoice"});
    post(&stand, CREDITS, "invoice-1", &entry).await;
    let undo = json!({"userId": "alice", "key": "invoice-1"});
    for _ in 0..2 {
        let answer = stand.post("/api/admin/credits/undo", &undo).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        let counter = json!({"userId": "alice", "amount": "-40", "key": "undo-invoice-1", "added": "0", "entries": 2});
        assert_eq!(answer.json(), counter);
    }
    let ledger = stand.get("/api/admin/credits?userId=alice").await.json();
    let counter = &ledger["entries"][1];
    assert_eq!(
        counter["reason"],
        "undoes 40 USD of 2026-11-22 12:00:00: an invoice"
    );
    // The counter-entry is an entry: it can be undone too.
    let again = json!({"userId": "alice", "key": "undo-invoice-1"});
    let answer = stand.post("/api/admin/credits/undo", &again).await.json();
    assert_eq!(
        (&answer["amount"], &answer["added"]),
        (&json!("40"), &json!("40"))
    );
    // Entries of others, and such as there are none of.
    for undo in [
        json!({"userId": "bob", "key": "invoice-1"}),
        json!({"userId": "alice", "key": "invoice-2"}),
    ] {
        let answer = stand.post("/api/admin/credits/undo", &undo).await;
        assert_eq!(answer.code(), (404, "unknown_entry".to_owned()), "{undo}");
    }
    let odd = json!({"userId": "alice", "key": "\u{7}"});
    let answer = stand.post("/api/admin/credits/undo", &odd).await;
    assert_eq!(answer.code(), (422, "invalid_idempotency_key".to_owned()));
}

#[tokio::test]
async fn an_adjustment_is_undone_once_and_what_used_its_name_is_not_taken_for_it() {
    let stand = Stand::new().await;
    let entry = |points: &str| json!({"kind": "provider", "id": "prov-1", "points": points, "reason": "an outage"});
    post(&stand, POINTS, "ticket-1", &entry("-2.5")).await;
    let undo = |key: &str| json!({"kind": "provider", "id": "prov-1", "key": key});
    for _ in 0..2 {
        let answer = stand
            .post("/api/admin/adjustments/undo", &undo("ticket-1"))
            .await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        let award = &answer.json()["award"];
        assert_eq!(award["points"], "2.5");
        assert_eq!(award["awardId"], "adjustment#undo-ticket-1");
    }
    let list = stand
        .get("/api/admin/adjustments?kind=provider&id=prov-1")
        .await;
    assert_eq!(list.json()["total"], 2);
    // The same id of the other kind is another account.
    let other = json!({"kind": "user", "id": "prov-1", "key": "ticket-1"});
    let answer = stand.post("/api/admin/adjustments/undo", &other).await;
    assert_eq!(answer.code(), (404, "unknown_entry".to_owned()));
    // Somebody has used the name of the counter-entry for something else.
    post(&stand, POINTS, "ticket-2", &entry("7")).await;
    post(&stand, POINTS, "undo-ticket-2", &entry("1")).await;
    let answer = stand
        .post("/api/admin/adjustments/undo", &undo("ticket-2"))
        .await;
    assert_eq!(answer.code(), (422, "idempotency_key_reused".to_owned()));
}

#[tokio::test]
async fn what_changes_nothing_is_refused_and_leaves_no_trace() {
    let stand = Stand::new().await;
    for points in ["0", "-0", "0.000000"] {
        let body = json!({"kind": "user", "id": "alice", "points": points, "reason": "x"});
        let answer = post(&stand, POINTS, "k", &body).await;
        assert_eq!(
            answer.code(),
            (422, "amount_out_of_range".to_owned()),
            "{points}"
        );
    }
    let body = json!({"userId": "alice", "amount": "0", "reason": "x"});
    let answer = post(&stand, CREDITS, "k", &body).await;
    assert_eq!(answer.code(), (422, "amount_out_of_range".to_owned()));
    for values in [json!({}), json!([])] {
        let body = json!({"values": values, "reason": "x"});
        let answer = stand.post("/api/admin/rules", &body).await;
        assert_eq!(answer.status.as_u16(), 400, "{:?}", answer.body);
    }
    let trail = stand.get("/api/admin/audit").await.json();
    let entries = trail["entries"].as_array().unwrap();
    assert_eq!(
        entries.len(),
        1,
        "the key with which all of it was asked: {trail}"
    );
}

#[tokio::test]
async fn a_key_is_made_once_under_its_idempotency_key() {
    let stand = Stand::new().await;
    let body = json!({"name": "dashboard", "scopes": ["admin:read"]});
    let path = "/api/admin/keys";
    let made = post(&stand, path, "dashboard-1", &body).await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let again = post(&stand, path, "dashboard-1", &body).await;
    assert_eq!(again.code(), (409, "key_made_before".to_owned()));
    let detail = again.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(&id), "{detail}");
    // Nor is the secret said again.
    let secret = made.json()["key"]
        .as_str()
        .unwrap()
        .rsplit('_')
        .next()
        .unwrap()
        .to_owned();
    assert!(!detail.contains(&secret));
    // Without a name, and under another, each is a key of its own.
    for _ in 0..2 {
        assert_eq!(stand.post(path, &body).await.status, 201);
    }
    assert_eq!(post(&stand, path, "dashboard-2", &body).await.status, 201);
    let keys = stand.get(path).await.json();
    let named = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|key| key["name"] == "dashboard");
    assert_eq!(named.count(), 4);
}

/// The rows of a CSV file without its last line, and that line.
fn rows(body: &[u8]) -> (Vec<BTreeMap<String, String>>, String) {
    let text = std::str::from_utf8(body).unwrap();
    let last = text.lines().last().unwrap().to_owned();
    let mut reader = csv::ReaderBuilder::new();
    let mut reader = reader.comment(Some(b'#')).from_reader(text.as_bytes());
    let rows = reader.deserialize().map(Result::unwrap);
    (rows.collect(), last)
}

#[tokio::test]
async fn credits_and_corrections_of_a_time_are_a_file_with_their_sums() {
    const FILE: &str = "/api/admin/audit/file";
    let stand = Stand::new().await;
    for (n, (user, usd, reason)) in [
        ("alice", "40", "an invoice"),
        ("bob", "25.5", "=HYPERLINK(\"http://e.example\")"),
        ("alice", "-0.5", "a fee, \"returned\""),
    ]
    .into_iter()
    .enumerate()
    {
        stand.clock.set(Millis(NOON.0 + 1_000 * n as i64));
        let entry = json!({"userId": user, "amount": usd, "reason": reason});
        post(&stand, CREDITS, &format!("k-{n}"), &entry).await;
    }
    let entry =
        json!({"kind": "provider", "id": "prov-1", "points": "-2.5", "reason": "an outage"});
    post(&stand, POINTS, "ticket-1", &entry).await;
    // Entries of one millisecond stand in any order.
    stand.clock.set(Millis(NOON.0 + 3_000));
    let undo = json!({"userId": "alice", "key": "k-2"});
    stand.post("/api/admin/credits/undo", &undo).await;

    let answer = stand.get(&format!("{FILE}?action=credits.add")).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8");
    let name = answer.headers["content-disposition"].to_str().unwrap();
    assert_eq!(name, "attachment; filename=\"tidemark-audit.csv\"");
    let (credits, last) = rows(&answer.body);
    assert_eq!(last, "# end rows=4 amountUsd=65.5 points=0");
    let of =
        |column: &str| -> Vec<&str> { credits.iter().map(|row| row[column].as_str()).collect() };
    assert_eq!(of("amountUsd"), ["0.5", "-0.5", "25.5", "40"]);
    assert_eq!(
        of("subject"),
        ["user:alice", "user:alice", "user:bob", "user:alice"]
    );
    assert_eq!(of("key"), ["undo-k-2", "k-2", "k-1", "k-0"]);
    assert_eq!(of("points"), ["", "", "", ""]);
    // A spreadsheet runs nothing of it, unless it is asked for as it is.
    assert_eq!(of("reason")[2], "'=HYPERLINK(\"http://e.example\")");
    let exact = stand
        .get(&format!("{FILE}?action=credits.add&exactText=true"))
        .await;
    assert_eq!(
        rows(&exact.body).0[2]["reason"],
        "=HYPERLINK(\"http://e.example\")"
    );

    // All that is asked of the trail, everything of each entry.
    let (all, last) = rows(&stand.get(FILE).await.body);
    assert_eq!(last, "# end rows=6 amountUsd=65.5 points=-2.5");
    let one = |action: &str| all.iter().find(|row| row["action"] == action).unwrap();
    let detail = one("awards.adjust")["detail"].parse::<Value>().unwrap();
    assert_eq!(detail["reason"], "an outage");
    let changes = one("keys.create")["changes"].parse::<Value>().unwrap();
    assert_eq!(changes[0]["path"], "scopes");
    let time = "from=2026-11-22T12:00:01Z&until=2026-11-22T12:00:02Z";
    let (some, last) = rows(&stand.get(&format!("{FILE}?{time}")).await.body);
    assert_eq!(
        (some.len(), last.as_str()),
        (1, "# end rows=1 amountUsd=25.5 points=0")
    );
    let (none, last) = rows(&stand.get(&format!("{FILE}?actor=nobody")).await.body);
    assert_eq!(
        (none.len(), last.as_str()),
        (0, "# end rows=0 amountUsd=0 points=0")
    );
    for query in ["from=yesterday", "limit=5", "before=x"] {
        let answer = stand.get(&format!("{FILE}?{query}")).await;
        assert_eq!(answer.code(), (400, "invalid_query".to_owned()), "{query}");
    }
}

/// The file goes on where a page ends, and beyond what one page searches.
#[tokio::test]
async fn the_file_of_the_trail_has_every_entry_once_however_many_there_are() {
    let stand = Stand::new().await;
    let entry = |n: i64| Entry {
        at: Millis(NOON.0 + n),
        action: if n % 1_000 == 0 {
            "credits.add"
        } else {
            "keys.revoke"
        }
        .to_owned(),
        subject: format!("user:u-{n:05}"),
        by: "a test".to_owned(),
        detail: json!({"amount": "1", "reason": "x"}),
    };
    for from in (0..12_000).step_by(50) {
        let writes = (from..from + 50).map(|n| audit::write(&entry(n)));
        stand.db.transact(writes.collect()).await.unwrap();
    }
    let path = "/api/admin/audit/file?action=credits";
    let (found, last) = rows(&stand.get(path).await.body);
    assert_eq!(last, "# end rows=12 amountUsd=12 points=0");
    let subjects: Vec<&str> = found.iter().map(|row| row["subject"].as_str()).collect();
    let expected: Vec<String> = (0..12)
        .rev()
        .map(|n| format!("user:u-{:05}", n * 1_000))
        .collect();
    assert_eq!(subjects, expected);
    let (all, _) = rows(&stand.get("/api/admin/audit/file").await.body);
    assert_eq!(all.len(), 12_001);
}

/// What an entry changed beyond the 200 places that are told is counted.
#[tokio::test]
async fn the_file_of_the_trail_says_how_many_changes_it_leaves_out() {
    let stand = Stand::new().await;
    publish(&stand, Network::Testnet).await;
    for (n, count) in [(1, 230), (2, 3)] {
        stand.clock.set(Millis(NOON.0 + 60_000 * n));
        let names = (0..count).map(|place| (format!("d-{place:03}"), json!(format!("prov-{n}"))));
        let names: Map<String, Value> = names.collect();
        let change = json!({"value": names, "reason": "new deployments"});
        let answer = put(&stand, "/api/admin/rules/rules.providers", &change).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
    }
    let path = "/api/admin/audit/file?action=pricing.publish&subject=rules.providers";
    let (entries, _) = rows(&stand.get(path).await.body);
    let of_changes = entries.iter().map(|row| {
        let told: Vec<Value> = serde_json::from_str(&row["changes"]).unwrap();
        (told.len(), row["furtherChanges"].as_str())
    });
    // The second one changes three names and takes 227 out; before the first there was nothing.
    assert_eq!(of_changes.collect::<Vec<_>>(), [(200, "30"), (1, "")]);
    let path = "/api/admin/audit/file?action=keys.create";
    let (keys, _) = rows(&stand.get(path).await.body);
    assert_eq!(keys[0]["furtherChanges"], "");
}
