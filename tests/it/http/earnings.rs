//! Statements, earnings, streaks and requests of accounts.

use std::sync::Arc;

use axum::http::Method;
use serde_json::json;
use tidemark::app::queries::{Queries, StatementDoc};
use tidemark::domain::amount::{Money, Points};
use tidemark::domain::ids::AccountKind;
use tidemark::domain::position::WriteId;
use tidemark::domain::posting::{Cascade, Deduction, FirstSuccess, Slot};
use tidemark::domain::rules::Network;
use tidemark::domain::service::Service;
use tidemark::domain::time::{HOUR_MS, Millis, Month};
use tidemark::log::Partitions;
use tidemark::ops::health::{Role, TaskId};
use tidemark::store::awards::{Adjustment, Award, AwardKind, adjustment, grant_writes};
use tidemark::store::checkpoints::{HaltRecord, record_halt};
use tidemark::store::db::{Attr, Condition, Db, Item, Table, Write};
use tidemark::store::pages;
use tidemark::store::referrals::{AwardPolicy, Referrer, SignupRequest, signup};
use tidemark::store::set_aside::put;
use utoipa::PartialSchema;

use super::rows::{book, charged, posted_up_to, ranked, request, rules, served, start_of};
use super::set_aside::record_of;
use super::stand::{NOON, Stand};
use crate::edge::memory_log::PARTITIONS;
use crate::store::{provider, user};

async fn stand() -> Stand {
    let stand = Stand::new().await;
    rules(&stand, Network::Testnet).await;
    stand
}

#[tokio::test]
async fn a_provider_sees_its_month_by_day_and_what_today_brought() {
    let stand = stand().await;
    let one = provider("prov-1");
    book(&stand, &one, |entry| {
        served(entry, "2026-11-20", 10, Points::whole(150));
        served(entry, "2026-11-22", 2, Points::whole(30));
        let day = Slot::Day("2026-11-22".parse().unwrap());
        entry
            .referral
            .push((day, Cascade::at(0, Points(1_500_000))));
    })
    .await;
    let answer = stand.get("/api/providers/prov-1/earnings").await;
    assert_eq!(answer.status, 200);
    insta::assert_json_snapshot!("earnings", answer.json());
    // Asked for last month, today is still today.
    let before = stand
        .get("/api/providers/prov-1/earnings?month=2026-10")
        .await
        .json();
    assert_eq!(before["total"], "0");
    assert_eq!(before["earningsToday"], "31.5");
    assert_eq!(before["earnings"], json!([]));
}

#[tokio::test]
async fn months_are_those_of_the_calendar_on_its_odd_days_too() {
    let rows = [
        ("2026-01-31", "2026-01", "2025-12-31"),
        ("2026-03-31", "2026-03", "2026-02-28"),
        ("2026-12-31", "2026-12", "2026-11-30"),
        ("2027-01-01", "2027-01", "2026-12-31"),
        ("2028-02-29", "2028-02", "2028-01-31"),
        ("2028-03-01", "2028-03", "2028-02-29"),
    ];
    let stand = stand().await;
    for (today, month, in_the_month_before) in rows {
        let id = format!("p-{today}");
        book(&stand, &provider(&id), |entry| {
            served(entry, in_the_month_before, 1, Points::whole(1));
            served(entry, today, 1, Points::whole(2));
        })
        .await;
        // The first and the last millisecond of the day.
        for now in [
            start_of(today),
            Millis(start_of(today).0 + 24 * HOUR_MS - 1),
        ] {
            stand.clock.set(now);
            let path = format!("/api/providers/{id}/earnings");
            let found = stand.get(&path).await.json();
            assert_eq!(found["statement"]["month"], month, "{today}");
            let only = json!([{"day": today, "amount": "2"}]);
            assert_eq!(found["earnings"], only, "{today}");
            assert_eq!(found["earningsToday"], "2", "{today}");
            let before = &in_the_month_before[..7];
            let found = stand.get(&format!("{path}?month={before}")).await.json();
            let only = json!([{"day": in_the_month_before, "amount": "1"}]);
            assert_eq!(found["earnings"], only, "{today}");
        }
    }
}

#[tokio::test]
async fn a_user_sees_its_points_and_what_they_cost() {
    let stand = stand().await;
    book(&stand, &user("alice"), |entry| {
        served(entry, "2026-11-21", 3, Points(4_500_000));
        charged(entry, "2026-11", Money::ZERO, Money(150_000));
        entry.firsts.push(FirstSuccess {
            service: tidemark::domain::event::Service::CHAT_COMPLETIONS,
            slot: Slot::Day("2026-11-21".parse().unwrap()),
            points: Points::whole(5),
        });
    })
    .await;
    let answer = stand.get("/api/users/alice/points").await;
    insta::assert_json_snapshot!("points", answer.json());
}

#[tokio::test]
async fn an_account_of_which_nothing_is_known_reads_as_zeros() {
    let stand = stand().await;
    insta::assert_json_snapshot!(
        "nothing_is_known",
        json!({
            "points": stand.get("/api/users/nobody/points").await.json(),
            "earnings": stand.get("/api/providers/nobody/earnings").await.json(),
            "streak": stand.get("/api/users/nobody/streak").await.json(),
            "usage": stand.get("/api/users/nobody/usage").await.json(),
            "credits": stand.get("/api/v1/credits/nobody").await.json(),
            "referrals": stand.get("/api/referrals/provider/nobody").await.json(),
        })
    );
}

#[tokio::test]
async fn without_rules_there_are_no_statements() {
    let stand = Stand::new().await;
    for path in [
        "/api/users/alice/points",
        "/api/providers/prov-1/earnings",
        "/api/users/alice/points?month=2025-01",
    ] {
        let answer = stand.get(path).await;
        assert_eq!(answer.code(), (409, "no_rules".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn new_rules_are_felt_by_the_next_request() {
    let stand = Stand::new().await;
    let path = "/api/users/alice/points";
    assert_eq!(stand.get(path).await.status, 409);
    rules(&stand, Network::Testnet).await;
    assert_eq!(stand.get(path).await.status, 200);
}

#[tokio::test]
async fn an_account_sees_its_own_and_nobody_elses() {
    let stand = stand().await;
    let key = stand.key(&["account:user:alice"]).await;
    let rows = [
        ("/api/users/alice/points", 200),
        ("/api/users/alice/streak", 200),
        ("/api/users/alice/usage", 200),
        ("/api/v1/credits/alice", 200),
        ("/api/referrals/user/alice", 200),
        ("/api/users/bob/points", 403),
        ("/api/users/bob/streak", 403),
        ("/api/users/bob/usage", 403),
        ("/api/v1/credits/bob", 403),
        ("/api/referrals/user/bob", 403),
        // The same id, but a provider.
        ("/api/referrals/provider/alice", 403),
        ("/api/providers/alice/earnings", 403),
    ];
    for (path, status) in rows {
        let answer = stand.ask(Some(&key), Method::GET, path, None).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn ids_are_read_as_they_are_meant_and_bad_ones_refused() {
    let stand = stand().await;
    let rows = [
        ("/api/users/a%2Fb%20%C3%A9/points", Ok("a/b é")),
        ("/api/users/..%2F..%2Fetc/points", Ok("../../etc")),
        ("/api/users/a%23b%7C/points", Ok("a#b|")),
        ("/api/users/a%0Ab/points", Err("invalid_id")),
        ("/api/users/%FF/points", Err("invalid_path")),
        ("/api/referrals/robot/alice", Err("invalid_path")),
        (
            "/api/users/alice/points?month=2026-13",
            Err("invalid_query"),
        ),
        ("/api/users/alice/points?month=", Err("invalid_query")),
        ("/api/users/alice/points?moon=1", Err("invalid_query")),
        (
            "/api/users/alice/usage?day=2026-02-29",
            Err("invalid_query"),
        ),
        ("/api/users/alice/usage?limit=0", Err("invalid_query")),
        ("/api/users/alice/usage?limit=1001", Err("invalid_query")),
        ("/api/users/alice/usage?limit=-1", Err("invalid_query")),
        ("/api/users/alice/usage?after=x", Err("invalid_query")),
        ("/api/users/alice/usage?after=~_~", Err("invalid_query")),
        ("/api/referrals/user/alice?limit=1001", Err("invalid_query")),
    ];
    for (path, expected) in rows {
        let answer = stand.get(path).await;
        match expected {
            Ok(id) => assert_eq!(answer.json()["id"], id, "{path}"),
            Err(code) => assert_eq!(answer.code(), (400, code.to_owned()), "{path}"),
        }
    }
    let long = "x".repeat(129);
    let answer = stand.get(&format!("/api/users/{long}/points")).await;
    assert_eq!(answer.code(), (400, "invalid_id".to_owned()));
}

#[tokio::test]
async fn a_streak_goes_on_until_a_day_is_over_without_a_request() {
    let stand = stand().await;
    book(&stand, &user("alice"), |entry| {
        for day in ["2026-11-01", "2026-11-02", "2026-11-03"] {
            served(entry, day, 1, Points::whole(1));
        }
        for day in ["2026-11-20", "2026-11-21"] {
            served(entry, day, 1, Points::whole(1));
        }
    })
    .await;
    let rows = [
        ("2026-11-21", 2, json!("2026-11-20")),
        ("2026-11-22", 2, json!("2026-11-20")),
        ("2026-11-23", 0, json!(null)),
    ];
    for (today, current, start) in rows {
        stand.clock.set(start_of(today));
        let found = stand.get("/api/users/alice/streak").await.json();
        let expected = json!({"kind": "user", "id": "alice", "current": current, "longest": 3,
            "start": start, "lastActive": "2026-11-21"});
        assert_eq!(found, expected, "{today}");
    }
}

#[tokio::test]
async fn the_pages_of_a_day_hold_each_request_once_in_order() {
    let stand = stand().await;
    let day = start_of("2026-11-22");
    // Several within one millisecond, and of other days and users.
    for number in 0..23_i64 {
        let at = Millis(day.0 + number / 3 * 1_000);
        request(&stand, "alice", &format!("r-{number}"), at).await;
    }
    request(&stand, "alice", "other-day", Millis(day.0 - 1)).await;
    request(&stand, "bob", "other-user", day).await;
    for limit in [1, 2, 7, 22, 23, 24, 1_000] {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!("/api/users/alice/usage?day=2026-11-22&limit={limit}{after}");
            let page = stand.get(&path).await.json();
            let requests = page["requests"].as_array().unwrap();
            assert!(requests.len() <= limit, "{limit}");
            for request in requests {
                let text = |name: &str| request[name].as_str().unwrap().to_owned();
                found.push((text("time"), text("id")));
            }
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(found.len(), 23, "{limit}");
        assert!(found.windows(2).all(|two| two[0].0 <= two[1].0), "{limit}");
        let mut ids: Vec<String> = found.into_iter().map(|(_, id)| id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 23, "{limit}");
    }
    // Today is the default.
    stand.clock.set(NOON);
    let mut one = stand.get("/api/users/alice/usage?limit=1").await.json();
    assert_eq!(one["day"], "2026-11-22");
    // One of three of the same millisecond, by a hash.
    one["requests"][0]["id"] = json!("r-?");
    one["next"] = json!("…");
    insta::assert_json_snapshot!("usage", one);
}

#[tokio::test]
async fn a_month_is_open_until_everything_has_passed_its_close() {
    let stand = stand().await;
    let alice = user("alice");
    book(&stand, &alice, |entry| {
        served(entry, "2026-10-31", 1, Points::whole(1));
    })
    .await;
    // Nobody has posted anything: whatever the clock says, the month can change.
    for day in ["2026-10-31", "2026-11-22", "2027-11-22"] {
        stand.clock.set(start_of(day));
        let path = "/api/users/alice/points?month=2026-10";
        assert_eq!(stand.get(path).await.json()["final"], false, "{day}");
    }
    let grant = Adjustment {
        account: alice,
        points: Points::whole(1),
        reason: "a test".to_owned(),
        idempotency_key: "1".to_owned(),
        by: "a test".to_owned(),
        now: NOON,
    };
    adjustment(&stand.db, &grant, PARTITIONS).await.unwrap();
    let path = "/api/users/alice/points?month=2026-11";
    assert_eq!(stand.get(path).await.json()["final"], false);
}

#[tokio::test]
async fn a_month_is_final_when_everything_has_passed_its_close_and_no_award_is_pending() {
    let stand = stand().await;
    let month: Month = "2026-10".parse().unwrap();
    posted_up_to(&stand, start_of("2026-12-01")).await;
    let finals = async || {
        let mut finals = Vec::new();
        for month in ["2026-09", "2026-10", "2026-11"] {
            let path = format!("/api/users/alice/points?month={month}");
            finals.push(stand.get(&path).await.json()["final"] == true);
        }
        finals
    };
    // By the clock October has just closed, or not.
    stand.clock.set(month.closes());
    assert_eq!(finals().await, [true, false, false]);
    stand.clock.set(Millis(month.closes().0 + 1));
    assert_eq!(finals().await, [true, true, false]);
    let grant = Adjustment {
        account: user("bob"),
        points: Points::whole(1),
        reason: "a test".to_owned(),
        idempotency_key: "1".to_owned(),
        by: "a test".to_owned(),
        now: start_of("2026-10-31"),
    };
    adjustment(&stand.db, &grant, PARTITIONS).await.unwrap();
    assert_eq!(finals().await, [true, false, false]);
}

#[tokio::test]
async fn a_month_is_open_for_a_referrer_whose_award_may_hang_on_an_account_that_is_set_aside() {
    let stand = stand().await;
    let month: Month = "2026-10".parse().unwrap();
    posted_up_to(&stand, start_of("2026-12-01")).await;
    stand.clock.set(Millis(month.closes().0 + 1));
    // The award for the signup itself is of another month.
    let request = SignupRequest {
        referrer: Referrer::Account(user("alice")),
        referee: user("bob"),
        now: start_of("2026-09-02"),
        token: "1".to_owned(),
        awards: AwardPolicy::Pay(Points::whole(1)),
        by: None,
    };
    let finals = async || {
        let mut finals = Vec::new();
        for id in ["alice", "bob", "carol"] {
            let path = format!("/api/users/{id}/points?month={month}");
            finals.push(stand.get(&path).await.json()["final"] == true);
        }
        finals
    };
    let record = record_of(user("bob"));
    let write = WriteId::default();
    stand.db.write(put(&record, None, write)).await.unwrap();
    assert_eq!(finals().await, [true, false, true]);
    signup(&stand.db, &request, PARTITIONS).await.unwrap();
    assert_eq!(finals().await, [false, false, true]);
}

#[tokio::test]
async fn a_pointer_that_cannot_be_decoded_keeps_only_its_own_accounts_months_open() {
    let stand = stand().await;
    let month: Month = "2026-10".parse().unwrap();
    posted_up_to(&stand, start_of("2026-12-01")).await;
    stand.clock.set(Millis(month.closes().0 + 1));
    let award = Award {
        id: "adjustment#k".to_owned(),
        account: user("bob"),
        kind: AwardKind::Adjustment,
        month: "2026-12".parse().unwrap(),
        points: Points::whole(1),
        granted_at: NOON,
        reason: "a test".to_owned(),
    };
    stand
        .db
        .transact(grant_writes(award, PARTITIONS))
        .await
        .unwrap();
    let q = user("bob").partition(PARTITIONS);
    let query = pages::whole(Table::Checkpoints, format!("pending#{q}"));
    let mut item = stand.db.query(&query).await.unwrap().items.remove(0);
    let damaged = async |item: Item| {
        let write = Write::Put {
            table: Table::Checkpoints,
            item,
            condition: Condition::Present,
        };
        stand.db.write(write).await.unwrap();
        let mut finals = Vec::new();
        for id in ["alice", "bob"] {
            let path = format!("/api/users/{id}/points?month={month}");
            finals.push(stand.get(&path).await.json()["final"] == true);
        }
        finals
    };
    item.insert("points", Attr::S("many".to_owned()));
    assert_eq!(damaged(item.clone()).await, [true, false]);
    // Whose it is cannot be told: it may be anybody's.
    item.insert("account", Attr::S("?".to_owned()));
    assert_eq!(damaged(item).await, [false, false]);
}

#[tokio::test]
async fn places_are_told_as_far_as_they_are_known() {
    let stand = stand().await;
    ranked(&stand, 0, "2026-11", 10, &[(90, "a"), (50, "c"), (50, "d")]).await;
    ranked(&stand, 1, "2026-11", 2, &[(80, "b"), (40, "e"), (30, "f")]).await;
    book(&stand, &user("f"), |entry| {
        served(entry, "2026-11-20", 1, Points::whole(30));
    })
    .await;
    let partitions = Partitions {
        source: PARTITIONS,
        posting: PARTITIONS,
        rejected: PARTITIONS,
    };
    let queries = Queries::new(Arc::new(stand.db.clone()), stand.log.clone(), partitions);
    let month: Month = "2026-11".parse().unwrap();
    let board = queries.leaderboard(AccountKind::User, month).await.unwrap();
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let page = board.page(after, 2);
        assert_eq!(page.kept, 5);
        seen.extend(page.places.into_iter().map(|place| (place.rank, place.id)));
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    let expected = (1..).zip(["a", "b", "c", "d", "e"].map(str::to_owned));
    assert_eq!(seen, expected.collect::<Vec<(u64, String)>>());
    assert_eq!(board.page(5, 2).places, []);
    assert_eq!(board.page(u64::MAX, 2).next, None);
    let rank = async |id: &str| {
        let rank = queries.rank_of(&user(id), month).await.unwrap();
        (rank.rank, rank.kept, rank.total)
    };
    assert_eq!(rank("f").await, (None, 5, Points::whole(30)));
    assert_eq!(rank("nobody").await, (None, 5, Points::ZERO));
    // The list is ahead of the row here, which a test may do.
    assert_eq!(rank("d").await, (Some(4), 5, Points::ZERO));
}

#[tokio::test]
async fn the_document_describes_statements_as_they_are() {
    let stand = stand().await;
    let schema = serde_json::to_value(StatementDoc::schema()).unwrap();
    let described = schema["properties"].as_object().unwrap();
    let required = schema["required"].as_array().unwrap();
    // Of a user whose partition is halted, so that this is said too.
    let task = TaskId::new(Role::Post, user("alice").partition(PARTITIONS));
    let halt = HaltRecord {
        task: task.to_string(),
        code: "row_unreadable".to_owned(),
        message: "a row cannot be read".to_owned(),
        at: NOON,
    };
    record_halt(&stand.db, task, &halt).await.unwrap();
    // And with a request that was taken back.
    book(&stand, &user("alice"), |entry| {
        let deduction = Deduction {
            reversed: 1,
            ..Deduction::default()
        };
        let place = (Slot::Day(NOON.day()), Service::CHAT_COMPLETIONS, deduction);
        entry.deductions.by_service.push(place);
    })
    .await;
    let both = [
        stand.get("/api/users/alice/points").await.json(),
        stand.get("/api/providers/prov-1/earnings").await.json()["statement"].clone(),
    ];
    for statement in &both {
        let members = statement.as_object().unwrap();
        for name in members.keys() {
            assert!(described.contains_key(name), "{name} is not described");
        }
        for name in required {
            let name = name.as_str().unwrap();
            assert!(members.contains_key(name), "{name} is not there");
        }
    }
    for name in described.keys() {
        assert!(
            both.iter().any(|statement| statement.get(name).is_some()),
            "{name} is in no statement"
        );
    }
}
