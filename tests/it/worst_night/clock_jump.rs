//! The machine's clock jumps 60 days ahead under a running `up`, and is set right again.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::Duration;

use super::on_call::{doctor_says, sums_equal_the_oracle};
use super::readiness::{probe, send};
use crate::kafka::until;
use crate::process::site::Site;

const WITHIN: Duration = Duration::from_secs(60);
/// Of each seed; several times what the duplicate windows hold.
const EVENTS: u64 = 8_000;
const SIXTY_DAYS: i64 = 60 * 86_400;

/// The wall clock of a process, through a library that is loaded before libc.
struct WallClock {
    file: std::path::PathBuf,
    library: String,
}

impl WallClock {
    fn new(site: &Site) -> WallClock {
        let (file, library) = (site.file("clock"), site.file("clock.so"));
        fs::write(&file, 0_i64.to_ne_bytes()).expect("a file");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/wall_clock.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .args([source, "-ldl"])
            .status();
        assert!(
            built
                .expect("a C compiler, as the build needs it")
                .success()
        );
        WallClock {
            file,
            library: library.to_str().expect("UTF-8").to_owned(),
        }
    }

    fn set_ahead(&self, seconds: i64) {
        let file = OpenOptions::new()
            .write(true)
            .open(&self.file)
            .expect("a file");
        file.write_all_at(&seconds.to_ne_bytes(), 0)
            .expect("a write");
    }
}

fn emit(site: &Site, seed: &str, at: &str) {
    let events = EVENTS.to_string();
    site.run(&[
        "emit", "--clean", "--events", &events, "--seed", seed, "--at", at,
    ]);
}

#[test]
fn a_clock_that_jumps_ahead_under_up_refuses_events_forgets_none_and_passes_without_a_restart() {
    let mut site = Site::new();
    let clock = WallClock::new(&site);
    let at = jiff::Timestamp::now().to_string();
    let file = clock.file.to_str().expect("UTF-8").to_owned();
    site.set(&[
        ("LD_PRELOAD", clock.library.as_str()),
        ("TEST_WALL_CLOCK", file.as_str()),
        // So that most of the resent events of before must be looked up.
        ("TIDEMARK_PIPELINE_DUPLICATE_WINDOW_RECORDS_MAX", "1000"),
        // And so that there is time to set the clock before they are rated.
        ("TIDEMARK_PIPELINE_CHUNK_AGE_MAX", "2s"),
    ]);
    let mut up = site.up();
    up.wait_ready();
    let key = fs::read_to_string(site.data().join("key")).expect("a key");
    emit(&site, "1", &at);
    site.run(&["wait", "--timeout", "60s"]);
    let count = |site: &Site| site.requests_of_users().values().sum::<u64>();
    assert_eq!(count(&site), EVENTS);

    // Events that are appended, and rated while the clock is ahead: copies, and new ones.
    emit(&site, "1", &at);
    emit(&site, "2", &at);
    clock.set_ahead(SIXTY_DAYS);
    until(WITHIN, "it is told", || {
        let (status, said) = probe(&up);
        status == 503 && said["code"] == "log_clock_ahead"
    });
    assert_eq!(send(&up, &key, 1), 503);
    doctor_says(&site, &["503 log_clock_ahead", "set the clock"]);

    clock.set_ahead(0);
    until(WITHIN, "it is ready again", || probe(&up).0 == 200);
    up.must_run();
    // Sent once more, all of them: each is known.
    for seed in ["1", "2", "3"] {
        emit(&site, seed, &at);
    }
    site.run(&["wait", "--timeout", "60s"]);
    let rejects = site.run(&["rejects", "list", "--json"]);
    assert_eq!(count(&site), 3 * EVENTS, "{rejects}");
    sums_equal_the_oracle(&site);
    assert!(site.run(&["doctor"]).contains("All is well."));
    assert_eq!(up.stop().0.code(), Some(0));
}
