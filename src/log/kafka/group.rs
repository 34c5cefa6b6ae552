//! Which partitions are ours: membership in a consumer group.
//!
//! A member reads nothing; its partitions are assigned to it at their end and paused at once. What
//! it learns it tells through a channel. A revoked partition stays its own until
//! [`Member::release`]: the rebalance waits for that while polling goes on, so whoever works on the
//! partition can finish what is under way. A lost partition has another owner already.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::mpsc;

use super::context::Says;
use super::settings::KafkaSettings;
use super::{KafkaFault, refused_settings};
use crate::domain::position::{Offset, Partition};

/// How long leaving may take. librdkafka itself would wait a minute for a broker that hangs.
const LEAVE: Duration = Duration::from_secs(3);
/// How often the client is asked for what happened.
const POLL: Duration = Duration::from_millis(100);

/// What happens to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEvent {
    /// These partitions are ours now.
    Assigned(Vec<Partition>),
    /// These are to go to others: finish what is under way, then [`Member::release`] them.
    Revoked(Vec<Partition>),
    /// These have gone to others without asking. Whatever still works on them must stop.
    Lost(Vec<Partition>),
    /// Another process has joined under the same static id. This member is out for good.
    Fenced,
    /// The client has stopped for good; everything is lost. A new member may join. Says why.
    Failed(String),
}

/// A member of the group of one role.
pub struct Member {
    consumer: Arc<BaseConsumer<Membership>>,
    topic: String,
    stop: Arc<AtomicBool>,
    poller: Option<JoinHandle<()>>,
}

impl Member {
    /// Joins the group of a role, which shares out the partitions of a topic (by its name in the
    /// cluster). `drain` is how long it may take until revoked partitions are released.
    pub fn join(
        settings: &KafkaSettings,
        role: &str,
        topic: &str,
        drain: Duration,
    ) -> Result<(Member, mpsc::UnboundedReceiver<GroupEvent>), KafkaFault> {
        let (tell, told) = mpsc::unbounded_channel();
        let stop = Arc::new(AtomicBool::new(false));
        let context = Membership {
            says: Says { client: "group" },
            tell: tell.clone(),
            leaving: stop.clone(),
        };
        let settings_fault = |error: KafkaError| refused_settings(&error);
        let consumer: BaseConsumer<Membership> = settings
            .member(role, drain)
            .create_with_context(context)
            .map_err(settings_fault)?;
        consumer.subscribe(&[topic]).map_err(settings_fault)?;
        let consumer = Arc::new(consumer);
        let poller = {
            let (consumer, stop) = (consumer.clone(), stop.clone());
            std::thread::Builder::new()
                .name(format!("kafka-{role}"))
                .spawn(move || poll(&consumer, &stop, &tell))
                .map_err(|error| KafkaFault::Settings(format!("cannot start a thread: {error}")))?
        };
        let member = Member {
            consumer,
            topic: topic.to_owned(),
            stop,
            poller: Some(poller),
        };
        Ok((member, told))
    }

    /// Gives up revoked partitions. Work on them must have ended.
    pub fn release(&self, partitions: &[Partition]) {
        let list = list(&self.topic, partitions);
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            // It was lost meanwhile, or the client has stopped: either is told by an event of its
            // own.
            tracing::warn!(event = "group.release", ?partitions, %error);
        }
    }

    /// Tells the group where each partition stands. Nobody resumes from it; it is there for tools
    /// that show lag.
    pub fn commit(&self, positions: &[(Partition, Offset)]) {
        let mut list = TopicPartitionList::new();
        for (partition, next) in positions {
            let offset = rdkafka::Offset::Offset(i64::try_from(next.0).unwrap_or(i64::MAX));
            drop(list.add_partition_offset(&self.topic, number(*partition), offset));
        }
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            tracing::debug!(event = "group.commit", %error);
        }
    }

    /// Leaves the group, so that others take over at once (a static member keeps its place until
    /// its session ends). Work on every partition must have ended. A broker that does not answer is
    /// not waited for: then the session's end does it.
    pub async fn leave(mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(poller) = self.poller.take() {
            drop(tokio::task::spawn_blocking(move || poller.join()).await);
        }
        // Closing waits for the broker; it must not hold up other tasks.
        let consumer = self.consumer.clone();
        drop(self);
        let left = tokio::task::spawn_blocking(move || drop(consumer));
        if tokio::time::timeout(LEAVE, left).await.is_err() {
            tracing::warn!(
                event = "group.leave",
                seconds = LEAVE.as_secs(),
                "no broker answered; other workers take over when the session expires"
            );
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn number(partition: Partition) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}

fn list(topic: &str, partitions: &[Partition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(topic, number(*partition));
    }
    list
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    let number = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        Partition(u32::try_from(element.partition()).unwrap_or(0))
    };
    let mut partitions: Vec<Partition> = list.elements().iter().map(number).collect();
    partitions.sort_unstable();
    partitions
}

/// Keeps the client going until told to stop, or until it has stopped by itself.
fn poll(
    consumer: &BaseConsumer<Membership>,
    stop: &AtomicBool,
    tell: &mpsc::UnboundedSender<GroupEvent>,
) {
    while !stop.load(Ordering::Acquire) {
        match consumer.poll(POLL) {
            None | Some(Ok(_)) => {}
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                return drop(tell.send(ended(consumer, code)));
            }
            Some(Err(error)) => tracing::debug!(event = "group.poll", %error),
        }
        if let Some((code, _)) = consumer.client().fatal_error() {
            return drop(tell.send(ended(consumer, code)));
        }
    }
}

fn ended(consumer: &BaseConsumer<Membership>, code: RDKafkaErrorCode) -> GroupEvent {
    let reason = consumer.client().fatal_error();
    match reason {
        Some((RDKafkaErrorCode::FencedInstanceId, _)) => GroupEvent::Fenced,
        Some((code, reason)) => GroupEvent::Failed(format!("{code}: {reason}")),
        None => GroupEvent::Failed(code.to_string()),
    }
}

/// Takes what the group decides.
struct Membership {
    says: Says,
    tell: mpsc::UnboundedSender<GroupEvent>,
    leaving: Arc<AtomicBool>,
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.says.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.says.error(error, reason);
    }
}

impl ConsumerContext for Membership {
    /// The crate's own version of this drops the errors of both calls.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let partitions = partitions(list);
        match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.assigned(consumer, list, partitions);
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                self.revoked(consumer, list, partitions);
            }
            other => {
                let code = RDKafkaErrorCode::from(other);
                tracing::error!(event = "group.rebalance", %code, "a rebalance failed");
                self.say(GroupEvent::Lost(partitions));
                self.unassign(consumer, list);
            }
        }
    }

    fn commit_callback(
        &self,
        result: rdkafka::error::KafkaResult<()>,
        _offsets: &TopicPartitionList,
    ) {
        if let Err(error) = result {
            tracing::debug!(event = "group.commit", %error, "could not commit positions for lag tools");
        }
    }
}

impl Membership {
    fn say(&self, event: GroupEvent) {
        // Nobody listens any more when the worker stops.
        drop(self.tell.send(event));
    }

    fn assigned(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &TopicPartitionList,
        partitions: Vec<Partition>,
    ) {
        let mut at_end = list.clone();
        // A member reads nothing. The end, rather than a committed position, so that nothing is
        // asked or read for it.
        let placed = at_end.set_all_offsets(rdkafka::Offset::End);
        let assigned = placed
            .and_then(|()| consumer.incremental_assign(&at_end))
            .and_then(|()| consumer.pause(&at_end));
        match assigned {
            Ok(()) if partitions.is_empty() => {}
            Ok(()) => self.say(GroupEvent::Assigned(partitions)),
            Err(error) => {
                tracing::error!(event = "group.assign", ?partitions, %error, "could not assign partitions");
                self.say(GroupEvent::Failed(error.to_string()));
            }
        }
    }

    fn revoked(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &TopicPartitionList,
        partitions: Vec<Partition>,
    ) {
        if consumer.assignment_lost() {
            self.say(GroupEvent::Lost(partitions));
            self.unassign(consumer, list);
        } else if self.leaving.load(Ordering::Acquire) || partitions.is_empty() {
            self.unassign(consumer, list);
        } else {
            self.say(GroupEvent::Revoked(partitions));
        }
    }

    fn unassign(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        if let Err(error) = consumer.incremental_unassign(list) {
            tracing::warn!(event = "group.unassign", %error);
        }
    }
}
