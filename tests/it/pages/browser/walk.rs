//! Every page, at both widths and in both themes: it can be used, fits, and its picture is kept.

use serde_json::json;

use super::driver::{Driver, Look, needs_browser};
use super::{Up, until};

/// Whose pages, the key to sign in with, and each page's name and path.
type Round<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>);

#[tokio::test]
#[ignore = "needs a browser: .ci/run tools"]
async fn every_page_fits_both_widths_and_themes_and_keeps_nobody_out() {
    needs_browser();
    let up = Up::start_with_origin(&["--demo"]).await;
    let driver = Driver::start().await;
    let admin = up.key("admin:write");
    let (user, provider) = (
        up.key("account:user:user-1"),
        up.key("account:provider:prov-1"),
    );
    // A reject, a code, and points.
    let place = until("the demo's rejects and points are there", async || {
        let reject = (0..12).find_map(|partition| {
            let text = up
                .site
                .get(&format!("/api/admin/rejects?partition={partition}&limit=1"))?;
            let page: serde_json::Value = serde_json::from_str(&text).ok()?;
            let reject = page["rejects"].get(0)?;
            Some(format!(
                "/admin/rejects/{}/{}",
                reject["partition"], reject["offset"]
            ))
        })?;
        let board = up
            .site
            .get("/api/admin/rewards?type=leaderboard&kind=provider")?;
        board.contains("prov-1").then_some(reject)
    })
    .await;
    let pages: [Round<'_>; 4] = [
        (
            "",
            "",
            vec![
                ("signin", "/signin"),
                ("used-up", "/signin/link?t=x"),
                ("not-found", "/nothing"),
            ],
        ),
        (
            "user",
            &user,
            vec![
                ("user", "/users/user-1"),
                ("user-empty", "/users/user-1?month=2025-01"),
                ("user-requests", "/users/user-1/requests"),
                ("wallet", "/users/user-1/wallet"),
                ("not-yours", "/users/user-2"),
                ("leaderboard", "/leaderboard"),
            ],
        ),
        (
            "provider",
            &provider,
            vec![
                ("provider", "/providers/prov-1"),
                ("provider-models", "/providers/prov-1/models"),
                ("provider-request", "/providers/prov-1/request"),
                ("leaderboard-providers", "/leaderboard?kind=provider"),
            ],
        ),
        (
            "admin",
            &admin,
            vec![
                ("admin", "/admin"),
                ("rules", "/admin/rules"),
                ("rule-price", "/admin/rules/scrape"),
                ("rule-json", "/admin/rules/rules.streak"),
                ("network", "/admin/network"),
                ("credits", "/admin/credits?user=user-1"),
                ("requests", "/admin/request"),
                ("rejects", "/admin/rejects"),
                ("votes", "/admin/governance"),
                ("reject", &place),
                ("audit", "/admin/audit"),
                ("exports", "/admin/exports"),
                ("search", "/admin/find?q=nobody"),
                ("no-account", "/users/nobody"),
                ("adjustments", "/admin/adjustments?kind=user&id=user-1"),
                ("keys", "/admin/keys"),
                ("leaderboard-admin", "/leaderboard"),
            ],
        ),
    ];
    let mut faults = Vec::new();
    for look in Look::ALL {
        for (who, key, paths) in &pages {
            let browser = driver.browser(look).await;
            if !who.is_empty() {
                browser.signs_in(&up.url("/signin"), key).await;
            }
            for (name, path) in paths {
                browser.open(&up.url(path)).await;
                browser.text_of("main h1").await;
                for barrier in browser.barriers().await {
                    faults.push(format!("{path} at {look:?}: {barrier}"));
                }
                if !browser.fits().await {
                    faults.push(format!("{path} at {look:?} is wider than the window"));
                }
                let elsewhere = browser.fetched_elsewhere().await;
                assert_eq!(elsewhere, json!([]), "{path}");
                browser.keep(name).await;
            }
            browser.client.close().await.unwrap();
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// However large a total is, it stands on one line of the narrowest screen.
#[tokio::test]
#[ignore = "needs a browser: .ci/run tools"]
async fn a_total_of_any_size_is_one_line_at_360_pixels() {
    needs_browser();
    let up = Up::start(&[]).await;
    let driver = Driver::start().await;
    for (user, points) in [
        ("a", "1234.5"),
        ("b", "1234567.891234"),
        ("c", "99999999.999999"),
    ] {
        let reason = ["--reason", "a test"];
        up.site
            .run(&[&["award", "adjust", "user", user, points], &reason[..]].concat());
        up.site.run(&["wait", "--timeout", "90s"]);
        let look = Look {
            width: 360,
            ..Look::DESK
        };
        let browser = driver.browser(look).await;
        let key = up.key(&format!("account:user:{user}"));
        browser.signs_in(&up.url("/signin"), &key).await;
        browser.open(&up.url(&format!("/users/{user}"))).await;
        let lines = "return document.querySelector('.total .number').getClientRects().length";
        assert_eq!(browser.run(lines, vec![]).await, json!(1), "{points}");
        // In the window, to its last digit.
        let within = "const box = document.querySelector('.total .number').getBoundingClientRect();
            return box.right <= document.querySelector('.total').getBoundingClientRect().right";
        assert_eq!(browser.run(within, vec![]).await, json!(true), "{points}");
        assert!(browser.fits().await, "{points}");
        browser.keep(&format!("total-{user}")).await;
        browser.client.close().await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs a browser: .ci/run tools"]
async fn links_of_up_sign_in_and_a_page_is_used_by_keyboard_alone() {
    needs_browser();
    let up = Up::start_on_terminal(&["--demo"]).await;
    let driver = Driver::start().await;
    let browser = driver.browser(Look::DESK).await;
    for (who, path) in [
        ("user-1", "/users/user-1"),
        ("prov-1", "/providers/prov-1"),
        ("admin", "/admin"),
    ] {
        browser.open(&up.link(who).await).await;
        // The button has the focus.
        browser
            .client
            .active_element()
            .await
            .unwrap()
            .send_keys("\u{e007}")
            .await
            .unwrap();
        until("the link has signed in", async || {
            (browser.path().await == path).then_some(())
        })
        .await;
    }
    // The first key leads past the navigation.
    browser.open(&up.url("/users/user-1")).await;
    browser
        .at("body")
        .await
        .send_keys("\u{e004}")
        .await
        .unwrap();
    let first = browser.client.active_element().await.unwrap();
    assert_eq!(first.text().await.unwrap(), "Skip to the content");
    first.send_keys("\u{e007}").await.unwrap();
    until("the content has the focus", async || {
        let script = "return document.activeElement.id";
        (browser.run(script, vec![]).await == json!("main")).then_some(())
    })
    .await;
    // Open numbers look for news by themselves.
    let before = browser.text_of("#live .total").await;
    until("the numbers have changed without a hand", async || {
        (browser.text_of("#live .total").await != before).then_some(())
    })
    .await;
    browser.client.close().await.unwrap();
}
