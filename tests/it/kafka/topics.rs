//! Topics in a real cluster: checked against their files, created, mended, refused.

use std::process::{Command, Output};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tidemark::log::kafka::admin::Setting;
use tidemark::log::kafka::plan::{Difference, Remedy, largest_batch};
use tidemark::log::kafka::{Admin, KafkaFault};
use tidemark::log::rejected::largest_reject;
use tidemark::log::topics::shipped;

use super::log::settings;
use super::{broker, specs};

/// A broker, and a prefix of a test's own.
struct Site {
    bootstrap: &'static str,
    prefix: String,
    admin: Admin,
}

/// A setting of a topic and its value.
type Set<'a> = (&'a str, &'a str);

impl Site {
    fn new() -> Option<Site> {
        let bootstrap = broker::bootstrap()?;
        let prefix = broker::prefix();
        Some(Site {
            bootstrap,
            admin: Admin::connect(&settings(bootstrap, &prefix)).unwrap(),
            prefix,
        })
    }

    fn name(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    fn crate_admin(&self) -> AdminClient<DefaultClientContext> {
        let mut config = ClientConfig::new();
        let config = config.set("bootstrap.servers", self.bootstrap);
        config.create().unwrap()
    }

    /// Creates a topic past ours.
    async fn create(&self, topic: &str, partitions: i32, sets: &[Set<'_>]) {
        let name = self.name(topic);
        let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        let topic = sets
            .iter()
            .fold(topic, |topic, (key, value)| topic.set(key, value));
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
        let made = self.crate_admin().create_topics([&topic], &options).await;
        assert!(made.unwrap().iter().all(Result::is_ok));
        self.until(&name, true).await;
    }

    async fn delete(&self, topic: &str) {
        let name = self.name(topic);
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
        let deleted = self.crate_admin().delete_topics(&[&name], &options).await;
        assert!(deleted.unwrap().iter().all(Result::is_ok));
        self.until(&name, false).await;
    }

    /// Until the topic is there, or is not.
    async fn until(&self, name: &str, is_there: bool) {
        for _ in 0..400 {
            if self.admin.describe(name).await.unwrap().is_some() == is_there {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{name} did not become what it should be");
    }

    async fn produce(&self, topic: &str) {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap)
            .create()
            .unwrap();
        let name = self.name(topic);
        let record = FutureRecord::to(&name).key("k").payload("v");
        producer
            .send(record, Duration::from_secs(10))
            .await
            .unwrap();
    }

    /// Topic, setting, what it is, what is done about it.
    async fn found(&self) -> Vec<(String, &'static str, String, &'static str)> {
        let found = self.admin.check(&specs()).await.unwrap();
        found.iter().map(|one| self.row(one)).collect()
    }

    fn row(&self, one: &Difference) -> (String, &'static str, String, &'static str) {
        let topic = one.topic.strip_prefix(&self.prefix).unwrap();
        (
            topic.to_owned(),
            one.setting,
            one.is.clone(),
            one.remedy.word(),
        )
    }

    fn tidemark(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemark"));
        for (name, _) in std::env::vars() {
            if name.starts_with("TIDEMARK_") {
                command.env_remove(name);
            }
        }
        command
            .args(args)
            .env("TIDEMARK_KAFKA_BOOTSTRAP", self.bootstrap)
            .env("TIDEMARK_KAFKA_TOPIC_PREFIX", &self.prefix)
            .output()
            .unwrap()
    }
}

fn row<'a>(
    (topic, setting, is, remedy): (&'a str, &'static str, &'a str, &'static str),
) -> (String, &'static str, String, &'static str) {
    (topic.to_owned(), setting, is.to_owned(), remedy)
}

#[tokio::test]
#[ignore = "needs Kafka: .ci/run kafka"]
async fn applying_creates_what_is_missing_and_applying_again_changes_nothing() {
    let Some(site) = Site::new() else { return };
    let missing = [
        "usage.events",
        "usage.rejected",
        "ledger.postings",
        "ledger.cuts",
    ]
    .map(|topic| row((topic, "topic", "missing", "create")));
    assert_eq!(site.found().await, missing);
    let applied = site.admin.apply(&specs()).await.unwrap();
    let mended: Vec<_> = applied.mended.iter().map(|one| site.row(one)).collect();
    assert_eq!((mended, applied.left), (missing.to_vec(), vec![]));
    assert_eq!(site.found().await, []);
    let again = site.admin.apply(&specs()).await.unwrap();
    assert_eq!((again.mended, again.left), (vec![], vec![]));

    let events = site.admin.describe(&site.name("usage.events")).await;
    let events = events.unwrap().unwrap();
    assert_eq!((events.partitions, events.replication_factor), (4, 1));
    let configs = site
        .admin
        .configs(&site.name("usage.events"))
        .await
        .unwrap();
    let of = |setting: Setting| configs.iter().find(|config| config.setting == setting);
    let times = of(Setting::TimestampType).unwrap();
    assert_eq!(
        (times.value.as_str(), times.is_own),
        ("LogAppendTime", true)
    );
    let bytes = of(Setting::RetentionBytes).unwrap();
    assert_eq!((bytes.value.as_str(), bytes.is_own), ("-1", false));
}

/// An installation from before `ledger.cuts` may have any number of partitions of `usage.events`, and no files
/// of its own.
#[tokio::test]
#[ignore = "needs Kafka: .ci/run kafka"]
async fn the_topic_of_cuts_gets_as_many_partitions_as_the_events_have() {
    let Some(site) = Site::new() else { return };
    let times = [("message.timestamp.type", "LogAppendTime")];
    site.create("usage.events", 3, &times).await;
    let applied = site.admin.apply(&specs()).await.unwrap();
    let left: Vec<_> = applied.left.iter().map(|one| site.row(one)).collect();
    let events = ("usage.events", "partitions", "3", "refuse");
    assert!(left.contains(&row(events)), "{left:?}");
    assert!(
        left.iter().all(|(topic, ..)| topic == "usage.events"),
        "{left:?}"
    );
    let cuts = site.admin.describe(&site.name("ledger.cuts")).await;
    assert_eq!(cuts.unwrap().unwrap().partitions, 3);

    // One that was made with another number is refused, with what to do.
    site.delete("ledger.cuts").await;
    site.create("ledger.cuts", 4, &times).await;
    let found = site.admin.check(&specs()).await.unwrap();
    let wrong = |one: &&Difference| one.topic == site.name("ledger.cuts") && one.is == "4";
    let wrong = found.iter().find(wrong).expect("another number");
    assert_eq!(
        (wrong.setting, wrong.should_be.as_str()),
        ("partitions", "3")
    );
    assert!(wrong.to_string().contains("delete it"), "{wrong}");
}

#[tokio::test]
#[ignore = "needs Kafka: .ci/run kafka"]
async fn two_that_apply_at_once_do_no_harm() {
    let Some(site) = Site::new() else { return };
    let other = Admin::connect(&settings(site.bootstrap, &site.prefix)).unwrap();
    let specs = specs();
    let (one, two) = tokio::join!(site.admin.apply(&specs), other.apply(&specs));
    assert_eq!((one.unwrap().left, two.unwrap().left), (vec![], vec![]));
    assert_eq!(site.found().await, []);
}

#[tokio::test]
#[ignore = "needs Kafka: .ci/run kafka"]
async fn a_changed_setting_is_mended_and_its_neighbours_stay() {
    let Some(site) = Site::new() else { return };
    site.admin.apply(&specs()).await.unwrap();
    site.delete("usage.rejected").await;
    let sets = [
        ("message.timestamp.type", "LogAppendTime"),
        ("retention.ms", "3600000"),
        ("retention.bytes", "1000000"),
        ("max.message.bytes", "70000"),
        ("unclean.leader.election.enable", "true"),
        ("segment.ms", "123456789"),
    ];
    site.create("usage.rejected", 4, &sets).await;
    let expected = [
        ("usage.rejected", "retention.ms", "3600000", "set"),
        ("usage.rejected", "retention.bytes", "1000000", "set"),
        ("usage.rejected", "max.message.bytes", "70000", "set"),
        (
            "usage.rejected",
            "unclean.leader.election.enable",
            "true",
            "set",
        ),
    ];
    assert_eq!(site.found().await, expected.map(row));
    let applied = site.admin.apply(&specs()).await.unwrap();
    assert_eq!((applied.mended.len(), applied.left), (4, vec![]));
    assert_eq!(site.found().await, []);
    let name = site.name("usage.rejected");
    let resource = rdkafka::admin::ResourceSpecifier::Topic(&name);
    let options = AdminOptions::new();
    let all = site
        .crate_admin()
        .describe_configs(&[resource], &options)
        .await;
    let all = all.unwrap().remove(0).unwrap();
    let segment = all.get("segment.ms").unwrap().value.as_deref();
    assert_eq!(
        segment,
        Some("123456789"),
        "nobody asked for that to change"
    );
}

#[tokio::test]
#[ignore = "needs Kafka: .ci/run kafka"]
async fn another_number_of_partitions_is_refused_and_nothing_else_of_that_topic_is_touched() {
    let Some(site) = Site::new() else { return };
    let sets = [
        ("message.timestamp.type", "LogAppendTime"),
        ("retention.ms", "3600000"),
    ];
    site.create("ledger.postings", 3, &sets).await;
    let applied = site.admin.apply(&specs()).await.unwrap();
    assert_eq!(applied.mended.len(), 3, "the others were created");
    let left: Vec<_> = applied.left.iter().map(|one| site.row(one)).collect();
    let own_default = format!("{} (the cluster's default)", 1024 * 1024 + 12);
    let expected = [
        ("ledger.postings", "partitions", "3", "refuse"),
        ("ledger.postings", "retention.ms", "3600000", "wait"),
        ("ledger.postings", "max.message.bytes", &own_default, "wait"),
    ];
    assert_eq!(left, expected.map(row));
    let Remedy::Refuse(procedure) = &applied.left[0].remedy else {
        panic!("{:?}", applied.left[0]);
    };
    for step in ["drained", "kafka.topic_prefix", "log.epoch", "topics apply"] {
        assert!(procedure.contains(step), "{step}: {procedure}");
    }
}

#[tokio::test]
#[ignore = "needs Kafka: .ci/run kafka"]
async fn what_would_change_the_meaning_of_records_is_refused_once_there_are_any() {
    let Some(site) = Site::new() else { return };
    let cases = [
        ("message.timestamp.type", "CreateTime"),
        ("cleanup.policy", "compact,delete"),
    ];
    for (setting, value) in cases {
        let good = ("message.timestamp.type", "LogAppendTime");
        site.create("usage.events", 4, &[good, (setting, value)])
            .await;
        site.admin.apply(&specs()).await.unwrap();
        assert_eq!(site.found().await, [], "without records it is set");
        site.delete("usage.events").await;

        site.create("usage.events", 4, &[good, (setting, value)])
            .await;
        site.produce("usage.events").await;
        let applied = site.admin.apply(&specs()).await.unwrap();
        let refused = site.row(&applied.left[0]);
        assert_eq!(refused, row(("usage.events", setting, value, "refuse")));
        site.delete("usage.events").await;
    }
}

#[tokio::test]
#[ignore = "needs Kafka: .ci/run kafka"]
async fn copies_are_refused_and_more_copies_than_brokers_are_explained() {
    let Some(site) = Site::new() else { return };
    let fault = site.admin.apply(&shipped()).await.unwrap_err();
    let KafkaFault::Refused(text) = fault else {
        panic!("{fault:?}");
    };
    assert!(text.contains("--replication-factor"), "{text}");
    site.admin.apply(&specs()).await.unwrap();
    let applied = site.admin.apply(&shipped()).await.unwrap();
    let left: Vec<_> = applied.left.iter().map(|one| site.row(one)).collect();
    let expected = [
        "usage.events",
        "usage.rejected",
        "ledger.postings",
        "ledger.cuts",
    ]
    .map(|topic| {
        [
            row((topic, "replication.factor", "1", "refuse")),
            row((topic, "min.insync.replicas", "1", "wait")),
        ]
    });
    assert_eq!((applied.mended, left), (vec![], expected.concat()));
}

#[tokio::test]
#[ignore = "needs Kafka: .ci/run kafka"]
async fn a_topic_that_was_deleted_and_created_again_has_another_id() {
    let Some(site) = Site::new() else { return };
    let name = site.name("usage.events");
    assert_eq!(site.admin.describe(&name).await.unwrap(), None);
    site.create("usage.events", 2, &[]).await;
    let id = async || site.admin.describe(&name).await.unwrap().unwrap().id;
    let first = id().await;
    assert_eq!((first.len(), &id().await), (22, &first));
    site.delete("usage.events").await;
    site.create("usage.events", 2, &[]).await;
    assert_ne!(id().await, first);
}

#[tokio::test]
async fn a_broker_that_is_away_is_told_with_what_the_client_says() {
    // Nobody listens on port 1.
    let admin = Admin::connect(&settings("127.0.0.1:1", "x.")).unwrap();
    let fault = admin.describe("x.usage.events").await.unwrap_err();
    let KafkaFault::Unavailable(text) = fault else {
        panic!("{fault:?}");
    };
    assert!(text.contains("Connection refused"), "{text}");
}

#[test]
fn what_the_broker_takes_as_an_event_it_takes_as_a_reject() {
    let specs = shipped();
    let batch = |index: usize| largest_batch(&specs[index], &specs);
    assert!(batch(1) > largest_reject(batch(0)));
    for (index, spec) in specs.iter().enumerate() {
        assert!(batch(index) > spec.largest_record_bytes);
        assert!(
            batch(index) > 1024 * 1024,
            "clients batch up to 1 MiB by themselves"
        );
    }
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn the_command_line_shows_differences_and_mends_them() {
    let Some(site) = Site::new() else { return };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let one_broker = ["--replication-factor", "1"];
    let check = site.tidemark(&[&["topics", "check"], &one_broker[..]].concat());
    assert_eq!(check.status.code(), Some(1), "{}", text(&check.stderr));
    let shown = text(&check.stdout);
    let head = shown.lines().next().unwrap();
    let titles = ["topic", "setting", "actual", "declared", "apply would"];
    assert!(titles.iter().all(|title| head.contains(title)), "{shown}");
    assert!(shown.contains("usage.events"), "{shown}");

    let apply = site.tidemark(&[&["topics", "apply", "--json"], &one_broker[..]].concat());
    assert_eq!(apply.status.code(), Some(0), "{}", text(&apply.stderr));
    let lines = text(&apply.stdout);
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<serde_json::Value> = lines.collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0]["apply"], "create");
    assert_eq!(lines[0]["topic"], site.name("usage.events"));

    let check = site.tidemark(&["topics", "check", "--replication-factor=1"]);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
    let check = site.tidemark(&["topics", "check"]);
    assert_eq!(check.status.code(), Some(1), "the files want three copies");
    assert!(text(&check.stdout).contains("kafka-reassign-partitions"));
    let refused = site.tidemark(&[
        "topics",
        "check",
        "--replication-factor=1",
        "--min-insync=2",
    ]);
    assert_eq!(refused.status.code(), Some(2));
}
