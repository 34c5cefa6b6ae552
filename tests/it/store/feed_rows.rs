//! Tables that were restored to different moments: prices and links that do not agree with the
//! control feed.

use std::collections::BTreeMap;

use tidemark::domain::amount::Points;
use tidemark::domain::position::Control;
use tidemark::domain::time::Millis;
use tidemark::ops::clock::{Clock, SystemClock};
use tidemark::store::db::{Db, Item, Key, StoreError, Table, Write};
use tidemark::store::dynamo::DynamoDb;
use tidemark::store::feed_rows::{FeedRows, compare};
use tidemark::store::pricing::{
    NewValue, Publish, history, load_rules, load_rules_checked, publish,
};
use tidemark::store::referrals::{
    AwardPolicy, Link, Milestone, Referrer, SignupRequest, code_for, grant_milestone_writes,
    link_of, signup,
};
use tidemark::store::{audit, control};

use super::torn::{Torn, key_of};
use super::{PARTITIONS, on_every_store, provider, user};

type Items = BTreeMap<Key, Item>;

/// The tables that the control feed is about, and table Checkpoints with the feed.
const TABLES: [Table; 3] = [
    Table::PricingConfig,
    Table::ReferralRelationships,
    Table::Checkpoints,
];

/// Everything that a table holds.
pub async fn items_of(db: &dyn Db, table: Table) -> Items {
    let (mut items, mut after) = (Items::new(), None);
    loop {
        let page = db.scan(table, after).await.unwrap();
        let found = page.items.into_iter();
        items.extend(found.map(|item| (key_of(table, &item), item)));
        after = page.next;
        if after.is_none() {
            return items;
        }
    }
}

/// Makes a table as it was.
pub async fn restore(db: &dyn Db, table: Table, to: &Items) {
    for key in items_of(db, table).await.into_keys() {
        if !to.contains_key(&key) {
            let condition = tidemark::store::db::Condition::Always;
            db.write(Write::Delete { key, condition }).await.unwrap();
        }
    }
    let items = to.values().cloned().collect();
    db.put_all(table, items).await.unwrap();
}

fn publication(price: &str, now: i64) -> Publish {
    let scrape = format!(r#"{{"pricePerUnit":"{price}","unit":"request"}}"#);
    let mut values = vec![("scrape", scrape)];
    if now % 2 == 1 {
        values.push(("system_mainnet", "true".to_owned()));
    }
    let value = |(key, value): (&str, String)| NewValue {
        key: key.to_owned(),
        value,
    };
    Publish {
        values: values.into_iter().map(value).collect(),
        effective_from: Millis(now),
        by: format!("admin {now}"),
        reason: format!("because of {now}"),
        now: Millis(now),
        token: format!("publish-{now}"),
    }
}

fn a_signup(referee: &str, referrer: &str, awards: AwardPolicy, now: i64) -> SignupRequest {
    SignupRequest {
        referrer: Referrer::Account(user(referrer)),
        referee: user(referee),
        now: Millis(now),
        token: format!("signup-{now}"),
        awards,
        by: None,
    }
}

/// Changes of every kind, one after the other.
async fn change(db: &dyn Db, step: usize) {
    let now = 1_000 + step as i64;
    let paid = AwardPolicy::Pay(Points::whole(100));
    match step {
        0 | 3 | 6 => {
            publish(db, &publication(&format!("0.00{}", step + 1), now))
                .await
                .unwrap();
        }
        1 => drop(signup(db, &a_signup("b", "a", paid, now), PARTITIONS).await),
        2 => drop(
            signup(
                db,
                &a_signup("c", "b", AwardPolicy::Elsewhere, now),
                PARTITIONS,
            )
            .await,
        ),
        4 => {
            // Of the first link.
            let link = link_of(db, &user("b")).await.unwrap().unwrap();
            let writes = grant_milestone_writes(
                &link,
                Millis(now),
                Points::whole(5),
                Millis(now),
                PARTITIONS,
            );
            db.transact(writes).await.unwrap();
        }
        5 => drop(signup(db, &a_signup("d", "c", paid, now), PARTITIONS).await),
        _ => unreachable!("{step}"),
    }
}

const STEPS: usize = 7;

/// The three tables before the first change and after each.
async fn moments(db: &dyn Db) -> Vec<Vec<Items>> {
    let mut moments = Vec::new();
    for step in 0..=STEPS {
        let mut moment = Vec::new();
        for table in TABLES {
            moment.push(items_of(db, table).await);
        }
        moments.push(moment);
        if step < STEPS {
            change(db, step).await;
        }
    }
    moments
}

async fn repair(db: &dyn Db, found: &FeedRows) {
    for repair in found.repairs() {
        db.transact(repair.writes).await.unwrap();
    }
}

/// As `tidemark recover` does it.
async fn mend(db: &dyn Db) -> FeedRows {
    let found = compare(db).await.unwrap();
    repair(db, &found).await;
    let entry = audit::Entry {
        at: Millis(1),
        action: "a test".to_owned(),
        subject: "control".to_owned(),
        by: "a test".to_owned(),
        detail: serde_json::Value::Null,
    };
    if let Some(newest) = found.newest_stray() {
        let up_to = Control(newest.0 + 1);
        control::append_void(db, up_to, Millis(1), audit::write(&entry))
            .await
            .unwrap();
    }
    found
}

/// What of a link is the same whenever it is read.
fn lasting(link: Link) -> Link {
    Link {
        milestone: Milestone::Owed,
        ..link
    }
}

/// Every combination of moments: afterwards prices and links are those that the feed knows, and
/// changes can be made.
#[test]
fn whatever_the_moments_of_the_tables_prices_and_links_are_made_as_the_feed_says() {
    on_every_store(|db: DynamoDb| async move {
        let moments = moments(&db).await;
        let all = 0..=STEPS;
        let combinations = all.clone().flat_map(|feed| {
            let rows = [(0, STEPS), (STEPS, 0), (STEPS, STEPS), (0, 0)];
            let near = [(feed, feed), (feed, STEPS), (feed, 0), (STEPS / 2, feed)];
            let rows = rows.into_iter().chain(near);
            rows.map(move |(prices, links)| (prices, links, feed))
        });
        for (prices, links, feed) in combinations {
            let what = format!("prices {prices}, links {links}, feed {feed}");
            for (n, moment) in [prices, links, feed].into_iter().enumerate() {
                restore(&db, TABLES[n], &moments[moment][n]).await;
            }
            let found = mend(&db).await;
            let again = compare(&db).await.unwrap();
            assert!(again.agree(), "{what}: {found:?} then {again:?}");
            // Also who published them, and why.
            let now = items_of(&db, Table::PricingConfig).await;
            assert_eq!(now, moments[feed][0], "{what}");
            let mut expected = moments[feed][1].clone();
            let now = items_of(&db, Table::ReferralRelationships).await;
            if links > feed {
                // The milestone's state may be newer.
                expected.retain(|key, _| now.contains_key(key));
            }
            assert_eq!(
                now.keys().collect::<Vec<_>>(),
                expected.keys().collect::<Vec<_>>(),
                "{what}"
            );
            restore(&db, TABLES[1], &moments[feed][1]).await;
            for name in ["b", "c", "d"] {
                let before = link_of(&db, &user(name)).await.unwrap().map(lasting);
                restore(&db, TABLES[1], &now).await;
                let after = link_of(&db, &user(name)).await.unwrap().map(lasting);
                assert_eq!(after, before, "{what}: {name}");
                restore(&db, TABLES[1], &moments[feed][1]).await;
            }
            restore(&db, TABLES[1], &now).await;
            // Whoever goes on may.
            let head = control::head(&db).await.unwrap();
            load_rules_checked(&db, head).await.unwrap();
            publish(&db, &publication("0.5", 9_001)).await.unwrap();
            let paid = AwardPolicy::Pay(Points::whole(100));
            signup(&db, &a_signup("z", "b", paid, 9_002), PARTITIONS)
                .await
                .unwrap();
            let head = control::head(&db).await.unwrap();
            load_rules(&db, head).await.unwrap();
            assert!(compare(&db).await.unwrap().agree(), "{what}");
        }
    });
}

#[test]
fn a_link_is_written_again_with_the_state_of_its_awards() {
    on_every_store(|db: DynamoDb| async move {
        let moments = moments(&db).await;
        restore(&db, Table::ReferralRelationships, &moments[0][1]).await;
        let found = mend(&db).await;
        assert_eq!((found.stray.len(), found.missing.len()), (0, 3));
        for (name, milestone) in [
            ("b", Milestone::Granted),
            ("c", Milestone::Elsewhere),
            ("d", Milestone::Owed),
        ] {
            let link = link_of(&db, &user(name)).await.unwrap().unwrap();
            assert_eq!(link.milestone, milestone, "{name}");
        }
    });
}

/// A version that the feed does not know keeps its number from being given to another: neither
/// raters nor publications go on beside it.
#[test]
fn beside_a_version_that_the_feed_does_not_know_nobody_goes_on() {
    on_every_store(|db: DynamoDb| async move {
        let moments = moments(&db).await;
        restore(&db, Table::Checkpoints, &moments[6][2]).await;
        let head = control::head(&db).await.unwrap();
        let refused = load_rules_checked(&db, head).await;
        assert!(matches!(refused, Err(StoreError::Apart(_))), "{refused:?}");
        let refused = publish(&db, &publication("0.5", 9_000)).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("tidemark recover"), "{refused}");
        // What people read is not held up.
        load_rules(&db, head).await.unwrap();
        let found = mend(&db).await;
        let stray: Vec<String> = found.stray.iter().map(ToString::to_string).collect();
        assert_eq!(stray, ["PricingConfig/scrape/0000000003"]);
        publish(&db, &publication("0.5", 9_000)).await.unwrap();
    });
}

/// An earlier version of `recover` put void entries where a publication's number was, or a sign-up
/// took it.
#[test]
fn a_row_whose_number_was_given_to_something_else_is_removed() {
    on_every_store(|db: DynamoDb| async move {
        let moments = moments(&db).await;
        restore(&db, Table::Checkpoints, &moments[3][2]).await;
        restore(&db, Table::ReferralRelationships, &moments[3][1]).await;
        // Takes the number of the second publication.
        let elsewhere = AwardPolicy::Elsewhere;
        let taken = signup(&db, &a_signup("z", "a", elsewhere, 5_000), PARTITIONS).await;
        let number = taken.unwrap().link.control;
        let versions = history(&db, "scrape").await.unwrap();
        assert!(versions.iter().any(|version| version.control == number));
        let head = control::head(&db).await.unwrap();
        let torn = load_rules(&db, head).await;
        assert!(matches!(torn, Err(StoreError::Unavailable(_))), "{torn:?}");
        mend(&db).await;
        let head = control::head(&db).await.unwrap();
        load_rules_checked(&db, head).await.unwrap();
        assert_eq!(
            items_of(&db, Table::PricingConfig).await,
            moments[3][0],
            "as it was"
        );
        assert!(link_of(&db, &user("z")).await.unwrap().is_some());
    });
}

/// Half of a transaction: an entry beyond the head would keep every later one from being written.
#[test]
fn an_entry_beyond_the_head_is_removed_and_one_below_it_that_is_missing_is_named() {
    on_every_store(|db: DynamoDb| async move {
        let moments = moments(&db).await;
        let head = Key::new(Table::Checkpoints, "control", "head");
        let older = moments[5][2][&head].clone();
        let put = |item| Write::Put {
            table: Table::Checkpoints,
            item,
            condition: tidemark::store::db::Condition::Always,
        };
        db.write(put(older)).await.unwrap();
        let found = mend(&db).await;
        assert_eq!(found.newest_stray(), Some(Control(6)));
        assert!(compare(&db).await.unwrap().agree());
        publish(&db, &publication("0.5", 9_000)).await.unwrap();

        let entry = Key::new(Table::Checkpoints, "control", format!("{:020}", 2));
        let condition = tidemark::store::db::Condition::Present;
        db.write(Write::Delete {
            key: entry,
            condition,
        })
        .await
        .unwrap();
        let found = compare(&db).await.unwrap();
        assert_eq!(found.holes, [Control(2)]);
        assert!(!found.agree());
    });
}

/// While people go on changing prices, and reads see transactions by parts, nothing is out of place.
#[test]
fn what_is_only_not_visible_yet_is_no_finding() {
    on_every_store(|db: DynamoDb| async move {
        moments(&db).await;
        let hidden = [
            (Key::new(Table::PricingConfig, "scrape", "0000000001"), 1),
            (Key::new(Table::ReferralRelationships, "b", "user"), 1),
            (
                Key::new(Table::Checkpoints, "control", format!("{:020}", 3)),
                2,
            ),
        ];
        let torn = Torn::new(&db, hidden);
        assert_eq!(compare(&torn).await.unwrap(), FeedRows::default());
        code_for(&db, &provider("p"), 1, SystemClock.now(), None)
            .await
            .unwrap();
        assert!(compare(&db).await.unwrap().agree());
    });
}
