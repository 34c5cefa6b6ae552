//! Which tier a model is in.

use serde::{Deserialize, Serialize};

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

/// What is known of a model's tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detection {
    /// The tier.
    pub tier: Tier,
    /// False when nothing matched and the tier is the default; operators want to see such names.
    pub recognised: bool,
}
