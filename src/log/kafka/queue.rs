//! Batches from a partition's own queue.
//!
//! rdkafka's safe interface hands out one message at a time. librdkafka can fill an array with one
//! call, which costs about 40 % less CPU per record; for that this file speaks to librdkafka
//! directly. It is the only file, beside the one for topic ids, with `unsafe`.

#![expect(unsafe_code, reason = "librdkafka's C interface")]

use std::ffi::{CStr, CString, c_void};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use bytes::Bytes;
use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::Notify;

use super::context::Says;
use crate::domain::position::Offset;
use crate::domain::time::Millis;
use crate::log::{Headers, Record};

/// Whose times are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// The broker's only (`LogAppendTime`).
    Brokers,
    /// Also the producer's: nothing depends on them.
    Any,
}

/// The queue of one partition of one consumer. It is cut off from the consumer's own queue.
pub(super) struct PartitionQueue {
    queue: NonNull<rd::rd_kafka_queue_t>,
    /// Told whenever the empty queue gets something. The callback holds a pointer to it, so it must
    /// outlive the queue's callback.
    arrived: Arc<Notify>,
    times: Times,
    /// librdkafka's client must outlive its queues.
    consumer: Arc<BaseConsumer<Says>>,
}

// SAFETY: librdkafka's queues may be used from any thread; it locks them itself.
unsafe impl Send for PartitionQueue {}
// SAFETY: as above; every method takes the queue by shared reference and leaves locking to
// librdkafka.
unsafe impl Sync for PartitionQueue {}

/// What a queue held.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Records, in order, up to the first error.
    pub(super) records: Vec<Record>,
    /// The first error. What came behind it is not taken.
    pub(super) error: Option<QueueError>,
}

/// An error in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum QueueError {
    /// A record whose time is its producer's.
    ProducersTime(Offset),
    /// Told by Kafka.
    Kafka(RDKafkaErrorCode),
}

impl PartitionQueue {
    /// The queue of a partition. To be called before the partition is assigned.
    pub(super) fn open(
        consumer: &Arc<BaseConsumer<Says>>,
        topic: &CStr,
        partition: i32,
        times: Times,
    ) -> Option<PartitionQueue> {
        let arrived = Arc::new(Notify::new());
        // SAFETY: the client is alive (we hold it), the name is a C string; librdkafka returns a
        // new reference to the queue or null.
        let queue = unsafe {
            rd::rd_kafka_queue_get_partition(
                consumer.client().native_ptr(),
                topic.as_ptr(),
                partition,
            )
        };
        let queue = NonNull::new(queue)?;
        // SAFETY: the queue is a live reference of ours. Forwarding to null cuts it off from the
        // consumer's queue. The callback's opaque pointer stays valid until `drop` has taken the
        // callback back.
        unsafe {
            rd::rd_kafka_queue_forward(queue.as_ptr(), ptr::null_mut());
            let opaque = Arc::as_ptr(&arrived).cast_mut().cast::<c_void>();
            rd::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(tell), opaque);
        }
        Some(PartitionQueue {
            queue,
            arrived,
            times,
            consumer: consumer.clone(),
        })
    }

    /// Told whenever the empty queue gets something; may also be told without a reason.
    pub(super) fn arrived(&self) -> &Notify {
        &self.arrived
    }

    /// Takes what is there, at most `most` records; does not wait.
    pub(super) fn take(&self, most: usize) -> Batch {
        let mut messages: Vec<*mut rd::rd_kafka_message_t> = vec![ptr::null_mut(); most];
        // SAFETY: the queue is live, the array has `most` places. Every message that is returned is
        // ours to destroy.
        let taken = unsafe {
            rd::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, messages.as_mut_ptr(), most)
        };
        messages.truncate(usize::try_from(taken).unwrap_or(0));
        let messages: Vec<Message> = messages
            .into_iter()
            .filter_map(NonNull::new)
            .map(Message)
            .collect();
        copied(&messages, self.times)
    }

    /// The offset after the last record as of the last answer of the broker, if there was one.
    /// Costs nothing.
    pub(super) fn end_seen(&self, topic: &CStr, partition: i32) -> Option<Offset> {
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client is live, the name is a C string, and both numbers are ours.
        let error = unsafe {
            rd::rd_kafka_get_watermark_offsets(
                self.consumer.client().native_ptr(),
                topic.as_ptr(),
                partition,
                &raw mut low,
                &raw mut high,
            )
        };
        let is_known = error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
        u64::try_from(high).ok().filter(|_| is_known).map(Offset)
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        // SAFETY: the queue is a live reference of ours, given back here once. The callback is
        // taken back before `arrived` goes: librdkafka holds the queue's lock both while it calls
        // and while it exchanges the callback.
        unsafe {
            rd::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            rd::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

/// The queue was empty and has got something.
unsafe extern "C" fn tell(_client: *mut rd::rd_kafka_t, arrived: *mut c_void) {
    // SAFETY: the pointer is that of a `Notify` which lives until the callback was taken back.
    let arrived = unsafe { &*arrived.cast::<Notify>().cast_const() };
    arrived.notify_one();
}

/// A message of librdkafka's, destroyed with this.
struct Message(NonNull<rd::rd_kafka_message_t>);

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the message was given to us by librdkafka, and is destroyed once.
        unsafe { rd::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

impl Message {
    fn raw(&self) -> &rd::rd_kafka_message_t {
        // SAFETY: the message is live until this value is dropped.
        unsafe { self.0.as_ref() }
    }

    fn error(&self) -> Option<RDKafkaErrorCode> {
        let error = self.raw().err;
        (error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
    }

    fn value(&self) -> &[u8] {
        bytes_of(self.raw().payload, self.raw().len).unwrap_or_default()
    }

    fn key(&self) -> Option<&[u8]> {
        bytes_of(self.raw().key, self.raw().key_len)
    }

    fn offset(&self) -> Offset {
        Offset(u64::try_from(self.raw().offset).unwrap_or(0))
    }

    /// When the broker took it; `None` if the time is the producer's, and only the broker's will
    /// do.
    fn append_time(&self, times: Times) -> Option<Millis> {
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is live, and `kind` is ours.
        let time = unsafe { rd::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) };
        let is_brokers = kind == rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
        (is_brokers || times == Times::Any).then_some(Millis(time))
    }

    fn headers(&self) -> Headers {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is live; the headers that are returned live as long as it does.
        let error = unsafe { rd::rd_kafka_message_headers(self.0.as_ptr(), &raw mut headers) };
        if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Headers::new();
        }
        (0..).map_while(|index| header(headers, index)).collect()
    }
}

fn header(headers: *const rd::rd_kafka_headers_t, index: usize) -> Option<(String, Bytes)> {
    let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the headers live as long as their message, which the caller holds; the three places
    // are ours.
    let error = unsafe {
        rd::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size)
    };
    if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return None;
    }
    // SAFETY: librdkafka ends names with NUL, and they live as long as the headers.
    let name = unsafe { CStr::from_ptr(name) }
        .to_string_lossy()
        .into_owned();
    let value = bytes_of(value.cast_mut(), size).unwrap_or_default();
    Some((name, Bytes::copy_from_slice(value)))
}

/// Bytes of a live message. `None` for a null pointer, which is not the same as nothing between two
/// pointers.
fn bytes_of<'m>(start: *mut c_void, len: usize) -> Option<&'m [u8]> {
    // SAFETY: librdkafka gives a pointer to `len` bytes, or null. Callers tie the lifetime to the
    // message that they hold.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast::<u8>(), len) })
}

/// Copies the records out, all into one allocation.
fn copied(messages: &[Message], times: Times) -> Batch {
    let mut batch = Batch::default();
    let good = messages
        .iter()
        .position(|message| message.error().is_some());
    if let Some(place) = good {
        batch.error = messages[place].error().map(QueueError::Kafka);
    }
    let messages = &messages[..good.unwrap_or(messages.len())];
    let size = |message: &Message| message.value().len() + message.key().map_or(0, <[u8]>::len);
    let mut bytes = Vec::with_capacity(messages.iter().map(size).sum());
    for message in messages {
        bytes.extend_from_slice(message.key().unwrap_or_default());
        bytes.extend_from_slice(message.value());
    }
    let mut rest = Bytes::from(bytes);
    batch.records.reserve(messages.len());
    for message in messages {
        let Some(append_time) = message.append_time(times) else {
            batch.error = Some(QueueError::ProducersTime(message.offset()));
            break;
        };
        let key = message.key().map(|key| rest.split_to(key.len()));
        batch.records.push(Record {
            offset: message.offset(),
            append_time,
            key,
            value: rest.split_to(message.value().len()),
            headers: message.headers(),
        });
    }
    batch
}

/// A topic's name as librdkafka wants it. Topic names never hold a NUL: the configuration allows
/// letters, digits and `-_.` only.
pub(super) fn c_name(name: &str) -> CString {
    CString::new(name.replace('\0', "")).unwrap_or_default()
}
