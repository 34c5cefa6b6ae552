//! `/api/admin/closes`: closing months; and the files that anybody may see.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::closing::{ClosePreview, CloseView};
use crate::claims::FileKind;
use crate::domain::closing::TermsText;
use crate::domain::time::Month;
use crate::http::ApiState;
use crate::http::access::ClientAddress;
use crate::http::caller::{AdminRead, AdminWrite, May};
use crate::http::download::{Downloader, download_closed};
use crate::http::extract::{JsonBody, NoQuery, PathParams};
use crate::http::problem::Problem;

/// Which month, and on which terms.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewClose {
    /// The month (UTC). It must be final, and follow the newest that is closed.
    #[schema(value_type = String, example = "2026-10")]
    month: Month,
    /// Whole tokens for all points together, pro rata; or `tokensPerPoint`.
    pool: Option<String>,
    /// Whole tokens for each point; or `pool`.
    tokens_per_point: Option<String>,
    /// How many decimals a whole token has, 0 to 36; the same in every close.
    decimals: u32,
    /// `users`, `providers`, or both with a comma between; both by default.
    kinds: Option<String>,
    /// An account that has fewer whole tokens to get waits for a later close; 0 by default.
    minimum: Option<String>,
}

impl NewClose {
    fn terms(self) -> (Month, TermsText) {
        let terms = TermsText {
            pool: self.pool,
            tokens_per_point: self.tokens_per_point,
            decimals: self.decimals,
            kinds: self.kinds,
            minimum: self.minimum,
        };
        (self.month, terms)
    }
}

/// Closed months.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CloseList {
    /// Newest first.
    closes: Vec<CloseView>,
}

/// A file of a close.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct ClosePath {
    month: Month,
    file: String,
}

impl ClosePath {
    pub(in crate::http) fn parsed(&self) -> Result<(Month, FileKind), Problem> {
        Ok((self.month, self.kind()?))
    }

    fn kind(&self) -> Result<FileKind, Problem> {
        let kind = self.file.parse();
        kind.map_err(|why: String| {
            Problem::new(axum::http::StatusCode::NOT_FOUND, "no_such_file", why)
        })
    }
}

/// Every month that was closed, or whose close was begun.
#[utoipa::path(get, path = "/api/admin/closes", tag = "admin", security(("key" = ["admin:read"])),
    responses((status = 200, description = "The closes, newest first.", body = CloseList)))]
pub(super) async fn list(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    _: NoQuery,
) -> Result<Json<CloseList>, Problem> {
    let closes = service.closing.list().await?;
    Ok(Json(CloseList { closes }))
}

/// Closes a month: fixes what every account is paid, and writes the claim files.
///
/// A month is closed once. The same request again gives the same answer, and finishes a close that
/// was begun and not finished; on other terms it is refused. The work goes on if the request times
/// out: look at the close then.
#[utoipa::path(post, path = "/api/admin/closes", tag = "admin", security(("key" = ["admin:write"])),
    request_body(content = NewClose, example = json!({"month": "2026-10", "pool": "100000", "decimals": 18, "minimum": "1"})),
    responses(
        (status = 200, description = "The month is closed, now or before.", body = CloseView),
        (status = 409, description = "`month_not_final`: something can still change in it. `accounts_set_aside`: for some accounts. \
            `months_out_of_order`: another month comes first. `nothing_to_close`: the first close would concern no account. `close_unfinished`: an earlier close was not finished. \
            `closed_on_other_terms`: it is closed. `decimals_changed`: earlier closes had others. `close_running`: wait. \
            `no_closing_location`: no place for files is configured. `closing_file_damaged`: a file is there with other bytes. \
            `close_record_missing`: the month's files are there, and the tables know nothing of it. \
            `close_differs`: computed again, a close comes out differently; restore its files from a backup.",
            body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`pool_or_tokens_per_point`: give one of them. `amount_is_zero`, `amount_out_of_range` (2^256 or more), \
            `invalid_amount`, `decimals_out_of_range` (more than 36), `invalid_kinds`: about a value. \
            `too_many_claims`: more addresses than a tree has leaves, 2^30.", body = Problem,
            content_type = "application/problem+json"),
        (status = 503, description = "`files_unavailable`: the place of the files does not answer; retry, see Retry-After.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn close(
    caller: May<AdminWrite>,
    State(service): State<ApiState>,
    _: NoQuery,
    JsonBody(body): JsonBody<NewClose>,
) -> Result<Json<CloseView>, Problem> {
    let (month, terms) = body.terms();
    close_to_the_end(&service, month, terms, caller.0.by)
        .await
        .map(Json)
}

/// Closes, also if the client goes away meanwhile.
pub(in crate::http) async fn close_to_the_end(
    service: &ApiState,
    month: Month,
    terms: TermsText,
    by: String,
) -> Result<CloseView, Problem> {
    let closing = service.closing.clone();
    let work = tokio::spawn(async move { closing.close(month, Some(terms), &by).await });
    let closed = work.await.map_err(|_| Problem::internal())?;
    Ok(closed?)
}

/// What a close would pay. It writes nothing.
#[utoipa::path(post, path = "/api/admin/closes/preview", tag = "admin", security(("key" = ["admin:write"])),
    request_body(content = NewClose, example = json!({"month": "2026-10", "tokensPerPoint": "0.25", "decimals": 6, "kinds": "providers"})),
    responses(
        (status = 200, description = "The sums.", body = ClosePreview),
        (status = 409, description = "As for a close.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "As for a close.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn preview(
    _: May<AdminWrite>,
    State(service): State<ApiState>,
    _: NoQuery,
    JsonBody(body): JsonBody<NewClose>,
) -> Result<Json<ClosePreview>, Problem> {
    let (month, terms) = body.terms();
    Ok(Json(service.closing.preview(month, terms).await?))
}

/// The close of a month.
#[utoipa::path(get, path = "/api/admin/closes/{month}", tag = "admin", security(("key" = ["admin:read"])),
    params(("month" = String, Path, description = "UTC.", example = "2026-10")),
    responses(
        (status = 200, description = "The close.", body = CloseView),
        (status = 404, description = "`not_closed`: it is not closed.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    PathParams(month): PathParams<Month>,
    _: NoQuery,
) -> Result<Json<CloseView>, Problem> {
    Ok(Json(service.closing.show(month).await?))
}

/// A file of a closed month; also those that name accounts.
#[utoipa::path(get, path = "/api/admin/closes/{month}/files/{file}", tag = "admin", security(("key" = ["admin:read"])),
    params(
        ("month" = String, Path, description = "UTC.", example = "2026-10"),
        ("file" = String, Path, description = "As the close names it.", example = "accounts.csv"),
    ),
    responses(
        (status = 200, description = "The file.", content((Vec<u8> = "application/octet-stream"))),
        (status = 404, description = "`not_closed`, `no_such_file`: there is none.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`close_unfinished`: finish it first. `closing_file_damaged`: it has another length. \
            `no_closing_location`: no place for files is configured.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`downloads_busy`, `files_unavailable`: retry, see Retry-After.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn file(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    PathParams(path): PathParams<ClosePath>,
    _: NoQuery,
) -> Result<Response, Problem> {
    download_closed(&service, path.month, path.kind()?, Downloader::Admin).await
}

/// A claim file of a closed month: addresses, amounts and proofs, as they go on chain. Anybody may
/// read it.
#[utoipa::path(get, path = "/api/closes/{month}/{file}", tag = "accounts",
    params(
        ("month" = String, Path, description = "UTC.", example = "2026-10"),
        ("file" = String, Path, description = "`close.json`, `openzeppelin.json`, `cumulative.json`, `uniswap.json` or `sablier.csv`.",
            example = "close.json"),
    ),
    responses(
        (status = 200, description = "The file.", content((Vec<u8> = "application/octet-stream"))),
        (status = 400, description = "`invalid_path`: not a month, or not the name of a file.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_closed`, `no_such_file`: there is none.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`close_unfinished`: it is not published yet. `closing_file_damaged`: it has another length. \
            `no_closing_location`: no place for files is configured.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_downloads`: this address has two under way; retry, see Retry-After.", body = Problem,
            content_type = "application/problem+json"),
        (status = 503, description = "`downloads_busy`, `files_unavailable`: retry, see Retry-After.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(in crate::http) async fn published(
    State(service): State<ApiState>,
    ClientAddress(address): ClientAddress,
    PathParams(path): PathParams<ClosePath>,
) -> Result<Response, Problem> {
    let kind = path.kind()?;
    if !kind.is_public() {
        let why = format!("{kind} is not for download by everybody; admins read it with a key");
        return Err(Problem::new(
            axum::http::StatusCode::NOT_FOUND,
            "no_such_file",
            why,
        ));
    }
    download_closed(&service, path.month, kind, Downloader::Anybody(address)).await
}
