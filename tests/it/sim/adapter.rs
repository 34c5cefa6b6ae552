//! Where the simulator touches the pipeline and the store's formats: everything that a change of theirs may change.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures::FutureExt;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::position::{Control, Epoch, Fence, Partition};
use tidemark::domain::time::Month;
use tidemark::ops::clock::Clock;
use tidemark::ops::health::{Health, Role, TaskId};
use tidemark::ops::metrics::Metrics;
use tidemark::pipeline::{self, Breakage, Protections, Settings, WorkerContext};
use tidemark::store::accounts::{self, StoredRow};
use tidemark::store::audits::{AuditCheckpoint, Finding};
use tidemark::store::checkpoints::{self, HaltRecord, PostCheckpoint, RateCheckpoint};
use tidemark::store::db::{Attr, Db, Item, Key, Page, Query, StoreError, Table, Write};
use tidemark::store::set_aside::SetAside;
use tidemark::store::top;
use tokio::sync::watch;

use super::archive;
use super::clock::{SimClock, StillClock};
use super::db::{DbState, SimDb, in_range};
use super::log::SimLog;
use super::world::{Executor, Owner, World};

/// More posting partitions than any run has.
const POSTING_MAX: u32 = 6;

/// A worker to be started.
pub struct WorkerSpec {
    pub owner: Owner,
    pub token: u64,
    pub epoch: Epoch,
    pub skew_ms: i64,
    pub settings: Settings,
    pub breakage: Option<Breakage>,
    pub tasks: Vec<TaskId>,
}

fn metrics() -> Arc<Metrics> {
    static METRICS: OnceLock<Arc<Metrics>> = OnceLock::new();
    METRICS.get_or_init(|| Arc::new(Metrics::new())).clone()
}

/// What the tasks of a worker share: the simulated log, store and clock.
pub fn context(world: &World, spec: &WorkerSpec) -> WorkerContext {
    let mut ctx = WorkerContext::new(
        Arc::new(SimLog {
            world: world.clone(),
            epoch: spec.epoch,
        }),
        Arc::new(SimDb {
            world: world.clone(),
        }),
        Arc::new(SimClock {
            world: world.clone(),
            skew_ms: spec.skew_ms,
        }),
        spec.settings.clone(),
        metrics(),
        Arc::new(Health::new(metrics())),
        spec.token,
    );
    ctx.protections = Protections::but(spec.breakage);
    ctx.archive = archive::archiving(world, spec.token);
    ctx
}

/// Starts a worker: the real pipeline over the simulated log, store and clock. Its shutdown switch is returned.
pub fn start(executor: &mut Executor, spec: WorkerSpec) -> watch::Sender<bool> {
    let ctx = Arc::new(context(&executor.world, &spec));
    let (stop, stopped) = watch::channel(false);
    for task in spec.tasks {
        let (ctx, stopped) = (ctx.clone(), stopped.clone());
        executor.spawn(spec.owner, pipeline::run(ctx, task, stopped));
    }
    stop
}

/// The account of a row's key in one of the two account tables.
pub fn account_of(key: &Key) -> Option<Account> {
    let kind = match key.table {
        Table::UserPoints => AccountKind::User,
        Table::ProviderRewards => AccountKind::Provider,
        _ => return None,
    };
    // Not the marker of the table.
    Account::new(kind, &key.hash).ok()
}

/// The month rows of an account, as they stand.
pub fn month_rows(db: &DbState, account: &Account) -> Result<BTreeMap<Month, StoredRow>, String> {
    let table = accounts::table(account.kind);
    let from = Key::new(table, account.id(), "");
    let mut rows = BTreeMap::new();
    for (key, item) in db.items.range(from..) {
        if key.table != table || key.hash != account.id() {
            break;
        }
        if key.range == accounts::ACCOUNT_ITEM {
            continue;
        }
        let row = accounts::decode(key.clone(), item).map_err(|e| e.to_string())?;
        rows.insert(row.row.month, row);
    }
    Ok(rows)
}

/// The fence of an account's newest row, if it can be read.
pub fn head_fence(db: &DbState, account: &Account) -> Option<Fence> {
    let table = accounts::table(account.kind);
    let from = Key::new(table, account.id(), "");
    let own = db.items.range(from..);
    let own = own.take_while(|(key, _)| key.table == table && key.hash == account.id());
    let (_, newest) = own.last()?;
    text(newest, "fence").parse().ok()
}

/// An award as it stands in the store, and whether it is in its account's rows.
pub struct StoredAward {
    pub id: String,
    pub kind: String,
    pub month: Month,
    pub micropoints: i64,
    pub granted_at: i64,
    pub applied: bool,
}

fn text<'i>(item: &'i Item, name: &str) -> &'i str {
    match item.get(name) {
        Some(Attr::S(text)) => text,
        _ => "",
    }
}

fn number(item: &Item, name: &str) -> i64 {
    match item.get(name) {
        Some(Attr::N(n)) => *n as i64,
        _ => 0,
    }
}

/// Every award that was granted to an account. Its pointer may be at any posting partition.
pub fn awards_of(db: &DbState, account: &Account) -> Vec<StoredAward> {
    let within = |hash: String| {
        let from = Key::new(Table::Checkpoints, hash.clone(), "");
        db.items
            .range(from..)
            .take_while(move |(key, _)| key.table == Table::Checkpoints && key.hash == hash)
    };
    let waiting: Vec<&str> = (0..POSTING_MAX)
        .flat_map(|q| within(format!("pending#{q}")))
        .filter(|(_, item)| {
            text(item, "state") == "pending" && text(item, "account") == account.to_string()
        })
        .map(|(_, item)| text(item, "award"))
        .collect();
    within(format!("awards#{account}"))
        .map(|(_, item)| StoredAward {
            id: text(item, "award").to_owned(),
            kind: text(item, "kind").to_owned(),
            month: text(item, "month").parse().expect("a month"),
            micropoints: number(item, "points"),
            granted_at: number(item, "grantedAt"),
            applied: !waiting.contains(&text(item, "award")),
        })
        .collect()
}

/// Every award of every account.
pub fn all_awards(db: &DbState) -> Vec<(Account, StoredAward)> {
    let of_award = |key: &Key| {
        let (kind, id) = key.hash.strip_prefix("awards#")?.split_once(':')?;
        Account::new(kind.parse().ok()?, id).ok()
    };
    let accounts: std::collections::BTreeSet<Account> =
        db.items.keys().filter_map(of_award).collect();
    let awards = accounts.into_iter().flat_map(|account| {
        let awards = awards_of(db, &account).into_iter();
        awards.map(move |award| (account.clone(), award))
    });
    awards.collect()
}

/// Whether any pointer is left at any posting partition.
pub fn has_pointers(db: &DbState) -> bool {
    let from = Key::new(Table::Checkpoints, "pending#", "");
    db.items
        .range(from..)
        .next()
        .is_some_and(|(key, _)| key.table == Table::Checkpoints && key.hash.starts_with("pending#"))
}

/// What a written key of table Checkpoints is.
pub enum Machinery {
    Rate(Partition, RateCheckpoint),
    Post(Partition, PostCheckpoint),
    Halt(String),
    /// An account that is set aside, by its key.
    Aside(String),
    Other,
}

fn body<T: serde::de::DeserializeOwned>(item: &Item) -> T {
    serde_json::from_str(text(item, "body")).expect("a body that the pipeline wrote")
}

/// Reads a written key.
pub fn machinery(db: &DbState, key: &Key) -> Machinery {
    let Some(item) = db
        .items
        .get(key)
        .filter(|_| key.table == Table::Checkpoints)
    else {
        return Machinery::Other;
    };
    if key.hash == "halts" {
        return Machinery::Halt(text(item, "body").to_owned());
    }
    if key.hash == "aside" {
        return Machinery::Aside(key.range.clone());
    }
    if key.range != "checkpoint" {
        return Machinery::Other;
    }
    match key.hash.split_once('#') {
        Some(("rate", p)) => Machinery::Rate(Partition(p.parse().expect("a number")), body(item)),
        Some(("post", q)) => Machinery::Post(Partition(q.parse().expect("a number")), body(item)),
        _ => Machinery::Other,
    }
}

/// A stored checkpoint.
pub fn rate_checkpoint(db: &DbState, partition: u32) -> Option<RateCheckpoint> {
    let key = checkpoints::checkpoint_key(TaskId::new(Role::Rate, Partition(partition)));
    db.items.get(&key).map(body)
}

/// A stored checkpoint.
pub fn post_checkpoint(db: &DbState, partition: u32) -> Option<PostCheckpoint> {
    let key = checkpoints::checkpoint_key(TaskId::new(Role::Post, Partition(partition)));
    db.items.get(&key).map(body)
}

/// A stored checkpoint.
pub fn audit_checkpoint(db: &DbState, partition: u32) -> Option<AuditCheckpoint> {
    let key = checkpoints::checkpoint_key(TaskId::new(Role::Audit, Partition(partition)));
    db.items.get(&key).map(body)
}

/// Key and item of the audit's checkpoint of a source partition.
pub fn audit_item(db: &DbState, partition: u32) -> Option<(Key, Item)> {
    let key = checkpoints::checkpoint_key(TaskId::new(Role::Audit, Partition(partition)));
    let item = db.items.get(&key).cloned()?;
    Some((key, item))
}

/// What the auditor found.
pub fn findings(db: &DbState) -> Vec<Finding> {
    let is_one = |key: &Key| key.table == Table::Checkpoints && key.hash == "audit_findings";
    let items = db.items.iter().filter(|(key, _)| is_one(key));
    items.map(|(_, item)| body(item)).collect()
}

/// Every task of a run.
pub fn tasks(source: u32, posting: u32) -> Vec<TaskId> {
    pipeline::all_tasks(source, posting)
}

/// The store at one moment, answering at once: for reading it at the end with the store's own code.
pub struct InstantDb(pub BTreeMap<Key, Item>);

impl InstantDb {
    fn refuse<T>() -> Result<T, StoreError> {
        Err(StoreError::Refused("only for reading".to_owned()))
    }

    /// The answer of a future over this store: it never waits.
    pub fn answer<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("InstantDb answers at once")
    }
}

#[async_trait]
impl Db for InstantDb {
    fn clock(&self) -> &dyn Clock {
        &StillClock
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        Ok(self.0.get(key).cloned())
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        Ok(keys.iter().map(|key| self.0.get(key).cloned()).collect())
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        let found = self.0.iter().filter(|(key, _)| {
            key.table == query.table && key.hash == query.hash && in_range(&query.range, &key.range)
        });
        let mut items: Vec<Item> = found.map(|(_, item)| item.clone()).collect();
        if query.descending {
            items.reverse();
        }
        items.truncate(query.limit.map_or(usize::MAX, |limit| limit as usize));
        Ok(Page { items, next: None })
    }

    async fn scan(&self, table: Table, _: Option<Item>) -> Result<Page, StoreError> {
        let found = self.0.iter().filter(|(key, _)| key.table == table);
        let items = found.map(|(_, item)| item.clone()).collect();
        Ok(Page { items, next: None })
    }

    async fn write(&self, _: Write) -> Result<(), StoreError> {
        InstantDb::refuse()
    }

    async fn transact(&self, _: Vec<Write>) -> Result<(), StoreError> {
        InstantDb::refuse()
    }

    async fn put_all(&self, _: Table, _: Vec<Item>) -> Result<(), StoreError> {
        InstantDb::refuse()
    }
}

/// A leaderboard as people see it.
pub fn leaderboard(
    db: &InstantDb,
    posting: u32,
    kind: AccountKind,
    month: Month,
) -> Vec<(String, i128)> {
    let read = top::leaderboard(db, posting, kind, month);
    let ranked = InstantDb::answer(read).expect("readable lists");
    let places = ranked.into_iter();
    places
        .map(|place| (place.1, i128::from(place.0.0)))
        .collect()
}

/// The number of the newest entry of the control feed.
///
/// A transaction that moves it may be half visible until its answer: what came before the answer is
/// promised nothing.
pub fn control_head_now(db: &DbState, now: i64) -> u64 {
    let key = Key::new(Table::Checkpoints, "control", "head");
    let item = db.plain(&key, now).cloned();
    let head = item.map(|item| (key, item)).into_iter().collect();
    control_head(&InstantDb(head)).0
}

/// The recorded halts, by task.
pub fn halts(db: &DbState) -> Vec<(TaskId, String)> {
    let from = Key::new(Table::Checkpoints, "halts", "");
    let all = db.items.range(from..);
    let halts = all.take_while(|(key, _)| key.table == Table::Checkpoints && key.hash == "halts");
    let read = |(key, item): (&Key, &Item)| {
        let record: HaltRecord = body(item);
        (key.range.parse().expect("a task"), record.code)
    };
    halts.map(read).collect()
}

/// The accounts that are set aside.
pub fn set_aside(db: &DbState) -> BTreeMap<Account, SetAside> {
    let from = Key::new(Table::Checkpoints, "aside", "");
    let all = db.items.range(from..);
    let records = all.take_while(|(key, _)| key.table == Table::Checkpoints && key.hash == "aside");
    let read = |(_, item): (&Key, &Item)| {
        let record: SetAside = body(item);
        (record.account.clone(), record)
    };
    records.map(read).collect()
}

/// Whether a usage row has outlived its time to live.
pub fn has_expired(item: &Item, now: i64) -> bool {
    match item.get("expiresAt") {
        Some(Attr::N(at)) => *at * 1_000 <= i128::from(now),
        _ => false,
    }
}

/// Whether the usage row of an event of this time is still there.
pub fn usage_row_lives(time: i64, now: i64) -> bool {
    let life = Settings::default().usage_row_life.as_millis() as i64;
    (time + life) / 1_000 * 1_000 > now
}

/// The head of the control feed.
pub fn control_head(db: &InstantDb) -> Control {
    InstantDb::answer(tidemark::store::control::head(db)).expect("a readable head")
}
