//! Rating: what one event earns and costs.
//!
//! Which services there are, and every number that decides an amount, is data ([`super::rules`]).

use std::sync::LazyLock;

use super::amount::{Bp, Money, Points};
use super::event::{Service, UsageEvent};
pub use super::outcomes::{is_failed, is_successful};
use super::posting::{Charge, LEVELS};
use super::rules::{
    MILLIS_PER_MINUTE, PriceKey, Rules, ServicePrice, TOKENS_PER_UNIT, TokenCounts, TokenPrices,
    Unit, per_unit,
};
use super::service::Services;
use super::tier::Detection;

/// What an event is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// To the provider.
    pub provider: Points,
    /// To the user.
    pub user: Points,
    /// To be paid by the user.
    pub charge: Charge,
    /// The latency that is expected of such a request, ms.
    pub target_ms: u64,
}

/// The services of an installation that has added none.
static DEFAULT_SERVICES: LazyLock<Services> = LazyLock::new(Services::default);

/// The built-in service of an endpoint; see [`Services::of_endpoint`].
pub fn service_of(endpoint: &str) -> Option<Service> {
    DEFAULT_SERVICES.of_endpoint(endpoint)
}

/// Rates one event. An event that is not successful earns and costs nothing. What is unknown
/// (`None`) is not charged.
///
/// The provider's amount is computed the same when no provider is named; then it is nobody's.
#[inline]
pub fn rate(event: &UsageEvent<'_>, service: Service, model: &Detection, rules: &Rules) -> Amounts {
    match is_successful(event.status) {
        true => rate_used(Used::by(event), service, model, rules),
        false => Amounts::default(),
    }
}

/// Rates a successful request that has used so much.
#[inline]
pub fn rate_used(used: Used, service: Service, model: &Detection, rules: &Rules) -> Amounts {
    let earnings = rules.earnings(service, model.tier);
    let price = price(used, service, model, rules);
    Amounts {
        provider: earnings.provider,
        user: earnings.user,
        charge: if rules.is_mainnet() {
            Charge {
                cost: price,
                shadow: Money::ZERO,
            }
        } else {
            Charge {
                cost: Money::ZERO,
                shadow: price,
            }
        },
        target_ms: earnings.target_ms,
    }
}

/// What a request has used, as far as prices ask. What is unknown is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Its tokens.
    pub tokens: TokenCounts,
    /// Length of the audio, ms.
    pub audio_millis: u64,
    /// Images.
    pub image_count: u64,
}

impl Used {
    /// What an event says of it.
    pub fn by(event: &UsageEvent<'_>) -> Used {
        Used {
            tokens: TokenCounts {
                input: event.input_tokens.unwrap_or(0),
                cached_input: event.cached_input_tokens.unwrap_or(0),
                cache_write: event.cache_write_tokens.unwrap_or(0),
                output: event.output_tokens.unwrap_or(0),
                reasoning: event.reasoning_tokens.unwrap_or(0),
            },
            audio_millis: event.audio_millis.unwrap_or(0),
            image_count: event.image_count.unwrap_or(0),
        }
    }
}

/// What mainnet charges for a successful request. What is unknown is not charged.
pub fn price(used: Used, service: Service, model: &Detection, rules: &Rules) -> Money {
    Tariff::of(service, model, rules).cost(used)
}

/// By what prices a request is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tariff<'r> {
    /// Chat, by the prices of the model.
    Model(&'r TokenPrices),
    /// Chat, by the prices of the model's tier.
    Tier(&'r TokenPrices),
    /// What went in, by the prices of the model.
    ModelInput(&'r TokenPrices),
    /// Every unit, by the price of this key.
    Key(PriceKey, Money),
    /// By the price of a service that is not built in.
    Service(ServicePrice),
    /// The rules know no price.
    Free,
}

impl<'r> Tariff<'r> {
    /// The one of a service and a model.
    #[inline]
    pub fn of(service: Service, model: &'r Detection, rules: &'r Rules) -> Tariff<'r> {
        let key = |key| Tariff::Key(key, rules.price(key));
        match (service, &model.prices) {
            (Service::CHAT_COMPLETIONS, Some(prices)) => Tariff::Model(prices),
            (Service::CHAT_COMPLETIONS, None) => Tariff::Tier(rules.token_prices(model.tier)),
            (Service::EMBEDDINGS, Some(prices)) => Tariff::ModelInput(prices),
            (Service::EMBEDDINGS, None) => key(PriceKey::Embeddings),
            (Service::TTS, _) => key(PriceKey::Tts),
            (Service::SCRAPE, _) => key(PriceKey::Scrape),
            (added, prices) => match (rules.added(added).map(|added| added.price), prices) {
                (Some(ServicePrice::Tokens { .. }), Some(prices)) => Tariff::Model(prices),
                (Some(price), _) => Tariff::Service(price),
                (None, _) => Tariff::Free,
            },
        }
    }

    /// What a request costs that used so much.
    #[inline]
    pub fn cost(self, used: Used) -> Money {
        match self {
            Tariff::Model(prices) | Tariff::Tier(prices) => prices.cost(used.tokens),
            Tariff::ModelInput(prices) => prices.cost(TokenCounts {
                output: 0,
                reasoning: 0,
                ..used.tokens
            }),
            Tariff::Key(key, price) => {
                let (count, unit) = counted_by(key, used);
                per_unit(count, price, unit)
            }
            Tariff::Service(price) => price.cost(used.tokens, used.audio_millis, used.image_count),
            Tariff::Free => Money::ZERO,
        }
    }
}

/// How much of a request the price of a key counts, and for how much the price is.
#[inline]
pub(super) fn counted_by(key: PriceKey, used: Used) -> (u64, u64) {
    match key.unit() {
        Unit::ThousandTokens => (used.tokens.input, TOKENS_PER_UNIT),
        Unit::Minute => (used.audio_millis, MILLIS_PER_MINUTE),
        Unit::Request => (1, 1),
    }
}

/// What each referrer up a chain gets of an amount: `floor(amount × share / 10,000)` at each level.
/// Only amounts of [`rate`] cascade; referral points, bonuses and streaks never do.
pub fn cascade(amount: Points, shares: [Bp; LEVELS]) -> [Points; LEVELS] {
    shares.map(|share| amount.times(share))
}
