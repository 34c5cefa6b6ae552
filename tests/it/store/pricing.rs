//! Publishing versions and loading rules.

use std::collections::BTreeSet;

use tidemark::domain::position::Control;
use tidemark::domain::rules::{Network, RuleBook, RulesDocument};
use tidemark::domain::time::Millis;
use tidemark::store::control::{self, Change};
use tidemark::store::db::{Db, Key, StoreError, Table};
use tidemark::store::pricing::{
    NewValue, Publish, PublishError, Seen, current, history, load_rules, publish, publish_onto,
    published_under,
};

use super::proxy::{Fault, dice, impatient, proxy};
use super::torn::Torn;
use super::{client, endpoints, on_every_store, run, settings};

fn document() -> Vec<NewValue> {
    let (name, text) = Network::Testnet.document();
    let document = RulesDocument::parse_toml(name, text).unwrap();
    let values = document.changes().into_iter();
    values.map(|(key, value)| NewValue { key, value }).collect()
}

fn publication(values: Vec<NewValue>, at: i64, token: &str) -> Publish {
    Publish {
        values,
        effective_from: Millis(at),
        by: "admin".to_owned(),
        reason: "a test".to_owned(),
        now: Millis(at - 10),
        token: token.to_owned(),
    }
}

fn scrape(price: &str) -> Vec<NewValue> {
    vec![NewValue {
        key: "scrape".to_owned(),
        value: format!(r#"{{"pricePerUnit":"{price}","unit":"request"}}"#),
    }]
}

async fn append_link(db: &dyn Db, referee: &str) {
    let head = control::full_head(db).await.unwrap();
    let change = Change::Link {
        referee: super::user(referee),
        chain: vec![super::user("a")],
    };
    let writes = control::append_writes(head, Millis(1), referee, &change);
    db.transact(writes.to_vec()).await.unwrap();
}

/// The rules as of a position, from the feed's entries, one by one: slow and plain.
async fn replayed(db: &dyn Db, up_to: Control) -> RuleBook {
    let mut book = RuleBook::default();
    for entry in control::entries(db, Control(0), up_to).await.unwrap() {
        if let Change::Rules(changes) = entry.change {
            book.apply(entry.number, &changes).unwrap();
        }
    }
    book
}

/// Rules and links, mixed; returns the head.
async fn fill(db: &dyn Db) -> Control {
    append_link(db, "x").await;
    let first = publication(document(), 1_000, "first");
    assert_eq!(publish(db, &first).await.unwrap(), Control(2));
    append_link(db, "y").await;
    let second = publication(scrape("0.002"), 2_000, "second");
    assert_eq!(publish(db, &second).await.unwrap(), Control(4));
    let third = publication(scrape("0.003"), 3_000, "third");
    assert_eq!(publish(db, &third).await.unwrap(), Control(5));
    append_link(db, "z").await;
    Control(6)
}

#[test]
fn rules_as_of_a_position_are_those_that_the_feed_gives_up_to_it() {
    on_every_store(|db| async move {
        let head = fill(&db).await;
        for up_to in 0..=head.0 {
            let loaded = load_rules(&db, Control(up_to)).await.unwrap();
            let expected = replayed(&db, Control(up_to)).await;
            assert_eq!(format!("{loaded:?}"), format!("{expected:?}"), "{up_to}");
        }
        let beyond = load_rules(&db, Control(head.0 + 1)).await;
        assert!(matches!(beyond, Err(StoreError::Corrupt { .. })));
    });
}

#[test]
fn a_torn_scan_is_noticed_and_done_again() {
    on_every_store(|db| async move {
        let head = fill(&db).await;
        let version =
            |key: &str, number: u32| Key::new(Table::PricingConfig, key, format!("{number:010}"));
        let expected = format!("{:?}", replayed(&db, head).await);
        // One of many versions of the first publication; the whole of a later one; the newest.
        for hidden in [
            version("tts", 1),
            version("scrape", 2),
            version("scrape", 3),
        ] {
            let torn = Torn::new(&db, [(hidden.clone(), 3)]);
            let loaded = load_rules(&torn, head).await.unwrap();
            assert_eq!(format!("{loaded:?}"), expected, "{hidden:?}");
            let gone = Torn::new(&db, [(hidden.clone(), usize::MAX)]);
            let missing = load_rules(&gone, head).await;
            assert!(
                matches!(missing, Err(StoreError::Unavailable(_))),
                "{hidden:?}"
            );
        }
    });
}

#[test]
fn history_keeps_every_version_and_current_knows_what_is_in_force() {
    on_every_store(|db| async move {
        fill(&db).await;
        let versions = history(&db, "scrape").await.unwrap();
        let seen: Vec<_> = versions
            .iter()
            .map(|v| (v.version, v.control.0, v.effective_from.map(|at| at.0)))
            .collect();
        assert_eq!(
            seen,
            [(1, 2, None), (2, 4, Some(2_000)), (3, 5, Some(3_000))]
        );
        assert_eq!(versions[2].by, "admin");
        assert_eq!(versions[2].reason, "a test");
        assert_eq!(versions[2].written_at, Millis(2_990));
        for (now, version) in [(0, 1), (1_999, 1), (2_000, 2), (3_000, 3)] {
            let all = current(&db, Millis(now)).await.unwrap();
            assert_eq!(all.len(), document().len());
            let scrape = all.iter().find(|v| v.key == "scrape").unwrap();
            assert_eq!(scrape.version, version, "at {now}");
        }
        assert_eq!(history(&db, "nothing").await.unwrap(), []);
    });
}

#[test]
fn what_makes_no_rules_is_refused_and_nothing_is_written() {
    on_every_store(|db| async move {
        let head = fill(&db).await;
        let value = |key: &str, value: &str| NewValue {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let past = Publish {
            effective_from: Millis(5_000),
            now: Millis(5_001),
            ..publication(scrape("1"), 0, "past")
        };
        let rows = [
            (past, "InThePast"),
            (publication(Vec::new(), 5_000, "none"), "Values"),
            (
                publication([scrape("1"), scrape("2")].concat(), 5_000, "twice"),
                "Values",
            ),
            (
                publication(vec![value("no_such_key", "1")], 5_000, "key"),
                "Faults",
            ),
            (
                publication(vec![value("scrape", "\"much\"")], 5_000, "value"),
                "Faults",
            ),
        ];
        for (publication, expected) in rows {
            let error = publish(&db, &publication).await.unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{error:?}");
        }
        assert_eq!(control::head(&db).await.unwrap(), head);
    });
}

#[test]
fn publications_at_once_in_chaos_are_each_made_once() {
    for (name, upstream) in endpoints() {
        eprintln!("on {name}");
        run(async {
            let settings = settings(&upstream);
            let straight = client(&settings);
            tidemark::store::tables::create_tables(&straight)
                .await
                .unwrap();
            publish(&straight, &publication(document(), 1_000, "first"))
                .await
                .unwrap();
            let plan = |number: u64, operation: &str| match (dice(9, number) % 100, operation) {
                (0..10, "TransactWriteItems") => Fault::FailsAfter,
                (10..20, "TransactWriteItems") => Fault::Fails,
                (20..22, "TransactWriteItems") => Fault::Late,
                (22..30, _) => Fault::Code("com.amazon.coral.availability#ThrottlingException"),
                _ => Fault::Pass,
            };
            let (endpoint, _) = proxy(&upstream, plan).await;
            let db = client(&impatient(&settings, &endpoint));
            let all = (0..12).map(|i| {
                let publication =
                    publication(scrape(&format!("0.0{}", i + 10)), 2_000, &format!("p{i}"));
                let db = &db;
                async move { publish(db, &publication).await }
            });
            let done = futures::future::join_all(all).await;
            let head = control::head(&straight).await.unwrap();
            let entries = control::entries(&straight, Control(1), head).await.unwrap();
            let published = entries.len();
            let tokens: BTreeSet<String> = entries.into_iter().map(|entry| entry.token).collect();
            assert_eq!(tokens.len(), published, "each once");
            for (i, result) in done.iter().enumerate() {
                match result {
                    Ok(_) => assert!(tokens.contains(&format!("p{i}"))),
                    Err(PublishError::Store(error)) => assert!(error.is_transient()),
                    Err(error) => panic!("{error}"),
                }
            }
            let versions = history(&straight, "scrape").await.unwrap();
            assert_eq!(versions.len() as u64, head.0);
            let loaded = load_rules(&straight, head).await.unwrap();
            let expected = replayed(&straight, head).await;
            assert_eq!(format!("{loaded:?}"), format!("{expected:?}"));
        });
    }
}

#[test]
fn of_two_who_saw_the_same_one_publishes_and_the_same_sent_twice_publishes_once() {
    on_every_store(|db| async move {
        fill(&db).await;
        let versions = history(&db, "scrape").await.unwrap();
        let seen = Seen::of(&versions, Millis(4_990));
        let (a, b) = (
            publication(scrape("1"), 5_000, "a"),
            publication(scrape("2"), 5_000, "b"),
        );
        // Everybody at once, each twice.
        let tries = [&a, &b, &a, &b].map(|one| publish_onto(&db, one, seen));
        let answers = futures::future::join_all(tries).await;
        let changed = PublishError::Changed {
            key: "scrape".to_owned(),
        };
        let won: Vec<bool> = answers.iter().map(Result::is_ok).collect();
        assert!(
            won == [true, false, true, false] || won == [false, true, false, true],
            "{answers:?}"
        );
        let mut lost = answers.iter().filter_map(|answer| answer.as_ref().err());
        assert!(lost.all(|error| *error == changed));
        let after = history(&db, "scrape").await.unwrap();
        assert_eq!(after.len(), versions.len() + 1);
        let token = if won[0] { "a" } else { "b" };
        let found = published_under(&db, "scrape", seen, token).await.unwrap();
        assert_eq!(found.as_ref(), after.last());
        let other = published_under(&db, "scrape", seen, "c").await.unwrap();
        assert_eq!(other, None);
        // The same name for another value is another change.
        let forged = publication(scrape("3"), 5_000, token);
        let answer = publish_onto(&db, &forged, seen).await;
        assert_eq!(answer, Err(changed));
    });
}

#[test]
fn a_version_that_began_meanwhile_is_a_change_too() {
    on_every_store(|db| async move {
        fill(&db).await;
        let to_come = publication(scrape("1"), 5_000, "to come");
        publish(&db, &to_come).await.unwrap();
        let versions = history(&db, "scrape").await.unwrap();
        let seen = Seen::of(&versions, Millis(4_999));
        let mut late = publication(scrape("2"), 5_020, "late");
        let answer = publish_onto(&db, &late, seen).await;
        assert!(
            matches!(answer, Err(PublishError::Changed { .. })),
            "{answer:?}"
        );
        late.now = Millis(4_999);
        publish_onto(&db, &late, seen).await.unwrap();
    });
}
