//! More partitions: a new epoch on new topics, with the same tables.

use std::fs;

use super::site::Site;

/// The shipped topics with other numbers of partitions, as files of their own.
pub fn topics(site: &Site, name: &str, usage: u32, postings: u32) -> String {
    let (from, to) = (
        concat!(env!("CARGO_MANIFEST_DIR"), "/topics"),
        site.file(name),
    );
    fs::create_dir_all(&to).expect("a directory");
    for entry in fs::read_dir(from).expect("the topics") {
        let path = entry.expect("an entry").path();
        let file = path.file_name().expect("a name").to_str().expect("UTF-8");
        let text = fs::read_to_string(&path).expect("a topic");
        let count = match file {
            "usage.events.yaml" | "ledger.cuts.yaml" => usage,
            "ledger.postings.yaml" => postings,
            _ => 4,
        };
        let text = text.replace("\npartitions: 4\n", &format!("\npartitions: {count}\n"));
        fs::write(to.join(file), text).expect("a file");
    }
    to.to_str().expect("UTF-8").to_owned()
}

fn emit(site: &Site, seed: &str, at: &str) {
    let what = [
        "emit", "--clean", "--events", "300", "--seed", seed, "--at", at,
    ];
    site.run(&what);
    site.run(&["wait", "--timeout", "90s"]);
}

#[test]
fn a_new_epoch_may_have_more_partitions_and_still_knows_every_event() {
    let at = jiff::Timestamp::now().to_string();
    let mut site = Site::new();
    let mut up = site.up();
    up.wait_ready();
    emit(&site, "1", &at);
    let before = site.statements();
    let board = site.run(&["leaderboard", "users", "--json"]);
    up.stop();

    for (epoch, usage, postings) in [("1", 6, 7), ("2", 3, 2)] {
        fs::rename(
            site.data().join("log"),
            site.file(&format!("log-before-{epoch}")),
        )
        .expect("a move");
        let topics = topics(&site, &format!("topics-{epoch}"), usage, postings);
        site.set(&[
            ("TIDEMARK_LOG_EPOCH", epoch),
            ("TIDEMARK_LOG_TOPICS", &topics),
        ]);
        let mut up = site.up();
        up.wait_ready();
        // Every event again: each is known, whatever partition its user has now.
        emit(&site, "1", &at);
        assert_eq!(site.statements(), before, "epoch {epoch}");
        assert_eq!(site.run(&["leaderboard", "users", "--json"]), board);
        site.run(&["doctor"]);
        let (status, _) = up.stop();
        assert_eq!(status.code(), Some(0));
    }
    let mut up = site.up();
    up.wait_ready();
    emit(&site, "2", &at);
    assert_ne!(site.statements(), before);
    site.run(&["doctor"]);
    up.stop();
}
