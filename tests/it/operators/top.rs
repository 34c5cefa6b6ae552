//! `tidemark top`.

use serde_json::Value;

use crate::process::site::Site;

#[test]
fn top_says_in_one_word_how_it_is_and_ends_with_a_code_for_scripts() {
    let site = Site::new();
    let mut up = site.up();
    up.wait_ready();
    site.run(&["emit", "--events", "100"]);
    site.run(&["wait"]);

    let shown = site.run(&["top", "--once"]);
    assert!(shown.starts_with("FINE: "), "{shown}");
    assert!(
        shown.contains("nothing is waiting in 12 partitions (4 rate, 4 post, 4 audit)"),
        "{shown}"
    );
    assert!(!shown.contains('\x1b'), "a dumb terminal can show it");

    let shown = site.run(&["top", "--once", "--json", &up.url("")]);
    let view: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(view["verdict"], "fine", "{view}");
    assert_eq!(view["processes"], 1, "{view}");
    assert!(view["newestVisibleSeconds"].is_number(), "{view}");

    // One of two does not answer; then nobody does.
    let partly = site.try_run(&["top", "--once", &up.url(""), "127.0.0.1:1"]);
    assert_eq!(partly.code, Some(1), "{}", partly.stdout);
    assert!(partly.stdout.starts_with("PARTLY: "), "{}", partly.stdout);
    up.stop();
    let nobody = site.try_run(&["top", "--once", "127.0.0.1:1"]);
    assert_eq!(nobody.code, Some(2), "{}", nobody.stdout);
    assert!(
        nobody.stdout.starts_with("CANNOT LOOK: "),
        "{}",
        nobody.stdout
    );
}

#[test]
fn after_a_restart_without_traffic_nothing_sounds_like_an_alarm() {
    let site = Site::new();
    let mut up = site.up();
    up.wait_ready();
    let shown = top_until(&site, "FINE: ");
    assert!(shown.contains("no events yet"), "{shown}");
    site.run(&["emit", "--events", "20"]);
    site.run(&["wait"]);
    let shown = site.run(&["top", "--once"]);
    assert!(
        shown.contains("newest event visible in accounts: "),
        "{shown}"
    );
    up.stop();
    let mut up = site.up();
    up.wait_ready();
    let shown = top_until(&site, "no traffic since the start");
    assert!(shown.starts_with("FINE: "), "{shown}");
    assert!(shown.contains("everything before it is visible"), "{shown}");
    let shown = site.run(&["top", "--once", "--json"]);
    let view: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(view["newestVisibleSeconds"], Value::Null, "{view}");
    assert_eq!(view["hasPosted"], true, "{view}");
    up.stop();
}

/// What it shows once that is among it: partitions are taken up a moment after `up` is ready.
fn top_until(site: &Site, part: &str) -> String {
    for _ in 0..30 {
        let printed = site.try_run(&["top", "--once"]);
        if printed.stdout.contains(part) {
            return printed.stdout;
        }
    }
    panic!("never {part}");
}

#[test]
fn the_up_of_one_directory_is_not_mistaken_for_that_of_another() {
    let (mut down, other) = (Site::new(), Site::new());
    let mut up = other.up();
    up.wait_ready();
    // Where this one would listen, the other one does.
    let there = up.url("").replace("http://", "");
    down.set(&[("TIDEMARK_LISTEN", &there)]);
    let not_running = |site: &Site| {
        let said = site.try_run(&["top", "--once"]);
        assert_eq!(said.code, Some(2), "{}", said.stdout);
        let data = site.data().display().to_string();
        let sentence = format!("CANNOT LOOK: `tidemark up` is not running on {data}; start it");
        assert!(said.stdout.starts_with(&sentence), "{}", said.stdout);
        let said = site.try_run(&["top", "--once", "--json"]);
        let view: Value = serde_json::from_str(&said.stdout).expect("JSON");
        assert_eq!(view["verdict"], "cannot_look", "{view}");
        assert_eq!(view["silent"][0]["why"], "it is not running", "{view}");
    };
    not_running(&down);
    assert!(!down.data().exists(), "looking makes nothing");
    // What a killed one has left behind counts for nothing, whoever listens there now.
    up.kill();
    not_running(&other);
}
