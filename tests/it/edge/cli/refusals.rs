//! What is refused, and how it is said.

use tidemark::domain::position::Partition;
use tidemark::log::usage_partition;

use super::{Place, chat};

#[test]
fn every_fault_of_the_configuration_is_named_at_once() {
    let mut place = Place::new();
    place.write(
        "my.toml",
        "listen = \"everywhere\"\n[pipeline]\nflush_interval = \"fast\"\nchunk_size = 3\n[store]\nengine = \"postgres\"\n",
    );
    place.env = vec![("TIDEMARK_HTTP_STALLED_AFTER", "1s")];
    let said = place.tidemark(&["doctor", "--config", "my.toml"]).failed(2);
    for part in [
        "my.toml",
        "listen",
        "pipeline.flush_interval",
        "pipeline.chunk_size",
        "chunk_records_max",
        "store.engine",
        "embedded, dynamodb",
        "TIDEMARK_HTTP_STALLED_AFTER",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = place
        .tidemark(&["doctor", "--config", "your.toml"])
        .failed(2);
    assert!(said.contains("cannot read your.toml"), "{said}");
    assert!(
        !place.path("data").exists(),
        "a refused command leaves nothing behind"
    );
}

#[test]
fn a_second_up_on_the_same_data_is_refused() {
    let place = Place::new();
    let up = place.up(&[]);
    let said = place.tidemark(&["up", "--listen", "127.0.0.1:0"]).failed(1);
    let process = format!("process {}", up.child.id());
    assert!(
        said.contains("is already running on ./data") && said.contains(&process),
        "{said}"
    );
    assert!(said.contains("--data"), "{said}");
    // Nor can another directory have its port.
    let taken = up.listen.to_string();
    let said = place
        .tidemark(&["up", "--data", "other", "--listen", &taken])
        .failed(1);
    assert!(
        said.contains(&format!("cannot listen on {taken}")),
        "{said}"
    );
    up.stop();
}

#[test]
fn without_data_there_is_nothing_to_read() {
    let place = Place::new();
    for args in [
        &["statement", "user", "ann"][..],
        &["wait"],
        &["rejects", "list"],
        &["credits", "show", "ann"],
        &["credits", "add", "ann", "1"],
        &["award", "adjust", "user", "ann", "1", "--reason", "test"],
        &["pricing", "show"],
        &["referral", "code", "user", "ann"],
        &["referral", "signup", "user", "ann", "CODE"],
        &["referral", "import", "-"],
        &["pricing", "init", "testnet"],
        &["statement", "--all", "--json"],
        &["leaderboard", "users"],
        &["usage", "ann"],
        &["log", "cat", "usage.events"],
        &["rejects", "show", "0", "0"],
        &["rejects", "redrive", "0", "0"],
        &["keys", "list"],
        &["keys", "create", "ops", "--scope", "ingest"],
        &["resume", "--all"],
        &["tables", "copy", "--into", "other.toml"],
    ] {
        let said = place.tidemark(args).failed(1);
        let looked = place.dir.path().canonicalize().unwrap().join("data");
        for part in [
            "no data directory at ./data (",
            looked.to_str().unwrap(),
            "nothing was created",
            "--config FILE, or set TIDEMARK_CONFIG",
            "tidemark init --data ./data",
        ] {
            assert!(said.contains(part), "{args:?}: {part}: {said}");
        }
        assert!(!place.path("data").exists(), "{args:?} has made it");
    }
    // For scripts: that it cannot look is another code than what it finds.
    let said = place.tidemark(&["doctor"]).failed(2);
    assert!(
        said.contains("doctor cannot run: no data directory at"),
        "{said}"
    );
    assert!(!place.path("data").exists(), "nothing was created");
}

#[test]
fn wait_says_what_is_still_to_come_when_its_time_is_up() {
    let mut place = Place::new();
    // Nothing is written before the minute is over, or `up` stops.
    place.env = vec![("TIDEMARK_PIPELINE_FLUSH_INTERVAL", "60s")];
    let up = place.up(&[]);
    place.send(&[chat("1", "ann")]);
    let said = place.tidemark(&["wait", "--timeout", "1500ms"]).failed(1);
    assert!(
        said.contains("after 1.5s ") && said.contains("--timeout 30m"),
        "{said}"
    );
    assert!(said.contains("tidemark doctor"), "{said}");
    up.stop();
    // A stop writes what was under way.
    assert_eq!(place.statement("user", "ann")["total"], "5.3");
}

#[test]
fn what_nobody_will_rate_is_not_waited_for() {
    let mut place = Place::new();
    // A chunk waits so long for more records that the kill comes first.
    place.env = vec![("TIDEMARK_PIPELINE_CHUNK_AGE_MAX", "60s")];
    let up = place.up(&[]);
    place.send(&[chat("1", "ann")]);
    drop(up);
    let said = place.tidemark(&["wait"]).failed(1);
    assert!(
        said.contains(
            "`tidemark up` is not running on this data, and events are still to be rated"
        ),
        "{said}"
    );
    let said = place.tidemark(&["doctor"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.out
            .contains("! `tidemark up` is not running on this data"),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("\n    1 record waits to be rated"),
        "{}",
        said.out
    );
    // Once it runs, a backlog is a remark.
    let up = place.up(&[]);
    let said = place.tidemark(&["doctor"]).ok();
    let Partition(partition) = usage_partition("ann", 4);
    assert!(
        said.contains(&format!(
            "1 record of usage.events to be rated yet (partition {partition}: 1)."
        )),
        "{said}"
    );
    up.stop();
}

#[test]
fn every_command_teaches() {
    let place = Place::new();
    let commands = [
        "up",
        "init",
        "emit",
        "pricing",
        "referral",
        "credits",
        "award",
        "statement",
        "leaderboard",
        "usage",
        "rejects",
        "resume",
        "log",
        "wait",
        "doctor",
        "top",
    ];
    let help = place.tidemark(&["--help"]).ok();
    for command in commands {
        assert!(
            help.lines()
                .any(|line| line.trim_start().starts_with(command)),
            "{command}: {help}"
        );
        place.tidemark(&[command, "--help"]).ok();
    }
}
