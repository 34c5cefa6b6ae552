//! Which request is meant, in a query: ids may hold slashes, so they do not stand in paths.

use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::bad_query;
use super::problem::Problem;
use crate::app::queries::WhichRequest;
use crate::domain::ids::Account;
use crate::domain::time::Millis;

/// Which request of a user.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfRequest {
    /// The event's `source`.
    #[param(example = "gateway-eu-1")]
    source: String,
    /// The event's `id`.
    #[param(example = "r-1")]
    id: String,
    /// The event's `time`; without it the newest request of the last 35 days with this source and
    /// id.
    #[param(example = "2026-11-22T07:01:02.123Z")]
    time: Option<String>,
}

impl OfRequest {
    /// The request.
    pub fn which<'a>(&'a self, user: &'a Account) -> Result<WhichRequest<'a>, Problem> {
        Ok(WhichRequest {
            user,
            source: &self.source,
            id: &self.id,
            time: self.time.as_deref().map(instant).transpose()?,
        })
    }
}

/// An instant in a query.
pub(super) fn instant(text: &str) -> Result<Millis, Problem> {
    text.parse().map_err(|error| {
        bad_query(format!(
            "time: '{text}' is {error}; write the event's time, such as 2026-11-22T07:01:02.123Z"
        ))
    })
}
