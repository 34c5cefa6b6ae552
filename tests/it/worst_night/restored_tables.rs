//! All tables are restored to an earlier moment; the log goes on from where it is.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::on_call::doctor_says;
use crate::process::books::{self, Books};
use crate::process::load::Load;
use crate::process::site::{Site, Up, get};

const CONDITION_MAX: Duration = Duration::from_secs(60);

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => copy(&entry.path(), &target),
            // The socket of the process that was killed.
            kind if kind.is_file() => drop(fs::copy(entry.path(), target).expect("a copy")),
            _ => {}
        }
    }
}

pub(super) fn restore(site: &Site, backup: &Path) {
    let store = site.data().join("store");
    fs::remove_dir_all(&store).expect("a removal");
    copy(backup, &store);
}

pub(super) fn wait_until(up: &mut Up, what: &str, mut holds: impl FnMut(&mut Up) -> bool) {
    let start = Instant::now();
    while !holds(up) {
        up.must_run();
        assert!(start.elapsed() < CONDITION_MAX, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(super) fn has_rated(up: &mut Up, chunks: f64) -> bool {
    up.metric("tidemark_chunks_total").unwrap_or(0.0) >= chunks
}

fn is_halted(url: &str) -> bool {
    let is_told = |line: &str| line.contains("\"tables_behind_log\"") && line.ends_with(" 1");
    get(url).is_some_and(|text| text.lines().any(is_told))
}

/// Under load and with kills, so that partitions stand at different positions and the newest chunks
/// may be incomplete.
#[test]
fn tables_restored_to_an_earlier_moment_are_rolled_forward_and_every_sum_is_the_oracles() {
    let site = Site::new();
    let links = books::found(&site);
    let (store, backup) = (site.data().join("store"), site.file("backup"));
    let mut up = site.up();
    up.wait_ready();
    let mut load = Load::start(&site, 20_261_129);
    wait_until(&mut up, "rating", |up| has_rated(up, 6.0));
    up.kill();
    copy(&store, &backup);
    let mut up = site.up();
    up.wait_ready();
    wait_until(&mut up, "rating", |up| has_rated(up, 12.0));
    up.kill();
    let mut rng = StdRng::seed_from_u64(20_261_129);
    for _ in 0..3 {
        load.careless_producer(&site, &mut rng);
    }

    restore(&site, &backup);
    let mut up = site.up();
    up.wait_ready();
    wait_until(&mut up, "a halt", |_| is_halted(&site.url("/metrics")));
    let doctor = site.try_run(&["doctor"]);
    assert_eq!(doctor.code, Some(1), "{}", doctor.stdout);
    assert!(
        doctor.stdout.contains("tidemark recover"),
        "{}",
        doctor.stdout
    );
    let beside = site.try_run(&["recover", "--yes"]);
    assert_eq!(beside.code, Some(1), "{}", beside.stdout);
    assert!(beside.stderr.contains("stop it first"), "{}", beside.stderr);
    up.kill();

    let told = site.run(&["recover", "--dry-run"]);
    assert!(told.contains("from chunk"), "{told}");
    assert_eq!(site.run(&["recover", "--dry-run"]), told);
    let unconfirmed = site.try_run(&["recover"]);
    assert_eq!(unconfirmed.code, Some(2), "{}", unconfirmed.stderr);
    let done = site.run(&["recover", "--yes", "--reason", "a test"]);
    assert!(done.contains("rated again"), "{done}");
    assert!(!done.contains("could not be verified"), "{done}");
    eprintln!("{done}");
    let again = site.run(&["recover", "--yes"]);
    assert!(again.contains("nothing to recover"), "{again}");

    let mut up = site.up();
    up.wait_ready();
    recovery_is_audited(&site);
    site.run(&["resume", "--all", "--reason", "recovered"]);
    load.finish();
    site.run(&["wait", "--timeout", "3m"]);
    let books = Books::read(&site);
    load.everything_is_in(&books.records);
    books.equal_the_oracle(&links);
    site.run(&["doctor"]);
    let (status, _) = up.stop();
    assert_eq!(status.code(), Some(0));
}

/// Each partition that was rolled forward has an entry: who, from where to where, and what was verified.
fn recovery_is_audited(site: &Site) {
    let page = site
        .get("/api/admin/audit?limit=100")
        .expect("the audit trail");
    let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    let entries = page["entries"].as_array().expect("entries");
    let all = entries.iter().filter(|entry| entry["action"] == "recover");
    let all: Vec<_> = all.collect();
    assert!(!all.is_empty(), "{page}");
    for entry in all {
        let subject = entry["subject"].as_str().expect("a subject");
        assert!(subject.starts_with("rate/"), "{entry}");
        assert!(
            entry["by"]
                .as_str()
                .is_some_and(|by| by.contains("tidemark command")),
            "{entry}"
        );
        let number = |name: &str| entry["detail"][name].as_u64();
        assert!(number("toChunk") >= number("fromChunk"), "{entry}");
        assert!(number("toOffset") > number("fromOffset"), "{entry}");
        assert!(number("blocksVerified") > Some(0), "{entry}");
        assert_eq!(number("blocksUnverified"), Some(0), "{entry}");
    }
}

/// What stands in the tables alone is lost; what the log knows of it must not be used again for
/// something else.
#[test]
fn referral_links_made_after_the_backup_are_lost_and_their_numbers_are_not_used_again() {
    let site = Site::new();
    let at = jiff::Timestamp::now().to_string();
    let (store, backup) = (site.data().join("store"), site.file("backup"));
    let mut up = site.up();
    up.wait_ready();
    emit(&site, &at, "1");
    up.stop();
    copy(&store, &backup);
    let mut up = site.up();
    up.wait_ready();
    link(&site);
    emit(&site, &at, "2");
    let before = requests(&site);
    up.stop();

    restore(&site, &backup);
    doctor_says(&site, &["is not running", "records wait to be rated"]);
    let told = site.run(&["recover", "--yes", "--reason", "a test"]);
    assert!(told.contains("are lost"), "{told}");
    assert!(told.contains("could not be verified"), "{told}");
    let again = site.run(&["recover", "--yes"]);
    assert!(again.contains("nothing to recover"), "{again}");
    let mut up = site.up();
    up.wait_ready();
    site.run(&["wait", "--timeout", "60s"]);
    assert_eq!(
        requests(&site),
        before,
        "no request is lost or counted twice"
    );
    link(&site);
    emit(&site, &at, "3");
    // Resent, all of them: each is known.
    let after = requests(&site);
    for seed in ["1", "2", "3"] {
        emit(&site, &at, seed);
    }
    assert_eq!(requests(&site), after);
    site.run(&["doctor"]);
    up.stop();
}

fn emit(site: &Site, at: &str, seed: &str) {
    let what = [
        "emit", "--clean", "--events", "150", "--seed", seed, "--at", at,
    ];
    site.run(&what);
    site.run(&["wait", "--timeout", "60s"]);
}

fn link(site: &Site) {
    let file = site.file("links.jsonl");
    let line = "{\"referee\":[\"user\",\"user-1\"],\"referrer\":[\"user\",\"user-2\"]}\n";
    fs::write(&file, line).expect("a file");
    site.run(&["referral", "import", file.to_str().expect("UTF-8")]);
}

/// How many requests each account has had, over all months.
fn requests(site: &Site) -> Vec<String> {
    let all = site.run(&["statement", "--all", "--json"]);
    let of = |line: &str| {
        let statement: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let of = |name: &str| statement[name].to_string();
        let requests = of("requests");
        (requests != "0").then(|| format!("{} {} {} {requests}", of("kind"), of("id"), of("month")))
    };
    let mut lines: Vec<String> = all.lines().filter_map(of).collect();
    lines.sort();
    lines
}
