//! The engine's threads: they take work from a queue. Requests of other processes come in DynamoDB's
//! JSON form; this process calls the engine's operations themselves ([`Queue::call`]).

use std::borrow::Cow;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

/// What the AWS client puts before an operation's name in the header `x-amz-target`.
const TARGET_PREFIX: &str = "DynamoDB_20120810.";

/// An answer: HTTP status and body.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Work that waits for a thread.
pub(in crate::store) struct Job {
    operation: Cow<'static, str>,
    run: Box<dyn FnOnce(&Database) + Send>,
}

/// Why a request got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::store) enum Lost {
    /// It never reached the engine.
    #[error("the embedded store is closed")]
    Closed,
    /// It reached the engine, which failed on it: it may have been applied.
    #[error("the embedded store failed on this request; it may have been applied")]
    Failed,
}

/// The way to the engine's threads, until it is closed.
#[derive(Debug)]
pub(in crate::store) struct Queue(Mutex<Option<Sender<Job>>>);

impl Queue {
    /// A queue and the end that the threads take from.
    pub fn new() -> (Arc<Queue>, Receiver<Job>) {
        let (sender, receiver) = mpsc::channel();
        (Arc::new(Queue(Mutex::new(Some(sender)))), receiver)
    }

    /// Asks the engine in DynamoDB's JSON form.
    pub(super) async fn ask(&self, target: String, body: Bytes) -> Result<Answer, Lost> {
        let operation = target.strip_prefix(TARGET_PREFIX).unwrap_or(&target);
        let operation = operation.to_owned();
        let named = operation.clone();
        self.call(operation, move |database| answer(database, &named, &body))
            .await
    }

    /// Calls an operation of the engine. A caller that stops waiting changes nothing: the work is
    /// still done.
    pub async fn call<T: Send + 'static>(
        &self,
        operation: impl Into<Cow<'static, str>>,
        work: impl FnOnce(&Database) -> T + Send + 'static,
    ) -> Result<T, Lost> {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            operation: operation.into(),
            // The caller may have stopped waiting.
            run: Box::new(move |database| drop(reply.send(work(database)))),
        };
        let sent = {
            let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            sender.as_ref().is_some_and(|to| to.send(job).is_ok())
        };
        if !sent {
            return Err(Lost::Closed);
        }
        answer.await.map_err(|_| Lost::Failed)
    }

    /// Lets no more requests in. Those that wait are answered yet; then the threads end.
    pub fn close(&self) {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sender.take();
    }
}

/// Answers requests until the queue is closed and empty.
pub(super) fn work(database: &Database, jobs: &Mutex<Receiver<Job>>) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else {
            return;
        };
        let Job { operation, run } = job;
        // A panic drops the reply, which reports the request as lost.
        if panic::catch_unwind(AssertUnwindSafe(|| run(database))).is_err() {
            tracing::error!(
                event = "store.panic",
                %operation,
                "the embedded store panicked on a request"
            );
        }
    }
}

fn answer(database: &Database, operation: &str, body: &[u8]) -> Answer {
    match dispatch(database, operation, body) {
        Ok(body) => Answer { status: 200, body },
        Err(error) => Answer {
            status: error.status_code(),
            body: error.to_json().into_bytes(),
        },
    }
}

/// The operations that this program uses.
fn dispatch(database: &Database, operation: &str, body: &[u8]) -> dynoxide::Result<Vec<u8>> {
    match operation {
        "BatchGetItem" => call(body, |request| database.batch_get_item(request)),
        "BatchWriteItem" => call(body, |request| database.batch_write_item(request)),
        "CreateTable" => call(body, |request| database.create_table(request)),
        "DeleteItem" => call(body, |request| database.delete_item(request)),
        "DeleteTable" => call(body, |request| database.delete_table(request)),
        "DescribeTable" => call(body, |request| database.describe_table(request)),
        "DescribeTimeToLive" => call(body, |request| database.describe_time_to_live(request)),
        "GetItem" => call(body, |request| database.get_item(request)),
        "ListTables" => call(body, |request| database.list_tables(request)),
        "PutItem" => call(body, |request| database.put_item(request)),
        "Query" => call(body, |request| database.query(request)),
        "Scan" => call(body, |request| database.scan(request)),
        "TransactWriteItems" => call(body, |request| database.transact_write_items(request)),
        "UpdateItem" => call(body, |request| database.update_item(request)),
        "UpdateTimeToLive" => call(body, |request| database.update_time_to_live(request)),
        _ => Err(DynoxideError::ValidationException(format!(
            "the embedded store does not support the operation '{operation}'"
        ))),
    }
}

fn call<Request: DeserializeOwned, Response: Serialize>(
    body: &[u8],
    call: impl FnOnce(Request) -> dynoxide::Result<Response>,
) -> dynoxide::Result<Vec<u8>> {
    let request = serde_json::from_slice(body)
        .map_err(|error| DynoxideError::SerializationException(error.to_string()))?;
    let response = call(request)?;
    serde_json::to_vec(&response)
        .map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}
