//! Appending to one topic: acknowledged by all in-sync replicas, in order, without silent
//! time-outs.
//!
//! librdkafka tries each record until it is answered. Should a record fail for good nevertheless,
//! those behind it must not be appended before it is sent again: the receiver of posting blocks
//! would find a hole in their sequence. So the producer stops at the first such failure
//! (`enable.gapless.guarantee`), everything behind it fails too, and the next append begins with a
//! new producer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

use super::context::Says;
use super::settings::KafkaSettings;
use super::{KafkaFault, refused_settings};
use crate::domain::position::{Offset, Partition};
use crate::log::NewRecord;

/// How long to wait for room in the producer's queue before it is looked again.
const FULL: Duration = Duration::from_millis(10);

/// Appends to one topic.
pub(super) struct Appender {
    settings: KafkaSettings,
    topic: String,
    producer: Mutex<Option<Arc<ThreadedProducer<Deliveries>>>>,
}

impl Appender {
    /// For a topic, by its name in the cluster. Connects when it is first used.
    pub(super) fn new(settings: KafkaSettings, topic: String) -> Appender {
        Appender {
            settings,
            topic,
            producer: Mutex::new(None),
        }
    }

    /// Makes the client now. The error says which settings cannot be used.
    pub(super) fn connect(&self) -> Result<(), KafkaFault> {
        self.producer().map(drop)
    }

    /// Lets the next append begin with a new client.
    pub(super) fn reset(&self) {
        drop(self.lock().take());
    }

    /// Appends records, in order, to one partition; returns when all are acknowledged.
    pub(super) async fn append(
        &self,
        partition: Partition,
        records: Vec<NewRecord>,
    ) -> Result<Vec<Offset>, KafkaFault> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let producer = self.producer()?;
        let (pending, answered) = Pending::new(records.len());
        for (index, record) in records.into_iter().enumerate() {
            let ticket = Box::new(Ticket {
                pending: pending.clone(),
                index,
            });
            if let Err(error) = self.send(&producer, partition, &record, ticket).await {
                self.replace_if_dead(&producer);
                return Err(fault(&error));
            }
        }
        let answer = answered.await;
        let offsets = answer.unwrap_or_else(|_| {
            Err(KafkaFault::Unavailable(
                "the producer was closed".to_owned(),
            ))
        });
        if offsets.is_err() {
            self.replace_if_dead(&producer);
        }
        offsets
    }

    async fn send(
        &self,
        producer: &ThreadedProducer<Deliveries>,
        partition: Partition,
        record: &NewRecord,
        mut ticket: Box<Ticket>,
    ) -> Result<(), KafkaError> {
        loop {
            let message = BaseRecord {
                topic: &self.topic,
                partition: Some(i32::try_from(partition.0).unwrap_or(i32::MAX)),
                payload: Some(&record.value[..]),
                key: record.key.as_deref(),
                timestamp: None,
                headers: headers(record),
                delivery_opaque: ticket,
            };
            match producer.send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    ticket = back.delivery_opaque;
                }
                Err((error, _)) => return Err(error),
            }
            tokio::time::sleep(FULL).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<ThreadedProducer<Deliveries>>>> {
        // A panic elsewhere does not make the place wrong.
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn producer(&self) -> Result<Arc<ThreadedProducer<Deliveries>>, KafkaFault> {
        let mut place = self.lock();
        if let Some(producer) = &*place {
            return Ok(producer.clone());
        }
        let created: ThreadedProducer<Deliveries> = self
            .settings
            .producer()
            .create_with_context(Deliveries(Says { client: "producer" }))
            .map_err(|error| refused_settings(&error))?;
        Ok(place.insert(Arc::new(created)).clone())
    }

    /// A producer that has stopped for good makes room for a new one.
    fn replace_if_dead(&self, producer: &Arc<ThreadedProducer<Deliveries>>) {
        let Some((code, reason)) = producer.client().fatal_error() else {
            return;
        };
        let mut place = self.lock();
        if place.as_ref().is_some_and(|now| Arc::ptr_eq(now, producer)) {
            *place = None;
            let topic = &self.topic;
            tracing::warn!(event = "kafka.producer.replaced", topic, %code, reason, "the producer stopped; the next append begins with a new one");
        }
    }
}

fn headers(record: &NewRecord) -> Option<OwnedHeaders> {
    if record.headers.is_empty() {
        return None;
    }
    let empty = OwnedHeaders::new_with_capacity(record.headers.len());
    let add = |headers: OwnedHeaders, (key, value): &(String, bytes::Bytes)| {
        headers.insert(Header {
            key,
            value: Some(&value[..]),
        })
    };
    Some(record.headers.iter().fold(empty, add))
}

/// The records of one append that are on their way.
struct Pending {
    left: AtomicUsize,
    state: Mutex<Answers>,
}

struct Answers {
    offsets: Vec<Offset>,
    fault: Option<KafkaFault>,
    tell: Option<oneshot::Sender<Result<Vec<Offset>, KafkaFault>>>,
}

impl Pending {
    fn new(
        count: usize,
    ) -> (
        Arc<Pending>,
        oneshot::Receiver<Result<Vec<Offset>, KafkaFault>>,
    ) {
        let (tell, told) = oneshot::channel();
        let pending = Pending {
            left: AtomicUsize::new(count),
            state: Mutex::new(Answers {
                offsets: vec![Offset(0); count],
                fault: None,
                tell: Some(tell),
            }),
        };
        (Arc::new(pending), told)
    }

    /// Takes the answer about one record; the last one tells whoever waits.
    fn answer(&self, index: usize, answer: Result<Offset, KafkaFault>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(offset) => state.offsets[index] = offset,
            Err(fault) => drop(state.fault.get_or_insert(fault)),
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let offsets = std::mem::take(&mut state.offsets);
        let answer = state.fault.take().map_or(Ok(offsets), Err);
        if let Some(tell) = state.tell.take() {
            // Nobody waits any more: that is their affair.
            drop(tell.send(answer));
        }
    }
}

/// What librdkafka keeps for us beside a record.
struct Ticket {
    pending: Arc<Pending>,
    index: usize,
}

/// Takes the answers.
struct Deliveries(Says);

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let answer = match result {
            // The broker had the record already (its first answer was lost), and does not say
            // where.
            Ok(message) => u64::try_from(message.offset()).map(Offset).map_err(|_| {
                KafkaFault::Unavailable("appended, but where is not known".to_owned())
            }),
            Err((error, _)) => Err(fault(error)),
        };
        ticket.pending.answer(ticket.index, answer);
    }
}

/// Whether trying again can help.
pub(super) fn fault(error: &KafkaError) -> KafkaFault {
    use RDKafkaErrorCode as Code;
    let text = error.to_string();
    match error.rdkafka_error_code() {
        Some(
            Code::MessageSizeTooLarge
            | Code::InvalidMessage
            | Code::InvalidRecord
            | Code::PolicyViolation
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::GroupAuthorizationFailed,
        ) => KafkaFault::Refused(text),
        _ => KafkaFault::Unavailable(text),
    }
}
