//! Every test is in a tier of `.ci/run`: whoever runs the tiers one by one has run them all.

use std::collections::BTreeSet;

use super::repository;

/// The modules that a file declares.
fn modules(file: &str) -> BTreeSet<String> {
    let text = repository(file);
    let declared = text.lines().filter_map(|line| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    declared.map(str::to_owned).collect()
}

/// What the tiers name to run: words that end with `::`, or that begin with `edge::`.
fn named_by_tiers() -> BTreeSet<String> {
    let script = repository(".ci/run").replace("\\\n", " ");
    let runs = script
        .lines()
        .filter(|line| line.contains("cargo test --locked"));
    let words = runs
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_end_matches("::"));
    words.map(str::to_owned).collect()
}

#[test]
fn every_module_of_tests_is_in_a_tier() {
    let named = named_by_tiers();
    let all = modules("tests/it/main.rs");
    let of_edge = modules("tests/it/edge/mod.rs");
    let of_edge = of_edge.iter().map(|module| format!("edge::{module}"));
    let missing: Vec<String> = all
        .into_iter()
        .filter(|module| module != "edge")
        .chain(of_edge.filter(|module| module != "edge::sources"))
        .filter(|module| !named.contains(module))
        .collect();
    assert!(missing.is_empty(), "in no tier of .ci/run: {missing:?}");
}
