//! The wallets to which claims go, over HTTP.

use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::{Value, json};
use tidemark::domain::time::Millis;
use tidemark::ops::config::{Config, HttpConfig, PublicOrigin};
use tidemark::store::audit;
use tidemark::store::wallets::MESSAGES_MAX;

use super::stand::{Answer, NOON, Stand};
use crate::domain::ethereum::TestWallet;

const ALICE: &str = "/api/wallets/user/alice";

async fn stand() -> Stand {
    stand_at(true, "points.example").await
}

/// A service that knows its own address.
pub async fn stand_at(is_https: bool, host: &str) -> Stand {
    let host = host.to_owned();
    Stand::with(HttpConfig {
        public_origin: Some(PublicOrigin { is_https, host }),
        ..Config::default().http
    })
    .await
}

async fn message(stand: &Stand, account: &str, address: &str) -> Answer {
    let path = format!("/api/wallets/{account}/message");
    stand.post(&path, &json!({"address": address})).await
}

async fn issued(stand: &Stand, account: &str, wallet: &TestWallet) -> String {
    let answer = message(stand, account, &wallet.address().to_string()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.json()["message"].as_str().unwrap().to_owned()
}

async fn link(stand: &Stand, account: &str, message: &str, signature: &str) -> Answer {
    let body = json!({"message": message, "signature": signature, "reason": "a test"});
    let path = format!("/api/wallets/{account}");
    stand
        .ask(Some(&stand.admin), Method::PUT, &path, Some(&body))
        .await
}

async fn linked(stand: &Stand, account: &str, wallet: &TestWallet) -> Value {
    let text = issued(stand, account, wallet).await;
    let answer = link(stand, account, &text, &wallet.sign(&text)).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.json()
}

#[tokio::test]
async fn an_account_links_replaces_and_unlinks_its_wallet() {
    let stand = stand().await;
    let key = stand.key(&["account:provider:p 1"]).await;
    let path = "/api/wallets/provider/p%201";
    let nothing = json!({"kind": "provider", "id": "p 1", "address": null, "history": []});
    let ask = async |method, path: &str, body: Option<Value>| {
        stand.ask(Some(&key), method, path, body.as_ref()).await
    };
    assert_eq!(ask(Method::GET, path, None).await.json(), nothing);
    let [one, two] = [1, 2].map(TestWallet::new);
    for wallet in [&one, &two] {
        let asked = json!({"address": wallet.address().to_string().to_ascii_lowercase()});
        let issued = ask(Method::POST, &format!("{path}/message"), Some(asked))
            .await
            .json();
        assert_eq!(issued["address"], json!(wallet.address()));
        assert_eq!(issued["expiresAt"], json!(NOON.plus(900_000).to_string()));
        let text = issued["message"].as_str().unwrap();
        let nonce = issued["nonce"].as_str().unwrap();
        assert_eq!(
            text,
            format!(
                "points.example wants you to sign in with your Ethereum account:\n{}\n\nLink this wallet to the account named below. \
                 From now on its claims go to this address. Signing costs nothing, and gives no access to what the wallet holds.\n\n\
                 URI: https://points.example\nVersion: 1\nChain ID: 1\nNonce: {nonce}\nIssued At: {NOON}\n\
                 Expiration Time: {}\nResources:\n- https://points.example/providers/p%201",
                wallet.address(),
                NOON.plus(900_000)
            )
        );
        let body = json!({"message": text, "signature": wallet.sign(text)});
        let answer = ask(Method::PUT, path, Some(body)).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        assert_eq!(answer.json()["address"], json!(wallet.address()));
    }
    let gone = ask(Method::POST, &format!("{path}/unlink"), Some(json!({})))
        .await
        .json();
    let at = NOON.to_string();
    let history = json!([
        {"at": at, "address": null, "control": 3},
        {"at": at, "address": two.address(), "control": 2},
        {"at": at, "address": one.address(), "control": 1},
    ]);
    assert_eq!(gone["history"], history);
    assert_eq!(gone["address"], Value::Null);
    assert_eq!(stand.get(path).await.json(), gone);
    let trail = audit::page(&stand.db, None, 10).await.unwrap().entries;
    let ours: Vec<&str> = trail
        .iter()
        .filter(|entry| entry.subject == "provider:p 1" && entry.by.starts_with("key "))
        .map(|entry| entry.action.as_str())
        .collect();
    assert_eq!(ours, ["wallets.unlink", "wallets.link", "wallets.link"]);
}

#[tokio::test]
async fn each_refusal_has_its_own_code_and_links_nothing() {
    let stand = stand().await;
    let [own, other] = [1, 2].map(TestWallet::new);
    let text = issued(&stand, "user/alice", &own).await;
    let of_bob = issued(&stand, "user/bob", &own).await;
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let address = own.address().to_string();
    let flipped = format!("0x{}", swapped(&address[2..]));
    let nonce = text
        .split("Nonce: ")
        .nth(1)
        .unwrap()
        .split('\n')
        .next()
        .unwrap();
    let rows = [
        (
            text.clone(),
            other.sign(&text),
            422,
            "signature_other_address",
        ),
        (
            text.clone(),
            own.sign("another text"),
            422,
            "signature_other_address",
        ),
        (
            text.clone(),
            own.sign(&text)[..130].to_owned(),
            422,
            "signature_malformed",
        ),
        (
            text.clone(),
            format!("{}ff", own.sign(&text)),
            422,
            "signature_malformed",
        ),
        (text.clone(), String::new(), 422, "signature_malformed"),
        (
            of_bob.clone(),
            own.sign(&of_bob),
            422,
            "message_other_account",
        ),
        (
            changed("users/alice", "users/eve"),
            String::new(),
            422,
            "message_other_account",
        ),
        (
            changed("\n- https", "\n- https://x\n- https"),
            String::new(),
            422,
            "message_other_account",
        ),
        (
            changed("points.example wants", "evil.example wants"),
            String::new(),
            422,
            "message_other_domain",
        ),
        (
            changed("URI: https://points.example", "URI: https://evil.example"),
            String::new(),
            422,
            "message_other_uri",
        ),
        (
            changed("Chain ID: 1", "Chain ID: 137"),
            String::new(),
            422,
            "message_other_chain",
        ),
        (
            changed(nonce, "0123456789abcdef"),
            String::new(),
            422,
            "nonce_unknown",
        ),
        (
            changed("costs nothing", "costs little"),
            String::new(),
            422,
            "message_altered",
        ),
        (
            changed(".000Z\nRes", ".001Z\nRes"),
            String::new(),
            422,
            "message_altered",
        ),
        (
            changed(".000Z\nRes", "Z\nRes"),
            String::new(),
            422,
            "message_altered",
        ),
        (
            changed(&address, &other.address().to_string()),
            String::new(),
            422,
            "message_altered",
        ),
        (
            changed("points.example wants", "https://points.example wants"),
            String::new(),
            422,
            "message_altered",
        ),
        (
            changed(&address, &flipped),
            String::new(),
            422,
            "address_checksum",
        ),
        (
            changed(&address, &address[..41]),
            String::new(),
            422,
            "address_malformed",
        ),
        (
            changed("Version: 1", "Version: 2"),
            String::new(),
            422,
            "message_malformed",
        ),
        (
            format!("{text}\n"),
            own.sign(&text),
            422,
            "message_malformed",
        ),
        (String::new(), own.sign(&text), 422, "message_malformed"),
    ];
    for (message, signature, status, code) in rows {
        // Whoever alters a message can sign what came out: the code is that of the message.
        let signature = match signature.is_empty() && !code.starts_with("signature") {
            true => own.sign(&message),
            false => signature,
        };
        let answer = link(&stand, "user/alice", &message, &signature).await;
        assert_eq!(
            answer.code(),
            (status, code.to_owned()),
            "{message} {signature}"
        );
    }
    let contract = link(
        &stand,
        "user/alice",
        &text,
        &format!("{}00", own.sign(&text)),
    )
    .await;
    let told = contract.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        told.contains("EIP-1271") && told.contains("not supported"),
        "{told}"
    );
    for (typed, code) in [
        (flipped.as_str(), "address_checksum"),
        ("alice.eth", "address_malformed"),
        ("", "address_malformed"),
    ] {
        let answer = message(&stand, "user/alice", typed).await;
        assert_eq!(answer.code(), (422, code.to_owned()), "{typed}");
    }
    assert_eq!(stand.get(ALICE).await.json()["history"], json!([]));
    // After all that the message still links, once.
    let answer = link(&stand, "user/alice", &text, &own.sign(&text)).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let again = link(&stand, "user/alice", &text, &own.sign(&text)).await;
    assert_eq!(again.code(), (409, "nonce_used".to_owned()));
    let text = issued(&stand, "user/alice", &other).await;
    stand.clock.set(Millis(NOON.0 + 900_000));
    let late = link(&stand, "user/alice", &text, &other.sign(&text)).await;
    assert_eq!(late.code(), (422, "nonce_expired".to_owned()));
    assert_eq!(
        stand.get(ALICE).await.json()["address"],
        json!(own.address())
    );
}

fn swapped(text: &str) -> String {
    let swap = |c: char| match c.is_ascii_lowercase() {
        true => c.to_ascii_uppercase(),
        false => c.to_ascii_lowercase(),
    };
    text.chars().map(swap).collect()
}

#[tokio::test]
async fn a_repeat_under_the_same_key_is_told_the_same() {
    let stand = stand().await;
    let wallet = TestWallet::new(1);
    let text = issued(&stand, "user/alice", &wallet).await;
    let body = json!({"message": text, "signature": wallet.sign(&text), "reason": "a test"});
    let body = body.to_string();
    let with_key = |key: &str| {
        Request::put(ALICE)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", stand.admin))
            .header("Idempotency-Key", key)
            .body(Body::from(body.clone()))
            .unwrap()
    };
    let first = stand.send(with_key("k")).await;
    assert_eq!(first.status, 200, "{:?}", first.body);
    let again = stand.send(with_key("k")).await;
    assert_eq!(again.json(), first.json());
    let other = stand.send(with_key("other")).await;
    assert_eq!(other.code(), (409, "nonce_used".to_owned()));
}

#[tokio::test]
async fn an_admin_links_with_a_reason_that_the_account_sees() {
    let stand = stand().await;
    let wallet = TestWallet::new(1);
    let text = issued(&stand, "user/alice", &wallet).await;
    let mut body = json!({"message": text, "signature": wallet.sign(&text)});
    for reason in [Value::Null, json!(""), json!(" "), json!("a\nb")] {
        body["reason"] = reason;
        let refused = stand
            .ask(Some(&stand.admin), Method::PUT, ALICE, Some(&body))
            .await;
        assert_eq!(refused.code(), (422, "invalid_reason".to_owned()), "{body}");
    }
    assert_eq!(stand.get(ALICE).await.json()["history"], json!([]));
    body["reason"] = json!("she lost her key");
    let linked = stand
        .ask(Some(&stand.admin), Method::PUT, ALICE, Some(&body))
        .await;
    assert_eq!(linked.status, 200, "{:?}", linked.body);
    let own = stand.key(&["account:user:alice"]).await;
    let seen = stand.ask(Some(&own), Method::GET, ALICE, None).await.json();
    assert_eq!(seen["history"][0]["byAdmin"], true);
    assert_eq!(seen["history"][0]["reason"], "she lost her key");
    let trail = audit::page(&stand.db, None, 10).await.unwrap().entries;
    let entry = trail.iter().find(|entry| entry.action == "wallets.link");
    let detail = &entry.expect("an entry of the audit trail").detail;
    assert_eq!(detail["reason"], "she lost her key");
    assert_eq!(detail["byAdmin"], true);
}

#[tokio::test]
async fn an_admin_unlinks_with_a_reason_that_the_account_sees() {
    let stand = stand().await;
    linked(&stand, "user/alice", &TestWallet::new(1)).await;
    let path = format!("{ALICE}/unlink");
    for body in [json!({}), json!({"reason": " "}), json!({"reason": "a\nb"})] {
        let refused = stand.post(&path, &body).await;
        assert_eq!(refused.code(), (422, "invalid_reason".to_owned()), "{body}");
    }
    let reader = stand.key(&["admin:read"]).await;
    let body = json!({"reason": "stolen"});
    let refused = stand
        .ask(Some(&reader), Method::POST, &path, Some(&body))
        .await;
    assert_eq!(refused.code(), (403, "forbidden".to_owned()));
    assert_eq!(stand.post(&path, &body).await.status, 200);
    let own = stand.key(&["account:user:alice"]).await;
    let seen = stand.ask(Some(&own), Method::GET, ALICE, None).await.json();
    assert_eq!(seen["history"][0]["reason"], "stolen");
    // Unlinking again changes nothing.
    let again = stand.post(&path, &body).await.json();
    assert_eq!(again["history"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn without_a_public_origin_nobody_is_asked_to_sign() {
    let stand = Stand::new().await;
    let wallet = TestWallet::new(1);
    let refused = message(&stand, "user/alice", &wallet.address().to_string()).await;
    assert_eq!(refused.code(), (409, "no_public_origin".to_owned()));
    let refused = link(&stand, "user/alice", "x", "0x").await;
    assert_eq!(refused.code(), (409, "no_public_origin".to_owned()));
    assert_eq!(stand.get(ALICE).await.status, 200);
}

#[tokio::test]
async fn too_many_links_and_messages_are_bounded() {
    let stand = stand().await;
    let [one, two] = [1, 2].map(TestWallet::new);
    for n in 0..10 {
        let wallet = if n % 2 == 0 { &one } else { &two };
        linked(&stand, "user/alice", wallet).await;
    }
    let text = issued(&stand, "user/alice", &one).await;
    let refused = link(&stand, "user/alice", &text, &one.sign(&text)).await;
    assert_eq!(refused.code(), (409, "too_many_wallet_links".to_owned()));
    let first = issued(&stand, "user/bob", &one).await;
    for _ in 0..MESSAGES_MAX {
        stand.clock.set(NOON.plus(1));
        issued(&stand, "user/bob", &one).await;
    }
    let refused = link(&stand, "user/bob", &first, &one.sign(&first)).await;
    assert_eq!(refused.code(), (422, "nonce_unknown".to_owned()));
}
