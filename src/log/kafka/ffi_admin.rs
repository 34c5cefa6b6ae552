//! librdkafka's requests about topics.
//!
//! The crate's own `AdminClient` will not do: it knows no topic ids, changes a topic's settings
//! only all at once, hides why settings cannot be read, and never serves its client's main queue,
//! so that what librdkafka complains of piles up there unheard.
//!
//! All calls wait for their answer: call them where waiting is allowed, with a client that somebody
//! else polls.

#![expect(unsafe_code, reason = "librdkafka's C interface")]

use std::ffi::{CStr, CString, NulError, c_char, c_int};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as rd;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// How much longer than the request's own time-out its answer is waited for: librdkafka answers
/// every request, if only with a time-out.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// What a topic is, in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicState {
    /// Its id: another one means that the topic was deleted and created again. Empty if the broker
    /// gives topics no ids.
    pub id: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// Copies of each partition; the least, where partitions differ.
    pub replication_factor: u16,
}

/// Why a request failed.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// As librdkafka classifies it.
    pub(super) code: RDKafkaErrorCode,
    /// As librdkafka or the broker says it.
    pub(super) reason: String,
}

impl Refusal {
    fn new(code: RDKafkaErrorCode, reason: Option<String>) -> Refusal {
        let reason = reason.unwrap_or_else(|| code.to_string());
        Refusal { code, reason }
    }
}

impl From<&KafkaError> for Refusal {
    fn from(error: &KafkaError) -> Refusal {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        Refusal::new(code, Some(error.to_string()))
    }
}

impl From<NulError> for Refusal {
    fn from(error: NulError) -> Refusal {
        Refusal::new(RDKafkaErrorCode::InvalidArgument, Some(error.to_string()))
    }
}

/// Something of librdkafka's that is ours to free.
struct Owned<T> {
    pointer: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// `pointer` must be null, or ours alone and to be freed with `free`.
    fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Result<Owned<T>, Refusal> {
        match NonNull::new(pointer) {
            Some(pointer) => Ok(Owned { pointer, free }),
            None => Err(Refusal::new(RDKafkaErrorCode::InvalidArgument, None)),
        }
    }

    fn get(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `new` was given a pointer that is ours alone and is freed with this function;
        // that happens here only.
        unsafe { (self.free)(self.get()) }
    }
}

/// Describes a topic; `None` if there is none of this name.
pub(super) fn describe<C: ClientContext>(
    client: &Client<C>,
    name: &str,
    timeout: Duration,
) -> Result<Option<TopicState>, Refusal> {
    let name = CString::new(name)?;
    let mut names = [name.as_ptr()];
    // SAFETY: one name, which ends with a zero and outlives the call, which copies it.
    let topics = unsafe { rd::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1) };
    let topics = Owned::new(topics, rd::rd_kafka_TopicCollection_destroy)?;
    let native = client.native_ptr();
    let answer = request(client, timeout, |options, queue| {
        // SAFETY: all of them live until the answer is there; librdkafka copies what it needs for
        // longer.
        unsafe { rd::rd_kafka_DescribeTopics(native, topics.get(), options, queue) }
    })?;
    // SAFETY: the event is an answer without error. Its result and the list in it live as long as
    // the event; librdkafka gives null for an event of another kind, and `slice` takes that as
    // empty.
    let described = unsafe {
        let result = rd::rd_kafka_event_DescribeTopics_result(answer.get());
        let mut count = 0;
        let list = match result.is_null() {
            true => ptr::null_mut(),
            false => rd::rd_kafka_DescribeTopics_result_topics(result, &mut count),
        };
        slice(list, count).first().copied()
    };
    let Some(topic) = described else {
        return Ok(None);
    };
    // SAFETY: `topic` lies in the event, which is alive until the end of this function.
    unsafe { topic_state(topic) }
}

/// # Safety
/// `topic` must point to a description in an event that is alive.
unsafe fn topic_state(
    topic: *const rd::rd_kafka_TopicDescription_t,
) -> Result<Option<TopicState>, Refusal> {
    // SAFETY: everything that is asked for lies in the description; the functions accept a null
    // error.
    unsafe {
        let error = rd::rd_kafka_TopicDescription_error(topic);
        match RDKafkaErrorCode::from(rd::rd_kafka_error_code(error)) {
            RDKafkaErrorCode::NoError => {}
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
                return Ok(None);
            }
            code => return Err(Refusal::new(code, text(rd::rd_kafka_error_string(error)))),
        }
        let id = rd::rd_kafka_TopicDescription_topic_id(topic);
        let mut count = 0;
        let partitions = rd::rd_kafka_TopicDescription_partitions(topic, &mut count);
        let partitions = slice(partitions, count);
        let copies = partitions.iter().map(|partition| {
            let mut replicas = 0;
            rd::rd_kafka_TopicPartitionInfo_replicas(*partition, &mut replicas);
            replicas
        });
        Ok(Some(TopicState {
            id: topic_id(id),
            partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
            replication_factor: u16::try_from(copies.min().unwrap_or(0)).unwrap_or(u16::MAX),
        }))
    }
}

/// # Safety
/// `id` must be null, or point to an id in an event that is alive and that no other thread uses.
unsafe fn topic_id(id: *const rd::rd_kafka_Uuid_t) -> String {
    if id.is_null() {
        return String::new();
    }
    // SAFETY: as demanded of the caller. The text is kept in the id itself.
    unsafe {
        let is_none = rd::rd_kafka_Uuid_most_significant_bits(id) == 0
            && rd::rd_kafka_Uuid_least_significant_bits(id) == 0;
        match is_none {
            true => String::new(),
            false => text(rd::rd_kafka_Uuid_base64str(id)).unwrap_or_default(),
        }
    }
}

/// Sets some settings of a topic; its others stay as they are.
pub(super) fn set<C: ClientContext>(
    client: &Client<C>,
    name: &str,
    settings: &[(&str, String)],
    timeout: Duration,
) -> Result<(), Refusal> {
    let resource = resource(name)?;
    for (key, value) in settings {
        add(&resource, key, value)?;
    }
    let mut resources = [resource.get()];
    let native = client.native_ptr();
    let answer = request(client, timeout, |options, queue| {
        // SAFETY: one resource; all of them live until the answer is there; librdkafka copies what
        // it needs for longer.
        unsafe {
            rd::rd_kafka_IncrementalAlterConfigs(native, resources.as_mut_ptr(), 1, options, queue);
        }
    })?;
    // SAFETY: the event is an answer without error. Its result and the list in it live as long as
    // the event; librdkafka gives null for an event of another kind, and `slice` takes that as
    // empty.
    unsafe {
        let result = rd::rd_kafka_event_IncrementalAlterConfigs_result(answer.get());
        let mut count = 0;
        let list = match result.is_null() {
            true => ptr::null_mut(),
            false => rd::rd_kafka_IncrementalAlterConfigs_result_resources(result, &mut count),
        };
        slice(list, count)
            .iter()
            .try_for_each(|changed| checked(*changed))
    }
}

/// A setting of a topic.
pub(super) struct Entry {
    /// As Kafka calls it.
    pub(super) key: String,
    /// Its value; secrets have none.
    pub(super) value: Option<String>,
    /// Whether it is set on the topic itself.
    pub(super) is_own: bool,
}

/// All settings of a topic that are in force.
pub(super) fn settings<C: ClientContext>(
    client: &Client<C>,
    name: &str,
    timeout: Duration,
) -> Result<Vec<Entry>, Refusal> {
    let resource = resource(name)?;
    let mut resources = [resource.get()];
    let native = client.native_ptr();
    let answer = request(client, timeout, |options, queue| {
        // SAFETY: one resource; all of them live until the answer is there; librdkafka copies what
        // it needs for longer.
        unsafe { rd::rd_kafka_DescribeConfigs(native, resources.as_mut_ptr(), 1, options, queue) }
    })?;
    let mut all = Vec::new();
    // SAFETY: the event is an answer without error. Its result and the lists in it live as long as
    // the event; librdkafka gives null for an event of another kind, and `slice` takes that as
    // empty.
    unsafe {
        let result = rd::rd_kafka_event_DescribeConfigs_result(answer.get());
        let mut count = 0;
        let list = match result.is_null() {
            true => ptr::null_mut(),
            false => rd::rd_kafka_DescribeConfigs_result_resources(result, &mut count),
        };
        for described in slice(list, count) {
            checked(*described)?;
            let mut count = 0;
            let entries = rd::rd_kafka_ConfigResource_configs(*described, &mut count);
            all.extend(slice(entries, count).iter().map(|entry| read(*entry)));
        }
    }
    Ok(all)
}

/// # Safety
/// `entry` must point to a setting in an event that is alive.
unsafe fn read(entry: *const rd::rd_kafka_ConfigEntry_t) -> Entry {
    let own = rd::rd_kafka_ConfigSource_t::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG;
    // SAFETY: as demanded of the caller.
    unsafe {
        Entry {
            key: text(rd::rd_kafka_ConfigEntry_name(entry)).unwrap_or_default(),
            value: text(rd::rd_kafka_ConfigEntry_value(entry)),
            is_own: rd::rd_kafka_ConfigEntry_source(entry) == own,
        }
    }
}

/// # Safety
/// `resource` must point to a resource in an event that is alive.
unsafe fn checked(resource: *const rd::rd_kafka_ConfigResource_t) -> Result<(), Refusal> {
    // SAFETY: as demanded of the caller.
    unsafe {
        let code = rd::rd_kafka_ConfigResource_error(resource);
        let reason = text(rd::rd_kafka_ConfigResource_error_string(resource));
        accepted(code.into(), reason)
    }
}

fn resource(name: &str) -> Result<Owned<rd::rd_kafka_ConfigResource_t>, Refusal> {
    let name = CString::new(name)?;
    let kind = rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
    // SAFETY: the name ends with a zero and is copied.
    let resource = unsafe { rd::rd_kafka_ConfigResource_new(kind, name.as_ptr()) };
    Owned::new(resource, rd::rd_kafka_ConfigResource_destroy)
}

/// Creates a topic.
pub(super) fn create<C: ClientContext>(
    client: &Client<C>,
    name: &str,
    (partitions, copies): (u32, u16),
    settings: &[(&str, String)],
    timeout: Duration,
) -> Result<(), Refusal> {
    let topic = new_topic(name, partitions, copies)?;
    for (key, value) in settings {
        let (key, value) = (CString::new(*key)?, CString::new(value.as_str())?);
        // SAFETY: the topic is alive; both texts end with a zero and are copied.
        let code =
            unsafe { rd::rd_kafka_NewTopic_set_config(topic.get(), key.as_ptr(), value.as_ptr()) };
        accepted(code.into(), None)?;
    }
    let mut topics = [topic.get()];
    let native = client.native_ptr();
    let answer = request(client, timeout, |options, queue| {
        // SAFETY: one topic; all of them live until the answer is there; librdkafka copies what it
        // needs for longer.
        unsafe { rd::rd_kafka_CreateTopics(native, topics.as_mut_ptr(), 1, options, queue) }
    })?;
    // SAFETY: the event is an answer without error. Its result and the list in it live as long as
    // the event; librdkafka gives null for an event of another kind, and `slice` takes that as
    // empty.
    unsafe {
        let result = rd::rd_kafka_event_CreateTopics_result(answer.get());
        let mut count = 0;
        let list = match result.is_null() {
            true => ptr::null_mut(),
            false => rd::rd_kafka_CreateTopics_result_topics(result, &mut count),
        };
        slice(list, count).iter().try_for_each(|created| {
            let code = rd::rd_kafka_topic_result_error(*created);
            let reason = text(rd::rd_kafka_topic_result_error_string(*created));
            accepted(code.into(), reason)
        })
    }
}

fn new_topic(
    name: &str,
    partitions: u32,
    copies: u16,
) -> Result<Owned<rd::rd_kafka_NewTopic_t>, Refusal> {
    let name = CString::new(name)?;
    let partitions = c_int::try_from(partitions).unwrap_or(c_int::MAX);
    let mut reason = [0; 512];
    // SAFETY: the name ends with a zero and is copied; librdkafka writes a text that ends with a
    // zero into `reason`, and no more than its length, when it gives null.
    unsafe {
        let topic = rd::rd_kafka_NewTopic_new(
            name.as_ptr(),
            partitions,
            c_int::from(copies),
            reason.as_mut_ptr(),
            reason.len(),
        );
        Owned::new(topic, rd::rd_kafka_NewTopic_destroy)
            .map_err(|refusal| Refusal::new(refusal.code, text(reason.as_ptr())))
    }
}

fn accepted(code: RDKafkaErrorCode, reason: Option<String>) -> Result<(), Refusal> {
    match code {
        RDKafkaErrorCode::NoError => Ok(()),
        code => Err(Refusal::new(code, reason)),
    }
}

fn add(
    resource: &Owned<rd::rd_kafka_ConfigResource_t>,
    key: &str,
    value: &str,
) -> Result<(), Refusal> {
    let (key, value) = (CString::new(key)?, CString::new(value)?);
    let set = rd::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET;
    // SAFETY: the resource is alive; both texts end with a zero and are copied.
    let error = unsafe {
        rd::rd_kafka_ConfigResource_add_incremental_config(
            resource.get(),
            key.as_ptr(),
            set,
            value.as_ptr(),
        )
    };
    let Ok(error) = Owned::new(error, rd::rd_kafka_error_destroy) else {
        return Ok(());
    };
    // SAFETY: the error is not null, and ours until the end of this function.
    unsafe {
        let code = RDKafkaErrorCode::from(rd::rd_kafka_error_code(error.get()));
        Err(Refusal::new(
            code,
            text(rd::rd_kafka_error_string(error.get())),
        ))
    }
}

/// Sends a request and waits for its answer, which holds no error.
fn request<C: ClientContext>(
    client: &Client<C>,
    timeout: Duration,
    send: impl FnOnce(*const rd::rd_kafka_AdminOptions_t, *mut rd::rd_kafka_queue_t),
) -> Result<Owned<rd::rd_kafka_event_t>, Refusal> {
    let native = client.native_ptr();
    // SAFETY: the client is borrowed, so it lives longer than the queue and the options.
    let queue = unsafe { rd::rd_kafka_queue_new(native) };
    let queue = Owned::new(queue, rd::rd_kafka_queue_destroy)?;
    let options = options(client, timeout)?;
    send(options.get(), queue.get());
    let wait = millis(timeout + ANSWER_GRACE);
    // SAFETY: the queue is alive and ours alone; the event that comes out of it is ours.
    let event = unsafe { rd::rd_kafka_queue_poll(queue.get(), wait) };
    let Ok(event) = Owned::new(event, rd::rd_kafka_event_destroy) else {
        return Err(Refusal::new(RDKafkaErrorCode::OperationTimedOut, None));
    };
    // SAFETY: the event is alive.
    let (code, reason) = unsafe {
        let code = rd::rd_kafka_event_error(event.get());
        (
            RDKafkaErrorCode::from(code),
            text(rd::rd_kafka_event_error_string(event.get())),
        )
    };
    accepted(code, reason).map(|()| event)
}

fn options<C: ClientContext>(
    client: &Client<C>,
    timeout: Duration,
) -> Result<Owned<rd::rd_kafka_AdminOptions_t>, Refusal> {
    let any = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_ANY;
    // SAFETY: the client is alive.
    let options = unsafe { rd::rd_kafka_AdminOptions_new(client.native_ptr(), any) };
    let options = Owned::new(options, rd::rd_kafka_AdminOptions_destroy)?;
    let mut reason = [0; 512];
    // SAFETY: the options are alive; librdkafka writes a text that ends with a zero into `reason`,
    // and no more than its length.
    let (code, reason) = unsafe {
        let code = rd::rd_kafka_AdminOptions_set_request_timeout(
            options.get(),
            millis(timeout),
            reason.as_mut_ptr(),
            reason.len(),
        );
        (RDKafkaErrorCode::from(code), text(reason.as_ptr()))
    };
    accepted(code, reason).map(|()| options)
}

fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}

/// # Safety
/// `list` must be null, or point to `count` elements that live for `'a`.
unsafe fn slice<'a, T>(list: *mut *const T, count: usize) -> &'a [*const T] {
    if list.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: not null, and as demanded of the caller.
    unsafe { std::slice::from_raw_parts(list, count) }
}

/// # Safety
/// `text` must be null, or point to a text that ends with a zero.
unsafe fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not null, and as demanded of the caller.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().into_owned())
}
