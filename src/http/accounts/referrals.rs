//! Referral codes, signups, and what they brought.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{PAGE_DEFAULT, PAGE_MAX};
use crate::app::commands::{Link, NewSignup, Referrer, Repeat};
use crate::app::queries::{CodeView, ReferralOverview, Who};
use crate::domain::ids::AccountKind;
use crate::http::ApiState;
use crate::http::caller::Caller;
use crate::http::extract::{
    IdempotencyKey, JsonBody, NoQuery, PathParams, QueryParams, account, new_account, page_entries,
};
use crate::http::problem::Problem;

/// Whose code.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CodeRequest {
    /// The account's id; of a provider too.
    user_id: String,
    /// `user` or `provider`.
    #[schema(value_type = String)]
    user_type: AccountKind,
}

/// An account's referral code; made now if it has none.
///
/// Asking again gives the same one.
#[utoipa::path(post, path = "/api/referrals/code", tag = "accounts",
    security(("key" = ["account:{userType}:{userId}"]), ("key" = ["admin:write"])),
    request_body(content = CodeRequest, example = json!({"userId": "alice", "userType": "user"})),
    responses(
        (status = 200, description = "The code.", body = CodeView),
    ))]
pub(super) async fn code(
    caller: Caller,
    State(service): State<ApiState>,
    _: NoQuery,
    JsonBody(body): JsonBody<CodeRequest>,
) -> Result<Json<CodeView>, Problem> {
    let owner = new_account(body.user_type, &body.user_id)?;
    caller.must_act_for(&owner)?;
    let by = caller.in_anothers_stead();
    Ok(Json(service.commands.referral_code(&owner, by).await?))
}

/// A signup.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SignupBody {
    /// The code, as it was typed: case, surrounding spaces and the dash don't matter.
    referral_code: String,
    /// Who signs up.
    referee_id: String,
    /// `user` or `provider`.
    #[schema(value_type = String)]
    referee_type: AccountKind,
}

/// An accepted signup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SignupAnswer {
    /// Who signed up.
    referee: Who,
    /// Who referred it.
    referrer: Option<Who>,
    /// The code.
    referral_code: Option<String>,
    /// When: from then on the referrer gets its share.
    linked_at: String,
}

impl From<&Link> for SignupAnswer {
    fn from(link: &Link) -> SignupAnswer {
        SignupAnswer {
            referee: Who::from(&link.referee),
            referrer: link.chain.first().map(Who::from),
            referral_code: link.code.clone(),
            linked_at: link.linked_at.to_string(),
        }
    }
}

/// Signs an account up with a referral code. Once set, a referrer never changes.
///
/// With an `Idempotency-Key` a repeat gives the answer that the first one got, or would have got,
/// whatever happened to it: use one where an answer can be lost. Without it a repeat is refused as
/// `already_referred`.
#[utoipa::path(post, path = "/api/referrals/signup", tag = "accounts",
    security(("key" = ["account:{refereeType}:{refereeId}"]), ("key" = ["admin:write"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Names this signup: 1 to 128 characters, a random one for each.", example = "5f0c2f1e-6a51-4c5e-9a55-0e6b1d9f7c11")),
    request_body(content = SignupBody, example = json!({"referralCode": "BERT-7KQ2M", "refereeId": "alice", "refereeType": "user"})),
    responses(
        (status = 201, description = "Signed up.", body = SignupAnswer),
        (status = 404, description = "`unknown_code`: unknown referral code.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`already_referred`: the account has a referrer. `no_rules`: no rules have been published yet.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`inactive_code`: the code was switched off. `own_code`: it belongs to the account itself, as a user or as a provider. \
            `cycle`: the account is among the referrers of the code's owner. `idempotency_key_reused`: the key was used for a signup with another code.",
            body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn signup(
    caller: Caller,
    State(service): State<ApiState>,
    key: IdempotencyKey,
    _: NoQuery,
    JsonBody(body): JsonBody<SignupBody>,
) -> Result<(StatusCode, Json<SignupAnswer>), Problem> {
    let referee = new_account(body.referee_type, &body.referee_id)?;
    caller.must_act_for(&referee)?;
    let signup = NewSignup {
        referrer: Referrer::Code(body.referral_code),
        referee,
        repeat: key.given().map_or(Repeat::Never, Repeat::Key),
        paid_elsewhere: false,
        by: caller.in_anothers_stead().map(str::to_owned),
    };
    let link = service.commands.sign_up(signup).await?;
    Ok((StatusCode::CREATED, Json(SignupAnswer::from(&link))))
}

/// Which referees.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SomeReferees {
    /// Most referees of the page, 1 to 1000; without it 100.
    #[param(example = 100)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(example = 0)]
    after: Option<u64>,
}

/// An account's referral code, the accounts it referred, what it earned from them, and its own
/// referrer.
#[utoipa::path(get, path = "/api/referrals/{userType}/{id}", tag = "accounts",
    security(("key" = ["account:{userType}:{id}"]), ("key" = ["admin:read"])),
    params(
        ("userType" = String, Path, description = "`user` or `provider`.", example = "user"),
        ("id" = String, Path, description = "The account.", example = "alice"),
        SomeReferees,
    ),
    responses((status = 200, description = "The account's referrals.", body = ReferralOverview)))]
pub(super) async fn overview(
    caller: Caller,
    State(service): State<ApiState>,
    PathParams((kind, id)): PathParams<(AccountKind, String)>,
    QueryParams(asked): QueryParams<SomeReferees>,
) -> Result<Json<ReferralOverview>, Problem> {
    let account = account(kind, &id)?;
    caller.must_read(&account)?;
    let limit = page_entries(asked.limit, PAGE_DEFAULT, PAGE_MAX)?;
    let after = asked.after.unwrap_or(0);
    let overview = service.queries.referral_overview(&account, after, limit);
    Ok(Json(overview.await?))
}
