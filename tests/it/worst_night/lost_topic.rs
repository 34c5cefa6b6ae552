//! Real Kafka and, where there is one, DynamoDB Local: `usage.events` is deleted while a chunk is in
//! flight, and a new epoch goes on as docs/runbook.md says.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;
use tidemark::domain::position::Partition;
use tidemark::pipeline::progress;

use super::readiness::probe;
use super::restored_cluster::Stage;
use crate::kafka::until;
use crate::process::site::Site;

const WITHIN: Duration = Duration::from_secs(60);
/// Partitions of `usage.events`, as shipped.
const PARTITIONS: u32 = 4;
/// Those of `ledger.postings`, as shipped.
const POSTING_PARTITIONS: usize = 4;
/// How often a worker is killed until a chunk is in flight.
const KILLS_MAX: u32 = 20;

impl Stage {
    /// The chunks that are cut and not done: source partition, first offset, offset after the last.
    fn in_flight(&self) -> Vec<(u32, u64, u64)> {
        let of = |p: u32| {
            let read = progress::rate_checkpoint(&self.db, Partition(p));
            let cut = self.runtime.block_on(read).unwrap()?;
            (cut.from < cut.to).then_some((p, cut.from.0, cut.to.0))
        };
        (0..PARTITIONS).filter_map(of).collect()
    }
}

/// The generated events, one per line.
fn generated(site: &Site, emit: &[&str]) -> Vec<Value> {
    let printed = site.run(&[emit, &["--print"]].concat());
    let events = printed.lines().map(serde_json::from_str);
    events.collect::<Result<_, _>>().expect("JSON")
}

/// What a partition of `usage.events` holds from one offset to another.
fn held(site: &Site, (partition, from, to): (u32, u64, u64)) -> Vec<Value> {
    let [partition, from, limit] =
        [partition.into(), from, to - from].map(|number: u64| number.to_string());
    let of = [
        "--partition",
        &partition,
        "--from",
        &from,
        "--limit",
        &limit,
    ];
    let printed = site.run(&[&["log", "cat", "usage.events"][..], &of].concat());
    let events = printed.lines().map(|line| {
        let mut record: Value = serde_json::from_str(line).expect("JSON");
        record["value"].take()
    });
    events.collect()
}

/// How many events each user has.
fn by_user<'a>(events: impl IntoIterator<Item = &'a Value>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for event in events {
        let user = ["subject", "userId"]
            .into_iter()
            .find_map(|name| event[name].as_str());
        *counts.entry(user.expect("a user").to_owned()).or_default() += 1;
    }
    counts
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn on_kafka_and_dynamodb_a_topic_that_is_gone_with_a_chunk_in_flight_is_given_up_and_counts_once() {
    let Some(mut stage) = Stage::new() else {
        return;
    };
    let start = Instant::now();
    stage.site.run(&["pricing", "init", "testnet"]);
    let at = jiff::Timestamp::now().to_string();
    let emit = [
        "emit", "--clean", "--events", "1500", "--seed", "7", "--at", &at,
    ];
    let send = [&emit[..], &["--rate", "150"]].concat();
    let mut load = stage.site.command(&send);
    let mut load = load.stdout(Stdio::null()).spawn().unwrap();
    let mut kills = 0;
    let in_flight = loop {
        let env = [
            ("TIDEMARK_KAFKA_SESSION_TIMEOUT", "6s"),
            // However late it begins, there are many.
            ("TIDEMARK_PIPELINE_CHUNK_RECORDS_MAX", "20"),
        ];
        let mut worker = stage.site.worker("worker", &env);
        worker.wait_ready();
        until(WITHIN, "rating", || {
            worker
                .metric("tidemark_chunks_total")
                .is_some_and(|chunks| chunks >= 8.0)
        });
        std::thread::sleep(Duration::from_millis(37 * u64::from(kills % 7)));
        worker.kill();
        kills += 1;
        let in_flight = stage.in_flight();
        if !in_flight.is_empty() {
            break in_flight;
        }
        assert!(kills < KILLS_MAX, "no chunk is in flight");
    };
    assert!(load.wait().unwrap().success());
    eprintln!(
        "{in_flight:?} in flight after {kills} kills, {:?}",
        start.elapsed()
    );

    // Whoever runs it knows roughly which events these are, by their times; the test knows exactly.
    let held: Vec<Vec<Value>> = in_flight
        .iter()
        .map(|chunk| held(&stage.site, *chunk))
        .collect();
    for ((p, from, to), held) in in_flight.iter().zip(&held) {
        assert_eq!(held.len() as u64, to - from, "usage.events/{p}");
    }

    // What of it is posted is in the accounts: the posters drain what there is of the old epoch.
    let cluster = stage.site.cluster().unwrap().clone();
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", &cluster.bootstrap);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let topic = format!("{}usage.events", cluster.prefix);
    let deleted = admin.delete_topics(&[&topic], &AdminOptions::new());
    stage.runtime.block_on(deleted).unwrap();
    let worker = stage.site.worker_with("drain", &["--roles", "post"], &[]);
    until(WITHIN, "posting is drained", || {
        let lags = worker.series("tidemark_lag_records").unwrap_or_default();
        lags.len() == POSTING_PARTITIONS && lags.iter().all(|lag| *lag == 0.0)
    });
    assert_eq!(worker.stop().0.code(), Some(0));

    // The old configuration goes no further.
    let rater = stage.site.worker_with("rater", &["--roles", "rate"], &[]);
    until(WITHIN, "the missing topic is told", || {
        let (status, said) = probe(&rater);
        status == 503 && said.to_string().contains("usage.events")
    });
    let said = stage.site.try_run(&["doctor"]);
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    assert!(said.stdout.contains("a-topic-is-gone"), "{}", said.stdout);
    drop(rater);

    // A new epoch on other topics.
    let prefix = format!("{}two.", cluster.prefix);
    let env = [
        ("TIDEMARK_LOG_EPOCH", "1"),
        ("TIDEMARK_KAFKA_TOPIC_PREFIX", prefix.as_str()),
    ];
    stage.site.set(&env);
    let site = &stage.site;
    site.run(&["topics", "apply", "--replication-factor", "1"]);
    let mut worker = site.worker("early", &env);
    worker.wait_ready();
    let said = || site.try_run(&["doctor"]).stdout;
    until(WITHIN, "partitions halt", || {
        said().contains("log_recreated")
    });
    assert!(said().contains("a-topic-is-gone"), "{}", said());
    assert_eq!(worker.stop().0.code(), Some(0));
    let accept = ["accept-loss", "--reason", "the topic was deleted"];
    let asked = site.try_run(&accept);
    assert_eq!(asked.code, Some(2), "{}", asked.stderr);
    let mut counted_in_part: Vec<&Value> = Vec::new();
    for ((p, from, to), held) in in_flight.iter().zip(&held) {
        let which = format!("usage.events/{p} offsets {from} to {to} (not included)");
        let told = asked.stdout.lines().find(|line| line.contains(&which));
        let told = told.unwrap_or_else(|| panic!("{which}: {}", asked.stdout));
        match told.contains("counted in part") {
            true => counted_in_part.extend(held),
            false => assert!(told.contains("Its events count when they are sent again")),
        }
    }
    // The posters have drained what there was.
    assert!(
        !asked.stdout.contains("are in no account"),
        "{}",
        asked.stdout
    );
    let accepted = site.run(&[&accept[..], &["--yes"]].concat());
    eprintln!("{accepted}");
    assert!(accepted.contains("epoch 1 can begin"), "{accepted}");
    let again = site.run(&[&accept[..], &["--yes"]].concat());
    assert!(again.contains("nothing is in flight"), "{again}");

    let mut worker = site.worker("late", &env);
    worker.wait_ready();
    site.run(&["resume", "--all", "--reason", "accepted"]);
    // Gateways send everything again, also what was counted; but not what they are told not to.
    let sent = generated(site, &emit);
    let again = sent.iter().filter(|event| !counted_in_part.contains(event));
    let lines: Vec<String> = again.map(ToString::to_string).collect();
    let path = site.file("again.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    site.run(&["emit", "--file", path.to_str().unwrap()]);
    site.run(&["wait", "--timeout", "60s"]);
    let (sent, may_be_lost) = (by_user(&sent), by_user(counted_in_part));
    let counted = site.requests_of_users();
    let all: BTreeSet<&String> = sent.keys().chain(counted.keys()).collect();
    for user in all {
        let of = |counts: &BTreeMap<String, u64>| counts.get(user).copied().unwrap_or(0);
        let (sent, counted, lost) = (of(&sent), of(&counted), of(&may_be_lost));
        let is_right = counted <= sent && counted + lost >= sent;
        assert!(is_right, "{user}: {counted} of {sent}, at most {lost} lost");
    }
    site.run(&["doctor"]);
    assert_eq!(worker.stop().0.code(), Some(0));
    eprintln!(
        "{} of {} counted, at most {} lost; {:?}",
        counted.values().sum::<u64>(),
        sent.values().sum::<u64>(),
        may_be_lost.values().sum::<u64>(),
        start.elapsed()
    );
}
