//! Months as files.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, header};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::Value;
use tidemark::domain::amount::{Money, Points};
use tidemark::domain::event::Service;
use tidemark::domain::ids::Account;
use tidemark::domain::posting::{Deduction, Slot};
use tidemark::domain::rules::Network;
use tidemark::domain::time::Month;
use tidemark::http::{Hosts, router};
use tidemark::log::Log as _;
use tidemark::ops::clock::Clock;
use tidemark::store::audits::coverage::Coverage;
use tidemark::store::db::{Attr, Db, Item, Key, Page, Query, StoreError, Table, Write};
use tidemark::store::dynamo::DynamoDb;
use tower::ServiceExt;

use super::rows::{book, charged, posted_up_to, rules, served, start_of};
use super::slow_db::service_on;
use super::stand::{Answer, NOON, Stand};
use crate::archive::replay::{archive, cover, coverage, example};
use crate::store::{provider, user};

const ROUTE: &str = "/api/admin/exports/2026-11";
/// Ids as spreadsheets and readers of CSV meet them: what stands in the file for them.
const IDS: [(&str, &str); 10] = [
    (
        "=HYPERLINK(\"http://e.example\")",
        "'=HYPERLINK(\"http://e.example\")",
    ),
    ("+1", "'+1"),
    ("-1", "'-1"),
    ("@SUM(A1)", "'@SUM(A1)"),
    ("＝1", "'＝1"),
    ("'=1", "''=1"),
    ("a,b \"c\"", "a,b \"c\""),
    (" ann ", " ann "),
    ("# end rows=0", "# end rows=0"),
    ("grüße=1", "grüße=1"),
];

/// Users and providers with all that statements have, on pages of one item each.
async fn stand() -> Stand {
    let stand = Stand::new().await;
    rules(&stand, Network::Mainnet).await;
    for (n, (id, _)) in IDS.iter().enumerate() {
        let nanos = 10i128.pow(n as u32) + 1;
        book(&stand, &user(id), |entry| {
            served(entry, "2026-11-21", 2, Points(1_000_001 + n as i64));
            served(entry, "2026-11-22", 1, Points(3));
            charged(entry, "2026-11", Money(nanos), Money(7));
        })
        .await;
    }
    // What was taken back of another month leaves less than nothing.
    book(&stand, &user("late"), |entry| {
        let deduction = Deduction {
            reversed: 2,
            points: Points(1_500_000),
            ..Deduction::default()
        };
        let place = (Slot::Late(month()), Service::CHAT_COMPLETIONS, deduction);
        entry.deductions.by_service.push(place);
        charged(entry, "2026-11", Money(-5), Money::ZERO);
    })
    .await;
    // Another month, and providers.
    book(&stand, &user("october"), |entry| {
        served(entry, "2026-10-31", 1, Points::whole(1));
        charged(entry, "2026-10", Money(1), Money::ZERO);
    })
    .await;
    for id in ["prov-1", "=prov"] {
        book(&stand, &provider(id), |entry| {
            served(entry, "2026-11-22", 40, Points::whole(120));
        })
        .await;
    }
    stand
}

fn month() -> Month {
    "2026-11".parse().unwrap()
}

fn text(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    String::from_utf8(answer.body.to_vec()).unwrap()
}

type Row = BTreeMap<String, String>;

/// The rows of a CSV file, each by the names of its columns.
fn rows(file: &str) -> Vec<Row> {
    let mut builder = csv::ReaderBuilder::new();
    let mut reader = builder.comment(Some(b'#')).from_reader(file.as_bytes());
    let rows = reader.deserialize().map(|row| row.expect("a row"));
    rows.collect()
}

/// The counts and sums of the last line.
fn trailer(file: &str) -> Row {
    let last = file.lines().last().unwrap();
    let words = last.strip_prefix("# end ").expect("a trailer").split(' ');
    words
        .map(|word| word.split_once('=').unwrap())
        .map(|(name, sum)| (name.to_owned(), sum.to_owned()))
        .collect()
}

fn sum<T: std::str::FromStr>(rows: &[Row], column: &str, add: impl Fn(T) -> i128) -> i128 {
    let each = rows.iter().map(|row| &row[column]);
    let given = each.filter(|text| !text.is_empty());
    given
        .map(|text| add(text.parse().unwrap_or_else(|_| panic!("{column}: {text}"))))
        .sum()
}

#[tokio::test]
async fn a_file_of_statements_holds_every_statement_to_the_last_digit_and_its_sums() {
    let stand = stand().await;
    let answer = stand.get(&format!("{ROUTE}/statements")).await;
    let file = text(&answer);
    assert_eq!(
        answer.headers[header::CONTENT_TYPE],
        "text/csv; charset=utf-8"
    );
    assert_eq!(
        answer.headers[header::CONTENT_DISPOSITION],
        "attachment; filename=\"tidemark-2026-11-statements-not-final.csv\""
    );
    assert_eq!(answer.headers["x-tidemark-final"], "false");
    let found = rows(&file);
    assert_eq!(found.len(), IDS.len() + 3, "{file}");
    let as_written = |id: &str| {
        let known = IDS.iter().find(|(plain, _)| *plain == id);
        known.map_or_else(|| id.to_owned(), |(_, written)| (*written).to_owned())
    };
    let accounts = IDS
        .iter()
        .map(|(id, _)| user(id))
        .chain([user("late"), provider("prov-1")]);
    for account in accounts {
        let id = as_written(account.id());
        let kind = account.kind.as_str();
        let mut of = found
            .iter()
            .filter(|row| row["id"] == id && row["kind"] == kind);
        let row = of.next().unwrap_or_else(|| panic!("{account}\n{file}"));
        assert_eq!(of.next(), None);
        same_as_statement(row, &statement(&stand, &account).await);
    }
    let sums = trailer(&file);
    assert_eq!(sums["rows"], found.len().to_string());
    let cost = sum::<Money>(&found, "cost_usd", |money| money.0);
    let all: i128 = (0..IDS.len() as u32).map(|n| 10i128.pow(n) + 1).sum();
    assert_eq!(cost, all - 5);
    assert_eq!(sums["cost_usd"], Money(cost).to_string());
    let total = sum::<Points>(&found, "total_points", |points| points.0.into());
    assert_eq!(
        sums["total_points"].parse::<Points>().unwrap().0,
        total as i64
    );
    let requests = sum::<i128>(&found, "requests", |count| count);
    assert_eq!(sums["requests"], requests.to_string());
    // Nothing has changed, so neither has the file.
    assert_eq!(text(&stand.get(&format!("{ROUTE}/statements")).await), file);
    let metrics = stand.metrics.render();
    let line = r#"tidemark_exports_total{format="csv",outcome="complete",what="statements"} 2"#;
    assert!(metrics.contains(line), "{metrics}");
}

async fn statement(stand: &Stand, account: &Account) -> Value {
    let queries = tidemark::app::queries::Queries::new(
        Arc::new(stand.db.clone()),
        stand.log.clone(),
        stand.service.partitions,
    );
    let statement = queries.statement(account, month(), NOON).await.unwrap();
    serde_json::to_value(&statement).unwrap()
}

fn same_as_statement(row: &Row, statement: &Value) {
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
        ("successful", "successful"),
        ("failed", "failed"),
        ("month", "month"),
        ("final", "final"),
    ] {
        let field = match &statement[field] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        assert_eq!(row[column], field, "{column} of {statement}");
    }
    let reversed = statement["reversed"].as_u64().unwrap_or(0);
    assert_eq!(row["reversed"], reversed.to_string());
}

#[tokio::test]
async fn ids_stand_as_they_are_on_request() {
    let stand = stand().await;
    let exact = text(
        &stand
            .get(&format!("{ROUTE}/statements?exactText=true"))
            .await,
    );
    let found = rows(&exact);
    for (id, _) in IDS {
        assert!(found.iter().any(|row| row["id"] == id), "{id}\n{exact}");
    }
}

#[tokio::test]
async fn services_and_days_add_up_to_the_statements() {
    let stand = stand().await;
    let of = async |what: &str| rows(&text(&stand.get(&format!("{ROUTE}/{what}")).await));
    let statements = of("statements").await;
    let services = of("services").await;
    let days = of("days").await;
    let points = |rows: &[Row], column: &str| sum::<Points>(rows, column, |points| points.0.into());
    let earned = points(&statements, "usage_points") + points(&statements, "base_points");
    assert_eq!(points(&services, "points"), earned);
    let not_of_days = ["bonus_points", "late_points"].map(|part| points(&statements, part));
    let total = points(&statements, "total_points");
    assert_eq!(
        points(&days, "points"),
        total - not_of_days.iter().sum::<i128>()
    );
    assert_eq!(days.len(), 2 * IDS.len() + 2);
    assert!(
        services
            .iter()
            .all(|row| row["service"] == "chat_completions")
    );
    assert_eq!(services[0]["mean_latency_ms"], "250");
}

#[tokio::test]
async fn the_file_says_that_a_month_is_final() {
    let stand = stand().await;
    stand.clock.set(start_of("2026-12-05"));
    posted_up_to(&stand, start_of("2026-12-05")).await;
    let answer = stand.get(&format!("{ROUTE}/statements")).await;
    let file = text(&answer);
    assert_eq!(answer.headers["x-tidemark-final"], "true");
    assert_eq!(
        answer.headers[header::CONTENT_DISPOSITION],
        "attachment; filename=\"tidemark-2026-11-statements.csv\""
    );
    assert!(
        rows(&file).iter().all(|row| row["final"] == "true"),
        "{file}"
    );
}

/// Columns of FOCUS 1.2 that the specification requires of every provider, and of those that measure
/// usage and have categories of prices.
const REQUIRED: [&str; 24] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
];

#[tokio::test]
async fn charges_have_the_columns_of_focus() {
    let stand = stand().await;
    let path = format!("{ROUTE}/statements?format=focus&issuer=Example%20Inc.");
    let file = text(&stand.get(&path).await);
    let found = rows(&file);
    assert_eq!(
        found.len(),
        IDS.len() + 1,
        "users alone are charged\n{file}"
    );
    for row in &found {
        for column in REQUIRED {
            assert!(row.contains_key(column), "{column}");
        }
        let costs = ["ListCost", "ContractedCost", "EffectiveCost"];
        assert!(costs.iter().all(|cost| row[*cost] == row["BilledCost"]));
        let same = [
            ("BillingPeriodStart", "2026-11-01T00:00:00Z"),
            ("BillingPeriodEnd", "2026-12-01T00:00:00Z"),
            ("ChargePeriodStart", "2026-11-01T00:00:00Z"),
            ("ChargePeriodEnd", "2026-12-01T00:00:00Z"),
            ("BillingCurrency", "USD"),
            ("InvoiceIssuerName", "Example Inc."),
            ("ChargeClass", ""),
            ("x_Final", "false"),
        ];
        for (column, value) in same {
            assert_eq!(row[column], value, "{column}");
        }
    }
    let cost = sum::<Money>(&found, "BilledCost", |money| money.0);
    let statements = rows(&text(&stand.get(&format!("{ROUTE}/statements")).await));
    assert_eq!(cost, sum::<Money>(&statements, "cost_usd", |money| money.0));
    let said: Vec<&str> = found
        .iter()
        .map(|row| row["x_RowsTotal"].as_str())
        .collect();
    let (last, before) = said.split_last().unwrap();
    assert_eq!(*last, found.len().to_string());
    assert!(
        before.iter().all(|total| total.is_empty()),
        "only the last row says how many"
    );
}

#[tokio::test]
async fn what_there_is_no_file_of_is_refused() {
    let stand = Stand::new().await;
    let path = format!("{ROUTE}/statements");
    assert_eq!(stand.get(&path).await.code(), (409, "no_rules".to_owned()));
    rules(&stand, Network::Testnet).await;
    for (path, status, code) in [
        ("2026-11/days?format=focus", 422, "not_in_focus"),
        ("2026-11/services?format=focus", 422, "not_in_focus"),
        ("2026-11/requests", 422, "no_archive"),
        ("2026-11/statements?issuer=", 422, "invalid_issuer"),
        ("2026-12/statements", 422, "month_in_the_future"),
        ("2026-13/statements", 400, "invalid_path"),
        ("2026-11/everything", 400, "invalid_path"),
        ("2026-11/statements?format=xlsx", 400, "invalid_query"),
        ("2026-11/statements?nothing=1", 400, "invalid_query"),
    ] {
        let answer = stand.get(&format!("/api/admin/exports/{path}")).await;
        assert_eq!(answer.code(), (status, code.to_owned()), "{path}");
    }
    // A month without accounts is a file without rows.
    let empty = text(&stand.get("/api/admin/exports/2025-01/statements").await);
    assert_eq!(rows(&empty), []);
    assert_eq!(trailer(&empty)["rows"], "0");
}

#[tokio::test]
async fn an_archive_that_lacks_requests_is_exported_only_on_demand() {
    let directory = tempfile::tempdir().unwrap();
    let seeds = [example(1), example(2)];
    archive(directory.path(), &seeds, 1);
    let stand = Stand::new().await.with_archive(directory.path());
    rules(&stand, Network::Testnet).await;
    let path = format!("{ROUTE}/requests");
    let whole = stand.get(&path).await;
    assert_eq!(whole.headers["x-tidemark-partial"], "false");
    let whole = trailer(&text(&whole));
    assert_eq!((&*whole["rows"], whole.get("partial")), ("2", None));

    // It began while the month went on.
    let [covered] = coverage(&seeds);
    let late = Coverage {
        epoch: stand.log.epoch(),
        is_from_start: false,
        log_time_from: NOON,
        ..covered
    };
    cover(directory.path(), &late);
    let refused = stand.get(&path).await;
    assert_eq!(refused.code(), (409, "archive_incomplete".to_owned()));
    let partial = stand.get(&format!("{path}?partial=true")).await;
    assert_eq!(partial.headers["x-tidemark-partial"], "true");
    let name = partial.headers[header::CONTENT_DISPOSITION]
        .to_str()
        .unwrap();
    assert!(name.ends_with("-partial.csv\""), "{name}");
    let partial = trailer(&text(&partial));
    assert_eq!((&*partial["rows"], &*partial["partial"]), ("0", "true"));
}

/// Pages of one item each.
struct OneByOne(DynamoDb);

#[async_trait]
impl Db for OneByOne {
    fn clock(&self) -> &dyn Clock {
        self.0.clock()
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        self.0.get(key).await
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        self.0.batch_get(keys).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        self.0.query(query).await
    }

    async fn scan(&self, table: Table, after: Option<Item>) -> Result<Page, StoreError> {
        let mut page = self.0.scan(table, after).await?;
        let (hash, range) = table.keys();
        page.items.truncate(1);
        page.next = page.items.first().map(|item| {
            let keys = [hash].into_iter().chain(range);
            let mut next = Item::default();
            for key in keys {
                next.insert(key, item.get(key).expect("a key").clone());
            }
            next
        });
        Ok(page)
    }

    async fn write(&self, write: Write) -> Result<(), StoreError> {
        self.0.write(write).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.0.transact(writes).await
    }

    async fn put_all(&self, table: Table, items: Vec<Item>) -> Result<(), StoreError> {
        self.0.put_all(table, items).await
    }
}

#[tokio::test]
async fn pages_of_the_table_leave_no_trace_in_the_file() {
    let stand = stand().await;
    let small = service_stand(&stand);
    for path in ["statements", "days", "statements?format=focus"] {
        let path = format!("{ROUTE}/{path}");
        let whole = text(&stand.get(&path).await);
        let by_pages = text(&small.get(&path).await);
        assert_eq!(whole, by_pages, "{path}");
    }
}

/// The same stand on pages of one item.
fn service_stand(stand: &Stand) -> Stand {
    Stand {
        log: stand.log.clone(),
        db: stand.db.clone(),
        health: stand.health.clone(),
        metrics: stand.metrics.clone(),
        clock: stand.clock.clone(),
        service: service_on(stand, Arc::new(OneByOne(stand.db.clone()))),
        admin: stand.admin.clone(),
    }
}

async fn begin(stand: &Stand, path: &str) -> axum::response::Response {
    let request = Request::get(path)
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {}", stand.admin))
        .body(Body::empty())
        .unwrap();
    let router = router(stand.service.clone(), Hosts::Loopback);
    router.oneshot(request).await.unwrap()
}

async fn outcome(stand: &Stand, outcome: &str, count: u32) {
    let line = format!(
        r#"tidemark_exports_total{{format="csv",outcome="{outcome}",what="statements"}} {count}"#
    );
    for _ in 0..1_000 {
        if stand.metrics.render().contains(&line) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{line}\n{}", stand.metrics.render());
}

#[tokio::test]
async fn a_file_that_lacks_an_account_breaks_off_without_its_last_line() {
    let stand = stand().await;
    let (hash, range) = Table::ProviderRewards.keys();
    let mut broken = Item::default();
    broken.insert(hash, Attr::S("prov-1".to_owned()));
    broken.insert(range.unwrap(), Attr::S("2026-11".to_owned()));
    let put = stand.db.put_all(Table::ProviderRewards, vec![broken]);
    put.await.unwrap();
    let response = begin(&stand, &format!("{ROUTE}/statements")).await;
    assert_eq!(response.status(), 200);
    let pieces: Vec<Result<Bytes, axum::Error>> =
        response.into_body().into_data_stream().collect().await;
    let (last, before) = pieces.split_last().unwrap();
    assert!(last.is_err(), "the connection breaks");
    let before: Vec<u8> = before
        .iter()
        .flat_map(|piece| piece.as_ref().unwrap().to_vec())
        .collect();
    let before = String::from_utf8(before).unwrap();
    assert!(before.contains("'=prov"), "{before}");
    let has_end = before.lines().any(|line| line.starts_with("# end"));
    assert!(!has_end, "{before}");
    outcome(&stand, "failed", 1).await;
}

#[tokio::test]
async fn downloads_have_bounded_room_which_a_client_that_goes_away_gives_back() {
    let stand = service_stand(&stand().await);
    let path = format!("{ROUTE}/statements");
    let unread = [begin(&stand, &path).await, begin(&stand, &path).await];
    assert!(unread.iter().all(|response| response.status() == 200));
    assert_eq!(
        stand.get(&path).await.code(),
        (503, "downloads_busy".to_owned())
    );
    drop(unread);
    outcome(&stand, "interrupted", 2).await;
    assert_eq!(trailer(&text(&stand.get(&path).await))["rows"], "13");
}

#[tokio::test]
async fn only_admins_get_files() {
    let stand = stand().await;
    let path = format!("{ROUTE}/statements");
    for (scope, status) in [
        ("admin:read", 200),
        ("account:user:late", 403),
        ("ingest", 403),
    ] {
        let key = stand.key(&[scope]).await;
        let answer = stand
            .ask(Some(&key), axum::http::Method::GET, &path, None)
            .await;
        assert_eq!(answer.status, status, "{scope}");
    }
}
