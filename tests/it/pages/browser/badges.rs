//! A badge, from its publication to the page that its earner shows to others.

use serde_json::json;

use super::driver::{Driver, Look, needs_browser};
use super::{Up, chat, until};

const SVG: &str = r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="3"/></svg>"#;

#[tokio::test]
#[ignore = "needs a browser: .ci/run tools"]
async fn a_badge_appears_on_the_page_of_its_earner_and_has_a_public_page_without_the_name() {
    needs_browser();
    let up = Up::start(&[]).await;
    let admin = up.key("admin:write");
    let badges = json!([{"id": "first-chat", "name": "First chat", "description": "Said something.",
        "picture": SVG, "criterion": {"firstSuccess": "chat_completions"}}]);
    let body = json!({"value": badges, "reason": "a test"});
    let published = ureq::put(up.url("/api/admin/rules/rules.badges"))
        .header("authorization", format!("Bearer {admin}"))
        .send_json(&body);
    assert!(published.is_ok(), "{published:?}");
    up.send(&[chat("r-1", "ann")]);

    let driver = Driver::start().await;
    let ann = driver.browser(Look::DESK).await;
    ann.signs_in(&up.url("/signin"), &up.key("account:user:ann"))
        .await;
    until("the badge is on the page", async || {
        ann.open(&up.url("/users/ann")).await;
        ann.has("#badges").await.then_some(())
    })
    .await;
    assert!(ann.text_of("#badges").await.contains("First chat"));
    assert_eq!(ann.barriers().await, Vec::<String>::new());
    // The picture is one that the browser could show.
    let width = ann
        .run(
            "return document.querySelector('#badges img').naturalWidth",
            Vec::new(),
        )
        .await;
    assert!(width.as_u64().is_some_and(|width| width > 0), "{width}");
    ann.keep("badges").await;
    ann.click("#badges a[href^='/badges/']").await;
    ann.sees("Granted on").await;
    assert!(!ann.text().await.contains("ann"));
    let path = ann.path().await;
    let address = path.strip_prefix("/badges/").expect("an address");

    let listed = up.site.run(&["badges", "list", "user", "ann", "--json"]);
    assert!(listed.contains(address), "{listed}");
    let args = [
        "badges",
        "revoke",
        "user",
        "ann",
        "first-chat",
        "--reason",
        "a test",
    ];
    up.site.run(&args);
    ann.open(&up.url(&path)).await;
    ann.sees("Taken back on").await;
    ann.open(&up.url("/users/ann")).await;
    ann.sees("Taken back: a test").await;
}
