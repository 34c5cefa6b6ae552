//! `tidemark governance`, on a machine of one's own.

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tidemark::ops::clock::{Clock as _, SystemClock};

use super::halts::run;
use super::{Place, until};
use crate::domain::closing::address;
use crate::process::earned::{closable, earned};
use crate::store::{provider, user};

fn sha256(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    let hex = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    hex.collect()
}

#[test]
fn weights_are_previewed_frozen_shown_and_each_refusal_has_its_code() {
    let place = Place::new();
    let up = place.up(&[]);
    let month = closable();
    let earners = [
        (user("ann"), 9, Some(address(1))),
        (provider("prov"), 16, Some(address(1))),
        (user("bob"), 4, Some(address(2))),
        (user("eve"), 30, None),
    ];
    run(earned(&place.path("data"), month, &earners));
    let name = month.to_string();
    let terms = ["--from", &name, "--to", &name, "--formula"];
    let reason = |more: &[&str]| match more.contains(&"--reason") || more.contains(&"--dry-run") {
        true => Vec::new(),
        false => vec!["--reason", "another vote"],
    };
    let freeze = |proposal: &str, more: &[&str]| {
        let args = [
            &["governance", "freeze", proposal],
            &terms[..],
            more,
            &reason(more),
        ];
        place.tidemark(&args.concat())
    };
    until("the month is final", || {
        (freeze("q1", &["total", "--dry-run"]).code == Some(0)).then_some(())
    });
    assert_eq!(place.tidemark(&["governance", "show"]).ok(), "");
    let unknown = place.tidemark(&["governance", "show", "q1"]).failed(2);
    assert!(unknown.contains("(unknown_proposal)"), "{unknown}");

    // 25 points of an address weigh 5 by their square root; 4 points weigh 2.
    let preview = freeze("q1", &["square-root", "--dry-run"]).ok();
    for part in [
        "2 addresses weigh 7000000 in all (6 decimals)",
        "from 3 accounts with a wallet; accounts without one have 30 points",
        &format!("{}  5000000", address(1)),
        &format!("{}  2000000", address(2)),
        "nothing was written",
    ] {
        assert!(preview.contains(part), "{part}: {preview}");
    }
    let preview = freeze("q1", &["square-root", "--dry-run", "--json"]).json();
    assert_eq!(place.tidemark(&["governance", "show"]).ok(), "");
    let frozen = freeze("q1", &["square-root", "--json", "--reason", "a vote"]).json();
    for name in [
        "hash",
        "total",
        "addresses",
        "control",
        "from",
        "to",
        "formula",
    ] {
        assert_eq!(frozen[name], preview["votes"][name], "{name}");
    }
    let hash = frozen["hash"].as_str().expect("a hash").to_owned();
    let said = freeze("q1", &["square-root"]).ok();
    assert!(said.contains(&hash), "frozen again: {said}");
    assert_eq!(place.tidemark(&["governance", "show", "q1"]).ok(), said);
    let shown = place
        .tidemark(&["governance", "show", "q1", "--json"])
        .json();
    assert_eq!(shown, frozen);
    let document = place
        .tidemark(&["governance", "show", "q1", "--document"])
        .ok();
    assert_eq!(sha256(&document), hash);
    assert_eq!(up.get("/api/governance/q1"), (200, document.clone()));
    let read: Value = serde_json::from_str(&document).expect("JSON");
    let scores = read["score"].as_array().expect("scores").iter();
    let mut scores: Vec<&Value> = scores.map(|line| &line["score"]).collect();
    scores.sort_by_key(|score| score.as_str());
    assert_eq!(scores, [&json!("2000000"), &json!("5000000")]);
    let trail = up.get("/api/admin/audit?action=votes.freeze").1;
    assert_eq!(trail.matches("\"votes.freeze\"").count(), 1, "{trail}");
    assert!(
        trail.contains("\"a vote\"") && trail.contains("tidemark command"),
        "{trail}"
    );

    freeze("p1", &["cap", "--cap", "6", "--kind", "user"]).ok();
    let listed = place.tidemark(&["governance", "show", "--json"]).lines();
    let names: Vec<&Value> = listed.iter().map(|line| &line["proposal"]).collect();
    assert_eq!(names, ["p1", "q1"]);
    assert_eq!(
        (&listed[0]["total"], &listed[0]["cap"]),
        (&json!("10000000"), &json!("6"))
    );

    let later = ["governance", "freeze", "q2", "--from", &name, "--to"];
    let with_end = |end: &str, more: &[&str]| {
        place.tidemark(&[&later[..], &[end, "--formula"], more, &reason(more)].concat())
    };
    for (said, code) in [
        (freeze("q1", &["total"]), "proposal_frozen"),
        (freeze("q2", &["cap"]), "invalid_terms"),
        (freeze("q2", &["total", "--cap", "5"]), "invalid_terms"),
        (freeze("q2", &["cap", "--cap", "0"]), "invalid_terms"),
        (
            freeze("q2", &["total", "--control", "1000000"]),
            "control_ahead",
        ),
        (freeze("q2", &["total", "--reason", " "]), "invalid_reason"),
        (with_end("2001-01", &["total"]), "invalid_terms"),
        (with_end("2999-01", &["total"]), "invalid_terms"),
    ] {
        let said = said.failed(2);
        assert!(said.contains(&format!("({code})")), "{code}: {said}");
    }
    let now = SystemClock.now().month();
    let said = with_end(&now.to_string(), &["total"]).failed(2);
    assert!(said.contains("(month_not_final)"), "{said}");
    assert!(freeze("-", &["total"]).failed(2).contains("proposal"));
    // None of them froze anything.
    let after = place.tidemark(&["governance", "show", "--json"]).lines();
    assert_eq!(after, listed);
}
