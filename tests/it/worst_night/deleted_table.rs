//! Real Kafka and, where there is one, DynamoDB Local: a table is deleted under running workers. It is
//! named, `init` does not create it; created again by hand and resumed, posting halts; and the
//! documented cure leads back.

use std::time::Duration;

use tidemark::store::db::Table;

use super::on_call::{Trouble, all_three_say};
use super::restored_cluster::Stage;
use crate::kafka::until;
use crate::process::books::{self, Books};
use crate::process::load::Load;
use crate::process::site::Up;
use crate::store::feed_rows::{items_of, restore};

const WITHIN: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs Kafka: .ci/run kafka"]
fn on_kafka_and_dynamodb_a_table_that_was_deleted_is_named_and_restored_and_nothing_is_lost() {
    let Some(stage) = Stage::new() else {
        return;
    };
    let site = &stage.site;
    let links = books::found(site);
    let workers = stage.workers();
    site.run(&["emit", "--clean", "--events", "200"]);
    site.run(&["wait", "--timeout", "60s"]);
    let table = Table::UserPoints;
    let copy = stage.runtime.block_on(items_of(&stage.db, table));
    let name = stage.db.table_name(table);
    let created = stage.runtime.block_on(async {
        let client = stage.db.client();
        let described = client.describe_table().table_name(&name).send().await;
        client
            .delete_table()
            .table_name(&name)
            .send()
            .await
            .unwrap();
        described.unwrap().table.expect("a table")
    });
    // Usage goes on.
    let mut load = Load::start(site, 20_261_202);
    let is_halted = |worker: &Up| worker.metric("tidemark_halted").unwrap_or(0.0) > 0.0;
    until(WITHIN, "a halt", || workers.iter().any(is_halted));
    let urls = workers.each_ref().map(|worker| worker.url(""));
    let processes = urls.each_ref().map(String::as_str);
    let missing = Trouble {
        said: "UserPoints cannot be read",
        cure: "restore it from a backup",
        top: ["HALTED: ", "store_refused"],
        top_code: 1,
    };
    all_three_say(site, &processes, &missing);
    let init = site.try_run(&["init"]);
    assert_eq!(init.code, Some(1), "{}", init.stdout);
    assert!(init.stderr.contains("UserPoints"), "{}", init.stderr);

    // Somebody creates it all the same, by another tool, and resumes what has halted.
    stage.runtime.block_on(async {
        let create = stage.db.client().create_table().table_name(&name);
        let create = create
            .set_key_schema(created.key_schema)
            .set_attribute_definitions(created.attribute_definitions)
            .billing_mode(aws_sdk_dynamodb::types::BillingMode::PayPerRequest);
        create.send().await.unwrap();
    });
    site.run(&["resume", "--all", "--reason", "there is a table again"]);
    let empty = Trouble {
        said: "(row_regressed): table UserPoints was created again",
        cure: "Restore the row or the table (point-in-time recovery)",
        top: ["HALTED: ", "row_regressed"],
        top_code: 1,
    };
    all_three_say(site, &processes, &empty);
    let doctor = site.try_run(&["doctor"]).stdout;
    assert!(doctor.contains("Do not run `tidemark init`"), "{doctor}");
    // Nothing was written into it but what is there for nobody's sum.
    let rows = stage.runtime.block_on(items_of(&stage.db, table));
    assert!(rows.is_empty(), "{rows:?}");

    // Restored as docs/runbook.md says: workers are stopped, the table gets its rows back.
    for worker in workers {
        assert_eq!(worker.stop().0.code(), Some(0));
    }
    stage.runtime.block_on(restore(&stage.db, table, &copy));
    site.run(&["resume", "--all", "--reason", "restored UserPoints"]);
    let workers = stage.workers();
    load.finish();
    site.run(&["wait", "--timeout", "60s"]);
    let books = Books::read(site);
    load.everything_is_in(&books.records);
    books.equal_the_oracle_of_a_part(&links);
    site.run(&["doctor"]);
    for worker in workers {
        assert_eq!(worker.stop().0.code(), Some(0));
    }
}
