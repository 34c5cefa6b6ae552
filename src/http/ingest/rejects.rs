//! What became of a sender's events after they were taken: its own rejects.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::queries::{PageStart, RejectPlace, SentBy, SentRejectDetail, SentRejectPage};
use crate::domain::position::Offset;
use crate::http::ApiState;
use crate::http::caller::{Sender, Sources};
use crate::http::extract::{PathParams, QueryParams, bad_query, page_entries};
use crate::http::problem::Problem;

const REJECTS_DEFAULT: u32 = 100;
const REJECTS_MAX: u32 = 500;

/// Which rejects.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SentRejectsQuery {
    /// The partition of `usage.rejected`, from 0; `partitions` of the answer says how many there
    /// are.
    #[param(example = 0)]
    partition: u32,
    /// From this offset on: `next` of the page before. Without it, from the oldest that is kept.
    from: Option<u64>,
    /// Instead of `from`: begin this many rejects, of all senders, before the end of the partition.
    newest: Option<u64>,
    /// At most this many: 100 by default, up to 500.
    limit: Option<u32>,
}

impl SentRejectsQuery {
    fn start(&self) -> Result<PageStart, Problem> {
        match (self.from, self.newest) {
            (Some(_), Some(_)) => Err(bad_query("send either from or newest, not both")),
            (None, Some(count)) => Ok(PageStart::Newest(count)),
            (from, None) => Ok(PageStart::From(Offset(from.unwrap_or(0)))),
        }
    }
}

fn sent_by(sender: &Sender) -> SentBy {
    SentBy {
        key: sender.key().map(|key| key.as_ref().to_owned()),
        sources: match &sender.sources {
            Sources::Any => Vec::new(),
            Sources::Only(sources) => sources.to_vec(),
        },
    }
}

/// The rejects of what this key sent, a partition at a time, oldest first.
///
/// A key with the scope `ingest` sees what it sent itself; one with `ingest:SOURCE` also sees what
/// any other sender sent as that source. Other rejects are left out, so a page may be short, or
/// empty, although more follow: continue while there is a `next`. Events that were refused in the
/// answer to the request are not listed: the log never took them.
#[utoipa::path(get, path = "/api/v1/rejects", tag = "ingest", security(("key" = ["ingest"]), ("key" = ["ingest:{source}"])),
    params(SentRejectsQuery),
    responses(
        (status = 200, description = "A page of rejects.", body = SentRejectPage),
        (status = 404, description = "Unknown partition.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn list(
    sender: Sender,
    State(service): State<ApiState>,
    QueryParams(wanted): QueryParams<SentRejectsQuery>,
) -> Result<Json<SentRejectPage>, Problem> {
    let limit = page_entries(wanted.limit, REJECTS_DEFAULT, REJECTS_MAX)?;
    let (by, start) = (sent_by(&sender), wanted.start()?);
    let page = service
        .queries
        .sent_rejects(&by, wanted.partition, start, limit);
    Ok(Json(page.await?))
}

/// One reject of what this key sent: why, and the event's bytes.
#[utoipa::path(get, path = "/api/v1/rejects/{partition}/{offset}", tag = "ingest",
    security(("key" = ["ingest"]), ("key" = ["ingest:{source}"])),
    params(
        ("partition" = u32, Path, description = "The partition of usage.rejected.", example = 0),
        ("offset" = u64, Path, description = "The offset in it.", example = 0),
    ),
    responses(
        (status = 200, description = "The reject.", body = SentRejectDetail),
        (status = 404, description = "This key has no such reject.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show(
    sender: Sender,
    State(service): State<ApiState>,
    PathParams((partition, offset)): PathParams<(u32, u64)>,
) -> Result<Json<SentRejectDetail>, Problem> {
    let place = RejectPlace { partition, offset };
    let by = sent_by(&sender);
    Ok(Json(service.queries.sent_reject(&by, place).await?))
}
