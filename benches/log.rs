//! How fast the embedded log and the posting format are: `cargo bench --bench log`. Prints rates; checks nothing but that all came through.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemark::domain::amount::Points;
use tidemark::domain::event::Service;
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::position::{Chunk, Control, Epoch, Offset, Partition, Sequence};
use tidemark::domain::posting::{Cell, Entry, Slot};
use tidemark::domain::time::Millis;
use tidemark::log::embedded::EmbeddedLog;
use tidemark::log::posting::{BlockHeader, decode, encode_blocks};
use tidemark::log::topics::shipped;
use tidemark::log::{Log, NewRecord, ReadLimit, Topic};
use tidemark::ops::clock::SystemClock;

const RECORDS: usize = 400_000;
const GROUP: usize = 1_000;
const RECORD_BYTES: usize = 400;
const ENTRIES: usize = 200_000;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    runtime.block_on(log(dir.path()));
    postings();
}

fn say(what: &str, count: usize, unit: &str, took: Duration) {
    let rate = count as f64 / took.as_secs_f64();
    println!("{what:<42} {rate:>12.0} {unit}/s");
}

async fn log(dir: &std::path::Path) {
    let (log, _) = EmbeddedLog::open(dir, &shipped(), Arc::new(SystemClock)).expect("a log");
    let log = Arc::new(log);
    append(&log, 1).await;
    append(&log, 4).await;
    let begun = Instant::now();
    let mut count = 0;
    for partition in (0..4).map(Partition) {
        let end = log
            .bounds(Topic::UsageEvents, partition)
            .await
            .expect("bounds")
            .end;
        let mut from = Offset(0);
        while from < end {
            let limit = ReadLimit {
                records: 4_096,
                bytes: 4 << 20,
            };
            let records = log
                .read(Topic::UsageEvents, partition, from, limit, Duration::ZERO)
                .await
                .expect("records");
            count += records.len();
            from = records
                .last()
                .expect("records before the end")
                .offset
                .next();
        }
    }
    assert_eq!(count, 2 * RECORDS);
    say("read, 4,096 at a time", count, "records", begun.elapsed());
    log.close().await;
    drop(log);
    let begun = Instant::now();
    let (_log, report) =
        EmbeddedLog::open(dir, &shipped(), Arc::new(SystemClock)).expect("the log again");
    assert_eq!(report.damaged().count(), 0);
    println!(
        "{:<42} {:>12} ms",
        "open again",
        begun.elapsed().as_millis()
    );
}

/// `RECORDS` records by `writers` tasks, each to its own partition, each waiting for its acknowledgement.
async fn append(log: &Arc<EmbeddedLog>, writers: usize) {
    let record = NewRecord {
        key: Some("user-1".into()),
        value: vec![b'x'; RECORD_BYTES].into(),
        headers: Vec::new(),
    };
    let begun = Instant::now();
    let tasks = (0..writers).map(|writer| {
        let (log, record) = (Arc::clone(log), record.clone());
        tokio::spawn(async move {
            for _ in 0..RECORDS / GROUP / writers {
                let group = vec![record.clone(); GROUP];
                log.append(Topic::UsageEvents, Partition(writer as u32), group)
                    .await
                    .expect("an acknowledgement");
            }
        })
    });
    futures::future::join_all(tasks).await;
    let what = format!("append, {GROUP} × {RECORD_BYTES} B, {writers} at once");
    say(&what, RECORDS, "records", begun.elapsed());
}

fn postings() {
    let header = BlockHeader {
        epoch: Epoch(0),
        source: Partition(1),
        chunk: Chunk(7),
        control: Control(3),
        source_log_time: Millis(1_795_000_000_000),
    };
    let day = header.source_log_time.day();
    let entries: Vec<Entry> = (0..ENTRIES)
        .map(|n| {
            let account = Account::new(AccountKind::User, &format!("user-{n:08}")).expect("an id");
            let mut entry = Entry::new(account);
            let requests = n as u64 % 9 + 1;
            let cell = Cell {
                requests,
                successful: requests,
                points: Points(requests as i64 * 700_000),
                timed: requests,
                latency_ms: requests * 250,
                target_ms: requests * 4_000,
                ..Cell::default()
            };
            entry.cells = vec![
                (Slot::Day(day), Service::CHAT_COMPLETIONS, cell),
                (Slot::Day(day), Service::EMBEDDINGS, cell),
            ];
            entry
        })
        .collect();
    let begun = Instant::now();
    let blocks = encode_blocks(&header, &entries, Sequence(1));
    say(
        "encode posting blocks",
        2 * ENTRIES,
        "cells",
        begun.elapsed(),
    );
    let begun = Instant::now();
    let decoded: usize = blocks
        .iter()
        .map(|block| decode(block).expect("a block").entries.len())
        .sum();
    say(
        "decode posting blocks",
        2 * ENTRIES,
        "cells",
        begun.elapsed(),
    );
    assert_eq!(decoded, ENTRIES);
    let bytes: usize = blocks.iter().map(bytes::Bytes::len).sum();
    println!(
        "{:<42} {:>12} bytes",
        "a cell with its share of its entry",
        bytes / (2 * ENTRIES)
    );
}
