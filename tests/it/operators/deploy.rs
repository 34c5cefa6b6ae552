//! The systemd units in `deploy/`, against systemd and against what our processes do.

use std::fs;
use std::process::Command;

use tidemark::ops::config::Config;

use super::tools::text;

const UNITS: [&str; 3] = ["tidemark-up", "tidemark-worker", "tidemark-serve"];
#[test]
#[ignore = "needs systemd-analyze: .ci/run tools"]
fn systemd_is_content_with_the_units() {
    let found = Command::new("systemd-analyze").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        crate::needs::missing("systemd-analyze", "it is part of systemd");
    }
    let dir = tempfile::tempdir().expect("a directory");
    for unit in UNITS {
        let name = format!("deploy/systemd/{unit}.service");
        // It is looked whether the program is there.
        let text = text(&name).replace("/usr/local/bin/tidemark", env!("CARGO_BIN_EXE_tidemark"));
        let path = dir.path().join(format!("{unit}.service"));
        fs::write(&path, text).expect("a file");
        let output = Command::new("systemd-analyze")
            .arg("verify")
            .arg(&path)
            .output();
        let output = output.expect("systemd-analyze runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let ours: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("tidemark"))
            .collect();
        assert!(ours.is_empty(), "{unit}: {ours:#?}");
    }
}

#[test]
fn units_protect_the_machine_and_give_time_to_drain() {
    let drain = Config::default().drain_timeout.as_secs();
    for unit in UNITS {
        let text = text(&format!("deploy/systemd/{unit}.service"));
        let value = |key: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("{unit}: {key}")).to_owned()
        };
        assert_eq!(value("DynamicUser"), "yes");
        assert_eq!(value("ProtectSystem"), "strict");
        assert_eq!(value("NoNewPrivileges"), "yes");
        assert_eq!(value("CapabilityBoundingSet"), "");
        let stop = value("TimeoutStopSec");
        let stop: u64 = stop.trim_end_matches('s').parse().expect("seconds");
        assert!(stop > drain, "{unit}: {stop}");
        // A store that is away for an hour must not leave it stopped for good.
        assert_eq!(value("Restart"), "always");
        assert_eq!(value("StartLimitIntervalSec"), "0");
        assert_eq!(value("RestartSec"), "5s");
        let run = value("ExecStart");
        let command = run
            .split(' ')
            .find(|word| ["up", "worker", "serve"].contains(word));
        assert_eq!(command, unit.strip_prefix("tidemark-"), "{run}");
    }
}
