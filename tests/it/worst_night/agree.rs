//! `doctor`, `top` and `wait` agree: the rows are troubles, the columns what each of the three says of
//! one, and its exit code.

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use tidemark::store::db::Table;
use tidemark::store::dynamo::DynamoSettings;

use super::on_call::{Trouble, all_three_are_content, all_three_say, sums_equal_the_oracle};
use super::rejections::{events, send};
use super::store_proxy::{Mode, StoreProxy};
use crate::kafka::broker::{self, Broker};
use crate::process::site::{Cluster, Site};
use crate::store::client;

const STORE_DOWN: Trouble<'static> = Trouble {
    said: "The store cannot be used",
    cure: "Look at the store, the network to it and the credentials",
    top: ["OUTAGE: ", "the store is unavailable (store_unavailable)"],
    top_code: 1,
};

const STORE_DENIES: Trouble<'static> = Trouble {
    top: ["OUTAGE: ", "the store is unavailable (store_denied)"],
    ..STORE_DOWN
};

const STORE_CLOCK: Trouble<'static> = Trouble {
    said: "Clocks disagree: the store's clock is",
    cure: "Correct the one that is wrong",
    top: ["ATTENTION: ", "the store's clock is"],
    top_code: 1,
};

/// What a store may do: rows of both tables.
fn troubles_of_the_store(store: &mut StoreProxy, site: &Site, processes: &[&str]) {
    for (mode, trouble) in [
        (Mode::Hangs, STORE_DOWN),
        (Mode::Denies("AccessDeniedException"), STORE_DENIES),
        (Mode::Denies("ExpiredTokenException"), STORE_DENIES),
        (Mode::HasClockAhead(600), STORE_CLOCK),
    ] {
        eprintln!("{mode:?}");
        store.set(mode);
        all_three_say(site, processes, &trouble);
        store.set(Mode::Works);
        all_three_are_content(site, processes);
    }
    store.down();
    all_three_say(site, processes, &STORE_DOWN);
    store.listen();
    all_three_are_content(site, processes);
}

#[test]
fn doctor_top_and_wait_say_the_same_of_an_up_in_trouble() {
    let mut store = StoreProxy::start();
    let site = store.site();
    let mut up = site.up();
    up.wait_ready();
    send(&site, &events(0, 8, "/v1/scrape", 0));
    all_three_are_content(&site, &[]);
    troubles_of_the_store(&mut store, &site, &[]);

    // The clock of those who send is 40 days behind.
    send(&site, &events(100, 30, "/v1/scrape", 40));
    let rejected = Trouble {
        said: "Most recent events are rejected: 30 of the newest 38 (too_old: 30)",
        cure: "See why with `tidemark rejects list --last 5`",
        top: ["ATTENTION: ", "most recent events were rejected: 30 of"],
        top_code: 1,
    };
    all_three_say(&site, &[], &rejected);
    send(&site, &events(200, 60, "/v1/scrape", 0));
    all_three_are_content(&site, &[]);

    send(&site, &events(300, 90, "/v1/chat/completions", 0));
    let bare = Trouble {
        said: "Most recent events have no token counts",
        cure: "Make the gateway report usage",
        top: ["ATTENTION: ", "most recent events have no token counts"],
        top_code: 1,
    };
    all_three_say(&site, &[], &bare);
    assert_eq!(sums_equal_the_oracle(&site).events(), 188);

    up.signal("STOP");
    let stuck = Trouble {
        said: "`tidemark up` does not answer",
        cure: "if it does not recover, restart it",
        top: ["CANNOT LOOK: ", "no process answers"],
        top_code: 2,
    };
    all_three_say(&site, &[], &stuck);
    up.signal("CONT");

    up.kill();
    let idle = Trouble {
        said: "`tidemark up` is not running on this data",
        cure: "tart it",
        top: ["CANNOT LOOK: ", "start it (tidemark up --data "],
        top_code: 2,
    };
    all_three_say(&site, &[], &idle);
    let mut up = site.up();
    up.wait_ready();

    let db = client(&DynamoSettings {
        prefix: site
            .setting("TIDEMARK_STORE_TABLE_PREFIX")
            .unwrap()
            .to_owned(),
        ..DynamoSettings::local(site.setting("TIDEMARK_STORE_ENDPOINT").unwrap())
    });
    let name = db.table_name(Table::UserPoints);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let deleted = db.client().delete_table().table_name(&name).send();
    runtime.block_on(deleted).unwrap();
    send(&site, &events(400, 10, "/v1/scrape", 0));
    let missing = Trouble {
        said: "UserPoints cannot be read",
        cure: "restore it from a backup",
        top: ["HALTED: ", "store_refused"],
        top_code: 1,
    };
    all_three_say(&site, &[], &missing);
}

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn doctor_top_and_wait_say_the_same_of_a_cluster_in_trouble() {
    let Some(mut broker) = Broker::own() else {
        return;
    };
    let mut store = StoreProxy::start();
    let cluster = Cluster {
        bootstrap: broker.bootstrap(),
        prefix: broker::prefix(),
        store: store.endpoint(),
        store_of_workers: store.endpoint(),
    };
    let site = Site::on(cluster.clone());
    site.run(&["pricing", "init", "testnet"]);
    let mut serve = site.serve("serve", &[]);
    serve.wait_ready();
    let serve_url = serve.url("");
    let idle = Trouble {
        said: "No live worker, so nothing is rated or posted",
        cure: "Start `tidemark worker`",
        top: ["NO WORKERS: ", "add the addresses of the workers"],
        top_code: 1,
    };
    all_three_say(&site, &[&serve_url], &idle);
    let mut worker = site.worker("worker", &[]);
    worker.wait_ready();
    let worker_url = worker.url("");
    let processes = [serve_url.as_str(), worker_url.as_str()];
    site.run(&["emit", "--clean", "--events", "100"]);
    all_three_are_content(&site, &processes);
    troubles_of_the_store(&mut store, &site, &processes);

    broker.freeze();
    let silent = Trouble {
        said: "The broker cannot be reached",
        cure: "Check the brokers and the network to them",
        top: ["OUTAGE: ", "the log is unavailable (log_unavailable)"],
        top_code: 1,
    };
    all_three_say(&site, &processes, &silent);
    // And what a service that was named says itself.
    let refuses = format!("{serve_url}: New events are refused (503 log_unavailable)");
    all_three_say(
        &site,
        &processes,
        &Trouble {
            said: &refuses,
            ..silent
        },
    );
    broker.thaw();
    all_three_are_content(&site, &processes);
    assert_eq!(sums_equal_the_oracle(&site).events(), 100);

    let topic = format!("{}usage.events", cluster.prefix);
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", &cluster.bootstrap);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let deleted = runtime.block_on(admin.delete_topics(&[&topic], &AdminOptions::new()));
    deleted.unwrap();
    let gone = format!("Topic {topic} is missing");
    let missing = Trouble {
        said: &gone,
        cure: "Restore it",
        top: ["topic_missing", "usage.events is gone"],
        top_code: 1,
    };
    all_three_say(&site, &processes, &missing);
    serve.stop();
    worker.stop();
}
