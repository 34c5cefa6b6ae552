//! DynamoDB in this process: dynoxide, an engine on SQLite, with its data on disk. This process calls
//! the engine's operations themselves (`dynamo/in_process.rs`); only tables are made by the AWS
//! client, through a connector of ours ([`EmbeddedClient`]) that hands its requests to the engine.
//! No port is open. Commands in another terminal reach the store of a running `up` by the same
//! client over a Unix socket in the store's directory, which its user alone can enter.
//!
//! **Durability.** The engine opens SQLite in WAL mode and commits every operation by itself; of a
//! `BatchWriteItem`, as it comes over the socket, every row. With `synchronous` at SQLite's default,
//! FULL, each commit waits for the disk. So it is set to NORMAL: a commit is handed to the operating
//! system, which is all that a kill -9 asks for, and [`Durability`] syncs the WAL once per request,
//! or once for several, before our client returns: what it has answered survives a power cut too. A
//! test kills the process with -9 under load and counts.
//!
//! **Threads.** The engine works on the thread that calls it, and waits for the disk there. It
//! therefore has threads of its own, or it would stall the pipeline's.

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
use crate::ops::clock::{Clock, Moment, SystemClock, Uptime};
use crate::ops::expiry_clock::ExpiryClock;
use engine::Job;
use socket::SocketServer;

pub(super) use client::ENDPOINT;
pub use client::EmbeddedClient;
pub(super) use engine::{Lost, Queue};

/// The database's file in the data directory.
const FILE: &str = "dynamodb.sqlite";
/// Held while a process has the database open.
const LOCK: &str = "dynamodb.lock";
/// How often expired items are deleted. Lists leave them out anyway; this only keeps the file from
/// growing.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Nothing is deleted so soon after the store was opened. Usage rows tell late copies of an event,
/// and one look by a clock that is weeks ahead would delete all of them.
const SWEEP_AFTER: Duration = Duration::from_secs(3_600);
/// How far the wall clock may be ahead of the one by which things are deleted.
const AHEAD_MAX: Duration = Duration::from_secs(3_600);
/// Where that clock is kept from one process to the next.
const CLOCK_FILE: &str = "clock.json";
/// One request at a time holds the database; a second thread parses and answers those of other
/// processes meanwhile.
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
    /// Opens (or creates) the database in `dir`. No other process can reach it before
    /// [`EmbeddedStore::listen`].
    pub fn open(dir: &Path) -> Result<EmbeddedStore, EmbeddedError> {
        fs::create_dir_all(dir).map_err(io_error("cannot create", dir))?;
        let lock = lock(dir)?;
        let file = dir.join(FILE);
        let expiry = Expiry::new(dir, last_use(&file), SystemClock.now(), uptime());
        let database = open_database(&file)?;
        let (queue, jobs) = Queue::new();
        let (report, stopped) = oneshot::channel();
        let working = move || {
            run(database, expiry, jobs);
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

    /// What the AWS client reaches it by, for
    /// [`DynamoSettings::embedded`](super::dynamo::DynamoSettings::embedded).
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

    /// Takes no more requests, answers those that wait, and closes the database. Returns `false` if
    /// that took longer than `within`; every answered write is on disk all the same.
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
fn run(database: Database, expiry: Expiry, jobs: Receiver<Job>) {
    let jobs = Mutex::new(jobs);
    let (working, ended) = mpsc::channel::<()>();
    let (database, jobs) = (&database, &jobs);
    thread::scope(|scope| {
        scope.spawn(move || sweep(database, expiry, &ended));
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
fn sweep(database: &Database, mut expiry: Expiry, ended: &Receiver<()>) {
    while ended.recv_timeout(SWEEP_EVERY) == Err(RecvTimeoutError::Timeout) {
        if !expiry.may_sweep(SystemClock.now(), &uptime()) {
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

/// Time that nobody can set. Where the system does not tell, that of this process.
fn uptime() -> Uptime {
    SystemClock.uptime().unwrap_or_else(|| Uptime {
        boot: format!("process {}", std::process::id()),
        passed: SystemClock.moment().since(Moment::default()),
    })
}

/// Whether expired items may be deleted. The engine goes by the wall clock, so that must be right:
/// it must be at most [`AHEAD_MAX`] ahead of a clock that only follows it.
struct Expiry {
    file: PathBuf,
    clock: ExpiryClock,
    opened: Uptime,
}

impl Expiry {
    /// `last_use` is when the database was last written, before it was opened now.
    fn new(dir: &Path, last_use: Option<Millis>, wall: Millis, uptime: Uptime) -> Expiry {
        let file = dir.join(CLOCK_FILE);
        let mut expiry = Expiry {
            clock: ExpiryClock::load(&file).unwrap_or_default(),
            file,
            opened: uptime.clone(),
        };
        expiry.follow(wall, &uptime, last_use);
        expiry
    }

    fn may_sweep(&mut self, wall: Millis, uptime: &Uptime) -> bool {
        let reached = self.follow(wall, uptime, None);
        let passed = uptime.since(&self.opened).unwrap_or_default();
        passed >= SWEEP_AFTER && wall <= reached.plus(AHEAD_MAX.as_millis() as i64)
    }

    fn follow(&mut self, wall: Millis, uptime: &Uptime, last_use: Option<Millis>) -> Millis {
        let begin = || last_use.unwrap_or(wall);
        let reached = self.clock.follow(wall, uptime, begin);
        if let Err(error) = self.clock.store(&self.file) {
            let file = self.file.display();
            tracing::warn!(event = "store.clock_not_kept", %error, %file, "could not write the file; after a restart expired items are kept for longer");
        }
        reached
    }
}

/// When the database of a directory was last written; `None` if there is none.
fn last_use(file: &Path) -> Option<Millis> {
    let wal = file.with_extension("sqlite-wal");
    let written = |file: &Path| fs::metadata(file).and_then(|found| found.modified()).ok();
    let newest = [file, &wal].into_iter().filter_map(written).max()?;
    let since = newest.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok().map(Millis)
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
    // The engine's only way to say `synchronous = NORMAL`; the rest of what it sets are SQLite's
    // defaults.
    database
        .disable_bulk_loading()
        .map_err(|error| engine(error.to_string()))?;
    Ok(database)
}

#[cfg(test)]
mod tests {
    use super::{Duration, Expiry, Millis, Uptime};

    const OPENED: Millis = Millis(1_795_964_400_000);
    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;

    fn uptime(millis: i64) -> Uptime {
        Uptime {
            boot: "a".to_owned(),
            passed: Duration::from_millis(millis.unsigned_abs()),
        }
    }

    /// A store that was written until it is opened; then what the clocks say, and whether is
    /// deleted.
    fn check(ahead_at_start: i64, rows: &[(i64, i64, bool)]) {
        let dir = tempfile::tempdir().unwrap();
        let wall = OPENED.plus(ahead_at_start);
        let mut expiry = Expiry::new(dir.path(), Some(OPENED), wall, uptime(0));
        for (passed, clock, may) in rows {
            let found = expiry.may_sweep(OPENED.plus(*clock), &uptime(*passed));
            assert_eq!(found, *may, "{ahead_at_start} {passed} {clock}");
        }
    }

    #[test]
    fn a_clock_that_ran_ahead_deletes_nothing() {
        check(
            0,
            &[
                (0, 0, false),
                (HOUR - 1, HOUR - 1, false),
                (HOUR, HOUR, true),
                (5 * HOUR, 5 * HOUR, true),
                (5 * HOUR, 6 * HOUR, true),
                (5 * HOUR, 60 * DAY, false),
                // Behind: then less has expired.
                (6 * HOUR, -HOUR, true),
                (7 * HOUR, 7 * HOUR, true),
            ],
        );
    }

    #[test]
    fn a_process_that_starts_with_a_clock_that_is_ahead_deletes_nothing_however_long_that_lasts() {
        let ahead = 60 * DAY;
        let hours = (1..=30 * 24).map(|hours| (hours * HOUR, ahead + hours * HOUR, false));
        check(ahead, &hours.collect::<Vec<_>>());
        // Set right after ten days: it goes on at once.
        let right = (10 * DAY + HOUR, 10 * DAY + HOUR, true);
        check(ahead, &[(10 * DAY, ahead + 10 * DAY, false), right]);
    }

    #[test]
    fn a_restart_is_no_confirmation() {
        let dir = tempfile::tempdir().unwrap();
        let ahead = OPENED.plus(60 * DAY);
        for restart in 0..10 {
            let at = restart * 3 * HOUR;
            // Its own writes are as far ahead.
            let last_use = if restart == 0 { OPENED } else { ahead };
            let mut expiry = Expiry::new(dir.path(), Some(last_use), ahead.plus(at), uptime(at));
            let later = at + 2 * HOUR;
            assert!(!expiry.may_sweep(ahead.plus(later), &uptime(later)));
        }
    }

    #[test]
    fn after_a_pause_it_catches_up() {
        let rows = [
            (3 * HOUR, false),
            (30 * HOUR, false),
            (47 * HOUR, true),
            (60 * HOUR, true),
        ];
        let rows = rows.map(|(passed, may)| (passed, 2 * DAY + passed, may));
        check(2 * DAY, &rows);
    }

    #[test]
    fn a_new_store_has_nothing_to_wait_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut expiry = Expiry::new(dir.path(), None, OPENED, uptime(0));
        assert!(expiry.may_sweep(OPENED.plus(HOUR), &uptime(HOUR)));
    }
}
