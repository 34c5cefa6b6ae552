//! A disk that is really full: a small file system in memory, filled to its last byte under `up`.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::readiness::{probe, send};
use crate::kafka::until;
use crate::process::books::{self, Books};
use crate::process::load::Load;
use crate::process::site::Site;

const WITHIN: Duration = Duration::from_secs(60);

/// A file system in memory. Unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(at: &Path, size: &str) -> Mount {
        fs::create_dir_all(at).expect("a directory");
        let options = format!("size={size},mode=700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(at)
            .status();
        let is_mounted = mounted.is_ok_and(|status| status.success());
        assert!(is_mounted, "this test needs to mount a file system (root)");
        Mount(at.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a failed test may leave a process that is just being killed.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Takes every byte that is left.
fn fill(path: &Path) {
    let mut file = File::create(path).expect("a file");
    let block = [0_u8; 64 << 10];
    while file.write_all(&block).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
}

#[test]
#[ignore = "needs root, to mount a file system: .ci/run kafka"]
fn a_full_disk_refuses_new_events_loses_none_and_goes_on_by_itself_when_there_is_space() {
    let site = Site::new();
    let _mount = Mount::new(&site.data(), "384m");
    let links = books::found(&site);
    let mut up = site.up();
    up.wait_ready();
    let key = fs::read_to_string(site.data().join("key")).expect("a key");
    let mut load = Load::start(&site, 20_261_203);
    until(WITHIN, "rating", || {
        up.metric("tidemark_events_rated_total").unwrap_or(0.0) > 600.0
    });
    let ballast = site.data().join("ballast");
    fill(&ballast);
    until(WITHIN, "it is told", || {
        let (status, said) = probe(&up);
        status == 503 && said["code"] == "log_disk_full"
    });
    assert_eq!(send(&up, &key, 2), 507);
    let doctor = site.try_run(&["doctor"]);
    assert_eq!(doctor.code, Some(1), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("log_disk_full"), "{}", doctor.stdout);
    // For a while, and also what was under way finds no byte.
    until(WITHIN, "reloads", || {
        let reloads = up.metric("tidemark_reloads_total").unwrap_or(0.0);
        fill(&site.data().join("more"));
        reloads > 0.0 || up.metric("tidemark_lag_records") == Some(0.0)
    });
    up.must_run();

    fs::remove_file(site.data().join("more")).expect("a file");
    fs::remove_file(ballast).expect("a file");
    until(WITHIN, "it is ready again", || probe(&up).0 == 200);
    load.finish();
    site.run(&["wait", "--timeout", "2m"]);
    let books = Books::read(&site);
    load.everything_is_in(&books.records);
    books.equal_the_oracle_of_a_part(&links);
    site.run(&["doctor"]);
    assert_eq!(up.stop().0.code(), Some(0));
}
