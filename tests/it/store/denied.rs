//! Access that is denied for a while: expired credentials, a missing permission, a clock that is off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidemark::ops::metrics::Metrics;
use tidemark::pipeline::{Failure, HaltCode};
use tidemark::store::db::{Condition, Db, StoreError};
use tidemark::store::dynamo::DynamoDb;
use tidemark::store::meter::StoreMeter;

use super::faults::on_every_broken_store;
use super::laws::{key, put};
use super::proxy::Fault;

const DENIALS: [&str; 7] = [
    "com.amazon.coral.service#AccessDeniedException",
    "com.amazon.coral.service#UnrecognizedClientException",
    "com.amazon.coral.service#ExpiredTokenException",
    "com.amazon.coral.service#InvalidSignatureException",
    "com.amazon.coral.service#IncompleteSignatureException",
    "com.amazonaws.dynamodb.v20120810#RequestTimeTooSkewed",
    "com.amazon.coral.service#MissingAuthenticationTokenException",
];

#[test]
fn a_denied_request_writes_nothing_is_not_repeated_at_once_and_works_again_when_access_is_back() {
    for code in DENIALS {
        let denies = Arc::new(AtomicBool::new(true));
        let plan = {
            let denies = denies.clone();
            move |_: u64, _: &str| match denies.load(Ordering::SeqCst) {
                true => Fault::Code(code),
                false => Fault::Pass,
            }
        };
        on_every_broken_store(plan, |broken| {
            let denies = denies.clone();
            async move {
                denies.store(true, Ordering::SeqCst);
                let at = key("p", "r");
                let write = put(&at, 1, Condition::Absent);
                let denied = broken.behind.write(write.clone()).await;
                let Err(error @ StoreError::Denied(_)) = denied else {
                    panic!("{code}: {denied:?}");
                };
                assert_eq!(broken.requests.load(Ordering::SeqCst), 1, "{code}");
                assert!(error.is_transient(), "{code}");
                assert!(matches!(
                    broken.behind.get(&at).await,
                    Err(StoreError::Denied(_))
                ));
                // A task reloads, it does not halt.
                assert!(matches!(Failure::from(error), Failure::Reload(_)), "{code}");
                denies.store(false, Ordering::SeqCst);
                assert_eq!(broken.behind.write(write).await, Ok(()), "{code}");
                assert!(broken.straight.get(&at).await.unwrap().is_some(), "{code}");
            }
        });
    }
}

#[test]
fn a_missing_table_still_halts() {
    let refused = StoreError::Refused("ResourceNotFoundException".to_owned());
    assert!(matches!(
        Failure::from(refused),
        Failure::Halt(HaltCode::StoreRefused, _)
    ));
}

#[test]
fn denials_are_counted() {
    let plan = |_: u64, _: &str| Fault::Code(DENIALS[0]);
    on_every_broken_store(plan, |broken| async move {
        let metrics = Arc::new(Metrics::new());
        let meter = StoreMeter::with_metrics(metrics.clone());
        let clock = Arc::new(tidemark::ops::clock::SystemClock);
        let db = DynamoDb::new(broken.settings(), Arc::new(meter), clock);
        for _ in 0..3 {
            assert!(db.get(&key("p", "r")).await.is_err());
        }
        assert_eq!(metrics.store_denials_total.get(), 3);
    });
}
