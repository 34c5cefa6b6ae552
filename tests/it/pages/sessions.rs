//! Signing in, being signed in, signing out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::json;
use tidemark::domain::rules::Network;
use tidemark::domain::time::{HOUR_MS, Millis};
use tidemark::http::{Hosts, KEY_CACHE_TTL, router};
use tidemark::ops::config::{Config, HttpConfig, PublicOrigin};
use tidemark::store::keys;
use tower::ServiceExt;

use super::jar::{Jar, field, has, location, stand, text};
use crate::http::issuer::{AUDIENCE, ISSUER, Issuer, ed25519};
use crate::http::rows::rules;
use crate::http::slow_db::service_on;
use crate::http::stand::{NOON, Stand};

fn set_cookies(answer: &crate::http::stand::Answer) -> Vec<String> {
    let all = answer.headers.get_all(header::SET_COOKIE).into_iter();
    all.map(|value| value.to_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_key_signs_in_and_its_cookie_says_nothing() {
    let stand = stand().await;
    let key = stand.key(&["account:user:alice"]).await;
    let mut jar = Jar::default();
    let answer = jar.sign_in(&stand, &key).await;
    assert_eq!(location(&answer), "/");
    let cookies = set_cookies(&answer);
    let [session] = &cookies[..] else {
        panic!("{cookies:?}")
    };
    for part in [
        "; Path=/",
        "; HttpOnly",
        "; SameSite=Strict",
        "; Max-Age=43200",
    ] {
        assert!(session.contains(part), "{session}");
    }
    // On loopback, over plain HTTP.
    assert!(
        session.starts_with("tidemark=") && !session.contains("Secure"),
        "{session}"
    );
    let secret = key.splitn(3, '_').nth(2).unwrap();
    assert!(!session.contains(secret));
    assert_eq!(location(&jar.get(&stand, "/").await), "/users/alice");
    let page = jar.get(&stand, "/users/alice").await;
    assert_eq!(page.status, 200);
    assert!(!text(&page).contains(secret));
}

#[tokio::test]
async fn beyond_this_machine_cookies_need_tls() {
    let stand = stand().await;
    let app = router(stand.service.clone(), Hosts::Any);
    let request = Request::get("/signin").header(header::HOST, "tidemark.example");
    let answer = app
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("__Host-tidemark-guest="), "{cookie}");
    assert!(cookie.contains("; Secure"), "{cookie}");
}

#[tokio::test]
async fn what_is_no_good_key_signs_nobody_in_and_is_not_repeated() {
    let stand = stand().await;
    let revoked = stand.key(&["admin:read"]).await;
    let id = revoked.split('_').nth(1).unwrap();
    keys::revoke(&stand.db, id, "a test", NOON).await.unwrap();
    let long = "x".repeat(3_000);
    for key in ["", "tmk_", "nonsense", &revoked, &long, "a.b.c"] {
        let mut jar = Jar::default();
        let answer = jar.sign_in(&stand, key).await;
        assert_eq!(answer.status, 422, "{key}");
        assert!(!jar.cookies.contains_key("tidemark"));
        let page = text(&answer);
        assert!(page.contains("role=\"alert\""), "{page}");
        assert!(key.len() < 5 || !page.contains(key), "{page}");
    }
}

#[tokio::test]
async fn a_session_leads_back_to_where_it_was_asked_for_and_nowhere_else() {
    let stand = stand().await;
    let key = stand.key(&["account:user:alice"]).await;
    let mut jar = Jar::default();
    let asked = jar.get(&stand, "/users/alice?month=2026-10").await;
    let sign_in = location(&asked).to_owned();
    assert_eq!(sign_in, "/signin?next=%2Fusers%2Falice%3Fmonth%3D2026-10");
    let page = text(&jar.get(&stand, &sign_in).await);
    let next = field(&page, "next");
    assert_eq!(next, "/users/alice?month=2026-10");
    for (next, leads_to) in [
        (next.as_str(), next.as_str()),
        ("//evil.example", "/"),
        ("https://evil.example/", "/"),
    ] {
        let mut jar = jar.clone();
        let token = jar.token(&stand).await;
        let fields = [
            ("form_token", token.as_str()),
            ("next", next),
            ("key", &key),
        ];
        let answer = jar.post_raw(&stand, "/signin", &fields, &[]).await;
        assert_eq!(location(&answer), leads_to);
    }
}

#[tokio::test]
async fn a_session_ends_by_time_by_signing_out_and_with_its_key() {
    let stand = stand().await;
    let key = stand.key(&["account:user:alice"]).await;
    let mut jar = Jar::with_key(&stand, &key).await;
    stand.clock.set(Millis(NOON.0 + 12 * HOUR_MS - 1));
    assert_eq!(jar.get(&stand, "/users/alice").await.status, 200);
    stand.clock.set(Millis(NOON.0 + 12 * HOUR_MS));
    assert!(location(&jar.get(&stand, "/users/alice").await).starts_with("/signin"));
    stand.clock.set(NOON);

    let mut jar = Jar::with_key(&stand, &key).await;
    let answer = jar.post(&stand, "/signout", &[]).await;
    assert_eq!(location(&answer), "/signin?done=signed-out");
    assert!(!jar.cookies.contains_key("tidemark"));

    let mut jar = Jar::with_key(&stand, &key).await;
    let id = key.split('_').nth(1).unwrap();
    keys::revoke(&stand.db, id, "a test", NOON).await.unwrap();
    let start = Instant::now();
    while jar.get(&stand, "/users/alice").await.status == 200 {
        assert!(
            start.elapsed() < KEY_CACHE_TTL * 3,
            "a revoked key's session goes on"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(location(&jar.get(&stand, "/users/alice").await).starts_with("/signin"));
}

#[tokio::test]
async fn every_process_of_an_installation_opens_the_sessions_of_the_others() {
    let stand = stand().await;
    let mut jar = Jar::signed_in(&stand, &["account:user:alice"]).await;
    let other = Stand {
        service: service_on(&stand, Arc::new(stand.db.clone())),
        ..stand
    };
    assert_eq!(jar.get(&other, "/users/alice").await.status, 200);
    let answer = jar.post(&other, "/users/alice/code", &[]).await;
    assert_eq!(location(&answer), "/users/alice?done=code");
}

#[tokio::test]
async fn a_link_signs_in_once_within_a_day_and_as_nobody_else() {
    let stand = stand().await;
    let only = "account:user:alice".parse().unwrap();
    let path = stand.service.sign_in_path(&stand.admin, Some(only));
    let (mut jar, mut late) = (Jar::default(), Jar::default());
    // Looking uses nothing up.
    for _ in 0..2 {
        let page = text(&jar.get(&stand, &path).await);
        assert!(page.contains("user alice"), "{page}");
    }
    let t = path.split_once("t=").unwrap().1.to_owned();
    assert_eq!(
        location(&jar.post(&stand, "/signin/link", &[("t", &t)]).await),
        "/users/alice"
    );
    assert_eq!(jar.get(&stand, "/users/alice").await.status, 200);
    for foreign in ["/users/bob", "/admin", "/providers/alice"] {
        assert_eq!(jar.get(&stand, foreign).await.status, 403, "{foreign}");
    }
    assert_eq!(late.get(&stand, &path).await.status, 410);
    assert_eq!(
        late.post(&stand, "/signin/link", &[("t", &t)]).await.status,
        410
    );

    let path = stand.service.sign_in_path(&stand.admin, None);
    stand.clock.set(Millis(NOON.0 + 24 * HOUR_MS));
    assert_eq!(late.get(&stand, &path).await.status, 410);
}

#[tokio::test]
async fn a_link_gives_no_more_than_its_key_may_grant() {
    let stand = stand().await;
    let weak = stand.key(&["account:user:eve"]).await;
    let only = "account:user:alice".parse().unwrap();
    let path = stand.service.sign_in_path(&weak, Some(only));
    let t = path.split_once("t=").unwrap().1.to_owned();
    let mut jar = Jar::default();
    assert_eq!(
        jar.post(&stand, "/signin/link", &[("t", &t)]).await.status,
        410
    );
    assert!(!jar.cookies.contains_key("tidemark"));
}

#[tokio::test]
async fn a_token_of_the_marketplace_signs_in_for_as_long_as_it_is_good() {
    let (signer, public) = ed25519("ed");
    let issuer = Issuer::new(&[public]).await;
    let stand = issuer.stand().await;
    rules(&stand, Network::Testnet).await;
    let expires = NOON.plus(HOUR_MS).0 / 1_000;
    let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": expires});
    let token = signer.token(&claims);
    let mut jar = Jar::with_key(&stand, &token).await;
    assert_eq!(jar.get(&stand, "/users/alice").await.status, 200);
    assert_eq!(jar.get(&stand, "/users/bob").await.status, 403);
    stand.clock.set(NOON.plus(2 * HOUR_MS));
    assert!(location(&jar.get(&stand, "/users/alice").await).starts_with("/signin"));
}

#[tokio::test]
async fn a_form_that_was_sent_after_the_session_had_ended_is_said_not_to_be_done() {
    let stand = stand().await;
    let headers = [
        ("sec-fetch-site", "same-origin"),
        ("referer", "http://localhost:8787/users/alice?month=2026-11"),
    ];
    let mut nobody = Jar::default();
    let answer = nobody
        .post_raw(&stand, "/users/alice/code", &[], &headers)
        .await;
    assert_eq!(
        location(&answer),
        "/signin?done=lost&next=%2Fusers%2Falice%3Fmonth%3D2026-11"
    );
    let page = text(&nobody.get(&stand, location(&answer)).await);
    has(&page, &["so nothing was done"]);
    // Nobody is led elsewhere by what says where it came from.
    let headers = [("referer", "http://localhost:8787//evil.example/")];
    let answer = nobody
        .post_raw(&stand, "/users/alice/code", &[], &headers)
        .await;
    assert_eq!(location(&answer), "/signin?done=lost&next=%2F");
}

#[tokio::test]
async fn signing_out_ends_the_session_for_whoever_has_copied_its_cookie() {
    let stand = stand().await;
    let mut jar = Jar::signed_in(&stand, &["account:user:alice"]).await;
    let mut other = Jar::signed_in(&stand, &["account:user:alice"]).await;
    let mut copy = jar.clone();
    assert_eq!(copy.get(&stand, "/users/alice").await.status, 200);
    // Another process that has looked the session up before believes it for a moment; one that has not knows at once.
    let elsewhere = Stand {
        service: service_on(&stand, Arc::new(stand.db.clone())),
        ..stand
    };
    let page = text(&jar.get(&elsewhere, "/leaderboard").await);
    let token = field(&page, "form_token");
    let out = jar
        .post_raw(&elsewhere, "/signout", &[("form_token", &token)], &[])
        .await;
    assert_eq!(location(&out), "/signin?done=signed-out");
    assert!(!jar.cookies.contains_key("tidemark"));
    let third = Stand {
        service: service_on(&elsewhere, Arc::new(elsewhere.db.clone())),
        ..elsewhere
    };
    let answer = copy.get(&third, "/users/alice").await;
    assert!(
        location(&answer).starts_with("/signin"),
        "a copied cookie goes on"
    );
    // Another session of the same key is another session.
    assert_eq!(other.get(&third, "/users/alice").await.status, 200);
}

#[tokio::test]
async fn behind_a_proxy_with_tls_cookies_are_secure_and_its_name_is_ours() {
    let config = HttpConfig {
        public_origin: Some(PublicOrigin {
            is_https: true,
            host: "points.example".to_owned(),
        }),
        ..Config::default().http
    };
    let stand = Stand::with(config).await;
    let ask = |host: &'static str| {
        let request = Request::get("/signin").header(header::HOST, host);
        stand.send(request.body(Body::empty()).unwrap())
    };
    for host in ["points.example", "Points.Example", "127.0.0.1:8787"] {
        let answer = ask(host).await;
        assert_eq!(answer.status, 200, "{host}");
        let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap();
        assert!(
            cookie.starts_with("__Host-tidemark-guest=") && cookie.contains("; Secure"),
            "{cookie}"
        );
    }
    assert_eq!(ask("evil.example").await.status, 421);
    // A form from the page that the proxy shows, which says its own name in `Host`.
    let guest = ask("points.example").await;
    let cookie = guest.headers[header::SET_COOKIE].to_str().unwrap();
    let pair = cookie.split(';').next().unwrap();
    let token = field(&text(&guest), "form_token");
    let post = |origin: &'static str| {
        let request = Request::post("/signin")
            .header(header::HOST, "127.0.0.1:8787")
            .header(header::ORIGIN, origin)
            .header(header::COOKIE, pair)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let key = &stand.admin;
        stand.send(
            request
                .body(Body::from(format!("form_token={token}&next=&key={key}")))
                .unwrap(),
        )
    };
    assert_eq!(post("https://points.example").await.status, 303);
    assert_eq!(post("https://evil.example").await.status, 403);
}
