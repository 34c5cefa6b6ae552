//! The configuration keys of the rules, as people know them and as they stand in PricingConfig.

use std::fmt;

use serde::Serialize;

use super::fault::RuleFault;
use crate::domain::tier::Tier;

/// What a price is for. A kind of token without a price of its own costs what all input, or all
/// output, costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PriceKey {
    /// Input tokens of chat, tier 1.
    TidePoolInput = 0,
    /// Output tokens of chat, tier 1.
    TidePoolOutput = 1,
    /// Input tokens of chat, tier 2.
    BlueSurgeInput = 2,
    /// Output tokens of chat, tier 2.
    BlueSurgeOutput = 3,
    /// Input tokens of chat, tier 3.
    OpenOceanInput = 4,
    /// Output tokens of chat, tier 3.
    OpenOceanOutput = 5,
    /// Input tokens of chat, tier 4.
    MarianaDepthInput = 6,
    /// Output tokens of chat, tier 4.
    MarianaDepthOutput = 7,
    /// Tokens of embeddings.
    Embeddings = 8,
    /// Minutes of speech.
    Tts = 9,
    /// Scraped pages.
    Scrape = 10,
    /// Input tokens of chat that were read from a cache, tier 1.
    TidePoolCachedInput = 11,
    /// Input tokens of chat that were written to a cache, tier 1.
    TidePoolCacheWrite = 12,
    /// Output tokens of chat that were spent on reasoning, tier 1.
    TidePoolReasoning = 13,
    /// Input tokens of chat that were read from a cache, tier 2.
    BlueSurgeCachedInput = 14,
    /// Input tokens of chat that were written to a cache, tier 2.
    BlueSurgeCacheWrite = 15,
    /// Output tokens of chat that were spent on reasoning, tier 2.
    BlueSurgeReasoning = 16,
    /// Input tokens of chat that were read from a cache, tier 3.
    OpenOceanCachedInput = 17,
    /// Input tokens of chat that were written to a cache, tier 3.
    OpenOceanCacheWrite = 18,
    /// Output tokens of chat that were spent on reasoning, tier 3.
    OpenOceanReasoning = 19,
    /// Input tokens of chat that were read from a cache, tier 4.
    MarianaDepthCachedInput = 20,
    /// Input tokens of chat that were written to a cache, tier 4.
    MarianaDepthCacheWrite = 21,
    /// Output tokens of chat that were spent on reasoning, tier 4.
    MarianaDepthReasoning = 22,
}

impl PriceKey {
    /// How many there are.
    pub const COUNT: usize = 23;
    /// How many complete rules must have; the others come after them.
    pub const REQUIRED: usize = 11;
    /// All, in order.
    pub const ALL: [PriceKey; PriceKey::COUNT] = [
        PriceKey::TidePoolInput,
        PriceKey::TidePoolOutput,
        PriceKey::BlueSurgeInput,
        PriceKey::BlueSurgeOutput,
        PriceKey::OpenOceanInput,
        PriceKey::OpenOceanOutput,
        PriceKey::MarianaDepthInput,
        PriceKey::MarianaDepthOutput,
        PriceKey::Embeddings,
        PriceKey::Tts,
        PriceKey::Scrape,
        PriceKey::TidePoolCachedInput,
        PriceKey::TidePoolCacheWrite,
        PriceKey::TidePoolReasoning,
        PriceKey::BlueSurgeCachedInput,
        PriceKey::BlueSurgeCacheWrite,
        PriceKey::BlueSurgeReasoning,
        PriceKey::OpenOceanCachedInput,
        PriceKey::OpenOceanCacheWrite,
        PriceKey::OpenOceanReasoning,
        PriceKey::MarianaDepthCachedInput,
        PriceKey::MarianaDepthCacheWrite,
        PriceKey::MarianaDepthReasoning,
    ];
    /// Their names, in order.
    pub const NAMES: [&'static str; PriceKey::COUNT] = [
        "tide_pool_input",
        "tide_pool_output",
        "blue_surge_input",
        "blue_surge_output",
        "open_ocean_input",
        "open_ocean_output",
        "mariana_depth_input",
        "mariana_depth_output",
        "embeddings",
        "tts",
        "scrape",
        "tide_pool_cached_input",
        "tide_pool_cache_write",
        "tide_pool_reasoning",
        "blue_surge_cached_input",
        "blue_surge_cache_write",
        "blue_surge_reasoning",
        "open_ocean_cached_input",
        "open_ocean_cache_write",
        "open_ocean_reasoning",
        "mariana_depth_cached_input",
        "mariana_depth_cache_write",
        "mariana_depth_reasoning",
    ];

    /// The configuration key.
    pub const fn as_str(self) -> &'static str {
        PriceKey::NAMES[self as usize]
    }

    /// Input tokens of chat on models of a tier.
    pub const fn input(tier: Tier) -> PriceKey {
        match tier {
            Tier::TidePool => PriceKey::TidePoolInput,
            Tier::BlueSurge => PriceKey::BlueSurgeInput,
            Tier::OpenOcean => PriceKey::OpenOceanInput,
            Tier::MarianaDepth => PriceKey::MarianaDepthInput,
        }
    }

    /// Output tokens of chat on models of a tier.
    pub const fn output(tier: Tier) -> PriceKey {
        match tier {
            Tier::TidePool => PriceKey::TidePoolOutput,
            Tier::BlueSurge => PriceKey::BlueSurgeOutput,
            Tier::OpenOcean => PriceKey::OpenOceanOutput,
            Tier::MarianaDepth => PriceKey::MarianaDepthOutput,
        }
    }

    /// Input tokens of chat that were read from a cache, on models of a tier.
    pub const fn cached_input(tier: Tier) -> PriceKey {
        match tier {
            Tier::TidePool => PriceKey::TidePoolCachedInput,
            Tier::BlueSurge => PriceKey::BlueSurgeCachedInput,
            Tier::OpenOcean => PriceKey::OpenOceanCachedInput,
            Tier::MarianaDepth => PriceKey::MarianaDepthCachedInput,
        }
    }

    /// Input tokens of chat that were written to a cache, on models of a tier.
    pub const fn cache_write(tier: Tier) -> PriceKey {
        match tier {
            Tier::TidePool => PriceKey::TidePoolCacheWrite,
            Tier::BlueSurge => PriceKey::BlueSurgeCacheWrite,
            Tier::OpenOcean => PriceKey::OpenOceanCacheWrite,
            Tier::MarianaDepth => PriceKey::MarianaDepthCacheWrite,
        }
    }

    /// Output tokens of chat that were spent on reasoning, on models of a tier.
    pub const fn reasoning(tier: Tier) -> PriceKey {
        match tier {
            Tier::TidePool => PriceKey::TidePoolReasoning,
            Tier::BlueSurge => PriceKey::BlueSurgeReasoning,
            Tier::OpenOcean => PriceKey::OpenOceanReasoning,
            Tier::MarianaDepth => PriceKey::MarianaDepthReasoning,
        }
    }

    /// Whether rules are complete without it.
    pub const fn is_optional(self) -> bool {
        self as usize >= PriceKey::REQUIRED
    }

    /// Of what it is a part.
    pub fn whole(self) -> Option<PriceKey> {
        let of_tier = |tier: &Tier| {
            let tier = *tier;
            let parts = [
                (PriceKey::cached_input(tier), PriceKey::input(tier)),
                (PriceKey::cache_write(tier), PriceKey::input(tier)),
                (PriceKey::reasoning(tier), PriceKey::output(tier)),
            ];
            let found = parts.into_iter().find(|(part, _)| *part == self);
            found.map(|(_, whole)| whole)
        };
        Tier::ALL.iter().find_map(of_tier)
    }

    /// What one price pays for.
    pub const fn unit(self) -> Unit {
        match self {
            PriceKey::Tts => Unit::Minute,
            PriceKey::Scrape => Unit::Request,
            _ => Unit::ThousandTokens,
        }
    }
}

/// What one price pays for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// 1,000 tokens.
    #[serde(rename = "1000_tokens")]
    ThousandTokens,
    /// A minute of audio.
    #[serde(rename = "minute")]
    Minute,
    /// A request.
    #[serde(rename = "request")]
    Request,
}

impl Unit {
    /// The name in rules and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Unit::ThousandTokens => "1000_tokens",
            Unit::Minute => "minute",
            Unit::Request => "request",
        }
    }
}

/// A configuration key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SettingKey {
    /// `system_mainnet`: whether usage is charged.
    Mainnet,
    /// `tide_pool_input`, …: one price each.
    Price(PriceKey),
    /// `rules.points`: base points of an event.
    Points,
    /// `rules.demand`: demand multipliers.
    Demand,
    /// `rules.season`: seasonal multipliers.
    Season,
    /// `rules.shares`: the user's share and the cascade's.
    Shares,
    /// `rules.streak`: the steps of the streak bonus.
    Streak,
    /// `rules.quality`: the quality multiplier of a provider's day, and latency targets.
    Quality,
    /// `rules.activity`: when a day is active. Never changes.
    Activity,
    /// `rules.awards`: trial, signup and milestone.
    Awards,
    /// `rules.catalogue`: which model is in which tier.
    Catalogue,
    /// `rules.modelPrices`: what tokens of single models cost.
    ModelPrices,
    /// `rules.services`: services beside the built-in ones.
    Services,
    /// `rules.badges`: which badges there are.
    Badges,
    /// `rules.providers`: the provider accounts behind gateways' own names.
    Providers,
}

impl SettingKey {
    /// The keys other than prices that complete rules have.
    const SECTIONS: [SettingKey; 10] = [
        SettingKey::Mainnet,
        SettingKey::Points,
        SettingKey::Demand,
        SettingKey::Season,
        SettingKey::Shares,
        SettingKey::Streak,
        SettingKey::Quality,
        SettingKey::Activity,
        SettingKey::Awards,
        SettingKey::Catalogue,
    ];

    /// Every key that complete rules have, in order.
    pub fn required() -> impl Iterator<Item = SettingKey> {
        SettingKey::all().filter(|key| !key.is_optional())
    }

    /// Every key, in order.
    pub fn all() -> impl Iterator<Item = SettingKey> {
        let [mainnet, sections @ ..] = SettingKey::SECTIONS;
        std::iter::once(mainnet)
            .chain(PriceKey::ALL.map(SettingKey::Price))
            .chain(sections)
            .chain([
                SettingKey::ModelPrices,
                SettingKey::Services,
                SettingKey::Badges,
                SettingKey::Providers,
            ])
    }

    /// Whether rules are complete without it.
    pub const fn is_optional(self) -> bool {
        match self {
            SettingKey::Price(key) => key.is_optional(),
            SettingKey::ModelPrices
            | SettingKey::Services
            | SettingKey::Badges
            | SettingKey::Providers => true,
            _ => false,
        }
    }

    /// Whether amounts depend on it, once a record is in the log.
    pub(super) const fn decides_amounts(self) -> bool {
        !matches!(self, SettingKey::Badges | SettingKey::Providers)
    }

    /// How long after its publication a version comes into force at the earliest, in milliseconds.
    ///
    /// Whoever reads gateways' usage looks for new versions once a second, and reads an event with
    /// the names that are in force at the event's own time. If a version held from its publication
    /// on, a process that has not looked yet would name another provider than one that has, and two
    /// reports of one request would contradict each other. The lead leaves four seconds for the
    /// write, the look, and clocks that differ.
    pub const fn lead_ms(self) -> i64 {
        match self {
            SettingKey::Providers => 5_000,
            _ => 0,
        }
    }

    /// The name in PricingConfig.
    pub const fn name(self) -> &'static str {
        match self {
            SettingKey::Mainnet => "system_mainnet",
            SettingKey::Price(key) => key.as_str(),
            SettingKey::Points => "rules.points",
            SettingKey::Demand => "rules.demand",
            SettingKey::Season => "rules.season",
            SettingKey::Shares => "rules.shares",
            SettingKey::Streak => "rules.streak",
            SettingKey::Quality => "rules.quality",
            SettingKey::Activity => "rules.activity",
            SettingKey::Awards => "rules.awards",
            SettingKey::Catalogue => "rules.catalogue",
            SettingKey::ModelPrices => "rules.modelPrices",
            SettingKey::Services => "rules.services",
            SettingKey::Badges => "rules.badges",
            SettingKey::Providers => "rules.providers",
        }
    }

    /// The key of that name.
    pub fn named(name: &str) -> Option<SettingKey> {
        SettingKey::all().find(|key| key.name() == name)
    }

    /// The key of that name; or what is wrong with the name, and all there are.
    pub(super) fn known(name: &str) -> Result<SettingKey, Vec<RuleFault>> {
        SettingKey::named(name).ok_or_else(|| {
            let names: Vec<&str> = SettingKey::all().map(SettingKey::name).collect();
            vec![RuleFault::new(name, "is not known", names.join(", "))]
        })
    }
}

impl fmt::Display for SettingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
