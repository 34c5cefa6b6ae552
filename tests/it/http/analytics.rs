//! What everybody together does.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidemark::app::queries::keep;
use tidemark::domain::amount::{Money, Points};
use tidemark::domain::rules::Network;
use tidemark::ops::shutdown;

use super::rows::{book, charged, rules, served};
use super::stand::{NOON, Stand};
use crate::store::{provider, user};

const ROUTE: &str = "/api/admin/analytics";
const HOUR: Duration = Duration::from_secs(3600);

/// Lets it be kept by a process of this stand until the answer is what is waited for; that answer.
async fn kept(stand: &Stand, is_it: impl Fn(&Value) -> bool) -> Value {
    let (_trigger, shutdown) = shutdown::channel();
    let db = Arc::new(stand.db.clone());
    let keeping = keep(
        db,
        stand.clock.clone(),
        stand.metrics.clone(),
        HOUR,
        shutdown,
    );
    let answer = async {
        loop {
            let answer = stand.get(ROUTE).await;
            if answer.status == 200 && is_it(&answer.json()) {
                return answer.json();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = keeping => unreachable!("nobody stops it"),
        answer = tokio::time::timeout(Duration::from_secs(60), answer) => answer.expect("in time"),
    }
}

async fn referred(stand: &Stand, referees: &[&str]) {
    let body = json!({"userId": "ann", "userType": "user"});
    let made = stand.post("/api/referrals/code", &body).await.json();
    for referee in referees {
        let body =
            json!({"referralCode": made["code"], "refereeId": referee, "refereeType": "user"});
        let answer = stand.post("/api/referrals/signup", &body).await;
        assert!(answer.status.is_success(), "{:?}", answer.body);
    }
}

#[tokio::test]
async fn the_sums_over_everybody_are_those_of_the_rows_and_say_how_old_they_are() {
    let stand = Stand::new().await;
    rules(&stand, Network::Mainnet).await;
    assert_eq!(
        stand.get(ROUTE).await.code(),
        (404, "no_analytics_yet".to_owned())
    );
    referred(&stand, &["bob", "carl", "dora"]).await;
    // Yesterday and a week before: ann falls, bob rises. Carl has fifty successes, dora none at all.
    book(&stand, &user("ann"), |entry| {
        served(entry, "2026-11-12", 9, Points::whole(90));
        served(entry, "2026-11-21", 1, Points::whole(10));
        charged(entry, "2026-11", Money(1), Money::ZERO);
    })
    .await;
    book(&stand, &user("bob"), |entry| {
        served(entry, "2026-11-21", 2, Points::whole(30));
    })
    .await;
    book(&stand, &user("carl"), |entry| {
        served(entry, "2026-11-22", 50, Points::whole(5));
    })
    .await;
    book(&stand, &provider("prov"), |entry| {
        served(entry, "2026-11-21", 3, Points::whole(7));
    })
    .await;

    let seen = kept(&stand, |_| true).await;
    assert_eq!(seen["computedAt"], NOON.to_string());
    let funnel = json!({"codes": 1, "signups": 3, "activated": 2, "milestones": 1});
    assert_eq!(seen["referrals"], funnel);
    assert_eq!(seen["accounts"], json!({"users": 3, "providers": 1}));
    assert_eq!(
        seen["creditsOverdrawn"], 1,
        "ann has spent and paid nothing"
    );
    let days = json!([
        {"day": "2026-11-12", "users": 1, "providers": 0},
        {"day": "2026-11-21", "users": 2, "providers": 1},
        {"day": "2026-11-22", "users": 1, "providers": 0},
    ]);
    assert_eq!(seen["active"], days);
    let chat = json!({"service": "chat_completions", "requests": 62, "userPoints": "135", "providerPoints": "7"});
    assert_eq!(seen["services"][0], chat);
    let rising = json!([{"id": "bob", "points": "30", "before": "0"}]);
    assert_eq!(seen["risingUsers"], rising);

    let metrics = stand.metrics.render();
    for line in [
        r#"tidemark_referral_accounts{step="activated"} 2"#,
        r#"tidemark_active_accounts{day="yesterday",kind="user"} 2"#,
        "tidemark_credits_overdrawn_accounts 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    // Bounded, and bounds are kept to.
    let less = stand.get(&format!("{ROUTE}?days=1&movers=0")).await.json();
    assert_eq!(less["active"].as_array().map(Vec::len), Some(1));
    assert_eq!(less["risingUsers"], json!([]));
    for query in ["days=0", "days=63", "movers=11", "nothing=1"] {
        let answer = stand.get(&format!("{ROUTE}?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
    }
}

#[tokio::test]
async fn what_is_kept_is_told_until_it_is_too_old() {
    let stand = Stand::new().await;
    rules(&stand, Network::Testnet).await;
    kept(&stand, |_| true).await;
    book(&stand, &user("ann"), |entry| {
        served(entry, "2026-11-21", 1, Points::whole(10));
    })
    .await;
    let again = kept(&stand, |_| true).await;
    assert_eq!(
        again["accounts"]["users"], 0,
        "another process takes what is kept"
    );
    // Little is read again after a minute, whatever the interval is.
    stand.clock.set(NOON.plus(59_999));
    let again = kept(&stand, |_| true).await;
    assert_eq!(again["accounts"]["users"], 0, "{again}");
    stand.clock.set(NOON.plus(60_000));
    let later = kept(&stand, |seen| seen["accounts"]["users"] == 1).await;
    assert_eq!(later["computedAt"], "2026-11-22T12:01:00.000Z");
}
