//! How fast a month of a million accounts is closed: trees alone, then everything, with the files written
//! into a directory, and rows and control feed made by the store as they are read.
//!
//! `cargo bench --bench closing` prints seconds, CPU seconds and the largest resident memory of each; the
//! goals are 30 s for a tree of 1,000,000 leaves, 60 s and 1 GiB for a close of 1,000,000 accounts, each with
//! a wallet. `CLOSING_BENCH_ACCOUNTS` changes how many there are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use tidemark::app::closing::Closing;
use tidemark::app::queries::Queries;
use tidemark::claims::Claims;
use tidemark::domain::amount::Points;
use tidemark::domain::closing::TermsText;
use tidemark::domain::ethereum::{Address, U256, keccak256};
use tidemark::domain::event::Service;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::ledger::AccountRows;
use tidemark::domain::position::{
    Control, Epoch, Fence, Offset, Partition, Position, Sequence, WriteId,
};
use tidemark::domain::posting::{Cell, Entry, Slot};
use tidemark::domain::rules::{Network, RuleBook, RuleChange, RulesDocument};
use tidemark::domain::time::{Millis, Month};
use tidemark::log::Partitions;
use tidemark::log::embedded::EmbeddedLog;
use tidemark::log::topics;
use tidemark::objects::Objects;
use tidemark::ops::clock::{Clock, SystemClock};
use tidemark::ops::health::{Role, TaskId};
use tidemark::ops::metrics::Metrics;
use tidemark::store::account_write::{AccountWrite, Omissions};
use tidemark::store::checkpoints::{self, PostCheckpoint, SourceState};
use tidemark::store::control::{self, Change, Head};
use tidemark::store::db::{
    Attr, Condition, Db, Item, Key, Page, Query, RangeFilter, StoreError, Table, Write,
};
use tidemark::store::pricing::{NewValue, Publish, publish};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ACCOUNTS: usize = 1_000_000;
const PER_PAGE: usize = 1_000;
/// Accounts have one of so many months.
const SHAPES: usize = 64;
const PARTITIONS: u32 = 4;
const MONTH: &str = "2026-10";

fn month() -> Month {
    MONTH.parse().expect("a month")
}

fn address(number: usize) -> Address {
    let mut bytes = [0; 20];
    bytes.copy_from_slice(&keccak256(&number.to_be_bytes()).0[12..]);
    Address(bytes)
}

fn id(number: usize) -> String {
    format!("account-{number:08}")
}

fn account(kind: AccountKind, number: usize) -> Account {
    Account::new(kind, &id(number)).expect("an id")
}

/// A store whose account rows and wallets are made when they are read; everything else is kept.
struct Generated {
    accounts: usize,
    shapes: Vec<Item>,
    kept: Mutex<BTreeMap<Key, Item>>,
    /// Entries of the control feed that were written.
    written: u64,
    clock: SystemClock,
}

fn key_of(table: Table, item: &Item) -> Key {
    let text = |name: &str| match item.get(name) {
        Some(Attr::S(text)) => text.clone(),
        _ => String::new(),
    };
    let (hash, range) = table.keys();
    Key::new(table, text(hash), range.map(text).unwrap_or_default())
}

fn holds(condition: &Condition, item: Option<&Item>) -> bool {
    match condition {
        Condition::Always => true,
        Condition::Absent => item.is_none(),
        Condition::Present => item.is_some(),
        Condition::Equals(name, value) => item.and_then(|item| item.get(*name)) == Some(value),
        Condition::AbsentOrAtMost(..) => true,
    }
}

impl Generated {
    fn wallet(&self, number: u64) -> Item {
        let place = (number - self.written - 1) as usize;
        let kind = if place.is_multiple_of(2) {
            AccountKind::User
        } else {
            AccountKind::Provider
        };
        let change = Change::Wallet {
            account: account(kind, place / 2),
            address: Some(address(place)),
        };
        let head = Head {
            number: Control(number - 1),
            rules: Control(self.written),
        };
        let [entry, _] = control::append_writes(head, Millis(0), "bench", &change);
        match entry {
            Write::Put { item, .. } => item,
            _ => Item::default(),
        }
    }

    fn feed(&self, after: Option<&Item>) -> Page {
        let last = self.written + self.accounts as u64;
        let from = match after.and_then(|item| item.get("item")) {
            Some(Attr::S(item)) => item.parse::<u64>().unwrap_or_default(),
            _ => 0,
        };
        let up_to = (from + PER_PAGE as u64).min(last);
        let kept = self.kept.lock().expect("nobody panicked");
        let items = (from + 1..=up_to).filter_map(|number| match number <= self.written {
            true => kept
                .get(&Key::new(
                    Table::Checkpoints,
                    "control",
                    format!("{number:020}"),
                ))
                .cloned(),
            false => Some(self.wallet(number)),
        });
        let items: Vec<Item> = items.collect();
        let next = Key::new(Table::Checkpoints, "control", format!("{up_to:020}"));
        Page {
            items,
            next: (up_to < last).then(|| next.item()),
        }
    }
}

#[async_trait]
impl Db for Generated {
    fn clock(&self) -> &dyn Clock {
        &self.clock
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        let is_head = key.hash == "control" && key.range == "head";
        if key.table == Table::Checkpoints && is_head && self.accounts > 0 {
            let mut item = key.item();
            let number = self.written + self.accounts as u64;
            item.insert("number", Attr::N(i128::from(number)));
            item.insert("rules", Attr::N(i128::from(self.written)));
            return Ok(Some(item));
        }
        Ok(self.kept.lock().expect("nobody panicked").get(key).cloned())
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let kept = self.kept.lock().expect("nobody panicked");
        Ok(keys.iter().map(|key| kept.get(key).cloned()).collect())
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        if query.table == Table::Checkpoints && query.hash == "control" {
            return Ok(self.feed(query.after.as_ref()));
        }
        let is_in = |key: &Key| {
            key.table == query.table
                && key.hash == query.hash
                && match &query.range {
                    RangeFilter::All => true,
                    RangeFilter::Prefix(prefix) => key.range.starts_with(prefix),
                    RangeFilter::Between(first, last) => (first..=last).contains(&&key.range),
                }
        };
        let kept = self.kept.lock().expect("nobody panicked");
        let found = kept.iter().filter(|(key, _)| is_in(key));
        let mut items: Vec<Item> = found.map(|(_, item)| item.clone()).collect();
        if query.descending {
            items.reverse();
        }
        items.truncate(query.limit.map_or(usize::MAX, |limit| limit as usize));
        Ok(Page { items, next: None })
    }

    async fn scan(&self, table: Table, after: Option<Item>) -> Result<Page, StoreError> {
        let (hash, _) = table.keys();
        let count = match table {
            Table::UserPoints => self.accounts.div_ceil(2),
            Table::ProviderRewards => self.accounts / 2,
            _ => {
                let kept = self.kept.lock().expect("nobody panicked");
                let items = kept.iter().filter(|(key, _)| key.table == table);
                return Ok(Page {
                    items: items.map(|(_, item)| item.clone()).collect(),
                    next: None,
                });
            }
        };
        let from = match after.as_ref().and_then(|item| item.get(hash)) {
            Some(Attr::S(id)) => id["account-".len()..].parse::<usize>().unwrap_or_default() + 1,
            _ => 0,
        };
        let up_to = (from + PER_PAGE).min(count);
        let item = |number: usize| {
            let mut item = self.shapes[number % SHAPES].clone();
            item.insert(hash, Attr::S(id(number)));
            item
        };
        let items: Vec<Item> = (from..up_to).map(item).collect();
        let next = (up_to < count).then(|| Key::new(table, id(up_to - 1), MONTH).item());
        Ok(Page { items, next })
    }

    async fn write(&self, write: Write) -> Result<(), StoreError> {
        self.transact(vec![write]).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let mut kept = self.kept.lock().expect("nobody panicked");
        for write in &writes {
            let (key, condition) = match write {
                Write::Put {
                    table,
                    item,
                    condition,
                } => (key_of(*table, item), condition),
                Write::Delete { key, condition } | Write::Check { key, condition } => {
                    (key.clone(), condition)
                }
            };
            if !holds(condition, kept.get(&key)) {
                return Err(StoreError::ConditionFailed);
            }
        }
        for write in writes {
            match write {
                Write::Put { table, item, .. } => {
                    kept.insert(key_of(table, &item), item);
                }
                Write::Delete { key, .. } => {
                    kept.remove(&key);
                }
                Write::Check { .. } => {}
            }
        }
        Ok(())
    }

    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        let mut kept = self.kept.lock().expect("nobody panicked");
        kept.extend(items.into_iter().map(|item| (key_of(table, &item), item)));
        Ok(())
    }
}

/// A month row: thirty days of two services. The attributes of users and providers have the same names but for
/// the key.
fn shape(number: usize, document: &RulesDocument) -> Item {
    let changes = document
        .changes()
        .into_iter()
        .map(|(key, value)| RuleChange {
            key,
            value,
            effective_from: None,
        });
    let mut book = RuleBook::default();
    let changes: Vec<RuleChange> = changes.collect();
    book.apply(Control(1), &changes)
        .expect("the shipped rules are valid");
    let activity = book.as_of(Control(1)).expect("rules").activity();
    let who = account(AccountKind::User, 0);
    let mut entry = Entry::new(who.clone());
    for day in 1..=30 {
        let cell = Cell {
            requests: 3,
            successful: 3,
            failed: 0,
            points: Points(1_000 + (number * 31 + day) as i64),
            timed: 3,
            latency_ms: 900,
            target_ms: 6_000,
        };
        let slot = Slot::Day(month().day(day as u8));
        entry.cells.push((slot, Service::CHAT_COMPLETIONS, cell));
    }
    let mut rows = AccountRows::default();
    rows.apply(AccountKind::User, &entry, month().start(), activity);
    let write = AccountWrite {
        account: &who,
        stored: None,
        rows: &rows,
        dirty: &[month()],
        fence: Fence {
            position: Some(Position {
                epoch: Epoch(0),
                offset: Offset(7),
            }),
            write: WriteId {
                worker: 1,
                count: 1,
            },
        },
        open_from: Month(0),
        omit: Omissions::default(),
    };
    let (writes, _) = write.build().expect("a row");
    let puts = writes.into_iter().filter_map(|write| match write {
        Write::Put { item, .. } => Some(item),
        _ => None,
    });
    let is_month = |item: &Item| item.get("month") == Some(&Attr::S(MONTH.to_owned()));
    let mut item = puts.into_iter().find(is_month).expect("the month's row");
    item.remove("userId");
    item
}

async fn store(accounts: usize) -> Generated {
    let (name, text) = Network::Testnet.document();
    let document = RulesDocument::parse_toml(name, text).expect("the shipped rules are valid");
    let mut db = Generated {
        accounts: 0,
        shapes: (0..SHAPES).map(|number| shape(number, &document)).collect(),
        kept: Mutex::default(),
        written: 0,
        clock: SystemClock,
    };
    let values = document.changes().into_iter();
    let publication = Publish {
        values: values.map(|(key, value)| NewValue { key, value }).collect(),
        effective_from: Millis(0),
        by: "a benchmark".to_owned(),
        reason: "a benchmark".to_owned(),
        now: Millis(0),
        token: "bench".to_owned(),
    };
    let published = publish(&db, &publication);
    published.await.expect("the rules are published");
    db.written = 1;
    db.accounts = accounts;
    let state = SourceState {
        sequence: Sequence(1),
        log_time: Millis(month().closes().0 + 86_400_000),
        chunk: None,
    };
    for q in (0..PARTITIONS).map(Partition) {
        let checkpoint = PostCheckpoint {
            topic_id: "t".to_owned(),
            epoch: Epoch(0),
            partitions: PARTITIONS,
            next: Offset(1),
            fingerprint: None,
            sources: (0..PARTITIONS).map(|p| (p, state)).collect(),
            witnesses: Vec::new(),
        };
        let key = checkpoints::checkpoint_key(TaskId::new(Role::Post, q));
        let put = checkpoints::put(&key, &checkpoint, None, WriteId::default());
        db.write(put).await.expect("memory");
    }
    db
}

/// From now on [`memory_max`] is the largest since then. Linux only.
fn forget_memory_max() {
    drop(std::fs::write("/proc/self/clear_refs", "5"));
}

/// How long processors have worked for this process. Linux counts in hundredths of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let (_, after) = stat.rsplit_once(')').unwrap_or_default();
    let ticks = after.split_whitespace().skip(11).take(2);
    let ticks = ticks.filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// The largest resident memory, MiB.
fn memory_max() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1_024
}

fn trees(count: usize) {
    let mut entries: Vec<(Address, U256)> = (0..count)
        .map(|n| (address(n), U256::MAX >> (n % 200) as u32))
        .collect();
    entries.sort_unstable();
    let claims = Claims::sorted(entries).expect("sorted");
    for (name, make) in [
        ("OpenZeppelin", Claims::standard_tree as fn(&Claims) -> _),
        ("Uniswap", Claims::uniswap_tree),
    ] {
        let start = Instant::now();
        let tree = make(&claims).expect("not too many").expect("leaves");
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{name}'s tree of {count} leaves: {seconds:.1} s, root {}",
            tree.root()
        );
    }
}

fn main() {
    let given = std::env::var("CLOSING_BENCH_ACCOUNTS").ok();
    let accounts = given.map_or(ACCOUNTS, |text| text.parse().expect("a number"));
    trees(accounts);
    println!("memory of that: {} MiB", memory_max());
    forget_memory_max();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.expect("threads").block_on(close(accounts));
}

async fn close(accounts: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("log");
    let specs = topics::load(None).expect("the shipped topics are valid");
    let (log, _) = EmbeddedLog::open(&log, &specs, Arc::new(SystemClock)).expect("a log");
    let partitions = Partitions {
        source: PARTITIONS,
        posting: PARTITIONS,
        rejected: PARTITIONS,
    };
    let queries = Queries::new(Arc::new(store(accounts).await), Arc::new(log), partitions);
    let files = Objects::in_directory(&directory.path().join("closing")).expect("a directory");
    let metrics = Arc::new(Metrics::new());
    let closing = Closing::new(
        Arc::new(queries),
        Arc::new(SystemClock),
        metrics,
        Some(files),
    );
    let terms = TermsText {
        pool: Some("1000000".to_owned()),
        decimals: 18,
        ..TermsText::default()
    };
    let (start, worked) = (Instant::now(), cpu_seconds());
    let closed = closing.close(month(), Some(terms), "a benchmark").await;
    let closed = closed.unwrap_or_else(|error| panic!("{error}"));
    let seconds = start.elapsed().as_secs_f64();
    let bytes: u64 = closed.files.iter().filter_map(|file| file.bytes).sum();
    let paid = closed.totals.map_or(0, |totals| totals.paid_accounts);
    println!(
        "a close that pays {paid} accounts: {seconds:.1} s ({:.1} s of CPU), {} files of {} MiB, memory {} MiB",
        cpu_seconds() - worked,
        closed.files.len(),
        bytes >> 20,
        memory_max()
    );
    let whose = account(AccountKind::User, accounts / 4);
    let start = Instant::now();
    let claims = closing.claims_of(&whose, None).await;
    let claims = claims.unwrap_or_else(|error| panic!("{error}"));
    let millis = start.elapsed().as_secs_f64() * 1_000.0;
    println!(
        "the claims of an account: {millis:.1} ms, {} closes",
        claims.closes.len()
    );
    let (start, worked) = (Instant::now(), cpu_seconds());
    let closed = closing.close(month(), None, "a benchmark").await;
    closed.unwrap_or_else(|error| panic!("{error}"));
    println!(
        "the same close again, which finds its files: {:.1} s ({:.1} s of CPU)",
        start.elapsed().as_secs_f64(),
        cpu_seconds() - worked
    );
}
