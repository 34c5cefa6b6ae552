//! Badges over HTTP: lists, public addresses, credentials, and what admins decide.

use axum::body::Body;
use axum::http::{Method, Request, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tidemark::app::CommandError;
use tidemark::app::queries::{SeasonBoards, SeasonPlace};
use tidemark::domain::badges::Evidence;
use tidemark::domain::position::WriteId;
use tidemark::domain::rules::Network;
use tidemark::store::badges::{Grant, grant_writes};
use tidemark::store::db::Db;
use tidemark::store::pricing::{NewValue, Publish, publish};

use super::rows::rules;
use super::stand::{Answer, NOON, Stand};
use crate::store::{provider, user};

const SVG: &str = r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="3"/></svg>"#;

/// A service whose rules have two badges.
pub async fn stand() -> Stand {
    let stand = Stand::new().await;
    rules(&stand, Network::Testnet).await;
    let badges = json!([
        {"id": "week-streak", "name": "Seven days", "description": "Active for a week.",
         "picture": SVG, "criterion": {"streakDays": 7}},
        {"id": "top-ten", "name": "Top ten", "description": "Among the best of a month.",
         "picture": "https://example.com/ten.png", "criterion": {"monthRank": 10}},
    ]);
    let publication = Publish {
        values: vec![NewValue {
            key: "rules.badges".to_owned(),
            value: badges.to_string(),
        }],
        effective_from: NOON,
        by: "a test".to_owned(),
        reason: "a test".to_owned(),
        now: NOON,
        token: "badges".to_owned(),
    };
    publish(&stand.db, &publication).await.unwrap();
    stand
}

/// Grants as a poster would: a week's streak to user `alice`, a rank to provider `prov-1`.
pub async fn grant_some(stand: &Stand) {
    let streak = Evidence::Streak { days: 7 };
    let rank = Evidence::Rank {
        month: "2026-10".parse().unwrap(),
        rank: 3,
    };
    let write = |count| WriteId { worker: 77, count };
    for (account, badge, evidence, count) in [
        (user("alice"), "week-streak", streak, 1),
        (provider("prov-1"), "top-ten", rank, 2),
    ] {
        let mut grant = Grant::new(account, badge.parse().unwrap(), evidence, write(count));
        grant.granted_at = NOON;
        stand.db.transact(grant_writes(&grant)).await.unwrap();
    }
}

pub async fn list(stand: &Stand, path: &str) -> Value {
    let answer = stand.get(path).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.json()["badges"].clone()
}

/// Asks without a key.
pub async fn open(stand: &Stand, path: &str) -> Answer {
    stand.ask(None, Method::GET, path, None).await
}

async fn decide(stand: &Stand, account: &str, badge: &str, revoked: bool) -> Answer {
    let path = format!("/api/admin/badges/{account}/{badge}");
    let body = json!({"revoked": revoked, "reason": "a test"});
    stand
        .ask(Some(&stand.admin), Method::PUT, &path, Some(&body))
        .await
}

/// Header and claims of a JWT.
fn parts(token: &[u8]) -> (Value, Value) {
    let text = std::str::from_utf8(token).expect("ASCII");
    let part = |part: &str| {
        serde_json::from_slice(&BASE64.decode(part).expect("base64url")).expect("JSON")
    };
    let mut parts = text.split('.');
    (part(parts.next().unwrap()), part(parts.next().unwrap()))
}

/// The bits of a status list.
fn bits(list: &Value) -> Vec<u8> {
    use std::io::Read as _;
    let text = list["credentialSubject"]["encodedList"]
        .as_str()
        .expect("a list");
    let packed = BASE64
        .decode(text.strip_prefix('u').expect("multibase"))
        .expect("base64url");
    let mut bits = Vec::new();
    GzDecoder::new(&packed[..])
        .read_to_end(&mut bits)
        .expect("gzip");
    bits
}

#[tokio::test]
async fn accounts_see_their_badges_and_nobody_elses() {
    let stand = stand().await;
    assert_eq!(list(&stand, "/api/users/alice/badges").await, json!([]));
    grant_some(&stand).await;
    let alice = stand.key(&["account:user:alice"]).await;
    let path = "/api/users/alice/badges";
    let own = stand.ask(Some(&alice), Method::GET, path, None).await;
    insta::assert_json_snapshot!("badges_of_a_user", own.json());
    let others = stand
        .ask(Some(&alice), Method::GET, "/api/users/bob/badges", None)
        .await;
    assert_eq!(others.code(), (403, "forbidden".to_owned()));
    let providers = list(&stand, "/api/providers/prov-1/badges").await;
    assert_eq!(providers[0]["evidence"], "rank 3 in 2026-10");
    assert_eq!(providers[0]["picture"], "https://example.com/ten.png");
}

#[tokio::test]
async fn the_public_address_shows_the_badge_and_not_whose_it_is() {
    let stand = stand().await;
    grant_some(&stand).await;
    let badges = list(&stand, "/api/users/alice/badges").await;
    let path = badges[0]["path"].as_str().unwrap();
    let metadata = open(&stand, path).await;
    let mut varies = metadata.headers.get_all(header::VARY).iter();
    assert!(varies.any(|by| by == "accept"), "{:?}", metadata.headers);
    insta::assert_json_snapshot!("metadata_of_a_badge", metadata.json());
    assert_eq!(metadata.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    let picture = open(&stand, &format!("{path}/picture")).await;
    assert_eq!(picture.body, SVG);
    assert_eq!(picture.headers[header::CONTENT_TYPE], "image/svg+xml");
    let policy = picture.headers[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .unwrap();
    assert!(
        policy.contains("sandbox") && policy.contains("default-src 'none'"),
        "{policy}"
    );
    let page = Request::get(path)
        .header(header::HOST, "localhost")
        .header(header::ACCEPT, "text/html");
    let page = stand.send(page.body(Body::empty()).unwrap()).await;
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(text.contains("Seven days"), "{text}");
    for answer in [&metadata.body, &page.body, &picture.body] {
        assert!(!String::from_utf8_lossy(answer).contains("alice"));
    }
    let other = list(&stand, "/api/providers/prov-1/badges").await;
    let other = other[0]["path"].as_str().unwrap().to_owned();
    let elsewhere = open(&stand, &format!("{other}/picture")).await;
    assert_eq!(elsewhere.status, 302);
    assert_eq!(
        elsewhere.headers[header::LOCATION],
        "https://example.com/ten.png"
    );
    for unknown in [
        "/badges/00112233445566778899aabbccddeeff",
        "/badges/alice",
        "/badges/%2e%2e",
    ] {
        let answer = open(&stand, unknown).await;
        assert_eq!(
            answer.code(),
            (404, "unknown_badge".to_owned()),
            "{unknown}"
        );
    }
}

#[tokio::test]
async fn a_credential_names_the_issuer_and_hides_the_account() {
    let stand = stand().await;
    grant_some(&stand).await;
    let path = "/api/users/alice/badges/week-streak/credential";
    let credential = stand.get(path).await;
    assert_eq!(credential.status, 200, "{:?}", credential.body);
    assert_eq!(
        credential.headers[header::CONTENT_TYPE],
        "application/vc+jwt"
    );
    let (head, claims) = parts(&credential.body);
    insta::assert_json_snapshot!("credential_of_a_badge", claims);
    assert_eq!(head["alg"], "EdDSA");
    let keys = open(&stand, "/.well-known/jwks.json").await.json();
    assert_eq!(keys["keys"][0]["kid"], head["kid"]);
    assert_eq!(keys["keys"][0].as_object().unwrap().get("d"), None);
    // The address that names the key leads to it.
    let kid = head["kid"]
        .as_str()
        .unwrap()
        .strip_prefix("http://localhost:8787")
        .unwrap();
    assert_eq!(open(&stand, kid).await.json(), keys["keys"][0]);
    for path in ["/badges/issuer", "/badges/achievements/week-streak"] {
        assert_eq!(open(&stand, path).await.status, 200, "{path}");
    }
    let (status, code) = stand
        .get("/api/users/alice/badges/top-ten/credential")
        .await
        .code();
    assert_eq!((status, &*code), (404, "badge_not_granted"));
    let (status, code) = stand
        .get("/api/users/alice/badges/A%20b/credential")
        .await
        .code();
    assert_eq!((status, &*code), (404, "unknown_badge"));
}

#[tokio::test]
async fn what_an_admin_takes_back_is_shown_as_revoked_until_it_is_given_back() {
    let stand = stand().await;
    grant_some(&stand).await;
    let badges = list(&stand, "/api/users/alice/badges").await;
    let path = badges[0]["path"].as_str().unwrap().to_owned();
    let status = format!("{path}/status");
    for revoked in [false, true, true, false] {
        let answer = decide(&stand, "user/alice", "week-streak", revoked).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        assert_eq!(answer.json()["revokedReason"] == "a test", revoked);
        let token = open(&stand, &status).await;
        let (_, list) = parts(&token.body);
        let bits = bits(&list);
        assert_eq!(
            (bits.len(), bits[0]),
            (131_072 / 8, if revoked { 0x80 } else { 0 })
        );
        let metadata = open(&stand, &path).await.json().to_string();
        assert_eq!(metadata.contains("revoked"), revoked, "{metadata}");
    }
    let (code, name) = decide(&stand, "user/alice", "top-ten", true).await.code();
    assert_eq!((code, &*name), (404, "badge_not_granted"));
    let audit = stand.get("/api/admin/audit").await.json();
    let mut actions: Vec<&str> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["action"].as_str())
        .filter(|action| action.starts_with("badges."))
        .collect();
    // Of one moment: in no order.
    actions.sort_unstable();
    assert_eq!(actions, ["badges.restore", "badges.revoke"]);
}

#[tokio::test]
async fn a_replaced_key_stays_published_and_its_private_part_is_gone() {
    let stand = stand().await;
    grant_some(&stand).await;
    let path = "/api/users/alice/badges/week-streak/credential";
    let before = parts(&stand.get(path).await.body).0["kid"].clone();
    let private = |items: &[tidemark::store::db::Item]| {
        items
            .iter()
            .filter(|item| item.get("pkcs8").is_some())
            .count()
    };
    let body = json!({"reason": "once a year"});
    let rotated = stand.post("/api/admin/badge-keys", &body).await;
    assert_eq!(rotated.status, 200, "{:?}", rotated.body);
    let after = parts(&stand.get(path).await.body).0["kid"].clone();
    assert_ne!(before, after);
    let keys = open(&stand, "/.well-known/jwks.json").await.json();
    let kids: Vec<&Value> = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["kid"])
        .collect();
    assert_eq!(kids.len(), 2);
    assert!(
        kids.contains(&&before) && kids.contains(&&after),
        "{kids:?}"
    );
    let stored =
        tidemark::store::pages::whole(tidemark::store::db::Table::Checkpoints, "badge-keys");
    let stored = tidemark::store::pages::all(&stand.db, stored)
        .await
        .unwrap();
    assert_eq!((stored.len(), private(&stored)), (3, 1));
}

#[tokio::test]
async fn a_withdrawn_key_is_not_published_and_the_one_that_signs_cannot_be_withdrawn() {
    let stand = stand().await;
    grant_some(&stand).await;
    let path = "/api/users/alice/badges/week-streak/credential";
    let signed_by = async || {
        let kid = parts(&stand.get(path).await.body).0["kid"].clone();
        let kid = kid.as_str().unwrap().to_owned();
        kid.rsplit_once('/').unwrap().1.to_owned()
    };
    let body = json!({"reason": "a backup was stolen"});
    let withdraw = async |key: &str| {
        let path = format!("/api/admin/badge-keys/{key}/withdraw");
        stand.post(&path, &body).await
    };
    let old = signed_by().await;
    let refused = withdraw(&old).await;
    assert_eq!(refused.code(), (409, "key_signs".to_owned()));
    let unknown = withdraw("x").await;
    assert_eq!(unknown.code(), (404, "unknown_key".to_owned()));
    let rotated = stand.post("/api/admin/badge-keys", &body).await;
    assert_eq!(rotated.status, 200);
    for _ in 0..2 {
        assert_eq!(withdraw(&old).await.status, 204);
    }
    let keys = open(&stand, "/.well-known/jwks.json").await.json();
    let kids = keys["keys"].as_array().unwrap().iter();
    let kids: Vec<&str> = kids.map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(kids.len(), 1);
    assert!(kids[0].ends_with(&signed_by().await), "{kids:?}");
    let gone = open(&stand, &format!("/badges/keys/{old}")).await;
    assert_eq!(gone.code(), (404, "unknown_key".to_owned()));
    let audit = stand.get("/api/admin/audit").await.json();
    let entries = audit["entries"].as_array().unwrap().iter();
    let withdrawals = entries.filter(|entry| entry["action"] == "badges.withdraw_key");
    assert_eq!(withdrawals.count(), 1);
}

#[tokio::test]
async fn a_status_list_is_valid_since_what_it_says_is_so_and_its_bytes_stay() {
    let stand = stand().await;
    grant_some(&stand).await;
    let badges = list(&stand, "/api/users/alice/badges").await;
    let granted = badges[0]["grantedAt"].clone();
    let status = format!("{}/status", badges[0]["path"].as_str().unwrap());
    let before = open(&stand, &status).await.body;
    assert_eq!(parts(&before).1["validFrom"], granted);
    let later = NOON.plus(3_600_000);
    stand.clock.set(later);
    assert_eq!(open(&stand, &status).await.body, before);
    decide(&stand, "user/alice", "week-streak", true).await;
    let revoked = open(&stand, &status).await.body;
    assert_eq!(parts(&revoked).1["validFrom"], later.to_string());
}

#[tokio::test]
async fn a_season_is_frozen_once_and_shown_to_admins() {
    let stand = Stand::new().await;
    rules(&stand, Network::Testnet).await;
    let path = "/api/admin/seasons/High%20tide";
    let missing = stand.get(path).await;
    assert_eq!(missing.code(), (404, "season_not_frozen".to_owned()));
    let boards = SeasonBoards {
        name: "High tide".to_owned(),
        from: NOON,
        to: NOON.plus(1),
        rows: 3,
        users: vec![SeasonPlace {
            rank: 1,
            id: "alice".to_owned(),
            points: "1.5".parse().unwrap(),
        }],
        providers: Vec::new(),
    };
    let commands = tidemark::app::commands::Commands::new(
        std::sync::Arc::new(tidemark::app::queries::Queries::new(
            std::sync::Arc::new(stand.db.clone()),
            stand.log.clone(),
            tidemark::http::Partitions {
                source: 1,
                posting: 1,
                rejected: 1,
            },
        )),
        stand.clock.clone(),
    );
    for _ in 0..2 {
        let frozen = commands.freeze_season(&boards, "a test").await.unwrap();
        assert_eq!(frozen, boards);
    }
    let others = SeasonBoards {
        rows: 4,
        ..boards.clone()
    };
    let refused = commands.freeze_season(&others, "a test").await.unwrap_err();
    match refused {
        CommandError::Refused(refusal) => assert_eq!(refusal.code, "season_frozen_otherwise"),
        other => panic!("{other}"),
    }
    let shown = stand.get(path).await;
    assert_eq!(shown.json()["users"][0]["points"], "1.5");
    let audit = stand.get("/api/admin/audit").await.json().to_string();
    assert_eq!(audit.matches("seasons.freeze").count(), 1, "{audit}");
}
