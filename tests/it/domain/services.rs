//! Services as data: the built-in ones are what they were, and others are rated by their own terms.

use std::borrow::Cow;
use std::sync::Arc;

use proptest::prelude::*;
use tidemark::domain::amount::{Money, Points};
use tidemark::domain::event::UsageEvent;
use tidemark::domain::ledger::{ByService, ServiceStats};
use tidemark::domain::position::Control;
use tidemark::domain::rating::{Amounts, rate, service_of};
use tidemark::domain::rules::{
    Network, RateClass, RuleBook, RuleChange, Rules, RulesDocument, check_value,
};
use tidemark::domain::service::{Service, Services};
use tidemark::domain::tier::{Detection, Tier};
use tidemark::domain::time::Millis;

use super::helpers::{book, edited, rules, shipped};

const ADDED: &str = r#"[
    {"number":4,"name":"images","endpoints":["/images/generations"],"counts":"requests","price":"0.02","points":"3","targetMs":9000},
    {"number":5,"name":"transcription","endpoints":["/audio/transcriptions"],"counts":"audio_minutes","price":"0.006","points":"2","demand":12500,"targetMs":4000},
    {"number":6,"name":"edits","endpoints":["/images/edits"],"counts":"images","price":"0.04","points":"1","targetMs":9000},
    {"number":63,"name":"rerank","endpoints":["/rerank","/multi/embeddings"],"counts":"tokens","inputPrice":"0.001","outputPrice":"0.002","points":"tier"}
]"#;

fn numbered(number: u8) -> Service {
    Service::numbered(number).expect("a number")
}

fn change(value: &str, from: Option<i64>) -> Vec<RuleChange> {
    vec![RuleChange {
        key: "rules.services".to_owned(),
        value: value.to_owned(),
        effective_from: from.map(Millis),
    }]
}

fn book_with(network: Network, value: &str, from: i64) -> RuleBook {
    let mut book = book(&shipped(network));
    book.apply(Control(7), &change(value, Some(from)))
        .expect("taken");
    book
}

fn rules_at(book: &mut RuleBook, control: u64, time: i64) -> Arc<Rules> {
    let timeline = book.as_of(Control(control)).expect("complete rules");
    Arc::clone(timeline.at(Millis(time)))
}

fn event(counts: [Option<u64>; 4]) -> UsageEvent<'static> {
    let [input_tokens, output_tokens, audio_millis, image_count] = counts;
    UsageEvent {
        source: Cow::Borrowed("s"),
        id: Cow::Borrowed("i"),
        time: Millis(0),
        user: Cow::Borrowed("u"),
        provider: None,
        endpoint: Cow::Borrowed("/"),
        model: None,
        status: 200,
        latency_ms: None,
        input_tokens,
        output_tokens,
        cached_input_tokens: None,
        cache_write_tokens: None,
        reasoning_tokens: None,
        audio_millis,
        image_count,
        request_bytes: None,
        response_bytes: None,
        error_message: None,
        stream: false,
    }
}

fn worth(amounts: Amounts) -> (Points, Points, Money, u64) {
    (
        amounts.provider,
        amounts.user,
        amounts.charge.cost,
        amounts.target_ms,
    )
}

/// What the enumeration of services said before they were data: number, name, endings.
const GOLDEN: [(u8, &str, &[&str]); 4] = [
    (
        0,
        "chat_completions",
        &[
            "/chat/completions",
            "/completions",
            "/responses",
            "/messages",
        ],
    ),
    (1, "embeddings", &["/embeddings"]),
    (2, "tts", &["/audio/speech", "/tts"]),
    (3, "scrape", &["/scrape"]),
];

#[test]
fn the_built_in_services_are_what_they_were() {
    let services = Services::default();
    for (number, name, endings) in GOLDEN {
        let service = numbered(number);
        assert_eq!(Service::DEFAULTS[usize::from(number)], service);
        assert_eq!(
            (service.plain_name(), services.name(service)),
            (name.into(), name.into())
        );
        assert_eq!(services.named(name), Some(service));
        assert_eq!(serde_json::to_value(service).unwrap(), name);
        for ending in endings {
            assert_eq!(services.of_endpoint(ending), Some(service), "{ending}");
        }
    }
    let entries = services.entries().iter();
    let endings = entries.map(|entry| entry.endpoints.len()).sum::<usize>();
    assert_eq!((services.entries().len(), endings), (4, 8));
}

proptest! {
    /// Of an endpoint the first of eight endings decided, in this order.
    #[test]
    fn endpoints_belong_to_the_service_that_they_belonged_to(
        before in "(https://h)?(/v1|/openai|/tts|/embeddings|x)?",
        ending in prop::sample::select(vec![
            "/chat/completions", "/completions", "/responses", "/messages", "/embeddings",
            "/audio/speech", "/tts", "/scrape", "/rerank", "", "completions",
        ]),
        after in "(/|//)?([?#][a-z/]{0,8})?",
    ) {
        let endpoint = format!("{before}{ending}{after}");
        let path = endpoint.split(['?', '#']).next().unwrap_or("").trim_end_matches('/');
        let expected = GOLDEN
            .iter()
            .find(|(_, _, endings)| endings.iter().any(|ending| path.ends_with(ending)))
            .map(|(number, ..)| numbered(*number));
        prop_assert_eq!(service_of(&endpoint), expected);
    }

    /// Adding services changes nothing for the built-in ones.
    #[test]
    fn built_in_services_earn_and_cost_the_same_beside_others(
        number in 0..4u8,
        tier in prop::sample::select(Tier::ALL.to_vec()),
        counts in prop::array::uniform4(prop::option::of(0..1_000_000u64)),
        mainnet: bool,
        time in -10..10i64,
    ) {
        let network = if mainnet { Network::Mainnet } else { Network::Testnet };
        let mut book = book_with(network, ADDED, 0);
        let (service, model) = (numbered(number), Detection::of_tier(tier));
        let class = RateClass::of(service, tier).expect("a class");
        let without = rate(&event(counts), service, &model, &rules(network));
        let with = rate(&event(counts), service, &model, &rules_at(&mut book, 7, time));
        prop_assert_eq!(with, without);
        prop_assert_eq!(without.provider, rules(network).provider_earns(class));
        prop_assert_eq!(without.user, rules(network).user_earns(class));
    }

    #[test]
    fn statistics_by_service_are_those_that_were_put_there(
        draws in prop::collection::vec((0..64u8, 1..9u64), 0..20),
    ) {
        let (mut stats, mut naive) = (ByService::default(), [0u64; 64]);
        for (number, requests) in draws {
            stats[numbered(number)].requests += requests;
            naive[usize::from(number)] += requests;
        }
        for (number, requests) in (0..).zip(naive) {
            prop_assert_eq!(stats[numbered(number)].requests, requests);
        }
        let numbers: Vec<Service> = stats.iter().map(|(service, _)| service).collect();
        prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
        let again = ByService::new(*stats.defaults(), stats.added().to_vec());
        prop_assert_eq!(again, Some(stats));
    }
}

#[test]
fn statistics_out_of_order_are_refused() {
    let of = |numbers: &[u8]| {
        let stats = |number: &u8| (numbered(*number), ServiceStats::default());
        ByService::new(Default::default(), numbers.iter().map(stats).collect())
    };
    assert!(of(&[4, 63]).is_some());
    for wrong in [&[5, 4][..], &[4, 4], &[3]] {
        assert_eq!(of(wrong), None, "{wrong:?}");
    }
}

#[test]
fn added_services_earn_and_cost_by_their_own_terms() {
    let mut book = book_with(Network::Mainnet, ADDED, 0);
    let rules = rules_at(&mut book, 7, 0);
    let services = rules.services();
    let points = |text: &str| text.parse::<Points>().expect("points");
    let dollars = |text: &str| text.parse::<Money>().expect("dollars");
    let rows = [
        (
            "/v1/images/generations",
            Tier::MarianaDepth,
            [Some(7), None, None, Some(3)],
            "images",
            "3",
            "0.3",
            "0.02",
            9_000,
        ),
        (
            "/v1/audio/transcriptions",
            Tier::TidePool,
            [None, None, Some(90_001), None],
            "transcription",
            "2.5",
            "0.25",
            "0.0090001",
            4_000,
        ),
        (
            "/v1/rerank",
            Tier::OpenOcean,
            [Some(1_500), Some(10), None, None],
            "rerank",
            "7",
            "0.7",
            "0.00152",
            4_000,
        ),
        (
            "/v1/images/edits",
            Tier::TidePool,
            [None, None, None, Some(3)],
            "edits",
            "1",
            "0.1",
            "0.12",
            9_000,
        ),
        // The longest ending decides, whatever service it is of.
        (
            "/v1/multi/embeddings",
            Tier::BlueSurge,
            [Some(1), None, None, None],
            "rerank",
            "3",
            "0.3",
            "0.000001",
            2_000,
        ),
    ];
    for (endpoint, tier, counts, name, provider, user, cost, target) in rows {
        let service = services.of_endpoint(endpoint).expect(endpoint);
        assert_eq!(services.name(service), name);
        let amounts = rate(&event(counts), service, &Detection::of_tier(tier), &rules);
        let expected = (points(provider), points(user), dollars(cost), target);
        assert_eq!(worth(amounts), expected, "{endpoint}");
    }
    let failed = UsageEvent {
        status: 503,
        ..event([None; 4])
    };
    let amounts = rate(
        &failed,
        numbered(4),
        &Detection::of_tier(Tier::TidePool),
        &rules,
    );
    assert_eq!(amounts, Amounts::default());
    // Rating is total: a service that these rules do not know is worth nothing.
    let amounts = rate(
        &event([None; 4]),
        numbered(40),
        &Detection::of_tier(Tier::TidePool),
        &rules,
    );
    assert_eq!(amounts, Amounts::default());
}

#[test]
fn which_services_there_are_depends_on_the_control_position_and_what_they_cost_on_the_time() {
    let mut book = book_with(Network::Mainnet, ADDED, 1_000);
    let dearer = ADDED.replace("\"0.02\"", "\"0.05\"");
    book.apply(Control(9), &change(&dearer, Some(2_000)))
        .expect("taken");
    let images = |book: &RuleBook, control| {
        book.services(Control(control))
            .of_endpoint("/images/generations")
    };
    assert_eq!(
        (images(&book, 6), images(&book, 7)),
        (None, Some(numbered(4)))
    );
    let versions = [6, 7, 8, 9].map(|control| book.services_version(Control(control)));
    assert_eq!(
        versions,
        [None, Some(Control(7)), Some(Control(7)), Some(Control(9))]
    );
    let mut cost = |control, time| {
        let rules = rules_at(&mut book, control, time);
        let model = Detection::of_tier(Tier::TidePool);
        rate(&event([None; 4]), numbered(4), &model, &rules)
            .charge
            .cost
            .to_string()
    };
    // An event from before the service has its first terms.
    assert_eq!(
        (cost(7, 0), cost(9, 0)),
        ("0.02".to_owned(), "0.02".to_owned())
    );
    assert_eq!(
        (cost(9, 1_999), cost(9, 2_000)),
        ("0.02".to_owned(), "0.05".to_owned())
    );
    // A chunk that was cut before the change is rated as it was.
    assert_eq!(cost(8, 2_000), "0.02");
}

#[test]
fn a_number_never_changes_its_meaning() {
    let mut book = book_with(Network::Testnet, ADDED, 0);
    let mut refused = |value: &str| {
        let faults = book
            .apply(Control(9), &change(value, Some(0)))
            .expect_err("a fault");
        faults[0].to_string()
    };
    let renamed = refused(&ADDED.replace("\"rerank\"", "\"reranking\""));
    assert!(
        renamed.contains("gives number 63 the name \"reranking\""),
        "{renamed}"
    );
    let removed = refused("[]");
    assert!(removed.contains("lacks number 4 (images)"), "{removed}");
    assert!(removed.contains("retired = true"), "{removed}");
    let swapped = refused(&ADDED.replace("\"number\":4", "\"number\":7"));
    assert!(swapped.contains("lacks number 4 (images)"), "{swapped}");
    // Retired and back again.
    let retired = ADDED.replace("\"targetMs\":9000", "\"targetMs\":9000,\"retired\":true");
    book.apply(Control(9), &change(&retired, Some(0)))
        .expect("taken");
    assert_eq!(
        book.services(Control(9)).of_endpoint("/images/generations"),
        None
    );
    assert_eq!(book.services(Control(9)).name(numbered(4)), "images");
    book.apply(Control(10), &change(ADDED, Some(0)))
        .expect("taken");
    assert!(
        book.services(Control(10))
            .of_endpoint("/images/generations")
            .is_some()
    );
}

#[test]
fn the_number_of_versions_has_a_limit() {
    let mut book = book(&shipped(Network::Testnet));
    for control in 2..1_002 {
        book.apply(Control(control), &change("[]", Some(0)))
            .expect("taken");
    }
    let faults = book.check(&change("[]", Some(0))).expect_err("a fault");
    assert!(
        faults[0].to_string().contains("has 1000 versions"),
        "{faults:?}"
    );
}

#[test]
fn built_in_services_can_have_other_endpoints_and_nothing_else() {
    let value =
        r#"[{"number":0,"name":"chat_completions","endpoints":["/chat/completions","/generate"]}]"#;
    let mut book = book_with(Network::Testnet, value, 0);
    let rules = rules_at(&mut book, 7, 0);
    let of = |endpoint| rules.services().of_endpoint(endpoint);
    assert_eq!(of("/v1/generate"), Some(Service::CHAT_COMPLETIONS));
    assert_eq!((of("/v1/messages"), of("/tts")), (None, Some(Service::TTS)));
    assert!(rules.services().is_tiered(Service::CHAT_COMPLETIONS));
}

#[test]
fn values_are_written_in_one_canonical_form() {
    let canonical = check_value("rules.services", ADDED).expect("no fault");
    assert_eq!(
        check_value("rules.services", &canonical),
        Ok(canonical.clone())
    );
    let reordered = {
        let mut list: Vec<serde_json::Value> = serde_json::from_str(ADDED).expect("JSON");
        list.reverse();
        serde_json::to_string(&list).expect("JSON")
    };
    assert_eq!(
        check_value("rules.services", &reordered),
        Ok(canonical.clone())
    );
    let plain = canonical.replace("\"demand\":12500,", "\"demand\":10000,");
    assert!(
        !check_value("rules.services", &plain)
            .expect("no fault")
            .contains("demand")
    );
}

#[test]
fn faults_say_where_they_are_and_what_is_allowed() {
    let images = r#"{"number":4,"name":"images","endpoints":["/images"],"counts":"requests","price":"1","points":"1","targetMs":1}"#;
    let with = |from: &str, to: &str| format!("[{}]", images.replace(from, to));
    let rows = [
        ("{}".to_owned(), "rules.services: is not a list"),
        (
            with("\"number\":4", "\"number\":64"),
            "rules.services[0].number: is 64; allowed: a whole number from 0 to 63",
        ),
        (
            with("\"number\":4", "\"number\":0"),
            "rules.services[0].name: is \"images\"; allowed: \"chat_completions\" for number 0",
        ),
        (
            with("\"images\"", "\"Images\""),
            "rules.services[0].name: is \"Images\"; allowed: lower-case",
        ),
        (with("\"images\"", "\"tts\""), "no built-in service's name"),
        (with("\"images\"", "\"service_4\""), "not service_"),
        (
            with("[\"/images\"]", "[]"),
            "rules.services[0].endpoints: is empty",
        ),
        (
            with("\"/images\"", "\"images\""),
            "rules.services[0].endpoints[0]: is \"images\"; allowed: the end of a path",
        ),
        (
            with("\"/images\"", "\"/a?b\""),
            "rules.services[0].endpoints[0]: ",
        ),
        (
            with("\"/images\"", "\"/tts\""),
            "\"/tts\" is an endpoint of tts and of images",
        ),
        (
            with("\"requests\"", "\"pages\""),
            "\"tokens\", \"requests\", \"audio_minutes\", \"images\"",
        ),
        (
            with("\"requests\"", "\"tokens\""),
            "rules.services[0].price: does not go with what the price counts",
        ),
        (
            with("\"requests\"", "\"tokens\""),
            "rules.services[0].inputPrice: is missing",
        ),
        (
            with("\"price\":\"1\",", ""),
            "rules.services[0].price: is missing",
        ),
        (
            with(
                "\"requests\",\"price\":\"1\"",
                "\"images\",\"price\":\"1001\"",
            ),
            "from \"0\" to \"1000\"",
        ),
        (
            with("\"points\":\"1\",", ""),
            "rules.services[0].points: is missing",
        ),
        (
            with(",\"targetMs\":1", ""),
            "rules.services[0].targetMs: is missing",
        ),
        (
            with("\"points\":\"1\"", "\"points\":1"),
            "rules.services[0].points: is 1",
        ),
        (
            with("\"points\":\"1\"", "\"points\":\"1001\""),
            "from \"0\" to \"1000\"",
        ),
        (
            with("\"targetMs\":1", "\"targetMs\":1,\"demand\":1"),
            "rules.services[0].demand: is 1",
        ),
        (
            with("\"targetMs\":1", "\"targetMs\":1,\"unit\":1"),
            "rules.services[0].unit: is not known",
        ),
        (
            format!("[{images},{images}]"),
            "number 4 is listed more than once",
        ),
        (
            format!(
                "[{images},{}]",
                images
                    .replace("\"number\":4", "\"number\":5")
                    .replace("/images", "/b")
            ),
            "\"images\" is listed more than once",
        ),
        (
            r#"[{"number":1,"name":"embeddings","endpoints":["/embeddings"],"points":"1"}]"#
                .to_owned(),
            "rules.services[0].points: is given for embeddings, which is built in",
        ),
    ];
    for (value, expected) in rows {
        let faults = check_value("rules.services", &value).expect_err(&value);
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert!(
            told.iter().any(|fault| fault.contains(expected)),
            "{value}: {told:#?}"
        );
    }
}

#[test]
fn a_document_may_have_services() {
    let section = "\n[[rules.services]]\nnumber = 4\nname = \"moderation\"\nendpoints = [\"/moderations\"]\n\
        counts = \"requests\"\nprice = \"0\"\npoints = \"0.1\"\ntargetMs = 500\n\n[rules.shares]";
    let text = edited(&[("\n[rules.shares]", section)]);
    let document = RulesDocument::parse_toml("edited.toml", &text).expect("no fault");
    let mut book = book(&document);
    let rules = rules_at(&mut book, 1, 0);
    assert_eq!(
        rules.services().of_endpoint("/v1/moderations"),
        Some(numbered(4))
    );
    // The shipped documents have none, so that what they publish is what they published.
    let keys: Vec<String> = shipped(Network::Testnet)
        .changes()
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert!(!keys.contains(&"rules.services".to_owned()));
}
