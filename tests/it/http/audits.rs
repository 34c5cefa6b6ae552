//! What the auditor found, for admins.

use serde_json::json;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::position::{Chunk, Epoch, Partition, Sequence};
use tidemark::store::audits::{Finding, FindingKind, dismiss, findings, keep};

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
    assert_eq!(none, json!({"progress": [], "findings": [], "total": 0}));
    for found in [
        finding(12, None),
        finding(9, Some("alice")),
        finding(9, Some("alice")),
    ] {
        keep(&stand.db, &found).await.unwrap();
    }
    let told = stand.get(PATH).await.json();
    assert_eq!(told["total"], 2);
    assert_eq!(
        told["findings"][0],
        json!({
            "epoch": 0, "sourcePartition": 2, "chunk": 9, "kind": "block_differs",
            "postingPartition": 1, "sequence": 7, "account": "user:alice",
            "what": "rating the chunk again gives other amounts", "foundAt": NOON.to_string(),
        })
    );
    assert_eq!(told["findings"][1].get("account"), None);
    let one = stand.get(&format!("{PATH}?limit=1")).await.json();
    assert_eq!(
        (one["findings"].as_array().unwrap().len(), &one["total"]),
        (1, &json!(2))
    );
    let bad = stand.get(&format!("{PATH}?limit=1001")).await;
    assert_eq!(bad.code(), (400, "invalid_query".to_owned()));

    // Once they are explained they go, and the trail keeps them.
    let kept = findings(&stand.db).await.unwrap();
    dismiss(&stand.db, &kept, "restored", "test", NOON)
        .await
        .unwrap();
    assert_eq!(stand.get(PATH).await.json()["total"], 0);
    let trail = stand.get("/api/admin/audit").await.json();
    let entries = trail["entries"].as_array().unwrap();
    let dismissed = entries
        .iter()
        .find(|entry| entry["action"] == "audit.dismiss");
    let entry = dismissed.expect("an entry of the trail");
    assert_eq!(
        (&entry["by"], &entry["detail"]["reason"]),
        (&json!("test"), &json!("restored"))
    );
    assert_eq!(entry["detail"]["findings"].as_array().unwrap().len(), 2);
}
