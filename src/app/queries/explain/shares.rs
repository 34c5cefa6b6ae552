//! Who got points, and the products behind them.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::text;
use crate::domain::amount::Points;

/// A product that was rounded down, in millionths of a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Floored {
    /// The factors, as they are multiplied.
    pub factors: Vec<i64>,
    /// What their product is divided by.
    pub divisor: u64,
    /// The part that rounding down took off, in parts of `divisor`; 0: it was exact.
    pub remainder: u64,
    /// The result, in points.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub points: Points,
}

/// An account that got points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Beneficiary {
    /// `user`, `provider`, or `referrer`.
    pub role: &'static str,
    /// User or provider account.
    pub kind: &'static str,
    /// Who; left out where the reader is not to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Of a referrer: 1 is who referred the account, 2 who referred that one, and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<usize>,
    /// Of a referrer: whose chain, `user` or `provider`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<&'static str>,
    /// Of a referrer: its share, basis points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_bp: Option<u32>,
    /// Of a referrer: the entry of the control feed that made the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<u64>,
    /// Of a referrer: `floor(points × share / 10^4)`, of the points of the account that it
    /// referred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<Floored>,
    /// What it got.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub points: Points,
}

impl Beneficiary {
    /// Who it is, and why it is among them.
    pub fn title(&self) -> String {
        let name = match &self.id {
            Some(id) => format!("{} {id}", self.kind),
            None => format!("a {}", self.kind),
        };
        match (self.level, self.of) {
            (Some(level), Some(whose)) => {
                format!("{name}, referrer of the {whose} at level {level}")
            }
            _ => name,
        }
    }
}
