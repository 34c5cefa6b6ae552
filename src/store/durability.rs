//! Makes answered writes of the embedded store last through a power cut, many of them with one
//! sync.
//!
//! The engine commits every operation by itself. Synced one by one, the 20,000 accounts of a flush
//! would wait for the disk 20,000 times. So the engine writes its log (SQLite's WAL) without
//! syncing it, and the client syncs the file once for whatever was answered: before a write of ours
//! returns, everything that the engine had committed by then is on disk.
//!
//! - A killed process loses nothing even without this: what was written is in the operating
//!   system's hands.
//! - The WAL is one sequence of all tables, and after a power cut SQLite keeps a prefix of it. So
//!   nothing can be on disk without what it was derived from, read from a write that was not synced
//!   yet.
//! - What the engine moves from the WAL to the database, it syncs itself, the WAL first.
//!
//! Requests that wait at the same time share a sync.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, watch};

/// Syncs the log of an embedded store. Another process than the one that serves the store may do it
/// too.
#[derive(Debug)]
pub struct Durability {
    database: PathBuf,
    wal: PathBuf,
    /// How many syncs have begun.
    begun: AtomicU64,
    /// Held during a sync.
    syncing: Mutex<()>,
    /// Why a sync failed, once one did.
    broken: watch::Sender<Option<String>>,
}

impl Durability {
    /// For the SQLite database in `database`.
    pub fn new(database: &Path) -> Arc<Durability> {
        let mut wal = database.as_os_str().to_owned();
        wal.push("-wal");
        Arc::new(Durability {
            database: database.to_owned(),
            wal: PathBuf::from(wal),
            begun: AtomicU64::new(0),
            syncing: Mutex::new(()),
            broken: watch::Sender::new(None),
        })
    }

    /// Returns when everything that was answered before the call is on disk.
    ///
    /// After one error every call fails: the system may have dropped what it could not write, and a
    /// later sync would not notice.
    pub async fn settle(&self) -> Result<(), String> {
        let before = self.begun.load(Ordering::SeqCst);
        let _syncing = self.syncing.lock().await;
        if let Some(why) = &*self.broken.borrow() {
            return Err(why.clone());
        }
        if self.begun.load(Ordering::SeqCst) > before {
            // It began after this call, and has ended: the lock is free.
            return Ok(());
        }
        self.begun.fetch_add(1, Ordering::SeqCst);
        let (database, wal) = (self.database.clone(), self.wal.clone());
        let synced = tokio::task::spawn_blocking(move || sync(&database, &wal)).await;
        let failure = match synced {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        let why = format!(
            "{} cannot be synced to disk: {failure}; check the disk, then restart tidemark",
            self.wal.display()
        );
        tracing::error!(event = "store.unsynced", why);
        self.broken.send_replace(Some(why.clone()));
        Err(why)
    }

    /// Returns once a sync has failed: why. From then on the store must not be used or closed by
    /// this process. SQLite takes what it has written to its log as written, and would move it to
    /// the database without looking, also when it closes. A new process reads the log from the disk
    /// and drops what is not whole.
    pub async fn failed(&self) -> String {
        let mut broken = self.broken.subscribe();
        let why = {
            let failed = broken.wait_for(Option::is_some).await;
            failed.ok().and_then(|why| why.clone())
        };
        match why {
            Some(why) => why,
            // The sender lives as long as this does.
            None => std::future::pending().await,
        }
    }

    /// How many syncs have begun.
    pub fn syncs(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }
}

fn sync(database: &Path, wal: &Path) -> io::Result<()> {
    match File::open(wal) {
        Ok(file) => file.sync_data(),
        // The engine has closed in between: then it has moved everything to the database, synced,
        // and removed the WAL.
        Err(error) if error.kind() == io::ErrorKind::NotFound && database.exists() => Ok(()),
        Err(error) => Err(error),
    }
}
