//! The archive of a real `up`, in a directory and in a bucket, read by DuckDB with a query of the docs.
//!
//! Needs DuckDB and moto: `tests/servers/duckdb fetch`, `tests/servers/moto fetch`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidemark::domain::amount::Money;

use super::books;
use super::moto::{Moto, needs, script};
use super::site::{Site, Up};

/// How long the audit may take to come to the end.
const ARCHIVED_WITHIN: Duration = Duration::from_secs(120);

/// What DuckDB answers.
fn ask(sql: &str) -> Vec<Value> {
    let mut child = Command::new(script("duckdb"))
        .arg("query")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the script runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(sql.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{sql}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    lines.collect()
}

/// The queries of docs/archive.md, the view first, for an archive in this directory.
fn queries(directory: &Path) -> Vec<String> {
    let docs = include_str!("../../../docs/archive.md");
    let blocks = docs.split("```sql\n").skip(1);
    let directory = directory.to_str().expect("UTF-8");
    let query = |block: &str| {
        let query = block.split("```").next().expect("an end");
        query.replace("/srv/tidemark-archive", directory)
    };
    blocks.map(query).collect()
}

/// What users are charged, by month and user, as their statements say.
fn charged(site: &Site) -> BTreeMap<(String, String), Money> {
    let mut charged = BTreeMap::new();
    for line in site.statements() {
        let statement: Value = serde_json::from_str(&line).expect("JSON");
        let text = |name: &str| statement[name].as_str().unwrap_or_default().to_owned();
        if statement["kind"] == "user" {
            let cost: Money = text("cost").parse().expect("an amount");
            charged.insert((text("month"), text("id")), cost);
        }
    }
    charged.retain(|_, cost| *cost != Money::ZERO);
    charged
}

/// The same, as the first query of the docs says.
fn charged_by_archive(directory: &Path, months: &[String]) -> BTreeMap<(String, String), Money> {
    let queries = queries(directory);
    assert_eq!(queries.len(), 6, "a view and five queries");
    let (view, first) = (&queries[0], &queries[1]);
    let mut charged = BTreeMap::new();
    for month in months {
        let sql = format!("{view}{}", first.replace("2026-11", month));
        for row in ask(&sql) {
            let text = |name: &str| row[name].as_str().expect("a text").to_owned();
            let cost: Money = text("cost").parse().expect("an amount");
            charged.insert((month.clone(), text("user_id")), cost);
        }
    }
    for query in &queries[2..] {
        ask(&format!("{view}{query}"));
    }
    charged.retain(|_, cost| *cost != Money::ZERO);
    charged
}

/// Waits until everything that was rated has been audited, and is in the archive or will be with a
/// graceful stop.
fn wait_audited(up: &mut Up, site: &Site) {
    site.run(&["wait", "--timeout", "2m"]);
    let start = Instant::now();
    let is_done = |up: &Up| {
        let lag = up.metric("tidemark_lag_records").unwrap_or(1.0);
        lag == 0.0
    };
    while !is_done(up) {
        up.must_run();
        assert!(start.elapsed() < ARCHIVED_WITHIN, "the audit does not end");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Events, a kill in between, and everything that is compared with the oracle; the site stands.
fn count(env: &[(&str, &str)]) -> Site {
    let mut site = Site::new();
    site.set(env);
    let links = books::found(&site);
    let mut up = site.up();
    up.wait_ready();
    site.run(&["emit", "--events", "3000", "--seed", "7", "--users", "40"]);
    up.kill();
    let mut up = site.up();
    up.wait_ready();
    site.run(&["emit", "--events", "3000", "--seed", "8", "--users", "40"]);
    wait_audited(&mut up, &site);
    books::Books::read(&site).equal_the_oracle_of_a_part(&links);
    site.run(&["doctor"]);
    let (status, _) = up.stop();
    assert_eq!(status.code(), Some(0));
    let mut up = site.up();
    up.wait_ready();
    site
}

fn compare(site: &Site, directory: &Path) {
    let must = charged(site);
    assert!(must.len() > 20, "some are charged: {must:?}");
    let mut months: Vec<String> = must.keys().map(|(month, _)| month.clone()).collect();
    months.dedup();
    assert_eq!(charged_by_archive(directory, &months), must);
}

/// Sums of a column of a CSV export that was downloaded, over users alone.
fn downloaded(site: &Site, path: &str, column: &str) -> Money {
    let key = std::fs::read_to_string(site.data().join("key")).expect("a key");
    let file = super::site::get_with(&site.url(path), &key).expect("a file");
    let whole = file.lines().filter(|line| !line.starts_with("# end"));
    let whole = whole.collect::<Vec<_>>().join("\n");
    let mut lines = csv::Reader::from_reader(whole.as_bytes());
    let titles = lines.headers().expect("titles").clone();
    let place = titles.iter().position(|title| title == column);
    let place = place.unwrap_or_else(|| panic!("{column} is in {titles:?}"));
    let amounts = lines.records().map(|line| {
        let line = line.expect("CSV");
        match &line[place] {
            "" => 0,
            amount => amount.parse::<Money>().expect("an amount").0,
        }
    });
    Money(amounts.sum())
}

/// The months of which there are files: on the first day of a month, nothing of it may be charged.
fn archived_months(place: &Path) -> BTreeSet<String> {
    let folders = std::fs::read_dir(place).expect("the archive");
    let names = folders.map(|folder| folder.expect("a folder").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names
        .filter_map(|name| name.strip_prefix("month=").map(str::to_owned))
        .collect()
}

/// Every row is what the archive and the awards come to: all in all, and month by month.
fn verified(site: &Site, months: &BTreeSet<String>, records: u64) {
    let verify = |args: &[&str]| {
        let said = site.run(&[&["verify", "--json"][..], args].concat());
        serde_json::from_str::<Value>(&said).expect("one line of JSON")
    };
    let all = verify(&[]);
    for (name, must) in [("differences", 0), ("skipped", 0), ("requests", records)] {
        assert_eq!(all[name], must, "{name}: {all}");
    }
    assert_eq!(all["lifetimeCompared"], true, "{all}");
    assert!(all["accounts"].as_u64().expect("a count") > 40, "{all}");
    // In shares, and of one month only, it comes to the same.
    assert_eq!(verify(&["--accounts-max", "16"]), all);
    for month in months {
        let of_month = verify(&["--month", month]);
        assert_eq!(of_month["differences"], 0, "{of_month}");
    }
}

#[test]
fn what_was_archived_is_rated_and_exported_as_it_was_posted() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("archive");
    let site = count(&[
        ("TIDEMARK_ARCHIVE_LOCATION", place.to_str().expect("UTF-8")),
        ("TIDEMARK_ARCHIVE_FILE_AGE_MAX", "1s"),
    ]);
    let mut up = site.up();
    up.wait_ready();
    let must = charged(&site);
    let months = archived_months(&place);
    let mut records = 0;
    for month in &months {
        let report = site.run(&["replay", "--month", month, "--json"]);
        let report: Value = serde_json::from_str(&report).expect("JSON");
        assert_eq!(report["rows"]["changed"], 0, "{report}");
        assert_eq!(report["isWhole"], true, "{report}");
        let of_month = must.iter().filter(|((of, _), _)| of == month);
        let cost = Money(of_month.map(|(_, cost)| cost.0).sum());
        assert_eq!(report["totals"]["cost"]["before"], cost.to_string());
        assert_eq!(report["totals"]["cost"]["after"], cost.to_string());
        for kind in ["events", "completions", "reversals"] {
            records += report["rows"][kind].as_u64().expect("a count");
        }
        for (path, column) in [
            (format!("/api/admin/exports/{month}/requests"), "cost_usd"),
            (
                format!("/api/admin/exports/{month}/requests?format=focus"),
                "BilledCost",
            ),
        ] {
            assert_eq!(downloaded(&site, &path, column), cost, "{path}");
        }
    }
    verified(&site, &months, records);
    let status = site.run(&["audit", "status", "--json"]);
    let parts = status.lines().map(|line| {
        let part: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(part["archive"]["gaps"], 0, "{line}");
        part["archive"]["records"].as_u64().expect("a count")
    });
    assert_eq!(parts.sum::<u64>(), records, "{status}");
    let said = site.run(&["doctor"]);
    let note = format!("The archive at {} holds", place.display());
    assert!(said.contains(&note), "{said}");
    std::fs::remove_dir_all(&place).expect("it goes");
    let said = site.try_run(&["doctor"]);
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    let wanted = "The archive of requests cannot be read from here: there is no archive at";
    assert!(said.stdout.contains(wanted), "{}", said.stdout);
}

#[test]
#[ignore = "needs DuckDB"]
fn duckdb_reads_the_archive_and_charges_users_what_their_statements_say() {
    needs("duckdb");
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("archive");
    let site = count(&[
        ("TIDEMARK_ARCHIVE_LOCATION", place.to_str().expect("UTF-8")),
        ("TIDEMARK_ARCHIVE_FILE_AGE_MAX", "1s"),
    ]);
    compare(&site, &place);
}

#[test]
#[ignore = "needs DuckDB and moto"]
fn the_archive_in_a_bucket_is_the_same() {
    needs("duckdb");
    needs("moto");
    let moto = Moto::start();
    let endpoint = moto.endpoint();
    let site = count(&[
        ("TIDEMARK_ARCHIVE_LOCATION", "s3://points/some/where"),
        ("TIDEMARK_ARCHIVE_ENDPOINT", &endpoint),
        ("TIDEMARK_ARCHIVE_FILE_AGE_MAX", "2s"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ]);
    let directory = tempfile::tempdir().expect("a directory");
    moto.copy_to(directory.path());
    compare(&site, &directory.path().join("some/where"));
    let said = site.run(&["verify"]);
    assert!(said.ends_with(" in the archive: no difference\n"), "{said}");
}
