//! Damage: it is found, it is told, it halts what it touches, and nothing is skipped silently.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;

fn journal(dir: &Path) -> PathBuf {
    dir.join("db").join("0.jnl")
}

/// A log whose journal holds `appends` appends, alternating between partitions 0 and 1; returns where in the journal each ended. The journal's
/// room for later writes is cut off, so that it is quick to copy.
async fn written(dir: &Path, appends: usize) -> Vec<usize> {
    let (log, _) = open(dir);
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(journal(dir))
        .unwrap();
    let mut ends = vec![];
    for n in 0..appends {
        append(&log, (n % 2) as u32, &[&"r".repeat(300)]).await;
        let begin = ends.last().copied().unwrap_or(0);
        let mut window = [0; 4_096];
        file.read_exact_at(&mut window, begin as u64).unwrap();
        ends.push(begin + window.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    }
    log.close().await;
    drop(log);
    file.set_len(ends[appends - 1] as u64).unwrap();
    ends
}

#[tokio::test]
async fn a_journal_broken_in_the_middle_halts_what_got_shorter() {
    let dir = tempfile::tempdir().unwrap();
    let ends = written(dir.path(), 10).await;
    // Somewhere in the fifth append: a byte of its value, of its tags, of its trailer.
    for at in [
        ends[4] - 100,
        ends[3] + 1,
        ends[3],
        ends[4] - 1,
        ends[4] - 9,
    ] {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        let mut bytes = fs::read(journal(copy.path())).unwrap();
        bytes[at] ^= 0x55;
        fs::write(journal(copy.path()), &bytes).unwrap();

        let (log, report) = open(copy.path());
        let damaged: Vec<u32> = report.damaged().map(|p| p.partition.0).collect();
        assert_eq!(damaged, [0, 1], "{at}: {report}");
        for partition in [0, 1] {
            assert!(is_damaged(&read(&log, partition, 0).await));
            assert!(is_damaged(&log.bounds(EVENTS, Partition(partition)).await));
            assert!(is_damaged(
                &log.append(EVENTS, Partition(partition), vec![record("no")])
                    .await
            ));
        }
        append(&log, 2, &["the others go on"]).await;
        let told = report.to_string();
        assert!(told.contains("usage.events/0 is damaged and halts: it ends at 2, but everything before 5 was acknowledged"), "{told}");

        let kept = report.cut[0].kept.clone().unwrap();
        assert_eq!(
            fs::read(kept).unwrap(),
            bytes,
            "the journal as it was is kept"
        );

        // It stays damaged until someone does something about it.
        drop(log);
        let (log, report) = open(copy.path());
        assert_eq!(report.damaged().count(), 2, "{report}");
        assert_eq!(texts(&log, 2, 0).await, ["the others go on"]);
    }
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_journal_cut_short_never_loses_an_acknowledged_record_silently() {
    let dir = tempfile::tempdir().unwrap();
    let ends = written(dir.path(), 6).await;
    for at in [ends[0] + 40, ends[2], ends[4] + 1, ends[5] - 1, ends[5]] {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        let file = fs::OpenOptions::new()
            .write(true)
            .open(journal(copy.path()))
            .unwrap();
        file.set_len(at as u64).unwrap();

        let (log, report) = open(copy.path());
        let whole = ends.iter().filter(|end| **end <= at).count();
        for partition in 0..2usize {
            let left = (whole + 1 - partition) / 2;
            if left == 3 {
                assert_eq!(texts(&log, partition as u32, 0).await.len(), 3);
            } else {
                assert!(
                    is_damaged(&read(&log, partition as u32, 0).await),
                    "{at}: {report}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_torn_write_that_nobody_was_told_of_is_cut_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let ends = written(dir.path(), 4).await;
    let whole = fs::read(journal(dir.path())).unwrap();
    // The fifth write, as a crash leaves it: the beginning of the fourth, once more.
    let torn = whole[ends[2]..ends[3] - 60].to_vec();
    let mut bytes = whole[..ends[3]].to_vec();
    bytes.extend_from_slice(&torn);
    bytes.resize(bytes.len() + 10_000, 0);
    fs::write(journal(dir.path()), &bytes).unwrap();

    let (log, report) = open(dir.path());
    assert_eq!(report.damaged().count(), 0, "{report}");
    assert_eq!(report.cut.len(), 1);
    assert_eq!(report.cut[0].bytes, torn.len() as u64);
    assert_eq!(report.cut[0].kept, None);
    assert!(report.to_string().contains("torn write"), "{report}");
    assert_eq!(texts(&log, 0, 0).await.len(), 2);
    append(&log, 0, &["and on"]).await;
}

#[tokio::test]
async fn a_torn_write_with_a_hole_is_cut_too() {
    let dir = tempfile::tempdir().unwrap();
    let ends = written(dir.path(), 4).await;
    let mut bytes = fs::read(journal(dir.path())).unwrap()[..ends[3]].to_vec();
    let fourth = bytes[ends[2]..].to_vec();
    bytes.extend_from_slice(&fourth);
    // A page in the middle that never reached the disk, though its end did.
    let end = bytes.len();
    bytes[end - 200..end - 100].fill(0);
    fs::write(journal(dir.path()), &bytes).unwrap();
    let (log, report) = open(dir.path());
    assert_eq!(report.damaged().count(), 0, "{report}");
    assert_eq!(report.cut[0].bytes, fourth.len() as u64);
    assert_eq!(texts(&log, 1, 0).await.len(), 2);
}

#[tokio::test]
async fn records_behind_the_noted_end_are_kept_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    append(&log, 0, &["a"]).await;
    log.close().await;
    drop(log);
    let noted = fs::read(dir.path().join("acknowledged")).unwrap();
    let (log, _) = open(dir.path());
    append(&log, 0, &["b", "c"]).await;
    drop(log);
    // As if the process had ended before the end was noted.
    fs::write(dir.path().join("acknowledged"), noted).unwrap();
    let (log, report) = open(dir.path());
    assert_eq!(report.beyond_noted_end(), 2);
    assert!(
        report
            .to_string()
            .contains("2 records were written after the last recorded end"),
        "{report}"
    );
    assert_eq!(texts(&log, 0, 0).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn without_its_own_files_the_log_does_not_open() {
    let rows: [(&[&str], &str); 5] = [
        (&["acknowledged"], "'acknowledged' is missing"),
        (
            &["log.json"],
            "log.json is missing, although records were acknowledged",
        ),
        (
            &["log.json", "acknowledged"],
            "although there are partitions",
        ),
        (&["db/version"], "damaged"),
        (&["db/keyspaces/1"], ""),
    ];
    for (gone, expected) in rows {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), 4).await;
        for name in gone {
            let path = dir.path().join(name);
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
        match try_open(dir.path(), &shipped()) {
            Err(error) => assert!(error.to_string().contains(expected), "{gone:?}: {error}"),
            Ok((_, report)) => assert!(report.damaged().count() > 0, "{gone:?}: {report}"),
        }
    }
}

#[tokio::test]
async fn garbled_own_files_keep_the_log_from_opening() {
    for (name, expected) in [
        ("acknowledged", "unreadable"),
        ("log.json", "unreadable"),
        ("db/version", ""),
    ] {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), 2).await;
        fs::write(dir.path().join(name), b"nonsense").unwrap();
        let error = try_open(dir.path(), &shipped()).err().unwrap();
        assert!(
            matches!(error, OpenError::Damaged { .. }),
            "{name}: {error}"
        );
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
}

#[tokio::test]
async fn an_emptied_storage_engine_is_seen_as_lost_records() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 4).await;
    fs::remove_dir_all(dir.path().join("db")).unwrap();
    let (log, report) = open(dir.path());
    assert_eq!(report.damaged().count(), 2, "{report}");
    assert!(is_damaged(&read(&log, 0, 0).await));
    append(&log, 3, &["an untouched partition goes on"]).await;
}

/// The files of tables, largest first.
fn tables(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.join("db").join("keyspaces")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if entry.path().parent().unwrap().ends_with("tables") {
                found.push((entry.metadata().unwrap().len(), entry.path()));
            }
        }
    }
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

#[tokio::test]
async fn a_damaged_table_is_an_error_and_never_a_hole() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let large = NewRecord {
        value: vec![5; 100_000].into(),
        ..NewRecord::default()
    };
    for _ in 0..40 {
        log.append(EVENTS, Partition(0), vec![large.clone(); 10])
            .await
            .unwrap();
    }
    append(&log, 1, &["elsewhere"]).await;
    for _ in 0..100 {
        if tables(dir.path())
            .iter()
            .any(|table| fs::metadata(table).unwrap().len() > 1_000_000)
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    log.close().await;
    drop(log);
    let table = tables(dir.path()).remove(0);
    let mut bytes = fs::read(&table).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&table, bytes).unwrap();

    let (log, _) = match try_open(dir.path(), &shipped()) {
        Ok(opened) => opened,
        Err(error) => {
            assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
            return;
        }
    };
    let mut next = 0;
    let error = loop {
        match read(&log, 0, next).await {
            Ok(records) if records.is_empty() => {
                panic!("the damage was not seen in {next} records")
            }
            Ok(records) => {
                assert!(records.iter().all(|record| record.value == large.value));
                next += records.len() as u64;
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
    assert_eq!(texts(&log, 1, 0).await, ["elsewhere"]);
    // It is an error to the reader of that record only.
    let (damaged, end) = (next, 400);
    let mut readable = Vec::new();
    for offset in damaged..end {
        match read(&log, 0, offset).await {
            Ok(records) => readable.push(records[0].offset.0),
            Err(error) => assert!(matches!(error, LogError::Damaged { .. }), "{error}"),
        }
    }
    let first = readable[0];
    assert!(damaged < first && first < damaged + 50, "{damaged} {first}");
    assert_eq!(readable, (first..end).collect::<Vec<u64>>());
    assert!(is_damaged(&read(&log, 0, damaged).await));
    assert_eq!(append(&log, 0, &["more"]).await, [end]);
    assert_eq!(texts(&log, 0, end).await, ["more"]);
    // Retention goes past it: only the newest record stays.
    let removed = log.enforce_retention(Millis(i64::MAX / 2)).await.unwrap();
    assert_eq!(removed.records, end);
    assert_eq!(
        log.bounds(EVENTS, Partition(0)).await.unwrap().start,
        Offset(end)
    );
}

#[tokio::test]
async fn a_hole_that_a_damaged_older_journal_left_is_found_when_opening() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let bulk = NewRecord {
        value: vec![9; 1_000_000].into(),
        ..NewRecord::default()
    };
    let fill = async |appends| {
        for _ in 0..appends {
            log.append(Topic::LedgerPostings, Partition(0), vec![bulk.clone(); 5])
                .await
                .unwrap();
        }
    };
    append(&log, 1, &["in the first journal"]).await;
    fill(4).await;
    append(&log, 1, &["in the first journal, too"]).await;
    for _ in 0..20 {
        if dir.path().join("db/1.jnl").exists() {
            break;
        }
        fill(1).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        dir.path().join("db/1.jnl").exists(),
        "the journal was not rotated"
    );
    append(&log, 1, &["in the second journal"]).await;
    append(&log, 0, &["untouched"]).await;
    log.close().await;
    drop(log);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(journal(dir.path()))
        .unwrap();
    file.write_all_at(b"damage", 7_000_000).unwrap();
    drop(file);

    let (log, report) = open(dir.path());
    let of_events: Vec<u32> = report
        .damaged()
        .filter(|p| p.topic == EVENTS)
        .map(|p| p.partition.0)
        .collect();
    assert_eq!(of_events, [1], "{report}");
    assert!(report.cut[0].kept.is_some());
    assert!(
        report.to_string().contains("record 1 is missing"),
        "{report}"
    );
    assert!(is_damaged(&read(&log, 1, 2).await));
    assert_eq!(texts(&log, 0, 0).await, ["untouched"]);

    // The engine has cut its journal by now, but the hole is still there.
    log.close().await;
    drop(log);
    let (_, report) = open(dir.path());
    assert!(report.cut.is_empty());
    assert!(
        report.to_string().contains("record 1 is missing"),
        "{report}"
    );
}
