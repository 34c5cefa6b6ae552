//! A whole referral, from two browsers.

use super::driver::{Driver, Look, needs_browser};
use super::{Up, chat, until};

#[tokio::test]
#[ignore = "needs a browser: .ci/run tools"]
async fn a_code_is_copied_by_one_and_entered_by_another_and_the_points_appear() {
    needs_browser();
    let up = Up::start(&[]).await;
    let driver = Driver::start().await;
    let (ann, bob) = (
        driver.browser(Look::DESK).await,
        driver.browser(Look::DESK).await,
    );
    let sign_in = up.url("/signin");
    ann.signs_in(&sign_in, &up.key("account:user:ann")).await;
    bob.signs_in(&sign_in, &up.key("account:user:bob")).await;

    ann.press("Make my code").await;
    ann.sees("This is your code.").await;
    ann.press("Copy").await;
    ann.sees("Copied").await;
    // What the clipboard holds, by pasting it where ann may enter a code.
    ann.at("#entered")
        .await
        .send_keys("\u{e009}v")
        .await
        .unwrap();
    let copied = until("it is pasted", async || {
        let value = ann.at("#entered").await.prop("value").await.unwrap()?;
        (!value.is_empty()).then_some(value)
    })
    .await;
    assert_eq!(copied, ann.text_of("#my-code").await);
    ann.press("Enter").await;
    ann.sees("This is your own code.").await;

    bob.type_into("#entered", "XXXX-99999").await;
    bob.press("Enter").await;
    bob.sees("There is no such code.").await;
    bob.keep("refused").await;
    bob.type_into("#entered", &copied.to_lowercase()).await;
    bob.press("Enter").await;
    bob.sees("Your referrer is set.").await;
    assert!(
        !bob.has("#entered").await,
        "the field is hidden once it was used"
    );
    assert!(bob.text_of("#referrer").await.starts_with("Referred by a…"));

    up.send(&[chat("r-1", "bob")]);
    until("the 100 points of the signup appear", async || {
        ann.open(&up.url("/users/ann")).await;
        ann.text_of("#live .total")
            .await
            .contains("100.06 points")
            .then_some(())
    })
    .await;
    ann.sees("1 account, 1 active, 0 milestones reached.").await;
    ann.sees("1 of 50").await;
    ann.keep("referrer").await;
    bob.open(&up.url("/users/bob")).await;
    bob.sees("llama-3-8b").await;
    ann.click(".signout button").await;
    ann.sees("You are signed out.").await;
    ann.open(&up.url("/users/ann")).await;
    assert_eq!(ann.path().await, "/signin?next=%2Fusers%2Fann");
}
