//! `tidemark emit`.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Place, chat, cloud_chat, until};

#[test]
fn a_file_of_both_forms_is_sent_and_bad_lines_are_named() {
    let place = Place::new();
    let up = place.up(&[]);
    let mut no_user = chat("3", "ann");
    no_user.as_object_mut().unwrap().remove("userId");
    let mut wrong = cloud_chat("4", "ann");
    wrong["data"]["statusCode"] = "200".into();
    let lines = [
        chat("1", "ann").to_string(),
        cloud_chat("2", "ann").to_string(),
        String::new(),
        no_user.to_string(),
        wrong.to_string(),
        "{nonsense".to_owned(),
        "x".repeat(70_000),
        cloud_chat("5", "bob").to_string(),
    ];
    place.write("events.jsonl", &lines.join("\n"));
    let said = place.tidemark(&["emit", "--file", "events.jsonl", "--json"]);
    let summary: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&summary["acknowledged"], &summary["refused"]),
        (&json!(3), &json!(4))
    );
    let refused = said.failed(2);
    let starts: Vec<String> = refused
        .lines()
        .map(|line| line.splitn(4, ": ").take(3).collect::<Vec<_>>().join(": "))
        .collect();
    assert_eq!(
        starts[..2],
        [
            "line 4: userId: missing_field",
            "line 5: data.statusCode: wrong_type"
        ],
        "{refused}"
    );
    assert!(starts[2].starts_with("line 6: malformed"), "{refused}");
    assert!(starts[3].starts_with("line 7: too_large"), "{refused}");
    assert_eq!(starts.len(), 4, "{refused}");

    // Sending the file again changes nothing.
    place
        .tidemark(&["emit", "--file", "events.jsonl"])
        .failed(2);
    place.wait();
    let ann = place.statement("user", "ann");
    assert_eq!(
        (&ann["requests"], &ann["usage"], &ann["trial"]),
        (&json!(2), &json!("0.6"), &json!("5"))
    );
    assert_eq!(place.statement("user", "bob")["total"], "5.3");
    assert_eq!(place.statement("provider", "prov")["base"], "9");
    up.stop();
}

#[test]
fn generated_events_outlive_a_restart_of_up() {
    const EVENTS: u64 = 600;
    let place = Place::new();
    let up = place.up(&[]);
    let mut command = place.command(&[
        "emit", "--events", "600", "--rate", "150", "--clean", "--seed", "7", "--json",
    ]);
    let emit = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the first events are acknowledged", || {
        let text = up.metrics();
        let line = text
            .lines()
            .find(|line| line.starts_with("tidemark_log_appended_records_total{"))?;
        (!line.ends_with(" 0")).then_some(())
    });
    up.stop();
    let up = place.up(&[]);
    let summary = super::Said::from(emit.wait_with_output().unwrap()).json();
    assert_eq!(
        (&summary["acknowledged"], &summary["refused"]),
        (&json!(EVENTS), &json!(0))
    );
    assert_ne!(summary["retries"], 0, "the restart was not felt");
    place.wait();
    let month = ["statement", "--all", "--json"];
    let statements = place.tidemark(&month).lines();
    let users = statements
        .iter()
        .filter(|statement| statement["kind"] == "user");
    let requests: u64 = users.map(|user| user["requests"].as_u64().unwrap()).sum();
    assert_eq!(requests, EVENTS);

    // A reader that goes away after the first line is no failure.
    let mut head = place.command(&month);
    let mut head = head
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(head.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    assert!(first.starts_with("{\"kind\":"), "{first}");
    drop(stdout);
    let mut err = String::new();
    head.stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert_eq!((head.wait().unwrap().code(), err.as_str()), (Some(0), ""));
    up.stop();
}

#[test]
fn the_same_seed_and_time_print_the_same_events() {
    let place = Place::new();
    let args = [
        "emit",
        "--print",
        "--events",
        "50",
        "--seed",
        "9",
        "--at",
        "2026-11-22T10:00:00Z",
    ];
    let first = place.tidemark(&args).ok();
    assert_eq!(first.lines().count(), 50);
    assert_eq!(first, place.tidemark(&args).ok());
}

#[test]
fn without_an_up_emit_gives_up_after_its_patience_and_says_what_to_start() {
    let place = Place::new();
    let said = place
        .tidemark(&["emit", "--events", "5", "--patience", "200ms"])
        .failed(1);
    assert!(
        said.starts_with("tidemark: `tidemark up` is not running on ./data; start it with `tidemark up --data ./data`; retrying for 200ms"),
        "{said}"
    );
    assert!(said.contains("safe"), "{said}");
}

#[test]
fn an_up_that_takes_connections_and_never_answers_is_waited_for_as_long_as_the_patience() {
    let place = Place::new();
    std::fs::create_dir(place.path("data")).unwrap();
    // The kernel takes the connections; nobody ever looks at them.
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hung.local_addr().unwrap();
    let says = format!("{{\"pid\":1,\"listen\":\"{address}\",\"servesStore\":true}}");
    place.write("data/up.json", &says);
    for args in [
        &["--events", "20000"][..],
        &["--events", "1", "--clean"],
        &["--file", "events.jsonl"],
    ] {
        let lines: Vec<String> = (0..2_000)
            .map(|n| chat(&n.to_string(), "ann").to_string())
            .collect();
        place.write("events.jsonl", &lines.join("\n"));
        let start = Instant::now();
        let args = [&["emit", "--patience", "2s", "--json"], args].concat();
        let said = place.tidemark(&args).failed(1);
        assert!(start.elapsed() < Duration::from_secs(20), "{said}");
        for part in [
            "gave up after 0 acknowledged events: ",
            "did not answer",
            &address.to_string(),
            "Sending the same events again is safe",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
