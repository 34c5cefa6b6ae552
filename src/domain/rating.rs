//! Rating: what one event earns and costs.
//!
//! Which path is which service is part of the code and of its semantics number, not data: it decides which
//! events are valid at all. Every number that decides an amount is data ([`super::rules`]).

use super::amount::{Bp, Money, Points};
use super::event::{Service, UsageEvent};
use super::posting::{Charge, LEVELS};
use super::rules::{PriceKey, RateClass, Rules};
use super::tier::Tier;

/// Tokens that a price per 1,000 tokens is for.
const TOKENS_PER_UNIT: u64 = 1_000;
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
pub fn rate(event: &UsageEvent<'_>, service: Service, tier: Tier, rules: &Rules) -> Amounts {
    if !is_successful(event.status) {
        return Amounts::default();
    }
    let class = RateClass::of(service, tier);
    let used = Used {
        input_tokens: event.input_tokens,
        output_tokens: event.output_tokens,
        audio_millis: event.audio_millis,
    };
    let price = price(used, service, tier, rules);
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

/// What a request has used, as far as prices ask. `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Input tokens.
    pub input_tokens: Option<u64>,
    /// Output tokens.
    pub output_tokens: Option<u64>,
    /// Length of the audio, ms.
    pub audio_millis: Option<u64>,
}

/// What mainnet charges for a successful request. What is unknown is not charged.
pub fn price(used: Used, service: Service, tier: Tier, rules: &Rules) -> Money {
    let tokens = |count: Option<u64>, key: PriceKey| {
        per_unit(count.unwrap_or(0), rules.price(key), TOKENS_PER_UNIT)
    };
    match service {
        Service::ChatCompletions => tokens(used.input_tokens, PriceKey::input(tier))
            .plus(tokens(used.output_tokens, PriceKey::output(tier))),
        Service::Embeddings => tokens(used.input_tokens, PriceKey::Embeddings),
        Service::Tts => per_unit(
            used.audio_millis.unwrap_or(0),
            rules.price(PriceKey::Tts),
            MILLIS_PER_UNIT,
        ),
        Service::Scrape => rules.price(PriceKey::Scrape),
    }
}

/// `floor(count × price / unit)`. Prices are never negative; their limit and that of counts keep the product far from the end of its range.
fn per_unit(count: u64, price: Money, unit: u64) -> Money {
    // 64 bits hold nearly every charge, and dividing 128 bits is slow.
    let narrow = u64::try_from(price.0)
        .ok()
        .and_then(|price| price.checked_mul(count));
    if let Some(product) = narrow {
        return Money(i128::from(product / unit));
    }
    let product = price.0.saturating_mul(i128::from(count));
    Money(product / i128::from(unit))
}

/// What each referrer up a chain gets of an amount: `floor(amount × share / 10,000)` at each level.
/// Only amounts of [`rate`] cascade; referral points, bonuses and streaks never do.
pub fn cascade(amount: Points, shares: [Bp; LEVELS]) -> [Points; LEVELS] {
    shares.map(|share| amount.times(share))
}
