//! Arrows between modules point down only.

use std::fs;
use std::path::{Path, PathBuf};

/// In reading order: each uses only those before it.
const MODULES: [&str; 9] = [
    "domain", "ops", "log", "gateways", "store", "pipeline", "app", "http", "cli",
];

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}

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
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (place, module) in MODULES.iter().enumerate() {
        let alone = src.join(format!("{module}.rs"));
        let mut files = if alone.exists() {
            vec![alone]
        } else {
            Vec::new()
        };
        files.extend(rust_files(&src.join(module)));
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
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
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
