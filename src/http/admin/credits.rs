//! `/api/admin/credits`.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::app::commands::NewCredit as Credit;
use crate::app::queries::{Credits, LedgerOrder};
use crate::domain::amount::Money;
use crate::domain::ids::AccountKind;
use crate::http::ApiState;
use crate::http::caller::{AdminRead, AdminWrite, May};
use crate::http::extract::{
    Exact, IdempotencyKey, JsonBody, NoQuery, QueryParams, account, bad_query, page_entries,
};
use crate::http::problem::Problem;

const ENTRIES_DEFAULT: u32 = 100;
const ENTRIES_MAX: u32 = 1_000;

/// Credit for a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewCredit {
    /// Whose.
    user_id: String,
    /// US dollars, as a number or a string, to the nano-dollar; below zero takes credit back.
    #[schema(value_type = String)]
    amount: Exact<Money>,
    /// Why.
    reason: String,
}

/// Credit that was added.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreditAdded {
    /// Whose.
    user_id: String,
    /// What was added under this key, now or before, USD.
    amount: String,
    /// The key.
    key: String,
    /// The sum of all entries of the user, USD.
    added: String,
    /// How many there are.
    entries: u64,
}

/// Whose credits.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(super) struct CreditsQuery {
    /// The user.
    #[param(example = "alice")]
    user_id: String,
    /// Most entries of the page, 1 to 1,000; without it 100.
    limit: Option<u32>,
    /// The `next` of the page before; without it, the oldest entries.
    after: Option<String>,
}

/// Adds credit to a user's balance, or takes it back.
#[utoipa::path(post, path = "/api/admin/credits", tag = "admin", security(("key" = ["admin:write"])),
    params(("Idempotency-Key" = String, Header, description = "Names this entry: sent again under the same key, it counts once per user.",
        example = "invoice-1001")),
    request_body(content = NewCredit, example = json!({"userId": "alice", "amount": "25", "reason": "invoice 1001"})),
    responses(
        (status = 200, description = "Added, now or before under this key.", body = CreditAdded),
        (status = 422, description = "`idempotency_key_reused`: for another amount, or with another reason. `amount_out_of_range`: 0, or more than \
            1,000,000 USD, up or down. `invalid_reason`: it cannot be kept.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn add(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    key: IdempotencyKey,
    _: NoQuery,
    JsonBody(body): JsonBody<NewCredit>,
) -> Result<Json<CreditAdded>, Problem> {
    let user = account(AccountKind::User, &body.user_id)?;
    let amount = body.amount.0;
    let key = key.needed()?;
    let new = Credit {
        user: user.id().to_owned(),
        amount,
        reason: body.reason,
        idempotency_key: key.clone(),
        by: caller.0.by,
    };
    let added = service.commands.add_credit(new).await?.added;
    Ok(Json(CreditAdded {
        user_id: body.user_id,
        amount: amount.to_string(),
        key,
        added: added.total.to_string(),
        entries: added.entries,
    }))
}

/// Which entry is to be undone.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreditToUndo {
    /// Whose.
    user_id: String,
    /// The entry's key.
    key: String,
}

/// Undoes an entry of a user's credits by a counter-entry with the opposite amount. Sent again, it
/// counts once; so does the same from a page or a command.
#[utoipa::path(post, path = "/api/admin/credits/undo", tag = "admin", security(("key" = ["admin:write"])),
    request_body(content = CreditToUndo, example = json!({"userId": "alice", "key": "invoice-1001"})),
    responses(
        (status = 200, description = "The counter-entry, booked now or before.", body = CreditAdded),
        (status = 404, description = "`unknown_entry`: the user has no entry with this key.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_idempotency_key`: the key is empty or too long. `idempotency_key_reused`: another entry has the key \
            of the counter-entry. `amount_out_of_range`: an amount that cannot be taken back in one entry.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn undo(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    _: NoQuery,
    JsonBody(body): JsonBody<CreditToUndo>,
) -> Result<Json<CreditAdded>, Problem> {
    let user = account(AccountKind::User, &body.user_id)?;
    let by = &caller.0.by;
    let undone = service.commands.undo_credit(&user, &body.key, by).await?;
    let (counter, booked) = undone;
    Ok(Json(CreditAdded {
        user_id: body.user_id,
        amount: counter.amount.to_string(),
        key: counter.idempotency_key,
        added: booked.added.total.to_string(),
        entries: booked.added.entries,
    }))
}

/// A user's credits: what was added, what was spent, the balance, and the entries, page by page.
#[utoipa::path(get, path = "/api/admin/credits", tag = "admin", security(("key" = ["admin:read"])), params(CreditsQuery),
    responses((status = 200, description = "The user's credits.", body = Credits)))]
pub(super) async fn show(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    QueryParams(whose): QueryParams<CreditsQuery>,
) -> Result<Json<Credits>, Problem> {
    let user = account(AccountKind::User, &whose.user_id)?;
    let limit = page_entries(whose.limit, ENTRIES_DEFAULT, ENTRIES_MAX)?;
    let (queries, oldest_first) = (&service.queries, LedgerOrder::OldestFirst);
    let after = whose.after.as_deref();
    let page = queries.credit_page(&user, oldest_first, after, limit);
    let unknown = || bad_query("after: unknown entry; use the `next` of the previous page");
    let page = page.await?.ok_or_else(unknown)?;
    Ok(Json(queries.credit_sums(&user).await?.with(&user, page)))
}
