//! The wallet to which an account's claims go.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::commands::{NewWallet, Repeat, WalletActor, WalletMessage, WalletSite};
use crate::app::queries::WalletView;
use crate::domain::ids::{Account, AccountKind};
use crate::http::ApiState;
use crate::http::caller::Caller;
use crate::http::extract::{IdempotencyKey, JsonBody, NoQuery, PathParams, account, new_account};
use crate::http::problem::Problem;

type OfAccount = PathParams<(AccountKind, String)>;

fn named((kind, id): (AccountKind, String)) -> Result<Account, Problem> {
    account(kind, &id)
}

/// An account's wallet: the address to which its claims go, and how it came to be.
///
/// An account that never linked one has no address and no history.
#[utoipa::path(get, path = "/api/wallets/{userType}/{id}", tag = "accounts",
    security(("key" = ["account:{userType}:{id}"]), ("key" = ["admin:read"])),
    params(
        ("userType" = String, Path, description = "`user` or `provider`.", example = "user"),
        ("id" = String, Path, description = "The account.", example = "alice"),
    ),
    responses((status = 200, description = "The wallet.", body = WalletView)))]
pub(super) async fn show(
    caller: Caller,
    State(service): State<ApiState>,
    PathParams(whose): OfAccount,
    _: NoQuery,
) -> Result<Json<WalletView>, Problem> {
    let account = named(whose)?;
    caller.must_read(&account)?;
    Ok(Json(service.queries.wallet(&account).await?))
}

/// The address to be linked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MessageRequest {
    /// `0x` and 40 hex digits, with the checksum (EIP-55) or in one case.
    address: String,
}

/// A message for the owner of an address to sign (EIP-4361), which links it to the account.
///
/// It can be used once, within 15 minutes. At most 10 messages of an account are open at once: a
/// further one takes the place of the oldest.
#[utoipa::path(post, path = "/api/wallets/{userType}/{id}/message", tag = "accounts",
    security(("key" = ["account:{userType}:{id}"]), ("key" = ["admin:write"])),
    params(
        ("userType" = String, Path, description = "`user` or `provider`.", example = "user"),
        ("id" = String, Path, description = "The account.", example = "alice"),
    ),
    request_body(content = MessageRequest, example = json!({"address": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"})),
    responses(
        (status = 200, description = "The message.", body = WalletMessage),
        (status = 409, description = "`no_public_origin`: an operator has to set `http.public_origin` first.", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "`address_malformed`: not `0x` and 40 hex digits. `address_checksum`: its checksum is wrong.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn message(
    caller: Caller,
    State(service): State<ApiState>,
    PathParams((kind, id)): OfAccount,
    _: NoQuery,
    JsonBody(body): JsonBody<MessageRequest>,
) -> Result<Json<WalletMessage>, Problem> {
    let account = new_account(kind, &id)?;
    caller.must_act_for(&account)?;
    let site = WalletSite::of(&service.config)?;
    let message = service
        .commands
        .wallet_message(&site, &account, &body.address);
    Ok(Json(message.await?))
}

/// A signed message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SignedMessage {
    /// The text, exactly as it was issued.
    message: String,
    /// Its signature (`personal_sign`, EIP-191): `0x` and 130 hex digits.
    signature: String,
    /// Why; an admin must say so, and the account sees it.
    reason: Option<String>,
}

/// Links the wallet that signed a message, in place of the one before.
///
/// It counts from then on: a month that is closed later pays to this address. Linking the present
/// one again changes nothing. With an `Idempotency-Key` a repeat gives the answer that the first
/// one got, or would have got; without it a repeat is refused as `nonce_used`.
#[utoipa::path(put, path = "/api/wallets/{userType}/{id}", tag = "accounts",
    security(("key" = ["account:{userType}:{id}"]), ("key" = ["admin:write"])),
    params(
        ("userType" = String, Path, description = "`user` or `provider`.", example = "user"),
        ("id" = String, Path, description = "The account.", example = "alice"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names this link: 1 to 128 characters, a random one for each.",
            example = "5f0c2f1e-6a51-4c5e-9a55-0e6b1d9f7c11"),
    ),
    request_body(content = SignedMessage, example = json!({"message": "points.example wants you to sign in …", "signature": "0x…1b"})),
    responses(
        (status = 200, description = "The wallet as it is now.", body = WalletView),
        (status = 409, description = "`nonce_used`: the message was used before. `too_many_wallet_links`: 10 within 24 hours. \
            `no_public_origin`: an operator has to set `http.public_origin` first.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`message_malformed`, `address_malformed`, `address_checksum`: not in the form of EIP-4361. \
            `message_other_account`, `message_other_domain`, `message_other_uri`, `message_other_chain`: it is for something else. \
            `nonce_unknown`: not issued to this account, or long ago. `nonce_expired`: too late. `message_altered`: not the text that was issued. \
            `signature_malformed`: not r, s and v of 65 bytes with a low s. `signature_other_address`: another key signed, or a contract wallet (not supported). \
            `invalid_reason`: it cannot be kept, or is missing and an admin asks.",
            body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn link(
    caller: Caller,
    State(service): State<ApiState>,
    PathParams((kind, id)): OfAccount,
    key: IdempotencyKey,
    _: NoQuery,
    JsonBody(body): JsonBody<SignedMessage>,
) -> Result<Json<WalletView>, Problem> {
    let account = new_account(kind, &id)?;
    caller.must_act_for(&account)?;
    let site = WalletSite::of(&service.config)?;
    let new = NewWallet {
        account,
        message: body.message,
        signature: body.signature,
        repeat: key.given().map_or(Repeat::Never, Repeat::Key),
        actor: actor(caller, body.reason),
    };
    let linked = service.commands.link_wallet(&site, new).await;
    count_link(&service, &linked);
    Ok(Json(linked?))
}

fn actor(caller: Caller, reason: Option<String>) -> WalletActor {
    WalletActor {
        is_admin: caller.in_anothers_stead().is_some(),
        by: caller.by,
        reason,
    }
}

/// Counts what became of a signed message; failures of the store are counted elsewhere.
pub(in crate::http) fn count_link(
    service: &ApiState,
    linked: &Result<WalletView, crate::app::CommandError>,
) {
    let outcome = match linked {
        Ok(_) => "linked",
        Err(crate::app::CommandError::Refused(_)) => "refused",
        Err(_) => return,
    };
    let counter = &service.metrics.wallet_changes_total;
    counter.with_label_values(&[outcome]).inc();
}

/// Counts an unlink.
pub(in crate::http) fn count_unlink(service: &ApiState) {
    let counter = &service.metrics.wallet_changes_total;
    counter.with_label_values(&["unlinked"]).inc();
}

/// Why a wallet is unlinked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Unlinking {
    /// Why; an admin must say so, and the account sees it.
    reason: Option<String>,
}

/// Unlinks an account's wallet: months that are closed later find none, and the account's amounts
/// wait for the next one.
///
/// An account without a wallet stays as it is.
#[utoipa::path(post, path = "/api/wallets/{userType}/{id}/unlink", tag = "accounts",
    security(("key" = ["account:{userType}:{id}"]), ("key" = ["admin:write"])),
    params(
        ("userType" = String, Path, description = "`user` or `provider`.", example = "user"),
        ("id" = String, Path, description = "The account.", example = "alice"),
    ),
    request_body(content = Unlinking, example = json!({"reason": "its owner reported the key as stolen"})),
    responses(
        (status = 200, description = "The wallet as it is now.", body = WalletView),
        (status = 422, description = "`invalid_reason`: it cannot be kept, or is missing and an admin asks.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn unlink(
    caller: Caller,
    State(service): State<ApiState>,
    PathParams(whose): OfAccount,
    _: NoQuery,
    JsonBody(body): JsonBody<Unlinking>,
) -> Result<Json<WalletView>, Problem> {
    let account = named(whose)?;
    caller.must_act_for(&account)?;
    let commands = &service.commands;
    let unlinked = commands.unlink_wallet(&account, actor(caller, body.reason));
    let unlinked = unlinked.await?;
    count_unlink(&service);
    Ok(Json(unlinked))
}
