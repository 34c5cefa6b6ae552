//! What users and providers see of their own.

use axum::http::Method;
use serde_json::json;
use tidemark::domain::amount::{Money, Points};
use tidemark::domain::posting::{Cascade, Cell, Slot};
use tidemark::domain::time::{DAY_MS, HOUR_MS, Millis};
use tidemark::ops::health::{Role, TaskId};
use tidemark::store::checkpoints::{HaltRecord, record_halt};
use tidemark::store::credits::{CreditEntry, add};
use tidemark::store::referrals::{Switch, link_of, set_active};

use super::jar::{Jar, field, has, location, stand, text};
use crate::edge::memory_log::PARTITIONS;
use crate::http::rated::{event, rated};
use crate::http::rows::{book, charged, many_requests, posted_up_to, ranked, request, served};
use crate::http::stand::{NOON, Stand};
use crate::store::{provider, user};

#[tokio::test]
async fn a_new_account_sees_that_nothing_happened_yet() {
    let stand = stand().await;
    let mut alice = Jar::signed_in(&stand, &["account:user:alice"]).await;
    let page = text(&alice.get(&stand, "/users/alice").await);
    has(
        &page,
        &[
            "No points in this month.",
            "No requests in this month.",
            "No credits yet.",
            "None yet.",
            "Still open",
            "Make my code",
            "Enter a code",
            "It begins with the first active day.",
            "November 2026",
        ],
    );
    let mut prov = Jar::signed_in(&stand, &["account:provider:p"]).await;
    let page = text(&prov.get(&stand, "/providers/p").await);
    has(
        &page,
        &[
            "No provider has points in this month yet.",
            "Quality counts from 20 requests a day on; today has 0, so 20 to go.",
        ],
    );
}

#[tokio::test]
async fn a_user_sees_the_month_day_by_day_credits_streak_and_how_each_request_was_rated() {
    let stand = stand().await;
    let alice = user("alice");
    book(&stand, &alice, |entry| {
        served(entry, "2026-11-21", 2, Points(3_000_000));
        served(entry, "2026-11-22", 1, Points(1_500_000));
        let day = Slot::Day("2026-11-22".parse().unwrap());
        entry.referral.push((day, Cascade::at(0, Points(250_000))));
        charged(entry, "2026-11", Money(1_500_000_000), Money(250_000_000));
    })
    .await;
    request(&stand, "alice", "r-1", NOON).await;
    request(&stand, "alice", "r-2", Millis(NOON.0 - DAY_MS)).await;
    let entry = CreditEntry {
        idempotency_key: "k".to_owned(),
        amount: Money(25_000_000_000),
        reason: "a <b>welcome</b>".to_owned(),
        by: "a test".to_owned(),
        at: NOON,
    };
    add(&stand.db, "alice", &entry).await.unwrap();
    let mut jar = Jar::signed_in(&stand, &["account:user:alice"]).await;
    let page = text(&jar.get(&stand, "/users/alice").await);
    has(
        &page,
        &[
            // 4.5 usage and 0.25 referral; 25 − 1.5.
            "<span class=\"number\">4.75</span>",
            "<td class=\"n\">4.5</td>",
            "<td class=\"n\">0.25</td>",
            "<span class=\"number\">23.5</span> USD",
            "0.25 USD",
            "a &lt;b&gt;welcome&lt;/b&gt;",
            "<span class=\"number\">2</span> days",
            "5 more days to the next step: from day 7 on, a day counts <strong>×1.1</strong>",
            "2026-11-22: 1.75 points, 1 request</title>",
            "llama-3-70b",
            "2026-11-22 12:00:00",
            "2026-11-21 12:00:00",
        ],
    );
    assert!(
        page.find("2026-11-22 12:00:00") < page.find("2026-11-21 12:00:00"),
        "the newest first"
    );
    let before = text(&jar.get(&stand, "/users/alice?month=2026-10").await);
    has(
        &before,
        &[
            "<span class=\"number\">0</span> points",
            "No points in this month.",
        ],
    );
}

#[tokio::test]
async fn requests_of_a_service_that_was_added_are_shown_by_its_name() {
    let stand = stand().await;
    let services = json!([{"number": 4, "name": "images", "endpoints": ["/images/generations"],
        "counts": "images", "price": "0.02", "points": "3", "targetMs": 9_000}]);
    let body = json!({"value": services, "reason": "we offer images"});
    book(&stand, &user("alice"), |entry| {
        served(entry, "2026-11-22", 1, Points(300_000));
    })
    .await;
    let path = "/api/admin/rules/rules.services";
    let answer = stand
        .ask(Some(&stand.admin), Method::PUT, path, Some(&body))
        .await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let later = Millis(NOON.0 + 60_000);
    stand.clock.set(later);
    let change = json!({"userId": "alice", "endpoint": "/v1/images/generations", "model": "dall-e-3",
        "timestamp": later.to_string(), "imageCount": 3});
    rated(&stand, &event("r-1", change), later).await;
    let mut alice = Jar::signed_in(&stand, &["account:user:alice"]).await;
    let page = text(&alice.get(&stand, "/users/alice").await);
    has(
        &page,
        &["images <span class=\"model\">dall-e-3</span>", "0.3"],
    );
}

#[tokio::test]
async fn a_final_month_says_so_and_does_not_look_for_news() {
    let stand = stand().await;
    posted_up_to(&stand, Millis(NOON.0 + HOUR_MS)).await;
    let mut jar = Jar::signed_in(&stand, &["account:user:alice"]).await;
    let page = text(&jar.get(&stand, "/users/alice?month=2026-10").await);
    has(&page, &["<span class=\"chip\">Final</span>"]);
    assert!(!page.contains("hx-get"), "{page}");
    let page = text(&jar.get(&stand, "/users/alice").await);
    has(
        &page,
        &[
            "hx-get=\"/users/alice?month=2026-11\"",
            "hx-select=\"#live\"",
        ],
    );
}

#[tokio::test]
async fn a_provider_sees_its_requests_of_the_week_by_model_and_whether_these_are_all() {
    let stand = stand().await;
    for (n, time) in [0, 1, 6, 8].into_iter().enumerate() {
        let time = Millis(NOON.0 - time * DAY_MS);
        request(&stand, "alice", &format!("r-{n}"), time).await;
    }
    let mut jar = Jar::signed_in(&stand, &["account:provider:prov-1"]).await;
    let page = text(&jar.get(&stand, "/providers/prov-1").await);
    has(&page, &["href=\"/providers/prov-1/models\""]);
    let page = text(&jar.get(&stand, "/providers/prov-1/models").await);
    // The fourth is older than a week.
    has(
        &page,
        &[
            "The last 7 days, by model",
            "<span class=\"model\">llama-3-70b</span>",
            "data-label=\"Requests\">3</td>",
            "data-label=\"Successful\">3</td>",
            "data-label=\"Mean latency\">250 ms</td>",
            "data-label=\"Points\">45</td>",
            "From single requests",
        ],
    );
    // Within a minute nobody looks again, for any provider.
    request(&stand, "bob", "r-9", NOON).await;
    let again = text(&jar.get(&stand, "/providers/prov-1/models").await);
    has(&again, &["data-label=\"Points\">45</td>"]);
    let mut other = Jar::signed_in(&stand, &["account:provider:prov-2"]).await;
    let page = text(&other.get(&stand, "/providers/prov-2/models").await);
    has(&page, &["No requests found."]);
    assert!(!page.contains("llama"), "{page}");
}

#[tokio::test]
async fn more_requests_than_are_looked_at_are_called_a_sample() {
    let stand = stand().await;
    // A scan of this store answers with at most 1 MB; 5,000 rows are looked at, or a page more.
    many_requests(&stand, "alice", 9_000, NOON).await;
    let mut jar = Jar::signed_in(&stand, &["account:provider:prov-1"]).await;
    let page = text(&jar.get(&stand, "/providers/prov-1/models").await);
    has(
        &page,
        &["A sample:", "Shares are about right, sums are not."],
    );
}

#[tokio::test]
async fn a_provider_sees_its_quality_and_what_would_raise_it() {
    let stand = stand().await;
    book(&stand, &provider("p"), |entry| {
        served(entry, "2026-11-22", 100, Points::whole(1_500));
        let (_, _, cell) = entry.cells.last_mut().unwrap();
        cell.requests = 102;
        cell.failed = 2;
    })
    .await;
    let mut jar = Jar::signed_in(&stand, &["account:provider:p"]).await;
    let page = text(&jar.get(&stand, "/providers/p").await);
    // 100 of 102: 9,803; 8,000 + floor(303 × 4,000 / 490). 250 of 8,000 ms.
    has(
        &page,
        &[
            "98.03 %",
            "×1.0473",
            "×1.2 from 99.9 % on.",
            "3.12 %",
            "Nothing; this is the maximum.",
        ],
    );
}

#[tokio::test]
async fn advice_on_quality_fits_what_is_missing() {
    let stand = stand().await;
    let mut jar = Jar::signed_in(&stand, &["admin:read"]).await;
    type Fill = fn(&mut Cell);
    let rows: [(&str, Fill, &[&str]); 3] = [
        (
            "few",
            |cell| cell.requests = 19,
            &["today has 19, so 1 to go", "1 more request first; "],
        ),
        (
            "refused",
            |cell| {
                *cell = Cell {
                    requests: 30,
                    ..Cell::default()
                }
            },
            &[
                "20 more requests first; ",
                "a status of 300 to 499 do not count",
            ],
        ),
        (
            "untimed",
            |cell| {
                *cell = Cell {
                    requests: 30,
                    successful: 30,
                    ..Cell::default()
                }
            },
            &["Latencies, which the gateway must report"],
        ),
    ];
    for (id, fill, wanted) in rows {
        book(&stand, &provider(id), |entry| {
            served(entry, "2026-11-22", 19, Points::whole(19));
            fill(&mut entry.cells.last_mut().unwrap().2);
        })
        .await;
        let page = text(&jar.get(&stand, &format!("/providers/{id}")).await);
        has(&page, wanted);
    }
}

#[tokio::test]
async fn requests_that_came_late_are_told_apart_from_those_of_the_days() {
    let stand = stand().await;
    book(&stand, &user("alice"), |entry| {
        served(entry, "2026-11-21", 2, Points(3_000_000));
        let late = Slot::Late("2026-11".parse().unwrap());
        let (_, service, cell) = entry.cells[0];
        entry.cells.push((late, service, cell));
    })
    .await;
    let mut jar = Jar::signed_in(&stand, &["account:user:alice"]).await;
    let page = text(&jar.get(&stand, "/users/alice").await);
    has(
        &page,
        &[
            "4 requests",
            "2 requests arrived late, for months that had already closed",
        ],
    );
    let page = text(&jar.get(&stand, "/users/alice?month=2027-01").await);
    has(
        &page,
        &[
            "To come",
            "This month has not begun.",
            "Days in a row, today",
        ],
    );
}

#[tokio::test]
async fn who_is_counted_by_a_halted_partition_is_told_so_and_nobody_else() {
    let stand = stand().await;
    let alice = user("alice");
    let own = alice.partition(PARTITIONS);
    let elsewhere = (0..)
        .map(|n| user(&format!("user-{n}")))
        .find(|other| other.partition(PARTITIONS) != own)
        .unwrap();
    let task = TaskId::new(Role::Post, own);
    let halt = HaltRecord {
        task: task.to_string(),
        code: "row_unreadable".to_owned(),
        message: "a row cannot be read".to_owned(),
        at: NOON,
    };
    record_halt(&stand.db, task, &halt).await.unwrap();
    let mut jar = Jar::signed_in(&stand, &["admin:read"]).await;
    let page = text(&jar.get(&stand, "/users/alice").await);
    has(
        &page,
        &[
            "Updates paused since 2026-11-22 12:00:00",
            "Nothing is lost;",
        ],
    );
    let page = text(&jar.get(&stand, &format!("/users/{}", elsewhere.id())).await);
    assert!(!page.contains("Updates paused since"), "{page}");
}

#[tokio::test]
async fn the_leaderboard_marks_ones_own_row_and_shortens_the_ids_of_others() {
    let stand = stand().await;
    let all: Vec<(i64, String)> = (0..60)
        .map(|i| (1_000 - i, format!("user-number-{i}")))
        .collect();
    let all: Vec<(i64, &str)> = all
        .iter()
        .map(|(points, id)| (*points, id.as_str()))
        .collect();
    ranked(&stand, 0, "2026-11", 60, &all).await;
    let mut jar = Jar::signed_in(&stand, &["account:user:user-number-30"]).await;
    let first = text(&jar.get(&stand, "/leaderboard").await);
    has(
        &first,
        &[
            "us…-0",
            "has place <strong>31</strong>",
            "/leaderboard?kind=user&amp;month=2026-11&amp;after=25",
        ],
    );
    assert!(!first.contains("user-number-1<"), "{first}");
    let second = text(
        &jar.get(&stand, "/leaderboard?kind=user&month=2026-11&after=25")
            .await,
    );
    has(
        &second,
        &[
            "class=\"mine\"",
            "user-number-30 <span class=\"chip\">You</span>",
            ">Before<",
            ">After<",
        ],
    );
    let mut admin = Jar::signed_in(&stand, &["admin:read"]).await;
    let page = text(&admin.get(&stand, "/leaderboard").await);
    has(
        &page,
        &["<a href=\"/users/user-number-1\">user-number-1</a>"],
    );
    let empty = text(&admin.get(&stand, "/leaderboard?kind=provider").await);
    has(&empty, &["No account has points in November 2026 yet."]);
}

async fn code_of(stand: &Stand, jar: &mut Jar, path: &str) -> String {
    let answer = jar.post(stand, &format!("{path}/code"), &[]).await;
    let page = text(&jar.get(stand, location(&answer)).await);
    let (_, rest) = page
        .split_once("id=\"my-code\" class=\"code\">")
        .or_else(|| page.split_once("class=\"code\" id=\"my-code\">"))
        .unwrap();
    rest.split('<').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_referral_from_two_sessions_and_every_refusal_in_plain_words() {
    let stand = stand().await;
    let mut ann = Jar::signed_in(&stand, &["account:user:ann"]).await;
    let mut bob = Jar::signed_in(&stand, &["account:user:bob"]).await;
    let code = code_of(&stand, &mut ann, "/users/ann").await;
    assert_eq!(
        code_of(&stand, &mut ann, "/users/ann").await,
        code,
        "asked again it is the same"
    );

    let enter = async |jar: &mut Jar, who: &str, code: &str| {
        jar.post(
            &stand,
            &format!("/users/{who}/referrer"),
            &[("code", code), ("once", "")],
        )
        .await
    };
    for (typed, why) in [
        ("XXXX-99999", "There is no such code."),
        ("", "There is no such code."),
        ("<b>", "There is no such code."),
    ] {
        let answer = enter(&mut bob, "bob", typed).await;
        assert_eq!(answer.status, 422, "{typed}");
        has(&text(&answer), &[why, "aria-invalid=\"true\""]);
    }
    has(
        &text(&enter(&mut ann, "ann", &code).await),
        &["This is your own code."],
    );
    let answer = enter(&mut bob, "bob", &format!(" {} ", code.to_lowercase())).await;
    assert_eq!(location(&answer), "/users/bob?done=referred");
    let page = text(&bob.get(&stand, "/users/bob").await);
    has(
        &page,
        &["Referred by <strong>a…</strong> since 2026-11-22 12:00:00"],
    );
    assert!(!page.contains("Enter a code"), "{page}");
    has(
        &text(&enter(&mut bob, "bob", &code).await),
        &["Referred by"],
    );

    let page = text(&ann.get(&stand, "/users/ann").await);
    has(
        &page,
        &[
            "1 signup with it",
            "1 account, 0 active, 0 milestones",
            "b…",
            "0 of 50",
            "20 %",
            "10 %",
            "5 %",
            "100 points",
            "200 points",
        ],
    );
    assert!(!page.contains(">bob<"), "{page}");
    let bobs = code_of(&stand, &mut bob, "/users/bob").await;
    has(
        &text(&enter(&mut ann, "ann", &bobs).await),
        &["Referrals cannot go in a circle."],
    );
    let switch = Switch {
        active: false,
        by: "a test".to_owned(),
        reason: "a test".to_owned(),
        now: NOON,
    };
    set_active(&stand.db, &code, &switch).await.unwrap();
    let mut eve = Jar::signed_in(&stand, &["account:user:eve"]).await;
    has(
        &text(&enter(&mut eve, "eve", &code).await),
        &["This code was switched off."],
    );
    has(
        &text(&ann.get(&stand, "/users/ann").await),
        &["new signups cannot use it"],
    );
}

#[tokio::test]
async fn a_code_that_is_sent_twice_counts_once_and_a_reader_has_no_forms() {
    let stand = stand().await;
    let mut ann = Jar::signed_in(&stand, &["account:provider:ann"]).await;
    let code = code_of(&stand, &mut ann, "/providers/ann").await;
    let mut bob = Jar::signed_in(&stand, &["account:user:bob"]).await;
    let page = text(&bob.get(&stand, "/users/bob").await);
    let once = field(&page, "once");
    for _ in 0..2 {
        let fields = [("code", code.as_str()), ("once", once.as_str())];
        let answer = bob.post(&stand, "/users/bob/referrer", &fields).await;
        assert_eq!(location(&answer), "/users/bob?done=referred");
    }
    assert!(link_of(&stand.db, &user("bob")).await.unwrap().is_some());
    let mut reader = Jar::signed_in(&stand, &["admin:read"]).await;
    // An account exists once anything is known of it.
    assert_eq!(reader.get(&stand, "/users/eve").await.status, 404);
    stand.key(&["account:user:eve"]).await;
    let page = text(&reader.get(&stand, "/users/eve").await);
    has(&page, &["There is no code yet.", "No referrer."]);
    assert!(!page.contains("action=\"/users/eve/"), "{page}");
}
