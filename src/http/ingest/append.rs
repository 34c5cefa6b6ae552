//! Appends to the log, within a bound: a log that is away for long must not gather requests.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use futures::future::try_join_all;

use crate::domain::event::Reason;
use crate::domain::position::Partition;
use crate::http::ApiState;
use crate::http::caller::Sender;
use crate::http::problem::{BadEvent, Problem};
use crate::log::usage::SENDER_HEADER;
use crate::log::{LogError, NewRecord, Topic};
use crate::ops::health::Outage;

/// Records by partition.
pub(super) struct Batches {
    /// The id of the key that sends them.
    sender: Option<Bytes>,
    by_partition: BTreeMap<Partition, Batch>,
}

/// Records for one partition, with the place of each in the request.
#[derive(Default)]
struct Batch {
    records: Vec<NewRecord>,
    indexes: Vec<usize>,
}

impl Batches {
    /// None yet, of a sender.
    pub fn of(sender: &Sender) -> Batches {
        Batches {
            sender: sender
                .key()
                .map(|key| Bytes::copy_from_slice(key.as_bytes())),
            by_partition: BTreeMap::new(),
        }
    }

    /// Adds the usage event that was made of the item at `index` of the request, with its sender's
    /// name.
    pub fn push_event(&mut self, partition: Partition, mut record: NewRecord, index: usize) {
        let sender = self.sender.iter();
        let header = sender.map(|sender| (SENDER_HEADER.to_owned(), sender.clone()));
        record.headers.extend(header);
        self.push(partition, record, index);
    }

    /// Adds the record that was made of the item at `index` of the request.
    pub fn push(&mut self, partition: Partition, record: NewRecord, index: usize) {
        let batch = self.by_partition.entry(partition).or_default();
        batch.indexes.push(index);
        batch.records.push(record);
    }
}

/// A batch that was not appended.
struct Failed {
    problem: Box<Problem>,
    /// Whether only this partition takes nothing, and the others may.
    is_damage: bool,
}

/// Appends, and waits for every acknowledgement.
pub(super) async fn append(
    service: &ApiState,
    topic: Topic,
    batches: Batches,
) -> Result<(), Problem> {
    if batches.by_partition.is_empty() {
        // Says nothing about whether the log takes records.
        return Ok(());
    }
    let appends = batches
        .by_partition
        .into_iter()
        .map(|(partition, batch)| async move {
            let appended = service.log.append(topic, partition, batch.records).await;
            appended.map_err(|error| Failed {
                is_damage: matches!(error, LogError::Damaged { .. }),
                problem: Box::new(of_append(error, &batch.indexes)),
            })
        });
    // An error, or the end of patience, drops the other appends' futures, not what they have sent.
    // What was sent by then may still be appended; 503 promises nothing, and the sender sends it
    // again.
    let within = service.config.append_timeout;
    let appended = tokio::time::timeout(within, try_join_all(appends)).await;
    let appended = appended.unwrap_or_else(|_| Err(timed_out(within)));
    if topic == Topic::UsageEvents {
        tell_health(service, appended.as_ref().err());
    }
    appended.map(drop).map_err(|failed| *failed.problem)
}

/// Whether the log takes usage events, as this append shows.
fn tell_health(service: &ApiState, failed: Option<&Failed>) {
    match failed {
        None => service.health.appended(Ok(())),
        Some(Failed { problem, is_damage }) if problem.is_unavailable() && !is_damage => {
            let (detail, _) = problem.told();
            service.health.appended(Err(Outage {
                code: problem.code(),
                detail: detail.to_owned(),
            }));
        }
        Some(_) => {}
    }
}

fn timed_out(within: Duration) -> Failed {
    Failed {
        problem: Box::new(Problem::log_unavailable(&format!(
            "the log did not answer within {within:?}"
        ))),
        is_damage: false,
    }
}

fn of_append(error: LogError, indexes: &[usize]) -> Problem {
    match error {
        LogError::TooLarge { index, .. } => {
            let bad = BadEvent {
                index: indexes.get(index).copied().unwrap_or(index),
                code: Reason::TooLarge.as_str(),
                field: None,
                detail: error.to_string(),
            };
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "invalid_events",
                error.to_string(),
            )
            .of_events(vec![bad])
        }
        other => other.into(),
    }
}
