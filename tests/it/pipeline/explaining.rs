//! What an explanation computes is what rating posts, whatever the event and the rules.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidemark::domain::amount::Points;
use tidemark::domain::event::UsageEvent;
use tidemark::domain::explain::{Workings, workings};
use tidemark::domain::ids::{Account, AccountKind};
use tidemark::domain::position::{Control, Offset, Partition};
use tidemark::domain::posting::Cascade;
use tidemark::domain::rating::is_successful;
use tidemark::domain::rules::{Network, RateClass, RuleBook, RuleChange, RulesDocument, Timeline};
use tidemark::domain::semantics::Semantics;
use tidemark::domain::time::Millis;
use tidemark::log::Record;
use tidemark::log::usage::encode;
use tidemark::pipeline::Protections;
use tidemark::pipeline::follower::{Chain, Chains};
use tidemark::pipeline::rate::decode::{Intake, RecordRules};
use tidemark::pipeline::rate::fold::{Fold, Rated, Room};
use tidemark::pipeline::rate::tiers::Tiers;
use tidemark::pipeline::rate::window::Window;
use tidemark::store::checkpoints::{UsageRows, WindowCut};

/// 2026-11-22T12:00:00Z.
const NOON: i64 = 1_795_348_800_000;
const DAY: i64 = 86_400_000;
const CONTROL: Control = Control(9);

const ENDPOINTS: [&str; 8] = [
    "/v1/chat/completions",
    "/openai/v1/responses?x=1",
    "/v1/embeddings",
    "/v1/audio/speech",
    "/scrape/",
    "/images/generations",
    "/rerank",
    "/v1/messages",
];
const MODELS: [Option<&str>; 10] = [
    None,
    Some("llama-3-70b"),
    Some("meta-llama/Llama-3-70B-Q4"),
    Some("gpt-4o-mini-2024-07-18"),
    Some("mixtral-8x7b-instruct"),
    Some("ft:gpt-4o:acme-70b::x"),
    Some("grok-2"),
    Some("priced-model"),
    Some("priced-by-glob-7b"),
    Some("nothing-known"),
];

/// Numbers that rules can hold.
#[derive(Clone, Debug)]
struct Numbers {
    base: [u32; RateClass::COUNT],
    demand: [u32; RateClass::COUNT],
    season: Option<[u32; RateClass::COUNT]>,
    user: u32,
    cascade: [u32; 3],
    mainnet: bool,
    price: u32,
    part: Option<u32>,
}

fn numbers() -> impl Strategy<Value = Numbers> {
    let classes = |range: std::ops::RangeInclusive<u32>| prop::array::uniform7(range);
    (
        classes(0..=30_000_001),
        classes(5_000..=20_000),
        prop::option::of(classes(0..=100_000)),
        0u32..=10_000,
        prop::array::uniform3(0u32..=3_333),
        any::<bool>(),
        0u32..5_000_000,
        prop::option::of(0u32..5_000_000),
    )
        .prop_map(
            |(base, demand, season, user, cascade, mainnet, price, part)| Numbers {
                base,
                demand,
                season,
                user,
                cascade,
                mainnet,
                price,
                part,
            },
        )
}

fn by_class(of: [u32; RateClass::COUNT], value: impl Fn(u32) -> Value) -> Value {
    let values = RateClass::NAMES.iter().zip(of);
    let members = values.map(|(name, of)| ((*name).to_owned(), value(of)));
    Value::Object(members.collect())
}

fn dollars(nanos: u32) -> String {
    tidemark::domain::amount::Money(nanos.into()).to_string()
}

impl Numbers {
    fn timeline(&self) -> Arc<Timeline> {
        let network = match self.mainnet {
            true => Network::Mainnet,
            false => Network::Testnet,
        };
        let (name, text) = network.document();
        let document = RulesDocument::parse_toml(name, text).unwrap();
        let shipped = document.changes().into_iter();
        let shipped: Vec<RuleChange> = shipped
            .map(|(key, value)| RuleChange {
                key,
                value,
                effective_from: None,
            })
            .collect();
        let mut book = RuleBook::default();
        book.apply(Control(1), &shipped).unwrap();
        let price = dollars(self.price);
        let mut values = vec![
            (
                "rules.points",
                by_class(self.base, |micro| json!(Points(micro.into()).to_string())),
            ),
            ("rules.demand", by_class(self.demand, |bp| json!(bp))),
            (
                "rules.shares",
                json!({"user": self.user, "cascade": self.cascade}),
            ),
            (
                "rules.modelPrices",
                json!([
                    {"match": "priced-model", "input": price, "output": "0.002", "cachedInput": dollars(self.price / 3)},
                    {"match": "priced-by-*", "input": "0.0011", "output": price, "reasoning": dollars(self.price / 7)},
                ]),
            ),
            (
                "rules.services",
                json!([
                    {"number": 4, "name": "images", "endpoints": ["/images/generations"], "counts": "images",
                     "price": "0.02", "points": "3.000001", "demand": self.demand[0], "targetMs": 9000},
                    {"number": 5, "name": "rerank", "endpoints": ["/rerank"], "counts": "tokens", "inputPrice": "0.001",
                     "outputPrice": "0.002", "points": "tier", "demand": self.demand[1]},
                ]),
            ),
            (
                "tide_pool_input",
                json!({"pricePerUnit": price, "unit": "1000_tokens"}),
            ),
        ];
        if let Some(part) = self.part {
            let part = json!({"pricePerUnit": dollars(part), "unit": "1000_tokens"});
            values.push(("mariana_depth_cached_input", part.clone()));
            values.push(("tide_pool_reasoning", part));
        }
        if let Some(season) = self.season {
            let season = json!([{"name": "s", "from": "2026-11-20T00:00:00Z", "to": "2026-12-01T00:00:00Z",
                "multiplier": by_class(season, |bp| json!(bp)), "services": {"images": season[0]}}]);
            values.push(("rules.season", season));
        }
        let changes: Vec<RuleChange> = values
            .into_iter()
            .map(|(key, value)| RuleChange {
                key: key.to_owned(),
                value: value.to_string(),
                // In force for some of the events.
                effective_from: Some(Millis(NOON - 10 * DAY)),
            })
            .collect();
        book.apply(Control(2), &changes).unwrap();
        book.as_of(CONTROL).unwrap()
    }
}

/// What differs from event to event.
#[derive(Clone, Debug)]
struct Draw {
    endpoint: usize,
    model: usize,
    status: u16,
    days_ago: i64,
    counts: [Option<u32>; 7],
    has_provider: bool,
    latency: Option<u64>,
}

fn draw() -> impl Strategy<Value = Draw> {
    let status = prop::sample::select(vec![200u16, 200, 200, 204, 299, 404, 503]);
    (
        0..ENDPOINTS.len(),
        0..MODELS.len(),
        status,
        0..34i64,
        prop::array::uniform7(prop::option::of(0u32..3_000_000)),
        any::<bool>(),
        prop::option::of(0u64..100_000),
    )
        .prop_map(
            |(endpoint, model, status, days_ago, counts, has_provider, latency)| Draw {
                endpoint,
                model,
                status,
                days_ago,
                counts,
                has_provider,
                latency,
            },
        )
}

impl Draw {
    fn event(&self) -> UsageEvent<'static> {
        let [input, cached, written, output, reasoning, audio, images] =
            self.counts.map(|count| count.map(u64::from));
        // Parts are contained in their wholes.
        let within = |part: Option<u64>, whole: u64| part.map(|part| part.min(whole));
        let cached = within(cached, input.unwrap_or(0));
        UsageEvent {
            source: Cow::Borrowed("gw"),
            id: Cow::Borrowed("1"),
            time: Millis(NOON - self.days_ago * DAY),
            user: Cow::Borrowed("u"),
            provider: self.has_provider.then_some(Cow::Borrowed("p")),
            endpoint: Cow::Borrowed(ENDPOINTS[self.endpoint]),
            model: MODELS[self.model].map(Cow::Borrowed),
            status: self.status,
            latency_ms: self.latency,
            input_tokens: input,
            output_tokens: output,
            cached_input_tokens: cached,
            cache_write_tokens: within(written, input.unwrap_or(0) - cached.unwrap_or(0)),
            reasoning_tokens: within(reasoning, output.unwrap_or(0)),
            audio_millis: audio,
            image_count: images,
            request_bytes: None,
            response_bytes: None,
            error_message: None,
            stream: false,
        }
    }
}

fn account(kind: AccountKind, id: &str) -> Account {
    Account::new(kind, id).unwrap()
}

fn referrers(kind: AccountKind) -> Vec<Account> {
    ["a", "b", "c"].map(|id| account(kind, id)).into()
}

/// What rating makes of the event: how it was rated, and what was posted.
struct Posted {
    rated: Rated,
    /// Points of accounts' own, and what came to them as referrers, by level.
    entries: Vec<(Account, Points, Cascade)>,
}

fn rate(event: &UsageEvent<'_>, timeline: &Arc<Timeline>) -> Posted {
    let record = Record {
        offset: Offset(0),
        append_time: Millis(NOON),
        key: None,
        value: Bytes::from(encode(event)),
        headers: Vec::new(),
    };
    let records = [record];
    let rules = RecordRules {
        semantics: Semantics::NOW,
        partition: Partition(0),
        partitions: 1,
        services: timeline.services(),
        clock: None,
    };
    let window_cut = WindowCut {
        age_ms: 3_600_000,
        records_max: 2_000_000,
        usage_rows: UsageRows::Since(None),
        first: Offset(0),
        first_log_time: Millis(NOON),
        forgotten: None,
    };
    let mut intake = Intake::starting_at(Millis(NOON));
    intake.decode(&records, &rules);
    intake.dedupe(&window_cut, &mut Window::default(), Protections::default());
    assert_eq!(intake.candidates.len(), 1, "{:?}", intake.rejects);
    let mut chains = Chains::default();
    for (kind, id) in [(AccountKind::User, "u"), (AccountKind::Provider, "p")] {
        let chain = Chain {
            number: Control(3),
            accounts: referrers(kind).into(),
        };
        chains.learn(&account(kind, id), Some(chain));
    }
    let mut fold = Fold::new(Arc::clone(timeline), CONTROL, Room::default());
    let parties = fold.meet(&intake.candidates);
    fold.link(&chains);
    let rated = fold.add(&intake.candidates[0], parties[0], &mut Tiers::default());
    let postings = fold.postings(1);
    let entries = postings.entries(Partition(0)).map(|entry| {
        let own = entry.cells.iter().map(|(_, _, cell)| cell.points).sum();
        let mut cascade = Cascade::default();
        entry.referral.iter().for_each(|(_, of)| cascade.add(of));
        (entry.account.to_account(), own, cascade)
    });
    Posted {
        rated,
        entries: entries.collect(),
    }
}

/// Everybody who gets something by the workings, in the order of accounts.
fn shares(of: &Workings<'_>, has_provider: bool) -> Vec<(Account, Points, Cascade)> {
    let mut found = Vec::new();
    let parties = [
        (AccountKind::User, "u", of.amounts.user, of.user_cascade),
        (
            AccountKind::Provider,
            "p",
            of.amounts.provider,
            of.provider_cascade,
        ),
    ];
    for (kind, id, own, cascade) in parties {
        if kind == AccountKind::Provider && !has_provider {
            continue;
        }
        found.push((account(kind, id), own, Cascade::default()));
        for (level, (referrer, points)) in referrers(kind).into_iter().zip(cascade).enumerate() {
            if points != Points::ZERO {
                found.push((referrer, Points::ZERO, Cascade::at(level, points)));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_steps_come_to_what_rating_posts(numbers in numbers(), draws in prop::collection::vec(draw(), 1..12)) {
        let timeline = numbers.timeline();
        for draw in &draws {
            let event = draw.event();
            let posted = rate(&event, &timeline);
            let is = workings(&event, Millis(NOON), &timeline, Semantics::NOW).expect("a service");
            prop_assert_eq!(is.amounts, posted.rated.amounts);
            prop_assert_eq!(is.slot, posted.rated.slot);
            if let Some(tier) = &is.tier {
                prop_assert_eq!(tier.tier(), posted.rated.tier);
            }
            let mut entries = posted.entries;
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(shares(&is, draw.has_provider), entries);
            // The parts that are shown make up the amounts.
            let is_successful = is_successful(draw.status);
            prop_assert_eq!(is.bill.is_some(), is_successful);
            if let Some(bill) = &is.bill {
                let charge = is.amounts.charge;
                prop_assert_eq!(bill.total, charge.cost.plus(charge.shadow));
                for line in &bill.lines {
                    let product = line.items.iter().map(|item| i128::from(item.count) * item.price.0);
                    prop_assert_eq!(line.amount.0, product.sum::<i128>() / i128::from(line.unit));
                }
            }
            prop_assert_eq!(is.earning.is_some(), is_successful);
            if let Some(terms) = &is.earning {
                let season = terms.season.as_ref().map_or(10_000, |season| season.multiplier.0);
                let product = i128::from(terms.base.0) * i128::from(terms.demand.0) * i128::from(season) / 100_000_000;
                prop_assert_eq!(i128::from(terms.product.0), product);
                let demand = terms.service_demand.map_or(10_000, |demand| demand.0);
                prop_assert_eq!(i128::from(terms.provider.0), product * i128::from(demand) / 10_000);
                let user = i128::from(terms.provider.0) * i128::from(terms.user_share.0) / 10_000;
                prop_assert_eq!(i128::from(terms.user.0), user);
                prop_assert_eq!((terms.provider, terms.user), (is.amounts.provider, is.amounts.user));
            }
        }
    }
}
