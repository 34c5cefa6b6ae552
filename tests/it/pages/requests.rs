//! Pages of one request: why it earned what it did, and the form that reverses it.

use serde_json::json;
use tidemark::domain::amount::Points;
use tidemark::domain::time::{DAY_MS, Millis};
use tidemark::log::Topic;

use super::jar::{Jar, field, has, location, stand, text};
use crate::http::rated::{chain, event, rated, reversed};
use crate::http::rows::{book, served};
use crate::http::stand::{NOON, Stand};
use crate::store::{provider, user};

const WHICH: &str = "source=gw&id=a%2Fb&time=2026-11-22T12%3A00%3A00.000Z";

/// A request of u that p served; r referred p, v referred u.
async fn complaint() -> Stand {
    let stand = stand().await;
    chain(&stand, &[provider("p"), provider("r")]).await;
    chain(&stand, &[user("u"), user("v")]).await;
    rated(&stand, &event("a/b", json!({"model": "mistral-7b"})), NOON).await;
    book(&stand, &user("u"), |entry| {
        served(entry, "2026-11-22", 1, Points(300_000))
    })
    .await;
    stand
}

fn hidden(page: &str, names: &[&'static str]) -> Vec<(&'static str, String)> {
    let value = |name: &&'static str| (*name, field(page, name));
    names.iter().map(value).collect()
}

fn fields<'a>(of: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    of.iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

#[tokio::test]
async fn every_request_of_the_list_leads_to_why_it_earned_what_it_did() {
    let stand = complaint().await;
    let mut own = Jar::signed_in(&stand, &["account:user:u"]).await;
    let page = text(&own.get(&stand, "/users/u").await);
    let link = format!("/users/u/request?{WHICH}");
    has(
        &page,
        &[&format!("href=\"{}\"", link.replace('&', "&amp;"))],
    );
    let page = text(&own.get(&stand, &link).await);
    has(
        &page,
        &[
            "Request a/b of gw was made at 2026-11-22T12:00:00.000Z by user u.",
            "Tier blue_surge: the name mistral-7b gives a size of 7 billion parameters.",
            "3,000,000 × 1,000 ÷ 10,000 = 300,000, which is 0.3 points.",
            "a user, referrer of the user at level 1: 20 % of that, 300,000 × 2,000 ÷ 10,000 = 60,000, which is 0.06 points.",
            "The steps come to exactly what was posted.",
        ],
    );
    assert!(
        !page.contains("user v") && !page.contains("provider r"),
        "{page}"
    );
    assert!(!page.contains("/admin/request"), "{page}");

    let mut admin = Jar::signed_in(&stand, &["admin:read"]).await;
    let page = text(&admin.get(&stand, "/users/u").await);
    let link = format!("/admin/request?user=u&{WHICH}");
    has(
        &page,
        &[&format!("href=\"{}\"", link.replace('&', "&amp;"))],
    );
    let page = text(&admin.get(&stand, &link).await);
    has(
        &page,
        &[
            "user v, referrer of the user at level 1",
            "provider r, referrer of the provider",
        ],
    );
    // Who only reads changes nothing.
    assert!(!page.contains("/admin/request/preview"), "{page}");

    let mut served = Jar::signed_in(&stand, &["account:provider:p"]).await;
    let page = text(&served.get(&stand, "/providers/p").await);
    has(&page, &["href=\"/providers/p/request\""]);
    let form = text(&served.get(&stand, "/providers/p/request").await);
    has(&form, &["Look up a request", "name=\"user\""]);
    let page = text(
        &served
            .get(&stand, &format!("/providers/p/request?user=u&{WHICH}"))
            .await,
    );
    has(&page, &["provider p: 3 points."]);
    assert!(
        !page.contains("0.3 points") && !page.contains("USD"),
        "{page}"
    );
    let mut other = Jar::signed_in(&stand, &["account:provider:q"]).await;
    let answer = other
        .get(&stand, &format!("/providers/q/request?user=u&{WHICH}"))
        .await;
    assert_eq!(answer.status, 404);
    has(&text(&answer), &["Not found: no request of user u has"]);
}

#[tokio::test]
async fn an_admin_reverses_a_request_after_seeing_whose_points_fall_and_by_how_much() {
    let stand = complaint().await;
    let mut admin = Jar::signed_in(&stand, &["admin:write"]).await;
    let here = format!("/admin/request?user=u&{WHICH}");
    let page = text(&admin.get(&stand, &here).await);
    let mut form = hidden(&page, &["user", "source", "id", "time"]);
    form.push(("reason", String::new()));
    let preview = "/admin/request/preview";
    let answer = admin.post(&stand, preview, &fields(&form)).await;
    assert_eq!(answer.status, 422);
    has(&text(&answer), &["Nothing was reversed"]);
    form.pop();
    form.push(("reason", "nonsense <b>".to_owned()));
    let answer = admin.post(&stand, preview, &fields(&form)).await;
    assert_eq!(answer.status, 200, "{}", text(&answer));
    let asks = text(&answer);
    has(
        &asks,
        &[
            "Reverse this request?",
            "provider p</th><td class=\"n\">-3 points</td>",
            "provider r, referrer of the provider at level 1</th><td class=\"n\">-0.6 points</td>",
            "user u</th><td class=\"n\">-0.3 points</td>",
            "user v, referrer of the user at level 1</th><td class=\"n\">-0.06 points</td>",
            "noted on testnet</th><td class=\"n\">-0.00015 USD</td>",
            "Reason: nonsense &lt;b&gt;",
        ],
    );
    assert!(
        stand.log.all(Topic::UsageEvents).is_empty(),
        "looking changes nothing"
    );

    // Twice, as a double click sends it.
    let names = ["user", "source", "id", "time", "reason", "once"];
    let mut confirmed = hidden(&asks, &names);
    confirmed[4].1 = "nonsense <b>".to_owned();
    for _ in 0..2 {
        let answer = admin
            .post(&stand, "/admin/request/reverse", &fields(&confirmed))
            .await;
        let to = location(&answer).to_owned();
        assert_eq!(to, format!("{here}&done=reversed"));
        let page = text(&admin.get(&stand, &to).await);
        has(
            &page,
            &[
                "Reversal sent. It takes effect once it is rated",
                "Reversal sent by key ",
                "reason: nonsense &lt;b&gt;",
                "hx-trigger=\"every 2s\"",
                "A reversal of this request is on its way.",
            ],
        );
        assert!(!page.contains("Reverse it"), "{page}");
    }
    let sent = stand.log.all(Topic::UsageEvents);
    let ids: Vec<String> = sent
        .iter()
        .map(|(_, record)| {
            serde_json::from_slice::<serde_json::Value>(&record.value).unwrap()["id"].to_string()
        })
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1], "both are one reversal to rating");
    let trail = text(&admin.get(&stand, "/admin/audit").await);
    assert_eq!(trail.matches("requests.reverse").count(), 1, "{trail}");

    // Once it is rated, the page says so, and offers it no more.
    let once = confirmed[5].1.clone();
    let request = event("a/b", json!({}));
    reversed(
        &stand,
        &request,
        ("tidemark-admin", &once),
        Millis(NOON.0 + 5),
    )
    .await;
    let page = text(&admin.get(&stand, &here).await);
    has(
        &page,
        &[
            "Reversed by key ",
            "It took back:",
            "user v, referrer of the user at level 1: -0.06 points.",
            "This request is reversed.",
        ],
    );
    assert!(!page.contains("hx-trigger"), "{page}");
    let answer = admin.post(&stand, preview, &fields(&form)).await;
    assert_eq!(answer.status, 422);
    has(&text(&answer), &["This request is reversed."]);
}

#[tokio::test]
async fn what_cannot_be_reversed_says_why() {
    let stand = stand().await;
    let old = Millis(NOON.0 - 36 * DAY_MS);
    for (id, change, why) in [
        (
            "failed",
            json!({"statusCode": 503}),
            "earned and cost nothing",
        ),
        (
            "old",
            json!({"timestamp": old.to_string()}),
            "more than 35 days old",
        ),
    ] {
        let request = event(id, change);
        let time: Millis = request["timestamp"].as_str().unwrap().parse().unwrap();
        rated(&stand, &request, time).await;
        let mut admin = Jar::signed_in(&stand, &["admin:write"]).await;
        let path = format!("/admin/request?user=u&source=gw&id={id}&time={time}");
        let page = text(&admin.get(&stand, &path).await);
        has(&page, &[why]);
        assert!(!page.contains("/admin/request/preview"), "{page}");
    }
    let mut admin = Jar::signed_in(&stand, &["admin:write"]).await;
    let answer = admin
        .get(&stand, "/admin/request?user=u&source=gw&id=none")
        .await;
    assert_eq!(answer.status, 404);
    has(
        &text(&answer),
        &[
            "Not found: no request of user u has",
            "Look up a request",
            "value=\"none\"",
        ],
    );
    // Nobody confirms what was not shown.
    let answer = admin
        .post(
            &stand,
            "/admin/request/reverse",
            &[("user", "u"), ("source", "gw"), ("id", "failed")],
        )
        .await;
    assert_eq!(answer.status, 400);
}
