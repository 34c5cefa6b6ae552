//! On Kafka: nobody works, the broker is silent, a topic is gone. `doctor` and `wait` say so, each with
//! its cause and cure.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

use super::on_call::sums_equal_the_oracle;
use super::readiness::{probe, send};
use crate::kafka::broker::{self, Broker};
use crate::kafka::until;
use crate::process::site::{Cluster, Printed, Site, Up, get_with};
use crate::store::embedded_endpoint;

const WITHIN: Duration = Duration::from_secs(60);

fn finds(printed: &Printed, texts: &[&str]) {
    let all = format!("{}{}", printed.stdout, printed.stderr);
    assert_eq!(printed.code, Some(1), "{all}");
    for text in texts {
        assert!(all.contains(text), "{text}: {all}");
    }
    assert!(!all.contains("All is well"), "{all}");
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn no_live_worker_a_silent_broker_and_a_topic_that_is_gone_are_findings() {
    let Some(mut broker) = Broker::own() else {
        return;
    };
    let store = embedded_endpoint().to_owned();
    let cluster = Cluster {
        bootstrap: broker.bootstrap(),
        prefix: broker::prefix(),
        store: store.clone(),
        store_of_workers: store,
    };
    let site = Site::on(cluster.clone());
    site.run(&["pricing", "init", "testnet"]);
    finds(
        &site.try_run(&["doctor"]),
        &["! No live worker", "Start `tidemark worker`"],
    );
    let mut worker = site.worker("worker", &[]);
    worker.wait_ready();
    let key = site.run(&["keys", "create", "gateway", "--scope", "ingest"]);
    let reader = site.run(&["keys", "create", "reader", "--scope", "admin:read"]);
    let mut serve = site.serve("serve", &[]);
    serve.wait_ready();
    site.run(&["emit", "--clean", "--events", "100"]);
    site.run(&["wait"]);
    // Also a process that only serves says what becomes of what gateways send.
    assert_eq!(serve.metric("tidemark_recent_events"), Some(0.0));
    until(WITHIN, "all is well", || {
        site.try_run(&["doctor"]).stdout.contains("All is well.")
    });

    broker.freeze();
    finds(
        &site.try_run(&["doctor"]),
        &["! The broker cannot be reached", "Check the brokers"],
    );
    let top = site.try_run(&["top", "--once", &worker.url("")]);
    finds(&top, &["OUTAGE: ", "log_unavailable"]);
    // The services are asked as well, if they are named.
    let (worker_url, serve_url) = (worker.url(""), serve.url(""));
    until(WITHIN, "doctor tells what the service says", || {
        let said = site.try_run(&["doctor", &worker_url, &serve_url]).stdout;
        let refused = said.contains(&format!(
            "! {serve_url}: New events are refused (503 log_unavailable)"
        ));
        refused && said.contains("! A process says: the log is unavailable")
    });
    // What stands in the tables is there for everybody, also from processes that start now.
    let statements = site.statements();
    assert!(!statements.is_empty());
    let late = site.serve("late", &[]);
    until(WITHIN, "serve answers without a broker", || {
        get_with(&late.url("/api/admin/pricing"), &reader).is_some()
    });
    let (status, said) = probe(&late);
    assert_eq!(
        (status, said["code"].as_str()),
        (503, Some("log_unavailable")),
        "{said}"
    );
    drop(late);
    broker.thaw();
    // Until the group's members are back, which may take a session's time-out beside other tests.
    until(2 * WITHIN, "all is well again", || {
        site.try_run(&["doctor"]).stdout.contains("All is well.")
    });

    let books = sums_equal_the_oracle(&site);
    let topic = format!("{}usage.events", cluster.prefix);
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", &cluster.bootstrap);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let deleted = runtime.block_on(admin.delete_topics(&[&topic], &AdminOptions::new()));
    deleted.unwrap();
    until(WITHIN, "the topic is gone", || {
        let said = site.try_run(&["doctor"]).stdout;
        said.contains(&format!("! Topic {topic} is missing"))
    });
    until(WITHIN, "top says so too", || {
        let top = site.try_run(&["top", "--once", &serve.url("")]).stdout;
        top.contains("topic_missing") && top.contains("usage.events is gone")
    });
    books.are_the_same(&site);
    let said = site.try_run(&["doctor"]);
    finds(&said, &["Restore it", "Do not recreate it"]);
    assert!(!said.stdout.contains("topics apply"), "{}", said.stdout);
    let apply = ["topics", "apply", "--replication-factor", "1"];
    let refused = site.try_run(&apply);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("a-topic-is-gone"),
        "{}",
        refused.stderr
    );
    // Created again all the same, it takes no events: nobody would count them.
    site.run(&[&apply[..], &["--recreate-lost"]].concat());
    until(WITHIN, "raters halt", || {
        let said = site.try_run(&["doctor"]).stdout;
        said.contains("log_recreated")
    });
    let refuses = |serve: &Up| {
        until(WITHIN, "serve refuses and says why", || {
            let (status, said) = probe(serve);
            let detail = said["detail"].as_str().unwrap_or_default();
            status == 503 && detail.contains("was deleted and recreated")
        });
        assert_eq!(send(serve, &key, 1), 503);
    };
    refuses(&serve);
    serve.stop();
    let serve = site.serve("serve", &[]);
    refuses(&serve);
    // What was counted before stays as it was.
    books.are_the_same(&site);
    assert_eq!(worker.stop().0.code(), Some(0));
}
