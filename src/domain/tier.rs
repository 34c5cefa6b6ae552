//! Which tier a model is in, as far as its name says: sizes, quantisation.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::token_prices::TokenPrices;

/// A tier of models, by the memory that they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Tier {
    /// ≤ 4 GB, and any model that nothing else matches.
    TidePool = 0,
    /// 4–8 GB.
    BlueSurge = 1,
    /// 8–22 GB.
    OpenOcean = 2,
    /// 22 GB and more.
    MarianaDepth = 3,
}

impl Tier {
    /// All, in order.
    pub const ALL: [Tier; 4] = [
        Tier::TidePool,
        Tier::BlueSurge,
        Tier::OpenOcean,
        Tier::MarianaDepth,
    ];

    /// The name in rules and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Tier::TidePool => "tide_pool",
            Tier::BlueSurge => "blue_surge",
            Tier::OpenOcean => "open_ocean",
            Tier::MarianaDepth => "mariana_depth",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Tier> {
        Tier::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

/// What is known of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detection {
    /// The tier.
    pub tier: Tier,
    /// False when nothing matched and the tier is the default; operators want to see such names.
    pub recognised: bool,
    /// What its tokens cost, if it has prices of its own.
    pub prices: Option<TokenPrices>,
}

impl Detection {
    /// A model of which only the tier is known.
    pub const fn of_tier(tier: Tier) -> Detection {
        Detection {
            tier,
            recognised: true,
            prices: None,
        }
    }
}

/// What told the tier of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TierEvidence {
    /// An exact name of the catalogue.
    Name,
    /// A pattern of the catalogue: the first that matches.
    Pattern {
        /// The pattern.
        pattern: String,
        /// Its place in the catalogue, from 1.
        place: usize,
    },
    /// The size in the name.
    Size {
        /// Millions of parameters; of a mixture, experts × size.
        millions: u64,
        /// The mark of four-bit quantisation, if the name carries one.
        four_bit: Option<String>,
    },
}

/// A model whose name says its tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecognisedModel {
    /// The tier.
    pub tier: Tier,
    /// The spelling by which it was recognised: without vendor prefix, and perhaps without a date
    /// or other marks.
    pub name: String,
    /// What told it.
    pub evidence: TierEvidence,
}

/// Which size is in which tier. Sizes are in millions of parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sizes {
    /// Up to this: tide_pool.
    pub tide_pool_max: u32,
    /// Up to this: blue_surge.
    pub blue_surge_max: u32,
    /// Below this: open_ocean; from here on mariana_depth, except:
    pub open_ocean_below: u32,
    /// up to this, open_ocean too if the name carries one of the four-bit marks.
    pub open_ocean_four_bit_max: u32,
    /// Parts of a name that say "quantised to four bits".
    pub four_bit_marks: BTreeSet<String>,
}

/// The tier by the size that stands in a bare name, if one does.
pub(super) fn sized_tier(name: &str, sizes: &Sizes) -> Option<(Tier, TierEvidence)> {
    let tokens = tokens(name);
    // A name may give two sizes (`olmoe-1b-7b`: active and total parameters); the larger one takes
    // the memory.
    let millions = tokens.iter().filter_map(|token| millions(token)).max()?;
    let four_bit = tokens
        .iter()
        .find(|token| sizes.four_bit_marks.contains(**token));
    let tier = if millions <= u64::from(sizes.tide_pool_max) {
        Tier::TidePool
    } else if millions <= u64::from(sizes.blue_surge_max) {
        Tier::BlueSurge
    } else if millions < u64::from(sizes.open_ocean_below)
        || four_bit.is_some() && millions <= u64::from(sizes.open_ocean_four_bit_max)
    {
        Tier::OpenOcean
    } else {
        Tier::MarianaDepth
    };
    let four_bit = four_bit.map(|mark| (*mark).to_owned());
    Some((tier, TierEvidence::Size { millions, four_bit }))
}

/// The parts of a name: what stands between anything but letters and digits. A point between two
/// digits belongs to its part (`qwen2.5-1.5b`), any other does not (`llama-3-8b.q4_k_m.gguf`).
fn tokens(name: &str) -> Vec<&str> {
    let bytes = name.as_bytes();
    let digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
    let decimal_point = |i: usize| bytes[i] == b'.' && i > 0 && digit(i - 1) && digit(i + 1);
    let mut tokens = Vec::new();
    let mut start = 0;
    for (i, c) in name.char_indices() {
        if !c.is_alphanumeric() && !decimal_point(i) {
            tokens.push(&name[start..i]);
            start = i + c.len_utf8();
        }
    }
    tokens.push(&name[start..]);
    tokens
}

/// Millions of parameters, rounded up, of a part such as `7b`, `1.5b` or `8x22b`; `None` if it is
/// no size.
fn millions(token: &str) -> Option<u64> {
    let size = token.strip_suffix('b')?;
    match size.split_once('x') {
        Some((experts, size)) => small_number(experts)?.checked_mul(thousandths(size)?),
        None => thousandths(size),
    }
}

/// `1.5` → 1,500; more than three decimals are rounded up.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let whole = small_number(whole)?;
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let kept = &fraction[..fraction.len().min(3)];
    let rest_up = fraction[kept.len()..].bytes().any(|b| b != b'0');
    let fraction = format!("{kept:0<3}").parse::<u64>().ok()?;
    Some(whole * 1_000 + fraction + u64::from(rest_up))
}

/// A number of one to six digits: no model has more billions, and more would not be a size.
fn small_number(text: &str) -> Option<u64> {
    let fits = (1..=6).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}
