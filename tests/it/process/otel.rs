//! Real OpenTelemetry SDKs in Python and JavaScript with GenAI instrumentation: what they export is in the statement of its user.
//!
//! Needs the SDKs: `tests/servers/otel fetch`.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::site::Site;

/// How many requests each SDK makes: chat, stream, embeddings, a failure; Python also the Responses API, which OpenTelemetry's own instrumentation does
/// not report; one of Anthropic and of Pydantic AI; the Vercel AI SDK a chat and embeddings. JavaScript does all of it in JSON and in protobuf.
const REQUESTS: u64 = 4 + 5 + 1 + 1 + 2 * (4 + 2 + 2);
const FAILED: u64 = 1 + 1 + 2;

fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/servers/otel")
}

/// Fails the test if the SDKs are missing.
fn needs_otel() {
    let is_ready = Command::new(script()).arg("ready").status();
    if !is_ready.expect("the script runs").success() {
        crate::needs::missing("the OpenTelemetry SDKs", "tests/servers/otel fetch");
    }
}

#[test]
#[ignore = "needs the OpenTelemetry SDKs: .ci/run tools"]
fn what_sdks_export_is_counted_once() {
    needs_otel();
    let site = Site::new();
    let mut up = site.up();
    up.wait_ready();
    let key = site.run(&["keys", "create", "otel", "--scope", "ingest"]);
    let sent = Command::new(script())
        .args(["send", &site.url(""), key.trim()])
        .output()
        .expect("the script runs");
    let said = String::from_utf8_lossy(&sent.stderr).into_owned();
    assert!(sent.status.success(), "{said}");
    site.run(&["wait", "--timeout", "1m"]);
    up.must_run();
    let statement = site.run(&["statement", "user", "anna", "--json"]);
    let statement: Value = serde_json::from_str(&statement).expect("JSON");
    assert_eq!(
        (&statement["requests"], &statement["failed"]),
        (&Value::from(REQUESTS), &Value::from(FAILED)),
        "{statement}"
    );
}
