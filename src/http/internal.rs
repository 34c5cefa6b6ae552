//! Reads of the log for the command line of the same machine, while `up` owns the data directory.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::caller::{AdminRead, May};
use super::extract::{PathParams, QueryParams};
use super::problem::Problem;
use crate::app::queries::BytesText;
use crate::domain::position::{Epoch, Offset, Partition};
use crate::domain::time::Millis;
use crate::log::{Bounds, Log, LogError, ReadLimit, Record, Topic};

/// Most records in one answer.
const RECORDS_MAX: usize = 10_000;
/// Most bytes of records in one answer (one record may be larger).
const RECORD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest wait for a first record.
const WAIT_MS_MAX: u64 = 10_000;

/// What the log holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogOverview {
    /// The epoch.
    #[schema(value_type = u32)]
    pub epoch: Epoch,
    /// Every topic.
    pub topics: Vec<TopicOverview>,
}

/// What one topic holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicOverview {
    /// Its name.
    pub topic: String,
    /// Its id.
    pub id: String,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionOverview>,
}

/// What one partition holds: `[start, end)`; a damaged one says what was found instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionOverview {
    /// First offset.
    #[schema(value_type = u64)]
    pub start: Offset,
    /// Offset after the last.
    #[schema(value_type = u64)]
    pub end: Offset,
    /// What is wrong with it, if it is damaged. The others can be read all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}

/// A record as a line of JSON. Bytes that are not UTF-8 stand in base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordLine {
    /// The offset.
    pub offset: Offset,
    /// Milliseconds since 1970.
    pub append_time: Millis,
    /// The key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<BytesText>,
    /// Headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, BytesText)>,
    /// The value.
    pub value: BytesText,
}

impl From<&Record> for RecordLine {
    fn from(record: &Record) -> RecordLine {
        let header = |(name, value): &(String, Bytes)| (name.clone(), value.into());
        RecordLine {
            offset: record.offset,
            append_time: record.append_time,
            key: record.key.as_ref().map(BytesText::from),
            headers: record.headers.iter().map(header).collect(),
            value: (&record.value).into(),
        }
    }
}

impl TryFrom<RecordLine> for Record {
    type Error = base64::DecodeError;
    fn try_from(line: RecordLine) -> Result<Record, base64::DecodeError> {
        let header = |(name, value): (String, BytesText)| Ok((name, value.try_into()?));
        Ok(Record {
            offset: line.offset,
            append_time: line.append_time,
            key: line.key.map(Bytes::try_from).transpose()?,
            headers: line
                .headers
                .into_iter()
                .map(header)
                .collect::<Result<_, _>>()?,
            value: line.value.try_into()?,
        })
    }
}

/// What the log holds.
#[utoipa::path(get, path = "/internal/log", tag = "internal", security(("key" = ["admin:read"])),
    responses((status = 200, description = "Topics and partitions.", body = LogOverview)))]
pub(super) async fn overview(
    _: May<AdminRead>,
    State(service): State<ApiState>,
) -> Result<Json<LogOverview>, Problem> {
    LogOverview::of(&*service.log)
        .await
        .map(Json)
        .map_err(Problem::from)
}

impl LogOverview {
    /// Asks a log.
    pub async fn of(log: &dyn Log) -> Result<LogOverview, LogError> {
        let mut topics = Vec::new();
        for topic in Topic::ALL {
            let info = match log.topic(topic).await {
                Err(LogError::NoTopic { .. }) => continue,
                info => info?,
            };
            let mut partitions = Vec::new();
            for partition in 0..info.partitions {
                partitions.push(PartitionOverview::of(log, topic, Partition(partition)).await?);
            }
            topics.push(TopicOverview {
                topic: topic.name().to_owned(),
                id: info.id,
                partitions,
            });
        }
        let epoch = log.epoch();
        Ok(LogOverview { epoch, topics })
    }
}

impl PartitionOverview {
    async fn of(
        log: &dyn Log,
        topic: Topic,
        partition: Partition,
    ) -> Result<PartitionOverview, LogError> {
        let (bounds, damaged) = match log.bounds(topic, partition).await {
            Ok(bounds) => (bounds, None),
            Err(LogError::Damaged { what, .. }) => {
                let (start, end) = (Offset(0), Offset(0));
                (Bounds { start, end }, Some(what))
            }
            Err(error) => return Err(error),
        };
        let Bounds { start, end } = bounds;
        Ok(PartitionOverview {
            start,
            end,
            damaged,
        })
    }
}

/// The code of a problem whose detail is what was found damaged in the partition that was asked
/// for.
pub const LOG_DAMAGED: &str = "log_damaged";

fn of_read(error: LogError) -> Problem {
    match error {
        LogError::Damaged { what, .. } => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, LOG_DAMAGED, what)
        }
        other => other.into(),
    }
}

/// Which records.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RecordsQuery {
    /// The first offset.
    #[serde(default)]
    from: u64,
    /// Most records.
    max: Option<usize>,
    /// How long to wait for a first record, ms.
    #[serde(default)]
    wait_ms: u64,
}

/// Records of a partition, as JSON lines.
#[utoipa::path(get, path = "/internal/log/{topic}/{partition}", tag = "internal", security(("key" = ["admin:read"])),
    params(
        ("topic" = String, Path, description = "The topic.", example = "usage.events"),
        ("partition" = u32, Path, description = "The partition.", example = 0),
        RecordsQuery,
    ),
    responses(
        (status = 200, description = "One record a line.", content_type = "application/x-ndjson"),
        (status = 404, description = "Unknown partition.", body = Problem, content_type = "application/problem+json"),
        (status = 416, description = "The log does not reach there.", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn records(
    _: May<AdminRead>,
    State(service): State<ApiState>,
    PathParams((topic, partition)): PathParams<(String, u32)>,
    QueryParams(wanted): QueryParams<RecordsQuery>,
) -> Result<Response, Problem> {
    let topic = topic_of(&*service.log, &topic, partition).await?;
    let limit = ReadLimit {
        records: wanted.max.unwrap_or(RECORDS_MAX).clamp(1, RECORDS_MAX),
        bytes: RECORD_BYTES_MAX,
    };
    let wait = Duration::from_millis(wanted.wait_ms.min(WAIT_MS_MAX));
    let from = Offset(wanted.from);
    let read = service
        .log
        .read(topic, Partition(partition), from, limit, wait);
    let records = read.await.map_err(of_read)?;
    let mut lines = String::new();
    for record in &records {
        let line = serde_json::to_string(&RecordLine::from(record)).map_err(|error| {
            tracing::error!(event = "http.bug", %error, "a record has no JSON");
            Problem::internal()
        })?;
        lines.push_str(&line);
        lines.push('\n');
    }
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response())
}

async fn topic_of(log: &dyn Log, name: &str, partition: u32) -> Result<Topic, Problem> {
    let missing = || {
        Problem::new(
            StatusCode::NOT_FOUND,
            "no_such_partition",
            format!("no such partition: {name}/{partition}; GET /internal/log lists them"),
        )
    };
    let topic = Topic::named(name).ok_or_else(missing)?;
    let info = log.topic(topic).await.map_err(Problem::from)?;
    if partition < info.partitions {
        Ok(topic)
    } else {
        Err(missing())
    }
}
