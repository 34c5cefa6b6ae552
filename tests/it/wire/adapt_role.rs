//! The role adapt: what of a gateway's topic reaches our log, through crashes, rivals, and a topic that does not keep still.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use tidemark::domain::position::{Offset, Partition};
use tidemark::domain::rules::{Network, RulesDocument};
use tidemark::domain::time::Millis;
use tidemark::log::foreign::{ForeignLog, ForeignRead};
use tidemark::log::rejected::{self, Reject};
use tidemark::log::usage::ODD_TOTAL_HEADER;
use tidemark::log::{
    Bounds, LogError, ReadLimit, Record, Topic, TopicInfo, usage, usage_partition,
};
use tidemark::ops::clock::SystemClock;
use tidemark::ops::health::{Feed, Health, Role, TaskId};
use tidemark::ops::metrics::Metrics;
use tidemark::pipeline::{AdapterSetup, OwnedTasks, Settings, WorkerContext};
use tidemark::store::checkpoints::{AdaptCheckpoint, checkpoint_key, get};
use tidemark::store::db::Db;
use tidemark::store::pricing::{NewValue, Publish, publish};
use tidemark::store::tables::create_tables;

use super::adapt::{KONG, adapter};
use crate::edge::memory_log::{MemoryLog, PARTITIONS};
use crate::store::{client, embedded_endpoint, run, settings};

const P: Partition = Partition(3);
const WITHIN: Duration = Duration::from_secs(30);

/// One partition of a gateway's topic. Records before `start` have expired.
struct Gateway(Mutex<State>);

struct State {
    id: String,
    start: u64,
    records: Vec<Bytes>,
}

impl Gateway {
    fn new() -> Arc<Gateway> {
        Arc::new(Gateway(Mutex::new(State {
            id: "first".into(),
            start: 0,
            records: Vec::new(),
        })))
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    /// Writes entries `from` to `to`; every tenth has no user, every seventh is no inference.
    fn write(&self, numbers: std::ops::Range<u64>) {
        self.with(|state| state.records.extend(numbers.map(entry)));
    }
}

fn entry(number: u64) -> Bytes {
    let user = format!("user-{}", number % 23);
    let mut entry = json!({
        "started_at": 1_795_330_862_123_u64 + number, "request": {"id": format!("r{number}"), "uri": "/v1/chat/completions"},
        "response": {"status": 200}, "consumer": {"username": user},
        "ai": {"proxy": {"usage": {"prompt_tokens": number + 1, "completion_tokens": 2}}},
    });
    if number.is_multiple_of(10) {
        entry["consumer"] = json!(null);
    } else if number.is_multiple_of(7) {
        entry["ai"] = json!({});
    } else if number.is_multiple_of(11) {
        entry["ai"]["proxy"]["usage"]["total_tokens"] = json!(number + 4);
    } else if number.is_multiple_of(13) {
        // It names no provider.
        entry["response"]["status"] = json!(503);
    } else if number.is_multiple_of(17) {
        entry["ai"]["proxy"]["usage"] = json!({});
    }
    entry.to_string().into()
}

fn is_event(number: u64) -> bool {
    !number.is_multiple_of(10) && !number.is_multiple_of(7)
}

#[async_trait]
impl ForeignLog for Gateway {
    async fn topic(&self, _: &str) -> Result<TopicInfo, LogError> {
        Ok(TopicInfo {
            id: self.with(|state| state.id.clone()),
            partitions: 4,
        })
    }

    async fn read(
        &self,
        _: &str,
        _: Partition,
        from: Offset,
        limit: ReadLimit,
        wait: Duration,
    ) -> Result<ForeignRead, LogError> {
        let read = self.with(|state| {
            let held = state.start..=state.records.len() as u64;
            held.contains(&from.0).then(|| {
                let rest = state.records.iter().enumerate().skip(from.0 as usize);
                // Few at a time, so that there are many moments to be stopped at.
                rest.take(limit.records.min(7))
                    .map(|(offset, value)| Record {
                        offset: Offset(offset as u64),
                        append_time: Millis(5),
                        key: None,
                        value: value.clone(),
                        headers: Vec::new(),
                    })
                    .collect::<Vec<Record>>()
            })
        });
        Ok(match read {
            None => ForeignRead::OutOfRange,
            Some(records) => {
                let pause = if records.is_empty() {
                    wait / 10
                } else {
                    Duration::from_millis(1)
                };
                tokio::time::sleep(pause).await;
                ForeignRead::Records(records)
            }
        })
    }

    async fn bounds(&self, _: &str, _: Partition) -> Result<Bounds, LogError> {
        Ok(self.with(|state| Bounds {
            start: Offset(state.start),
            end: Offset(state.records.len() as u64),
        }))
    }

    fn end_seen(&self, _: &str, _: Partition) -> Option<Offset> {
        Some(self.with(|state| Offset(state.records.len() as u64)))
    }
}

/// A gateway, our log, and tables.
struct Site {
    gateway: Arc<Gateway>,
    log: Arc<MemoryLog>,
    db: Arc<dyn Db>,
    metrics: Arc<Metrics>,
    workers: Mutex<u64>,
}

impl Site {
    async fn new() -> Site {
        let db = client(&settings(embedded_endpoint()));
        create_tables(&db).await.unwrap();
        Site {
            gateway: Gateway::new(),
            log: Arc::default(),
            db: Arc::new(db),
            metrics: Arc::new(Metrics::new()),
            workers: Mutex::new(0),
        }
    }

    fn task() -> TaskId {
        TaskId::new(Role::Adapt(Feed::of("kong-logs")), P)
    }

    /// A worker that adapts the partition.
    async fn worker(&self) -> OwnedTasks {
        let number = {
            let mut workers = self.workers.lock().unwrap();
            *workers += 1;
            *workers
        };
        let settings = Settings {
            backoff: Duration::from_millis(10),
            backoff_max: Duration::from_millis(50),
            ..Settings::default()
        };
        let mut ctx = WorkerContext::new(
            self.log.clone(),
            self.db.clone(),
            Arc::new(SystemClock),
            settings,
            self.metrics.clone(),
            Arc::new(Health::new(self.metrics.clone())),
            number,
        );
        ctx.adapting = Some(AdapterSetup {
            log: self.gateway.clone(),
            adapters: vec![adapter(KONG)],
        });
        let mut crew = OwnedTasks::new(Arc::new(ctx));
        crew.start(Site::task()).await;
        crew
    }

    async fn position(&self) -> Option<AdaptCheckpoint> {
        let stored = get(&*self.db, &checkpoint_key(Site::task())).await.unwrap();
        stored.map(|stored| stored.value)
    }

    async fn until_at(&self, id: &str, next: u64) {
        let wanted = AdaptCheckpoint {
            topic_id: id.into(),
            next: Offset(next),
        };
        let start = Instant::now();
        while self.position().await.as_ref() != Some(&wanted) {
            assert!(start.elapsed() < WITHIN, "{:?}", self.position().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The ids of the events in our log, each with how often it stands there; every one in its user's partition.
    fn events(&self) -> BTreeMap<String, u64> {
        let mut ids = BTreeMap::new();
        for (partition, record) in self.log.all(Topic::UsageEvents) {
            let event = usage::decode(&record.value, &record.headers).unwrap();
            assert_eq!(partition, usage_partition(&event.user, PARTITIONS));
            assert_eq!(record.key.as_deref(), Some(event.user.as_bytes()));
            *ids.entry(event.id.into_owned()).or_default() += 1;
        }
        ids
    }

    /// The offsets of refused records.
    fn refused(&self) -> BTreeSet<u64> {
        let rejects = self.log.all(Topic::UsageRejected);
        let offset =
            |(_, record): &(Partition, Record)| match rejected::decode_reject(record).unwrap() {
                Reject::Foreign(reject) => {
                    assert_eq!(
                        (reject.topic.as_str(), reject.partition, reject.index),
                        ("kong-logs", P, 0)
                    );
                    reject.offset.0
                }
                other => panic!("{other:?}"),
            };
        rejects.iter().map(offset).collect()
    }

    fn metric(&self, line: &str) -> u64 {
        let text = self.metrics.render();
        let value = text
            .lines()
            .find_map(|at| at.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }
}

fn ids(numbers: std::ops::Range<u64>) -> BTreeSet<String> {
    numbers
        .filter(|n| is_event(*n))
        .map(|n| format!("r{n}"))
        .collect()
}

fn distinct(events: &BTreeMap<String, u64>) -> BTreeSet<String> {
    events.keys().cloned().collect()
}

#[test]
fn every_entry_arrives_once_while_nothing_happens_and_is_counted_in_the_metrics() {
    run(async {
        let site = Site::new().await;
        site.gateway.write(0..140u64);
        let mut crew = site.worker().await;
        site.until_at("first", 140).await;
        assert_eq!(distinct(&site.events()), ids(0..140u64));
        assert!(site.events().values().all(|count| *count == 1));
        assert_eq!(
            site.refused(),
            (0..140u64).filter(|n| n.is_multiple_of(10)).collect()
        );
        // What comes later is found, and a polite stop writes the position.
        site.gateway.write(140..150);
        let start = Instant::now();
        while distinct(&site.events()) != ids(0..150u64) {
            assert!(start.elapsed() < WITHIN);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let asked = Instant::now();
        crew.let_go(&[Site::task()], WITHIN).await;
        assert!(asked.elapsed() < WITHIN, "it ended by itself");
        site.until_at("first", 150).await;
        let events = ids(0..150u64).len() as u64;
        let refused = (0..150u64).filter(|n| n.is_multiple_of(10)).count() as u64;
        assert_eq!(
            site.metric(r#"tidemark_adapter_records_total{topic="kong-logs"}"#),
            150
        );
        assert_eq!(
            site.metric(r#"tidemark_adapter_events_total{topic="kong-logs"}"#),
            events
        );
        assert_eq!(
            site.metric(
                r#"tidemark_adapter_refused_total{reason="missing_field",topic="kong-logs"}"#
            ),
            refused
        );
        assert_eq!(
            site.metric(
                r#"tidemark_adapter_skipped_total{reason="not_inference",topic="kong-logs"}"#
            ),
            150 - events - refused
        );
        assert_eq!(
            site.metric(r#"tidemark_adapter_lost_records_total{topic="kong-logs"}"#),
            0
        );
        let remarked = |divisors: &[u64]| {
            let (of, others) = divisors.split_last().expect("its own");
            let is_so = |n: &u64| {
                is_event(*n)
                    && n.is_multiple_of(*of)
                    && !others.iter().any(|d| n.is_multiple_of(*d))
            };
            (0..150u64).filter(is_so).count() as u64
        };
        for (name, expected) in [
            ("odd_totals", remarked(&[11])),
            ("unattributed_failures", remarked(&[11, 13])),
            ("usage_unknown", remarked(&[11, 13, 17])),
        ] {
            let line = format!("tidemark_adapter_{name}_total{{topic=\"kong-logs\"}}");
            assert!(expected > 0);
            assert_eq!(site.metric(&line), expected, "{name}");
        }
        let records = site.log.all(Topic::UsageEvents).into_iter();
        let marked = records.filter(|(_, record)| record.header(ODD_TOTAL_HEADER).is_some());
        assert_eq!(marked.count() as u64, remarked(&[11]));
    });
}

#[test]
fn killed_workers_and_rivals_lose_nothing_and_send_nothing_under_a_second_id() {
    run(async {
        let site = Site::new().await;
        site.gateway.write(0..1_000u64);
        for kill in 0..20 {
            let mut crew = site.worker().await;
            // Two at once, now and then.
            let mut rival = if kill % 3 == 0 {
                Some(site.worker().await)
            } else {
                None
            };
            tokio::time::sleep(Duration::from_millis(3 + kill * 7)).await;
            crew.stop_now(&[Site::task()]).await;
            if let Some(rival) = &mut rival {
                rival.stop_now(&[Site::task()]).await;
            }
        }
        let crew = site.worker().await;
        let rival = site.worker().await;
        site.until_at("first", 1_000).await;
        assert_eq!(distinct(&site.events()), ids(0..1_000u64));
        assert_eq!(
            site.refused(),
            (0..1_000u64).filter(|n| n.is_multiple_of(10)).collect()
        );
        drop((crew, rival));
    });
}

#[test]
fn the_position_waits_for_the_acknowledgement() {
    run(async {
        let site = Site::new().await;
        site.gateway.write(0..30);
        *site.log.append_fails.lock().unwrap() = Some(LogError::Unavailable("away".into()));
        let crew = site.worker().await;
        let start = Instant::now();
        let reloads = r#"tidemark_reloads_total{role="adapt-kong-logs"}"#;
        while site.metric(reloads) < 3 {
            assert!(start.elapsed() < WITHIN, "{}", site.metrics.render());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(site.position().await.is_none_or(|at| at.next == Offset(0)));
        *site.log.append_fails.lock().unwrap() = None;
        site.until_at("first", 30).await;
        assert_eq!(distinct(&site.events()), ids(0..30));
        drop(crew);
    });
}

#[test]
fn records_that_expired_unread_are_told_and_the_rest_is_read() {
    run(async {
        let site = Site::new().await;
        site.gateway.write(0..50);
        let mut crew = site.worker().await;
        site.until_at("first", 50).await;
        crew.stop_now(&[Site::task()]).await;
        site.gateway.write(50..200);
        site.gateway.with(|state| state.start = 120);
        let crew = site.worker().await;
        site.until_at("first", 200).await;
        let expected: BTreeSet<String> = ids(0..50).union(&ids(120..200)).cloned().collect();
        assert_eq!(distinct(&site.events()), expected);
        assert_eq!(
            site.metric(r#"tidemark_adapter_lost_records_total{topic="kong-logs"}"#),
            70
        );
        // Under a running worker, too.
        site.gateway.with(|state| {
            state.records.extend((200..300).map(entry));
            state.start = 260;
        });
        site.until_at("first", 300).await;
        assert!(distinct(&site.events()).is_superset(&ids(260..300)));
        assert_eq!(
            site.metric(r#"tidemark_adapter_lost_records_total{topic="kong-logs"}"#),
            130
        );
        drop(crew);
    });
}

#[test]
fn a_topic_that_was_created_again_is_read_from_its_beginning() {
    run(async {
        let site = Site::new().await;
        site.gateway.write(0..50);
        let crew = site.worker().await;
        site.until_at("first", 50).await;
        site.gateway.with(|state| {
            state.id = "second".into();
            state.records = (1_000..1_080).map(entry).collect();
        });
        site.until_at("second", 80).await;
        assert!(distinct(&site.events()).is_superset(&ids(1_000..1_080)));
        drop(crew);
    });
}

/// The providers that events of our log with an id name, in order.
fn providers_of(site: &Site, id: &str) -> Vec<Option<String>> {
    let records = site.log.all(Topic::UsageEvents);
    let found = records.iter().filter_map(|(_, record)| {
        let event = usage::decode(&record.value, &record.headers).unwrap();
        (event.id == id).then(|| event.provider.map(|provider| provider.into_owned()))
    });
    found.collect()
}

fn named(name: &str) -> Vec<Option<String>> {
    vec![Some(name.to_owned())]
}

#[tokio::test]
async fn names_that_an_admin_publishes_map_requests_that_are_made_from_then_on() {
    let site = Site::new().await;
    let published: Millis = "2026-11-22T12:00:00Z".parse().unwrap();
    let publication = |token: &str, values: Vec<(String, String)>| Publish {
        values: values
            .into_iter()
            .map(|(key, value)| NewValue { key, value })
            .collect(),
        effective_from: published,
        by: "a test".to_owned(),
        reason: "a test".to_owned(),
        now: published,
        token: token.to_owned(),
    };
    let (file, text) = Network::Testnet.document();
    let rules = RulesDocument::parse_toml(file, text).unwrap().changes();
    publish(&*site.db, &publication("rules", rules))
        .await
        .unwrap();
    // Every process looks for names within this time.
    let begins = published.plus(5_000);
    let entry = |id: &str, made: Millis, usage: Value| {
        json!({"started_at": made.0, "request": {"id": id, "uri": "/v1/chat/completions"},
            "response": {"status": 200}, "consumer": {"username": "anna"},
            "ai": {"proxy": {"usage": usage, "meta": {"provider_name": "azure-eu"}}}})
    };
    let written = Cell::new(0);
    let write = async |id: &str, made: Millis, usage: Value| {
        let entry = entry(id, made, usage).to_string();
        site.gateway.with(|state| state.records.push(entry.into()));
        written.set(written.get() + 1);
        site.until_at("first", written.get()).await;
    };
    let usage = || json!({"prompt_tokens": 1, "completion_tokens": 2});
    let mut crew = site.worker().await;
    // An early line about a request that goes on.
    write("long", published, json!({})).await;
    write("early", published, usage()).await;
    // Published while the adapter runs.
    let names = vec![(
        "rules.providers".to_owned(),
        r#"{"azure-eu":"prov-9"}"#.to_owned(),
    )];
    publish(&*site.db, &publication("names", names))
        .await
        .unwrap();
    let start = Instant::now();
    for number in 0.. {
        let id = format!("later-{number}");
        write(&id, begins, usage()).await;
        if providers_of(&site, &id) == named("prov-9") {
            break;
        }
        assert!(start.elapsed() < WITHIN, "the names were not taken up");
    }
    // Whatever is known by now, what was made before is read as before: the last line completes the
    // first one, and what is written again is the same event.
    write("long", published, usage()).await;
    write("early", published, usage()).await;
    write("last", begins.plus(-1), usage()).await;
    for id in ["long", "early"] {
        let expected = [named("azure-eu"), named("azure-eu")].concat();
        assert_eq!(providers_of(&site, id), expected, "{id}");
    }
    assert_eq!(providers_of(&site, "last"), named("azure-eu"));
    crew.let_go(&[Site::task()], WITHIN).await;
}
