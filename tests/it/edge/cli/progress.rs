//! Progress of long commands: on a terminal only, and on stderr.

use std::process::Command;

use super::{Place, chat};

/// What a terminal shows of a command whose stdout goes into a file.
pub(super) fn on_a_terminal(place: &Place, args: &[&str]) -> (Option<i32>, String) {
    if Command::new("script").arg("--version").output().is_err() {
        crate::needs::missing("script", "Debian: apt install bsdutils");
    }
    let command = place.command(args);
    let mut words = vec![format!("'{}'", command.get_program().display())];
    words.extend(args.iter().map(|arg| format!("'{arg}'")));
    let line = format!("{} > out.txt", words.join(" "));
    let mut script = Command::new("script");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    script
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm");
    let said = script.current_dir(place.dir.path()).output().unwrap();
    (
        said.status.code(),
        String::from_utf8_lossy(&said.stdout).into_owned(),
    )
}

/// Signups of users who do not know of each other.
fn links(count: u32) -> String {
    let line =
        |n| format!("{{\"referee\":[\"user\",\"r{n}\"],\"referrer\":[\"user\",\"s{n}\"]}}\n");
    (0..count).map(line).collect()
}

#[test]
fn nothing_but_results_is_written_where_nobody_watches() {
    let place = Place::new();
    let up = place.up(&[]);
    place.write("links.jsonl", &links(20));
    place.send(&[chat("1", "ann")]);
    for args in [
        &["emit", "--events", "2000"][..],
        &["wait"],
        &["referral", "import", "links.jsonl"],
        &["statement", "--all", "--json"],
        &["emit", "--print", "--events", "100"],
    ] {
        let said = place.tidemark(args);
        assert_eq!(said.code, Some(0), "{args:?}: {}", said.err);
        // `wait` says a line every ten seconds to whoever reads it later, without control characters.
        match args {
            ["wait"] => assert!(!said.err.contains(['\r', '\u{1b}']), "{:?}", said.err),
            _ => assert_eq!(said.err, "", "{args:?}"),
        }
    }
    up.stop();
}

#[test]
#[ignore = "needs script (Debian: bsdutils): .ci/run tools"]
fn who_watches_is_told_how_far_a_long_command_has_come() {
    let mut place = Place::new();
    place.env = vec![("TIDEMARK_PIPELINE_CHUNK_AGE_MAX", "3s")];
    let up = place.up(&[]);
    place.write("links.jsonl", &links(300));
    let import = ["referral", "import", "links.jsonl"];
    let (code, shown) = on_a_terminal(&place, &import);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains(" lines, "), "{shown}");
    let emit = ["emit", "--events", "900", "--rate", "600"];
    let (code, shown) = on_a_terminal(&place, &emit);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("/900 acknowledged, "), "{shown}");
    let (code, shown) = on_a_terminal(&place, &["wait"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains(" rated, "), "{shown}");
    let print = ["emit", "--print", "--events", "20000"];
    let (code, shown) = on_a_terminal(&place, &print);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("/20,000 generated, "), "{shown}");
    let printed = std::fs::read_to_string(place.path("out.txt")).unwrap();
    assert_eq!(printed.lines().count(), 20_000);
    up.stop();
}
