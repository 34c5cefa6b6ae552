//! What people see of seasons: the one that is in force, and the frozen leaderboards of those that
//! have ended.

use std::sync::Arc;

use serde_json::{Value, json};
use tidemark::app::commands::Commands;
use tidemark::app::queries::{Queries, SeasonBoards, SeasonPlace};
use tidemark::domain::rules::{Network, RateClass};
use tidemark::domain::time::{DAY_MS, HOUR_MS, Millis};
use tidemark::http::Partitions;
use tidemark::store::pricing::{NewValue, Publish, publish};

use super::jar::{Jar, has, text};
use crate::http::rows::rules;
use crate::http::stand::{NOON, Stand};

fn by_class(value: u32) -> Value {
    let classes = RateClass::NAMES.map(|name| (name.to_owned(), json!(value)));
    Value::Object(classes.into_iter().collect())
}

/// With a season in force, for an hour.
async fn in_season() -> Stand {
    let stand = Stand::new().await;
    rules(&stand, Network::Testnet).await;
    let season = json!([{"name": "Spring <tide>", "from": NOON.plus(-DAY_MS).to_string(),
        "to": NOON.plus(HOUR_MS).to_string(), "multiplier": by_class(15_000)}]);
    let publication = Publish {
        values: vec![NewValue {
            key: "rules.season".to_owned(),
            value: season.to_string(),
        }],
        effective_from: NOON,
        by: "a test".to_owned(),
        reason: "a test".to_owned(),
        now: NOON,
        token: "season".to_owned(),
    };
    publish(&stand.db, &publication).await.unwrap();
    stand
}

async fn freeze(stand: &Stand, name: &str, from: Millis) {
    let place = |rank, id: &str, points: &str| SeasonPlace {
        rank,
        id: id.to_owned(),
        points: points.parse().unwrap(),
    };
    let boards = SeasonBoards {
        name: name.to_owned(),
        from,
        to: from.plus(DAY_MS),
        rows: 3,
        users: vec![
            place(1, "alice-of-the-sea", "12.5"),
            place(2, "bob-of-the-sea", "0.000001"),
        ],
        providers: vec![place(1, "prov-9", "125")],
    };
    let one = Partitions {
        source: 1,
        posting: 1,
        rejected: 1,
    };
    let queries = Queries::new(Arc::new(stand.db.clone()), stand.log.clone(), one);
    let commands = Commands::new(Arc::new(queries), stand.clock.clone());
    commands.freeze_season(&boards, "a test").await.unwrap();
}

#[tokio::test]
async fn the_season_in_force_and_its_end_stand_on_pages_of_earners() {
    let stand = in_season().await;
    let mut alice = Jar::signed_in(&stand, &["account:user:alice"]).await;
    let told = "Season <strong>Spring &lt;tide&gt;</strong>, until 2026-11-22 13:00:00";
    for path in ["/users/alice", "/leaderboard"] {
        has(&text(&alice.get(&stand, path).await), &[told]);
    }
    let mut prov = Jar::signed_in(&stand, &["account:provider:prov-9"]).await;
    has(&text(&prov.get(&stand, "/providers/prov-9").await), &[told]);
    // Its end is the first instant after it.
    stand.clock.set(NOON.plus(HOUR_MS));
    let after = text(&alice.get(&stand, "/leaderboard").await);
    has(&after, &["<h1>Leaderboard</h1>"]);
    assert!(!after.contains("Spring"), "{after}");
}

#[tokio::test]
async fn leaderboards_of_seasons_that_have_ended_are_linked_and_shown() {
    let stand = in_season().await;
    let mut alice = Jar::signed_in(&stand, &["account:user:alice-of-the-sea"]).await;
    let before = text(&alice.get(&stand, "/leaderboard").await);
    assert!(!before.contains("Seasons that have ended"), "{before}");
    freeze(&stand, "High tide & low", NOON.plus(-30 * DAY_MS)).await;
    let page = text(&alice.get(&stand, "/leaderboard").await);
    let link = "/leaderboard?kind=user&amp;season=High%20tide%20%26%20low";
    has(
        &page,
        &["Seasons that have ended", link, "High tide &amp; low"],
    );
    let path = "/leaderboard?kind=user&season=High%20tide%20%26%20low";
    let users = text(&alice.get(&stand, path).await);
    has(
        &users,
        &[
            "<h1>High tide &amp; low</h1>",
            "From 2026-10-23",
            "alice-of-the-sea",
            "12.5",
            // Others are shortened.
            "bo…ea",
        ],
    );
    assert!(!users.contains("bob-of-the-sea"), "{users}");
    let path = "/leaderboard?kind=provider&season=High%20tide%20%26%20low";
    has(&text(&alice.get(&stand, path).await), &["125"]);
    let missing = alice
        .get(&stand, "/leaderboard?kind=user&season=none")
        .await;
    assert_eq!(missing.status, 404);
}
