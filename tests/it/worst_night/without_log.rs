//! No broker answers: what stands in the tables is there for everybody, and `/readyz` and `doctor` say
//! what is not.

use std::sync::Arc;
use std::time::Duration;

use tidemark::pipeline;
use tokio::sync::watch;

use super::on_call::doctor_says;
use super::readiness::probe;
use super::running_posters::{Stage, USERS, user};
use crate::kafka::until;
use crate::process::site::{Cluster, Site, get_with};
use crate::store::{client, embedded_endpoint, settings};

const WITHIN: Duration = Duration::from_secs(60);
/// Nobody listens there.
const NO_BROKER: &str = "127.0.0.1:1";

#[test]
fn commands_and_serve_answer_from_the_tables_while_no_broker_does() {
    let settings = settings(embedded_endpoint());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::on(dir.path(), client(&settings)).await;
        let worker = stage.context(Arc::new(stage.db.clone()));
        let (stop, stopped) = watch::channel(false);
        let partitions = stage.partitions;
        let tasks = pipeline::all_tasks(partitions.source, partitions.posting).into_iter();
        let tasks = tasks.map(|task| pipeline::run(worker.clone(), task, stopped.clone()));
        let tasks: Vec<_> = tasks.map(tokio::spawn).collect();
        stage.send(0).await;
        let rated = stage.rated().await;
        stage.posted(rated).await;
        stop.send_replace(true);
        for task in tasks {
            task.await.unwrap();
        }
    });

    let site = Site::beside(Cluster {
        bootstrap: NO_BROKER.to_owned(),
        prefix: settings.prefix.clone(),
        store: embedded_endpoint().to_owned(),
        store_of_workers: embedded_endpoint().to_owned(),
    });
    assert_eq!(site.statements().len(), USERS as usize + 1);
    let user = user(0);
    let month = jiff::Timestamp::now().strftime("%Y-%m").to_string();
    for (args, text) in [
        (&["statement", "user", &user][..], "1"),
        (&["leaderboard", "users"], &user),
        (&["usage", &user], "user-0-0"),
        (&["credits", "show", &user], "0"),
        (&["pricing", "show"], "scrape"),
        (&["export", "--month", &month, "--format", "csv"], &user),
    ] {
        let printed = site.run(args);
        assert!(printed.contains(text), "{args:?}: {printed}");
    }
    let key = site.run(&["keys", "create", "reader", "--scope", "admin:read"]);

    let serve = site.serve("serve", &[]);
    until(WITHIN, "serve answers", || {
        get_with(&serve.url("/api/admin/pricing"), &key).is_some()
    });
    let (status, said) = probe(&serve);
    let code = said["code"].as_str();
    assert_eq!((status, code), (503, Some("log_unavailable")), "{said}");
    doctor_says(&site, &["! The broker cannot be reached"]);
    assert_eq!(serve.stop().0.code(), Some(0));
}
