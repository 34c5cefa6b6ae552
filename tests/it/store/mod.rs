//! The store: the same promises against the embedded engine and, where `DYNAMODB_ENDPOINT` names one, Amazon's DynamoDB Local.
//!
//! `tests/servers/dynamodb up` starts the latter (Java 17 and Maven) and prints what to export.

mod awards;
mod badges;
pub mod bridge;
mod chaos;
mod control;
mod credits;
mod denied;
mod embedded;
mod faults;
pub mod feed_rows;
mod imports;
mod laws;
mod objects;
mod pricing;
mod protection;
pub mod proxy;
mod rated_services;
mod reads;
mod referrals;
mod services;
mod tables;
pub mod torn;
pub mod wallets;

use std::future::Future;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use tidemark::domain::ids::{Account, AccountKind};
use tidemark::ops::clock::SystemClock;
use tidemark::store::dynamo::{DynamoDb, DynamoSettings};
use tidemark::store::embedded::EmbeddedStore;
use tidemark::store::meter::StoreMeter;
use tidemark::store::tables::create_tables;

/// Nothing answers there: requests go to the engine of this process.
const ENDPOINT_UNUSED: &str = "http://embedded.invalid";

/// Posting partitions in these tests.
pub const PARTITIONS: u32 = 4;

/// An embedded engine that all tests of this process share; each test has tables of its own.
pub fn embedded_endpoint() -> &'static str {
    static ENDPOINT: OnceLock<String> = OnceLock::new();
    ENDPOINT.get_or_init(|| bridge::bridge(shared().0.path()))
}

fn shared() -> &'static (tempfile::TempDir, EmbeddedStore) {
    static SHARED: OnceLock<(tempfile::TempDir, EmbeddedStore)> = OnceLock::new();
    SHARED.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let mut store = EmbeddedStore::open(dir.path()).unwrap();
        store.listen().unwrap();
        (dir, store)
    })
}

/// The servers to test against, by name.
pub fn endpoints() -> Vec<(&'static str, String)> {
    let mut all = vec![("embedded, over its socket", embedded_endpoint().to_owned())];
    all.extend(dynamodb_local().map(|endpoint| ("DynamoDB Local", endpoint)));
    all
}

/// Where Amazon's DynamoDB Local answers. `None`: tests of the store run against the embedded engine
/// only, and stderr says so.
pub fn dynamodb_local() -> Option<String> {
    static TOLD: Once = Once::new();
    let endpoint = std::env::var("DYNAMODB_ENDPOINT").ok();
    if endpoint.is_none() {
        TOLD.call_once(|| {
            // Straight to stderr, past the test harness, which hides what passing tests print.
            let _ = writeln!(
                std::io::stderr(),
                "*** NOT RUN AGAINST DynamoDB Local: the store is tested against the embedded engine only. \
                 For both: eval \"export $(tests/servers/dynamodb up)\""
            );
        });
    }
    endpoint
}

/// Settings for tables of a test's own.
pub fn settings(endpoint: &str) -> DynamoSettings {
    static TESTS: AtomicU64 = AtomicU64::new(0);
    let number = TESTS.fetch_add(1, Ordering::Relaxed);
    let mut settings = DynamoSettings::local(endpoint);
    settings.prefix = format!("t{:x}-{number}-", rand::random::<u32>());
    settings
}

/// A client for settings.
pub fn client(settings: &DynamoSettings) -> DynamoDb {
    DynamoDb::new(
        settings,
        Arc::new(StoreMeter::default()),
        Arc::new(SystemClock),
    )
}

/// Runs a test against every server, and the embedded engine in this process, each time with fresh tables.
pub fn on_every_store<Fut: Future<Output = ()>>(test: impl Fn(DynamoDb) -> Fut) {
    let in_process = DynamoSettings {
        embedded: Some(shared().1.client()),
        ..settings(ENDPOINT_UNUSED)
    };
    let mut all = vec![("embedded, in process", in_process)];
    all.extend(
        endpoints()
            .into_iter()
            .map(|(name, endpoint)| (name, settings(&endpoint))),
    );
    for (name, settings) in all {
        eprintln!("on {name}");
        run(async {
            let db = client(&settings);
            create_tables(&db).await.unwrap();
            test(db).await;
        });
    }
}

/// Runs a future to its end, within two minutes.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(120), future)
            .await
            .expect("the test takes longer than two minutes")
    })
}

/// A user.
pub fn user(id: &str) -> Account {
    Account::new(AccountKind::User, id).unwrap()
}

/// A provider.
pub fn provider(id: &str) -> Account {
    Account::new(AccountKind::Provider, id).unwrap()
}
