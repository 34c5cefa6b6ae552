//! Services as data: those beside the four that are built in, and other endpoints for these four.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::decimal::{BASE_POINTS, DEMAND_BP, Decimal, PRICE, TARGET_MS};
use super::fault::{Faults, Member, RuleFault};
use crate::domain::amount::{Bp, Money, Points};
use crate::domain::service::{
    PLAIN_PREFIX, PriceUnit, Service, ServiceEntry, Services, default_entries,
};
use crate::domain::token_prices::{TOKENS_PER_UNIT, TokenCounts, per_unit};

/// Endings of one service.
const ENDINGS_MAX: usize = 16;
const ENDING_CHARS_MAX: usize = 128;
const NAME_CHARS_MAX: usize = 32;
/// A price of an image: a request may name 2^40 of them, and must cost no more than as many tokens
/// can.
const IMAGE_PRICE: RangeInclusive<Money> = Money::ZERO..=Money(1_000_000_000_000);
/// How requests earn that earn by the tier of their model.
const BY_TIER: &str = "tier";
/// Milliseconds that a price per minute is for.
pub(in crate::domain) const MILLIS_PER_MINUTE: u64 = 60_000;

const NEEDED: [&str; 3] = ["number", "name", "endpoints"];
/// Fields of services that are not built in, and the last one.
const OPTIONAL: [&str; 8] = [
    "counts",
    "price",
    "inputPrice",
    "outputPrice",
    "points",
    "demand",
    "targetMs",
    "retired",
];

/// What a price is for, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServicePrice {
    /// Of 1,000 tokens, in and out.
    Tokens {
        /// In.
        input: Money,
        /// Out.
        output: Money,
    },
    /// Of a request.
    Request(Money),
    /// Of a minute of audio.
    AudioMinute(Money),
    /// Of an image.
    Image(Money),
}

impl ServicePrice {
    /// What a request costs that used so much.
    pub fn cost(self, tokens: TokenCounts, audio_millis: u64, image_count: u64) -> Money {
        match self {
            ServicePrice::Tokens { input, output } => per_unit(
                tokens.input,
                input,
                TOKENS_PER_UNIT,
            )
            .plus(per_unit(tokens.output, output, TOKENS_PER_UNIT)),
            ServicePrice::Request(price) => price,
            ServicePrice::AudioMinute(price) => per_unit(audio_millis, price, MILLIS_PER_MINUTE),
            ServicePrice::Image(price) => per_unit(image_count, price, 1),
        }
    }

    const fn counted(self) -> PriceUnit {
        match self {
            ServicePrice::Tokens { .. } => PriceUnit::Tokens,
            ServicePrice::Request(_) => PriceUnit::Requests,
            ServicePrice::AudioMinute(_) => PriceUnit::AudioMinutes,
            ServicePrice::Image(_) => PriceUnit::Images,
        }
    }
}

/// What requests of a service earn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BasePoints {
    Flat(Points),
    ByTier,
}

/// What requests of a service earn and cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub price: ServicePrice,
    pub points: BasePoints,
    pub demand: Bp,
    /// `None`: the target of the model's tier.
    pub target_ms: Option<u32>,
}

/// One service of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ServiceRule {
    service: Service,
    name: String,
    endpoints: Vec<String>,
    /// `None`: it is built in, and other keys have them.
    terms: Option<Terms>,
    retired: bool,
}

/// A value of `rules.services`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceRules {
    /// By number, ascending.
    rules: Vec<ServiceRule>,
}

impl Serialize for ServiceRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("number", &self.service.number())?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("endpoints", &self.endpoints)?;
        if let Some(terms) = &self.terms {
            map.serialize_entry("counts", &terms.price.counted())?;
            match terms.price {
                ServicePrice::Tokens { input, output } => {
                    map.serialize_entry("inputPrice", &Decimal(input))?;
                    map.serialize_entry("outputPrice", &Decimal(output))?;
                }
                ServicePrice::Request(price)
                | ServicePrice::AudioMinute(price)
                | ServicePrice::Image(price) => {
                    map.serialize_entry("price", &Decimal(price))?;
                }
            }
            match terms.points {
                BasePoints::Flat(points) => map.serialize_entry("points", &Decimal(points))?,
                BasePoints::ByTier => map.serialize_entry("points", BY_TIER)?,
            }
            if terms.demand != Bp::ONE {
                map.serialize_entry("demand", &terms.demand)?;
            }
            if let Some(target) = terms.target_ms {
                map.serialize_entry("targetMs", &target)?;
            }
        }
        if self.retired {
            map.serialize_entry("retired", &true)?;
        }
        map.end()
    }
}

impl Serialize for ServiceRules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rules.serialize(serializer)
    }
}

impl ServiceRules {
    pub fn read(list: &Member<'_>, faults: &mut Faults) -> Option<ServiceRules> {
        let members = faults.list(list, Service::COUNT_MAX)?;
        let rules: Vec<Option<ServiceRule>> = members
            .iter()
            .map(|member| read_rule(member, faults))
            .collect();
        let mut rules: Vec<ServiceRule> = rules.into_iter().collect::<Option<_>>()?;
        rules.sort_by_key(|rule| rule.service);
        let rules = ServiceRules { rules };
        rules.check_once(&list.key, faults);
        Some(rules)
    }

    /// Each number, name and ending once.
    fn check_once(&self, key: &str, faults: &mut Faults) {
        let (mut numbers, mut names) = (BTreeSet::new(), BTreeSet::new());
        for rule in &self.rules {
            if !numbers.insert(rule.service) {
                let problem = format!("number {} is listed more than once", rule.service.number());
                faults.add(key, problem, "each number once");
            }
            if !names.insert(&rule.name) {
                let problem = format!("\"{}\" is listed more than once", rule.name);
                faults.add(key, problem, "each name once");
            }
        }
        let mut owners = BTreeMap::new();
        for entry in self.entries().iter().filter(|entry| !entry.retired) {
            for ending in &entry.endpoints {
                if let Some(owner) = owners.insert(ending.clone(), entry.name.clone()) {
                    let problem = format!(
                        "\"{ending}\" is an endpoint of {owner} and of {}",
                        entry.name
                    );
                    faults.add(
                        key,
                        problem,
                        "each ending once, those of built-in services included",
                    );
                }
            }
        }
    }

    /// Every service: the built-in ones, as far as nothing else is said of them, and the listed
    /// ones.
    fn entries(&self) -> Vec<ServiceEntry> {
        let mut entries = default_entries();
        for rule in &self.rules {
            let Some(terms) = &rule.terms else {
                if let Some(entry) = entries.get_mut(rule.service.index()) {
                    entry.endpoints.clone_from(&rule.endpoints);
                    entry.retired = rule.retired;
                }
                continue;
            };
            entries.push(ServiceEntry {
                service: rule.service,
                name: rule.name.clone(),
                endpoints: rule.endpoints.clone(),
                counted: terms.price.counted(),
                is_tiered: terms.points == BasePoints::ByTier,
                retired: rule.retired,
            });
        }
        entries
    }

    /// The table of services that this value makes.
    pub fn table(&self) -> Services {
        Services::new(self.entries())
    }

    /// What the services earn and cost that are not built in.
    pub fn terms(&self) -> impl Iterator<Item = (Service, &Terms)> {
        self.rules
            .iter()
            .filter_map(|rule| Some((rule.service, rule.terms.as_ref()?)))
    }

    /// Whether this may follow another value: a number is stored with what was used, so it keeps
    /// its name, and no other service may have it.
    pub fn check_follows(&self, before: &ServiceRules, key: &str) -> Result<(), RuleFault> {
        let added = |rule: &&ServiceRule| !rule.service.is_default();
        for old in before.rules.iter().filter(added) {
            let number = old.service.number();
            let new = self.rules.iter().find(|rule| rule.service == old.service);
            match new {
                None => {
                    return Err(RuleFault::new(
                        key,
                        format!("lacks number {number} ({})", old.name),
                        "every service that there ever was; one that is not offered any more has retired = true",
                    ));
                }
                Some(new) if new.name != old.name => {
                    return Err(RuleFault::new(
                        key,
                        format!("gives number {number} the name \"{}\"", new.name),
                        format!(
                            "\"{}\": a number never changes its meaning; give a new service the next free number",
                            old.name
                        ),
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

fn read_rule(member: &Member<'_>, faults: &mut Faults) -> Option<ServiceRule> {
    let ([number, name, endpoints], optional) = faults.members_and(member, NEEDED, OPTIONAL);
    let [terms @ .., retired] = optional;
    let service = faults
        .integer(&number, 0..=Service::COUNT_MAX as u32 - 1)
        .and_then(|number| Service::numbered(number as u8));
    let retired = match &retired {
        Some(retired) => faults.switch(retired),
        None => Some(false),
    };
    let name = read_name(&name, service, faults);
    let endpoints = read_endpoints(&endpoints, retired == Some(true), faults);
    let service = service?;
    let terms = match service.is_default() {
        true => {
            refuse_terms(service, &terms, faults);
            None
        }
        false => Some(read_terms(member, terms, faults)?),
    };
    Some(ServiceRule {
        service,
        name: name?,
        endpoints: endpoints?,
        terms,
        retired: retired?,
    })
}

fn read_name(name: &Member<'_>, service: Option<Service>, faults: &mut Faults) -> Option<String> {
    let text = faults.text(name, NAME_CHARS_MAX)?;
    let service = service?;
    let expected = service.default_name();
    let is_word = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let is_taken = Service::default_named(text).is_some() || text.starts_with(PLAIN_PREFIX);
    let allowed = match expected {
        Some(expected) if text == expected => return Some(text.to_owned()),
        Some(expected) => format!("\"{expected}\" for number {}", service.number()),
        None if is_word && !is_taken => return Some(text.to_owned()),
        None => format!(
            "lower-case letters, digits and '_', a letter first, no built-in service's name, and not {PLAIN_PREFIX}…"
        ),
    };
    faults.add(&name.key, format!("is \"{text}\""), allowed);
    None
}

fn read_endpoints(list: &Member<'_>, retired: bool, faults: &mut Faults) -> Option<Vec<String>> {
    let members = faults.list(list, ENDINGS_MAX)?;
    if members.is_empty() && !retired {
        faults.add(
            &list.key,
            "is empty",
            "what paths of its endpoints end with, such as \"/rerank\"",
        );
    }
    let read: Vec<Option<String>> = members
        .iter()
        .map(|member| {
            let text = faults.text(member, ENDING_CHARS_MAX)?;
            let is_path = text.len() > 1
                && text.starts_with('/')
                && !text.ends_with('/')
                && !text.contains(|c: char| c.is_whitespace() || c == '?' || c == '#');
            if !is_path {
                let allowed = "the end of a path: '/' first, no '/' last, no '?', '#' or space";
                faults.add(&member.key, format!("is \"{text}\""), allowed);
            }
            is_path.then(|| text.to_owned())
        })
        .collect();
    read.into_iter().collect()
}

/// The keys that have the terms of a built-in service.
fn refuse_terms(service: Service, terms: &[Option<Member<'_>>], faults: &mut Faults) {
    for member in terms.iter().flatten() {
        let name = service.plain_name();
        let allowed = "nothing; rules.points, rules.demand, rules.quality and the prices have it";
        faults.add(
            &member.key,
            format!("is given for {name}, which is built in"),
            allowed,
        );
    }
}

fn read_terms(
    rule: &Member<'_>,
    [counts, price, input, output, points, demand, target]: [Option<Member<'_>>; 7],
    faults: &mut Faults,
) -> Option<Terms> {
    let price = read_price(rule, counts, [price, input, output], faults);
    let points = match needed(rule, "points", points, faults) {
        Some(points) if points.value.and_then(|value| value.as_str()) == Some(BY_TIER) => {
            Some(BasePoints::ByTier)
        }
        Some(points) => faults.amount(&points, BASE_POINTS).map(BasePoints::Flat),
        None => None,
    };
    let demand = match &demand {
        Some(demand) => faults.integer(demand, DEMAND_BP).map(Bp),
        None => Some(Bp::ONE),
    };
    let target = match target {
        Some(target) => Some(faults.integer(&target, TARGET_MS)?),
        None if matches!(points, Some(BasePoints::Flat(_))) => {
            needed(rule, "targetMs", None, faults);
            None
        }
        None => None,
    };
    Some(Terms {
        price: price?,
        points: points?,
        demand: demand?,
        target_ms: target,
    })
}

fn read_price(
    rule: &Member<'_>,
    counts: Option<Member<'_>>,
    [price, input, output]: [Option<Member<'_>>; 3],
    faults: &mut Faults,
) -> Option<ServicePrice> {
    const WORDS: [(&str, PriceUnit); 4] = [
        ("tokens", PriceUnit::Tokens),
        ("requests", PriceUnit::Requests),
        ("audio_minutes", PriceUnit::AudioMinutes),
        ("images", PriceUnit::Images),
    ];
    let counts = needed(rule, "counts", counts, faults)?;
    let counted = faults.choice(&counts, &WORDS)?;
    let surplus = match counted {
        PriceUnit::Tokens => vec![price.clone()],
        PriceUnit::Requests | PriceUnit::AudioMinutes | PriceUnit::Images => {
            vec![input.clone(), output.clone()]
        }
    };
    for member in surplus.into_iter().flatten() {
        let allowed = "price; or inputPrice and outputPrice where counts is \"tokens\"";
        faults.add(
            &member.key,
            "does not go with what the price counts",
            allowed,
        );
    }
    let range = match counted {
        PriceUnit::Images => IMAGE_PRICE,
        _ => PRICE,
    };
    let mut amount = |name: &str, member: Option<Member<'_>>| {
        let member = needed(rule, name, member, faults)?;
        faults.amount(&member, range.clone())
    };
    Some(match counted {
        PriceUnit::Tokens => {
            let (input, output) = (amount("inputPrice", input), amount("outputPrice", output));
            ServicePrice::Tokens {
                input: input?,
                output: output?,
            }
        }
        PriceUnit::Requests => ServicePrice::Request(amount("price", price)?),
        PriceUnit::AudioMinutes => ServicePrice::AudioMinute(amount("price", price)?),
        PriceUnit::Images => ServicePrice::Image(amount("price", price)?),
    })
}

fn needed<'v>(
    rule: &Member<'_>,
    name: &str,
    member: Option<Member<'v>>,
    faults: &mut Faults,
) -> Option<Member<'v>> {
    if member.is_none() {
        faults.add(
            &format!("{}.{name}", rule.key),
            "is missing",
            "it must be given",
        );
    }
    member
}
