//! The page of an account's wallet, without scripts.

use super::jar::{Jar, field, has, location, stand as bare, text};
use crate::domain::ethereum::TestWallet;
use crate::http::rows::rules;
use crate::http::stand::{Answer, Stand};
use crate::http::wallets::stand_at;
use tidemark::domain::rules::Network;

const PAGE: &str = "/users/alice/wallet";

/// A service with rules that knows its own address.
async fn stand() -> Stand {
    let stand = stand_at(false, "localhost:8787").await;
    rules(&stand, Network::Testnet).await;
    stand
}

async fn post(jar: &mut Jar, stand: &Stand, path: &str, fields: &[(&str, &str)]) -> Answer {
    jar.post(stand, path, fields).await
}

/// The text within the `pre` of a page.
fn message_of(page: &str) -> String {
    let (_, rest) = page
        .split_once("<pre id=\"wallet-message\">")
        .expect("a message");
    rest.split("</pre>").next().unwrap().to_owned()
}

#[tokio::test]
async fn a_wallet_is_linked_by_pasting_a_signature_and_unlinked_again() {
    let stand = stand().await;
    let wallet = TestWallet::new(1);
    let address = wallet.address().to_string();
    let mut alice = Jar::signed_in(&stand, &["account:user:alice"]).await;
    let page = text(&alice.get(&stand, PAGE).await);
    has(
        &page,
        &["No wallet is linked.", "Link a wallet", "Nothing yet."],
    );

    let refused = post(
        &mut alice,
        &stand,
        &format!("{PAGE}/message"),
        &[("address", "alice.eth")],
    )
    .await;
    assert_eq!(refused.status, 422);
    has(
        &text(&refused),
        &[
            "Nothing was changed: an address is 0x",
            "value=\"alice.eth\"",
        ],
    );

    let page = text(
        &post(
            &mut alice,
            &stand,
            &format!("{PAGE}/message"),
            &[("address", &address)],
        )
        .await,
    );
    has(&page, &["Sign this message", &address]);
    let message = message_of(&page);
    // As browsers send lines.
    let sent = message.replace('\n', "\r\n");
    let once = field(&page, "once");
    let wrong = TestWallet::new(2).sign(&message);
    let fields = |signature: &str| {
        [
            ("message", sent.clone()),
            ("signature", signature.to_owned()),
            ("once", once.clone()),
        ]
    };
    let wrong = fields(&wrong);
    let wrong: Vec<(&str, &str)> = wrong
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let refused = post(&mut alice, &stand, PAGE, &wrong).await;
    assert_eq!(refused.status, 422);
    // The same message can be signed again.
    assert_eq!(message_of(&text(&refused)), message);
    has(&text(&refused), &["the signature was made by", "EIP-1271"]);

    let good = fields(&wallet.sign(&message));
    let good: Vec<(&str, &str)> = good
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    // Sent twice it counts once, and says the same.
    for _ in 0..2 {
        let answer = post(&mut alice, &stand, PAGE, &good).await;
        assert_eq!(location(&answer), "/users/alice/wallet?done=linked");
    }
    let page = text(&alice.get(&stand, "/users/alice/wallet?done=linked").await);
    has(
        &page,
        &["This wallet is linked.", &address, "Link another wallet"],
    );
    has(
        &text(&alice.get(&stand, "/users/alice").await),
        &["Claims go to", &address],
    );

    let answer = post(&mut alice, &stand, &format!("{PAGE}/unlink"), &[]).await;
    assert_eq!(location(&answer), "/users/alice/wallet?done=unlinked");
    has(
        &text(&alice.get(&stand, PAGE).await),
        &["No wallet is linked.", "Unlinked"],
    );
}

#[tokio::test]
async fn an_admin_says_why_and_a_reader_only_looks() {
    let stand = stand().await;
    let wallet = TestWallet::new(1);
    let mut admin = Jar::signed_in(&stand, &["admin:read", "admin:write"]).await;
    let page = text(
        &post(
            &mut admin,
            &stand,
            &format!("{PAGE}/message"),
            &[("address", &wallet.address().to_string())],
        )
        .await,
    );
    let message = message_of(&page);
    let fields = [
        ("message", message.as_str()),
        ("signature", &wallet.sign(&message)),
        ("once", "x"),
        ("reason", ""),
    ];
    has(&page, &["The account sees it too."]);
    let refused = post(&mut admin, &stand, PAGE, &fields).await;
    assert_eq!(refused.status, 422);
    // The same message can be sent again, with a reason.
    assert_eq!(message_of(&text(&refused)), message);
    let fields = fields.map(|(name, value)| match name {
        "reason" => (name, "she lost her key"),
        _ => (name, value),
    });
    assert_eq!(post(&mut admin, &stand, PAGE, &fields).await.status, 303);
    has(
        &text(&admin.get(&stand, PAGE).await),
        &["By an admin: she lost her key"],
    );

    let refused = post(&mut admin, &stand, &format!("{PAGE}/unlink"), &[]).await;
    assert_eq!(refused.status, 422);
    has(&text(&refused), &["the reason is empty"]);
    let mut reader = Jar::signed_in(&stand, &["admin:read"]).await;
    let page = text(&reader.get(&stand, PAGE).await);
    has(&page, &[&wallet.address().to_string()]);
    assert!(
        !page.contains("<form id=\"wallet-ask\"") && !page.contains("Unlink this"),
        "{page}"
    );

    let answer = post(
        &mut admin,
        &stand,
        &format!("{PAGE}/unlink"),
        &[("reason", "stolen")],
    )
    .await;
    assert_eq!(answer.status, 303);
    has(&text(&reader.get(&stand, PAGE).await), &["stolen"]);
}

#[tokio::test]
async fn without_a_public_origin_the_page_says_what_is_missing() {
    let stand = bare().await;
    let mut alice = Jar::signed_in(&stand, &["account:user:alice"]).await;
    let page = text(&alice.get(&stand, PAGE).await);
    has(&page, &["http.public_origin"]);
    assert!(!page.contains("wallet-ask"), "{page}");
}
