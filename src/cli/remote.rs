//! The log of a running `up`, read over HTTP.

use std::time::Duration;

use async_trait::async_trait;

use super::client::{Answer, Client, Problem};
use crate::domain::position::{Epoch, Offset, Partition};
use crate::http::{LOG_DAMAGED, LogOverview, RecordLine, TopicOverview};
use crate::log::{Bounds, Log, LogError, NewRecord, ReadLimit, Record, Topic, TopicInfo};

/// Reads only; events are sent with `tidemark emit`.
pub struct RemoteLog {
    client: Client,
    epoch: Epoch,
}

impl RemoteLog {
    /// Connects.
    pub async fn connect(client: Client) -> Result<RemoteLog, LogError> {
        let epoch = overview(&client).await?.epoch;
        Ok(RemoteLog { client, epoch })
    }

    async fn topic_now(&self, topic: Topic) -> Result<TopicOverview, LogError> {
        let overview = overview(&self.client).await?;
        let found = overview
            .topics
            .into_iter()
            .find(|t| t.topic == topic.name());
        found.ok_or_else(|| LogError::Unavailable(format!("`up` does not know topic {topic}")))
    }
}

async fn overview(client: &Client) -> Result<LogOverview, LogError> {
    let answer = ask(client, "/internal/log".to_owned()).await?;
    if answer.status != 200 {
        return Err(LogError::Unavailable(answer.problem().detail));
    }
    serde_json::from_slice(&answer.body).map_err(unreadable)
}

async fn ask(client: &Client, path: String) -> Result<Answer, LogError> {
    let client = client.clone();
    let asked = tokio::task::spawn_blocking(move || client.get(&path)).await;
    asked
        .map_err(|error| LogError::Unavailable(error.to_string()))?
        .map_err(|error| LogError::Unavailable(error.to_string()))
}

/// Damage stays damage on its way here: trying again would not cure it.
fn refused(topic: Topic, partition: Partition, problem: Problem) -> LogError {
    if problem.code == LOG_DAMAGED {
        return LogError::Damaged {
            topic,
            partition,
            what: problem.detail,
        };
    }
    LogError::Unavailable(problem.detail)
}

fn unreadable(error: impl std::fmt::Display) -> LogError {
    LogError::Unavailable(format!("cannot read the answer of `up`: {error}"))
}

#[async_trait]
impl Log for RemoteLog {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    async fn topic(&self, topic: Topic) -> Result<TopicInfo, LogError> {
        let found = self.topic_now(topic).await?;
        Ok(TopicInfo {
            id: found.id,
            partitions: u32::try_from(found.partitions.len()).unwrap_or(u32::MAX),
        })
    }

    async fn append(
        &self,
        _topic: Topic,
        _partition: Partition,
        _records: Vec<NewRecord>,
    ) -> Result<Vec<Offset>, LogError> {
        Err(LogError::Unavailable(
            "this process only reads the log; `tidemark emit` sends events".to_owned(),
        ))
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
        wait: Duration,
    ) -> Result<Vec<Record>, LogError> {
        let (max, wait_ms) = (limit.records, wait.as_millis());
        let path =
            format!("/internal/log/{topic}/{partition}?from={from}&max={max}&wait_ms={wait_ms}");
        let answer = ask(&self.client, path).await?;
        if answer.status != 200 {
            return Err(refused(topic, partition, answer.problem()));
        }
        let lines = answer.body.split(|byte| *byte == b'\n');
        lines
            .filter(|line| !line.is_empty())
            .map(|line| {
                let line: RecordLine = serde_json::from_slice(line).map_err(unreadable)?;
                line.try_into().map_err(unreadable)
            })
            .collect()
    }

    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, LogError> {
        let found = self.topic_now(topic).await?;
        let place = usize::try_from(partition.0).unwrap_or(usize::MAX);
        let bounds = found.partitions.get(place).cloned();
        let bounds = bounds.ok_or_else(|| {
            LogError::Unavailable(format!("`up` does not know partition {topic}/{partition}"))
        })?;
        match bounds.damaged {
            None => Ok(Bounds {
                start: bounds.start,
                end: bounds.end,
            }),
            Some(what) => Err(LogError::Damaged {
                topic,
                partition,
                what,
            }),
        }
    }
}
