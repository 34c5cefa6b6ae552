//! DynamoDB in this process: dynoxide, an engine on SQLite, served on a loopback port with its data on disk, so that the
//! same AWS client talks to it as to DynamoDB itself.
//!
//! **Durability.** The engine opens SQLite in WAL mode and commits each row of a batch by itself. With `synchronous` at SQLite's
//! default, FULL, each commit waits for the disk: 25 times for one `BatchWriteItem`. So it is set to NORMAL: a commit is handed to
//! the operating system, which is all that a kill -9 asks for, and [`Durability`] syncs the WAL once per request, or once for
//! several, before our client returns: what it has answered survives a power cut too. A test kills the process with -9 under
//! load and counts.
//!
//! **Threads.** The engine handles a request to its end, fsync included, on the thread that took it. It therefore runs in
//! a runtime of its own, or it would stall the pipeline's.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dynoxide::Database;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::durability::Durability;

/// The database's file in the data directory.
const FILE: &str = "dynamodb.sqlite";
/// Held while a process has the database open.
const LOCK: &str = "dynamodb.lock";
/// How often expired items are deleted. Reads ignore them anyway; this only keeps the file from growing.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// One request at a time holds the database; a second thread reads, parses and answers meanwhile.
const THREADS: usize = 2;

/// Why the embedded store does not start.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The directory or the port.
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

/// The embedded store, serving.
#[derive(Debug)]
pub struct EmbeddedStore {
    address: SocketAddr,
    durability: Arc<Durability>,
    stop: Option<oneshot::Sender<()>>,
    stopped: Option<oneshot::Receiver<Result<(), String>>>,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddedStore {
    /// Opens (or creates) the database in `dir` and serves it on 127.0.0.1, on `port` or, if that is 0, on a free one.
    pub fn open(dir: &Path, port: u16) -> Result<EmbeddedStore, EmbeddedError> {
        fs::create_dir_all(dir).map_err(io_error("cannot create", dir))?;
        let lock = lock(dir)?;
        let file = dir.join(FILE);
        let database = open_database(&file)?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .map_err(io_error("cannot listen on 127.0.0.1 for", dir))?;
        listener
            .set_nonblocking(true)
            .map_err(io_error("cannot listen on 127.0.0.1 for", dir))?;
        let address = listener
            .local_addr()
            .map_err(io_error("cannot listen on 127.0.0.1 for", dir))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("dynamodb")
            .enable_all()
            .build()
            .map_err(io_error("cannot start threads for", dir))?;
        let (stop, stopping) = oneshot::channel();
        let (report, stopped) = oneshot::channel();
        let serving = move || {
            let result = runtime.block_on(serve(listener, database, stopping));
            // A request that never ends must not hold the process.
            runtime.shutdown_timeout(Duration::from_secs(1));
            drop(lock);
            // Nobody may be waiting any more, which is fine.
            let _ = report.send(result);
        };
        let thread = thread::Builder::new()
            .name("dynamodb".to_owned())
            .spawn(serving)
            .map_err(io_error("cannot start a thread for", dir))?;
        Ok(EmbeddedStore {
            address,
            durability: Durability::new(&file),
            stop: Some(stop),
            stopped: Some(stopped),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint for [`DynamoSettings::local`](super::dynamo::DynamoSettings::local).
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What syncs its answered writes; every client of it that writes must have it.
    pub fn durability(&self) -> Arc<Durability> {
        self.durability.clone()
    }

    /// The same for the store in `dir`, which another process serves.
    pub fn durability_of(dir: &Path) -> Arc<Durability> {
        Durability::new(&dir.join(FILE))
    }

    /// Takes no more requests, lets those that run finish, and closes the database. Returns `false` if that took longer
    /// than `within`; every answered write is on disk all the same.
    pub async fn shutdown(mut self, within: Duration) -> bool {
        self.signal();
        let Some(stopped) = self.stopped.take() else {
            return true;
        };
        match tokio::time::timeout(within, stopped).await {
            Ok(Ok(result)) => {
                if let Err(why) = result {
                    tracing::error!(
                        event = "store.stopped",
                        why,
                        "the embedded store stopped with an error"
                    );
                }
                self.join();
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    fn signal(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The server may have stopped by itself.
            let _ = stop.send(());
        }
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
        self.signal();
    }
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

async fn serve(
    listener: std::net::TcpListener,
    database: Database,
    stopping: oneshot::Receiver<()>,
) -> Result<(), String> {
    let listener = TcpListener::from_std(listener).map_err(|e| e.to_string())?;
    let sweeper = tokio::spawn(sweep(database.clone()));
    let stop = async move {
        // An error means that the store's handle was dropped: stop as well.
        let _ = stopping.await;
    };
    let result = dynoxide::server::serve_with_shutdown(listener, database, stop).await;
    sweeper.abort();
    result
}

async fn sweep(database: Database) {
    let mut every = tokio::time::interval(SWEEP_EVERY);
    loop {
        every.tick().await;
        let database = database.clone();
        match tokio::task::spawn_blocking(move || database.sweep_ttl()).await {
            Ok(Ok(0)) => {}
            Ok(Ok(deleted)) => {
                tracing::debug!(event = "store.expired", deleted, "expired items deleted")
            }
            Ok(Err(error)) => {
                tracing::warn!(event = "store.expire_failed", %error, "expired items could not be deleted")
            }
            Err(_) => return,
        }
    }
}
