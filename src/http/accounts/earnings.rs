//! What a provider earned.

use axum::Json;
use axum::extract::State;

use super::OfMonth;
use crate::app::queries::Earnings;
use crate::domain::ids::AccountKind;
use crate::http::ApiState;
use crate::http::caller::Caller;
use crate::http::extract::{PathParams, QueryParams, account};
use crate::http::problem::Problem;

/// A provider's earnings of a month.
///
/// `total` is the statement's: the days, one-off awards and what was booked late. A month without
/// activity reads as zeros.
#[utoipa::path(get, path = "/api/providers/{providerId}/earnings", tag = "accounts",
    security(("key" = ["account:provider:{providerId}"]), ("key" = ["admin:read"])),
    params(("providerId" = String, Path, description = "The provider.", example = "prov-1"), OfMonth),
    responses(
        (status = 200, description = "The earnings.", body = Earnings),
        (status = 409, description = "`no_rules`: no rules have been published yet.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn earnings(
    caller: Caller,
    State(service): State<ApiState>,
    PathParams(provider): PathParams<String>,
    QueryParams(asked): QueryParams<OfMonth>,
) -> Result<Json<Earnings>, Problem> {
    let provider = account(AccountKind::Provider, &provider)?;
    caller.must_read(&provider)?;
    let now = service.clock.now();
    let earnings = service.queries.earnings(&provider, asked.or_now(now), now);
    Ok(Json(earnings.await?))
}
