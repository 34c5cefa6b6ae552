//! What admins see, and do by forms.

use bytes::Bytes;
use serde_json::json;
use tidemark::domain::event::{Reason, Rejection};
use tidemark::domain::position::{Epoch, Offset, Partition};
use tidemark::domain::time::HOUR_MS;
use tidemark::log::{Log, Record, Topic, rejected};
use tidemark::ops::clock::Clock as _;
use tidemark::ops::health::{Role, TaskId};
use tidemark::pipeline::HaltCode;
use tidemark::store::checkpoints::{HaltRecord, record_halt};
use tidemark::store::pricing;

use super::jar::{Jar, field, has, location, stand, text};
use crate::archive::replay::{archive, example};
use crate::http::rows::request;
use crate::http::stand::{Answer, NOON, Stand};

async fn admin(stand: &Stand) -> Jar {
    Jar::signed_in(stand, &["admin:write"]).await
}

/// The fields of the form that confirms what a page shows.
fn confirmation(page: &str) -> Vec<(&'static str, String)> {
    let names = ["seen", "once", "value", "from", "reason"];
    names
        .map(|name| (name, field(page, name).replace("&quot;", "\"")))
        .into()
}

async fn confirm(jar: &mut Jar, stand: &Stand, path: &str, fields: &[(&str, String)]) -> Answer {
    let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
    jar.post(stand, path, &fields).await
}

const SCRAPE: &str = "/admin/rules/scrape";

/// The page that asks whether scraping shall cost this.
async fn preview(jar: &mut Jar, stand: &Stand, price: &str, from: &str) -> String {
    let fields = [("price", price), ("from", from), ("reason", "a try")];
    let answer = jar.post(stand, &format!("{SCRAPE}/preview"), &fields).await;
    assert_eq!(answer.status, 200, "{}", text(&answer));
    text(&answer)
}

/// With an archive, a change is shown on what was posted, account by account.
#[tokio::test]
async fn a_change_of_a_price_is_shown_on_the_archived_month() {
    let directory = tempfile::tempdir().unwrap();
    let seeds: Vec<_> = (1..=9).map(example).collect();
    archive(directory.path(), &seeds, 4);
    let stand = stand().await.with_archive(directory.path());
    let mut jar = admin(&stand).await;
    let fields = [("price", "0.001"), ("from", ""), ("reason", "a try")];
    let path = "/admin/rules/blue_surge_input/preview";
    let page = text(&jar.post(&stand, path, &fields).await);
    has(
        &page,
        &[
            "The requests of 2026-11 with this change",
            "Mainnet would charge, USD",
            ">0.0225<",
            ">0.045<",
            "9 archived records, all of the month; 9 of them would bring something else.",
        ],
    );
    // An archive that cannot be read does not keep anybody from changing a price.
    std::fs::remove_dir_all(directory.path()).unwrap();
    let page = text(&jar.post(&stand, path, &fields).await);
    has(&page, &["Last week’s usage under these prices"]);
}

#[tokio::test]
async fn what_was_confirmed_looking_at_what_is_not_so_any_more_is_not_published() {
    let stand = stand().await;
    let (mut a, mut b) = (admin(&stand).await, admin(&stand).await);
    let of_a = confirmation(&preview(&mut a, &stand, "3", "").await);
    let of_b = confirmation(&preview(&mut b, &stand, "5", "").await);
    let answer = confirm(&mut a, &stand, SCRAPE, &of_a).await;
    assert_eq!(
        location(&answer),
        "/admin/rules/scrape?done=published&version=2"
    );
    let answer = confirm(&mut b, &stand, SCRAPE, &of_b).await;
    assert_eq!(answer.status, 409);
    let page = text(&answer);
    has(
        &page,
        &[
            "Nothing was published: it has changed in the meantime.",
            "version 2, written by key ",
            "3 USD for a request",
            "<del class=\"before\">3</del>",
            "<ins class=\"now\">5</ins>",
        ],
    );
    // A's comes again, and B looks again.
    let answer = confirm(&mut a, &stand, SCRAPE, &of_a).await;
    assert_eq!(
        location(&answer),
        "/admin/rules/scrape?done=before&version=2"
    );
    let answer = confirm(&mut b, &stand, SCRAPE, &confirmation(&page)).await;
    assert_eq!(
        location(&answer),
        "/admin/rules/scrape?done=published&version=3"
    );
    let versions = pricing::history(&stand.db, "scrape").await.unwrap();
    assert_eq!(versions.len(), 3);
}

#[tokio::test]
async fn what_is_to_come_is_shown_wherever_somebody_would_change_it() {
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    let later = "2026-12-01T00:00";
    let page = preview(&mut jar, &stand, "3", later).await;
    has(&page, &["In force then", "With the change"]);
    let answer = confirm(&mut jar, &stand, SCRAPE, &confirmation(&page)).await;
    let page = text(&jar.get(&stand, location(&answer)).await);
    let said = "It applies to events from 2026-12-01 00:00:00 on; until then nothing changes.";
    has(&page, &[said, "Upcoming", "3 USD for a request"]);

    // Today's, which it will replace; and what takes its place.
    let page = preview(&mut jar, &stand, "2", "").await;
    has(
        &page,
        &["It applies only until 2026-12-01 00:00:00: then version 2 begins"],
    );
    let page = preview(&mut jar, &stand, "4", later).await;
    has(&page, &["It replaces version 2"]);
    confirm(&mut jar, &stand, SCRAPE, &confirmation(&page)).await;
    let page = text(&jar.get(&stand, SCRAPE).await);
    has(&page, &["Replaced", "Upcoming", "In force", "4 USD for a"]);

    let page = text(&jar.get(&stand, "/admin/network").await);
    let (seen, once) = (field(&page, "seen"), field(&page, "once"));
    let fields = [
        ("to", "mainnet"),
        ("typed", "mainnet"),
        ("reason", "live"),
        ("from", later),
        ("seen", seen.as_str()),
        ("once", once.as_str()),
    ];
    let answer = jar.post(&stand, "/admin/network", &fields).await;
    location(&answer);
    for (path, said) in [
        ("/admin", "A switch is scheduled: "),
        ("/admin", "4 USD for a request"),
        ("/admin/rules", "4 USD for a request"),
        ("/admin/network", "2026-12-01 00:00:00"),
    ] {
        let page = text(&jar.get(&stand, path).await);
        has(&page, &["Upcoming", "mainnet", said]);
        assert!(!page.contains("3 USD for a request"), "{page}");
    }
}

#[tokio::test]
async fn forms_and_ids_are_taken_as_they_are_or_refused() {
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    let page = text(&jar.get(&stand, "/admin/credits?user=%20lead").await);
    has(
        &page,
        &[
            "value=\" lead\"",
            "This id begins with a space.",
            "/admin/credits?user=lead\"",
        ],
    );
    let found = text(&jar.get(&stand, "/admin/find?kind=user&id=lead%20").await);
    has(
        &found,
        &["ends with a space", "/users/lead\"", "/users/lead%20\""],
    );
    let fields = [
        ("user", " lead"),
        ("once", "page-1"),
        ("amount", "1"),
        ("reason", "x"),
        ("confirmed", "yes"),
    ];
    let answer = jar.post(&stand, "/admin/credits", &fields).await;
    has(location(&answer), &["user=%20lead&"]);
    let twice = [&fields[..], &[("amount", "2")]].concat();
    let answer = jar.post(&stand, "/admin/credits", &twice).await;
    assert_eq!(answer.status, 400);
    has(&text(&answer), &["was sent twice"]);
    let doubled = [
        ("value", r#"{"steps": [], "steps": []}"#),
        ("from", ""),
        ("reason", "x"),
    ];
    let target = "/admin/rules/rules.streak/preview";
    let answer = jar.post(&stand, target, &doubled).await;
    assert_eq!(answer.status, 422);
    has(&text(&answer), &["appears twice"]);
    for path in [
        "/admin/rejects?partition=x",
        "/admin/find?kind=admin&id=a",
        "/admin/credits?user=a&user=b",
    ] {
        let answer = jar.get(&stand, path).await;
        assert_eq!(answer.status, 400, "{path}");
        has(&text(&answer), &["The query part of this address"]);
    }
}

#[tokio::test]
async fn a_price_shows_what_it_changes_and_what_last_week_would_have_cost_before_it_is_confirmed() {
    let stand = stand().await;
    // 150 tokens in, 75 out; the row has no tier, so it counts as the first.
    request(&stand, "alice", "r-1", NOON.plus(-HOUR_MS)).await;
    request(&stand, "alice", "r-2", NOON.plus(-8 * 24 * HOUR_MS)).await;
    let mut jar = admin(&stand).await;
    let target = "/admin/rules/tide_pool_input";
    let change = [("price", "0.001"), ("from", ""), ("reason", "dearer")];
    let answer = jar
        .post(&stand, &format!("{target}/preview"), &change)
        .await;
    let page = text(&answer);
    has(
        &page,
        &[
            "tide_pool_input.pricePerUnit",
            "<del class=\"before\">0.0002</del>",
            "<ins class=\"now\">0.001</ins>",
            "1 successful request<",
            // 150 × 0.0002 / 1,000 + 75 × 0.0004 / 1,000; and with 0.001.
            "0.00006 USD",
            "0.00018 USD",
            "Every request of the last 7 days",
        ],
    );
    let unchanged = text(&jar.get(&stand, target).await);
    has(
        &unchanged,
        &["<span class=\"number\">0.0002</span> USD for 1,000 tokens"],
    );

    has(
        &page,
        &["USD that would be charged on mainnet for 1,000 tokens in, tide_pool"],
    );
    let confirmed = confirmation(&page);
    let answer = confirm(&mut jar, &stand, target, &confirmed).await;
    assert_eq!(
        location(&answer),
        "/admin/rules/tide_pool_input?done=published&version=2"
    );
    let page = text(&jar.get(&stand, location(&answer)).await);
    has(
        &page,
        &[
            "Published.",
            "<span class=\"number\">0.001</span> USD",
            "dearer",
            "key ",
        ],
    );
    let again = confirm(&mut jar, &stand, target, &confirmed).await;
    assert_eq!(
        location(&again),
        "/admin/rules/tide_pool_input?done=before&version=2"
    );
    let page = text(&jar.get(&stand, location(&again)).await);
    has(&page, &["Already published at", "as version 2"]);
    // What is so already has nothing to confirm; nothing is published without having been shown.
    for target in [format!("{target}/preview"), target.to_owned()] {
        let answer = jar.post(&stand, &target, &change).await;
        assert_eq!(answer.status, 200);
        let page = text(&answer);
        has(&page, &["There is nothing to confirm"]);
        assert!(!page.contains(">Confirm<"), "{page}");
    }
    let trail = text(&jar.get(&stand, "/admin/audit").await);
    has(&trail, &["pricing.publish", "tide_pool_input"]);
}

#[tokio::test]
async fn a_change_that_cannot_be_made_comes_back_as_it_was_typed_with_every_fault() {
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    let rows = [
        ("scrape", "price", "a lot", "", "why", "scrape.pricePerUnit"),
        ("scrape", "price", "1", "", "", "the reason is empty"),
        (
            "scrape",
            "price",
            "1",
            "2020-01-01T00:00",
            "why",
            "is before now",
        ),
        (
            "scrape",
            "price",
            "1",
            "whenever",
            "why",
            "the time is not valid",
        ),
        (
            "rules.streak",
            "value",
            "{\"steps\": 7}",
            "",
            "why",
            "rules.streak.steps",
        ),
        ("rules.streak", "value", "no JSON", "", "why", "is not JSON"),
    ];
    for (key, name, value, from, reason, said) in rows {
        let fields = [(name, value), ("from", from), ("reason", reason)];
        for target in [
            format!("/admin/rules/{key}/preview"),
            format!("/admin/rules/{key}"),
        ] {
            let answer = jar.post(&stand, &target, &fields).await;
            assert_eq!(answer.status, 422, "{target} {value}");
            let page = text(&answer).replace("&quot;", "\"");
            has(&page, &[said, "role=\"alert\""]);
            if reason.is_empty() || said.starts_with("rules.") {
                continue;
            }
            has(&page, &[value]);
        }
    }
    assert_eq!(jar.get(&stand, "/admin/rules/nonsense").await.status, 404);
}

#[tokio::test]
async fn prices_of_models_are_shown_changed_and_listed_with_the_rules() {
    const MODELS: &str = "/admin/rules/rules.modelPrices";
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    // Shipped without any: the page to add some can be found all the same.
    let rules = text(&jar.get(&stand, "/admin/rules").await);
    has(&rules, &[MODELS]);
    let value = r#"[{"match": "claude-*", "input": "0.003", "output": "0.015"}]"#;
    let fields = [("value", value), ("from", ""), ("reason", "as the vendor")];
    let answer = jar
        .post(&stand, &format!("{MODELS}/preview"), &fields)
        .await;
    assert_eq!(answer.status, 200, "{}", text(&answer));
    let page = text(&answer);
    has(&page, &["claude-*", "0.015"]);
    let answer = confirm(&mut jar, &stand, MODELS, &confirmation(&page)).await;
    let done = location(&answer).to_owned();
    assert!(
        done.starts_with(&format!("{MODELS}?done=published")),
        "{done}"
    );
    let page = text(&jar.get(&stand, &done).await);
    has(&page, &["claude-*", "0.003", "as the vendor"]);
    // A bad entry comes back with the field that is wrong.
    let bad = [
        ("value", r#"[{"match": "x", "input": "-1", "output": "0"}]"#),
        ("from", ""),
        ("reason", "why"),
    ];
    let answer = jar.post(&stand, &format!("{MODELS}/preview"), &bad).await;
    assert_eq!(answer.status, 422);
    has(&text(&answer), &["rules.modelPrices", "role=\"alert\""]);
}

#[tokio::test]
async fn the_network_is_switched_only_by_its_typed_name() {
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    has(
        &text(&jar.get(&stand, "/admin/network").await),
        &["In force now: <strong>testnet</strong>"],
    );
    for (to, typed) in [
        ("mainnet", ""),
        ("mainnet", "testnet"),
        ("mainnet", "Mainnet"),
        ("", ""),
        ("other", "other"),
    ] {
        let fields = [("to", to), ("typed", typed), ("reason", "live")];
        let answer = jar.post(&stand, "/admin/network", &fields).await;
        assert_eq!(answer.status, 422, "{to} {typed}");
        has(
            &text(&answer),
            &["Nothing was switched", "<strong>testnet</strong>"],
        );
    }
    // The form of other rules does not switch it.
    let fields = [("value", "true"), ("reason", "live")];
    let answer = jar
        .post(&stand, "/admin/rules/system_mainnet", &fields)
        .await;
    assert_eq!(location(&answer), "/admin/network");
    let page = text(&jar.get(&stand, "/admin/network").await);
    let (seen, once) = (field(&page, "seen"), field(&page, "once"));
    let mut fields = vec![("to", "mainnet"), ("typed", "mainnet"), ("reason", "live")];
    let unseen = jar.post(&stand, "/admin/network", &fields).await;
    has(
        &text(&unseen),
        &["Nothing was switched: look at what is in force"],
    );
    fields.extend([("seen", seen.as_str()), ("once", once.as_str())]);
    let answer = jar.post(&stand, "/admin/network", &fields).await;
    assert_eq!(location(&answer), "/admin/network?done=published&version=2");
    let page = text(&jar.get(&stand, location(&answer)).await);
    has(&page, &["Published.", "live", "<strong>mainnet</strong>"]);
    let again = jar.post(&stand, "/admin/network", &fields).await;
    assert_eq!(location(&again), "/admin/network?done=before&version=2");
    has(
        &text(&jar.get(&stand, "/admin").await),
        &["<strong>Mainnet</strong>: usage is charged."],
    );
}

#[tokio::test]
async fn credit_is_added_once_however_often_the_form_is_sent() {
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    let page = text(&jar.get(&stand, "/admin/credits?user=alice").await);
    let once = field(&page, "once");
    let mut led = Vec::new();
    for _ in 0..2 {
        let fields = [
            ("user", "alice"),
            ("once", once.as_str()),
            ("amount", "25"),
            ("reason", "a welcome"),
            ("confirmed", "yes"),
        ];
        let answer = jar.post(&stand, "/admin/credits", &fields).await;
        led.push(location(&answer).to_owned());
    }
    let told = text(&jar.get(&stand, &led[1]).await);
    has(
        &told,
        &["Already added at 2026-11-22 12:00:00: 25 USD, “a welcome”."],
    );
    let page = text(&jar.get(&stand, &led[0]).await);
    has(
        &page,
        &[
            "Added.",
            "<span class=\"number\">25</span> USD",
            "a welcome",
        ],
    );
    assert_eq!(page.matches("a welcome").count(), 1);
    let once_of = |amount: &str| match amount {
        "25" | "7" => once.as_str(),
        _ => "page-other",
    };
    for (amount, reason, said) in [
        ("many", "x", "is not a decimal number"),
        ("1", "", "the reason is empty"),
        ("0", "x", "the amount is 0, which changes nothing"),
        ("-0", "x", "the amount is 0, which changes nothing"),
        ("1000000.1", "x", "at most 1,000,000 USD"),
        ("7", "x", "with 25 USD, “a welcome”, and that was added"),
        (
            "25",
            "another",
            "with 25 USD, “a welcome”, and that was added",
        ),
    ] {
        let fields = [
            ("user", "alice"),
            ("once", once_of(amount)),
            ("amount", amount),
            ("reason", reason),
            ("confirmed", "yes"),
        ];
        let answer = jar.post(&stand, "/admin/credits", &fields).await;
        assert_eq!(answer.status, 422, "{amount}");
        let page = text(&answer);
        let typed = format!("value=\"{amount}\"");
        has(&page, &["Nothing was added", said, &typed]);
        assert!(!page.contains("idempotency"), "{page}");
        assert_ne!(field(&page, "once"), once, "{page}");
    }
}

async fn refuse(stand: &Stand, offset: u64, value: &str) {
    let original = Record {
        offset: Offset(offset),
        append_time: NOON,
        key: Some(Bytes::from_static(b"alice")),
        value: Bytes::copy_from_slice(value.as_bytes()),
        headers: vec![],
    };
    let rejection = Rejection {
        reason: Reason::UnknownService,
        field: Some("endpoint"),
        detail: "no service has this path".to_owned(),
    };
    let reject = rejected::encode(&original, Epoch(1), Partition(3), NOON, &rejection);
    let topic = Topic::UsageRejected;
    stand
        .log
        .append(topic, Partition(1), vec![reject])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_reject_is_read_mended_and_sent_again_another_is_discarded_and_neither_twice() {
    let stand = stand().await;
    let event =
        json!({"requestId": "r", "userId": "alice", "endpoint": "/v1/nothing", "model": "m",
        "timestamp": "2026-11-22T07:01:02.123Z", "statusCode": 200})
        .to_string();
    refuse(&stand, 5, &event).await;
    refuse(&stand, 6, "no event at <all>").await;
    let mut jar = admin(&stand).await;
    let list = text(&jar.get(&stand, "/admin/rejects?partition=1").await);
    has(
        &list,
        &[
            "no service has this path",
            "/admin/rejects/1/0",
            "/admin/rejects/1/1",
        ],
    );
    has(
        &text(&jar.get(&stand, "/admin/rejects?partition=0").await),
        &["No rejects in this partition, as far back"],
    );
    has(
        &text(
            &jar.get(&stand, "/admin/rejects?partition=1&from=5000")
                .await,
        ),
        &["There are earlier ones.", "From the first"],
    );
    has(
        &text(&jar.get(&stand, "/admin/rejects").await),
        &[
            "2 rejects kept",
            "<td class=\"n\" data-label=\"Open\">2</td>",
            "/admin/rejects?partition=1",
            "/admin/rejects/1/1",
        ],
    );
    has(
        &text(&jar.get(&stand, "/admin/rejects/1/1").await),
        &["no event at &lt;all&gt;"],
    );

    let bad = jar
        .post(
            &stand,
            "/admin/rejects/1/0/redrive",
            &[("value", "{\"x\": 1}")],
        )
        .await;
    assert_eq!(bad.status, 422);
    has(
        &text(&bad),
        &["the event cannot be read", "{&quot;x&quot;: 1}"],
    );
    let mended = event.replace("nothing", "scrape");
    let answer = jar
        .post(&stand, "/admin/rejects/1/0/redrive", &[("value", &mended)])
        .await;
    assert_eq!(location(&answer), "/admin/rejects/1/0?done=redriven");
    assert_eq!(stand.log.all(Topic::UsageEvents).len(), 1);
    let page = text(&jar.get(&stand, "/admin/rejects/1/0").await);
    has(&page, &["Sent again", "/v1/scrape"]);
    assert!(!page.contains("Discard it"), "{page}");
    let late = jar
        .post(&stand, "/admin/rejects/1/0/discard", &[("reason", "late")])
        .await;
    assert_eq!(late.status, 422);
    has(&text(&late), &["what was sent cannot be discarded"]);

    let empty = jar
        .post(&stand, "/admin/rejects/1/1/discard", &[("reason", "")])
        .await;
    has(&text(&empty), &["the reason is empty"]);
    let answer = jar
        .post(
            &stand,
            "/admin/rejects/1/1/discard",
            &[("reason", "a test")],
        )
        .await;
    assert_eq!(location(&answer), "/admin/rejects/1/1?done=discarded");
    has(
        &text(&jar.get(&stand, "/admin/rejects/1/1").await),
        &["Discarded", "a test"],
    );
    assert_eq!(jar.get(&stand, "/admin/rejects/1/9").await.status, 404);
    assert_eq!(
        jar.get(&stand, "/admin/rejects?partition=99").await.status,
        404
    );
}

#[tokio::test]
async fn a_halted_partition_is_told_in_plain_words_with_what_to_do() {
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    has(&text(&jar.get(&stand, "/admin").await), &["None halted"]);
    let task = TaskId::new(Role::Rate, Partition(2));
    let record = HaltRecord {
        task: task.to_string(),
        code: HaltCode::LogTruncated.as_str().to_owned(),
        message: "records are <gone>".to_owned(),
        at: NOON,
    };
    record_halt(&stand.db, task, &record).await.unwrap();
    let page = text(&jar.get(&stand, "/admin").await);
    has(
        &page,
        &[
            "1 halted",
            "rate/2 has been halted since 2026-11-22 12:00:00",
            "records are &lt;gone&gt;",
            HaltCode::LogTruncated.advice(),
            "tidemark resume rate/2",
        ],
    );
}

#[tokio::test]
async fn an_admin_who_may_only_read_sees_no_forms_that_change_something() {
    let stand = stand().await;
    let mut jar = Jar::signed_in(&stand, &["admin:read"]).await;
    let found = jar.get(&stand, "/admin/find?kind=provider&id=a%2Fb").await;
    assert_eq!(location(&found), "/providers/a%2Fb");
    // Nothing is known of it.
    assert_eq!(jar.get(&stand, "/providers/a%2Fb").await.status, 404);
    for path in [
        "/admin",
        "/admin/rules",
        "/admin/rules/scrape",
        "/admin/network",
        "/admin/credits?user=alice",
        "/admin/audit",
    ] {
        let answer = jar.get(&stand, path).await;
        assert_eq!(answer.status, 200, "{path}");
        // Signing out is the one.
        assert_eq!(
            text(&answer).matches("method=\"post\"").count(),
            1,
            "{path}"
        );
    }
}

/// Deployments are mapped to providers in the browser, and the page says what the map is for.
#[tokio::test]
async fn deployments_are_mapped_to_providers_by_form() {
    const PROVIDERS: &str = "/admin/rules/rules.providers";
    let stand = stand().await;
    let mut jar = admin(&stand).await;
    let page = text(&jar.get(&stand, "/admin/rules").await);
    has(
        &page,
        &[
            PROVIDERS,
            "only the configuration maps deployments to providers",
        ],
    );
    let page = text(&jar.get(&stand, PROVIDERS).await);
    has(
        &page,
        &["What is in the log already does not change", "azure-eu-1"],
    );
    let send = |value: &'static str| [("value", value), ("from", ""), ("reason", "a deployment")];
    let target = format!("{PROVIDERS}/preview");
    let answer = jar
        .post(&stand, &target, &send(r#"{"azure-eu-1": ""}"#))
        .await;
    assert_eq!(answer.status, 422);
    has(&text(&answer), &["rules.providers.azure-eu-1"]);
    let answer = jar
        .post(&stand, &target, &send(r#"{"azure-eu-1": "prov-9"}"#))
        .await;
    let page = text(&answer);
    has(&page, &["azure-eu-1", "prov-9"]);
    has(&page, &["Effective 5 seconds after you confirm it"]);
    let answer = confirm(&mut jar, &stand, PROVIDERS, &confirmation(&page)).await;
    // Every process has seen it when it comes into force.
    let page = text(&jar.get(&stand, location(&answer)).await);
    has(&page, &["until then nothing changes", "Nothing yet."]);
    let versions = pricing::history(&stand.db, "rules.providers")
        .await
        .unwrap();
    assert_eq!(versions.len(), 1);
    let begins = versions[0].effective_from.expect("a beginning");
    assert_eq!(begins, stand.clock.now().plus(5_000));
    stand.clock.set(begins);
    let page = text(&jar.get(&stand, PROVIDERS).await);
    has(&page, &["prov-9", "Version 1"]);
    let page = text(&jar.get(&stand, "/admin/audit").await);
    has(&page, &["rules.providers"]);
}
