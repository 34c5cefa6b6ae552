//! Everything that the process has counted, and what it must be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::sync::Arc;

use serde_json::{Value, json};
use tidemark::app::queries::Queries;
use tidemark::domain::amount::{Money, Points};
use tidemark::domain::ids::{self, AccountKind};
use tidemark::domain::position::{Control, Partition, Position};
use tidemark::domain::time::Day;
use tidemark::http::RecordLine;
use tidemark::log::{Log, MUST_BE_THERE, Partitions, ReadLimit, Record, Topic};
use tidemark::ops::clock::{Clock as _, SystemClock};
use tidemark::store::control::{self, Change};
use tidemark::store::db::{Attr, Db, Item, Table};
use tidemark::store::dynamo::{DynamoDb, DynamoSettings};
use tidemark::store::embedded::EmbeddedClient;
use tidemark::store::marker::is_marker;
use tidemark::store::meter::StoreMeter;
use tidemark::store::streaks;

use super::load::SECOND_THOUGHTS;
use super::site::{Cluster, Site};
use crate::oracle::{self, Account, Place, SourceRecord, Streak};

/// Partitions of `usage.events`, as shipped.
const PARTITIONS: u32 = 4;
/// So many requests of each sort are explained.
const EXPLAINED: usize = 4;
/// How many ranks a leaderboard has, as shipped.
const RANKS: usize = 100;
/// How many users' credits and usage are asked for, each by a command.
const ASKED: usize = 8;
/// Micropoints of a signup, as the rules say.
const SIGNUP: i128 = 100_000_000;

/// What was there before the first event. By default nothing but rules.
#[derive(Default)]
pub struct Founded {
    links: Vec<oracle::Link>,
    grants: Vec<oracle::Grant>,
    /// In nano-dollars.
    credits: BTreeMap<String, i128>,
}

fn account(kind: &str, number: u32) -> Account {
    let prefix = if kind == "user" { "user" } else { "prov" };
    (kind.to_owned(), format!("{prefix}-{number}"))
}

/// Prices, links (chains of three levels and one more), credits and a correction.
pub fn found(site: &Site) -> Founded {
    site.run(&["init"]);
    site.run(&["pricing", "init", "mainnet"]);
    let pairs = |kind, pairs: &[(u32, u32)]| -> Vec<(Account, Account)> {
        let both = pairs.iter();
        both.map(|(of, by)| (account(kind, *of), account(kind, *by)))
            .collect()
    };
    let users = [(2, 1), (3, 2), (4, 3), (5, 4), (1, 9), (7, 1), (60, 7)];
    let mut all = pairs("user", &users);
    all.extend(pairs("provider", &[(2, 1), (3, 2), (4, 3), (5, 4), (9, 1)]));
    let lines: Vec<String> = all
        .iter()
        .map(|(referee, referrer)| json!({"referee": referee, "referrer": referrer}).to_string())
        .collect();
    let file = site.file("links.jsonl");
    fs::write(&file, lines.join("\n")).expect("a file");
    let file = file.to_str().expect("UTF-8").to_owned();
    site.run(&["referral", "import", &file]);
    // Once more, as after an interruption: nothing changes.
    site.run(&["referral", "import", &file]);
    for user in ["user-1", "user-2"] {
        for _ in 0..2 {
            site.run(&["credits", "add", user, "12.5", "--key", "invoice-1"]);
        }
    }
    let correction = ["award", "adjust", "user", "user-3", "-12.5"];
    site.run(
        &[
            &correction[..],
            &["--reason", "a test", "--key", "ticket-1"],
        ]
        .concat(),
    );
    Founded::of(&all)
}

impl Founded {
    fn of(all: &[(Account, Account)]) -> Founded {
        let now = jiff::Timestamp::now().as_millisecond();
        let referrer: BTreeMap<&Account, &Account> = all.iter().map(|(a, b)| (a, b)).collect();
        // A link's chain is what it was when the link was made: in file order.
        let mut known: BTreeMap<&Account, Vec<Account>> = BTreeMap::new();
        for (referee, by) in all {
            let above = known.get(by).cloned().unwrap_or_default();
            let chain = std::iter::once(referrer[referee].clone()).chain(above);
            known.insert(referee, chain.take(3).collect());
        }
        let links = all
            .iter()
            .enumerate()
            .map(|(i, (referee, _))| oracle::Link {
                number: i as u64 + 2,
                referee: referee.clone(),
                chain: known[referee].clone(),
                at: now,
                awards: true,
            });
        let grant = |account: Account, points| oracle::Grant {
            account,
            at: now,
            points,
        };
        let mut grants: Vec<oracle::Grant> = all
            .iter()
            .map(|(_, by)| grant(by.clone(), SIGNUP))
            .collect();
        grants.push(grant(account("user", 3), -12_500_000));
        let credits = ["user-1", "user-2"].map(|user| (user.to_owned(), 12_500_000_000));
        Founded {
            links: links.collect(),
            grants,
            credits: credits.into(),
        }
    }
}

/// What the commands print, byte by byte.
type Pages = BTreeMap<String, String>;

/// Everything that was counted.
pub struct Books {
    pub records: Vec<SourceRecord>,
    pages: Pages,
    rejects: BTreeMap<Place, String>,
    rows: BTreeSet<Place>,
    streaks: BTreeMap<Account, Streak>,
    versions: Vec<oracle::Version>,
    has_usage_rows: bool,
}

/// The months that events of the load may touch.
fn months() -> Vec<String> {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    (0..3)
        .map(|back| {
            let first = now.date().first_of_month();
            let month = first.checked_sub(jiff::Span::new().months(back));
            month.expect("a month").strftime("%Y-%m").to_string()
        })
        .collect()
}

/// The pages of statements and leaderboards. The order of a table's rows says nothing.
fn pages(site: &Site) -> Pages {
    let mut pages = Pages::new();
    for month in months() {
        let of = ["--month", &month, "--json"];
        let statements = site.run(&[&["statement", "--all"], &of[..]].concat());
        let mut lines: Vec<&str> = statements.lines().collect();
        lines.sort_unstable();
        pages.insert(format!("statements {month}"), lines.join("\n"));
        let export = [
            "export",
            "--month",
            &month,
            "--format",
            "csv",
            "--exact-text",
        ];
        pages.insert(format!("export {month}"), site.run(&export));
        for kind in ["users", "providers"] {
            let ranks = RANKS.to_string();
            let ask = [&["leaderboard", kind, "--top", &ranks], &of[..]].concat();
            pages.insert(format!("leaderboard {kind} {month}"), site.run(&ask));
        }
    }
    pages
}

impl Books {
    pub fn read(site: &Site) -> Books {
        Books::of(site, records_of_epoch(site, 0))
    }

    /// For a log that has had several epochs: with the records of all of them.
    pub fn of(site: &Site, records: Vec<SourceRecord>) -> Books {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let db = store(site);
        let pages = pages(site);
        let accounts = accounts(&pages);
        let (rows, streaks) =
            runtime.block_on(async { (rows(&db).await, snapshots(&db, accounts).await) });
        let versions = runtime.block_on(versions(&db));
        Books {
            records,
            pages,
            rejects: rejects(site),
            rows,
            streaks,
            versions,
            has_usage_rows: site.setting("TIDEMARK_PIPELINE_USAGE_ROWS") != Some("false"),
        }
        .with_single_accounts(site)
    }

    /// Credits and usage of some users, as their commands print them.
    fn with_single_accounts(mut self, site: &Site) -> Books {
        let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
        let known = accounts(&self.pages);
        let users = known.into_iter().filter(|(kind, _)| kind == "user");
        let mut users: Vec<String> = users.map(|(_, id)| id).collect();
        // The first are those that have credits.
        users.sort_by_key(|id| (id.len(), id.clone()));
        for user in users.into_iter().take(ASKED) {
            let credits = site.run(&["credits", "show", &user, "--json"]);
            self.pages.insert(format!("credits {user}"), credits);
            if !self.has_usage_rows {
                continue;
            }
            let usage = site.run(&["usage", &user, "--day", &today, "--json"]);
            self.pages.insert(format!("usage {user} {today}"), usage);
        }
        self
    }

    /// I2, and everything that follows from it; what the oracle says.
    pub fn equal_the_oracle(&self, founded: &Founded) -> oracle::Output {
        let must = self.compare(founded);
        assert!(must.milestones.len() >= 5, "the load has milestones");
        assert!(!must.duplicates.is_empty() && !must.forwarded.is_empty());
        assert!(must.accepted.len() > 3_000 && must.rejects.len() > 20);
        let statements = must.statements.len();
        assert!(statements > 200, "{statements} statements");
        must
    }

    /// The same for a part of the load, however small.
    pub fn equal_the_oracle_of_a_part(&self, founded: &Founded) {
        let must = self.compare(founded);
        assert!(!must.statements.is_empty());
    }

    fn compare(&self, founded: &Founded) -> oracle::Output {
        let must = oracle::run(&oracle::Input {
            partitions: PARTITIONS,
            records: self.records.clone(),
            versions: self.versions.clone(),
            links: founded.links.clone(),
            grants: founded.grants.clone(),
            ..oracle::Input::default()
        });
        self.statements(&must);
        self.exports(&must);
        self.leaderboards(&must);
        let rejects = must.rejects.iter();
        let rejects: BTreeMap<Place, String> =
            rejects.map(|(at, why)| (*at, (*why).to_owned())).collect();
        same("rejects", &self.rejects, &rejects);
        let accepted = must.accepted.iter().map(|event| event.place);
        let amendments = must.reversals.iter().chain(&must.completions);
        let accepted: BTreeSet<Place> = accepted
            .chain(amendments.map(|(place, _)| *place))
            .collect();
        let differ: Vec<&Place> = self.rows.symmetric_difference(&accepted).collect();
        assert!(
            differ.is_empty() || !self.has_usage_rows,
            "usage rows: {differ:?}"
        );
        same("streaks", &self.streaks, &must.streaks);
        self.credits(&must, founded);
        self.usage(&must);
        must
    }

    fn page(&self, name: &str) -> &str {
        &self.pages[name]
    }

    fn statements(&self, must: &oracle::Output) {
        let mut is = BTreeMap::new();
        for month in months() {
            for line in self.page(&format!("statements {month}")).lines() {
                let statement: Value = serde_json::from_str(line).expect("JSON");
                let text = |name: &str| statement[name].as_str().expect("a text").to_owned();
                let key = ((text("kind"), text("id")), text("month"));
                assert!(is.insert(key, statement).is_none(), "{line} stands twice");
            }
        }
        oracle::same_statements(&is, &must.statements).unwrap_or_else(|why| panic!("{why}"));
    }

    /// Exports have every statement of the oracle, to the micropoint and nano-dollar, and their sums.
    fn exports(&self, must: &oracle::Output) {
        let mut rows = BTreeMap::new();
        for month in months() {
            let file = self.page(&format!("export {month}"));
            let mut reader = csv::ReaderBuilder::new();
            let mut reader = reader.comment(Some(b'#')).from_reader(file.as_bytes());
            let mut cost = 0;
            for row in reader.deserialize() {
                let row: BTreeMap<String, String> = row.expect("a row");
                cost += row["cost_usd"].parse::<Money>().map_or(0, |cost| cost.0);
                let key = ((row["kind"].clone(), row["id"].clone()), month.clone());
                assert!(rows.insert(key, row).is_none(), "an account stands twice");
            }
            let end = file.lines().last().expect("a last line");
            let sum = format!(" cost_usd={} ", Money(cost));
            assert!(
                end.starts_with("# end rows=") && end.contains(&sum),
                "{end}"
            );
        }
        let unknown = rows.keys().find(|key| !must.statements.contains_key(key));
        assert_eq!(unknown, None, "a row that the oracle does not know");
        for (key, statement) in &must.statements {
            for (column, field) in [
                ("usage_points", "usage"),
                ("base_points", "base"),
                ("multiplier_points", "multiplier"),
                ("trial_points", "trial"),
                ("streak_points", "streak"),
                ("referral_points", "referral"),
                ("bonus_points", "bonus"),
                ("late_points", "late"),
                ("total_points", "total"),
                ("cost_usd", "cost"),
                ("shadow_cost_usd", "shadowCost"),
                ("requests", "requests"),
                ("failed", "failed"),
            ] {
                let field = match &statement[field] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                // A statement of nothing but zeros may have no row.
                let row = rows.get(key).map_or("0", |row| row[column].as_str());
                assert_eq!(row, field, "{column} of {key:?}");
            }
        }
    }

    fn leaderboards(&self, must: &oracle::Output) {
        for month in months() {
            for (plural, kind) in [("users", "user"), ("providers", "provider")] {
                let name = format!("leaderboard {plural} {month}");
                let rank = |line: &str| {
                    let line: Value = serde_json::from_str(line).expect("JSON");
                    let total: Points = line["total"].as_str().expect("a total").parse().unwrap();
                    let id = line["id"].as_str().expect("an id").to_owned();
                    (id, i128::from(total.0))
                };
                let is: Vec<(String, i128)> = self.page(&name).lines().map(rank).collect();
                assert_eq!(is, must.leaderboard(kind, &month, RANKS), "{name}");
            }
        }
    }

    fn credits(&self, must: &oracle::Output, founded: &Founded) {
        let pages = self.pages.iter();
        let pages = pages.filter_map(|(name, page)| Some((name.strip_prefix("credits ")?, page)));
        for (user, page) in pages {
            let page: Value = serde_json::from_str(page).expect("JSON");
            let money = |name: &str| -> i128 {
                let money: Money = page[name].as_str().expect("an amount").parse().unwrap();
                money.0
            };
            let spent = must.spent.get(user).copied().unwrap_or(0);
            let added = founded.credits.get(user).copied().unwrap_or(0);
            assert_eq!(money("spent"), spent, "{user}");
            assert_eq!(money("balance"), added - spent, "{user}");
        }
    }

    fn usage(&self, must: &oracle::Output) {
        for (name, page) in self
            .pages
            .iter()
            .filter(|(name, _)| name.starts_with("usage "))
        {
            let mut words = name.split(' ').skip(1);
            let (user, day) = (words.next().unwrap(), words.next().unwrap());
            let is_of = |event: &&oracle::Accepted| {
                let at = jiff::Timestamp::from_millisecond(event.time).expect("a time");
                event.user == user && at.strftime("%Y-%m-%d").to_string() == day
            };
            let accepted = must.accepted.iter().filter(is_of).count();
            assert_eq!(page.lines().count(), accepted, "{name}");
        }
    }

    /// The same pages as before, to the byte.
    pub fn are_the_same(&self, site: &Site) {
        for (name, page) in pages(site) {
            assert_eq!(self.page(&name), page, "{name} has changed");
        }
    }

    /// How many events have a usage row or are rejected. The log may hold other records, such as those
    /// that tell the time of an idle partition.
    pub fn events(&self) -> usize {
        self.rows.len() + self.rejects.len()
    }

    pub fn summary(&self) -> String {
        let statements = self
            .pages
            .iter()
            .filter(|(n, _)| n.starts_with("statements"));
        let statements: usize = statements.map(|(_, page)| page.lines().count()).sum();
        format!(
            "{} records, {} usage rows, {} rejected; {statements} statements, {} streaks equal the oracle's",
            self.records.len(),
            self.rows.len(),
            self.rejects.len(),
            self.streaks.len()
        )
    }
}

/// Of [`super::load::Load::second_thoughts`]: some were taken back, some completed, and a few of each are explained as the oracle does.
pub fn second_thoughts_count(site: &Site, must: &oracle::Output) {
    let (reversals, completions) = (must.reversals.len(), must.completions.len());
    assert!(
        reversals >= 20 && completions >= 10,
        "{reversals} reversals, {completions} completions"
    );
    let all = must.explained.iter();
    let (taken, kept): (Vec<_>, Vec<_>) = all
        .filter(|of| !of.shares.is_empty())
        .partition(|of| of.reversal.is_some());
    let (completed, others): (Vec<_>, Vec<_>) = kept
        .into_iter()
        .partition(|of| of.source == SECOND_THOUGHTS);
    for some in [taken, completed, others] {
        assert!(some.len() >= EXPLAINED, "{}", some.len());
        let spread = some.len() / EXPLAINED;
        let some: Vec<_> = some.into_iter().step_by(spread).take(EXPLAINED).collect();
        are_explained(site, &some);
    }
}

/// `tidemark explain` says of these what the oracle says, beneficiary by beneficiary.
fn are_explained(site: &Site, all: &[&oracle::Explained]) {
    for must in all {
        let time = jiff::Timestamp::from_millisecond(must.time).expect("a time");
        let (source, id, time) = (&*must.source, &*must.id, time.to_string());
        let which = ["--source", source, "--id", id, "--time", &time, "--json"];
        let said = site.run(&[&["explain", &must.user], &which[..]].concat());
        let said: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(said["code"], Value::Null, "{said}");
        let mut shares = BTreeMap::new();
        for of in said["beneficiaries"].as_array().expect("a list") {
            let text = |name: &str| of[name].as_str().map(str::to_owned);
            let account = (text("kind").expect("a kind"), text("id").expect("an id"));
            let level = of["level"].as_u64().unwrap_or(0);
            let level = usize::try_from(level).expect("a small number");
            let whose = text("of").or_else(|| text("role")).expect("a role");
            let points: Points = text("points").expect("points").parse().expect("an amount");
            shares.insert((account, level, whose), i128::from(points.0));
        }
        assert_eq!(shares, must.shares, "{said}");
        let cost = |name: &str| {
            let text = said["cost"][name].as_str().unwrap_or("0");
            text.parse::<Money>().expect("an amount").0
        };
        assert_eq!(
            (cost("cost"), cost("shadowCost")),
            (must.cost, must.shadow),
            "{said}"
        );
        let by = must.reversal.as_ref().map(|(_, id, _)| id.as_str());
        assert_eq!(said["reversal"]["id"].as_str(), by, "{said}");
    }
}

/// Names what differs only: the whole is thousands of lines.
fn same<K, V>(what: &str, is: &BTreeMap<K, V>, must: &BTreeMap<K, V>)
where
    K: Ord + Debug,
    V: PartialEq + Debug,
{
    let keys: BTreeSet<&K> = is.keys().chain(must.keys()).collect();
    let differ: Vec<String> = keys
        .into_iter()
        .filter(|key| is.get(key) != must.get(key))
        .map(|key| format!("{key:?}: is {:?}, must be {:?}", is.get(key), must.get(key)))
        .collect();
    assert!(differ.is_empty(), "{what}:\n{}", differ.join("\n"));
}

/// Every account that has a statement.
fn accounts(pages: &Pages) -> BTreeSet<Account> {
    let pages = pages
        .iter()
        .filter(|(name, _)| name.starts_with("statements"));
    let lines = pages.flat_map(|(_, page)| page.lines());
    let account = |line: &str| {
        let statement: Value = serde_json::from_str(line).expect("JSON");
        let text = |name: &str| statement[name].as_str().expect("a text").to_owned();
        (text("kind"), text("id"))
    };
    lines.map(account).collect()
}

/// `usage.events` of the epoch that runs, to the byte.
pub fn records_of_epoch(site: &Site, epoch: u32) -> Vec<SourceRecord> {
    let partitions = (0..PARTITIONS).flat_map(|partition| match site.cluster() {
        None => records_of_up(site, partition, epoch),
        Some(cluster) => records_of_kafka(cluster, partition, epoch),
    });
    partitions.collect()
}

fn records_of_kafka(cluster: &Cluster, partition: u32, epoch: u32) -> Vec<SourceRecord> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let log = cluster.log();
    let read = runtime.block_on(read_all(&log, Topic::UsageEvents, Partition(partition)));
    drop(log);
    read.into_iter()
        .map(|record| source(partition, epoch, record))
        .collect()
}

/// Every record of a partition.
pub async fn read_all(log: &dyn Log, topic: Topic, partition: Partition) -> Vec<Record> {
    let bounds = log.bounds(topic, partition).await.expect("bounds");
    let limit = ReadLimit {
        records: 10_000,
        bytes: 64 << 20,
    };
    let (mut records, mut next) = (Vec::new(), bounds.start);
    while next < bounds.end {
        let read = log.read(topic, partition, next, limit, MUST_BE_THERE).await;
        let read = read.expect("records");
        next = read.last().expect("they are there").offset.next();
        records.extend(read);
    }
    records
}

/// For tests without a process: every statement in these tables is what the oracle makes of the log.
/// There are no links, awards or credits. How many statements there are.
pub async fn statements_equal_the_oracle(log: Arc<dyn Log>, db: &DynamoDb) -> usize {
    let partitions = Partitions::of(&*log).await.expect("partitions");
    let mut records = Vec::new();
    for p in 0..partitions.source {
        let read = read_all(&*log, Topic::UsageEvents, Partition(p)).await;
        records.extend(read.into_iter().map(|record| source(p, 0, record)));
    }
    let must = oracle::run(&oracle::Input {
        partitions: partitions.source,
        records,
        versions: versions(db).await,
        ..oracle::Input::default()
    });
    let queries = Queries::new(Arc::new(db.clone()), log, partitions);
    let mut is = BTreeMap::new();
    for month in months() {
        let month = month.parse().expect("a month");
        let statements = queries.statements(month, SystemClock.now()).await;
        let statements = statements.expect("rules");
        for kind in AccountKind::ALL {
            let mut after = None;
            loop {
                let page = statements.page(kind, after).await.expect("a page");
                for found in &page.statements {
                    let found = serde_json::to_value(found).expect("JSON");
                    let text = |name: &str| found[name].as_str().expect("a text").to_owned();
                    is.insert(((text("kind"), text("id")), text("month")), found);
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
    }
    oracle::same_statements(&is, &must.statements).unwrap_or_else(|why| panic!("{why}"));
    must.statements.len()
}

fn records_of_up(site: &Site, partition: u32, epoch: u32) -> Vec<SourceRecord> {
    let mut records: Vec<SourceRecord> = Vec::new();
    loop {
        let from = records.last().map_or(0, |last| last.offset + 1);
        let path = format!("/internal/log/usage.events/{partition}?from={from}&max=2000");
        let page = site.get(&path).expect("records");
        if page.is_empty() {
            return records;
        }
        records.extend(page.lines().map(|line| {
            let line: RecordLine = serde_json::from_str(line).expect("a record");
            source(partition, epoch, line.try_into().expect("base64"))
        }));
    }
}

fn source(partition: u32, epoch: u32, record: Record) -> SourceRecord {
    let headers = record.headers.iter();
    SourceRecord {
        partition,
        epoch,
        offset: record.offset.0,
        append_ms: record.append_time.0,
        headers: headers.map(|(n, v)| (n.clone(), v.to_vec())).collect(),
        value: record.value.to_vec(),
    }
}

/// A reject may stand in its topic twice, when it was written before a kill and again after; always with the same reason.
fn rejects(site: &Site) -> BTreeMap<Place, String> {
    let mut rejects = BTreeMap::new();
    for line in site.run(&["rejects", "list", "--json"]).lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let number = |name: &str| line[name].as_u64().expect("a number");
        let small = |name: &str| u32::try_from(number(name)).expect("a small number");
        let place = (small("partition"), small("epoch"), number("offset"));
        let reason = line["reason"].as_str().expect("a reason").to_owned();
        let before = rejects.insert(place, reason.clone());
        assert!(before.is_none_or(|before| before == reason), "{place:?}");
    }
    rejects
}

/// A client of the store.
pub fn store(site: &Site) -> DynamoDb {
    let (place, prefix) = match site.cluster() {
        Some(cluster) => (
            DynamoSettings::local(&cluster.store),
            cluster.prefix.clone(),
        ),
        None => match site.setting("TIDEMARK_STORE_ENDPOINT") {
            Some(endpoint) => {
                let prefix = site.setting("TIDEMARK_STORE_TABLE_PREFIX");
                let prefix = prefix.expect("tables of its own").to_owned();
                (DynamoSettings::local(endpoint), prefix)
            }
            None => {
                let client = EmbeddedClient::over_socket(&site.data().join("store"));
                (DynamoSettings::embedded(client), "tidemark-".to_owned())
            }
        },
    };
    let settings = DynamoSettings { prefix, ..place };
    DynamoDb::new(
        &settings,
        Arc::new(StoreMeter::default()),
        Arc::new(SystemClock),
    )
}

/// The prices and rules as they were published.
async fn versions(db: &DynamoDb) -> Vec<oracle::Version> {
    let head = control::head(db).await.expect("a head");
    let entries = control::entries(db, Control(0), head).await;
    let mut versions = Vec::new();
    for entry in entries.expect("a readable feed") {
        let Change::Rules(changes) = entry.change else {
            continue;
        };
        versions.extend(changes.into_iter().map(|change| oracle::Version {
            number: entry.number.0,
            key: change.key,
            value: change.value,
            from: change.effective_from.map(|at| at.0),
        }));
    }
    versions
}

/// The rows of a table, without the marker of its installation.
async fn items(db: &DynamoDb, table: Table) -> Vec<Item> {
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let page = db.scan(table, after).await.expect("a page");
        let rows = page.items.into_iter();
        items.extend(rows.filter(|item| !is_marker(table, item)));
        after = page.next;
        if after.is_none() {
            return items;
        }
    }
}

/// Which records the usage rows say were accepted.
async fn rows(db: &DynamoDb) -> BTreeSet<Place> {
    let mut rows = BTreeSet::new();
    for item in items(db, Table::UsageTracking).await {
        let (Some(Attr::S(at)), Some(Attr::N(partition))) =
            (item.get("position"), item.get("partition"))
        else {
            panic!("a usage row without its position: {item:?}");
        };
        let at: Position = at.parse().expect("a position");
        let partition = u32::try_from(*partition).expect("a partition");
        let is_new = rows.insert((partition, at.epoch.0, at.offset.0));
        assert!(is_new, "two usage rows at {at} of {partition}");
    }
    rows
}

/// Of these accounts, and of those that the load may have.
async fn snapshots(db: &DynamoDb, mut of: BTreeSet<Account>) -> BTreeMap<Account, Streak> {
    for kind in AccountKind::ALL {
        of.extend((0..=1_000).map(|number| account(kind.as_str(), number)));
    }
    let mut snapshots = BTreeMap::new();
    for account in of {
        let kind = AccountKind::ALL
            .into_iter()
            .find(|k| k.as_str() == account.0);
        let id = ids::Account::new(kind.expect("a kind"), &account.1).expect("an id");
        let found = streaks::get(db, &id).await.expect("a snapshot");
        let Some(streak) = found.filter(|streak| streak.last_active.is_some()) else {
            continue;
        };
        let day = |day: Option<Day>| day.map(|day| day.to_string()).unwrap_or_default();
        let snapshot = Streak {
            current: streak.current.into(),
            longest: streak.longest.into(),
            start: day(streak.start),
            last_active: day(streak.last_active),
        };
        snapshots.insert(account, snapshot);
    }
    snapshots
}
