//! The values of rules: one type per configuration key, each read with its limits, and written in
//! one canonical form.
//!
//! The limits hold every single computation within its integer type: the largest amount of one
//! event is 1,000 points × 2 (demand) × 10 (season) = 20,000 points, 2 × 10^10 of the 9.2 × 10^18
//! micropoints that an account-day can hold; the largest charge is 2 × 2^40 tokens at 1,000,000
//! dollars per 1,000, about 2.2 × 10^24 of 1.7 × 10^38 nano-dollars. Sums stay at the end of their
//! range all the same ([`crate::domain::amount`]).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::badges::BadgeRules;
use super::catalogue::Catalogue;
use super::class::{PerClass, RateClass};
use super::curve::Curve;
use super::decimal::{BASE_POINTS, DEMAND_BP, Decimal, PRICE, TARGET_MS};
use super::fault::{Faults, Member, RuleFault};
use super::key::{PriceKey, SettingKey, Unit};
use super::model_prices::ModelPrices;
use super::provider_names::ProviderNames;
use super::services::ServiceRules;
use crate::domain::amount::{BP_ONE, Bp, Money, Points};
use crate::domain::service::Service;
use crate::domain::time::Millis;

/// A value is one attribute of one item of the store, which takes 400 KB.
const VALUE_BYTES_MAX: usize = 256 * 1024;
/// A one-off award.
const AWARD_POINTS: RangeInclusive<Points> = Points::ZERO..=Points::whole(1_000_000);
const SEASON_BP: RangeInclusive<u32> = 0..=100_000;
const SHARE_BP: RangeInclusive<u32> = 0..=BP_ONE;
const STREAK_BP: RangeInclusive<u32> = BP_ONE..=100_000;
const STREAK_DAYS: RangeInclusive<u32> = 1..=36_500;
const QUALITY_BP: RangeInclusive<u32> = 0..=100_000;
const RATIO_BP: RangeInclusive<u32> = 0..=1_000_000;
const REQUESTS_MIN: RangeInclusive<u32> = 1..=1_000_000;
const STEPS_MAX: usize = 32;
const SEASONS_MAX: usize = 100;
/// What is allowed as names of seasons.
pub(super) const UNIQUE_SEASONS: &str =
    "a name of its own for each season, such as \"High tide 2026\"";
const NAME_CHARS_MAX: usize = 128;

/// The value of one configuration key.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Setting {
    Mainnet(bool),
    Price(Option<Price>),
    Points(PerClass<Decimal<Points>>),
    Multipliers(PerClass<Bp>),
    Seasons(Vec<Season>),
    Shares(Shares),
    Streak(Streak),
    Quality(Box<Quality>),
    Activity(ActivityRule),
    Awards(Awards),
    Catalogue(Arc<Catalogue>),
    ModelPrices(Arc<ModelPrices>),
    Services(Arc<ServiceRules>),
    Badges(Arc<BadgeRules>),
    Providers(Arc<ProviderNames>),
}

/// Dollars for one unit of one thing.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Price {
    pub price_per_unit: Decimal<Money>,
    pub unit: Unit,
}

/// A time in which some classes earn more, or less.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Season {
    pub name: String,
    pub from: Decimal<Millis>,
    /// The first instant after it.
    pub to: Decimal<Millis>,
    pub multiplier: PerClass<Bp>,
    /// Of services beside the built-in ones whose points are fixed, by their names. Others earn as
    /// ever; where the tier of the model decides, the multiplier of the tier counts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, Bp>,
}

/// Who gets which share of the provider's amount.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Shares {
    pub user: Bp,
    pub cascade: [Bp; 3],
}

/// From so many active days in a row on, a day's base counts so much.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct StreakStep {
    pub days: u32,
    pub multiplier: Bp,
}

/// Steps, by ascending days.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Streak {
    pub steps: Vec<StreakStep>,
}

/// How well a provider's day was served.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Quality {
    pub minimum_requests: u32,
    pub uptime: Curve,
    pub latency: Curve,
    pub targets_ms: PerClass<u32>,
}

/// When a day is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ActivityRule {
    pub provider_uptime: Bp,
}

/// One-off amounts.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Awards {
    pub trial: Decimal<Points>,
    pub signup: Decimal<Points>,
    pub milestone: Decimal<Points>,
}

impl Setting {
    /// Reads the value of a key; what is wrong with it is noted in `faults`.
    pub fn read(key: SettingKey, member: &Member<'_>, faults: &mut Faults) -> Option<Setting> {
        let setting = Setting::read_any_size(key, member, faults)?;
        let bytes = setting.canonical().len();
        if bytes > VALUE_BYTES_MAX {
            let allowed = format!("at most {VALUE_BYTES_MAX} bytes of JSON");
            faults.add(&member.key, format!("has {bytes} bytes"), allowed);
        }
        Some(setting)
    }

    /// What is asked of a value that is published now, beyond what [`Setting::read`] asks of all.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_new(&self, key: SettingKey) -> Result<(), RuleFault> {
        let Setting::Seasons(seasons) = self else {
            return Ok(());
        };
        let shared = shared_names(seasons);
        shared.map_or(Ok(()), |problem| {
            Err(RuleFault::new(key.name(), problem, UNIQUE_SEASONS))
        })
    }

    fn read_any_size(key: SettingKey, member: &Member<'_>, faults: &mut Faults) -> Option<Setting> {
        match key {
            SettingKey::Mainnet => faults.switch(member).map(Setting::Mainnet),
            SettingKey::Price(key) if key.is_optional() && is_null(member) => {
                Some(Setting::Price(None))
            }
            SettingKey::Price(key) => {
                price(key, member, faults).map(|price| Setting::Price(Some(price)))
            }
            SettingKey::Points => per_class(member, faults, base_points).map(Setting::Points),
            SettingKey::Demand => per_class(member, faults, |m, f| f.integer(m, DEMAND_BP).map(Bp))
                .map(Setting::Multipliers),
            SettingKey::Season => seasons(member, faults).map(Setting::Seasons),
            SettingKey::Shares => shares(member, faults).map(Setting::Shares),
            SettingKey::Streak => streak(member, faults).map(Setting::Streak),
            SettingKey::Quality => quality(member, faults).map(|q| Setting::Quality(Box::new(q))),
            SettingKey::Activity => activity(member, faults).map(Setting::Activity),
            SettingKey::Awards => awards(member, faults).map(Setting::Awards),
            SettingKey::Catalogue => {
                Catalogue::read(member, faults).map(|c| Setting::Catalogue(Arc::new(c)))
            }
            SettingKey::ModelPrices => {
                ModelPrices::read(member, faults).map(|p| Setting::ModelPrices(Arc::new(p)))
            }
            SettingKey::Services => {
                ServiceRules::read(member, faults).map(|s| Setting::Services(Arc::new(s)))
            }
            SettingKey::Badges => {
                BadgeRules::read(member, faults).map(|b| Setting::Badges(Arc::new(b)))
            }
            SettingKey::Providers => {
                ProviderNames::read(member, faults).map(|p| Setting::Providers(Arc::new(p)))
            }
        }
    }

    /// Reads the JSON text of a key's value.
    pub fn parse(key: SettingKey, json: &str) -> Result<Setting, Vec<RuleFault>> {
        let name = key.name();
        let value: Value = serde_json::from_str(json).map_err(|error| {
            vec![RuleFault::new(
                name,
                format!("is not JSON ({error})"),
                "a JSON value",
            )]
        })?;
        let mut faults = Faults::default();
        let read = Setting::read(key, &Member::new(name, &value), &mut faults);
        faults.finish(read)
    }

    /// The one JSON text that stands for this value: whatever has the same text means the same.
    pub fn canonical(&self) -> String {
        serde_json::to_string(self)
            .expect("maps with text keys, text and integers always serialise")
    }
}

fn per_class<T: Copy>(
    member: &Member<'_>,
    faults: &mut Faults,
    read: impl Fn(&Member<'_>, &mut Faults) -> Option<T>,
) -> Option<PerClass<T>> {
    let values = faults
        .members(member, RateClass::NAMES)
        .map(|value| read(&value, faults));
    all(values).map(PerClass)
}

/// All of them, or nothing.
fn all<T: Copy, const N: usize>(values: [Option<T>; N]) -> Option<[T; N]> {
    let present: Vec<T> = values.into_iter().flatten().collect();
    present.try_into().ok()
}

fn base_points(member: &Member<'_>, faults: &mut Faults) -> Option<Decimal<Points>> {
    faults.amount(member, BASE_POINTS).map(Decimal)
}

/// An optional price is withdrawn by `null`.
fn is_null(member: &Member<'_>) -> bool {
    member.value.is_some_and(Value::is_null)
}

fn price(key: PriceKey, member: &Member<'_>, faults: &mut Faults) -> Option<Price> {
    let [amount, unit] = faults.members(member, ["pricePerUnit", "unit"]);
    let amount = faults.amount(&amount, PRICE);
    let unit = faults.choice(&unit, &[(key.unit().as_str(), key.unit())]);
    Some(Price {
        price_per_unit: Decimal(amount?),
        unit: unit?,
    })
}

fn shares(member: &Member<'_>, faults: &mut Faults) -> Option<Shares> {
    let [user, cascade] = faults.members(member, ["user", "cascade"]);
    let user = faults.integer(&user, SHARE_BP);
    let levels = faults.list(&cascade, 3)?;
    let Ok(levels) = <[Member<'_>; 3]>::try_from(levels) else {
        faults.add(
            &cascade.key,
            "has not three levels",
            "three shares, the direct referrer's first",
        );
        return None;
    };
    let levels = all(levels.map(|level| faults.integer(&level, SHARE_BP)))?;
    let sum: u32 = levels.iter().sum();
    if sum > BP_ONE {
        faults.add(
            &cascade.key,
            format!("adds up to {sum}"),
            format!("together at most {BP_ONE}"),
        );
        return None;
    }
    Some(Shares {
        user: Bp(user?),
        cascade: levels.map(Bp),
    })
}

fn streak(member: &Member<'_>, faults: &mut Faults) -> Option<Streak> {
    let [steps] = faults.members(member, ["steps"]);
    let read: Vec<Option<StreakStep>> = faults
        .list(&steps, STEPS_MAX)?
        .iter()
        .map(|step| {
            let [days, multiplier] = faults.members(step, ["days", "multiplier"]);
            let days = faults.integer(&days, STREAK_DAYS);
            let multiplier = faults.integer(&multiplier, STREAK_BP);
            Some(StreakStep {
                days: days?,
                multiplier: Bp(multiplier?),
            })
        })
        .collect();
    let read: Vec<StreakStep> = read.into_iter().collect::<Option<_>>()?;
    let rising = |pair: &[StreakStep]| {
        pair[0].days < pair[1].days && pair[0].multiplier <= pair[1].multiplier
    };
    if !read.windows(2).all(rising) {
        faults.add(
            &steps.key,
            "is out of order",
            "more days from step to step, and never a smaller multiplier",
        );
        return None;
    }
    Some(Streak { steps: read })
}

fn quality(member: &Member<'_>, faults: &mut Faults) -> Option<Quality> {
    let [minimum, uptime, latency, targets] = faults.members(
        member,
        ["minimumRequests", "uptime", "latency", "targetsMs"],
    );
    let minimum_requests = faults.integer(&minimum, REQUESTS_MIN);
    let uptime = Curve::read(&uptime, faults, SHARE_BP, QUALITY_BP);
    let latency = Curve::read(&latency, faults, RATIO_BP, QUALITY_BP);
    let targets_ms = per_class(&targets, faults, |m, f| f.integer(m, TARGET_MS));
    Some(Quality {
        minimum_requests: minimum_requests?,
        uptime: uptime?,
        latency: latency?,
        targets_ms: targets_ms?,
    })
}

fn activity(member: &Member<'_>, faults: &mut Faults) -> Option<ActivityRule> {
    let [uptime] = faults.members(member, ["providerUptime"]);
    let uptime = faults.integer(&uptime, SHARE_BP)?;
    Some(ActivityRule {
        provider_uptime: Bp(uptime),
    })
}

fn awards(member: &Member<'_>, faults: &mut Faults) -> Option<Awards> {
    let [trial, signup, milestone] = faults
        .members(member, ["trial", "signup", "milestone"])
        .map(|award| faults.amount(&award, AWARD_POINTS).map(Decimal));
    Some(Awards {
        trial: trial?,
        signup: signup?,
        milestone: milestone?,
    })
}

fn seasons(member: &Member<'_>, faults: &mut Faults) -> Option<Vec<Season>> {
    let read: Vec<Option<Season>> = faults
        .list(member, SEASONS_MAX)?
        .iter()
        .map(|season| one_season(season, faults))
        .collect();
    let read: Vec<Season> = read.into_iter().collect::<Option<_>>()?;
    let mut by_time: Vec<&Season> = read.iter().collect();
    by_time.sort_by_key(|season| season.from.0);
    for pair in by_time
        .windows(2)
        .filter(|pair| pair[1].from.0 < pair[0].to.0)
    {
        let problem = format!("\"{}\" and \"{}\" overlap", pair[0].name, pair[1].name);
        faults.add(&member.key, problem, "one season at a time");
    }
    Some(read)
}

/// Seasons of one list that have the same name: leaderboards are kept by it. Lists of earlier
/// versions of tidemark may hold such, so this is asked of new lists only.
fn shared_names(seasons: &[Season]) -> Option<String> {
    let pairs = seasons.iter().enumerate();
    let mut pairs = pairs.flat_map(|(place, one)| {
        let others = seasons[place + 1..].iter();
        others.map(move |other| (one, other))
    });
    let (one, other) = pairs.find(|(one, other)| one.name == other.name)?;
    Some(format!(
        "the seasons from {} and from {} are both named \"{}\"",
        one.from.0, other.from.0, one.name
    ))
}

fn one_season(season: &Member<'_>, faults: &mut Faults) -> Option<Season> {
    let ([name, from, to, multiplier], [services]) =
        faults.members_and(season, ["name", "from", "to", "multiplier"], ["services"]);
    let name = faults.text(&name, NAME_CHARS_MAX).map(str::to_owned);
    let from = instant(&from, faults);
    let to_time = instant(&to, faults);
    let multiplier = per_class(&multiplier, faults, |m, f| f.integer(m, SEASON_BP).map(Bp));
    if let (Some(from), Some(end)) = (from, to_time)
        && end <= from
    {
        faults.add(&to.key, "is not after from", "an instant after from");
    }
    Some(Season {
        name: name?,
        from: Decimal(from?),
        to: Decimal(to_time?),
        multiplier: multiplier?,
        services: match services {
            Some(services) => season_services(&services, faults)?,
            None => BTreeMap::new(),
        },
    })
}

fn season_services(services: &Member<'_>, faults: &mut Faults) -> Option<BTreeMap<String, Bp>> {
    let read: Vec<Option<(String, Bp)>> = faults
        .entries(services, Service::COUNT_MAX)?
        .iter()
        .map(|(name, member)| {
            if Service::default_named(name).is_some() {
                let allowed =
                    "services beside the built-in ones; those have multipliers of their own";
                faults.add(&member.key, "is built in", allowed);
                return None;
            }
            let multiplier = faults.integer(member, SEASON_BP).map(Bp)?;
            Some(((*name).to_owned(), multiplier))
        })
        .collect();
    read.into_iter().collect()
}

fn instant(member: &Member<'_>, faults: &mut Faults) -> Option<Millis> {
    let value = member.value?;
    let parsed = value.as_str().and_then(|text| text.parse::<Millis>().ok());
    if parsed.is_none() {
        let allowed = "an instant with an offset, such as \"2026-12-01T00:00:00Z\"";
        faults.add(&member.key, format!("is {value}"), allowed);
    }
    parsed
}
