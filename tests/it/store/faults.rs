//! The real client and the typed operations while the server between them and the store breaks things.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidemark::domain::amount::{Money, Points};
use tidemark::domain::position::Control;
use tidemark::domain::time::Millis;
use tidemark::store::awards::{self, Adjustment, AdjustmentError, Granted};
use tidemark::store::control::{self, Change};
use tidemark::store::credits::{self, CreditEntry, CreditError};
use tidemark::store::db::{Attr, Condition, Db, Item, Key, StoreError, Table, Write};
use tidemark::store::dynamo::DynamoDb;
use tidemark::store::referrals::{self, AwardPolicy, Referrer, SignupError, SignupRequest};
use tidemark::store::tables::create_tables;

use super::laws::{item, key, n, put};
use super::proxy::{ATTEMPTS_MAX, Fault, dice, impatient, proxy};
use super::{PARTITIONS, client, endpoints, run, settings, user};

/// A client behind a proxy, one that goes straight to the same tables, and the proxy's counter of requests.
struct Broken {
    behind: DynamoDb,
    straight: DynamoDb,
    requests: Arc<AtomicU64>,
}

fn on_every_broken_store<Fut: Future<Output = ()>>(
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
            let behind = client(&impatient(&settings, &endpoint));
            test(Broken {
                behind,
                straight,
                requests,
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
            "Refused",
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

/// Throttles, failures before and after, lost answers and halved batches, as the dice fall.
fn chaos(seed: u64) -> impl Fn(u64, &str) -> Fault + Clone + Send + Sync + 'static {
    move |number, operation| match (dice(seed, number) % 100, operation) {
        (0..30, "BatchWriteItem" | "BatchGetItem") => {
            Fault::Part((dice(seed, number) / 100 % 30) as usize)
        }
        (30..40, _) => Fault::Code("com.amazon.coral.availability#ThrottlingException"),
        (40..46, _) => Fault::FailsAfter,
        (46..52, _) => Fault::Fails,
        (52..53, _) => Fault::LostAfter,
        (53..54, _) => Fault::Lost,
        (54..55, "TransactWriteItems") => Fault::Late,
        (57..62, "TransactWriteItems") => Fault::Canceled(&["TransactionConflict"]),
        _ => Fault::Pass,
    }
}

#[test]
fn batches_lose_nothing_and_mix_nothing_up_in_chaos() {
    on_every_broken_store(chaos(1), |broken| async move {
        let keys: Vec<Key> = (0..400)
            .map(|i| key(&format!("b{}", i % 9), &i.to_string()))
            .collect();
        let row = |i: usize| item(&keys[i], &[("value", n(i as i128))]);
        let items: Vec<Item> = (0..400).map(row).collect();
        let db = &broken.behind;
        db.put_all(Table::Checkpoints, items.clone()).await.unwrap();
        for db in [&broken.straight, &broken.behind] {
            let found = db.batch_get(&keys).await.unwrap();
            let expected: Vec<Option<Item>> = items.iter().cloned().map(Some).collect();
            assert_eq!(found, expected);
        }
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

fn credit(key: &str, nanos: i128) -> CreditEntry {
    CreditEntry {
        idempotency_key: key.to_owned(),
        amount: Money(nanos),
        reason: "top-up".to_owned(),
        by: "admin".to_owned(),
        at: Millis(1_000),
    }
}

/// As a caller does: again with the same key while the failure is a passing one.
async fn add_until_done(db: &DynamoDb, key: &str, nanos: i128) {
    loop {
        match credits::add(db, "u", &credit(key, nanos)).await {
            Ok(_) => return,
            Err(CreditError::Store(error)) if error.is_transient() => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn two_hundred_credits_under_one_key_at_once_count_once_in_chaos() {
    on_every_broken_store(chaos(2), |broken| async move {
        let db = &broken.behind;
        let all = (0..200).map(|_| add_until_done(db, "k", 5));
        futures::future::join_all(all).await;
        let added = credits::added(&broken.straight, "u").await.unwrap();
        assert_eq!((added.total, added.entries), (Money(5), 1));
        assert_eq!(
            credits::ledger(&broken.straight, "u").await.unwrap().len(),
            1
        );
    });
}

#[test]
fn credits_under_many_keys_at_once_all_count_in_chaos() {
    on_every_broken_store(chaos(3), |broken| async move {
        let db = &broken.behind;
        // Each key twice, as a client that repeats does.
        let all = (0..60).map(|i| async move {
            add_until_done(db, &format!("k{}", i % 30), 1 << (i % 30)).await;
        });
        futures::future::join_all(all).await;
        let added = credits::added(&broken.straight, "u").await.unwrap();
        assert_eq!((added.total, added.entries), (Money((1 << 30) - 1), 30));
        let ledger = credits::ledger(&broken.straight, "u").await.unwrap();
        let sum: i128 = ledger.iter().map(|entry| entry.amount.0).sum();
        assert_eq!((sum, ledger.len()), ((1 << 30) - 1, 30));
    });
}

#[test]
fn adjustments_are_granted_once_in_chaos() {
    on_every_broken_store(chaos(4), |broken| async move {
        let db = &broken.behind;
        let all = (0..60).map(|i| async move {
            let adjustment = Adjustment {
                account: user("u"),
                points: Points::whole(7),
                reason: "goodwill".to_owned(),
                idempotency_key: format!("k{}", i % 3),
                by: "admin".to_owned(),
                now: Millis(1_000),
            };
            loop {
                match awards::adjustment(db, &adjustment, PARTITIONS).await {
                    Ok(Granted::Now | Granted::Before) => return,
                    Err(AdjustmentError::Store(error)) if error.is_transient() => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        futures::future::join_all(all).await;
        let db = &broken.straight;
        assert_eq!(awards::awards_of(db, &user("u")).await.unwrap().len(), 3);
        let q = user("u").partition(PARTITIONS);
        assert_eq!(awards::list_pending(db, q).await.unwrap().len(), 3);
    });
}

fn signup(referee: &str, referrer: &str) -> SignupRequest {
    SignupRequest {
        referrer: Referrer::Account(user(referrer)),
        referee: user(referee),
        now: Millis(1_000),
        token: format!("{referee}<-{referrer}"),
        awards: AwardPolicy::Pay(Points::whole(100)),
    }
}

/// As a caller does; `false` if it was refused.
async fn sign_up_until_done(db: &DynamoDb, request: &SignupRequest) -> bool {
    loop {
        match referrals::signup(db, request, PARTITIONS).await {
            Ok(signup) => {
                assert_eq!(signup.link.token, request.token);
                return true;
            }
            Err(SignupError::Refused(_)) => return false,
            Err(SignupError::Store(error)) if error.is_transient() => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn signups_at_once_are_each_made_once_and_never_close_a_circle_in_chaos() {
    on_every_broken_store(chaos(5), |broken| async move {
        let db = &broken.behind;
        // Pairs that refer each other, three that form a ring, one whom two refer, and repeats of everything.
        let mut wanted = Vec::new();
        for i in 0..8 {
            wanted.push(signup(&format!("a{i}"), &format!("b{i}")));
            wanted.push(signup(&format!("b{i}"), &format!("a{i}")));
            wanted.push(signup(&format!("c{i}"), "hub"));
            wanted.push(signup(&format!("c{i}"), "other hub"));
        }
        let twice: Vec<&SignupRequest> = wanted.iter().chain(&wanted).collect();
        let all = twice.iter().map(|request| sign_up_until_done(db, request));
        let done = futures::future::join_all(all).await;
        let (first, second) = done.split_at(wanted.len());
        assert_eq!(
            first, second,
            "a repeat is told what the first one was told"
        );
        for pair in first.chunks(2) {
            assert_ne!(
                pair[0], pair[1],
                "of two that exclude each other one is made"
            );
        }
        check_feed(&broken.straight, &wanted, first).await;
    });
}

/// The feed holds each made link once, without a gap, as the relationship rows have it; each is awarded once.
async fn check_feed(db: &DynamoDb, wanted: &[SignupRequest], made: &[bool]) {
    let made: Vec<&SignupRequest> = wanted
        .iter()
        .zip(made)
        .filter(|(_, made)| **made)
        .map(|(request, _)| request)
        .collect();
    let head = control::head(db).await.unwrap();
    assert_eq!(head, Control(made.len() as u64));
    let entries = control::entries(db, Control(0), head).await.unwrap();
    let mut tokens: Vec<&str> = entries.iter().map(|entry| entry.token.as_str()).collect();
    tokens.sort_unstable();
    let mut expected: Vec<&str> = made.iter().map(|request| request.token.as_str()).collect();
    expected.sort_unstable();
    assert_eq!(tokens, expected);
    for entry in &entries {
        let Change::Link { referee, chain } = &entry.change else {
            panic!("{entry:?}");
        };
        let link = referrals::link_of(db, referee).await.unwrap().unwrap();
        assert_eq!((&link.chain, link.control), (chain, entry.number));
        assert!(!chain.contains(referee));
        let granted = awards::awards_of(db, &chain[0]).await.unwrap();
        let id = awards::signup_id(referee);
        assert_eq!(granted.iter().filter(|award| award.id == id).count(), 1);
    }
    let mut pointers = 0;
    for q in 0..PARTITIONS {
        let q = tidemark::domain::position::Partition(q);
        pointers += awards::list_pending(db, q).await.unwrap().len();
    }
    assert_eq!(pointers, 2 * made.len(), "an award and a check for each");
}

#[test]
fn codes_stay_one_per_account_in_chaos() {
    on_every_broken_store(chaos(6), |broken| async move {
        let db = &broken.behind;
        let all = (0..40u64).map(|i| async move {
            loop {
                match referrals::code_for(db, &user("anna"), i * 1_000, Millis(1)).await {
                    Ok(code) => return code.code,
                    Err(error) if error.is_transient() => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let codes = futures::future::join_all(all).await;
        assert!(codes.iter().all(|code| *code == codes[0]), "{codes:?}");
        let page = broken.straight.scan(Table::ReferralCodes, None).await;
        assert_eq!(page.unwrap().items.len(), 1);
    });
}

#[test]
fn a_write_that_lands_after_its_repeat_changes_nothing() {
    // The first transaction is answered by nobody and arrives when its repeat has long been made.
    on_every_broken_store(
        |number, operation| match (number, operation) {
            (0..3, "TransactWriteItems") => Fault::Late,
            _ => Fault::Pass,
        },
        |broken| async move {
            add_until_done(&broken.behind, "k", 5).await;
            tokio::time::sleep(Duration::from_millis(4_500)).await;
            let added = credits::added(&broken.straight, "u").await.unwrap();
            assert_eq!((added.total, added.entries), (Money(5), 1));
            let row = broken
                .straight
                .get(&Key::new(Table::UserCredits, "u", "balance"))
                .await;
            let balance = row.unwrap().unwrap();
            assert_eq!(balance.get("added"), Some(&Attr::N(5)));
        },
    );
}
