//! Old records go, and their disk space with them.

use tidemark::log::Bounds;

use super::*;

const DAY: i64 = 86_400_000;

async fn bounds(log: &EmbeddedLog, partition: u32) -> Bounds {
    log.bounds(EVENTS, Partition(partition)).await.unwrap()
}

#[tokio::test]
async fn what_is_older_than_the_retention_goes_and_the_newest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let clock = HandClock::at(0);
    let (log, _) = EmbeddedLog::open(dir.path(), &shipped(), clock.clone()).unwrap();
    for day in 0..5 {
        clock.set(day * DAY);
        append(&log, 0, &["a", "b"]).await;
    }
    append(&log, 1, &["only"]).await;
    let removed = async |now| log.enforce_retention(Millis(now)).await.unwrap().records;
    assert_eq!(removed(7 * DAY).await, 0, "seven days are kept");
    assert_eq!(removed(8 * DAY).await, 2);
    assert_eq!(removed(8 * DAY).await, 0);
    assert_eq!(
        bounds(&log, 0).await,
        Bounds {
            start: Offset(2),
            end: Offset(10)
        }
    );
    assert!(matches!(
        read(&log, 0, 1).await,
        Err(LogError::OutOfRange { .. })
    ));
    assert_eq!(texts(&log, 0, 2).await.len(), 8);
    assert_eq!(removed(100 * DAY).await, 7);
    assert_eq!(
        bounds(&log, 0).await,
        Bounds {
            start: Offset(9),
            end: Offset(10)
        }
    );
    assert_eq!(
        bounds(&log, 1).await,
        Bounds {
            start: Offset(0),
            end: Offset(1)
        }
    );
    drop(log);

    let (log, report) = open(dir.path());
    assert_eq!(report.damaged().count(), 0, "{report}");
    assert_eq!(
        bounds(&log, 0).await,
        Bounds {
            start: Offset(9),
            end: Offset(10)
        }
    );
    assert_eq!(append(&log, 0, &["next"]).await, [10]);
    assert_eq!(texts(&log, 0, 9).await, ["b", "next"]);
}

fn disk_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => disk_bytes(&entry.path()),
            false => entry.metadata().unwrap().len(),
        })
        .sum()
}

#[tokio::test]
async fn disk_space_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let clock = HandClock::at(0);
    let (log, _) = EmbeddedLog::open(dir.path(), &shipped(), clock.clone()).unwrap();
    // Bytes that do not compress: 400 records of 100 KB.
    let mut state = 1u64;
    let mut noise = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u8
    };
    for _ in 0..40 {
        let records = (0..10).map(|_| NewRecord {
            value: (0..100_000).map(|_| noise()).collect::<Vec<u8>>().into(),
            ..NewRecord::default()
        });
        log.append(EVENTS, Partition(0), records.collect())
            .await
            .unwrap();
    }
    clock.set(30 * DAY);
    append(&log, 0, &["young"]).await;
    let tables = dir.path().join("db").join("keyspaces");
    // Tables are written in the background.
    for _ in 0..100 {
        if disk_bytes(&tables) > 30_000_000 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = disk_bytes(&tables);
    assert!(before > 30_000_000, "{before}");
    assert_eq!(
        log.enforce_retention(Millis(30 * DAY))
            .await
            .unwrap()
            .records,
        400
    );
    // Dropped tables are deleted with the next pass, five minutes later, if anything was written meanwhile.
    append(&log, 0, &["younger"]).await;
    assert_eq!(
        log.enforce_retention(Millis(30 * DAY))
            .await
            .unwrap()
            .records,
        0
    );
    let mut after = disk_bytes(&tables);
    for _ in 0..100 {
        if after < before / 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        after = disk_bytes(&tables);
    }
    assert!(after < before / 2, "{before} bytes before, {after} after");
    assert_eq!(texts(&log, 0, 400).await, ["young", "younger"]);
    drop(log);
    let (log, report) = open(dir.path());
    assert_eq!(report.damaged().count(), 0, "{report}");
    assert_eq!(texts(&log, 0, 400).await, ["young", "younger"]);
}
