//! Whether a gateway should serve a user.

use axum::Json;
use axum::extract::State;

use crate::app::queries::Servable;
use crate::domain::access::Scope;
use crate::domain::ids::AccountKind;
use crate::http::ApiState;
use crate::http::caller::Caller;
use crate::http::extract::{PathParams, account};
use crate::http::problem::Problem;

/// A user's balance, and whether to serve its next request. For gateways, to ask before each
/// request.
///
/// `serve` is true on testnet, where usage costs nothing; on mainnet while the balance is above
/// zero; without any rules the balance decides too. A user without a balance has none: a user is
/// served on mainnet once credit was added.
///
/// The balance is behind what is being used just now: a request counts when its event was sent,
/// rated and posted, which takes as long as chunks and flushes are configured to take (about a
/// second by default). So a balance can go below zero by what is under way; what was used is
/// charged all the same. A gateway may keep the answer for some seconds. A switch between testnet
/// and mainnet is felt within a second. If this service does not answer, serving on is the choice
/// that loses least: usage is recorded, and charged, either way.
#[utoipa::path(get, path = "/api/v1/credits/{userId}", tag = "accounts",
    security(("key" = ["ingest"]), ("key" = ["ingest:{source}"]), ("key" = ["admin:read"]), ("key" = ["account:user:{userId}"])),
    params(("userId" = String, Path, description = "The user.", example = "alice")),
    responses((status = 200, description = "Balance and decision.", body = Servable)))]
pub(super) async fn credits(
    caller: Caller,
    State(service): State<ApiState>,
    PathParams(user): PathParams<String>,
) -> Result<Json<Servable>, Problem> {
    let user = account(AccountKind::User, &user)?;
    if caller.sources().is_err() {
        caller.must(&[
            Scope::Ingest,
            Scope::AdminRead,
            Scope::Account(user.clone()),
        ])?;
    }
    let servable = service.queries.servable(&user, service.clock.now());
    Ok(Json(servable.await?))
}
