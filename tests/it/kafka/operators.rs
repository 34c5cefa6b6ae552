//! What a careless operator does, and what he is told.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::Value;

use super::broker::{self, Broker};
use crate::process::site::{Cluster, Site, Up};
use crate::store::embedded_endpoint;

const WAIT: Duration = Duration::from_secs(60);

fn until(what: &str, holds: impl FnMut() -> bool) {
    super::until(WAIT, what, holds);
}

/// Topics, tables and rules, on a broker and the embedded engine.
pub fn site(bootstrap: &str) -> Site {
    let store = embedded_endpoint().to_owned();
    let site = Site::on(Cluster {
        bootstrap: bootstrap.to_owned(),
        prefix: broker::prefix(),
        store: store.clone(),
        store_of_workers: store,
    });
    site.run(&["pricing", "init", "testnet"]);
    site
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// How a process ends, within a bound; one that does not is killed.
fn ends(child: &mut Child, what: &str) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > WAIT {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{what}: it runs on");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A command on a configuration of its own.
fn with(config: &str, env: &[(&str, &str)], args: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tidemark.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemark"));
    command.arg("--config").arg(file).args(args);
    command.envs(env.iter().copied()).output().unwrap()
}

#[test]
fn settings_that_cannot_be_used_are_refused_by_name_and_their_values_stay_secret() {
    let refused = |properties: &str, names: &str| {
        // Nobody listens on port 1; nothing is asked of anybody.
        let config = format!(
            "[log]\nengine = 'kafka'\n[store]\nengine = 'dynamodb'\nendpoint = 'http://127.0.0.1:1'\n\
             [kafka]\nbootstrap = '127.0.0.1:1'\n[kafka.properties]\n{properties}\n"
        );
        let env = [("PASSWORD", "hunter2")];
        let output = with(&config, &env, &["worker", "--listen", "127.0.0.1:0"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{properties}: {said}");
        assert!(said.contains(names), "{properties}: {said}");
        assert!(!said.contains("hunter2"), "{properties}: {said}");
    };
    let plain = [
        "sasl.password",
        "ssl.key.password",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.config",
    ];
    for name in plain {
        let key = format!("kafka.properties.{name} is a secret");
        refused(&format!("{name} = 'hunter2'"), &key);
    }
    refused("sasl.pasword = 'hunter2'", "kafka.properties.sasl.pasword");
    refused(
        "sasl.passwort = 'env:PASSWORD'",
        "kafka.properties.sasl.passwort",
    );
    refused(
        "my.password = 'env:PASSWORD'",
        "kafka.properties.my.password",
    );
    refused("request.timeout.ms = 'hunter2'", "request.timeout.ms");
    refused("sasl.password = hunter2", "is not TOML: line 9");
    // What only a producer refuses.
    refused("retries = 0", "retries");
    if cfg!(not(feature = "tls")) {
        refused("ssl.key.password = 'env:PASSWORD'", "ssl.key.password");
    }
}

#[test]
fn no_adapter_may_read_what_tidemark_writes() {
    let config = "[kafka]\ntopic_prefix = 'eu.'\n[[adapters]]\ntopic = 'eu.usage.rejected'\nformat = 'kong'\nsource = 'kong'\n";
    let output = with(config, &[], &["doctor"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("adapters[0].topic is one of tidemark's own topics"),
        "{said}"
    );
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn a_worker_whose_log_nobody_reads_any_more_works_on_and_stops_when_told() {
    let Some(bootstrap) = broker::bootstrap() else {
        return;
    };
    let site = site(bootstrap);
    let mut child = site
        .command(&["worker", "--listen", "127.0.0.1:0"])
        .env("RUST_LOG", "debug")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let welcome = lines.next().unwrap().unwrap();
    assert!(welcome.contains("worker is up"), "{welcome}");
    // From now on every log line fails.
    drop(child.stderr.take());
    site.run(&["emit", "--clean", "--events", "200"]);
    let waited = site.try_run(&["wait", "--timeout", "60s"]);
    signal(&child, "TERM");
    let status = ends(&mut child, "told to stop");
    assert_eq!(waited.code, Some(0), "{}", waited.stderr);
    assert_eq!(status.code(), Some(0));
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn a_worker_and_an_emit_stop_within_their_bounds_while_the_broker_hangs() {
    let Some(mut broker) = Broker::own() else {
        return;
    };
    let site = site(&broker.bootstrap());
    let env = [("TIDEMARK_DRAIN_TIMEOUT", "2s")];
    let mut worker = site.worker("worker", &env);
    worker.wait_ready();
    let emit = |more: &[&str]| {
        let args = [&["emit", "--clean", "--rate", "100"], more].concat();
        let mut command = site.command(&args);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut stopped = emit(&[]);
    let mut impatient = emit(&["--patience", "3s"]);
    until("the worker rates", || {
        worker
            .metric("tidemark_events_rated_total")
            .is_some_and(|rated| rated > 50.0)
    });
    broker.freeze();
    let status = ends(&mut impatient, "without patience");
    assert_eq!(status.code(), Some(1));
    // Its queues are full of what nobody acknowledges.
    let asked = Instant::now();
    signal(&stopped, "INT");
    let status = ends(&mut stopped, "told to stop");
    assert_eq!(status.code(), Some(1), "not everything was acknowledged");
    let emit_took = asked.elapsed();
    let (status, took) = worker.stop();
    broker.thaw();
    assert_eq!(status.code(), Some(0));
    assert!(emit_took < Duration::from_secs(10), "emit: {emit_took:?}");
    assert!(took < Duration::from_secs(20), "worker: {took:?}");
}

/// librdkafka could keep two processors busy with looking for a broker that refuses connections.
#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn a_worker_whose_broker_is_down_waits_and_leaves_the_processors_to_others() {
    let Some(mut broker) = Broker::own() else {
        return;
    };
    let site = site(&broker.bootstrap());
    let mut worker = site.worker("worker", &[]);
    worker.wait_ready();
    broker.stop();
    until("the worker knows that the log is away", || {
        worker.metric("tidemark_dependency_down") == Some(1.0)
    });
    let (before, start) = (worker.processor_time(), Instant::now());
    until("requests to the broker have run out of time", || {
        start.elapsed() > Duration::from_secs(12)
    });
    let used = worker.processor_time() - before;
    let share = used.as_secs_f64() / start.elapsed().as_secs_f64();
    broker.start();
    until("it is back", || {
        worker.metric("tidemark_dependency_down") == Some(0.0)
    });
    assert!(share < 0.5, "it used {share:.2} processors for waiting");
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn an_emit_whose_input_stays_silent_stops_when_told() {
    let Some(bootstrap) = broker::bootstrap() else {
        return;
    };
    let site = site(bootstrap);
    let mut child = site
        .command(&["emit", "--file", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let event = site.run(&["emit", "--clean", "--events", "1", "--print"]);
    let stdin = child.stdin.as_mut().unwrap();
    stdin.write_all(event.as_bytes()).unwrap();
    stdin.flush().unwrap();
    until("the event is there", || {
        let cat = site.run(&["log", "cat", "usage.events"]);
        !cat.is_empty()
    });
    signal(&child, "INT");
    let status = ends(&mut child, "told to stop");
    assert_eq!(status.code(), Some(0), "what it was given is acknowledged");
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn tables_that_move_while_they_are_copied_are_no_copy() {
    let Some(bootstrap) = broker::bootstrap() else {
        return;
    };
    let site = site(bootstrap);
    let mut worker = site.worker("worker", &[]);
    worker.wait_ready();
    let emit = ["emit", "--clean", "--rate", "200", "--events", "4000"];
    let mut load = site.command(&emit).stdout(Stdio::null()).spawn().unwrap();
    until("the worker rates", || {
        worker
            .metric("tidemark_events_rated_total")
            .is_some_and(|rated| rated > 500.0)
    });
    let cluster = site.cluster().unwrap();
    let copy = |prefix: &str| {
        let into = site.file("into.toml");
        let to = Cluster {
            prefix: format!("{}{prefix}", cluster.prefix),
            ..cluster.clone()
        };
        std::fs::write(&into, to.config(&cluster.store)).unwrap();
        site.try_run(&["tables", "copy", "--into", into.to_str().unwrap()])
    };
    let torn = copy("one");
    load.kill().unwrap();
    load.wait().unwrap();
    assert_eq!(torn.code, Some(1), "{}", torn.stderr);
    assert!(torn.stderr.contains("stop every"), "{}", torn.stderr);
    let (status, _) = worker.stop();
    assert_eq!(status.code(), Some(0));
    let copied = copy("two");
    assert_eq!(copied.code, Some(0), "{}", copied.stderr);
}

/// A gateway's topic with some log records.
fn gateway(bootstrap: &str, topic: &str, records: u32) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let new = [NewTopic::new(topic, 2, TopicReplication::Fixed(1))];
    let made = runtime.block_on(admin.create_topics(&new, &AdminOptions::new()));
    assert!(made.unwrap()[0].is_ok());
    let producer: FutureProducer = config.create().unwrap();
    for number in 0..records {
        let record = FutureRecord::<(), _>::to(topic)
            .payload("{\"ai\":{}}")
            .partition((number % 2) as i32);
        runtime.block_on(producer.send(record, WAIT)).unwrap();
    }
}

fn doctor(site: &Site) -> (Vec<String>, Vec<String>) {
    let printed = site.try_run(&["doctor", "--json"]);
    let found: Value = serde_json::from_str(&printed.stdout).expect(&printed.stderr);
    let texts = |name: &str| {
        let all = found[name].as_array().unwrap().iter();
        all.map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    (texts("notes"), texts("faults"))
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn doctor_says_how_far_behind_adapters_are_and_names_a_topic_that_is_not_there() {
    let Some(bootstrap) = broker::bootstrap() else {
        return;
    };
    let mut site = site(bootstrap);
    let topic = format!("{}kong-logs", broker::prefix());
    gateway(bootstrap, &topic, 5);
    let adapters = format!(
        "[{{topic = '{topic}', format = 'kong', source = 'a'}}, {{topic = '{topic}-2', format = 'kong', source = 'b'}}]"
    );
    site.set(&[("TIDEMARK_ADAPTERS", &adapters)]);
    let (notes, faults) = doctor(&site);
    let behind =
        format!("5 records of {topic} to be adapted yet (partition 0: 3, partition 1: 2).");
    assert!(notes.contains(&behind), "{notes:#?}");
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(faults[0].starts_with("No live worker"), "{faults:#?}");
    let missing = format!("topic {topic}-2 does not exist");
    assert!(faults[1].contains(&missing), "{faults:#?}");

    let env = [("TIDEMARK_ADAPTERS", &adapters[..])];
    let mut worker: Up = site.worker_with("worker", &["--roles", "adapt"], &env);
    worker.wait_ready();
    let caught_up = format!("0 records of {topic} to be adapted yet.");
    until("the adapter has caught up", || {
        doctor(&site).0.contains(&caught_up)
    });
    let said = worker.said();
    assert!(said.contains("if it is new, create it"), "{said}");
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn a_session_time_out_that_the_broker_refuses_is_told_with_what_to_do() {
    let Some(bootstrap) = broker::bootstrap() else {
        return;
    };
    let site = site(bootstrap);
    let env = [("TIDEMARK_KAFKA_SESSION_TIMEOUT", "1s")];
    let mut worker = site.worker("worker", &env);
    worker.wait_ready();
    until("it says so", || worker.said().contains("kafka.refused"));
    let said = worker.said();
    assert!(said.contains("set kafka.session_timeout"), "{said}");
}

#[test]
fn up_says_that_nobody_runs_its_adapters() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = free.local_addr().unwrap().to_string();
    drop(free);
    let mut site = Site::new();
    let adapters = "[{topic = 'kong-logs', format = 'kong', source = 'a'}]";
    site.set(&[
        ("TIDEMARK_ADAPTERS", adapters),
        ("TIDEMARK_LISTEN", &listen),
    ]);
    let mut up = site.up();
    up.wait_ready();
    let said = up.said();
    let warned = said.lines().filter(|line| line.contains("adapters.idle"));
    assert_eq!(warned.count(), 1, "{said}");
    let (_, faults) = doctor(&site);
    assert!(faults[0].contains("--roles adapt"), "{faults:#?}");
    let (status, _) = up.stop();
    assert_eq!(status.code(), Some(0));
}
