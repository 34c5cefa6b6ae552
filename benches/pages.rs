//! How fast pages are, on the embedded engine with many accounts: `cargo bench --bench pages -- 1000000` (100,000 accounts without a number; filling a
//! million takes minutes and about 2 GB of the temporary directory). Asks for pages of accounts chosen at random, through the whole service but its
//! socket, and prints p50 and p99 by kind of page. The aim is 50 ms at p99.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidemark::domain::access::Scope;
use tidemark::domain::amount::Points;
use tidemark::domain::event::Service as AiService;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::ledger::{Carry, DayStats, Lifetime, MonthRow, ServiceStats};
use tidemark::domain::position::{Control, Epoch, Fence, Offset, Partition, Position, WriteId};
use tidemark::domain::posting::{Charge, Slot};
use tidemark::domain::rules::{Network, RulesDocument};
use tidemark::domain::time::{Millis, Month};
use tidemark::http::{self, ApiState, Hosts, Partitions, Parts};
use tidemark::log::embedded::EmbeddedLog;
use tidemark::log::topics::shipped;
use tidemark::log::usage::decode;
use tidemark::log::{Headers, Log};
use tidemark::ops::clock::{Clock, SystemClock};
use tidemark::ops::config::{Config, HttpConfig};
use tidemark::ops::health::Health;
use tidemark::ops::metrics::Metrics;
use tidemark::store::accounts::{self, StoredRow};
use tidemark::store::checkpoints::{self, Ranked, TopList};
use tidemark::store::db::{Db, Table};
use tidemark::store::dynamo::{DynamoDb, DynamoSettings};
use tidemark::store::embedded::EmbeddedStore;
use tidemark::store::keys::{self, KeyText};
use tidemark::store::meter::StoreMeter;
use tidemark::store::pricing::{NewValue, Publish, publish};
use tidemark::store::tables::create_tables;
use tidemark::store::usage::{self, UsageRow};
use tower::ServiceExt as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ACCOUNTS: u64 = 100_000;
/// One account of so many is a provider.
const USERS_PER_PROVIDER: u64 = 20;
/// Items of one call.
const BATCH: u64 = 2_000;
/// Users with requests to show.
const BUSY: u64 = 500;
const REQUESTS_EACH: u64 = 60;
/// Pages asked for, of each kind.
const ASKED: usize = 1_000;
const AIM: Duration = Duration::from_millis(50);

fn main() {
    let asked = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(asked.unwrap_or(ACCOUNTS)));
}

async fn run(count: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let log = EmbeddedLog::open(&dir.path().join("log"), &shipped(), Arc::new(SystemClock));
    let log: Arc<dyn Log> = Arc::new(log.expect("a log").0);
    let store = EmbeddedStore::open(&dir.path().join("store")).expect("a store");
    let settings = DynamoSettings::embedded(store.client());
    let db = DynamoDb::new(
        &settings,
        Arc::new(StoreMeter::default()),
        Arc::new(SystemClock),
    );
    create_tables(&db).await.expect("tables");
    let partitions = Partitions::of(&*log).await.expect("partitions");
    let start = Instant::now();
    fill(&db, count, partitions.posting).await;
    println!("{count} accounts in {:.0?}", start.elapsed());
    let key = key(&db).await;
    let metrics = Arc::new(Metrics::new());
    let service = ApiState::new(Parts {
        closing: None,
        log,
        partitions,
        db: Arc::new(db),
        clock: Arc::new(SystemClock),
        health: Arc::new(Health::new(metrics.clone())),
        metrics,
        config: HttpConfig {
            requests_per_second_per_key: None,
            requests_per_second_per_address: None,
            ..Config::default().http
        },
        archive: None,
    });
    let path = service.sign_in_path(&key, None);
    let router = http::router(service, Hosts::Loopback);
    let cookie = sign_in(&router, &path).await;
    let mut rng = StdRng::seed_from_u64(7);
    let providers = count / USERS_PER_PROVIDER;
    let kinds: [(&str, &dyn Fn(u64) -> String); 4] = [
        ("users", &|draw| format!("/users/user-{}", draw % count)),
        ("busy users", &|draw| {
            format!("/users/user-{}", draw % BUSY.min(count))
        }),
        ("providers", &|draw| {
            format!("/providers/prov-{}", draw % providers.max(1))
        }),
        ("leaderboard", &|draw| {
            format!("/leaderboard?after={}", draw % 3 * 25)
        }),
    ];
    let mut is_missed = false;
    for (name, path) in kinds {
        let mut took = Vec::new();
        for _ in 0..ASKED {
            let start = Instant::now();
            get(&router, &path(rng.random()), &cookie).await;
            took.push(start.elapsed());
        }
        took.sort_unstable();
        let (p50, p99) = (took[ASKED / 2], took[ASKED * 99 / 100]);
        is_missed |= p99 > AIM;
        println!("{name:<12} p50 {p50:>9.2?}  p99 {p99:>9.2?}");
    }
    println!(
        "{}",
        if is_missed {
            "p99 is above 50 ms"
        } else {
            "every p99 is within 50 ms"
        }
    );
    drop(router);
    store.shutdown(Duration::from_secs(5)).await;
}

async fn fill(db: &DynamoDb, count: u64, posting: u32) {
    let now = SystemClock.now();
    let (name, text) = Network::Testnet.document();
    let document = RulesDocument::parse_toml(name, text).expect("the shipped rules");
    let values = document.changes().into_iter();
    let publication = Publish {
        values: values.map(|(key, value)| NewValue { key, value }).collect(),
        effective_from: now,
        by: "the benchmark".to_owned(),
        reason: "the benchmark".to_owned(),
        now,
        token: "bench".to_owned(),
    };
    publish(db, &publication).await.expect("rules");
    let month = now.month();
    for (kind, count) in [
        (AccountKind::User, count),
        (AccountKind::Provider, count / USERS_PER_PROVIDER),
    ] {
        for first in (0..count).step_by(BATCH as usize) {
            let numbers = first..count.min(first + BATCH);
            let items = numbers.map(|number| {
                let account = account(kind, number);
                accounts::encode(&account, &row(month, now, number))
            });
            let items = items.collect();
            db.put_all(accounts::table(kind), items)
                .await
                .expect("rows");
        }
        top(db, kind, month, count, posting).await;
    }
    for user in 0..BUSY.min(count) {
        let items = (0..REQUESTS_EACH)
            .map(|number| request(user, number, now))
            .collect();
        db.put_all(Table::UsageTracking, items).await.expect("rows");
    }
}

fn account(kind: AccountKind, number: u64) -> Account {
    let prefix = if kind == AccountKind::User {
        "user"
    } else {
        "prov"
    };
    Account::of_checked(kind, &format!("{prefix}-{number}"))
}

/// A month in which something happened each day so far.
fn row(month: Month, now: Millis, number: u64) -> StoredRow {
    let served = 30 + number % 100;
    let day = DayStats {
        base: Points::whole(served as i64),
        requests: served,
        successful: served,
        latency_ms: 250 * served,
        target_ms: 1_000 * served,
        ..DayStats::default()
    };
    let mut row = MonthRow::new(month, Carry::default());
    row.days = (1..=now.day().of_month())
        .map(|of_month| (of_month, day))
        .collect();
    row.services[AiService::CHAT_COMPLETIONS] = ServiceStats {
        requests: served,
        successful: served,
        ..ServiceStats::default()
    };
    let position = Position {
        epoch: Epoch(0),
        offset: Offset(number),
    };
    StoredRow {
        row,
        fence: Fence {
            position: Some(position),
            write: WriteId {
                worker: 1,
                count: 1,
            },
        },
        lifetime: Lifetime::default(),
        older: BTreeMap::new(),
        superseded_by: None,
    }
}

async fn top(db: &DynamoDb, kind: AccountKind, month: Month, count: u64, posting: u32) {
    for partition in 0..posting {
        let ids = (0..count.min(100))
            .map(|place| account(kind, place * 7 % count.max(1) + u64::from(partition)));
        let ranked = (0..).zip(ids).map(|(place, account): (i64, Account)| {
            Ranked(Points::whole(10_000 - place), account.id().to_owned())
        });
        let ranked: Vec<Ranked> = ranked.collect();
        let list = TopList {
            exact: ranked.len(),
            ranked,
            left_out: None,
        };
        let key = checkpoints::top_key(Partition(partition), kind, month, Default::default());
        let write = checkpoints::put(&key, &list, None, WriteId::default());
        db.write(write).await.expect("a list");
    }
}

fn request(user: u64, number: u64, now: Millis) -> tidemark::store::db::Item {
    let time = now.plus(-(number as i64) * 1_000);
    let json = serde_json::json!({
        "requestId": format!("r-{number}"), "userId": format!("user-{user}"), "providerId": "prov-1", "endpoint": "/v1/chat/completions",
        "model": "llama-3-70b", "timestamp": time.to_string(), "statusCode": 200, "latencyMs": 250, "inputTokens": 150, "outputTokens": 75,
    });
    let bytes = serde_json::to_vec(&json).expect("JSON");
    let headers = Headers::new();
    let event = decode(&bytes, &headers).expect("an event");
    usage::encode(&UsageRow {
        key: usage::key(&event),
        event: &event,
        service: "chat_completions",
        tier: None,
        partition: Partition(0),
        position: Position {
            epoch: Epoch(0),
            offset: Offset(number),
        },
        log_time: time,
        control: Control(1),
        slot: Slot::Day(time.day()),
        provider_points: Points::whole(15),
        user_points: Points(1_500_000),
        charge: Charge::default(),
        is_total_odd: false,
        expires_at: now.plus(30 * 86_400_000),
    })
}

async fn key(db: &DynamoDb) -> String {
    let key = KeyText::of_random(rand::random(), rand::random());
    let now = SystemClock.now();
    let made = keys::create(db, &key, "the benchmark", vec![Scope::AdminRead], "it", now).await;
    made.expect("a key");
    key.to_string()
}

async fn ask(router: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
    let answer = router.clone().oneshot(request).await.expect("an answer");
    let (parts, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX)
        .await
        .expect("a body");
    let text = String::from_utf8(body.to_vec()).expect("text");
    (parts.status, parts.headers, text)
}

fn set_cookie(headers: &HeaderMap) -> String {
    let value = headers[header::SET_COOKIE].to_str().expect("text");
    value.split(';').next().unwrap_or_default().to_owned()
}

async fn sign_in(router: &Router, path: &str) -> String {
    let request = Request::get(path).header(header::HOST, "localhost");
    let (_, headers, page) = ask(router, request.body(Body::empty()).expect("a request")).await;
    let guest = set_cookie(&headers);
    let token = page
        .split("name=\"form_token\" value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let (_, t) = path.split_once("t=").expect("a token");
    let request = Request::post("/signin/link")
        .header(header::HOST, "localhost")
        .header(header::COOKIE, guest)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(format!(
            "form_token={}&t={t}",
            token.expect("a form")
        )));
    let (status, headers, _) = ask(router, request.expect("a request")).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    set_cookie(&headers)
}

async fn get(router: &Router, path: &str, cookie: &str) {
    let request = Request::get(path)
        .header(header::HOST, "localhost")
        .header(header::COOKIE, cookie);
    let (status, _, page) = ask(router, request.body(Body::empty()).expect("a request")).await;
    assert_eq!(status, StatusCode::OK, "{path}");
    assert!(page.contains("</html>"));
}
