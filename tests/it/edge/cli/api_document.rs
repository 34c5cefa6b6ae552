//! The API document and the running service agree: schemathesis makes requests of every kind and looks at the answers.

use std::path::Path;
use std::process::Command;

use super::Place;

fn tool() -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/schemathesis");
    let home = std::env::var("SERVERS_HOME");
    let home = home.unwrap_or_else(|_| {
        let home = std::env::var("HOME").expect("a home directory");
        format!("{home}/.cache/servers")
    });
    let version = std::fs::read_to_string(&script).unwrap();
    let version = version
        .lines()
        .find_map(|line| line.strip_prefix("version="));
    let venv = format!("{home}/schemathesis-{}", version.expect("a version"));
    if !Path::new(&venv).join(".complete").exists() {
        crate::needs::missing("schemathesis", "tests/servers/schemathesis fetch");
    }
    Command::new(script)
}

#[test]
#[ignore = "needs schemathesis: .ci/run tools"]
fn schemathesis_finds_no_answer_that_the_document_does_not_tell_of() {
    let mut tool = tool();
    let mut place = Place::new();
    // It asks as fast as it can.
    place.env = vec![
        ("TIDEMARK_HTTP_REQUESTS_PER_SECOND_PER_KEY", "0"),
        ("TIDEMARK_HTTP_REQUESTS_PER_SECOND_PER_ADDRESS", "0"),
    ];
    let up = place.up(&[]);
    let url = format!("http://{}", up.listen);
    let ran = tool
        .args(["run", &url, &up.key()])
        // What must never be: a fault of ours, a status, media type or body that is not documented, a way past the key.
        .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,ignored_auth"])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "30"])
        .args(["--warnings", "off", "--suppress-health-check", "all"])
        .args(["--continue-on-failure", "--request-timeout", "30"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let faults = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}\n{faults}\n{}", up.log());
    up.stop();
}
