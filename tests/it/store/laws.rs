//! What the trait `Db` promises, as the real client keeps it.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidemark::store::db::{Attr, Condition, Db, Item, Key, RangeFilter, StoreError, Table, Write};
use tidemark::store::meter::Operation;
use tidemark::store::tables::create_tables;

use super::reads::query;
use super::{client, embedded_endpoint, on_every_store, run, settings};

const CHECKPOINTS: Table = Table::Checkpoints;

pub fn key(hash: &str, range: &str) -> Key {
    Key::new(CHECKPOINTS, hash, range)
}

pub fn item(key: &Key, attributes: &[(&str, Attr)]) -> Item {
    let mut item = key.item();
    for (name, attr) in attributes {
        item.insert((*name).to_owned(), attr.clone());
    }
    item
}

pub fn n(number: i128) -> Attr {
    Attr::N(number)
}

pub fn s(text: &str) -> Attr {
    Attr::S(text.to_owned())
}

pub fn put(key: &Key, value: i128, condition: Condition) -> Write {
    Write::Put {
        table: key.table,
        item: item(key, &[("value", n(value))]),
        condition,
    }
}

async fn value(db: &dyn Db, key: &Key) -> Option<i128> {
    match db.get(key).await.unwrap()?.get("value") {
        Some(Attr::N(number)) => Some(*number),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_item_is_read_back_as_it_was_written() {
    on_every_store(|db| async move {
        let key = key("p", "r");
        assert_eq!(db.get(&key).await.unwrap(), None);
        // DynamoDB keeps 38 digits.
        let large = 10i128.pow(38) - 1;
        let whole = item(
            &key,
            &[
                ("text", s("grüße \" \\ \u{1F30A} #h :v")),
                ("empty", s("")),
                ("zero", n(0)),
                ("negative", n(-1)),
                ("trailing zeros", n(1_000_000_000_000_000_000_000)),
                ("large", n(large)),
                ("small", n(-large)),
                ("bytes", Attr::B(Bytes::from_static(&[0, 255, 1]))),
                // Reserved words of DynamoDB.
                ("size", n(1)),
                ("name", s("n")),
                ("state", s("s")),
            ],
        );
        db.write(Write::Put {
            table: CHECKPOINTS,
            item: whole.clone(),
            condition: Condition::Absent,
        })
        .await
        .unwrap();
        assert_eq!(db.get(&key).await.unwrap(), Some(whole.clone()));
        assert_eq!(db.batch_get(&[key]).await.unwrap(), vec![Some(whole)]);
    });
}

/// Every condition against no item, and against one whose `state` is "b" and `size` is 5.
#[test]
fn a_condition_lets_a_write_happen_exactly_when_it_holds() {
    let rows: [(Condition, bool, bool); 13] = [
        (Condition::Always, true, true),
        (Condition::Absent, true, false),
        (Condition::Present, false, true),
        (Condition::Equals("state", s("b")), false, true),
        (Condition::Equals("state", s("a")), false, false),
        (Condition::Equals("size", n(5)), false, true),
        (Condition::Equals("missing", n(5)), false, false),
        (Condition::AbsentOrAtMost("size", n(5)), true, true),
        (Condition::AbsentOrAtMost("size", n(10)), true, true),
        (Condition::AbsentOrAtMost("size", n(4)), true, false),
        (Condition::AbsentOrAtMost("state", s("b")), true, true),
        (Condition::AbsentOrAtMost("state", s("a")), true, false),
        (Condition::AbsentOrAtMost("missing", n(1)), true, false),
    ];
    on_every_store(|db| {
        let rows = rows.clone();
        async move {
            for (index, (condition, if_absent, if_present)) in rows.iter().enumerate() {
                for (present, holds) in [(false, *if_absent), (true, *if_present)] {
                    check_condition(&db, index, condition, present, holds).await;
                }
            }
        }
    });
}

async fn check_condition(
    db: &dyn Db,
    index: usize,
    condition: &Condition,
    present: bool,
    holds: bool,
) {
    for way in ["put", "delete", "transaction", "check"] {
        let at = key("conditions", &format!("{index}-{present}-{way}"));
        let before = item(&at, &[("state", s("b")), ("size", n(5))]);
        if present {
            db.put_all(CHECKPOINTS, vec![before.clone()]).await.unwrap();
        }
        let after = item(&at, &[("state", s("new"))]);
        let put = Write::Put {
            table: CHECKPOINTS,
            item: after.clone(),
            condition: condition.clone(),
        };
        let beside = super::laws::put(&key("beside", &at.range), 1, Condition::Absent);
        let (result, expected) = match way {
            "put" => (db.write(put).await, Some(after)),
            "transaction" => (db.transact(vec![put, beside]).await, Some(after)),
            "check" => {
                let check = Write::Check {
                    key: at.clone(),
                    condition: condition.clone(),
                };
                let kept = present.then_some(before.clone());
                (db.transact(vec![check, beside]).await, kept)
            }
            _ => {
                let delete = Write::Delete {
                    key: at.clone(),
                    condition: condition.clone(),
                };
                (db.write(delete).await, None)
            }
        };
        let says = format!("{way} under {condition:?}, item there: {present}");
        if holds {
            assert_eq!(result, Ok(()), "{says}");
            assert_eq!(db.get(&at).await.unwrap(), expected, "{says}");
        } else {
            assert_eq!(result, Err(StoreError::ConditionFailed), "{says}");
            let kept = present.then_some(before);
            assert_eq!(db.get(&at).await.unwrap(), kept, "{says}");
            let beside = value(db, &key("beside", &at.range)).await;
            assert_eq!(beside, None, "{says}");
        }
    }
}

#[test]
fn a_transaction_happens_whole_or_not_at_all() {
    on_every_store(|db| async move {
        let keys: Vec<Key> = (0..100).map(|i| key("t", &format!("{i:03}"))).collect();
        let all = |value| {
            let puts = keys.iter().map(|key| put(key, value, Condition::Absent));
            puts.collect::<Vec<Write>>()
        };
        db.write(put(&keys[99], 7, Condition::Always))
            .await
            .unwrap();
        assert_eq!(db.transact(all(1)).await, Err(StoreError::ConditionFailed));
        for key in &keys[..99] {
            assert_eq!(value(&db, key).await, None);
        }
        db.write(Write::Delete {
            key: keys[99].clone(),
            condition: Condition::Present,
        })
        .await
        .unwrap();
        db.transact(all(1)).await.unwrap();
        let found = db.batch_get(&keys).await.unwrap();
        assert!(found.iter().all(Option::is_some));
    });
}

#[test]
fn a_transaction_of_101_writes_is_refused_before_it_is_sent() {
    on_every_store(|db| async move {
        let writes = (0..101).map(|i| put(&key("t", &i.to_string()), 1, Condition::Always));
        let result = db.transact(writes.collect()).await;
        assert!(matches!(result, Err(StoreError::Refused(_))), "{result:?}");
        assert_eq!(db.transact(Vec::new()).await, Ok(()));
    });
}

#[test]
fn of_many_writers_that_saw_the_same_row_one_wins() {
    on_every_store(|db| async move {
        let at = key("race", "r");
        db.write(put(&at, 0, Condition::Absent)).await.unwrap();
        for round in 0..10 {
            let racers = (1..=20).map(|racer| {
                let next = put(&at, round * 100 + racer, {
                    Condition::Equals("value", n(if round == 0 { 0 } else { -round }))
                });
                let beside = put(
                    &key("race beside", &format!("{round}-{racer}")),
                    1,
                    Condition::Absent,
                );
                let db = &db;
                async move {
                    if racer % 2 == 0 {
                        db.transact(vec![next, beside]).await
                    } else {
                        db.write(next).await
                    }
                }
            });
            let results = futures::future::join_all(racers).await;
            let won = results.iter().filter(|r| r.is_ok()).count();
            assert_eq!(won, 1, "{results:?}");
            let lost = |r: &&Result<(), StoreError>| **r == Err(StoreError::ConditionFailed);
            assert_eq!(results.iter().filter(lost).count(), 19, "{results:?}");
            db.write(put(&at, -(round + 1), Condition::Present))
                .await
                .unwrap();
        }
    });
}

#[test]
fn a_batch_of_any_size_is_written_whole_and_read_in_the_order_asked() {
    on_every_store(|db| async move {
        let keys: Vec<Key> = (0..237)
            .map(|i| key(&format!("b{}", i % 7), &i.to_string()))
            .collect();
        let items = (0..237).map(|i| item(&keys[i], &[("value", n(i as i128))]));
        db.put_all(CHECKPOINTS, items.collect()).await.unwrap();
        let mut asked: Vec<Key> = keys.iter().rev().cloned().collect();
        asked.insert(5, key("nobody", "here"));
        asked.push(Key::new(Table::ReferralCodes, "no code", ""));
        let found = db.batch_get(&asked).await.unwrap();
        assert_eq!(found.len(), asked.len());
        for (asked, found) in asked.iter().zip(&found) {
            let there = keys.contains(asked);
            assert_eq!(found.is_some(), there, "{asked:?}");
            if let Some(found) = found {
                assert_eq!(found.get("item"), Some(&s(&asked.range)));
            }
        }
        assert_eq!(db.batch_get(&[]).await.unwrap(), Vec::new());
        db.put_all(CHECKPOINTS, Vec::new()).await.unwrap();
    });
}

#[test]
fn an_item_of_more_than_400_kib_is_refused_alone_and_in_a_batch() {
    on_every_store(|db| async move {
        let large = item(&key("large", "1"), &[("text", s(&"x".repeat(410 << 10)))]);
        let alone = db.write(Write::Put {
            table: CHECKPOINTS,
            item: large.clone(),
            condition: Condition::Always,
        });
        let alone = alone.await;
        assert!(matches!(alone, Err(StoreError::Refused(_))), "{alone:?}");
        let together = db.put_all(CHECKPOINTS, vec![large]).await;
        assert!(
            matches!(together, Err(StoreError::Refused(_))),
            "{together:?}"
        );
        assert_eq!(db.get(&key("large", "1")).await, Ok(None));
    });
}

#[test]
fn a_batch_that_puts_two_items_of_one_key_is_refused() {
    on_every_store(|db| async move {
        let twice = (0..2).map(|value| item(&key("twice", "1"), &[("value", n(value))]));
        let put = db.put_all(CHECKPOINTS, twice.collect()).await;
        assert!(matches!(put, Err(StoreError::Refused(_))), "{put:?}");
        assert_eq!(db.get(&key("twice", "1")).await, Ok(None));
    });
}

#[test]
fn what_is_consumed_is_measured_by_table_and_operation() {
    on_every_store(|db| async move {
        let meter = db.meter().clone();
        let small = key("m", "small");
        db.write(put(&small, 1, Condition::Always)).await.unwrap();
        let puts = meter.of(CHECKPOINTS, Operation::Put);
        assert_eq!((puts.answers, puts.write, puts.read), (1, 1.0, 0.0));

        let two = |a: &str, b: &str| {
            vec![
                put(&key("m", a), 1, Condition::Always),
                put(&key("m", b), 1, Condition::Always),
            ]
        };
        db.transact(two("a", "b")).await.unwrap();
        let transactions = meter.of(CHECKPOINTS, Operation::Transact);
        assert_eq!(transactions.write, 4.0, "a transaction costs twice");

        let large = item(&key("m", "large"), &[("text", s(&"x".repeat(3_000)))]);
        db.put_all(CHECKPOINTS, vec![large]).await.unwrap();
        assert_eq!(meter.of(CHECKPOINTS, Operation::BatchPut).write, 3.0);

        db.get(&small).await.unwrap();
        let gets = meter.of(CHECKPOINTS, Operation::Get);
        assert_eq!((gets.read, gets.write), (1.0, 0.0));
        db.query(&query("m", RangeFilter::All)).await.unwrap();
        assert!(meter.of(CHECKPOINTS, Operation::Query).read >= 1.0);
        db.scan(CHECKPOINTS, None).await.unwrap();
        assert!(meter.of(CHECKPOINTS, Operation::Scan).read >= 1.0);
        db.batch_get(&[small]).await.unwrap();
        assert_eq!(meter.of(CHECKPOINTS, Operation::BatchGet).read, 1.0);

        let indexed = item(
            &Key::new(Table::ReferralCodes, "c", ""),
            &[("owner", s("user:a"))],
        );
        db.put_all(Table::ReferralCodes, vec![indexed])
            .await
            .unwrap();
        let write = meter.of_table(Table::ReferralCodes).write;
        assert_eq!(write, 2.0, "a row that an index holds too costs two");
        assert_eq!(meter.of_table(CHECKPOINTS).write, 8.0);
        assert_eq!(meter.total().write, 10.0);
    });
}

#[test]
fn the_write_rate_is_bounded_in_write_units() {
    run(async {
        let mut settings = settings(embedded_endpoint());
        create_tables(&client(&settings)).await.unwrap();
        settings.write_units_per_second = NonZeroU32::new(100);
        let db = client(&settings);
        let begin = Instant::now();
        // 100 at once, then 100 a second: 250 units take a second and a half.
        let items = (0..250).map(|i| key("rate", &i.to_string()).item());
        db.put_all(CHECKPOINTS, items.collect()).await.unwrap();
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(1_400), "{took:?}");
        assert!(took <= Duration::from_secs(10), "{took:?}");
    });
}

#[test]
fn a_missing_table_and_a_bad_value_are_refused_and_not_repeated() {
    for (_, endpoint) in super::endpoints() {
        run(async {
            let db = client(&settings(&endpoint));
            let begin = Instant::now();
            let missing = db.get(&key("a", "b")).await;
            assert!(
                matches!(missing, Err(StoreError::Refused(_))),
                "{missing:?}"
            );
            let empty = db.write(put(&key("", "b"), 1, Condition::Always)).await;
            assert!(matches!(empty, Err(StoreError::Refused(_))), "{empty:?}");
            let check = Write::Check {
                key: key("a", "b"),
                condition: Condition::Absent,
            };
            let alone = db.write(check).await;
            assert!(matches!(alone, Err(StoreError::Refused(_))), "{alone:?}");
            assert_eq!(db.meter().retries(), 0);
            assert!(begin.elapsed() < Duration::from_secs(5));
        });
    }
}

#[test]
fn an_attribute_that_we_never_write_is_named_with_its_row() {
    // A float in a number attribute, written by somebody else's hand.
    on_every_store(|db| async move {
        use aws_sdk_dynamodb::types::AttributeValue;
        let name = db.table_name(CHECKPOINTS);
        let raw = raw_client(&db).put_item().table_name(name);
        raw.item("partition", AttributeValue::S("p".to_owned()))
            .item("item", AttributeValue::S("i".to_owned()))
            .item("value", AttributeValue::N("1.5".to_owned()))
            .send()
            .await
            .unwrap();
        let read = db.get(&key("p", "i")).await;
        let Err(StoreError::Corrupt { key, what }) = read else {
            panic!("{read:?}");
        };
        assert_eq!(key, "Checkpoints/p/i");
        assert!(what.contains("value") && what.contains("1.5"), "{what}");
    });
}

/// The client beneath.
pub fn raw_client(db: &tidemark::store::dynamo::DynamoDb) -> aws_sdk_dynamodb::Client {
    db.client().clone()
}
