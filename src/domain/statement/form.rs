//! The statement's form as JSON: what `--json` prints and the API answers.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::domain::amount::Points;
use crate::domain::ids::Account;
use crate::domain::outcomes::Outcomes;
use crate::domain::posting::Charge;
use crate::domain::time::{Day, Millis, Month};

/// One month of one account, for people and programs to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Whose.
    pub account: Account,
    /// Which month.
    pub month: Month,
    /// Whether it has closed: nothing of it can change any more.
    pub is_final: bool,
    /// Since when what the account earns is not counted, if it is not: its partition is halted, or
    /// the account is set aside. Nothing is lost.
    pub paused_since: Option<Millis>,
    /// What only this kind of account has.
    pub earned: Earned,
    /// Streak bonus.
    pub streak: Points,
    /// From referrals.
    pub referral: Points,
    /// One-off awards.
    pub bonus: Points,
    /// Booked in this month although the events belong to a month that had closed.
    pub late: Points,
    /// The sum of the parts.
    pub total: Points,
    /// Its requests, late ones too.
    pub outcomes: Outcomes,
    /// Successful requests that were reversed. Those of days of this month are no longer among the
    /// successful ones of `outcomes`.
    pub reversed: u64,
    /// Those of them that were booked late: see [`Statement::successful`].
    pub reversed_late: u64,
    /// The services that were used, by name, in the order of their numbers.
    pub services: Vec<(String, ServiceLine)>,
    /// The days on which something happened, in order.
    pub days: Vec<(Day, DayLine)>,
}

/// The parts that differ by the kind of account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earned {
    /// A provider's.
    Provider {
        /// From requests served.
        base: Points,
        /// What quality adds, or takes away.
        multiplier: Points,
    },
    /// A user's.
    User {
        /// From requests made.
        usage: Points,
        /// From first successes with a service.
        trial: Points,
        /// What usage costs.
        charge: Charge,
    },
}

/// A service in a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceLine {
    /// Its requests.
    #[serde(flatten)]
    pub outcomes: Outcomes,
    /// Successful requests that were reversed.
    #[serde(skip_serializing_if = "is_zero")]
    pub reversed: u64,
    /// Its part of `base` or `usage`.
    #[serde(serialize_with = "decimal")]
    pub points: Points,
    /// Floored, over the successful requests that carry a latency; `null` if none does.
    pub mean_latency_ms: Option<u64>,
}

/// A day in a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DayLine {
    /// Everything but `bonus` and `late`.
    #[serde(serialize_with = "decimal")]
    pub points: Points,
    /// Its requests.
    #[serde(flatten)]
    pub outcomes: Outcomes,
    /// Successful requests that were reversed.
    #[serde(skip_serializing_if = "is_zero")]
    pub reversed: u64,
    /// Active days in a row that end on this day; 0 if it is not active.
    pub streak: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn decimal<S: Serializer>(points: &Points, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(points)
}

/// Lines under their names, in order.
struct ByName<'a, K, V>(&'a [(K, V)]);

impl<K: Serialize, V: Serialize> Serialize for ByName<'_, K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, line)| (name, line)))
    }
}

impl Statement {
    /// Its successful requests, less reversals that were booked late. A reversal of a request of a
    /// month that had closed leaves that month as it is, and counts in this one: as points and
    /// cost, this may be negative, so that sums over months are right.
    pub fn successful(&self) -> i128 {
        i128::from(self.outcomes.successful) - i128::from(self.reversed_late)
    }

    /// Its requests with any other status, such as 404 or 429: a client's fault, which is neither a
    /// success nor a failure.
    pub fn others(&self) -> u64 {
        let Outcomes {
            requests,
            successful,
            failed,
        } = self.outcomes;
        // Those of days of this month are no longer among the successful ones.
        let reversed = self.reversed.saturating_sub(self.reversed_late);
        [successful, failed, reversed]
            .into_iter()
            .fold(requests, u64::saturating_sub)
    }

    /// The amounts that make up the total, by their names in the JSON form.
    pub fn parts(&self) -> [(&'static str, Points); 6] {
        let [first, second] = match self.earned {
            Earned::Provider { base, multiplier } => [("base", base), ("multiplier", multiplier)],
            Earned::User { usage, trial, .. } => [("usage", usage), ("trial", trial)],
        };
        [
            first,
            second,
            ("streak", self.streak),
            ("referral", self.referral),
            ("bonus", self.bonus),
            ("late", self.late),
        ]
    }
}

impl Serialize for Statement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", &self.account.kind)?;
        map.serialize_entry("id", self.account.id())?;
        map.serialize_entry("month", &self.month)?;
        map.serialize_entry("final", &self.is_final)?;
        if let Some(since) = self.paused_since {
            map.serialize_entry("updatesPausedSince", &since.to_string())?;
        }
        for (name, points) in self.parts() {
            map.serialize_entry(name, &points.to_string())?;
        }
        map.serialize_entry("total", &self.total.to_string())?;
        if let Earned::User { charge, .. } = self.earned {
            map.serialize_entry("cost", &charge.cost.to_string())?;
            map.serialize_entry("shadowCost", &charge.shadow.to_string())?;
        }
        map.serialize_entry("requests", &self.outcomes.requests)?;
        map.serialize_entry("successful", &self.successful())?;
        map.serialize_entry("failed", &self.outcomes.failed)?;
        if self.reversed > 0 {
            map.serialize_entry("reversed", &self.reversed)?;
        }
        map.serialize_entry("services", &ByName(&self.services))?;
        map.serialize_entry("days", &ByName(&self.days))?;
        map.end()
    }
}
