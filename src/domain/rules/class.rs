//! Rate classes: what a price, a base amount, a demand multiplier and a latency target are given
//! for.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::domain::event::Service;
use crate::domain::tier::Tier;

/// What is rated alike: chat by the model's tier, every other built-in service as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RateClass {
    /// Chat on a model of tier 1.
    TidePool = 0,
    /// Chat on a model of tier 2.
    BlueSurge = 1,
    /// Chat on a model of tier 3.
    OpenOcean = 2,
    /// Chat on a model of tier 4.
    MarianaDepth = 3,
    /// Embeddings.
    Embeddings = 4,
    /// Speech.
    Tts = 5,
    /// Scraping.
    Scrape = 6,
}

impl RateClass {
    /// How many there are.
    pub const COUNT: usize = 7;
    /// All, in order.
    pub const ALL: [RateClass; RateClass::COUNT] = [
        RateClass::TidePool,
        RateClass::BlueSurge,
        RateClass::OpenOcean,
        RateClass::MarianaDepth,
        RateClass::Embeddings,
        RateClass::Tts,
        RateClass::Scrape,
    ];
    /// Their names, in order.
    pub const NAMES: [&'static str; RateClass::COUNT] = [
        "tide_pool",
        "blue_surge",
        "open_ocean",
        "mariana_depth",
        "embeddings",
        "tts",
        "scrape",
    ];

    /// The class of a request to a built-in service. The tier matters to chat only.
    pub const fn of(service: Service, tier: Tier) -> Option<RateClass> {
        match service {
            Service::CHAT_COMPLETIONS => Some(RateClass::of_tier(tier)),
            Service::EMBEDDINGS => Some(RateClass::Embeddings),
            Service::TTS => Some(RateClass::Tts),
            Service::SCRAPE => Some(RateClass::Scrape),
            _ => None,
        }
    }

    /// The class of chat on models of a tier.
    pub const fn of_tier(tier: Tier) -> RateClass {
        match tier {
            Tier::TidePool => RateClass::TidePool,
            Tier::BlueSurge => RateClass::BlueSurge,
            Tier::OpenOcean => RateClass::OpenOcean,
            Tier::MarianaDepth => RateClass::MarianaDepth,
        }
    }

    /// The name in rules and JSON.
    pub const fn as_str(self) -> &'static str {
        RateClass::NAMES[self as usize]
    }
}

/// One value for each rate class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerClass<T>(pub [T; RateClass::COUNT]);

impl<T: Copy> PerClass<T> {
    /// The value of a class.
    pub const fn get(&self, class: RateClass) -> T {
        self.0[class as usize]
    }
}

impl<T: Serialize> Serialize for PerClass<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(RateClass::COUNT))?;
        for (name, value) in RateClass::NAMES.iter().zip(&self.0) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
