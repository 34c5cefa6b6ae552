//! The audit trail, and the changes that are too small for a file of their own: adjustments, codes, keys.

use axum::http::Method;
use serde_json::{Value, json};
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::rules::Network;
use tidemark::domain::time::Millis;
use tidemark::store::db::Db as _;
use tidemark::store::{audit, referrals};

use super::admin::{post, publish, put, stable, told};
use super::stand::{NOON, Stand};

#[tokio::test]
async fn the_trail_is_read_in_pages_newest_first() {
    let stand = Stand::new().await;
    for n in 0..5 {
        stand.clock.set(Millis(NOON.0 + 1_000 * (n + 1)));
        let body = json!({"userId": "alice", "amount": n + 1, "reason": "x"});
        post(&stand, "/api/admin/credits", &format!("k-{n}"), &body).await;
    }
    let mut seen = Vec::new();
    let mut before = String::new();
    loop {
        let page = stand
            .get(&format!("/api/admin/audit?limit=2{before}"))
            .await
            .json();
        let entries = page["entries"].as_array().unwrap();
        // Six entries: the third page is the last one, and says so.
        assert_eq!(entries.len(), 2);
        seen.extend(
            entries
                .iter()
                .map(|entry| entry["detail"]["idempotencyKey"].clone()),
        );
        let Some(next) = page["next"].as_str() else {
            break;
        };
        before = format!("&before={}", next.replace('#', "%23"));
    }
    assert_eq!(seen[..5], ["k-4", "k-3", "k-2", "k-1", "k-0"]);
    // The key with which all of it was asked.
    assert_eq!(seen.len(), 6);
    for query in ["before=", "before=%0a", "limit=x", "after=1"] {
        let answer = stand.get(&format!("/api/admin/audit?{query}")).await;
        assert_eq!(answer.code(), (400, "invalid_query".to_owned()), "{query}");
    }
    let beyond = stand.get("/api/admin/audit?before=0").await.json();
    assert_eq!(beyond, json!({"entries": []}));
    let odd = stand
        .get("/api/admin/audit?before=zzz&limit=1")
        .await
        .json();
    assert_eq!(odd["entries"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_adjustment_counts_once_per_key_and_stands_among_the_awards() {
    let stand = Stand::new().await;
    let path = "/api/admin/adjustments";
    let body =
        json!({"kind": "user", "id": "alice", "points": "-12.5", "reason": "double bonus of May"});
    let first = post(&stand, path, "ticket-77", &body).await;
    insta::assert_json_snapshot!("adjusted", stable(first.json()));
    // In another month, too.
    stand.clock.set("2026-12-01T00:00:00Z".parse().unwrap());
    let again = post(&stand, path, "ticket-77", &body).await;
    assert_eq!(again.json(), first.json());
    let other = json!({"kind": "user", "id": "alice", "points": 12.5, "reason": "x"});
    let refused = post(&stand, path, "ticket-77", &other).await;
    assert_eq!(refused.code(), (422, "idempotency_key_reused".to_owned()));
    post(&stand, path, "ticket-78", &other).await;
    let list = stand.get("/api/admin/adjustments?kind=user&id=alice").await;
    insta::assert_json_snapshot!("awards_listed", stable(list.json()));
    let newest = stand
        .get("/api/admin/adjustments?kind=user&id=alice&limit=1")
        .await
        .json();
    assert_eq!(
        (&newest["total"], newest["awards"].as_array().unwrap().len()),
        (&json!(2), 1)
    );
    let nobody = stand
        .get("/api/admin/adjustments?kind=provider&id=alice")
        .await
        .json();
    assert_eq!(nobody["awards"], json!([]));
    insta::assert_json_snapshot!("adjustments_told", told(&stand, "awards.adjust").await);
    let rows = [
        (
            json!({"kind": "user", "id": "alice", "points": "0.0000001", "reason": "x"}),
            400,
            "invalid_body",
        ),
        (
            json!({"kind": "user", "id": "alice", "points": "10000000000000", "reason": "x"}),
            400,
            "invalid_body",
        ),
        (
            json!({"kind": "admin", "id": "alice", "points": 1, "reason": "x"}),
            400,
            "invalid_body",
        ),
        (
            json!({"kind": "user", "id": "", "points": 1, "reason": "x"}),
            400,
            "invalid_id",
        ),
        (
            json!({"kind": "user", "id": "alice", "points": 1, "reason": ""}),
            422,
            "invalid_reason",
        ),
    ];
    for (body, status, code) in rows {
        let answer = post(&stand, path, "k", &body).await;
        assert_eq!(answer.code(), (status, code.to_owned()), "{body}");
    }
    assert_eq!(
        stand.post(path, &body).await.code().1,
        "idempotency_key_missing"
    );
}

#[tokio::test]
async fn a_code_that_is_switched_off_is_refused_at_signup_and_the_trail_says_why() {
    let stand = Stand::new().await;
    let alice = Account::new(AccountKind::User, "alice").unwrap();
    let code = referrals::code_for(&stand.db, &alice, 7, NOON, None)
        .await
        .unwrap()
        .code;
    let path = format!("/api/admin/referral-codes/{}", code.to_lowercase());
    let off = json!({"active": false, "reason": "sold on a forum"});
    let mut answer = put(&stand, &path, &off).await.json();
    assert_eq!(answer["code"], code);
    answer["code"] = json!("<code>");
    insta::assert_json_snapshot!("code_switched", answer);
    assert_eq!(put(&stand, &path, &off).await.json()["active"], false);
    let found = referrals::lookup(&stand.db, &code).await.unwrap().unwrap();
    assert!(!found.active);
    put(
        &stand,
        &path,
        &json!({"active": true, "reason": "a mistake"}),
    )
    .await;
    let mut trail = told(&stand, "referral_codes.switch").await;
    assert_eq!(trail.len(), 2);
    for entry in &mut trail {
        assert_eq!(entry["subject"], code);
        entry["subject"] = json!("<code>");
    }
    trail.sort_by_key(|entry| entry["detail"]["active"] == true);
    insta::assert_json_snapshot!("codes_told", trail);
    for path in ["ZZZZ-22222", "nonsense", "%20"] {
        let answer = put(&stand, &format!("/api/admin/referral-codes/{path}"), &off).await;
        assert_eq!(answer.code(), (404, "unknown_code".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked_and_nobody_grants_what_he_may_not_do() {
    let stand = Stand::new().await;
    let path = "/api/admin/keys";
    let made = stand
        .post(path, &json!({"name": "gateway", "scopes": ["ingest"]}))
        .await;
    assert_eq!(made.status.as_u16(), 201);
    let made = made.json();
    let key = made["key"].as_str().unwrap();
    let answer = stand.ask(Some(key), Method::GET, path, None).await;
    assert_eq!(answer.code(), (403, "forbidden".to_owned()));
    let list = stand.get(path).await;
    assert!(!String::from_utf8_lossy(&list.body).contains(key));
    let found = list.json()["keys"]
        .as_array()
        .unwrap()
        .iter()
        .any(|found| found["id"] == made["id"]);
    assert!(found);

    let writer = stand.key(&["admin:write"]).await;
    let rows = [
        (json!(["admin:write"]), 201, ""),
        (json!(["admin:read", "account:user:alice"]), 201, ""),
        (json!(["ingest"]), 403, "scope_not_held"),
        (json!(["admin:read", "ingest"]), 403, "scope_not_held"),
        (json!(["root"]), 422, "invalid_scopes"),
        (json!(["account:user:"]), 422, "invalid_scopes"),
        (json!([]), 422, "invalid_scopes"),
    ];
    for (scopes, status, code) in rows {
        let body = json!({"name": "a key", "scopes": scopes});
        let answer = stand
            .ask(Some(&writer), Method::POST, path, Some(&body))
            .await;
        assert_eq!(answer.status.as_u16(), status, "{body}");
        if status != 201 {
            assert_eq!(answer.code().1, code, "{body}");
        }
    }
    let body = json!({"name": "", "scopes": ["admin:read"]});
    let nameless = stand.post(path, &body).await;
    assert_eq!(nameless.code(), (422, "invalid_name".to_owned()));
    let said = nameless.json()["detail"].to_string();
    assert!(said.contains("the name is empty"), "{said}");

    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    let revoked = stand
        .ask(Some(&stand.admin), Method::DELETE, &one, None)
        .await
        .json();
    assert_eq!(revoked["revokedAt"], "2026-11-22T12:00:00.000Z");
    stand.clock.set(Millis(NOON.0 + 1_000));
    let again = stand
        .ask(Some(&stand.admin), Method::DELETE, &one, None)
        .await
        .json();
    assert_eq!(again, revoked);
    for id in ["0123456789ab", "%20", &"x".repeat(2_000)] {
        let answer = stand
            .ask(
                Some(&stand.admin),
                Method::DELETE,
                &format!("{path}/{id}"),
                None,
            )
            .await;
        assert_eq!(answer.code(), (404, "unknown_key".to_owned()));
    }
}

#[tokio::test]
async fn rewards_are_leaderboards_ranks_and_statements() {
    let stand = Stand::new().await;
    let none = stand.get("/api/admin/rewards?type=user&id=alice").await;
    assert_eq!(none.code(), (409, "no_rules".to_owned()));
    publish(&stand, Network::Testnet).await;
    let board = stand
        .get("/api/admin/rewards?type=leaderboard")
        .await
        .json();
    insta::assert_json_snapshot!("leaderboard_empty", board);
    let rank = stand
        .get("/api/admin/rewards?type=leaderboard&kind=provider&id=prov-1&month=2026-10")
        .await;
    insta::assert_json_snapshot!("rank_of_nobody", rank.json());
    let statement = stand
        .get("/api/admin/rewards?type=provider&id=prov-1")
        .await;
    insta::assert_json_snapshot!("statement_of_nothing", statement.json());
    let rows = [
        ("", "invalid_query"),
        ("?type=everybody", "invalid_query"),
        ("?type=user", "invalid_query"),
        ("?type=user&id=", "invalid_id"),
        ("?type=user&id=alice&month=2026-13", "invalid_query"),
        ("?type=leaderboard&kind=admin", "invalid_query"),
        ("?type=leaderboard&limit=-1", "invalid_query"),
    ];
    for (query, code) in rows {
        let answer = stand.get(&format!("/api/admin/rewards{query}")).await;
        assert_eq!(answer.code(), (400, code.to_owned()), "{query}");
    }
    let beyond = stand
        .get("/api/admin/rewards?type=leaderboard&offset=18446744073709551615&limit=1000")
        .await;
    assert_eq!(beyond.json()["places"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn entries_that_are_alike_in_everything_are_all_kept() {
    let stand = Stand::new().await;
    let entry = audit::Entry {
        at: NOON,
        action: "credits.add".to_owned(),
        subject: "alice".to_owned(),
        by: "an admin".to_owned(),
        detail: json!({"amount": "1"}),
    };
    for _ in 0..5 {
        stand.db.write(audit::write(&entry)).await.unwrap();
    }
    let page = audit::page(&stand.db, None, 100).await.unwrap();
    let alike = page.entries.iter().filter(|one| **one == entry);
    assert_eq!(alike.count(), 5);
}
