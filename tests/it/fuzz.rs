//! The stored corpus of the fuzz targets (`fuzz/seeds`), without a fuzzer: what was found once stays found.

#[path = "../../fuzz/targets.rs"]
#[allow(dead_code)]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

fn seeds(target: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_target_keeps_its_promises_on_its_stored_corpus() {
    for (name, run) in targets::TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no stored input");
        for path in seeds {
            eprintln!("{}", path.display());
            run(&fs::read(&path).unwrap());
        }
    }
}

#[test]
fn every_target_has_a_program_and_the_other_way_round() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut programs: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    programs.sort();
    let mut names = targets::TARGETS.map(|(name, _)| name);
    names.sort_unstable();
    assert_eq!(programs, names);
    // `.ci/run fuzz` runs what has stored inputs; cargo builds what is named in the manifest.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let folders = fs::read_dir(root.join("seeds")).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut folders: Vec<String> = folders.map(|entry| name(entry.unwrap())).collect();
    folders.sort();
    assert_eq!(folders, names);
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let programs = manifest["bin"].as_array().unwrap().iter();
    let mut built: Vec<&str> = programs.map(|bin| bin["name"].as_str().unwrap()).collect();
    built.sort_unstable();
    assert_eq!(built, names);
}
