//! Badges: what an account has achieved, once and for good. They carry no points.
//!
//! Which badges there are is data (`rules.badges`). Two kinds of criteria differ in what they go
//! by:
//!
//! - A streak, the first success with a service and the number of referees with a milestone go by
//!   the account as it stands, so the badge comes within seconds.
//! - Points and ranks go by months that are final, so they are exactly those of the statements: a
//!   total that still falls (quality, reversals) earns nothing.
//!
//! A badge that was granted stays, whatever happens to what it was granted for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::amount::Points;
use super::ids::AccountKind;
use super::service::Services;
use super::time::Month;

/// How many badges an installation can have. An account's are kept as bits of a `u128`.
pub const BADGES_MAX: usize = 100;
const _: () = assert!(BADGES_MAX <= 128);

/// The longest id of a badge.
pub const BADGE_ID_CHARS_MAX: usize = 64;

/// Names a badge: lower-case letters, digits and hyphens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct BadgeId(String);

/// The text names no badge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the id of a badge has 1 to {BADGE_ID_CHARS_MAX} lower-case letters, digits and hyphens, and \
     begins with a letter"
)]
pub struct NotABadgeId;

impl BadgeId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BadgeId {
    type Err = NotABadgeId;

    fn from_str(text: &str) -> Result<BadgeId, NotABadgeId> {
        let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
        match begins && text.len() <= BADGE_ID_CHARS_MAX && text.bytes().all(is_allowed) {
            true => Ok(BadgeId(text.to_owned())),
            false => Err(NotABadgeId),
        }
    }
}

impl<'de> Deserialize<'de> for BadgeId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<BadgeId, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for BadgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What must be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Criterion {
    /// So many active days in a row.
    StreakDays(u32),
    /// So many points in one final month.
    MonthPoints(Points),
    /// So many points in all final months together.
    LifePoints(Points),
    /// A place on the leaderboard of a final month, this one or a better one.
    MonthRank(u32),
    /// So many referees who have reached their milestone.
    Milestones(u32),
    /// A successful request to the service of this name; users only.
    FirstSuccess(String),
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Criterion::StreakDays(1) => write!(f, "one active day"),
            Criterion::StreakDays(days) => write!(f, "{days} active days in a row"),
            Criterion::MonthPoints(points) => write!(f, "{points} points in one month"),
            Criterion::LifePoints(points) => write!(f, "{points} points in all months together"),
            Criterion::MonthRank(1) => write!(f, "first place on the leaderboard of a month"),
            Criterion::MonthRank(rank) => {
                write!(f, "rank {rank} or better on the leaderboard of a month")
            }
            Criterion::Milestones(1) => write!(f, "one referral that reached its milestone"),
            Criterion::Milestones(count) => {
                write!(f, "{count} referrals that reached their milestones")
            }
            Criterion::FirstSuccess(service) => {
                write!(f, "a successful request to the service {service}")
            }
        }
    }
}

/// What a badge looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Picture {
    /// An SVG document.
    Svg(String),
    /// Somebody else serves it.
    Url(String),
}

impl Picture {
    /// As it stands in rules.
    pub fn as_str(&self) -> &str {
        match self {
            Picture::Svg(text) | Picture::Url(text) => text,
        }
    }
}

/// One badge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Badge {
    /// Its id, which never changes its meaning.
    pub id: BadgeId,
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What it looks like.
    pub picture: Picture,
    /// What must be reached.
    pub criterion: Criterion,
    /// Who can get it.
    pub kinds: Vec<AccountKind>,
    /// It is not granted any more.
    pub retired: bool,
}

/// What an account has reached that earns a badge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "by")]
pub enum Evidence {
    /// Its longest streak.
    Streak {
        /// So many days.
        days: u32,
    },
    /// A success with the service.
    Success,
    /// Its referees.
    Milestones {
        /// So many.
        count: u32,
    },
    /// What it earned in a month.
    MonthPoints {
        /// The first month in which it was enough.
        month: Month,
        /// The month's total.
        points: Points,
    },
    /// What it earned in all months up to one.
    LifePoints {
        /// The month with whose total it was enough.
        month: Month,
        /// The sum of the totals.
        points: Points,
    },
    /// Its place.
    Rank {
        /// The month.
        month: Month,
        /// From 1.
        rank: u32,
    },
}

/// What an account's newest row says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The longest streak ever.
    pub longest_streak: u32,
    /// A bit per service with which the account has had a success.
    pub services_used: u64,
}

impl Badge {
    /// Whether accounts of a kind can get it.
    pub fn is_for(&self, kind: AccountKind) -> bool {
        !self.retired && self.kinds.contains(&kind)
    }

    /// Whether [`Badge::by_standing`] can give it.
    pub const fn goes_by_standing(&self) -> bool {
        matches!(
            self.criterion,
            Criterion::StreakDays(_) | Criterion::FirstSuccess(_)
        )
    }

    /// Whether an account has it that stands so.
    pub fn by_standing(&self, standing: Standing, services: &Services) -> Option<Evidence> {
        match &self.criterion {
            Criterion::StreakDays(days) => {
                let evidence = Evidence::Streak {
                    days: standing.longest_streak,
                };
                (standing.longest_streak >= *days).then_some(evidence)
            }
            Criterion::FirstSuccess(name) => {
                let bit = services.named(name)?.bit();
                (standing.services_used & bit != 0).then_some(Evidence::Success)
            }
            _ => None,
        }
    }

    /// Whether an account has it of whose referees so many have reached their milestones.
    pub fn by_milestones(&self, count: u32) -> Option<Evidence> {
        match self.criterion {
            Criterion::Milestones(least) if count >= least => Some(Evidence::Milestones { count }),
            _ => None,
        }
    }

    /// Whether an account has it whose final months, ascending, have these totals.
    pub fn by_months(&self, totals: &[(Month, Points)]) -> Option<Evidence> {
        match self.criterion {
            Criterion::MonthPoints(least) => totals
                .iter()
                .find(|(_, points)| *points >= least)
                .map(|&(month, points)| Evidence::MonthPoints { month, points }),
            Criterion::LifePoints(least) => {
                let mut points = Points::ZERO;
                totals.iter().find_map(|(month, total)| {
                    points = points.plus(*total);
                    let month = *month;
                    (points >= least).then_some(Evidence::LifePoints { month, points })
                })
            }
            _ => None,
        }
    }

    /// Whether an account has it that had this place in a final month.
    pub fn by_rank(&self, month: Month, rank: u32) -> Option<Evidence> {
        match self.criterion {
            Criterion::MonthRank(worst) if rank <= worst => Some(Evidence::Rank { month, rank }),
            _ => None,
        }
    }

    /// Whether points of final months decide.
    pub fn goes_by_months(&self) -> bool {
        matches!(
            self.criterion,
            Criterion::MonthPoints(_) | Criterion::LifePoints(_)
        )
    }
}

/// The badges of an installation, retired ones included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Badges {
    badges: Vec<Badge>,
}

impl Badges {
    /// Badges, at most [`BADGES_MAX`], each id once.
    pub fn new(badges: Vec<Badge>) -> Badges {
        Badges { badges }
    }

    /// All of them, in the order of the rules.
    pub fn all(&self) -> &[Badge] {
        &self.badges
    }

    /// The badge of an id.
    pub fn named(&self, id: &BadgeId) -> Option<&Badge> {
        self.badges.iter().find(|badge| badge.id == *id)
    }

    /// Whether none is granted.
    pub fn are_none_granted(&self) -> bool {
        self.granted().next().is_none()
    }

    /// The lowest rank that earns one; `None`: none does.
    pub fn worst_rank(&self) -> Option<u32> {
        let ranks = self.granted().filter_map(|badge| match badge.criterion {
            Criterion::MonthRank(rank) => Some(rank),
            _ => None,
        });
        ranks.max()
    }

    /// Whether referees' milestones earn one.
    pub fn count_milestones(&self) -> bool {
        let counts = |badge: &Badge| matches!(badge.criterion, Criterion::Milestones(_));
        self.granted().any(counts)
    }

    fn granted(&self) -> impl Iterator<Item = &Badge> {
        self.badges.iter().filter(|badge| !badge.retired)
    }
}
