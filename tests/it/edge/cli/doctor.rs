//! What `doctor` finds: each situation, the sentence, and the exit code. One cause is told once.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::Value;
use tidemark::domain::position::Partition;
use tidemark::domain::time::Millis;
use tidemark::log::embedded::EmbeddedLog;
use tidemark::log::topics::shipped;
use tidemark::log::{Log as _, NewRecord, Topic, usage_partition};
use tidemark::ops::clock::{Clock, SystemClock};

use super::damage::copy;
use super::halts::run;
use super::{Place, chat, until};

/// Notes, faults and the code.
fn doctor(place: &Place) -> (Vec<String>, Vec<String>, Option<i32>) {
    let said = place.tidemark(&["doctor", "--json"]);
    let found: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
    let texts = |name: &str| -> Vec<String> {
        let all = found[name].as_array().unwrap().iter();
        all.map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let (notes, faults) = (texts("notes"), texts("faults"));
    assert_eq!(found["well"], faults.is_empty(), "{found}");
    (notes, faults, said.code)
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn nobody_at_work_is_one_cause_and_what_waits_follows_from_it() {
    let mut place = Place::new();
    place.tidemark(&["init"]).ok();
    // Neither rules nor anybody who works.
    let (_, faults, code) = doctor(&place);
    assert_eq!((faults.len(), code), (2, Some(1)), "{faults:#?}");
    has(
        &faults[0],
        &[
            "`tidemark up` is not running on this data",
            "tidemark up --data ./data",
        ],
    );
    has(
        &faults[1],
        &["No rules are published", "tidemark pricing init testnet"],
    );

    place.tidemark(&["pricing", "init", "testnet"]).ok();
    let grant = ["award", "adjust", "user", "ann", "1", "--reason", "test"];
    place.tidemark(&grant).ok();
    place.env = vec![("TIDEMARK_PIPELINE_CHUNK_AGE_MAX", "60s")];
    let up = place.up(&[]);
    place.send(&[chat("1", "ann"), chat("2", "ann")]);
    drop(up);
    let (notes, faults, code) = doctor(&place);
    assert_eq!((faults.len(), code), (1, Some(1)), "{faults:#?}");
    let Partition(partition) = usage_partition("ann", 4);
    let waits = format!("2 records wait to be rated (partition {partition}: 2).");
    has(&faults[0], &["is not running on this data", &waits]);
    let noted = format!("2 records of usage.events to be rated yet (partition {partition}: 2).");
    assert!(notes.contains(&noted), "{notes:#?}");
    // For people what follows stands below its cause.
    let said = place.tidemark(&["doctor"]);
    has(&said.out, &[&format!("\n    {waits}\n")]);
    let told = said.out.matches("not running").count();
    assert_eq!(told, 1, "{}", said.out);
}

#[test]
fn grants_that_wait_follow_from_nobody_being_there() {
    let place = Place::new();
    place.tidemark(&["init"]).ok();
    place.tidemark(&["pricing", "init", "testnet"]).ok();
    let grant = ["award", "adjust", "user", "ann", "1", "--reason", "test"];
    place.tidemark(&grant).ok();
    let (notes, faults, code) = doctor(&place);
    assert_eq!((faults.len(), code), (1, Some(1)), "{faults:#?}");
    has(
        &faults[0],
        &["is not running", "1 grant waits to be applied."],
    );
    assert!(
        notes.iter().any(|note| note.starts_with("1 grant pending")),
        "{notes:#?}"
    );
}

/// Some usage of several users, so that every partition has a checkpoint.
fn work(place: &Place, name: &str) {
    let up = place.up(&[]);
    let events: Vec<Value> = (0..40)
        .map(|n| chat(&format!("{name}-{n}"), &format!("user-{n}")))
        .collect();
    place.send(&events);
    place.wait();
    up.stop();
}

#[test]
fn a_log_that_was_made_anew_is_one_cause_however_many_partitions_it_stops() {
    let place = Place::new();
    work(&place, "a");
    fs::remove_dir_all(place.path("data/log")).unwrap();
    // Nobody has noticed yet: the same sentence, and what will come of it.
    let (_, faults, code) = doctor(&place);
    assert_eq!((faults.len(), code), (2, Some(1)), "{faults:#?}");
    has(
        &faults[1],
        &[
            "rate/",
            "post/",
            "will halt as soon as a worker takes them over (log_recreated)",
            "topic usage.events was recreated: its id was",
            "topic ledger.postings was recreated: its id was",
            "Restore the original topic",
        ],
    );
    assert!(!faults[1].contains("tidemark resume"), "{faults:#?}");

    let up = place.up(&[]);
    let tasks = until("every partition halts", || {
        let (_, faults, _) = doctor(&place);
        let [only] = &faults[..] else {
            panic!("one cause: {faults:#?}")
        };
        let resume = only.split("Then: tidemark resume ").nth(1)?.to_owned();
        (!only.contains("will")).then_some(resume)
    });
    assert_eq!(
        tasks.split(' ').filter(|t| t.contains('/')).count(),
        8,
        "{tasks}"
    );
    let said = place.tidemark(&["doctor"]);
    has(&said.out, &["have been halted since", "(log_recreated)"]);
    assert_eq!(said.out.lines().filter(|l| l.starts_with('!')).count(), 1);
    up.stop();
}

#[test]
fn tables_that_are_older_than_the_log_are_named_before_anybody_halts_and_never_well() {
    let place = Place::new();
    work(&place, "a");
    copy(&place.path("data/store"), &place.path("old"));
    work(&place, "b");
    fs::remove_dir_all(place.path("data/store")).unwrap();
    fs::rename(place.path("old"), place.path("data/store")).unwrap();
    let (_, faults, code) = doctor(&place);
    assert_eq!((faults.len(), code), (2, Some(1)), "{faults:#?}");
    has(
        &faults[1],
        &[
            "rate/",
            "will halt as soon as",
            "(tables_behind_log)",
            "but the tables hold",
            "tidemark recover",
        ],
    );
    let up = place.up(&[]);
    until("they halt", || {
        // From its first moment on.
        let (_, faults, code) = doctor(&place);
        assert_eq!((faults.len(), code), (1, Some(1)), "{faults:#?}");
        has(&faults[0], &["(tables_behind_log)", "tidemark recover"]);
        let is_all = !faults[0].contains("will") && faults[0].contains("halted since");
        is_all.then_some(())
    });
    up.stop();
}

#[test]
fn a_log_that_has_lost_records_is_named_before_and_after_it_stops_somebody() {
    let place = Place::new();
    work(&place, "a");
    copy(&place.path("data/log"), &place.path("old"));
    work(&place, "b");
    fs::remove_dir_all(place.path("data/log")).unwrap();
    fs::rename(place.path("old"), place.path("data/log")).unwrap();
    let (_, faults, code) = doctor(&place);
    assert_eq!((faults.len(), code), (2, Some(1)), "{faults:#?}");
    has(
        &faults[1],
        &[
            "will halt as soon as",
            "(log_truncated)",
            " ends at ",
            " was already processed",
            "Restore the missing records from a backup or replica",
        ],
    );
    let up = place.up(&[]);
    until("they halt", || {
        let (_, faults, _) = doctor(&place);
        assert_eq!(faults.len(), 1, "{faults:#?}");
        let is_all = !faults[0].contains("will") && faults[0].contains("halted since");
        is_all.then_some(())
    });
    up.stop();
}

#[test]
fn top_and_doctor_count_the_same_records_also_behind_a_halt() {
    let place = Place::new();
    work(&place, "a");
    fs::remove_dir_all(place.path("data/log")).unwrap();
    let up = place.up(&[]);
    let events: Vec<Value> = (0..12)
        .map(|n| chat(&format!("b-{n}"), &format!("user-{n}")))
        .collect();
    place.send(&events);
    let lags = || -> Option<Vec<(String, u64)>> {
        let said = place.tidemark(&["top", "--once", "--json"]);
        let view: Value = serde_json::from_str(&said.out).unwrap();
        let halted = view["halted"].as_array().unwrap().len();
        if halted < 8 {
            return None;
        }
        assert_eq!(view["verdict"], "halted", "{view}");
        let all = view["lag"].as_array().unwrap().iter();
        let lag = |lag: &Value| {
            let partition = lag["partition"].as_str().unwrap().to_owned();
            (partition, lag["records"].as_u64().unwrap())
        };
        Some(all.map(lag).filter(|(_, records)| *records > 0).collect())
    };
    let doctors = || -> Vec<(String, u64)> {
        let (notes, _, _) = doctor(&place);
        let of = |role: &str, start: &str| -> Vec<(String, u64)> {
            let note = notes.iter().find(|note| note.contains(start)).unwrap();
            let Some((_, by)) = note.split_once(" (") else {
                return Vec::new();
            };
            let parts = by.trim_end_matches(").").split(", ");
            let one = |part: &str| {
                let (partition, count) = part.split_once(": ").unwrap();
                let partition = partition.trim_start_matches("partition ");
                (format!("{role}/{partition}"), count.parse().unwrap())
            };
            parts.map(one).collect()
        };
        [of("post", "to be posted"), of("rate", "to be rated yet")].concat()
    };
    until("both see the twelve events", || {
        let (top, doctor) = (lags()?, doctors());
        let sum: u64 = top.iter().map(|(_, records)| records).sum();
        (top == doctor && sum == 12).then_some(())
    });
    // Behind a halt nothing is late by itself: it is told with its cause.
    let (_, faults, _) = doctor(&place);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    has(&faults[0], &[" to be rated (partition "]);
    up.stop();
}

/// The clock of whoever took the record ten minutes ago.
struct TenMinutesAgo;

#[async_trait]
impl Clock for TenMinutesAgo {
    fn now(&self) -> Millis {
        SystemClock.now().plus(-600_000)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Appends an event of ann as if it had been taken ten minutes ago.
fn append_an_old_event(place: &Place) -> u32 {
    let Partition(partition) = usage_partition("ann", 4);
    run(async {
        let clock = Arc::new(TenMinutesAgo);
        let (log, _) = EmbeddedLog::open(&place.path("data/log"), &shipped(), clock).unwrap();
        let record = NewRecord {
            key: Some("ann".into()),
            value: chat("1", "ann").to_string().into(),
            headers: Vec::new(),
        };
        let (topic, partition) = (Topic::UsageEvents, Partition(partition));
        log.append(topic, partition, vec![record]).await.unwrap();
        log.close().await;
    });
    partition
}

#[test]
fn numbers_that_are_late_are_a_fault_unless_their_cause_is_told() {
    let mut place = Place::new();
    place.tidemark(&["init"]).ok();
    place.tidemark(&["pricing", "init", "testnet"]).ok();
    let partition = append_an_old_event(&place);
    // That nobody works is the cause; how late it is says nothing more.
    let (_, faults, code) = doctor(&place);
    assert_eq!((faults.len(), code), (1, Some(1)), "{faults:#?}");
    has(
        &faults[0],
        &["is not running", "1 record waits to be rated"],
    );

    // Somebody works, and has not come to it.
    place.env = vec![("TIDEMARK_PIPELINE_CHUNK_AGE_MAX", "60s")];
    let up = place.up(&[]);
    let (_, faults, code) = doctor(&place);
    assert_eq!((faults.len(), code), (1, Some(1)), "{faults:#?}");
    has(
        &faults[0],
        &[
            "Numbers are 10 minutes late: the oldest record to be rated has waited in usage.events/",
            &format!("usage.events/{partition} since "),
            "Nothing is lost.",
            "docs/runbook.md#tidemarkfarbehind",
        ],
    );
    drop(up);
}

#[test]
fn without_kafka_adapters_are_nobodys_work() {
    let mut place = Place::new();
    let up = place.up(&[]);
    assert_eq!(doctor(&place).2, Some(0));
    place.env = vec![(
        "TIDEMARK_ADAPTERS",
        "[{topic = 'kong-logs', format = 'kong', source = 'a'}]",
    )];
    let (_, faults, code) = doctor(&place);
    assert_eq!((faults.len(), code), (1, Some(1)), "{faults:#?}");
    has(
        &faults[0],
        &["which needs Kafka", "tidemark worker --roles adapt"],
    );
    up.stop();
}

#[test]
fn what_it_cannot_look_at_is_another_code_than_what_it_finds() {
    let mut place = Place::new();
    let said = place.tidemark(&["doctor"]).failed(2);
    has(
        &said,
        &["doctor cannot run: no data directory at ./data", "--config"],
    );
    // Somebody holds the data who never answers.
    fs::create_dir(place.path("data")).unwrap();
    let held = fs::File::create(place.path("data/lock")).unwrap();
    held.lock().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    place.write(
        "data/up.json",
        &format!("{{\"pid\":1,\"listen\":\"{address}\",\"servesStore\":true}}"),
    );
    // An `up` that is stuck is a finding; `wait` says the same.
    let stuck = format!("`tidemark up` does not answer at http://{address}");
    let said = place.tidemark(&["doctor"]);
    assert_eq!(said.code, Some(1), "{}", said.out);
    has(&said.out, &[&format!("! {stuck}"), "fuser"]);
    let said = place.tidemark(&["wait"]).failed(1);
    has(&said, &[&format!("cannot wait: {stuck}"), "fuser"]);
    drop(held);
    // A cluster that is not there.
    place.write(
        "cluster.toml",
        "[log]\nengine = 'kafka'\n[kafka]\nbootstrap = '127.0.0.1:1'\n[store]\nengine = 'dynamodb'\nendpoint = 'http://127.0.0.1:1'\n",
    );
    place.env = vec![("TIDEMARK_CONFIG", "cluster.toml")];
    let asked = Instant::now();
    let said = place.tidemark(&["doctor"]);
    // A request to a broker is given up after ten seconds: two do not wait for each other.
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(18), "{took:?}");
    assert_eq!(said.code, Some(1), "{} {}", said.out, said.err);
    has(
        &said.out,
        &[
            "! The store cannot be used: ",
            "! The broker cannot be reached: ",
        ],
    );
    assert!(!said.out.contains("All is well"), "{}", said.out);
}
