//! A new epoch without usage rows: an empty log has no copies, so its first events count at once.

use std::fs;

use crate::process::books::{Books, Founded, records_of_epoch};
use crate::process::site::Site;

fn emit(site: &Site, seed: &str, at: jiff::Timestamp) {
    let at = at.to_string();
    site.run(&[
        "emit", "--clean", "--events", "400", "--seed", seed, "--at", &at,
    ]);
    site.run(&["wait", "--timeout", "60s"]);
}

#[test]
fn the_first_events_of_an_epoch_without_usage_rows_are_counted() {
    let mut site = Site::new();
    let off = ("TIDEMARK_PIPELINE_USAGE_ROWS", "false");
    site.set(&[off]);
    let mut requests = 0;
    let mut records = Vec::new();
    // Those of an epoch must be later than all of the one before: which copies came there nobody can tell.
    for (epoch, minutes_ago) in [("0", 40), ("1", 20), ("2", 0)] {
        if epoch != "0" {
            let before = site.file(&format!("log-before-{epoch}"));
            fs::rename(site.data().join("log"), before).expect("a move");
        }
        site.set(&[off, ("TIDEMARK_LOG_EPOCH", epoch)]);
        let mut up = site.up();
        up.wait_ready();
        // Generated events are of the minutes before: older than anything in this log.
        let at = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes_ago);
        emit(&site, epoch, at);
        requests += 400;
        let all: u64 = site.requests_of_users().values().sum();
        let rejects = site.run(&["rejects", "list", "--json"]);
        assert_eq!(all, requests, "epoch {epoch}: {rejects}");
        assert!(site.run(&["doctor"]).contains("All is well."));
        records.extend(records_of_epoch(&site, epoch.parse().unwrap()));
        let books = Books::of(&site, records.clone());
        books.equal_the_oracle_of_a_part(&Founded::default());
        assert_eq!(up.stop().0.code(), Some(0));
    }
}
