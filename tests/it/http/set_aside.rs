//! Accounts that are set aside: listed, released, and one record that cannot be decoded hides no other.

use std::collections::BTreeMap;

use serde_json::json;
use tidemark::domain::ids::Account;
use tidemark::domain::position::{Epoch, Offset, WriteId};
use tidemark::store::db::{Attr, Condition, Db as _, Write};
use tidemark::store::set_aside::{self, Base, FaultCode, SetAside, Stood};

use super::admin::{post, told};
use super::stand::{NOON, Stand};
use crate::edge::memory_log::PARTITIONS;
use crate::store::{provider, user};

pub fn record_of(account: Account) -> SetAside {
    SetAside {
        partition: account.partition(PARTITIONS),
        code: FaultCode::RowUnreadable,
        what: "row UserPoints/alice/2026-11 cannot be read".to_owned(),
        at: NOON,
        since: Base {
            epoch: Epoch(0),
            next: Offset(7),
            sources: BTreeMap::new(),
        },
        since_time: None,
        stood: Stood::Unknown,
        earlier: Vec::new(),
        release: None,
        refused: None,
        account,
    }
}

async fn put_aside(stand: &Stand, account: Account) {
    let put = set_aside::put(&record_of(account), None, WriteId::default());
    stand.db.write(put).await.unwrap();
}

async fn list(stand: &Stand) -> serde_json::Value {
    stand.get("/api/admin/set-aside").await.json()
}

const RELEASE: &str = "/api/admin/set-aside/release";

#[tokio::test]
async fn accounts_that_are_set_aside_are_listed_and_their_release_is_requested_once() {
    let stand = Stand::new().await;
    assert_eq!(
        list(&stand).await,
        json!({"accounts": [], "unreadable": []})
    );
    put_aside(&stand, user("alice")).await;
    put_aside(&stand, provider("prov-1")).await;
    let listed = list(&stand).await;
    assert_eq!(listed["unreadable"], json!([]));
    let partition = user("alice").partition(PARTITIONS).0;
    let accounts = listed["accounts"].as_array().unwrap();
    assert_eq!(accounts.len(), 2);
    let expected = json!({
        "kind": "user", "id": "alice", "code": "row_unreadable",
        "what": "row UserPoints/alice/2026-11 cannot be read",
        "advice": FaultCode::RowUnreadable.advice(),
        "since": NOON.to_string(), "postingPartition": partition,
        "from": record_of(user("alice")).since.position().to_string(),
        "releaseRequested": false,
    });
    let alice = accounts.iter().find(|of| of["id"] == "alice");
    assert_eq!(alice, Some(&expected));

    let body = json!({"kind": "user", "id": "alice", "reason": "restored"});
    for _ in 0..2 {
        let answer = post(&stand, RELEASE, "k", &body).await;
        assert_eq!(answer.status, 202);
        let requested = json!({"kind": "user", "id": "alice", "releaseRequested": true});
        assert_eq!(answer.json(), requested);
    }
    let stored = set_aside::get(&stand.db, &user("alice"))
        .await
        .unwrap()
        .unwrap();
    let request = stored.value.release.unwrap();
    assert!(request.by.ends_with(": restored"), "{}", request.by);
    assert!(!request.accept_missing);
    // Its poster sees it by one small read.
    let newest = set_aside::newest_request(&stand.db, stored.value.partition).await;
    assert_eq!(newest, Ok(Some(stored.write)));
    let entries = told(&stand, "account.release").await;
    assert_eq!(entries.len(), 2);
    let listed = list(&stand).await;
    let accounts = listed["accounts"].as_array().unwrap();
    let requested =
        |id: &str| accounts.iter().find(|of| of["id"] == id).unwrap()["releaseRequested"].clone();
    assert_eq!(
        (requested("alice"), requested("prov-1")),
        (json!(true), json!(false))
    );
}

#[tokio::test]
async fn a_release_that_names_no_account_that_is_set_aside_changes_nothing() {
    let stand = Stand::new().await;
    put_aside(&stand, user("alice")).await;
    for (body, status, code) in [
        (
            json!({"kind": "user", "id": "bob", "reason": "x"}),
            404,
            "not_set_aside",
        ),
        (
            json!({"kind": "user", "id": "alice", "reason": " "}),
            422,
            "invalid_reason",
        ),
        (json!({"kind": "user", "id": "alice"}), 400, "invalid_body"),
        (
            json!({"kind": "user", "id": "alice", "reason": "x", "force": true}),
            400,
            "invalid_body",
        ),
        (
            json!({"kind": "user", "id": "", "reason": "x"}),
            400,
            "invalid_id",
        ),
    ] {
        let answer = post(&stand, RELEASE, "k", &body).await;
        assert_eq!(answer.code(), (status, code.to_owned()), "{body}");
    }
    assert!(told(&stand, "account.release").await.is_empty());
}

#[tokio::test]
async fn a_record_that_cannot_be_decoded_is_named_beside_the_others() {
    let stand = Stand::new().await;
    put_aside(&stand, user("alice")).await;
    put_aside(&stand, user("bob")).await;
    let key = set_aside::key(&user("bob"));
    let mut item = stand.db.get(&key).await.unwrap().unwrap();
    item.insert("body", Attr::S("{".to_owned()));
    let damage = Write::Put {
        table: key.table,
        item,
        condition: Condition::Present,
    };
    stand.db.write(damage).await.unwrap();
    let listed = list(&stand).await;
    assert_eq!(listed["accounts"].as_array().unwrap().len(), 1);
    assert_eq!(listed["accounts"][0]["id"], "alice");
    let damaged = &listed["unreadable"][0];
    assert_eq!(
        (&damaged["kind"], &damaged["id"], &damaged["code"]),
        (&json!("user"), &json!("bob"), &json!("record_unreadable"))
    );
    assert!(
        damaged["what"].as_str().unwrap().contains("user:bob"),
        "{damaged}"
    );
    let page = stand.get("/admin").await;
    assert_ne!(page.status, 500);
}
