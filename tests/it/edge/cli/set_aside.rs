//! An account that is set aside, with the real program: damaged through the store, found, mended,
//! released.

use serde_json::{Value, json};
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::time::Month;
use tidemark::store::accounts::row_key;
use tidemark::store::db::{Attr, Condition, Db, Item, Key, Write};

use super::halts::{run, store};
use super::{Place, chat, until};

/// Two users of one posting partition.
fn users() -> (String, String, u32) {
    let partition = |id: &str| {
        let user = Account::new(AccountKind::User, id).unwrap();
        user.partition(4).0
    };
    let first = "user-0".to_owned();
    let own = partition(&first);
    let mut names = (1..).map(|n| format!("user-{n}"));
    let second = names.find(|name| partition(name) == own).unwrap();
    (first, second, own)
}

fn put(place: &Place, key: &Key, item: Item) {
    let write = Write::Put {
        table: key.table,
        item,
        condition: Condition::Present,
    };
    run(async { store(place).write(write).await.unwrap() });
}

#[test]
fn an_account_whose_row_is_damaged_waits_and_its_partition_goes_on() {
    let place = Place::new();
    let up = place.up(&[]);
    let (ill, well, partition) = users();
    place.send(&[chat("1", &ill), chat("2", &well)]);
    place.wait();
    let month: Month = place.statement("user", &ill)["month"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let key = row_key(&Account::new(AccountKind::User, &ill).unwrap(), month);
    let good = run(async { store(&place).get(&key).await.unwrap().unwrap() });
    let mut bad = good.clone();
    bad.insert("fence", Attr::S("?".to_owned()));
    put(&place, &key, bad);

    place.send(&[chat("3", &ill), chat("4", &well)]);
    until("the other account of the partition goes on", || {
        (place.statement("user", &well)["requests"] == 2).then_some(())
    });
    let said = until("the account is set aside", || {
        let said = place.tidemark(&["doctor"]);
        said.out.contains("set aside").then_some(said)
    });
    assert_eq!(said.code, Some(1));
    for part in [
        "1 account set aside",
        &format!("user:{ill} has been set aside since "),
        "(row_unreadable)",
        "The log holds what it misses until ",
        &format!("tidemark set-aside release user {ill} --reason"),
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    let listed = place.tidemark(&["set-aside", "list", "--json"]).lines();
    let found = |name: &str| listed[0][name].clone();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (found("id"), found("code")),
        (json!(ill), json!("row_unreadable"))
    );
    assert_eq!(found("postingPartition"), json!(partition));
    assert_eq!(found("expired"), json!(false));
    let metric = format!("tidemark_accounts_set_aside{{partition=\"{partition}\"}}");
    assert!(up.metrics().contains(&format!("{metric} 1")));
    let (status, health) = up.get("/healthz");
    assert_eq!(status, 200);
    assert!(!health.contains(&ill), "anybody may read it: {health}");
    let waited = place.tidemark(&["wait"]).failed(1);
    assert!(waited.contains("1 account set aside"), "{waited}");

    // Before it is mended, a release changes nothing, and says why.
    let release = |reason: &str| {
        place
            .tidemark(&["set-aside", "release", "user", &ill, "--reason", reason])
            .ok()
    };
    release("an attempt");
    until("the release is refused", || {
        let listed = place.tidemark(&["set-aside", "list", "--json"]).lines();
        (listed[0]["refused"]["code"] == "row_unreadable").then_some(())
    });

    put(&place, &key, good);
    let paused = place.statement("user", &ill);
    assert!(paused["updatesPausedSince"].is_string(), "{paused}");
    release("restored");
    until("the account takes part again", || {
        let said = place.tidemark(&["set-aside", "list"]).ok();
        said.contains("no account is set aside").then_some(())
    });
    place.wait();
    let found = place.statement("user", &ill);
    assert_eq!(
        (&found["requests"], &found["usage"], &found["trial"]),
        (&json!(2), &json!("0.6"), &json!("5"))
    );
    assert_eq!(found["updatesPausedSince"], Value::Null);
    assert!(up.metrics().contains(&format!("{metric} 0")));
    assert_eq!(place.tidemark(&["doctor", "--json"]).json()["well"], true);
    let release = ["set-aside", "release", "user", &ill, "--reason", "again"];
    let said = place.tidemark(&release).failed(2);
    assert!(said.contains("is not set aside"), "{said}");
    up.stop();
}
