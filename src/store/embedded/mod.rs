//! DynamoDB in this process: dynoxide, an engine on SQLite, with its data on disk. The same AWS client talks to it as to DynamoDB
//! itself, through a connector of ours ([`EmbeddedClient`]) that hands requests to the engine: no port is open. Commands in another
//! terminal reach the store of a running `up` over a Unix socket in the store's directory, which its user alone can enter.
//!
//! **Durability.** The engine opens SQLite in WAL mode and commits each row of a batch by itself. With `synchronous` at SQLite's
//! default, FULL, each commit waits for the disk: 25 times for one `BatchWriteItem`. So it is set to NORMAL: a commit is handed to
//! the operating system, which is all that a kill -9 asks for, and [`Durability`] syncs the WAL once per request, or once for
//! several, before our client returns: what it has answered survives a power cut too. A test kills the process with -9 under
//! load and counts.
//!
//! **Threads.** The engine handles a request to its end, fsync included, on the thread that took it. It therefore has threads of
//! its own, or it would stall the pipeline's.

mod client;
mod engine;
mod socket;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dynoxide::Database;
use tokio::sync::oneshot;

use super::durability::Durability;
use crate::domain::time::Millis;
use crate::ops::clock::{Clock, SystemClock};
use engine::{Job, Queue};
use socket::SocketServer;

pub(super) use client::ENDPOINT;
pub use client::EmbeddedClient;

/// The database's file in the data directory.
const FILE: &str = "dynamodb.sqlite";
/// Held while a process has the database open.
const LOCK: &str = "dynamodb.lock";
/// How often expired items are deleted. Lists leave them out anyway; this only keeps the file from growing.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Nothing is deleted so soon after the store was opened, nor while the clock is ahead of uptime by more: usage rows tell late
/// copies of an event, and one look by a clock that is weeks ahead would delete all of them.
const SWEEP_AFTER: Duration = Duration::from_secs(3_600);
/// One request at a time holds the database; a second thread reads, parses and answers meanwhile.
const THREADS: usize = 2;

/// Why the embedded store does not start.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The directory or the socket.
    #[error("{what} {path}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another process has it open.
    #[error(
        "{0} is open in another process; talk to that one (it serves the same data), or stop it"
    )]
    InUse(PathBuf),
    /// The engine cannot read its file.
    #[error("the embedded database {path} cannot be opened: {why}")]
    Engine {
        /// Its file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// The embedded store, at work.
#[derive(Debug)]
pub struct EmbeddedStore {
    dir: PathBuf,
    queue: Arc<Queue>,
    durability: Arc<Durability>,
    socket: Option<SocketServer>,
    stopped: Option<oneshot::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddedStore {
    /// Opens (or creates) the database in `dir`. No other process can reach it before [`EmbeddedStore::listen`].
    pub fn open(dir: &Path) -> Result<EmbeddedStore, EmbeddedError> {
        fs::create_dir_all(dir).map_err(io_error("cannot create", dir))?;
        let lock = lock(dir)?;
        let file = dir.join(FILE);
        let database = open_database(&file)?;
        let (queue, jobs) = Queue::new();
        let (report, stopped) = oneshot::channel();
        let working = move || {
            run(database, jobs);
            drop(lock);
            // Nobody may be waiting any more, which is fine.
            let _ = report.send(());
        };
        let thread = thread::Builder::new()
            .name("dynamodb".to_owned())
            .spawn(working)
            .map_err(io_error("cannot start a thread for", dir))?;
        Ok(EmbeddedStore {
            dir: dir.to_owned(),
            queue,
            durability: Durability::new(&file),
            socket: None,
            stopped: Some(stopped),
            thread: Some(thread),
        })
    }

    /// Lets other processes of this user reach the store: [`EmbeddedClient::over_socket`].
    pub fn listen(&mut self) -> Result<(), EmbeddedError> {
        let server = SocketServer::start(&self.dir, self.queue.clone());
        self.socket =
            Some(server.map_err(io_error("cannot listen on a Unix socket in", &self.dir))?);
        Ok(())
    }

    /// What the AWS client reaches it by, for [`DynamoSettings::embedded`](super::dynamo::DynamoSettings::embedded).
    pub fn client(&self) -> EmbeddedClient {
        EmbeddedClient::of_process(self.queue.clone())
    }

    /// What syncs its answered writes; every client of it that writes must have it.
    pub fn durability(&self) -> Arc<Durability> {
        self.durability.clone()
    }

    /// The same for the store in `dir`, which another process serves.
    pub fn durability_of(dir: &Path) -> Arc<Durability> {
        Durability::new(&dir.join(FILE))
    }

    /// Takes no more requests, answers those that wait, and closes the database. Returns `false` if that took longer than
    /// `within`; every answered write is on disk all the same.
    pub async fn shutdown(mut self, within: Duration) -> bool {
        self.stop();
        let Some(stopped) = self.stopped.take() else {
            return true;
        };
        // An error means that the thread panicked, which joining it reports.
        let is_in_time = tokio::time::timeout(within, stopped).await.is_ok();
        if is_in_time {
            self.join();
        }
        is_in_time
    }

    fn stop(&mut self) {
        drop(self.socket.take());
        self.queue.close();
    }

    /// Waits for a thread that has reported its end.
    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(
                event = "store.panic",
                "the embedded store's thread panicked"
            );
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Answers requests until the queue is closed, and closes the database.
fn run(database: Database, jobs: Receiver<Job>) {
    let jobs = Mutex::new(jobs);
    let (working, ended) = mpsc::channel::<()>();
    let (database, jobs) = (&database, &jobs);
    thread::scope(|scope| {
        scope.spawn(move || sweep(database, &ended));
        for _ in 1..THREADS {
            let working = working.clone();
            scope.spawn(move || {
                engine::work(database, jobs);
                drop(working);
            });
        }
        engine::work(database, jobs);
        drop(working);
    });
}

/// Deletes expired items now and then, until every worker has ended.
fn sweep(database: &Database, ended: &Receiver<()>) {
    let opened = (SystemClock.now(), SystemClock.uptime());
    while ended.recv_timeout(SWEEP_EVERY) == Err(RecvTimeoutError::Timeout) {
        let (now, uptime) = (SystemClock.now(), SystemClock.uptime());
        let passed = match (&opened.1, &uptime) {
            (Some(then), Some(now)) => now.since(then).unwrap_or_default(),
            // Where the system does not tell, there is nothing to compare with.
            _ => Duration::from_millis(now.0.abs_diff(opened.0.0)),
        };
        if !may_sweep(opened.0, passed, now) {
            continue;
        }
        match database.sweep_ttl() {
            Ok(0) => {}
            Ok(deleted) => {
                tracing::debug!(event = "store.expired", deleted, "expired items deleted");
            }
            Err(error) => {
                tracing::warn!(event = "store.expire_failed", %error, "expired items could not be deleted");
            }
        }
    }
}

/// Whether the clock can be believed, that much time after the store was opened.
fn may_sweep(opened: Millis, passed: Duration, now: Millis) -> bool {
    let expected = opened.plus(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX));
    passed >= SWEEP_AFTER && now <= expected.plus(SWEEP_AFTER.as_millis() as i64)
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EmbeddedError {
    let path = path.to_owned();
    move |error| EmbeddedError::Io { what, path, error }
}

fn lock(dir: &Path) -> Result<File, EmbeddedError> {
    let path = dir.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io_error("cannot open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EmbeddedError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(io_error("cannot lock", &path)(error)),
    }
}

fn open_database(file: &Path) -> Result<Database, EmbeddedError> {
    let engine = |why: String| EmbeddedError::Engine {
        path: file.to_owned(),
        why,
    };
    let path = file
        .to_str()
        .ok_or_else(|| engine("its path is not UTF-8".to_owned()))?;
    let database = Database::new(path).map_err(|error| engine(error.to_string()))?;
    // The engine's only way to say `synchronous = NORMAL`; the rest of what it sets are SQLite's defaults.
    database
        .disable_bulk_loading()
        .map_err(|error| engine(error.to_string()))?;
    Ok(database)
}

#[cfg(test)]
mod tests {
    use super::{Duration, Millis, may_sweep};

    #[test]
    fn a_clock_that_ran_ahead_deletes_nothing() {
        const OPENED: Millis = Millis(1_795_964_400_000);
        const HOUR: i64 = 3_600_000;
        let rows = [
            (0, 0, false),
            (HOUR - 1, HOUR - 1, false),
            (HOUR, HOUR, true),
            (5 * HOUR, 5 * HOUR, true),
            (5 * HOUR, 6 * HOUR, true),
            (5 * HOUR, 6 * HOUR + 1, false),
            (5 * HOUR, 60 * 24 * HOUR, false),
            // Behind: then less has expired.
            (5 * HOUR, -HOUR, true),
        ];
        for (passed, clock, may) in rows {
            let after = Duration::from_millis(passed.unsigned_abs());
            assert_eq!(
                may_sweep(OPENED, after, OPENED.plus(clock)),
                may,
                "{passed} {clock}"
            );
        }
    }
}
