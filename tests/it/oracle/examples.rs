//! The oracle against the worked examples of the rules document, and against what it says in words.

use serde_json::{Value, json};

use super::{
    Account, Cut, Grant, Input, Link, Output, SourceRecord, Version, defaults, event, run, tier,
};

/// 2026-11-22T07:01:02Z.
const NOW: i64 = 1_795_330_862_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn user(id: &str) -> Account {
    ("user".to_owned(), id.to_owned())
}

fn provider(id: &str) -> Account {
    ("provider".to_owned(), id.to_owned())
}

fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .expect("near the present")
        .to_string()
}

/// A successful chat call, with what `change` says instead.
fn call(id: &str, at: i64, change: Value) -> Vec<u8> {
    let mut data = json!({"requestId": id, "userId": "u", "providerId": "p", "endpoint": "/v1/chat/completions",
        "model": "llama-3-70b", "timestamp": time(at), "statusCode": 200});
    for (name, value) in change.as_object().expect("an object") {
        data[name] = value.clone();
    }
    data.to_string().into_bytes()
}

/// One partition; records appended at these times.
fn input(records: Vec<(i64, Vec<u8>)>) -> Input {
    let record = |(offset, (append_ms, value))| SourceRecord {
        epoch: 1,
        offset: offset as u64,
        append_ms,
        value,
        ..SourceRecord::default()
    };
    Input {
        partitions: 1,
        records: records.into_iter().enumerate().map(record).collect(),
        versions: defaults::versions(false),
        ..Input::default()
    }
}

fn link(referee: Account, chain: &[Account]) -> Link {
    Link {
        number: 1,
        referee,
        chain: chain.to_vec(),
        at: NOW,
        awards: true,
    }
}

fn part<'o>(out: &'o Output, account: &Account, month: &str, part: &str) -> &'o str {
    out.statements
        .get(&(account.clone(), month.to_owned()))
        .and_then(|s| s[part].as_str())
        .unwrap_or("none")
}

#[track_caller]
fn check(out: &Output, rows: &[(Account, &str, &str)]) {
    for (account, name, want) in rows {
        assert_eq!(
            part(out, account, "2026-11", name),
            *want,
            "{account:?} {name}"
        );
    }
}

#[test]
fn example_1_a_chat_call_and_two_chains() {
    let mut input = input(vec![(NOW, call("1", NOW, json!({})))]);
    input.links = vec![
        link(
            provider("p"),
            &[provider("q"), provider("r"), provider("s")],
        ),
        link(user("u"), &[user("v")]),
    ];
    check(
        &run(&input),
        &[
            (provider("p"), "base", "15"),
            (provider("p"), "total", "15"),
            (provider("q"), "referral", "3"),
            (provider("r"), "referral", "1.5"),
            (provider("s"), "referral", "0.75"),
            (user("u"), "usage", "1.5"),
            (user("u"), "trial", "5"),
            (user("v"), "referral", "0.3"),
        ],
    );
}

#[test]
fn example_2_a_scrape() {
    let mut input = input(vec![(NOW, call("1", NOW, json!({"endpoint": "/scrape"})))]);
    input.links = vec![link(user("u"), &[user("a"), user("b"), user("c")])];
    check(
        &run(&input),
        &[
            (provider("p"), "base", "0.5"),
            (user("u"), "usage", "0.05"),
            (user("c"), "referral", "0.0025"),
        ],
    );
}

#[test]
fn example_3_demand_and_season() {
    let mut input = input(vec![(NOW, call("1", NOW, json!({"model": "llama-3-8b"})))]);
    let set = |versions: &mut Vec<Version>, key: &str, change: &dyn Fn(&mut Value)| {
        let version = versions.iter_mut().find(|v| v.key == key).expect("the key");
        let mut value: Value = serde_json::from_str(&version.value).expect("JSON");
        change(&mut value);
        version.value = value.to_string();
    };
    set(&mut input.versions, "rules.demand", &|v| {
        v["blue_surge"] = 12_500.into()
    });
    let mut multiplier: Value = defaults::values(false)
        .into_iter()
        .find_map(|(key, value)| (key == "rules.demand").then_some(value))
        .expect("the key");
    multiplier["blue_surge"] = 15_000.into();
    let season = json!({"name": "s", "from": time(NOW - HOUR), "to": time(NOW + HOUR), "multiplier": multiplier});
    set(&mut input.versions, "rules.season", &|v| {
        *v = json!([season])
    });
    check(
        &run(&input),
        &[
            (provider("p"), "base", "5.625"),
            (user("u"), "usage", "0.5625"),
        ],
    );
}

#[test]
fn example_4_a_providers_quality() {
    // Three points each, 2,000 ms expected; 995 successes at 1,500 ms make 2,985 points, so 3,000 are the example's.
    let rules = super::rules::Book::new(&defaults::versions(false)).at(1, NOW);
    let day = super::statement::Sums {
        requests: 1_000,
        successful: 995,
        failed: 5,
        base: 3_000_000_000,
        timed: 995,
        latency: 750,
        target: 1_000,
        ..Default::default()
    };
    assert_eq!(super::statement::multiplier(&day, &rules), 676_995_000);
}

#[test]
fn example_5_cost() {
    let change = json!({"model": "llama-3-8b", "inputTokens": 150, "outputTokens": 75});
    let mut input = input(vec![(NOW, call("1", NOW, change))]);
    check(
        &run(&input),
        &[
            (user("u"), "cost", "0"),
            (user("u"), "shadowCost", "0.00015"),
        ],
    );
    input.versions = defaults::versions(true);
    check(
        &run(&input),
        &[
            (user("u"), "cost", "0.00015"),
            (user("u"), "shadowCost", "0"),
        ],
    );
}

#[test]
fn a_statement_has_the_documents_form() {
    let out = run(&input(vec![(
        NOW,
        call("1", NOW, json!({"latencyMs": 250})),
    )]));
    let must = json!({"kind":"provider","id":"p","month":"2026-11","final":false,
        "base":"15","multiplier":"0","streak":"0","referral":"0","bonus":"0","late":"0","total":"15",
        "requests":1,"successful":1,"failed":0,
        "services":{"chat_completions":{"requests":1,"successful":1,"failed":0,"points":"15","meanLatencyMs":250}},
        "days":{"2026-11-22":{"points":"15","requests":1,"successful":1,"failed":0,"streak":1}}});
    let is = &out.statements[&(provider("p"), "2026-11".to_owned())];
    assert!(super::same_statement(is, &must), "{is}");
}

#[test]
fn tiers_of_the_documents_models() {
    let rules = super::rules::Book::new(&defaults::versions(false)).at(1, NOW);
    let rows = [
        ("google/Gemma-2B", 0),
        ("DistilBERT", 0),
        ("Phi-3-mini", 0),
        ("something-else", 0),
        ("Mistral-7B-Instruct", 1),
        ("meta-llama/Llama-3-8B", 1),
        ("Mixtral-8x7B", 2),
        ("Llama-3-70B-Q4", 2),
        ("llama-3-70b-q4_k_m", 2),
        ("Qwen2.5-32B", 2),
        ("Gemma-2-27B", 2),
        ("Llama-3-70B-FP16", 3),
        ("models/llama-3-70b", 3),
        ("Mixtral-8x22B", 3),
        ("Llama-3.1-405B", 3),
        ("openai/GPT-4o", 3),
        ("claude-3-5-sonnet-20241022", 3),
    ];
    for (model, want) in rows {
        assert_eq!(tier::of(Some(model), &rules.catalogue), want, "{model}");
    }
}

#[test]
fn a_streak_of_seven_days_pays_and_a_gap_ends_it() {
    let days = |skip: i64| {
        let one = |d: i64| {
            let at = NOW - 12 * DAY + d * DAY;
            (at, call(&d.to_string(), at, json!({})))
        };
        (0..8).filter(|d| *d != skip).map(one).collect()
    };
    let out = run(&input(days(99)));
    check(
        &out,
        &[(user("u"), "streak", "0.3"), (provider("p"), "streak", "3")],
    );
    let streak = &out.streaks[&user("u")];
    assert_eq!((streak.current, streak.longest), (8, 8));
    assert_eq!(streak.start, "2026-11-10");
    let out = run(&input(days(3)));
    check(&out, &[(user("u"), "streak", "0")]);
    assert_eq!(
        (
            out.streaks[&user("u")].current,
            out.streaks[&user("u")].longest
        ),
        (4, 4)
    );
}

#[test]
fn an_event_after_its_month_closed_is_late_in_the_month_of_its_log_time() {
    let november = 1_796_083_200_000 - HOUR;
    let closes = 1_796_083_200_000 + 72 * HOUR;
    let at = |append: i64| {
        let mut input = input(vec![(append, call("1", november, json!({})))]);
        input.links = vec![link(user("u"), &[user("v")])];
        run(&input)
    };
    let out = at(closes);
    assert_eq!(part(&out, &user("u"), "2026-11", "total"), "6.5");
    let out = at(closes + 1);
    assert_eq!(part(&out, &user("u"), "2026-12", "late"), "6.5");
    assert_eq!(part(&out, &user("v"), "2026-12", "late"), "0.3");
    assert_eq!(part(&out, &user("u"), "2026-11", "total"), "none");
    assert!(out.streaks.is_empty());
}

#[test]
fn the_fiftieth_success_and_other_awards_are_bonus() {
    let records = (0..50)
        .map(|n| (NOW, call(&n.to_string(), NOW, json!({}))))
        .collect();
    let mut input = input(records);
    input.links = vec![link(user("u"), &[user("v")])];
    let grant = |points| Grant {
        account: user("v"),
        at: NOW,
        points,
    };
    input.grants = vec![grant(100_000_000), grant(-1_500_000)];
    check(
        &run(&input),
        &[(user("v"), "bonus", "298.5"), (user("v"), "referral", "15")],
    );
    input.records.pop();
    check(
        &run(&input),
        &[
            (user("v"), "bonus", "98.5"),
            (user("v"), "referral", "14.7"),
        ],
    );
}

#[test]
fn resends_conflicts_and_bad_records() {
    let bad = |change: Value| (NOW, call("x", NOW, change));
    let records = vec![
        (NOW, call("1", NOW, json!({}))),
        (NOW, call("1", NOW, json!({}))),
        (NOW, call("1", NOW, json!({"statusCode": 500}))),
        (NOW, call("1", NOW, json!({}))),
        (NOW, b"{".to_vec()),
        (NOW, b"[1]".to_vec()),
        bad(json!({"userId": null})),
        bad(json!({"statusCode": "200"})),
        bad(json!({"inputTokens": -1})),
        bad(json!({"userId": ""})),
        bad(json!({"timestamp": "2026-11-22T07:01:02"})),
        bad(json!({"specversion": "1.0", "type": "other"})),
        bad(json!({"endpoint": "/v1/images"})),
        (NOW, call("y", NOW + 5 * 60_000 + 1, json!({}))),
        (NOW, call("z", NOW - 35 * DAY - 1, json!({}))),
    ];
    let out = run(&input(records));
    let reasons: Vec<(u64, &str)> = out.rejects.iter().map(|((_, _, o), r)| (*o, *r)).collect();
    let want = [
        (2, "conflict"),
        (4, "malformed"),
        (5, "malformed"),
        (6, "missing_field"),
        (7, "wrong_type"),
        (8, "out_of_range"),
        (9, "invalid_id"),
        (10, "invalid_time"),
        (11, "unknown_type"),
        (12, "unknown_service"),
        (13, "in_the_future"),
        (14, "too_old"),
    ];
    assert_eq!(reasons, want);
    // The fourth says what was accepted, whatever stands between them.
    assert_eq!(out.duplicates.len(), 2);
    assert_eq!(out.accepted.len(), 1);
}

#[test]
fn behind_the_window_the_usage_row_decides() {
    let late = NOW + 2 * HOUR;
    let records = vec![
        (NOW, call("1", NOW, json!({}))),
        (NOW, call("2", NOW, json!({}))),
        (late, call("1", NOW, json!({}))),
        (late, call("2", NOW, json!({"statusCode": 500}))),
        (late, call("3", NOW, json!({}))),
    ];
    let mut input = input(records);
    let cut = |from, to, window_from, forgotten| Cut {
        partition: 0,
        partitions: 1,
        chunk: from,
        epoch: 1,
        from,
        to,
        control: 1,
        window_from,
        forgotten,
        usage_rows: true,
        corrected_at: None,
    };
    input.cuts = vec![cut(0, 2, 0, None), cut(2, 5, 2, Some(NOW))];
    let out = run(&input);
    assert_eq!(out.duplicates.len(), 2);
    assert_eq!(out.accepted.len(), 3);
    input.cuts[1].usage_rows = false;
    let out = run(&input);
    assert_eq!(out.accepted.len(), 2);
    assert!(out.rejects.values().all(|reason| *reason == "too_old"));
}

#[test]
fn a_chunk_sees_the_links_and_versions_up_to_its_control_position() {
    let records = (0..2)
        .map(|n| (NOW, call(&n.to_string(), NOW, json!({}))))
        .collect();
    let mut input = input(records);
    let mut link = link(user("u"), &[user("v")]);
    link.number = 2;
    input.links = vec![link];
    input.versions.push(Version {
        number: 3,
        key: "system_mainnet".to_owned(),
        value: "true".to_owned(),
        from: Some(NOW),
    });
    input.versions.push(Version {
        number: 3,
        key: "scrape".to_owned(),
        value: r#"{"pricePerUnit":"1","unit":"request"}"#.to_owned(),
        from: Some(NOW + 1),
    });
    for (offset, record) in input.records.iter_mut().enumerate() {
        record.value = call(&offset.to_string(), NOW, json!({"endpoint": "/scrape"}));
    }
    let cut = |from, control| Cut {
        partition: 0,
        partitions: 1,
        chunk: from,
        epoch: 1,
        from,
        to: from + 1,
        control,
        window_from: 0,
        forgotten: None,
        usage_rows: true,
        corrected_at: None,
    };
    input.cuts = vec![cut(0, 1), cut(1, 3)];
    check(
        &run(&input),
        &[
            (user("v"), "referral", "0.01"),
            (user("u"), "cost", "0.001"),
            (user("u"), "shadowCost", "0.001"),
        ],
    );
}

#[test]
fn users_go_to_the_partition_that_java_clients_choose() {
    // Kafka's own test vectors for murmur2, made positive, modulo 1,000.
    let rows = [
        ("21", -973_932_308_i64),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
    ];
    for (key, hash) in rows {
        let want = (hash & 0x7fff_ffff) % 1_000;
        assert_eq!(i64::from(event::partition_of(key, 1_000)), want, "{key}");
    }
}
