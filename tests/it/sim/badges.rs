//! Badges: what must hold of them at the end of a schedule, and how they come in a quiet world.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tidemark::domain::badges::{BadgeId, Evidence};
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::pipeline::Settings;
use tidemark::pipeline::progress::Finality;
use tidemark::store::badges::{self, Decision, Grant};
use tidemark::store::db::{Key, Table};
use tidemark::store::pricing;

use super::adapter::{self, InstantDb};
use super::db::DbState;
use super::quiet::Quiet;
use super::workload::{DAY, HOUR, MINUTE, user};
use crate::oracle;

/// A badge as rules have it.
pub fn badge(id: &str, criterion: Value) -> Value {
    json!({"id": id, "name": id, "description": "a test", "picture": "https://example.com/a.svg",
        "criterion": criterion})
}

/// Badges of a schedule; more of them when they are published again.
pub fn rules(all: bool) -> String {
    let mut badges = vec![
        badge("one-day", json!({"streakDays": 1})),
        badge("scraper", json!({"firstSuccess": "scrape"})),
        badge("some-points", json!({"monthPoints": "3"})),
    ];
    if all {
        badges.extend([
            badge("two-days", json!({"streakDays": 2})),
            badge("chatter", json!({"firstSuccess": "chat_completions"})),
            badge("recruiter", json!({"milestones": 1})),
            badge("many-points", json!({"lifePoints": "40"})),
            badge("first", json!({"monthRank": 1})),
            badge("third", json!({"monthRank": 3})),
        ]);
    }
    Value::from(badges).to_string()
}

/// Every badge that was granted.
pub fn granted(db: &DbState) -> Result<Vec<Grant>, String> {
    let from = Key::new(Table::Checkpoints, "badges#", "");
    let keys = db.items.range(from..).map(|(key, _)| key);
    let mine =
        keys.take_while(|key| key.table == Table::Checkpoints && key.hash.starts_with("badges#"));
    let hashes: BTreeSet<&str> = mine.map(|key| key.hash.as_str()).collect();
    let instant = InstantDb(db.items.clone());
    let mut all = Vec::new();
    for hash in hashes {
        let (kind, id) = hash["badges#".len()..]
            .split_once(':')
            .ok_or("no account")?;
        let kind: AccountKind = kind.parse().map_err(|_| "no kind")?;
        let account = Account::new(kind, id).map_err(|e| e.to_string())?;
        let of = InstantDb::answer(badges::badges_of(&instant, &account));
        all.extend(of.map_err(|e| e.to_string())?);
    }
    Ok(all)
}

/// Whether all accounts were looked through for the newest badges and the newest final month.
pub fn is_swept(db: &DbState, source: u32, posting: u32) -> bool {
    let instant = InstantDb(db.items.clone());
    let head = adapter::control_head(&instant);
    let Ok(mut book) = InstantDb::answer(pricing::load_rules(&instant, head)) else {
        return false;
    };
    let Some(timeline) = book.as_of(head) else {
        return true;
    };
    let Some((control, _)) = timeline.badges() else {
        return true;
    };
    let swept = InstantDb::answer(badges::swept(&instant)).expect("it can be read");
    let finality = Finality::read(&instant, source, posting);
    let last = InstantDb::answer(finality)
        .expect("it can be read")
        .all_up_to();
    swept.is_some_and(|swept| swept.value.rules == control && swept.value.month >= last)
}

/// Compares what was granted with what the rules' text says.
pub fn check(
    db: &DbState,
    input: &oracle::Input,
    must: &oracle::Output,
    revoked: &BTreeSet<(Account, String)>,
    ranks: usize,
) -> Result<(), String> {
    let instant = InstantDb(db.items.clone());
    let swept = InstantDb::answer(badges::swept(&instant)).map_err(|e| e.to_string())?;
    let last = swept.and_then(|swept| swept.value.month);
    let last = last.map(|month| month.to_string());
    let wanted = oracle::badges(must, &input.versions, last.as_deref(), ranks);
    let mut is = BTreeSet::new();
    let mut addresses = BTreeMap::new();
    for grant in granted(db)? {
        let account = (
            grant.account.kind.to_string(),
            grant.account.id().to_owned(),
        );
        let found = InstantDb::answer(badges::at_address(&instant, grant.address));
        if found.map_err(|e| e.to_string())?.as_ref() != Some(&grant) {
            return Err(format!("{} does not lead to {grant:?}", grant.address));
        }
        if addresses.insert(grant.address, account.clone()).is_some() {
            return Err(format!("two badges have the address {}", grant.address));
        }
        let was_revoked = revoked.contains(&(grant.account.clone(), grant.badge.to_string()));
        if was_revoked != grant.revoked.is_some() {
            return Err(format!("revoked: {was_revoked}, but {grant:?}"));
        }
        is.insert((account, grant.badge.to_string()));
    }
    let lost: Vec<_> = wanted.must.difference(&is).collect();
    let unearned: Vec<_> = is.difference(&wanted.may).collect();
    if lost.is_empty() && unearned.is_empty() {
        return Ok(());
    }
    Err(format!(
        "badges: not granted {lost:?}; granted without reason {unearned:?}"
    ))
}

/// That a badge is taken back, or given back.
pub fn decision(now: i64, token: String, revoke: bool) -> Decision {
    Decision {
        revoke,
        by: "sim".to_owned(),
        reason: "a test".to_owned(),
        now: tidemark::domain::time::Millis(now),
        token,
    }
}

fn id(text: &str) -> BadgeId {
    text.parse().expect("an id")
}

/// The badges of an account, by id, with what earned them.
fn of(quiet: &Quiet, account: &Account) -> BTreeMap<String, Evidence> {
    let all = quiet
        .world
        .with(|inner| granted(&inner.db))
        .expect("readable");
    let own = all.into_iter().filter(|grant| grant.account == *account);
    own.map(|grant| (grant.badge.to_string(), grant.evidence))
        .collect()
}

fn settings() -> Settings {
    Settings {
        sweep_interval: Duration::from_secs(30),
        ..Settings::default()
    }
}

/// A chat that was late, but not too late for its month.
fn chat_of_november(quiet: &mut Quiet, id: &str, user: &str) {
    let event = json!({
        "requestId": id, "userId": user, "endpoint": "/v1/chat/completions", "model": "llama-3-8b",
        "timestamp": "2026-11-29T20:00:00Z", "statusCode": 200, "inputTokens": 5, "outputTokens": 5,
    });
    quiet.append(user, event.to_string());
}

#[test]
fn a_badge_comes_with_the_flush_that_shows_it_and_once() {
    let mut quiet = Quiet::new(1, 1);
    quiet.publish_rule("rules.badges", rules(true));
    quiet.start_worker(settings());
    quiet.chat("r-1", user(1).id());
    quiet.pass(5_000);
    let first = quiet
        .world
        .with(|inner| granted(&inner.db))
        .expect("readable");
    let ids = first.iter().map(|grant| grant.badge.as_str());
    assert_eq!(
        BTreeSet::from_iter(ids),
        BTreeSet::from(["chatter", "one-day"])
    );
    assert!(
        first.iter().all(|grant| grant.position.is_some()),
        "{first:?}"
    );
    for restart in 0..3 {
        quiet.kill_worker();
        quiet.start_worker(settings());
        quiet.chat(&format!("again-{restart}"), user(1).id());
        quiet.pass(MINUTE);
    }
    let later = quiet
        .world
        .with(|inner| granted(&inner.db))
        .expect("readable");
    assert_eq!(later, first);
}

#[test]
fn accounts_that_nobody_touches_get_badges_that_are_published_later() {
    let mut quiet = Quiet::new(2, 2);
    quiet.start_worker(settings());
    for n in 1..=5 {
        quiet.chat(&format!("r-{n}"), user(n).id());
    }
    quiet.pass(MINUTE);
    quiet.publish_rule("rules.badges", rules(true));
    quiet.pass(2 * MINUTE);
    for n in 1..=5 {
        let ids: Vec<String> = of(&quiet, &user(n)).into_keys().collect();
        assert_eq!(ids, ["chatter", "one-day"], "user {n}");
    }
}

#[test]
fn a_sweep_whose_worker_is_killed_again_and_again_comes_to_its_end() {
    const USERS: u32 = 70;
    let mut quiet = Quiet::new(1, 1);
    quiet.start_worker(settings());
    for n in 1..=USERS {
        quiet.chat(&format!("r-{n}"), user(n).id());
    }
    quiet.pass(MINUTE);
    quiet.publish_rule("rules.badges", rules(true));
    for lived in 1..=20 {
        quiet.kill_worker();
        quiet.start_worker(settings());
        quiet.pass(lived * 150);
    }
    quiet.pass(2 * MINUTE);
    for n in 1..=USERS {
        let ids: Vec<String> = of(&quiet, &user(n)).into_keys().collect();
        assert_eq!(ids, ["chatter", "one-day"], "user {n}");
    }
}

#[test]
fn points_and_ranks_earn_badges_when_their_month_is_final() {
    // November closes 72 h after its end.
    let close = super::quiet::START + 28 * HOUR + 3 * DAY;
    let mut quiet = Quiet::at(close - 6 * MINUTE, 1, 2);
    quiet.publish_rule("rules.badges", rules(true));
    quiet.start_worker(settings());
    for n in 0..30 {
        chat_of_november(&mut quiet, &format!("a-{n}"), user(1).id());
    }
    chat_of_november(&mut quiet, "b", user(2).id());
    quiet.pass(MINUTE);
    let early = of(&quiet, &user(1));
    assert_eq!(early.keys().collect::<Vec<_>>(), ["chatter", "one-day"]);
    quiet.pass(10 * MINUTE);
    let late = of(&quiet, &user(1));
    let month = "2026-11".parse().expect("a month");
    assert_eq!(late["first"], Evidence::Rank { month, rank: 1 });
    let second = of(&quiet, &user(2));
    assert_eq!(second["third"], Evidence::Rank { month, rank: 2 });
    assert!(!second.contains_key("first"));
    // 30 × 0.3, and 5 for the first success.
    let points = tidemark::domain::amount::Points(14_000_000);
    assert_eq!(late["some-points"], Evidence::MonthPoints { month, points });
    assert!(!late.contains_key("many-points"));
}

#[test]
fn a_badge_that_was_taken_back_stays_so_until_it_is_given_back() {
    let mut quiet = Quiet::new(1, 1);
    quiet.publish_rule("rules.badges", rules(false));
    quiet.start_worker(settings());
    quiet.chat("r-1", user(1).id());
    quiet.pass(5_000);
    let revoked = |quiet: &Quiet| {
        let all = quiet
            .world
            .with(|inner| granted(&inner.db))
            .expect("readable");
        all[0].revoked.is_some()
    };
    for revoke in [true, true, false, true] {
        let (db, now) = (quiet.db(), quiet.world.now());
        quiet.finish(async move {
            let decision = decision(now, format!("{now}"), revoke);
            let found = badges::decide(&db, &user(1), &id("one-day"), &decision).await;
            assert_eq!(found.unwrap().unwrap().revoked.is_some(), revoke);
            let found = badges::decide(&db, &user(1), &id("two-days"), &decision).await;
            assert_eq!(found, Ok(None));
        });
        quiet.kill_worker();
        quiet.start_worker(settings());
        quiet.chat(&format!("after-{now}"), user(1).id());
        quiet.pass(2 * MINUTE);
        assert_eq!(revoked(&quiet), revoke);
    }
}
