//! The real client while the server between it and the store breaks things.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidemark::ops::retry::RetryPolicy;
use tidemark::store::db::{Condition, Db, Key, StoreError, Table, Write};
use tidemark::store::dynamo::{DynamoDb, DynamoSettings};
use tidemark::store::tables::create_tables;

use super::laws::{item, key, n, put};
use super::proxy::{ATTEMPTS_MAX, Fault, impatient, proxy};
use super::{client, endpoints, run, settings};

/// A client behind a proxy, one that goes straight to the same tables, and the proxy's counter of requests.
pub struct Broken {
    pub behind: DynamoDb,
    pub straight: DynamoDb,
    pub requests: Arc<AtomicU64>,
    settings: DynamoSettings,
}

impl Broken {
    /// Settings of the client behind the proxy.
    pub fn settings(&self) -> &DynamoSettings {
        &self.settings
    }

    /// A client behind the proxy that waits for its answers.
    pub fn patient(&self) -> DynamoDb {
        let mut settings = self.settings.clone();
        settings.request_timeout = Duration::from_secs(60);
        client(&settings)
    }
}

pub fn on_every_broken_store<Fut: Future<Output = ()>>(
    plan: impl Fn(u64, &str) -> Fault + Clone + Send + Sync + 'static,
    test: impl Fn(Broken) -> Fut,
) {
    for (name, upstream) in endpoints() {
        eprintln!("on {name}");
        run(async {
            let settings = settings(&upstream);
            let straight = client(&settings);
            create_tables(&straight).await.unwrap();
            let (endpoint, requests) = proxy(&upstream, plan.clone()).await;
            let settings = impatient(&settings, &endpoint);
            test(Broken {
                behind: client(&settings),
                straight,
                requests,
                settings,
            })
            .await;
        });
    }
}

/// Only the first request meets a fault.
fn once(fault: Fault) -> impl Fn(u64, &str) -> Fault + Clone + Send + Sync + 'static {
    move |number, _| match number {
        0 => fault.clone(),
        _ => Fault::Pass,
    }
}

/// Every request meets a fault.
fn always(fault: Fault) -> impl Fn(u64, &str) -> Fault + Clone + Send + Sync + 'static {
    move |_, _| fault.clone()
}

const NOT_WRITTEN: [Fault; 7] = [
    Fault::Code("com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"),
    Fault::Code("com.amazon.coral.availability#ThrottlingException"),
    Fault::Code("com.amazonaws.dynamodb.v20120810#RequestLimitExceeded"),
    Fault::Code("com.amazonaws.dynamodb.v20120810#TransactionConflictException"),
    Fault::Code("com.amazonaws.dynamodb.v20120810#TransactionInProgressException"),
    Fault::Canceled(&["None", "TransactionConflict"]),
    Fault::Canceled(&["ThrottlingError", "ProvisionedThroughputExceeded"]),
];

fn conditional(at: &Key) -> [(Vec<Write>, &'static str); 3] {
    let beside = key("beside", "r");
    let delete = Write::Delete {
        key: at.clone(),
        condition: Condition::Absent,
    };
    [
        (vec![put(at, 1, Condition::Absent)], "put"),
        (
            vec![
                put(at, 1, Condition::Absent),
                put(&beside, 1, Condition::Always),
            ],
            "transaction",
        ),
        (vec![delete], "delete"),
    ]
}

#[test]
fn a_conditional_write_is_repeated_after_a_throttle_and_a_conflict_and_happens_once() {
    for fault in NOT_WRITTEN {
        on_every_broken_store(once(fault.clone()), |broken| async move {
            for (writes, way) in conditional(&key("p", "r")) {
                broken.requests.store(0, Ordering::SeqCst);
                assert_eq!(broken.behind.transact(writes).await, Ok(()), "{way}");
                assert_eq!(broken.requests.load(Ordering::SeqCst), 2, "{way}");
                let delete = Write::Delete {
                    key: key("p", "r"),
                    condition: Condition::Always,
                };
                broken.straight.write(delete).await.unwrap();
            }
            assert_eq!(broken.behind.meter().throttles(), 3);
        });
    }
}

#[test]
fn a_conditional_write_whose_answer_is_lost_is_not_repeated_and_says_so() {
    let rows = [
        (Fault::Fails, false),
        (Fault::FailsAfter, true),
        (Fault::Lost, false),
        (Fault::LostAfter, true),
    ];
    for (fault, done) in rows {
        on_every_broken_store(always(fault.clone()), |broken| {
            let fault = fault.clone();
            async move {
                let at = key("p", "r");
                let [put, transaction, _] = conditional(&at);
                for (writes, way) in [put, transaction] {
                    broken.requests.store(0, Ordering::SeqCst);
                    let result = broken.behind.transact(writes).await;
                    let says = format!("{way} {fault:?} {result:?}");
                    assert!(matches!(result, Err(StoreError::Unanswered(_))), "{says}");
                    assert_eq!(broken.requests.load(Ordering::SeqCst), 1, "{says}");
                    let found = broken.straight.get(&at).await.unwrap();
                    assert_eq!(found.is_some(), done, "{says}");
                    let delete = Write::Delete {
                        key: at.clone(),
                        condition: Condition::Always,
                    };
                    broken.straight.write(delete).await.unwrap();
                }
            }
        });
    }
}

#[test]
fn reads_and_unconditional_writes_are_repeated_whatever_happened() {
    for fault in [
        Fault::Fails,
        Fault::FailsAfter,
        Fault::LostAfter,
        NOT_WRITTEN[1].clone(),
    ] {
        on_every_broken_store(
            {
                let fault = fault.clone();
                // Every other request fails.
                move |number, _| match number % 2 {
                    0 => fault.clone(),
                    _ => Fault::Pass,
                }
            },
            |broken| async move {
                let db = &broken.behind;
                let at = key("p", "r");
                db.write(put(&at, 1, Condition::Always)).await.unwrap();
                let row = item(&key("p", "s"), &[("value", n(2))]);
                db.put_all(Table::Checkpoints, vec![row]).await.unwrap();
                assert!(db.get(&at).await.unwrap().is_some());
                let both = db.batch_get(&[at, key("p", "s")]).await.unwrap();
                assert!(both.iter().all(Option::is_some));
                let page = db.scan(Table::Checkpoints, None).await.unwrap();
                assert_eq!(page.items.len(), 2);
                assert_eq!(db.meter().retries(), 5);
            },
        );
    }
}

#[test]
fn a_store_that_stays_busy_is_reported_as_unavailable_with_nothing_written() {
    for fault in NOT_WRITTEN {
        on_every_broken_store(always(fault), |broken| async move {
            let at = key("p", "r");
            for (writes, way) in conditional(&at) {
                let result = broken.behind.transact(writes).await;
                assert!(
                    matches!(result, Err(StoreError::Unavailable(_))),
                    "{way} {result:?}"
                );
            }
            assert_eq!(
                broken.requests.load(Ordering::SeqCst),
                3 * u64::from(ATTEMPTS_MAX)
            );
            assert_eq!(broken.straight.get(&at).await.unwrap(), None);
        });
    }
}

#[test]
fn a_failed_condition_and_a_refusal_are_not_repeated() {
    let rows = [
        (
            Fault::Code("com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"),
            "ConditionFailed",
        ),
        (
            Fault::Canceled(&["ConditionalCheckFailed", "TransactionConflict"]),
            "ConditionFailed",
        ),
        (Fault::Canceled(&["None", "ValidationError"]), "Refused"),
        (
            Fault::Code("com.amazon.coral.validate#ValidationException"),
            "Refused",
        ),
        (
            Fault::Code("com.amazonaws.dynamodb.v20120810#ResourceNotFoundException"),
            "Refused",
        ),
        (
            Fault::Code("com.amazon.coral.service#AccessDeniedException"),
            "Denied",
        ),
    ];
    for (fault, expected) in rows {
        on_every_broken_store(always(fault), |broken| async move {
            let [_, (writes, _), _] = conditional(&key("p", "r"));
            let error = broken.behind.transact(writes).await.unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{error:?}");
            assert_eq!(broken.requests.load(Ordering::SeqCst), 1);
        });
    }
}

#[test]
fn where_nobody_listens_nothing_was_sent_and_the_store_is_unavailable() {
    run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let db = client(&impatient(&settings(&nobody), &nobody));
        for (writes, way) in conditional(&key("p", "r")) {
            let begin = Instant::now();
            let result = db.transact(writes).await;
            assert!(
                matches!(result, Err(StoreError::Unavailable(_))),
                "{way} {result:?}"
            );
            assert!(begin.elapsed() < Duration::from_secs(2));
        }
        let read = db.get(&key("p", "r")).await;
        assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    });
}

#[test]
fn a_batch_of_which_nothing_is_ever_done_ends_as_unavailable() {
    on_every_broken_store(always(Fault::Part(0)), |broken| async move {
        let items = (0..30).map(|i| key("p", &i.to_string()).item()).collect();
        let written = broken.behind.put_all(Table::Checkpoints, items).await;
        assert!(matches!(written, Err(StoreError::Unavailable(_))));
        let read = broken.behind.batch_get(&[key("p", "1")]).await;
        assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    });
}

#[test]
fn a_store_that_answers_slower_than_it_is_asked_still_does_everything() {
    /// 100 requests at once take a second, three times as long as the client waits for an answer. If it went on to ask for all of
    /// them at once, the store would only ever serve those that it has given up.
    const TAKES: Duration = Duration::from_millis(10);
    on_every_broken_store(always(Fault::OneByOne(TAKES)), |broken| async move {
        let settings = DynamoSettings {
            request_timeout: Duration::from_millis(300),
            retries: RetryPolicy {
                attempts_max: 40,
                ..broken.settings().retries
            },
            ..broken.settings().clone()
        };
        let db = client(&settings);
        let writes =
            (0..100).map(|i| db.write(put(&key("p", &i.to_string()), 1, Condition::Always)));
        let written = futures::future::join_all(writes).await;
        let failed: Vec<_> = written.iter().filter(|written| written.is_err()).collect();
        assert!(
            failed.is_empty(),
            "{} failed: {:?}",
            failed.len(),
            failed[0]
        );
    });
}
