//! `/api/admin/requests`: why a request earned and cost what it did.

use axum::Json;
use axum::extract::State;

use crate::app::queries::Explanation;
use crate::domain::ids::AccountKind;
use crate::http::ApiState;
use crate::http::caller::{AdminRead, May};
use crate::http::extract::{PathParams, QueryParams, account};
use crate::http::problem::Problem;
use crate::http::requests::OfRequest;

/// Why a request earned and cost what it did: every step of rating it, everybody who got points,
/// and the sums that were posted.
///
/// `text` says all of it in sentences. `code` is `explanation_differs` if the steps come to
/// something other than was posted, which is a fault.
#[utoipa::path(get, path = "/api/admin/requests/{userId}", tag = "admin", security(("key" = ["admin:read"])),
    params(("userId" = String, Path, description = "The user who made the request.", example = "alice"), OfRequest),
    responses(
        (status = 200, description = "The explanation.", body = Explanation),
        (status = 404, description = "`unknown_request`: there is no row of such a request. It never was accepted, has expired, or request logging is off.",
            body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`row_unreadable`: a row of it cannot be decoded. `no_rules`: no rules have been published yet.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn explain(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    PathParams(user): PathParams<String>,
    QueryParams(asked): QueryParams<OfRequest>,
) -> Result<Json<Explanation>, Problem> {
    let user = account(AccountKind::User, &user)?;
    let now = service.clock.now();
    let explained = service.queries.explain(asked.which(&user)?, now);
    Ok(Json(explained.await?))
}
