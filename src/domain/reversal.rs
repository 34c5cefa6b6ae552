//! Reversals: what a gateway or an admin sends to take back one request.

use std::borrow::Cow;

use super::time::Millis;

/// CloudEvents `source` of reversals that admins ask for.
pub const ADMIN_SOURCE: &str = "tidemark-admin";

/// A request to take back what one accepted, successful event earned and cost. Text is borrowed
/// from the record where it can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reversal<'a> {
    /// Who asks for it: CloudEvents `source`.
    pub source: Cow<'a, str>,
    /// CloudEvents `id`, of the reversal itself.
    pub id: Cow<'a, str>,
    /// The user who made the original request.
    pub user: Cow<'a, str>,
    /// The event to take back.
    pub original: Original<'a>,
    /// Why, for people.
    pub reason: Option<Cow<'a, str>>,
}

/// Which event a reversal takes back, together with its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original<'a> {
    /// The event's `source`.
    pub source: Cow<'a, str>,
    /// The event's `id`.
    pub id: Cow<'a, str>,
    /// The event's `time`.
    pub time: Millis,
}
