//! What on-call reads at the worst moment: `doctor`, and the log.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::kafka::until;
use crate::process::books::{Books, Founded};
use crate::process::site::Site;

/// `doctor` finds something: exit code 1, these texts, and never "All is well".
#[track_caller]
pub fn doctor_says(site: &Site, texts: &[&str]) {
    let said = site.try_run(&["doctor"]);
    let (code, out) = (said.code, said.stdout);
    assert_eq!(code, Some(1), "{out}{}", said.stderr);
    assert!(!out.contains("All is well"), "{out}");
    assert!(out.lines().any(|line| line.starts_with("! ")), "{out}");
    for text in texts {
        assert!(out.contains(text), "{text}: {out}");
    }
}

/// `doctor` and `wait` say the same of a trouble, and neither they nor `top` are content.
pub struct Trouble<'t> {
    /// What `doctor` and `wait` say.
    pub said: &'t str,
    /// What it says to do.
    pub cure: &'t str,
    /// What `top` says: the one word for it, and the trouble.
    pub top: [&'t str; 2],
    /// The exit code of `top`: 2 if it reaches no process at all.
    pub top_code: i32,
}

/// How long it may take until the processes have noticed something themselves.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

/// All three notice a trouble, with the same exit code as any other. `processes`: those that are
/// asked, where there is no `up`.
#[track_caller]
pub fn all_three_say(site: &Site, processes: &[&str], trouble: &Trouble<'_>) {
    let Trouble { said, cure, .. } = trouble;
    let run = |args: Vec<&str>| {
        let printed = site.try_run(&args);
        let all = format!("{}{}", printed.stdout, printed.stderr);
        (printed.code, all)
    };
    until(NOTICED_WITHIN, &format!("top notices: {said}"), || {
        let (code, all) = run([&["top", "--once"][..], processes].concat());
        code == Some(trouble.top_code) && trouble.top.iter().all(|text| all.contains(text))
    });
    // They read the log, which may be behind the processes' own counts for a moment.
    for args in [&["doctor"][..], &["wait", "--timeout", "2s"]] {
        let args = [args, processes].concat();
        until(NOTICED_WITHIN, &format!("{args:?} says: {said}"), || {
            let (code, all) = run(args.clone());
            let has_all = [said, cure].iter().all(|text| all.contains(**text));
            let is_told = code == Some(1) && has_all && !all.contains("All is well");
            if !is_told {
                eprintln!("{args:?} on {said}, exit code {code:?}: {all}");
            }
            is_told
        });
    }
}

/// All three are content.
#[track_caller]
pub fn all_three_are_content(site: &Site, processes: &[&str]) {
    for (args, text) in [
        (&["doctor"][..], "All is well."),
        (&["top", "--once"][..], "FINE: "),
        (&["wait", "--timeout", "60s"][..], ""),
    ] {
        let args = [args, processes].concat();
        until(2 * NOTICED_WITHIN, &format!("{args:?} is content"), || {
            let printed = site.try_run(&args);
            printed.code == Some(0) && printed.stdout.contains(text)
        });
    }
}

/// How an accident ends: statements, exports, leaderboards, rejects, usage rows, streaks and credits
/// are what the oracle makes of everything that is in the log. There are no referral links.
#[track_caller]
pub fn sums_equal_the_oracle(site: &Site) -> Books {
    let books = Books::read(site);
    books.equal_the_oracle_of_a_part(&Founded::default());
    eprintln!("{}", books.summary());
    books
}

/// How many seconds the same must not be said again.
const AGAIN_SECONDS: f64 = 29.5;

/// Lines of trouble in a log of JSON lines: at most one per event, task and cause in 30 seconds. How many there were.
#[track_caller]
pub fn floods_nobody(log: &str) -> usize {
    let mut last: BTreeMap<String, f64> = BTreeMap::new();
    let mut count = 0;
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        if !["WARN", "ERROR"].contains(&line["level"].as_str().unwrap_or_default()) {
            continue;
        }
        count += 1;
        let at: jiff::Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
        let at = at.as_millisecond() as f64 / 1_000.0;
        // Numbers in a text make no other cause of it.
        let why = line["why"].as_str().unwrap_or_default();
        let why: String = why.chars().filter(|c| !c.is_ascii_digit()).collect();
        let of = |name: &str| line[name].to_string();
        let cause = [
            of("event"),
            of("task"),
            of("code"),
            of("status"),
            of("dependency"),
            why,
        ];
        let before = last.insert(cause.join(" "), at);
        assert!(
            before.is_none_or(|before| at - before > AGAIN_SECONDS),
            "said again after {:.1} s: {line}\n{log}",
            at - before.unwrap_or_default()
        );
    }
    count
}
