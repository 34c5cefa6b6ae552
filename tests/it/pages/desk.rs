//! An admin's desk: numbers that can be read, one search, money that asks, keys and the trail.

use std::sync::Arc;

use serde_json::json;
use tidemark::domain::amount::{Money, Points};
use tidemark::domain::time::{HOUR_MS, Millis};
use tidemark::log::Log as _;
use tidemark::store::audits::coverage::Coverage;
use tidemark::store::credits::{CreditEntry, add};

use super::jar::{Jar, field, has, location, stand, text};
use crate::archive::replay::{archive, cover, coverage, example};
use crate::http::rows::{book, charged, many_credits, ranked, request, served};
use crate::http::slow_db::{Counted, service_on};
use crate::http::stand::{Answer, NOON, Stand};
use crate::store::{provider, user};

async fn admin(stand: &Stand) -> Jar {
    Jar::signed_in(stand, &["admin:write"]).await
}

async fn credit(stand: &Stand, of: &str, key: &str, usd: i128) {
    let entry = CreditEntry {
        idempotency_key: key.to_owned(),
        amount: Money(usd * 1_000_000_000),
        reason: "an invoice".to_owned(),
        by: "a test".to_owned(),
        at: NOON,
    };
    add(&stand.db, of, &entry).await.unwrap();
}

#[track_caller]
fn lacks(page: &str, unwanted: &[&str]) {
    for unwanted in unwanted {
        assert!(!page.contains(unwanted), "{unwanted} in {page}");
    }
}

#[tokio::test]
async fn numbers_have_their_thousands_apart_and_headlines_two_decimals_beside_the_exact_value() {
    let stand = stand().await;
    let alice = user("alice");
    book(&stand, &alice, |entry| {
        served(entry, "2026-11-22", 1_234, Points(1_234_567_891_234));
        charged(entry, "2026-11", Money(1_234_567_899_999), Money(0));
    })
    .await;
    credit(&stand, "alice", "k", 1_000_000).await;
    let mut jar = Jar::signed_in(&stand, &["account:user:alice"]).await;
    let page = text(&jar.get(&stand, "/users/alice").await);
    has(
        &page,
        &[
            "<span class=\"number long\" title=\"1,234,567.891234\">1,234,567.89</span> points",
            "exactly 1,234,567.891234",
            "<td class=\"n\">1,234,567.891234</td>",
            "1,234 requests",
            "1,234.567899999 USD",
            ">998,765.43</span> USD",
            "exactly 998,765.432100001",
        ],
    );
    lacks(&page, &[" other."]);
    // An amount that two decimals hold has nothing beside it.
    credit(&stand, "bob", "k", 25).await;
    let mut bob = Jar::signed_in(&stand, &["account:user:bob"]).await;
    let page = text(&bob.get(&stand, "/users/bob").await);
    has(&page, &["<span class=\"number\">25</span> USD"]);
    lacks(&page, &["exactly"]);
}

/// Requests add up: what is neither a success nor a failure is named.
#[tokio::test]
async fn requests_that_a_client_got_wrong_are_counted_by_name() {
    let stand = stand().await;
    book(&stand, &user("alice"), |entry| {
        served(entry, "2026-11-22", 1_250, Points(1_000_000));
        let (_, _, cell) = entry.cells.last_mut().unwrap();
        (cell.successful, cell.failed) = (1_200, 7);
    })
    .await;
    let mut jar = Jar::signed_in(&stand, &["account:user:alice"]).await;
    let page = text(&jar.get(&stand, "/users/alice").await);
    has(
        &page,
        &[
            "1,250 requests, 1,200 successful, 7 failed, 43 other.",
            "a status such as 404 or 429",
        ],
    );
}

#[tokio::test]
async fn an_empty_leaderboard_says_so_without_places_that_are_none() {
    let stand = stand().await;
    let mut jar = Jar::signed_in(&stand, &["account:user:alice"]).await;
    let page = text(&jar.get(&stand, "/leaderboard").await);
    has(&page, &["No account has points in November 2026 yet."]);
    lacks(&page, &["top 0", "0 places"]);
    ranked(&stand, 0, "2026-11", 100, &[(3, "bob")]).await;
    let page = text(&jar.get(&stand, "/leaderboard").await);
    has(&page, &["is not in the top 1", "1 place kept, all exact"]);
}

#[tokio::test]
async fn pages_that_do_not_exist_keep_the_head_of_who_is_signed_in() {
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    for (path, status) in [
        ("/nothing", 404),
        ("/users/alice/code", 405),
        ("/users/nobody", 404),
    ] {
        let answer = jar.get(&stand, path).await;
        assert_eq!(answer.status, status, "{path}");
        has(&text(&answer), &["Sign out", "href=\"/admin\""]);
    }
    let page = text(&Jar::default().get(&stand, "/nothing").await);
    has(&page, &["href=\"/signin\""]);
    lacks(&page, &["Sign out"]);
}

#[tokio::test]
async fn an_account_of_which_nothing_is_known_is_no_page_of_zeros() {
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    book(&stand, &user("row"), |entry| {
        served(entry, "2026-11-22", 1, Points(1));
    })
    .await;
    credit(&stand, "credits", "k", 1).await;
    stand.key(&["account:user:key"]).await;
    let mut code = Jar::signed_in(&stand, &["account:user:code"]).await;
    code.post(&stand, "/users/code/code", &[]).await;
    for id in ["row", "credits", "key", "code"] {
        let answer = jar.get(&stand, &format!("/users/{id}")).await;
        assert_eq!(answer.status, 200, "{id}: {}", text(&answer));
    }
    // The same id of the other kind is another account.
    for path in ["/users/nobody", "/providers/row", "/users/ROW"] {
        let answer = jar.get(&stand, path).await;
        assert_eq!(answer.status, 404, "{path}");
        has(
            &text(&answer),
            &["No such account", "Ids must match exactly"],
        );
    }
    // Its own page shows a new account that there is nothing yet.
    let mut own = Jar::signed_in(&stand, &["account:provider:new"]).await;
    assert_eq!(own.get(&stand, "/providers/new").await.status, 200);
}

#[tokio::test]
async fn one_search_finds_accounts_codes_and_keys() {
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    credit(&stand, "alice", "k", 1).await;
    let find = |q: &str| format!("/admin/find?q={}", q.replace(' ', "%20"));
    // The only one: at once.
    let answer = jar.get(&stand, &find("alice")).await;
    assert_eq!(location(&answer), "/users/alice");
    book(&stand, &provider("alice"), |entry| {
        served(entry, "2026-11-22", 1, Points(1));
    })
    .await;
    let page = text(&jar.get(&stand, &find("alice")).await);
    has(
        &page,
        &[
            "href=\"/users/alice\"",
            "href=\"/providers/alice\"",
            "has credits",
            "has usage or points",
        ],
    );
    let page = text(&jar.get(&stand, &find(" alice")).await);
    has(&page, &["href=\"/users/alice\""]);
    let mut own = Jar::signed_in(&stand, &["account:user:alice"]).await;
    own.post(&stand, "/users/alice/code", &[]).await;
    let mine = text(&own.get(&stand, "/users/alice").await);
    let (_, rest) = mine.split_once("id=\"my-code\"").unwrap();
    let code = rest.split(['>', '<']).nth(1).unwrap();
    let page = text(&jar.get(&stand, &find(&code.to_lowercase())).await);
    has(&page, &["Referral code", code, "href=\"/users/alice\""]);
    // Keys by a part of their names, and by the whole key, which is not repeated.
    let page = text(&jar.get(&stand, &find("A TEST")).await);
    has(&page, &["API keys", "href=\"/admin/keys?q="]);
    let key = stand.key(&["ingest"]).await;
    let page = text(&jar.get(&stand, &find(&key)).await);
    let id = key.split('_').nth(1).unwrap();
    has(&page, &[&format!("/admin/keys?q={id}")]);
    lacks(&page, &[&key]);
    // Nor with a space before it, nor in the list of keys.
    for path in [find(&format!(" {key}")), format!("/admin/keys?q={key}")] {
        let page = text(&jar.get(&stand, &path.replace(' ', "%20")).await);
        has(&page, &[id]);
        lacks(&page, &[&key]);
    }
    let answer = jar.get(&stand, &find(&"x".repeat(201))).await;
    assert_eq!(answer.status, 422);
    has(&text(&answer), &["give at most 200 characters"]);
    let answer = jar.get(&stand, &find("nobody")).await;
    assert_eq!(answer.status, 404);
    has(&text(&answer), &["Nothing found: no account “nobody”"]);
}

/// The fields of the form that confirms what a page shows.
async fn confirm(jar: &mut Jar, stand: &Stand, path: &str, page: &str, names: &[&str]) -> Answer {
    let fields: Vec<(&str, String)> = names
        .iter()
        .map(|name| (*name, field(page, name).replace("&quot;", "\"")))
        .collect();
    let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
    jar.post(stand, path, &fields).await
}

const CREDIT: [&str; 5] = ["user", "amount", "reason", "once", "confirmed"];

#[tokio::test]
async fn credit_for_unknown_users_and_of_large_amounts_asks_first() {
    const PATH: &str = "/admin/credits";
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    let form = |user: &'static str, amount: &'static str| {
        [
            ("user", user),
            ("amount", amount),
            ("reason", "a gift"),
            ("once", ""),
        ]
    };
    let answer = jar.post(&stand, PATH, &form("alcie", "25")).await;
    assert_eq!(answer.status, 200);
    let page = text(&answer);
    has(
        &page,
        &[
            "Add this credit?",
            "there is no user “alcie” yet",
            "Balance then",
        ],
    );
    let credits = stand.get("/api/admin/credits?userId=alcie").await.json();
    assert_eq!(credits["added"], "0");
    let answer = confirm(&mut jar, &stand, PATH, &page, &CREDIT).await;
    has(location(&answer), &["user=alcie&done=added"]);
    // Now it is known, and small amounts are added at once; sent twice, once.
    let answer = jar.post(&stand, PATH, &form("alcie", "1000")).await;
    has(location(&answer), &["done=added"]);
    for amount in ["1000.000000001", "-1001"] {
        let page = text(&jar.post(&stand, PATH, &form("alcie", amount)).await);
        has(&page, &["this is more than 1000 USD", "http.ask_above_usd"]);
        lacks(&page, &["there is no user"]);
    }
    let credits = stand.get("/api/admin/credits?userId=alcie").await.json();
    assert_eq!(credits["added"], "1025");
}

/// No one has to confirm what is refused afterwards.
#[tokio::test]
async fn what_cannot_be_booked_is_refused_before_anything_is_asked() {
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    for (amount, reason, once, why) in [
        ("0", "a gift", "a", "the amount is 0"),
        ("1000000.01", "a gift", "a", "one entry moves at most"),
        ("5", "", "a", "the reason is empty"),
        ("5000", "two\nlines", "a", "control characters"),
        ("5", "a gift", "\u{7}", "idempotency key"),
    ] {
        let credit = [
            ("user", "nobody"),
            ("amount", amount),
            ("reason", reason),
            ("once", once),
        ];
        let answer = jar.post(&stand, "/admin/credits", &credit).await;
        assert_eq!(answer.status, 422, "{why}");
        has(&text(&answer), &["Nothing was added", why]);
    }
    for (kind, points, reason, why) in [
        (
            "user",
            "0",
            "a gift",
            "an adjustment of 0 points changes nothing",
        ),
        (
            "user",
            "-0.0",
            "a gift",
            "an adjustment of 0 points changes nothing",
        ),
        ("user", "100000001", "a gift", "more than one adjustment"),
        ("user", "5", "", "the reason is empty"),
        ("user", "200000", "two\nlines", "control characters"),
        ("", "5", "a gift", "not a kind of account"),
        ("users", "5", "a gift", "not a kind of account"),
    ] {
        let form = [
            ("kind", kind),
            ("id", "nobody"),
            ("points", points),
            ("reason", reason),
            ("once", "a"),
        ];
        let answer = jar.post(&stand, "/admin/adjustments", &form).await;
        assert!(matches!(answer.status.as_u16(), 400 | 422), "{why}");
        has(&text(&answer), &[why]);
    }
    for path in [
        "/admin/credits?user=nobody",
        "/admin/adjustments?kind=user&id=nobody",
    ] {
        has(
            &text(&jar.get(&stand, path).await),
            &["There is no user “nobody” yet"],
        );
    }
}

/// A form that was sent, and sent again with something else typed into it.
#[tokio::test]
async fn an_adjustment_under_a_used_name_says_so_and_gets_a_new_one() {
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    credit(&stand, "alice", "k", 1).await;
    let form = |points: &'static str| {
        [
            ("kind", "user"),
            ("id", "alice"),
            ("points", points),
            ("reason", "an outage"),
            ("once", "ticket-7"),
        ]
    };
    let path = "/admin/adjustments";
    has(
        location(&jar.post(&stand, path, &form("5")).await),
        &["done=adjusted"],
    );
    let answer = jar.post(&stand, path, &form("6")).await;
    assert_eq!(answer.status, 422);
    let page = text(&answer);
    has(
        &page,
        &["this form was sent before", "value=\"6\"", "an outage"],
    );
    lacks(&page, &["value=\"ticket-7\""]);
}

#[tokio::test]
async fn an_entry_of_the_ledger_is_undone_once_by_a_counter_entry() {
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    credit(&stand, "alice", "invoice-1", 40).await;
    let long = "k".repeat(128);
    credit(&stand, "alice", &long, 2).await;
    let ledger = "/admin/credits?user=alice";
    for (key, balance) in [("invoice-1", "2"), (&long, "0")] {
        let undo = format!("{ledger}&undo={key}");
        has(
            &text(&jar.get(&stand, ledger).await),
            &[&undo.replace('&', "&amp;")],
        );
        let page = text(&jar.get(&stand, &undo).await);
        has(&page, &["Take this credit back?", "undoes ", "an invoice"]);
        const UNDO: [&str; 3] = ["user", "undo", "confirmed"];
        let answer = confirm(&mut jar, &stand, "/admin/credits", &page, &UNDO).await;
        has(location(&answer), &["done=added"]);
        // The form of another tab counts once.
        let answer = confirm(&mut jar, &stand, "/admin/credits", &page, &UNDO).await;
        has(location(&answer), &["done=before"]);
        let credits = stand.get("/api/admin/credits?userId=alice").await.json();
        assert_eq!(credits["added"], balance);
        let answer = jar.get(&stand, &undo).await;
        assert_eq!(answer.status, 422);
        has(&text(&answer), &["this entry is undone already", "Undone"]);
    }
    let mut reader = Jar::signed_in(&stand, &["admin:read"]).await;
    lacks(&text(&reader.get(&stand, ledger).await), &["undo="]);
}

#[tokio::test]
async fn points_are_adjusted_and_undone_by_form() {
    const PATH: &str = "/admin/adjustments";
    const NAMES: [&str; 6] = ["kind", "id", "points", "reason", "once", "confirmed"];
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    let form = |points: &'static str, once: &'static str| {
        [
            ("kind", "provider"),
            ("id", "prov-1"),
            ("points", points),
            ("reason", "an outage"),
            ("once", once),
        ]
    };
    let page = text(&jar.post(&stand, PATH, &form("25", "ticket-7")).await);
    has(
        &page,
        &["Add these points?", "there is no provider “prov-1” yet"],
    );
    for done in ["adjusted", "before"] {
        let answer = confirm(&mut jar, &stand, PATH, &page, &NAMES).await;
        has(location(&answer), &["kind=provider&id=prov-1", done]);
    }
    book(&stand, &provider("prov-1"), |entry| {
        served(entry, "2026-11-22", 1, Points(1));
    })
    .await;
    let page = text(&jar.post(&stand, PATH, &form("100001", "")).await);
    has(&page, &["this is more than 100000 points"]);
    let answer = jar.post(&stand, PATH, &form("much", "")).await;
    assert_eq!(answer.status, 422);
    has(&text(&answer), &["Nothing was booked", "value=\"much\""]);
    let here = format!("{PATH}?kind=provider&id=prov-1");
    let page = text(&jar.get(&stand, &here).await);
    has(&page, &["an outage", "undo=ticket-7"]);
    let page = text(&jar.get(&stand, &format!("{here}&undo=ticket-7")).await);
    has(&page, &["Take these points away?", "-25"]);
    let undo = ["kind", "id", "undo", "confirmed"];
    for done in ["adjusted", "before"] {
        let answer = confirm(&mut jar, &stand, PATH, &page, &undo).await;
        has(location(&answer), &[&format!("done={done}")]);
    }
    let page = text(&jar.get(&stand, &here).await);
    has(&page, &["Undone", "undo=undo-ticket-7"]);
    let answer = jar.get(&stand, &format!("{here}&undo=ticket-7")).await;
    assert_eq!(answer.status, 422);
    let awards = "/api/admin/adjustments?kind=provider&id=prov-1";
    let awards = stand.get(awards).await.json();
    assert_eq!(awards["total"], 2);
}

#[tokio::test]
async fn keys_are_made_shown_once_and_revoked_by_form() {
    const PATH: &str = "/admin/keys";
    let stand = stand().await;
    // Only what the own key covers can be granted.
    let mut jar = Jar::signed_in(&stand, &["admin:write", "ingest"]).await;
    let fields = [
        ("name", "the gateway"),
        ("ingest", "on"),
        ("others", "account:user:alice\n\n ingest:eu-1 "),
    ];
    let answer = jar.post(&stand, PATH, &fields).await;
    assert_eq!(answer.status, 201);
    let page = text(&answer);
    let (_, rest) = page.split_once("id=\"the-key\">").unwrap();
    let key = rest.split('<').next().unwrap().to_owned();
    let may = stand
        .ask(
            Some(&key),
            axum::http::Method::GET,
            "/api/users/alice/points",
            None,
        )
        .await;
    assert_eq!(may.status, 200);
    let id = key.split('_').nth(1).unwrap().to_owned();
    let page = text(&jar.get(&stand, PATH).await);
    has(
        &page,
        &[
            "the gateway",
            &id,
            "account:user:alice",
            "ingest:eu-1",
            "Revoke",
        ],
    );
    lacks(&page, &[&key]);
    let found = text(&jar.get(&stand, "/admin/keys?q=user:alice").await);
    has(&found, &["the gateway"]);
    // Reloading the page with the key sends the form again: there is no second key, and no secret.
    let once = field(&page, "once");
    let form = [
        ("name", "once only"),
        ("ingest", "on"),
        ("others", ""),
        ("once", once.as_str()),
    ];
    assert_eq!(jar.post(&stand, PATH, &form).await.status, 201);
    let again = jar.post(&stand, PATH, &form).await;
    assert_eq!(again.status, 409);
    let page = text(&again);
    has(
        &page,
        &[
            "No second key was made",
            "its secret was only in that answer",
        ],
    );
    assert_ne!(
        field(&page, "once"),
        once,
        "the form is one for another key"
    );
    assert_eq!(page.matches("<th scope=\"row\">once only</th>").count(), 1);
    lacks(&page, &["id=\"the-key\""]);
    // What cannot be read is told, and the form keeps what was typed.
    let fields = [("name", "x"), ("others", "everything")];
    let answer = jar.post(&stand, PATH, &fields).await;
    assert_eq!(answer.status, 422);
    has(&text(&answer), &["everything", "value=\"x\""]);
    let answer = jar.post(&stand, "/admin/keys/revoke", &[("id", &id)]).await;
    assert_eq!(location(&answer), "/admin/keys?done=revoked");
    let page = text(&jar.get(&stand, location(&answer)).await);
    has(
        &page,
        &[
            "Revoked. The key stops working within seconds.",
            "Show revoked keys",
        ],
    );
    lacks(&page, &["the gateway"]);
    has(
        &text(&jar.get(&stand, "/admin/keys?all=1").await),
        &["the gateway", "Revoked"],
    );
    let unknown = jar
        .post(&stand, "/admin/keys/revoke", &[("id", "zzz")])
        .await;
    assert_eq!(unknown.status, 404);
    let trail = text(&jar.get(&stand, "/admin/audit?action=keys.revoke").await);
    has(&trail, &["keys.revoke", &id]);
    // Who may only look neither makes nor revokes.
    let mut reader = Jar::signed_in(&stand, &["admin:read"]).await;
    lacks(
        &text(&reader.get(&stand, PATH).await),
        &["Make a key", ">Revoke<"],
    );
}

#[tokio::test]
async fn the_trail_is_filtered_and_shows_old_and_new_values() {
    let stand = stand().await;
    for (price, reason) in [("0.25", "dearer"), ("0.5", "dearer still")] {
        let body = json!({"value": {"pricePerUnit": price, "unit": "request"}, "reason": reason});
        let path = "/api/admin/rules/scrape";
        let key = Some(stand.admin.as_str());
        let answer = stand
            .ask(key, axum::http::Method::PUT, path, Some(&body))
            .await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        stand.clock.set(Millis(NOON.0 + 12 * HOUR_MS));
    }
    let mut jar = admin(&stand).await;
    credit(&stand, "alice", "k", 7).await;
    let rows: [(&str, &[&str], &[&str]); 7] = [
        (
            "",
            &[">credits.add<", ">pricing.publish<", ">keys.create<"],
            &[],
        ),
        (
            "subject=scrape",
            &[
                "dearer still",
                "<del class=\"before\">0.25</del>",
                "<ins class=\"now\">0.5</ins>",
            ],
            &[">credits.add<"],
        ),
        ("action=credits", &["user:alice"], &[">pricing.publish<"]),
        ("subject=ALICE", &[">credits.add<"], &[">pricing.publish<"]),
        ("from=2026-11-23", &["dearer still"], &["user:alice"]),
        (
            "to=2026-11-22&action=pricing",
            &["dearer"],
            &["dearer still"],
        ),
        ("actor=nobody", &["No changes match."], &[">credits.add<"]),
    ];
    for (query, wanted, unwanted) in rows {
        let page = text(&jar.get(&stand, &format!("/admin/audit?{query}")).await);
        has(&page, wanted);
        lacks(&page, unwanted);
    }
    let answer = jar.get(&stand, "/admin/audit?from=yesterday").await;
    assert_eq!(answer.status, 422);
    has(&text(&answer), &["“yesterday” is not a day"]);
}

/// What a finance person does at the end of a month: every credit, with the sum, as a file.
#[tokio::test]
async fn the_trail_is_downloaded_as_it_was_filtered() {
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    credit(&stand, "alice", "k-1", 40).await;
    credit(&stand, "bob", "k-2", 2).await;
    let page = text(
        &jar.get(&stand, "/admin/audit?subject=alice&action=credits")
            .await,
    );
    let file = "/admin/audit/file?subject=alice&action=credits";
    has(
        &page,
        &[&format!("href=\"{}\"", file.replace('&', "&amp;"))],
    );
    let answer = jar.get(&stand, file).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8");
    has(
        &text(&answer),
        &["user:alice,", "\n# end rows=1 amountUsd=40 points=0\n"],
    );
    // From the page of exports, whose empty fields say nothing.
    let page = text(&jar.get(&stand, "/admin/exports").await);
    has(
        &page,
        &["action=\"/admin/audit/file\"", "value=\"awards.adjust\""],
    );
    let file = "/admin/audit/file?action=credits.add&from=2026-11-22&to=";
    let all = text(&jar.get(&stand, file).await);
    has(&all, &["# end rows=2 amountUsd=42 points=0"]);
    let answer = jar.get(&stand, "/admin/audit/file?from=soon").await;
    assert_eq!(answer.status, 400);
    // Nothing to download where nothing is.
    lacks(
        &text(&jar.get(&stand, "/admin/audit?actor=nobody").await),
        &["Download"],
    );
}

/// Rejects are no news that one has to look for.
#[tokio::test]
async fn the_overview_tells_open_rejects_by_reason() {
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    let page = text(&jar.get(&stand, "/admin").await);
    has(
        &page,
        &[
            "None open",
            "All of the newest rejects were sent again or discarded",
        ],
    );
    // A gateway's row that cannot be read.
    let row = json!([{"id": 1, "type": 6}]);
    let answer = stand.post("/api/v1/events/new-api", &row).await;
    assert_eq!(answer.json()["refused"].as_array().unwrap().len(), 1);
    let code = answer.json()["refused"][0]["code"]
        .as_str()
        .unwrap()
        .to_owned();
    let page = text(&jar.get(&stand, "/admin").await);
    has(&page, &["1 open", &format!("<code>{code}</code>")]);
}

/// From the list of any day to the explanation, and from there to the reversal, the points and the
/// credits.
#[tokio::test]
async fn a_complaint_is_found_in_the_list_of_any_day_and_led_to_what_mends_it() {
    let stand = stand().await;
    book(&stand, &user("alice"), |entry| {
        served(entry, "2026-11-22", 60, Points(1_500_000));
    })
    .await;
    for n in 0..60 {
        request(&stand, "alice", &format!("r-{n:02}"), Millis(NOON.0 - n)).await;
    }
    let day = "2026-11-22";
    let path = "/users/alice/requests";
    let mut own = Jar::signed_in(&stand, &["account:user:alice"]).await;
    let page = text(&own.get(&stand, &format!("{path}?day={day}")).await);
    has(&page, &["r-59", "rel=\"next\"", "/users/alice/request?"]);
    lacks(&page, &["r-00"]);
    let (_, rest) = page.split_once("rel=\"next\" href=\"").unwrap();
    let next = rest.split('"').next().unwrap().replace("&amp;", "&");
    let page = text(&own.get(&stand, &next).await);
    has(&page, &["r-00"]);
    lacks(&page, &["r-59"]);
    for (query, wanted, unwanted) in [
        ("id=r-07", "r-07", "r-08"),
        ("model=LLAMA&id=r-1", "r-19", "r-20"),
        ("model=gpt", "No requests match on 2026-11-22.", "r-07"),
        ("status=5xx", "No requests match", "r-07"),
        ("status=200&id=r-3", "r-33", "r-40"),
    ] {
        let page = text(&own.get(&stand, &format!("{path}?day={day}&{query}")).await);
        has(&page, &[wanted]);
        lacks(&page, &[&format!(">{unwanted}<")]);
    }
    let page = text(&own.get(&stand, &format!("{path}?day=2026-11-01")).await);
    has(&page, &["No requests to show on 2026-11-01."]);
    for query in ["day=today", "status=all"] {
        let answer = own.get(&stand, &format!("{path}?{query}")).await;
        assert_eq!(answer.status, 422, "{query}");
    }
    // An admin: list, explanation, reversal.
    let mut jar = admin(&stand).await;
    let page = text(&jar.get(&stand, "/users/alice").await);
    has(
        &page,
        &[
            "href=\"/users/alice/requests\"",
            "href=\"/admin/adjustments?kind=user&amp;id=alice\"",
        ],
    );
    let page = text(&jar.get(&stand, &format!("{path}?day={day}&id=r-07")).await);
    let (_, rest) = page.split_once("href=\"/admin/request?").unwrap();
    let which = rest.split('"').next().unwrap().replace("&amp;", "&");
    let page = text(&jar.get(&stand, &format!("/admin/request?{which}")).await);
    has(
        &page,
        &[
            "Why this number?",
            "href=\"/admin/adjustments?kind=user&amp;id=alice\"",
            "href=\"/admin/credits?user=alice\"",
        ],
    );
}

#[tokio::test]
async fn pages_of_credits_read_little_more_than_they_show() {
    let stand = stand().await;
    many_credits(&stand, 3_000, true).await;
    let db = Arc::new(Counted::new(stand.db.clone()));
    let service = service_on(&stand, db.clone());
    let stand = Stand { service, ..stand };
    let mut jar = Jar::signed_in(&stand, &["admin:write", "account:user:alice"]).await;
    let mut show = async |path: &str, rows_max: u64| {
        let before = db.rows();
        let page = text(&jar.get(&stand, path).await);
        let rows = db.rows() - before;
        assert!(rows <= rows_max, "{path}: {rows} rows were read");
        page
    };
    // Beside the entries: session, key, rules, the account's rows, the balance.
    const BESIDE: u64 = 60;
    let path = "/admin/credits?user=alice";
    let page = show(path, 100 + BESIDE).await;
    has(
        &page,
        &[
            "3,000 USD",
            "100 of 3,000 entries",
            "k-02999",
            "k-02900",
            "&amp;before=k-02900",
        ],
    );
    lacks(&page, &["k-02899", ">Newest<"]);
    let page = show(&format!("{path}&before=k-00100"), 100 + BESIDE).await;
    has(&page, &["k-00099", "k-00000", ">Newest<"]);
    lacks(&page, &["<code>k-00100</code>", "rel=\"next\""]);
    let page = show("/users/alice", BESIDE).await;
    has(&page, &["3,000 USD", "And 2,995 before these."]);
    let answer = jar.get(&stand, &format!("{path}&before=unknown")).await;
    assert_eq!(answer.status, 400);
    // An entry of a page that is not the newest one can be undone, and is shown as undone there.
    let question = text(&jar.get(&stand, &format!("{path}&undo=k-00007")).await);
    let fields = [("user", "alice"), ("undo", "k-00007"), ("confirmed", "yes")];
    let answer = jar.post(&stand, "/admin/credits", &fields).await;
    has(&question, &["Balance then"]);
    assert!(
        location(&answer).contains("done=added"),
        "{}",
        location(&answer)
    );
    let page = text(&jar.get(&stand, &format!("{path}&before=k-00008")).await);
    has(&page, &["Undone"]);
}

/// As the API and the command do, on demand.
#[tokio::test]
async fn requests_of_an_archive_with_gaps_are_exported_on_demand() {
    let page = "/admin/exports";
    let directory = tempfile::tempdir().unwrap();
    let seeds = [example(1), example(2)];
    archive(directory.path(), &seeds, 1);
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    lacks(&text(&jar.get(&stand, page).await), &["name=\"partial\""]);
    let stand = stand.with_archive(directory.path());
    let [covered] = coverage(&seeds);
    let late = Coverage {
        epoch: stand.log.epoch(),
        is_from_start: false,
        log_time_from: NOON,
        ..covered
    };
    cover(directory.path(), &late);
    let shown = text(&jar.get(&stand, page).await);
    has(
        &shown,
        &["type=\"checkbox\" name=\"partial\" value=\"true\""],
    );
    let file = format!("{page}/file?month=2026-11&file=requests.csv");
    let refused = jar.get(&stand, &file).await;
    assert_eq!(refused.status, 409);
    let answer = jar.get(&stand, &format!("{file}&partial=true")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["x-tidemark-partial"], "true");
    has(&text(&answer), &["partial=true"]);
}
