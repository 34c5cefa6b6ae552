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
    assert!(shown.contains("nothing waits in 8 partitions"), "{shown}");
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
