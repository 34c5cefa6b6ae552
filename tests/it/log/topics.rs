//! The topics' files.

use std::time::Duration;

use tidemark::log::Topic;
use tidemark::log::topics::{EVENT_BYTES_MAX, RecordFormat, TopicSpec, load, shipped};

const EVENTS: &str = include_str!("../../../topics/usage.events.yaml");
const CUTS: &str = include_str!("../../../topics/ledger.cuts.yaml");
const POSTINGS: &str = include_str!("../../../topics/ledger.postings.yaml");

#[test]
fn every_shipped_file_is_right() {
    let specs = load(None).unwrap();
    assert_eq!(specs, shipped());
    assert_eq!(
        specs.iter().map(|spec| spec.topic).collect::<Vec<_>>(),
        Topic::ALL
    );
    let files = std::fs::read_dir("topics").unwrap().count();
    assert_eq!(files, Topic::ALL.len(), "a file that nothing reads");
    let events = &specs[0];
    assert_eq!(events.partitions, 4);
    assert_eq!(events.retention, Duration::from_secs(7 * 86_400));
    assert!(events.largest_record_bytes > EVENT_BYTES_MAX);
    assert_eq!(events.record.format, RecordFormat::Json);
    assert!(specs[1].largest_record_bytes > events.largest_record_bytes);
    assert!(specs[2].largest_record_bytes >= 2 * tidemark::log::posting::BLOCK_BYTES_MAX);
}

/// The faults of the shipped `usage.events` after one replacement, as lines.
fn faults(from: &str, to: &str) -> Vec<String> {
    let text = EVENTS.replacen(from, to, 1);
    assert_ne!(text, EVENTS, "{from} is not in the file");
    let faults = TopicSpec::parse("usage.events.yaml", &text).unwrap_err();
    faults.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn a_fault_names_file_key_and_what_is_allowed() {
    let rows = [
        (
            "partitions: 4",
            "partitions: 0",
            "partitions: is 0; allowed: a whole number from 1 to 1024",
        ),
        (
            "partitions: 4",
            "partitions: four",
            "partitions: is \"four\"; allowed: a whole number from 1 to 1024",
        ),
        (
            "partitions: 4",
            "partitions: 4.5",
            "partitions: is 4.5; allowed: a whole number from 1 to 1024",
        ),
        (
            "partitions: 4",
            "",
            "partitions: is missing; allowed: a whole number from 1 to 1024",
        ),
        (
            "minInsyncReplicas: 2",
            "minInsyncReplicas: 4",
            "minInsyncReplicas: is 4; allowed: a whole number from 1 to 3",
        ),
        (
            "retentionHours: 168",
            "retentionHours: 23",
            "retentionHours: is 23; allowed: a whole number from 24 to 87600",
        ),
        (
            "cleanupPolicy: delete",
            "cleanupPolicy: compact",
            "cleanupPolicy: is \"compact\"; allowed: delete",
        ),
        (
            "timestampType: LogAppendTime",
            "timestampType: CreateTime",
            "timestampType: is \"CreateTime\"; allowed: LogAppendTime",
        ),
        (
            "largestRecordBytes: 131072",
            "largestRecordBytes: 65536",
            "largestRecordBytes: is 65536; allowed: a whole number from 73728 to 67108864",
        ),
        (
            "name: usage.events",
            "name: usage.event",
            "name: is \"usage.event\"; allowed: usage.events, usage.rejected, ledger.postings, ledger.cuts",
        ),
        (
            "format: json",
            "format: avro",
            "record.format: is \"avro\"; allowed: json, original, binary",
        ),
        (
            "  schema:",
            "  schemata:",
            "record.schema: is missing; allowed: a JSON schema",
        ),
    ];
    for (from, to, expected) in rows {
        assert_eq!(
            faults(from, to)[0],
            format!("usage.events.yaml: {expected}")
        );
    }
    let unknown = faults("partitions: 4", "partitions: 4\nreplicas: 3");
    assert!(
        unknown[0].contains("replicas: is unknown; allowed: name, partitions, "),
        "{unknown:?}"
    );
}

#[test]
fn all_faults_are_told_at_once() {
    let text = "name: usage.events\npartitions: -1\nretentionhours: 5\nrecord: 7\n";
    let faults = TopicSpec::parse("f", text).unwrap_err();
    let keys: Vec<&str> = faults.0.iter().map(|fault| fault.key.as_str()).collect();
    let expected = [
        "partitions",
        "replicationFactor",
        "minInsyncReplicas",
        "retentionHours",
        "cleanupPolicy",
        "timestampType",
        "largestRecordBytes",
        "holds",
        "key",
        "record.format",
        "record.description",
        "retentionhours",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn text_that_is_no_yaml_mapping_is_refused() {
    for text in ["", "- a", ": : :", "name: [", "\u{0}"] {
        assert!(TopicSpec::parse("f", text).is_err(), "{text:?}");
    }
    let twice = format!("{EVENTS}\npartitions: 8\n");
    assert!(TopicSpec::parse("f", &twice).is_err(), "a key given twice");
}

#[test]
fn a_directory_overrides_what_is_shipped() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    put(
        "ledger.postings.yaml",
        &POSTINGS.replace("partitions: 4", "partitions: 9"),
    );
    put("README.md", "not a topic");
    let partitions = |specs: Vec<TopicSpec>| specs.iter().map(|s| s.partitions).collect::<Vec<_>>();
    assert_eq!(partitions(load(Some(dir.path())).unwrap()), [4, 4, 9, 4]);

    put("ledger.posting.yaml", POSTINGS);
    put("usage.rejected.yaml", POSTINGS);
    let faults = load(Some(dir.path())).unwrap_err().to_string();
    assert!(
        faults.contains("ledger.posting.yaml: (file): is not a topic file"),
        "{faults}"
    );
    assert!(
        faults.contains("name: is ledger.postings; allowed: usage.rejected"),
        "{faults}"
    );
}

#[test]
fn rejects_must_fit_the_largest_event() {
    let dir = tempfile::tempdir().unwrap();
    let large = EVENTS.replace("largestRecordBytes: 131072", "largestRecordBytes: 1048576");
    std::fs::write(dir.path().join("usage.events.yaml"), large).unwrap();
    let faults = load(Some(dir.path())).unwrap_err().to_string();
    assert!(
        faults.contains("usage.rejected.yaml: largestRecordBytes"),
        "{faults}"
    );
}

#[test]
fn cuts_without_a_file_are_like_usage_events() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let events = EVENTS
        .replace("partitions: 4", "partitions: 12")
        .replace("replicationFactor: 3", "replicationFactor: 2")
        .replace("minInsyncReplicas: 2", "minInsyncReplicas: 1")
        .replace("retentionHours: 168", "retentionHours: 500");
    put("usage.events.yaml", &events);
    let specs = load(Some(dir.path())).unwrap();
    let (events, cuts) = (&specs[0], &specs[3]);
    assert_eq!((cuts.topic, cuts.partitions), (Topic::LedgerCuts, 12));
    assert_eq!(
        (
            cuts.replication_factor,
            cuts.min_insync_replicas,
            cuts.retention
        ),
        (2, 1, events.retention)
    );
    put("ledger.cuts.yaml", CUTS);
    let faults = load(Some(dir.path())).unwrap_err().to_string();
    for fault in [
        "ledger.cuts.yaml: partitions: is 4, but not that of usage.events; allowed: 12",
        "ledger.cuts.yaml: retentionHours: is 168, less than that of usage.events; allowed: at least 500",
    ] {
        assert!(faults.contains(fault), "{faults}");
    }
}

#[test]
fn a_directory_that_cannot_be_listed_is_a_fault() {
    assert!(load(Some("no/such/directory".as_ref())).is_err());
}
