//! `tidemark wallet` and `tidemark badges`, on a machine of one's own.

use serde_json::{Value, json};

use super::{Place, Said, chat, until};
use crate::domain::ethereum::TestWallet;

#[track_caller]
fn refused(said: Said, code: &str) {
    let said = said.failed(2);
    assert!(said.contains(&format!("({code})")), "{code}: {said}");
}

#[test]
fn a_wallet_is_linked_by_a_signed_message_once_and_each_refusal_has_its_code() {
    let mut place = Place::new();
    let wallet = TestWallet::new(1);
    let address = wallet.address().to_string();
    let (_up, message) = {
        let up = place.up(&[]);
        let ask = ["wallet", "message", "user", "ann", &address];
        refused(place.tidemark(&ask), "no_public_origin");
        place.env = vec![("TIDEMARK_HTTP_PUBLIC_ORIGIN", "https://points.example")];
        (up, place.tidemark(&ask).ok())
    };
    let swapped = address[2..].chars().map(|c| match c.is_ascii_uppercase() {
        true => c.to_ascii_lowercase(),
        false => c.to_ascii_uppercase(),
    });
    for (typed, code) in [
        (
            ["0x", &swapped.collect::<String>()].concat(),
            "address_checksum",
        ),
        ("ann.eth".to_owned(), "address_malformed"),
    ] {
        refused(
            place.tidemark(&["wallet", "message", "user", "ann", &typed]),
            code,
        );
    }
    place.write("message.txt", &message);
    let text = message.trim_end_matches('\n');
    let signature = wallet.sign(text);
    let link = |file: &str, signature: &str, reason: &str| {
        let command = ["wallet", "link", "user", "ann", "--message", file];
        let signed = ["--signature", signature, "--reason", reason];
        place.tidemark(&[&command[..], &signed[..]].concat())
    };
    place.write("other.txt", &message.replace("Chain ID: 1", "Chain ID: 5"));
    place.write("none.txt", "nothing\n");
    refused(
        link("message.txt", &TestWallet::new(2).sign(text), "asked"),
        "signature_other_address",
    );
    refused(
        link("message.txt", &signature[..100], "asked"),
        "signature_malformed",
    );
    refused(link("message.txt", &signature, " "), "invalid_reason");
    refused(
        link("other.txt", &signature, "asked"),
        "message_other_chain",
    );
    refused(link("none.txt", &signature, "asked"), "message_malformed");
    let show = ["wallet", "show", "user", "ann"];
    assert_eq!(place.tidemark(&show).ok(), "user ann: no wallet\n");
    let linked = link("message.txt", &signature, "asked by mail").ok();
    assert!(
        linked.starts_with(&format!("user ann: {address}\n")),
        "{linked}"
    );
    assert!(
        linked.contains("an admin") && linked.contains("asked by mail"),
        "{linked}"
    );
    refused(link("message.txt", &signature, "asked"), "nonce_used");
    refused(
        place.tidemark(&["wallet", "unlink", "user", "ann", "--reason", " "]),
        "invalid_reason",
    );
    assert_eq!(place.tidemark(&show).ok(), linked);
    let gone = ["wallet", "unlink", "user", "ann", "--reason", "moved"];
    let gone = place.tidemark(&gone).ok();
    assert!(
        gone.starts_with("user ann: no wallet\n") && gone.contains("moved"),
        "{gone}"
    );
}

#[test]
fn a_badge_is_listed_taken_back_and_given_back_and_each_refusal_has_its_code() {
    let place = Place::new();
    let up = place.up(&[]);
    let badges = json!([{"id": "first-chat", "name": "First chat", "description": "Asked for once.",
        "picture": "https://example.com/chat.svg", "criterion": {"firstSuccess": "chat_completions"}}]);
    place.write("badges.json", &badges.to_string());
    let publish = ["pricing", "set", "rules.badges", "--file", "badges.json"];
    place
        .tidemark(&[&publish[..], &["--reason", "a test", "--yes"]].concat())
        .ok();
    let list = || place.tidemark(&["badges", "list", "user", "ann"]).ok();
    assert_eq!(list(), "user:ann has no badges\n");
    place.send(&[chat("1", "ann")]);
    place.wait();
    until("the badge is granted", || {
        list().contains("first-chat").then_some(())
    });
    let show = ["badges", "show", "user", "ann", "first-chat"];
    let shown = place.tidemark(&show).ok();
    assert!(
        shown.starts_with("First chat (first-chat)\nAsked for once.\n"),
        "{shown}"
    );
    assert!(shown.contains("state:       granted"), "{shown}");

    let decide = |what: &str, badge: &str, reason: &str| {
        place.tidemark(&["badges", what, "user", "ann", badge, "--reason", reason])
    };
    for what in ["revoke", "restore"] {
        refused(decide(what, "first-chat", " "), "invalid_reason");
        refused(decide(what, "No Badge", "a test"), "unknown_badge");
        refused(decide(what, "other", "a test"), "badge_not_granted");
    }
    refused(
        place.tidemark(&["badges", "show", "user", "ann", "other"]),
        "badge_not_granted",
    );
    refused(
        place.tidemark(&["badges", "show", "user", "ann", "No Badge"]),
        "unknown_badge",
    );
    assert_eq!(place.tidemark(&show).ok(), shown);
    let revoked = decide("revoke", "first-chat", "by a script").ok();
    assert!(revoked.contains(": by a script"), "{revoked}");
    assert_eq!(place.tidemark(&show).ok(), revoked);
    assert_eq!(decide("restore", "first-chat", "it was not").ok(), shown);
    let trail = up.get("/api/admin/audit?action=badges.").1;
    for action in ["badges.revoke", "badges.restore"] {
        assert_eq!(
            trail.matches(&format!("\"{action}\"")).count(),
            1,
            "{trail}"
        );
    }

    let keys = || place.tidemark(&["badges", "keys", "--json"]).lines();
    assert!(keys().is_empty());
    let rotate = ["badges", "rotate-key", "--reason"];
    refused(
        place.tidemark(&[&rotate[..], &[" "]].concat()),
        "invalid_reason",
    );
    for _ in 0..2 {
        place
            .tidemark(&[&rotate[..], &["once a year"]].concat())
            .ok();
    }
    let use_of = |wanted: &str| -> String {
        let keys = keys();
        let key = keys.iter().find(|key| key["use"] == wanted);
        key.map_or(&Value::Null, |key| &key["key"])
            .as_str()
            .expect(wanted)
            .to_owned()
    };
    let withdraw = |key: &str| {
        place.tidemark(&[
            "badges",
            "withdraw-key",
            key,
            "--reason",
            "a backup was stolen",
        ])
    };
    // One key in 64 begins with a hyphen; `-h` asks for help elsewhere.
    for unknown in ["none", "-Prk", "-hone"] {
        refused(withdraw(unknown), "unknown_key");
    }
    refused(withdraw(&use_of("signs")), "key_signs");
    let replaced = use_of("replaced");
    withdraw(&replaced).ok();
    assert_eq!(use_of("withdrawn"), replaced);
    let published = up.get("/.well-known/jwks.json").1;
    assert!(
        published.contains(&use_of("signs")) && !published.contains(&replaced),
        "{published}"
    );
}
