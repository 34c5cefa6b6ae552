//! `doctor` and `resume`, with a real halt.

use std::future::Future;
use std::sync::Arc;

use serde_json::{Value, json};
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::time::Month;
use tidemark::ops::clock::SystemClock;
use tidemark::store::accounts::row_key;
use tidemark::store::db::{Condition, Db, Write};
use tidemark::store::dynamo::{DynamoDb, DynamoSettings};
use tidemark::store::embedded::EmbeddedClient;
use tidemark::store::meter::StoreMeter;

use super::{Place, chat, until};

/// A client of the store of the `up` that runs in a place.
pub(super) fn store(place: &Place) -> DynamoDb {
    let client = EmbeddedClient::over_socket(&place.path("data/store"));
    let mut settings = DynamoSettings::embedded(client);
    settings.prefix = "tidemark-".to_owned();
    DynamoDb::new(
        &settings,
        Arc::new(StoreMeter::default()),
        Arc::new(SystemClock),
    )
}

pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

/// Two users of different posting partitions, both not the provider's.
fn users() -> [(String, u32); 2] {
    let partition = |kind, id: &str| Account::new(kind, id).unwrap().partition(4).0;
    let provider = partition(AccountKind::Provider, "prov");
    let names = (0..).map(|n| format!("user-{n}"));
    let mut found = names.map(|name| (partition(AccountKind::User, &name), name));
    let mut next = |other: u32| found.find(|(p, _)| *p != provider && *p != other).unwrap();
    let first = next(provider);
    let second = next(first.0);
    [(first.1, first.0), (second.1, second.0)]
}

#[test]
fn a_partition_whose_row_is_gone_halts_and_goes_on_once_it_is_back() {
    let place = Place::new();
    let up = place.up(&[]);
    let [(lost, partition), (other, _)] = users();
    place.send(&[chat("1", &lost), chat("2", &other)]);
    place.wait();
    let month: Month = place.statement("user", &lost)["month"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let key = row_key(&Account::new(AccountKind::User, &lost).unwrap(), month);
    let row = run(async {
        let db = store(&place);
        let row = db.get(&key).await.unwrap().unwrap();
        let condition = Condition::Present;
        db.write(Write::Delete {
            key: key.clone(),
            condition,
        })
        .await
        .unwrap();
        row
    });

    place.send(&[chat("3", &lost)]);
    let task = format!("post/{partition}");
    let doctor = || place.tidemark(&["doctor", "--json"]);
    let faults = until("the partition halts", || {
        let said = doctor();
        let found: Value = serde_json::from_str(&said.out).unwrap();
        (said.code == Some(1)).then(|| found["faults"].as_array().unwrap().clone())
    });
    assert_eq!(faults.len(), 1, "{faults:?}");
    let fault = faults[0].as_str().unwrap();
    for part in [
        &task,
        "(row_regressed)",
        &lost,
        &format!("tidemark resume {task}"),
    ] {
        assert!(fault.contains(part), "{part}: {fault}");
    }
    let said = place.tidemark(&["wait"]).failed(1);
    assert!(
        said.contains(&format!("{task} has been halted since"))
            && said.contains("(row_regressed)")
            && said.contains(&format!("tidemark resume {task}")),
        "{said}"
    );
    let metric = format!(
        "tidemark_halted{{partition=\"{partition}\",reason=\"row_regressed\",role=\"post\"}}"
    );
    assert!(up.metrics().contains(&format!("{metric} 1")));
    let (status, health) = up.get("/healthz");
    assert_eq!(status, 200, "a restart would not cure a halt");
    assert!(health.contains("row_regressed"), "{health}");
    assert!(!health.contains(&lost), "anybody may read it: {health}");

    place.send(&[chat("4", &other)]);
    until("the other partitions go on", || {
        (place.statement("user", &other)["requests"] == 2).then_some(())
    });

    run(async {
        let condition = Condition::Absent;
        store(&place)
            .write(Write::Put {
                table: key.table,
                item: row,
                condition,
            })
            .await
            .unwrap();
    });
    place
        .tidemark(&["resume", &task, "--reason", "the row is back"])
        .ok();
    place.wait();
    let found = place.statement("user", &lost);
    assert_eq!(
        (&found["requests"], &found["usage"], &found["trial"]),
        (&json!(2), &json!("0.6"), &json!("5"))
    );
    assert_eq!(place.statement("provider", "prov")["base"], "12");
    until("the lag is gone", || {
        let text = up.metrics();
        let mut lags = text
            .lines()
            .filter(|line| line.starts_with("tidemark_lag_records{"));
        lags.all(|line| line.ends_with(" 0")).then_some(())
    });
    assert!(up.metrics().contains(&format!("{metric} 0")));
    assert_eq!(doctor().json()["well"], true);
    let said = place.tidemark(&["resume", &task]).failed(2);
    assert!(said.contains(&format!("{task} is not halted")), "{said}");
    up.stop();
    well_without_up(&place);
}

fn well_without_up(place: &Place) {
    let doctor = place.tidemark(&["doctor"]);
    assert_eq!(doctor.code, Some(1));
    let said = doctor.out;
    assert!(
        said.contains("0 records of usage.events to be rated yet."),
        "{said}"
    );
    assert!(
        said.contains("0 posting blocks waiting to be posted"),
        "{said}"
    );
    let faults: Vec<&str> = said.lines().filter(|line| line.starts_with('!')).collect();
    assert!(
        matches!(faults[..], [only] if only.starts_with("! `tidemark up` is not running on this data")),
        "{said}"
    );
    // What is done need not be waited for; `wait` says the same as `doctor`.
    let said = place.tidemark(&["wait"]).failed(1);
    assert!(
        said.contains("everything is done, but: `tidemark up` is not running on this data"),
        "{said}"
    );
}

#[test]
fn a_partition_that_cannot_be_is_refused() {
    let place = Place::new();
    let said = place.tidemark(&["resume", "rating/1"]).failed(2);
    assert!(
        said.contains("write rate/N, post/N, audit/N or adapt-TOPIC/N"),
        "{said}"
    );
}
