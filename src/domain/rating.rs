//! Rating: what one event earns and costs.
//!
//! Which services there are, and every number that decides an amount, is data ([`super::rules`]).

use std::sync::LazyLock;

use super::amount::{Bp, Money, Points};
use super::event::{Service, UsageEvent};
use super::posting::{Charge, LEVELS};
use super::rules::{
    MILLIS_PER_MINUTE, PriceKey, Rules, ServicePrice, TOKENS_PER_UNIT, TokenCounts, per_unit,
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

/// Whether a status means success (200–299). Nothing else earns or costs.
pub const fn is_successful(status: u16) -> bool {
    status >= 200 && status < 300
}

/// Whether a status counts as failed (500 and above). What is neither is the client's own fault.
pub const fn is_failed(status: u16) -> bool {
    status >= 500
}

/// Rates one event. An event that is not successful earns and costs nothing. What is unknown (`None`) is not charged.
///
/// The provider's amount is computed the same when no provider is named; then it is nobody's.
pub fn rate(event: &UsageEvent<'_>, service: Service, model: &Detection, rules: &Rules) -> Amounts {
    if !is_successful(event.status) {
        return Amounts::default();
    }
    let earnings = rules.earnings(service, model.tier);
    let price = price(Used::by(event), service, model, rules);
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
    fn by(event: &UsageEvent<'_>) -> Used {
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
    match (service, &model.prices) {
        (Service::CHAT_COMPLETIONS, Some(prices)) => prices.cost(used.tokens),
        (Service::CHAT_COMPLETIONS, None) => rules.token_prices(model.tier).cost(used.tokens),
        (Service::EMBEDDINGS, Some(prices)) => prices.cost(TokenCounts {
            output: 0,
            reasoning: 0,
            ..used.tokens
        }),
        (Service::EMBEDDINGS, None) => per_unit(
            used.tokens.input,
            rules.price(PriceKey::Embeddings),
            TOKENS_PER_UNIT,
        ),
        (Service::TTS, _) => per_unit(
            used.audio_millis,
            rules.price(PriceKey::Tts),
            MILLIS_PER_MINUTE,
        ),
        (Service::SCRAPE, _) => rules.price(PriceKey::Scrape),
        (added, prices) => match (rules.added(added).map(|added| added.price), prices) {
            (Some(ServicePrice::Tokens { .. }), Some(prices)) => prices.cost(used.tokens),
            (Some(price), _) => price.cost(used.tokens, used.audio_millis, used.image_count),
            (None, _) => Money::ZERO,
        },
    }
}

/// What each referrer up a chain gets of an amount: `floor(amount × share / 10,000)` at each level.
/// Only amounts of [`rate`] cascade; referral points, bonuses and streaks never do.
pub fn cascade(amount: Points, shares: [Bp; LEVELS]) -> [Points; LEVELS] {
    shares.map(|share| amount.times(share))
}
