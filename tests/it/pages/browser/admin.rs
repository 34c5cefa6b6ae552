//! What an admin does without curl; and without scripts.

use super::driver::{Driver, Look, needs_browser};
use super::{Up, chat, until};

#[tokio::test]
#[ignore = "needs a browser: .ci/run tools"]
async fn a_price_that_an_admin_sets_is_what_a_user_is_charged() {
    needs_browser();
    let up = Up::start(&[]).await;
    let driver = Driver::start().await;
    let admin = driver
        .browser(Look {
            scripts: false,
            ..Look::DESK
        })
        .await;
    admin
        .signs_in(&up.url("/signin"), &up.key("admin:write"))
        .await;
    // Something to compare with: 1,000 tokens in.
    up.send(&[chat("r-0", "ann")]);

    admin.open(&up.url("/admin/rules/blue_surge_input")).await;
    admin.type_into("#price", "a lot").await;
    admin.type_into("#reason", "a try").await;
    admin.press("Show what it would change").await;
    admin.sees("the rules cannot be used").await;
    admin.type_into("#price", "0.75").await;
    admin.press("Show what it would change").await;
    admin.sees("Change blue_surge_input?").await;
    let what_if = admin.text_of("#what-if").await;
    assert!(
        what_if.contains("1 successful request")
            && what_if.contains("0.0005 USD")
            && what_if.contains("0.75 USD"),
        "{what_if}"
    );
    admin.keep("preview").await;
    admin.press("Confirm").await;
    admin.sees("Published.").await;
    admin.sees("a try").await;

    admin.open(&up.url("/admin/network")).await;
    admin.type_into("#reason", "we are live").await;
    admin.type_into("#typed", "mainne").await;
    admin.press("Switch to mainnet").await;
    // Browsers hold it back; whoever gets past them is told.
    assert_eq!(admin.path().await, "/admin/network");
    admin.type_into("#typed", "mainnet").await;
    admin.press("Switch to mainnet").await;
    admin.sees("we are live").await;

    admin.open(&up.url("/admin/credits?user=ann")).await;
    admin.type_into("#amount", "2").await;
    admin.type_into("#reason", "a welcome").await;
    admin.press("Add").await;
    admin.sees("Added.").await;

    up.send(&[chat("r-1", "ann")]);
    let ann = driver
        .browser(Look {
            width: 360,
            ..Look::DESK
        })
        .await;
    ann.signs_in(&up.url("/signin"), &up.key("account:user:ann"))
        .await;
    assert_eq!(ann.text_of("#month-cost").await, "0.75 USD");
    ann.sees("1.25 USD").await;
    ann.sees("a welcome").await;
    ann.keep("charged").await;
    admin.open(&up.url("/admin/audit")).await;
    for told in ["credits.add", "pricing.publish", "keys.create"] {
        admin.sees(told).await;
    }
}

#[tokio::test]
#[ignore = "needs a browser: .ci/run tools"]
async fn a_reject_is_read_mended_sent_again_and_another_discarded() {
    needs_browser();
    let up = Up::start(&[]).await;
    let driver = Driver::start().await;
    let admin = driver
        .browser(Look {
            scripts: false,
            ..Look::DESK
        })
        .await;
    admin
        .signs_in(&up.url("/signin"), &up.key("admin:write"))
        .await;
    // Two that the edge lets pass and rating refuses: no service has such a path.
    let bad = |id: &str| {
        let mut event = chat(id, "ann");
        event["endpoint"] = "/v1/nothing".into();
        event
    };
    up.send(&[bad("r-1"), bad("r-2")]);
    let mut places = Vec::new();
    for partition in 0..12 {
        let Some(text) = up
            .site
            .get(&format!("/api/admin/rejects?partition={partition}"))
        else {
            break;
        };
        let page: serde_json::Value = serde_json::from_str(&text).unwrap();
        for reject in page["rejects"].as_array().unwrap() {
            places.push(format!(
                "/admin/rejects/{}/{}",
                reject["partition"], reject["offset"]
            ));
        }
    }
    let [first, second] = &places[..] else {
        panic!("{places:?}")
    };
    admin.open(&up.url(first)).await;
    admin.sees("unknown_service").await;
    let text = admin
        .at("#value")
        .await
        .prop("value")
        .await
        .unwrap()
        .unwrap();
    admin.type_into("#value", "no event").await;
    admin.press("Send").await;
    admin.sees("the event cannot be read").await;
    admin
        .type_into(
            "#value",
            &text.replace("/v1/nothing", "/v1/chat/completions"),
        )
        .await;
    admin.press("Send").await;
    admin.sees("Sent again.").await;
    admin.open(&up.url(second)).await;
    admin.type_into("#reason", "a test of the gateway").await;
    admin.press("Discard").await;
    admin.sees("It is discarded.").await;
    admin.sees("a test of the gateway").await;
    up.site.run(&["wait", "--timeout", "90s"]);
    until("the mended event is counted", async || {
        let said = up.site.get("/api/users/ann/points")?;
        said.contains("\"usage\":\"0.3\"").then_some(())
    })
    .await;
}
