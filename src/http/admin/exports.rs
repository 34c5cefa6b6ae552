//! `GET /api/admin/exports/…`: a month as a file.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;

use crate::app::queries::{ExportFormat, ExportRequest, ExportWhat, ISSUER_DEFAULT};
use crate::domain::time::Month;
use crate::http::ApiState;
use crate::http::caller::{AdminRead, May};
use crate::http::download::download;
use crate::http::extract::{PathParams, QueryParams};
use crate::http::problem::Problem;

/// In which form.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(super) struct ExportQuery {
    /// `csv` (default), `parquet`, or `focus` for charges in the columns of FOCUS 1.2, as CSV.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>, example = "csv")]
    format: Option<ExportFormat>,
    /// Write ids and names in CSV as they are. By default an apostrophe is put before those that a
    /// spreadsheet would take for a formula.
    exact_text: Option<bool>,
    /// Who issues the invoices; FOCUS files name it. `tidemark` by default.
    #[param(example = "Example Inference Inc.")]
    issuer: Option<String>,
    /// Export requests even if the archive lacks some of them. The header `x-tidemark-partial`, the
    /// file name and the last line say so.
    partial: Option<bool>,
}

/// What the path names.
#[derive(Debug, Deserialize)]
pub(super) struct ExportPath {
    month: Month,
    #[serde(deserialize_with = "parsed_one")]
    what: ExportWhat,
}

fn parsed_one<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

fn parsed<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
    D: Deserializer<'de>,
{
    parsed_one(deserializer).map(Some)
}

/// A month as a file: every account's statement, or its services or days.
///
/// The answer is streamed. A CSV file ends with a line `# end rows=… …` that counts the rows and
/// gives the sums of the columns; a file without it was cut short. FOCUS files give the number of
/// rows in `x_RowsTotal` of the last row, Parquet files have a footer. The header
/// `x-tidemark-final` and the column `final` say whether the month can still change.
#[utoipa::path(get, path = "/api/admin/exports/{month}/{what}", tag = "admin", security(("key" = ["admin:read"])),
    params(
        ("month" = String, Path, description = "UTC.", example = "2026-11"),
        ("what" = String, Path, description = "`statements`, `services`, `days` or `requests`.", example = "statements"),
        ExportQuery,
    ),
    responses(
        (status = 200, description = "The file.", content(
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.parquet"),
        )),
        (status = 409, description = "`no_rules`: no rules have been published yet. `archive_incomplete`: the archive does not hold all requests \
            of the month; `partial=true` exports those that it holds.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`not_in_focus`: only statements and requests are charges. `no_archive`: requests are exported from the archive, \
            and none is configured. `invalid_issuer`: it is empty, too long or has control \
            characters. `month_in_the_future`: it has not begun.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`downloads_busy`: too many downloads at once; or log or store do not answer: retry, see Retry-After.",
            body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn file(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    PathParams(path): PathParams<ExportPath>,
    QueryParams(query): QueryParams<ExportQuery>,
) -> Result<Response, Problem> {
    let request = ExportRequest {
        month: path.month,
        what: path.what,
        format: query.format.unwrap_or(ExportFormat::Csv),
        exact_text: query.exact_text.unwrap_or(false),
        issuer: query.issuer.unwrap_or_else(|| ISSUER_DEFAULT.to_owned()),
        partial: query.partial.unwrap_or(false),
    };
    download(&service, request).await
}
