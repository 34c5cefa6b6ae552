//! A complaint, played through: why 0.3 points?

use super::driver::{Driver, Look, needs_browser};
use super::{Up, chat, until};

#[tokio::test]
#[ignore = "needs a browser: .ci/run tools"]
async fn a_user_asks_why_and_an_admin_reads_it_and_reverses_the_request() {
    needs_browser();
    let up = Up::start(&[]).await;
    let driver = Driver::start().await;
    for (account, referrer) in [
        (["user", "ann"], ["user", "zoe"]),
        (["provider", "prov"], ["provider", "pat"]),
    ] {
        let code = up
            .site
            .run(&["referral", "code", referrer[0], referrer[1], "--json"]);
        let code: serde_json::Value = serde_json::from_str(&code).unwrap();
        let code = code["code"].as_str().unwrap().to_owned();
        up.site
            .run(&["referral", "signup", account[0], account[1], &code]);
    }
    let asked_about = chat("r-1", "ann");
    up.send(std::slice::from_ref(&asked_about));
    let month = |kind: &str, id: &str| -> serde_json::Value {
        let said = up.site.run(&["statement", kind, id, "--json"]);
        serde_json::from_str(&said).unwrap()
    };
    let of = |kind: &str, id: &str, part: &str| month(kind, id)[part].as_str().unwrap().to_owned();
    assert_eq!(of("user", "ann", "usage"), "0.3");

    let ann = driver
        .browser(Look {
            width: 360,
            ..Look::DESK
        })
        .await;
    ann.signs_in(&up.url("/signin"), &up.key("account:user:ann"))
        .await;
    ann.click("#live a[title='Why this number?']").await;
    ann.sees("which is 0.3 points").await;
    ann.sees("a user, referrer of the user at level 1: 20 % of that, 300,000 × 2,000 ÷ 10,000 = 60,000, which is 0.06 points.").await;
    ann.sees("The steps come to exactly what was posted.").await;
    ann.keep("request-own").await;
    assert!(!ann.text().await.contains("zoe"), "referrers stay unnamed");

    // Without scripts, as admins on old machines.
    let admin = driver
        .browser(Look {
            scripts: false,
            ..Look::DESK
        })
        .await;
    let key = up.key("admin:write");
    // `tmk_ID_SECRET`; the name is that of every key here.
    let who = format!("key {} (browser)", key.split('_').nth(1).unwrap());
    admin.signs_in(&up.url("/signin"), &key).await;
    admin.open(&up.url("/admin/request")).await;
    for (field, value) in [("#user", "ann"), ("#source", "plain"), ("#id", "r-1")] {
        admin.type_into(field, value).await;
    }
    admin.press("Show").await;
    admin
        .sees("Tier blue_surge: the name llama-3-8b gives a size of 8 billion parameters.")
        .await;
    admin.sees("user zoe, referrer of the user at level 1: 20 % of that, 300,000 × 2,000 ÷ 10,000 = 60,000, which is 0.06 points.").await;
    admin.keep("request-admin").await;
    admin.type_into("#reason", "the answer was cut off").await;
    admin.press("Reverse").await;
    let falls = admin.text_of("#falls").await;
    for row in [
        "provider prov",
        "-3 points",
        "provider pat",
        "-0.6 points",
        "user ann",
        "-0.3 points",
        "user zoe",
        "-0.06 points",
    ] {
        assert!(falls.contains(row), "{row}: {falls}");
    }
    admin.keep("request-reverse").await;
    admin.press("Reverse").await;
    admin.sees("Reversal sent.").await;
    up.site.run(&["wait", "--timeout", "90s"]);
    until("the reversal is rated", async || {
        let url = admin.path().await;
        admin.open(&up.url(&url)).await;
        admin.text().await.contains("It took back:").then_some(())
    })
    .await;
    admin.sees(&format!("Reversed by {who} at ")).await;
    admin.keep("request-reversed").await;

    // Everybody's month falls by exactly that.
    for (kind, id, part) in [
        ("user", "ann", "usage"),
        ("user", "zoe", "referral"),
        ("provider", "prov", "base"),
        ("provider", "pat", "referral"),
    ] {
        assert_eq!(of(kind, id, part), "0", "{kind} {id}");
    }
    assert_eq!(month("user", "ann")["reversed"], 1);
    ann.open(&up.url(&ann.path().await)).await;
    ann.sees("Reason: the answer was cut off.").await;
    // The trail shows who it was: the newest entry is of that key, of nobody else's.
    admin.open(&up.url("/admin/audit")).await;
    let newest = admin.text_of("main tbody tr:first-child").await;
    for part in ["requests.reverse", &who, "the answer was cut off"] {
        assert!(newest.contains(part), "{part}: {newest}");
    }
    admin.keep("request-audit").await;

    // Sending the event again changes nothing.
    up.send(&[asked_about]);
    assert_eq!(of("user", "ann", "usage"), "0");
    assert_eq!(of("user", "zoe", "referral"), "0");
}
