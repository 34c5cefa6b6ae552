//! What every log promises.

use std::time::{Duration, Instant};

use tidemark::domain::position::Epoch;
use tidemark::log::Bounds;

use super::*;

#[tokio::test]
async fn records_come_back_whole_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let clock = HandClock::at(5_000);
    let (log, _) = EmbeddedLog::open(dir.path(), &shipped(), clock.clone()).unwrap();
    let full = NewRecord {
        key: Some(Bytes::from_static(b"user-1")),
        value: Bytes::from_static(b"{}"),
        headers: vec![
            ("source".to_owned(), Bytes::from_static(b"gw")),
            ("source".to_owned(), Bytes::new()),
        ],
    };
    let appended = log
        .append(EVENTS, Partition(1), vec![full.clone(), record("b")])
        .await
        .unwrap();
    assert_eq!(appended, [Offset(0), Offset(1)]);
    clock.set(4_000);
    assert_eq!(append(&log, 1, &["c"]).await, [2]);

    let records = read(&log, 1, 0).await.unwrap();
    assert_eq!(records[0].key, full.key);
    assert_eq!(records[0].value, full.value);
    assert_eq!(records[0].headers, full.headers);
    let times: Vec<i64> = records.iter().map(|record| record.append_time.0).collect();
    assert_eq!(
        times,
        [5_000, 5_000, 4_000],
        "the clock's time at the commit, also when it steps back"
    );
    assert_eq!(texts(&log, 1, 1).await, ["b", "c"]);
}

#[tokio::test]
async fn partitions_and_topics_are_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (log, report) = open(dir.path());
    assert!(report.created);
    assert_eq!(log.epoch(), Epoch(0));
    append(&log, 0, &["a", "b"]).await;
    append(&log, 3, &["c"]).await;
    log.append(Topic::UsageRejected, Partition(0), vec![record("r")])
        .await
        .unwrap();
    let bounds = |start, end| Bounds {
        start: Offset(start),
        end: Offset(end),
    };
    assert_eq!(
        log.bounds(EVENTS, Partition(0)).await.unwrap(),
        bounds(0, 2)
    );
    assert_eq!(
        log.bounds(EVENTS, Partition(1)).await.unwrap(),
        bounds(0, 0)
    );
    assert_eq!(
        log.bounds(Topic::UsageRejected, Partition(0))
            .await
            .unwrap(),
        bounds(0, 1)
    );
    assert_eq!(texts(&log, 3, 0).await, ["c"]);
}

#[tokio::test]
async fn concurrent_appends_get_offsets_without_gap_or_overlap() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let log = Arc::new(log);
    let tasks = (0..40).map(|task| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let mut mine = Vec::new();
            for n in 0..5 {
                let offsets = append(
                    &log,
                    task % 2,
                    &[&format!("{task}.{n}.0"), &format!("{task}.{n}.1")],
                )
                .await;
                assert_eq!(
                    offsets[1],
                    offsets[0] + 1,
                    "the records of one append stay together"
                );
                mine.extend(
                    offsets
                        .into_iter()
                        .zip([format!("{task}.{n}.0"), format!("{task}.{n}.1")]),
                );
            }
            assert!(mine.is_sorted(), "in the order of the appends");
            (task % 2, mine)
        })
    });
    let mut expected = [vec![String::new(); 200], vec![String::new(); 200]];
    for done in futures::future::join_all(tasks).await {
        let (partition, mine) = done.unwrap();
        for (offset, text) in mine {
            expected[partition as usize][offset as usize] = text;
        }
    }
    assert_eq!(texts(&log, 0, 0).await, expected[0]);
    assert_eq!(texts(&log, 1, 0).await, expected[1]);
}

#[tokio::test]
async fn a_limit_is_kept_but_for_the_first_record() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    append(&log, 0, &["aaaaaaaaaa"; 10]).await;
    let one = read(&log, 0, 0).await.unwrap()[0].size();
    let rows = [
        (3, usize::MAX, 3),
        (0, 0, 1),
        (10, one - 1, 1),
        (10, one * 4, 4),
        (10, one * 4 + one - 1, 4),
        (99, usize::MAX, 10),
    ];
    for (records, bytes, expected) in rows {
        let limit = ReadLimit { records, bytes };
        let got = log
            .read(EVENTS, Partition(0), Offset(0), limit, Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(got.len(), expected, "{limit:?}");
    }
}

#[tokio::test]
async fn a_position_outside_is_out_of_range() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    append(&log, 0, &["a"]).await;
    assert!(read(&log, 0, 1).await.unwrap().is_empty());
    let error = read(&log, 0, 2).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "usage.events/0 holds offsets [0, 1), not 2"
    );
    assert!(
        matches!(read(&log, 9, 0).await, Err(LogError::OutOfRange { .. })),
        "no such partition"
    );
    assert!(matches!(
        log.append(EVENTS, Partition(9), vec![record("a")]).await,
        Err(LogError::OutOfRange { .. })
    ));
}

#[tokio::test]
async fn a_read_waits_for_the_first_record_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let log = Arc::new(log);
    let begun = Instant::now();
    let none = log
        .read(
            EVENTS,
            Partition(0),
            Offset(0),
            ALL,
            Duration::from_millis(60),
        )
        .await
        .unwrap();
    assert!(none.is_empty());
    assert!(begun.elapsed() >= Duration::from_millis(60));

    let reader = Arc::clone(&log);
    let waiting = tokio::spawn(async move {
        reader
            .read(
                EVENTS,
                Partition(0),
                Offset(0),
                ALL,
                Duration::from_secs(60),
            )
            .await
            .unwrap()
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    append(&log, 1, &["elsewhere"]).await;
    append(&log, 0, &["here"]).await;
    assert_eq!(waiting.await.unwrap()[0].value, "here");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_record_that_is_too_large_keeps_its_whole_append_out() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let max = shipped()[0].largest_record_bytes;
    let largest = NewRecord {
        value: vec![7; max].into(),
        ..NewRecord::default()
    };
    let larger = NewRecord {
        key: Some(Bytes::from_static(b"k")),
        ..largest.clone()
    };
    let error = log
        .append(
            EVENTS,
            Partition(0),
            vec![record("a"), largest.clone(), larger],
        )
        .await
        .unwrap_err();
    assert!(
        matches!(error, LogError::TooLarge { index: 2, .. }),
        "{error}"
    );
    assert_eq!(
        log.bounds(EVENTS, Partition(0)).await.unwrap().end,
        Offset(0)
    );
    log.append(EVENTS, Partition(0), vec![largest])
        .await
        .unwrap();
    assert_eq!(read(&log, 0, 0).await.unwrap()[0].value.len(), max);
}

#[tokio::test]
async fn nothing_appended_is_nothing_done() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    assert!(append(&log, 0, &[]).await.is_empty());
}

#[tokio::test]
async fn many_large_appends_at_once_wait_for_room_and_all_come_through() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let large = NewRecord {
        value: vec![1; 1_000_000].into(),
        ..NewRecord::default()
    };
    let appends =
        (0..100).map(|n| log.append(Topic::LedgerPostings, Partition(n % 4), vec![large.clone()]));
    for done in futures::future::join_all(appends).await {
        done.unwrap();
    }
    for partition in 0..4 {
        assert_eq!(
            log.bounds(Topic::LedgerPostings, Partition(partition))
                .await
                .unwrap()
                .end,
            Offset(25)
        );
    }
    let from = Offset(24);
    let last = log
        .read(
            Topic::LedgerPostings,
            Partition(3),
            from,
            ALL,
            Duration::ZERO,
        )
        .await
        .unwrap();
    assert_eq!(last[0].value, large.value);
}

#[tokio::test]
async fn a_closed_log_is_read_but_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    append(&log, 0, &["a"]).await;
    log.close().await;
    log.close().await;
    let refused = log.append(EVENTS, Partition(0), vec![record("b")]).await;
    assert!(matches!(refused, Err(LogError::Unavailable(_))));
    assert_eq!(texts(&log, 0, 0).await, ["a"]);
}
