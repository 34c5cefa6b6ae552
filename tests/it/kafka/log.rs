//! What the trait `Log` promises, kept by Kafka.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidemark::domain::position::{Epoch, Offset, Partition};
use tidemark::log::kafka::plan::largest_batch;
use tidemark::log::kafka::{Admin, KafkaLog, KafkaSettings};
use tidemark::log::{Log, LogError, NewRecord, ReadLimit, Record, Topic, topics};
use tidemark::ops::config::{Config, Sources};

use super::{broker, specs};

const P: Partition = Partition(1);
const ALL: ReadLimit = ReadLimit {
    records: 1_000_000,
    bytes: 1 << 30,
};
const WAIT: Duration = Duration::from_secs(10);

/// The configuration of a test that has topics of its own.
pub fn config(bootstrap: &str, prefix: &str) -> Config {
    let file = format!(
        "[log]\nengine = 'kafka'\n[kafka]\nbootstrap = '{bootstrap}'\ntopic_prefix = '{prefix}'\ngroup = '{prefix}group'\nsession_timeout = '6s'"
    );
    let sources = Sources {
        file: Some(("test".to_owned(), file)),
        ..Sources::default()
    };
    Config::read(&sources).unwrap()
}

pub fn settings(bootstrap: &str, prefix: &str) -> KafkaSettings {
    KafkaSettings::resolve(&config(bootstrap, prefix).kafka, &|_| None).unwrap()
}

async fn log() -> Option<KafkaLog> {
    let bootstrap = broker::bootstrap()?;
    let prefix = broker::prefix();
    let (settings, specs) = (settings(bootstrap, &prefix), specs());
    let admin = Admin::connect(&settings).unwrap();
    assert!(admin.apply(&specs).await.unwrap().left.is_empty());
    Some(KafkaLog::connect(settings, specs, Epoch(0)).unwrap())
}

fn record(text: &str) -> NewRecord {
    NewRecord {
        key: Some(Bytes::from(format!("k{text}"))),
        value: Bytes::from(text.to_owned()),
        headers: vec![("h".to_owned(), Bytes::from(text.to_owned()))],
    }
}

async fn read_all(log: &KafkaLog, from: u64, count: usize, limit: ReadLimit) -> Vec<Record> {
    let start = Instant::now();
    let mut read: Vec<Record> = Vec::new();
    let mut next = Offset(from);
    while read.len() < count {
        assert!(start.elapsed() < WAIT * 3, "{} of {count}", read.len());
        let more = log.read(Topic::UsageEvents, P, next, limit, WAIT).await;
        let more = more.unwrap();
        assert!(more.len() <= limit.records);
        if let Some(last) = more.last() {
            next = last.offset.next();
        }
        read.extend(more);
    }
    read
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: .ci/run kafka"]
async fn what_was_appended_is_read_from_any_position_in_order_with_key_headers_and_log_time() {
    let Some(log) = log().await else { return };
    let news: Vec<NewRecord> = (0..500).map(|n| record(&n.to_string())).collect();
    let before = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis() as i64;
    let offsets = log
        .append(Topic::UsageEvents, P, news.clone())
        .await
        .unwrap();
    assert_eq!(offsets, (0..500).map(Offset).collect::<Vec<_>>());
    let bounds = log.bounds(Topic::UsageEvents, P).await.unwrap();
    assert_eq!((bounds.start, bounds.end), (Offset(0), Offset(500)));
    for from in [0, 499, 3, 250, 0] {
        let limit = ReadLimit {
            records: 77,
            bytes: 1 << 20,
        };
        let read = read_all(&log, from, 500 - from as usize, limit).await;
        for (record, n) in read.iter().zip(from..) {
            let wanted = &news[n as usize];
            assert_eq!(record.offset, Offset(n));
            assert_eq!(
                (&record.key, &record.value, &record.headers),
                (&wanted.key, &wanted.value, &wanted.headers)
            );
            assert!((record.append_time.0 - before).abs() < 60_000);
        }
    }
    let end = log.end_seen(Topic::UsageEvents, P).await.unwrap();
    assert_eq!(end, Offset(500));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: .ci/run kafka"]
async fn a_record_without_key_and_an_empty_value_come_back_as_they_were() {
    let Some(log) = log().await else { return };
    let empty = NewRecord {
        key: Some(Bytes::new()),
        ..NewRecord::default()
    };
    let news = vec![NewRecord::default(), empty.clone()];
    log.append(Topic::UsageEvents, P, news).await.unwrap();
    let read = read_all(&log, 0, 2, ALL).await;
    assert_eq!((&read[0].key, &read[0].value), (&None, &Bytes::new()));
    assert_eq!((&read[1].key, &read[1].value), (&empty.key, &Bytes::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: .ci/run kafka"]
async fn a_read_waits_for_the_first_record_and_says_nothing_when_none_came() {
    let Some(log) = log().await else { return };
    let log = Arc::new(log);
    let none = log
        .read(Topic::UsageEvents, P, Offset(0), ALL, Duration::ZERO)
        .await
        .unwrap();
    assert!(none.is_empty());
    let waiting = {
        let log = log.clone();
        tokio::spawn(async move { log.read(Topic::UsageEvents, P, Offset(0), ALL, WAIT).await })
    };
    log.append(Topic::UsageEvents, P, vec![record("late")])
        .await
        .unwrap();
    let read = waiting.await.unwrap().unwrap();
    assert_eq!(read[0].value, "late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: .ci/run kafka"]
async fn bytes_are_limited_too_and_at_least_one_record_comes() {
    let Some(log) = log().await else { return };
    let big = "x".repeat(10_000);
    let news = vec![record(&big), record(&big), record(&big)];
    log.append(Topic::UsageEvents, P, news).await.unwrap();
    let limit = ReadLimit {
        records: 10,
        bytes: 1,
    };
    let read = log
        .read(Topic::UsageEvents, P, Offset(1), limit, WAIT)
        .await
        .unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].offset, Offset(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: .ci/run kafka"]
async fn a_position_that_is_not_there_is_named_with_what_is() {
    let Some(log) = log().await else { return };
    log.append(Topic::UsageEvents, P, vec![record("a")])
        .await
        .unwrap();
    log.topic(Topic::UsageEvents).await.unwrap();
    let error = log
        .read(Topic::UsageEvents, P, Offset(7), ALL, WAIT)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            LogError::OutOfRange {
                wanted: Offset(7),
                end: Offset(1),
                ..
            }
        ),
        "{error}"
    );
    // And the next reader is not disturbed by it.
    assert_eq!(read_all(&log, 0, 1, ALL).await[0].value, "a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: .ci/run kafka"]
async fn what_is_larger_than_the_topic_takes_is_refused_before_it_is_sent() {
    let Some(log) = log().await else { return };
    let specs = topics::load(None).unwrap();
    let spec = specs
        .iter()
        .find(|spec| spec.topic == Topic::UsageEvents)
        .unwrap();
    let max = largest_batch(spec, &specs);
    let news = vec![record("a"), record(&"x".repeat(max))];
    let error = log.append(Topic::UsageEvents, P, news).await.unwrap_err();
    assert!(
        matches!(error, LogError::TooLarge { index: 1, .. }),
        "{error}"
    );
    let end = log.bounds(Topic::UsageEvents, P).await.unwrap().end;
    assert_eq!(end, Offset(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Kafka: .ci/run kafka"]
async fn many_readers_of_one_partition_do_not_disturb_each_other() {
    let Some(log) = log().await else { return };
    let log = Arc::new(log);
    let news: Vec<NewRecord> = (0..2_000).map(|n| record(&n.to_string())).collect();
    log.append(Topic::UsageEvents, P, news).await.unwrap();
    let readers: Vec<_> = (0..5u64)
        .map(|reader| {
            let log = log.clone();
            tokio::spawn(async move {
                let from = reader * 300;
                let limit = ReadLimit {
                    records: 100 + reader as usize * 37,
                    bytes: 1 << 20,
                };
                let read = read_all(&log, from, 2_000 - from as usize, limit).await;
                let offsets: Vec<u64> = read.iter().map(|record| record.offset.0).collect();
                assert_eq!(offsets, (from..2_000).collect::<Vec<_>>());
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Kafka: .ci/run kafka"]
async fn appends_to_many_partitions_at_once_each_keep_their_order() {
    let Some(log) = log().await else { return };
    let log = Arc::new(log);
    let writers: Vec<_> = (0..4u32)
        .map(|p| {
            let log = log.clone();
            tokio::spawn(async move {
                for batch in 0..20 {
                    let news = (0..50).map(|n| record(&format!("{}", batch * 50 + n)));
                    log.append(Topic::LedgerPostings, Partition(p), news.collect())
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut read: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for p in 0..4 {
        let mut next = Offset(0);
        while read.get(&p).map_or(0, Vec::len) < 1_000 {
            let more = log
                .read(Topic::LedgerPostings, Partition(p), next, ALL, WAIT)
                .await
                .unwrap();
            next = more.last().expect("they were acknowledged").offset.next();
            let texts = more
                .iter()
                .map(|record| String::from_utf8_lossy(&record.value).into_owned());
            read.entry(p).or_default().extend(texts);
        }
    }
    let wanted: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
    assert!(read.values().all(|texts| *texts == wanted));
}
