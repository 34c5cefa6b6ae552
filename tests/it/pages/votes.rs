//! The admins' page of votes: a preview, and what it showed is frozen or nothing is.

use super::jar::{Jar, field, has, location, text};
use crate::http::governance::{address, linked, stand};
use crate::store::user;

const PAGE: &str = "/admin/governance";
const PREVIEW: &str = "/admin/governance/preview";

fn terms<'a>(proposal: &'a str, formula: &'a str, cap: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("proposal", proposal),
        ("from", "2026-10"),
        ("to", "2026-10"),
        ("kinds", "both"),
        ("formula", formula),
        ("cap", cap),
        ("reason", "a vote"),
    ]
}

#[tokio::test]
async fn a_proposal_is_frozen_as_its_preview_showed() {
    let stand = stand().await;
    let mut admin = Jar::signed_in(&stand, &["admin:read", "admin:write"]).await;
    has(
        &text(&admin.get(&stand, PAGE).await),
        &["Freeze a proposal", "None yet."],
    );
    let page = text(&admin.post(&stand, PREVIEW, &terms("q1", "cap", "30")).await);
    has(
        &page,
        &[
            "What would be frozen",
            &address(1).to_string(),
            // 30 and 25.
            ">55<",
            "cap 30",
        ],
    );
    let (hash, control) = (field(&page, "hash"), field(&page, "control"));
    let mut sent = terms("q1", "cap", "30");
    sent.extend([("hash", hash.as_str()), ("control", control.as_str())]);
    // A wallet that is linked after the preview does not matter: the form says as of when.
    linked(&stand, &user("eve"), 3).await;
    let answer = admin.post(&stand, PAGE, &sent).await;
    assert_eq!(location(&answer), "/admin/governance?frozen=q1");
    let page = text(&admin.get(&stand, "/admin/governance?frozen=q1").await);
    has(&page, &["Frozen. The weights", &hash, "/api/governance/q1"]);
    // Sent again it says the same; by other terms it is refused.
    let answer = admin.post(&stand, PAGE, &sent).await;
    assert_eq!(location(&answer), "/admin/governance?frozen=q1");
    let other = admin.post(&stand, PAGE, &terms("q1", "total", "")).await;
    assert_eq!(other.status, 422);
    has(&text(&other), &["never change; use another name"]);
}

#[tokio::test]
async fn what_cannot_be_frozen_is_said_and_the_form_stays_filled() {
    let stand = stand().await;
    let mut admin = Jar::signed_in(&stand, &["admin:read", "admin:write"]).await;
    let mut open = terms("q1", "total", "");
    open[2] = ("to", "2026-11");
    let mut month = terms("q1", "total", "");
    month[1] = ("from", "October");
    let rows = [
        (open, "2026-11 is not final"),
        (month, "write a month such as 2026-10"),
        (terms("q 1", "total", ""), "a proposal's name"),
        (terms("q1", "cap", "many"), "the cap:"),
        (terms("q1", "cap", "0"), "more than 0 points"),
        (terms("q1", "cube", ""), "choose a formula"),
    ];
    for (sent, said) in rows {
        let answer = admin.post(&stand, PREVIEW, &sent).await;
        assert_eq!(answer.status, 422, "{sent:?}");
        let page = text(&answer);
        has(&page, &[said, "value=\"a vote\""]);
    }
    let mut reader = Jar::signed_in(&stand, &["admin:read"]).await;
    let page = text(&reader.get(&stand, PAGE).await);
    assert!(!page.contains("Freeze a proposal"), "{page}");
}
