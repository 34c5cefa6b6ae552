//! The source files of the crate, for tests of its structure.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the sources.
pub fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every Rust file below a folder.
pub fn rust_files(dir: &Path) -> Vec<PathBuf> {
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

/// A file without its comments and its unit tests.
pub fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let code: Vec<&str> = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    code.join("\n")
}

/// The paths that a text names: those of its `use` declarations, groups taken apart, and those in its
/// code that begin at the crate or at a parent.
pub fn paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for declaration in code.split(';') {
        let Some((_, tree)) = declaration.rsplit_once("use ") else {
            continue;
        };
        let begins_line = declaration.lines().any(|line| {
            line.trim_start().starts_with("use ") || line.contains("pub") && line.contains(" use ")
        });
        if begins_line {
            let tree: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
            expand("", &tree, &mut paths);
        }
    }
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let is_inner = code[..at].ends_with("::");
            let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            if !is_inner {
                let path: String = code[at..].chars().take_while(|c| is_path(*c)).collect();
                paths.push(path.trim_end_matches(':').to_owned());
            }
        }
    }
    paths
}

/// Takes the groups of a `use` declaration apart.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or_default();
        paths.push(format!("{prefix}{name}"));
        return;
    };
    let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
    let (mut depth, mut from) = (0, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = &group[from..at];
                if !part.trim().is_empty() {
                    expand(&format!("{prefix}{head}"), part, paths);
                }
                from = at + 1;
            }
            _ => (),
        }
    }
}
