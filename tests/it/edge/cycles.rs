//! Files do not import each other in circles.
//!
//! A module and the modules within it may: a `mod.rs` declares them, and they use what it holds. Two
//! files that are neither within the other may not, directly or through others: whoever reads one of
//! them would have to read all of them. Nor may the parts of a folder, each with everything in it.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::{code_of, paths, rust_files, src};

/// Circles that are still open. This list may only shrink.
const STILL_OPEN: [&[&str]; 0] = [];

/// The module of a path that `module` names: the longest part of it that is a file.
fn resolved<'m>(module: &str, path: &str, modules: &'m BTreeSet<String>) -> Option<&'m str> {
    let mut base: Vec<&str> = module.split("::").collect();
    let mut rest: Vec<&str> = path.split("::").map(str::trim).collect();
    match rest.first() {
        Some(&"crate") => {
            base.clear();
            rest.remove(0);
        }
        Some(&"self") => {
            rest.remove(0);
        }
        _ => {
            while rest.first() == Some(&"super") {
                base.pop();
                rest.remove(0);
            }
        }
    }
    base.extend(rest);
    while !base.is_empty() {
        if let Some(found) = modules.get(&base.join("::")) {
            return Some(found);
        }
        base.pop();
    }
    None
}

/// Whether one of them is within the other, or is it.
fn are_kin(a: &str, b: &str) -> bool {
    let within = |outer: &str, inner: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    within(a, b) || within(b, a)
}

/// Who imports whom, by module.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let files: Vec<(String, String)> = rust_files(&src())
        .into_iter()
        .filter_map(|file| {
            let path = file.strip_prefix(src()).unwrap().with_extension("");
            let mut parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap()).collect();
            if parts.last() == Some(&"mod") {
                parts.pop();
            }
            let module = parts.join("::");
            let is_root = ["lib", "main"].contains(&module.as_str());
            (!is_root).then(|| (module, code_of(&file)))
        })
        .collect();
    let modules: BTreeSet<String> = files.iter().map(|(module, _)| module.clone()).collect();
    files
        .iter()
        .map(|(module, code)| {
            let used = paths(code)
                .iter()
                .filter_map(|path| resolved(module, path, &modules))
                .filter(|used| !are_kin(module, used))
                .map(str::to_owned)
                .collect();
            (module.clone(), used)
        })
        .collect()
}

fn reachable<'m>(
    from: &'m str,
    imports: &'m BTreeMap<String, BTreeSet<String>>,
) -> BTreeSet<&'m str> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        for used in &imports[module] {
            if seen.insert(used.as_str()) {
                open.push(used);
            }
        }
    }
    seen
}

/// The sets of modules that all reach each other.
fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<Vec<&str>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> = imports
        .keys()
        .map(|module| (module.as_str(), reachable(module, imports)))
        .collect();
    let mut circles = BTreeSet::new();
    for (module, reached) in &reach {
        if reached.contains(module) {
            let mutual = reached
                .iter()
                .filter(|other| reach[*other].contains(module));
            circles.insert(mutual.copied().collect());
        }
    }
    circles
}

#[test]
fn files_import_each_other_in_no_new_circle() {
    let imports = imports();
    let edges: usize = imports.values().map(BTreeSet::len).sum();
    assert!(
        edges > 500,
        "only {edges} imports were found; the search is broken"
    );
    let found = circles(&imports);
    let known: BTreeSet<Vec<&str>> = STILL_OPEN.iter().map(|circle| circle.to_vec()).collect();
    // A part of a known circle is progress, not a new one.
    let is_known = |circle: &&Vec<&str>| {
        known
            .iter()
            .any(|known| circle.iter().all(|module| known.contains(module)))
    };
    let new: Vec<_> = found.iter().filter(|circle| !is_known(circle)).collect();
    assert!(
        new.is_empty(),
        "these files import each other in a circle: {new:#?}"
    );
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(
        gone.is_empty(),
        "no longer a circle; shorten STILL_OPEN: {gone:#?}"
    );
}

/// Who imports whom among the parts of each folder: its files and folders, each as a whole.
fn imports_of_parts(
    imports: &BTreeMap<String, BTreeSet<String>>,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut parts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let each = imports.iter();
    for (user, used) in each.flat_map(|(user, used)| used.iter().map(move |used| (user, used))) {
        let [user, used] = [user, used].map(|module| module.split("::").collect::<Vec<_>>());
        let same = user.iter().zip(&used).take_while(|(a, b)| a == b).count();
        let part = |module: &[&str]| module[..=same].join("::");
        let (user, used) = (part(&user), part(&used));
        parts.entry(used.clone()).or_default();
        parts.entry(user).or_default().insert(used);
    }
    parts
}

#[test]
fn the_parts_of_a_folder_import_each_other_in_no_circle() {
    let parts = imports_of_parts(&imports());
    assert!(parts.len() > 200, "the search is broken: {}", parts.len());
    let found = circles(&parts);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_search_finds_circles_through_groups_paths_and_parents() {
    let modules: BTreeSet<String> = ["a", "a::b", "a::c", "d"].map(str::to_owned).into();
    let used = |module: &str, code: &str| -> Vec<String> {
        let paths = paths(code);
        let found = paths
            .iter()
            .filter_map(|path| resolved(module, path, &modules));
        found.map(str::to_owned).collect()
    };
    assert_eq!(used("a::b", "use super::c::Thing;"), ["a::c", "a::c"]);
    assert_eq!(used("d", "use crate::{a::{self, c::X}};"), ["a", "a::c"]);
    assert!(used("d", "use crate::{a::{b::Y, c::X}};").contains(&"a::c".to_owned()));
    assert_eq!(used("a", "pub use c::X;"), ["a::c"]);
    assert_eq!(used("d", "let x = crate::a::b::f();"), ["a::b"]);
    assert_eq!(used("d", "use std::fmt;"), ["d"]);
    let circle = |a: &str, b: &str| (a.to_owned(), BTreeSet::from([b.to_owned()]));
    let imports = BTreeMap::from([
        circle("a", "b"),
        circle("b", "c"),
        circle("c", "a"),
        circle("d", "a"),
    ]);
    assert_eq!(circles(&imports), BTreeSet::from([vec!["a", "b", "c"]]));
    // Each file is free of circles; the folders are not.
    let folders = BTreeMap::from([
        circle("f::a::x", "f::b::y"),
        circle("f::b::z", "f::a::w"),
        ("f::a::w".to_owned(), BTreeSet::new()),
        ("f::b::y".to_owned(), BTreeSet::new()),
    ]);
    assert!(circles(&folders).is_empty());
    let found = BTreeSet::from([vec!["f::a", "f::b"]]);
    assert_eq!(circles(&imports_of_parts(&folders)), found);
}
