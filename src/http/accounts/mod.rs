//! What users and providers see of their own, and what they do themselves: codes and signups.
//!
//! An account that nothing is known of reads as one that has done nothing yet: zeros, not 404. A
//! marketplace makes its accounts elsewhere, and shows their pages before their first request.

use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use crate::domain::time::{Millis, Month};

mod badges;
mod claims;
mod credits;
mod earnings;
mod referrals;
mod requests;
mod users;
mod wallets;

pub(super) use wallets::{count_link, count_unlink};

/// Entries of a page, unless asked otherwise.
const PAGE_DEFAULT: u32 = 100;
/// Most entries of a page.
const PAGE_MAX: u32 = 1_000;

/// Routes of accounts.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(referrals::code))
        .routes(routes!(referrals::signup))
        .routes(routes!(referrals::overview))
        .routes(routes!(earnings::earnings))
        .routes(routes!(users::points))
        .routes(routes!(users::streak))
        .routes(routes!(users::usage))
        .routes(routes!(requests::of_user))
        .routes(routes!(requests::of_provider))
        .routes(routes!(credits::credits))
        .routes(routes!(badges::of_user))
        .routes(routes!(badges::of_provider))
        .routes(routes!(badges::credential_of_user))
        .routes(routes!(badges::credential_of_provider))
        .routes(routes!(claims::of_user))
        .routes(routes!(claims::of_provider))
        .routes(routes!(wallets::show, wallets::link))
        .routes(routes!(wallets::message))
        .routes(routes!(wallets::unlink))
}

/// Which month.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfMonth {
    /// UTC, such as `2026-11`; without it the current one.
    #[param(value_type = Option<String>, example = "2026-11")]
    month: Option<Month>,
}

impl OfMonth {
    fn or_now(&self, now: Millis) -> Month {
        self.month.unwrap_or_else(|| now.month())
    }
}
