//! `referral code`, `referral signup`, `referral import`.

use serde_json::{Value, json};
use tidemark::domain::time::Millis;
use tidemark::store::referrals;

use super::{Place, chat, halts, until};

#[test]
fn a_marketplace_moves_in_before_up_ever_ran() {
    let place = Place::new();
    let next = place.tidemark(&["init"]).ok();
    assert!(next.contains("tidemark pricing init testnet"), "{next}");
    let said = place
        .tidemark_reading(&["referral", "import", "-"], "")
        .failed(1);
    assert!(said.contains("tidemark pricing init"), "{said}");
    place.tidemark(&["pricing", "init", "testnet"]).ok();
    let import = "\
{\"referee\":[\"user\",\"b\"],\"referrer\":[\"user\",\"a\"]}
{\"referee\":[\"user\",\"c\"],\"referrer\":[\"user\",\"b\"]}

{\"referee\":[\"user\",\"a\"],\"referrer\":[\"user\",\"c\"]}
{\"referee\":[\"user\",\"d\"],\"referrer\":[\"provider\",\"d\"]}
{\"referee\":[\"user\",\"c\"],\"referrer\":[\"user\",\"a\"]}
{\"referee\":\"user d\"}
";
    place.write("links.jsonl", import);
    let said = place.tidemark(&["referral", "import", "links.jsonl"]);
    assert_eq!(
        said.out,
        "2 links created, 0 already present, 4 lines refused\n"
    );
    let lines = said.failed(2);
    let expected = [
        "line 4: cycle: ",
        "line 5: own_code: ",
        "line 6: already_referred: ",
        "line 7: malformed: ",
    ];
    assert_eq!(lines.lines().count(), expected.len(), "{lines}");
    for (line, start) in lines.lines().zip(expected) {
        assert!(line.starts_with(start), "{lines}");
        // A line names accounts, and no code.
        let words = line.trim_start_matches(start);
        assert!(!words.contains("code"), "{lines}");
    }
    let said = place.tidemark(&["referral", "import", "links.jsonl"]);
    assert_eq!(
        said.out,
        "0 links created, 2 already present, 4 lines refused\n"
    );
    said.failed(2);
    let paid = "{\"referee\":[\"user\",\"z\"],\"referrer\":[\"user\",\"y\"]}\n";
    let said = place
        .tidemark_reading(&["referral", "import", "-", "--no-awards"], paid)
        .ok();
    assert_eq!(said, "1 link created, 0 already present, 0 lines refused\n");

    let up = place.up(&[]);
    place.send(&[chat("1", "c"), chat("2", "z")]);
    place.wait();
    let rows = [
        ("a", "100", "0.03"),
        ("b", "100", "0.06"),
        ("c", "0", "0"),
        ("y", "0", "0.06"),
    ];
    for (id, bonus, referral) in rows {
        let found = place.statement("user", id);
        assert_eq!(
            (&found["bonus"], &found["referral"]),
            (&json!(bonus), &json!(referral)),
            "{id}"
        );
    }
    up.stop();
}

#[test]
fn signups_are_refused_each_with_its_code() {
    let place = Place::new();
    let up = place.up(&[]);
    let code = |kind: &str, id: &str| {
        place
            .tidemark(&["referral", "code", kind, id, "--json"])
            .json()
    };
    let alice = code("user", "alice");
    assert_eq!(
        alice,
        code("user", "alice"),
        "asking again gives the same code"
    );
    let text = alice["code"].as_str().unwrap();
    assert!(text.starts_with("ALIC-") && text.len() == 10, "{text}");
    assert_eq!(
        place.tidemark(&["referral", "code", "user", "alice"]).ok(),
        format!("{text} (0 signups)\n")
    );

    let typed = format!("  {} ", text.to_lowercase());
    let link = place
        .tidemark(&["referral", "signup", "user", "bob", &typed, "--json"])
        .json();
    assert_eq!(link["chain"], json!([["user", "alice"]]));
    let said = place
        .tidemark(&["referral", "signup", "provider", "carl", text])
        .ok();
    assert_eq!(said, "provider:carl is referred by user:alice\n");
    refusals(&place, &alice, &code("user", "bob"), &code("user", "old"));
    assert_eq!(code("user", "alice")["signups"], 2);
    place.wait();
    assert_eq!(place.statement("user", "alice")["bonus"], "200");
    up.stop();
}

fn refusals(place: &Place, alice: &Value, bob: &Value, old: &Value) {
    let text = |code: &Value| code["code"].as_str().unwrap().to_owned();
    halts::run(async {
        let db = halts::store(place);
        let off = referrals::Switch {
            active: false,
            by: "a test".to_owned(),
            reason: "a test".to_owned(),
            now: Millis(0),
        };
        referrals::set_active(&db, &text(old), &off)
            .await
            .unwrap()
            .unwrap();
    });
    let rows = [
        ("user", "new", "NOPE-22222".to_owned(), "unknown_code"),
        ("user", "new", "what?".to_owned(), "unknown_code"),
        ("user", "new", text(old), "inactive_code"),
        ("user", "alice", text(alice), "own_code"),
        ("provider", "alice", text(alice), "own_code"),
        ("user", "alice", text(bob), "cycle"),
        ("user", "bob", text(old), "inactive_code"),
        ("user", "bob", text(alice), "already_referred"),
    ];
    for (kind, id, code, expected) in rows {
        let said = place
            .tidemark(&["referral", "signup", kind, id, &code])
            .failed(2);
        assert!(
            said.trim_end().ends_with(&format!("({expected})")),
            "{said}"
        );
    }
    let said = place
        .tidemark(&["referral", "signup", "user", "", &text(alice)])
        .failed(2);
    assert!(said.contains("must not be empty"), "{said}");
}

#[test]
fn an_account_takes_more_awards_at_once_than_a_transaction_has_room_for() {
    const REFEREES: usize = 130;
    let place = Place::new();
    place.tidemark(&["init"]).ok();
    place.tidemark(&["pricing", "init", "testnet"]).ok();
    let line =
        |n| format!("{{\"referee\":[\"user\",\"r{n}\"],\"referrer\":[\"user\",\"popular\"]}}\n");
    let lines: String = (0..REFEREES).map(line).collect();
    place.write("links.jsonl", &lines);
    place.tidemark(&["referral", "import", "links.jsonl"]).ok();
    let up = place.up(&[]);
    until("every award is in the statement", || {
        let said = place.tidemark(&["statement", "user", "popular", "--json"]);
        (said.code == Some(0) && said.json()["bonus"] == "13000").then_some(())
    });
    place.send(&[chat("1", "r7")]);
    place.wait();
    assert_eq!(place.statement("user", "popular")["bonus"], "13000");
    place.tidemark(&["doctor"]).ok();
    up.stop();
}
