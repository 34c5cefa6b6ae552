//! Tests that need a tool or a server are ignored, with the reason, so that a run without it reports
//! them as ignored, not as passed. Asked for (`--include-ignored`), they fail if it is missing.

use std::fs;
use std::path::Path;

/// Fails the test of this thread, which was asked for although a tool is missing.
pub fn missing(tool: &str, how_to_install: &str) -> ! {
    panic!("this test needs {tool}, which is missing; {how_to_install}")
}

/// Calls that end in [`missing`] where there is no tool.
const CALLS: [&str; 17] = [
    "broker::bootstrap()",
    "Broker::own()",
    "Broker::own_with(",
    "Stage::new() else",
    " needs(\"",
    "needs_prometheus()",
    "needs_browser()",
    "needs_litellm()",
    "needs_clients()",
    "needs_viem()",
    "needs_otel()",
    "with_values(",
    "renderings()",
    "on_a_terminal(",
    "tls() else",
    "tool();",
    "log().await else",
];

fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("the directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(fs::read_to_string(&path).expect("UTF-8"));
        }
    }
    found
}

#[test]
fn tests_that_need_a_tool_are_ignored_unless_they_are_asked_for() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let mut checked = 0;
    for text in files(&tests) {
        // From one attribute to the end of the function: a brace at the attribute's own indentation.
        for at in ["\n#[test]\n", "\n#[tokio::test"].iter().flat_map(|start| {
            text.match_indices(start)
                .map(|(at, _)| at)
                .collect::<Vec<_>>()
        }) {
            let function = text[at..].split("\n}\n").next().unwrap_or_default();
            if CALLS.iter().any(|call| function.contains(call)) && !function.contains("const CALLS")
            {
                assert!(
                    function.contains("#[ignore = \"needs "),
                    "not ignored: {function}"
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "only {checked} tests need a tool");
}
