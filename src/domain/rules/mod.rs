//! Rules: every number that decides an amount, as versioned data.
//!
//! A network's rules are one TOML document ([`RulesDocument`]). In the store they are one
//! configuration key per price (`tide_pool_input`, …), the switch `system_mainnet`, and one key per
//! section:
//!
//! | key | holds |
//! |---|---|
//! | `rules.points` | base points of an event, by rate class |
//! | `rules.demand` | demand multipliers, by rate class |
//! | `rules.season` | seasonal multipliers, by rate class and time |
//! | `rules.shares` | the user's share, and the shares of three levels of referrers |
//! | `rules.streak` | the steps of the streak bonus |
//! | `rules.quality` | the quality multipliers of a provider's day, and latency targets |
//! | `rules.activity` | when a provider's day is active; never changes after its first version |
//! | `rules.awards` | trial, signup and milestone |
//! | `rules.catalogue` | which model is in which tier |
//! | `rules.modelPrices` | what tokens of single models cost; may be missing |
//! | `rules.services` | services beside the built-in ones, and other endpoints for these; may be missing |
//! | `rules.badges` | which badges there are; may be missing |
//! | `rules.providers` | the provider accounts behind gateways' own names; may be missing |
//!
//! Each key has versions ([`RuleChange`]); [`RuleBook`] holds them all and compiles what a control
//! position sees into a [`Timeline`], which answers with the [`Rules`] in force at an instant.

mod badges;
mod book;
mod catalogue;
mod class;
mod curve;
mod decimal;
mod document;
mod fault;
mod in_force;
mod key;
mod model_prices;
mod provider_names;
mod services;
mod setting;
mod version;

pub(super) use super::token_prices::{PricedTokens, TOKENS_PER_UNIT, floored, per_unit};
pub use super::token_prices::{TokenCounts, TokenKind, TokenPrices};
pub use book::{RuleBook, RuleHistory, Timeline, VersionInForce};
pub use class::{PerClass, RateClass};
pub use curve::Curve;
pub use document::{Network, RulesDocument, check_value, model_prices};
pub use fault::RuleFault;
pub use in_force::{EarningTerms, Rules, SeasonSpan, SeasonTerms};
pub use key::{PriceKey, SettingKey, Unit};
pub use model_prices::ModelPrice;
pub use provider_names::ProviderTimeline;
pub(super) use services::MILLIS_PER_MINUTE;
pub use services::ServicePrice;

use serde::{Deserialize, Serialize};

use crate::domain::time::Millis;

/// One new version of one price or rule set, as the control feed carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleChange {
    /// Which: `tide_pool_input`, `system_mainnet`, `rules.streak`, …
    pub key: String,
    /// The value, as JSON text.
    pub value: String,
    /// From when on (event time); `None` for the first version, which has no beginning.
    pub effective_from: Option<Millis>,
}
