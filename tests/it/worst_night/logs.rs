//! What a process says first, and what it says again and again.

use serde_json::Value;

use crate::process::site::Site;

#[test]
fn the_first_line_says_what_runs_and_on_what() {
    let mut site = Site::new();
    site.set(&[
        ("TIDEMARK_LOGGING_FORMAT", "json"),
        ("TIDEMARK_STORE_TABLE_PREFIX", "night-"),
    ]);
    let mut up = site.up_printing();
    up.wait_ready();
    let said = up.said();
    let first: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!(first["event"], "process.started", "{first}");
    assert_eq!(first["version"], env!("CARGO_PKG_VERSION"), "{first}");
    assert_eq!(first["epoch"], 0, "{first}");
    assert_eq!(first["log_engine"], "embedded", "{first}");
    assert_eq!(first["table_prefix"], "night-", "{first}");
    assert!(first["topic_prefix"].is_string(), "{first}");
    // Whoever reads the log must not be able to sign in with it.
    let home = ureq::get(site.url("/signin")).call().unwrap();
    assert_eq!(home.status().as_u16(), 200, "there is a page to sign in");
    assert!(!said.contains("/signin"), "{said}");
    let printed = up.printed();
    assert!(
        printed.contains("sign-in links are shown here"),
        "{printed}"
    );
    assert!(!printed.contains("/signin"), "{printed}");
    up.stop();
}
