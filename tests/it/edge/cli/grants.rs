//! `pricing`, `credits`, `award`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidemark::domain::amount::Money;
use tidemark::ops::clock::{Clock as _, SystemClock};
use tidemark::store::credits::{CreditEntry, add};
use tidemark::store::dynamo::{DynamoDb, DynamoSettings};
use tidemark::store::embedded::EmbeddedStore;
use tidemark::store::meter::StoreMeter;

use super::halts::run;
use super::{Place, chat};

#[test]
fn prices_begin_with_mainnet_on_fresh_data() {
    let place = Place::new();
    place.tidemark(&["init"]).ok();
    let said = place.tidemark(&["pricing", "init", "mainnet"]).ok();
    assert!(
        said.starts_with("config/rules/mainnet.toml is in force: ")
            && said.contains(" values published"),
        "{said}"
    );
    let said = place.tidemark(&["pricing", "init", "mainnet"]).ok();
    assert!(
        said.ends_with("is in force already; nothing was changed\n"),
        "{said}"
    );
    // What is in force stays, unless one says otherwise.
    let said = place.tidemark(&["pricing", "init", "testnet"]).ok();
    assert_eq!(
        said,
        "1 value is in force different from config/rules/testnet.toml and kept: system_mainnet. `--replace` publishes the file's values.\n"
    );
    let init = ["pricing", "init", "testnet", "--replace"];
    let said = place.tidemark(&init).ok();
    assert!(said.contains("is in force: 1 value published, "), "{said}");
}

#[test]
fn usage_is_charged_from_the_moment_that_mainnet_is_in_force() {
    let place = Place::new();
    let up = place.up(&[]);
    place.send(&[chat("1", "ann")]);
    let said = place
        .tidemark(&["pricing", "init", "mainnet", "--replace"])
        .ok();
    assert!(said.contains("is in force: 1 value published, "), "{said}");
    let switch = |rules: Value| {
        let rules = rules.as_array().unwrap().clone();
        rules
            .into_iter()
            .find(|rule| rule["key"] == "system_mainnet")
            .unwrap()
    };
    let rule = switch(place.tidemark(&["pricing", "show", "--json"]).json());
    assert_eq!(
        (&rule["value"], &rule["version"]),
        (&json!(true), &json!(2))
    );
    assert!(
        place
            .tidemark(&["pricing", "show"])
            .ok()
            .contains("system_mainnet")
    );
    place.send(&[chat("2", "ann")]);
    place.wait();
    let ann = place.statement("user", "ann");
    assert_eq!(
        (&ann["cost"], &ann["shadowCost"]),
        (&json!("0.00015"), &json!("0.00015"))
    );
    let show = || place.tidemark(&["credits", "show", "ann", "--json"]).json();
    assert_eq!(
        (&show()["balance"], &show()["overdrawn"]),
        (&json!("-0.00015"), &json!(true))
    );

    let add = [
        "credits",
        "add",
        "ann",
        "12.5",
        "--key",
        "invoice-1",
        "--reason",
        "invoice 1",
    ];
    let said = place.tidemark(&add).ok();
    assert!(
        said.starts_with("ann: 12.49985 USD = 12.5 added − 0.00015 spent\n"),
        "{said}"
    );
    assert_eq!(place.tidemark(&add).ok(), said, "the same key counts once");
    let other = ["credits", "add", "ann", "13", "--key", "invoice-1"];
    let said = place.tidemark(&other).failed(2);
    assert!(
        said.contains("the idempotency key invoice-1 was used for 12.5 USD"),
        "{said}"
    );
    place
        .tidemark(&["credits", "add", "ann", "-2.5", "--json"])
        .json();
    let found = show();
    let entries = found["entries"].as_array().unwrap();
    assert_eq!((&found["added"], entries.len()), (&json!("10"), 2));
    assert_eq!(
        (&entries[0]["key"], &entries[0]["reason"]),
        (&json!("invoice-1"), &json!("invoice 1"))
    );
    for amount in ["much", "1e3", "0.0000000001"] {
        place.tidemark(&["credits", "add", "ann", amount]).failed(2);
    }
    corrected(&place);
    up.stop();
}

#[test]
fn a_reason_is_a_line_of_plain_text() {
    let place = Place::new();
    place.tidemark(&["init"]).ok();
    place.tidemark(&["pricing", "init", "testnet"]).ok();
    let long = "r".repeat(501);
    let rows = [
        ("", "the reason is empty"),
        (" ", "the reason is empty"),
        (&long, "the reason has 501 characters; allowed are 1 to 500"),
        ("a\nb", "the reason has control characters"),
        ("\u{1b}[2J", "the reason has control characters"),
    ];
    for (reason, expected) in rows {
        let add = ["credits", "add", "ann", "1", "--reason", reason];
        let adjust = ["award", "adjust", "user", "ann", "1", "--reason", reason];
        for command in [&add[..], &adjust[..]] {
            let said = place.tidemark(command).failed(2);
            assert!(said.contains(expected), "{said}");
        }
    }
    // What was stored before there was a limit, or comes from elsewhere, is shown all the same, and
    // steers no terminal.
    let who = format!("\u{1b}[2J{}", "w".repeat(70_000));
    stored(&place, "ann", &who, &long[1..]);
    let said = place.tidemark(&["credits", "show", "ann"]).ok();
    assert!(
        said.contains("\\u{1b}[2Jwww") && said.contains('…'),
        "{said}"
    );
    assert!(!said.contains('\u{1b}') && said.len() < 2_000, "{said}");
    let found = place.tidemark(&["credits", "show", "ann", "--json"]).json();
    let entry = &found["entries"][0];
    assert_eq!(entry["reason"], long[1..], "JSON is whole");
    assert_eq!(entry["by"], who);
}

#[test]
fn unknown_accounts_and_large_amounts_are_pointed_out_and_scripts_are_not_stopped() {
    let place = Place::new();
    place.tidemark(&["init"]).ok();
    place.tidemark(&["pricing", "init", "testnet"]).ok();
    let notes = |args: &[&str]| {
        let said = place.tidemark(args);
        assert_eq!(said.code, Some(0), "{}", said.err);
        let notes = said.err.lines().filter(|line| line.starts_with("note: "));
        notes.map(str::to_owned).collect::<Vec<String>>()
    };
    let unknown = "note: there is no user “alcie” yet: no usage, no points, no referrals, no credits, no wallet, no key";
    let large = "note: this is more than 1000 USD (http.ask_above_usd)";
    let many = "note: this is more than 100000 points (http.ask_above_points)";
    let rows: [(&[&str], &[&str]); 5] = [
        (
            &["award", "adjust", "user", "alcie", "100001"],
            &[unknown, many],
        ),
        // The adjustment is known.
        (&["credits", "add", "alcie", "1000.5"], &[large]),
        (&["credits", "add", "alcie", "1000"], &[]),
        (&["credits", "add", "alcie", "-1001", "--yes"], &[large]),
        (&["award", "adjust", "user", "alcie", "-100000"], &[]),
    ];
    for (args, expected) in rows {
        let args = [args, &["--reason", "a test"]].concat();
        assert_eq!(notes(&args), expected, "{args:?}");
    }
}

#[test]
fn entries_are_undone_by_command_once() {
    let place = Place::new();
    place.tidemark(&["init"]).ok();
    place.tidemark(&["pricing", "init", "testnet"]).ok();
    let add = ["credits", "add", "ann", "40", "--key", "invoice-1"];
    place.tidemark(&add).ok();
    let said = place.tidemark(&["credits", "show", "ann"]).ok();
    assert!(said.contains("invoice-1"), "{said}");
    for _ in 0..2 {
        let undo = ["credits", "undo", "ann", "invoice-1", "--json"];
        let credits = place.tidemark(&undo).json();
        assert_eq!(credits["balance"], "0");
        assert_eq!(credits["entries"].as_array().unwrap().len(), 2);
    }
    let said = place
        .tidemark(&["credits", "undo", "ann", "invoice-2"])
        .failed(2);
    assert!(said.contains("no credit with the key invoice-2"), "{said}");
    let adjust = [
        "award",
        "adjust",
        "provider",
        "p",
        "-2.5",
        "--key",
        "t-1",
        "--reason",
        "an outage",
    ];
    place.tidemark(&adjust).ok();
    for is_new in [true, false] {
        let undo = ["award", "undo", "provider", "p", "t-1", "--json"];
        let award = place.tidemark(&undo).json();
        assert_eq!(
            (&award["points"], &award["granted"]),
            (&json!("2.5"), &json!(is_new))
        );
        assert_eq!(award["key"], "undo-t-1");
    }
    let zero = [
        "award", "adjust", "provider", "p", "0", "--reason", "nothing",
    ];
    let said = place.tidemark(&zero).failed(2);
    assert!(said.contains("changes nothing"), "{said}");
}

/// Nothing runs: credit by a name that no command of today gives.
fn stored(place: &Place, user: &str, by: &str, reason: &str) {
    run(async {
        let store = EmbeddedStore::open(&place.path("data/store")).unwrap();
        let mut settings = DynamoSettings::embedded(store.client());
        settings.prefix = "tidemark-".to_owned();
        let meter = Arc::new(StoreMeter::default());
        let db = DynamoDb::new(&settings, meter, Arc::new(SystemClock));
        let entry = CreditEntry {
            idempotency_key: "from-elsewhere".to_owned(),
            amount: Money(1_000_000_000),
            reason: reason.to_owned(),
            by: by.to_owned(),
            at: SystemClock.now(),
        };
        add(&db, user, &entry).await.unwrap();
        // The command that follows opens the same directory.
        store.shutdown(Duration::from_secs(60)).await;
    });
}

/// Adjustments, up and down, once per key.
fn corrected(place: &Place) {
    let adjust = |points, key| {
        let args = [
            "award", "adjust", "user", "ann", points, "--key", key, "--reason", "test", "--json",
        ];
        place.tidemark(&args)
    };
    assert_eq!(adjust("10", "a").json()["granted"], true);
    assert_eq!(adjust("10", "a").json()["granted"], false);
    assert_eq!(adjust("-2.25", "b").json()["granted"], true);
    let said = adjust("11", "a").failed(2);
    assert!(said.contains('a'), "{said}");
    place.wait();
    assert_eq!(place.statement("user", "ann")["bonus"], "7.75");
}

#[test]
fn one_value_is_published_by_command_now_or_later() {
    let mut place = Place::new();
    // Who it was is the system's word, not that of a variable.
    place.env.push(("USER", "somebody-else"));
    place.tidemark(&["init"]).ok();
    place.tidemark(&["pricing", "init", "testnet"]).ok();
    let set = |rest: &[&str]| {
        let reason = ["--reason", "a test"];
        place.tidemark(&[&["pricing", "set"], rest, &reason].concat())
    };
    let said = set(&["tts", "0.02", "--dry-run"]).ok();
    assert!(
        said.contains("rules: tts") || said.contains("tts.pricePerUnit"),
        "{said}"
    );
    assert!(said.ends_with("dry run: nothing was published\n"), "{said}");
    let said = set(&["tts", "0.02"]).failed(2);
    assert!(
        said.contains("there is no terminal to confirm on"),
        "{said}"
    );
    let said = set(&["tts", "0.02", "--yes"]).ok();
    assert!(said.contains("published tts, valid from "), "{said}");
    let said = set(&["tts", "0.020", "--yes"]).ok();
    assert!(
        said.contains("tts has this value at that time anyway"),
        "{said}"
    );
    let names = r#"{"azure-eu-1": "prov-9"}"#;
    std::fs::write(place.path("names.json"), names).unwrap();
    let said = set(&["rules.providers", "--file", "names.json", "--yes"]).ok();
    assert!(said.contains("at the earliest five seconds"), "{said}");
    // It comes into force when every process has seen it.
    let start = Instant::now();
    loop {
        let shown = place.tidemark(&["pricing", "show", "--json"]).json();
        let mut rules = shown.as_array().unwrap().iter();
        if rules.any(|rule| rule["key"] == "rules.providers") {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{shown}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let launch = [
        "system_mainnet",
        "true",
        "--from",
        "2099-01-01T00:00:00Z",
        "--yes",
    ];
    set(&launch).ok();
    let shown = place.tidemark(&["pricing", "show", "--json"]).json();
    let rule = |key: &str| {
        let rules = shown.as_array().unwrap();
        rules
            .iter()
            .find(|rule| rule["key"] == key)
            .unwrap()
            .clone()
    };
    assert_eq!(rule("tts")["value"]["pricePerUnit"], "0.02");
    assert_eq!(
        rule("rules.providers")["value"],
        json!({"azure-eu-1": "prov-9"})
    );
    assert_eq!(rule("system_mainnet")["value"], false);
    let by = rule("tts")["by"].as_str().unwrap().to_owned();
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(place.path("data")).unwrap());
    assert_eq!(by, format!("uid {uid} (tidemark command)"));
    let scheduled = place.tidemark(&["pricing", "show", "--scheduled", "--json"]);
    let scheduled = scheduled.json();
    assert_eq!(scheduled.as_array().unwrap().len(), 1);
    assert_eq!(scheduled[0]["key"], "system_mainnet");
    let shown = place.tidemark(&["pricing", "show"]).ok();
    let (_, later) = shown.split_once("scheduled:").expect("what is scheduled");
    assert!(
        later.contains("system_mainnet") && later.contains("2099-01-01"),
        "{later}"
    );
    for (rest, why) in [
        (&["tts", "much", "--yes"][..], "is not JSON"),
        (&["tts", "0.0000000001", "--yes"], "tts"),
        (
            &["rules.providers", r#"{"a": ""}"#, "--yes"],
            "rules.providers.a",
        ),
        (&["no.such.key", "1", "--yes"], "no.such.key: is not known"),
    ] {
        let said = set(rest).failed(2);
        assert!(said.contains(why), "{why}: {said}");
    }
}

#[test]
fn prices_of_models_come_from_a_public_list() {
    let place = Place::new();
    place.tidemark(&["init"]).ok();
    place.tidemark(&["pricing", "init", "mainnet"]).ok();
    let write = |gpt: &str| {
        let list = format!(
            r#"{{"sample_spec": {{}},
            "gpt-4o": {{"mode": "chat", "input_cost_per_token": {gpt}, "output_cost_per_token": 1e-05}},
            "ollama/llama3": {{"mode": "chat", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0}},
            "dall-e-3": {{"mode": "image_generation"}}}}"#
        );
        std::fs::write(place.path("prices.json"), list).unwrap();
    };
    write("2.5e-06");
    let import = ["pricing", "import", "prices.json", "--markup", "20"];
    let dry = place.tidemark(&[&import[..], &["--dry-run"]].concat()).ok();
    for said in [
        "input 0.003, output 0.012",
        "1 new, 0 changed",
        "1 model at no price; the first: ollama/llama3",
        "dry run: nothing was published",
    ] {
        assert!(dry.contains(said), "{said}: {dry}");
    }
    // Nobody confirms without a terminal.
    let refused = place.tidemark(&import).failed(2);
    assert!(refused.contains("there is no terminal"), "{refused}");
    let shown = || place.tidemark(&["pricing", "show", "--json"]).ok();
    assert!(!shown().contains("rules.modelPrices"));
    let published = place.tidemark(&[&import[..], &["--yes"]].concat()).ok();
    assert!(published.contains("1 model with prices"), "{published}");
    let shown = shown();
    assert!(shown.contains("\"input\": \"0.003\""), "{shown}");
    assert!(shown.contains("prices.json, markup 20 %"), "{shown}");
    let again = place.tidemark(&[&import[..], &["--yes"]].concat()).ok();
    assert!(again.contains("nothing was published"), "{again}");
    write("5e-06");
    let changed = place.tidemark(&[&import[..], &["--dry-run"]].concat()).ok();
    assert!(changed.contains("0 new, 1 changed"), "{changed}");
    write("\"free\"");
    let spoilt = place.tidemark(&import).failed(2);
    assert!(spoilt.contains("no price of a model"), "{spoilt}");
    let markup = place.tidemark(&["pricing", "import", "x", "--markup", "1.234"]);
    assert!(markup.err.contains("is not a percentage"), "{}", markup.err);
}

fn litellm(command: &str) -> std::process::Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/litellm");
    let run = std::process::Command::new(script).arg(command).output();
    run.expect("the script runs")
}

/// Fails the test if LiteLLM is missing.
fn needs_litellm() {
    if !litellm("ready").status.success() {
        crate::needs::missing("LiteLLM", "tests/servers/litellm fetch");
    }
}

/// Dollars per 1,000 of what costs so much by the one, from its digits: `2.5e-06` is `0.0025`.
fn per_thousand(digits: &str) -> String {
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let exponent: i32 = exponent.parse().expect("an exponent");
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let zeros = "0".repeat(40);
    let all = format!("{zeros}{whole}{fraction}{zeros}");
    let point = i32::try_from(40 + whole.len()).expect("a few digits") + exponent + 3;
    let (whole, fraction) = all.split_at(usize::try_from(point).expect("not that small"));
    let (whole, fraction) = (
        whole.trim_start_matches('0'),
        fraction.trim_end_matches('0'),
    );
    let whole = if whole.is_empty() { "0" } else { whole };
    match fraction {
        "" => whole.to_owned(),
        _ => format!("{whole}.{fraction}"),
    }
}

/// The price of a model, wherever it is.
fn price_of<'v>(value: &'v Value, model: &str) -> Option<&'v Value> {
    if value["match"] == model {
        return Some(value);
    }
    match value {
        Value::Array(all) => all.iter().find_map(|value| price_of(value, model)),
        Value::Object(all) => all.values().find_map(|value| price_of(value, model)),
        _ => None,
    }
}

#[test]
#[ignore = "needs LiteLLM: .ci/run tools"]
fn litellms_whole_price_list_is_imported_with_the_digits_that_it_has() {
    needs_litellm();
    let path = String::from_utf8(litellm("prices").stdout).expect("a path");
    let list = std::fs::read_to_string(path.trim()).expect("the list");
    let place = Place::new();
    place.write("prices.json", &list);
    place.tidemark(&["init"]).ok();
    place.tidemark(&["pricing", "init", "mainnet"]).ok();
    let import = ["pricing", "import", "prices.json"];
    let dry = place.tidemark(&[&import[..], &["--dry-run"]].concat()).ok();
    // What LiteLLM 1.106.2 comes with, counted by another program.
    for said in [
        "1739 new, 0 changed, 0 unchanged",
        "left out: 948 prices of other sellers that differ",
        "left out: 102 models at no price",
        "left out: 1029 models not paid by the token, or without a price",
        "dry run: nothing was published",
    ] {
        assert!(dry.contains(said), "{said}: {dry}");
    }
    assert!(!dry.contains("cannot be read"), "{dry}");
    let published = place.tidemark(&[&import[..], &["--yes"]].concat()).ok();
    assert!(published.contains("1739 models with prices"), "{published}");
    let shown = place.tidemark(&["pricing", "show", "--json"]).json();
    let entries: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
        serde_json::from_str(&list).expect("an object");
    for model in [
        "gpt-4o",
        "gpt-5",
        "o4-mini",
        "claude-sonnet-4-5",
        "text-embedding-3-small",
        "azure_ai/deepseek-v3.2",
    ] {
        let entry: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
            serde_json::from_str(entries[model].get()).expect("an entry");
        let name = model.rsplit('/').next().unwrap_or(model);
        let price = price_of(&shown, name).unwrap_or_else(|| panic!("no price of {name}"));
        for (field, ours) in [
            ("input_cost_per_token", "input"),
            ("output_cost_per_token", "output"),
            ("cache_read_input_token_cost", "cachedInput"),
            ("cache_creation_input_token_cost", "cacheWrite"),
            ("output_cost_per_reasoning_token", "reasoning"),
        ] {
            let expected = entry
                .get(field)
                .map(|digits| json!(per_thousand(digits.get())));
            assert_eq!(price.get(ours), expected.as_ref(), "{model} {field}");
        }
    }
    let again = place.tidemark(&[&import[..], &["--yes"]].concat()).ok();
    assert!(again.contains("nothing was published"), "{again}");
    let marked_up = [&import[..], &["--markup", "20", "--dry-run"]].concat();
    let marked_up = place.tidemark(&marked_up).ok();
    assert!(marked_up.contains("\n0 new, "), "{marked_up}");
}
