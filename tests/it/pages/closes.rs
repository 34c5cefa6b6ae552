//! Closing a month on pages, and the claims of accounts.

use serde_json::Value;

use super::jar::{Jar, has, location, text};
use crate::http::closes::marketplace;
use crate::http::rows::{posted_up_to, start_of};

const FIELDS: [(&str, &str); 6] = [
    ("month", "2026-08"),
    ("share", "pool"),
    ("amount", "1000"),
    ("decimals", "6"),
    ("kinds", "users,providers"),
    ("minimum", ""),
];

fn with<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut fields = FIELDS.to_vec();
    fields.retain(|(other, _)| *other != name);
    fields.push((name, value));
    fields
}

#[tokio::test]
async fn an_admin_previews_types_the_month_and_closes_it_and_accounts_see_their_claims() {
    let stand = marketplace().await;
    posted_up_to(&stand, start_of("2026-11-05")).await;
    let mut admin = Jar::signed_in(&stand, &["admin:read", "admin:write"]).await;
    let page = text(&admin.get(&stand, "/admin/closes").await);
    has(
        &page,
        &["No month was closed yet.", "/admin/closes/preview"],
    );

    // What cannot be used is said beside the form, which keeps what was typed.
    let refused = admin
        .post(&stand, "/admin/closes/preview", &with("amount", "0"))
        .await;
    assert_eq!(refused.status, 422);
    has(&text(&refused), &["the pool is 0", "value=\"6\""]);
    let refused = admin
        .post(&stand, "/admin/closes/preview", &with("month", "2026-11"))
        .await;
    has(&text(&refused), &["2026-11 is not final yet"]);

    let shown = admin.post(&stand, "/admin/closes/preview", &FIELDS).await;
    assert_eq!(shown.status, 200, "{}", text(&shown));
    has(
        &text(&shown),
        &[
            "Close 2026-08?",
            "Type <strong>2026-08</strong> to confirm",
            "Accounts without a wallet",
        ],
    );
    for typed in ["", "2026-09"] {
        let refused = admin
            .post(&stand, "/admin/closes", &with("typed", typed))
            .await;
        assert_eq!(refused.status, 422);
        has(
            &text(&refused),
            &["Nothing was closed: the month was not typed exactly."],
        );
    }
    let list = stand.get("/api/admin/closes").await.json();
    assert_eq!(list["closes"].as_array().unwrap().len(), 0);

    let closed = admin
        .post(&stand, "/admin/closes", &with("typed", "2026-08"))
        .await;
    assert_eq!(location(&closed), "/admin/closes?done=2026-08");
    let page = text(&admin.get(&stand, "/admin/closes?done=2026-08").await);
    has(
        &page,
        &["2026-08 is closed.", "href=\"/admin/closes/2026-08\""],
    );
    let page = text(&admin.get(&stand, "/admin/closes/2026-08").await);
    has(
        &page,
        &[
            "openzeppelin.json",
            "accounts.csv",
            "for admins",
            "Merkle roots",
        ],
    );
    let file = admin
        .get(&stand, "/admin/closes/2026-08/accounts.csv")
        .await;
    has(&text(&file), &["user,ann,claimable", "user,dora,no_wallet"]);

    // On other terms it stays as it is.
    let other = admin
        .post(&stand, "/admin/closes/preview", &with("amount", "2"))
        .await;
    has(&text(&other), &["2026-08 was closed on other terms"]);

    let mut ann = Jar::signed_in(&stand, &["account:user:ann"]).await;
    let page = text(&ann.get(&stand, "/users/ann/claims").await);
    has(&page, &["Claimable", "Download proofs", "2026-08"]);
    let proofs = ann.get(&stand, "/users/ann/claims/proofs").await;
    let proofs: Value = serde_json::from_str(&text(&proofs)).unwrap();
    assert_eq!(
        proofs["closes"][0]["openzeppelin"]["address"],
        proofs["closes"][0]["address"]
    );
    let mut dora = Jar::signed_in(&stand, &["account:user:dora"]).await;
    let page = text(&dora.get(&stand, "/users/dora/claims").await);
    has(&page, &["No wallet linked: paid in a later close"]);
    assert!(!page.contains("Download proofs"));
    // In September bob loses more than he earns: his debt stands beside the status.
    let september = admin
        .post(
            &stand,
            "/admin/closes",
            &[&with("month", "2026-09")[..], &[("typed", "2026-09")]].concat(),
        )
        .await;
    assert_eq!(location(&september), "/admin/closes?done=2026-09");
    let mut bob = Jar::signed_in(&stand, &["account:user:bob"]).await;
    let page = text(&bob.get(&stand, "/users/bob/claims").await);
    has(
        &page,
        &[
            "More points were reversed than earned",
            "Reversed points, still to be taken off later months: 5",
        ],
    );
    // A reader sees, and closes nothing.
    let mut reader = Jar::signed_in(&stand, &["admin:read"]).await;
    let page = text(&reader.get(&stand, "/admin/closes").await);
    assert!(!page.contains("Preview"));
    let refused = reader
        .post(&stand, "/admin/closes", &with("typed", "2026-08"))
        .await;
    assert_eq!(refused.status, 403);
}
