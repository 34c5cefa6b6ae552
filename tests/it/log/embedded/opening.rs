//! Opening a log again, and what keeps it from opening.

use tidemark::domain::position::Epoch;

use super::*;

#[tokio::test]
async fn everything_is_there_again_and_offsets_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    for round in 0..4u64 {
        let (log, report) = open(dir.path());
        assert_eq!(report.created, round == 0);
        assert_eq!(report.damaged().count(), 0, "{report}");
        assert_eq!(report.beyond_noted_end(), 0, "a close notes every end");
        assert!(report.cut.is_empty());
        assert_eq!(
            append(&log, 2, &["x", "y"]).await,
            [round * 2, round * 2 + 1]
        );
        assert_eq!(texts(&log, 2, 0).await.len() as u64, round * 2 + 2);
        ids.push(log.topic(EVENTS).await.unwrap());
        log.close().await;
    }
    assert!(
        ids.iter()
            .all(|info| *info == ids[0] && info.partitions == 4),
        "the topic's id never changes"
    );
}

#[tokio::test]
async fn another_log_has_other_topic_ids() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let id = async |dir: &Path| open(dir).0.topic(EVENTS).await.unwrap().id;
    assert_ne!(id(a.path()).await, id(b.path()).await);
}

#[tokio::test]
async fn a_second_process_is_told_whose_directory_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (_log, _) = open(dir.path());
    let error = try_open(dir.path(), &shipped()).err().unwrap();
    assert!(matches!(error, OpenError::Locked { .. }));
    let message = error.to_string();
    assert!(
        message.contains(&dir.path().display().to_string()) && message.contains("another process"),
        "{message}"
    );
}

#[tokio::test]
async fn another_number_of_partitions_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    append(&log, 0, &["a"]).await;
    drop(log);
    let mut specs = shipped();
    specs[0].partitions = 8;
    let error = try_open(dir.path(), &specs).err().unwrap();
    let message = error.to_string();
    assert!(
        message.contains("usage.events has 4 partitions") && message.contains("new epoch"),
        "{message}"
    );
    let (log, _) = open(dir.path());
    assert_eq!(texts(&log, 0, 0).await, ["a"], "nothing was changed");
}

#[tokio::test]
async fn an_epoch_is_fixed_when_the_log_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let open_epoch =
        |epoch| EmbeddedLog::open_epoch(dir.path(), &shipped(), HandClock::at(0), Epoch(epoch));
    let (log, report) = open_epoch(3).unwrap();
    assert_eq!((log.epoch(), report.epoch), (Epoch(3), Epoch(3)));
    drop(log);
    let error = open_epoch(4).err().unwrap();
    assert!(
        matches!(
            error,
            OpenError::Epoch {
                found: Epoch(3),
                wanted: Epoch(4),
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_topic_that_is_new_is_added_and_the_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = try_open(dir.path(), &shipped()[..1]).unwrap();
    append(&log, 0, &["a"]).await;
    assert!(log.topic(Topic::LedgerPostings).await.is_err());
    let id = log.topic(EVENTS).await.unwrap();
    drop(log);
    let (log, report) = open(dir.path());
    assert!(!report.created);
    assert_eq!(report.damaged().count(), 0);
    assert_eq!(log.topic(EVENTS).await.unwrap(), id);
    assert_eq!(texts(&log, 0, 0).await, ["a"]);
    log.append(Topic::LedgerPostings, Partition(0), vec![record("p")])
        .await
        .unwrap();
}

#[tokio::test]
async fn what_a_crash_during_creation_left_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    // The ends are written first, log.json last; the partitions only after that.
    std::fs::remove_file(dir.path().join("log.json")).unwrap();
    std::fs::remove_dir_all(dir.path().join("db")).unwrap();
    let (log, report) = open(dir.path());
    assert!(report.created);
    append(&log, 0, &["a"]).await;
}
