//! What the auditor found, for admins.

use std::sync::Arc;

use serde_json::{Value, json};
use tidemark::app::commands::Commands;
use tidemark::app::queries::Queries;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::position::{Chunk, Epoch, Partition, Sequence};
use tidemark::log::Partitions;
use tidemark::store::audits::{Finding, FindingKind, count_kept, keep};

use super::stand::{NOON, Stand};

const PATH: &str = "/api/admin/audit/findings";

fn finding(chunk: u64, account: Option<&str>) -> Finding {
    Finding {
        epoch: Epoch(0),
        source: Partition(2),
        chunk: Chunk(chunk),
        kind: FindingKind::BlockDiffers,
        posting: Some(Partition(1)),
        sequence: Some(Sequence(7)),
        account: account.map(|id| Account::new(AccountKind::User, id).unwrap()),
        what: "rating the chunk again gives other amounts".to_owned(),
        at: NOON,
    }
}

#[tokio::test]
async fn findings_are_listed_by_chunk_and_kept_once() {
    let stand = Stand::new().await;
    let none = stand.get(PATH).await.json();
    assert_eq!(none, json!({"progress": [], "findings": [], "upTo": 0}));
    for found in [
        finding(12, None),
        finding(9, Some("alice")),
        finding(9, Some("alice")),
    ] {
        keep(&stand.db, &found).await.unwrap();
    }
    let told = stand.get(PATH).await.json();
    assert_eq!((&told["upTo"], told.get("next")), (&json!(2), None));
    assert_eq!(
        told["findings"][0],
        json!({
            "number": 2,
            "epoch": 0, "sourcePartition": 2, "chunk": 9, "kind": "block_differs",
            "postingPartition": 1, "sequence": 7, "account": "user:alice",
            "what": "rating the chunk again gives other amounts", "foundAt": NOON.to_string(),
        })
    );
    assert_eq!(told["findings"][1].get("account"), None);
    let bad = stand.get(&format!("{PATH}?limit=1001")).await;
    assert_eq!(bad.code(), (400, "invalid_query".to_owned()));
    let bad = stand.get(&format!("{PATH}?after=")).await;
    assert_eq!(bad.code(), (400, "invalid_query".to_owned()));
}

#[tokio::test]
async fn findings_come_in_pages_that_hold_each_of_them_once() {
    let stand = Stand::new().await;
    for chunk in 1..=7 {
        keep(&stand.db, &finding(chunk, None)).await.unwrap();
    }
    let (mut chunks, mut path) = (Vec::new(), format!("{PATH}?limit=3"));
    loop {
        let page = stand.get(&path).await.json();
        let findings = page["findings"].as_array().unwrap();
        assert!(findings.len() <= 3);
        chunks.extend(
            findings
                .iter()
                .map(|found| found["chunk"].as_u64().unwrap()),
        );
        let Some(next) = page["next"].as_str() else {
            break;
        };
        let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
        path = format!("{PATH}?limit=3&after={next}");
    }
    assert_eq!(chunks, [1, 2, 3, 4, 5, 6, 7]);
    let page = stand.get(&format!("{PATH}?limit=7")).await.json();
    assert_eq!(page["findings"].as_array().unwrap().len(), 7);
    assert!(page.get("next").is_none(), "{}", page["next"]);
    let kept = count_kept(&stand.db, Epoch(0), Partition(2), 5).await;
    assert_eq!(kept, Ok(5), "it counts no further than it is asked to");
    let others = count_kept(&stand.db, Epoch(0), Partition(3), 5).await;
    assert_eq!(others, Ok(0));
}

/// Once they are explained they go, and the trail keeps them. What was found after the list was shown stays,
/// wherever it stands in it.
#[tokio::test]
async fn what_nobody_has_seen_is_not_dismissed() {
    let stand = Stand::new().await;
    for chunk in 100..160 {
        keep(&stand.db, &finding(chunk, None)).await.unwrap();
    }
    let seen = stand.get(PATH).await.json()["upTo"].as_u64().unwrap();
    assert_eq!(seen, 60);
    for chunk in [5, 120, 200] {
        keep(&stand.db, &finding(chunk, Some("bob"))).await.unwrap();
    }
    let partitions = Partitions {
        source: 4,
        posting: 4,
        rejected: 4,
    };
    let db = Arc::new(stand.db.clone());
    let queries = Arc::new(Queries::new(db, stand.log.clone(), partitions));
    let commands = Commands::new(queries, stand.clock.clone());
    let dismissed = commands.dismiss_findings(seen, "restored", "test").await;
    assert_eq!(dismissed.unwrap(), 60);
    let left = stand.get(PATH).await.json();
    let left: Vec<u64> = left["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["chunk"].as_u64().unwrap())
        .collect();
    assert_eq!(left, [5, 120, 200]);
    let trail = stand.get("/api/admin/audit").await.json();
    let entries = trail["entries"].as_array().unwrap().iter();
    let dismissed: Vec<_> = entries
        .filter(|entry| entry["action"] == "audit.dismiss")
        .collect();
    assert_eq!(
        (&dismissed[0]["by"], &dismissed[0]["detail"]["reason"]),
        (&json!("test"), &json!("restored"))
    );
    let of = |entry: &&Value| entry["detail"]["findings"].as_array().unwrap().len();
    assert_eq!(dismissed.iter().map(of).sum::<usize>(), 60);
}
