//! The configuration keys of the rules, as people know them and as they stand in PricingConfig.

use std::fmt;

use serde::Serialize;

use crate::domain::tier::Tier;

/// What a price is for.
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
}

impl PriceKey {
    /// How many there are.
    pub const COUNT: usize = 11;
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
}

impl SettingKey {
    /// The keys that are no prices.
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
    pub fn all() -> impl Iterator<Item = SettingKey> {
        let [mainnet, sections @ ..] = SettingKey::SECTIONS;
        std::iter::once(mainnet)
            .chain(PriceKey::ALL.map(SettingKey::Price))
            .chain(sections)
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
        }
    }

    /// The key of that name.
    pub fn named(name: &str) -> Option<SettingKey> {
        SettingKey::all().find(|key| key.name() == name)
    }
}

impl fmt::Display for SettingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
