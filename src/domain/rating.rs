//! Rating: what one event earns and costs.
//!
//! Which path is which service is part of the code and of its semantics number, not data: it decides which
//! events are valid at all. Every number that decides an amount is data ([`super::rules`]).

use super::amount::{Bp, Money, Points};
use super::event::{Service, UsageEvent};
use super::posting::{Charge, LEVELS};
use super::rules::{PriceKey, RateClass, Rules, TOKENS_PER_UNIT, TokenCounts, per_unit};
use super::tier::Detection;

/// Milliseconds that a price per minute is for.
const MILLIS_PER_UNIT: u64 = 60_000;

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

/// What a path ends with, and the service that it then belongs to.
const ENDINGS: [(&str, Service); 8] = [
    ("/chat/completions", Service::ChatCompletions),
    ("/completions", Service::ChatCompletions),
    ("/responses", Service::ChatCompletions),
    ("/messages", Service::ChatCompletions),
    ("/embeddings", Service::Embeddings),
    ("/audio/speech", Service::Tts),
    ("/tts", Service::Tts),
    ("/scrape", Service::Scrape),
];

/// The service of an endpoint: by how its path ends, whatever stands before it (`/v1`, `/openai/v1`, `https://host/v1`).
/// A query string, a fragment and slashes at the end do not matter. `None`: no service of ours; it never silently becomes chat.
pub fn service_of(endpoint: &str) -> Option<Service> {
    let path_end = endpoint.find(['?', '#']).unwrap_or(endpoint.len());
    let path = endpoint[..path_end].trim_end_matches('/');
    ENDINGS
        .iter()
        .find(|(ending, _)| path.ends_with(ending))
        .map(|(_, service)| *service)
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
    let class = RateClass::of(service, model.tier);
    let price = price(Used::by(event), service, model, rules);
    Amounts {
        provider: rules.provider_earns(class),
        user: rules.user_earns(class),
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
        target_ms: rules.target_ms(class),
    }
}

/// What a request has used, as far as prices ask. What is unknown is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Its tokens.
    pub tokens: TokenCounts,
    /// Length of the audio, ms.
    pub audio_millis: u64,
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
        }
    }
}

/// What mainnet charges for a successful request. What is unknown is not charged.
pub fn price(used: Used, service: Service, model: &Detection, rules: &Rules) -> Money {
    match (service, &model.prices) {
        (Service::ChatCompletions, Some(prices)) => prices.cost(used.tokens),
        (Service::ChatCompletions, None) => rules.token_prices(model.tier).cost(used.tokens),
        (Service::Embeddings, Some(prices)) => prices.cost(TokenCounts {
            output: 0,
            reasoning: 0,
            ..used.tokens
        }),
        (Service::Embeddings, None) => per_unit(
            used.tokens.input,
            rules.price(PriceKey::Embeddings),
            TOKENS_PER_UNIT,
        ),
        (Service::Tts, _) => per_unit(
            used.audio_millis,
            rules.price(PriceKey::Tts),
            MILLIS_PER_UNIT,
        ),
        (Service::Scrape, _) => rules.price(PriceKey::Scrape),
    }
}

/// What each referrer up a chain gets of an amount: `floor(amount × share / 10,000)` at each level.
/// Only amounts of [`rate`] cascade; referral points, bonuses and streaks never do.
pub fn cascade(amount: Points, shares: [Bp; LEVELS]) -> [Points; LEVELS] {
    shares.map(|share| amount.times(share))
}
