//! Arrows between modules point down only.

use std::collections::BTreeSet;
use std::fs;

use super::sources::{code_of, paths, rust_files, src};

/// In reading order: each uses only those before it.
const MODULES: [&str; 13] = [
    "domain", "ops", "log", "gateways", "store", "objects", "archive", "claims", "pipeline", "app",
    "http", "compose", "cli",
];

/// The top-level modules that a source text names: after `crate::`, or in `use crate::{a, b::c}`.
fn named(text: &str) -> Vec<String> {
    let code: Vec<&str> = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    let code = code.join("\n");
    let word = |text: &str| {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let mut names = Vec::new();
    for (_, rest) in code
        .match_indices("crate::")
        .map(|(at, found)| (at, &code[at + found.len()..]))
    {
        match rest.strip_prefix('{') {
            None => names.push(word(rest)),
            Some(group) => {
                let mut depth = 1;
                let mut at_start = true;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        _ => (),
                    }
                    if depth == 0 {
                        break;
                    }
                    if depth == 1 && at_start && !c.is_whitespace() {
                        names.push(word(&group[at..]));
                        at_start = false;
                    }
                    at_start |= depth == 1 && c == ',';
                }
            }
        }
    }
    names
}

#[test]
fn each_module_uses_only_those_before_it() {
    let src = src();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (place, module) in MODULES.iter().enumerate() {
        let alone = src.join(format!("{module}.rs"));
        let mut files = if alone.exists() {
            vec![alone]
        } else {
            Vec::new()
        };
        let folder = src.join(module);
        if folder.is_dir() {
            files.extend(rust_files(&folder));
        }
        for file in files {
            for name in named(&fs::read_to_string(&file).unwrap()) {
                seen += 1;
                let used = MODULES.iter().position(|known| *known == name);
                if used.is_none_or(|used| used > place) {
                    wrong.push(format!("{} uses {name}", file.display()));
                }
            }
        }
    }
    assert!(
        seen > 100,
        "only {seen} uses were found; this test looks in the wrong place"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn modules_are_declared_in_reading_order() {
    let lib = fs::read_to_string(src().join("lib.rs")).unwrap();
    let declared: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    assert_eq!(declared, MODULES);
}

#[test]
fn the_reader_of_arrows_finds_what_is_used() {
    let text = "use crate::log::Log;\nuse crate::{store::{self, db}, ops, cli::x};\n// crate::http\nlet a = crate::domain::time::Day(1);";
    assert_eq!(named(text), ["log", "store", "ops", "cli", "domain"]);
}

/// What the front ends may take from the store themselves: the machinery that they are run with, and
/// what only operators look at. Everything that people do or ask is in `app`, which names it. These
/// lists may only shrink.
const STORE_IN_HTTP: [&str; 5] = ["db", "keys", "layout", "secrets", "sessions"];
const STORE_IN_CLI: [&str; 14] = [
    "checkpoints",
    "db",
    "durability",
    "dynamo",
    "embedded",
    "feed_rows",
    "installation",
    "layout",
    "losses",
    "meter",
    "pages",
    "protection",
    "recovery",
    "tables",
];

/// The modules of the store that a source text names.
fn store_modules(code: &str) -> BTreeSet<String> {
    let paths = paths(code);
    let within = paths
        .iter()
        .filter_map(|path| path.strip_prefix("crate::store::"));
    let module = |path: &str| path.split("::").next().unwrap_or_default().to_owned();
    within.map(module).collect()
}

#[test]
fn front_ends_take_from_the_store_only_what_app_does_not_offer() {
    for (front, allowed) in [("http", &STORE_IN_HTTP[..]), ("cli", &STORE_IN_CLI[..])] {
        let mut seen = BTreeSet::new();
        for file in rust_files(&src().join(front)) {
            for module in store_modules(&code_of(&file)) {
                assert!(
                    allowed.contains(&module.as_str()),
                    "{} takes {module} from the store; use app::commands or app::queries",
                    file.display()
                );
                seen.insert(module);
            }
        }
        let unused: Vec<_> = allowed
            .iter()
            .filter(|name| !seen.contains(**name))
            .collect();
        assert!(
            unused.is_empty(),
            "{front} no longer takes {unused:?} from the store; shorten its list"
        );
    }
}

#[test]
fn the_reader_of_store_modules_finds_them() {
    let text = "use crate::store::db::{Db, StoreError};\nuse crate::store::{layout, losses::X};\ncrate::store::credits::add()";
    let expected = ["credits", "db", "layout", "losses"];
    assert_eq!(
        store_modules(text),
        BTreeSet::from(expected.map(str::to_owned))
    );
}

/// What is broken on purpose is decided in one place, not by conditions all over the pipeline.
#[test]
fn only_the_protections_name_breakages() {
    let pipeline = src().join("pipeline");
    let mut seen = 0;
    for file in rust_files(&pipeline) {
        let names_one = code_of(&file).contains("Breakage::");
        let within = file.strip_prefix(&pipeline).unwrap();
        if within.starts_with("protections") {
            seen += usize::from(names_one);
        } else if within != std::path::Path::new("breakage.rs") {
            assert!(!names_one, "{} names a breakage", file.display());
        }
    }
    assert!(seen > 1, "this test looks in the wrong place");
}

/// Whoever writes under a condition learns from `store::conditional` what became of it. These files
/// name the error themselves: the ones that make it, sort errors, or look which part of a
/// transaction failed.
#[test]
fn what_became_of_a_conditional_write_is_found_out_in_one_place() {
    const NAMED_IN: [&str; 8] = [
        "http/dependencies.rs",
        "pipeline/failure.rs",
        "pipeline/post/awards.rs",
        "pipeline/post/derive.rs",
        "pipeline/versioned.rs",
        "store/conditional.rs",
        "store/db.rs",
        "store/dynamo/retry.rs",
    ];
    assert_eq!(files_that_say("ConditionFailed"), NAMED_IN);
}

/// Files of the sources whose code has this text, by their paths.
fn files_that_say(text: &str) -> Vec<String> {
    let src = src();
    let files = rust_files(&src).into_iter();
    let saying = files.filter(|file| code_of(file).contains(text));
    let name = |file: std::path::PathBuf| {
        let name = file.strip_prefix(&src).expect("a source file");
        name.display().to_string()
    };
    let mut names: Vec<String> = saying.map(name).collect();
    names.sort_unstable();
    names
}
