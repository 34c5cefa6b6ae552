//! Writes that share a transaction.

use tidemark::store::db::{Condition, Db, Key, StoreError, Table, Write};
use tidemark::store::dynamo::{Commits, DynamoDb};
use tidemark::store::meter::Operation;
use tidemark::store::tables::create_tables;

use super::laws::{item, key, n, put, s};
use super::{client, endpoints, run, settings};

fn on_every_grouping_store<Fut: Future<Output = ()>>(test: impl Fn(DynamoDb) -> Fut) {
    for (name, endpoint) in endpoints() {
        eprintln!("on {name}");
        run(async {
            let mut settings = settings(&endpoint);
            settings.commits = Commits::Grouped;
            let db = client(&settings);
            create_tables(&db).await.unwrap();
            test(db).await;
        });
    }
}

fn at(number: usize) -> Key {
    key("g", &format!("{number:04}"))
}

#[test]
fn writes_at_once_share_transactions_and_each_gets_its_own_answer() {
    on_every_grouping_store(|db| async move {
        // Every third item is there already, so that its writer must fail.
        let there = (0..400)
            .step_by(3)
            .map(|i| item(&at(i), &[("value", n(-1))]));
        db.put_all(Table::Checkpoints, there.collect())
            .await
            .unwrap();
        let before = db
            .meter()
            .of(Table::Checkpoints, Operation::Transact)
            .answers;
        let writers = (0..400).map(|i| {
            let db = &db;
            let beside = key("beside", &i.to_string());
            async move {
                match i % 2 {
                    0 => db.write(put(&at(i), i as i128, Condition::Absent)).await,
                    _ => {
                        let own = put(&at(i), i as i128, Condition::Absent);
                        let beside = put(&beside, 1, Condition::Always);
                        db.transact(vec![beside, own]).await
                    }
                }
            }
        });
        let results = futures::future::join_all(writers).await;
        for (i, result) in results.iter().enumerate() {
            let (expected, value) = match i % 3 {
                0 => (Err(StoreError::ConditionFailed), -1),
                _ => (Ok(()), i as i128),
            };
            assert_eq!(*result, expected, "{i}");
            let found = db.get(&at(i)).await.unwrap().unwrap();
            assert_eq!(found.get("value"), Some(&n(value)), "{i}");
            let beside = db.get(&key("beside", &i.to_string())).await.unwrap();
            assert_eq!(beside.is_some(), i % 2 == 1 && i % 3 != 0, "{i}");
        }
        let after = db
            .meter()
            .of(Table::Checkpoints, Operation::Transact)
            .answers;
        assert!(after - before < 60, "{} transactions", after - before);
    });
}

#[test]
fn writes_of_the_same_item_never_share_a_transaction() {
    on_every_grouping_store(|db| async move {
        let one = at(1);
        db.write(put(&one, 0, Condition::Absent)).await.unwrap();
        let steps = (0..50).map(|i| {
            let (db, one) = (&db, &one);
            async move {
                // Each adds one to what it finds, again and again until nobody was faster.
                loop {
                    let found = db.get(one).await.unwrap().unwrap();
                    let value = found.get("value").unwrap().clone();
                    let tidemark::store::db::Attr::N(number) = value.clone() else {
                        panic!("{value:?}");
                    };
                    let next = put(one, number + 1, Condition::Equals("value", value));
                    let beside = put(&key("step", &i.to_string()), 1, Condition::Always);
                    match db.transact(vec![next, beside]).await {
                        Ok(()) => return,
                        Err(error) => assert_eq!(error, StoreError::ConditionFailed),
                    }
                }
            }
        });
        futures::future::join_all(steps).await;
        let found = db.get(&one).await.unwrap().unwrap();
        assert_eq!(found.get("value"), Some(&n(50)));
    });
}

#[test]
fn one_bad_write_does_not_spoil_those_that_wait_beside_it() {
    on_every_grouping_store(|db| async move {
        let writers = (0..30).map(|i| {
            let db = &db;
            async move {
                let attributes = match i {
                    // Larger than DynamoDB takes.
                    7 => vec![("text", s(&"x".repeat(500_000)))],
                    _ => vec![("value", n(i))],
                };
                db.write(Write::Put {
                    table: Table::Checkpoints,
                    item: item(&at(i as usize), &attributes),
                    condition: Condition::Absent,
                })
                .await
            }
        });
        let results = futures::future::join_all(writers).await;
        for (i, result) in results.iter().enumerate() {
            match i {
                7 => assert!(matches!(result, Err(StoreError::Refused(_))), "{result:?}"),
                _ => assert_eq!(*result, Ok(()), "{i}"),
            }
        }
    });
}

#[test]
fn large_writes_are_split_into_transactions_that_the_store_takes() {
    on_every_grouping_store(|db| async move {
        let text = "x".repeat(300_000);
        let row = |i: usize| item(&at(i), &[("text", s(&text))]);
        db.put_all(Table::Checkpoints, (0..20).map(row).collect())
            .await
            .unwrap();
        let writers = (20..40).map(|i| {
            let (db, row) = (&db, &row);
            async move {
                db.write(Write::Put {
                    table: Table::Checkpoints,
                    item: row(i),
                    condition: Condition::Absent,
                })
                .await
            }
        });
        let results = futures::future::join_all(writers).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        let keys: Vec<Key> = (0..40).map(at).collect();
        let found = db.batch_get(&keys).await.unwrap();
        assert!(found.iter().all(Option::is_some));
    });
}

#[test]
fn a_check_of_nothing_holds() {
    on_every_grouping_store(|db| async move {
        let check = |number| Write::Check {
            key: at(number),
            condition: Condition::Always,
        };
        db.transact(vec![check(1), put(&at(2), 2, Condition::Absent)])
            .await
            .unwrap();
        db.transact(vec![check(2), put(&at(1), 1, Condition::Absent)])
            .await
            .unwrap();
        assert_eq!(db.transact(vec![check(1)]).await, Ok(()));
    });
}
