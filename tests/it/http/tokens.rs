//! Tokens of an identity provider: an issuer on loopback, and everything that can be wrong with a token.

use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256};
use serde_json::{Value, json};
use tidemark::domain::time::{MINUTE_MS, Millis};
use tidemark::ops::config::JwtConfig;
use tokio::net::TcpListener;

use super::issuer::{AUDIENCE, ISSUER, Issuer, Signer, ecdsa, ed25519, rsa, stand};
use super::stand::{Answer, NOON, Stand};

const fn secs(at: Millis) -> i64 {
    at.0 / 1_000
}

/// Claims of a good token.
fn claims(subject: &str) -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": secs(NOON) + 300})
}

/// Good claims with some changed; `null` takes one away.
fn with(changed: Value) -> Value {
    let mut claims = claims("alice");
    for (name, value) in changed.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

async fn alice(stand: &Stand, token: &str) -> Answer {
    let path = "/api/users/alice/streak";
    stand.ask(Some(token), Method::GET, path, None).await
}

#[tokio::test]
async fn a_token_opens_what_belongs_to_its_accounts_whatever_it_was_signed_by() {
    let all = [
        ed25519("ed"),
        ecdsa("ES256", "p-256"),
        ecdsa("ES384", "p-384"),
        rsa("RS256", &RSA_PKCS1_SHA256),
        rsa("RS384", &RSA_PKCS1_SHA384),
        rsa("RS512", &RSA_PKCS1_SHA512),
        rsa("PS256", &RSA_PSS_SHA256),
    ];
    // Among keys that are of no use here, and one that nobody can read.
    let mut keys: Vec<Value> = all.iter().map(|(_, public)| public.clone()).collect();
    keys.push(json!({"kty": "oct", "kid": "secret", "k": "AAAA"}));
    keys.push(json!({"kty": "from the future", "kid": "x"}));
    keys.push(json!("no key"));
    let issuer = Issuer::new(&keys).await;
    let stand = issuer.stand().await;
    for (signer, _) in &all {
        let token = signer.token(&with(json!({"provider_id": "prov-1"})));
        let rows = [
            ("/api/users/alice/streak", 200),
            ("/api/referrals/user/alice", 200),
            ("/api/referrals/provider/prov-1", 200),
            ("/api/v1/credits/alice", 200),
            ("/api/users/bob/streak", 403),
            ("/api/users/prov-1/streak", 403),
            ("/api/referrals/provider/alice", 403),
            ("/internal/log", 403),
        ];
        for (path, status) in rows {
            let answer = stand.ask(Some(&token), Method::GET, path, None).await;
            assert_eq!(
                answer.status.as_u16(),
                status,
                "{} {path}",
                signer.algorithm
            );
        }
    }
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn a_token_is_refused_whatever_is_wrong_with_it() {
    let (ed, ed_public) = ed25519("ed");
    let (p256, p256_public) = ecdsa("ES256", "p-256");
    let (rs256, rsa_public) = rsa("RS256", &RSA_PKCS1_SHA256);
    let for_encryption =
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "enc", "use": "enc", "x": ed_public["x"]});
    let issuer = Issuer::new(&[
        ed_public.clone(),
        p256_public.clone(),
        rsa_public.clone(),
        for_encryption,
    ])
    .await;
    let stand = issuer.stand().await;
    let good = claims("alice");
    assert_eq!(alice(&stand, &ed.token(&good)).await.status, 200);
    let header = |alg: &str, kid: &str| json!({"alg": alg, "kid": kid, "typ": "JWT"});
    // Public keys in the place of a secret.
    let hmac = |secret: Vec<u8>, kid: &'static str| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
        Signer {
            algorithm: "HS256",
            key_id: kid,
            sign: Box::new(move |message| ring::hmac::sign(&key, message).as_ref().to_vec()),
        }
    };
    let x = BASE64.decode(ed_public["x"].as_str().unwrap()).unwrap();
    let n = BASE64.decode(rsa_public["n"].as_str().unwrap()).unwrap();
    let stranger = ed25519("ed").0;
    let tampered = {
        let token = ed.token(&good);
        let parts: Vec<&str> = token.split('.').collect();
        let other = BASE64.encode(claims("bob").to_string());
        format!("{}.{other}.{}", parts[0], parts[2])
    };
    let unsigned = |alg: &str| {
        let part = |value: &Value| BASE64.encode(value.to_string());
        format!("{}.{}.", part(&header(alg, "ed")), part(&good))
    };
    let rows = [
        ("unsigned", unsigned("none"), "bad_token"),
        ("unsigned, None", unsigned("None"), "bad_token"),
        ("without a signature", unsigned("EdDSA"), "bad_token"),
        (
            "by a public key, Ed25519",
            hmac(x, "ed").token(&good),
            "bad_token",
        ),
        (
            "by a public key, RSA",
            hmac(n.clone(), "rsa").token(&good),
            "bad_token",
        ),
        (
            "by a public key, its text",
            hmac(rsa_public.to_string().into(), "rsa").token(&good),
            "bad_token",
        ),
        (
            "another key of the same id",
            stranger.token(&good),
            "bad_token",
        ),
        ("other claims", tampered, "bad_token"),
        (
            "an unknown key",
            ed.signed(&header("EdDSA", "who"), &good),
            "bad_token",
        ),
        (
            "no key",
            ed.signed(&json!({"alg": "EdDSA"}), &good),
            "bad_token",
        ),
        (
            "a key of another kind",
            ed.signed(&header("EdDSA", "p-256"), &good),
            "bad_token",
        ),
        (
            "another algorithm",
            p256.signed(&header("ES384", "p-256"), &good),
            "bad_token",
        ),
        (
            "an algorithm that is not ours",
            rs256.signed(&header("PS512", "rsa"), &good),
            "bad_token",
        ),
        (
            "a hash that is not the signature's",
            rs256.signed(&header("RS512", "rsa"), &good),
            "bad_token",
        ),
        (
            "a key for encryption",
            ed.signed(&header("EdDSA", "enc"), &good),
            "bad_token",
        ),
        (
            "critical",
            ed.signed(
                &json!({"alg": "EdDSA", "kid": "ed", "crit": ["b64"], "b64": false}),
                &good,
            ),
            "bad_token",
        ),
        (
            "its own key",
            stranger.signed(
                &json!({"alg": "EdDSA", "kid": "own", "jwk": ed_public}),
                &good,
            ),
            "bad_token",
        ),
        (
            "another issuer",
            ed.token(&with(json!({"iss": "https://evil.example"}))),
            "bad_token",
        ),
        (
            "no issuer",
            ed.token(&with(json!({"iss": null}))),
            "bad_token",
        ),
        (
            "for another audience",
            ed.token(&with(json!({"aud": "shop"}))),
            "bad_token",
        ),
        (
            "for other audiences",
            ed.token(&with(json!({"aud": ["shop", "bank"]}))),
            "bad_token",
        ),
        (
            "for nobody",
            ed.token(&with(json!({"aud": null}))),
            "bad_token",
        ),
        (
            "of nobody",
            ed.token(&with(json!({"sub": null}))),
            "bad_token",
        ),
        (
            "of a strange one",
            ed.token(&with(json!({"sub": "a\nb"}))),
            "bad_token",
        ),
        (
            "for ever",
            ed.token(&with(json!({"exp": null}))),
            "bad_token",
        ),
        (
            "until a text",
            ed.token(&with(json!({"exp": "tomorrow"}))),
            "bad_token",
        ),
        (
            "from a text",
            ed.token(&with(json!({"nbf": "today"}))),
            "bad_token",
        ),
        (
            "over",
            ed.token(&with(json!({"exp": secs(NOON) - 3_600}))),
            "expired_token",
        ),
        (
            "over since long ago",
            ed.token(&with(json!({"exp": 0}))),
            "expired_token",
        ),
        (
            "not yet",
            ed.token(&with(json!({"nbf": secs(NOON) + 3_600}))),
            "bad_token",
        ),
        (
            "claims that are none",
            ed.signed(&header("EdDSA", "ed"), &json!([1])),
            "bad_token",
        ),
        ("no token", "a.b.c".to_owned(), "bad_token"),
        ("dots", "..".to_owned(), "bad_token"),
        (
            "too long",
            format!("{}.a.b", "x".repeat(20_000)),
            "bad_token",
        ),
        ("no token and no key", "abc".to_owned(), "bad_key"),
    ];
    for (name, token, code) in rows {
        let answer = alice(&stand, &token).await;
        assert_eq!(answer.code(), (401, code.to_owned()), "{name}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer", "{name}");
        let said = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(token.len() < 4 || !said.contains(&token), "{name}: {said}");
    }
    for (name, claims) in [
        (
            "several audiences",
            with(json!({"aud": ["shop", AUDIENCE]})),
        ),
        (
            "a fraction of a second",
            with(json!({"exp": secs(NOON) as f64 + 9.5})),
        ),
        (
            "more claims",
            with(json!({"scope": "openid", "admin": true})),
        ),
    ] {
        assert_eq!(
            alice(&stand, &ed.token(&claims)).await.status,
            200,
            "{name}"
        );
    }
}

#[tokio::test]
async fn clocks_may_differ_by_a_minute() {
    let (ed, public) = ed25519("ed");
    let issuer = Issuer::new(&[public]).await;
    let stand = issuer.stand().await;
    let rows = [
        ("exp", -59, 200),
        ("exp", -60, 401),
        ("nbf", 60, 200),
        ("nbf", 61, 401),
    ];
    for (claim, seconds, status) in rows {
        let token = ed.token(&with(json!({claim: secs(NOON) + seconds})));
        let answer = alice(&stand, &token).await;
        assert_eq!(answer.status.as_u16(), status, "{claim} {seconds}");
    }
}

#[tokio::test]
async fn keys_are_asked_for_rarely_and_found_when_they_are_new() {
    let (old, old_public) = ed25519("old");
    let (new, new_public) = ed25519("new");
    let issuer = Issuer::new(std::slice::from_ref(&old_public)).await;
    let stand = issuer.stand().await;
    let far = json!({"exp": secs(NOON) + 1_000_000});
    let (old, new) = (old.token(&with(far.clone())), new.token(&with(far)));
    let at = |ms: i64| stand.clock.set(Millis(NOON.0 + ms));
    let status = async |token: &str| alice(&stand, token).await.status.as_u16();
    for _ in 0..3 {
        assert_eq!(status(&old).await, 200);
    }
    assert_eq!(issuer.asked(), 1);
    // Made-up keys make it ask, but once a second for everybody: and a key that is new works at once, whatever others send.
    let made_up: Vec<String> = ["a", "b", "c", "d"]
        .into_iter()
        .map(|name| ed25519(name).0.token(&with(json!({}))))
        .collect();
    let flood = async {
        for _ in 0..5 {
            let all = made_up
                .iter()
                .map(async |token| alice(&stand, token).await.status.as_u16());
            assert_eq!(futures::future::join_all(all).await, [401; 4]);
        }
    };
    let begun = Instant::now();
    let is_new = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        issuer.publish(&[old_public, new_public.clone()]);
        let published = Instant::now();
        assert_eq!(status(&new).await, 200);
        assert!(
            published.elapsed() < Duration::from_secs(3),
            "{:?}",
            published.elapsed()
        );
        // Known keys do not wait for those who ask.
        let known = Instant::now();
        assert_eq!(status(&old).await, 200);
        assert!(
            known.elapsed() < Duration::from_millis(500),
            "{:?}",
            known.elapsed()
        );
    };
    tokio::join!(flood, is_new);
    let asked = u64::from(issuer.asked());
    assert!(
        asked <= begun.elapsed().as_secs() + 2,
        "{asked} in {:?}",
        begun.elapsed()
    );
    at(MINUTE_MS);
    assert_eq!(status(&new).await, 200);
    let asked = issuer.asked();
    // A key that was withdrawn is known for ten minutes at most.
    issuer.publish(&[new_public]);
    at(10 * MINUTE_MS - 1);
    assert_eq!((status(&old).await, status(&new).await), (200, 200));
    at(10 * MINUTE_MS);
    assert_eq!((status(&new).await, status(&old).await), (200, 401));
    // Once because its keys were old, once for the one that it does not have any more.
    assert_eq!(issuer.asked(), asked + 2);
}

#[tokio::test]
async fn keys_are_believed_for_a_day_while_the_issuer_does_not_answer() {
    let (ed, public) = ed25519("ed");
    let issuer = Issuer::new(std::slice::from_ref(&public)).await;
    let stand = issuer.stand().await;
    let token = ed.token(&with(json!({"exp": secs(NOON) + 1_000_000})));
    let status = async || alice(&stand, &token).await.status.as_u16();
    assert_eq!(status().await, 200);
    let day = 24 * 60 * MINUTE_MS;
    let outages = [
        (StatusCode::INTERNAL_SERVER_ERROR, "{\"keys\":[]}"),
        (StatusCode::OK, "no JSON"),
        (StatusCode::OK, "{}"),
        (StatusCode::FOUND, ""),
    ];
    for (number, (code, text)) in (1..).zip(outages) {
        issuer.answer(code, text);
        stand.clock.set(Millis(NOON.0 + number * 10 * MINUTE_MS));
        let before = issuer.asked();
        assert_eq!(status().await, 200, "{text}");
        assert_eq!(issuer.asked(), before + 1, "{text}");
    }
    issuer.answer(StatusCode::OK, &" ".repeat(300_000));
    stand.clock.set(Millis(NOON.0 + day - 1));
    assert_eq!(status().await, 200);
    stand.clock.set(Millis(NOON.0 + day + MINUTE_MS));
    let answer = alice(&stand, &token).await;
    assert_eq!(answer.code(), (503, "issuer_unavailable".to_owned()));
    // API keys go on.
    assert_eq!(alice(&stand, &stand.admin).await.status, 200);
    issuer.publish(&[public]);
    stand.clock.set(Millis(NOON.0 + day + 2 * MINUTE_MS));
    assert_eq!(status().await, 200);
}

#[tokio::test]
async fn an_issuer_that_was_never_reached_is_said_to_be_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    drop(listener);
    let stand = stand(JwtConfig {
        jwks_url: url,
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        user_claim: Some("sub".to_owned()),
        provider_claim: None,
    })
    .await;
    let token = ed25519("ed").0.token(&claims("alice"));
    let answer = alice(&stand, &token).await;
    assert_eq!(answer.code(), (503, "issuer_unavailable".to_owned()));
}

#[tokio::test]
async fn claims_name_the_accounts_as_configured() {
    let (ed, public) = ed25519("ed");
    let issuer = Issuer::new(&[public]).await;
    let configured = |user: Option<&str>, provider: Option<&str>| JwtConfig {
        jwks_url: issuer.url.clone(),
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        user_claim: user.map(str::to_owned),
        provider_claim: provider.map(str::to_owned),
    };
    let token = ed.token(&with(
        json!({"sub": "s-1", "uid": "alice", "pid": "prov-1", "number": 7}),
    ));
    // Configured claims, and who may be read: user alice, user s-1, provider prov-1.
    let rows = [
        (Some("sub"), None, [403, 200, 403]),
        (Some("uid"), None, [200, 403, 403]),
        (Some("uid"), Some("pid"), [200, 403, 200]),
        (None, Some("pid"), [403, 403, 200]),
        (Some("missing"), Some("number"), [403, 403, 403]),
    ];
    for (user, provider, expected) in rows {
        let stand = stand(configured(user, provider)).await;
        let mut found = Vec::new();
        for path in ["user/alice", "user/s-1", "provider/prov-1"] {
            let path = format!("/api/referrals/{path}");
            let answer = stand.ask(Some(&token), Method::GET, &path, None).await;
            found.push(answer.status.as_u16());
        }
        assert_eq!(found, expected, "{user:?} {provider:?}");
    }
}

#[tokio::test]
async fn without_an_issuer_tokens_are_no_keys() {
    let stand = Stand::new().await;
    let token = ed25519("ed").0.token(&claims("alice"));
    let answer = alice(&stand, &token).await;
    assert_eq!(answer.code(), (401, "bad_key".to_owned()));
}
