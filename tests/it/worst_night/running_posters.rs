//! Tables are restored to an earlier moment while posters run: they notice it by themselves, and take
//! the postings again that the rows have lost.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use tidemark::app::queries::Queries;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::position::Partition;
use tidemark::log::embedded::EmbeddedLog;
use tidemark::log::{Log, NewRecord, Partitions, Topic, topics, usage_partition};
use tidemark::ops::clock::{Clock, SystemClock};
use tidemark::ops::health::{Health, Role};
use tidemark::ops::metrics::Metrics;
use tidemark::pipeline::{self, Settings, WorkerContext, progress};
use tidemark::store::checkpoints;
use tidemark::store::db::{Db, Item, Key, Page, Query, StoreError, Table, Write};
use tidemark::store::dynamo::DynamoDb;
use tidemark::store::tables::create_tables;
use tokio::sync::watch;

use super::clocks::publish_rules;
use crate::process::books::statements_equal_the_oracle;
use crate::store::feed_rows::{items_of, restore};
use crate::store::{client, embedded_endpoint, settings};

const WITHIN: Duration = Duration::from_secs(60);
pub(super) const USERS: u32 = 12;
const ROUNDS: u32 = 3;

/// A store whose writes wait while the gate is shut.
struct Gated {
    db: DynamoDb,
    open: watch::Receiver<bool>,
}

impl Gated {
    async fn pass(&self) {
        let mut open = self.open.clone();
        open.wait_for(|open| *open).await.expect("the test goes on");
    }
}

#[async_trait]
impl Db for Gated {
    fn clock(&self) -> &dyn Clock {
        self.db.clock()
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        self.db.get(key).await
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.db.batch_get(keys).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        self.db.query(query).await
    }

    async fn scan(&self, table: Table, after: Option<Item>) -> Result<Page, StoreError> {
        self.db.scan(table, after).await
    }

    async fn write(&self, write: Write) -> Result<(), StoreError> {
        self.pass().await;
        self.db.write(write).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.pass().await;
        self.db.transact(writes).await
    }

    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        self.pass().await;
        self.db.put_all(table, items).await
    }
}

pub(super) fn user(number: u32) -> String {
    format!("user-{number}")
}

fn event(user: &str, round: u32) -> NewRecord {
    let event = json!({
        "requestId": format!("{user}-{round}"), "userId": user, "providerId": "prov",
        "endpoint": "/v1/scrape", "timestamp": jiff::Timestamp::now().to_string(),
        "statusCode": 200,
    });
    NewRecord {
        key: Some(Bytes::from(user.to_owned())),
        value: Bytes::from(event.to_string()),
        ..NewRecord::default()
    }
}

/// Everything that one test has.
pub(super) struct Stage {
    pub(super) log: Arc<dyn Log>,
    pub(super) db: DynamoDb,
    pub(super) partitions: Partitions,
}

impl Stage {
    /// A log in a directory, new tables, and rules.
    pub(super) async fn on(dir: &Path, db: DynamoDb) -> Stage {
        let specs = topics::load(None).expect("the shipped topics");
        let (log, _) = EmbeddedLog::open(dir, &specs, Arc::new(SystemClock)).expect("a log");
        let log: Arc<dyn Log> = Arc::new(log);
        create_tables(&db).await.expect("tables");
        publish_rules(&db).await;
        let partitions = Partitions::of(&*log).await.expect("partitions");
        Stage {
            log,
            db,
            partitions,
        }
    }

    pub(super) fn context(&self, db: Arc<dyn Db>) -> Arc<WorkerContext> {
        let metrics = Arc::new(Metrics::new());
        Arc::new(WorkerContext::new(
            self.log.clone(),
            db,
            Arc::new(SystemClock),
            Settings::default(),
            metrics.clone(),
            Arc::new(Health::new(metrics)),
            1,
        ))
    }

    pub(super) async fn send(&self, round: u32) {
        for user in (0..USERS).map(user) {
            let home = usage_partition(&user, self.partitions.source);
            let records = vec![event(&user, round)];
            self.log
                .append(Topic::UsageEvents, home, records)
                .await
                .expect("the log takes it");
        }
    }

    /// What everything that is in the log became when it was rated; waits until it has been.
    pub(super) async fn rated(&self) -> progress::RatedSequences {
        let started = Instant::now();
        let mut bounds = Vec::new();
        for partition in (0..self.partitions.source).map(Partition) {
            let of = self.log.bounds(Topic::UsageEvents, partition).await;
            bounds.push(of.expect("the log answers"));
        }
        loop {
            let rated = progress::rated(&self.db, self.log.epoch(), &bounds).await;
            if let Some(rated) = rated.expect("the store answers") {
                return rated;
            }
            assert!(started.elapsed() < WITHIN, "it is not rated");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) async fn posted(&self, wanted: progress::RatedSequences) {
        let started = Instant::now();
        while !progress::posted(&self.db, &wanted)
            .await
            .expect("the store answers")
        {
            let halts = checkpoints::halts(&self.db).await.expect("halts");
            assert!(halts.is_empty(), "{halts:?}");
            assert!(started.elapsed() < WITHIN, "it is not posted");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn requests(&self, kind: AccountKind, id: &str) -> Value {
        let queries = Queries::new(Arc::new(self.db.clone()), self.log.clone(), self.partitions);
        let (account, now) = (Account::new(kind, id).expect("an id"), SystemClock.now());
        let statement = queries.statement(&account, now.month(), now).await;
        let statement = serde_json::to_value(statement.expect("a statement"));
        statement.expect("JSON")["requests"].take()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_posters_notice_that_all_tables_went_back_and_take_what_is_lost_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = client(&settings(embedded_endpoint()));
    let stage = Stage::on(dir.path(), db.clone()).await;
    let partitions = stage.partitions;

    let (gate, open) = watch::channel(true);
    let rating = stage.context(Arc::new(db.clone()));
    let posting = stage.context(Arc::new(Gated {
        db: db.clone(),
        open,
    }));
    let (stop_rating, rating_stopped) = watch::channel(false);
    let (stop_posting, posting_stopped) = watch::channel(false);
    let (mut raters, mut posters) = (Vec::new(), Vec::new());
    for task in pipeline::all_tasks(partitions.source, partitions.posting) {
        match task.role {
            Role::Post => posters.push(tokio::spawn(pipeline::run(
                posting.clone(),
                task,
                posting_stopped.clone(),
            ))),
            Role::Rate | Role::Adapt(_) | Role::Audit => raters.push(tokio::spawn(pipeline::run(
                rating.clone(),
                task,
                rating_stopped.clone(),
            ))),
        }
    }

    stage.send(0).await;
    let rated = stage.rated().await;
    stage.posted(rated).await;
    let mut copy = BTreeMap::new();
    for table in Table::ALL {
        copy.insert(table, items_of(&db, table).await);
    }
    stage.send(1).await;
    let rated = stage.rated().await;
    stage.posted(rated).await;

    // What is rated now is in the log, and posters have not written it when everything goes back.
    gate.send_replace(false);
    stage.send(2).await;
    let rated = stage.rated().await;
    stop_rating.send_replace(true);
    for rater in raters {
        rater.await.expect("a rater ends");
    }
    for (table, items) in &copy {
        restore(&db, *table, items).await;
    }
    gate.send_replace(true);
    stage.posted(rated).await;
    stop_posting.send_replace(true);
    for poster in posters {
        poster.await.expect("a poster ends");
    }
    let halts = checkpoints::halts(&db).await.expect("halts");
    assert!(halts.is_empty(), "{halts:?}");
    for user in (0..USERS).map(user) {
        assert_eq!(
            stage.requests(AccountKind::User, &user).await,
            ROUNDS,
            "{user}"
        );
    }
    assert_eq!(
        stage.requests(AccountKind::Provider, "prov").await,
        ROUNDS * USERS
    );
    let statements = statements_equal_the_oracle(stage.log.clone(), &db).await;
    assert_eq!(statements, USERS as usize + 1);
}
