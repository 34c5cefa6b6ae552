//! What is in force at one moment, ready to compute with.

use std::sync::Arc;

use super::catalogue::Catalogue;
use super::class::{PerClass, RateClass};
use super::decimal::Decimal;
use super::key::{PriceKey, SettingKey};
use super::model_prices::{ModelPrice, ModelPrices};
use super::services::{BasePoints, ServicePrice, ServiceRules, Terms};
use super::setting::{Awards, Quality, Season, Setting, Streak, StreakStep};
use super::version::Version;
use crate::domain::amount::{BP_ONE, Bp, Money, Overflow, Points, floor_div};
use crate::domain::ledger::Activity;
use crate::domain::semantics::Semantics;
use crate::domain::service::{Service, Services};
use crate::domain::tier::{Detection, RecognisedModel, Tier};
use crate::domain::time::Millis;
use crate::domain::token_prices::TokenPrices;

/// Everything that is in force at one moment.
#[derive(Debug)]
pub struct Rules {
    id: u64,
    mainnet: bool,
    prices: [Money; PriceKey::COUNT],
    token_prices: [TokenPrices; Tier::ALL.len()],
    model_prices: Option<Arc<ModelPrices>>,
    provider_earns: PerClass<Points>,
    user_earns: PerClass<Points>,
    cascade: [Bp; 3],
    streak: Streak,
    quality: Quality,
    activity: Activity,
    awards: Awards,
    catalogue: Arc<Catalogue>,
    services: Arc<Services>,
    /// By service.
    added: Vec<(Service, AddedService)>,
    factors: EarningFactors,
}

/// What the amounts of [`Rules`] were computed from. Only explanations ask for it.
#[derive(Debug)]
struct EarningFactors {
    points: PerClass<Decimal<Points>>,
    demand: PerClass<Bp>,
    season: Option<Season>,
    user_share: Bp,
}

/// What requests of a service earn and cost that is not built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddedService {
    /// Before demand and season; `None`: by the tier of the model.
    base: Option<Points>,
    /// `None`: by the tier of the model.
    points: Option<(Points, Points)>,
    /// Where the tier of the model decides.
    demand: Bp,
    user_share: Bp,
    /// `None`: the target of the tier of the model.
    target_ms: Option<u64>,
    /// What its price counts.
    pub price: ServicePrice,
}

/// A season, and what it multiplies the points of a request by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeasonTerms {
    /// Its name.
    pub name: String,
    /// Its first instant.
    pub from: Millis,
    /// The first instant after it.
    pub to: Millis,
    /// The multiplier.
    pub multiplier: Bp,
}

/// When a season is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeasonSpan {
    /// Its name.
    pub name: String,
    /// Its first instant.
    pub from: Millis,
    /// The first instant after it.
    pub to: Millis,
}

/// The factors of what a successful request gives its provider:
/// `floor(base × demand × season / 10^8)`, and `floor(… × service_demand / 10^4)` of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarningTerms {
    /// The class whose base points, demand and season count; `None`: those of the service itself.
    pub class: Option<RateClass>,
    /// Base points.
    pub base: Points,
    /// The demand multiplier.
    pub demand: Bp,
    /// The season, if there is one.
    pub season: Option<SeasonTerms>,
    /// The product of the three, rounded down.
    pub product: Points,
    /// Of a service that is not built in and earns by the tier of the model: its own demand
    /// multiplier.
    pub service_demand: Option<Bp>,
    /// To the provider.
    pub provider: Points,
    /// The user's share of that.
    pub user_share: Bp,
    /// To the user.
    pub user: Points,
}

/// What a successful request gives, and the latency that is expected of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Earnings {
    /// To the provider.
    pub provider: Points,
    /// To the user.
    pub user: Points,
    /// Expected latency, ms.
    pub target_ms: u64,
}

impl Rules {
    /// The services of the installation.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// What a service earns and costs that is not built in.
    pub fn added(&self, service: Service) -> Option<&AddedService> {
        let place = self
            .added
            .binary_search_by_key(&service, |(of, _)| *of)
            .ok()?;
        self.added.get(place).map(|(_, added)| added)
    }

    /// Whether the tier of the model decides what requests to this service earn, or what latency is
    /// expected of them.
    pub fn depends_on_tier(&self, service: Service) -> bool {
        let added = self.added(service);
        service == Service::CHAT_COMPLETIONS
            || added.is_some_and(|added| added.points.is_none() || added.target_ms.is_none())
    }

    /// Whether prices of single models may decide what requests to this service cost.
    pub fn depends_on_model_prices(&self, service: Service) -> bool {
        let counts_tokens =
            |added: &AddedService| matches!(added.price, ServicePrice::Tokens { .. });
        self.has_model_prices()
            && (service == Service::CHAT_COMPLETIONS
                || service == Service::EMBEDDINGS
                || self.added(service).is_some_and(counts_tokens))
    }

    /// What a successful request to a service earns, on a model of this tier. Nothing for a service
    /// that these rules do not know.
    pub fn earnings(&self, service: Service, tier: Tier) -> Earnings {
        let of_class = |class: RateClass| Earnings {
            provider: self.provider_earns(class),
            user: self.user_earns(class),
            target_ms: self.target_ms(class),
        };
        if let Some(class) = RateClass::of(service, tier) {
            return of_class(class);
        }
        let Some(added) = self.added(service) else {
            return Earnings::default();
        };
        let by_tier = of_class(RateClass::of_tier(tier));
        let (provider, user) = added.points.unwrap_or_else(|| {
            let provider = by_tier.provider.times(added.demand);
            (provider, provider.times(added.user_share))
        });
        Earnings {
            provider,
            user,
            target_ms: added.target_ms.unwrap_or(by_tier.target_ms),
        }
    }

    /// How [`Rules::earnings`] come about. `None` for a service that these rules do not know.
    pub fn earning_terms(&self, service: Service, tier: Tier) -> Option<EarningTerms> {
        let Earnings { provider, user, .. } = self.earnings(service, tier);
        let added = self.added(service);
        let flat = added.and_then(|added| Some((added, added.base?)));
        if let Some((added, base)) = flat {
            let name = self.services.name(service);
            let multiplier = |season: &Season| season.services.get(&*name).copied();
            return Some(EarningTerms {
                class: None,
                base,
                demand: added.demand,
                season: self.season_terms(|season| multiplier(season).unwrap_or(Bp::ONE)),
                product: provider,
                service_demand: None,
                provider,
                user_share: self.factors.user_share,
                user,
            });
        }
        let class = match RateClass::of(service, tier) {
            Some(class) => class,
            None => added.map(|_| RateClass::of_tier(tier))?,
        };
        Some(EarningTerms {
            class: Some(class),
            base: self.factors.points.get(class).0,
            demand: self.factors.demand.get(class),
            season: self.season_terms(|season| season.multiplier.get(class)),
            product: self.provider_earns(class),
            service_demand: added.map(|added| added.demand),
            provider,
            user_share: self.factors.user_share,
            user,
        })
    }

    /// The season, if there is one: its name, its first instant, and the first instant after it.
    pub fn season(&self) -> Option<(&str, Millis, Millis)> {
        let season = self.factors.season.as_ref()?;
        Some((&season.name, season.from.0, season.to.0))
    }

    fn season_terms(&self, multiplier: impl Fn(&Season) -> Bp) -> Option<SeasonTerms> {
        let season = self.factors.season.as_ref()?;
        Some(SeasonTerms {
            name: season.name.clone(),
            from: season.from.0,
            to: season.to.0,
            multiplier: multiplier(season),
        })
    }

    /// Names what is in force: the same number, the same rules. What is cached per model name is
    /// keyed by it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether usage is charged. If not, what it would cost is only noted.
    pub fn is_mainnet(&self) -> bool {
        self.mainnet
    }

    /// The tier of a model, and its prices. Takes microseconds: keep the answer per name and
    /// [`Rules::id`].
    pub fn detect(&self, model: &str, semantics: Semantics) -> Detection {
        let known = self.recognise(model, semantics).map(|known| known.tier);
        Detection {
            tier: known.unwrap_or(Tier::TidePool),
            recognised: known.is_some(),
            prices: self.model_prices(model),
        }
    }

    /// What is known of the model of a request to a service. Where the model decides nothing, it is
    /// not looked at.
    pub fn detect_for(
        &self,
        service: Service,
        model: Option<&str>,
        semantics: Semantics,
    ) -> Detection {
        let decides = self.depends_on_tier(service) || self.depends_on_model_prices(service);
        match model.filter(|_| decides) {
            Some(model) => self.detect(model, semantics),
            None => Detection::of_tier(Tier::TidePool),
        }
    }

    /// The tier of a model, and what told it; `None`: nothing did, so it is the lowest.
    pub fn recognise(&self, model: &str, semantics: Semantics) -> Option<RecognisedModel> {
        self.catalogue.recognise(model, semantics)
    }

    /// The entry of `rules.modelPrices` that decides what tokens of a model cost.
    pub fn model_price(&self, model: &str) -> Option<&ModelPrice> {
        self.model_prices.as_ref()?.find_entry(model)
    }

    /// What the tokens of a model cost, if it has prices of its own.
    pub fn model_prices(&self, model: &str) -> Option<TokenPrices> {
        self.model_prices.as_ref()?.find(model)
    }

    /// Whether any model has.
    pub fn has_model_prices(&self) -> bool {
        self.model_prices.is_some()
    }

    /// What tokens of chat cost on models of a tier without prices of their own.
    pub fn token_prices(&self, tier: Tier) -> &TokenPrices {
        &self.token_prices[tier as usize]
    }

    /// A price, per unit ([`PriceKey::unit`]). One that is not given is that of its whole.
    pub fn price(&self, key: PriceKey) -> Money {
        self.prices[key as usize]
    }

    /// What a successful request gives its provider: `floor(base × demand × season / 10^8)`.
    pub fn provider_earns(&self, class: RateClass) -> Points {
        self.provider_earns.get(class)
    }

    /// What a successful request gives its user: the user's share of the provider's amount,
    /// floored.
    pub fn user_earns(&self, class: RateClass) -> Points {
        self.user_earns.get(class)
    }

    /// The latency that is expected of a request, ms.
    pub fn target_ms(&self, class: RateClass) -> u64 {
        u64::from(self.quality.targets_ms.get(class))
    }

    /// The share of an amount that goes to the referrer at each level.
    pub fn cascade(&self) -> [Bp; 3] {
        self.cascade
    }

    /// What a user's first success with a service gives.
    pub fn trial(&self) -> Points {
        self.awards.trial.0
    }

    /// What a referrer gets for a signup.
    pub fn signup(&self) -> Points {
        self.awards.signup.0
    }

    /// What a referrer gets for a referee's 50th success.
    pub fn milestone(&self) -> Points {
        self.awards.milestone.0
    }

    /// When a day is active.
    pub fn activity(&self) -> Activity {
        self.activity
    }

    /// The multiplier of a day on which so many active days in a row end.
    pub fn streak(&self, length: u32) -> Bp {
        let reached = |step: &&StreakStep| step.days <= length;
        let step = self.streak.steps.iter().rev().find(reached);
        step.map_or(Bp::ONE, |step| step.multiplier)
    }

    /// The next step of the streak bonus above a length: from how many days on, and its multiplier;
    /// `None` at the top.
    pub fn next_streak_step(&self, length: u32) -> Option<(u32, Bp)> {
        let step = self.streak.steps.iter().find(|step| step.days > length);
        step.map(|step| (step.days, step.multiplier))
    }

    /// The requests (ok and failed) that a provider's day must have for its quality to count.
    pub fn quality_requests_min(&self) -> u64 {
        u64::from(self.quality.minimum_requests)
    }

    /// The multiplier for a day's share of `ok` among `ok + failed`, in bp.
    pub fn uptime(&self, ratio: u64) -> Bp {
        self.quality.uptime.at(ratio)
    }

    /// The least share of `ok` at which the uptime multiplier is at its highest, and that
    /// multiplier, in bp.
    pub fn best_uptime(&self) -> (u32, Bp) {
        self.quality.uptime.first_peak()
    }

    /// The greatest share of the target latency at which the latency multiplier is at its highest,
    /// and that multiplier, in bp.
    pub fn best_latency(&self) -> (u32, Bp) {
        self.quality.latency.last_peak()
    }

    /// The multiplier for a day's latency as a share of its target, in bp.
    pub fn latency(&self, ratio: u64) -> Bp {
        self.quality.latency.at(ratio)
    }
}

/// The value of a key, of the type that the key has.
macro_rules! value_of {
    ($find:ident, $key:expr, $variant:ident) => {
        match $find($key)?.setting() {
            Setting::$variant(value) => value,
            _ => return None,
        }
    };
}

/// The services up to a control position.
pub(super) struct ServicesAsOf {
    /// Which there are.
    pub table: Arc<Services>,
    /// The first terms of each that is not built in.
    pub first: Vec<(Service, Terms)>,
}

/// The rules that these versions make at an instant; `None` while a key has none.
pub(super) fn assemble<'v>(
    time: Option<Millis>,
    services: &ServicesAsOf,
    find: impl Fn(SettingKey) -> Option<&'v Version>,
) -> Option<Rules> {
    let points = value_of!(find, SettingKey::Points, Points);
    let demand = value_of!(find, SettingKey::Demand, Multipliers);
    let season = season_at(value_of!(find, SettingKey::Season, Seasons), time);
    let multiplier = season.map_or(PerClass([Bp::ONE; RateClass::COUNT]), |season| {
        season.multiplier
    });
    let shares = value_of!(find, SettingKey::Shares, Shares);
    let mut prices = [Money::ZERO; PriceKey::COUNT];
    for key in PriceKey::ALL {
        let version = find(SettingKey::Price(key));
        if version.is_none() && !key.is_optional() {
            return None;
        }
        prices[key as usize] = match version.map(Version::setting) {
            Some(Setting::Price(Some(price))) => price.price_per_unit.0,
            // Wholes come before their parts.
            _ => key
                .whole()
                .map_or(Money::ZERO, |whole| prices[whole as usize]),
        };
    }
    let model_prices = match find(SettingKey::ModelPrices).map(Version::setting) {
        Some(Setting::ModelPrices(prices)) if !prices.is_empty() => Some(Arc::clone(prices)),
        _ => None,
    };
    let added = match find(SettingKey::Services).map(Version::setting) {
        Some(Setting::Services(in_force)) => {
            added_services(services, Some(in_force), season, shares.user)
        }
        _ => added_services(services, None, season, shares.user),
    }
    .ok()?;
    let (provider_earns, user_earns) = earnings(points, demand, &multiplier, shares.user).ok()?;
    Some(Rules {
        id: id_of(&multiplier, season, &find)?,
        mainnet: *value_of!(find, SettingKey::Mainnet, Mainnet),
        token_prices: Tier::ALL.map(|tier| token_prices(&prices, tier)),
        prices,
        model_prices,
        provider_earns,
        user_earns,
        cascade: shares.cascade,
        streak: value_of!(find, SettingKey::Streak, Streak).clone(),
        quality: value_of!(find, SettingKey::Quality, Quality)
            .as_ref()
            .clone(),
        activity: Activity {
            provider_uptime: value_of!(find, SettingKey::Activity, Activity).provider_uptime,
        },
        awards: *value_of!(find, SettingKey::Awards, Awards),
        catalogue: Arc::clone(value_of!(find, SettingKey::Catalogue, Catalogue)),
        services: Arc::clone(&services.table),
        added,
        factors: EarningFactors {
            points: *points,
            demand: *demand,
            season: season.cloned(),
            user_share: shares.user,
        },
    })
}

/// What each service earns that is not built in: what is in force, or its first terms where an
/// event is older than the service.
fn added_services(
    services: &ServicesAsOf,
    in_force: Option<&Arc<ServiceRules>>,
    season: Option<&Season>,
    user_share: Bp,
) -> Result<Vec<(Service, AddedService)>, Overflow> {
    let in_force: Vec<(Service, &Terms)> =
        in_force.iter().flat_map(|rules| rules.terms()).collect();
    let added = |(service, first): &(Service, Terms)| {
        let found = in_force.iter().find(|(of, _)| of == service);
        let terms = found.map_or(first, |(_, terms)| terms);
        let points = match terms.points {
            BasePoints::ByTier => None,
            BasePoints::Flat(points) => {
                let name = services.table.name(*service);
                let season = season.and_then(|season| season.services.get(&*name));
                let season = season.copied().unwrap_or(Bp::ONE);
                let provider = scaled(points, terms.demand, season)?;
                Some((provider, provider.times(user_share)))
            }
        };
        let added = AddedService {
            base: match terms.points {
                BasePoints::ByTier => None,
                BasePoints::Flat(base) => Some(base),
            },
            points,
            demand: terms.demand,
            user_share,
            target_ms: terms.target_ms.map(u64::from),
            price: terms.price,
        };
        Ok((*service, added))
    };
    services.first.iter().map(added).collect()
}

fn token_prices(prices: &[Money; PriceKey::COUNT], tier: Tier) -> TokenPrices {
    let price = |key: PriceKey| prices[key as usize];
    TokenPrices {
        input: price(PriceKey::input(tier)),
        cached_input: price(PriceKey::cached_input(tier)),
        cache_write: price(PriceKey::cache_write(tier)),
        output: price(PriceKey::output(tier)),
        reasoning: price(PriceKey::reasoning(tier)),
    }
}

/// The season at an instant (`None`: before every other).
fn season_at(seasons: &[Season], time: Option<Millis>) -> Option<&Season> {
    let time = time?;
    seasons
        .iter()
        .find(|season| season.from.0 <= time && time < season.to.0)
}

/// `floor(base × demand × season / 10^8)`.
fn scaled(base: Points, demand: Bp, season: Bp) -> Result<Points, Overflow> {
    let scaled = i128::from(base.0) * i128::from(demand.0) * i128::from(season.0);
    let earned = floor_div(scaled, i128::from(BP_ONE) * i128::from(BP_ONE));
    i64::try_from(earned).map(Points).map_err(|_| Overflow)
}

/// What an event gives, by class: demand and season are constant while rules are in force, so each
/// is computed once.
fn earnings(
    points: &PerClass<Decimal<Points>>,
    demand: &PerClass<Bp>,
    season: &PerClass<Bp>,
    user_share: Bp,
) -> Result<(PerClass<Points>, PerClass<Points>), Overflow> {
    let mut provider = [Points::ZERO; RateClass::COUNT];
    let mut user = provider;
    for class in RateClass::ALL {
        let base = points.get(class).0;
        let earned = scaled(base, demand.get(class), season.get(class))?;
        provider[class as usize] = earned;
        user[class as usize] = earned.times(user_share);
    }
    Ok((PerClass(provider), PerClass(user)))
}

/// A hash of all values and of the season's multipliers.
fn id_of<'v>(
    multipliers: &PerClass<Bp>,
    season: Option<&Season>,
    find: &impl Fn(SettingKey) -> Option<&'v Version>,
) -> Option<u64> {
    let mut bytes = Vec::new();
    for key in SettingKey::all().filter(|key| key.decides_amounts()) {
        let fingerprint = match find(key) {
            Some(version) => version.fingerprint(),
            // Rules without it have the number that they had before there was such a key.
            None if key == SettingKey::Services => continue,
            None if key.is_optional() => 0,
            None => return None,
        };
        bytes.extend_from_slice(&fingerprint.to_le_bytes());
    }
    for multiplier in multipliers.0 {
        bytes.extend_from_slice(&multiplier.0.to_le_bytes());
    }
    for (name, multiplier) in season.iter().flat_map(|season| &season.services) {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&multiplier.0.to_le_bytes());
    }
    Some(xxhash_rust::xxh3::xxh3_64(&bytes))
}
