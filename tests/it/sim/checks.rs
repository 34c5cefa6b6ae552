//! What must hold after every write and every append, and at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tidemark::domain::amount::{Bp, Points};
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::ledger::{AccountRows, Activity};
use tidemark::domain::position::{Epoch, Fence, Partition, Position};
use tidemark::domain::posting::Entry;
use tidemark::domain::time::{Millis, Month};
use tidemark::log::{Partitions, Record, Topic, posting, rejected};
use tidemark::store::checkpoints::{PostCheckpoint, RateCheckpoint, UsageRows};
use tidemark::store::control::{self, Change};
use tidemark::store::db::{Attr, Key, Table};
use tidemark::store::{checkpoints, marker, pricing, referrals, streaks, wallets};

use super::adapter::{self, InstantDb, Machinery};
use super::archive;
use super::badges;
use super::db::DbState;
use super::explain;
use super::log::{self, LogState};
use super::verify;
use super::world::{Inner, World, lock};
use crate::oracle;

/// Log time may be so far ahead of the true time: two hours, and what a worker's clock is off.
const LOG_TIME_AHEAD_MAX: i64 = 2 * 3_600_000 + 3_000;
const ACTIVITY: Activity = Activity {
    provider_uptime: Bp(9_500),
};

/// An entry that was accepted for an account.
#[derive(Clone)]
struct Posted {
    position: Position,
    entry: Entry,
    source_log_time: Millis,
}

/// What the run has shown so far.
#[derive(Clone, Default)]
pub struct Ledger {
    /// Posting partitions of each epoch.
    posting: BTreeMap<u32, u32>,
    /// The last sequence accepted, by epoch, posting and source partition.
    accepted: BTreeMap<(u32, u32, u32), u64>,
    /// A hash of each block, by epoch, posting partition, source partition and sequence.
    blocks: BTreeMap<(u32, u32, u32, u64), u64>,
    postings: BTreeMap<Account, Vec<Posted>>,
    /// The chunks of each posting partition of an epoch in the order in which they were accepted.
    order: BTreeMap<(u32, u32), Vec<(u32, u64)>>,
    fences: BTreeMap<Account, Fence>,
    cuts: Cuts,
    /// Cuts that went with the tables. What they rejected stays in the topic of rejects, also where the next cut of the same records
    /// remembers more and takes them.
    undone: Vec<(u32, RateCheckpoint)>,
    /// The head of the control feed when a record of `usage.events` was appended, by the topic's id,
    /// partition and offset.
    heads: BTreeMap<(String, u32, u64), u64>,
    /// The tables are of an earlier moment for a while, and so is the control feed.
    pub has_older_feed: bool,
    /// The halts that may happen now.
    pub may_halt: BTreeSet<&'static str>,
    /// Accounts with an item that something other than the pipeline has damaged, now or earlier.
    pub damaged: BTreeSet<String>,
    /// Log time may run ahead: a version that does not look at clocks is at work.
    pub may_run_ahead: bool,
    /// Blocks are sent to a log that nobody reads any more: rows need not hold them before the
    /// operator has brought back what was there.
    pub may_miss_blocks: bool,
}

type Shared = Arc<Mutex<Ledger>>;
/// The cuts, by source partition and chunk.
pub type Cuts = BTreeMap<(u32, u64), RateCheckpoint>;

/// Watches every write and append of a world.
pub fn watch(world: &World) -> Shared {
    let shared = Shared::default();
    let watching = shared.clone();
    world.with(|inner| {
        inner.db.hook = Some(Box::new(move |inner, keys| {
            lock(&watching).written(inner, keys)
        }));
    });
    shared
}

/// Watches the log of an epoch too.
pub fn watch_log(log: &mut LogState, epoch: u32, shared: &Shared) {
    let watching = shared.clone();
    let posting = log.partitions[&Topic::LedgerPostings];
    lock(shared).posting.insert(epoch, posting);
    log.hook = Some(Box::new(move |inner, epoch, topic, partition, records| {
        lock(&watching).appended(inner, epoch, topic, partition, records)
    }));
}

impl Ledger {
    /// Every entry that was accepted.
    fn entries(&self) -> impl Iterator<Item = (&Account, &Entry)> {
        let postings = self.postings.iter();
        postings.flat_map(|(account, posted)| entries_of(account, posted))
    }

    /// How many posting partitions there are now.
    pub fn posting_partitions(&self) -> u32 {
        self.posting.values().last().copied().unwrap_or(1)
    }

    /// The tables were exchanged: what is known of them is read again.
    pub fn read_again(&mut self, db: &DbState) -> Result<(), String> {
        self.fences.clear();
        for account in known_accounts(db) {
            if let Some((_, head)) = adapter::month_rows(db, &account)?.last_key_value() {
                self.fences.insert(account, head.fence);
            }
        }
        Ok(())
    }

    /// Up to where a source partition of an epoch was cut.
    pub fn cut_up_to(&self, partition: u32, epoch: u32) -> usize {
        let id = log::topic_id(Topic::UsageEvents, Epoch(epoch));
        let of_p = self.cuts.range((partition, 0)..=(partition, u64::MAX));
        let cuts = of_p.filter(|(_, cut)| cut.topic_id == id);
        cuts.map(|(_, cut)| cut.to.0 as usize).max().unwrap_or(0)
    }

    /// The cuts that are known, to be put back with the tables of this moment.
    pub fn cuts(&self) -> Cuts {
        self.cuts.clone()
    }

    /// Chunks that were cut by other tables went with them.
    pub fn put_back(&mut self, cuts: Cuts) {
        self.forget(|of| cuts.contains_key(of));
        self.cuts = cuts;
    }

    /// The cuts of one source partition as they were in tables that are back now.
    pub fn put_back_of(&mut self, partition: u32, cuts: &Cuts) {
        self.forget(|of| of.0 != partition || cuts.contains_key(of));
        let of_it = cuts.iter().filter(|((p, _), _)| *p == partition);
        self.cuts.extend(of_it.map(|(of, cut)| (*of, cut.clone())));
    }

    /// The cuts of a source partition went with the tables, but for those that are kept.
    pub fn forget_cuts(&mut self, partition: u32, is_kept: impl Fn(u64) -> bool) {
        self.forget(|(p, chunk)| *p != partition || is_kept(*chunk));
    }

    fn forget(&mut self, is_kept: impl Fn(&(u32, u64)) -> bool) {
        let gone = self.cuts.extract_if(.., |of, _| !is_kept(of));
        self.undone.extend(gone.map(|((p, _), cut)| (p, cut)));
    }

    /// Whether a record was rated in a cut that went with the tables.
    fn was_undone(&self, (partition, epoch, offset): (u32, u32, u64)) -> bool {
        self.undone.iter().any(|(p, cut)| {
            let range = cut.from.0..cut.to.0;
            *p == partition && cut.epoch.0 == epoch && range.contains(&offset)
        })
    }

    /// The order in which an account's posting partitions took chunks, over all epochs.
    fn order_of(&self, account: &Account) -> Vec<(u32, u64)> {
        let of_epoch = |(epoch, count): (&u32, &u32)| {
            let q = account.partition(*count).0;
            self.order.get(&(*epoch, q)).cloned().unwrap_or_default()
        };
        self.posting.iter().flat_map(of_epoch).collect()
    }

    fn appended(
        &mut self,
        inner: &Inner,
        home: Epoch,
        topic: Topic,
        q: Partition,
        records: &[Record],
    ) -> Result<(), String> {
        if topic == Topic::UsageEvents {
            let head = adapter::control_head_now(&inner.db, inner.now);
            let id = log::topic_id(topic, home);
            let places = records
                .iter()
                .map(|r| ((id.clone(), q.0, r.offset.0), head));
            self.heads.extend(places);
        }
        if topic != Topic::LedgerPostings {
            return Ok(());
        }
        for record in records {
            let block = posting::decode(&record.value).map_err(|e| e.to_string())?;
            let (epoch, p, seq) = (block.epoch, block.source.0, block.sequence.0);
            let hash = xxhash_rust::xxh3::xxh3_64(&record.value);
            if *self.blocks.entry((epoch.0, q.0, p, seq)).or_insert(hash) != hash {
                return Err(format!(
                    "I6: block {seq} from {p} to {q} was sent with other bytes before"
                ));
            }
            let last = self.accepted.entry((epoch.0, q.0, p)).or_default();
            if seq > *last + 1 {
                return Err(format!(
                    "I4: block {seq} from {p} to {q} follows block {last}"
                ));
            }
            if seq <= *last {
                continue;
            }
            *last = seq;
            self.order
                .entry((epoch.0, q.0))
                .or_default()
                .push((p, block.chunk.0));
            let position = Position {
                epoch,
                offset: record.offset,
            };
            for entry in block.entries {
                let posted = Posted {
                    position,
                    source_log_time: block.source_log_time,
                    entry: entry.clone(),
                };
                self.postings.entry(entry.account).or_default().push(posted);
            }
        }
        Ok(())
    }

    fn written(&mut self, inner: &mut Inner, keys: &[Key]) -> Result<(), String> {
        let accounts: BTreeSet<Account> = keys.iter().filter_map(adapter::account_of).collect();
        for account in accounts {
            self.account(&inner.db, &account)?;
        }
        for key in keys {
            match adapter::machinery(&inner.db, key) {
                Machinery::Rate(p, checkpoint) => {
                    self.rate_checkpoint(inner.now, p.0, checkpoint)?;
                }
                Machinery::Post(q, checkpoint) => {
                    self.post_checkpoint(&inner.db, q.0, &checkpoint)?;
                }
                Machinery::Halt(what) if self.may_halt.iter().any(|code| what.contains(code)) => {}
                Machinery::Halt(what) => return Err(format!("a healthy schedule halts: {what}")),
                Machinery::Aside(account) if self.damaged.contains(&account) => {}
                Machinery::Aside(account) => {
                    return Err(format!("a healthy schedule sets {account} aside"));
                }
                Machinery::Other => {}
            }
        }
        Ok(())
    }

    /// I1 and I3.
    fn account(&mut self, db: &DbState, account: &Account) -> Result<(), String> {
        let stored = match adapter::month_rows(db, account) {
            Err(_) if self.damaged.contains(&account.to_string()) => {
                // Its head may be written on, with the damaged row in memory as it was.
                if let Some(fence) = adapter::head_fence(db, account) {
                    self.fences.insert(account.clone(), fence);
                }
                return Ok(());
            }
            stored => stored?,
        };
        let Some((_, head)) = stored.last_key_value() else {
            return Ok(());
        };
        let fence = head.fence;
        let before = self.fences.insert(account.clone(), fence);
        if before.is_some_and(|before| fence.position < before.position) {
            return Err(format!(
                "I3: the fence of {account} moved back from {before:?} to {fence}"
            ));
        }
        let mut must = AccountRows::default();
        let none = Vec::new();
        for posted in self.postings.get(account).unwrap_or(&none) {
            if Some(posted.position) <= fence.position {
                must.apply(
                    account.kind,
                    &posted.entry,
                    posted.source_log_time,
                    ACTIVITY,
                );
            }
        }
        for award in adapter::awards_of(db, account) {
            if award.applied {
                must.award(
                    account.kind,
                    award.month,
                    Points(award.micropoints),
                    ACTIVITY,
                );
            }
        }
        let is = AccountRows {
            lifetime: head.lifetime,
            months: stored
                .iter()
                .map(|(month, row)| (*month, row.row.clone()))
                .collect(),
        };
        if is == must || self.may_miss_blocks {
            return Ok(());
        }
        Err(format!(
            "I1: the rows of {account} at {fence} are not the fold of its postings and awards\n  is   {is:?}\n  must {must:?}"
        ))
    }

    /// I5 for raters: whatever a cut says was sent has been taken by the log.
    fn rate_checkpoint(
        &mut self,
        now: i64,
        p: u32,
        checkpoint: RateCheckpoint,
    ) -> Result<(), String> {
        let epoch = checkpoint.epoch.0;
        if checkpoint.log_time.0 > now + LOG_TIME_AHEAD_MAX && !self.may_run_ahead {
            return Err(format!(
                "log time of rate/{p} is {}, the time is {now}",
                checkpoint.log_time
            ));
        }
        let records = checkpoint.from.0..checkpoint.to.0;
        let place = |offset| (checkpoint.topic_id.clone(), p, offset);
        let seen = records.filter_map(|offset| self.heads.get(&place(offset)));
        if let Some(head) = seen.max()
            && *head > checkpoint.control.0
            && !self.has_older_feed
        {
            return Err(format!(
                "chunk {} of {p} is rated as of {}, but {head} was there before its last record",
                checkpoint.chunk, checkpoint.control
            ));
        }
        for (q, sent) in (0..).zip(&checkpoint.sequences) {
            let landed = self.accepted.get(&(epoch, q, p)).copied().unwrap_or(0);
            if landed < sent.0 {
                return Err(format!(
                    "I5: rate/{p} says that block {sent} to {q} is durable; {landed} is the last"
                ));
            }
        }
        if checkpoint.is_cut() {
            self.cuts.insert((p, checkpoint.chunk.0), checkpoint);
        }
        Ok(())
    }

    /// An operator has replaced an account's rows.
    pub fn restored(&mut self, account: &Account, fence: Fence) {
        self.fences.insert(account.clone(), fence);
    }

    /// I5 for posters: every posting before the checkpoint is in the rows, or the record of an
    /// account that is set aside says that it may not be.
    fn post_checkpoint(
        &mut self,
        db: &DbState,
        q: u32,
        checkpoint: &PostCheckpoint,
    ) -> Result<(), String> {
        let aside = adapter::set_aside(db);
        let end = Position {
            epoch: checkpoint.epoch,
            offset: checkpoint.next,
        };
        for (account, postings) in &self.postings {
            if account.partition(checkpoint.partitions).0 != q {
                continue;
            }
            // An operator has restored older rows; the record knows which ones are needed.
            let fence = self.fences.get(account).copied();
            let record = aside.get(account);
            if record.is_some_and(|record| !record.stood.is_covered_by(fence)) {
                continue;
            }
            let covered = postings
                .iter()
                .map(|posted| posted.position)
                .filter(|at| *at < end)
                .filter(|at| {
                    aside
                        .get(account)
                        .is_none_or(|record| *at < record.since.position())
                })
                .max();
            let counted = self.fences.get(account).and_then(|fence| fence.position);
            if covered > counted && !self.may_miss_blocks {
                return Err(format!(
                    "I5: the checkpoint of post/{q} covers {end}, the rows of {account} only {counted:?} of {covered:?}"
                ));
            }
        }
        Ok(())
    }

    /// The cut in which a record was rated.
    fn cut_of(&self, topic_id: &str, partition: u32, record: &Record) -> Option<&RateCheckpoint> {
        let of_p = self.cuts.range((partition, 0)..=(partition, u64::MAX));
        let mut cuts = of_p.map(|(_, cut)| cut);
        let offset = record.offset;
        cuts.find(|cut| cut.topic_id == topic_id && cut.from <= offset && offset < cut.to)
    }

    fn oracle_cuts(&self) -> Vec<oracle::Cut> {
        let mut in_force = BTreeMap::new();
        let mut cuts = Vec::with_capacity(self.cuts.len());
        for ((partition, chunk), cut) in &self.cuts {
            let of = (*partition, cut.epoch.0);
            let is_new = in_force.insert(of, cut.clock) != Some(cut.clock);
            cuts.push(oracle::Cut {
                partition: *partition,
                partitions: cut.partitions,
                chunk: *chunk,
                epoch: cut.epoch.0,
                from: cut.from.0,
                to: cut.to.0,
                control: cut.control.0,
                window_from: cut.window.first.0,
                forgotten: cut.window.forgotten.map(|at| at.0),
                usage_rows: cut.window.usage_rows != UsageRows::Off,
                corrected_at: cut.clock.filter(|_| is_new).map(|clock| clock.at.0),
            });
        }
        cuts
    }
}

/// What the harness asked for and saw succeed.
#[derive(Default)]
pub struct Admin {
    /// Adjustments by account and key, with micropoints.
    pub adjustments: BTreeMap<(Account, String), i64>,
    /// Referees whose signup was accepted.
    pub signups: BTreeSet<Account>,
    /// Badges that were taken back.
    pub revoked: BTreeSet<(Account, String)>,
}

fn account(account: &Account) -> oracle::Account {
    (account.kind.to_string(), account.id().to_owned())
}

/// The oracle's input.
pub fn oracle_input(inner: &Inner, ledger: &Ledger, db: &InstantDb, source: u32) -> oracle::Input {
    let mut input = oracle::Input {
        partitions: source,
        cuts: ledger.oracle_cuts(),
        ..oracle::Input::default()
    };
    for (epoch, log) in &inner.logs {
        for ((topic, partition), records) in &log.records {
            if *topic != Topic::UsageEvents {
                continue;
            }
            let id = log::topic_id(*topic, Epoch(*epoch));
            input.records.extend(records.iter().map(|record| {
                let cut = ledger.cut_of(&id, *partition, record);
                let correction = cut.and_then(|cut| cut.clock);
                let append_time = correction.map(|correction| correction.append_time(record));
                oracle::SourceRecord {
                    partition: *partition,
                    epoch: cut.map_or(*epoch, |cut| cut.epoch.0),
                    offset: record.offset.0,
                    append_ms: append_time.unwrap_or(record.append_time).0,
                    headers: record
                        .headers
                        .iter()
                        .map(|(n, v)| (n.clone(), v.to_vec()))
                        .collect(),
                    value: record.value.to_vec(),
                }
            }));
        }
    }
    let head = adapter::control_head(db);
    let entries = InstantDb::answer(control::entries(db, Default::default(), head));
    for entry in entries.expect("a readable feed") {
        match entry.change {
            Change::Rules(changes) => {
                input
                    .versions
                    .extend(changes.into_iter().map(|change| oracle::Version {
                        number: entry.number.0,
                        key: change.key,
                        value: change.value,
                        from: change.effective_from.map(|at| at.0),
                    }))
            }
            Change::Wallet { .. } => {}
            Change::Link { referee, chain } => {
                let link = InstantDb::answer(referrals::link_of(db, &referee));
                let link = link
                    .expect("a readable link")
                    .expect("the feed has a link that the table has not");
                input.links.push(oracle::Link {
                    number: entry.number.0,
                    referee: account(&referee),
                    chain: chain.iter().map(account).collect(),
                    at: link.linked_at.0,
                    awards: link.milestone != referrals::Milestone::Elsewhere,
                });
            }
        }
    }
    for of in known_accounts(&inner.db) {
        for award in adapter::awards_of(&inner.db, &of) {
            if award.kind != "milestone" {
                input.grants.push(oracle::Grant {
                    account: account(&of),
                    at: award.granted_at,
                    points: award.micropoints.into(),
                });
            }
        }
        input.order.insert(account(&of), ledger.order_of(&of));
    }
    input
}

/// Every account that has rows, awards or postings.
fn known_accounts(db: &DbState) -> BTreeSet<Account> {
    let of_award = |key: &Key| {
        let (kind, id) = key.hash.strip_prefix("awards#")?.split_once(':')?;
        Account::new(kind.parse().ok()?, id).ok()
    };
    db.items
        .keys()
        .filter_map(|key| adapter::account_of(key).or_else(|| of_award(key)))
        .collect()
}

/// I2 and everything that is compared at the end. What is drawn at random is drawn from `seed`.
pub fn at_the_end(
    inner: &Inner,
    ledger: &Ledger,
    admin: &Admin,
    source: u32,
    k: usize,
    seed: u64,
) -> Result<(), String> {
    let db = Arc::new(InstantDb(inner.db.items.clone()));
    let input = oracle_input(inner, ledger, &db, source);
    every_record_is_cut(inner, ledger)?;
    let must = oracle::run(&input);
    statements(inner, &db, &must)?;
    rejects(inner, ledger, &must)?;
    usage_rows(inner.now, &db, &input, &must)?;
    awards(inner, admin, &must)?;
    wallets_are_those_of_the_feed(inner, &db)?;
    snapshots(inner, &db, &must)?;
    leaderboards(&db, ledger.posting_partitions(), &must, k)?;
    badges::check(&inner.db, &input, &must, &admin.revoked, k)?;
    if let Some(files) = &inner.archive {
        archive::check(files, ledger.entries())?;
        let partitions = Partitions {
            source,
            posting: ledger.posting_partitions(),
            rejected: 1,
        };
        verify::check(&db, &archive::store(files), partitions)?;
    }
    if input.cuts.iter().all(|cut| cut.usage_rows) {
        explain::some(&db, inner.now, &must, seed)?;
    }
    if InstantDb::answer(checkpoints::halts(&*db))
        .expect("readable halts")
        .is_empty()
    {
        Ok(())
    } else {
        Err("a partition stands still".to_owned())
    }
}

fn entries_of<'a>(
    account: &'a Account,
    posted: &'a [Posted],
) -> impl Iterator<Item = (&'a Account, &'a Entry)> {
    posted.iter().map(move |posted| (account, &posted.entry))
}

fn every_record_is_cut(inner: &Inner, ledger: &Ledger) -> Result<(), String> {
    for (epoch, log) in &inner.logs {
        if log.homes.contains_key(&Topic::UsageEvents) {
            continue;
        }
        let id = log::topic_id(Topic::UsageEvents, Epoch(*epoch));
        for p in 0..log.partitions[&Topic::UsageEvents] {
            let mut next = 0;
            // By key: two partitions may have equal cuts, when a tick ends both at the same moment.
            let of_p = ledger.cuts.range((p, 0)..=(p, u64::MAX));
            for (_, cut) in of_p.filter(|(_, cut)| cut.topic_id == id) {
                if cut.from.0 != next {
                    return Err(format!(
                        "chunk {} of {p} begins at {}, not at {next}",
                        cut.chunk, cut.from
                    ));
                }
                next = cut.to.0;
            }
            let end = log.of(Topic::UsageEvents, Partition(p)).len() as u64;
            if next != end {
                return Err(format!(
                    "the cuts of {p} in epoch {epoch} end at {next}, not at {end}"
                ));
            }
        }
    }
    Ok(())
}

/// Statements by account and month, as the command line prints them.
pub type Statements = BTreeMap<(oracle::Account, String), serde_json::Value>;

/// The statements of every account that has rows.
pub fn stored_statements(inner: &Inner, db: &InstantDb) -> Result<Statements, String> {
    let mut book = InstantDb::answer(pricing::load_rules(db, adapter::control_head(db)))
        .map_err(|e| e.to_string())?;
    let timeline = book
        .as_of(adapter::control_head(db))
        .ok_or("there are no rules")?;
    let mut statements = Statements::new();
    for of in known_accounts(&inner.db) {
        for (month, row) in adapter::month_rows(&inner.db, &of)? {
            let statement = tidemark::domain::statement::statement(&of, &row.row, &timeline, false);
            let json = serde_json::to_value(&statement).map_err(|e| e.to_string())?;
            statements.insert((account(&of), month.to_string()), json);
        }
    }
    Ok(statements)
}

fn statements(inner: &Inner, db: &InstantDb, must: &oracle::Output) -> Result<(), String> {
    let is = stored_statements(inner, db)?;
    let mut levels = BTreeMap::new();
    for of in known_accounts(&inner.db) {
        for (month, row) in adapter::month_rows(&inner.db, &of)? {
            let cascade = row.row.cascade.0.map(|points| i128::from(points.0));
            levels.insert((account(&of), month.to_string()), cascade);
        }
    }
    let mut levels_must = must.levels.clone();
    levels.retain(|_, cascade| *cascade != [0; 3]);
    levels_must.retain(|_, cascade| *cascade != [0; 3]);
    if levels != levels_must {
        return Err(format!(
            "I2: points from referrals by level are\n  {levels:?}\nmust be\n  {levels_must:?}"
        ));
    }
    oracle::same_statements(&is, &must.statements).map_err(|e| format!("I2: {e}"))
}

fn rejects(inner: &Inner, ledger: &Ledger, must: &oracle::Output) -> Result<(), String> {
    let mut is = BTreeMap::new();
    for log in inner.logs.values() {
        for ((topic, _), records) in &log.records {
            if *topic != Topic::UsageRejected {
                continue;
            }
            for record in records {
                let reject = rejected::decode(record).map_err(|e| e.to_string())?;
                let at = reject.position;
                let place = (reject.partition.0, at.epoch.0, at.offset.0);
                let reason = reject.reason.as_str();
                if must.rejects.get(&place) != Some(&reason) && ledger.was_undone(place) {
                    continue;
                }
                if *is.entry(place).or_insert(reason) != reason {
                    return Err(format!("{place:?} was rejected for two reasons"));
                }
            }
        }
    }
    same("rejects", &is, &must.rejects)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, must: &T) -> Result<(), String> {
    if is == must {
        Ok(())
    } else {
        Err(format!("{what} differ\n  is   {is:?}\n  must {must:?}"))
    }
}

fn usage_rows(
    now: i64,
    db: &InstantDb,
    input: &oracle::Input,
    must: &oracle::Output,
) -> Result<(), String> {
    if input.cuts.iter().any(|cut| !cut.usage_rows) {
        return Ok(());
    }
    let mut is = BTreeSet::new();
    for (key, item) in &db.0 {
        let is_marker = marker::is_marker(key.table, item);
        if key.table != Table::UsageTracking || is_marker || adapter::has_expired(item, now) {
            continue;
        }
        let position: Position = match item.get("position") {
            Some(Attr::S(text)) => text.parse().map_err(|_| "a bad position")?,
            other => return Err(format!("a usage row has the position {other:?}")),
        };
        let partition = match item.get("partition") {
            Some(Attr::N(n)) => *n as u32,
            other => return Err(format!("a usage row has the partition {other:?}")),
        };
        is.insert((partition, position.epoch.0, position.offset.0));
    }
    let lives = |event: &&oracle::Accepted| adapter::usage_row_lives(event.time, now);
    let accepted = must.accepted.iter().filter(lives);
    let accepted = accepted.map(|event| event.place);
    let amendments = must.reversals.iter().chain(&must.completions);
    let amendments = amendments.filter(|(_, time)| adapter::usage_row_lives(*time, now));
    let accepted = accepted.chain(amendments.map(|(place, _)| *place));
    let accepted = accepted.collect();
    same("usage rows", &is, &accepted)
}

fn awards(inner: &Inner, admin: &Admin, must: &oracle::Output) -> Result<(), String> {
    let mut milestones = Vec::new();
    let mut adjustments = BTreeMap::new();
    let mut signups = BTreeSet::new();
    for of in known_accounts(&inner.db) {
        for award in adapter::awards_of(&inner.db, &of) {
            if !award.applied {
                return Err(format!("award {} of {of} was never applied", award.id));
            }
            let (_, id) = award.id.split_once('#').ok_or("an award without a kind")?;
            match award.kind.as_str() {
                "milestone" => {
                    let points = i128::from(award.micropoints);
                    milestones.push((id.to_owned(), account(&of), award.month.to_string(), points));
                }
                "adjustment" => {
                    adjustments.insert((of.clone(), id.to_owned()), award.micropoints);
                }
                _ => {
                    signups.insert(id.to_owned());
                }
            }
        }
    }
    let mut wanted: Vec<_> = must
        .milestones
        .iter()
        .map(|(referee, referrer, month, points)| {
            (
                format!("{}:{}", referee.0, referee.1),
                referrer.clone(),
                month.clone(),
                *points,
            )
        })
        .collect();
    milestones.sort();
    wanted.sort();
    same("milestones", &milestones, &wanted)?;
    same("adjustments", &adjustments, &admin.adjustments)?;
    same(
        "signups",
        &signups,
        &admin.signups.iter().map(Account::to_string).collect(),
    )
}

/// Each account's wallet is the one that the control feed says last.
fn wallets_are_those_of_the_feed(inner: &Inner, db: &InstantDb) -> Result<(), String> {
    let head = adapter::control_head(db);
    let of_feed = InstantDb::answer(wallets::as_of(db, head)).map_err(|e| e.to_string())?;
    let of_row = |key: &Key| {
        let (kind, id) = key.hash.strip_prefix("wallet#")?.split_once(':')?;
        let account = Account::new(kind.parse().ok()?, id).ok()?;
        let wallet = InstantDb::answer(wallets::wallet_of(db, &account));
        let address = wallet.expect("a readable wallet")?.address?;
        Some((account, address))
    };
    let rows = inner.db.items.keys().filter_map(of_row).collect();
    same("wallets", &rows, &of_feed)
}

fn snapshots(inner: &Inner, db: &InstantDb, must: &oracle::Output) -> Result<(), String> {
    let mut is = BTreeMap::new();
    for of in known_accounts(&inner.db) {
        let found = InstantDb::answer(streaks::get(db, &of)).map_err(|e| e.to_string())?;
        let Some(found) = found.filter(|streak| streak.last_active.is_some()) else {
            continue;
        };
        let day = |day: Option<tidemark::domain::time::Day>| {
            day.map(|d| d.to_string()).unwrap_or_default()
        };
        let streak = oracle::Streak {
            current: found.current.into(),
            longest: found.longest.into(),
            start: day(found.start),
            last_active: day(found.last_active),
        };
        is.insert(account(&of), streak);
    }
    same("streaks", &is, &must.streaks)
}

fn leaderboards(
    db: &InstantDb,
    posting: u32,
    must: &oracle::Output,
    k: usize,
) -> Result<(), String> {
    let months: BTreeSet<&String> = must.statements.keys().map(|(_, month)| month).collect();
    for month in months {
        for kind in AccountKind::ALL {
            let parsed: Month = month.parse().map_err(|_| "a bad month")?;
            let mut merged = adapter::leaderboard(db, posting, kind, parsed);
            merged.truncate(k);
            same(
                &format!("leaderboards of {kind}s in {month}"),
                &merged,
                &must.leaderboard(kind.as_str(), month, k),
            )?;
        }
    }
    Ok(())
}
